/*
 * ksync - the policy put into the kernel's allow sets and class maps, and what was learned into its
 * deny sets.
 *
 * A prefix becomes elements of the set with the next length that there is (IPv4: /24, /32; IPv6:
 * /48, /56, /64, /128): a /29 is eight hosts. A prefix that would be more than KSYNC_EXPAND_MAX
 * elements stays with nfqd, which judges its packets one by one ("loose"). So does an exemption of
 * a class that the loaded rules have no chain for.
 *
 * What the kernel holds is remembered, not read: reading a set costs the kernel the square of its
 * size. When in doubt, everything is taken out and put in again; meanwhile nfqd judges.
 */
#ifndef NFQ_KSYNC_H
#define NFQ_KSYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfq/nftset.h"
#include "nfq/policy.h"

#define KSYNC_EXPAND_MAX 65536u

struct ksync;

struct ksync *ksync_new(void *ctx, size_t set_size);

/* Pure: the elements of a prefix, told one by one; false and none when they are too many. */
bool ksync_expand(const struct prefix *p,
		  void (*fn)(enum nftset_id set, const struct addr *key, void *arg), void *arg);
/* How many there are; 0: too many. */
uint32_t ksync_elements(const struct prefix *p);
/* The element of set (an allow set) that an address falls into. */
void ksync_key(enum nftset_id set, const struct addr *a, struct addr *key);

struct ksync_result {
	size_t changed;
	struct nftset_result sets;
};

/* This prefix of the policy changed. Takes effect with ksync_flush(). */
void ksync_dirty(struct ksync *k, const struct prefix *p);
bool ksync_pending(const struct ksync *k);
/* Bring the kernel up to the policy, for what is dirty. utc_ms is now. What is more than a few
 * thousand elements is left to ksync_step(). */
struct ksync_result ksync_flush(struct ksync *k, struct nftset *n, const struct policy *policy,
				int64_t utc_ms);
/* The policy is another one: whatever differs is changed. The first slice of it; the rest is done
 * by ksync_step(). What is under way begins anew. */
struct ksync_result ksync_full(struct ksync *k, struct nftset *n, const struct policy *policy,
			       int64_t utc_ms);
/* What the kernel holds is not known: empty the sets, and fill them; the same. A policy of less
 * than NFTSET_CHUNK elements is there with the transaction that empties the sets. */
struct ksync_result ksync_refill(struct ksync *k, struct nftset *n, const struct policy *policy,
				 int64_t utc_ms);
/*
 * A slice of what ksync_flush(), ksync_full() and ksync_refill() left, of a few milliseconds, as
 * long as ksync_busy(). Between two slices the policy may change (ksync_dirty(), ksync_flush());
 * for another policy ksync_full() or ksync_refill() is called again.
 */
struct ksync_result ksync_step(struct ksync *k, struct nftset *n, const struct policy *policy,
			       int64_t utc_ms);
bool ksync_busy(const struct ksync *k);
/* May limited exemptions be missing that will be put in? */
bool ksync_limited_owed(const struct ksync *k);
/* Are there changes that ksync_flush() left? */
bool ksync_behind(const struct ksync *k);
/* The tables are new ones: the kernel holds nothing. */
void ksync_forget(struct ksync *k);
/* Does the kernel tell of other numbers of elements than there should be? After nftset_look(). */
bool ksync_differs(struct ksync *k, const struct nftset *n);

/*
 * A refused source: key is its line, len the line's prefix length. It goes into the deny set with
 * the next ksync_learn_flush(), for base_ms; four times as long as the last time, up to max_ms,
 * when that ran out not long ago. Not taken when it is there already, when a loose exemption
 * touches it, when the rules have no deny set for len, or when the sets lack exemptions that might
 * be of the line.
 */
void ksync_learn(struct ksync *k, const struct nftset *n, const struct addr *key, uint8_t len,
		 int64_t mono_ms, int64_t base_ms, int64_t max_ms);
struct nftset_result ksync_learn_flush(struct ksync *k, struct nftset *n);
/* Forget the learned sources whose time is long over: a part of them in each call. */
void ksync_expire(struct ksync *k, int64_t mono_ms);
/* The deny set of a line; NFTSET_COUNT: there is none of that length. */
enum nftset_id ksync_deny_set(bool is4, uint8_t len);

/* Elements of the sets that are filled here. */
void ksync_fill(const struct ksync *k, size_t counts[static NFTSET_FILLED]);
size_t ksync_loose(const struct ksync *k); /* exemptions that stay with nfqd */
/* A class that the loaded rules have no chain for, as of the last change; "": none. */
const char *ksync_unchained(const struct ksync *k);

#endif
