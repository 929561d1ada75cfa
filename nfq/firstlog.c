/*
 * firstlog - see firstlog.h.
 *
 * A source has two places in a table of fixed size. When both hold others, the one told longer ago
 * makes room: the cost is a line too many, never one too few.
 *
 * Trusted with: nothing. Diagnostics: firstlog_suppressed(). Known gaps: more sources at once than
 * the table has places are told more than once a period, within the rate.
 */
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/firstlog.h"

#define SLOTS (32u << 10)

struct slot {
	struct addr source;
	int64_t told_ms; /* 0: empty */
};

struct firstlog {
	int64_t tokens, filled_ms; /* thousandths of a line */
	uint64_t suppressed;
	struct slot slots[SLOTS];
};

struct firstlog *firstlog_new(void *ctx)
{
	struct firstlog *f = talloc_zero(ctx, struct firstlog);
	bug_on(!f);
	f->tokens = FIRSTLOG_BURST * 1000;
	return f;
}

uint64_t firstlog_suppressed(struct firstlog *f)
{
	uint64_t n = f->suppressed;
	f->suppressed = 0;
	return n;
}

static uint64_t hash(const struct addr *a)
{
	uint64_t hi, lo;
	memcpy(&hi, a->b, 8);
	memcpy(&lo, a->b + 8, 8);
	/* What differs comes last in an address, in the high bits: fold it down, twice. */
	lo ^= hi * 0x9e3779b97f4a7c15u;
	lo = (lo ^ lo >> 32) * 0xbf58476d1ce4e5b9u;
	lo = (lo ^ lo >> 32) * 0x94d049bb133111ebu;
	return lo ^ lo >> 32;
}

static struct slot *find(struct firstlog *f, const struct addr *source)
{
	uint64_t h = hash(source);
	struct slot *a = &f->slots[h % SLOTS], *b = &f->slots[(h >> 32) % SLOTS];
	if (addr_eq(&a->source, source))
		return a;
	if (addr_eq(&b->source, source))
		return b;
	return a->told_ms <= b->told_ms ? a : b;
}

static bool take_token(struct firstlog *f, int64_t mono_ms)
{
	if (f->filled_ms)
		f->tokens += (mono_ms - f->filled_ms) * FIRSTLOG_RATE;
	if (f->tokens > FIRSTLOG_BURST * 1000)
		f->tokens = FIRSTLOG_BURST * 1000;
	f->filled_ms = mono_ms;
	if (f->tokens < 1000)
		return false;
	f->tokens -= 1000;
	return true;
}

bool firstlog_wanted(struct firstlog *f, const struct addr *source, int64_t mono_ms,
		     int64_t period_ms)
{
	struct slot *s = find(f, source);
	bool same = s->told_ms && addr_eq(&s->source, source);
	if (same && mono_ms - s->told_ms < period_ms)
		return false;
	*s = (struct slot){*source, mono_ms};
	if (take_token(f, mono_ms))
		return true;
	f->suppressed++;
	return false;
}
