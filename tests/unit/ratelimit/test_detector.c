/*
 * test_detector - each signal alone, lives and attacks in miniature, what a release does, and that
 * a saved state goes on as if nothing had happened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ratelimit/detector/config.h"
#include "ratelimit/detector/detector.h"
#include "ratelimit/detector/inside.h"

#define MIN_   (60 * INT64_C(1000))
#define START  (INT64_C(20000) * DAY_MS)
#define PEOPLE 60 /* in the background, so that there are pools and popular names */
#define ME     "me@isp.example"
#define HOME   "198.51.100.7"
#define PC     "my-pc.local"

struct town {
	struct detector *d;
	int64_t now;
	struct detector_change last;
	unsigned strangers; /* addresses nobody ever wrote to */
	int held;	    /* recipients let out before the hold; -1: no hold */
};

/* One message; what is not said is the owner's own way. */
struct mail {
	const char *account, *ip, *ehlo, *from;
	unsigned n, friends; /* recipients, and how many of them are friends */
	uint64_t body;	     /* 0: one of its own */
	const char *domain;  /* of the strangers; in order of the alphabet */
	unsigned bad;	     /* so many of its recipients are refused with `reply` */
	const char *reply;
};

static uint64_t a_text(unsigned k)
{
	return mix(k, k, 'b');
}

static void odd_name(unsigned k, char buf[64])
{
	snprintf(buf, 64, "%06x@s%u.example", (unsigned)(a_text(k) & 0xffffff), k);
}

static const char **make_rcpt(struct town *t, const struct mail *m, char (*buf)[64])
{
	static const char *rcpt[128];
	for (unsigned i = 0; i < m->n; i++) {
		if (i < m->friends)
			snprintf(buf[i], 64, "friend%u@of.%s", i % 8, m->account);
		else if (m->domain)
			snprintf(buf[i], 64, "n%06u@%s", t->strangers++, m->domain);
		else
			odd_name(t->strangers++, buf[i]);
		rcpt[i] = buf[i];
	}
	return rcpt;
}

/* True when it left. */
static bool send_mail(struct town *t, struct mail m)
{
	char buf[128][64];
	const char *err;
	enum answer_kind kind[128];
	m.account = m.account ? m.account : ME;
	struct detector_attempt a = {.t_ms = t->now,
				     .account = m.account,
				     .ehlo = m.ehlo ? m.ehlo : PC,
				     .from = m.from ? m.from : m.account,
				     .n_rcpt = m.n,
				     .bytes = 2000,
				     .has_body = true,
				     .body = m.body ? m.body : a_text(t->strangers + 77777)};
	a.has_client = addr_parse(m.ip ? m.ip : HOME, &a.client, &err);
	a.rcpt = make_rcpt(t, &m, buf);
	detector_attempt(t->d, &a, &t->last);
	bool out = detector_stage(t->d, m.account) < STAGE_HOLD;
	for (unsigned i = 0; i < m.n; i++)
		kind[i] = answer_kind(
		    answer_classify(NULL, "", i >= m.n - m.bad ? m.reply : "250 2.1.5 ok"));
	detector_replies(t->d, t->now + 1, &a, kind, m.n, &t->last);
	return out;
}

/* Two weeks of ordinary mail of everybody. */
static void grow_up(struct town *t)
{
	char name[32], ip[32], pc[32];
	for (int day = 0; day < 16; day++) {
		for (unsigned k = 0; k < PEOPLE; k++) {
			t->now = START + day * DAY_MS + 9 * HOUR_MS + k * MIN_;
			snprintf(name, sizeof(name), "p%u@isp.example", k);
			snprintf(ip, sizeof(ip), "203.0.%u.%u", 112 + k % 4, 1 + k);
			snprintf(pc, sizeof(pc), "%c%c-pc", 'a' + k % 26, 'a' + k / 26);
			send_mail(t,
				  (struct mail){
				      .account = name, .ip = ip, .ehlo = pc, .n = 3, .friends = 3});
		}
		for (unsigned f = 1; f <= 4; f++) {
			t->now += 20 * MIN_;
			send_mail(t, (struct mail){.n = 2 * f, .friends = 2 * f});
		}
		send_mail(t, (struct mail){.n = 1});
	}
	assert_int_equal(detector_stage(t->d, ME), STAGE_NORMAL);
	t->now = START + 16 * DAY_MS + 10 * HOUR_MS;
}

static void open_town(struct town *t)
{
	struct detector_conf conf;
	detector_conf_default(&conf);
	*t = (struct town){.d = detector_new(&conf, 1, 5000), .held = -1};
	assert_non_null(t->d);
	grow_up(t);
}

static void close_town(struct town *t)
{
	detector_free(t->d);
}

/* The mail n times; what left before it was held. */
static int send_many(struct town *t, struct mail m, unsigned times, int64_t gap_ms)
{
	int left = 0;
	for (unsigned i = 0; i < times; i++) {
		if (!send_mail(t, m))
			return left;
		left += (int)m.n;
		t->now += gap_ms;
	}
	return -1;
}

static bool says(const struct detector_change *c, const char *signal)
{
	for (int i = 0; i < c->n_why; i++)
		if (strncmp(c->why[i], signal, strlen(signal)) == 0 &&
		    c->why[i][strlen(signal)] == ':')
			return true;
	return false;
}

#define FOREIGN "45.9.8.7"
#define UNKNOWN "550 5.1.1 user unknown"
#define SPAM	"554 5.7.1 spam"

/* --- attacks: held within so many --- */

static void syns(struct town *t)
{
	struct addr a;
	const char *err;
	assert_true(addr_parse(HOME, &a, &err));
	detector_syn25(t->d, t->now - HOUR_MS, &a, 0, 300, 80);
}

static void guessing(struct town *t)
{
	struct addr a;
	const char *err;
	assert_true(addr_parse(FOREIGN, &a, &err));
	for (int i = 0; i < 12; i++)
		detector_auth(t->d, t->now - HOUR_MS, ME, &a, false, &t->last);
	detector_auth(t->d, t->now - MIN_, ME, &a, true, &t->last);
}

static void others_same_text(struct town *t)
{
	char name[32], ip[32];
	for (unsigned k = 0; k < 5; k++) {
		snprintf(name, sizeof(name), "p%u@isp.example", k);
		snprintf(ip, sizeof(ip), "45.%u.3.4", k + 20);
		send_mail(t, (struct mail){.account = name,
					   .ip = ip,
					   .ehlo = "bot",
					   .n = 2,
					   .body = 0xf00d ^ 1ULL << (40 + k)});
	}
}

static void others_same_client(struct town *t)
{
	char name[32];
	for (unsigned k = 10; k < 15; k++) {
		snprintf(name, sizeof(name), "p%u@isp.example", k);
		send_mail(t, (struct mail){.account = name, .ip = FOREIGN, .ehlo = "bot", .n = 2});
	}
}

static void probe_first(struct town *t)
{
	send_mail(t, (struct mail){.ip = "45.1.1.1", .ehlo = "bot", .n = 1});
	t->now += 5 * HOUR_MS;
}

static void long_silence(struct town *t)
{
	t->now += 20 * DAY_MS;
}

static void in_the_evening(struct town *t)
{
	t->now += 10 * HOUR_MS;
}

static void complained_of(struct town *t)
{
	for (int i = 0; i < 6; i++)
		detector_complaint(t->d, t->now, ME, &t->last);
}

static void networks(struct town *t)
{
	char ip[32];
	for (unsigned k = 0; k < 5; k++) {
		snprintf(ip, sizeof(ip), "4%u.1.1.1", k);
		send_mail(t, (struct mail){.ip = ip, .ehlo = "x", .n = 1});
	}
}

static void test_attacks(void **state)
{
	static const struct {
		const char *name;
		struct mail mail;
		unsigned times;
		int64_t gap_ms;
		void (*before)(struct town *t);
		int most; /* recipients that may leave */
		const char *signal;
	} cases[] = {
	    {"blast, one each",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 1, .body = 5},
	     500,
	     2000,
	     NULL,
	     20,
	     "new_client"},
	    {"blast, a hundred at once",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 100},
	     5,
	     2000,
	     NULL,
	     0,
	     "new_client"},
	    {"one text to many",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 30, .body = 9},
	     9,
	     2000,
	     NULL,
	     0,
	     "same_body"},
	    {"from the owner's line, many unknown",
	     {.n = 10, .bad = 5, .reply = UNKNOWN},
	     50,
	     9000,
	     NULL,
	     60,
	     "unknown"},
	    {"from the owner's line, called spam",
	     {.n = 1, .bad = 1, .reply = SPAM},
	     50,
	     9000,
	     NULL,
	     20,
	     "spam"},
	    {"from the owner's line by a new program, more than anybody has friends",
	     {.ehlo = "bot", .n = 50},
	     60,
	     1000,
	     NULL,
	     700,
	     "new_client"},
	    {"infected machine, refused before", {.n = 1}, 200, 3000, syns, 60, "syn"},
	    {"dictionary",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 2, .domain = "victim.example"},
	     90,
	     900,
	     NULL,
	     20,
	     "dictionary"},
	    {"slow drip over days",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 1},
	     60,
	     4 * HOUR_MS,
	     NULL,
	     40,
	     "new_client"},
	    {"snowshoe, the sixth account",
	     {.ip = "45.99.1.1", .ehlo = "bot", .n = 2, .body = 0xf00d},
	     9,
	     MIN_,
	     others_same_text,
	     2,
	     "campaign"},
	    {"one client, many accounts",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 2},
	     9,
	     MIN_,
	     others_same_client,
	     2,
	     "shared"},
	    {"two-stage probe",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 4},
	     9,
	     MIN_,
	     probe_first,
	     16,
	     "probe"},
	    {"after a silence",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 4},
	     9,
	     MIN_,
	     long_silence,
	     20,
	     "silence"},
	    {"passwords were guessed",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 4},
	     9,
	     MIN_,
	     guessing,
	     16,
	     "passwords"},
	    {"many networks",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 3},
	     9,
	     MIN_,
	     networks,
	     12,
	     "networks"},
	    {"complaints", {.n = 10}, 9, MIN_, complained_of, 20, "complaints"},
	    {"more than the habit of the hour",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 15},
	     9,
	     MIN_,
	     in_the_evening,
	     15,
	     "rate"},
	    {"foreign sender",
	     {.ip = FOREIGN, .ehlo = "bot", .n = 4, .from = "ceo@bank.example"},
	     9,
	     MIN_,
	     NULL,
	     20,
	     "senders"},
	    {"own address, first mail unknown",
	     {.ehlo = "bot", .n = 20, .bad = 20, .reply = UNKNOWN},
	     9,
	     MIN_,
	     NULL,
	     20,
	     "unknown"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct town t;
		open_town(&t);
		if (cases[i].before)
			cases[i].before(&t);
		int left = send_many(&t, cases[i].mail, cases[i].times, cases[i].gap_ms);
		if (left < 0 || left > cases[i].most || !says(&t.last, cases[i].signal))
			fail_msg("%s: %d left, first reason %s", cases[i].name, left,
				 t.last.why[0]);
		assert_true(t.last.stage >= STAGE_HOLD);
		close_town(&t);
	}
}

/* --- honest: never held --- */

static void test_lives(void **state)
{
	static const struct {
		const char *name;
		struct mail mail;
		unsigned times;
		int64_t gap_ms;
	} cases[] = {
	    {"a wedding, one message", {.n = 100, .friends = 20}, 1, 0},
	    {"a wedding, one each", {.n = 1, .body = 7}, 120, 5000},
	    {"a wedding from a line that changed today",
	     {.ip = "203.0.115.200", .n = 100, .body = 7},
	     1,
	     0},
	    {"the same where no pool is known", {.ip = "91.7.7.7", .n = 60, .body = 7}, 1, 0},
	    {"old addresses in the list", {.n = 50, .bad = 7, .reply = UNKNOWN}, 2, MIN_},
	    {"travelling", {.ip = FOREIGN, .n = 2, .friends = 2}, 100, HOUR_MS},
	    {"travelling, with a new telephone",
	     {.ip = FOREIGN, .ehlo = "phone", .n = 4, .friends = 3},
	     60,
	     2 * HOUR_MS},
	    {"a new machine at home", {.ehlo = "laptop", .n = 3, .friends = 2}, 100, HOUR_MS},
	    {"a club's mailing from a new machine", {.ehlo = "laptop", .n = 50}, 5, 1000},
	    {"a mailbox is full",
	     {.n = 4, .friends = 3, .bad = 1, .reply = "452 4.2.2 mailbox full"},
	     60,
	     HOUR_MS},
	    {"more mail than ever, to friends", {.n = 6, .friends = 6}, 200, 5000},
	    {"friends' servers call it spam",
	     {.n = 2, .friends = 2, .bad = 1, .reply = SPAM},
	     40,
	     HOUR_MS},
	    {"a new customer",
	     {.account = "new@isp.example", .ip = "203.0.112.99", .ehlo = "neu", .n = 40},
	     2,
	     HOUR_MS},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct town t;
		open_town(&t);
		int left = send_many(&t, cases[i].mail, cases[i].times, cases[i].gap_ms);
		if (left >= 0)
			fail_msg("%s: held after %d: %s", cases[i].name, left, t.last.why[0]);
		close_town(&t);
	}
}

/* --- time, stages, release --- */

static void test_learning(void **state)
{
	struct detector_conf conf;
	(void)state;
	detector_conf_default(&conf);
	struct town t = {.d = detector_new(&conf, 1, 5000), .now = START};
	assert_int_equal(send_many(&t, (struct mail){.ip = FOREIGN, .n = 50}, 20, HOUR_MS), -1);
	assert_int_equal(detector_stage(t.d, ME), STAGE_NORMAL);
	/* But for what speaks for itself. */
	struct mail bad = {.n = 50, .bad = 40, .reply = UNKNOWN};
	assert_int_equal(send_many(&t, bad, 1, MIN_), -1);
	bad.reply = SPAM;
	assert_true(send_many(&t, bad, 3, MIN_) >= 0);
	close_town(&t);
}

/* A class's own weights: without its clients' signals a theft stays a watch; twice as much is
 * sooner. */
static void test_weights_of_a_class(void **state)
{
	static const struct {
		uint16_t new_client, same_body;
		bool held;
	} row[] = {{100, 100, true}, {0, 0, false}, {200, 100, true}};
	int before = 1000;
	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct town t;
		uint16_t percent[SIGNAL_COUNT];
		open_town(&t);
		for (int k = 0; k < SIGNAL_COUNT; k++)
			percent[k] = 100;
		percent[SIGNAL_NEW_CLIENT] = row[i].new_client;
		percent[SIGNAL_SAME_BODY] = row[i].same_body;
		const struct detector_levels l = {40, 60, 100, 250, percent};
		detector_use_levels(t.d, &l);
		int left = send_many(
		    &t, (struct mail){.ip = "192.0.2.9", .ehlo = "bot", .n = 1, .body = 5}, 60,
		    MIN_);
		assert_int_equal(left >= 0, row[i].held);
		if (row[i].new_client == 100)
			before = left;
		else if (row[i].held)
			assert_true(left < before);
		close_town(&t);
	}
}

/* A program that tries again what was refused for good raises it once. */
static void test_repeats_are_no_news(void **state)
{
	struct town t;
	(void)state;
	open_town(&t);
	const char *rcpt[1] = {"gone@far.example"}, *err;
	const enum answer_kind kind[1] = {ANSWER_KIND_UNKNOWN};
	struct detector_attempt a = {.account = ME, .ehlo = PC, .rcpt = rcpt, .n_rcpt = 1};
	a.has_client = addr_parse(HOME, &a.client, &err);
	for (int i = 0; i < 100; i++) {
		a.t_ms = t.now += MIN_;
		(void)detector_attempt(t.d, &a, &t.last);
		(void)detector_replies(t.d, a.t_ms + 1, &a, kind, 1, &t.last);
	}
	assert_int_equal(detector_stage(t.d, ME), STAGE_NORMAL);
	close_town(&t);
}

/* New customers, one after the other, who tell their friends with the words of a form. */
static void test_form_letter(void **state)
{
	struct town t;
	char name[32], ip[32];
	(void)state;
	open_town(&t);
	for (unsigned k = 0; k < 12; k++) {
		snprintf(name, sizeof(name), "new%u@isp.example", k);
		snprintf(ip, sizeof(ip), "203.0.113.%u", 100 + k);
		for (int i = 0; i < 4; i++) {
			t.now += MIN_;
			assert_true(send_mail(
			    &t, (struct mail){.account = name, .ip = ip, .n = 5, .body = 4711}));
		}
	}
	/* The same from as many accounts' new clients is an attack. */
	bool out = true;
	for (unsigned k = 0; k < 12 && out; k++) {
		snprintf(name, sizeof(name), "p%u@isp.example", k);
		snprintf(ip, sizeof(ip), "192.0.2.%u", 100 + k);
		t.now += MIN_;
		out = send_mail(&t, (struct mail){.account = name,
						  .ip = ip,
						  .ehlo = "bot",
						  .n = 5,
						  .body = 0xfeedfacecafebeef});
	}
	assert_false(out);
	close_town(&t);
}

static void test_hold_stays(void **state)
{
	struct town t;
	(void)state;
	open_town(&t);
	assert_true(send_many(&t, (struct mail){.ip = FOREIGN, .ehlo = "bot", .n = 50}, 1, 0) >= 0);
	t.now += 90 * DAY_MS;
	assert_false(send_mail(&t, (struct mail){.n = 1, .friends = 1}));
	/* A release is remembered: the same again is held sooner, and what was no mistake later. */
	assert_true(detector_release(t.d, t.now, ME, false));
	assert_int_equal(detector_stage(t.d, ME), STAGE_NORMAL);
	assert_true(send_mail(&t, (struct mail){.n = 1, .friends = 1}));
	assert_false(detector_release(t.d, t.now, "nobody@isp.example", true));
	close_town(&t);
}

static int after_release(bool twice, bool false_positive)
{
	struct town t;
	open_town(&t);
	struct mail m = {.ip = FOREIGN, .ehlo = "bot", .n = 1};
	int left = send_many(&t, m, 200, MIN_);
	if (twice) {
		detector_release(t.d, t.now, ME, false_positive);
		left = send_many(&t, m, 200, MIN_);
	}
	close_town(&t);
	return left;
}

static void test_release_is_remembered(void **state)
{
	(void)state;
	int first = after_release(false, false), again = after_release(true, false),
	    pardoned = after_release(true, true);
	assert_true(first > 0);
	if (again < 0 || again >= first)
		fail_msg("first %d, again %d", first, again);
	assert_true(pardoned < 0 || pardoned > first);
}

static void test_watch_fades(void **state)
{
	struct town t;
	(void)state;
	open_town(&t);
	assert_int_equal(send_many(&t, (struct mail){.ip = FOREIGN, .ehlo = "bot", .n = 10}, 1, 0),
			 -1);
	assert_int_equal(detector_stage(t.d, ME), STAGE_WATCH);
	struct detector_change c;
	assert_true(detector_explain(t.d, t.now, ME, &c));
	assert_true(c.score >= 40 && c.score < 60 && says(&c, "new_client"));
	t.now += 8 * DAY_MS;
	assert_true(send_mail(&t, (struct mail){.n = 1, .friends = 1}));
	assert_int_equal(detector_stage(t.d, ME), STAGE_NORMAL);
	assert_int_equal(t.last.was, STAGE_WATCH);
	close_town(&t);
}

static void test_odd_input(void **state)
{
	struct town t;
	struct addr a;
	const char *err;
	(void)state;
	open_town(&t);
	struct detector_attempt none = {.t_ms = t.now, .account = ""};
	detector_attempt(t.d, &none, &t.last);
	none.t_ms = 5; /* long ago: counts as now */
	detector_attempt(t.d, &none, &t.last);
	const char *rcpt[] = {"", "@", "a", "no-at-sign", "\xff\xfe@x"};
	none.rcpt = rcpt;
	none.n_rcpt = 5;
	none.ehlo = none.from = "=+@";
	detector_attempt(t.d, &none, &t.last);
	const enum answer_kind kind[] = {ANSWER_KIND_OK, ANSWER_KIND_UNKNOWN, ANSWER_KIND_SPAM,
					 ANSWER_KIND_OTHER, ANSWER_KIND_NONE};
	detector_replies(t.d, t.now, &none, kind, 5, &t.last);
	assert_true(addr_parse("2001:db8::1", &a, &err));
	detector_syn25(t.d, t.now, &a, 255, UINT64_MAX, UINT64_MAX);
	assert_false(detector_bounce(t.d, t.now, "nobody", NULL, &t.last));
	assert_false(detector_bounce(t.d, t.now, ME, NULL, &t.last));
	assert_false(detector_complaint(t.d, t.now, "nobody", &t.last));
	assert_false(detector_auth(t.d, t.now, ME, NULL, false, &t.last));
	close_town(&t);
}

/* Far more accounts than there is room for: the oldest go, the held ones stay. */
static void test_small_room(void **state)
{
	struct detector_conf conf;
	char name[32], ip[32];
	(void)state;
	detector_conf_default(&conf);
	conf.learn_ms = 0;
	struct town t = {.d = detector_new(&conf, 1, 200), .now = START};
	assert_true(send_mail(&t, (struct mail){.n = 1}));
	t.now += DAY_MS;
	assert_true(send_many(&t, (struct mail){.ip = FOREIGN, .ehlo = "b", .n = 50, .body = 3}, 4,
			      MIN_) >= 0);
	for (unsigned k = 0; k < 20000; k++) {
		snprintf(name, sizeof(name), "x%u", k);
		snprintf(ip, sizeof(ip), "10.%u.%u.1", k / 250, k % 250);
		t.now += MIN_;
		send_mail(&t, (struct mail){.account = name, .ip = ip, .n = 1});
	}
	assert_true(detector_stage(t.d, ME) >= STAGE_HOLD);
	close_town(&t);
}

/* --- state --- */

static void test_state_goes_on(void **state)
{
	struct town a, b;
	const char *err = NULL;
	struct mail m = {.ip = FOREIGN, .ehlo = "bot", .n = 1, .body = 77};
	(void)state;
	open_town(&a);
	for (int i = 0; i < 4; i++)
		assert_true(send_mail(&a, m));
	FILE *f = tmpfile();
	assert_true(detector_save(a.d, f));
	rewind(f);
	b = a;
	struct detector_conf conf;
	detector_conf_default(&conf);
	b.d = detector_load(&conf, f, &err);
	fclose(f);
	if (!b.d)
		fail_msg("%s", err);
	int left_a = send_many(&a, m, 100, MIN_), left_b = send_many(&b, m, 100, MIN_);
	assert_true(left_a > 0);
	assert_int_equal(left_a, left_b);
	assert_int_equal(a.last.score, b.last.score);
	close_town(&a);
	close_town(&b);
}

/*
 * A file of version 3: p0, p1 and p2 wrote to three friends each for 16 days; then p2 wrote six
 * times to strangers that do not exist, from 192.0.2.9, and is suspended.
 */
static void test_older_state(void **state)
{
	struct detector_conf conf;
	struct detector_change c = {.score = 0};
	const char *err = NULL, *friend = "friend0@of.p0.example";
	(void)state;
	detector_conf_default(&conf);
	FILE *f = fopen("tests/unit/ratelimit/state-3.bin", "r");
	assert_non_null(f);
	struct detector *d = detector_load(&conf, f, &err);
	fclose(f);
	if (!d)
		fail_msg("%s", err);
	int64_t now = START + 16 * DAY_MS + 11 * HOUR_MS;
	assert_int_equal(detector_stage(d, "p1@isp.example"), STAGE_NORMAL);
	assert_int_equal(detector_stage(d, "p2@isp.example"), STAGE_SUSPEND);
	assert_true(detector_explain(d, now, "p2@isp.example", &c));
	assert_true(c.score > 200 && says(&c, "new_client") && says(&c, "unknown"));
	assert_false(says(&c, "tls"));
	/* It goes on: a friend is a friend, and the address is the owner's. */
	struct detector_attempt a = {
	    .t_ms = now, .account = "p0@isp.example", .rcpt = &friend, .n_rcpt = 1};
	a.has_client = addr_parse("203.0.113.1", &a.client, &err);
	assert_false(detector_attempt(d, &a, &c));
	assert_true(detector_explain(d, now, "p0@isp.example", &c));
	assert_int_equal(c.score, 0);
	detector_free(d);
}

static void test_damaged_state(void **state)
{
	struct town t;
	struct detector_conf conf;
	const char *err = NULL;
	char *bytes;
	size_t len;
	(void)state;
	open_town(&t);
	FILE *f = open_memstream(&bytes, &len);
	assert_true(detector_save(t.d, f));
	fclose(f);
	close_town(&t);
	detector_conf_default(&conf);
	for (int i = 0; i < 40; i++) {
		size_t at = i < 24 ? (size_t)i * 4 : len / 40 * (size_t)i;
		bytes[at] ^= 0x10;
		f = fmemopen(bytes, len, "r");
		assert_null(detector_load(&conf, f, &err));
		assert_non_null(err);
		fclose(f);
		bytes[at] ^= 0x10;
		f = fmemopen(bytes, at + 1, "r");
		assert_null(detector_load(&conf, f, &err));
		fclose(f);
	}
	free(bytes);
}

static void test_memory(void **state)
{
	struct detector_conf conf;
	(void)state;
	detector_conf_default(&conf);
	struct detector *d = detector_new(&conf, 1, 1000000);
	assert_non_null(d);
	size_t active = 1000000 / 32 * sizeof(struct active);
	assert_true(detector_memory(d) - active <= 130000000);
	assert_true(sizeof(struct active) <= 1024);
	detector_free(d);
}

/* --- the parts --- */

static void test_seen(void **state)
{
	struct seen s;
	(void)state;
	assert_true(seen_init(&s, 1000));
	uint64_t key = mix(1, 2, 3);
	assert_int_equal(seen_age(&s, key, 100), -1);
	assert_int_equal(seen_add(&s, key, 100), 0);
	assert_int_equal(seen_add(&s, key, 103), 3);
	assert_int_equal(seen_age(&s, key, 103 + SEEN_DAYS), SEEN_DAYS + 3);
	assert_int_equal(seen_age(&s, key, 104 + SEEN_DAYS), -1);
	/* What is met every week for years is old, whatever eight bits can hold. */
	for (uint16_t day = 100; day < 2000; day += 7)
		assert_true(seen_add(&s, key, day) >= (day > 107 ? 7 : 0));
	for (unsigned i = 0; i < 5000; i++) /* five times its room */
		seen_add(&s, mix(i, i, 9), 2000);
	unsigned kept = 0;
	for (unsigned i = 0; i < 5000; i++)
		kept += seen_age(&s, mix(i, i, 9), 2000) >= 0;
	assert_true(kept > 900 && kept < 1100);
	seen_free(&s);
}

static void test_crowd(void **state)
{
	struct crowds t;
	(void)state;
	assert_true(crowds_init(&t, 4, 1000));
	struct crowd *c = crowds_get(&t, 0xff00, 4, 10);
	assert_ptr_equal(crowds_find(&t, 0xff0f, 4, 20), c);
	assert_null(crowds_find(&t, 0xff1f, 4, 20));
	assert_null(crowds_find(&t, 0xff00, 4, 1011));
	for (uint32_t i = 0; i < 40; i++)
		crowd_join(c->suspect, &c->n_suspect, i % 20 + 1);
	assert_int_equal(c->n_suspect, CROWD_MEMBERS);
	assert_int_equal(crowd_others(c->suspect, c->n_suspect, 1), CROWD_MEMBERS - 1);
	for (uint64_t i = 1; i < 9; i++) /* the one unused for longest makes room */
		crowds_get(&t, i << 32, 0, (int64_t)(20 + i));
	assert_null(crowds_find(&t, 0xff00, 4, 30));
	crowds_free(&t);
}

static void test_defaults(void **state)
{
	struct detector_conf c;
	(void)state;
	detector_conf_default(&c);
	assert_int_equal(c.learn_ms, 14 * DAY_MS);
	assert_true(c.watch < c.throttle && c.throttle < c.hold && c.hold < c.suspend);
	for (int i = 0; i < SIGNAL_COUNT; i++) {
		assert_true(c.weight[i].points > 0 && c.weight[i].half_life_ms > 0);
		assert_non_null(detector_signal_name((enum detector_signal)i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_seen),
	    cmocka_unit_test(test_crowd),
	    cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_attacks),
	    cmocka_unit_test(test_lives),
	    cmocka_unit_test(test_learning),
	    cmocka_unit_test(test_weights_of_a_class),
	    cmocka_unit_test(test_repeats_are_no_news),
	    cmocka_unit_test(test_form_letter),
	    cmocka_unit_test(test_hold_stays),
	    cmocka_unit_test(test_watch_fades),
	    cmocka_unit_test(test_release_is_remembered),
	    cmocka_unit_test(test_odd_input),
	    cmocka_unit_test(test_small_room),
	    cmocka_unit_test(test_state_goes_on),
	    cmocka_unit_test(test_older_state),
	    cmocka_unit_test(test_damaged_state),
	    cmocka_unit_test(test_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
