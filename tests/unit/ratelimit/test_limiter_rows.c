/*
 * limiter - overrides, classes, keys, units, views, and random asks against a slow model.
 */
#include "tests/unit/ratelimit/limiter.h"
#include "tests/unit/ratelimit/rand.h"

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

/* More limits that observe than a subject's speech is remembered for. */
static void what_is_said_is_not_said_again_in_its_window(void **state)
{
	(void)state;
	struct limiter_conf c = default_conf();
	for (int i = 0; i < 12; i++) {
		const char name[] = {'l', (char)('a' + i), '\0'};
		add_limit(&c, name, KEY_ACCOUNT, UNIT_MESSAGES, HOUR + i * SEC, 10);
		c.limits.row[c.limits.n - 1].observe = true;
	}
	c.detect.recipients = 0;
	finish(&c);
	struct limiter *l = fresh(&c);
	const struct limit *said[24];
	unsigned n = 0;
	for (int i = 0; i < 29; i++) {
		struct asked a = ask_n(l, ME, i, true, 1, 1);
		for (unsigned k = 0; k < a.o.n_would; k++) {
			for (unsigned j = 0; j < n; j++)
				assert_ptr_not_equal(said[j], a.o.would[k]);
			assert_true(n < 12);
			said[n++] = a.o.would[k];
		}
	}
	assert_true(n >= 8);
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
		const char *text;
	} cases[] = {{UNIT_SESSIONS, RL_SEEN_LOGIN, "pc"},
		     {UNIT_AUTH_FAILURES, RL_SEEN_LOGIN_FAILED, "pc"},
		     {UNIT_REJECTED, RL_SEEN_REJECTED, "550 5.1.1"},
		     {UNIT_REJECTED, RL_SEEN_RESULT, "550 5.1.1 user unknown"}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct limiter_conf c = bare_conf();
		add_limit(&c, "it", KEY_ACCOUNT, cases[i].unit, HOUR, 5);
		finish(&c);
		struct limiter *l = fresh(&c);
		struct rl_observation o = {
		    .what = cases[i].seen, .account = ME, .text = cases[i].text};
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

/* What the next host says of something else, or not for good, is no rejected recipient. */
static void other_results_are_not_counted(void **state)
{
	(void)state;
	static const char *const said[] = {"250 2.1.5 ok",	     "451 4.7.1 greylisted",
					   "450 4.1.1 unknown now",  "554 5.7.1 it is spam",
					   "552 5.2.2 mailbox full", ""};
	struct limiter_conf c = bare_conf();
	add_limit(&c, "it", KEY_ACCOUNT, UNIT_REJECTED, HOUR, 1);
	finish(&c);
	struct limiter *l = fresh(&c);
	struct moment now = at(1);
	for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
		for (int k = 0; k < 3; k++) {
			struct rl_observation o = {
			    .what = RL_SEEN_RESULT, .account = ME, .text = said[i], .n = 1};
			limiter_observe(l, &o, &now);
		}
	assert_int_equal(charge_to(l, ME, 2, 1), RL_OK);
	limiter_free(l);
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

static void test_weights(void **state)
{
	static const struct {
		const char *text;
		int signal, percent; /* -1: refused */
	} row[] = {
	    {"new_client 50", SIGNAL_NEW_CLIENT, 50},
	    {"rate 0", SIGNAL_RATE, 0},
	    {"unknown  1000", SIGNAL_UNKNOWN, 1000},
	    {"rate 1001", 0, -1},
	    {"rate", 0, -1},
	    {"rat 10", 0, -1},
	    {"rate -1", 0, -1},
	    {"rate 5%", 0, -1},
	    {"", 0, -1},
	    {"10", 0, -1},
	    {"rate 99999999999999999999", 0, -1},
	};
	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		uint16_t out[SIGNAL_COUNT] = {0};
		const char *err = NULL;
		bool ok = weight_parse(row[i].text, out, &err);
		assert_int_equal(ok, row[i].percent >= 0);
		if (ok)
			assert_int_equal(out[row[i].signal], row[i].percent);
		else
			assert_non_null(err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_weights),
	    cmocka_unit_test(an_override_replaces_one_limit_until_it_expires),
	    cmocka_unit_test(the_nearest_override_holds),
	    cmocka_unit_test(a_class_has_its_own_limits_in_its_hours),
	    cmocka_unit_test(a_row_may_observe_while_others_enforce),
	    cmocka_unit_test(what_is_said_is_not_said_again_in_its_window),
	    cmocka_unit_test(each_key_counts_apart),
	    cmocka_unit_test(an_ipv6_customer_is_one_prefix),
	    cmocka_unit_test(bytes_and_distinct_things),
	    cmocka_unit_test(what_is_told_limits_mail),
	    cmocka_unit_test(other_results_are_not_counted),
	    cmocka_unit_test(random_asks_against_a_slow_model),
	    cmocka_unit_test(a_reset_empties_but_keeps_the_penalty),
	    cmocka_unit_test(a_view_of_a_stranger_is_empty),
	    cmocka_unit_test(new_limits_judge_old_counts),
	    cmocka_unit_test(impossible_names_get_no_entry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
