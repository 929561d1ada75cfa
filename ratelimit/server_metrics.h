/*
 * server_metrics - brings the figures that lib/metrics serves up to date.
 */
#ifndef RATELIMIT_SERVER_METRICS_H
#define RATELIMIT_SERVER_METRICS_H

#include <stdint.h>

#include "ratelimit/disk.h"
#include "ratelimit/limiter.h"
#include "ratelimit/sentry.h"

/* age_ms: since the counters on disk were complete. */
void server_put_metrics(struct limiter *l, const struct sentry *s, const struct disk *d,
			int64_t age_ms);

#endif
