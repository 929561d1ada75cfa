/*
 * detect - the zombie rules. Pure.
 *
 * Trusted with nothing. The thresholds of `burst` lie below the limit of messages a minute on
 * purpose: a limit alone would only defer a stolen account's mail, and it would leave later.
 * Diagnostics: the sentence in `why`. Known gap: fixed thresholds, no baseline of the account's
 * own.
 */
#include "ratelimit/detect.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "lib/clock.h"

static bool reached(uint64_t n, int64_t threshold)
{
	return threshold > 0 && n >= (uint64_t)threshold;
}

static const char *burst(const struct detect_conf *c, const struct detect_counts *n,
			 const char *window, char *why, size_t cap)
{
	if (!reached(n->rate, c->rate))
		return NULL;
	snprintf(why, cap,
		 "%" PRIu64 " messages in 1m, limit %" PRId64 "; %" PRIu32
		 " different recipients in %s, limit %" PRId64,
		 n->rate, c->rate, n->distinct, window, c->recipients);
	return "burst";
}

static const char *refused(const struct detect_conf *c, const struct detect_counts *n,
			   const char *window, char *why, size_t cap)
{
	if (!reached(n->refused, c->refused))
		return NULL;
	snprintf(why, cap,
		 "%" PRIu64 " refusals by a limit in %s, limit %" PRId64 "; %" PRIu32
		 " different recipients, limit %" PRId64,
		 n->refused, window, c->refused, n->distinct, c->recipients);
	return "refused";
}

const char *detect(const struct detect_conf *c, const struct detect_counts *n, char *why,
		   size_t cap)
{
	char window[CLOCK_STRLEN];
	if (!reached(n->distinct, c->recipients))
		return NULL;
	clock_format_duration(c->window_ms, window);
	const char *rule = burst(c, n, window, why, cap);
	return rule ? rule : refused(c, n, window, why, cap);
}
