/*
 * csv - RFC 4180 text, read strictly byte by byte, and written.
 *
 * Reading: fields parted by commas, lines by CRLF or LF; a quoted field may hold commas, quotes
 * (doubled) and line ends. A byte-order mark at the start is skipped, an empty line too. A quote
 * inside an unquoted field, anything after a closing quote, a lone CR, a NUL, an unfinished quote
 * and an oversized field or row are errors with their line.
 *
 * A spreadsheet takes a field that starts with = + - @ TAB or CR for a formula. csv_must_guard()
 * says that one needs an apostrophe before it, and csv_is_guarded() that one has it: what was
 * exported is what is imported.
 */
#ifndef WEBUI_CTL_CSV_H
#define WEBUI_CTL_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CSV_MAX_FIELDS 48
#define CSV_MAX_ROW    32768 /* bytes of all its fields with a NUL each */

/* fields are valid during the call. Returns false to stop reading. line is where the row starts,
 * from 1. */
typedef bool csv_row_fn(size_t n, char *const *fields, unsigned line, void *arg);

struct csv {
	csv_row_fn *row;
	void *arg;
	int state;
	unsigned line, row_line;
	size_t n_fields, len;
	size_t start[CSV_MAX_FIELDS];
	unsigned bom; /* bytes of the mark seen */
	bool started, stopped;
	char buf[CSV_MAX_ROW];
	const char *err; /* static text, NULL: none */
	unsigned err_line;
};

void csv_init(struct csv *r, csv_row_fn *row, void *arg);
/* False after an error (r->err, r->err_line) or when row() returned false (r->err is NULL). */
bool csv_feed(struct csv *r, const void *data, size_t len);
/* The input has ended: completes a last line that has no line end. */
bool csv_end(struct csv *r);

/* Writes one field, quoted where it must be. */
void csv_put(FILE *f, const char *text);
/* True when text needs (has) an apostrophe before it. */
bool csv_must_guard(const char *text);
bool csv_is_guarded(const char *text);

#endif
