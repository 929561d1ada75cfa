/* What the tests of the limiter share: one with no past, and a burst. */
#ifndef TESTS_RATELIMIT_LIMITER_H
#define TESTS_RATELIMIT_LIMITER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/ratelimit/common.h"

#define ME "user01@isp.example"

static inline struct limiter *fresh(const struct limiter_conf *c)
{
	return limiter_new(c, 7);
}

static inline struct limiter *fresh_default(void)
{
	struct limiter_conf c = default_conf();
	return fresh(&c);
}

/* Which of 40 messages opens an incident; 0: none. */
static inline uint32_t burst(struct limiter *l, int64_t from_ms, uint32_t first)
{
	for (uint32_t i = 0; i < 40; i++)
		if (ask_n(l, ME, from_ms + i, true, first + i, 1).o.opened)
			return i + 1;
	return 0;
}

#endif
