/* spray: many accounts from many networks, few from each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "msa/auth/spray.h"

#define HOUR INT64_C(3600000)
#define WIDE 100
#define NEAR 10 /* accounts of a network that are told by themselves */

static struct spray_wide *s;
static struct spray_state state_;

static int setup(void **state)
{
	(void)state;
	s = spray_wide_new(NULL, 42);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	talloc_free(s);
	return 0;
}

static bool fail_one(unsigned account, unsigned network, bool unknown, int64_t t)
{
	struct addr a;
	char name[40], text[40];
	const char *err;

	snprintf(name, sizeof(name), "u%u@x.example", account);
	snprintf(text, sizeof(text), "10.%u.%u.%u", network >> 16, network >> 8 & 255,
		 network & 255);
	assert_true(addr_parse(text, &a, &err));
	return spray_wide_failed(s, WIDE, NEAR, name, &a, unknown, t, &state_);
}

/* n accounts, each from a network of its own, over an hour: how often it was told. */
static int hour(unsigned n, unsigned first, bool unknown, int64_t t)
{
	int told = 0;

	for (unsigned i = 0; i < n; i++)
		told += fail_one(first + i, first + i, unknown, t + HOUR * i / n);
	return told;
}

static void test_tells(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 1000; i++) {
		bool told = fail_one(i, i, false, 1000 + i);

		/* Estimates: within a few of 100, 200, 400, 800. */
		if (told)
			assert_in_range(state_.accounts, 100, 830);
		assert_in_range(state_.accounts, i - i / 20 - 1, i + i / 20 + 1);
		assert_int_equal(state_.attempts, i);
	}
	assert_false(fail_one(1, 1, false, 3000)); /* nothing new */
}

static void test_once_and_doubled(void **state)
{
	(void)state;
	/* 100, 200, 400, 800. */
	assert_int_equal(hour(1000, 0, false, 0), 4);
}

/* What is told of single networks by themselves, and a few people's mistakes. */
static void test_not_that(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5000; i++)
		assert_false(fail_one(i, i % 9, false, i)); /* nine networks */
	talloc_free(s);
	s = spray_wide_new(NULL, 42);
	for (unsigned i = 0; i < 5000; i++)
		assert_false(fail_one(i, i / 250, false, i)); /* 250 accounts each */
	talloc_free(s);
	s = spray_wide_new(NULL, 42);
	for (unsigned i = 0; i < 5000; i++)
		assert_false(
		    fail_one(i % 50, i, false, i)); /* one account from many: not spraying */
	assert_false(spray_wide_failed(s, WIDE, NEAR, "", &(struct addr){0}, true, 1, &state_));
	assert_false(spray_wide_failed(s, 0, NEAR, "a@b", &(struct addr){0}, true, 1, &state_));
}

/* Where single networks are not told of by themselves, ten of them are what it takes. */
static void test_networks(void **state)
{
	struct addr a;
	char name[40], text[40];
	const char *err;
	bool told = false;

	(void)state;
	for (unsigned i = 0; i < 1001; i++) {
		snprintf(name, sizeof(name), "u%u@x.example", i);
		snprintf(text, sizeof(text), "10.0.0.%u", i < 1000 ? i % 9 : 9);
		assert_true(addr_parse(text, &a, &err));
		told = spray_wide_failed(s, WIDE, 0, name, &a, false, 1000 + i, &state_);
		assert_int_equal(told, i == 1000);
	}
	assert_int_equal(state_.networks, 10);
}

/* A large provider: 300 mistakes an hour are its usual, and so is what is a few times that not. */
static void test_usual(void **state)
{
	int64_t t = 0;

	(void)state;
	/* Over `wide` it is told until it is known to be usual; what was told teaches nothing. */
	for (int h = 0; h < 96; h++, t += HOUR)
		hour(90, (unsigned)h * 1000, false, t);
	fail_one(1, 1, false, t);
	assert_in_range(state_.usual, 75, 100);
	t += HOUR;
	/* Three times: no. */
	assert_int_equal(hour(250, 500000, false, t), 0);
	t += 2 * HOUR;
	/* The same when those accounts are none: yes. */
	assert_int_equal(hour(250, 600000, true, t), 1);
	t += 2 * HOUR;
	/* A day of it does not become usual. */
	for (unsigned h = 0; h < 24; h++, t += HOUR)
		assert_true(hour(600, 700000 + h * 1000, false, t) >= (h == 0));
	assert_in_range(state_.usual, 75, 130);
}

/* It begins anew when it was over. */
static void test_over(void **state)
{
	(void)state;
	assert_int_equal(hour(150, 0, false, 0), 1);
	assert_false(fail_one(1, 1, false, 3 * HOUR));
	assert_int_equal(state_.accounts, 1);
	assert_int_equal(hour(150, 5000, false, 4 * HOUR), 1);
	/* A clock that has gone on for years is no loop without end. */
	assert_false(fail_one(1, 1, false, INT64_C(1) << 50));
	assert_int_equal(state_.accounts, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_tells, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_once_and_doubled, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_not_that, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_networks, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_usual, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_over, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
