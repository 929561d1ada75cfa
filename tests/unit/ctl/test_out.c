/*
 * test_out - tables, tab-separated lines, JSON and escaping; base64; files of rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <talloc.h>

#include "lib/base64.h"

#include "webui/ctl/out.h"
#include "webui/ctl/rows.h"

#define NOW 1795352890000

struct fixture {
	struct cli c;
	struct cli_io io;
	char *out, *err;
	size_t out_len, err_len;
};

static void start(struct fixture *f, bool tty, const char *input)
{
	memset(f, 0, sizeof(*f));
	f->io.in = input && *input ? fmemopen((void *)input, strlen(input), "r")
				   : fopen("/dev/null", "re");
	f->io.out = open_memstream(&f->out, &f->out_len);
	f->io.err = open_memstream(&f->err, &f->err_len);
	f->io.out_tty = tty;
	f->io.now_ms = NOW;
	f->c.pool = talloc_new(NULL);
	f->c.io = &f->io;
}

static void flush(struct fixture *f)
{
	fflush(f->io.out);
	fflush(f->io.err);
}

static void stop(struct fixture *f)
{
	fclose(f->io.in);
	fclose(f->io.out);
	fclose(f->io.err);
	talloc_free(f->c.pool);
	free(f->out);
	free(f->err);
}

static const struct col cols[] = {
    {"NAME", "name", COL_TEXT}, {"N", "n", COL_NUM},	    {"AT", "at_ms", COL_TIME},
    {"TO", "to_ms", COL_NEVER}, {"TEXT", "text", COL_TEXT}, COL_END,
};

static json_t *sample(void)
{
	json_t *v = json_loads("[{\"name\":\"a\",\"n\":5,\"at_ms\":1795352890000,\"to_ms\":null,"
			       "\"text\":\"x\\ty\\u001b[0m\"},"
			       "{\"name\":\"\\u65e5\\u672c\",\"n\":1234,\"at_ms\":0,\"to_ms\":"
			       "1795352890123,\"text\":[\"p\",\"q\"]}]",
			       0, NULL);
	assert_non_null(v);
	return v;
}

static void test_tsv(void **state)
{
	struct fixture f;
	json_t *v = sample();
	(void)state;
	start(&f, false, NULL);
	assert_int_equal(out_list(&f.c, cols, v), 0);
	flush(&f);
	assert_string_equal(f.out, "a\t5\t2026-11-22T13:08:10Z\tnever\tx\\x09y\\x1b[0m\n"
				   "日本\t1234\t-\t2026-11-22T13:08:10.123Z\tp,q\n");
	stop(&f);
	json_decref(v);
}

static void test_table(void **state)
{
	struct fixture f;
	json_t *v = sample();
	(void)state;
	start(&f, true, NULL);
	out_rows(&f.c, NULL, cols, v);
	flush(&f);
	assert_string_equal(
	    f.out, "NAME     N  AT                    TO                        TEXT\n"
		   "a        5  2026-11-22T13:08:10Z  never                     x\\x09y\\x1b[0m\n"
		   "日本  1234  -                     2026-11-22T13:08:10.123Z  p,q\n");
	stop(&f);
	json_decref(v);
}

static void test_titles(void **state)
{
	struct fixture f;
	json_t *v = json_pack("[{s:s}]", "name", "a"), *none = json_array();
	(void)state;
	start(&f, false, NULL);
	out_rows(&f.c, "line", cols, v);
	out_rows(&f.c, "line", cols, none);
	out_rows(&f.c, "line", cols, NULL);
	flush(&f);
	assert_string_equal(f.out, "line\ta\t-\t-\t-\t-\n");
	stop(&f);
	start(&f, true, NULL);
	out_rows(&f.c, "Lines", cols, none);
	flush(&f);
	assert_string_equal(f.out, "\nLines: none\n");
	stop(&f);
	json_decref(v);
	json_decref(none);
}

static void test_empty_list(void **state)
{
	struct fixture f;
	json_t *none = json_array();
	(void)state;
	start(&f, false, NULL);
	assert_int_equal(out_list(&f.c, cols, none), 1);
	flush(&f);
	assert_string_equal(f.out, "");
	f.c.json = true;
	assert_int_equal(out_list(&f.c, cols, none), 1);
	flush(&f);
	assert_string_equal(f.out, "[]\n");
	stop(&f);
	json_decref(none);
}

static void test_object(void **state)
{
	struct fixture f;
	json_t *v = json_pack("{s:s, s:b}", "name", "a", "n", 1);
	(void)state;
	start(&f, false, NULL);
	out_object(&f.c, cols, v);
	flush(&f);
	assert_string_equal(f.out, "name\ta\nn\tyes\n");
	stop(&f);
	start(&f, true, NULL);
	out_object(&f.c, cols, v);
	flush(&f);
	assert_string_equal(f.out, "name  a\nn     yes\n");
	stop(&f);
	json_decref(v);
}

static void test_values(void **state)
{
	static const struct {
		const char *json;
		enum col_type type;
		bool tty;
		const char *text;
	} cases[] = {
	    {"\"\"", COL_TEXT, false, "-"},
	    {"null", COL_TIME, false, "-"},
	    {"null", COL_NEVER, false, "never"},
	    {"true", COL_TEXT, false, "yes"},
	    {"false", COL_TEXT, false, "no"},
	    {"[]", COL_TEXT, false, "-"},
	    {"[1,\"a\"]", COL_TEXT, false, "1,a"},
	    {"[1,2,3]", COL_MANY, false, "3"},
	    {"{\"a\":1,\"b\":\"x\"}", COL_TEXT, false, "a=1 b=x"},
	    {"90000", COL_SPAN, false, "1m30s"},
	    {"123456", COL_SIZE, false, "123456"},
	    {"123456", COL_SIZE, true, "120.6k"},
	    {"9999", COL_SIZE, true, "9999"},
	    {"99999999999", COL_SIZE, true, "93.1G"},
	    {"0.5", COL_NUM, false, "0.5"},
	    {"-3", COL_NUM, false, "-3"},
	    {"\"say \\\"hi\\\" \\\\\"", COL_TEXT, false, "say \"hi\" \\x5c"},
	    {"\"\\u009b31m\\u202e\\n\"", COL_TEXT, false, "\\xc2\\x9b31m\\xe2\\x80\\xae\\x0a"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;
		json_t *v = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);
		assert_non_null(v);
		start(&f, cases[i].tty, NULL);
		assert_string_equal(out_value(&f.c, cases[i].type, v), cases[i].text);
		assert_string_equal(out_value(&f.c, cases[i].type, NULL), "-");
		stop(&f);
		json_decref(v);
	}
}

static void test_json(void **state)
{
	struct fixture f;
	json_t *v = json_loads(
	    "{\"t_ms\":1795352890000,\"retry_ms\":2000,\"a\":[{\"opened_ms\":1795352890001}],"
	    "\"x\":\"\\u009b\\u65e5\",\"end_ms\":1795352890000,\"end\":7}",
	    0, NULL);
	(void)state;
	start(&f, false, NULL);
	out_json_line(&f.c, v);
	flush(&f);
	json_t *got = json_loads(f.out, 0, NULL);
	assert_non_null(got);
	assert_string_equal(json_string_value(json_object_get(got, "time")),
			    "2026-11-22T13:08:10Z");
	assert_null(json_object_get(got, "retry"));
	assert_int_equal(json_integer_value(json_object_get(got, "t_ms")), 1795352890000);
	assert_int_equal(json_integer_value(json_object_get(got, "end")), 7);
	const json_t *a = json_array_get(json_object_get(got, "a"), 0);
	assert_string_equal(json_string_value(json_object_get(a, "opened")),
			    "2026-11-22T13:08:10.001Z");
	/* No byte above ASCII reaches a terminal. */
	for (const char *p = f.out; *p; p++)
		assert_true((unsigned char)*p < 0x80 && ((unsigned char)*p >= 0x20 || *p == '\n'));
	json_decref(got);
	stop(&f);
	json_decref(v);
}

static void test_base64(void **state)
{
	/* RFC 4648 section 10 */
	static const char *const cases[][2] = {
	    {"", ""},
	    {"f", "Zg=="},
	    {"fo", "Zm8="},
	    {"foo", "Zm9v"},
	    {"foob", "Zm9vYg=="},
	    {"fooba", "Zm9vYmE="},
	    {"foobar", "Zm9vYmFy"},
	    {"\xff\xfe\xfb", "//77"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *t = base64_encode(NULL, cases[i][0], strlen(cases[i][0]));
		assert_string_equal(t, cases[i][1]);
		talloc_free(t);
	}
}

/* --- rows --- */

static const char *const names[] = {"prefix", "name", "starts", NULL};
static const char *const ignored[] = {"id", NULL};
static const struct rows_spec spec = {names, ignored};

static void test_rows(void **state)
{
	static const struct {
		const char *in;
		bool json;
		const char *rows; /* compact, sorted JSON; NULL: refused */
		const char *says;
	} cases[] = {
	    {"", false, "[]", ""},
	    {"192.0.2.1\n", false, "[{\"prefix\":\"192.0.2.1\",\"where\":\"standard input:1\"}]",
	     ""},
	    {"name,prefix\r\nx,192.0.2.1\r\n", false,
	     "[{\"name\":\"x\",\"prefix\":\"192.0.2.1\",\"where\":\"standard input:2\"}]", ""},
	    {"prefix,id,name\n192.0.2.1,7,'=x\n", false,
	     "[{\"name\":\"=x\",\"prefix\":\"192.0.2.1\",\"where\":\"standard input:2\"}]", ""},
	    {"prefix,name\n192.0.2.1\n", false,
	     "[{\"prefix\":\"192.0.2.1\",\"where\":\"standard input:2\"}]", ""},
	    {"prefix,nmae\n", false, NULL,
	     "standard input:1: the first line must name the columns"},
	    {"prefix,prefix\n", false, NULL, "column prefix is named twice"},
	    {"prefix\n192.0.2.1,x\n", false, NULL, "standard input:2: 2 fields, but there are 1"},
	    {"prefix,name\n192.0.2.1,\xff\n", false, NULL, "standard input:2: name is not UTF-8"},
	    {"prefix\n\"192.0.2.1\n", false, NULL, "standard input:3: the file ends inside"},
	    {"[]", true, "[]", ""},
	    {"[{\"prefix\":\"192.0.2.1\",\"id\":3,\"name\":null,\"starts_ms\":1795352890000}]",
	     true,
	     "[{\"prefix\":\"192.0.2.1\",\"starts\":\"2026-11-22T13:08:10Z\",\"where\":\"standard "
	     "input: row 1\"}]",
	     ""},
	    {"{}", true, NULL, "must be an array"},
	    {"[1]", true, NULL, "row 1: it is not an object"},
	    {"[{\"prefix\":\"a\"},{\"x\":1}]", true, NULL,
	     "row 2: x is none of prefix,name,starts"},
	    {"[{\"prefix\":[]}]", true, NULL, "row 1: prefix must be text"},
	    {"[", true, NULL, "standard input:1: "},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;
		int status = 0;
		start(&f, false, cases[i].in);
		json_t *r = rows_read(&f.c, "-", cases[i].json, &spec, &status);
		flush(&f);
		if (cases[i].rows) {
			char *t = json_dumps(r, JSON_COMPACT | JSON_SORT_KEYS);
			assert_string_equal(t, cases[i].rows);
			assert_string_equal(f.err, "");
			free(t);
		} else {
			assert_null(r);
			assert_int_equal(status, 65);
			if (!strstr(f.err, cases[i].says))
				fail_msg("case %zu says %s", i, f.err);
		}
		json_decref(r);
		stop(&f);
	}
}

static void test_row_values(void **state)
{
	struct fixture f;
	char prefix[PREFIX_STRLEN];
	int64_t ms = 5;
	int status = 0;
	(void)state;
	start(&f, false, NULL);
	json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "where", "here", "prefix", "2001:DB8::/32",
				"starts", "+1d", "name", "never");
	json_t *args = json_object();
	assert_true(rows_prefix(&f.c, row, prefix, &status));
	assert_string_equal(prefix, "2001:db8::/32");
	assert_true(rows_time(&f.c, row, "starts", args, "starts_ms", &ms, &status));
	assert_int_equal(ms, NOW + 86400000);
	assert_int_equal(json_integer_value(json_object_get(args, "starts_ms")), ms);
	assert_true(rows_time(&f.c, row, "name", args, "never_ms", &ms, &status));
	assert_int_equal(ms, 0);
	assert_null(json_object_get(args, "never_ms"));
	json_object_set_new(row, "prefix", json_string("2001:db8::1/32"));
	assert_false(rows_prefix(&f.c, row, prefix, &status));
	assert_int_equal(status, 65);
	json_object_del(row, "prefix");
	assert_false(rows_prefix(&f.c, row, prefix, &status));
	json_object_set_new(row, "starts", json_string("someday"));
	assert_false(rows_time(&f.c, row, "starts", args, "starts_ms", &ms, &status));
	flush(&f);
	assert_non_null(strstr(f.err, "sekishoctl: here: prefix: 2001:db8::1/32: "));
	assert_non_null(strstr(f.err, "sekishoctl: here: prefix: it is missing"));
	assert_non_null(strstr(f.err, "sekishoctl: here: starts: someday: "));
	json_decref(row);
	json_decref(args);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tsv),	   cmocka_unit_test(test_table),
	    cmocka_unit_test(test_titles), cmocka_unit_test(test_empty_list),
	    cmocka_unit_test(test_object), cmocka_unit_test(test_values),
	    cmocka_unit_test(test_json),   cmocka_unit_test(test_base64),
	    cmocka_unit_test(test_rows),   cmocka_unit_test(test_row_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
