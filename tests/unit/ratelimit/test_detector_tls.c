/*
 * test_detector_tls - what the name of a client's TLS adds to a score: a little, never alone, and
 * nothing where none was told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ratelimit/detector/detector.h"
#include "ratelimit/detector/inside.h"

#define START  (INT64_C(20000) * DAY_MS)
#define ME     "me@isp.example"
#define HOME   "198.51.100.7"
#define ABROAD "45.9.8.7"
#define MAIL   0x1111
#define UPDATE 0x2222

static int64_t now;
static unsigned strangers;

static struct detector_change send_as(struct detector *d, const char *account, const char *ip,
				      uint64_t tls, unsigned n_new)
{
	char buf[8][64];
	const char *rcpt[8], *err;
	struct detector_change c = {.score = 0};
	struct detector_attempt a = {.t_ms = now,
				     .account = account,
				     .ehlo = strcmp(ip, HOME) == 0 ? "pc.lan" : "bot",
				     .from = account,
				     .rcpt = rcpt,
				     .n_rcpt = n_new ? n_new : 3,
				     .tls = tls};

	assert_true(addr_parse(ip, &a.client, &err));
	a.has_client = true;
	for (unsigned i = 0; i < a.n_rcpt; i++) {
		if (n_new)
			snprintf(buf[i], sizeof(buf[i]), "s%u@x%u.example", strangers, strangers);
		else
			snprintf(buf[i], sizeof(buf[i]), "friend%u@example.net", i);
		strangers += n_new > 0;
		rcpt[i] = buf[i];
	}
	detector_attempt(d, &a, &c);
	detector_explain(d, now, account, &c);
	return c;
}

/* tls 0: the client's TLS was not told in those days. */
static struct detector *grown_up(uint64_t tls)
{
	struct detector_conf conf;
	detector_conf_default(&conf);
	struct detector *d = detector_new(&conf, 1, 5000);
	assert_non_null(d);
	for (int day = 0; day < 20; day++) {
		now = START + day * DAY_MS;
		send_as(d, ME, HOME, tls, 0);
	}
	now += HOUR_MS;
	return d;
}

static int points_of(const struct detector_change *c, const char *signal)
{
	size_t len = strlen(signal);
	for (int i = 0; i < c->n_why; i++)
		if (strncmp(c->why[i], signal, len) == 0 && c->why[i][len] == ':')
			return (int)strtol(strrchr(c->why[i], '+'), NULL, 10);
	return 0;
}

static void test_points(void **state)
{
	static const struct {
		const char *name, *ip;
		uint64_t before, tls;
		unsigned n_new;
		int points;
	} cases[] = {
	    {"the own one", HOME, MAIL, MAIL, 3, 0},
	    {"an update", HOME, MAIL, UPDATE, 3, 5},
	    {"an update, to friends", HOME, MAIL, UPDATE, 0, 0},
	    {"a stranger's", ABROAD, MAIL, UPDATE, 1, 10},
	    {"the own one, abroad", ABROAD, MAIL, MAIL, 1, 0},
	    {"not told now", ABROAD, MAIL, 0, 1, 0},
	    {"never told before", ABROAD, 0, UPDATE, 1, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct detector *d = grown_up(cases[i].before);
		struct detector_change c =
		    send_as(d, ME, cases[i].ip, cases[i].tls, cases[i].n_new);
		if (points_of(&c, "tls") != cases[i].points)
			fail_msg("%s: %d", cases[i].name, points_of(&c, "tls"));
		detector_free(d);
	}
}

/* Whatever is new each day, the signal alone is below the first stage. */
static void test_alone(void **state)
{
	struct detector *d = grown_up(MAIL);
	struct detector_change c;

	(void)state;
	for (uint64_t i = 0; i < 40; i++) {
		c = send_as(d, ME, HOME, UPDATE + i, i % 2);
		assert_true(points_of(&c, "tls") <= 20);
		assert_int_equal(detector_stage(d, ME), STAGE_NORMAL);
		now += 6 * HOUR_MS;
	}
	detector_free(d);
}

/* Without it nothing is another than before. */
static void test_absent(void **state)
{
	struct detector *with = grown_up(MAIL), *without = grown_up(0);
	struct detector_change a, b;

	(void)state;
	for (int i = 0; i < 30; i++) {
		const char *ip = i % 3 ? ABROAD : HOME;
		strangers = 1000 + (unsigned)i * 4;
		a = send_as(with, ME, ip, MAIL, (unsigned)i % 4);
		strangers = 1000 + (unsigned)i * 4;
		b = send_as(without, ME, ip, 0, (unsigned)i % 4);
		assert_int_equal(a.score, b.score);
		assert_int_equal(a.stage, b.stage);
		now += HOUR_MS;
	}
	detector_free(with);
	detector_free(without);
}

/* An update becomes the account's own as its line does, and a program that many have says half. */
static void test_learnt(void **state)
{
	struct detector *d = grown_up(MAIL);
	struct detector_change c;
	char name[32];

	(void)state;
	for (int i = 0; i < 12; i++) {
		now += DAY_MS;
		send_as(d, ME, HOME, UPDATE, 0);
	}
	now += 10 * DAY_MS;
	c = send_as(d, ME, HOME, UPDATE, 3);
	assert_int_equal(points_of(&c, "tls"), 0);
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "p%d@isp.example", i);
		send_as(d, name, HOME, 0x3333, 0);
	}
	c = send_as(d, ME, ABROAD, 0x3333, 1);
	assert_int_equal(points_of(&c, "tls"), 5);
	detector_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_points), cmocka_unit_test(test_alone),
	    cmocka_unit_test(test_absent), cmocka_unit_test(test_learnt)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
