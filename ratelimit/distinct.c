/*
 * distinct - exact distinct count over a sliding window, for the detector. Pure: time is passed in.
 *
 * Trusted with hashes of recipients, never their text. Diagnostics: none. Known gap: members are
 * found by walking the set, which is right for the tens to hundreds of members it is made for.
 */
#include "ratelimit/distinct.h"

#include <stdlib.h>

#include "lib/proc.h"

uint32_t distinct_count(struct distinct *d, int64_t now_ms, int64_t window_ms)
{
	uint16_t kept = 0;
	for (uint16_t i = 0; i < d->n; i++) {
		if (now_ms - d->seen[i].last_ms >= window_ms)
			continue;
		if (kept !=
		    i) /* nothing is written when nothing goes: a forked reader copies no page */
			d->seen[kept] = d->seen[i];
		kept++;
	}
	if (kept != d->n)
		d->n = kept;
	return kept;
}

static struct distinct_seen *find(struct distinct *d, uint64_t hash)
{
	for (uint16_t i = 0; i < d->n; i++)
		if (d->seen[i].hash == hash)
			return &d->seen[i];
	return NULL;
}

static struct distinct_seen *oldest(struct distinct *d)
{
	struct distinct_seen *o = &d->seen[0];
	for (uint16_t i = 1; i < d->n; i++)
		if (d->seen[i].last_ms < o->last_ms)
			o = &d->seen[i];
	return o;
}

static struct distinct_seen *grow(struct distinct *d, uint16_t max)
{
	if (d->n == d->cap) {
		size_t cap = d->cap ? d->cap * 2u : 4;
		if (cap > max)
			cap = max;
		struct distinct_seen *p = realloc(d->seen, cap * sizeof *p);
		if (!p)
			fatal("out of memory");
		d->seen = p;
		d->cap = (uint16_t)cap;
	}
	return &d->seen[d->n++];
}

void distinct_add(struct distinct *d, int64_t now_ms, int64_t window_ms, uint16_t max,
		  const uint64_t *hash, uint32_t n)
{
	bug_on(max == 0);
	distinct_count(d, now_ms, window_ms);
	for (uint32_t i = 0; i < n; i++) {
		struct distinct_seen *s = find(d, hash[i]);
		if (!s)
			s = d->n < max ? grow(d, max) : oldest(d);
		*s = (struct distinct_seen){.hash = hash[i], .last_ms = now_ms};
	}
}

void distinct_clear(struct distinct *d)
{
	free(d->seen);
	*d = (struct distinct){0};
}
