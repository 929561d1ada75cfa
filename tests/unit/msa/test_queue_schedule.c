/* Back-off and lifetime. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "msa/queue/schedule.h"

static void doubles_between_bounds(void **state)
{
	static const struct {
		uint32_t attempts;
		int64_t min, max, low, high;
	} cases[] = {
	    {0, 1000, 8000, 750, 1250},
	    {1, 1000, 8000, 750, 1250},
	    {2, 1000, 8000, 1500, 2500},
	    {3, 1000, 8000, 3000, 5000},
	    {4, 1000, 8000, 6000, 8000},
	    {5, 1000, 8000, 6000, 8000},
	    {4000000000u, 1000, 8000, 6000, 8000},
	    {3, 60000, 60000, 45000, 60000},
	    {1, 0, 10, 1, 2},
	    {64, 1, INT64_MAX, (int64_t)1 << 49, (int64_t)1 << 51},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static const uint32_t randoms[] = {0,	 1,    512,	 1023,
						   1024, 1025, 77777777, UINT32_MAX};
		for (size_t r = 0; r < sizeof(randoms) / sizeof(randoms[0]); r++) {
			int64_t d = schedule_delay(cases[i].min, cases[i].max, cases[i].attempts,
						   randoms[r]);
			if (d < cases[i].low || d > cases[i].high)
				fail_msg("case %zu: %lld is not in %lld..%lld", i, (long long)d,
					 (long long)cases[i].low, (long long)cases[i].high);
		}
	}
}

static void random_spreads(void **state)
{
	(void)state;
	assert_int_equal(schedule_delay(1000, 100000, 1, 0), 750);
	assert_int_equal(schedule_delay(1000, 100000, 1, 1024), 1250);
	assert_int_equal(schedule_delay(1000, 100000, 1, 512), 1000);
}

static void expiry(void **state)
{
	static const struct {
		int64_t from, lifetime, now;
		bool expired;
	} cases[] = {{1000, 500, 1499, false},
		     {1000, 500, 1500, true},
		     {1000, 500, 900, false},
		     {1000, 0, 1000, false},
		     {1000, 0, 1001, true}};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(schedule_expired(cases[i].from, cases[i].lifetime, cases[i].now),
				 cases[i].expired);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(doubles_between_bounds),
					   cmocka_unit_test(random_spreads),
					   cmocka_unit_test(expiry)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
