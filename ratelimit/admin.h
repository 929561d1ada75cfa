/*
 * admin - ratelimitd's JSON requests (limit.show, limit.set, limit.reset, limit.class, limit.list,
 * limit.selftest, stats) on a limiter. Pure. docs/protocols/ratelimit.md
 */
#ifndef RATELIMIT_ADMIN_H
#define RATELIMIT_ADMIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "ratelimit/limiter.h"

struct admin_result {
	bool ok;
	json_t *value;	       /* a new reference: the result, or the error in words (a string) */
	bool standing_changed; /* make it durable before answering */
	bool changed;	       /* something changed: log it */
	const char *op;	       /* static; NULL when it is none of ours */
	char name[RL_ACCOUNT_MAX + 1]; /* whom it is about; "" */
};

/* text: len bytes of {"op":…,"args":{…}}. */
void admin_run(struct limiter *l, const char *text, size_t len, const struct moment *now,
	       struct admin_result *out);

#endif
