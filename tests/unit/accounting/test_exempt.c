/* exemptions: the table of their life, what follows from evidence, lines that end and come back,
 * history. */
#include "kit.h"

#include "accounting/evidence_run.h"

static struct store *s;

static int set_up(void **state)
{
	(void)state;
	kit_folder();
	s = kit_store();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	store_close(s);
	kit_remove();
	return 0;
}

/* --- states --- */

/* Rows: from; columns: to requested, verified, active, suspended, expired, revoked, removed. */
static const char *const ways[EXEMPT_STATES] = {
    [EXEMPT_NONE] = "1234...", /* the states passed */
    [EXEMPT_REQUESTED] = ".123111", [EXEMPT_VERIFIED] = "1.12111", [EXEMPT_ACTIVE] = "...1111",
    [EXEMPT_SUSPENDED] = "..1.111", [EXEMPT_EXPIRED] = ".......",  [EXEMPT_REVOKED] = ".......",
    [EXEMPT_REMOVED] = ".......",
};

static void test_ways(void **state)
{
	(void)state;
	for (int from = EXEMPT_NONE; from < EXEMPT_STATES; from++)
		for (int to = EXEMPT_REQUESTED; to < EXEMPT_STATES; to++) {
			enum exempt_state path[EXEMPT_PATH_MAX];
			char want = ways[from][to - 1];
			size_t n =
			    exempt_path((enum exempt_state)from, (enum exempt_state)to, path);
			if (n != (want == '.' ? 0u : (unsigned)(want - '0')))
				fail_msg("%s to %s: %zu states",
					 exempt_state_name((enum exempt_state)from),
					 exempt_state_name((enum exempt_state)to), n);
			if (n)
				assert_int_equal(path[n - 1], to);
			assert_true(
			    exempt_advice((enum exempt_state)from, (enum exempt_state)to)[0]);
		}
}

static void test_names(void **state)
{
	(void)state;
	for (int i = EXEMPT_REQUESTED; i < EXEMPT_STATES; i++)
		assert_int_equal(exempt_state_parse(exempt_state_name((enum exempt_state)i)), i);
	assert_int_equal(exempt_state_parse(""), EXEMPT_NONE);
	assert_int_equal(exempt_state_parse("pending"), EXEMPT_NONE);
	assert_true(exempt_lives(EXEMPT_SUSPENDED));
	assert_false(exempt_lives(EXEMPT_EXPIRED));
	assert_false(exempt_lives(EXEMPT_NONE));
}

/* --- what follows from evidence --- */

#define DAY 86400000

static void test_follow(void **state)
{
	static const struct {
		enum exempt_state state;
		int64_t held, bad; /* days before now; -1: never */
		enum evidence_verdict found;
		bool required, warn, suspend;
		int64_t due, held_after, bad_after; /* days from now; bad_after 1: none */
	} cases[] = {
	    /* it holds: a warning is over */
	    {EXEMPT_ACTIVE, -1, -1, EVIDENCE_GOOD, false, false, false, 1, 0, 1},
	    {EXEMPT_ACTIVE, 3, 2, EVIDENCE_WEAK, false, false, false, 1, 0, 1},
	    /* lost: warned once, suspended after the grace */
	    {EXEMPT_ACTIVE, 1, -1, EVIDENCE_BAD, false, true, false, 1, -1, 0},
	    {EXEMPT_ACTIVE, 3, 2, EVIDENCE_BAD, false, false, false, 1, -3, -2},
	    {EXEMPT_ACTIVE, 8, 7, EVIDENCE_BAD, false, false, true, 1, -8, -7},
	    {EXEMPT_ACTIVE, 9, 8, EVIDENCE_BAD, false, false, true, 1, -9, -8},
	    /* it never held: the operator's own word, unless evidence is required */
	    {EXEMPT_ACTIVE, -1, 30, EVIDENCE_BAD, false, false, false, 1, -99, -30},
	    {EXEMPT_ACTIVE, -1, 30, EVIDENCE_BAD, true, false, true, 1, -99, -30},
	    {EXEMPT_ACTIVE, -1, -1, EVIDENCE_BAD, true, true, false, 1, -99, 0},
	    /* not in force: nothing to suspend */
	    {EXEMPT_SUSPENDED, 9, 8, EVIDENCE_BAD, false, false, false, 1, -9, -8},
	    {EXEMPT_REQUESTED, -1, -1, EVIDENCE_BAD, false, false, false, 1, -99, 0},
	    /* trouble neither begins nor ends anything, and is looked at sooner */
	    {EXEMPT_ACTIVE, 9, 8, EVIDENCE_UNKNOWN, false, false, false, 0, -9, -8},
	    {EXEMPT_ACTIVE, 1, -1, EVIDENCE_UNKNOWN, true, false, false, 0, -1, 1},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct evidence_rules rules = {DAY, (int64_t)7 * DAY, cases[i].required};
		struct store_exempt x = {.state = cases[i].state};
		struct evidence_next n;
		x.held_ms = cases[i].held < 0 ? 0 : T0 - cases[i].held * DAY;
		x.bad_ms = cases[i].bad < 0 ? 0 : T0 - cases[i].bad * DAY;
		evidence_follow(&rules, &x, cases[i].found, T0, &n);
		if (n.warn != cases[i].warn || n.suspend != cases[i].suspend)
			fail_msg("case %zu: warn %d, suspend %d", i, n.warn, n.suspend);
		assert_int_equal(n.held_ms,
				 cases[i].held_after == -99 ? 0 : T0 + cases[i].held_after * DAY);
		assert_int_equal(n.bad_ms,
				 cases[i].bad_after == 1 ? 0 : T0 + cases[i].bad_after * DAY);
		if (cases[i].due)
			assert_int_equal(n.due_ms, T0 + cases[i].due * DAY);
		else
			assert_in_range(n.due_ms, T0 + 1, T0 + 3600000);
	}
}

/* The last look of a grace is at its end, not a day later. */
static void test_follow_times(void **state)
{
	struct evidence_rules rules = {DAY, DAY / 2, false};
	struct store_exempt x = {.state = EXEMPT_ACTIVE, .held_ms = T0 - DAY};
	struct evidence_next n;
	(void)state;
	evidence_follow(&rules, &x, EVIDENCE_BAD, T0, &n);
	assert_true(n.warn);
	assert_int_equal(n.due_ms, T0 + DAY / 2);
	rules.grace_ms = 0;
	evidence_follow(&rules, &x, EVIDENCE_BAD, T0, &n);
	assert_true(n.suspend);
	rules.interval_ms = 0; /* only when asked */
	evidence_follow(&rules, &x, EVIDENCE_GOOD, T0, &n);
	assert_int_equal(n.due_ms, 0);
}

/* --- in the store --- */

static int64_t add(const char *prefix, int64_t subscriber, enum exempt_state state)
{
	struct store_exemption e = {.prefix = kit_prefix(prefix),
				    .subscriber = subscriber,
				    .state = state,
				    .reason = "why",
				    .actor = "taro",
				    .starts_ms = T0};
	store_begin(s);
	int64_t id = store_exemption_add(s, &e, T0);
	kit_commit(s);
	return id;
}

static enum exempt_state state_of(int64_t id)
{
	struct store_exempt x;
	assert_true(store_exempt(s, id, &x));
	return x.state;
}

static bool move(int64_t id, enum exempt_state to, const char *by, int64_t until)
{
	const struct store_exempt_move m = {
	    .to = to, .action = "exempt.test", .reason = "test", .by = by, .until_ms = until};
	store_begin(s);
	bool ok = store_exemption_move(s, id, &m, &kit_who, T0 + 1);
	kit_commit(s);
	return ok;
}

static void test_history(void **state)
{
	(void)state;
	int64_t id = add("192.0.2.1", 0, EXEMPT_ACTIVE);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption_event WHERE actor = 'taro' AND "
				 "reason = 'why'"),
			 3);
	uint64_t version = store_policy_version(s);
	assert_true(move(id, EXEMPT_SUSPENDED, "operator", 0));
	assert_true(store_policy_version(s) == version + 1);
	assert_false(move(id, EXEMPT_REQUESTED, NULL, 0));
	assert_true(store_policy_version(s) == version + 1); /* a refusal is no version */
	assert_true(move(id, EXEMPT_REMOVED, NULL, 0));
	assert_true(store_policy_version(s) == version + 1); /* it was not in force */
	assert_false(move(id, EXEMPT_ACTIVE, NULL, 0));
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption_event"), 5);
	assert_int_equal(kit_sql("SELECT count(*) FROM audit WHERE action = 'exempt.test'"), 2);
}

/* Only what is active is told: a request is no policy. */
static void test_request_is_no_policy(void **state)
{
	(void)state;
	uint64_t version = store_policy_version(s);
	int64_t id = add("192.0.2.1", 0, EXEMPT_REQUESTED);
	assert_true(store_policy_version(s) == version);
	assert_true(move(id, EXEMPT_VERIFIED, NULL, 0));
	assert_true(store_policy_version(s) == version);
	assert_true(move(id, EXEMPT_ACTIVE, NULL, 0));
	assert_true(store_policy_version(s) == version + 1);
}

static void test_until(void **state)
{
	(void)state;
	int64_t id = add("192.0.2.1", 0, EXEMPT_ACTIVE);
	assert_true(move(id, EXEMPT_SUSPENDED, "operator", T0 + 5000));
	assert_int_equal(store_exemptions_expire(s, T0 + 4999), T0 + 5000);
	assert_int_equal(state_of(id), EXEMPT_SUSPENDED);
	assert_int_equal(store_exemptions_expire(s, T0 + 5000), 0);
	assert_int_equal(state_of(id), EXEMPT_ACTIVE);
	assert_int_equal(kit_sql("SELECT count(*) FROM audit WHERE actor = 'schedule'"), 1);
}

static int line(bool back, int64_t subscriber, const char *prefix)
{
	struct prefix p = kit_prefix(prefix);
	store_begin(s);
	int n = back ? store_exemptions_line_back(s, subscriber, &p, &kit_who, T0 + 10)
		     : store_exemptions_line_ended(s, subscriber, &p, &kit_who, T0 + 10);
	kit_commit(s);
	return n;
}

static void test_lines(void **state)
{
	(void)state;
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2");
	int64_t a = add("192.0.2.1", one, EXEMPT_ACTIVE), b = add("192.0.2.2", two, EXEMPT_ACTIVE),
		nobody = add("192.0.2.3", 0, EXEMPT_ACTIVE),
		resting = add("192.0.2.4", one, EXEMPT_ACTIVE);
	assert_true(move(resting, EXEMPT_SUSPENDED, "operator", 0));
	assert_int_equal(line(false, one, "192.0.2.0/24"), 1);
	assert_int_equal(state_of(a), EXEMPT_SUSPENDED);
	assert_int_equal(state_of(b), EXEMPT_ACTIVE);
	assert_int_equal(state_of(nobody), EXEMPT_ACTIVE);
	assert_int_equal(line(true, two, "192.0.2.0/24"), 0);
	assert_int_equal(line(true, one, "192.0.2.0/24"), 1);
	assert_int_equal(state_of(a), EXEMPT_ACTIVE);
	assert_int_equal(state_of(resting), EXEMPT_SUSPENDED); /* the operator's, not the line's */
	assert_int_equal(line(false, 0, "192.0.2.0/24"), 2);   /* anybody's that is somebody's */
	assert_int_equal(state_of(nobody), EXEMPT_ACTIVE);
	/* A lease around it still holds the line. */
	assert_int_equal(line(true, one, "192.0.2.0/24"), 1);
	kit_lease(s, "192.0.2.0/28", one, T0, 0);
	assert_int_equal(line(false, one, "192.0.2.1"), 0);
	assert_int_equal(state_of(a), EXEMPT_ACTIVE);
}

/* What waits for its owner is not the next owner's either. */
static void test_revoked_in_any_state(void **state)
{
	(void)state;
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2");
	int64_t a = add("192.0.2.1", one, EXEMPT_REQUESTED),
		b = add("192.0.2.2", one, EXEMPT_VERIFIED),
		c = add("192.0.2.3", one, EXEMPT_ACTIVE);
	assert_true(move(c, EXEMPT_SUSPENDED, "line", 0));
	kit_lease(s, "192.0.2.0/29", two, T0, 0);
	assert_int_equal(state_of(a), EXEMPT_REVOKED);
	assert_int_equal(state_of(b), EXEMPT_REVOKED);
	assert_int_equal(state_of(c), EXEMPT_REVOKED);
}

static void test_update(void **state)
{
	const struct prefix dst[2] = {kit_prefix("198.51.100.1"), kit_prefix("2001:db8::/32")};
	struct store_exempt x;
	(void)state;
	int64_t id = add("192.0.2.1", 0, EXEMPT_ACTIVE);
	struct store_exemption e = {.prefix = kit_prefix("192.0.2.1"),
				    .class = "listed",
				    .n_dst = 2,
				    .dst = dst,
				    .helo = "mail.c.example",
				    .actor = "hanako",
				    .starts_ms = T0};
	uint64_t version = store_policy_version(s);
	for (int round = 0; round < 2; round++) {
		store_begin(s);
		assert_true(store_exempt(s, id, &x));
		assert_int_equal(store_exemption_update(s, &x, &e, T0 + 5), round == 0);
		kit_commit(s);
	}
	assert_true(store_policy_version(s) == version + 1);
	e.contact = "new"; /* no business of the kernel's */
	store_begin(s);
	assert_true(store_exempt(s, id, &x));
	assert_true(store_exemption_update(s, &x, &e, T0 + 6));
	kit_commit(s);
	assert_true(store_policy_version(s) == version + 1);
	assert_string_equal(x.entry.class, "listed");
	assert_int_equal(x.entry.n_dst, 2);
	assert_true(prefix_eq(&x.entry.dst[1], &dst[1]));
}

/* --- a database of before --- */

extern const char store_schema_0001[];

static void test_migration(void **state)
{
	static const char *const none[] = {"SELECT 1"};
	static const char rows[] =
	    "PRAGMA user_version = 1;"
	    "INSERT INTO exemption(plen, first, last, class, state, contract, actor, created_ms, "
	    "starts_ms, ended_ms, packets) VALUES "
	    "(32, x'00000000000000000000ffffc0000201', x'00000000000000000000ffffc0000201', 1, "
	    "'active', 'K', 'taro', 5, 6, NULL, 7),"
	    "(32, x'00000000000000000000ffffc0000202', x'00000000000000000000ffffc0000202', 2, "
	    "'active', 'L', 'taro', 5, 6, NULL, 0),"
	    "(32, x'00000000000000000000ffffc0000201', x'00000000000000000000ffffc0000201', 1, "
	    "'removed', '', 'taro', 1, 1, 4, 0);";
	char path[128], *err = NULL;
	struct store_exempt x;
	struct prefix p = kit_prefix("192.0.2.1"), q = kit_prefix("192.0.2.2");
	(void)state;
	kit_folder();
	snprintf(path, sizeof path, "%s/accounting/control.db", kit_dir);
	struct sql *db = sql_open(path, SQL_WRITER, 0, none, 1, &err);
	assert_non_null(db);
	assert_true(sql_script(db, store_schema_0001));
	assert_true(sql_script(db, rows));
	sql_close(db);
	s = kit_store();
	assert_true(store_exempt_of(s, &p, &x));
	assert_int_equal(x.state, EXEMPT_ACTIVE);
	assert_string_equal(x.entry.class, "full");
	assert_string_equal(x.contract, "K");
	assert_true(store_exempt_of(s, &q, &x));
	assert_string_equal(x.entry.class, "throttled");
	assert_int_equal(kit_sql("SELECT packets FROM exemption WHERE contract = 'K'"), 7);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption_event"), 4);
	assert_int_equal(kit_sql("SELECT t_ms FROM exemption_event WHERE new = 'removed'"), 4);
	store_close(s);
	kit_remove();
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ways),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_follow),
	    cmocka_unit_test(test_follow_times),
	    T(test_history),
	    T(test_request_is_no_policy),
	    T(test_until),
	    T(test_lines),
	    T(test_revoked_in_any_state),
	    T(test_update),
	    cmocka_unit_test(test_migration),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
