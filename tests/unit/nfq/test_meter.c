/* Limits of lines that nfqd lets through itself: never more than is configured, and no less for one
 * alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <cmocka.h>

#include "nfq/meter.h"

static struct addr mx(uint32_t n)
{
	struct addr a;
	const uint8_t v4[4] = {192, 0, (uint8_t)(n >> 8), (uint8_t)n};
	addr_from_v4(&a, v4);
	return a;
}

static void rate(void **state)
{
	static const struct {
		uint32_t rate, burst;
		int64_t step_ms, span_ms; /* one attempt a step */
		unsigned least, most;
	} cases[] = {
	    {60, 120, 1, 1000, 120, 121}, /* the burst, and one a second */
	    {60, 2, 100, 60000, 61, 62},  /* the rate */
	    {1, 1, 100, 59000, 1, 1},	  /* one a minute */
	    {1, 1, 100, 61000, 2, 2},
	    {60, 10, 2000, 120000, 60, 60}, /* slower than the rate: all */
	    {1000000, 1000000, 1, 1000, 1000, 1000},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct meter *m = meter_new();
		const struct policy_limits l = {cases[i].rate, cases[i].burst, 0};
		unsigned went = 0;
		const struct addr dst = mx(1);
		for (int64_t t = 0; t < cases[i].span_ms; t += cases[i].step_ms)
			went += meter_take(m, 7, &dst, &l, 1000000 + t);
		if (went < cases[i].least || went > cases[i].most)
			fail_msg("case %zu: %u", i, went);
		/* Another line has its own. */
		assert_true(meter_take(m, 8, &dst, &l, 1000000 + cases[i].span_ms));
		meter_free(m);
	}
}

static void destinations(void **state)
{
	struct meter *m = meter_new();
	const struct policy_limits l = {0, 0, 3};
	unsigned went = 0;
	(void)state;
	for (uint32_t n = 0; n < 50; n++) {
		const struct addr dst = mx(n);
		went += meter_take(m, 7, &dst, &l, 5000);
	}
	assert_int_equal(went, 3);
	/* Those that are known stay reachable, for an hour; they cost nothing. */
	for (uint32_t n = 0; n < 200; n++) {
		const struct addr dst = mx(n % 3);
		assert_true(meter_take(m, 7, &dst, &l, 6000 + n));
	}
	const struct addr other = mx(40);
	assert_false(meter_take(m, 7, &other, &l, 7000));
	/* Room for one more after twenty minutes. */
	assert_true(meter_take(m, 7, &other, &l, 5000 + 20 * 60000));
	const struct addr next = mx(41);
	assert_false(meter_take(m, 7, &next, &l, 5000 + 20 * 60000 + 1));
	meter_free(m);
}

/* A known destination is one for an hour; then it takes its place again. */
static void known_for_an_hour(void **state)
{
	struct meter *m = meter_new();
	const struct policy_limits l = {0, 0, 1};
	const struct addr a = mx(1), b = mx(2);
	const int64_t hour = 3600000;
	(void)state;
	assert_true(meter_take(m, 7, &a, &l, 0));
	assert_true(meter_take(m, 7, &a, &l, hour - 1));
	assert_true(meter_take(m, 7, &a, &l, hour));
	assert_false(meter_take(m, 7, &b, &l, hour));
	meter_free(m);
}

struct hammer {
	struct meter *m;
	atomic_uint went;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;
	const struct policy_limits l = {60, 500, 0};
	const struct addr dst = mx(1);
	for (int n = 0; n < 20000; n++)
		h->went += meter_take(h->m, 7, &dst, &l, 1000);
	return NULL;
}

static void threads(void **state)
{
	struct hammer h = {.m = meter_new()};
	pthread_t t[4];
	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, &h), 0);
	for (int i = 0; i < 4; i++)
		(void)pthread_join(t[i], NULL);
	assert_int_equal(h.went, 500);
	meter_free(h.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rate),
	    cmocka_unit_test(destinations),
	    cmocka_unit_test(known_for_an_hour),
	    cmocka_unit_test(threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
