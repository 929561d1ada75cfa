/*
 * config - the section `ratelimit` of sekisho.conf, and the groups `limit` and `account-class`.
 */
#ifndef RATELIMIT_CONFIG_H
#define RATELIMIT_CONFIG_H

#include <stddef.h>

#include "lib/conf.h"
#include "ratelimit/detector/config.h"
#include "ratelimit/limiter.h"

enum policy_action { POLICY_452, POLICY_DEFER };

struct ratelimit_conf {
	struct conf_common common;
	char *metrics;
	int64_t snapshot_interval_ms;
	struct conf_list policy_listen;
	char *policy_realm;
	int login_case; /* msa.login_case */
	int policy_action; /* enum policy_action */
	/* The six limits every account has, by unit and window. */
	int64_t simple[2][3];
	struct conf_items limits, classes;
	struct detector_settings detector;
	struct limiter_conf limiter; /* its limits and members: of config_load() */
};

extern const struct conf_key ratelimit_keys[];
extern const size_t ratelimit_n_keys;

/* Reads file, and makes rows of the limits. NULL: *err is a talloc'd text. The result is freed
 * whole with talloc_free(). */
struct ratelimit_conf *config_load(const char *file, char **err);
/* The rows of a struct filled by hand. False: *err, talloc'd under conf. */
bool config_finish(struct ratelimit_conf *conf, char **err);

#endif
