/*
 * test_detector_spray - passwords tried on names nobody knows raise the score of whom the client
 * gets into, and of nobody else.
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
#define SIX    "2001:db8:9::1"
#define SIX_2  "2001:db8:9:0:ffff::2" /* of the same /64 */

static int64_t now;
static unsigned strangers;

static struct addr addr_of(const char *ip)
{
	struct addr a;
	const char *err;
	assert_true(addr_parse(ip, &a, &err));
	return a;
}

static bool passwords_said(struct detector *d, const char *ip)
{
	char to[64];
	const char *rcpt = to;
	struct detector_change c = {.score = 0};
	struct detector_attempt a = {.t_ms = now,
				     .account = ME,
				     .client = addr_of(ip),
				     .has_client = true,
				     .ehlo = strcmp(ip, HOME) == 0 ? "pc.lan" : "bot",
				     .from = ME,
				     .rcpt = &rcpt,
				     .n_rcpt = 1};
	snprintf(to, sizeof(to), "s%u@example.net", strangers++);
	detector_attempt(d, &a, &c);
	detector_explain(d, now, ME, &c);
	for (int i = 0; i < c.n_why; i++)
		if (strncmp(c.why[i], "passwords: ", 11) == 0)
			return true;
	return false;
}

static void test_spray(void **state)
{
	static const struct {
		const char *tried_from, *sent_from;
		int names;
		bool said;
	} cases[] = {{ABROAD, ABROAD, 3, true}, {ABROAD, ABROAD, 2, false},
		     {ABROAD, HOME, 9, false},	{HOME, HOME, 9, false},
		     {SIX, SIX_2, 4, true},	{ABROAD, SIX, 9, false}};
	struct detector_conf conf;
	struct detector_change c;
	char name[32];

	(void)state;
	detector_conf_default(&conf);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct detector *d = detector_new(&conf, 1, 5000);
		for (now = START; now < START + 20 * DAY_MS; now += DAY_MS)
			passwords_said(d, HOME);
		struct addr from = addr_of(cases[i].tried_from);
		for (int k = 0; k < cases[i].names; k++) {
			snprintf(name, sizeof(name), "nobody%d@isp.example", k);
			assert_false(detector_auth(d, now, name, &from, false, &c));
			assert_false(detector_auth(d, now, name, &from, false, &c));
			assert_false(detector_auth(d, now, name, NULL, false, &c));
		}
		if (passwords_said(d, cases[i].sent_from) != cases[i].said)
			fail_msg("case %zu", i);
		detector_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_spray)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
