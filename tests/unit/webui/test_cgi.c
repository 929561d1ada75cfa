/* The request: fields, cookies, methods, sizes; each rule with a case on both sides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "webui/cgi.h"

/* --- urlencoded ------------------------------------------------------------------------------- */

static const struct form_case {
	const char *in;
	enum cgi_text kind;
	bool ok;
	const char *want; /* name=value pairs joined by '|' */
} form_cases[] = {
    {"", CGI_ONE_LINE, true, ""},
    {"a=1", CGI_ONE_LINE, true, "a=1"},
    {"a=1&b=2", CGI_ONE_LINE, true, "a=1|b=2"},
    {"&&a=1&", CGI_ONE_LINE, true, "a=1"},
    {"a", CGI_ONE_LINE, true, "a="},
    {"a=", CGI_ONE_LINE, true, "a="},
    {"=x", CGI_ONE_LINE, true, "=x"},
    {"a=b=c", CGI_ONE_LINE, true, "a=b=c"},
    {"a=x+y%20z", CGI_ONE_LINE, true, "a=x y z"},
    {"a=%e3%81%82", CGI_ONE_LINE, true, "a=\xe3\x81\x82"},
    {"a=%26%3D%25", CGI_ONE_LINE, true, "a=&=%"},
    {"a=%", CGI_ONE_LINE, false, NULL},
    {"a=%4", CGI_ONE_LINE, false, NULL},
    {"a=%zz", CGI_ONE_LINE, false, NULL},
    {"a=%00", CGI_ONE_LINE, false, NULL},
    {"a=%0a", CGI_ONE_LINE, false, NULL},
    {"a=%7f", CGI_ONE_LINE, false, NULL},
    {"a=%ff", CGI_ONE_LINE, false, NULL},
    {"a=%c0%80", CGI_ONE_LINE, false, NULL},	   /* overlong NUL */
    {"a=%ed%a0%80", CGI_ONE_LINE, false, NULL},	   /* surrogate */
    {"a=%f4%90%80%80", CGI_ONE_LINE, false, NULL}, /* above U+10FFFF */
    {"a=%e3%81", CGI_ONE_LINE, false, NULL},	   /* cut */
    {"a=1&a=2", CGI_ONE_LINE, false, NULL},
    {"a=1&%61=2", CGI_ONE_LINE, false, NULL},
    {"a=l1%0D%0Al2%0Al3%0Dl4%09t", CGI_MANY_LINES, true, "a=l1\nl2\nl3\nl4\tt"},
    {"a%0a=1", CGI_MANY_LINES, false, NULL},
    {"a=%1b", CGI_MANY_LINES, false, NULL},
    {"a=1&b=2&c=3&d=4", CGI_ONE_LINE, true, "a=1|b=2|c=3|d=4"},
    {"a=1&b=2&c=3&d=4&e=5", CGI_ONE_LINE, false, NULL}, /* max is 4 */
};

static char *joined(void *ctx, const struct cgi_fields *f)
{
	char *s = talloc_strdup(ctx, "");
	for (size_t i = 0; i < f->n; i++)
		s = talloc_asprintf_append(s, "%s%s=%s", i ? "|" : "", f->v[i].name,
					   f->v[i].value ? f->v[i].value : "(dropped)");
	return s;
}

/* Each case in a buffer of its exact size, so that a sanitizer sees one byte too far. */
static void urlencoded(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(form_cases) / sizeof(*form_cases); i++) {
		const struct form_case *c = &form_cases[i];
		void *ctx = talloc_new(NULL);
		struct cgi_fields f;
		const char *err = NULL;
		size_t len = strlen(c->in);
		char *exact = malloc(len ? len : 1);
		memcpy(exact, c->in, len);
		bool ok = cgi_urlencoded(ctx, exact, len, 4, c->kind, &f, &err);
		free(exact);
		if (ok != c->ok)
			fail_msg("case %zu %s: %s (%s)", i, c->in, ok ? "taken" : "refused", err);
		if (ok)
			assert_string_equal(joined(ctx, &f), c->want);
		else
			assert_non_null(err);
		talloc_free(ctx);
	}
}

static void cookies(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
	    {"", ""},
	    {"a=1", "a=1"},
	    {"a=1; b=2", "a=1|b=2"},
	    {"a=1;b=2;", "a=1|b=2"},
	    {" a=1 ;x; =y; b=2", "a=1 |b=2"},
	    {"a=1; a=2", "a=(dropped)"},
	    {"a=1; b=2; a=3; a=1", "a=(dropped)|b=2"},
	    {"a=\x01; b=2", "b=2"},
	    {"a=\xff; b=2", "b=2"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		void *ctx = talloc_new(NULL);
		struct cgi_fields f;
		const char *err;
		assert_true(cgi_cookies(ctx, rows[i].in, strlen(rows[i].in), 4, &f, &err));
		assert_string_equal(joined(ctx, &f), rows[i].want);
		talloc_free(ctx);
	}
}

static void ids(void **state)
{
	static const struct {
		const char *in;
		int64_t want; /* 0: refused */
	} rows[] = {{"1", 1},
		    {"42", 42},
		    {"9223372036854775807", INT64_MAX},
		    {"9223372036854775808", 0},
		    {"99999999999999999999", 0},
		    {"0", 0},
		    {"01", 0},
		    {"-1", 0},
		    {"+1", 0},
		    {" 1", 0},
		    {"1 ", 0},
		    {"1a", 0},
		    {"", 0},
		    {NULL, 0}};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int64_t v = 0;
		assert_int_equal(cgi_id(rows[i].in, &v), rows[i].want != 0);
		assert_int_equal(v, rows[i].want);
	}
}

static void trimmed(void **state)
{
	struct cgi_fields f;
	const char *err;
	void *ctx = talloc_new(NULL);
	(void)state;
	assert_true(cgi_urlencoded(ctx, "a=++x+y+&b=+++", 14, 4, CGI_ONE_LINE, &f, &err));
	assert_string_equal(cgi_trimmed(ctx, &f, "a"), "x y");
	assert_string_equal(cgi_trimmed(ctx, &f, "b"), "");
	assert_string_equal(cgi_trimmed(ctx, &f, "none"), "");
	assert_null(cgi_get(&f, "none"));
	talloc_free(ctx);
}

/* --- whole requests --------------------------------------------------------------------------- */

struct fake {
	const char *env[24]; /* NAME=VALUE */
	const char *body;
	size_t at, step;
};

static const char *fake_env(const char *name, void *arg)
{
	struct fake *f = arg;
	size_t n = strlen(name);
	for (size_t i = 0; i < 24 && f->env[i]; i++)
		if (strncmp(f->env[i], name, n) == 0 && f->env[i][n] == '=')
			return f->env[i] + n + 1;
	return NULL;
}

static long fake_read(void *buf, size_t len, void *arg)
{
	struct fake *f = arg;
	size_t left = strlen(f->body) - f->at;
	if (len > left)
		len = left;
	if (f->step && len > f->step)
		len = f->step;
	memcpy(buf, f->body + f->at, len);
	f->at += len;
	return (long)len;
}

static const struct cgi_limits limits = {.body_bytes = 32, .query_bytes = 40, .fields = 4};

static int parse(void *ctx, struct fake *f, struct cgi_request *r)
{
	const struct cgi_source src = {fake_env, fake_read, f};
	const char *err = NULL;
	int status = cgi_parse(ctx, &src, &limits, r, &err);
	if (status)
		assert_non_null(err);
	return status;
}

#define FORM "CONTENT_TYPE=application/x-www-form-urlencoded"

static void requests(void **state)
{
	static const struct {
		struct fake f;
		int want;
		bool same_origin;
	} rows[] = {
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/overview"}, "", 0, 0}, 0, true},
	    {{{"REQUEST_METHOD=GET"}, "", 0, 0}, 0, true},
	    {{{"REQUEST_METHOD=HEAD", "PATH_INFO=/x"}, "", 0, 0}, 0, true},
	    {{{"REQUEST_METHOD=PUT", "PATH_INFO=/x"}, "", 0, 0}, 405, true},
	    {{{"REQUEST_METHOD=get", "PATH_INFO=/x"}, "", 0, 0}, 405, true},
	    {{{"PATH_INFO=/x"}, "", 0, 0}, 405, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=x"}, "", 0, 0}, 400, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/a/../b"}, "", 0, 0}, 400, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/a/.."}, "", 0, 0}, 400, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/a/./b"}, "", 0, 0}, 400, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/a//b"}, "", 0, 0}, 400, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/a/"}, "", 0, 0}, 0, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/a..b"}, "", 0, 0}, 0, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/a\nb"}, "", 0, 0}, 400, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/a\xff"}, "", 0, 0}, 400, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/x", "QUERY_STRING=a=%zz"}, "", 0, 0}, 400, true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/x", "QUERY_STRING=a=1&b=2&c=3&d=4&e=5"}, "", 0, 0},
	     400,
	     true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/x",
	       "QUERY_STRING=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
	      "",
	      0,
	      0},
	     414,
	     true},
	    {{{"REQUEST_METHOD=GET", "PATH_INFO=/x",
	       "HTTP_COOKIE=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
	      "",
	      0,
	      0},
	     414,
	     true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM, "CONTENT_LENGTH=3"}, "a=1", 0, 0},
	     0,
	     true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM "; charset=utf-8", "CONTENT_LENGTH=3"},
	      "a=1",
	      0,
	      0},
	     0,
	     true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM "x", "CONTENT_LENGTH=3"}, "a=1", 0, 0},
	     415,
	     true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x",
	       "CONTENT_TYPE=multipart/form-data; boundary=x", "CONTENT_LENGTH=3"},
	      "a=1",
	      0,
	      0},
	     415,
	     true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", "CONTENT_LENGTH=3"}, "a=1", 0, 0}, 415, true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM}, "a=1", 0, 0}, 411, true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM, "CONTENT_LENGTH=-3"}, "a=1", 0, 0},
	     411,
	     true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM, "CONTENT_LENGTH=3x"}, "a=1", 0, 0},
	     411,
	     true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM, "CONTENT_LENGTH=4"}, "a=1", 0, 0},
	     400,
	     true}, /* cut */
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM, "CONTENT_LENGTH=33"}, "a=1", 0, 0},
	     413,
	     true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM, "CONTENT_LENGTH=9999999999"},
	      "a=1",
	      0,
	      0},
	     413,
	     true},
	    {{{"REQUEST_METHOD=POST", "PATH_INFO=/x", FORM, "CONTENT_LENGTH=99999999999999999999"},
	      "a=1",
	      0,
	      0},
	     411,
	     true},
	    {{{"REQUEST_METHOD=GET", "HTTP_HOST=gw:8443", "HTTP_ORIGIN=https://gw:8443"}, "", 0, 0},
	     0,
	     true},
	    {{{"REQUEST_METHOD=GET", "HTTP_HOST=gw:8443", "HTTP_ORIGIN=https://gw"}, "", 0, 0},
	     0,
	     false},
	    {{{"REQUEST_METHOD=GET", "HTTP_HOST=gw", "HTTP_ORIGIN=http://gw"}, "", 0, 0}, 0, false},
	    /* One octet more of host makes up for the one that is missing in "http://". */
	    {{{"REQUEST_METHOD=GET", "HTTP_HOST=gw", "HTTP_ORIGIN=http://xgw"}, "", 0, 0},
	     0,
	     false},
	    {{{"REQUEST_METHOD=GET", "HTTP_HOST=gw", "HTTP_ORIGIN=null"}, "", 0, 0}, 0, false},
	    {{{"REQUEST_METHOD=GET", "HTTP_ORIGIN=https://"}, "", 0, 0}, 0, false},
	    {{{"REQUEST_METHOD=GET", "HTTP_SEC_FETCH_SITE=same-origin"}, "", 0, 0}, 0, true},
	    {{{"REQUEST_METHOD=GET", "HTTP_SEC_FETCH_SITE=none"}, "", 0, 0}, 0, true},
	    {{{"REQUEST_METHOD=GET", "HTTP_SEC_FETCH_SITE=cross-site"}, "", 0, 0}, 0, false},
	    {{{"REQUEST_METHOD=GET", "HTTP_SEC_FETCH_SITE=same-site"}, "", 0, 0}, 0, false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		/* Whole and byte by byte. */
		for (size_t step = 0; step < 2; step++) {
			void *ctx = talloc_new(NULL);
			struct fake f = rows[i].f;
			struct cgi_request r;
			f.step = step;
			int got = parse(ctx, &f, &r);
			if (got != rows[i].want)
				fail_msg("case %zu: status %d, not %d", i, got, rows[i].want);
			if (r.same_origin != rows[i].same_origin)
				fail_msg("case %zu: same_origin %d", i, r.same_origin);
			talloc_free(ctx);
		}
	}
}

static void a_post(void **state)
{
	struct fake f = {{"REQUEST_METHOD=POST", "PATH_INFO=/incidents/7/note", FORM,
			  "CONTENT_LENGTH=18", "HTTPS=on", "REMOTE_ADDR=2001:DB8::1",
			  "HTTP_COOKIE=a=1; b=2", "HTTP_PROXY=http://evil", "QUERY_STRING=q=%2B"},
			 "text=x%0D%0Ay&n=%2",
			 0,
			 1};
	struct cgi_request r;
	void *ctx = talloc_new(NULL);
	(void)state;
	assert_int_equal(parse(ctx, &f, &r), 400); /* the last % is cut */
	f.body = "text=x%0D%0Ay&n=+2";
	f.at = 0;
	assert_int_equal(parse(ctx, &f, &r), 0);
	assert_int_equal(r.method, CGI_POST);
	assert_true(r.https);
	assert_string_equal(r.path, "/incidents/7/note");
	assert_string_equal(r.remote, "2001:db8::1");
	assert_string_equal(cgi_get(&r.form, "text"), "x\ny");
	assert_string_equal(cgi_get(&r.query, "q"), "+");
	assert_string_equal(cgi_get(&r.cookies, "b"), "2");
	talloc_free(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(urlencoded), cmocka_unit_test(cookies),  cmocka_unit_test(ids),
	    cmocka_unit_test(trimmed),	  cmocka_unit_test(requests), cmocka_unit_test(a_post),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
