/* The end of DATA: against a reference that looks at the whole input at once, for several splits.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/smtp/data.h"

struct sink {
	uint8_t *buf;
	size_t len, cap;
};

static void out(const uint8_t *data, size_t len, void *arg)
{
	struct sink *s = arg;

	if (s->len + len > s->cap)
		abort(); /* unstuffing never makes more of it */
	memcpy(s->buf + s->len, data, len);
	s->len += len;
}

/* Where the message ends: after the first CRLF . CRLF, the DATA command's own CRLF counting; 0: it
 * does not. */
static size_t reference_end(const uint8_t *p, size_t n)
{
	if (n >= 3 && memcmp(p, ".\r\n", 3) == 0)
		return 3;
	for (size_t i = 0; i + 5 <= n; i++)
		if (memcmp(p + i, "\r\n.\r\n", 5) == 0)
			return i + 5;
	return 0;
}

static int reference_fault(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] == 0 || (p[i] == '\n' && (i == 0 || p[i - 1] != '\r')) ||
		    (p[i] == '\r' && i + 1 < n && p[i + 1] != '\n'))
			return 1;
	return 0;
}

static void run(const uint8_t *data, size_t size, size_t step, struct sink *s)
{
	size_t end = reference_end(data, size), at = 0, used;
	bool done = false;
	struct dot d;

	s->len = 0;
	dot_init(&d);
	while (at < size && !done) {
		done = dot_feed(&d, data + at, step < size - at ? step : size - at, &used, out, s);
		at += used;
	}
	if (done != (end > 0) || (done && at != end))
		abort();
	if ((d.fault != DOT_CLEAN) != reference_fault(data, done ? end : size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sink whole = {malloc(size + 1), 0, size}, parts = {malloc(size + 1), 0, size};

	if (!whole.buf || !parts.buf)
		abort();
	run(data, size, size + 1, &whole);
	for (size_t step = 1; step <= 7; step += 3) {
		run(data, size, step, &parts);
		if (parts.len > whole.len + size ||
		    (whole.len &&
		     memcmp(parts.buf, whole.buf, parts.len < whole.len ? parts.len : whole.len)))
			abort();
	}
	free(whole.buf);
	free(parts.buf);
	return 0;
}
