/*
 * out - results as a table, as tab-separated lines, or as JSON.
 *
 * On a terminal rows are aligned under a header. Elsewhere each row is one line of tab-separated
 * fields without a header, an absent or empty value a "-", so that cut(1) and awk(1) can count on
 * the columns. Times are RFC 3339 UTC. Text that came from outside is escaped: no value can move
 * the cursor or start a new line or column.
 */
#ifndef WEBUI_CTL_OUT_H
#define WEBUI_CTL_OUT_H

#include <jansson.h>

#include "webui/ctl/cli.h"

enum col_type {
	COL_TEXT,  /* any JSON value; an array's elements are joined with commas */
	COL_NUM,   /* right-aligned on a terminal */
	COL_TIME,  /* milliseconds; 0 or null is "-" */
	COL_NEVER, /* the same, but null is "never" */
	COL_SIZE,  /* bytes; with k, M, G on a terminal */
	COL_SPAN,  /* milliseconds, a duration */
	COL_MANY,  /* an array: its length */
};

struct col {
	const char *head; /* in capitals; NULL ends the list */
	const char *key;  /* in the row */
	enum col_type type;
};

/* Every table of this program ends with this row. */
#define COL_END                                                                                    \
	{                                                                                          \
		NULL, NULL, COL_TEXT                                                               \
	}

/*
 * Rows (an array of objects) as a table. title, when not NULL, stands above it on a terminal and as
 * the first field of each line elsewhere, for commands that print several tables.
 */
void out_rows(const struct cli *c, const char *title, const struct col *cols, const json_t *rows);
/* One object: "name  value" lines, aligned on a terminal, tab-separated elsewhere. Names are heads
 * in lower case. */
void out_object(const struct cli *c, const struct col *cols, const json_t *obj);
/* One "name  value" line of out_object(); width is of the name column on a terminal. */
void out_pair(const struct cli *c, int width, const char *name, const char *value);

/*
 * v as JSON with two blanks of indent, ASCII only. Each member NAME_ms that is a point in time gets
 * a sister NAME with the RFC 3339 text ("time" for t_ms). Does not change v.
 */
void out_json(const struct cli *c, const json_t *v);
/* The same on one line, for a stream of values. */
void out_json_line(const struct cli *c, const json_t *v);

/* --json: the array itself; else the table. Returns 0, or 1 when there are no rows. */
int out_list(const struct cli *c, const struct col *cols, const json_t *rows);
/* --json: the object itself; else out_object(). Returns 0. */
int out_result(const struct cli *c, const struct col *cols, const json_t *obj);

/*
 * Text of several lines, such as a message's headers: on a terminal title and the lines indented,
 * elsewhere each line after tag. A tab is a blank here, so that it cannot look like the end of a
 * field.
 */
void out_lines(const struct cli *c, const char *title, const char *tag, const char *text);

/* The text of one value, escaped; never NULL, in c->pool. */
const char *out_value(const struct cli *c, enum col_type type, const json_t *v);
/* lib/log's escaping, but quotes stay: they cannot harm a terminal. */
const char *out_escape(void *pool, const char *text);
/* Columns a text takes on a terminal. */
int out_width(const char *text);

#endif
