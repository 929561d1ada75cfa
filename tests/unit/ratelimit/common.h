/* What the tests of ratelimit share: the default configuration, and asking. */
#ifndef TESTS_RATELIMIT_COMMON_H
#define TESTS_RATELIMIT_COMMON_H

#include <stdio.h>
#include <string.h>

#include "ratelimit/limiter.h"

#define T0   1795000000000LL /* a UTC time, and limiter time begins there too */
#define SEC  1000LL
#define MIN  (60 * SEC)
#define HOUR (60 * MIN)
#define DAY  (24 * HOUR)

static const struct limiter_conf default_conf = {
    .limit = {{30, 300, 1000}, {100, 250, 1000}},
    .detect = {.window_ms = 10 * MIN, .recipients = 30, .rate = 20, .refused = 50},
    .release_grace_ms = 10 * MIN,
    .held_per_day = 2000,
    .accounts = 1000,
    .mode = MODE_ENFORCE,
};

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
			     .n_hash = charge ? n : 0};
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
