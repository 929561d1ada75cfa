/* The ceiling of notices, by itself; and a via taken apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "msa/queue/ceiling.h"
#include "msa/relay/via.h"

static const struct dsn_rcpt one = {.address = "a@x", .status = "5.1.1", .reply = "no"};

static void so_many_an_hour(void **state)
{
	struct ceiling *c = ceiling_new(NULL, 3, 100);
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(ceiling_take(c, "Me@x", 1000 + i));
	assert_false(ceiling_take(c, "me@X", 2000));
	assert_false(ceiling_take(c, "me@x", 1000 + CEILING_WINDOW_MS - 1));
	struct ceiling_summary *s = ceiling_summary(c, "me@x", 2000);
	assert_int_equal(s->due_ms, 1000 + CEILING_WINDOW_MS);
	assert_ptr_equal(ceiling_summary(c, "me@x", 2001), s);
	assert_true(ceiling_take(c, "other@x", 2000));
	assert_true(ceiling_take(c, "me@x", 1000 + CEILING_WINDOW_MS)); /* a new hour */
	talloc_free(c);
}

static void none_at_all(void **state)
{
	struct ceiling *c = ceiling_new(NULL, 0, 100);
	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_true(ceiling_take(c, "me@x", 1000));
	talloc_free(c);
}

static void a_summary_is_bounded(void **state)
{
	struct ceiling *c = ceiling_new(NULL, 1, 100);
	(void)state;
	assert_true(ceiling_take(c, "me@x", 1));
	assert_false(ceiling_take(c, "me@x", 2));
	struct ceiling_summary *s = ceiling_summary(c, "me@x", 2);
	for (int i = 0; i < CEILING_LISTED + 5; i++)
		assert_true(ceiling_list(s, &one, "id"));
	assert_int_equal(s->n, CEILING_LISTED);
	assert_int_equal(s->more, 5);
	assert_string_equal(s->rcpts[99].address, "a@x");
	assert_string_equal(s->rcpts[99].about, "id");
	talloc_free(c);
}

static void memory_is_bounded(void **state)
{
	struct ceiling *c = ceiling_new(NULL, 1, 50);
	char to[32];
	(void)state;
	for (int i = 0; i < 10000; i++) {
		snprintf(to, sizeof(to), "u%d@x", i);
		assert_true(ceiling_take(c, to, 1000));
	}
	assert_true(talloc_total_blocks(c) < 250);
	assert_false(ceiling_take(c, "u9999@x", 1000));
	assert_true(ceiling_take(c, "u0@x", 1000)); /* forgotten */
	talloc_free(c);
	c = ceiling_new(NULL, 1, 2);
	assert_true(ceiling_take(c, "a@x", 1));
	assert_true(ceiling_take(c, "b@x", 2));
	assert_true(ceiling_take(c, "c@x", 3));
	assert_true(ceiling_take(c, "a@x", 4)); /* two are known, not three */
	assert_false(ceiling_take(c, "c@x", 5));
	talloc_free(c);
}

/* Else an address would hear nothing until the clock is where it was. */
static void a_clock_set_back_begins_anew(void **state)
{
	struct ceiling *c = ceiling_new(NULL, 1, 10);
	(void)state;
	assert_true(ceiling_take(c, "a@x", 10 * (int64_t)CEILING_WINDOW_MS));
	assert_false(ceiling_take(c, "a@x", 10 * (int64_t)CEILING_WINDOW_MS));
	assert_true(ceiling_take(c, "a@x", 10 * (int64_t)CEILING_WINDOW_MS - 1));
	assert_false(ceiling_take(c, "a@x", 10 * (int64_t)CEILING_WINDOW_MS - 1));
	talloc_free(c);
}

static void vias(void **state)
{
	static const struct {
		const char *text, *server, *mta, *tls, *cipher, *proof;
	} cases[] = {
	    {"mx1.example[192.0.2.1]:25 TLSv1.3 TLS_X dane", "mx1.example[192.0.2.1]:25",
	     "mx1.example", "TLSv1.3", "TLS_X", "dane"},
	    {"mx1.example[2001:db8::1]:25", "mx1.example[2001:db8::1]:25", "mx1.example", "", "",
	     ""},
	    {"[192.0.2.1]:25 TLSv1.2 C unverified", "[192.0.2.1]:25", "[192.0.2.1]", "TLSv1.2", "C",
	     "unverified"},
	    {"", "", "", "", "", ""},
	    {"[", "[", "[", "", "", ""},
	    {"a aaaaaaaaaaaaaaaaaaaaaaaaa b c", "a", "a", "", "b", "c"},
	};
	struct via v;
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		via_parse(cases[i].text, &v);
		assert_string_equal(v.server, cases[i].server);
		if (strcmp(cases[i].text, "[") != 0)
			assert_string_equal(v.mta, cases[i].mta);
		assert_string_equal(v.tls, cases[i].tls);
		assert_string_equal(v.cipher, cases[i].cipher);
		assert_string_equal(v.proof, cases[i].proof);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(so_many_an_hour),
	    cmocka_unit_test(none_at_all),
	    cmocka_unit_test(a_summary_is_bounded),
	    cmocka_unit_test(memory_is_bounded),
	    cmocka_unit_test(a_clock_set_back_begins_anew),
	    cmocka_unit_test(vias),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
