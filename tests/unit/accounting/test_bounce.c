/* store_bounce: which notifications count, for which message, and how often. */
#include "kit.h"

#include "accounting/store.h"

#define BOB "bob@a.example"

static struct store *s;
static int told;
static char told_of[64];

static void on_bounce(const char *login, const struct event *e, void *arg)
{
	(void)e, (void)arg;
	told++;
	snprintf(told_of, sizeof told_of, "%s", login);
}

/* A message of Alice to three, of whom Bob's server took it. */
static int set_up(void **state)
{
	struct event e = kit_delivery(T0 + 1, ALICE, EVENT_DELIVERED);
	(void)state;
	kit_folder();
	s = kit_store();
	store_on_bounce(s, on_bounce, NULL);
	told = 0;
	kit_put(s, kit_message(T0, ALICE, "192.0.2.1"));
	kit_put(s, e);
	store_flush(s);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	store_close(s);
	kit_remove();
	return 0;
}

static int64_t rows(void)
{
	store_flush(s);
	return kit_sql("SELECT count(*) FROM ev_delivery WHERE returned = 1");
}

static int64_t metric(const char *name)
{
	char sql[128];
	snprintf(sql, sizeof sql, "SELECT ifnull(sum(n), 0) FROM rollup WHERE metric = '%s'", name);
	return kit_sql(sql);
}

static struct event bounce(const char *sender, const char *rcpt, const char *token)
{
	struct event e = kit_bounce(T0 + 60000, sender, rcpt);
	snprintf(e.u.bounce.token, sizeof e.u.bounce.token, "%s", token);
	return e;
}

static void test_who_counts(void **state)
{
	static const struct {
		const char *name, *sender, *rcpt, *original, *token;
		bool counts;
	} cases[] = {
	    {"by its token", ALICE, BOB, "", TOKEN, true},
	    {"whatever the case", "Alice@ISP.example", "BOB@A.example", "", TOKEN, true},
	    {"by its recipient alone", ALICE, BOB, "", "", true},
	    {"forwarded, by the first address", ALICE, "bob@far.example", BOB, "", true},
	    {"forwarded, by its token", ALICE, "bob@far.example", "", TOKEN, true},
	    {"to nobody she wrote to", ALICE, "eve@a.example", "", "", false},
	    {"another's token", "mallory@isp.example", BOB, "", TOKEN, false},
	    {"of nobody", "nobody@isp.example", BOB, "", "", false},
	    {"a token of no message, but her recipient", ALICE, BOB, "", "00", true},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		tear_down(NULL);
		set_up(NULL);
		struct event e = bounce(cases[i].sender, cases[i].rcpt, cases[i].token);
		snprintf(e.u.bounce.original, sizeof e.u.bounce.original, "%s", cases[i].original);
		kit_put(s, e);
		if (rows() != cases[i].counts || told != (int)cases[i].counts ||
		    metric("returned_unknown") != !cases[i].counts)
			fail_msg("%s: %lld rows, told %d", cases[i].name, (long long)rows(), told);
		if (told)
			assert_string_equal(told_of, ALICE);
	}
}

/* Once a recipient; never more than the message had; not what the next host said already. */
static void test_how_often(void **state)
{
	char rcpt[64];
	(void)state;
	for (int i = 0; i < 5; i++)
		kit_put(s, bounce(ALICE, BOB, TOKEN));
	assert_int_equal(rows(), 1);
	assert_int_equal(told, 1);
	for (int i = 0; i < 10; i++) {
		snprintf(rcpt, sizeof rcpt, "forwarded%d@far.example", i);
		kit_put(s, bounce(ALICE, rcpt, TOKEN));
	}
	assert_int_equal(rows(), 3);
	assert_int_equal(told, 3);
	struct event e = kit_delivery(T0 + 2, ALICE, EVENT_BOUNCED);
	snprintf(e.u.delivery.rcpt, sizeof e.u.delivery.rcpt, "carl@a.example");
	kit_put(s, e);
	kit_put(s, bounce(ALICE, "carl@a.example", ""));
	assert_int_equal(rows(), 3);
	assert_int_equal(kit_sql("SELECT sum(bounced) FROM account_rollup"), 4);
	assert_int_equal(metric("returned"), 3);
}

/* One that waits is kept and told to nobody; then it fails. */
static void test_delayed(void **state)
{
	struct event e = bounce(ALICE, BOB, TOKEN);
	(void)state;
	e.u.bounce.result = EVENT_DEFERRED;
	kit_put(s, e);
	assert_int_equal(rows(), 1);
	assert_int_equal(told, 0);
	kit_put(s, bounce(ALICE, BOB, TOKEN));
	assert_int_equal(rows(), 2);
	assert_int_equal(told, 1);
}

/* The name of the last login's TLS is kept with it. */
static void test_login(void **state)
{
	struct event e = kit_login(T0, ALICE, "192.0.2.1", true);
	(void)state;
	snprintf(e.u.login.tls, sizeof e.u.login.tls, "12-28-05-00-x-y");
	kit_put(s, e);
	snprintf(e.u.login.tls, sizeof e.u.login.tls, "13-31-07-00-x-y");
	kit_put(s, e);
	store_flush(s);
	assert_int_equal(kit_sql("SELECT n FROM ev_login WHERE tls = '13-31-07-00-x-y' AND ok = 1"),
			 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_who_counts, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_how_often, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_delayed, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_login, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
