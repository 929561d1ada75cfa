/* The health strip: figures by path, away daemons, alarms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <talloc.h>

#include "webui/health.h"

static const char text[] =
    "{\"nfqd\":{\"state\":\"<b>\",\"queues\":[{\"packets\":3,\"dropped\":0},{\"packets\":4,"
    "\"dropped\":2},{}],"
    "\"policy\":{\"entries\":12}},\"msad\":{\"sessions\":2,\"queue\":{\"held\":7,\"oldest_ms\":0}},"
    "\"ratelimitd\":null,\"acctd\":{\"accounts\":\"no number\"}}";

static void paths(void **state)
{
	static const struct {
		const char *path;
		bool ok;
		int64_t want;
	} rows[] = {
	    {"msad/sessions", true, 2},
	    {"msad/queue/held", true, 7},
	    {"nfqd/queues[]/packets", true, 7},
	    {"nfqd/queues[]/none", false, 0},
	    {"nfqd/queues/packets", false, 0},
	    {"nfqd/policy/entries", true, 12},
	    {"msad/sessions[]/x", false, 0},
	    {"ratelimitd/held", false, 0},
	    {"acctd/accounts", false, 0},
	    {"msad/session", false, 0},
	    {"", false, 0},
	    {"msad", false, 0},
	};
	json_t *j = json_loads(text, 0, NULL);
	(void)state;
	assert_non_null(j);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int64_t v = 0;
		if (health_figure(j, rows[i].path, &v) != rows[i].ok)
			fail_msg("%s", rows[i].path);
		if (rows[i].ok)
			assert_int_equal(v, rows[i].want);
	}
	json_decref(j);
}

static void strip(void **state)
{
	void *ctx = talloc_new(NULL);
	struct html *h = html_new(ctx, 0);
	json_t *j = json_loads(text, 0, NULL);
	size_t len;
	(void)state;
	health_write(h, j);
	const char *s = html_data(h, &len);
	const char *away = strstr(s, "away");
	assert_non_null(away);
	assert_null(strstr(away + 1, "away")); /* only one of the four */
	assert_true(away < strstr(s, "ratelimitd"));
	assert_non_null(strstr(s, "! <b>2</b> dropped"));
	assert_non_null(strstr(s, "<b>7</b> judged"));
	assert_non_null(strstr(s, "<bdi>&lt;b&gt;</bdi>"));
	assert_null(strstr(s, "oldest"));
	json_decref(j);
	talloc_free(ctx);
}

/* Up, and nothing is enforced: that must not look well. */
static void not_enforcing(void **state)
{
	void *ctx = talloc_new(NULL);
	struct html *h = html_new(ctx, 0);
	json_t *j = json_loads("{\"nfqd\":{\"state\":\"waiting-for-table\",\"enforcing\":false},"
			       "\"msad\":{},\"ratelimitd\":{},\"acctd\":{}}",
			       0, NULL);
	size_t len;
	(void)state;
	health_write(h, j);
	const char *s = html_data(h, &len);
	const char *bad = strstr(s, "not enforcing"), *up = strstr(s, "</i>up");
	assert_non_null(bad);
	assert_true(up && up > bad); /* the others */
	assert_non_null(strstr(s, "waiting-for-table"));
	json_decref(j);
	talloc_free(ctx);
}

static void nothing(void **state)
{
	void *ctx = talloc_new(NULL);
	struct html *h = html_new(ctx, 0);
	json_t *j = json_object();
	size_t len, n = 0;
	(void)state;
	health_write(h, j);
	for (const char *s = html_data(h, &len); (s = strstr(s, "away")); s++)
		n++;
	assert_int_equal(n, 4);
	json_decref(j);
	talloc_free(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(paths),
	    cmocka_unit_test(strip),
	    cmocka_unit_test(not_enforcing),
	    cmocka_unit_test(nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
