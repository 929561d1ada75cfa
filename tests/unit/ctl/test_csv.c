/*
 * test_csv - RFC 4180, strictly; each case whole and byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "webui/ctl/csv.h"

struct seen {
	char text[65536]; /* "LINE:[a][b]" for each row */
	size_t len;
	unsigned stop_at; /* row() says stop in this line; 0: never */
};

static bool row(size_t n, char *const *fields, unsigned line, void *arg)
{
	struct seen *s = arg;
	if (s->stop_at && line >= s->stop_at)
		return false;
	s->len += (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%u:", line);
	for (size_t i = 0; i < n; i++)
		s->len +=
		    (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "[%s]", fields[i]);
	return true;
}

static bool read_in_steps(struct csv *r, struct seen *s, const char *data, size_t len, size_t step)
{
	s->len = 0;
	s->text[0] = '\0';
	csv_init(r, row, s);
	for (size_t i = 0; i < len; i += step)
		if (!csv_feed(r, data + i, len - i < step ? len - i : step))
			return false;
	return csv_end(r);
}

#define IN(text) text, sizeof(text) - 1

static void test_reads(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		const char *rows;
	} cases[] = {
	    {IN(""), ""},
	    {IN("\n\r\n\n"), ""},
	    {IN("a"), "1:[a]"},
	    {IN("a,b\r\nc,d\r\n"), "1:[a][b]2:[c][d]"},
	    {IN("a,b\nc,d"), "1:[a][b]2:[c][d]"},
	    {IN("a,,b\n"), "1:[a][][b]"},
	    {IN(",\n"), "1:[][]"},
	    {IN("a,"), "1:[a][]"},
	    {IN("\"\"\n"), "1:[]"},
	    {IN("\"a,b\",c\n"), "1:[a,b][c]"},
	    {IN("\"a\"\"b\"\n"), "1:[a\"b]"},
	    {IN("\"a\r\nb\",c\nd\n"), "1:[a\r\nb][c]3:[d]"},
	    {IN("a\n\n\nb\n"), "1:[a]4:[b]"},
	    {IN(" a , b \n"), "1:[ a ][ b ]"},
	    {IN("\xef\xbb\xbf"
		"a\n"),
	     "1:[a]"},
	    {IN("\xef\xbb\xbf"), ""},
	    {IN("\xef\xbb"
		"a\n"),
	     "1:[\xef\xbb"
	     "a]"},
	    {IN("\xef"), "1:[\xef]"},
	    {IN("a\xef\xbb\xbf\n"), "1:[a\xef\xbb\xbf]"},
	    {IN("\"a\""), "1:[a]"},
	};
	struct csv r;
	struct seen s = {.stop_at = 0};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t step = 1; step <= 4096; step *= 64) {
			assert_true(read_in_steps(&r, &s, cases[i].in, cases[i].len, step));
			assert_null(r.err);
			assert_string_equal(s.text, cases[i].rows);
		}
}

static void test_refuses(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		const char *why;
		unsigned line;
		const char *rows; /* before the error */
	} cases[] = {
	    {IN("a\nb\"c\n"), "a quote inside", 2, "1:[a]"},
	    {IN("\"a\"b\n"), "after the closing quote", 1, ""},
	    {IN("\"a\" ,b\n"), "after the closing quote", 1, ""},
	    {IN("a\rb\n"), "carriage return", 1, ""},
	    {IN("a\r\r\n"), "carriage return", 1, ""},
	    {IN("a\r"), "carriage return", 1, ""},
	    {IN("\rb"), "carriage return", 1, ""},
	    {IN("a\n\"b\nc"), "inside a quoted field", 3, "1:[a]"},
	    {IN("a\0b\n"), "NUL", 1, ""},
	    {IN("\"\0\"\n"), "NUL", 1, ""},
	    {IN(",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\n"), "too many fields", 1, ""},
	};
	struct csv r;
	struct seen s = {.stop_at = 0};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t step = 1; step <= 4096; step *= 64) {
			assert_false(read_in_steps(&r, &s, cases[i].in, cases[i].len, step));
			assert_non_null(r.err);
			assert_non_null(strstr(r.err, cases[i].why));
			assert_int_equal(r.err_line, cases[i].line);
			assert_string_equal(s.text, cases[i].rows);
			assert_false(csv_feed(&r, "x\n", 2));
		}
}

static void test_bounds(void **state)
{
	static char big[CSV_MAX_ROW + 2];
	struct csv r;
	static struct seen s;
	(void)state;
	memset(big, 'x', sizeof(big));
	s.stop_at = 0;
	assert_true(read_in_steps(&r, &s, big, CSV_MAX_ROW - 1, 4096));
	assert_int_equal(strlen(s.text), CSV_MAX_ROW - 1 + 4);
	assert_false(read_in_steps(&r, &s, big, CSV_MAX_ROW, 4096));
	assert_string_equal(r.err, "the row is too long");
	/* 32 fields fit. */
	memset(big, ',', 31);
	big[31] = '\n';
	assert_true(read_in_steps(&r, &s, big, 32, 1));
}

static void test_stops(void **state)
{
	struct csv r;
	struct seen s = {.stop_at = 2};
	(void)state;
	assert_false(read_in_steps(&r, &s, IN("a\nb\nc\n"), 4096));
	assert_null(r.err);
	assert_string_equal(s.text, "1:[a]");
}

/* What is written is what is read, formulas included. */
static void test_round_trip(void **state)
{
	static const char *const texts[] = {
	    "",	       "plain", "a,b",	      "say \"hi\"", "two\nlines", "cr\r\nlf", " lead",
	    "trail ",  "=1+1",	"+81-3-1234", "-x",	    "@cmd",	  "\tx",      "\rx",
	    "'quoted", "'=x",	"''=x",	      "'",	    "a=b",	  "é",
	};
	static const bool guarded[] = {
	    false, false, false, false, false, false, false, false, true,  true,
	    true,  true,  true,	 true,	false, true,  true,  false, false, false,
	};
	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *buf = NULL, want[64];
		size_t len = 0;
		struct csv r;
		struct seen s = {.stop_at = 0};
		FILE *f = open_memstream(&buf, &len);
		assert_int_equal(csv_must_guard(texts[i]), guarded[i]);
		snprintf(want, sizeof(want), "%s%s", guarded[i] ? "'" : "", texts[i]);
		csv_put(f, want);
		fputs(",end\r\n", f);
		fclose(f);
		assert_true(read_in_steps(&r, &s, buf, len, 1));
		assert_int_equal(csv_is_guarded(want), guarded[i]);
		snprintf(want, sizeof(want), "1:[%s%s][end]", guarded[i] ? "'" : "", texts[i]);
		assert_string_equal(s.text, want);
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads),      cmocka_unit_test(test_refuses),
	    cmocka_unit_test(test_bounds),     cmocka_unit_test(test_stops),
	    cmocka_unit_test(test_round_trip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
