/*
 * policy - which sources are exempt. Pure.
 *
 * Holds every entry that acctd sent, those to come and those over included; each question names the
 * time. Not thread-safe: its owner guards it (nfq/worker.h).
 */
#ifndef NFQ_POLICY_H
#define NFQ_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/feed.h"
#include "lib/addr.h"

struct policy;

/* Allocated under ctx (talloc); version 0 and empty: nothing is known. */
struct policy *policy_new(void *ctx);
void policy_free(struct policy *p);
uint64_t policy_version(const struct policy *p);
void policy_set_version(struct policy *p, uint64_t version);
size_t policy_count(const struct policy *p);
/* Those of one family with lo..hi bits. */
size_t policy_count_lengths(const struct policy *p, bool is4, unsigned lo, unsigned hi);

/* Add, or replace the entry with this exemption id and prefix. */
void policy_put(struct policy *p, const struct policy_entry *e);
/* Entries with this prefix and id; false when there was none. */
bool policy_remove(struct policy *p, const struct policy_entry *e);

/* In force at now_ms: starts_ms <= now_ms < expires_ms. */
bool policy_active(const struct policy_entry *e, int64_t now_ms);

/*
 * The entry that decides for a at now_ms, or NULL: the longest prefix in force of lo..hi bits (of
 * a's own family); of several with this prefix one of class full, then the one that ends last.
 * until_ms (may be NULL) is set to the end of the last of all entries in force that contain a (0:
 * no end).
 */
const struct policy_entry *policy_find(const struct policy *p, const struct addr *a, unsigned lo,
				       unsigned hi, int64_t now_ms, int64_t *until_ms);
/* policy_find() over all lengths. */
const struct policy_entry *policy_match(const struct policy *p, const struct addr *a,
					int64_t now_ms);
/* Every entry, in no order. fn returns false to stop. */
void policy_each(const struct policy *p, bool (*fn)(const struct policy_entry *e, void *arg),
		 void *arg);
/* The next point in time after now_ms at which an entry starts or ends; 0: none. */
int64_t policy_next_edge(const struct policy *p, int64_t now_ms);

/*
 * The snapshot on disk: "SKNP", u32 2, u64 version, u32 count, entries of policy_entry_put(), u32
 * CRC. Files of version 1 are read, too. policy_encode() returns talloc'd bytes under ctx.
 */
uint8_t *policy_encode(const struct policy *p, void *ctx, size_t *len);
/* A new policy under ctx, or NULL with *err (static text): nothing of a damaged file is used. */
struct policy *policy_decode(void *ctx, const uint8_t *data, size_t len, const char **err);

#endif
