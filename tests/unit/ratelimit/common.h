/* What the tests of ratelimit share: the default configuration, and asking. */
#ifndef TESTS_RATELIMIT_COMMON_H
#define TESTS_RATELIMIT_COMMON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit/limiter.h"

#define T0   1795000000000LL /* a UTC time, and limiter time begins there too */
#define SEC  1000LL
#define MIN  (60 * SEC)
#define HOUR (60 * MIN)
#define DAY  (24 * HOUR)

/* A limit more, of class "*" unless it says otherwise. */
static inline void add_limit(struct limiter_conf *c, const char *name, enum limit_key key,
			     enum unit unit, int64_t window_ms, int64_t max)
{
	char err[256], all[] = "*", copy[LIMIT_NAME_MAX];
	snprintf(copy, sizeof copy, "%s", name);
	struct limit_conf row = {copy, (int)key, (int)unit, window_ms, max, all, 0};
	if (!limits_add(&c->limits, &row, err))
		abort();
}

static inline void finish(struct limiter_conf *c)
{
	uint32_t stale;
	char err[256];
	if (!limits_finish(&c->limits, NULL, c->detect.window_ms, &stale, err))
		abort();
}

/* The six simple limits by unit and window; everything else as the sample has it. */
static inline struct limiter_conf conf_of(int64_t m1, int64_t mh, int64_t md, int64_t r1,
					  int64_t rh, int64_t rd)
{
	struct limiter_conf c = {
	    .detect = {.window_ms = 10 * MIN, .recipients = 30, .rate = 20, .refused = 50},
	    .release_grace_ms = 10 * MIN,
	    .held_per_day = 2000,
	    .accounts = 1000,
	    .memory = 64 << 20,
	    .prefix4 = 32,
	    .prefix6 = 64,
	    .mode = MODE_ENFORCE,
	};
	limits_init(&c.limits);
	add_limit(&c, "messages-1m", KEY_ACCOUNT, UNIT_MESSAGES, MIN, m1);
	add_limit(&c, "messages-1h", KEY_ACCOUNT, UNIT_MESSAGES, HOUR, mh);
	add_limit(&c, "messages-1d", KEY_ACCOUNT, UNIT_MESSAGES, DAY, md);
	add_limit(&c, "recipients-1m", KEY_ACCOUNT, UNIT_RECIPIENTS, MIN, r1);
	add_limit(&c, "recipients-1h", KEY_ACCOUNT, UNIT_RECIPIENTS, HOUR, rh);
	add_limit(&c, "recipients-1d", KEY_ACCOUNT, UNIT_RECIPIENTS, DAY, rd);
	finish(&c);
	return c;
}

static inline struct limiter_conf default_conf(void)
{
	return conf_of(30, 300, 1000, 100, 250, 1000);
}

/* No limits, no detector. */
static inline struct limiter_conf bare_conf(void)
{
	struct limiter_conf c = conf_of(0, 0, 0, 0, 0, 0);
	c.detect.recipients = 0;
	c.detect.window_ms = MIN;
	limits_init(&c.limits);
	return c;
}

static inline struct moment at(int64_t ms)
{
	return (struct moment){.mono_ms = T0 + ms, .utc_ms = T0 + ms};
}

struct asked {
	struct rl_verdict v;
	struct limiter_outcome o;
};

/* One message to n recipients that begin at first: "r5@out.example". */
static inline struct asked ask_n(struct limiter *l, const char *account, int64_t ms, bool charge,
				 uint32_t first, uint32_t n)
{
	static uint64_t hash[5000];
	struct asked r;
	struct moment now = at(ms);
	for (uint32_t i = 0; i < n; i++) {
		char text[64];
		snprintf(text, sizeof text, "r%u@out.example", first + i);
		hash[i] = rl_hash(text);
	}
	struct rl_ask ask = {.account = account,
			     .t_ms = now.utc_ms,
			     .charge = charge,
			     .messages = 1,
			     .rcpts = n,
			     .rcpt_hash = hash,
			     .n_hash = n};
	limiter_ask(l, &ask, &now, &r.v, &r.o);
	return r;
}

static inline enum rl_answer charge_to(struct limiter *l, const char *account, int64_t ms,
				       uint32_t rcpt)
{
	return ask_n(l, account, ms, true, rcpt, 1).v.answer;
}

static inline enum rl_answer check(struct limiter *l, const char *account, int64_t ms,
				   uint32_t rcpts)
{
	return ask_n(l, account, ms, false, 0, rcpts).v.answer;
}

static inline size_t accounts_of(struct limiter *l)
{
	return subjects_count(limiter_subjects(l));
}

/* The housekeeping of a whole round. */
static inline void sweep(struct limiter *l, int64_t ms)
{
	struct moment now = at(ms);
	limiter_sweep(l, &now, 4096);
	limiter_sweep_standing(l, &now);
}

static inline void view(struct limiter *l, const char *account, int64_t ms, struct limiter_view *v)
{
	const struct limiter_who who = {.account = account};
	struct moment now = at(ms);
	limiter_view(l, &who, &now, v);
}

/* The row of that limit; ends the test when there is none. */
static inline const struct limiter_row *row_of(const struct limiter_view *v, const char *limit)
{
	for (unsigned i = 0; i < v->n; i++)
		if (strcmp(v->row[i].limit->name, limit) == 0)
			return &v->row[i];
	abort();
}

static inline struct rl_penalty penalty_of(const char *account, enum rl_stage stage,
					   int64_t since_ms)
{
	struct rl_penalty p = {.stage = stage,
			       .since_ms = since_ms,
			       .rule = "operator",
			       .why = "because",
			       .actor = "unix:root"};
	snprintf(p.account, sizeof p.account, "%s", account);
	return p;
}

#endif
