/* MTA-STS texts: what is a record, what is a policy, whom it allows (RFC 8461 3.1, 3.2, 4.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <talloc.h>

#include <cmocka.h>

#include "msa/route/sts.h"

static void records(void **state)
{
	static const struct {
		const char *text, *id; /* NULL: none */
	} all[] = {
	    {"v=STSv1; id=20160831085700Z;", "20160831085700Z"},
	    {"v=STSv1;id=1", "1"},
	    {"v=STSv1; x=y; id=abc ; z=1", "abc"},
	    {"v=STSv1;", NULL},
	    {"v=STSv1; id=;", NULL},
	    {"v=STSv1; id=a-b;", NULL},
	    {"v=STSv1; id=a; id=b;", NULL},
	    {"v=STSv1 id=a", NULL},
	    {"v=STSv2; id=a;", NULL},
	    {"id=a; v=STSv1", NULL},
	    {"v=STSv1; id=012345678901234567890123456789012;", NULL},
	    {"", NULL},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		char id[STS_ID_MAX + 1] = "";
		bool ok = sts_record(all[i].text, id);
		if (ok != (all[i].id != NULL) || (ok && strcmp(id, all[i].id) != 0))
			fail_msg("%s: %d %s", all[i].text, ok, id);
	}
}

static void policies(void **state)
{
	static const struct {
		const char *text;
		int mode; /* -1: not valid */
		size_t n;
		int64_t age;
	} all[] = {
	    {"version: STSv1\r\nmode: enforce\r\nmx: a.example\r\nmx: *.b.example\r\nmax_age: "
	     "86400\r\n",
	     STS_ENFORCE, 2, 86400},
	    {"version: STSv1\nmode:testing\nmx:a.example\nmax_age:\t604800", STS_TESTING, 1,
	     604800},
	    {"version: STSv1\nmode: none\nmax_age: 99999999\n", STS_NONE, 0, STS_AGE_MAX},
	    {"version: STSv1\nmode: enforce\nmode: none\nmx: a.example\nmax_age: 1\nfuture: x\n",
	     STS_ENFORCE, 1, 1},
	    {"version: STSv1\nmode: enforce\nmax_age: 1\n", -1, 0, 0},
	    {"version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 1\n", -1, 0, 0},
	    {"mode: enforce\nmx: a.example\nmax_age: 1\n", -1, 0, 0},
	    {"version: STSv1\nmode: maybe\nmx: a.example\nmax_age: 1\n", -1, 0, 0},
	    {"version: STSv1\nmode: enforce\nmx: a.example\n", -1, 0, 0},
	    {"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1\n", -1, 0, 0},
	    {"version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1\n", -1, 0, 0},
	    {"<html>", -1, 0, 0},
	    {"", -1, 0, 0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		struct sts_policy *p = sts_parse(NULL, all[i].text, strlen(all[i].text));
		if ((p ? (int)p->mode : -1) != all[i].mode ||
		    (p && (p->n_mx != all[i].n || p->max_age_s != all[i].age)))
			fail_msg("case %zu", i);
		talloc_free(p);
	}
}

static void hosts(void **state)
{
	static const char text[] =
	    "version: STSv1\nmode: enforce\nmx: Mail.example\nmx: *.mx.example\nmax_age: 1\n";
	static const struct {
		const char *host;
		bool ok;
	} all[] = {
	    {"mail.example", true},    {"a.mx.example", true}, {"mx.example", false},
	    {"b.a.mx.example", false}, {".mx.example", false}, {"xmail.example", false},
	    {"example", false},
	};
	struct sts_policy *p = sts_parse(NULL, text, strlen(text));
	(void)state;
	assert_non_null(p);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (sts_allows(p, all[i].host) != all[i].ok)
			fail_msg("%s", all[i].host);
	talloc_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records),
	    cmocka_unit_test(policies),
	    cmocka_unit_test(hosts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
