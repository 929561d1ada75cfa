/*
 * out - see out.h.
 *
 * Trusted with: foreign text, which it escapes, and nothing else. Diagnostics: a failed write is
 * seen once, by cli_main(), at the end. Known gaps: a table wider than the terminal wraps.
 */
#include <ctype.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"

#include "webui/ctl/out.h"

#define TIME_FROM                                                                                  \
	100000000000 /* 1973: a *_ms value from here on is a point in time, below it a duration */

/* --- text --- */

const char *out_escape(void *pool, const char *text)
{
	char *out = talloc_strdup(pool, "");
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "\"");
		char *piece = talloc_size(pool, len * 4 + 1);
		log_escape(p, len, piece, len * 4 + 1);
		p += len;
		out = talloc_asprintf_append_buffer(out, "%s%s", piece, *p ? "\"" : "");
		talloc_free(piece);
		p += *p == '"';
	}
	return out;
}

/* One character of valid UTF-8 (escaped text is). */
static size_t utf8_next(const char *s, wchar_t *out)
{
	unsigned char b = (unsigned char)s[0];
	size_t n = b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
	wchar_t v = n == 1 ? b : (wchar_t)(b & (0xffu >> (n + 1)));
	for (size_t i = 1; i < n; i++) {
		if (!s[i])
			return i;
		v = (wchar_t)((v << 6) | (s[i] & 0x3f));
	}
	*out = v;
	return n;
}

/* wcwidth(3) knows characters only in a locale that has them, whatever the environment or lib/conf
 * set. */
static locale_t utf8_locale(void)
{
	static locale_t utf8;
	if (!utf8)
		utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	return utf8;
}

int out_width(const char *text)
{
	int w = 0;
	locale_t old = uselocale(utf8_locale());
	while (*text) {
		wchar_t cp = 0;
		text += utf8_next(text, &cp);
		int k = wcwidth(cp);
		w += k < 0 ? 1 : k;
	}
	uselocale(old);
	return w;
}

static const char *size_text(const struct cli *c, json_int_t n)
{
	static const char unit[] = " kMGT";
	double v = (double)n;
	size_t u = 0;
	if (!c->io->out_tty || n < 10000)
		return talloc_asprintf(c->pool, "%lld", (long long)n);
	while (v >= 1024 && u + 2 < sizeof(unit)) {
		v /= 1024;
		u++;
	}
	return talloc_asprintf(c->pool, "%.1f%c", v, unit[u]);
}

static const char *number_text(const struct cli *c, enum col_type type, json_int_t n)
{
	char buf[CLOCK_STRLEN];
	switch (type) {
	case COL_TIME:
	case COL_NEVER:
		return n ? talloc_strdup(c->pool, clock_format(n, buf)) : "-";
	case COL_SPAN:
		return talloc_strdup(c->pool, clock_format_duration(n, buf));
	case COL_SIZE:
		return size_text(c, n);
	default:
		return talloc_asprintf(c->pool, "%lld", (long long)n);
	}
}

static const char *joined(const struct cli *c, const json_t *array)
{
	char *out = talloc_strdup(c->pool, "");
	size_t i;
	json_t *v;
	json_array_foreach (array, i, v)
		out = talloc_asprintf_append(out, "%s%s", i ? "," : "", out_value(c, COL_TEXT, v));
	return *out ? out : "-";
}

/* {"a":1,"b":"x"} as a=1 b=x. */
static const char *members(const struct cli *c, const json_t *obj)
{
	char *out = talloc_strdup(c->pool, "");
	const char *key;
	json_t *v;
	json_object_foreach ((json_t *)obj, key, v)
		out = talloc_asprintf_append(out, "%s%s=%s", *out ? " " : "",
					     out_escape(c->pool, key), out_value(c, COL_TEXT, v));
	return *out ? out : "-";
}

const char *out_value(const struct cli *c, enum col_type type, const json_t *v)
{
	if (!v || json_is_null(v))
		return type == COL_NEVER && v ? "never" : "-";
	if (type == COL_MANY)
		return talloc_asprintf(c->pool, "%zu", json_array_size(v));
	if (json_is_integer(v))
		return number_text(c, type, json_integer_value(v));
	if (json_is_real(v))
		return talloc_asprintf(c->pool, "%.3g", json_real_value(v));
	if (json_is_boolean(v))
		return json_is_true(v) ? "yes" : "no";
	if (json_is_array(v))
		return joined(c, v);
	if (json_is_object(v))
		return members(c, v);
	return *json_string_value(v) ? out_escape(c->pool, json_string_value(v)) : "-";
}

/* --- tables --- */

static const char *cell(const struct cli *c, const struct col *col, const json_t *row)
{
	return out_value(c, col->type, json_object_get(row, col->key));
}

static void tsv_row(const struct cli *c, const char *title, const struct col *cols,
		    const json_t *row)
{
	FILE *f = c->io->out;
	if (title)
		fprintf(f, "%s\t", title);
	for (const struct col *k = cols; k->head; k++)
		fprintf(f, "%s%s", k == cols ? "" : "\t", cell(c, k, row));
	fputc('\n', f);
}

static void padded(FILE *f, const char *text, int width, bool right, bool last)
{
	int pad = width - out_width(text);
	if (right)
		fprintf(f, "%*s", pad, "");
	fputs(text, f);
	if (!right && !last)
		fprintf(f, "%*s", pad, "");
	if (!last)
		fputs("  ", f);
}

static bool right_aligned(const struct col *k)
{
	return k->type == COL_NUM || k->type == COL_SIZE || k->type == COL_MANY ||
	       k->type == COL_SPAN;
}

static void header(const struct cli *c, const struct col *cols, const int *width)
{
	FILE *f = c->io->out;
	fputs(c->io->color ? "\033[1m" : "", f);
	for (size_t i = 0; cols[i].head; i++)
		padded(f, cols[i].head, width[i], right_aligned(&cols[i]), !cols[i + 1].head);
	fputs(c->io->color ? "\033[0m\n" : "\n", f);
}

static void aligned(const struct cli *c, const struct col *cols, const json_t *rows)
{
	int width[32] = {0};
	size_t n = 0, i;
	json_t *row;
	for (; cols[n].head; n++)
		width[n] = out_width(cols[n].head);
	json_array_foreach (rows, i, row)
		for (size_t k = 0; k < n; k++) {
			int w = out_width(cell(c, &cols[k], row));
			width[k] = w > width[k] ? w : width[k];
		}
	header(c, cols, width);
	json_array_foreach (rows, i, row) {
		for (size_t k = 0; k < n; k++)
			padded(c->io->out, cell(c, &cols[k], row), width[k],
			       right_aligned(&cols[k]), k + 1 == n);
		fputc('\n', c->io->out);
	}
}

void out_rows(const struct cli *c, const char *title, const struct col *cols, const json_t *rows)
{
	size_t i;
	json_t *row;
	if (!c->io->out_tty) {
		json_array_foreach (rows, i, row)
			tsv_row(c, title, cols, row);
		return;
	}
	if (title)
		fprintf(c->io->out, "\n%s%s\n", title, json_array_size(rows) ? ":" : ": none");
	if (json_array_size(rows))
		aligned(c, cols, rows);
}

static const char *lower(const struct cli *c, const char *head)
{
	char *s = talloc_strdup(c->pool, head);
	for (char *p = s; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return s;
}

void out_pair(const struct cli *c, int width, const char *name, const char *value)
{
	if (c->io->out_tty)
		fprintf(c->io->out, "%-*s  %s\n", width, name, value);
	else
		fprintf(c->io->out, "%s\t%s\n", name, value);
}

void out_object(const struct cli *c, const struct col *cols, const json_t *obj)
{
	int width = 0;
	for (const struct col *k = cols; k->head; k++)
		width = (int)strlen(k->head) > width ? (int)strlen(k->head) : width;
	for (const struct col *k = cols; k->head; k++)
		if (json_object_get(obj, k->key))
			out_pair(c, width, lower(c, k->head), cell(c, k, obj));
}

void out_lines(const struct cli *c, const char *title, const char *tag, const char *text)
{
	bool tty = c->io->out_tty;
	if (tty)
		fprintf(c->io->out, "\n%s:\n", title);
	while (*text) {
		size_t len = strcspn(text, "\r\n");
		char *line = talloc_strndup(c->pool, text, len);
		for (char *p = line; *p; p++)
			*p = *p == '\t' ? ' ' : *p;
		if (len)
			fprintf(c->io->out, "%s%s%s\n", tty ? " " : tag, tty ? " " : "\t",
				out_escape(c->pool, line));
		text += len;
		text += strspn(text, "\r\n");
	}
}

/* --- JSON --- */

static json_t *with_times(const json_t *v);

/* "opened_ms" and its value: sets "opened" too, unless there is one. */
static void add_time(json_t *out, const char *key, const json_t *v)
{
	char name[64], text[CLOCK_STRLEN];
	size_t len = strlen(key);
	if (len < 4 || len > sizeof(name) || strcmp(key + len - 3, "_ms") != 0 ||
	    !json_is_integer(v) || json_integer_value(v) < TIME_FROM)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)len - 3, key);
	if (strcmp(name, "t") == 0)
		snprintf(name, sizeof(name), "time");
	if (!json_object_get(out, name))
		json_object_set_new(out, name,
				    json_string(clock_format(json_integer_value(v), text)));
}

static json_t *object_with_times(const json_t *v)
{
	json_t *out = json_object(), *m;
	const char *key;
	json_object_foreach ((json_t *)v, key, m)
		json_object_set_new(out, key, with_times(m));
	json_object_foreach ((json_t *)v, key, m)
		add_time(out, key, m);
	return out;
}

static json_t *with_times(const json_t *v)
{
	if (json_is_object(v))
		return object_with_times(v);
	if (!json_is_array(v))
		return json_deep_copy(v);
	json_t *out = json_array(), *m;
	size_t i;
	json_array_foreach (v, i, m)
		json_array_append_new(out, with_times(m));
	return out;
}

static void dump(const struct cli *c, const json_t *v, size_t flags)
{
	json_t *t = with_times(v);
	json_dumpf(t, c->io->out, flags | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
	fputc('\n', c->io->out);
	json_decref(t);
}

void out_json(const struct cli *c, const json_t *v)
{
	dump(c, v, JSON_INDENT(2));
}

void out_json_line(const struct cli *c, const json_t *v)
{
	dump(c, v, JSON_COMPACT);
}

int out_list(const struct cli *c, const struct col *cols, const json_t *rows)
{
	if (c->json)
		out_json(c, rows);
	else if (json_array_size(rows))
		out_rows(c, NULL, cols, rows);
	else if (c->io->out_tty)
		cli_warn(c, "nothing found");
	return json_array_size(rows) ? EX_OK : CLI_NO;
}

int out_result(const struct cli *c, const struct col *cols, const json_t *obj)
{
	if (c->json)
		out_json(c, obj);
	else
		out_object(c, cols, obj);
	return EX_OK;
}
