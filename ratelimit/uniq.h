/*
 * uniq - how many different ones in the last W: exact while there are few, estimated when there are
 * many. Pure; the memory is the owner's, of uniq_bytes(cap).
 *
 * Exact: up to UNIQ_EXACT members (a 64-bit hash and when it was last seen); a member counts until
 * W has passed since. Estimated (cap 0): a HyperLogLog of 1024 registers for each of 9 slots of
 * W / 8; what is in a slot counts until W has passed since the slot ended, so up to W / 8 longer.
 * The standard error is 1.04 / sqrt(1024) = 3.25 %: 95 of 100 estimates lie within 6.5 %.
 */
#ifndef RATELIMIT_UNIQ_H
#define RATELIMIT_UNIQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNIQ_EXACT	256
#define UNIQ_MIN_CAP	4u
#define UNIQ_MAX_CAP	512u /* at most half full */
#define UNIQ_REGISTERS	1024u
#define UNIQ_SLOTS	9u
#define UNIQ_MAX_HASHES 4096u /* of one ask */

struct uniq_member {
	uint32_t lo, hi; /* both 0: empty */
	uint32_t t;	 /* milliseconds modulo 2^32 */
};

/* All zeros but cap is an empty one. */
struct uniq {
	uint32_t cap; /* places for members, a power of two; 0: estimated */
	uint32_t n;   /* in use, old ones included; estimated: slots in use */
	union {
		struct uniq_member m[0];
		struct {
			uint32_t slot[UNIQ_SLOTS]; /* its number plus one; 0: unused */
			uint8_t r[UNIQ_SLOTS][UNIQ_REGISTERS];
		} e[0];
	} u;
};

/* For counting what an ask would add: which of its hashes are the same. All zeros at first. */
struct uniq_scratch {
	uint64_t key[2 * UNIQ_MAX_HASHES];
	uint32_t mark[2 * UNIQ_MAX_HASHES], now;
	uint8_t merged[UNIQ_REGISTERS];
};

size_t uniq_bytes(uint32_t cap);

/* Different ones now, those of hash[n] included; u may be NULL (nothing was seen). At most
 * UNIQ_MAX_HASHES are looked at. */
uint32_t uniq_count(const struct uniq *u, int64_t now_ms, int64_t w_ms, const uint64_t *hash,
		    uint32_t n, struct uniq_scratch *s);
/* It was seen at t_ms. False: it must first be copied into a larger one, see uniq_next_cap(). */
bool uniq_add(struct uniq *u, int64_t t_ms, int64_t w_ms, uint64_t hash);
/* What cap its live members and one more call for; 0: time for an estimate, or still too many to go
 * back. */
uint32_t uniq_next_cap(const struct uniq *u, int64_t now_ms, int64_t w_ms);
/* Live members into an empty one. */
void uniq_copy(const struct uniq *from, struct uniq *to, int64_t now_ms, int64_t w_ms);
/* Nothing in it counts any more. */
bool uniq_is_empty(const struct uniq *u, int64_t now_ms, int64_t w_ms);
/*
 * In how many milliseconds those of hash[n] would be within max if nothing else is seen; 0: now.
 * Exact while it is exact; an estimate gives the time at which its oldest slot goes.
 */
int64_t uniq_retry(const struct uniq *u, int64_t now_ms, int64_t w_ms, uint64_t max,
		   const uint64_t *hash, uint32_t n, struct uniq_scratch *s);
/* In how many milliseconds nothing counts any more. */
int64_t uniq_empty_in(const struct uniq *u, int64_t now_ms, int64_t w_ms);

#endif
