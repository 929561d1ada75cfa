/*
 * series - sliding windows over one list of counts.
 *
 * Slots are powers of two, so those of a longer window are made of whole slots of a shorter one:
 * joining two entries of one slot of the shortest window that still counts the younger changes the
 * answer of none. An entry's time is that of the last count in it.
 *
 * Trusted with counts only. Diagnostics: none. Known gaps: none.
 */
#include "ratelimit/series.h"

#include <string.h>

#include "lib/proc.h"

struct narrow {
	uint32_t t;
	uint16_t c[2];
};
struct wide {
	uint32_t t, c[2];
};
_Static_assert(sizeof(struct narrow) == SERIES_NARROW_BYTES, "narrow entries");
_Static_assert(sizeof(struct wide) == SERIES_WIDE_BYTES, "wide entries");

uint32_t series_slot_ms(uint32_t w_ms)
{
	return 1u << (31 - __builtin_clz(w_ms / 64));
}

bool series_window_add(struct series_windows *ws, int64_t w_ms)
{
	unsigned i = 0;
	bug_on(w_ms < SERIES_MIN_WINDOW || w_ms > SERIES_MAX_WINDOW);
	while (i < ws->n && ws->w_ms[i] < w_ms)
		i++;
	if (i < ws->n && ws->w_ms[i] == w_ms)
		return true;
	if (ws->n == SERIES_MAX_WINDOWS)
		return false;
	memmove(&ws->w_ms[i + 1], &ws->w_ms[i], (ws->n - i) * sizeof ws->w_ms[0]);
	ws->w_ms[i] = (uint32_t)w_ms;
	ws->n++;
	return true;
}

void series_get(const struct series *s, uint32_t i, uint32_t *t, uint32_t *a, uint32_t *b)
{
	if (s->wide) {
		const struct wide *e = (const struct wide *)s->e + i;
		*t = e->t, *a = e->c[0], *b = e->c[1];
	} else {
		const struct narrow *e = (const struct narrow *)s->e + i;
		*t = e->t, *a = e->c[0], *b = e->c[1];
	}
}

static void set(struct series *s, uint32_t i, uint32_t t, uint32_t a, uint32_t b)
{
	if (s->wide)
		((struct wide *)s->e)[i] = (struct wide){t, {a, b}};
	else
		((struct narrow *)s->e)[i] = (struct narrow){t, {(uint16_t)a, (uint16_t)b}};
}

static uint32_t time_at(const struct series *s, uint32_t i)
{
	return s->wide ? ((const struct wide *)s->e)[i].t : ((const struct narrow *)s->e)[i].t;
}

static uint32_t count_at(const struct series *s, uint32_t i, int which)
{
	return s->wide ? ((const struct wide *)s->e)[i].c[which]
		       : ((const struct narrow *)s->e)[i].c[which];
}

/* How long ago; what seems to be of the last days of 2^32 ms is of now. */
static uint32_t age_of(uint32_t now, uint32_t t)
{
	uint32_t age = now - t;
	return age > UINT32_MAX - (1u << 29) ? 0 : age;
}

/* In how many milliseconds the slot of t leaves a window; 0 or less: it has. */
static int64_t leaves_in(uint32_t w_ms, uint32_t g, uint32_t now, uint32_t t)
{
	return (int64_t)w_ms + (int64_t)(g - (t & (g - 1))) - age_of(now, t);
}

static bool counts_in(uint32_t w_ms, uint32_t g, uint32_t now, uint32_t t)
{
	return leaves_in(w_ms, g, now, t) > 0;
}

static bool same_slot(uint32_t g, uint32_t t, uint32_t u)
{
	return (t & ~(g - 1)) == (u & ~(g - 1));
}

uint64_t series_used(const struct series *s, int which, uint32_t w_ms, uint32_t now)
{
	uint32_t g = series_slot_ms(w_ms);
	uint64_t sum = 0;
	for (uint32_t i = s->n; i-- > 0 && counts_in(w_ms, g, now, time_at(s, i));)
		sum += count_at(s, i, which);
	return sum;
}

int64_t series_retry(const struct series *s, int which, uint32_t w_ms, uint32_t now, uint64_t max,
		     uint64_t n)
{
	uint32_t g = series_slot_ms(w_ms), i = s->n;
	uint64_t used = 0, freed = 0;
	if (n > max)
		return (int64_t)w_ms + g;
	while (i > 0 && counts_in(w_ms, g, now, time_at(s, i - 1)))
		used += count_at(s, --i, which);
	if (used <= max - n)
		return 0;
	while (i < s->n && freed + count_at(s, i, which) < used - (max - n))
		freed += count_at(s, i++, which);
	bug_on(i == s->n);
	return leaves_in(w_ms, g, now, time_at(s, i));
}

int64_t series_empty_in(const struct series *s, int which, uint32_t w_ms, uint32_t now)
{
	uint32_t g = series_slot_ms(w_ms);
	for (uint32_t i = s->n; i-- > 0;) {
		int64_t in = leaves_in(w_ms, g, now, time_at(s, i));
		if (in <= 0)
			return 0;
		if (count_at(s, i, which) > 0)
			return in;
	}
	return 0;
}

/* The slots of the shortest window that counts t; 0: none does. */
static uint32_t grid_of(const struct series_windows *ws, uint32_t now, uint32_t t)
{
	for (unsigned i = 0; i < ws->n; i++) {
		uint32_t g = series_slot_ms(ws->w_ms[i]);
		if (counts_in(ws->w_ms[i], g, now, t))
			return g;
	}
	return 0;
}

static bool fits(const struct series *s, uint64_t a, uint64_t b)
{
	uint64_t most = s->wide ? UINT32_MAX : UINT16_MAX;
	return a <= most && b <= most;
}

void series_compact(struct series *s, const struct series_windows *ws, uint32_t now)
{
	uint32_t kept = 0, t, a, b, t0, a0, b0;
	for (uint32_t i = 0; i < s->n; i++) {
		series_get(s, i, &t, &a, &b);
		uint32_t g = grid_of(ws, now, t);
		if (g == 0 || (a == 0 && b == 0))
			continue;
		if (kept > 0) {
			series_get(s, kept - 1, &t0, &a0, &b0);
			if (same_slot(g, t0, t) && fits(s, (uint64_t)a0 + a, (uint64_t)b0 + b)) {
				set(s, kept - 1, t, a0 + a, b0 + b);
				continue;
			}
		}
		set(s, kept++, t, a, b);
	}
	s->n = kept;
}

static uint32_t plus(uint32_t x, uint32_t y)
{
	return x > UINT32_MAX - y ? UINT32_MAX : x + y;
}

/* Into the newest entry, when that is of the same slot and has room for it. */
static bool add_to_last(struct series *s, uint32_t g, uint32_t now, uint32_t a, uint32_t b)
{
	uint32_t t, a0, b0;
	if (s->n == 0)
		return false;
	series_get(s, s->n - 1, &t, &a0, &b0);
	if (!same_slot(g, t, now) && age_of(now, t) != 0)
		return false;
	if (!fits(s, (uint64_t)a0 + a, (uint64_t)b0 + b) && !s->wide)
		return false;
	set(s, s->n - 1, age_of(now, t) ? now : t, plus(a0, a), plus(b0, b));
	return true;
}

enum series_room series_add(struct series *s, const struct series_windows *ws, uint32_t now,
			    uint32_t a, uint32_t b)
{
	if (ws->n == 0 || (a == 0 && b == 0) ||
	    add_to_last(s, series_slot_ms(ws->w_ms[0]), now, a, b))
		return SERIES_OK;
	if (!fits(s, a, b))
		return SERIES_TOO_BIG;
	if (s->n == s->cap)
		series_compact(s, ws, now);
	if (s->n == s->cap)
		return SERIES_FULL;
	if (!s->wide && s->n > 0 &&
	    same_slot(series_slot_ms(ws->w_ms[0]), time_at(s, s->n - 1), now))
		return SERIES_TOO_BIG; /* two entries for one slot: time for wide ones */
	set(s, s->n++, now, a, b);
	return SERIES_OK;
}

static uint32_t less(uint32_t have, uint32_t *want)
{
	uint32_t take = have < *want ? have : *want;
	*want -= take;
	return have - take;
}

void series_sub(struct series *s, uint32_t now, uint32_t then, uint32_t slot_ms, uint32_t a,
		uint32_t b)
{
	uint32_t t, a0, b0, from = then & ~(slot_ms - 1);
	for (uint32_t i = 0; i < s->n && (a > 0 || b > 0); i++) {
		series_get(s, i, &t, &a0, &b0);
		if (age_of(now, t) > age_of(now, from))
			continue;
		a0 = less(a0, &a);
		b0 = less(b0, &b);
		set(s, i, t, a0, b0);
	}
}

void series_widen(const struct series *s, void *to)
{
	struct series w = {.e = to, .n = s->n, .cap = s->n, .wide = true};
	uint32_t t, a, b;
	for (uint32_t i = 0; i < s->n; i++) {
		series_get(s, i, &t, &a, &b);
		set(&w, i, t, a, b);
	}
}
