/* The escaping writer: what may never come out of it, and what must. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <talloc.h>

#include "webui/html.h"

#define NOW INT64_C(1795352890000) /* 2026-11-22T13:08:10Z */

static void *ctx; /* of the last page written */

static int tidy(void **state)
{
	(void)state;
	return talloc_free(ctx);
}

static const char *written(const struct html_piece *p)
{
	size_t len;
	talloc_free(ctx);
	ctx = talloc_new(NULL);
	struct html *h = html_new(ctx, NOW);
	html_put(h, p);
	assert_true(html_ok(h));
	const char *s = html_data(h, &len);
	assert_int_equal(strlen(s), len);
	return s;
}
#define w(...) written((const struct html_piece[]){__VA_ARGS__, {.type = HTML_END}})

static void types(void **state)
{
	(void)state;
	assert_string_equal(w(LIT("<td>")), "<td>");
	assert_string_equal(w(TXT("<b>&\"'")), "&lt;b&gt;&amp;&quot;&#39;");
	assert_string_equal(w(FOR("a<script>")), "<bdi>a&lt;script&gt;</bdi>");
	assert_string_equal(w(ATT("\" onclick=\"x")), "&quot; onclick=&quot;x");
	assert_string_equal(w(ATT("</textarea>")), "&lt;/textarea&gt;");
	assert_string_equal(w(URL("a/b?c&d=e#f g\xe3\x81\x82'\"")),
			    "a%2Fb%3Fc%26d%3De%23f%20g%E3%81%82%27%22");
	assert_string_equal(w(URL("user01@isp.example")), "user01%40isp.example");
	assert_string_equal(w(URL("AZaz09-._~")), "AZaz09-._~");
	assert_string_equal(w(TXT(NULL)), "");
	assert_non_null(strstr(w(FOR("")), "class=\"none\""));
	assert_non_null(strstr(w(FOR(NULL)), "class=\"none\""));
	assert_string_equal(w(EITHER(true, "x", "y"), EITHER(false, "x", "y")), "xy");
}

static void hidden(void **state)
{
	static const struct {
		const char *in, *mark; /* NULL: passes as it is */
	} rows[] = {
	    {"\x01", "U+0001"},
	    {"\x1b", "U+001B"},
	    {"\x7f", "U+007F"},
	    {"\r", "U+000D"},
	    {"\xc2\x80", "U+0080"},
	    {"\xc2\x9f", "U+009F"},
	    {"\xe2\x80\xae", "U+202E"},
	    {"\xe2\x80\xaa", "U+202A"},
	    {"\xe2\x81\xa6", "U+2066"},
	    {"\xe2\x81\xa9", "U+2069"},
	    {"\xe2\x80\x8b", "U+200B"},
	    {"\xe2\x80\x8f", "U+200F"},
	    {"\xd8\x9c", "U+061C"},
	    {"\xef\xbb\xbf", "U+FEFF"},
	    {"\xf3\xa0\x80\xa0", "U+E0020"},
	    {"\xe2\x80\xa8", "U+2028"},
	    {"\xff", "\\xff"},
	    {"\xc0", "\\xc0"},
	    {"\xe3\x81", "\\xe3"},
	    {"\xed\xa0\x80", "\\xed"},
	    {"\xed\xbf\xbf", "\\xed"},
	    {"\xf4\x90\x80\x80", "\\xf4"},
	    {"\t", NULL},
	    {"\n", NULL},
	    {"\xc2\xa0", NULL},
	    {"\xe3\x81\x82", NULL},
	    {"\xf0\x9f\x93\xae", NULL},
	    {"\xd7\x90", NULL},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *text = w(TXT(rows[i].in));
		if (!rows[i].mark) {
			assert_string_equal(text, rows[i].in);
			continue;
		}
		assert_non_null(strstr(text, rows[i].mark));
		assert_non_null(strstr(text, "class=\"hid\""));
		assert_null(strstr(text, rows[i].in));
		const char *att = w(ATT(rows[i].in));
		assert_non_null(strstr(att, rows[i].mark));
		assert_null(strchr(att, '<'));
	}
	assert_string_equal(w(PRE("A: b\r\nC: d\r\n")), "A: b\nC: d\n");
	assert_non_null(strstr(w(PRE("a\rb")), "U+000D"));
}

/* No byte of text ever opens a tag, ends an attribute or leaves a raw control character. */
static void every_byte(void **state)
{
	(void)state;
	for (int hi = 1; hi < 256; hi++) {
		for (int lo = 1; lo < 256; lo++) {
			char in[3] = {(char)hi, (char)lo, 0};
			const char *att = w(ATT(in));
			if (strpbrk(att, "<>\"'\r\x1b\x7f\x01"))
				fail_msg("bytes %02x %02x came out as %s", hi, lo, att);
		}
	}
}

static void numbers(void **state)
{
	(void)state;
	assert_string_equal(w(NUM(0)), "0");
	assert_string_equal(w(NUM(999)), "999");
	assert_string_equal(w(NUM(1000)), "1,000");
	assert_string_equal(w(NUM(1204311)), "1,204,311");
	assert_string_equal(w(NUM(-1234)), "-1,234");
	assert_string_equal(w(NUM(INT64_MIN)), "-9,223,372,036,854,775,808");
	assert_string_equal(w(INT(1204311)), "1204311");
	assert_string_equal(w(MILLI(0)), "0");
	assert_string_equal(w(MILLI(12345)), "12.345");
	assert_string_equal(w(MILLI(12300)), "12.3");
	assert_string_equal(w(MILLI(12000)), "12");
	assert_string_equal(w(MILLI(10000)), "10");
	assert_string_equal(w(MILLI(5)), "0.005");
}

static void times(void **state)
{
	static const struct {
		int64_t t;
		const char *want;
	} rows[] = {
	    {NOW, "just now"},
	    {NOW - 999, "just now"},
	    {NOW - 1000, "1 s ago"},
	    {NOW - 59000, "59 s ago"},
	    {NOW - 90000, "90 s ago"},
	    {NOW - 120000, "2 min ago"},
	    {NOW - 5400000, "90 min ago"},
	    {NOW - 3600000, "1 h ago"},
	    {NOW - INT64_C(86400000) * 3, "3 d ago"},
	    {NOW + INT64_C(86400000) * 30, "in 30 d"},
	    {NOW - 29 * INT64_C(3600000), "29 h ago"},
	};
	char buf[40];
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_string_equal(html_ago(rows[i].t, NOW, buf), rows[i].want);
	assert_string_equal(
	    w(WHEN(NOW + 123)),
	    "<time datetime=\"2026-11-22T13:08:10.123Z\">2026-11-22 13:08:10</time>");
	assert_string_equal(w(DAY(NOW)),
			    "<time datetime=\"2026-11-22T13:08:10Z\">2026-11-22</time>");
	assert_string_equal(w(AGO(NOW - 120000)),
			    "<time datetime=\"2026-11-22T13:06:10Z\" "
			    "title=\"2026-11-22T13:06:10Z\">2 min ago</time>");
}

static void long_page(void **state)
{
	void *pool = talloc_new(NULL);
	struct html *h = html_new(pool, NOW);
	size_t len;
	(void)state;
	for (int i = 0; i < 100000; i++)
		put(h, LIT("<p>"), TXT("&"), LIT("</p>"));
	assert_true(html_ok(h));
	html_data(h, &len);
	assert_int_equal(len, 100000 * strlen("<p>&amp;</p>"));
	talloc_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(types),   cmocka_unit_test(hidden), cmocka_unit_test(every_byte),
	    cmocka_unit_test(numbers), cmocka_unit_test(times),	 cmocka_unit_test(long_page),
	};
	return cmocka_run_group_tests(tests, NULL, tidy);
}
