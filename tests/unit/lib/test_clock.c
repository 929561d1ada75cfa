/* clock: times and durations as people type them, and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "lib/clock.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define NOW  INT64_C(1795352890123) /* 2026-11-22T13:08:10.123Z */
#define S    INT64_C(1000)
#define MIN  (60 * S)
#define H    (60 * MIN)
#define D    (24 * H)

static void test_format(void **state)
{
	static const struct {
		int64_t ms;
		const char *rfc3339, *rfc5322;
	} cases[] = {
	    {0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 +0000"},
	    {NOW, "2026-11-22T13:08:10.123Z", "Sun, 22 Nov 2026 13:08:10 +0000"},
	    {NOW - 123, "2026-11-22T13:08:10Z", "Sun, 22 Nov 2026 13:08:10 +0000"},
	    {NOW - 122, "2026-11-22T13:08:10.001Z", "Sun, 22 Nov 2026 13:08:10 +0000"},
	    {-1, "1969-12-31T23:59:59.999Z", "Wed, 31 Dec 1969 23:59:59 +0000"},
	    {-1000, "1969-12-31T23:59:59Z", "Wed, 31 Dec 1969 23:59:59 +0000"},
	    {INT64_C(951782400000), "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 +0000"},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		char a[CLOCK_STRLEN], b[40];
		int64_t back;
		const char *err;
		assert_string_equal(clock_format(cases[i].ms, a), cases[i].rfc3339);
		assert_string_equal(clock_format_5322(cases[i].ms, b), cases[i].rfc5322);
		assert_true(clock_parse(a, 0, &back, &err));
		assert_int_equal(back, cases[i].ms);
	}
}

/* The ends of the range must not overflow a buffer or an integer; what they print does not matter.
 */
static void test_format_extremes(void **state)
{
	char a[CLOCK_STRLEN], b[40];
	(void)state;
	assert_in_range(strlen(clock_format(INT64_MAX, a)), 1, CLOCK_STRLEN - 1);
	assert_in_range(strlen(clock_format(INT64_MIN, a)), 1, CLOCK_STRLEN - 1);
	assert_in_range(strlen(clock_format_5322(INT64_MAX, b)), 1, 39);
	assert_in_range(strlen(clock_format_5322(INT64_MIN, b)), 1, 39);
}

static void test_parse(void **state)
{
	static const struct {
		const char *in;
		bool ok;
		int64_t ms;
	} cases[] = {
	    {"now", true, NOW},
	    {"2026-11-22T13:08:10Z", true, NOW - 123},
	    {"2026-11-22T13:08:10.123Z", true, NOW},
	    {"2026-11-22T13:08:10.123999999Z", true, NOW},
	    {"2026-11-22T13:08:10.1Z", true, NOW - 23},
	    {"2026-11-22t13:08:10z", true, NOW - 123},
	    {"2026-11-22 13:08:10Z", true, NOW - 123},
	    {"2026-11-22T22:08:10+09:00", true, NOW - 123},
	    {"2026-11-22T07:38:10-05:30", true, NOW - 123},
	    {"2026-11-22", true, NOW - 123 - 13 * H - 8 * MIN - 10 * S},
	    {"2024-02-29", true, INT64_C(1709164800000)},
	    {"2016-12-31T23:59:60Z", true, INT64_C(1483228800000)},
	    {"0000-01-01", true, INT64_C(-62167219200000)},
	    {"@0", true, 0},
	    {"@1795352890", true, NOW - 123},
	    {"+0", true, NOW},
	    {"+90d", true, NOW + 90 * D},
	    {"+36h", true, NOW + 36 * H},
	    {"-5m", true, NOW - 5 * MIN},
	    {"-1h30m", true, NOW - 90 * MIN},
	    {"", false, 0},
	    {"Now", false, 0},
	    {"now ", false, 0},
	    {" 2026-11-22", false, 0},
	    {"2026-11-22Z", false, 0},
	    {"2026-11-22T13:08:10", false, 0},
	    {"2026-11-22T13:08Z", false, 0},
	    {"2026-11-22T24:00:00Z", false, 0},
	    {"2026-11-22T13:60:10Z", false, 0},
	    {"2026-11-22T13:08:61Z", false, 0},
	    {"2026-11-22T13:08:10.Z", false, 0},
	    {"2026-11-22T13:08:10.1234567890Z", false, 0},
	    {"2026-11-22T13:08:10Zx", false, 0},
	    {"2026-11-22T13:08:10+0900", false, 0},
	    {"2026-11-22T13:08:10+24:00", false, 0},
	    {"2026-11-22T13:08:10 Z", false, 0},
	    {"2026-02-29", false, 0},
	    {"1900-02-29", false, 0},
	    {"2026-13-01", false, 0},
	    {"2026-00-01", false, 0},
	    {"2026-01-00", false, 0},
	    {"2026-04-31", false, 0},
	    {"26-11-22", false, 0},
	    {"2026-1-2", false, 0},
	    {"+90", false, 0},
	    {"+", false, 0},
	    {"90d", false, 0},
	    {"+-5m", false, 0},
	    {"@", false, 0},
	    {"@-1", false, 0},
	    {"@1.5", false, 0},
	    {"@99999999999999999999", false, 0},
	    {"@9999999999999999", false, 0},
	    {"+106751991167d", false, 0},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		int64_t ms = 42;
		const char *err = NULL;
		bool ok = clock_parse(cases[i].in, NOW, &ms, &err);
		if (ok != cases[i].ok)
			fail_msg("\"%s\": %s", cases[i].in, ok ? "taken" : err);
		if (ok && ms != cases[i].ms)
			fail_msg("\"%s\": %lld", cases[i].in, (long long)ms);
		if (!ok) {
			assert_non_null(err);
			assert_int_equal(ms, 42); /* untouched */
		}
	}
}

static void test_duration(void **state)
{
	static const struct {
		const char *in, *out; /* out NULL: refused */
		int64_t ms;
	} cases[] = {
	    {"0", "0s", 0},
	    {"0s", "0s", 0},
	    {"250ms", "250ms", 250},
	    {"10s", "10s", 10 * S},
	    {"5m", "5m", 5 * MIN},
	    {"2h", "2h", 2 * H},
	    {"7d", "7d", 7 * D},
	    {"1h30m", "1h30m", 90 * MIN},
	    {"90s", "1m30s", 90 * S},
	    {"1d2h3m4s5ms", "1d2h3m4s5ms", D + 2 * H + 3 * MIN + 4 * S + 5},
	    {"007d", "7d", 7 * D},
	    {"9223372036854775807ms", "106751991167d7h12m55s807ms", INT64_MAX},
	    {"9223372036854775808ms", NULL, 0},
	    {"106751991168d", NULL, 0},
	    {"106751991167d8h", NULL, 0},
	    {"", NULL, 0},
	    {"10", NULL, 0},
	    {"1h30", NULL, 0},
	    {"s", NULL, 0},
	    {"-5m", NULL, 0},
	    {"+5m", NULL, 0},
	    {"1.5h", NULL, 0},
	    {"5 m", NULL, 0},
	    {"5m ", NULL, 0},
	    {"5M", NULL, 0},
	    {"5min", NULL, 0},
	    {"1w", NULL, 0},
	    {"30m1h", NULL, 0},
	    {"1h1h", NULL, 0},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		int64_t ms = 42, back;
		char buf[CLOCK_STRLEN];
		const char *err = NULL;
		bool ok = clock_parse_duration(cases[i].in, &ms, &err);
		if (ok != (cases[i].out != NULL))
			fail_msg("\"%s\": %s", cases[i].in, ok ? "taken" : err);
		if (!ok) {
			assert_non_null(err);
			assert_int_equal(ms, 42);
			continue;
		}
		assert_int_equal(ms, cases[i].ms);
		assert_string_equal(clock_format_duration(ms, buf), cases[i].out);
		assert_true(clock_parse_duration(buf, &back, &err));
		assert_int_equal(back, ms);
	}
}

static void test_duration_negative(void **state)
{
	char buf[CLOCK_STRLEN];
	(void)state;
	assert_string_equal(clock_format_duration(-90 * MIN, buf), "-1h30m");
	assert_string_equal(clock_format_duration(INT64_MIN, buf), "-106751991167d7h12m55s808ms");
}

/* The clocks move on, and the two monotonic ones agree. */
static void test_clocks(void **state)
{
	(void)state;
	int64_t ms = clock_mono_ms(), us = clock_mono_us(), ms2 = clock_mono_ms();
	assert_true(us / 1000 >= ms && us / 1000 <= ms2);
	assert_true(clock_utc_ms() > NOW - 20 * 365 * D);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_format), cmocka_unit_test(test_format_extremes),
	    cmocka_unit_test(test_parse),  cmocka_unit_test(test_duration),
	    cmocka_unit_test(test_clocks), cmocka_unit_test(test_duration_negative),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
