/*
 * distinct - how many different recipients in the last W: a small exact set of hashes, each with
 * when it was last seen.
 *
 * Exact up to `max` members, which is chosen above the threshold that matters; beyond it the oldest
 * is replaced, and the count reads max. Memory grows with use to at most 16 * max bytes. Times as
 * in bucket.
 */
#ifndef RATELIMIT_DISTINCT_H
#define RATELIMIT_DISTINCT_H

#include <stdint.h>

struct distinct_seen {
	uint64_t hash;
	int64_t last_ms;
};

/* All zeros is an empty set. */
struct distinct {
	struct distinct_seen *seen; /* in no order */
	uint16_t n, cap;
};

/* Forget what was last seen window_ms ago or longer; the count of the rest. */
uint32_t distinct_count(struct distinct *d, int64_t now_ms, int64_t window_ms);
void distinct_add(struct distinct *d, int64_t now_ms, int64_t window_ms, uint16_t max,
		  const uint64_t *hash, uint32_t n);
void distinct_clear(struct distinct *d);

#endif
