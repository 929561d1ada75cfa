/*
 * clock - the only module that reads a clock. Everything else is handed a time.
 *
 * Data carries UTC milliseconds since 1970; limits and timeouts use monotonic milliseconds. The two
 * never mix.
 */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_STRLEN 32

int64_t clock_utc_ms(void);
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);

/* "2026-11-22T13:08:10.123Z" (RFC 3339); milliseconds are left out when zero. Returns buf. */
const char *clock_format(int64_t utc_ms, char buf[static CLOCK_STRLEN]);
/* RFC 5322 3.3 date-time in UTC: "Sun, 22 Nov 2026 13:08:10 +0000". Returns buf. */
const char *clock_format_5322(int64_t utc_ms, char buf[static 40]);

/*
 * A point in time as people type it: RFC 3339 with Z or a numeric offset, a date ("2026-12-31":
 * 00:00 UTC), a duration from now ("+90d", "+36h", "-5m"), "now", or "@unix-seconds". Strict: the
 * whole text must fit; *err says what is wrong.
 */
bool clock_parse(const char *text, int64_t now_utc_ms, int64_t *out_ms, const char **err);
/* A duration with its unit: "250ms", "10s", "5m", "2h", "7d", "1h30m". A bare number other than 0
 * is an error. */
bool clock_parse_duration(const char *text, int64_t *out_ms, const char **err);
/* "1h30m", "250ms", "0s": parses back to the same value. Returns buf. */
const char *clock_format_duration(int64_t ms, char buf[static CLOCK_STRLEN]);

/* The minute of the week by the clock on the wall where we are; Monday 00:00 is 0. */
int clock_local_minute(int64_t utc_ms);

#endif
