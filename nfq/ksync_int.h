/*
 * ksync_int - what the parts of ksync share: ksync.c (the mirror, elements), ksync_pairs.c (listed
 * destinations), ksync_deny.c (what was learned), ksync_walk.c (what is looked at, and when).
 */
#ifndef NFQ_KSYNC_INT_H
#define NFQ_KSYNC_INT_H

#include "nfq/amap.h"
#include "nfq/ksync.h"

#define KSYNC_CLASSES 256

/* Holds prefixes of lo..len bits: what is shorter than lo would be more than KSYNC_EXPAND_MAX
 * elements. */
struct level {
	unsigned len, lo;
};
extern const struct level ksync_levels[NFTSET_ALLOW_SETS];

/* An element as the kernel has it, in eight bytes. */
struct held {
	uint64_t until_ms : 48; /* UTC; 0: no end */
	uint64_t class : 8;	/* as in ksync.classes; of another than full: in the class map */
	uint64_t len : 8;	/* of the exemption, for the chain's name */
};

/* Pairs of one exemption in a listed set. */
struct pairs {
	int64_t until_ms;
	struct policy_dsts *dsts; /* hosts of its family only */
};

struct denied {
	int64_t end_ms; /* monotonic */
	int64_t timeout_ms;
};

struct ops {
	struct nftset_op *v;
	size_t n, cap;
};

struct later {
	struct amap *m;
	struct amap_walk at;
};

/* Where a comparison of everything is. */
struct ksync_walk {
	enum ksync_phase {
		KSYNC_IDLE,
		KSYNC_TAKE_OUT, /* elements that should not be; first: there may be no room */
		KSYNC_PAIRS,	/* listed pairs, the same */
		KSYNC_LIMITED,	/* what should be: limited classes, that wait for it */
		KSYNC_FULL,
		KSYNC_LOOSE,
	} phase;
	enum nftset_id set;
	struct amap_walk at;
	uint32_t item;
	bool refill;
};

struct ksync {
	struct amap *mirror[NFTSET_ALLOW_SETS]; /* key -> struct held */
	struct amap *dirty;			/* key and allow set, to be looked at */
	struct amap *dirty_prefixes;		/* address and length */
	struct later later, later_prefixes;	/* the same, when they are many: in slices */
	struct amap *listed;			/* address and length -> struct pairs */
	struct amap *denied;			/* key and length -> struct denied */
	struct amap *near;     /* key of a hosts or near set, and that set -> uint32_t, elements
				  of the mirror in it */
	uint32_t deny_lengths; /* of IPv6, those ever learned: bit len - 48 */
	struct prefix *loose;
	size_t n_loose;
	size_t counts[NFTSET_FILLED];
	size_t
	    over[NFTSET_ALLOW_SETS]; /* ran out by themselves: the kernel counts them for a while */
	struct ops ops, learned;
	struct amap_walk expiry; /* through the learned ones */
	struct ksync_walk walk;	 /* through everything */
	bool loose_changed;
	char unchained[POLICY_CLASS];
	bool holes; /* the sets may lack exemptions that are in force */
	bool holed; /* again, in the refill that is under way */
	/* The mirror's classes by name: full and throttled first, as a policy has them. */
	unsigned n_classes;
	char classes[KSYNC_CLASSES][POLICY_CLASS];
};

struct look {
	struct ksync *k;
	struct nftset *n;
	const struct policy *policy;
	int64_t utc_ms;
	uint8_t class_of[POLICY_CLASSES]; /* the mirror's, of the policy's */
	size_t chunk;			  /* ops of one transaction */
	size_t looks;			  /* elements looked at so far */
	bool sent;			  /* a transaction, before the last */
	struct ksync_result r;
};

/* --- ksync.c --------------------------------------------------------------------- */

/* More than KSYNC_EXPAND_MAX elements? */
bool ksync_is_loose(const struct prefix *p);
/* What is left of an end, for the kernel; 0: there is none. */
int64_t ksync_timeout(int64_t until_ms, int64_t utc_ms);
struct nftset_op *ksync_push(struct ksync *k, struct ops *ops, enum nftset_verb verb,
			     enum nftset_id set, const struct addr *key, int64_t timeout_ms);
/* An element's op, counted. */
void ksync_put_op(struct look *l, enum nftset_verb verb, enum nftset_id set, const struct addr *key,
		  const struct held *h);
void ksync_send_ops(struct look *l);
/* When there are many. The ops of one element stay in one transaction. */
void ksync_send_many(struct look *l);
/* What should be there, for an element; false: nothing. */
bool ksync_wanted(struct look *l, enum nftset_id set, const struct addr *key, struct held *want);
/* Bring an element up to the policy. */
void ksync_look_at(struct look *l, enum nftset_id set, const struct addr *key);

/* --- ksync_pairs.c --------------------------------------------------------------- */

/* Bring the pairs of the exemptions with this prefix up to the policy. */
void ksync_look_at_pairs(struct look *l, const struct prefix *p);
/* amap_some() over k->listed: take out those of no listed exemption. */
bool ksync_check_pairs(const struct addr *key, uint8_t tag, void *value, void *arg);
void ksync_forget_pairs(struct ksync *k);

/* --- ksync_deny.c ---------------------------------------------------------------- */

/* An element that is exempt now was perhaps learned. */
void ksync_undeny_element(struct ksync *k, enum nftset_id set, const struct addr *key);
/* Find the loose exemptions anew; what was learned and touches one goes. */
void ksync_collect_loose(struct look *l);

#endif
