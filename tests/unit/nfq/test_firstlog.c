/* firstlog: one line a source and period, and a bound on all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <talloc.h>

#include "nfq/firstlog.h"

static struct addr source(uint32_t n)
{
	struct addr a;
	const uint8_t b[4] = {100, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
	addr_from_v4(&a, b);
	return a;
}

static void test_once_a_period(void **state)
{
	struct firstlog *f = firstlog_new(NULL);
	struct addr a = source(1), b = source(2);
	(void)state;
	assert_true(firstlog_wanted(f, &a, 1000, 60000));
	assert_false(firstlog_wanted(f, &a, 1000, 60000));
	assert_false(firstlog_wanted(f, &a, 60999, 60000));
	assert_true(firstlog_wanted(f, &b, 60999, 60000));
	assert_true(firstlog_wanted(f, &a, 61000, 60000));
	assert_false(firstlog_wanted(f, &a, 61001, 60000));
	assert_int_equal(firstlog_suppressed(f), 0);
	talloc_free(f);
}

static void test_rate(void **state)
{
	struct firstlog *f = firstlog_new(NULL);
	unsigned lines = 0;
	(void)state;
	for (uint32_t i = 0; i < 10000; i++) {
		struct addr a = source(i);
		lines += firstlog_wanted(f, &a, 5000, 60000);
	}
	assert_int_equal(lines, FIRSTLOG_BURST);
	assert_int_equal(firstlog_suppressed(f), 10000 - FIRSTLOG_BURST);
	assert_int_equal(firstlog_suppressed(f), 0);
	for (uint32_t i = 10000; i < 11000; i++) {
		struct addr a = source(i);
		lines += firstlog_wanted(f, &a, 6000, 60000); /* a second later */
	}
	assert_int_equal(lines, FIRSTLOG_BURST + FIRSTLOG_RATE);
	/* Of the first ones each is known still: no line is doubled. */
	for (uint32_t i = 0; i < 100; i++) {
		struct addr a = source(10999);
		assert_false(firstlog_wanted(f, &a, 900000 / 20, 60000));
	}
	talloc_free(f);
}

/* How many of n sources are new at mono_ms: told, or left out for want of rate alone. */
static unsigned new_ones(struct firstlog *f, uint32_t n, int64_t mono_ms)
{
	unsigned told = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct addr a = source(i);
		told += firstlog_wanted(f, &a, mono_ms, 60000);
	}
	return told + (unsigned)firstlog_suppressed(f);
}

/* Quiet time, a little or an hour of it, saves no more than the burst. */
static void test_burst(void **state)
{
	static const int64_t quiet_ms[] = {FIRSTLOG_BURST * 500 / FIRSTLOG_RATE, 3600000};
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct firstlog *f = firstlog_new(NULL);
		unsigned lines = 0;
		for (uint32_t i = 0; i < 10000; i++) {
			struct addr a = source(i);
			lines += firstlog_wanted(f, &a, i == 0 ? 1000 : 1000 + quiet_ms[k], 60000);
		}
		assert_int_equal(lines, 1 + FIRSTLOG_BURST);
		talloc_free(f);
	}
}

/* Two places each: of 4000 sources hardly one pushes another out. */
static void test_two_places(void **state)
{
	struct firstlog *f = firstlog_new(NULL);
	(void)state;
	assert_int_equal(new_ones(f, 4000, 1000), 4000);
	assert_in_range(new_ones(f, 4000, 2000), 0, 60);
	talloc_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_once_a_period),
	    cmocka_unit_test(test_rate),
	    cmocka_unit_test(test_burst),
	    cmocka_unit_test(test_two_places),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
