/* Routes and the transport map: who goes where, as tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include <cmocka.h>

#include "msa/route/route.h"

static char empty[] = "";

static struct route plain(const char *name, const char *const *hosts, size_t n)
{
	return (struct route){.name = (char *)(uintptr_t)name,
			      .hosts = {(char **)(uintptr_t)hosts, n},
			      .auth_user = empty,
			      .auth_password_file = empty,
			      .tls = ROUTE_TLS_MAY,
			      .tls_name = empty,
			      .tls_ca = empty,
			      .connections = 5};
}

static struct route_table *table(void *ctx)
{
	static const char *const smart[] = {"192.0.2.1:25"},
				 *const pool[] = {"20 b.example:26", "10 a.example"},
				 *const store[] = {"[2001:db8::1]"};
	struct route dflt = plain("", smart, 1),
		     all[] = {plain("pool", pool, 2), plain("store", store, 1),
			      plain("direct", NULL, 0), plain("retry", smart, 1)};
	char *err = NULL;
	all[1].lmtp = true;
	assert_true(route_prepare(ctx, &dflt, ctx, &err));
	for (size_t i = 0; i < 4; i++)
		assert_true(route_prepare(ctx, &all[i], ctx, &err));
	struct route_table *t = route_table_new(ctx, &dflt, all, 4);
	static const char *const map[] = {
	    "# a comment",
	    "",
	    "store.example   route store",
	    "Boss@Big.Example route pool",
	    "big.example\tmx",
	    ".big.example    mx:relay.example  ",
	    "fixed.example   [2001:db8::9]:2525",
	    "closed.example  error:5.7.1 we do not write to them",
	    "gone.example    error:no such firm",
	    "void.example    discard",
	    "six.example     2001:db8::7",
	};
	for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++) {
		const char *why = NULL;
		if (!route_map_line(t, map[i], strlen(map[i]), &why))
			fail_msg("%s: %s", map[i], why);
	}
	return t;
}

static const struct choice {
	const char *rcpt;
	uint32_t attempts;
	bool suspect;
	enum route_act act;
	const char *want; /* destination, or status */
} choices[] = {
    {"a@any.example", 0, false, ROUTE_TO, "route:default"},
    {"Postmaster", 0, false, ROUTE_TO, "route:default"},
    {"a@store.example", 0, false, ROUTE_TO, "route:store"},
    {"Boss@big.example", 0, false, ROUTE_TO, "route:pool"},
    {"boss@big.example", 0, false, ROUTE_TO, "big.example"},
    {"x@big.example", 0, false, ROUTE_TO, "big.example"},
    {"x@sub.big.example", 0, false, ROUTE_TO, "relay.example"},
    {"x@a.sub.big.example", 0, false, ROUTE_TO, "relay.example"},
    {"x@notbig.example", 0, false, ROUTE_TO, "route:default"},
    {"x@fixed.example", 0, false, ROUTE_TO, "[2001:db8::9]:2525"},
    {"x@six.example", 0, false, ROUTE_TO, "[2001:db8::7]:25"},
    {"x@closed.example", 0, false, ROUTE_ERROR, "5.7.1"},
    {"x@gone.example", 9, true, ROUTE_ERROR, "5.1.2"},
    {"x@void.example", 0, false, ROUTE_DISCARD, NULL},
    {"a@any.example", 0, true, ROUTE_TO, "direct/any.example"},
    {"a@store.example", 0, true, ROUTE_TO, "route:store"},
    {"x@big.example", 0, true, ROUTE_TO, "direct/big.example"},
    {"a@any.example", 2, false, ROUTE_TO, "route:default"},
    {"a@any.example", 3, false, ROUTE_TO, "route:retry"},
    {"a@any.example", 4, true, ROUTE_TO, "route:retry"},
};

static void check_choices(const struct route_table *t)
{
	for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++) {
		const struct choice *x = &choices[i];
		struct route_choice c;
		char name[ROUTE_NAME_MAX];
		route_choose(t, &(struct route_ask){x->rcpt, x->attempts, x->suspect}, &c);
		if (c.act != x->act)
			fail_msg("%s: %d, not %d", x->rcpt, (int)c.act, (int)x->act);
		const char *got = c.act == ROUTE_TO ? route_destination(&c, name) : c.status;
		if (x->want && strcmp(got, x->want) != 0)
			fail_msg("%s: %s, not %s", x->rcpt, got, x->want);
	}
}

static void chooses(void **state)
{
	void *ctx = talloc_new(NULL);
	struct route_table *t = table(ctx);
	(void)state;
	assert_true(route_set_fallback(t, "retry", 3));
	assert_true(route_set_suspect(t, "direct"));
	assert_false(route_set_suspect(t, "none"));
	assert_true(route_set_suspect(t, "direct"));
	check_choices(t);
	talloc_free(ctx);
}

/* The table as the relay role gets it, in small and in large pieces. */
static void travels(void **state)
{
	(void)state;
	for (size_t cap = 2048; cap <= 65536; cap *= 32) {
		void *ctx = talloc_new(NULL);
		struct route_table *t = table(ctx), *back = NULL;
		uint8_t *buf = talloc_array(ctx, uint8_t, cap);
		size_t at = 0, pieces = 0;
		bool more = true;
		assert_true(route_set_fallback(t, "retry", 3));
		assert_true(route_set_suspect(t, "direct"));
		for (unsigned i = 0; i < 500; i++) {
			char line[64];
			const char *why;
			int n = snprintf(line, sizeof(line), "d%u.example route pool", i);
			assert_true(route_map_line(t, line, (size_t)n, &why));
		}
		while (more) {
			struct wire_out w;
			struct wire_in in;
			wire_out_init(&w, buf, cap);
			more = route_table_put(t, &at, &w);
			assert_false(w.bad);
			wire_in_init(&in, buf, w.len);
			assert_true(route_table_get(ctx, &in, &back));
			assert_true(++pieces < 100);
		}
		assert_true(cap > 2048 || pieces > 5);
		assert_int_equal(route_map_size(back), route_map_size(t));
		check_choices(back);
		const struct route *r = route_find(back, "pool");
		assert_int_equal(r->n, 2);
		assert_string_equal(r->list[0].name, "b.example");
		assert_int_equal(r->list[0].port, 26);
		assert_int_equal(r->list[1].pref, 10);
		talloc_free(ctx);
	}
}

static const struct bad {
	const char *line, *why;
} bad_lines[] = {
    {"a.example", "where to?"},
    {"a.example route", "no such route"},
    {"a.example route nosuch", "no such route"},
    {"a.example route pool more", "after the target"},
    {"a.example mx extra", "after the target"},
    {"a.example host:0", "the port"},
    {"a.example host:99999", "the port"},
    {"a.example host:12x", "the port"},
    {"a.example under score:25", "after the target"},
    {"a.example error:", "wants a text"},
    {"a.example error:5.7.1 \xc3\xa9", "printable"},
    {"a.example mx:", "mx:"},
    {"a.example mx:[1.2.3.4]", "mx:"},
    {"a..example mx", "neither an address"},
    {"a@@b mx", NULL},
    {"[192.0.2.1] mx", "neither an address"},
    {"store.example mx", "already"},
    {"STORE.EXAMPLE mx", "already"},
};

static void refuses(void **state)
{
	void *ctx = talloc_new(NULL);
	struct route_table *t = table(ctx);
	size_t n = route_map_size(t);
	(void)state;
	for (size_t i = 0; i < sizeof(bad_lines) / sizeof(*bad_lines); i++) {
		const char *why = "";
		if (route_map_line(t, bad_lines[i].line, strlen(bad_lines[i].line), &why))
			fail_msg("taken: %s", bad_lines[i].line);
		if (bad_lines[i].why && !strstr(why, bad_lines[i].why))
			fail_msg("%s: %s", bad_lines[i].line, why);
	}
	assert_int_equal(route_map_size(t), n);
	talloc_free(ctx);
}

static void file_errors_name_the_line(void **state)
{
	void *ctx = talloc_new(NULL);
	struct route_table *t = table(ctx);
	char file[] = "/tmp/sekisho-map-XXXXXX", *err = NULL;
	int fd = mkstemp(file);
	FILE *f = fdopen(fd, "w");
	(void)state;
	assert_non_null(f);
	fputs("# one\none.example mx\n\ntwo.example nowhere:at:all\n", f);
	fclose(f);
	assert_false(route_map_load(t, file, ctx, &err));
	assert_non_null(strstr(err, ":4: "));
	remove(file);
	assert_false(route_map_load(t, file, ctx, &err));
	assert_non_null(strstr(err, "No such file"));
	talloc_free(ctx);
}

static const struct wrong {
	const char *name, *hosts[3];
	bool lmtp;
	const char *user, *file;
	int tls;
	const char *source[3];
	const char *why; /* NULL: it is fine */
} wrongs[] = {
    {"fine",
     {"10 mx:a.example", "20 [192.0.2.1]:26"},
     false,
     "",
     "",
     ROUTE_TLS_MAY,
     {"192.0.2.7", "2001:db8::1"},
     NULL},
    {"preference", {"x a.example"}, false, "", "", ROUTE_TLS_MAY, {NULL}, "preference"},
    {"large preference", {"65536 a.example"}, false, "", "", ROUTE_TLS_MAY, {NULL}, "preference"},
    {"empty", {""}, false, "", "", ROUTE_TLS_MAY, {NULL}, "missing"},
    {"lmtp by MX", {NULL}, true, "", "", ROUTE_TLS_MAY, {NULL}, "lmtp"},
    {"password in clear text",
     {"a.example"},
     false,
     "u",
     "/f",
     ROUTE_TLS_MAY,
     {NULL},
     "clear text"},
    {"password under TLS", {"a.example"}, false, "u", "/f", ROUTE_TLS_ENCRYPT, {NULL}, NULL},
    {"user alone", {"a.example"}, false, "u", "", ROUTE_TLS_VERIFY, {NULL}, "belong together"},
    {"file alone", {"a.example"}, false, "", "/f", ROUTE_TLS_VERIFY, {NULL}, "belong together"},
    {"two sources", {NULL}, false, "", "", ROUTE_TLS_MAY, {"192.0.2.7", "192.0.2.8"}, "second"},
    {"no source", {NULL}, false, "", "", ROUTE_TLS_MAY, {"eth0"}, "source"},
};

static void checks_routes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(*wrongs); i++) {
		const struct wrong *x = &wrongs[i];
		void *ctx = talloc_new(NULL);
		char *err = NULL;
		size_t n = 0, m = 0;
		while (n < 3 && x->hosts[n])
			n++;
		while (m < 3 && x->source[m])
			m++;
		struct route r = plain("r", x->hosts, n);
		r.lmtp = x->lmtp;
		r.tls = x->tls;
		r.auth_user = (char *)(uintptr_t)x->user;
		r.auth_password_file = (char *)(uintptr_t)x->file;
		r.source = (struct conf_list){(char **)(uintptr_t)x->source, m};
		bool ok = route_prepare(ctx, &r, ctx, &err);
		if (ok != !x->why || (x->why && !strstr(err, x->why)))
			fail_msg("%s: %s", x->name, ok ? "taken" : err);
		talloc_free(ctx);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(chooses),	     cmocka_unit_test(travels),
	    cmocka_unit_test(refuses),	     cmocka_unit_test(file_errors_name_the_line),
	    cmocka_unit_test(checks_routes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
