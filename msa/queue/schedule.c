/*
 * schedule - back-off and lifetime.
 *
 * Purpose: doubling back-off with jitter, so that mail deferred together does not come back
 * together. Trusted with: nothing. Diagnostics: none. Known gaps: one schedule for every
 * destination; there is one smart host.
 */
#include "msa/queue/schedule.h"

int64_t schedule_delay(int64_t min_ms, int64_t max_ms, uint32_t attempts, uint32_t random)
{
	int64_t d = min_ms < 1 ? 1 : min_ms;

	for (uint32_t i = 1; i < attempts && d < max_ms; i++)
		d = d > max_ms / 2 ? max_ms : d * 2;
	if (d > max_ms)
		d = max_ms;
	/* Hours fit many times over: max_ms is bounded by the configuration, 2^50 leaves room for
	 * the factor. */
	if (d > (int64_t)1 << 50)
		d = (int64_t)1 << 50;
	d = d / 4 * 3 + d / 2 * (int64_t)(random % 1025) / 1024;
	if (d > max_ms)
		d = max_ms;
	return d < 1 ? 1 : d;
}

bool schedule_expired(int64_t life_from_ms, int64_t lifetime_ms, int64_t now_ms)
{
	return now_ms > life_from_ms && now_ms - life_from_ms >= lifetime_ms;
}
