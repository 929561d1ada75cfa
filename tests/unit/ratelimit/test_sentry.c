/* The detector inside the limiter: a stolen account is held, its owner is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "ratelimit/sentry.h"
#include "tests/unit/ratelimit/common.h"

#define ME     "owner@isp.example"
#define FRIEND "owner"
#define THIEF  "stranger"

static struct limiter *l;
static struct sentry *sentry;
static struct detector_settings settings;
static struct rl_penalty last;
static int changes;

static void changed(const struct rl_penalty *p, const struct moment *now, void *arg)
{
	(void)now;
	(void)arg;
	last = *p;
	changes++;
}

static struct addr address(const char *text)
{
	struct addr a;
	const char *err;
	assert_true(addr_parse(text, &a, &err));
	return a;
}

/* NULL: nobody is of a class; else who writes is of this one. */
static const struct class_detector *judged_as;

static void begin(bool observe, int64_t learn_ms)
{
	static const struct class_member member = {ME, "bulk"};
	struct limiter_conf c = bare_conf();
	if (judged_as) {
		struct class_conf k = {.name = (char[]){"bulk"}, .detector = *judged_as};
		char err[256];
		assert_true(limits_add_class(&c.limits, &k, err));
		c.members = &member;
		c.n_members = 1;
	}
	finish(&c);
	c.throttle_delay_ms = 7 * SEC;
	c.throttle_recipients = 10;
	detector_conf_default(&settings.detector);
	settings.detector.learn_ms = learn_ms;
	settings.accounts = 1000;
	l = limiter_new(&c, 1);
	sentry = sentry_new(&settings, observe, 7, l, changed, NULL);
	changes = 0;
}

static void end(void)
{
	sentry_free(sentry);
	limiter_free(l);
}

/* n recipients NAME0.. from first on; by the owner or by a thief. */
static struct rl_verdict attempt(int64_t ms, bool thief, const char *name, unsigned first,
				 unsigned n)
{
	static uint64_t hash[100], domain[100];
	static struct rl_name names[100];
	struct limiter_outcome o;
	struct rl_verdict v;
	struct moment now = at(ms);
	struct rl_ask ask = {.account = ME,
			     .client = address(thief ? "203.0.113.9" : "198.51.100.1"),
			     .t_ms = now.utc_ms,
			     .charge = true,
			     .messages = 1,
			     .rcpts = n,
			     .ehlo = thief ? "win-7c2" : "owners-laptop.lan",
			     .sender = ME,
			     .rcpt_hash = hash,
			     .domain_hash = domain,
			     .rcpt_name = names,
			     .n_hash = n};
	for (unsigned i = 0; i < n; i++) {
		char text[64];
		snprintf(text, sizeof text, "%s%u@d%u.example", name, first + i, (first + i) % 7);
		hash[i] = rl_hash(text);
		domain[i] = rl_hash(strchr(text, '@') + 1);
		names[i] = rl_name_of(text);
	}
	limiter_ask(l, &ask, &now, &v, &o);
	sentry_tick(sentry, &now);
	return v;
}

/* Twenty days of a person's mail. */
static int64_t live(void)
{
	for (int64_t day = 0; day < 20; day++)
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(attempt(day * DAY + i * HOUR, false, FRIEND,
						 (unsigned)day % 4 * 3 + i, 1)
					     .answer,
					 RL_OK);
	return 20 * DAY;
}

/* Recipients let out until it is held; a message to one each. */
static unsigned blast(int64_t t)
{
	for (unsigned i = 0; i < 100; i++)
		if (attempt(t + i * 10 * SEC, true, THIEF, (unsigned)(t / HOUR) * 100 + i, 1)
			.answer != RL_OK)
			return i;
	return 100;
}

static void a_stolen_account_is_held(void **state)
{
	(void)state;
	begin(false, 14 * DAY);
	int64_t t = live();
	assert_int_equal(changes, 0);
	assert_int_equal(attempt(t, false, FRIEND, 0, 3).answer, RL_OK);
	unsigned out = blast(t + HOUR);
	assert_in_range(out, 1, 20);
	assert_int_equal(limiter_penalty(l, ME)->stage, RL_HOLD);
	assert_string_equal(last.rule, RL_RULE_DETECTOR);
	assert_string_equal(last.actor, "detector");
	assert_non_null(strstr(last.why, "held from 100; new_client: "));
	/* The owner too: it is his account. */
	assert_int_equal(attempt(t + 2 * HOUR, false, FRIEND, 0, 1).answer, RL_HELD);
	end();
}

static void stages_come_in_order(void **state)
{
	(void)state;
	enum rl_stage worst = RL_NORMAL;
	bool slowed = false;
	begin(false, 14 * DAY);
	int64_t t = live();
	for (unsigned i = 0; i < 100 && worst < RL_HOLD; i++) {
		struct rl_verdict v = attempt(t + i * MIN, true, THIEF, i, 1);
		const struct rl_penalty *p = limiter_penalty(l, ME);
		enum rl_stage now = p ? p->stage : RL_NORMAL;
		assert_true(now >= worst);
		worst = now;
		if (now == RL_THROTTLE) {
			slowed = true;
			assert_int_equal(v.answer, RL_OK);
			assert_int_equal(v.delay_ms, 7 * SEC);
			v = attempt(t + i * MIN + 1, true, THIEF, 1000, 50);
			assert_int_equal(v.answer, RL_LIMIT);
			assert_true(v.retry_ms > 0);
		} else {
			assert_int_equal(v.delay_ms, 0);
		}
	}
	assert_true(slowed);
	assert_int_equal(worst, RL_HOLD);
	end();
}

static void a_release_is_remembered(void **state)
{
	(void)state;
	struct rl_penalty p = {.stage = RL_NORMAL, .account = ME};
	begin(false, 14 * DAY);
	int64_t t = live();
	unsigned first = blast(t);
	struct moment now = at(t + HOUR);
	assert_int_equal(limiter_set_penalty(l, &p, &now), LIMITER_CHANGED);
	sentry_decided(sentry, &p, &now);
	assert_int_equal(attempt(t + 2 * HOUR, false, FRIEND, 0, 1).answer, RL_OK);
	unsigned second = blast(t + 3 * HOUR);
	assert_true(second < first); /* more strictly now */
	now = at(t + 4 * HOUR);
	snprintf(p.rule, sizeof p.rule, "%s", RL_RULE_MISTAKE);
	assert_int_equal(limiter_set_penalty(l, &p, &now), LIMITER_CHANGED);
	sentry_decided(sentry, &p, &now);
	assert_true(blast(t + 5 * HOUR) > second);
	end();
}

static void observe_only_counts(void **state)
{
	(void)state;
	struct sentry_stats st;
	struct moment now;
	begin(true, 14 * DAY);
	int64_t t = live();
	assert_int_equal(blast(t), 100);
	sentry_stats(sentry, &st);
	assert_int_equal(st.would[STAGE_HOLD], 1);
	assert_int_equal(st.changes[STAGE_HOLD], 0);
	assert_null(limiter_penalty(l, ME));
	/* Enforced from now on: what was only thought counts for nothing. */
	now = at(t + HOUR);
	sentry_configure(sentry, &settings, false, &now);
	assert_in_range(blast(t + 2 * HOUR), 0, 20);
	assert_int_equal(limiter_penalty(l, ME)->stage, RL_HOLD);
	end();
}

static void what_people_set_stands(void **state)
{
	(void)state;
	struct rl_penalty p = {.stage = RL_HOLD, .since_ms = T0, .account = ME, .rule = "operator"};
	begin(false, 14 * DAY);
	int64_t t = live();
	struct moment now = at(t);
	limiter_set_penalty(l, &p, &now);
	assert_int_equal(blast(t), 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(attempt(t + HOUR + i * SEC, true, THIEF, i, 1).answer, RL_HELD);
	assert_string_equal(limiter_penalty(l, ME)->rule, "operator");
	end();
}

static struct rl_observation seen(enum rl_seen what, const char *text, const char *rcpt)
{
	return (struct rl_observation){.what = what,
				       .account = ME,
				       .client = address("198.51.100.1"),
				       .text = text,
				       .rcpt = rcpt,
				       .n = 1};
}

static double score(int64_t ms)
{
	struct moment now = at(ms);
	json_t *j = json_object();
	sentry_show(sentry, ME, &now, j);
	double n =
	    (double)json_integer_value(json_object_get(json_object_get(j, "score"), "score"));
	json_decref(j);
	return n;
}

static void what_was_answered_counts(void **state)
{
	(void)state;
	begin(false, 14 * DAY);
	int64_t t = live();
	struct moment now = at(t);
	attempt(t, false, "new", 0, 6);
	double before = score(t);
	for (unsigned i = 0; i < 6; i++) {
		char rcpt[64];
		snprintf(rcpt, sizeof rcpt, "new%u@d%u.example", i, i % 7);
		struct rl_observation o = seen(RL_SEEN_RESULT, "550 5.1.1 no such user", rcpt);
		sentry_observed(sentry, &o, &now);
	}
	double unknown = score(t);
	assert_true(unknown > before + 10);
	struct rl_observation report = seen(RL_SEEN_REPORT, "abuse", NULL);
	sentry_observed(sentry, &report, &now);
	assert_true(score(t) > unknown + 5);
	end();
}

static void blocked_packets_count_before_the_first_spam(void **state)
{
	(void)state;
	double with[2];
	for (int i = 0; i < 2; i++) {
		begin(false, 14 * DAY);
		int64_t t = live();
		struct moment now = at(t);
		struct rl_observation o = seen(RL_SEEN_SYN25, NULL, NULL);
		o.account = "";
		o.n = 200;
		o.m = 50;
		if (i == 1)
			sentry_observed(sentry, &o, &now);
		attempt(t + MIN, false, FRIEND, 0, 1);
		with[i] = score(t + MIN);
		end();
	}
	assert_true(with[1] >= with[0] + 20);
}

/* A line of IPv6 is a prefix: whoever is in it is meant, and nobody else. */
static void a_delegated_prefix_is_one_line(void **state)
{
	static const struct {
		const char *packets;
		uint8_t plen;
		const char *login;
		bool counts;
	} rows[] = {
	    {"2001:db8:1:200::", 56, "2001:db8:1:2ff::7", true},
	    {"2001:db8:1:200::", 56, "2001:db8:1:300::7", false},
	    {"2001:db8:1:200::", 60, "2001:db8:1:200::7", true}, /* as one of 64 */
	    {"2001:db8:1:200::", 60, "2001:db8:1:20f::7", false},
	    {"2001:db8:1::", 48, "2001:db8:1:ffff::7", true},
	    {"2001:db8:1::", 48, "2001:db8:2::7", false},
	    {"2001:db8:1:200::9", 64, "2001:db8:1:200::7", true},
	    {"2001:db8:1:200::9", 64, "2001:db8:1:201::7", false},
	    {"2001:db8:1:200::9", 0, "2001:db8:1:201::7", false},
	    {"198.51.100.1", 32, "198.51.100.1", true},
	    {"198.51.100.1", 24, "198.51.100.2", false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		begin(false, 14 * DAY);
		int64_t t = live();
		struct moment now = at(t);
		struct rl_observation o = seen(RL_SEEN_SYN25, NULL, NULL);
		struct rl_ask ask = {.account = ME,
				     .client = address(rows[i].login),
				     .t_ms = t,
				     .charge = true,
				     .messages = 1,
				     .rcpts = 1,
				     .rcpt_hash = (uint64_t[]){rl_hash("friend1@d1.example")},
				     .n_hash = 1};
		struct limiter_outcome out;
		struct rl_verdict v;
		double before = score(t);
		o.account = "";
		o.client = address(rows[i].packets);
		o.plen = rows[i].plen;
		o.n = 200;
		o.m = 50;
		sentry_observed(sentry, &o, &now);
		limiter_ask(l, &ask, &now, &v, &out);
		json_t *j = json_object();
		sentry_show(sentry, ME, &now, j);
		char *text = json_dumps(j, 0);
		if ((strstr(text, "syn: 200 refused") != NULL) != rows[i].counts)
			fail_msg("%s/%u and %s: %s, before %.0f", rows[i].packets, rows[i].plen,
				 rows[i].login, text, before);
		free(text);
		json_decref(j);
		end();
	}
}

static void nothing_is_forgotten(void **state)
{
	(void)state;
	char path[] = "/tmp/sekisho-sentry-XXXXXX";
	const char *err;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	begin(false, 14 * DAY);
	int64_t t = live();
	struct moment now = at(t);
	unlink(path);
	assert_false(sentry_load(sentry, path, &now, &err));
	assert_null(err);
	assert_true(sentry_save(sentry, path));
	end();
	begin(false, 14 * DAY);
	assert_true(sentry_load(sentry, path, &now, &err));
	struct sentry_stats st;
	sentry_stats(sentry, &st);
	assert_false(st.learning);
	assert_int_equal(attempt(t, false, FRIEND, 0, 3).answer, RL_OK);
	assert_in_range(blast(t + HOUR), 1, 20);
	end();
	assert_int_equal(truncate(path, 100), 0);
	begin(false, 14 * DAY);
	assert_false(sentry_load(sentry, path, &now, &err));
	assert_non_null(err);
	end();
	unlink(path);
}

static void fixed_rules_hold_while_it_learns(void **state)
{
	(void)state;
	struct limiter_conf c = default_conf();
	for (int i = 0; i < 2; i++) {
		enum rl_answer worst = RL_OK;
		detector_conf_default(&settings.detector);
		settings.detector.learn_ms = i ? 0 : 14 * DAY;
		settings.detector.hold = settings.detector.suspend = 1000000;
		settings.accounts = 1000;
		l = limiter_new(&c, 1);
		sentry = sentry_new(&settings, false, 7, l, changed, NULL);
		struct moment now = at(0);
		sentry_tick(sentry, &now);
		for (unsigned m = 0; m < 20; m++) {
			enum rl_answer a = ask_n(l, ME, m, true, 2 * m, 2).v.answer;
			worst = a == RL_HELD ? a : worst;
		}
		assert_int_equal(worst, i ? RL_OK : RL_HELD);
		end();
	}
}

/* What is said of the end of a stage is so. */
static void a_stage_ends_when_it_was_said(void **state)
{
	(void)state;
	int h = 0, min = 0, below = 0;
	begin(false, 14 * DAY);
	last.stage = RL_NORMAL;
	int64_t t = live();
	for (unsigned i = 0; i < 100 && last.stage != RL_THROTTLE; i++, t += MIN)
		(void)attempt(t, true, THIEF, i, 1);
	assert_int_equal(limiter_penalty(l, ME)->stage, RL_THROTTLE);
	struct moment now = at(t);
	json_t *j = json_object();
	sentry_show(sentry, ME, &now, j);
	const char *said =
	    json_string_value(json_object_get(json_object_get(j, "score"), "clears"));
	const char *is = strstr(said, "is below"), *in = strstr(said, ": in");
	assert_true(is && in && sscanf(is, "is below %d", &below) == 1 &&
		    sscanf(in, ": in %d h %d min", &h, &min) == 2);
	assert_int_equal(below, 45);
	assert_true(h > 0);
	t += h * HOUR + min * MIN;
	(void)attempt(t - 2 * HOUR, false, FRIEND, 0, 1);
	assert_int_equal(limiter_penalty(l, ME)->stage, RL_THROTTLE);
	(void)attempt(t, false, FRIEND, 0, 1);
	const struct rl_penalty *p = limiter_penalty(l, ME);
	assert_true(!p || p->stage < RL_THROTTLE);
	json_decref(j);
	end();
}

/* Scores, delay and mode of a class hold for its accounts, in place of everybody's. */
static void a_class_is_judged_by_its_own_levels(void **state)
{
	(void)state;
	static const struct {
		struct class_detector as;
		bool held, throttled, would;
		int64_t delay_ms;
	} cases[] = {
	    {{.throttle_delay_ms = -1, .throttle_recipients = -1}, true, true, false, 7 * SEC},
	    {{.hold = 100000,
	      .suspend = 200000,
	      .throttle_delay_ms = 2000,
	      .throttle_recipients = 0},
	     false,
	     true,
	     false,
	     2000},
	    {{.throttle = 90, .throttle_delay_ms = -1, .throttle_recipients = -1},
	     true,
	     true,
	     false,
	     7 * SEC},
	    {{.throttle_delay_ms = -1, .throttle_recipients = -1, .mode = 1},
	     false,
	     false,
	     true,
	     0},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct sentry_stats st;
		struct rl_verdict v;
		bool held = false;
		int64_t delay_ms = 0;
		judged_as = &cases[i].as;
		begin(false, 14 * DAY);
		int64_t t = live();
		for (unsigned m = 0; m < 30 && !held; m++) {
			v = attempt(t + m * MIN, true, THIEF, m, 1);
			held = v.answer == RL_HELD;
			delay_ms = v.delay_ms > delay_ms ? v.delay_ms : delay_ms;
		}
		sentry_stats(sentry, &st);
		assert_int_equal(held, cases[i].held);
		assert_int_equal(delay_ms, cases[i].delay_ms);
		assert_int_equal(st.changes[STAGE_THROTTLE] > 0, cases[i].throttled);
		assert_int_equal(st.would[STAGE_HOLD] > 0, cases[i].would);
		end();
	}
	judged_as = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_stolen_account_is_held),
	    cmocka_unit_test(stages_come_in_order),
	    cmocka_unit_test(a_release_is_remembered),
	    cmocka_unit_test(observe_only_counts),
	    cmocka_unit_test(what_people_set_stands),
	    cmocka_unit_test(what_was_answered_counts),
	    cmocka_unit_test(blocked_packets_count_before_the_first_spam),
	    cmocka_unit_test(a_delegated_prefix_is_one_line),
	    cmocka_unit_test(nothing_is_forgotten),
	    cmocka_unit_test(fixed_rules_hold_while_it_learns),
	    cmocka_unit_test(a_class_is_judged_by_its_own_levels),
	    cmocka_unit_test(a_stage_ends_when_it_was_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
