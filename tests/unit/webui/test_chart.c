/* The chart: scales, bars that fit, and a table with every figure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "webui/chart.h"

#define NOW  INT64_C(1795352890000)
#define STEP INT64_C(900000)

static void nice(void **state)
{
	static const int64_t rows[][2] = {
	    {0, 4},	{1, 4},	      {4, 4},	    {5, 5},	   {6, 10},
	    {11, 20},	{20, 20},     {21, 50},	    {51, 100},	   {100, 100},
	    {101, 200}, {1204, 2000}, {4999, 5000}, {5001, 10000}, {999999, 1000000}};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(chart_nice(rows[i][0]), rows[i][1]);
	assert_true(chart_nice(INT64_MAX) >= INT64_MAX / 100);
	assert_true(chart_nice(INT64_MAX / 2) >= INT64_MAX / 2);
}

static size_t count(const char *s, const char *what)
{
	size_t n = 0;
	for (; (s = strstr(s, what)); s += strlen(what))
		n++;
	return n;
}

static const char *drawn(void *ctx, const struct chart_point *p, size_t n)
{
	size_t len;
	struct html *h = html_new(ctx, NOW);
	chart_write(h, p, n);
	assert_true(html_ok(h));
	return html_data(h, &len);
}

static void fill(struct chart_point *p, int64_t blocked, int64_t accepted, int64_t held,
		 int64_t refused)
{
	for (int i = 0; i < 96; i++)
		p[i] = (struct chart_point){NOW / STEP * STEP - (95 - i) * STEP, blocked, accepted,
					    held, refused};
}

static void a_day(void **state)
{
	struct chart_point p[96];
	void *ctx = talloc_new(NULL);
	(void)state;
	fill(p, 1204, 10, 3, 2);
	p[5].refused = 0;
	const char *s = drawn(ctx, p, 96);
	assert_int_equal(count(s, "class=\"c-blocked\"/>"), 97); /* and the legend's */
	assert_int_equal(count(s, "class=\"c-accepted\"/>"), 97);
	assert_int_equal(count(s, "fill=\"url(#p-held)\"/>"), 97);
	assert_int_equal(count(s, "fill=\"url(#p-refused)\"/>"), 96);
	assert_int_equal(count(s, "<tr><th scope=\"row\">"), 96);
	assert_int_equal(count(s, "<td class=\"n\">1,204</td>"), 96);
	assert_int_equal(count(s, "<title"), 97); /* one a bucket and the drawing's own */
	assert_non_null(strstr(s, "<desc id="));
	assert_non_null(strstr(s, ">12:00</text>"));
	assert_null(strstr(s, "style="));
	talloc_free(ctx);
}

/* Whatever the numbers, a rectangle is never negative and never leaves its panel. */
static void extremes(void **state)
{
	static const int64_t values[] = {0, 1, 3, 1000000, INT64_C(1000000000000)};
	(void)state;
	for (size_t a = 0; a < 5; a++) {
		for (size_t b = 0; b < 5; b++) {
			struct chart_point p[96];
			void *ctx = talloc_new(NULL);
			fill(p, values[a], values[b] + values[a], values[a], 1);
			p[7] = (struct chart_point){p[7].t_ms, 1, 1, 1, 1};
			const char *s = drawn(ctx, p, 96);
			for (const char *r = s; (r = strstr(r, "height=\"")); r++)
				assert_true(strtod(r + 8, NULL) >= 0);
			for (const char *r = s; (r = strstr(r, " y=\"")); r++)
				assert_true(strtod(r + 4, NULL) >= 0);
			assert_null(strstr(s, "\"-"));
			talloc_free(ctx);
		}
	}
}

static void empty(void **state)
{
	void *ctx = talloc_new(NULL);
	(void)state;
	const char *s = drawn(ctx, NULL, 0);
	assert_null(strstr(s, "<svg"));
	assert_non_null(strstr(s, "Nothing has been counted"));
	talloc_free(ctx);
}

static void bars(void **state)
{
	static const struct {
		int64_t value, max;
		const char *width;
	} rows[] = {{0, 0, "width=\"0%\""},
		    {0, 10, "width=\"0%\""},
		    {5, 10, "width=\"50%\""},
		    {10, 10, "width=\"100%\""},
		    {1, 100000, "width=\"2%\""}};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		void *ctx = talloc_new(NULL);
		size_t len;
		struct html *h = html_new(ctx, NOW);
		chart_bar(h, rows[i].value, rows[i].max);
		assert_non_null(strstr(html_data(h, &len), rows[i].width));
		talloc_free(ctx);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nice),  cmocka_unit_test(a_day), cmocka_unit_test(extremes),
	    cmocka_unit_test(empty), cmocka_unit_test(bars),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
