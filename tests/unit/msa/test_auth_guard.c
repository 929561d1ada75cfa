/* guard: who waits how long after failed logins, and who does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "msa/auth/guard.h"

static const struct guard_config cfg = {.free = 3, .max_wait_ms = 60000, .spray = 4};
static struct guard *g;
static struct addr home, bot, six, six_too, six_else;

#define HOUR INT64_C(3600000)

static struct addr address(const char *text)
{
	struct addr a;
	const char *err;

	assert_true(addr_parse(text, &a, &err));
	return a;
}

static int setup(void **state)
{
	(void)state;
	g = guard_new(NULL, 42);
	home = address("198.51.100.7");
	bot = address("203.0.113.9");
	six = address("2001:db8:0:1::1");
	six_too = address("2001:db8:0:1:ffff::2");
	six_else = address("2001:db8:0:2::1");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	talloc_free(g);
	return 0;
}

/* N failures at now, and what the account waits then. */
static int64_t fail_at(const char *who, const struct addr *from, int n, int64_t now)
{
	for (int i = 0; i < n; i++)
		guard_failed(g, &cfg, who, from, now);
	return guard_wait(g, who, from, now);
}

static void test_doubles(void **state)
{
	static const int64_t want[] = {0, 0, 0, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
		assert_int_equal(fail_at("a@x", &bot, 1, 5000), want[i]);
	assert_int_equal(guard_wait(g, "a@x", &bot, 64999), 1);
	assert_int_equal(guard_wait(g, "a@x", &bot, 65000), 0);
	/* Eleven halve to five, four hours later to none; then one more. */
	assert_int_equal(fail_at("a@x", &bot, 1, 5000 + HOUR), 4000);
	assert_int_equal(fail_at("a@x", &bot, 1, 5000 + 9 * HOUR), 0);
	assert_int_equal(fail_at("a@x", &bot, 1, 5000 + 900 * HOUR), 0);
}

static void test_others_are_spared(void **state)
{
	(void)state;
	assert_int_equal(fail_at("a@x", &bot, 10, 1000), 60000);
	/* The same account from elsewhere has nothing to do with it. */
	assert_int_equal(guard_wait(g, "a@x", &home, 1000), 0);
	assert_int_equal(guard_wait(g, NULL, &home, 1000), 0);
	/* Another account from there has; also one that does not exist, or has no name. */
	assert_int_equal(guard_wait(g, "b@x", &bot, 1000), 60000);
	assert_int_equal(guard_wait(g, "", &bot, 1000), 60000);
	assert_int_equal(guard_wait(g, NULL, &bot, 1000), 60000);
}

static void test_known_network(void **state)
{
	(void)state;
	guard_ok(g, "a@x", &home, 1000);
	/* A neighbour behind the same address guesses. */
	assert_int_equal(fail_at("b@x", &home, 10, 2000), 60000);
	assert_int_equal(guard_wait(g, "a@x", &home, 2000), 0);
	/* So AUTH must be allowed to begin there. */
	assert_int_equal(guard_wait(g, NULL, &home, 2000), 0);
	/* The account's own failures there cost half a minute at most, and nothing to others. */
	assert_int_equal(fail_at("a@x", &home, 12, 90000), GUARD_KNOWN_MS);
	assert_int_equal(guard_wait(g, "c@x", &home, 90000), 0);
	/* A good login forgets them. */
	guard_ok(g, "a@x", &home, 200000);
	assert_int_equal(fail_at("a@x", &home, 1, 200000), 0);
	/* Known for a month. */
	assert_int_equal(fail_at("b@x", &home, 10, 200000), 60000);
	assert_int_equal(guard_wait(g, NULL, &home, 200000 + 1), 0);
	assert_int_equal(fail_at("b@x", &home, 10, 200000 + 720 * HOUR), 60000);
	assert_int_equal(guard_wait(g, NULL, &home, 200000 + 720 * HOUR), 60000);
	assert_int_equal(guard_wait(g, "a@x", &home, 200000 + 720 * HOUR), 60000);
}

static void test_networks(void **state)
{
	(void)state;
	fail_at("a@x", &six, 10, 1000);
	assert_int_equal(guard_wait(g, "a@x", &six_too, 1000), 60000);
	assert_int_equal(guard_wait(g, "a@x", &six_else, 1000), 0);
}

static void test_off(void **state)
{
	static const struct guard_config off = {.free = 0, .max_wait_ms = 0, .spray = 0};

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(guard_failed(g, &off, "a@x", &bot, 1000), 0);
	assert_int_equal(guard_wait(g, "a@x", &bot, 1000), 0);
}

static void test_spray(void **state)
{
	static const char *const who[] = {"a@x", "a@x", "b@x", "c@x", "", "c@x", "d@x", "e@x"};
	static const uint32_t want[] = {0, 0, 0, 0, 0, 0, 4, 0};

	(void)state;
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(guard_failed(g, &cfg, who[i], &bot, 1000 + (int64_t)i), want[i]);
	/* Told again when they have doubled, and no more than GUARD_SPRAY_MAX are counted. */
	for (uint32_t i = 6; i <= 200; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u@y", (unsigned)i);
		assert_int_equal(guard_failed(g, &cfg, name, &bot, 1009),
				 i == 8 || i == 16 || i == 32 || i == 64 ? i : 0);
	}
	/* After an hour it begins anew. */
	assert_int_equal(guard_failed(g, &cfg, "f@x", &bot, 1010 + HOUR), 0);
	assert_int_equal(guard_failed(g, &cfg, "a@x", &bot, 1010 + HOUR), 0);
	assert_int_equal(guard_failed(g, &cfg, "b@x", &bot, 1010 + HOUR), 0);
	assert_int_equal(guard_failed(g, &cfg, "c@x", &bot, 1010 + HOUR), 4);
}

/* More networks than there are slots: what is newest stays, nothing breaks. */
static void test_many(void **state)
{
	struct addr a;
	char text[40];

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		a = address(text);
		guard_failed(g, &cfg, "a@x", &a, 1000 + i);
	}
	assert_int_equal(fail_at("a@x", &a, 9, 300000), 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_doubles, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_others_are_spared, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_known_network, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_networks, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_off, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_spray, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
