/*
 * crowd - a table that is looked through from end to end: some hundreds of rows, a popcount each.
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
	return t->c != NULL;
}

void crowds_free(struct crowds *t)
{
	free(t->c);
}

struct crowd *crowds_find(struct crowds *t, uint64_t key, int bits, int64_t now_ms)
{
	struct crowd *best = NULL;
	for (uint32_t i = 0; i < t->n; i++) {
		struct crowd *c = &t->c[i];
		int d = __builtin_popcountll(c->key ^ key);
		if (d > bits || now_ms - c->last_ms > t->keep_ms)
			continue;
		if (d == 0)
			return c;
		best = c;
		bits = d - 1;
	}
	return best;
}

struct crowd *crowds_get(struct crowds *t, uint64_t key, int bits, int64_t now_ms)
{
	struct crowd *c = crowds_find(t, key, bits, now_ms);
	if (!c && t->n < t->cap) {
		c = &t->c[t->n++];
		*c = (struct crowd){.key = key};
	} else if (!c) {
		c = t->c;
		for (uint32_t i = 1; i < t->n; i++)
			if (t->c[i].last_ms < c->last_ms)
				c = &t->c[i];
		*c = (struct crowd){.key = key};
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
