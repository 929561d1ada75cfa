/* A limiter with small limits of every kind, and room for a few. */
#ifndef TESTS_FUZZ_RATELIMIT_FEW_H
#define TESTS_FUZZ_RATELIMIT_FEW_H

#include <stdlib.h>

#include "ratelimit/limiter.h"

static inline void limiter_of_a_few(struct limiter_conf *c)
{
	static const struct class_member members[] = {{"a@b", "bulk"}};
	char names[N_UNITS * N_KEYS][8], bulk[] = "bulk", all[] = "*", err[256];
	struct class_conf k = {.name = bulk, .max_recipients = 7};
	uint32_t stale;
	*c = (struct limiter_conf){
	    .detect = {.window_ms = 60000, .recipients = 3, .rate = 3, .refused = 2},
	    .release_grace_ms = 1,
	    .held_per_day = 4,
	    .accounts = 5,
	    .memory = 4 << 20,
	    .prefix4 = 32,
	    .prefix6 = 64,
	    .members = members,
	    .n_members = 1,
	};
	if (!limits_add_class(&c->limits, &k, err))
		abort();
	for (int i = 0; i < N_UNITS * N_KEYS; i++) {
		struct limit_conf row = {names[i], i / N_UNITS, i % N_UNITS, 60000 << i % 8, 5,
					 i % 7 ? all : bulk, i % 5 == 0};
		names[i][0] = (char)('a' + i / 26), names[i][1] = (char)('a' + i % 26), names[i][2] = 0;
		if ((i % N_UNITS < N_ADDED || i < N_UNITS) && !limits_add(&c->limits, &row, err))
			abort();
	}
	if (!limits_finish(&c->limits, NULL, c->detect.window_ms, &stale, err))
		abort();
}

#endif
