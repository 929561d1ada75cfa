/*
 * policy - see policy.h.
 *
 * Items in one array, and for each family and prefix length that occurs a hash table of its own:
 * slots of eight bytes, so that "no such prefix" costs one cache line, and lengths with few entries
 * stay in the cache. Items of one prefix are chained.
 *
 * Trusted with: who may pass. Diagnostics: none. Known gaps: tables do not shrink.
 */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/policy.h"

#define NIL	   UINT32_MAX
#define MIN_SLOTS  16u
#define MIN_ITEMS  64u
#define WINDOW_MS  600000 /* edges are looked up so far ahead */
#define GROW_WHOLE (1u << 16)
#define FREE	   UINT8_MAX /* as class: of an item that is none */

struct slot {
	uint32_t tag, item; /* item NIL: free */
};

struct level {
	struct slot *slots;
	uint32_t n_slots;    /* a power of two; 0: none yet */
	uint32_t n_prefixes; /* slots in use */
	uint32_t n_items;
};

struct edge {
	int64_t ms;
	uint32_t item;
};

struct edges {
	struct edge *v; /* a heap, the next first */
	size_t n, cap;
	int64_t from_ms, until_ms; /* the window; 0: nobody asks */
	bool more;		   /* there are some behind it */
};

/* Prefixes at least so long are counted by neighbourhood: most sources have no exempt neighbour,
 * and need not be looked for in a table that no cache holds. */
#define NEIGHBOURHOOD_BITS 18
static const uint8_t near_len[2] = {28, 48};

struct policy {
	uint64_t version;
	struct policy_item *items;
	uint32_t used, high, cap, free;
	struct level levels[2][129]; /* [is IPv6][length] */
	uint8_t lengths[2][129];     /* those that have items, longest first */
	unsigned n_lengths[2];
	uint32_t near[2][1 << NEIGHBOURHOOD_BITS]; /* items */
	struct edges edges;
	unsigned n_classes;
	char classes[POLICY_CLASSES][POLICY_CLASS];
	enum policy_kind kinds[POLICY_CLASSES];
	enum policy_kind (*kind)(const char *name, void *arg);
	void *kind_arg;
	struct policy_limits limits[POLICY_CLASSES];
	void (*ask_limits)(const char *name, struct policy_limits *out, void *arg);
	void *limits_arg;
};

/* --- classes --------------------------------------------------------------------- */

static enum policy_kind ask_kind(const struct policy *p, unsigned i)
{
	if (i == POLICY_CLASS_FULL)
		return POLICY_KIND_FULL;
	return p->kind ? p->kind(p->classes[i], p->kind_arg) : POLICY_KIND_LIMITED;
}

static void ask_limits(struct policy *p, unsigned i)
{
	p->limits[i] = (struct policy_limits){0};
	if (i != POLICY_CLASS_FULL && p->ask_limits)
		p->ask_limits(p->classes[i], &p->limits[i], p->limits_arg);
}

static uint8_t class_index(struct policy *p, const char *name)
{
	unsigned i = 0;
	while (i < p->n_classes && strcmp(p->classes[i], name) != 0)
		i++;
	if (i == POLICY_CLASSES)
		return POLICY_CLASS_THROTTLED;
	if (i == p->n_classes) {
		(void)snprintf(p->classes[i], POLICY_CLASS, "%s", name);
		p->kinds[i] = ask_kind(p, i);
		ask_limits(p, i);
		p->n_classes++;
	}
	return (uint8_t)i;
}

void policy_set_kinds(struct policy *p, enum policy_kind (*kind)(const char *name, void *arg),
		      void *arg)
{
	p->kind = kind;
	p->kind_arg = arg;
	for (unsigned i = 0; i < p->n_classes; i++)
		p->kinds[i] = ask_kind(p, i);
}

void policy_set_limits(struct policy *p,
		       void (*limits)(const char *name, struct policy_limits *out, void *arg),
		       void *arg)
{
	p->ask_limits = limits;
	p->limits_arg = arg;
	for (unsigned i = 0; i < p->n_classes; i++)
		ask_limits(p, i);
}

const struct policy_limits *policy_limits(const struct policy *p, const struct policy_item *i)
{
	const struct policy_limits *l = &p->limits[i->class];
	return l->rate > 0 || l->destinations > 0 ? l : NULL;
}

unsigned policy_classes(const struct policy *p)
{
	return p->n_classes;
}

const char *policy_class(const struct policy *p, unsigned index)
{
	return p->classes[index];
}

enum policy_kind policy_kind(const struct policy *p, const struct policy_item *i)
{
	return p->kinds[i->class];
}

/* --- the tables ------------------------------------------------------------------ */

static uint32_t hash(const struct addr *a)
{
	uint64_t x, y;
	memcpy(&x, a->b, 8);
	memcpy(&y, a->b + 8, 8);
	x = (x ^ y * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 32) * 0x94d049bb133111ebu;
	return (uint32_t)(x >> 32);
}

/* Of the /28, or of bits 16 to 47. Neighbours stay neighbours: sixteen of them are a cache line. */
static uint32_t neighbourhood(const struct addr *a)
{
	const uint8_t *b = addr_is4(a) ? a->b + 12 : a->b + 2;
	uint32_t x = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	if (addr_is4(a))
		x >>= 4;
	return (x ^ (x >> NEIGHBOURHOOD_BITS) * 0x9e37u) & ((1u << NEIGHBOURHOOD_BITS) - 1);
}

static void count_near(struct policy *p, const struct prefix *x, uint32_t by)
{
	bool is6 = !addr_is4(&x->a);
	if (x->len >= near_len[is6])
		p->near[is6][neighbourhood(&x->a)] += by;
}

static void make_slots(struct policy *p, struct level *l, uint32_t n)
{
	l->slots = talloc_array(p, struct slot, n);
	bug_on(!l->slots);
	memset(l->slots, 0xff, n * sizeof *l->slots);
	l->n_slots = n;
}

/* The slot of a prefix, or the free one it would take. The table has both. */
static struct slot *seek(const struct policy *p, const struct level *l, const struct addr *a)
{
	uint32_t tag = hash(a), mask = l->n_slots - 1;
	for (uint32_t i = tag & mask;; i = (i + 1) & mask) {
		struct slot *s = &l->slots[i];
		if (s->item == NIL || (s->tag == tag && addr_eq(&p->items[s->item].a, a)))
			return s;
	}
}

static void grow(struct policy *p, struct level *l)
{
	struct slot *old = l->slots;
	uint32_t n = l->n_slots;
	make_slots(p, l, n ? n * 2 : MIN_SLOTS);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = old[i].tag & (l->n_slots - 1);
		if (old[i].item == NIL)
			continue;
		while (l->slots[at].item != NIL)
			at = (at + 1) & (l->n_slots - 1);
		l->slots[at] = old[i];
	}
	talloc_free(old);
}

/* Close the gap: whatever probed over it moves back. */
static void free_slot(struct level *l, const struct slot *s)
{
	uint32_t mask = l->n_slots - 1, hole = (uint32_t)(s - l->slots);
	for (uint32_t i = (hole + 1) & mask; l->slots[i].item != NIL; i = (i + 1) & mask) {
		uint32_t home = l->slots[i].tag & mask;
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		l->slots[hole] = l->slots[i];
		hole = i;
	}
	l->slots[hole].item = NIL;
	l->n_prefixes--;
}

static struct level *level_of(struct policy *p, const struct prefix *x)
{
	return &p->levels[addr_is4(&x->a) ? 0 : 1][x->len];
}

static void list_lengths(struct policy *p, bool is4)
{
	unsigned f = is4 ? 0 : 1, n = 0;
	for (unsigned len = 129; len-- > 0;)
		if (p->levels[f][len].n_items > 0)
			p->lengths[f][n++] = (uint8_t)len;
	p->n_lengths[f] = n;
}

static uint32_t take_item(struct policy *p)
{
	if (p->free != NIL) {
		uint32_t i = p->free;
		p->free = p->items[i].next;
		return i;
	}
	if (p->high == p->cap) {
		uint32_t more = p->cap < GROW_WHOLE ? p->cap : p->cap / 4;
		p->cap += more ? more : MIN_ITEMS;
		p->items = talloc_realloc(p, p->items, struct policy_item, p->cap);
		bug_on(!p->items);
	}
	return p->high++;
}

static void free_item(struct policy *p, uint32_t i)
{
	struct policy_item *item = &p->items[i];
	talloc_free(item->dsts);
	*item = (struct policy_item){.class = FREE};
	item->next = p->free;
	p->free = i;
	p->used--;
}

struct policy *policy_new(void *ctx)
{
	struct policy *p = talloc_zero(ctx, struct policy);
	bug_on(!p);
	p->free = NIL;
	(void)class_index(p, "full");
	(void)class_index(p, "throttled");
	return p;
}

void policy_free(struct policy *p)
{
	talloc_free(p);
}

uint64_t policy_version(const struct policy *p)
{
	return p->version;
}

void policy_set_version(struct policy *p, uint64_t version)
{
	p->version = version;
}

size_t policy_count(const struct policy *p)
{
	return p->used;
}

size_t policy_count_lengths(const struct policy *p, bool is4, unsigned lo, unsigned hi)
{
	size_t n = 0;
	for (unsigned len = lo; len <= hi; len++)
		n += p->levels[is4 ? 0 : 1][len].n_items;
	return n;
}

/* --- edges ----------------------------------------------------------------------- */

static void push_edge(struct policy *p, int64_t ms, uint32_t item)
{
	struct edges *e = &p->edges;
	if (e->n == e->cap) {
		e->cap = e->cap ? e->cap * 2 : MIN_ITEMS;
		e->v = talloc_realloc(p, e->v, struct edge, e->cap);
		bug_on(!e->v);
	}
	size_t i = e->n++;
	for (; i > 0 && e->v[(i - 1) / 2].ms > ms; i = (i - 1) / 2)
		e->v[i] = e->v[(i - 1) / 2];
	e->v[i] = (struct edge){ms, item};
}

static struct edge pop_edge(struct policy *p)
{
	struct edges *e = &p->edges;
	struct edge first = e->v[0], last = e->v[--e->n];
	size_t i = 0, child;
	while ((child = 2 * i + 1) < e->n) {
		if (child + 1 < e->n && e->v[child + 1].ms < e->v[child].ms)
			child++;
		if (e->v[child].ms >= last.ms)
			break;
		e->v[i] = e->v[child];
		i = child;
	}
	if (e->n > 0)
		e->v[i] = last;
	return first;
}

static void expect(struct policy *p, uint32_t i)
{
	const int64_t times[] = {p->items[i].starts_ms, p->items[i].expires_ms};
	for (size_t k = 0; k < 2; k++) {
		if (times[k] > p->edges.until_ms)
			p->edges.more = true;
		else if (times[k] > p->edges.from_ms)
			push_edge(p, times[k], i);
	}
}

static void look_ahead(struct policy *p, int64_t from_ms, int64_t until_ms)
{
	p->edges.n = 0;
	p->edges.more = false;
	p->edges.from_ms = from_ms;
	p->edges.until_ms = until_ms;
	for (uint32_t i = 0; i < p->high; i++)
		if (p->items[i].class != FREE)
			expect(p, i);
}

void policy_edges_start(struct policy *p, int64_t from_ms)
{
	look_ahead(p, from_ms, from_ms + WINDOW_MS);
}

static bool has_edge(const struct policy_item *i, int64_t ms)
{
	return i->starts_ms == ms || i->expires_ms == ms;
}

bool policy_edge(struct policy *p, int64_t now_ms, struct prefix *out)
{
	struct edges *e = &p->edges;
	if (e->until_ms == 0)
		return false;
	for (;;) {
		while (e->n > 0 && e->v[0].ms <= now_ms) {
			struct edge x = pop_edge(p);
			if (!has_edge(&p->items[x.item], x.ms))
				continue; /* changed since, or gone */
			*out = policy_prefix(&p->items[x.item]);
			return true;
		}
		if (now_ms < e->until_ms)
			return false;
		look_ahead(p, e->until_ms, now_ms + WINDOW_MS);
	}
}

int64_t policy_next_edge(const struct policy *p)
{
	if (p->edges.n > 0)
		return p->edges.v[0].ms;
	return p->edges.more ? p->edges.until_ms : 0;
}

/* --- changes --------------------------------------------------------------------- */

static struct policy_dsts *copy_dsts(struct policy *p, const struct policy_entry *e)
{
	size_t bytes = e->n_dst * sizeof(struct prefix);
	if (e->n_dst == 0)
		return NULL;
	struct policy_dsts *d = talloc_size(p, sizeof *d + bytes);
	bug_on(!d);
	d->n = e->n_dst;
	memcpy(d->v, e->dst, bytes);
	return d;
}

static void fill(struct policy *p, uint32_t i, const struct policy_entry *e, uint32_t next)
{
	p->items[i] = (struct policy_item){.a = e->prefix.a,
					   .starts_ms = e->starts_ms,
					   .expires_ms = e->expires_ms,
					   .id = e->exemption_id,
					   .dsts = copy_dsts(p, e),
					   .next = next,
					   .len = e->prefix.len,
					   .class = class_index(p, e->class)};
	if (p->edges.until_ms != 0)
		expect(p, i);
}

void policy_put(struct policy *p, const struct policy_entry *e)
{
	struct level *l = level_of(p, &e->prefix);
	if (l->n_prefixes >= l->n_slots / 2)
		grow(p, l);
	struct slot *s = seek(p, l, &e->prefix.a);
	for (uint32_t i = s->item; i != NIL; i = p->items[i].next)
		if (p->items[i].id == e->exemption_id) {
			talloc_free(p->items[i].dsts);
			fill(p, i, e, p->items[i].next);
			return;
		}
	uint32_t i = take_item(p);
	fill(p, i, e, s->item);
	if (s->item == NIL)
		l->n_prefixes++;
	*s = (struct slot){hash(&e->prefix.a), i};
	p->used++;
	count_near(p, &e->prefix, 1);
	if (l->n_items++ == 0)
		list_lengths(p, addr_is4(&e->prefix.a));
}

bool policy_remove(struct policy *p, const struct policy_entry *e)
{
	struct level *l = level_of(p, &e->prefix);
	if (l->n_items == 0)
		return false;
	struct slot *s = seek(p, l, &e->prefix.a);
	for (uint32_t *link = &s->item; *link != NIL; link = &p->items[*link].next) {
		uint32_t i = *link;
		if (p->items[i].id != e->exemption_id)
			continue;
		*link = p->items[i].next;
		free_item(p, i);
		count_near(p, &e->prefix, (uint32_t)-1);
		if (s->item == NIL)
			free_slot(l, s);
		if (--l->n_items == 0)
			list_lengths(p, addr_is4(&e->prefix.a));
		return true;
	}
	return false;
}

/* --- questions ------------------------------------------------------------------- */

struct prefix policy_prefix(const struct policy_item *i)
{
	return (struct prefix){i->a, i->len};
}

void policy_entry_of(const struct policy *p, const struct policy_item *i, struct policy_entry *out)
{
	*out = (struct policy_entry){.prefix = policy_prefix(i),
				     .starts_ms = i->starts_ms,
				     .expires_ms = i->expires_ms,
				     .exemption_id = i->id,
				     .n_dst = i->dsts ? i->dsts->n : 0};
	memcpy(out->class, p->classes[i->class], POLICY_CLASS);
	for (unsigned k = 0; k < out->n_dst; k++)
		out->dst[k] = i->dsts->v[k];
}

bool policy_active(const struct policy_item *i, int64_t now_ms)
{
	return i->starts_ms <= now_ms && (i->expires_ms == 0 || now_ms < i->expires_ms);
}

bool policy_listed(const struct policy_item *i, const struct addr *dst)
{
	for (unsigned k = 0; i->dsts && k < i->dsts->n; k++)
		if (prefix_contains(&i->dsts->v[k], dst))
			return true;
	return false;
}

/* An end of 0 is later than any other. */
static bool ends_later(int64_t x, int64_t y)
{
	return y != 0 && (x == 0 || x > y);
}

static bool better(const struct policy *p, const struct policy_item *x, const struct policy_item *y)
{
	if (!y)
		return true;
	if (policy_kind(p, x) != policy_kind(p, y))
		return policy_kind(p, x) < policy_kind(p, y);
	return ends_later(x->expires_ms, y->expires_ms);
}

/* Of those with one prefix. until: -1 none yet. */
static const struct policy_item *best_of(const struct policy *p, uint32_t i, int64_t now_ms,
					 int64_t *until)
{
	const struct policy_item *best = NULL;
	for (; i != NIL; i = p->items[i].next) {
		const struct policy_item *x = &p->items[i];
		if (!policy_active(x, now_ms))
			continue;
		if (better(p, x, best))
			best = x;
		if (*until == -1 || ends_later(x->expires_ms, *until))
			*until = x->expires_ms;
	}
	return best;
}

const struct policy_item *policy_find(const struct policy *p, const struct addr *a, unsigned lo,
				      unsigned hi, int64_t now_ms, int64_t *until_ms)
{
	const struct policy_item *found = NULL;
	unsigned f = addr_is4(a) ? 0 : 1;
	int64_t until = -1;
	bool alone = p->near[f][neighbourhood(a)] == 0;
	for (unsigned i = 0; i < p->n_lengths[f] && (!found || until_ms); i++) {
		uint8_t len = p->lengths[f][i];
		struct addr want;
		if (len > hi || len < lo || (alone && len >= near_len[f]))
			continue;
		addr_mask(a, len, &want);
		const struct policy_item *best =
		    best_of(p, seek(p, &p->levels[f][len], &want)->item, now_ms, &until);
		if (!found)
			found = best;
	}
	if (until_ms)
		*until_ms = until == -1 ? 0 : until;
	return found;
}

const struct policy_item *policy_match(const struct policy *p, const struct addr *a, int64_t now_ms)
{
	return policy_find(p, a, 0, 128, now_ms, NULL);
}

const struct policy_item *policy_exact(const struct policy *p, const struct prefix *x,
				       int64_t now_ms)
{
	return policy_find(p, &x->a, x->len, x->len, now_ms, NULL);
}

void policy_each(const struct policy *p, bool (*fn)(const struct policy_item *i, void *arg),
		 void *arg)
{
	for (uint32_t i = 0; i < p->high; i++)
		if (p->items[i].class != FREE && !fn(&p->items[i], arg))
			return;
}

bool policy_some(const struct policy *p, uint32_t *at, uint32_t max,
		 bool (*fn)(const struct policy_item *i, void *arg), void *arg)
{
	for (; max > 0 && *at < p->high; max--) {
		const struct policy_item *i = &p->items[(*at)++];
		if (i->class != FREE && !fn(i, arg))
			break;
	}
	return *at < p->high;
}

void policy_each_length(const struct policy *p, bool is4, unsigned lo, unsigned hi,
			bool (*fn)(const struct policy_item *i, void *arg), void *arg)
{
	for (unsigned len = lo; len <= hi; len++) {
		const struct level *l = &p->levels[is4 ? 0 : 1][len];
		for (uint32_t s = 0; l->n_items > 0 && s < l->n_slots; s++)
			for (uint32_t i = l->slots[s].item; i != NIL; i = p->items[i].next)
				if (!fn(&p->items[i], arg))
					return;
	}
}

/* --- for policy_file.c ----------------------------------------------------------- */

bool policy_file_piece(const struct policy *p, uint32_t *at, uint32_t max_items, uint64_t *count,
		       struct wire_out *w)
{
	struct policy_entry e;
	struct wire_out head;
	uint32_t n = 0, end = p->high - *at > max_items ? *at + max_items : p->high;
	if (*at >= p->high)
		return false;
	size_t start = w->len;
	wire_u32(w, 0);
	for (; *at < end && w->cap - w->len >= POLICY_ENTRY_MAX; ++*at) {
		const struct policy_item *i = &p->items[*at];
		if (i->class == FREE)
			continue;
		policy_entry_of(p, i, &e);
		policy_entry_put(w, &e);
		n++;
	}
	if (n == 0) {
		w->len = start; /* an empty piece would be the end */
		return true;
	}
	wire_out_init(&head, w->buf + start, 4);
	wire_u32(&head, n);
	*count += n;
	return true;
}
