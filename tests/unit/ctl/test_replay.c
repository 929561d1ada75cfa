/*
 * test_replay - lines of a trace, and the whole command on a short one with a known outcome.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <talloc.h>

#include "ratelimit/detector/config.h"

#include "webui/ctl/cli.h"
#include "webui/ctl/trace.h"

#define T0  1700000000000
#define DAY INT64_C(86400000)

static void test_lines(void **state)
{
	static const struct {
		const char *line;
		int kind; /* -1: wrong */
	} cases[] = {
	    {"{\"t\":1,\"account\":\"a\",\"ip\":\"192.0.2.1\",\"rcpt\":[\"x@y\"]}", TRACE_ATTEMPT},
	    {"{\"t\":1.0,\"account\":\"a\",\"rcpt\":[],\"hostile\":true,\"new\":{}}",
	     TRACE_ATTEMPT},
	    {"{\"t\":1,\"account\":\"a\",\"rcpt\":\"x@y\",\"result\":\"250 ok\"}", TRACE_ATTEMPT},
	    {"{\"t\":1,\"account\":\"a\",\"ip\":\"2001:db8::1\",\"auth\":\"ok\"}", TRACE_AUTH},
	    {"{\"t\":1,\"account\":\"a\",\"auth\":\"fail\"}", TRACE_AUTH},
	    {"{\"t\":1,\"account\":\"a\",\"auth\":\"maybe\"}", TRACE_OTHER},
	    {"{\"t\":1,\"ip\":\"192.0.2.1\",\"syn25\":9,\"dst\":2}", TRACE_SYN},
	    {"{\"t\":1,\"ip\":\"nowhere\",\"syn25\":9}", TRACE_OTHER},
	    {"{\"t\":1,\"account\":\"a\",\"report\":\"abuse\"}", TRACE_REPORT},
	    {"{\"t\":1,\"account\":\"a\",\"report\":\"not-spam\"}", TRACE_OTHER},
	    {"{\"t\":1,\"account\":\"a\",\"bounce\":\"5.1.1\"}", TRACE_BOUNCE},
	    {"{\"t\":1}", TRACE_OTHER},
	    {"{\"t\":1,\"rcpt\":[\"x@y\"]}", -1},
	    {"{\"account\":\"a\",\"rcpt\":[\"x@y\"]}", -1},
	    {"{\"t\":\"1\",\"account\":\"a\",\"rcpt\":[]}", -1},
	    {"{\"t\":-1,\"account\":\"a\",\"rcpt\":[]}", -1},
	    {"{\"t\":1e99,\"account\":\"a\",\"rcpt\":[]}", -1},
	    {"[1]", -1},
	    {"{\"t\":1", -1},
	    {"{\"t\":1} {\"t\":1}", -1},
	    {"\xff", -1},
	};
	struct trace t = {.root = NULL};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *err = NULL;
		bool ok = trace_parse(&t, cases[i].line, strlen(cases[i].line), &err);
		if (ok != (cases[i].kind >= 0) || (ok && (int)t.kind != cases[i].kind))
			fail_msg("%s: %d %s", cases[i].line, (int)t.kind, ok ? "" : err);
	}
	trace_clear(&t);
}

static void test_members(void **state)
{
	static const char line[] = "{\"t\":1700000000123,\"account\":\"a@b\",\"ip\":\"192.0.2.1\","
				   "\"ehlo\":\"pc\",\"from\":\"f@b\","
				   "\"rcpt\":[\"x@y\",7,\"z@y\"],\"bytes\":99,\"body\":\"00ffF\","
				   "\"result\":[\"250 ok\",\"550 no\"]}";
	struct trace t = {.root = NULL};
	const char *err;
	(void)state;
	assert_true(trace_parse(&t, line, sizeof(line) - 1, &err));
	assert_int_equal(t.t_ms, 1700000000123);
	assert_true(t.a.has_client && t.a.has_body);
	assert_int_equal(t.a.body, 0xfff);
	assert_int_equal(t.a.n_rcpt, 2); /* the number is no recipient */
	assert_string_equal(t.a.rcpt[1], "z@y");
	assert_string_equal(t.reply[0], "250 ok");
	assert_null(t.reply[1]);
	assert_int_equal(t.a.bytes, 99);
	static const char bare[] =
	    "{\"t\":1,\"account\":\"a\",\"rcpt\":[\"x\"],\"body\":\"xyz\",\"ip\":7}";
	assert_true(trace_parse(&t, bare, sizeof(bare) - 1, &err));
	assert_false(t.a.has_client || t.a.has_body);
	assert_null(t.a.ehlo);
	assert_null(t.reply[0]);
	trace_clear(&t);
}

/* --- the command --- */

struct run {
	char *out, *err;
	size_t out_len, err_len;
	int status;
};

static void run(struct run *r, const char *in, size_t len, int argc, char **argv)
{
	struct cli_io io = {.in = len ? fmemopen((void *)in, len, "r") : fopen("/dev/null", "re")};
	io.out = open_memstream(&r->out, &r->out_len);
	io.err = open_memstream(&r->err, &r->err_len);
	r->status = cli_main(argc, argv, &io);
	fclose(io.in);
	fclose(io.out);
	fclose(io.err);
}

static void done(struct run *r)
{
	free(r->out);
	free(r->err);
}

#define REPLAY ((char *[]){(char *)"sekishoctl", (char *)"replay", (char *)"-", NULL})

/* Three weeks of somebody's mail, then a stranger's. */
static void write_trace(FILE *f)
{
	for (int day = 0; day < 20; day++)
		for (int k = 0; k < 5; k++)
			fprintf(f,
				"{\"t\":%lld,\"account\":\"a@isp\",\"ip\":\"192.0.2.1\",\"ehlo\":"
				"\"pc\",\"from\":\"a@isp\","
				"\"rcpt\":[\"friend%d@x\"],\"bytes\":1,\"body\":\"%x\",\"result\":["
				"\"250 2.1.5 ok\"]}\n",
				(long long)(T0 + day * DAY + k * 3600000), k, day * 91 + k * 7);
	for (int k = 0; k < 60; k++)
		fprintf(f,
			"{\"t\":%lld,\"account\":\"a@isp\",\"ip\":\"45.1.2.3\",\"ehlo\":\"bot\","
			"\"from\":\"a@isp\","
			"\"rcpt\":[\"stranger%d@d%d\"],\"bytes\":1,\"body\":\"abcdef0123456789\","
			"\"result\":[\"%s\"],\"hostile\":true}\n",
			(long long)(T0 + 20 * DAY + k * 1000), k * 7919 % 100, k,
			k % 5 ? "250 2.1.5 ok" : "550 5.1.1 user unknown");
}

static void test_scenario(void **state)
{
	char *trace;
	size_t len;
	struct run r, again;
	(void)state;
	FILE *f = open_memstream(&trace, &len);
	write_trace(f);
	fclose(f);
	run(&r, trace, len, 3, REPLAY);
	run(&again, trace, len, 3, REPLAY);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.out, again.out);
	assert_non_null(strstr(r.err, "160 lines, 160 attempts, 160 recipients"));
	/* Line by line: stages rise, the reasons are there, and it is held within twenty. */
	int64_t held = 0;
	char *save = NULL;
	for (char *l = strtok_r(r.out, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		json_t *v = json_loads(l, 0, NULL);
		assert_non_null(v);
		int64_t t = json_integer_value(json_object_get(v, "t"));
		assert_true(t >= T0 + 20 * DAY);
		assert_string_equal(json_string_value(json_object_get(v, "account")), "a@isp");
		assert_true(json_integer_value(json_object_get(v, "score")) >= 40);
		assert_true(json_array_size(json_object_get(v, "why")) > 0);
		if (!held && strcmp(json_string_value(json_object_get(v, "stage")), "hold") == 0)
			held = t;
		json_decref(v);
	}
	assert_true(held > 0 && held <= T0 + 20 * DAY + 20 * 1000);
	done(&r);
	done(&again);
	free(trace);
}

static void test_wrong_lines(void **state)
{
	static const char trace[] = "{\"t\":5,\"account\":\"a\",\"rcpt\":[\"x@y\"]}\n"
				    "nonsense\n"
				    "\n"
				    "{\"t\":4,\"account\":\"a\",\"rcpt\":[\"x@y\"]}\n"
				    "{\"t\":6,\"future\":1}\n"
				    "{\"t\":7,\"account\":\"a\",\"rcpt\":[\"x@y\"]}";
	struct run r;
	(void)state;
	run(&r, trace, sizeof(trace) - 1, 3, REPLAY);
	assert_int_equal(r.status, 65);
	assert_string_equal(r.out, "");
	assert_non_null(strstr(r.err, "line 2 is left out: it is no JSON object"));
	assert_non_null(strstr(r.err, "6 lines, 3 attempts, 3 recipients"));
	assert_non_null(strstr(r.err, "1 lines wrong, 1 out of order, 1 of no known kind"));
	done(&r);
	run(&r, "", 0, 3, REPLAY);
	assert_int_equal(r.status, 0);
	done(&r);
	run(&r, "", 0, 3,
	    (char *[]){(char *)"sekishoctl", (char *)"replay", (char *)"/nonexistent/x", NULL});
	assert_int_equal(r.status, 66);
	done(&r);
	run(&r, "", 0, 5,
	    (char *[]){(char *)"sekishoctl", (char *)"replay", (char *)"-", (char *)"--config",
		       (char *)"/nonexistent/x", NULL});
	assert_int_equal(r.status, 78);
	done(&r);
}

/* The sample shows the defaults, all of them. */
static void test_sample(void **state)
{
	struct detector_settings s = {.accounts = 0};
	struct detector_conf c;
	char *err = NULL;
	void *ctx = talloc_new(NULL);
	(void)state;
	detector_conf_default(&c);
	if (!conf_load(ctx, "conf/sekisho.conf", detector_keys, detector_n_keys, &s, &err))
		fail_msg("%s", err);
	assert_memory_equal(&s.detector, &c, sizeof(c));
	talloc_free(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines),    cmocka_unit_test(test_members),
	    cmocka_unit_test(test_scenario), cmocka_unit_test(test_wrong_lines),
	    cmocka_unit_test(test_sample),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
