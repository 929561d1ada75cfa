/*
 * rows - a file of many rows, CSV or JSON, as the import commands take it.
 */
#ifndef WEBUI_CTL_ROWS_H
#define WEBUI_CTL_ROWS_H

#include <jansson.h>

#include "lib/addr.h"

#include "webui/ctl/cli.h"

#define ROWS_MAX_BYTES (64u << 20)

struct rows_spec {
	const char *const
	    *columns; /* NULL-terminated; the first is a prefix and must not be empty */
	const char *const
	    *ignored; /* names that a list prints and an import passes over; NULL-terminated */
};

/*
 * FILE or "-" as an array of objects: the columns as text (an empty one is left out), and "where",
 * which names the row in an error
 * ("FILE:3" in CSV, "FILE: row 3" in JSON). CSV: the first line names the columns, in any order;
 * without such a line, when it starts with a prefix, they are in the order of spec->columns. JSON:
 * an array of flat objects; NAME_ms is milliseconds for the column NAME. NULL with *status when any
 * row is not of that shape.
 */
json_t *rows_read(struct cli *c, const char *file, bool json, const struct rows_spec *spec,
		  int *status);

/* One column's text, NULL when empty. */
const char *rows_text(const json_t *row, const char *column);
/* Says "WHERE: message"; returns false with *status EX_DATAERR. */
bool rows_bad(struct cli *c, const json_t *row, int *status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The prefix in canonical form; false when it is none. */
bool rows_prefix(struct cli *c, const json_t *row, char out[static PREFIX_STRLEN], int *status);
/* The time in column as args[key]; empty or "never": nothing is set. *ms is 0 then. */
bool rows_time(struct cli *c, const json_t *row, const char *column, json_t *args, const char *key,
	       int64_t *ms, int *status);
/* Columns that are passed on as they are, under the same names; NULL-terminated. */
void rows_copy(const json_t *row, const char *const *columns, json_t *args);

#endif
