/*
 * limiter and detect - answers, the rules of the detector, penalties, in both modes. Rows, keys and
 * views: test_limiter_rows.c.
 */
#include "tests/unit/ratelimit/limiter.h"
#include "tests/unit/ratelimit/rand.h"

/* --- detect
 * ---------------------------------------------------------------------------------------- */

static void the_rules_and_their_words(void **state)
{
	(void)state;
	static const struct {
		struct detect_conf c;
		struct detect_counts n;
		const char *rule, *why;
	} cases[] = {
	    {{600000, 30, 20, 50},
	     {20, 30, 0},
	     "burst",
	     "20 messages in 1m, limit 20; 30 different recipients in 10m, limit 30"},
	    {{600000, 30, 20, 50},
	     {42, 42, 99},
	     "burst",
	     "42 messages in 1m, limit 20; 42 different recipients in 10m, limit 30"},
	    {{600000, 30, 20, 50}, {19, 30, 0}, NULL, NULL},
	    {{600000, 30, 20, 50}, {20, 29, 0}, NULL, NULL},
	    {{600000, 30, 20, 50}, {20, 29, 50}, NULL, NULL},
	    {{600000, 30, 20, 50}, {0, 30, 49}, NULL, NULL},
	    {{90000, 30, 20, 50},
	     {0, 31, 50},
	     "refused",
	     "50 refusals by a limit in 1m30s, limit 50; 31 different recipients, limit 30"},
	    {{600000, 0, 20, 50}, {900, 900, 900}, NULL, NULL},
	    {{600000, 30, 0, 50}, {900, 900, 49}, NULL, NULL},
	    {{600000, 30, 0, 0}, {900, 900, 900}, NULL, NULL},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char why[RL_WHY_MAX] = "";
		const char *rule = detect(&cases[i].c, &cases[i].n, why, sizeof why);
		if (!cases[i].rule) {
			assert_null(rule);
			continue;
		}
		assert_non_null(rule);
		assert_string_equal(rule, cases[i].rule);
		assert_string_equal(why, cases[i].why);
	}
}

/* --- limits
 * ------------------------------------------------------------------------------------------ */

static void each_limit_lets_n_pass(void **state)
{
	(void)state;
	static const int64_t window[] = {10 * SEC, MIN, HOUR, 7 * HOUR, DAY, 31 * DAY};
	static const char *const names[] = {"10s", "1m", "1h", "7h", "1d", "31d"};
	for (int u = UNIT_MESSAGES; u <= UNIT_RECIPIENTS; u++)
		for (size_t w = 0; w < sizeof window / sizeof window[0]; w++) {
			struct limiter_conf c = bare_conf();
			add_limit(&c, "it", KEY_ACCOUNT, (enum unit)u, window[w], 10);
			finish(&c);
			struct limiter *l = fresh(&c);
			for (int i = 0; i < 10; i++)
				assert_int_equal(charge_to(l, ME, i, 1), RL_OK);
			assert_int_equal(check(l, ME, 10, 1), RL_LIMIT);
			struct asked a = ask_n(l, ME, 10, true, 1, 1);
			char why[64];
			assert_int_equal(a.v.answer, RL_LIMIT);
			snprintf(why, sizeof why, "11 %s in %s, limit 10", unit_names[u], names[w]);
			assert_string_equal(a.v.why, why);
			assert_true(a.v.retry_ms >= window[w] - 10);
			assert_true(a.v.retry_ms <= window[w] + window[w] / 64);
			assert_int_equal(charge_to(l, ME, 10 + a.v.retry_ms - 1, 1), RL_LIMIT);
			assert_int_equal(charge_to(l, ME, 10 + a.v.retry_ms, 1), RL_OK);
			assert_int_equal(charge_to(l, "other@isp.example", 10, 1), RL_OK);
			limiter_free(l);
		}
}

static void a_check_counts_nothing(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	for (int i = 0; i < 1000; i++)
		assert_int_equal(check(l, ME, i, 100), RL_OK);
	assert_int_equal(check(l, ME, 1000, 101), RL_LIMIT);
	assert_int_equal(charge_to(l, ME, 1001, 1), RL_OK);
	limiter_free(l);
}

static void a_charge_is_all_or_nothing(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	struct limiter_view v;
	assert_int_equal(ask_n(l, ME, 1, true, 0, 90).v.answer, RL_OK);
	struct asked a = ask_n(l, ME, 2, true, 0, 11); /* messages would fit, recipients not */
	assert_int_equal(a.v.answer, RL_LIMIT);
	assert_string_equal(a.v.why, "101 recipients in 1m, limit 100");
	view(l, ME, 3, &v);
	assert_int_equal(v.n, 6);
	for (unsigned i = 0; i < v.n; i++)
		assert_int_equal(v.row[i].used, v.row[i].limit->unit == UNIT_MESSAGES ? 1 : 90);
	assert_int_equal(ask_n(l, ME, 3, true, 0, 10).v.answer, RL_OK);
	limiter_free(l);
}

static void the_longest_wait_is_told(void **state)
{
	(void)state;
	struct limiter_conf c = conf_of(1, 1, 0, 0, 0, 0);
	struct limiter *l = fresh(&c);
	assert_int_equal(charge_to(l, ME, 0, 1), RL_OK);
	struct asked a = ask_n(l, ME, 1, true, 1, 1);
	assert_string_equal(a.v.why, "2 messages in 1h, limit 1");
	assert_true(a.v.retry_ms > MIN);
	limiter_free(l);
}

/* Many accounts asking in turn, by checks, charges and refunds: no window of any ever holds more
 * than its limit. */
static void edges_hold_under_interleaving(void **state)
{
	(void)state;
	enum { ACCOUNTS = 5, LOG = 4000 };
	static struct {
		int64_t t;
		uint32_t n;
	} log[ACCOUNTS][LOG];
	size_t n_log[ACCOUNTS] = {0};
	struct limiter_conf c = conf_of(7, 20, 0, 0, 0, 0);
	c.detect.recipients = 0;
	struct limiter *l = fresh(&c);
	int64_t now = 0;
	for (int i = 0; i < 20000; i++) {
		size_t k = (size_t)rnd(ACCOUNTS);
		char name[32];
		snprintf(name, sizeof name, "user%zu@isp.example", k);
		now += (int64_t)rnd(3000);
		enum rl_answer checked = check(l, name, now, 1);
		if (rnd(3) == 0)
			continue;
		enum rl_answer charged = charge_to(l, name, now, (uint32_t)rnd(5));
		assert_int_equal(checked,
				 charged); /* what a check promises, the next charge gets */
		if (charged != RL_OK)
			continue;
		if (rnd(5) == 0) {
			struct moment m = at(now);
			struct rl_ask back = {.account = name,
					      .t_ms = m.utc_ms,
					      .charge = true,
					      .messages = 1,
					      .rcpts = 1};
			limiter_refund(l, &back, &m);
			continue;
		}
		assert_true(n_log[k] < LOG);
		log[k][n_log[k]].t = now;
		log[k][n_log[k]++].n = 1;
		uint64_t minute = 0, hour = 0;
		for (size_t e = n_log[k]; e > 0 && log[k][e - 1].t > now - HOUR; e--) {
			hour++;
			minute += log[k][e - 1].t > now - MIN;
		}
		assert_true(minute <= 7);
		assert_true(hour <= 20);
	}
	limiter_free(l);
}

static void a_refund_gives_back(void **state)
{
	(void)state;
	struct limiter_conf c = conf_of(2, 300, 1000, 100, 250, 1000);
	struct limiter *l = fresh(&c);
	struct moment now = at(500);
	struct rl_ask ask = {
	    .account = ME, .t_ms = at(100).utc_ms, .charge = true, .messages = 1, .rcpts = 1};
	assert_int_equal(charge_to(l, ME, 100, 1), RL_OK);
	assert_int_equal(charge_to(l, ME, 200, 2), RL_OK);
	assert_int_equal(charge_to(l, ME, 300, 3), RL_LIMIT);
	limiter_refund(l, &ask, &now);
	assert_int_equal(charge_to(l, ME, 600, 3), RL_OK);
	assert_int_equal(charge_to(l, ME, 600, 3), RL_LIMIT);
	ask.account = "nobody@isp.example";
	limiter_refund(l, &ask, &now);
	assert_int_equal(accounts_of(l), 1);
	limiter_free(l);
}

/* --- the detector, in its place
 * ------------------------------------------------------------------------- */

/* One-recipient messages as fast as they go: held on the 30th, which is itself held, and never
 * deferred before. */
static void a_stolen_account_is_held_before_it_is_limited(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	for (uint32_t i = 1; i < 30; i++) {
		assert_int_equal(check(l, ME, i * 10, 1), RL_OK);
		assert_int_equal(charge_to(l, ME, i * 10, i), RL_OK);
	}
	assert_int_equal(check(l, ME, 300, 1), RL_OK);
	struct asked a = ask_n(l, ME, 300, true, 30, 1);
	assert_int_equal(a.v.answer, RL_HELD);
	assert_true(a.o.opened);
	assert_string_equal(a.o.rule, "burst");
	assert_string_equal(
	    a.v.why, "30 messages in 1m, limit 20; 30 different recipients in 10m, limit 30");
	const struct rl_penalty *p = limiter_penalty(l, ME);
	assert_non_null(p);
	assert_int_equal(p->stage, RL_HOLD);
	assert_int_equal(p->since_ms, T0 + 300);
	assert_string_equal(p->account, ME);
	assert_string_equal(p->rule, "burst");
	assert_string_equal(p->actor, "detector");
	assert_string_equal(p->why, a.v.why);
	for (uint32_t i = 31; i < 500; i++) {
		a = ask_n(l, ME, 300 + i, true, i, 1);
		assert_int_equal(a.v.answer, RL_HELD);
		assert_false(a.o.opened);
		assert_int_equal(check(l, ME, 300 + i, 90), RL_HELD);
	}
	limiter_free(l);
}

static void a_newsletter_is_not_a_zombie(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	assert_int_equal(ask_n(l, ME, 0, true, 0, 100).v.answer,
			 RL_OK); /* 100 recipients, one message */
	for (uint32_t i = 0; i < 18; i++)
		assert_int_equal(charge_to(l, ME, 2 * MIN + i, i),
				 RL_OK); /* and a busy minute with few */
	assert_null(limiter_penalty(l, ME));
	limiter_free(l);
}

static void the_window_of_recipients_ages_out(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	for (uint32_t i = 0; i < 29; i++)
		assert_int_equal(charge_to(l, ME, i * 20 * SEC, i),
				 RL_OK); /* 3 a minute, 29 recipients in 9.5 minutes */
	for (uint32_t i = 0; i < 25; i++)
		assert_int_equal(charge_to(l, ME, 20 * MIN + i, 100 + i),
				 RL_OK); /* 25 in a second, but the 29 are forgotten */
	assert_null(limiter_penalty(l, ME));
	limiter_free(l);
}

static void a_slow_zombie_runs_into_the_limit_and_is_held(void **state)
{
	(void)state;
	struct limiter_conf c =
	    conf_of(5, 300, 1000, 100, 250, 1000); /* the burst rule cannot see 20 */
	struct limiter *l = fresh(&c);
	uint32_t refusals = 0;
	for (uint32_t i = 0; i < 600 && !limiter_penalty(l, ME); i++) {
		struct asked a = ask_n(l, ME, i * 2 * SEC, true, i, 1);
		if (a.v.answer == RL_LIMIT)
			refusals++;
		else
			assert_true(a.v.answer == RL_OK || a.o.opened);
	}
	assert_non_null(limiter_penalty(l, ME));
	assert_string_equal(limiter_penalty(l, ME)->rule, "refused");
	assert_int_equal(refusals, 49); /* the 50th is held */
	limiter_free(l);
}

/* 300 recipients of one message, 200 of them refused within a second, again and again: deferred,
 * not held. */
static void one_big_message_is_one_refusal(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	for (int64_t round = 0; round < 20; round++) {
		for (uint32_t i = 1; i <= 200; i++)
			assert_int_equal(check(l, ME, round * MIN + i, 101), RL_LIMIT);
		(void)ask_n(l, ME, round * MIN + 300, true, 0, 100);
	}
	assert_null(limiter_penalty(l, ME));
	limiter_free(l);
}

static void observe_answers_yes_and_reports(void **state)
{
	(void)state;
	struct limiter_conf c = default_conf();
	c.mode = MODE_OBSERVE;
	struct limiter *l = fresh(&c);
	int would_hold = 0, would_limit = 0;
	for (uint32_t i = 0; i < 1000; i++) {
		struct asked a = ask_n(l, ME, i, true, i, 1);
		assert_int_equal(a.v.answer, RL_OK);
		assert_false(a.o.opened);
		would_hold += a.o.would_hold;
		would_limit += (int)a.o.n_would;
	}
	assert_int_equal(would_hold, 1);
	assert_int_equal(would_limit,
			 4); /* messages by minute and hour, recipients by minute and hour */
	assert_null(limiter_penalty(l, ME));
	assert_int_equal(limiter_stats(l)->would_limit, 970);
	struct limiter_view v;
	struct moment then = at(1001);
	view(l, ME, 1000, &v);
	assert_int_equal(row_of(&v, "messages-1h")->used, 1000);
	struct rl_penalty p =
	    penalty_of(ME, RL_HOLD, T0); /* what people decide counts all the same */
	assert_int_equal(limiter_set_penalty(l, &p, &then), LIMITER_CHANGED);
	assert_int_equal(charge_to(l, ME, 1002, 1), RL_HELD);
	limiter_free(l);
}

/* --- penalties
 * -----------------------------------------------------------------------------------------------
 */

static void hold_suspend_release(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	struct moment now = at(0);
	struct rl_penalty p = penalty_of(ME, RL_HOLD, T0);
	assert_int_equal(limiter_set_penalty(l, &p, &now), LIMITER_CHANGED);
	assert_int_equal(limiter_set_penalty(l, &p, &now), LIMITER_SAME);
	assert_int_equal(check(l, ME, 1, 1), RL_HELD);
	assert_int_equal(limiter_stats(l)->penalised[RL_HOLD], 1);
	p.stage = RL_SUSPEND;
	assert_int_equal(limiter_set_penalty(l, &p, &now), LIMITER_CHANGED);
	struct asked a = ask_n(l, ME, 2, true, 1, 1);
	assert_int_equal(a.v.answer, RL_REFUSE);
	assert_string_equal(a.v.why, "because");
	assert_int_equal(check(l, ME, 2, 1), RL_REFUSE);
	assert_int_equal(limiter_stats(l)->penalised[RL_HOLD], 0);
	assert_int_equal(limiter_stats(l)->penalised[RL_SUSPEND], 1);
	p.stage = RL_NORMAL;
	assert_int_equal(limiter_set_penalty(l, &p, &now), LIMITER_CHANGED);
	assert_int_equal(limiter_set_penalty(l, &p, &now), LIMITER_SAME);
	assert_int_equal(limiter_stats(l)->penalised[RL_SUSPEND], 0);
	assert_int_equal(charge_to(l, ME, 3, 1), RL_OK);
	limiter_free(l);
}

static void held_mail_has_a_ceiling(void **state)
{
	(void)state;
	struct limiter_conf c = default_conf();
	c.held_per_day = 5;
	struct limiter *l = fresh(&c);
	struct moment now = at(0);
	struct rl_penalty p = penalty_of(ME, RL_HOLD, T0);
	limiter_set_penalty(l, &p, &now);
	for (int i = 0; i < 5; i++)
		assert_int_equal(ask_n(l, ME, i, true, 0, 500).v.answer,
				 RL_HELD); /* no other limit applies */
	struct asked a = ask_n(l, ME, 6, true, 0, 1);
	assert_int_equal(a.v.answer, RL_LIMIT);
	assert_string_equal(a.v.why, "6 messages on hold in 1d, limit 5");
	assert_int_equal(check(l, ME, 6, 1), RL_LIMIT);
	assert_int_equal(check(l, ME, 6 + a.v.retry_ms, 1), RL_HELD);
	struct moment later = at(7);
	struct rl_ask back = {
	    .account = ME, .t_ms = at(4).utc_ms, .charge = true, .messages = 1, .rcpts = 500};
	limiter_refund(l, &back, &later);
	assert_int_equal(charge_to(l, ME, 8, 1), RL_HELD);
	limiter_free(l);
}

static void a_release_forgets_and_gives_grace(void **state)
{
	(void)state;
	struct limiter_conf c = conf_of(0, 300, 1000, 100, 250, 1000);
	struct limiter *l = fresh(&c);
	struct moment now = at(SEC);
	struct rl_penalty p = penalty_of(ME, RL_NORMAL, T0);
	assert_int_equal(burst(l, 0, 0), 30);
	limiter_set_penalty(l, &p, &now);
	struct limiter_view v;
	view(l, ME, SEC, &v);
	assert_int_equal(v.detect.distinct, 0);
	assert_int_equal(v.grace_left_ms, 10 * MIN);
	assert_int_equal(burst(l, 2 * SEC, 0), 0); /* in grace */
	assert_int_equal(charge_to(l, ME, 10 * MIN + SEC - 1, 1), RL_OK);
	assert_int_equal(burst(l, 13 * MIN, 1000),
			 29); /* after it; recipient 1 is still in the window */
	limiter_free(l);
}

static void still_limited_in_grace(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	struct moment now = at(SEC);
	struct rl_penalty p = penalty_of(ME, RL_NORMAL, T0);
	assert_int_equal(burst(l, 0, 0), 30);
	limiter_set_penalty(l, &p, &now);
	assert_int_equal(charge_to(l, ME, 2 * SEC, 1), RL_LIMIT);
	assert_int_equal(charge_to(l, ME, 62 * SEC, 1), RL_OK);
	limiter_free(l);
}

static void count_one(const struct rl_penalty *p, void *arg)
{
	(void)p;
	++*(int *)arg;
}

static void penalties_outlive_a_full_table(void **state)
{
	(void)state;
	struct limiter_conf c = default_conf();
	c.accounts = 5;
	struct limiter *l = fresh(&c);
	char name[32];
	int n = 0;
	for (int i = 0; i < 10; i++) {
		struct moment now = at(i);
		snprintf(name, sizeof name, "bad%d@isp.example", i);
		struct rl_penalty p = penalty_of(name, RL_HOLD, T0);
		assert_int_equal(limiter_set_penalty(l, &p, &now), LIMITER_CHANGED);
	}
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof name, "good%d@isp.example", i);
		assert_int_equal(charge_to(l, name, 10 + i, 1), RL_OK);
	}
	assert_int_equal(check(l, "new@isp.example", 99, 1), RL_OK);   /* a check takes no room */
	struct asked a = ask_n(l, "new@isp.example", 100, true, 1, 1); /* nobody is idle */
	assert_int_equal(a.v.answer, RL_DOWN);
	assert_true(a.o.full);
	assert_int_equal(charge_to(l, "good1@isp.example", HOUR, 1), RL_OK);
	assert_int_equal(charge_to(l, "new@isp.example", HOUR + 1010, 1),
			 RL_OK); /* in the place of good0 */
	assert_int_equal(subjects_evicted(limiter_subjects(l)), 1);
	assert_int_equal(accounts_of(l), 5);
	limiter_each_penalty(l, count_one, &n);
	assert_int_equal(n, 10);
	sweep(l, 30 * DAY);
	assert_int_equal(accounts_of(l), 0);
	assert_non_null(limiter_penalty(l, "bad3@isp.example"));
	assert_int_equal(check(l, "bad3@isp.example", 30 * DAY, 1), RL_HELD);
	limiter_free(l);
}

static void idle_accounts_are_forgotten_in_the_end(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	charge_to(l, ME, 0, 1);
	sweep(l, DAY);
	assert_int_equal(accounts_of(l), 1);
	sweep(l, DAY + DAY / 64);
	assert_int_equal(accounts_of(l), 0);
	limiter_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_rules_and_their_words),
	    cmocka_unit_test(each_limit_lets_n_pass),
	    cmocka_unit_test(a_check_counts_nothing),
	    cmocka_unit_test(a_charge_is_all_or_nothing),
	    cmocka_unit_test(the_longest_wait_is_told),
	    cmocka_unit_test(edges_hold_under_interleaving),
	    cmocka_unit_test(a_refund_gives_back),
	    cmocka_unit_test(a_stolen_account_is_held_before_it_is_limited),
	    cmocka_unit_test(a_newsletter_is_not_a_zombie),
	    cmocka_unit_test(the_window_of_recipients_ages_out),
	    cmocka_unit_test(a_slow_zombie_runs_into_the_limit_and_is_held),
	    cmocka_unit_test(one_big_message_is_one_refusal),
	    cmocka_unit_test(observe_answers_yes_and_reports),
	    cmocka_unit_test(hold_suspend_release),
	    cmocka_unit_test(held_mail_has_a_ceiling),
	    cmocka_unit_test(a_release_forgets_and_gives_grace),
	    cmocka_unit_test(still_limited_in_grace),
	    cmocka_unit_test(penalties_outlive_a_full_table),
	    cmocka_unit_test(idle_accounts_are_forgotten_in_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
