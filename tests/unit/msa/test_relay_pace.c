/* How fast mail goes to a destination: numbers in, numbers out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "msa/relay/pace.h"

static const struct pace_rules rules = {.most = 20, .pause_min = 1000, .pause_max = 60000};

static void starts_slowly(void **state)
{
	struct pace p;
	(void)state;
	pace_init(&p, &rules);
	assert_int_equal(pace_connections(&p), PACE_FIRST);
	for (int i = 0; i < 100; i++)
		pace_good(&p);
	assert_int_equal(pace_connections(&p), 20);
	pace_less(&p);
	assert_int_equal(pace_connections(&p), 10);
	/* From now on one more a round, not one more a message. */
	for (int i = 0; i < 10; i++)
		pace_good(&p);
	assert_int_equal(pace_connections(&p), 10);
	for (int i = 0; i < 30; i++)
		pace_good(&p);
	assert_int_equal(pace_connections(&p), 11);
	for (int i = 0; i < 10; i++)
		pace_less(&p);
	assert_int_equal(pace_connections(&p), 1);
	pace_init(&p, &(struct pace_rules){.most = 2, .pause_min = 1, .pause_max = 1});
	assert_int_equal(pace_connections(&p), 2);
}

static void pauses_double(void **state)
{
	struct pace p;
	int64_t now = 5000, base = 1000;
	(void)state;
	pace_init(&p, &rules);
	assert_int_equal(pace_wait(&p, now), 0);
	for (uint32_t i = 0; i < 12; i++) {
		pace_close(&p, now, i * 97);
		int64_t wait = pace_wait(&p, now);
		assert_in_range(wait, base * 3 / 4, base * 5 / 4);
		/* Others of the same time do not count. */
		pace_close(&p, now + 1, 0);
		assert_int_equal(pace_wait(&p, now), wait);
		now += wait;
		assert_int_equal(pace_wait(&p, now), 0);
		assert_true(pace_probing(&p));
		assert_int_equal(pace_connections(&p), 1);
		base = base * 2 > 60000 ? 60000 : base * 2;
	}
	pace_good(&p);
	assert_false(pace_probing(&p));
	assert_true(pace_connections(&p) >= PACE_FIRST);
	pace_close(&p, now, 0);
	assert_int_equal(pace_wait(&p, now), 750);
	pace_reopen(&p);
	assert_int_equal(pace_wait(&p, now), 0);
	assert_false(pace_probing(&p));
}

static void keeps_the_rate(void **state)
{
	struct pace p;
	int64_t now = 100000, n = 0;
	(void)state;
	pace_init(&p, &(struct pace_rules){.most = 1, .pause_min = 1, .pause_max = 1, .rate = 120});
	for (int64_t end = now + 60000; now < end; now++)
		while (pace_rate_wait(&p, now) == 0) {
			pace_take(&p, now);
			n++;
		}
	assert_in_range(n, 120, 123);
	/* An hour of silence does not save up for a burst. */
	now += 3600000;
	for (n = 0; pace_rate_wait(&p, now) == 0; n++)
		pace_take(&p, now);
	assert_in_range(n, 1, 4);
	pace_init(&p, &rules);
	assert_int_equal(pace_rate_wait(&p, now), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(starts_slowly),
	    cmocka_unit_test(pauses_double),
	    cmocka_unit_test(keeps_the_rate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
