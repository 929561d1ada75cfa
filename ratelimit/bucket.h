/*
 * bucket - how much happened in the last W: a sliding window of counters, one a time slot.
 *
 * W is slots * slot_ms. What is counted in a slot leaves, all of it, once W has passed since that
 * slot ended, so a count is kept for at least W and for less than W + slot_ms. Therefore, with a
 * limit of N: N pass, N + 1 do not, and never more than N pass in any window of length W. Only
 * slots in use take memory (at most slots + 1 of 8 bytes).
 *
 * Times are milliseconds of any clock that does not go back (now_ms / slot_ms must fit 32 bits);
 * should it go back, counts stay where they are. The shape of one bucket stays the same all its
 * life, but `slots` may change.
 */
#ifndef RATELIMIT_BUCKET_H
#define RATELIMIT_BUCKET_H

#include <stdint.h>

struct bucket_shape {
	uint32_t slot_ms, slots;
};

struct bucket_slot {
	uint32_t at; /* time / slot_ms */
	uint32_t n;
};

/* All zeros is an empty bucket. */
struct bucket {
	struct bucket_slot *slot; /* n of them, oldest first */
	uint64_t total;
	uint16_t n, cap;
};

/* What is counted at now_ms. */
uint64_t bucket_used(struct bucket *b, const struct bucket_shape *s, int64_t now_ms);
void bucket_add(struct bucket *b, const struct bucket_shape *s, int64_t now_ms, uint32_t n);
/* Take back what was added at then_ms: from that slot, then from later ones, never from earlier
 * ones. */
void bucket_sub(struct bucket *b, const struct bucket_shape *s, int64_t now_ms, int64_t then_ms,
		uint32_t n);
/*
 * In how many milliseconds n more would be within limit; 0: now. Exact: they pass then if nothing
 * else is added, and not one millisecond sooner. When n alone is above limit: the time after which
 * the bucket is empty whatever is in it.
 */
int64_t bucket_retry(struct bucket *b, const struct bucket_shape *s, int64_t now_ms, uint64_t limit,
		     uint64_t n);
/* In how many milliseconds it is empty if nothing is added; 0: it is. */
int64_t bucket_empty_in(struct bucket *b, const struct bucket_shape *s, int64_t now_ms);
/*
 * Put back a slot that began age_ms ago by another process's alignment; oldest first. What it holds
 * is counted for at least W since it happened, and for less than W + 2 * slot_ms.
 */
void bucket_restore(struct bucket *b, const struct bucket_shape *s, int64_t now_ms, int64_t age_ms,
		    uint32_t n);
/* Empties it and frees its memory. */
void bucket_clear(struct bucket *b);

#endif
