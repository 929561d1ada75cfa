/*
 * config - the section `ratelimit` of sekisho.conf.
 */
#ifndef RATELIMIT_CONFIG_H
#define RATELIMIT_CONFIG_H

#include <stddef.h>

#include "lib/conf.h"
#include "ratelimit/limiter.h"

struct ratelimit_conf {
	struct conf_common common;
	char *metrics;
	int64_t snapshot_interval_ms;
	struct limiter_conf limiter;
};

extern const struct conf_key ratelimit_keys[];
extern const size_t ratelimit_n_keys;

#endif
