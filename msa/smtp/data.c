/*
 * data - see data.h. Shown right for every split by tests/unit/msa/test_smtp_data.c; fuzzed against
 * a whole-buffer reference by tests/fuzz/msa/fuzz_dot.c.
 */
#include <string.h>

#include "msa/mail/eight.h"
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

static bool plain(uint8_t c)
{
	return c != '\r' && c != '\n' && c != '\0';
}

/* How many of the octets at p come before the first CR, LF or NUL. */
static size_t plain_run(const uint8_t *p, size_t n)
{
	size_t i = 0;
	uint64_t v, bits;

	for (; n - i >= 8; i += 8) {
		v = eight_at(p + i);
		if (!eight_below(v, '\r' + 1))
			continue;
		bits = eight_equal(v, '\r') | eight_equal(v, '\n') | eight_equal(v, '\0');
		if (bits)
			return i + eight_before(bits);
	}
	while (i < n && plain(p[i]))
		i++;
	return i;
}

/* The longest stretch of whole lines that need no look of their own is handed on at once, with what
 * follows them up to a CR, LF or NUL; returns its length. */
static size_t text_run(const struct run *r, const uint8_t *p, size_t n)
{
	size_t m = plain_run(p, n);

	while (n - m > 2 && p[m] == '\r' && p[m + 1] == '\n' && p[m + 2] != '.')
		m += 2 + plain_run(p + m + 2, n - m - 2);
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

/* --- chunks --- */

#define TEXT_LINE 998 /* RFC 5322 2.1.1 */

void crlf_init(struct crlf *l)
{
	*l = (struct crlf){.fault = DOT_CLEAN};
}

/* What is wrong in text is only worth knowing in the body of a binary message. */
static void no_text(struct crlf *l, enum dot_fault f)
{
	if (l->binary && l->in_body)
		l->not_text = true;
	else if (l->fault == DOT_CLEAN)
		l->fault = f;
}

static void end_line(struct crlf *l)
{
	if (l->column > TEXT_LINE && l->in_body)
		l->not_text = true;
	if (l->column == 0)
		l->in_body = true;
	l->column = 0;
	l->line_end = true;
}

static void crlf_octet(struct crlf *l, uint8_t c)
{
	bool after_cr = l->cr;

	l->cr = c == '\r';
	l->line_end = false;
	if (after_cr && c == '\n') {
		end_line(l);
		return;
	}
	if (after_cr)
		no_text(l, DOT_BARE_CR);
	if (c == '\n' || c == '\0')
		no_text(l, c == '\n' ? DOT_BARE_LF : DOT_NUL);
	if (c != '\r')
		l->column++;
}

bool crlf_feed(struct crlf *l, const uint8_t *in, size_t len)
{
	l->any |= len > 0;
	for (size_t i = 0; i < len && l->fault == DOT_CLEAN;) {
		size_t n = l->cr ? 0 : plain_run(in + i, len - i);

		l->column += n;
		if (n > 0)
			l->line_end = false;
		i += n;
		if (i < len)
			crlf_octet(l, in[i++]);
	}
	return l->fault == DOT_CLEAN;
}

bool crlf_end(struct crlf *l)
{
	if (l->cr)
		no_text(l, DOT_BARE_CR);
	if (l->in_body && (l->column > TEXT_LINE || (l->any && !l->line_end)))
		l->not_text = true;
	l->cr = false;
	return l->fault == DOT_CLEAN;
}

const char *dot_fault_name(enum dot_fault f)
{
	static const char *const names[] = {[DOT_CLEAN] = "none",
					    [DOT_BARE_CR] = "bare CR",
					    [DOT_BARE_LF] = "bare LF",
					    [DOT_NUL] = "NUL"};

	return names[f];
}
