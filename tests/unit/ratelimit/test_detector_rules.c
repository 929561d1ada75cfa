/*
 * test_detector_rules - the conditions within the signals, one attempt of made-up facts each: what
 * is raised, and where it ends.
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

#define NOW   (INT64_C(20000) * DAY_MS + 10 * HOUR_MS)
#define TODAY 20000
#define BODY  UINT64_C(0x123456789abcdef0)
#define EPS   1e-9

/* A point a unit, and room for a thousand. */
struct scene {
	struct detector *d;
	struct account acc;
	struct active s;
	struct detector_attempt a;
	const char *rcpt[1];
	struct facts f;
};

static void begin(struct scene *x)
{
	struct detector_conf conf;
	detector_conf_default(&conf);
	for (int i = 0; i < SIGNAL_COUNT; i++)
		conf.weight[i] = (struct detector_weight){.points = 100, .max = 1000};
	*x = (struct scene){
	    .d = detector_new(&conf, 1, 100), .acc = {.key = 1}, .rcpt = {"a@far.example"}};
	assert_non_null(x->d);
	x->d->now_ms = NOW;
	for (int i = 0; i < SIGNAL_COUNT; i++)
		x->d->part[i] = 1;
	x->a = (struct detector_attempt){.t_ms = NOW, .rcpt = x->rcpt, .n_rcpt = 1};
	x->f = (struct facts){.a = &x->a,
			      .acc = &x->acc,
			      .s = &x->s,
			      .o = {.novelty = .9, .part = {11, 12, 13, 14}, .has_addr = true},
			      .day = TODAY,
			      .contacts = 1,
			      .share = 1,
			      .own_sender = true};
}

static double raised(struct scene *x, enum detector_signal sig)
{
	signals_attempt(x->d, &x->f);
	double points = x->s.points[sig];
	detector_free(x->d);
	return points;
}

static void near(double got, double want)
{
	if (got < want - EPS || got > want + EPS)
		fail_msg("%f, not %f", got, want);
}

static void test_dictionary(void **state)
{
	static const char *const order[] = {"a@x.example", "b@x.example", "c@x.example",
					    "d@x.example", "e@x.example", "f@x.example"};
	(void)state;
	for (size_t n = 5; n <= 6; n++) {
		struct scene x;
		begin(&x);
		x.a.rcpt = order;
		x.a.n_rcpt = n;
		near(raised(&x, SIGNAL_DICTIONARY), n == 6 ? 1 : 0);
	}
}

static void test_ages(void **state)
{
	struct scene x;
	(void)state;
	/* Networks of a day; three are one too many. */
	for (int old = 0; old < 2; old++) {
		begin(&x);
		for (uint32_t i = 0; i < 3; i++)
			x.s.client[i] =
			    (struct client){.net = i + 1,
					    .contacts = 5,
					    .last_ms = NOW - (i == 0 && old ? DAY_MS + 1 : 0)};
		assert_true((raised(&x, SIGNAL_NETWORKS) > .5) == !old);
	}
	/* Silence counts for the days after it. */
	for (uint32_t days = 3; days <= 4; days++) {
		begin(&x);
		x.s.silent_days = 20;
		x.s.silent_day = TODAY - days;
		assert_true((raised(&x, SIGNAL_SILENCE) > 0) == (days == 3));
	}
	/* Wrong passwords of a day, a probe of three. */
	for (int old = 0; old < 2; old++) {
		begin(&x);
		x.s.fails = 5;
		x.s.fails_ms = NOW - DAY_MS - old;
		near(raised(&x, SIGNAL_PASSWORDS), old ? 0 : 5);
		begin(&x);
		x.s.probe_ms = NOW - 3 * DAY_MS - old;
		near(raised(&x, SIGNAL_PROBE), old ? 0 : 1);
	}
}

/* Senders that change are odd from the owner's own client, too, beyond two and beyond twice its
 * habit. */
static void test_churn(void **state)
{
	(void)state;
	for (uint32_t before = 1; before <= 2; before++) {
		struct scene x;
		begin(&x);
		x.f.o.novelty = .2;
		x.f.own_sender = false;
		x.s.senders_today = before;
		near(raised(&x, SIGNAL_SENDERS), before == 2 ? 1 : 0);
	}
}

static void test_new_client(void **state)
{
	static const struct {
		double novelty;
		bool young, syn;
		uint32_t contacts, today;
		int met_days;
		double points;
	} cases[] = {
	    {.9, false, false, 1, 1, 0, .9},	  {.9, true, false, 1, 1, 0, .45},
	    {.2, false, false, 1, 1, 0, .2},	  {.2, false, true, 1, 1, 0, .5},
	    {.1, false, false, 1, 1, 0, 0},	  {.9, false, false, 1000, 1, 0, 900},
	    {.4, false, false, 1000, 1, 0, 60},	  {.4, false, false, 1000, 1, 3, 110},
	    {.4, false, false, 1000, 600, 0, 85}, /* twice what a person has friends for */
	    {.4, false, true, 1000, 600, 3, 90},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scene x;
		begin(&x);
		x.f.o.novelty = cases[i].novelty;
		x.f.o.line_syn = cases[i].syn;
		x.f.o.met_days = cases[i].met_days;
		x.f.young = cases[i].young;
		x.f.contacts = cases[i].contacts;
		x.s.contacts_today = cases[i].today;
		double got = raised(&x, SIGNAL_NEW_CLIENT);
		if (got < cases[i].points - EPS || got > cases[i].points + EPS)
			fail_msg("case %zu: %f", i, got);
	}
}

/* Much in an hour: of the owner's own program that is rare, and together with other mild things it
 * does not hold. */
static void test_rate(void **state)
{
	static const struct {
		double novelty, contacts_points, points;
	} cases[] = {{.9, 0, 5}, {.4, 0, 1.5}, {.4, 89.5, .5}, {.4, 100, 0}, {.9, 89.5, 5}};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scene x;
		begin(&x);
		x.f.o.novelty = cases[i].novelty;
		x.s.rcpts_hour[0] = x.s.contacts_hour[0] = 320; /* five doublings of ten */
		x.s.points[SIGNAL_CONTACTS] = cases[i].contacts_points;
		double got = raised(&x, SIGNAL_RATE);
		if (got < cases[i].points - EPS || got > cases[i].points + EPS)
			fail_msg("case %zu: %f", i, got);
	}
}

static void test_campaign(void **state)
{
	static const struct {
		unsigned bad, good, n_new;
		uint32_t unknown, spam, fine, reached;
		double points;
	} cases[] = {
	    {2, 0, 2, 0, 0, 0, 0, 2}, {1, 0, 1, 0, 0, 0, 0, 0},	  {5, 2, 5, 0, 0, 0, 0, 3},
	    {5, 4, 5, 0, 0, 0, 0, 0}, /* as many did it and were honest */
	    {8, 0, 0, 0, 0, 0, 0, 4}, /* the owners' own clients: a round, up to its limit */
	    {8, 0, 4, 0, 0, 0, 0, 8}, {8, 0, 0, 3, 0, 23, 0, 8},  {8, 0, 0, 3, 0, 24, 0, 4},
	    {8, 0, 0, 2, 0, 1, 0, 4}, {8, 0, 0, 0, 3, 119, 0, 8}, {8, 0, 0, 0, 3, 120, 0, 4},
	    {8, 0, 0, 0, 2, 1, 0, 4}, {2, 0, 2, 0, 0, 0, 16, 4},  {2, 0, 2, 0, 0, 0, 100, 4.5},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scene x;
		begin(&x);
		/* So that the limit of a round, 80 points, is four units. */
		x.d->conf.weight[SIGNAL_CAMPAIGN].points = 2000;
		x.a.has_body = true;
		x.a.body = BODY;
		struct crowd *c = crowds_get(&x.d->texts, BODY, 0, NOW);
		for (unsigned k = 0; k < cases[i].bad; k++)
			crowd_join(c->suspect, &c->n_suspect, 100 + k);
		for (unsigned k = 0; k < cases[i].good; k++)
			crowd_join(c->honest, &c->n_honest, 200 + k);
		c->n_new = (uint8_t)cases[i].n_new;
		c->unknown = cases[i].unknown;
		c->spam = cases[i].spam;
		c->fine = cases[i].fine;
		c->contacts = cases[i].reached;
		double got = raised(&x, SIGNAL_CAMPAIGN);
		if (got < 20 * cases[i].points - EPS || got > 20 * cases[i].points + EPS)
			fail_msg("case %zu: %f", i, got);
	}
}

/* Who joins by a client that is none of its own is counted so. */
static void test_joins(void **state)
{
	(void)state;
	for (int strange = 0; strange < 2; strange++) {
		struct scene x;
		begin(&x);
		x.f.o.novelty = strange ? .9 : .2;
		x.a.has_body = true;
		x.a.body = BODY;
		signals_attempt(x.d, &x.f);
		struct crowd *c = crowds_find(&x.d->texts, BODY, 0, NOW);
		assert_non_null(c);
		assert_int_equal(c->n_suspect, 1);
		assert_int_equal(c->n_new, strange);
		detector_free(x.d);
	}
}

/* The same address counts whole, the same neighbourhood by half. */
static void test_shared(void **state)
{
	(void)state;
	for (int part = ADDR_SELF; part <= ADDR_NEAR; part++) {
		struct scene x;
		begin(&x);
		struct crowd *c = crowds_get(&x.d->sources, x.f.o.part[part], 0, NOW);
		for (uint32_t k = 0; k < 4; k++)
			crowd_join(c->suspect, &c->n_suspect, 100 + k);
		near(raised(&x, SIGNAL_SHARED), part == ADDR_SELF ? 4 : 2);
	}
}

static void test_senders_of_a_list(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} cases[] = {
	    {"bounce-4711@list.example", "bounce-8152@list.example", true},
	    {"list-bounces+ann=far.example@list.example",
	     "list-bounces+bob=near.example@list.example", true},
	    {"prvs=0891abcdef=ann@isp.example", "prvs=1892fedcba=ann@isp.example", true},
	    {"ann@isp.example", "bob@isp.example", false},
	    {"list+ann=far.example@list.example", "list+ann=far.example@other.example", false},
	    {"bounce-x@list.example", "bounce-y@list.example", false},
	};
	struct scene x;
	(void)state;
	begin(&x);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if ((signal_sender(x.d, cases[i].a) == signal_sender(x.d, cases[i].b)) !=
		    cases[i].same)
			fail_msg("case %zu", i);
	detector_free(x.d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_dictionary),
	    cmocka_unit_test(test_ages),
	    cmocka_unit_test(test_churn),
	    cmocka_unit_test(test_new_client),
	    cmocka_unit_test(test_rate),
	    cmocka_unit_test(test_campaign),
	    cmocka_unit_test(test_joins),
	    cmocka_unit_test(test_shared),
	    cmocka_unit_test(test_senders_of_a_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
