/* parser: lines whole and byte by byte, commands, parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "msa/smtp/parser.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define S(s) (s), sizeof(s) - 1

static const struct {
	const char *in;
	size_t len, max;
	enum smtp_line_result r[4]; /* of each line; SMTP_LINE_MORE ends */
	const char *line[4];	    /* where OK */
} lines[] = {
    {S("NOOP\r\n"), 64, {SMTP_LINE_OK}, {"NOOP"}},
    {S("\r\n"), 64, {SMTP_LINE_OK}, {""}},
    {S("a\r\nb\r\n"), 64, {SMTP_LINE_OK, SMTP_LINE_OK}, {"a", "b"}},
    {S("a"), 64, {SMTP_LINE_MORE}, {NULL}},
    {S("12345678\r\n"), 10, {SMTP_LINE_OK}, {"12345678"}},
    {S("123456789\r\nx\r\n"), 10, {SMTP_LINE_LONG, SMTP_LINE_OK}, {NULL, "x"}},
    {S("a\nb\r\n"), 64, {SMTP_LINE_BAD, SMTP_LINE_OK}, {NULL, "b"}},
    {S("a\rb\r\n"), 64, {SMTP_LINE_BAD, SMTP_LINE_OK}, {NULL, ""}},
    {S("a\0b\r\n"), 64, {SMTP_LINE_BAD, SMTP_LINE_OK}, {NULL, "b"}},
    {S("a\r\r\n"), 64, {SMTP_LINE_BAD, SMTP_LINE_BAD}, {NULL}},
    {S("123456789012\n\r\n"), 10, {SMTP_LINE_BAD, SMTP_LINE_OK}, {NULL, ""}},
    {S("\x80\xff\r\n"), 64, {SMTP_LINE_OK}, {"\x80\xff"}},
};

static void run_lines(size_t i, size_t step)
{
	static struct smtp_line l;
	const uint8_t *in = (const uint8_t *)lines[i].in;
	size_t at = 0, n = 0, used;

	smtp_line_wipe(&l);
	while (at < lines[i].len) {
		size_t m = step < lines[i].len - at ? step : lines[i].len - at;
		enum smtp_line_result r = smtp_line_feed(&l, lines[i].max, in + at, m, &used);

		at += used;
		if (r == SMTP_LINE_MORE) {
			assert_int_equal(used, m);
			continue;
		}
		if (n == 4 || r != lines[i].r[n])
			fail_msg("line %zu, step %zu, result %zu is %d", i, step, n, (int)r);
		if (r == SMTP_LINE_OK)
			assert_string_equal(l.buf, lines[i].line[n]);
		n++;
	}
	assert_true(n == 4 || lines[i].r[n] == SMTP_LINE_MORE || at == lines[i].len);
}

static void test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(lines); i++)
		for (size_t step = 1; step <= lines[i].len; step++)
			run_lines(i, step);
}

static void test_line_bounds(void **state)
{
	static struct smtp_line l;
	static uint8_t big[SMTP_AUTH_LINE_MAX + 100];
	size_t used;

	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 2] = '\r';
	big[sizeof(big) - 1] = '\n';
	smtp_line_wipe(&l);
	assert_int_equal(smtp_line_feed(&l, SMTP_AUTH_LINE_MAX, big, sizeof(big), &used),
			 SMTP_LINE_LONG);
	assert_int_equal(used, sizeof(big));
	/* exactly the longest line */
	size_t skip = 100;

	assert_int_equal(
	    smtp_line_feed(&l, SMTP_AUTH_LINE_MAX, big + skip, sizeof(big) - skip, &used),
	    SMTP_LINE_OK);
	assert_int_equal(l.len, SMTP_AUTH_LINE_MAX - 2);
}

static void test_commands(void **state)
{
	static const struct {
		const char *line;
		enum smtp_verb verb;
		const char *arg;
	} cases[] = {
	    {"EHLO me", SMTP_EHLO, "me"},
	    {"ehlo  me  ", SMTP_EHLO, "me"},
	    {"QUIT", SMTP_QUIT, ""},
	    {"QUIT ", SMTP_QUIT, ""},
	    {"QUITX", SMTP_UNKNOWN, ""},
	    {"QUI", SMTP_UNKNOWN, ""},
	    {"", SMTP_UNKNOWN, ""},
	    {" QUIT", SMTP_UNKNOWN, "QUIT"},
	    {"MAIL FROM:<a@b> SIZE=1", SMTP_MAIL, "FROM:<a@b> SIZE=1"},
	    {"MAIL\tFROM:<a@b>", SMTP_UNKNOWN, ""},
	    {"StartTLS", SMTP_STARTTLS, ""},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct smtp_command c;

		smtp_command_parse(cases[i].line, strlen(cases[i].line), &c);
		if (c.verb != cases[i].verb || c.arg_len != strlen(cases[i].arg) ||
		    memcmp(c.arg, cases[i].arg, c.arg_len) != 0)
			fail_msg("%s: verb %d arg %.*s", cases[i].line, (int)c.verb, (int)c.arg_len,
				 c.arg);
	}
}

static void test_params(void **state)
{
	static const struct {
		const char *in;
		int n; /* parameters; -1: refused */
		const char *last;
	} cases[] = {
	    {"", 0, NULL},	    {"   ", 0, NULL},
	    {" SIZE=10", 1, "10"},  {" SIZE=10 BODY=8BITMIME", 2, "8BITMIME"},
	    {" AUTH=<>", 1, "<>"},  {" SMTPUTF8", 1, NULL},
	    {"SIZE=10", -1, NULL},  {" =10", -1, NULL},
	    {" SIZE=", -1, NULL},   {" SIZE=1=2", -1, NULL},
	    {" -X=1", -1, NULL},    {" A_B=1", -1, NULL},
	    {" A\x80=1", -1, NULL}, {" A=\t", -1, NULL},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		const char *p = cases[i].in, *end = p + strlen(p);
		struct smtp_param param = {.key = NULL};
		int n = 0, r;

		while ((r = smtp_param_next(&p, end, &param)) == 1)
			n++;
		if ((r < 0 ? -1 : n) != cases[i].n)
			fail_msg("\"%s\": %d", cases[i].in, r < 0 ? -1 : n);
		if (cases[i].last) {
			assert_int_equal(param.value_len, strlen(cases[i].last));
			assert_memory_equal(param.value, cases[i].last, param.value_len);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_line_bounds),
	    cmocka_unit_test(test_commands),
	    cmocka_unit_test(test_params),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
