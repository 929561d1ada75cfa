/* suspect: zombies are found, mail programs that retry for ever are not; memory and time bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <talloc.h>

#include "nfq/suspect.h"

#define T0     1795000000000
#define WINDOW 600000

static const struct suspect_limits limits = {40, 20, 10, WINDOW};

struct found {
	unsigned n;
	struct suspect_finding last;
};

static void found(const struct suspect_finding *f, void *arg)
{
	struct found *x = arg;
	x->n++;
	x->last = *f;
}

static struct addr v4(unsigned net, unsigned host)
{
	struct addr a;
	const uint8_t b[4] = {198, (uint8_t)(18 + net / 256), (uint8_t)net, (uint8_t)host};
	addr_from_v4(&a, b);
	return a;
}

static struct addr parse(const char *text)
{
	struct addr a;
	const char *err;
	assert_true(addr_parse(text, &a, &err));
	return a;
}

static unsigned closing(struct suspect *s, int64_t now, struct found *f)
{
	*f = (struct found){0};
	suspect_close(s, now, found, f);
	return f->n;
}

/* One call a destination: networks of `per` hosts each. */
static void spray(struct suspect *s, const struct addr *line, unsigned dsts, unsigned per,
		  uint64_t packets, int64_t now)
{
	for (unsigned i = 0; i < dsts; i++) {
		struct addr d = v4(i / per, i % per + 1);
		suspect_count(s, line, &d, packets, now);
	}
}

/* attempts, destinations and networks: one short of any is nothing. */
static void test_all_three(void **state)
{
	static const struct {
		unsigned dsts, per;
		uint64_t packets;
		unsigned want;
	} cases[] = {
	    {40, 1, 2, 1},    /* a zombie */
	    {60, 4, 1, 1},    /* 60 attempts and destinations, 15 networks */
	    {39, 1, 1, 0},    /* too few attempts */
	    {15, 1, 1000, 0}, /* too few destinations */
	    {36, 4, 9, 0},    /* 9 networks */
	    {2, 1, 1000000, 0}, {0, 1, 1, 0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct suspect *s = suspect_new(NULL, &limits, 64);
		struct found f;
		struct addr line = parse("100.64.0.7");
		spray(s, &line, cases[i].dsts, cases[i].per, cases[i].packets, T0);
		assert_int_equal(closing(s, T0 + 1, &f), cases[i].want);
		assert_int_equal(suspect_now(s), cases[i].want);
		if (cases[i].want) {
			assert_true(addr_eq(&f.last.line, &line));
			assert_int_equal(f.last.first_ms, T0);
			assert_int_equal(f.last.packets, cases[i].packets * cases[i].dsts);
			/* From below, and not far below. */
			assert_in_range(f.last.dsts, cases[i].dsts * 8 / 10, cases[i].dsts);
			assert_in_range(f.last.nets, 8, cases[i].dsts / cases[i].per);
		}
		talloc_free(s);
	}
}

/* A day of a mail program with two servers, many times a second: nothing, however often. */
static void test_mail_program(void **state)
{
	struct suspect *s = suspect_new(NULL, &limits, 64);
	struct addr line = parse("100.64.0.8");
	struct found f;
	(void)state;
	for (int64_t t = 0; t < 86400000; t += 1000) {
		spray(s, &line, 2, 1, 50, T0 + t);
		assert_int_equal(closing(s, T0 + t, &f), 0);
	}
	talloc_free(s);
}

/* Slow enough for the window is no zombie; the same number within it, over the middle of it, is. */
static void test_window(void **state)
{
	struct suspect *s = suspect_new(NULL, &limits, 64);
	struct addr line = parse("100.64.0.9");
	struct found f;
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct addr d = v4(i, 1);
		suspect_count(s, &line, &d, 2, T0 + (int64_t)i * 60000); /* 10 in a window */
		assert_int_equal(closing(s, T0 + (int64_t)i * 60000, &f), 0);
	}
	int64_t t = T0 + 100 * (int64_t)WINDOW;
	spray(s, &line, 24, 1, 1, t + WINDOW / 2 - 1000);
	assert_int_equal(closing(s, t + WINDOW / 2 - 1000, &f), 0);
	for (unsigned i = 0; i < 24; i++) {
		struct addr d = v4(300 + i, 1);
		suspect_count(s, &line, &d, 1, t + WINDOW / 2 + 1000);
	}
	assert_int_equal(closing(s, t + WINDOW / 2 + 1000, &f), 1);
	assert_int_equal(closing(s, t + 3 * (int64_t)WINDOW, &f), 0); /* over: forgotten */
	assert_int_equal(suspect_now(s), 0);
	talloc_free(s);
}

/* Told once, again after half a window if it goes on, not while it is silent. */
static void test_told(void **state)
{
	struct suspect *s = suspect_new(NULL, &limits, 64);
	struct addr line = parse("2001:db8:0:7::");
	struct found f;
	(void)state;
	spray(s, &line, 60, 1, 1, T0);
	assert_int_equal(closing(s, T0, &f), 1);
	spray(s, &line, 60, 1, 1, T0 + 5000);
	assert_int_equal(closing(s, T0 + 5000, &f), 0);
	assert_int_equal(suspect_now(s), 1);
	spray(s, &line, 60, 1, 1, T0 + WINDOW / 2);
	assert_int_equal(closing(s, T0 + WINDOW / 2, &f), 1);
	assert_int_equal(f.last.packets, 180);
	assert_int_equal(closing(s, T0 + WINDOW - 1, &f), 0); /* silent since */
	talloc_free(s);
}

/* More lines than places: what a crowd of single packets cannot do is push a zombie out. */
static void test_crowd(void **state)
{
	struct suspect *s = suspect_new(NULL, &limits, 64);
	struct addr line = parse("100.64.0.10");
	struct found f;
	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		struct addr d = v4(i, 1);
		suspect_count(s, &line, &d, 1, T0 + i);
		/* The first packets have nothing over the crowd. */
		for (unsigned j = 0; i > 2 && j < 2000; j++) {
			struct addr other = v4(1000 + j, j % 200 + 1), to = v4(1, 1);
			suspect_count(s, &other, &to, 1, T0 + i);
		}
	}
	assert_int_equal(closing(s, T0 + 100, &f), 1);
	assert_true(addr_eq(&f.last.line, &line));
	assert_true(suspect_evicted(s) > 0);
	talloc_free(s);
}

/* Of lines that are worth the same, the one silent for longest makes room. */
static void test_the_old_make_room(void **state)
{
	static const struct suspect_limits one = {1, 1, 1, WINDOW};
	enum { OLD = 1024, YOUNG = 64 };
	struct suspect *s = suspect_new(NULL, &one, 256);
	struct addr d = v4(0, 1);
	struct found f;
	unsigned left = 0;
	(void)state;
	for (unsigned i = 0; i < OLD + YOUNG; i++) {
		struct addr line = v4(256 + i / 250, i % 250 + 1);
		suspect_count(s, &line, &d, 1, T0 + (i >= OLD) * 1000);
	}
	/* By then only what came later is in the window. */
	assert_true(closing(s, T0 + WINDOW, &f) >= YOUNG * 9 / 10);
	left = f.n;
	assert_true(left <= YOUNG);
	talloc_free(s);
}

static void test_networks6(void **state)
{
	struct suspect *s = suspect_new(NULL, &limits, 64);
	struct addr line = parse("2001:db8:0:8::");
	struct found f;
	(void)state;
	/* 100 hosts of one /48: one network. */
	for (unsigned i = 0; i < 100; i++) {
		struct addr d = parse("2001:db8:25::1");
		d.b[7] = (uint8_t)i;
		suspect_count(s, &line, &d, 3, T0);
	}
	assert_int_equal(closing(s, T0, &f), 0);
	for (unsigned i = 0; i < 30; i++) {
		struct addr d = parse("2001:db8:25::1");
		d.b[5] = (uint8_t)(i + 100);
		suspect_count(s, &line, &d, 1, T0);
	}
	assert_int_equal(closing(s, T0, &f), 1);
	talloc_free(s);
}

/* The clock set back, and attempts = 0. */
static void test_odd(void **state)
{
	struct suspect_limits off = {0, 20, 10, WINDOW};
	struct suspect *s = suspect_new(NULL, &limits, 1);
	struct addr line = parse("100.64.0.11");
	struct found f;
	(void)state;
	spray(s, &line, 30, 1, 1, T0);
	spray(s, &line, 15, 1, 3, T0 - 86400000); /* the evidence of the future is not used */
	assert_int_equal(closing(s, T0 - 86400000, &f), 0);
	spray(s, &line, 60, 1, 1, T0 - 86400000);
	assert_int_equal(closing(s, T0 - 86400000, &f), 1);
	suspect_set_limits(s, &off);
	spray(s, &line, 60, 1, 1, T0);
	assert_int_equal(closing(s, T0, &f), 0);
	talloc_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_three), cmocka_unit_test(test_mail_program),
	    cmocka_unit_test(test_window),    cmocka_unit_test(test_told),
	    cmocka_unit_test(test_crowd),     cmocka_unit_test(test_the_old_make_room),
	    cmocka_unit_test(test_networks6), cmocka_unit_test(test_odd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
