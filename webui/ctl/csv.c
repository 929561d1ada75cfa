/*
 * csv - see csv.h.
 *
 * Trusted with: files from outside, of which every byte is judged by one state machine with fixed
 * bounds. Diagnostics: r->err with its line. Known gaps: the separator is a comma only; the
 * character set is the caller's affair.
 */
#include <string.h>

#include "webui/ctl/csv.h"

enum { AT_ROW, AT_FIELD, IN_PLAIN, IN_QUOTED, AFTER_QUOTE, AFTER_CR };

void csv_init(struct csv *r, csv_row_fn *row, void *arg)
{
	memset(r, 0, sizeof(*r));
	r->row = row;
	r->arg = arg;
	r->state = AT_ROW;
	r->line = 1;
}

static bool fail(struct csv *r, const char *why)
{
	r->err = why;
	r->err_line = r->line;
	r->stopped = true;
	return false;
}

static bool add_byte(struct csv *r, char b)
{
	if (r->len + 1 >= sizeof(r->buf))
		return fail(r, "the row is too long");
	r->buf[r->len++] = b;
	return true;
}

static bool start_field(struct csv *r)
{
	if (r->n_fields == CSV_MAX_FIELDS)
		return fail(r, "the row has too many fields");
	if (r->n_fields == 0)
		r->row_line = r->line;
	r->start[r->n_fields++] = r->len;
	return true;
}

static bool end_field(struct csv *r)
{
	if (r->len >= sizeof(r->buf))
		return fail(r, "the row is too long");
	r->buf[r->len++] = '\0';
	return true;
}

static bool end_row(struct csv *r)
{
	char *fields[CSV_MAX_FIELDS] = {NULL};
	size_t n = r->n_fields;
	for (size_t i = 0; i < n; i++)
		fields[i] = r->buf + r->start[i];
	r->n_fields = r->len = 0;
	r->state = AT_ROW;
	if (n > 0 && !r->row(n, fields, r->row_line, r->arg)) {
		r->stopped = true;
		return false;
	}
	return true;
}

/* A byte that ends an unquoted field, or follows a closing quote. */
static bool separator(struct csv *r, char b)
{
	switch (b) {
	case ',':
		r->state = AT_FIELD;
		return end_field(r);
	case '\r':
		r->state = AFTER_CR;
		return end_field(r);
	default: /* '\n' */
		if (!end_field(r) || !end_row(r))
			return false;
		r->line++;
		return true;
	}
}

static bool is_separator(char b)
{
	return b == ',' || b == '\r' || b == '\n';
}

static bool field_first(struct csv *r, char b)
{
	if (!start_field(r))
		return false;
	if (b == '"') {
		r->state = IN_QUOTED;
		return true;
	}
	if (is_separator(b))
		return separator(r, b);
	r->state = IN_PLAIN;
	return add_byte(r, b);
}

static bool row_first(struct csv *r, char b)
{
	if (b == '\n') {
		r->line++;
		return true;
	}
	if (b == '\r') {
		r->state = AFTER_CR;
		return true;
	}
	return field_first(r, b);
}

static bool quoted(struct csv *r, char b)
{
	if (b == '"') {
		r->state = AFTER_QUOTE;
		return true;
	}
	r->line += b == '\n';
	return add_byte(r, b);
}

static bool after_quote(struct csv *r, char b)
{
	if (b == '"') {
		r->state = IN_QUOTED;
		return add_byte(r, b);
	}
	if (is_separator(b))
		return separator(r, b);
	return fail(r, "text after the closing quote of a field");
}

static bool step(struct csv *r, char b)
{
	if (b == '\0')
		return fail(r, "a NUL byte: this is not a CSV file");
	switch (r->state) {
	case AT_ROW:
		return row_first(r, b);
	case AT_FIELD:
		return field_first(r, b);
	case IN_PLAIN:
		if (b == '"')
			return fail(r, "a quote inside a field that is not quoted");
		return is_separator(b) ? separator(r, b) : add_byte(r, b);
	case IN_QUOTED:
		return quoted(r, b);
	case AFTER_QUOTE:
		return after_quote(r, b);
	default: /* AFTER_CR */
		if (b != '\n')
			return fail(r, "a carriage return without a line feed");
		if (!end_row(r))
			return false;
		r->line++;
		return true;
	}
}

/* Eats a byte-order mark; returns true when the byte was part of it. */
static bool mark(struct csv *r, unsigned char b)
{
	static const unsigned char bom[] = {0xef, 0xbb, 0xbf};
	if (r->started)
		return false;
	if (b == bom[r->bom]) {
		r->started = ++r->bom == sizeof(bom);
		return true;
	}
	r->started = true;
	return false;
}

/* Bytes that looked like the start of a mark, but were not one. */
static bool replay_mark(struct csv *r)
{
	static const char bom[] = {'\xef', '\xbb'};
	for (unsigned i = 0; r->bom < 3 && i < r->bom; i++)
		if (!step(r, bom[i]))
			return false;
	r->bom = 3;
	return true;
}

bool csv_feed(struct csv *r, const void *data, size_t len)
{
	const char *p = data;
	for (size_t i = 0; i < len; i++) {
		if (r->stopped)
			return false;
		if (mark(r, (unsigned char)p[i]))
			continue;
		if (r->bom < 3 && !replay_mark(r))
			return false;
		if (!step(r, p[i]))
			return false;
	}
	return !r->stopped;
}

bool csv_end(struct csv *r)
{
	if (r->stopped || (r->bom < 3 && !replay_mark(r)))
		return false;
	switch (r->state) {
	case IN_QUOTED:
		return fail(r, "the file ends inside a quoted field");
	case AFTER_CR:
		return fail(r, "a carriage return without a line feed");
	case AT_FIELD:
		if (!start_field(r))
			return false;
		__attribute__((fallthrough));
	case IN_PLAIN:
	case AFTER_QUOTE:
		return end_field(r) && end_row(r);
	default:
		return true;
	}
}

/* --- writing --- */

static bool danger(char b)
{
	return b && strchr("=+-@\t\r", b);
}

bool csv_must_guard(const char *text)
{
	/* One that was guarded already must come back with as many apostrophes as it had. */
	return danger(text[strspn(text, "'")]);
}

bool csv_is_guarded(const char *text)
{
	return text[0] == '\'' && csv_must_guard(text);
}

void csv_put(FILE *f, const char *text)
{
	size_t n = strlen(text);
	bool quote = strpbrk(text, "\",\r\n") || (n && (text[0] == ' ' || text[n - 1] == ' '));
	if (quote)
		fputc('"', f);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', f);
		fputc(*text, f);
	}
	if (quote)
		fputc('"', f);
}
