/*
 * bucket - the sliding window under every limit. Pure: time is passed in.
 *
 * Trusted with counts only. Diagnostics: none; out of memory ends the process, which restarts from
 * its snapshot. Known gap: a count lives up to one slot longer than W (1 s in a minute, 1 min in an
 * hour, 15 min in a day), on the strict side.
 */
#include "ratelimit/bucket.h"

#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

static int64_t slot_of(const struct bucket_shape *s, int64_t t_ms)
{
	return t_ms < 0 ? 0 : t_ms / s->slot_ms;
}

/* The first moment at which slot `at` no longer counts. */
static int64_t leaves_ms(const struct bucket_shape *s, uint32_t at)
{
	return ((int64_t)at + s->slots + 1) * s->slot_ms;
}

static void trim(struct bucket *b, const struct bucket_shape *s, int64_t now_ms)
{
	uint16_t gone = 0;
	while (gone < b->n && leaves_ms(s, b->slot[gone].at) <= now_ms)
		b->total -= b->slot[gone++].n;
	if (gone == 0)
		return;
	b->n -= gone;
	memmove(b->slot, b->slot + gone, b->n * sizeof b->slot[0]);
}

static void drop_empty(struct bucket *b)
{
	uint16_t kept = 0;
	for (uint16_t i = 0; i < b->n; i++)
		if (b->slot[i].n > 0)
			b->slot[kept++] = b->slot[i];
	b->n = kept;
}

static struct bucket_slot *append(struct bucket *b, uint32_t at)
{
	if (b->n == b->cap) {
		size_t cap = b->cap ? b->cap * 2u : 2;
		bug_on(cap > UINT16_MAX);
		struct bucket_slot *p = realloc(b->slot, cap * sizeof *p);
		if (!p)
			fatal("out of memory");
		b->slot = p;
		b->cap = (uint16_t)cap;
	}
	bug_on(!b->slot);
	b->slot[b->n] = (struct bucket_slot){.at = at};
	return &b->slot[b->n++];
}

/* Adds to slot `at`, or to the newest when that is later still. */
static void add_at(struct bucket *b, int64_t at, uint32_t n)
{
	struct bucket_slot *last = b->n ? &b->slot[b->n - 1] : NULL;
	bug_on(at > UINT32_MAX);
	if (!last || (int64_t)last->at < at)
		last = append(b, (uint32_t)at);
	uint32_t room = UINT32_MAX - last->n;
	if (n > room)
		n = room;
	last->n += n;
	b->total += n;
}

uint64_t bucket_used(struct bucket *b, const struct bucket_shape *s, int64_t now_ms)
{
	trim(b, s, now_ms);
	return b->total;
}

void bucket_add(struct bucket *b, const struct bucket_shape *s, int64_t now_ms, uint32_t n)
{
	trim(b, s, now_ms);
	if (n > 0)
		add_at(b, slot_of(s, now_ms), n);
}

void bucket_sub(struct bucket *b, const struct bucket_shape *s, int64_t now_ms, int64_t then_ms,
		uint32_t n)
{
	trim(b, s, now_ms);
	int64_t from = slot_of(s, then_ms);
	if (leaves_ms(s, (uint32_t)from) <= now_ms)
		return; /* it has aged out: what is left is somebody else's */
	for (uint16_t i = 0; i < b->n && n > 0; i++) {
		if ((int64_t)b->slot[i].at < from)
			continue;
		uint32_t take = b->slot[i].n < n ? b->slot[i].n : n;
		b->slot[i].n -= take;
		b->total -= take;
		n -= take;
	}
	drop_empty(b);
}

int64_t bucket_retry(struct bucket *b, const struct bucket_shape *s, int64_t now_ms, uint64_t limit,
		     uint64_t n)
{
	trim(b, s, now_ms);
	if (n > limit)
		return ((int64_t)s->slots + 1) * s->slot_ms;
	if (b->total <= limit - n)
		return 0;
	uint64_t excess = b->total - (limit - n), freed = 0;
	uint16_t i = 0;
	while (i + 1 < b->n && freed + b->slot[i].n < excess)
		freed += b->slot[i++].n;
	return leaves_ms(s, b->slot[i].at) - now_ms;
}

int64_t bucket_empty_in(struct bucket *b, const struct bucket_shape *s, int64_t now_ms)
{
	trim(b, s, now_ms);
	return b->n ? leaves_ms(s, b->slot[b->n - 1].at) - now_ms : 0;
}

void bucket_restore(struct bucket *b, const struct bucket_shape *s, int64_t now_ms, int64_t age_ms,
		    uint32_t n)
{
	/* Rounded up to the next slot of our own alignment, so that it does not leave early; what
	 * happened is not in the future. */
	int64_t at = slot_of(s, now_ms - age_ms + s->slot_ms - 1), cur = slot_of(s, now_ms);
	if (at > cur)
		at = cur;
	if (n > 0 && leaves_ms(s, (uint32_t)at) > now_ms)
		add_at(b, at, n);
}

void bucket_clear(struct bucket *b)
{
	free(b->slot);
	*b = (struct bucket){0};
}
