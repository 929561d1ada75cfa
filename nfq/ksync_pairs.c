/*
 * ksync_pairs - the sets of listed destinations: an exemption's first address with each host that
 * it may reach (see ksync_int.h). Wider destinations are judged by nfqd.
 */
#include <stdlib.h>

#include "lib/proc.h"

#include "nfq/ksync_int.h"

static void push_pairs(struct look *l, enum nftset_verb verb, const struct prefix *p,
		       const struct pairs *x)
{
	bool is4 = addr_is4(&p->a);
	for (unsigned i = 0; i < x->dsts->n; i++)
		ksync_push(l->k, &l->k->ops, verb, is4 ? NFTSET_LISTED4 : NFTSET_LISTED6, &p->a,
			   ksync_timeout(x->until_ms, l->utc_ms))
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
	return i && policy_kind(l->policy, i) == POLICY_KIND_LISTED && !ksync_is_loose(p);
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
	ksync_send_many(l);
}

static bool look_at_sibling(struct look *l, const struct prefix *sibling)
{
	if (is_listed(l, sibling) || amap_get(l->k->listed, &sibling->a, sibling->len))
		look_at_one(l, sibling);
	return true;
}

void ksync_look_at_pairs(struct look *l, const struct prefix *p)
{
	/* Deletions first: what two had in common is added again by the one that is left. */
	(void)each_sibling(l, p, look_at_sibling);
	look_at_one(l, p);
	(void)each_sibling(l, p, look_at_sibling);
}

bool ksync_check_pairs(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct look *l = arg;
	struct pairs *x = value;
	const struct prefix p = {*key, tag};
	const struct policy_item *i = policy_exact(l->policy, &p, l->utc_ms);
	l->looks++;
	if (i && policy_kind(l->policy, i) == POLICY_KIND_LISTED)
		return false;
	push_pairs(l, NFTSET_DELETE, &p, x);
	l->k->counts[addr_is4(key) ? NFTSET_LISTED4 : NFTSET_LISTED6] -= x->dsts->n;
	free(x->dsts);
	ksync_send_many(l);
	return true;
}

static bool drop_pairs(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct pairs *x = value;
	(void)key, (void)tag, (void)arg;
	free(x->dsts);
	return true;
}

void ksync_forget_pairs(struct ksync *k)
{
	amap_each(k->listed, drop_pairs, NULL);
}
