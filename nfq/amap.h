/*
 * amap - a hash table from an address and a small tag to a value of fixed size. Pure, bounded.
 */
#ifndef NFQ_AMAP_H
#define NFQ_AMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

struct amap;

/* Grows up to max entries. Allocated under ctx (talloc). */
struct amap *amap_new(void *ctx, size_t value_size, size_t max);
/* The same for addresses of which only these matter, to have small entries: those of IPv4, or the
 * first bytes (up to 16) of those of IPv6. */
#define AMAP_IPV4 4
struct amap *amap_new_short(void *ctx, bool is4, size_t key_bytes, size_t value_size, size_t max);
size_t amap_count(const struct amap *m);
/* NULL: not there. The pointer is good until the next put or remove. */
void *amap_get(const struct amap *m, const struct addr *key, uint8_t tag);
/* The value, zeroed when new; NULL when it would be one too many. *is_new may be NULL. */
void *amap_put(struct amap *m, const struct addr *key, uint8_t tag, bool *is_new);
bool amap_remove(struct amap *m, const struct addr *key, uint8_t tag);
void amap_clear(struct amap *m);
/* Every entry, in no order; fn returns true to remove the entry. It must not change the table
 * otherwise. */
void amap_each(struct amap *m,
	       bool (*fn)(const struct addr *key, uint8_t tag, void *value, void *arg), void *arg);

/*
 * The same bit by bit: at most max slots are looked at in one call. Between two calls the table may
 * change: an entry that is there all the while is met, perhaps twice. False: that was the last bit.
 */
struct amap_walk { /* zeroed to begin with */
	size_t left;
	uint32_t shape;
	bool begun;
};
bool amap_some(struct amap *m, struct amap_walk *w, size_t max,
	       bool (*fn)(const struct addr *key, uint8_t tag, void *value, void *arg), void *arg);

#endif
