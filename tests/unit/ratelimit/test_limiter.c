/*
 * limiter and detect - answers, penalties, overrides, in both modes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/ratelimit/common.h"
#include "tests/unit/ratelimit/rand.h"

#define ME "user01@isp.example"

static struct limiter *fresh(const struct limiter_conf *c)
{
	return limiter_new(c, 7);
}

static struct limiter *fresh_default(void)
{
	struct limiter_conf c = default_conf();
	return fresh(&c);
}

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

static uint32_t burst(struct limiter *l, int64_t from_ms, uint32_t first)
{
	for (uint32_t i = 0; i < 40; i++)
		if (ask_n(l, ME, from_ms + i, true, first + i, 1).o.opened)
			return i + 1;
	return 0;
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

/* --- overrides, classes and views
 * ------------------------------------------------------------------------------------------ */

static struct override override_to(const char *limit, int64_t max, int64_t expires_ms)
{
	struct override o = {.max = max, .terms = {.expires_ms = expires_ms, .reason = "test"}};
	snprintf(o.limit, sizeof o.limit, "%s", limit);
	return o;
}

static void an_override_replaces_one_limit_until_it_expires(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	struct override o = override_to("messages-1m", 2, T0 + HOUR);
	struct moment then = at(3 * HOUR);
	struct limiter_view v;
	assert_true(limiter_override(l, TARGET_ACCOUNT, ME, &o));
	charge_to(l, ME, 1, 1);
	charge_to(l, ME, 2, 1);
	struct asked a = ask_n(l, ME, 3, true, 1, 1);
	assert_string_equal(a.v.why, "3 messages in 1m, limit 2");
	view(l, ME, 3, &v);
	assert_non_null(row_of(&v, "messages-1m")->over);
	assert_string_equal(v.row[v.first].limit->name, "messages-1m");
	for (int i = 0; i < 10; i++)
		assert_int_equal(charge_to(l, ME, HOUR + i, 1), RL_OK); /* expired */
	sweep(l, 2 * HOUR);
	view(l, ME, 2 * HOUR, &v);
	assert_null(row_of(&v, "messages-1m")->over);
	o = override_to("messages-1m", 0, 0); /* none at all */
	assert_true(limiter_override(l, TARGET_ACCOUNT, ME, &o));
	for (int i = 0; i < 100; i++)
		assert_int_equal(charge_to(l, ME, 3 * HOUR + i, 1), RL_OK);
	assert_true(limiter_drop_override(l, TARGET_ACCOUNT, ME, "messages-1m", &then));
	assert_false(limiter_drop_override(l, TARGET_ACCOUNT, ME, "messages-1m", &then));
	assert_int_equal(charge_to(l, ME, 3 * HOUR + 200, 1), RL_LIMIT);
	limiter_free(l);
}

/* The account's own before its realm's, that before its class's. */
static void the_nearest_override_holds(void **state)
{
	(void)state;
	struct limiter_conf c = default_conf();
	struct class_conf k = {.name = (char[]){"bulk"}};
	char err[256];
	assert_true(limits_add_class(&c.limits, &k, err));
	finish(&c);
	struct limiter *l = fresh(&c);
	struct moment now = at(0);
	const struct terms forever = {0};
	struct limiter_view v;
	static const struct {
		enum target target;
		const char *name;
		int64_t max;
	} steps[] = {
	    {TARGET_CLASS, "bulk", 3}, {TARGET_DOMAIN, "isp.example", 4}, {TARGET_ACCOUNT, ME, 5}};
	assert_true(limiter_give_class(l, TARGET_ACCOUNT, ME, "bulk", &forever, &now));
	for (size_t i = 0; i < 3; i++) {
		struct override o = override_to("messages-1h", steps[i].max, 0);
		assert_true(limiter_override(l, steps[i].target, steps[i].name, &o));
		view(l, ME, 0, &v);
		assert_int_equal(row_of(&v, "messages-1h")->max, steps[i].max);
		assert_int_equal(row_of(&v, "messages-1h")->over_of, steps[i].target);
	}
	view(l, "other@isp.example", 0, &v);
	assert_int_equal(row_of(&v, "messages-1h")->max, 4);
	view(l, "other@else.example", 0, &v);
	assert_int_equal(row_of(&v, "messages-1h")->max, 300);
	limiter_free(l);
}

/* Bulk: larger limits, in its hours, up to the size it declared; not a hole. */
static void a_class_has_its_own_limits_in_its_hours(void **state)
{
	(void)state;
	struct limiter_conf c = default_conf();
	char err[256], line[] = "Mon-Fri 08:00-18:00", *lines[] = {line}, name[] = "bulk",
		       row_name[] = "bulk-day";
	struct class_conf k = {.name = name, .max_recipients = 400, .hours = {lines, 1}};
	struct limit_conf row = {row_name, KEY_ACCOUNT, UNIT_RECIPIENTS, DAY, 1000, name, 0};
	struct class_member member = {ME, "bulk"};
	assert_true(limits_add_class(&c.limits, &k, err));
	assert_true(limits_add(&c.limits, &row, err));
	c.members = &member;
	c.n_members = 1;
	finish(&c);
	struct limiter *l = fresh(&c);
	uint64_t hash = 1;
	struct rl_ask ask = {.account = ME,
			     .charge = true,
			     .messages = 1,
			     .rcpts = 400,
			     .rcpt_hash = &hash,
			     .n_hash = 1};
	struct moment day = at(0), night = at(60 * SEC);
	struct asked a;
	day.minute = 2 * 1440 + 9 * 60; /* Wednesday, 09:00 */
	night.minute = 2 * 1440 + 23 * 60;
	limiter_ask(l, &ask, &day, &a.v, &a.o);
	assert_int_equal(a.v.answer, RL_OK); /* 400 in a minute: everybody else has 100 */
	ask.rcpts = 401;
	limiter_ask(l, &ask, &day, &a.v, &a.o);
	assert_int_equal(a.v.answer, RL_LIMIT);
	assert_true(a.v.too_many);
	assert_string_equal(a.v.why, "401 recipients in one message, class bulk declares 400");
	ask.rcpts = 101;
	limiter_ask(l, &ask, &night, &a.v, &a.o); /* at night it is anybody */
	assert_int_equal(a.v.answer, RL_LIMIT);
	assert_false(a.v.too_many);
	ask.rcpts = 400;
	limiter_ask(l, &ask, &day, &a.v, &a.o);
	assert_int_equal(a.v.answer, RL_OK);
	limiter_ask(l, &ask, &day, &a.v, &a.o);
	assert_string_equal(a.v.why, "1200 recipients in 1d, limit 1000");
	limiter_free(l);
}

static void a_row_may_observe_while_others_enforce(void **state)
{
	(void)state;
	struct limiter_conf c = default_conf();
	add_limit(&c, "ten", KEY_ACCOUNT, UNIT_MESSAGES, HOUR, 10);
	c.limits.row[c.limits.n - 1].observe = true;
	c.detect.recipients = 0;
	finish(&c);
	struct limiter *l = fresh(&c);
	int said = 0;
	for (int i = 0; i < 30; i++) {
		struct asked a = ask_n(l, ME, i, true, 1, 1);
		assert_int_equal(a.v.answer, RL_OK);
		for (unsigned k = 0; k < a.o.n_would; k++)
			assert_string_equal(a.o.would[k]->name, "ten");
		said += (int)a.o.n_would;
	}
	assert_int_equal(said, 1); /* once a window */
	assert_int_equal(limiter_stats(l)->would_by[c.limits.n - 1], 20);
	assert_int_equal(charge_to(l, ME, 31, 1), RL_LIMIT);
	limiter_free(l);
}

/* --- keys and units
 * ------------------------------------------------------------------------------------------ */

static enum rl_answer from(struct limiter *l, const char *account, const char *address,
			   const char *domain, uint64_t bytes, uint64_t sender, int64_t ms)
{
	const char *why;
	uint64_t hash = 1, dom = sender;
	struct rl_ask ask = {.account = account,
			     .charge = true,
			     .messages = 1,
			     .rcpts = 1,
			     .bytes = bytes,
			     .sender_hash = sender,
			     .sender_domain = domain,
			     .rcpt_hash = &hash,
			     .domain_hash = &dom,
			     .n_hash = 1};
	struct moment now = at(ms);
	struct asked a;
	assert_true(addr_parse(address, &ask.client, &why));
	limiter_ask(l, &ask, &now, &a.v, &a.o);
	return a.v.answer;
}

static void each_key_counts_apart(void **state)
{
	(void)state;
	static const struct {
		enum limit_key key;
		const char *account, *address, *domain; /* of the third ask; two went before */
		enum rl_answer answer;
	} cases[] = {
	    {KEY_ACCOUNT, "a@isp", "192.0.2.9", "x.example", RL_LIMIT},
	    {KEY_ACCOUNT, "b@isp", "192.0.2.1", "d.example", RL_OK},
	    {KEY_ACCOUNT_ADDRESS, "a@isp", "192.0.2.1", "x.example", RL_LIMIT},
	    {KEY_ACCOUNT_ADDRESS, "a@isp", "192.0.2.2", "d.example", RL_OK},
	    {KEY_ACCOUNT_ADDRESS, "b@isp", "192.0.2.1", "d.example", RL_OK},
	    {KEY_ADDRESS, "b@isp", "192.0.2.1", "x.example", RL_LIMIT},
	    {KEY_ADDRESS, "a@isp", "192.0.2.2", "d.example", RL_OK},
	    {KEY_DOMAIN, "b@else", "192.0.2.2", "d.example", RL_LIMIT},
	    {KEY_DOMAIN, "a@isp", "192.0.2.1", "x.example", RL_OK},
	    {KEY_REALM, "b@isp", "192.0.2.2", "x.example", RL_LIMIT},
	    {KEY_REALM, "a@else", "192.0.2.1", "d.example", RL_OK},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct limiter_conf c = bare_conf();
		add_limit(&c, "it", cases[i].key, UNIT_MESSAGES, HOUR, 2);
		finish(&c);
		struct limiter *l = fresh(&c);
		for (int k = 0; k < 2; k++)
			assert_int_equal(from(l, "a@isp", "192.0.2.1", "d.example", 0, 0, k),
					 RL_OK);
		enum rl_answer got =
		    from(l, cases[i].account, cases[i].address, cases[i].domain, 0, 0, 3);
		if (got != cases[i].answer)
			fail_msg("case %zu: %d", i, (int)got);
		limiter_free(l);
	}
}

static void an_ipv6_customer_is_one_prefix(void **state)
{
	(void)state;
	struct limiter_conf c = bare_conf();
	c.prefix6 = 56;
	add_limit(&c, "it", KEY_ADDRESS, UNIT_MESSAGES, HOUR, 2);
	finish(&c);
	struct limiter *l = fresh(&c);
	assert_int_equal(from(l, "a@isp", "2001:db8:0:100::1", NULL, 0, 0, 0), RL_OK);
	assert_int_equal(from(l, "b@isp", "2001:db8:0:1ff::2", NULL, 0, 0, 1), RL_OK);
	assert_int_equal(from(l, "c@isp", "2001:db8:0:17f::3", NULL, 0, 0, 2), RL_LIMIT);
	assert_int_equal(from(l, "c@isp", "2001:db8:0:200::3", NULL, 0, 0, 3), RL_OK);
	limiter_free(l);
}

static void bytes_and_distinct_things(void **state)
{
	(void)state;
	struct limiter_conf c = bare_conf();
	add_limit(&c, "bytes", KEY_ACCOUNT, UNIT_BYTES, HOUR, 10 * 1024);
	add_limit(&c, "senders", KEY_ACCOUNT, UNIT_DISTINCT_SENDERS, HOUR, 3);
	add_limit(&c, "domains", KEY_REALM, UNIT_DISTINCT_DOMAINS, HOUR, 4);
	finish(&c);
	struct limiter *l = fresh(&c);
	assert_int_equal(from(l, "a@isp", "192.0.2.1", NULL, 4096, 1, 0), RL_OK);
	assert_int_equal(from(l, "a@isp", "192.0.2.1", NULL, 6145, 1, 1), RL_LIMIT); /* 4 + 7 KiB */
	assert_int_equal(from(l, "a@isp", "192.0.2.1", NULL, 6144, 1, 2), RL_OK);
	assert_int_equal(from(l, "a@isp", "192.0.2.1", NULL, 1, 1, 3), RL_LIMIT);
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(from(l, "b@isp", "192.0.2.1", NULL, 0, i, 4), RL_OK);
	assert_int_equal(from(l, "b@isp", "192.0.2.1", NULL, 0, 4, 5), RL_LIMIT); /* a 4th sender */
	assert_int_equal(from(l, "b@isp", "192.0.2.1", NULL, 0, 2, 6), RL_OK);
	assert_int_equal(from(l, "c@isp", "192.0.2.1", NULL, 0, 4, 7), RL_OK); /* the 4th domain */
	assert_int_equal(from(l, "d@isp", "192.0.2.1", NULL, 0, 5, 8), RL_LIMIT);
	limiter_free(l);
}

/* N of what is only told, mail passes; one more, and it does not until the window has passed. */
static void what_is_told_limits_mail(void **state)
{
	(void)state;
	static const struct {
		enum unit unit;
		enum rl_seen seen;
	} cases[] = {{UNIT_SESSIONS, RL_SEEN_LOGIN},
		     {UNIT_AUTH_FAILURES, RL_SEEN_LOGIN_FAILED},
		     {UNIT_REJECTED, RL_SEEN_REJECTED}};
	for (size_t i = 0; i < 3; i++) {
		struct limiter_conf c = bare_conf();
		add_limit(&c, "it", KEY_ACCOUNT, cases[i].unit, HOUR, 5);
		finish(&c);
		struct limiter *l = fresh(&c);
		struct rl_observation o = {.what = cases[i].seen, .account = ME};
		for (int k = 0; k < 5; k++) {
			struct moment now = at(k);
			limiter_observe(l, &o, &now);
			assert_int_equal(charge_to(l, ME, k, 1), RL_OK);
		}
		struct moment now = at(6);
		limiter_observe(l, &o, &now);
		struct asked a = ask_n(l, ME, 7, false, 1, 1);
		char why[80];
		snprintf(why, sizeof why, "6 %s in 1h, limit 5", unit_names[cases[i].unit]);
		assert_int_equal(a.v.answer, RL_LIMIT);
		assert_string_equal(a.v.why, why);
		assert_int_equal(check(l, ME, 7 + a.v.retry_ms - 1, 1), RL_LIMIT);
		assert_int_equal(check(l, ME, 7 + a.v.retry_ms, 1), RL_OK);
		limiter_free(l);
	}
}

/* Random asks over every key, class and window, against a model that keeps each charge in a list.
 */
struct charged {
	int64_t t;
	int account, address;
	uint32_t rcpts, rcpt;
};

static uint64_t model_used(const struct charged *log, size_t n, const struct limit *r, int account,
			   int address, int64_t now, uint64_t *distinct, uint32_t rcpt)
{
	uint32_t g = series_slot_ms((uint32_t)r->window_ms);
	uint64_t used = 0;
	bool seen[64] = {false};
	seen[rcpt] = true;
	for (size_t i = 0; i < n; i++) {
		bool mine = r->key == KEY_ACCOUNT   ? log[i].account == account
			    : r->key == KEY_ADDRESS ? log[i].address == address
			    : r->key == KEY_ACCOUNT_ADDRESS
				? log[i].account == account && log[i].address == address
				: log[i].account % 2 == account % 2; /* the realm */
		int64_t end = (int64_t)((T0 + log[i].t) / g + 1) * g;
		if (!mine)
			continue;
		if (end + r->window_ms > T0 + now)
			used += r->unit == UNIT_MESSAGES ? 1 : log[i].rcpts;
		if (log[i].t + r->window_ms > now)
			seen[log[i].rcpt] = true;
	}
	*distinct = 0;
	for (size_t i = 0; i < 64; i++)
		*distinct += seen[i];
	return used;
}

static void random_asks_against_a_slow_model(void **state)
{
	(void)state;
	enum { STEPS = 6000 };
	static struct charged log[STEPS];
	size_t n_log = 0;
	struct limiter_conf c = bare_conf();
	add_limit(&c, "a", KEY_ACCOUNT, UNIT_MESSAGES, MIN, 7);
	add_limit(&c, "b", KEY_ACCOUNT, UNIT_RECIPIENTS, HOUR, 90);
	add_limit(&c, "c", KEY_ADDRESS, UNIT_MESSAGES, 10 * MIN, 40);
	add_limit(&c, "d", KEY_ACCOUNT_ADDRESS, UNIT_RECIPIENTS, 90 * SEC, 25);
	add_limit(&c, "e", KEY_REALM, UNIT_MESSAGES, 7 * HOUR, 600);
	add_limit(&c, "f", KEY_ACCOUNT, UNIT_DISTINCT_RCPTS, 20 * MIN, 12);
	finish(&c);
	struct limiter *l = fresh(&c);
	int64_t now = 0;
	size_t refused = 0;
	for (int i = 0; i < STEPS; i++) {
		int account = (int)rnd(4), address = (int)rnd(3);
		uint32_t rcpts = 1 + (uint32_t)rnd(8), rcpt = (uint32_t)rnd(40);
		uint64_t hash = rcpt * 0x9e3779b97f4a7c15ULL + 1;
		char name[32], ip[32];
		const char *why;
		now += rnd(10) == 0 ? (int64_t)rnd(5 * MIN) : (int64_t)rnd(4 * SEC);
		snprintf(name, sizeof name, "u%d@r%d.example", account, account % 2);
		snprintf(ip, sizeof ip, "192.0.2.%d", address + 1);
		struct rl_ask ask = {.account = name,
				     .charge = rnd(4) != 0,
				     .messages = 1,
				     .rcpts = rcpts,
				     .rcpt_hash = &hash,
				     .n_hash = 1};
		struct moment m = at(now);
		struct asked a;
		bool over = false;
		assert_true(addr_parse(ip, &ask.client, &why));
		for (unsigned k = 0; k < c.limits.n; k++) {
			const struct limit *r = &c.limits.row[k];
			uint64_t distinct, used = model_used(log, n_log, r, account, address, now,
							     &distinct, rcpt);
			uint64_t add = r->unit == UNIT_MESSAGES ? 1 : rcpts;
			over |= r->unit == UNIT_DISTINCT_RCPTS ? distinct > (uint64_t)r->max
							       : used + add > (uint64_t)r->max;
		}
		limiter_ask(l, &ask, &m, &a.v, &a.o);
		if ((a.v.answer == RL_LIMIT) != over)
			fail_msg("step %d at %lld: %s, the model says %s", i, (long long)now,
				 a.v.why, over ? "no" : "yes");
		refused += over;
		if (over) { /* what is told holds: yes then, and not a moment sooner */
			struct moment later = at(now + a.v.retry_ms),
				      sooner = at(now + a.v.retry_ms - 1);
			struct asked b;
			ask.charge = false;
			limiter_ask(l, &ask, &sooner, &b.v, &b.o);
			assert_int_equal(b.v.answer, RL_LIMIT);
			limiter_ask(l, &ask, &later, &b.v, &b.o);
			assert_int_equal(b.v.answer, RL_OK);
		} else if (ask.charge) {
			log[n_log++] = (struct charged){now, account, address, rcpts, rcpt};
		}
		if (rnd(50) == 0)
			sweep(l, now);
	}
	assert_true(refused > 500 && n_log > 500);
	limiter_free(l);
}

static void a_reset_empties_but_keeps_the_penalty(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	struct moment now = at(SEC);
	const struct limiter_who me = {.account = ME}, nobody = {.account = "nobody@isp.example"};
	struct limiter_view v;
	assert_int_equal(burst(l, 0, 0), 30);
	limiter_reset(l, &me, &now);
	limiter_reset(l, &nobody, &now);
	view(l, ME, SEC, &v);
	assert_int_equal(row_of(&v, "messages-1d")->used, 0);
	assert_int_equal(v.held, 0);
	assert_non_null(v.penalty);
	limiter_free(l);
}

static void a_view_of_a_stranger_is_empty(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	struct limiter_view v;
	view(l, "nobody@isp.example", 0, &v);
	assert_null(v.penalty);
	assert_int_equal(row_of(&v, "recipients-1h")->max, 250);
	assert_int_equal(row_of(&v, "recipients-1h")->used, 0);
	assert_string_equal(v.row[v.first].limit->name, "messages-1m");
	assert_int_equal(accounts_of(l), 0);
	limiter_free(l);
}

static void new_limits_judge_old_counts(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	struct limiter_conf c = default_conf();
	for (uint32_t i = 0; i < 10; i++)
		charge_to(l, ME, i, 1);
	c = conf_of(10, 300, 1000, 100, 250, 1000);
	c.accounts = 1;
	limiter_configure(l, &c);
	assert_int_equal(charge_to(l, ME, 11, 1), RL_LIMIT);
	assert_int_equal(limiter_config(l)->accounts, 1000);
	c = conf_of(11, 300, 1000, 100, 250, 1000);
	limiter_configure(l, &c);
	assert_int_equal(charge_to(l, ME, 12, 1), RL_OK);
	limiter_free(l);
}

static void impossible_names_get_no_entry(void **state)
{
	(void)state;
	struct limiter *l = fresh_default();
	char longer[RL_ACCOUNT_MAX + 2];
	memset(longer, 'a', sizeof longer);
	longer[sizeof longer - 1] = '\0';
	assert_int_equal(charge_to(l, longer, 0, 1), RL_DOWN);
	assert_int_equal(charge_to(l, "", 0, 1), RL_DOWN);
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
	    cmocka_unit_test(an_override_replaces_one_limit_until_it_expires),
	    cmocka_unit_test(the_nearest_override_holds),
	    cmocka_unit_test(a_class_has_its_own_limits_in_its_hours),
	    cmocka_unit_test(a_row_may_observe_while_others_enforce),
	    cmocka_unit_test(each_key_counts_apart),
	    cmocka_unit_test(an_ipv6_customer_is_one_prefix),
	    cmocka_unit_test(bytes_and_distinct_things),
	    cmocka_unit_test(what_is_told_limits_mail),
	    cmocka_unit_test(random_asks_against_a_slow_model),
	    cmocka_unit_test(a_reset_empties_but_keeps_the_penalty),
	    cmocka_unit_test(a_view_of_a_stranger_is_empty),
	    cmocka_unit_test(new_limits_judge_old_counts),
	    cmocka_unit_test(impossible_names_get_no_entry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
