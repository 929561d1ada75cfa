/*
 * server_metrics - brings the figures that lib/metrics serves up to date.
 */
#ifndef RATELIMIT_SERVER_METRICS_H
#define RATELIMIT_SERVER_METRICS_H

#include <stdint.h>

#include "ratelimit/disk.h"
#include "ratelimit/limiter.h"
#include "ratelimit/sentry.h"

/* Asks by the time from the read that brought them until their answers were written. */
#define SERVED_STEPS 10
struct served {
	uint64_t up_to[SERVED_STEPS], sum_us; /* the last: anything longer */
};
void served_add(struct served *s, unsigned n, int64_t us);

/* age_ms: since the counters on disk were complete. */
void server_put_metrics(struct limiter *l, const struct sentry *s, const struct disk *d,
			const struct served *served, int64_t age_ms);

#endif
