/*
 * suspect - see suspect.h.
 *
 * A line keeps two halves of the window, this one and the one before: what is judged is the union,
 * so the evidence is never older than a window, and nobody escapes by the moment a window ends. The
 * table has places of 8 lines; a line is looked for in its place alone.
 *
 * Trusted with: nothing. Diagnostics: suspect_now(), suspect_evicted(). Known gaps: two lines whose
 * keys have the same hash share nothing, but a place that is full of lines with many destinations
 * takes a new one only at the cost of the least of them.
 */
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/suspect.h"

#define WAYS	  8
#define MIN_LINES 64
#define DST_WORDS 8 /* 512 bits */
#define NET_WORDS 4 /* 256 bits */
#define NET4_BITS 24
#define NET6_BITS 48

struct half {
	uint64_t dsts[DST_WORDS], nets[NET_WORDS];
};

struct line {
	struct addr key, last_dst;
	int64_t half_ms;     /* when halves[0] began */
	int64_t first_ms[2]; /* the first packet of each half; 0: none */
	int64_t told_ms;     /* 0: not told of */
	uint64_t packets[2];
	bool used, fresh; /* fresh: packets since it was told of */
	struct half halves[2];
};

struct suspect {
	struct suspect_limits limits;
	uint64_t seed[2], evicted;
	size_t places, now; /* places: a power of two */
	struct line *lines; /* places * WAYS */
};

struct suspect *suspect_new(void *ctx, const struct suspect_limits *limits, size_t lines)
{
	struct suspect *s = talloc_zero(ctx, struct suspect);
	bug_on(!s);
	s->limits = *limits;
	for (s->places = MIN_LINES / WAYS; s->places * WAYS < lines;)
		s->places *= 2;
	s->lines = talloc_zero_array(s, struct line, s->places * WAYS);
	bug_on(!s->lines);
	/* Nobody outside shall know which lines share a place. */
	if (getrandom(s->seed, sizeof s->seed, 0) != (ssize_t)sizeof s->seed)
		fatal_errno("no random bytes");
	return s;
}

void suspect_set_limits(struct suspect *s, const struct suspect_limits *limits)
{
	s->limits = *limits;
}

size_t suspect_now(const struct suspect *s)
{
	return s->now;
}

uint64_t suspect_evicted(const struct suspect *s)
{
	return s->evicted;
}

/* --- lines ----------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static uint64_t hash(const struct suspect *s, const struct addr *a)
{
	uint64_t hi, lo;
	memcpy(&hi, a->b, 8);
	memcpy(&lo, a->b + 8, 8);
	return mix(mix(hi ^ s->seed[0]) ^ lo ^ s->seed[1]);
}

static uint32_t bits(const uint64_t *x, const uint64_t *y, size_t words)
{
	int n = 0;
	for (size_t i = 0; i < words; i++)
		n += __builtin_popcountll(x[i] | y[i]);
	return (uint32_t)n;
}

static uint32_t dsts_of(const struct line *l)
{
	return bits(l->halves[0].dsts, l->halves[1].dsts, DST_WORDS);
}

static uint32_t nets_of(const struct line *l)
{
	return bits(l->halves[0].nets, l->halves[1].nets, NET_WORDS);
}

static void begin_half(struct line *l, int64_t now_ms)
{
	l->halves[1] = l->halves[0];
	l->first_ms[1] = l->first_ms[0];
	l->packets[1] = l->packets[0];
	l->halves[0] = (struct half){0};
	l->first_ms[0] = 0;
	l->packets[0] = 0;
	l->half_ms = now_ms;
}

/* Let go what is older than the window. A clock set back begins anew. */
static void advance(const struct suspect *s, struct line *l, int64_t now_ms)
{
	int64_t half = s->limits.window_ms / 2, age = now_ms - l->half_ms;
	if (age >= 0 && age < half)
		return;
	begin_half(l, now_ms);
	if (age < 0 || age >= 2 * half)
		begin_half(l, now_ms);
}

/* Worth less than what is there: the fewest destinations, then the longest silent. */
static bool lesser(const struct line *x, const struct line *y)
{
	uint32_t a = dsts_of(x), b = dsts_of(y);
	return a != b ? a < b : x->half_ms < y->half_ms;
}

static struct line *find_line(struct suspect *s, const struct addr *key, int64_t now_ms)
{
	struct line *place = &s->lines[(hash(s, key) & (s->places - 1)) * WAYS], *least = place;
	for (struct line *l = place; l < place + WAYS; l++) {
		if (l->used && addr_eq(&l->key, key)) {
			advance(s, l, now_ms);
			return l;
		}
		if (l != place && least->used && (!l->used || lesser(l, least)))
			least = l;
	}
	s->evicted += least->used && least->half_ms + s->limits.window_ms > now_ms;
	*least = (struct line){.key = *key, .half_ms = now_ms, .used = true};
	return least;
}

/* --- counting -------------------------------------------------------------------- */

static void set_bit(uint64_t *words, size_t n, uint64_t h)
{
	words[h >> 6 & (n - 1)] |= 1ull << (h & 63);
}

void suspect_count(struct suspect *s, const struct addr *line_key, const struct addr *dst,
		   uint64_t packets, int64_t now_ms)
{
	struct addr net;
	if (s->limits.attempts == 0 || packets == 0)
		return;
	struct line *l = find_line(s, line_key, now_ms);
	addr_mask(dst, addr_is4(dst) ? NET4_BITS : NET6_BITS, &net);
	set_bit(l->halves[0].dsts, DST_WORDS, hash(s, dst));
	set_bit(l->halves[0].nets, NET_WORDS, hash(s, &net));
	if (!l->first_ms[0])
		l->first_ms[0] = now_ms;
	l->packets[0] += packets;
	l->last_dst = *dst;
	l->fresh = true;
}

static bool over(const struct suspect *s, const struct line *l)
{
	const struct suspect_limits *x = &s->limits;
	return x->attempts > 0 && l->packets[0] + l->packets[1] >= (uint64_t)x->attempts &&
	       dsts_of(l) >= x->destinations && nets_of(l) >= x->networks;
}

void suspect_close(struct suspect *s, int64_t now_ms,
		   void (*fn)(const struct suspect_finding *f, void *arg), void *arg)
{
	s->now = 0;
	for (struct line *l = s->lines; l < s->lines + s->places * WAYS; l++) {
		if (!l->used)
			continue;
		advance(s, l, now_ms);
		if (!over(s, l)) {
			l->told_ms = 0;
			l->used = l->first_ms[0] || l->first_ms[1];
			continue;
		}
		s->now++;
		if (l->told_ms && (!l->fresh || (now_ms >= l->told_ms &&
						 now_ms - l->told_ms < s->limits.window_ms / 2)))
			continue;
		const struct suspect_finding f = {l->key,
						  l->last_dst,
						  l->first_ms[1] ? l->first_ms[1] : l->first_ms[0],
						  l->packets[0] + l->packets[1],
						  dsts_of(l),
						  nets_of(l)};
		l->told_ms = now_ms;
		l->fresh = false;
		fn(&f, arg);
	}
}
