/*
 * rows - see rows.h.
 *
 * Trusted with: files from outside. Diagnostics: the file and line of the first row that is wrong.
 * Known gaps: a file is read whole, up to 64 MB.
 */
#include <stdarg.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

#include "webui/ctl/ask.h"
#include "webui/ctl/csv.h"
#include "webui/ctl/rows.h"

struct load {
	struct cli *c;
	const char *file;
	const struct rows_spec *spec;
	const char *names[CSV_MAX_FIELDS]; /* column of each field; NULL: passed over */
	size_t n_names;
	json_t *rows;
	int *status;
};

static const char *name_in(const char *const *list, const char *name)
{
	for (; *list; list++)
		if (strcmp(*list, name) == 0)
			return *list;
	return NULL;
}

static bool bad(struct load *l, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool bad(struct load *l, const char *where, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *text = talloc_vasprintf(l->c->pool, fmt, ap);
	va_end(ap);
	*l->status = cli_fail(l->c, EX_DATAERR, "%s: %s", where, text);
	return false;
}

static const char *column_list(const struct load *l)
{
	char *s = talloc_strdup(l->c->pool, "");
	for (const char *const *p = l->spec->columns; *p; p++)
		s = talloc_asprintf_append(s, "%s%s", *s ? "," : "", *p);
	return s;
}

/* --- CSV --- */

static void default_names(struct load *l)
{
	for (; l->spec->columns[l->n_names]; l->n_names++)
		l->names[l->n_names] = l->spec->columns[l->n_names];
}

static bool is_prefix(const char *text)
{
	char err[128];
	struct prefix p;
	return prefix_parse(text, &p, err);
}

static bool header(struct load *l, size_t n, char *const *fields, const char *where)
{
	for (size_t i = 0; i < n; i++) {
		l->names[i] = name_in(l->spec->columns, fields[i]);
		if (!l->names[i] && !name_in(l->spec->ignored, fields[i]))
			return bad(l, where,
				   "the first line must name the columns: %s is none of %s",
				   fields[i], column_list(l));
		for (size_t k = 0; k < i && l->names[i]; k++)
			if (l->names[k] == l->names[i])
				return bad(l, where, "column %s is named twice", fields[i]);
	}
	l->n_names = n;
	return true;
}

static bool csv_value(struct load *l, json_t *row, const char *name, const char *text,
		      const char *where)
{
	if (csv_is_guarded(text))
		text++;
	if (!name || !*text)
		return true;
	json_t *v = json_string(text);
	if (!v)
		return bad(l, where, "%s is not UTF-8 text", name);
	json_object_set_new(row, name, v);
	return true;
}

static bool csv_row(size_t n, char *const *fields, unsigned line, void *arg)
{
	struct load *l = arg;
	const char *where = talloc_asprintf(l->c->pool, "%s:%u", l->file, line);
	if (l->n_names == 0 && !is_prefix(fields[0]))
		return header(l, n, fields, where);
	if (l->n_names == 0)
		default_names(l);
	if (n > l->n_names)
		return bad(l, where, "%zu fields, but there are %zu columns", n, l->n_names);
	json_t *row = json_pack("{s:s}", "where", where);
	if (!row)
		return bad(l, "the file's name", "it is not UTF-8 text");
	json_array_append_new(l->rows, row);
	for (size_t i = 0; i < n; i++)
		if (!csv_value(l, row, l->names[i], fields[i], where))
			return false;
	return true;
}

static bool load_csv(struct load *l, const char *text, size_t len)
{
	struct csv *r = talloc_zero(l->c->pool, struct csv);
	csv_init(r, csv_row, l);
	bool ok = csv_feed(r, text, len) && csv_end(r);
	if (!ok && r->err)
		bad(l, talloc_asprintf(l->c->pool, "%s:%u", l->file, r->err_line), "%s", r->err);
	return ok;
}

/* --- JSON --- */

/* "starts_ms": the column "starts" of the same moment. */
static const char *column_of(const struct load *l, const char *key, const json_t *v)
{
	size_t n = strlen(key);
	if (n > 3 && strcmp(key + n - 3, "_ms") == 0 && json_is_integer(v))
		key = talloc_strndup(l->c->pool, key, n - 3);
	return name_in(l->spec->columns, key);
}

static bool is_ignored(const struct load *l, const char *key)
{
	size_t n = strlen(key);
	if (n > 3 && strcmp(key + n - 3, "_ms") == 0)
		key = talloc_strndup(l->c->pool, key, n - 3);
	return name_in(l->spec->ignored, key) || name_in(l->spec->columns, key);
}

static bool json_member(struct load *l, json_t *row, const char *key, json_t *v, const char *where)
{
	char buf[CLOCK_STRLEN];
	const char *name = column_of(l, key, v);
	if (!name && !is_ignored(l, key))
		return bad(l, where, "%s is none of %s", key, column_list(l));
	if (!name || json_is_null(v))
		return true;
	if (json_is_string(v)) {
		if (*json_string_value(v) && !json_object_get(row, name))
			json_object_set(row, name, v);
		return true;
	}
	if (!json_is_integer(v))
		return bad(l, where, "%s must be text", key);
	const char *text = strcmp(name, key) == 0
			       ? talloc_asprintf(l->c->pool, "%lld", json_integer_value(v))
			       : clock_format(json_integer_value(v), buf);
	json_object_set_new(row, name, json_string(text));
	return true;
}

static bool json_row(struct load *l, size_t i, json_t *in)
{
	const char *where = talloc_asprintf(l->c->pool, "%s: row %zu", l->file, i + 1);
	const char *key;
	json_t *v;
	if (!json_is_object(in))
		return bad(l, where, "it is not an object");
	json_t *row = json_pack("{s:s}", "where", where);
	if (!row)
		return bad(l, "the file's name", "it is not UTF-8 text");
	json_array_append_new(l->rows, row);
	json_object_foreach (in, key, v)
		if (!json_member(l, row, key, v, where))
			return false;
	return true;
}

static bool load_json(struct load *l, const char *text, size_t len)
{
	json_error_t e;
	json_t *in = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	bool ok = true;
	size_t i;
	json_t *v;
	if (!in)
		return bad(l, talloc_asprintf(l->c->pool, "%s:%d", l->file, e.line), "%s", e.text);
	if (!json_is_array(in))
		ok = bad(l, l->file, "it must be an array of objects, as exempt export writes it");
	json_array_foreach (in, i, v)
		ok = ok && json_row(l, i, v);
	json_decref(in);
	return ok;
}

/* --- both --- */

json_t *rows_read(struct cli *c, const char *file, bool json, const struct rows_spec *spec,
		  int *status)
{
	struct load l = {.c = c, .spec = spec, .status = status};
	size_t len;
	l.file = strcmp(file, "-") == 0 ? "standard input" : file;
	char *text = ask_file(c, file, ROWS_MAX_BYTES, &len, status);
	if (!text)
		return NULL;
	l.rows = json_array();
	if (json ? load_json(&l, text, len) : load_csv(&l, text, len))
		return l.rows;
	json_decref(l.rows);
	return NULL;
}

const char *rows_text(const json_t *row, const char *column)
{
	return json_string_value(json_object_get(row, column));
}

bool rows_bad(struct cli *c, const json_t *row, int *status, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *text = talloc_vasprintf(c->pool, fmt, ap);
	va_end(ap);
	*status = cli_fail(c, EX_DATAERR, "%s: %s", rows_text(row, "where"), text);
	return false;
}

bool rows_prefix(struct cli *c, const json_t *row, char out[static PREFIX_STRLEN], int *status)
{
	const char *text = rows_text(row, "prefix");
	char err[128] = "";
	struct prefix p;
	if (!text)
		return rows_bad(c, row, status, "prefix: it is missing");
	if (!prefix_parse(text, &p, err))
		return rows_bad(c, row, status, "prefix: %s: %s", text, err);
	prefix_format(&p, out);
	return true;
}

bool rows_time(struct cli *c, const json_t *row, const char *column, json_t *args, const char *key,
	       int64_t *ms, int *status)
{
	const char *text = rows_text(row, column);
	const char *err = NULL;
	*ms = 0;
	if (!text || strcmp(text, "never") == 0)
		return true;
	if (!clock_parse(text, c->io->now_ms, ms, &err))
		return rows_bad(c, row, status, "%s: %s: %s", column, text, err);
	json_object_set_new(args, key, json_integer(*ms));
	return true;
}

void rows_copy(const json_t *row, const char *const *columns, json_t *args)
{
	for (; *columns; columns++) {
		json_t *v = json_object_get(row, *columns);
		if (v)
			json_object_set(args, *columns, v);
	}
}
