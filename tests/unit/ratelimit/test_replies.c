/* Replies of several hosts are put together by message; the memory is fixed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ratelimit/replies.h"

#define A "a@isp.example"
#define B "b@isp.example"

static struct replies *r;
static struct replies_of out;

static int set_up(void **state)
{
	(void)state;
	r = replies_new();
	return r ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	replies_free(r);
	return 0;
}

static void messages_are_told_apart(void **state)
{
	static const struct {
		const char *account;
		uint64_t message;
		int64_t ms;
		const char *name;
		enum answer_kind kind;
	} rows[] = {
	    {A, 1, 10, "one", ANSWER_KIND_OK},	   {B, 1, 11, "other", ANSWER_KIND_SPAM},
	    {A, 2, 12, "two", ANSWER_KIND_OK},	   {A, 1, 13, "three", ANSWER_KIND_UNKNOWN},
	    {B, 1, 14, "four", ANSWER_KIND_OTHER}, {A, 1, 15, "five", ANSWER_KIND_OK},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		replies_add(r, rows[i].account, rows[i].message, rows[i].ms, rows[i].name,
			    rows[i].kind);
	assert_false(replies_take(r, NULL, 9, &out));
	assert_false(replies_take(r, "c@isp.example", INT64_MAX, &out));
	assert_true(replies_take(r, B, INT64_MAX, &out));
	assert_string_equal(out.account, B);
	assert_int_equal(out.n, 2);
	assert_string_equal(out.name[1], "four");
	assert_int_equal(out.kind[0], ANSWER_KIND_SPAM);
	assert_false(replies_take(r, B, INT64_MAX, &out));
	assert_true(replies_take(r, NULL, 10, &out));
	assert_string_equal(out.account, A);
	assert_int_equal(out.n, 3);
	assert_string_equal(out.name[0], "one");
	assert_string_equal(out.name[1], "three");
	assert_string_equal(out.name[2], "five");
	assert_int_equal(out.kind[1], ANSWER_KIND_UNKNOWN);
	assert_false(replies_take(r, NULL, 11, &out));
	assert_true(replies_take(r, NULL, 12, &out));
	assert_int_equal(out.n, 1);
	assert_false(replies_take(r, NULL, INT64_MAX, &out));
}

/* As many as there is room for, and again: nothing is lost on the way. */
static void the_oldest_make_room(void **state)
{
	char account[32];
	size_t taken = 0, told = 3 * REPLIES_MESSAGES;
	(void)state;
	for (size_t i = 0; i < told; i++) {
		if (replies_full(r)) {
			assert_true(replies_take(r, NULL, INT64_MAX, &out));
			snprintf(account, sizeof account, "u%zu", taken++);
			assert_string_equal(out.account, account);
			assert_int_equal(out.n, 1);
		}
		snprintf(account, sizeof account, "u%zu", i);
		replies_add(r, account, i, (int64_t)i, "x", ANSWER_KIND_OK);
	}
	assert_int_equal(taken, told - REPLIES_MESSAGES);
	while (replies_take(r, NULL, INT64_MAX, &out))
		taken++;
	assert_int_equal(taken, told);
}

static void one_may_have_all_the_room(void **state)
{
	(void)state;
	for (int again = 0; again < 2; again++) {
		for (size_t i = 0; i < REPLIES_RCPTS; i++) {
			assert_false(replies_full(r));
			replies_add(r, A, 7, 1, "x", ANSWER_KIND_OK);
		}
		assert_true(replies_full(r));
		replies_add(r, A, 7, 1, "y", ANSWER_KIND_OK); /* is not heard */
		assert_true(replies_take(r, A, INT64_MAX, &out));
		assert_int_equal(out.n, REPLIES_RCPTS);
		assert_string_equal(out.name[REPLIES_RCPTS - 1], "x");
		assert_false(replies_full(r));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(messages_are_told_apart, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(the_oldest_make_room, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(one_may_have_all_the_room, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
