/*
 * clock - see clock.h.
 *
 * The three clock_*_ms/us functions read the system's clocks; everything else is pure text work.
 *
 * Trusted with: nothing.
 * Diagnostics: static texts, for the person who typed the time.
 * Known gaps: a leap second (:60) is read as the first second of the next minute, as POSIX time has
 * it.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"

static int64_t read_us(clockid_t id)
{
	struct timespec ts = {0, 0};
	(void)clock_gettime(id, &ts); /* these two clocks always exist on Linux */
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_utc_ms(void)
{
	return read_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_ms(void)
{
	return read_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_mono_us(void)
{
	return read_us(CLOCK_MONOTONIC);
}

/* Broken-down UTC of a time in ms; returns the milliseconds within the second. */
static int split_ms(int64_t utc_ms, struct tm *tm)
{
	int64_t ms = utc_ms % 1000;
	if (ms < 0)
		ms += 1000;
	time_t s = (time_t)((utc_ms - ms) / 1000);
	if (utc_ms < INT64_MIN + 1000) /* utc_ms - ms would overflow */
		s = (time_t)(utc_ms / 1000);
	memset(tm, 0, sizeof *tm);
	(void)gmtime_r(&s, tm);
	return (int)ms;
}

static char *write_digits(char *p, int v, int n)
{
	for (int i = n; i--; v /= 10)
		p[i] = (char)('0' + v % 10);
	return p + n;
}

static char *digits_then(char *p, int v, int n, char then)
{
	p = write_digits(p, v, n);
	*p = then;
	return p + 1;
}

/* Years of four digits: each line of the log has one. */
static const char *format_usual(const struct tm *tm, int ms, char *buf)
{
	char *p = digits_then(buf, tm->tm_year + 1900, 4, '-');
	p = digits_then(p, tm->tm_mon + 1, 2, '-');
	p = digits_then(p, tm->tm_mday, 2, 'T');
	p = digits_then(p, tm->tm_hour, 2, ':');
	p = digits_then(p, tm->tm_min, 2, ':');
	p = digits_then(p, tm->tm_sec, 2, ms ? '.' : 'Z');
	if (ms)
		p = digits_then(p, ms, 3, 'Z');
	*p = '\0';
	return buf;
}

const char *clock_format(int64_t utc_ms, char buf[static CLOCK_STRLEN])
{
	struct tm tm;
	int ms = split_ms(utc_ms, &tm);
	if (tm.tm_year >= -1900 && tm.tm_year <= 9999 - 1900)
		return format_usual(&tm, ms, buf);
	int n = snprintf(buf, CLOCK_STRLEN, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
			 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (n < 0 || n >= CLOCK_STRLEN)
		return buf;
	size_t left = (size_t)(CLOCK_STRLEN - n);
	if (ms)
		(void)snprintf(buf + n, left, ".%03dZ", ms);
	else
		(void)snprintf(buf + n, left, "Z");
	return buf;
}

const char *clock_format_5322(int64_t utc_ms, char buf[static 40])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm;
	(void)split_ms(utc_ms, &tm);
	/* Not strftime(3): a locale must not change a mail header. */
	(void)snprintf(buf, 40, "%.3s, %02d %.3s %04d %02d:%02d:%02d +0000", days + tm.tm_wday * 3,
		       tm.tm_mday, months + tm.tm_mon * 3, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
		       tm.tm_sec);
	return buf;
}

/* --- durations ----------------------------------------------------------------------- */

static const struct unit {
	const char *name;
	int64_t ms;
} units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};
#define N_UNITS (sizeof units / sizeof *units)

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits at *p, at least one; moves *p past them. False: none, or the number is too large. */
static bool digits(const char **p, int64_t *out)
{
	int64_t v = 0;
	if (!is_digit(**p))
		return false;
	for (; is_digit(**p); (*p)++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, **p - '0', &v))
			return false;
	*out = v;
	return true;
}

/* The unit at *p, which must come after `from` in the table: large before small, each once. */
static bool unit_at(const char **p, size_t *from, int64_t *ms)
{
	size_t n = strspn(*p, "abcdefghijklmnopqrstuvwxyz");
	for (size_t i = *from; i < N_UNITS; i++)
		if (strlen(units[i].name) == n && memcmp(*p, units[i].name, n) == 0) {
			*p += n;
			*from = i + 1;
			*ms = units[i].ms;
			return true;
		}
	return false;
}

bool clock_parse_duration(const char *text, int64_t *out_ms, const char **err)
{
	const char *p = text;
	int64_t sum = 0, v, ms;
	size_t from = 0;
	*err = "a duration is a number with its unit: 250ms, 10s, 5m, 2h, 7d, 1h30m";
	if (strcmp(text, "0") == 0) {
		*out_ms = 0;
		return true;
	}
	if (!*p)
		return false;
	while (*p) {
		if (!digits(&p, &v)) {
			if (is_digit(*text) && is_digit(p[0]))
				*err = "the duration is too long";
			return false;
		}
		if (!*p) {
			*err = "a unit is missing: write 250ms, 10s, 5m, 2h or 7d";
			return false;
		}
		if (!unit_at(&p, &from, &ms))
			return false;
		if (__builtin_mul_overflow(v, ms, &v) || __builtin_add_overflow(sum, v, &sum)) {
			*err = "the duration is too long";
			return false;
		}
	}
	*out_ms = sum;
	return true;
}

const char *clock_format_duration(int64_t ms, char buf[static CLOCK_STRLEN])
{
	uint64_t left = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
	size_t n = 0;
	if (left == 0) {
		memcpy(buf, "0s", 3);
		return buf;
	}
	if (ms < 0)
		buf[n++] = '-';
	for (size_t i = 0; i < N_UNITS; i++) {
		uint64_t k = left / (uint64_t)units[i].ms;
		left %= (uint64_t)units[i].ms;
		if (!k || n >= CLOCK_STRLEN)
			continue;
		int w = snprintf(buf + n, CLOCK_STRLEN - n, "%llu%s", (unsigned long long)k,
				 units[i].name);
		n += w > 0 ? (size_t)w : 0;
	}
	return buf;
}

/* --- points in time ------------------------------------------------------------------ */

/* Exactly n digits with a value in min..max. */
static bool field(const char **p, int n, int min, int max, int *out)
{
	int v = 0;
	for (int i = 0; i < n; i++, (*p)++) {
		if (!is_digit(**p))
			return false;
		v = v * 10 + (**p - '0');
	}
	*out = v;
	return v >= min && v <= max;
}

static bool lit(const char **p, const char *any)
{
	if (!**p || !strchr(any, **p))
		return false;
	(*p)++;
	return true;
}

static int month_days(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month - 1] + (month == 2 && leap);
}

static bool date_at(const char **p, struct tm *tm, const char **err)
{
	int y, m, d;
	*err = "a time is 2026-11-22T13:08:10Z, 2026-11-22, +90d, -5m, now or @1795352890";
	if (!field(p, 4, 0, 9999, &y) || !lit(p, "-"))
		return false;
	if (!field(p, 2, 0, 99, &m) || !lit(p, "-") || !field(p, 2, 0, 99, &d))
		return false;
	*err = "there is no such day";
	if (m < 1 || m > 12 || d < 1 || d > month_days(y, m))
		return false;
	tm->tm_year = y - 1900;
	tm->tm_mon = m - 1;
	tm->tm_mday = d;
	return true;
}

/* ".123": one to nine digits, cut to milliseconds. */
static bool fraction_at(const char **p, int64_t *ms)
{
	int n = 0;
	*ms = 0;
	if (**p != '.')
		return true;
	for ((*p)++; is_digit(**p); (*p)++, n++)
		if (n < 3)
			*ms = *ms * 10 + (**p - '0');
	for (int i = n; i < 3; i++)
		*ms *= 10;
	return n >= 1 && n <= 9;
}

/* "Z" or "+09:00": seconds east of UTC. */
static bool offset_at(const char **p, int64_t *east)
{
	int h, m;
	bool minus = **p == '-';
	*east = 0;
	if (lit(p, "Zz"))
		return true;
	if (!lit(p, "+-") || !field(p, 2, 0, 23, &h) || !lit(p, ":") || !field(p, 2, 0, 59, &m))
		return false;
	*east = (h * 60 + m) * (minus ? -60 : 60);
	return true;
}

static bool parse_rfc3339(const char *p, int64_t *out_ms, const char **err)
{
	struct tm tm = {0};
	int64_t ms = 0, east = 0;
	if (!date_at(&p, &tm, err))
		return false;
	if (*p) {
		*err = "a time of day is T13:08:10 with Z or an offset like +09:00 after it";
		if (!lit(&p, "Tt ") || !field(&p, 2, 0, 23, &tm.tm_hour) || !lit(&p, ":") ||
		    !field(&p, 2, 0, 59, &tm.tm_min) || !lit(&p, ":") ||
		    !field(&p, 2, 0, 60, &tm.tm_sec) || !fraction_at(&p, &ms) ||
		    !offset_at(&p, &east))
			return false;
	}
	if (*p) {
		*err = "something follows the time";
		return false;
	}
	*out_ms = ((int64_t)timegm(&tm) - east) * 1000 + ms;
	return true;
}

static bool parse_unix(const char *p, int64_t *out_ms, const char **err)
{
	int64_t s;
	*err = "@ takes whole seconds since 1970";
	if (!digits(&p, &s) || *p || __builtin_mul_overflow(s, 1000, &s))
		return false;
	*out_ms = s;
	return true;
}

static bool parse_relative(const char *p, int64_t now, int64_t *out_ms, const char **err)
{
	int64_t d;
	if (!clock_parse_duration(p + 1, &d, err))
		return false;
	if (*p == '+' ? __builtin_add_overflow(now, d, &d) : __builtin_sub_overflow(now, d, &d)) {
		*err = "the duration is too long";
		return false;
	}
	*out_ms = d;
	return true;
}

bool clock_parse(const char *text, int64_t now_utc_ms, int64_t *out_ms, const char **err)
{
	if (strcmp(text, "now") == 0) {
		*out_ms = now_utc_ms;
		return true;
	}
	if (*text == '+' || *text == '-')
		return parse_relative(text, now_utc_ms, out_ms, err);
	if (*text == '@')
		return parse_unix(text + 1, out_ms, err);
	return parse_rfc3339(text, out_ms, err);
}

int clock_local_minute(int64_t utc_ms)
{
	time_t t = (time_t)(utc_ms / 1000);
	struct tm tm;
	if (!localtime_r(&t, &tm))
		return 0;
	return (tm.tm_wday + 6) % 7 * 1440 + tm.tm_hour * 60 + tm.tm_min;
}
