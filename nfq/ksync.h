/*
 * ksync - the policy put into the kernel's allow sets, and what was learned into its deny sets.
 *
 * A prefix becomes elements of the set with the next length that there is (IPv4: /24, /32; IPv6:
 * /48, /56, /64, /128): a /29 is eight hosts. A prefix that would be more than KSYNC_EXPAND_MAX
 * elements stays with nfqd, which judges its packets one by one ("loose").
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
/* The element of set that an address falls into. */
void ksync_key(enum nftset_id set, const struct addr *a, struct addr *key);

struct ksync_result {
	size_t changed;
	struct nftset_result sets;
};

/* This prefix of the policy changed. Takes effect with ksync_flush(). */
void ksync_dirty(struct ksync *k, const struct prefix *p);
bool ksync_pending(const struct ksync *k);
/* Bring the kernel up to the policy, for what is dirty. utc_ms is now. */
struct ksync_result ksync_flush(struct ksync *k, struct nftset *n, const struct policy *policy,
				int64_t utc_ms);
/*
 * Compare everything: the sets are read, and what differs is changed. The deny sets are read the
 * first time only. False with errno when they cannot be read.
 */
bool ksync_full(struct ksync *k, struct nftset *n, const struct policy *policy, int64_t utc_ms,
		int64_t mono_ms, struct ksync_result *r);
/* The table is a new one: the kernel holds nothing. */
void ksync_forget(struct ksync *k);

/*
 * A refused source, as verdict_source_key() has it: it goes into the deny set with the next
 * ksync_learn_flush(). Not taken when it is there already, or when a loose exemption touches it.
 */
void ksync_learn(struct ksync *k, const struct addr *key, int64_t mono_ms, int64_t timeout_ms);
struct nftset_result ksync_learn_flush(struct ksync *k, struct nftset *n);
/* Forget the learned sources whose time is over. */
void ksync_expire(struct ksync *k, int64_t mono_ms);

/* Elements of the allow, throttle and deny sets; 0 for the others. */
void ksync_fill(const struct ksync *k, size_t counts[static NFTSET_COUNT]);
size_t ksync_loose(const struct ksync *k); /* exemptions that stay with nfqd */

#endif
