/*
 * crowd - a table whose keys are looked through from end to end: some hundreds, eight bytes each.
 * Pure.
 *
 * Trusted with nothing. Diagnostics: none. Known gaps: an attacker with more texts at once than
 * rows pushes the oldest out.
 */
#include "ratelimit/detector/crowd.h"

#include <stdlib.h>

bool crowds_init(struct crowds *t, uint32_t cap, int64_t keep_ms)
{
	*t = (struct crowds){.cap = cap, .keep_ms = keep_ms};
	t->c = calloc(cap, sizeof(*t->c));
	t->key = calloc(cap, sizeof(*t->key));
	return t->c && t->key;
}

void crowds_free(struct crowds *t)
{
	free(t->c);
	free(t->key);
}

void crowds_reindex(struct crowds *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		t->key[i] = t->c[i].key;
}

/* The bits that are set; without the instruction, which not every processor has. */
static int bits_of(uint64_t v)
{
	v -= v >> 1 & 0x5555555555555555ULL;
	v = (v & 0x3333333333333333ULL) + (v >> 2 & 0x3333333333333333ULL);
	v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return (int)(v * 0x0101010101010101ULL >> 56);
}

static struct crowd *find_same(struct crowds *t, uint64_t key, int64_t now_ms)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->key[i] == key && now_ms - t->c[i].last_ms <= t->keep_ms)
			return &t->c[i];
	return NULL;
}

struct crowd *crowds_find(struct crowds *t, uint64_t key, int bits, int64_t now_ms)
{
	struct crowd *best = NULL;
	if (bits == 0)
		return find_same(t, key, now_ms);
	for (uint32_t i = 0; i < t->n; i++) {
		int d = bits_of(t->key[i] ^ key);
		if (d > bits || now_ms - t->c[i].last_ms > t->keep_ms)
			continue;
		if (d == 0)
			return &t->c[i];
		best = &t->c[i];
		bits = d - 1;
	}
	return best;
}

/* A free row, or the one unused for longest. */
static uint32_t take_row(struct crowds *t)
{
	uint32_t row = 0;
	if (t->n < t->cap)
		return t->n++;
	for (uint32_t i = 1; i < t->n; i++)
		if (t->c[i].last_ms < t->c[row].last_ms)
			row = i;
	return row;
}

struct crowd *crowds_get(struct crowds *t, uint64_t key, int bits, int64_t now_ms)
{
	struct crowd *c = crowds_find(t, key, bits, now_ms);
	if (!c) {
		uint32_t row = take_row(t);
		c = &t->c[row];
		*c = (struct crowd){.key = key};
		t->key[row] = key;
	}
	c->last_ms = now_ms;
	return c;
}

bool crowd_join(uint32_t *set, uint8_t *n, uint32_t who)
{
	for (unsigned i = 0; i < *n; i++)
		if (set[i] == who)
			return false;
	if (*n < CROWD_MEMBERS)
		set[(*n)++] = who;
	return true;
}

unsigned crowd_others(const uint32_t *set, uint8_t n, uint32_t who)
{
	unsigned others = n;
	for (unsigned i = 0; i < n; i++)
		others -= set[i] == who;
	return others;
}
