/*
 * ksync - see ksync.h.
 *
 * Keeps a mirror of the allow sets, so that a change of policy is a few elements in one
 * transaction. An element is always worked out from the policy again: of several exemptions that
 * fall into it the most specific gives the class, and the one that ends last gives the end.
 *
 * Trusted with: what passes without nfqd. Diagnostics: results. Known gaps: none.
 */
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/amap.h"
#include "nfq/ksync.h"
#include "nfq/verdict.h"

#define MIRROR_MAX ((size_t)1 << 26) /* the kernel's own bound comes first */
#define EARLY_MS   1500		     /* an end that is early by less is near enough: nfqd goes on */
#define LAST_MS	   20		     /* the kernel's clock is coarse: nfqd judges the last moment */
#define LATE_MS	   100 /* and late by less: the end of the exemption is looked at, too */

/* Holds prefixes of lo..len bits: what is shorter than lo would be more than KSYNC_EXPAND_MAX
 * elements. */
struct level {
	unsigned len, lo;
};
static const struct level levels[NFTSET_ALLOW_SETS] = {
    [NFTSET_ALLOW4_32] = {32, 25}, [NFTSET_ALLOW4_24] = {24, 8},  [NFTSET_ALLOW6_128] = {128, 112},
    [NFTSET_ALLOW6_64] = {64, 57}, [NFTSET_ALLOW6_56] = {56, 49}, [NFTSET_ALLOW6_48] = {48, 32},
};

/* An element as the kernel has it. */
struct held {
	int64_t until_ms; /* UTC; 0: no end */
	bool throttled;
};

struct ops {
	struct nftset_op *v;
	size_t n, cap;
};

struct ksync {
	struct amap *mirror; /* by key and allow set */
	struct amap *dirty;  /* the same keys, to be looked at */
	struct amap *denied; /* key -> int64_t monotonic end */
	struct prefix *loose;
	size_t n_loose;
	struct ops ops, learned;
	bool new_allow;	  /* since the last flush; or a loose one changed */
	bool denied_read; /* the kernel's deny sets were read once */
};

struct ksync *ksync_new(void *ctx, size_t set_size)
{
	struct ksync *k = talloc_zero(ctx, struct ksync);
	bug_on(!k);
	k->mirror = amap_new(k, sizeof(struct held), MIRROR_MAX);
	k->dirty = amap_new(k, 1, MIRROR_MAX);
	k->denied = amap_new(k, sizeof(int64_t), set_size * 2);
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

/* --- what differs ---------------------------------------------------------------- */

static void push(struct ksync *k, struct ops *ops, enum nftset_verb verb, enum nftset_id set,
		 const struct addr *key, int64_t timeout_ms)
{
	if (ops->n == ops->cap) {
		ops->cap = ops->cap ? ops->cap * 2 : 256;
		ops->v = talloc_realloc(k, ops->v, struct nftset_op, ops->cap);
		bug_on(!ops->v);
	}
	ops->v[ops->n++] = (struct nftset_op){verb, set, *key, timeout_ms};
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

struct look {
	struct ksync *k;
	const struct policy *policy;
	int64_t utc_ms;
};

static void allow_element(struct look *l, enum nftset_id set, const struct addr *key,
			  const struct held *want)
{
	struct ksync *k = l->k;
	enum nftset_id meter = set + NFTSET_THROTTLE4_32;
	int64_t ms = timeout(want->until_ms, l->utc_ms);
	bool is_new;
	struct held *h = amap_put(k->mirror, key, set, &is_new);
	bug_on(!h);
	bool moved = !is_new && !near_enough(h->until_ms, want->until_ms);
	if (is_new || moved)
		push(k, &k->ops, is_new ? NFTSET_ADD : NFTSET_REPLACE, set, key, ms);
	if (want->throttled && (is_new || moved || !h->throttled))
		push(k, &k->ops, moved && h->throttled ? NFTSET_REPLACE : NFTSET_ADD, meter, key,
		     ms);
	if (!want->throttled && !is_new && h->throttled)
		push(k, &k->ops, NFTSET_DELETE, meter, key, 0);
	/* look_at() sees to the learned source that is the element itself. */
	if (is_new && levels[set].len < (nftset_is6(set) ? 64 : 32))
		k->new_allow = true;
	*h = *want;
}

static void remove_element(struct ksync *k, enum nftset_id set, const struct addr *key)
{
	const struct held *h = amap_get(k->mirror, key, set);
	if (!h)
		return;
	push(k, &k->ops, NFTSET_DELETE, set, key, 0);
	if (h->throttled)
		push(k, &k->ops, NFTSET_DELETE, set + NFTSET_THROTTLE4_32, key, 0);
	(void)amap_remove(k->mirror, key, set);
}

static enum nftset_id deny_set(const struct addr *key)
{
	return addr_is4(key) ? NFTSET_DENY4 : NFTSET_DENY6;
}

/* A deny element would stand in front of a verdict that allows. */
static bool touches_loose(const struct ksync *k, const struct addr *key)
{
	struct prefix p = {*key, addr_is4(key) ? 32 : 64};
	for (size_t i = 0; i < k->n_loose; i++)
		if (prefix_contains(&k->loose[i], key) || prefix_contains(&p, &k->loose[i].a))
			return true;
	return false;
}

/* A learned refusal of a source that is exempt now. */
static void undeny(struct ksync *k, const struct addr *a)
{
	struct addr key;
	verdict_source_key(a, &key);
	if (amap_remove(k->denied, &key, 0))
		push(k, &k->ops, NFTSET_DELETE, deny_set(&key), &key, 0);
}

static bool look_at(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct look *l = arg;
	enum nftset_id set = tag;
	const struct level *level = &levels[set];
	struct held want = {0};
	(void)value;
	/* No loose prefix: when that goes, nobody would look for the elements it had a part in. */
	const struct policy_entry *e =
	    policy_find(l->policy, key, level->lo, level->len, l->utc_ms, &want.until_ms);
	if (e) {
		want.throttled = strcmp(e->class, "full") != 0;
		allow_element(l, set, key, &want);
		undeny(l->k, key);
	} else {
		remove_element(l->k, set, key);
	}
	return true; /* looked at: no longer dirty */
}

/* Prefixes wider than a host may hold learned hosts; loose ones have no element that comes first.
 */
static bool undeny_exempt(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct look *l = arg;
	(void)tag;
	(void)value;
	if (!policy_match(l->policy, key, l->utc_ms) && !touches_loose(l->k, key))
		return false;
	push(l->k, &l->k->ops, NFTSET_DELETE, deny_set(key), key, 0);
	return true;
}

static void note_loose(struct ksync *k, const struct prefix *p)
{
	k->loose = talloc_realloc(k, k->loose, struct prefix, k->n_loose + 1);
	bug_on(!k->loose);
	k->loose[k->n_loose++] = *p;
}

static bool collect_loose(const struct policy_entry *e, void *arg)
{
	struct look *l = arg;
	if (is_loose(&e->prefix) && policy_active(e, l->utc_ms))
		note_loose(l->k, &e->prefix);
	return true;
}

/* There are few of them, or none: a change must not cost a walk over a million others. */
static void collect_all_loose(struct look *l)
{
	size_t n = policy_count_lengths(l->policy, true, 0, levels[NFTSET_ALLOW4_24].lo - 1) +
		   policy_count_lengths(l->policy, false, 0, levels[NFTSET_ALLOW6_48].lo - 1) +
		   policy_count_lengths(l->policy, false, levels[NFTSET_ALLOW6_64].len + 1,
					levels[NFTSET_ALLOW6_128].lo - 1);
	l->k->n_loose = 0;
	if (n > 0)
		policy_each(l->policy, collect_loose, l);
}

static struct ksync_result commit(struct look *l, struct nftset *n)
{
	struct ksync *k = l->k;
	amap_each(k->dirty, look_at, l);
	collect_all_loose(l);
	if (k->new_allow)
		amap_each(k->denied, undeny_exempt, l);
	k->new_allow = false;
	struct ksync_result r = {.changed = k->ops.n};
	r.sets = nftset_apply(n, k->ops.v, k->ops.n);
	k->ops.n = 0;
	return r;
}

static void mark_element(enum nftset_id set, const struct addr *key, void *arg)
{
	struct ksync *k = arg;
	bug_on(!amap_put(k->dirty, key, (uint8_t)set, NULL));
}

void ksync_dirty(struct ksync *k, const struct prefix *p)
{
	if (!ksync_expand(p, mark_element, k))
		k->new_allow = true;
}

bool ksync_pending(const struct ksync *k)
{
	return amap_count(k->dirty) > 0;
}

struct ksync_result ksync_flush(struct ksync *k, struct nftset *n, const struct policy *policy,
				int64_t utc_ms)
{
	struct look l = {k, policy, utc_ms};
	return commit(&l, n);
}

/* --- everything ------------------------------------------------------------------ */

struct reading {
	struct ksync *k;
	enum nftset_id set;
	int64_t utc_ms, mono_ms;
};

static void read_allow(const struct nftset_elem *e, void *arg)
{
	const struct reading *r = arg;
	struct held *h = amap_put(r->k->mirror, &e->src, (uint8_t)r->set, NULL);
	bug_on(!h);
	h->until_ms = e->left_ms ? r->utc_ms + e->left_ms : 0;
	mark_element(r->set, &e->src, r->k);
}

/* A throttle element without its allow element does nothing; it is taken out. */
static void read_throttle(const struct nftset_elem *e, void *arg)
{
	const struct reading *r = arg;
	struct held *h = amap_get(r->k->mirror, &e->src, (uint8_t)r->set);
	if (h)
		h->throttled = true;
	else
		push(r->k, &r->k->ops, NFTSET_DELETE, r->set + NFTSET_THROTTLE4_32, &e->src, 0);
}

static void read_denied(const struct nftset_elem *e, void *arg)
{
	const struct reading *r = arg;
	int64_t *end = amap_put(r->k->denied, &e->src, 0, NULL);
	if (end)
		*end = r->mono_ms + e->left_ms;
}

static bool mark_entry(const struct policy_entry *e, void *arg)
{
	ksync_dirty(arg, &e->prefix);
	return true;
}

bool ksync_full(struct ksync *k, struct nftset *n, const struct policy *policy, int64_t utc_ms,
		int64_t mono_ms, struct ksync_result *r)
{
	struct look l = {k, policy, utc_ms};
	struct reading reading = {k, NFTSET_ALLOW4_32, utc_ms, mono_ms};
	amap_clear(k->mirror);
	amap_clear(k->dirty);
	k->ops.n = 0;
	for (; reading.set < NFTSET_ALLOW_SETS; reading.set++)
		if (!nftset_dump(n, reading.set, read_allow, &reading) ||
		    !nftset_dump(n, reading.set + NFTSET_THROTTLE4_32, read_throttle, &reading))
			return false;
	if (!k->denied_read && (!nftset_dump(n, NFTSET_DENY4, read_denied, &reading) ||
				!nftset_dump(n, NFTSET_DENY6, read_denied, &reading)))
		return false;
	k->denied_read = true;
	k->new_allow = true; /* whatever was learned is compared, too */
	policy_each(policy, mark_entry, k);
	*r = commit(&l, n);
	return true;
}

void ksync_forget(struct ksync *k)
{
	amap_clear(k->mirror);
	amap_clear(k->dirty);
	amap_clear(k->denied);
	k->ops.n = 0;
	k->learned.n = 0;
	k->denied_read = false;
}

/* --- what was learned ------------------------------------------------------------ */

void ksync_learn(struct ksync *k, const struct addr *key, int64_t mono_ms, int64_t timeout_ms)
{
	int64_t *end = amap_get(k->denied, key, 0);
	if ((end && *end > mono_ms) || (k->n_loose > 0 && touches_loose(k, key)))
		return;
	end = amap_put(k->denied, key, 0, NULL);
	if (!end)
		return;
	*end = mono_ms + timeout_ms;
	push(k, &k->learned, NFTSET_ADD, addr_is4(key) ? NFTSET_DENY4 : NFTSET_DENY6, key,
	     timeout_ms);
}

struct nftset_result ksync_learn_flush(struct ksync *k, struct nftset *n)
{
	struct nftset_result r = nftset_apply(n, k->learned.v, k->learned.n);
	k->learned.n = 0;
	return r;
}

static bool is_over(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	(void)key;
	(void)tag;
	return *(const int64_t *)value <= *(const int64_t *)arg;
}

void ksync_expire(struct ksync *k, int64_t mono_ms)
{
	amap_each(k->denied, is_over, &mono_ms);
}

static bool count_held(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	const struct held *h = value;
	size_t *counts = arg;
	(void)key;
	counts[tag]++;
	counts[tag + NFTSET_THROTTLE4_32] += h->throttled;
	return false;
}

static bool count_denied(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	size_t *counts = arg;
	(void)tag;
	(void)value;
	counts[addr_is4(key) ? NFTSET_DENY4 : NFTSET_DENY6]++;
	return false;
}

void ksync_fill(const struct ksync *k, size_t counts[static NFTSET_COUNT])
{
	memset(counts, 0, NFTSET_COUNT * sizeof *counts);
	amap_each(k->mirror, count_held, counts);
	amap_each(k->denied, count_denied, counts);
}

size_t ksync_loose(const struct ksync *k)
{
	return k->n_loose;
}
