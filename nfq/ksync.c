/*
 * ksync - see ksync.h.
 *
 * Keeps a mirror of the sets, so that a change of policy is a few elements in one transaction. An
 * element is always worked out from the policy again: of several exemptions that fall into it the
 * one that decides gives the class, the chain and the end.
 *
 * Trusted with: what passes without nfqd. Diagnostics: results. Known gaps: an element that
 * somebody else changes by hand, in place of another one, is put right only by the next refill.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/amap.h"
#include "nfq/ksync.h"

#define MIRROR_MAX   ((size_t)1 << 26) /* the kernel's own bound comes first */
#define EARLY_MS     1500 /* an end that is early by less is near enough: nfqd goes on */
#define LATE_MS	     100  /* and late by less: the end of the exemption is looked at, too */
#define LAST_MS	     20	  /* the kernel's clock is coarse: nfqd judges the last moment */
#define DENY_GROWTH  4
#define DENY_MEMORY  60000 /* at least so long after its end a learned source is remembered */
#define EXPIRE_MS    10000
#define MAPS_TOUCHED 4096 /* a table of dirty elements that was larger is given back */
#define SLACK	     64	  /* elements that the kernel counts, but has taken out already */

/* Holds prefixes of lo..len bits: what is shorter than lo would be more than KSYNC_EXPAND_MAX
 * elements. */
struct level {
	unsigned len, lo;
};
static const struct level levels[NFTSET_ALLOW_SETS] = {
    [NFTSET_ALLOW4_32] = {32, 25}, [NFTSET_ALLOW4_24] = {24, 8},  [NFTSET_ALLOW6_128] = {128, 112},
    [NFTSET_ALLOW6_64] = {64, 57}, [NFTSET_ALLOW6_56] = {56, 49}, [NFTSET_ALLOW6_48] = {48, 32},
};

/* An element as the kernel has it, in eight bytes. */
struct held {
	uint64_t until_ms : 48; /* UTC; 0: no end */
	uint64_t class : 8;	/* the policy's index; of another than full: in the class map */
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

struct ksync {
	struct amap *mirror[NFTSET_ALLOW_SETS]; /* key -> struct held */
	struct amap *dirty;			/* key and allow set, to be looked at */
	struct amap *dirty_prefixes;		/* address and length */
	struct amap *listed;			/* address and length -> struct pairs */
	struct amap *denied;			/* key and length -> struct denied */
	uint32_t deny_lengths;			/* of IPv6, those ever learned: bit len - 48 */
	struct prefix *loose;
	size_t n_loose;
	size_t counts[NFTSET_FILLED];
	struct ops ops, learned;
	int64_t expired_ms; /* monotonic: when the learned ones were last gone through */
	bool loose_changed;
	char unchained[POLICY_CLASS];
	char classes[POLICY_CLASSES][POLICY_CLASS]; /* names of the mirror's classes */
};

struct look {
	struct ksync *k;
	struct nftset *n;
	const struct policy *policy;
	int64_t utc_ms;
	struct ksync_result r;
};

struct ksync *ksync_new(void *ctx, size_t set_size)
{
	struct ksync *k = talloc_zero(ctx, struct ksync);
	bug_on(!k);
	for (unsigned i = 0; i < NFTSET_ALLOW_SETS; i++)
		k->mirror[i] =
		    amap_new_short(k, !nftset_is6(i), nftset_is6(i) ? levels[i].len / 8 : AMAP_IPV4,
				   sizeof(struct held), MIRROR_MAX);
	k->dirty = amap_new(k, 1, MIRROR_MAX);
	k->dirty_prefixes = amap_new(k, 1, MIRROR_MAX);
	k->listed = amap_new(k, sizeof(struct pairs), MIRROR_MAX);
	k->denied = amap_new(k, sizeof(struct denied), set_size);
	return k;
}

/* --- prefixes and elements ------------------------------------------------------- */

static enum nftset_id level_of(const struct prefix *p)
{
	bool is4 = addr_is4(&p->a);
	enum nftset_id id = is4 ? NFTSET_ALLOW4_32 : NFTSET_ALLOW6_128;
	enum nftset_id last = is4 ? NFTSET_ALLOW4_24 : NFTSET_ALLOW6_48;
	while (id < last && levels[id + 1].len >= p->len)
		id++;
	return id;
}

/* key + n, counted in units of the set's length. */
static void step(struct addr *key, unsigned len, bool is4)
{
	unsigned bit = (is4 ? 96 : 0) + len; /* one behind the unit's lowest bit */
	for (unsigned i = (bit + 7) / 8; i-- > 0;) {
		unsigned unit = i == (bit - 1) / 8 ? 1u << ((8 - bit % 8) % 8) : 1u;
		unsigned sum = key->b[i] + unit;
		key->b[i] = (uint8_t)sum;
		if (sum < 256)
			return;
	}
}

static bool is_loose(const struct prefix *p)
{
	return p->len < levels[level_of(p)].lo;
}

bool ksync_expand(const struct prefix *p,
		  void (*fn)(enum nftset_id set, const struct addr *key, void *arg), void *arg)
{
	enum nftset_id id = level_of(p);
	struct addr key = p->a;
	if (is_loose(p))
		return false;
	for (uint32_t n = 1u << (levels[id].len - p->len); n > 0; n--) {
		fn(id, &key, arg);
		step(&key, levels[id].len, addr_is4(&p->a));
	}
	return true;
}

void ksync_key(enum nftset_id set, const struct addr *a, struct addr *key)
{
	addr_mask(a, (uint8_t)levels[set].len, key);
}

enum nftset_id ksync_deny_set(bool is4, uint8_t len)
{
	if (is4)
		return len == 32 ? NFTSET_DENY4 : NFTSET_COUNT;
	return len >= 48 && len <= 64 ? NFTSET_DENY6_48 + (len - 48u) : NFTSET_COUNT;
}

/* --- what differs ---------------------------------------------------------------- */

static struct nftset_op *push(struct ksync *k, struct ops *ops, enum nftset_verb verb,
			      enum nftset_id set, const struct addr *key, int64_t timeout_ms)
{
	if (ops->n == ops->cap) {
		ops->cap = ops->cap ? ops->cap * 2 : 256;
		ops->v = talloc_realloc(k, ops->v, struct nftset_op, ops->cap);
		bug_on(!ops->v);
	}
	struct nftset_op *op = &ops->v[ops->n++];
	*op = (struct nftset_op){.verb = verb, .set = set, .key = *key, .timeout_ms = timeout_ms};
	return op;
}

static void add_result(struct nftset_result *sum, const struct nftset_result *r)
{
	sum->full += r->full;
	sum->failed += r->failed;
	if (r->failed)
		sum->error = r->error;
}

static void send_ops(struct look *l)
{
	struct ops *ops = &l->k->ops;
	const struct nftset_result r = nftset_apply(l->n, ops->v, ops->n);
	l->r.changed += ops->n;
	add_result(&l->r.sets, &r);
	ops->n = 0;
}

/* The ops of one element stay in one transaction. */
static void send_many(struct look *l)
{
	if (l->k->ops.n >= NFTSET_CHUNK - 2 * POLICY_DST_MAX)
		send_ops(l);
}

static bool near_enough(int64_t held, int64_t want)
{
	if (held == want)
		return true;
	return held != 0 && want != 0 && want - held < EARLY_MS && held - want < LATE_MS;
}

static int64_t timeout(int64_t until_ms, int64_t utc_ms)
{
	int64_t left = until_ms - utc_ms - LAST_MS;
	if (until_ms == 0)
		return 0;
	return left > 0 ? left : 1;
}

static enum nftset_id place(enum nftset_id set, const struct held *h)
{
	return h->class == POLICY_CLASS_FULL ? set : set + NFTSET_CLASS4_32;
}

static void chain_name(char out[static NFTSET_CHAIN], const char *class, unsigned len)
{
	(void)snprintf(out, NFTSET_CHAIN, "class_%.15s_%u", class, len);
}

/* The class whose chain the element goes to; false: the rules have none, nfqd judges. */
static bool chained(struct look *l, enum nftset_id set, struct held *want)
{
	char chain[NFTSET_CHAIN];
	const char *name = policy_class(l->policy, want->class);
	if (want->class == POLICY_CLASS_FULL)
		return true;
	chain_name(chain, name, want->len);
	if (nftset_has_chain(l->n, nftset_is6(set), chain))
		return true;
	(void)snprintf(l->k->unchained, sizeof l->k->unchained, "%s", name);
	want->class = POLICY_CLASS_THROTTLED;
	chain_name(chain, "throttled", want->len);
	return nftset_has_chain(l->n, nftset_is6(set), chain);
}

static void put_op(struct look *l, enum nftset_verb verb, enum nftset_id set,
		   const struct addr *key, const struct held *h)
{
	l->k->counts[place(set, h)] += verb == NFTSET_ADD ? 1u : 0u;
	l->k->counts[place(set, h)] -= verb == NFTSET_DELETE ? 1u : 0u;
	struct nftset_op *op = push(l->k, &l->k->ops, verb, place(set, h), key,
				    timeout((int64_t)h->until_ms, l->utc_ms));
	if (h->class != POLICY_CLASS_FULL)
		chain_name(op->chain, l->k->classes[h->class], (unsigned)h->len);
}

static bool same_chain(const struct held *x, const struct held *y)
{
	return x->class == y->class && (x->class == POLICY_CLASS_FULL || x->len == y->len);
}

static void put_held(struct look *l, enum nftset_id set, const struct addr *key,
		     const struct held *want)
{
	bool is_new;
	struct held *h = amap_put(l->k->mirror[set], key, 0, &is_new);
	bug_on(!h);
	if (is_new) {
		put_op(l, NFTSET_ADD, set, key, want);
	} else if (place(set, h) != place(set, want)) {
		put_op(l, NFTSET_DELETE, set, key, h);
		put_op(l, NFTSET_ADD, set, key, want);
	} else if (!same_chain(h, want) ||
		   !near_enough((int64_t)h->until_ms, (int64_t)want->until_ms)) {
		put_op(l, NFTSET_REPLACE, set, key, want);
	} else {
		return; /* near enough is not the same: the end stays what the kernel has */
	}
	*h = *want;
}

/* A learned refusal of a source that is exempt now: the kernel looks it up before most elements. */
static void undeny(struct ksync *k, const struct addr *a)
{
	struct addr key;
	bool is4 = addr_is4(a);
	for (uint32_t bits = is4 ? 1 : k->deny_lengths; bits; bits &= bits - 1) {
		uint8_t len = (uint8_t)(is4 ? 32 : 48 + __builtin_ctz(bits));
		addr_mask(a, len, &key);
		if (!amap_remove(k->denied, &key, len))
			continue;
		(void)push(k, &k->ops, NFTSET_DELETE, ksync_deny_set(is4, len), &key, 0);
		k->counts[ksync_deny_set(is4, len)]--;
	}
}

/* Every line that the element covers; those of IPv6 are at least as wide as their elements. */
static void undeny_element(struct ksync *k, enum nftset_id set, const struct addr *key)
{
	struct addr a = *key;
	if (amap_count(k->denied) == 0)
		return;
	if (set != NFTSET_ALLOW4_24) {
		undeny(k, &a);
		return;
	}
	for (unsigned host = 0; host < 256; host++) {
		a.b[15] = (uint8_t)host;
		undeny(k, &a);
	}
}

/* What should be there, for an element. */
static bool wanted(struct look *l, enum nftset_id set, const struct addr *key, struct held *want)
{
	/* No loose prefix: when that goes, nobody would look for the elements it had a part in. */
	const struct policy_item *i =
	    policy_find(l->policy, key, levels[set].lo, levels[set].len, l->utc_ms, NULL);
	if (!i)
		return false;
	*want = (struct held){(uint64_t)i->expires_ms & 0xffffffffffffu, i->class, i->len};
	return chained(l, set, want);
}

static void look_at(struct look *l, enum nftset_id set, const struct addr *key)
{
	struct amap *mirror = l->k->mirror[set];
	struct held want;
	if (wanted(l, set, key, &want)) {
		put_held(l, set, key, &want);
		undeny_element(l->k, set, key);
	} else {
		const struct held *h = amap_get(mirror, key, 0);
		if (h)
			put_op(l, NFTSET_DELETE, set, key, h);
		(void)amap_remove(mirror, key, 0);
	}
	send_many(l);
}

/* --- listed destinations --------------------------------------------------------- */

static void push_pairs(struct look *l, enum nftset_verb verb, const struct prefix *p,
		       const struct pairs *x)
{
	bool is4 = addr_is4(&p->a);
	for (unsigned i = 0; i < x->dsts->n; i++)
		push(l->k, &l->k->ops, verb, is4 ? NFTSET_LISTED4 : NFTSET_LISTED6, &p->a,
		     timeout(x->until_ms, l->utc_ms))
		    ->dst = x->dsts->v[i].a;
}

/* The hosts of its own family; malloc'd, NULL when there are none. */
static struct policy_dsts *hosts_of(const struct policy_item *i)
{
	bool is4 = addr_is4(&i->a);
	if (!i->dsts)
		return NULL;
	struct policy_dsts *d = calloc(1, sizeof *d + i->dsts->n * sizeof d->v[0]);
	bug_on(!d);
	for (unsigned k = 0; k < i->dsts->n; k++)
		if (addr_is4(&i->dsts->v[k].a) == is4 && prefix_is_host(&i->dsts->v[k]))
			d->v[d->n++] = i->dsts->v[k];
	if (d->n > 0)
		return d;
	free(d);
	return NULL;
}

static bool same_pairs(const struct pairs *x, const struct pairs *y)
{
	if (!x->dsts || !y->dsts || x->dsts->n != y->dsts->n || x->until_ms != y->until_ms)
		return !x->dsts && !y->dsts;
	for (unsigned i = 0; i < x->dsts->n; i++)
		if (!prefix_eq(&x->dsts->v[i], &y->dsts->v[i]))
			return false;
	return true;
}

static bool is_listed(const struct look *l, const struct prefix *p)
{
	const struct policy_item *i = policy_exact(l->policy, p, l->utc_ms);
	return i && policy_kind(l->policy, i) == POLICY_KIND_LISTED && !is_loose(p);
}

/* Calls fn for every other prefix that begins with p's address; until it returns false. */
static bool each_sibling(struct look *l, const struct prefix *p,
			 bool (*fn)(struct look *l, const struct prefix *sibling))
{
	struct prefix x = *p;
	struct addr first;
	for (x.len = addr_is4(&p->a) ? 32 : 128; x.len > 0; x.len--) {
		addr_mask(&x.a, x.len, &first);
		if (!addr_eq(&first, &x.a))
			break;
		if (x.len != p->len && !fn(l, &x))
			return false;
	}
	return true;
}

static bool not_listed(struct look *l, const struct prefix *sibling)
{
	return !is_listed(l, sibling);
}

/* A pair names a line by its first address alone: with two, the daemon judges both. */
static void look_at_one(struct look *l, const struct prefix *p)
{
	const struct policy_item *i = policy_exact(l->policy, p, l->utc_ms);
	struct pairs want = {0}, held = {0};
	struct pairs *x = amap_get(l->k->listed, &p->a, p->len);
	size_t *count = &l->k->counts[addr_is4(&p->a) ? NFTSET_LISTED4 : NFTSET_LISTED6];
	if (is_listed(l, p) && each_sibling(l, p, not_listed))
		want = (struct pairs){i->expires_ms, hosts_of(i)};
	if (x)
		held = *x;
	if (same_pairs(&held, &want)) {
		free(want.dsts);
		return;
	}
	if (held.dsts) {
		push_pairs(l, NFTSET_DELETE, p, &held);
		*count -= held.dsts->n;
		free(held.dsts);
	}
	(void)amap_remove(l->k->listed, &p->a, p->len);
	if (want.dsts) {
		x = amap_put(l->k->listed, &p->a, p->len, NULL);
		bug_on(!x);
		*x = want;
		*count += want.dsts->n;
		push_pairs(l, NFTSET_ADD, p, &want);
	}
	send_many(l);
}

static bool look_at_sibling(struct look *l, const struct prefix *sibling)
{
	if (is_listed(l, sibling) || amap_get(l->k->listed, &sibling->a, sibling->len))
		look_at_one(l, sibling);
	return true;
}

static void look_at_pairs(struct look *l, const struct prefix *p)
{
	/* Deletions first: what two had in common is added again by the one that is left. */
	(void)each_sibling(l, p, look_at_sibling);
	look_at_one(l, p);
	(void)each_sibling(l, p, look_at_sibling);
}

static bool drop_pairs(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct pairs *x = value;
	(void)key, (void)tag, (void)arg;
	free(x->dsts);
	return true;
}

static void forget_pairs(struct ksync *k)
{
	amap_each(k->listed, drop_pairs, NULL);
}

/* --- loose exemptions and the deny sets ------------------------------------------ */

/* A deny element would stand in front of a verdict that allows. */
static bool touches_loose(const struct ksync *k, const struct addr *key, uint8_t len)
{
	struct prefix p = {*key, len};
	for (size_t i = 0; i < k->n_loose; i++)
		if (prefix_contains(&k->loose[i], key) || prefix_contains(&p, &k->loose[i].a))
			return true;
	return false;
}

static bool undeny_loose(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct look *l = arg;
	(void)value;
	if (!touches_loose(l->k, key, tag))
		return false;
	(void)push(l->k, &l->k->ops, NFTSET_DELETE, ksync_deny_set(addr_is4(key), tag), key, 0);
	l->k->counts[ksync_deny_set(addr_is4(key), tag)]--;
	send_many(l);
	return true;
}

static bool collect_loose(const struct policy_item *i, void *arg)
{
	struct look *l = arg;
	struct ksync *k = l->k;
	if (!policy_active(i, l->utc_ms))
		return true;
	k->loose = talloc_realloc(k, k->loose, struct prefix, k->n_loose + 1);
	bug_on(!k->loose);
	k->loose[k->n_loose++] = policy_prefix(i);
	return true;
}

/* There are few of them, or none: a change must not cost a walk over a million others. */
static void collect_all_loose(struct look *l)
{
	l->k->n_loose = 0;
	policy_each_length(l->policy, true, 0, levels[NFTSET_ALLOW4_24].lo - 1, collect_loose, l);
	policy_each_length(l->policy, false, 0, levels[NFTSET_ALLOW6_48].lo - 1, collect_loose, l);
	policy_each_length(l->policy, false, levels[NFTSET_ALLOW6_64].len + 1,
			   levels[NFTSET_ALLOW6_128].lo - 1, collect_loose, l);
	if (l->k->loose_changed)
		amap_each(l->k->denied, undeny_loose, l);
	l->k->loose_changed = false;
}

/* --- what is dirty --------------------------------------------------------------- */

static void mark_element(enum nftset_id set, const struct addr *key, void *arg)
{
	struct ksync *k = arg;
	bug_on(!amap_put(k->dirty, key, (uint8_t)set, NULL));
}

void ksync_dirty(struct ksync *k, const struct prefix *p)
{
	bug_on(!amap_put(k->dirty_prefixes, &p->a, p->len, NULL));
	if (!ksync_expand(p, mark_element, k))
		k->loose_changed = true;
}

bool ksync_pending(const struct ksync *k)
{
	return amap_count(k->dirty_prefixes) > 0;
}

static bool look_at_dirty(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	(void)value;
	look_at(arg, tag, key);
	return true; /* looked at: no longer dirty */
}

static bool look_at_prefix(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	const struct prefix p = {*key, tag};
	(void)value;
	look_at_pairs(arg, &p);
	return true;
}

static void clean(struct amap *m, size_t had)
{
	if (had > MAPS_TOUCHED)
		amap_clear(m);
}

static struct look look_begin(struct ksync *k, struct nftset *n, const struct policy *policy,
			      int64_t utc_ms)
{
	for (unsigned i = 0; i < policy_classes(policy); i++)
		memcpy(k->classes[i], policy_class(policy, i), POLICY_CLASS);
	k->ops.n = 0;
	return (struct look){k, n, policy, utc_ms, {0}};
}

struct ksync_result ksync_flush(struct ksync *k, struct nftset *n, const struct policy *policy,
				int64_t utc_ms)
{
	struct look l = look_begin(k, n, policy, utc_ms);
	size_t had = amap_count(k->dirty), prefixes = amap_count(k->dirty_prefixes);
	amap_each(k->dirty, look_at_dirty, &l);
	amap_each(k->dirty_prefixes, look_at_prefix, &l);
	clean(k->dirty, had);
	clean(k->dirty_prefixes, prefixes);
	if (k->loose_changed)
		collect_all_loose(&l);
	send_ops(&l);
	return l.r;
}

/* --- everything ------------------------------------------------------------------ */

struct keep {
	struct look *l;
	enum nftset_id set;
};

/* Out first: there may be no room for others before. */
static bool remove_unwanted(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	const struct keep *x = arg;
	struct held want;
	(void)tag;
	if (wanted(x->l, x->set, key, &want))
		return false;
	put_op(x->l, NFTSET_DELETE, x->set, key, value);
	send_many(x->l);
	return true;
}

static bool check_pairs(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct look *l = arg;
	struct pairs *x = value;
	const struct prefix p = {*key, tag};
	const struct policy_item *i = policy_exact(l->policy, &p, l->utc_ms);
	if (i && policy_kind(l->policy, i) == POLICY_KIND_LISTED)
		return false;
	push_pairs(l, NFTSET_DELETE, &p, x);
	l->k->counts[addr_is4(key) ? NFTSET_LISTED4 : NFTSET_LISTED6] -= x->dsts->n;
	free(x->dsts);
	send_many(l);
	return true;
}

static void look_at_wanted(enum nftset_id set, const struct addr *key, void *arg)
{
	look_at(arg, set, key);
}

static bool look_at_item(const struct policy_item *i, void *arg)
{
	struct look *l = arg;
	const struct prefix p = policy_prefix(i);
	if (!policy_active(i, l->utc_ms))
		return true;
	(void)ksync_expand(&p, look_at_wanted, l);
	if (i->dsts)
		look_at_pairs(l, &p);
	return true;
}

static void full(struct look *l)
{
	struct ksync *k = l->k;
	amap_clear(k->dirty);
	amap_clear(k->dirty_prefixes);
	k->unchained[0] = '\0';
	for (enum nftset_id set = 0; set < NFTSET_ALLOW_SETS; set++) {
		struct keep x = {l, set};
		amap_each(k->mirror[set], remove_unwanted, &x);
	}
	amap_each(k->listed, check_pairs, l);
	policy_each(l->policy, look_at_item, l);
	k->loose_changed = true;
	collect_all_loose(l);
	send_ops(l);
}

/* Names keep their indexes only within one policy: the mirror takes those of the new one. */
static void rename_classes(struct ksync *k, const struct policy *policy)
{
	bool same = true;
	for (unsigned i = 0; i < POLICY_CLASSES && k->classes[i][0]; i++)
		same &= i < policy_classes(policy) &&
			strcmp(k->classes[i], policy_class(policy, i)) == 0;
	if (same)
		return;
	memset(k->classes, 0, sizeof k->classes);
}

struct ksync_result ksync_full(struct ksync *k, struct nftset *n, const struct policy *policy,
			       int64_t utc_ms)
{
	rename_classes(k, policy);
	if (!k->classes[0][0])
		return ksync_refill(k, n, policy, utc_ms);
	struct look l = look_begin(k, n, policy, utc_ms);
	full(&l);
	return l.r;
}

struct ksync_result ksync_refill(struct ksync *k, struct nftset *n, const struct policy *policy,
				 int64_t utc_ms)
{
	static const struct addr none = {{0}};
	ksync_forget(k);
	struct look l = look_begin(k, n, policy, utc_ms);
	for (unsigned set = 0; set < NFTSET_FILLED; set++)
		(void)push(k, &k->ops, NFTSET_FLUSH, set, &none, 0);
	full(&l);
	return l.r;
}

void ksync_forget(struct ksync *k)
{
	for (unsigned set = 0; set < NFTSET_ALLOW_SETS; set++)
		amap_clear(k->mirror[set]);
	amap_clear(k->dirty);
	amap_clear(k->dirty_prefixes);
	amap_clear(k->denied);
	forget_pairs(k);
	memset(k->counts, 0, sizeof k->counts);
	k->ops.n = 0;
	k->learned.n = 0;
}

/* --- what was learned ------------------------------------------------------------ */

/* When a learned source is forgotten: until then the next time is longer. */
static int64_t remembered_ms(const struct denied *d)
{
	return d->end_ms + (d->timeout_ms > DENY_MEMORY ? d->timeout_ms : DENY_MEMORY);
}

void ksync_learn(struct ksync *k, const struct nftset *n, const struct addr *key, uint8_t len,
		 int64_t mono_ms, int64_t base_ms, int64_t max_ms)
{
	bool is4 = addr_is4(key), is_new;
	enum nftset_id set = ksync_deny_set(is4, len);
	if (set == NFTSET_COUNT || !nftset_present(n, set) ||
	    (k->n_loose > 0 && touches_loose(k, key, len)))
		return;
	struct denied *d = amap_put(k->denied, key, len, &is_new);
	if (!d || (!is_new && d->end_ms > mono_ms))
		return;
	k->counts[set] += is_new;
	bool again = !is_new && remembered_ms(d) > mono_ms;
	int64_t ms = again ? d->timeout_ms * DENY_GROWTH : base_ms;
	if (ms > max_ms)
		ms = max_ms > base_ms ? max_ms : base_ms;
	*d = (struct denied){mono_ms + ms, ms};
	if (!is4)
		k->deny_lengths |= 1u << (len - 48);
	(void)push(k, &k->learned, NFTSET_ADD, set, key, ms);
}

struct nftset_result ksync_learn_flush(struct ksync *k, struct nftset *n)
{
	struct nftset_result r = nftset_apply(n, k->learned.v, k->learned.n);
	k->learned.n = 0;
	return r;
}

struct expiry {
	struct ksync *k;
	int64_t mono_ms;
};

static bool is_over(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	const struct expiry *x = arg;
	if (remembered_ms(value) > x->mono_ms)
		return false;
	x->k->counts[ksync_deny_set(addr_is4(key), tag)]--;
	return true;
}

void ksync_expire(struct ksync *k, int64_t mono_ms)
{
	struct expiry x = {k, mono_ms};
	if (mono_ms - k->expired_ms < EXPIRE_MS)
		return;
	k->expired_ms = mono_ms;
	amap_each(k->denied, is_over, &x);
}

/* --- figures --------------------------------------------------------------------- */

void ksync_fill(const struct ksync *k, size_t counts[static NFTSET_FILLED])
{
	memcpy(counts, k->counts, sizeof k->counts);
}

bool ksync_differs(const struct ksync *k, const struct nftset *n)
{
	for (enum nftset_id set = 0; set < NFTSET_ALLOW_SETS; set++) {
		size_t allow = nftset_elements(n, set),
		       class = nftset_elements(n, set + NFTSET_CLASS4_32),
		       want = amap_count(k->mirror[set]);
		if (!nftset_present(n, set) || !nftset_present(n, set + NFTSET_CLASS4_32) ||
		    allow == NFTSET_COUNT_UNKNOWN)
			continue;
		if (allow + class > want + SLACK || allow + class + SLACK < want)
			return true;
	}
	return false;
}

size_t ksync_loose(const struct ksync *k)
{
	return k->n_loose;
}

const char *ksync_unchained(const struct ksync *k)
{
	return k->unchained;
}
