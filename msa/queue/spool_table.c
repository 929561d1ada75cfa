/*
 * spool_table - see spool_table.h.
 *
 * Purpose: open addressing by key, segments in order. Trusted with: nothing. Diagnostics: none.
 * Known gaps: the table grows and never shrinks while the process runs.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/big.h"
#include "lib/proc.h"

#include "msa/queue/record.h"
#include "msa/queue/spool_table.h"

#define CAP_MIN 1024

static void *grown(void *p, size_t n, size_t size)
{
	void *q = realloc(p, n * size);

	if (!q)
		fatal("out of memory: the spool's table needs %zu bytes", n * size);
	return q;
}

static struct entry *slots_new(size_t cap)
{
	struct entry *s = big_new(cap * sizeof(*s));

	if (!s)
		fatal("out of memory: the spool's table needs %zu bytes", cap * sizeof(*s));
	return s;
}

void table_init(struct table *t)
{
	*t = (struct table){.cap = CAP_MIN, .slots = slots_new(CAP_MIN)};
}

void table_free(struct table *t)
{
	for (size_t i = 0; i < t->n_segs; i++)
		free(t->segs[i].tombs);
	free(t->segs);
	big_free(t->slots, t->cap * sizeof(*t->slots));
	*t = (struct table){.cap = 0};
}

/* --- entries ------------------------------------------------------------------------------- */

static size_t home(const struct table *t, int64_t key)
{
	uint64_t h = (uint64_t)key * 0x9e3779b97f4a7c15u;

	return (size_t)(h ^ h >> 32) & (t->cap - 1);
}

/* The slot of key, or the free one where it would go. */
static size_t slot_of(const struct table *t, int64_t key)
{
	size_t i = home(t, key);

	while (t->slots[i].env && t->slots[i].key != key)
		i = (i + 1) & (t->cap - 1);
	return i;
}

void table_ahead(const struct table *t, int64_t key)
{
	__builtin_prefetch(&t->slots[home(t, key)]);
}

const struct entry *table_find(const struct table *t, int64_t key)
{
	const struct entry *e = &t->slots[slot_of(t, key)];

	return e->env ? e : NULL;
}

static void grow(struct table *t)
{
	struct entry *old = t->slots;
	size_t cap = t->cap;

	t->cap *= 2;
	t->slots = slots_new(t->cap);
	for (size_t i = 0; i < cap; i++)
		if (old[i].env)
			t->slots[slot_of(t, old[i].key)] = old[i];
	big_free(old, cap * sizeof(*old));
}

/* What follows may have been pushed on by the one that goes. */
static void take_out(struct table *t, size_t hole)
{
	size_t i = hole;

	for (;;) {
		t->slots[hole].env = 0;
		do {
			i = (i + 1) & (t->cap - 1);
			if (!t->slots[i].env)
				return;
		} while (((i - home(t, t->slots[i].key)) & (t->cap - 1)) <
			 ((i - hole) & (t->cap - 1)));
		t->slots[hole] = t->slots[i];
		hole = i;
	}
}

static void count(struct table *t, const struct entry *e, int by)
{
	if (e->env) {
		table_live(t, e->env, by, e->env_size);
		table_live(t, e->body, by, e->body_size);
	}
}

struct entry table_set(struct table *t, struct entry e)
{
	size_t i = slot_of(t, e.key);
	struct entry old = t->slots[i];

	if (!old.env)
		old = (struct entry){.key = e.key};
	count(t, &old, -1);
	count(t, &e, 1);
	if (e.env) {
		t->slots[i] = e;
		t->n += !old.env;
		if (t->n > t->cap - t->cap / 4)
			grow(t);
	} else if (old.env) {
		take_out(t, i);
		t->n--;
	}
	return old;
}

/* --- segments ------------------------------------------------------------------------------ */

/* Index of the first segment numbered no or above. */
static size_t lower(const struct table *t, uint32_t no)
{
	size_t lo = 0, hi = t->n_segs;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (t->segs[mid].no < no)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct segment *table_segment(const struct table *t, uint32_t no)
{
	size_t i = lower(t, no);

	return i < t->n_segs && t->segs[i].no == no ? &t->segs[i] : NULL;
}

struct segment *table_add_segment(struct table *t, uint32_t no)
{
	bug_on(t->n_segs && t->segs[t->n_segs - 1].no >= no);
	if (t->n_segs == t->segs_cap) {
		t->segs_cap = t->segs_cap ? t->segs_cap * 2 : 64;
		t->segs = grown(t->segs, t->segs_cap, sizeof(*t->segs));
	}
	t->segs[t->n_segs] = (struct segment){.no = no};
	return &t->segs[t->n_segs++];
}

void table_drop_segment(struct table *t, uint32_t no)
{
	size_t i = lower(t, no);

	if (i == t->n_segs || t->segs[i].no != no)
		return;
	free(t->segs[i].tombs);
	memmove(&t->segs[i], &t->segs[i + 1], (t->n_segs - i - 1) * sizeof(*t->segs));
	t->n_segs--;
}

bool table_any_between(const struct table *t, uint32_t first, uint32_t last)
{
	size_t i = lower(t, first);

	return i < t->n_segs && t->segs[i].no < last;
}

void table_tomb(struct segment *g, int64_t key, uint32_t origin)
{
	if (g->n_tombs == g->tombs_cap) {
		g->tombs_cap = g->tombs_cap ? g->tombs_cap * 2 : 16;
		g->tombs = grown(g->tombs, g->tombs_cap, sizeof(*g->tombs));
	}
	g->tombs[g->n_tombs++] = (struct tomb){key, origin};
}

void table_live(struct table *t, int64_t place, int by, uint64_t size)
{
	struct segment *g = table_segment(t, place_seg(place));

	if (!g)
		return;
	g->live += (uint32_t)by;
	g->bytes += by > 0 ? size : -size;
}
