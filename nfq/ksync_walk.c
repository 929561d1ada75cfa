/*
 * ksync_walk - what is looked at, and when (see ksync.h).
 *
 * Small changes go to the kernel at once. What is more than a slice, and the comparison of
 * everything, goes on in slices of a few milliseconds: whoever calls sees to other things between
 * them. Each slice works out its elements from the policy and the time as they are then, and a
 * change that comes meanwhile goes first: so nothing that a slice does is older than what is there.
 */
#include <string.h>

#include "lib/proc.h"

#include "nfq/ksync_int.h"

#define SLICE_LOOKS 4096 /* elements looked at */
#define SLICE_OPS   3000 /* and changed: a transaction of less than ten milliseconds */
#define BIT	    256	 /* slots, elements of one prefix, between two looks at the slice */

/* --- what is dirty --------------------------------------------------------------- */

static void mark_element(enum nftset_id set, const struct addr *key, void *arg)
{
	bug_on(!amap_put(arg, key, (uint8_t)set, NULL));
}

void ksync_dirty(struct ksync *k, const struct prefix *p)
{
	bug_on(!amap_put(k->dirty_prefixes, &p->a, p->len, NULL));
	if (!ksync_expand(p, mark_element, k->dirty))
		k->loose_changed = true;
}

bool ksync_pending(const struct ksync *k)
{
	return amap_count(k->dirty_prefixes) > 0;
}

static bool look_at_dirty(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	(void)value;
	ksync_look_at(arg, tag, key);
	return true; /* looked at: no longer dirty */
}

static bool look_at_prefix(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct look *l = arg;
	const struct prefix p = {*key, tag};
	(void)value;
	l->looks++;
	ksync_look_at_pairs(l, &p);
	return true;
}

static bool move(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	(void)value;
	mark_element(tag, key, arg);
	return true;
}

/* More than a slice: later, but for what comes from now on. */
static void put_off(struct amap **dirty, struct later *later)
{
	struct amap *m = *dirty;
	if (amap_count(m) <= SLICE_LOOKS)
		return;
	if (amap_count(later->m) > 0) {
		amap_each(m, move, later->m);
		amap_clear(m);
		return;
	}
	*dirty = later->m;
	*later = (struct later){.m = m};
}

/* A policy's own indexes are good for that policy only. */
static uint8_t class_index(struct ksync *k, const char *name)
{
	unsigned i = 0;
	while (i < k->n_classes && strcmp(k->classes[i], name) != 0)
		i++;
	bug_on(i == KSYNC_CLASSES);
	if (i == k->n_classes)
		memcpy(k->classes[k->n_classes++], name, strlen(name) + 1);
	return (uint8_t)i;
}

static struct look look_begin(struct ksync *k, struct nftset *n, const struct policy *policy,
			      int64_t utc_ms)
{
	struct look l = {.k = k, .n = n, .policy = policy, .utc_ms = utc_ms, .chunk = NFTSET_CHUNK};
	for (unsigned i = 0; i < policy_classes(policy); i++)
		l.class_of[i] = class_index(k, policy_class(policy, i));
	k->ops.n = 0;
	return l;
}

struct ksync_result ksync_flush(struct ksync *k, struct nftset *n, const struct policy *policy,
				int64_t utc_ms)
{
	struct look l = look_begin(k, n, policy, utc_ms);
	put_off(&k->dirty, &k->later);
	put_off(&k->dirty_prefixes, &k->later_prefixes);
	amap_each(k->dirty, look_at_dirty, &l);
	amap_each(k->dirty_prefixes, look_at_prefix, &l);
	if (k->loose_changed)
		ksync_collect_loose(&l);
	ksync_send_ops(&l);
	return l.r;
}

/* --- in slices ------------------------------------------------------------------- */

/* Go through a table; true when all of it is done. */
static bool through(struct look *l, struct amap *m,
		    bool (*fn)(const struct addr *key, uint8_t tag, void *value, void *arg))
{
	struct ksync_walk *w = &l->k->walk;
	l->looks += BIT / 16;
	if (amap_some(m, &w->at, BIT, fn, l))
		return false;
	w->at = (struct amap_walk){0};
	return true;
}

static bool remove_unwanted(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct look *l = arg;
	struct held want;
	(void)tag;
	l->looks++;
	if (ksync_wanted(l, l->k->walk.set, key, &want))
		return false;
	ksync_put_op(l, NFTSET_DELETE, l->k->walk.set, key, value);
	ksync_send_many(l);
	return true;
}

static bool take_out(struct look *l)
{
	struct ksync_walk *w = &l->k->walk;
	if (!through(l, l->k->mirror[w->set], remove_unwanted))
		return false;
	return ++w->set == NFTSET_ALLOW_SETS;
}

static bool take_out_pairs(struct look *l)
{
	return through(l, l->k->listed, ksync_check_pairs);
}

static void look_at_wanted(enum nftset_id set, const struct addr *key, void *arg)
{
	ksync_look_at(arg, set, key);
}

static bool look_at_item(const struct policy_item *i, void *arg)
{
	struct look *l = arg;
	const struct prefix p = policy_prefix(i);
	bool limited = i->class != POLICY_CLASS_FULL;
	if (limited != (l->k->walk.phase == KSYNC_LIMITED) || !policy_active(i, l->utc_ms))
		return true;
	if (i->dsts)
		ksync_look_at_pairs(l, &p);
	bool wide = ksync_elements(&p) > BIT;
	if (wide)
		(void)ksync_expand(&p, mark_element, l->k->later.m);
	else
		(void)ksync_expand(&p, look_at_wanted, l);
	return !wide; /* what was put off goes before the rest */
}

static bool put_in(struct look *l)
{
	struct ksync_walk *w = &l->k->walk;
	l->looks += BIT / 16;
	if (policy_some(l->policy, &w->item, BIT, look_at_item, l))
		return false;
	w->item = 0;
	return true;
}

static bool find_loose(struct look *l)
{
	struct ksync *k = l->k;
	k->loose_changed = true;
	ksync_collect_loose(l);
	ksync_send_ops(l);
	if (k->walk.refill)
		k->holes = k->holed;
	return true;
}

static bool catch_up(struct later *later, struct look *l,
		     bool (*fn)(const struct addr *key, uint8_t tag, void *value, void *arg))
{
	if (amap_count(later->m) == 0)
		return false;
	while (amap_count(later->m) > 0 && l->looks < SLICE_LOOKS && !l->sent)
		if (!amap_some(later->m, &later->at, BIT, fn, l))
			later->at = (struct amap_walk){0}; /* more came behind it */
	if (amap_count(later->m) == 0)
		amap_clear(later->m);
	return true;
}

/* A bit of what is to be done; false: nothing is. */
static bool do_some(struct look *l)
{
	static bool (*const phases[])(struct look * l) = {
	    [KSYNC_TAKE_OUT] = take_out, [KSYNC_PAIRS] = take_out_pairs, [KSYNC_LIMITED] = put_in,
	    [KSYNC_FULL] = put_in,	 [KSYNC_LOOSE] = find_loose,
	};
	struct ksync_walk *w = &l->k->walk;
	if (catch_up(&l->k->later, l, look_at_dirty) ||
	    catch_up(&l->k->later_prefixes, l, look_at_prefix))
		return true;
	if (w->phase == KSYNC_IDLE)
		return false;
	if (phases[w->phase](l))
		w->phase = w->phase == KSYNC_LOOSE ? KSYNC_IDLE : w->phase + 1;
	return true;
}

static struct ksync_result slice(struct look *l)
{
	while (l->looks < SLICE_LOOKS && !l->sent && do_some(l))
		;
	ksync_send_ops(l);
	return l->r;
}

struct ksync_result ksync_step(struct ksync *k, struct nftset *n, const struct policy *policy,
			       int64_t utc_ms)
{
	struct look l = look_begin(k, n, policy, utc_ms);
	l.chunk = SLICE_OPS;
	return slice(&l);
}

bool ksync_busy(const struct ksync *k)
{
	return k->walk.phase != KSYNC_IDLE || ksync_behind(k);
}

bool ksync_limited_owed(const struct ksync *k)
{
	return ksync_behind(k) || (k->walk.phase != KSYNC_IDLE && k->walk.phase <= KSYNC_LIMITED);
}

bool ksync_behind(const struct ksync *k)
{
	return amap_count(k->later.m) > 0 || amap_count(k->later_prefixes.m) > 0;
}

/* --- everything ------------------------------------------------------------------ */

static void begin(struct ksync *k, enum ksync_phase phase)
{
	k->walk = (struct ksync_walk){.phase = phase};
	k->unchained[0] = '\0';
}

struct ksync_result ksync_full(struct ksync *k, struct nftset *n, const struct policy *policy,
			       int64_t utc_ms)
{
	/* Names that nobody uses any more are forgotten by a refill only. */
	if (k->n_classes == 0 || k->n_classes > KSYNC_CLASSES - POLICY_CLASSES)
		return ksync_refill(k, n, policy, utc_ms);
	begin(k, KSYNC_TAKE_OUT);
	return ksync_step(k, n, policy, utc_ms);
}

/* A small policy is put in with the transaction that empties the sets: nobody sees them empty. */
struct ksync_result ksync_refill(struct ksync *k, struct nftset *n, const struct policy *policy,
				 int64_t utc_ms)
{
	static const struct addr none = {{0}};
	ksync_forget(k);
	k->n_classes = 0;
	k->holes = true;
	k->holed = false;
	struct look l = look_begin(k, n, policy, utc_ms);
	for (unsigned set = 0; set < NFTSET_FILLED; set++)
		(void)ksync_push(k, &k->ops, NFTSET_FLUSH, set, &none, 0);
	begin(k, KSYNC_LIMITED);
	k->walk.refill = true;
	return slice(&l);
}
