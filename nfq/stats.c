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

#define SKEW  100 /* packets */
#define WORDS 4	  /* 256 bits: the largest estimate */

struct source {
	uint64_t packets, dsts[WORDS];
	int64_t first_ms;
	struct addr last_dst;
};

/* Of one kind, in the interval. */
struct sum {
	uint64_t counted, total; /* by source; by the kernel in all, 0: as counted */
	uint64_t rest;		 /* of the scaling, carried from source to source */
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

bool stats_total(struct stats *s, enum event_kind kind, uint64_t total, uint64_t rate, int64_t ms)
{
	struct sum *x = sum_of(s, kind);
	/* The gate opens a little more than rate, never half of it; what is counted while the
	 * figures are read makes them differ by some. */
	bool at_gate = x->counted * 2000 >= rate * (uint64_t)(ms > 0 ? ms : 0);
	x->total = at_gate && total > x->counted + x->counted / 50 + SKEW ? total : 0;
	return x->total != 0;
}

/* What a source's packets stand for. */
static uint64_t scaled(struct sum *x, uint64_t packets)
{
	if (x->total == 0 || x->counted == 0)
		return packets;
	unsigned __int128 n = (unsigned __int128)packets * x->total + x->rest;
	x->rest = (uint64_t)(n % x->counted);
	return (uint64_t)(n / x->counted);
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
	memset(s->sums, 0, sizeof s->sums);
}
