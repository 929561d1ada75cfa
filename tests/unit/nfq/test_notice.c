/* notice: the greeting, what is answered, whole and byte by byte, and who may come in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "nfq/notice.h"

#define R503 "503 5.5.1 Port 25 is closed here: only QUIT is taken\r\n"
#define R221 "221 2.0.0 Bye\r\n"
#define R500 "500 5.5.2 Line too long\r\n"
#define R421 "421 4.7.0 Too many errors\r\n"
#define X63  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X511 "y" X63 X63 X63 X63 X63 X63 X63 X63 "zzzzzz" /* with CRLF: one more than fits */

static void test_greeting(void **state)
{
	char out[NOTICE_REPLY], huge[600];
	(void)state;
	assert_true(notice_greeting("gw.isp.example", "closed:", "https://isp.example/25", out));
	assert_string_equal(out, "554 5.7.1 gw.isp.example closed: see https://isp.example/25\r\n");
	assert_true(notice_greeting("gw.isp.example", "closed", "", out));
	assert_string_equal(out, "554 5.7.1 gw.isp.example closed\r\n");
	assert_false(notice_greeting("", "closed", "", out));
	assert_false(notice_greeting("a b", "closed", "", out));
	assert_false(notice_greeting("gw", "closed\r\n250 OK", "", out));
	assert_false(notice_greeting("gw", "fermé", "", out));
	memset(huge, 'x', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	assert_false(notice_greeting("gw", huge, "", out));
}

static const struct {
	const char *in, *out;
	bool over;
} cases[] = {
    {"", "", false},
    {"EHLO a\r\n", R503, false},
    {"EHLO a\r\nMAIL FROM:<>\r\n", R503 R503, false},
    {"QUIT\r\n", R221, true},
    {"quit \n", R221, true},
    {"QUIT\r\nEHLO a\r\n", R221, true}, /* nothing after it */
    {"QUITE\r\n", R503, false},
    {"QUI\r\n", R503, false},
    {"\r\n", R503, false},
    {"EHLO a\r\nQUIT\r\n", R503 R221, true},
    {X511 "\r\nQUIT\r\n", R500 R221, true},
    {"\n\n\n\n\n\n\n\n\n\n\n\n\n", R503 R503 R503 R503 R503 R503 R503 R503 R503 R421, true},
    {"QUIT", "", false},
};

static void run(const char *in, size_t step, char *out, struct notice *n)
{
	size_t len = strlen(in), out_len = 0;
	*n = (struct notice){0};
	for (size_t i = 0; i < len;) {
		size_t part = len - i < step ? len - i : step;
		size_t used = notice_feed(n, in + i, part, out, 8192, &out_len);
		i += used;
		if (n->over || used == 0)
			break;
	}
	out[out_len] = '\0';
}

static void test_dialogue(void **state)
{
	char out[8193];
	struct notice n;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t step = 1; step < 1000; step += 499) {
			run(cases[i].in, step, out, &n);
			assert_string_equal(out, cases[i].out);
			assert_int_equal(n.over, cases[i].over);
		}
}

/* No room for a reply: what asks for it is left for the next time. */
static void test_room(void **state)
{
	char out[NOTICE_REPLY];
	size_t len = 0;
	struct notice n = {0};
	(void)state;
	assert_int_equal(notice_feed(&n, "A\r\nQUIT\r\n", 9, out, sizeof out, &len), 8);
	assert_int_equal(len, strlen(R503));
	len = 0;
	assert_int_equal(notice_feed(&n, "\n", 1, out, sizeof out, &len), 1);
	assert_true(n.over);
}

static struct addr source(const char *text)
{
	struct addr a;
	const char *err;
	assert_true(addr_parse(text, &a, &err));
	return a;
}

static void test_gate(void **state)
{
	struct notice_gate *g = notice_gate_new(NULL, 20);
	struct addr a = source("100.64.0.1"), b = source("2001:db8::1"), c = source("2001:db8::2");
	(void)state;
	assert_true(notice_enter(g, &a));
	assert_true(notice_enter(g, &a));
	assert_false(notice_enter(g, &a)); /* a tenth */
	assert_true(notice_enter(g, &b));
	assert_true(notice_enter(g, &c)); /* the same /64 */
	assert_false(notice_enter(g, &b));
	notice_leave(g, &a);
	assert_true(notice_enter(g, &a));
	for (int i = 10; i < 26; i++) {
		char text[32];
		snprintf(text, sizeof text, "100.64.1.%d", i);
		a = source(text);
		assert_true(notice_enter(g, &a));
	}
	assert_int_equal(notice_inside(g), 20);
	a = source("100.64.2.1");
	assert_false(notice_enter(g, &a)); /* all of them */
	notice_leave(g, &b);
	assert_true(notice_enter(g, &a));
	talloc_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_greeting),
	    cmocka_unit_test(test_dialogue),
	    cmocka_unit_test(test_room),
	    cmocka_unit_test(test_gate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
