/*
 * ksync_deny - the deny sets: what was learned goes in, and out again when it is exempt or its time
 * is long over (see ksync.h). A deny element stands in front of nfqd's verdict, so it must not
 * touch an exemption that only nfqd knows.
 */
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/ksync_int.h"

#define DENY_GROWTH  4
#define DENY_MEMORY  60000 /* at least so long after its end a learned source is remembered */
#define EXPIRE_CALLS 8	   /* once a second: all are looked at in about ten */
#define EXPIRE_SLOTS 64

/* --- loose exemptions ------------------------------------------------------------ */

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
	(void)ksync_push(l->k, &l->k->ops, NFTSET_DELETE, ksync_deny_set(addr_is4(key), tag), key,
			 0);
	l->k->counts[ksync_deny_set(addr_is4(key), tag)]--;
	ksync_send_many(l);
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
void ksync_collect_loose(struct look *l)
{
	l->k->n_loose = 0;
	policy_each_length(l->policy, true, 0, ksync_levels[NFTSET_ALLOW4_24].lo - 1, collect_loose,
			   l);
	policy_each_length(l->policy, false, 0, ksync_levels[NFTSET_ALLOW6_48].lo - 1,
			   collect_loose, l);
	policy_each_length(l->policy, false, ksync_levels[NFTSET_ALLOW6_64].len + 1,
			   ksync_levels[NFTSET_ALLOW6_128].lo - 1, collect_loose, l);
	if (l->k->loose_changed && l->k->n_loose > 0)
		amap_each(l->k->denied, undeny_loose, l);
	l->k->loose_changed = false;
}

/* --- exempt after all ------------------------------------------------------------ */

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
		(void)ksync_push(k, &k->ops, NFTSET_DELETE, ksync_deny_set(is4, len), &key, 0);
		k->counts[ksync_deny_set(is4, len)]--;
	}
}

/* Every line that the element covers; those of IPv6 are at least as wide as their elements. */
void ksync_undeny_element(struct ksync *k, enum nftset_id set, const struct addr *key)
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
	/* A wider line may hold an exempt address that the sets do not have yet. */
	if (len < (is4 ? 32 : 128) && (k->holes || ksync_behind(k)))
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
	(void)ksync_push(k, &k->learned, NFTSET_ADD, set, key, ms);
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
	size_t bit = amap_count(k->denied) / EXPIRE_CALLS + EXPIRE_SLOTS;
	if (!amap_some(k->denied, &k->expiry, bit, is_over, &x))
		k->expiry = (struct amap_walk){0};
}
