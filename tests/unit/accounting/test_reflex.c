/* reflex: from a held account to its line's exemption, from a suspended line to its accounts, and
 * back; and the detector's stages below a hold, as the cases tell them. */
#include "kit.h"

#include "accounting/incident.h"
#include "accounting/reflex.h"

#define CAROL "carol@isp.example"
#define LINE  "192.0.2.0/29"

static struct store *s;
static struct incidents *in;
static struct reflex_rules rules;
static struct rl_penalty out[REFLEX_ACCOUNTS];
static int policy_sets, policy_deletes;

static bool on_set(const struct rl_penalty *p, void *arg)
{
	(void)p, (void)arg;
	return true;
}

static void on_policy(uint64_t version, enum policy_op op, const struct policy_entry *e, void *arg)
{
	(void)version, (void)e, (void)arg;
	policy_sets += op == POLICY_SET;
	policy_deletes += op == POLICY_DELETE;
}

static int set_up(void **state)
{
	static const struct store_hooks hooks = {.policy = on_policy};
	(void)state;
	kit_folder();
	s = kit_store();
	store_hooks(s, &hooks, NULL);
	rules = (struct reflex_rules){REFLEX_EXEMPTION_SUSPEND, REFLEX_ACCOUNTS_WATCH};
	in = incidents_new(s, on_set, NULL);
	incidents_reflexes(in, &rules);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	incidents_free(in);
	store_close(s);
	kit_remove();
	return 0;
}

static int64_t exempt(const char *prefix)
{
	struct store_exemption e = {
	    .prefix = kit_prefix(prefix), .contract = "K-7", .starts_ms = T0 - 1000};
	store_begin(s);
	int64_t id = store_exemption_add(s, &e, T0 - 1000);
	kit_commit(s);
	policy_sets = policy_deletes = 0;
	return id;
}

static enum exempt_state state_of(int64_t id)
{
	struct store_exempt x;
	assert_true(store_exempt(s, id, &x));
	return x.state;
}

static void tell(const char *account, enum rl_stage stage, const char *rule, int64_t since)
{
	struct rl_penalty p = {.stage = stage, .since_ms = since, .actor = "detector"};
	snprintf(p.account, sizeof p.account, "%s", account);
	snprintf(p.rule, sizeof p.rule, "%s", rule);
	snprintf(p.why, sizeof p.why, "score %d", 10 * (int)stage);
	incidents_penalty(in, &p, since);
}

static struct store_incident of(const char *account)
{
	struct store_incident inc = {.id = 0};
	(void)store_incident_of(s, account, NULL, &inc);
	return inc;
}

static int64_t notes(int64_t incident, const char *what, const char *words)
{
	char sql[400];
	snprintf(sql, sizeof sql,
		 "SELECT count(*) FROM incident_event WHERE incident_id = %lld AND what = '%s' AND "
		 "text LIKE '%%%s%%'",
		 (long long)incident, what, words);
	return kit_sql(sql);
}

static int64_t release(const char *account, bool mistake, int64_t now)
{
	struct incident_change done;
	const char *code;
	store_begin(s);
	assert_null(incidents_release(in, 0, account, "", "taro", now, &done, &code));
	reflex_released(s, done.id, mistake, &(struct store_who){"taro", ""}, now);
	kit_commit(s);
	return done.id;
}

/* --- a hold and the line ---------------------------------------------------------------------- */

static const struct {
	const char *what, *src;
	int64_t age_ms;
	bool login, good;
	int rule;
	enum exempt_state then;
	int64_t noted;
} lines[] = {
    {"mail of the last hour", "192.0.2.3", 60000, false, true, REFLEX_EXEMPTION_SUSPEND,
     EXEMPT_SUSPENDED, 1},
    {"a login alone", "192.0.2.3", 60000, true, true, REFLEX_EXEMPTION_SUSPEND, EXEMPT_SUSPENDED,
     1},
    {"a login that failed", "192.0.2.3", 60000, true, false, REFLEX_EXEMPTION_SUSPEND,
     EXEMPT_ACTIVE, 0},
    {"mail of yesterday", "192.0.2.3", 86400000, false, true, REFLEX_EXEMPTION_SUSPEND,
     EXEMPT_ACTIVE, 0},
    {"a thief elsewhere", "203.0.113.9", 60000, false, true, REFLEX_EXEMPTION_SUSPEND,
     EXEMPT_ACTIVE, 0},
    {"only a note", "192.0.2.3", 60000, false, true, REFLEX_EXEMPTION_NOTE, EXEMPT_ACTIVE, 1},
    {"off", "192.0.2.3", 60000, false, true, REFLEX_EXEMPTION_OFF, EXEMPT_ACTIVE, 0},
};

static void test_hold(void **state)
{
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		if (i > 0)
			set_up(state);
		int64_t id = exempt(LINE), t = T0 - lines[i].age_ms;
		rules.exemption = lines[i].rule;
		kit_put(s, lines[i].login ? kit_login(t, ALICE, lines[i].src, lines[i].good)
					  : kit_message(t, ALICE, lines[i].src));
		tell(ALICE, RL_HOLD, "detector", T0);
		if (state_of(id) != lines[i].then ||
		    notes(of(ALICE).id, "line", "") != lines[i].noted)
			fail_msg("%s: it is %s", lines[i].what, exempt_state_name(state_of(id)));
		assert_int_equal(policy_deletes, lines[i].then == EXEMPT_SUSPENDED);
		assert_int_equal(
		    kit_sql("SELECT count(*) FROM audit WHERE actor = 'reflex' AND "
			    "action = 'exempt.suspend' AND reason LIKE 'incident %alice%'"),
		    lines[i].then == EXEMPT_SUSPENDED);
		if (i + 1 < sizeof lines / sizeof lines[0])
			tear_down(state);
	}
}

/* The mail is told of after the hold: looked at again, once. */
static void test_late(void **state)
{
	int64_t id = exempt(LINE);
	(void)state;
	tell(ALICE, RL_HOLD, "detector", T0);
	assert_int_equal(state_of(id), EXEMPT_ACTIVE);
	kit_put(s, kit_message(T0, ALICE, "192.0.2.3"));
	for (int i = 0; i < 3; i++) {
		store_begin(s);
		incidents_follow(in, of(ALICE).id, T0 + 1000);
		kit_commit(s);
	}
	assert_int_equal(state_of(id), EXEMPT_SUSPENDED);
	assert_int_equal(policy_deletes, 1);
	/* Somebody resumes it while the account is still held: that is his decision. */
	static const struct store_exempt_move back = {.to = EXEMPT_ACTIVE, .reason = ""};
	store_begin(s);
	assert_true(store_exemption_move(s, id, &back, &kit_who, T0 + 2000));
	incidents_follow(in, of(ALICE).id, T0 + 3000);
	kit_commit(s);
	assert_int_equal(state_of(id), EXEMPT_ACTIVE);
}

static void test_release(void **state)
{
	int64_t id = exempt(LINE);
	(void)state;
	kit_put(s, kit_message(T0 - 1000, ALICE, "192.0.2.3"));
	tell(ALICE, RL_HOLD, "detector", T0);
	assert_int_equal(state_of(id), EXEMPT_SUSPENDED);
	int64_t inc = release(ALICE, false, T0 + 1000);
	assert_int_equal(state_of(id), EXEMPT_SUSPENDED);
	assert_int_equal(notes(inc, "line",
			       "stays suspended; when the line is clean: exempt resume "
			       "192.0.2.0/29"),
			 1);
	assert_int_equal(policy_sets, 0);
}

static void test_mistake(void **state)
{
	int64_t id = exempt(LINE);
	(void)state;
	kit_put(s, kit_message(T0 - 1000, ALICE, "192.0.2.3"));
	tell(ALICE, RL_HOLD, "detector", T0);
	(void)release(ALICE, true, T0 + 1000);
	assert_int_equal(state_of(id), EXEMPT_ACTIVE);
	assert_int_equal(policy_sets, 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM audit WHERE actor = 'reflex' AND action = "
				 "'exempt.resume' AND reason LIKE '%by taro'"),
			 1);
}

/* --- a suspension and the accounts ------------------------------------------------------------ */

static size_t suspend(int64_t id)
{
	store_begin(s);
	size_t n = reflex_suspended(s, in, &rules, id, "spam from the server", T0, out);
	kit_commit(s);
	return n;
}

static void use_the_line(void)
{
	kit_put(s, kit_message(T0 - 3600000, ALICE, "192.0.2.3"));
	kit_put(s, kit_login(T0 - 60000, CAROL, "192.0.2.7", true));
	kit_put(s, kit_message(T0 - 60000, "dan@isp.example", "192.0.2.8"));
	kit_put(s, kit_message(T0 - 2 * 86400000, "eve@isp.example", "192.0.2.3"));
}

static void test_watch(void **state)
{
	int64_t id = exempt(LINE);
	(void)state;
	use_the_line();
	store_begin(s);
	(void)store_account_seen(s, CAROL, T0); /* a login alone makes no account */
	kit_commit(s);
	assert_int_equal(suspend(id), 2);
	assert_string_equal(out[0].account, ALICE);
	assert_string_equal(out[1].account, CAROL);
	assert_int_equal(out[0].stage, RL_WATCH);
	assert_string_equal(out[0].actor, "reflex");
	assert_string_equal(of(ALICE).detector, REFLEX_RULE);
	assert_int_equal(of("dan@isp.example").id, 0);
	assert_int_equal(of("eve@isp.example").id, 0);
	/* In force again: who is only watched is let go, who is in somebody's hands is not. */
	store_begin(s);
	store_incident_state(s, of(CAROL).id, "acknowledged", "taro", T0);
	assert_int_equal(reflex_resumed(s, id, &kit_who, T0 + 1000, out), 1);
	kit_commit(s);
	assert_string_equal(out[0].account, ALICE);
	assert_int_equal(out[0].stage, RL_NORMAL);
	assert_int_equal(of(ALICE).id, 0);
	assert_int_not_equal(of(CAROL).id, 0);
	store_begin(s);
	assert_int_equal(reflex_resumed(s, id, &kit_who, T0 + 2000, out), 0);
	kit_commit(s);
}

static void test_watched_is_released(void **state)
{
	int64_t id = exempt(LINE);
	(void)state;
	kit_put(s, kit_message(T0 - 1000, ALICE, "192.0.2.3"));
	assert_int_equal(suspend(id), 1);
	(void)release(ALICE, false, T0 + 1000);
}

static void test_hold_accounts(void **state)
{
	int64_t id = exempt(LINE);
	(void)state;
	rules.accounts = REFLEX_ACCOUNTS_HOLD;
	use_the_line();
	tell(ALICE, RL_HOLD, "detector", T0 - 5000); /* held already */
	assert_int_equal(suspend(id), 1);
	assert_string_equal(out[0].account, CAROL);
	assert_int_equal(out[0].stage, RL_HOLD);
	assert_string_equal(of(CAROL).state, "contained");
	store_begin(s);
	assert_int_equal(reflex_resumed(s, id, &kit_who, T0 + 1000, out), 0);
	kit_commit(s);
	assert_string_equal(of(CAROL).state, "contained");
}

static void test_accounts_off(void **state)
{
	int64_t id = exempt(LINE);
	(void)state;
	rules.accounts = REFLEX_ACCOUNTS_OFF;
	use_the_line();
	assert_int_equal(suspend(id), 0);
}

/* --- the detector's stages -------------------------------------------------------------------- */

/* Slowed down, and faded before anybody looked. */
static void test_faded(void **state)
{
	(void)state;
	tell(ALICE, RL_THROTTLE, "detector", T0);
	struct store_incident inc = of(ALICE);
	assert_string_equal(inc.state, "open");
	tell(ALICE, RL_WATCH, "detector", T0 + 1000);
	assert_string_equal(of(ALICE).state, "open");
	tell(ALICE, RL_NORMAL, "detector", T0 + 2000);
	assert_true(store_incident(s, inc.id, &inc));
	assert_string_equal(inc.state, "resolved");
	assert_int_equal(notes(inc.id, "faded", "score 0"), 1);
	assert_int_equal(notes(inc.id, "throttle", ""), 1);
	assert_int_equal(notes(inc.id, "watch", ""), 1);
}

/* Somebody has it in hand: that the score has faded is put down, and nothing else. */
static void test_faded_in_hand(void **state)
{
	(void)state;
	tell(ALICE, RL_THROTTLE, "detector", T0);
	store_begin(s);
	store_incident_state(s, of(ALICE).id, "acknowledged", "taro", T0);
	kit_commit(s);
	tell(ALICE, RL_NORMAL, "detector", T0 + 2000);
	assert_string_equal(of(ALICE).state, "acknowledged");
	assert_int_equal(notes(of(ALICE).id, "faded", ""), 1);
}

/* Only watched: no case. Told again after a reconnect: one line of the timeline. */
static void test_watched(void **state)
{
	(void)state;
	tell(ALICE, RL_WATCH, "detector", T0);
	assert_int_equal(of(ALICE).id, 0);
	tell(ALICE, RL_NORMAL, "detector", T0 + 1000);
	tell(CAROL, RL_THROTTLE, "detector", T0);
	tell(CAROL, RL_THROTTLE, "detector", T0);
	assert_int_equal(notes(of(CAROL).id, "throttle", ""), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_hold, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_late, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_release, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_mistake, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_watch, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_watched_is_released, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_hold_accounts, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_accounts_off, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_faded, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_faded_in_hand, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_watched, set_up, tear_down),
	};
	return cmocka_run_group_tests_name("reflex", tests, NULL, NULL);
}
