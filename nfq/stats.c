/*
 * stats - see stats.h.
 *
 * Destinations are kept as a bitmap: the number of bits set is at most the number of distinct
 * destinations, so the estimate is one from below.
 */
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/amap.h"
#include "nfq/stats.h"

#define WORDS 4 /* 256 bits: the largest estimate */

struct source {
	uint64_t packets, dsts[WORDS];
	int64_t first_ms;
	struct addr last_dst;
};

/* Of one kind, in the interval. */
struct sum {
	uint64_t counted, uncounted; /* by source; by nobody */
	uint64_t rest;		     /* of the scaling, carried from source to source */
};

struct stats {
	struct amap *sources;
	uint64_t lost;
	struct sum sums[2]; /* refused, passed */
};

static struct sum *sum_of(struct stats *s, unsigned kind)
{
	return &s->sums[kind == EVENT_PASS];
}

struct stats *stats_new(void *ctx, size_t max)
{
	struct stats *s = talloc_zero(ctx, struct stats);
	bug_on(!s);
	s->sources = amap_new(s, sizeof(struct source), max);
	return s;
}

uint64_t stats_lost(const struct stats *s)
{
	return s->lost;
}

static void note_dst(struct source *x, const struct addr *dst)
{
	uint64_t a, b;
	memcpy(&a, dst->b, 8);
	memcpy(&b, dst->b + 8, 8);
	/* The bytes that differ come last, in the high bits of b: fold them down before the
	 * multiplication. */
	a ^= b * 0x9e3779b97f4a7c15u;
	a = (a ^ a >> 29) * 0xbf58476d1ce4e5b9u;
	a ^= a >> 32;
	x->dsts[a >> 6 & (WORDS - 1)] |= 1ull << (a & 63);
	x->last_dst = *dst;
}

void stats_count(struct stats *s, enum event_kind kind, const struct addr *src,
		 const struct addr *dst, uint64_t packets, int64_t since_ms)
{
	bool is_new;
	sum_of(s, kind)->counted += packets;
	struct source *x = amap_put(s->sources, src, (uint8_t)kind, &is_new);
	if (!x) {
		s->lost += packets;
		return;
	}
	if (is_new)
		x->first_ms = since_ms;
	x->packets += packets;
	if (dst)
		note_dst(x, dst);
}

void stats_uncounted(struct stats *s, enum event_kind kind, uint64_t packets)
{
	sum_of(s, kind)->uncounted += packets;
}

/* What a source's packets stand for. */
static uint64_t scaled(struct sum *x, uint64_t packets)
{
	unsigned __int128 n = (unsigned __int128)packets * x->uncounted + x->rest;
	x->rest = (uint64_t)(n % x->counted);
	return packets + (uint64_t)(n / x->counted);
}

struct closing {
	struct stats *s;
	int64_t now_ms;
	void (*fn)(const struct event *e, void *arg);
	void *arg;
};

static bool close_source(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	const struct closing *c = arg;
	struct source *x = value;
	struct event e = {.kind = tag, .t_ms = c->now_ms, .src = *key};
	e.u.block.first_ms = x->first_ms < c->now_ms ? x->first_ms : c->now_ms;
	e.u.block.last_dst = x->last_dst;
	uint64_t packets = scaled(sum_of(c->s, tag), x->packets);
	e.u.block.packets = packets > UINT32_MAX ? UINT32_MAX : (uint32_t)packets;
	for (size_t i = 0; i < WORDS; i++)
		e.u.block.dsts += (uint32_t)__builtin_popcountll(x->dsts[i]);
	c->fn(&e, c->arg);
	return true;
}

void stats_close(struct stats *s, int64_t now_ms, void (*fn)(const struct event *e, void *arg),
		 void *arg)
{
	struct closing c = {s, now_ms, fn, arg};
	amap_each(s->sources, close_source, &c);
	for (unsigned i = 0; i < 2; i++)
		if (s->sums[i].counted > 0)
			s->sums[i] = (struct sum){0};
}
