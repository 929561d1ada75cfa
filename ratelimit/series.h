/*
 * series - what happened when: counts by time, from which any sliding window is read. Pure.
 *
 * One series serves every window: it holds entries (time, one or two counts), oldest first. For a
 * window of W its time is cut in slots of g, the largest power of two with W >= 64 g; a slot
 * counts, whole, until W has passed since it ended. So with a limit of N: N pass, N + 1 do not, and
 * never more than N in any time of length W, whoever asks when; a count is kept for at least W and
 * less than W + W / 64. Entries that no window can tell apart any more are made one, so a series
 * holds at most about 128 for each window of the set, and a few for an account that writes a few
 * mails.
 *
 * Times are milliseconds modulo 2^32, which is enough for windows of up to SERIES_MAX_WINDOW and
 * entries that are looked at once in 18 days. Time given must not go back.
 */
#ifndef RATELIMIT_SERIES_H
#define RATELIMIT_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIES_MAX_WINDOW   (31LL * 24 * 3600 * 1000)
#define SERIES_MIN_WINDOW   64LL
#define SERIES_MAX_WINDOWS  16
#define SERIES_NARROW_BYTES 8u	/* u32 time, two u16 counts */
#define SERIES_WIDE_BYTES   12u /* u32 time, two u32 counts */

/* Different lengths, shortest first. */
struct series_windows {
	unsigned n;
	uint32_t w_ms[SERIES_MAX_WINDOWS];
};

/* n entries in memory of the owner's; narrow ones hold counts up to 65535. */
struct series {
	void *e;
	uint32_t n, cap;
	bool wide;
};

/* Adds w_ms unless it is there; false when there are too many. */
bool series_window_add(struct series_windows *ws, int64_t w_ms);
/* Length of the slots of a window of w_ms. */
uint32_t series_slot_ms(uint32_t w_ms);

enum series_room {
	SERIES_OK,
	SERIES_FULL,	/* cap entries are in use: give it more room and call again */
	SERIES_TOO_BIG, /* a count does not fit a narrow entry: widen it and call again */
};
/* Counts a and b at now. Nothing is changed unless it is SERIES_OK. A wide count stops at 2^32 - 1.
 */
enum series_room series_add(struct series *s, const struct series_windows *ws, uint32_t now,
			    uint32_t a, uint32_t b);
/* Takes back what was added at then: from that slot of the shortest window on, never from earlier.
 */
void series_sub(struct series *s, uint32_t now, uint32_t then, uint32_t slot_ms, uint32_t a,
		uint32_t b);
/* The sum of count which (0: a, 1: b) in a window of w_ms. */
uint64_t series_used(const struct series *s, int which, uint32_t w_ms, uint32_t now);
/*
 * In how many milliseconds n more would be within max; 0: now. Exact: they pass then if nothing
 * else is added, and not one millisecond sooner. When n alone is above max: until the window is
 * empty whatever is in it.
 */
int64_t series_retry(const struct series *s, int which, uint32_t w_ms, uint32_t now, uint64_t max,
		     uint64_t n);
/* In how many milliseconds that window is empty if nothing is added; 0: it is. */
int64_t series_empty_in(const struct series *s, int which, uint32_t w_ms, uint32_t now);
/* Drops what no window counts any more and joins what none can tell apart. */
void series_compact(struct series *s, const struct series_windows *ws, uint32_t now);

void series_get(const struct series *s, uint32_t i, uint32_t *t, uint32_t *a, uint32_t *b);
/* Narrow entries into wide ones: to has the room. */
void series_widen(const struct series *s, void *to);
static inline size_t series_entry_bytes(bool wide)
{
	return wide ? SERIES_WIDE_BYTES : SERIES_NARROW_BYTES;
}

#endif
