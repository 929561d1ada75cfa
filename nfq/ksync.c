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
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/ksync_int.h"

#define MIRROR_MAX ((size_t)1 << 26) /* the kernel's own bound comes first */
#define EARLY_MS   1500		     /* an end that is early by less is near enough: nfqd goes on */
#define LATE_MS	   100 /* and late by less: the end of the exemption is looked at, too */
#define LAST_MS	   20  /* the kernel's clock is coarse: nfqd judges the last moment */
#define SUCCESSORS 8
#define SLACK	   64 /* elements that the kernel counts, but has taken out already */

const struct level ksync_levels[NFTSET_ALLOW_SETS] = {
    [NFTSET_ALLOW4_32] = {32, 25}, [NFTSET_ALLOW4_24] = {24, 8},  [NFTSET_ALLOW6_128] = {128, 112},
    [NFTSET_ALLOW6_64] = {64, 57}, [NFTSET_ALLOW6_56] = {56, 49}, [NFTSET_ALLOW6_48] = {48, 32},
};

struct ksync *ksync_new(void *ctx, size_t set_size)
{
	struct ksync *k = talloc_zero(ctx, struct ksync);
	bug_on(!k);
	for (unsigned i = 0; i < NFTSET_ALLOW_SETS; i++)
		k->mirror[i] = amap_new_short(k, !nftset_is6(i),
					      nftset_is6(i) ? ksync_levels[i].len / 8 : AMAP_IPV4,
					      sizeof(struct held), MIRROR_MAX);
	k->dirty = amap_new(k, 1, MIRROR_MAX);
	k->dirty_prefixes = amap_new(k, 1, MIRROR_MAX);
	k->later.m = amap_new(k, 1, MIRROR_MAX);
	k->later_prefixes.m = amap_new(k, 1, MIRROR_MAX);
	k->listed = amap_new(k, sizeof(struct pairs), MIRROR_MAX);
	k->denied = amap_new(k, sizeof(struct denied), set_size);
	k->near = amap_new(k, sizeof(uint32_t), MIRROR_MAX);
	return k;
}

void ksync_forget(struct ksync *k)
{
	for (unsigned set = 0; set < NFTSET_ALLOW_SETS; set++)
		amap_clear(k->mirror[set]);
	amap_clear(k->dirty);
	amap_clear(k->dirty_prefixes);
	amap_clear(k->later.m);
	amap_clear(k->later_prefixes.m);
	amap_clear(k->denied);
	amap_clear(k->near);
	ksync_forget_pairs(k);
	memset(k->counts, 0, sizeof k->counts);
	memset(k->over, 0, sizeof k->over);
	k->ops.n = 0;
	k->learned.n = 0;
	k->walk.phase = KSYNC_IDLE;
}

/* --- prefixes and elements ------------------------------------------------------- */

static enum nftset_id level_of(const struct prefix *p)
{
	bool is4 = addr_is4(&p->a);
	enum nftset_id id = is4 ? NFTSET_ALLOW4_32 : NFTSET_ALLOW6_128;
	enum nftset_id last = is4 ? NFTSET_ALLOW4_24 : NFTSET_ALLOW6_48;
	while (id < last && ksync_levels[id + 1].len >= p->len)
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

bool ksync_is_loose(const struct prefix *p)
{
	return p->len < ksync_levels[level_of(p)].lo;
}

uint32_t ksync_elements(const struct prefix *p)
{
	return ksync_is_loose(p) ? 0 : 1u << (ksync_levels[level_of(p)].len - p->len);
}

bool ksync_expand(const struct prefix *p,
		  void (*fn)(enum nftset_id set, const struct addr *key, void *arg), void *arg)
{
	enum nftset_id id = level_of(p);
	struct addr key = p->a;
	if (ksync_is_loose(p))
		return false;
	for (uint32_t n = ksync_elements(p); n > 0; n--) {
		fn(id, &key, arg);
		step(&key, ksync_levels[id].len, addr_is4(&p->a));
	}
	return true;
}

void ksync_key(enum nftset_id set, const struct addr *a, struct addr *key)
{
	addr_mask(a, (uint8_t)ksync_levels[set].len, key);
}

enum nftset_id ksync_deny_set(bool is4, uint8_t len)
{
	if (is4)
		return len == 32 ? NFTSET_DENY4 : NFTSET_COUNT;
	return len >= 48 && len <= 64 ? NFTSET_DENY6_48 + (len - 48u) : NFTSET_COUNT;
}

/* --- what differs ---------------------------------------------------------------- */

struct nftset_op *ksync_push(struct ksync *k, struct ops *ops, enum nftset_verb verb,
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

void ksync_send_ops(struct look *l)
{
	struct ops *ops = &l->k->ops;
	const struct nftset_result r = nftset_apply(l->n, ops->v, ops->n);
	l->k->holes |= r.full + r.failed > 0;
	l->k->holed |= r.full + r.failed > 0;
	l->r.changed += ops->n;
	add_result(&l->r.sets, &r);
	ops->n = 0;
}

void ksync_send_many(struct look *l)
{
	if (l->k->ops.n < l->chunk - 2 * POLICY_DST_MAX)
		return;
	ksync_send_ops(l);
	l->sent = true;
}

static bool near_enough(int64_t held, int64_t want)
{
	if (held == want)
		return true;
	return held != 0 && want != 0 && want - held < EARLY_MS && held - want < LATE_MS;
}

int64_t ksync_timeout(int64_t until_ms, int64_t utc_ms)
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
	const char *name = l->k->classes[want->class];
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

/* What stands for an element in the set that says where to look for it, and that set. */
static enum nftset_id neighbourhood(enum nftset_id set, const struct addr *key, struct addr *a)
{
	bool is6 = nftset_is6(set);
	bool host = ksync_levels[set].len == (is6 ? 128 : 32);
	if (!is6) {
		addr_mask(key, host ? 28 : 24, a);
		return host ? NFTSET_HOSTS4 : NFTSET_NEAR4;
	}
	/* The rules look at four bytes: bits 32 to 63, or 16 to 47. */
	addr_mask(key, host ? 64 : 48, a);
	memset(a->b, 0, host ? 4 : 2);
	return host ? NFTSET_HOSTS6 : NFTSET_NEAR6;
}

/* The kernel looks for exempt sources only where there are some. An element comes before the first
 * that it stands for, and when it stays too long nothing is wrong. */
static void count_near(struct look *l, enum nftset_verb verb, enum nftset_id set,
		       const struct addr *key)
{
	struct addr a;
	enum nftset_id near = neighbourhood(set, key, &a);
	uint32_t *n = amap_put(l->k->near, &a, (uint8_t)near, NULL);
	bug_on(!n || (verb == NFTSET_DELETE && *n == 0));
	if (verb == NFTSET_ADD && (*n)++ == 0) {
		l->k->counts[near]++;
		(void)ksync_push(l->k, &l->k->ops, NFTSET_ADD, near, &a, 0);
	}
	if (verb == NFTSET_DELETE && --*n == 0) {
		l->k->counts[near]--;
		(void)ksync_push(l->k, &l->k->ops, NFTSET_DELETE, near, &a, 0);
		(void)amap_remove(l->k->near, &a, (uint8_t)near);
	}
}

void ksync_put_op(struct look *l, enum nftset_verb verb, enum nftset_id set, const struct addr *key,
		  const struct held *h)
{
	if (verb != NFTSET_REPLACE)
		count_near(l, verb, set, key);
	l->k->counts[place(set, h)] += verb == NFTSET_ADD ? 1u : 0u;
	l->k->counts[place(set, h)] -= verb == NFTSET_DELETE ? 1u : 0u;
	l->k->over[set] += verb == NFTSET_DELETE && h->until_ms != 0 &&
			   (int64_t)h->until_ms <= l->utc_ms + LAST_MS;
	struct nftset_op *op = ksync_push(l->k, &l->k->ops, verb, place(set, h), key,
					  ksync_timeout((int64_t)h->until_ms, l->utc_ms));
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
		ksync_put_op(l, NFTSET_ADD, set, key, want);
	} else if (place(set, h) != place(set, want)) {
		ksync_put_op(l, NFTSET_DELETE, set, key, h);
		ksync_put_op(l, NFTSET_ADD, set, key, want);
	} else if (!same_chain(h, want) ||
		   !near_enough((int64_t)h->until_ms, (int64_t)want->until_ms)) {
		ksync_put_op(l, NFTSET_REPLACE, set, key, want);
	} else {
		return; /* near enough is not the same: the end stays what the kernel has */
	}
	*h = *want;
}

/*
 * When it ends, another one may go on with the same element. Then the element stays: were it put in
 * again at that moment, packets would meanwhile meet a wider exemption, of another class.
 */
static int64_t last_end(const struct look *l, enum nftset_id set, const struct addr *key,
			const struct policy_item *i)
{
	for (unsigned n = 0; n < SUCCESSORS && i->expires_ms != 0; n++) {
		const struct policy_item *next =
		    policy_find(l->policy, key, ksync_levels[set].lo, ksync_levels[set].len,
				i->expires_ms, NULL);
		if (!next || next->class != i->class ||
		    (i->class != POLICY_CLASS_FULL && next->len != i->len))
			break;
		i = next;
	}
	return i->expires_ms;
}

bool ksync_wanted(struct look *l, enum nftset_id set, const struct addr *key, struct held *want)
{
	/* No loose prefix: when that goes, nobody would look for the elements it had a part in. */
	const struct policy_item *i = policy_find(l->policy, key, ksync_levels[set].lo,
						  ksync_levels[set].len, l->utc_ms, NULL);
	if (!i)
		return false;
	*want = (struct held){(uint64_t)last_end(l, set, key, i) & 0xffffffffffffu,
			      l->class_of[i->class], i->len};
	return chained(l, set, want);
}

void ksync_look_at(struct look *l, enum nftset_id set, const struct addr *key)
{
	struct amap *mirror = l->k->mirror[set];
	struct held want;
	l->looks++;
	if (ksync_wanted(l, set, key, &want)) {
		put_held(l, set, key, &want);
		ksync_undeny_element(l->k, set, key);
	} else {
		const struct held *h = amap_get(mirror, key, 0);
		if (h)
			ksync_put_op(l, NFTSET_DELETE, set, key, h);
		(void)amap_remove(mirror, key, 0);
	}
	ksync_send_many(l);
}

/* --- figures --------------------------------------------------------------------- */

void ksync_fill(const struct ksync *k, size_t counts[static NFTSET_FILLED])
{
	memcpy(counts, k->counts, sizeof k->counts);
}

bool ksync_differs(struct ksync *k, const struct nftset *n)
{
	bool differs = false;
	for (enum nftset_id set = 0; set < NFTSET_ALLOW_SETS; set++) {
		size_t allow = nftset_elements(n, set),
		       class = nftset_elements(n, set + NFTSET_CLASS4_32),
		       want = amap_count(k->mirror[set]);
		if (!nftset_present(n, set) || !nftset_present(n, set + NFTSET_CLASS4_32) ||
		    allow == NFTSET_COUNT_UNKNOWN)
			continue;
		if (allow + class > want + SLACK + k->over[set] || allow + class + SLACK < want)
			differs = true;
		if (allow + class <= want + SLACK)
			k->over[set] = 0; /* it has taken them out */
	}
	return differs;
}

size_t ksync_loose(const struct ksync *k)
{
	return k->n_loose;
}

const char *ksync_unchained(const struct ksync *k)
{
	return k->unchained;
}
