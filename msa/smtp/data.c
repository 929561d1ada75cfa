/*
 * data - see data.h. Shown right for every split by tests/unit/msa/test_smtp_data.c; fuzzed against
 * a whole-buffer reference by tests/fuzz/msa/fuzz_dot.c.
 */
#include <string.h>

#include "msa/smtp/data.h"

struct run {
	struct dot *d;
	void (*out)(const uint8_t *data, size_t len, void *arg);
	void *arg;
};

void dot_init(struct dot *d)
{
	d->state = DOT_BOL;
	d->fault = DOT_CLEAN;
}

static void emit(const struct run *r, const uint8_t *p, size_t n)
{
	if (n > 0 && r->d->fault == DOT_CLEAN)
		r->out(p, n, r->arg);
}

static void fault(struct dot *d, enum dot_fault f)
{
	if (d->fault == DOT_CLEAN)
		d->fault = f;
}

/* The longest stretch without CR, LF or NUL is handed on at once; returns its length. */
static size_t text_run(const struct run *r, const uint8_t *p, size_t n)
{
	const uint8_t *cr = memchr(p, '\r', n);
	size_t m = cr ? (size_t)(cr - p) : n;
	const uint8_t *bad = memchr(p, '\n', m);

	if (bad)
		m = (size_t)(bad - p);
	bad = memchr(p, '\0', m);
	if (bad)
		m = (size_t)(bad - p);
	emit(r, p, m);
	return m;
}

/* One of CR, LF, NUL inside a line. */
static void text_special(struct dot *d, uint8_t c)
{
	if (c == '\r') {
		d->state = DOT_CR;
		return;
	}
	fault(d, c == '\n' ? DOT_BARE_LF : DOT_NUL);
}

/* After CR: true when c was consumed. */
static bool after_cr(const struct run *r, uint8_t c)
{
	if (c == '\n') {
		emit(r, (const uint8_t *)"\r\n", 2);
		r->d->state = DOT_BOL;
		return true;
	}
	fault(r->d, DOT_BARE_CR);
	r->d->state = c == '\r' ? DOT_CR : DOT_TEXT;
	return c == '\r';
}

/* After a dot that opened a line: true when c was consumed. */
static bool after_dot(struct dot *d, uint8_t c)
{
	d->state = c == '\r' ? DOT_DOTCR : DOT_TEXT;
	return c == '\r';
}

/* After dot, CR: true when c was consumed. */
static bool after_dotcr(struct dot *d, uint8_t c)
{
	if (c == '\n') {
		d->state = DOT_DONE;
		return true;
	}
	fault(d, DOT_BARE_CR);
	d->state = c == '\r' ? DOT_CR : DOT_TEXT;
	return c == '\r';
}

bool dot_feed(struct dot *d, const uint8_t *in, size_t len, size_t *used,
	      void (*out)(const uint8_t *data, size_t len, void *arg), void *arg)
{
	struct run r = {.d = d, .out = out, .arg = arg};
	size_t i = 0;

	while (i < len && d->state != DOT_DONE) {
		switch (d->state) {
		case DOT_BOL:
			d->state = in[i] == '.' ? DOT_DOT : DOT_TEXT;
			i += in[i] == '.';
			break;
		case DOT_TEXT:
			i += text_run(&r, in + i, len - i);
			if (i < len)
				text_special(d, in[i++]);
			break;
		case DOT_CR:
			i += after_cr(&r, in[i]);
			break;
		case DOT_DOT:
			i += after_dot(d, in[i]);
			break;
		case DOT_DOTCR:
			i += after_dotcr(d, in[i]);
			break;
		case DOT_DONE:
			break;
		}
	}
	*used = i;
	return d->state == DOT_DONE;
}

const char *dot_fault_name(enum dot_fault f)
{
	static const char *const names[] = {[DOT_CLEAN] = "none",
					    [DOT_BARE_CR] = "bare CR",
					    [DOT_BARE_LF] = "bare LF",
					    [DOT_NUL] = "NUL"};

	return names[f];
}
