/*
 * exempt_file - exemptions from and to a file (see exempt.h).
 *
 * An import goes to acctd in pieces of a request's size, which keeps them and applies all with the
 * last, in one transaction: an error means that nothing was changed.
 *
 * Trusted with: files from outside. Diagnostics: on stderr, with the line and the column. Known
 * gaps: a file is held in memory.
 */
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

#include "webui/ctl/csv.h"
#include "webui/ctl/exempt.h"
#include "webui/ctl/out.h"
#include "webui/ctl/rows.h"

#define CHUNK_ROWS  1000
#define CHUNK_BYTES 900000 /* a request holds at most 1 MiB */
#define APPLY_MS    900000 /* for the last request of an import, with a million rows */

/* The first eight are what a file without a header has. */
static const char *const columns[] = {"prefix",	  "class",	     "subscriber",
				      "contract", "contact",	     "reason",
				      "starts",	  "expires",	     "to",
				      "state",	  "suspended_until", "service",
				      "static",	  "access_port",     "abuse_contact",
				      "use",	  "software",	     "volume",
				      "helo",	  "domain",	     "aup",
				      "approver", "ticket",	     "review",
				      NULL};
static const char *const texts[] = {
    "class",   "subscriber", "contract",    "contact",	     "reason", "to",	   "state",
    "service", "static",     "access_port", "abuse_contact", "use",    "software", "volume",
    "helo",    "domain",     "approver",    "ticket",	     NULL};
static const char *const times[] = {"aup", "review", "suspended_until", NULL};
/* What exempt list prints besides. */
static const char *const ignored[] = {"id",
				      "actor",
				      "created",
				      "last_seen",
				      "packets",
				      "in_force",
				      "ended",
				      "suspended_by",
				      "evidence",
				      "evidence_bad",
				      "evidence_held",
				      "evidence_note",
				      "subscriber_name",
				      NULL};
static const struct rows_spec spec = {columns, ignored};

/* --- import: the rows --- */

static bool good_times(struct cli *c, const json_t *row, json_t *args, int *status)
{
	int64_t starts, expires, ms;
	if (!rows_time(c, row, "starts", args, "starts_ms", &starts, status) ||
	    !rows_time(c, row, "expires", args, "expires_ms", &expires, status))
		return false;
	for (const char *const *k = times; *k; k++) {
		char key[32];
		snprintf(key, sizeof(key), "%s_ms", *k);
		if (!rows_time(c, row, *k, args, key, &ms, status))
			return false;
	}
	if (expires && expires <= starts)
		return rows_bad(c, row, status, "expires: it expires before it starts");
	if (expires && expires <= c->io->now_ms)
		return rows_bad(c, row, status,
				"expires: it has expired already: give a later "
				"time, or none");
	return true;
}

static bool good_row(struct cli *c, const json_t *row, json_t *args, int *status)
{
	char prefix[PREFIX_STRLEN];
	if (!rows_prefix(c, row, prefix, status))
		return false;
	json_object_set_new(args, "prefix", json_string(prefix));
	if (!good_times(c, row, args, status))
		return false;
	rows_copy(row, texts, args);
	return true;
}

static bool first_of_prefix(struct cli *c, const json_t *row, const json_t *args, json_t *seen,
			    int *status)
{
	const char *prefix = rows_text(args, "prefix");
	const char *other = rows_text(seen, prefix);
	if (other)
		return rows_bad(c, row, status, "prefix: %s is there already, at %s", prefix,
				other);
	json_object_set(seen, prefix, json_object_get(row, "where"));
	return true;
}

/* An array of arguments, one a row of rows; NULL with the first bad row said. */
static json_t *check_rows(struct cli *c, const json_t *rows, int *status)
{
	json_t *out = json_array(), *seen = json_object(), *row;
	size_t i;
	json_array_foreach (rows, i, row) {
		json_t *args = json_object();
		json_array_append_new(out, args);
		if (good_row(c, row, args, status) && first_of_prefix(c, row, args, seen, status))
			continue;
		json_decref(out);
		out = NULL;
		break;
	}
	json_decref(seen);
	return out;
}

/* --- import: the requests --- */

/* The rows from *at on that fit one request. */
static json_t *next_chunk(const json_t *all, size_t *at)
{
	json_t *chunk = json_array();
	size_t bytes = 0;
	while (*at < json_array_size(all) && json_array_size(chunk) < CHUNK_ROWS) {
		json_t *row = json_array_get(all, *at);
		bytes += json_dumpb(row, NULL, 0, JSON_COMPACT) + 1;
		if (bytes > CHUNK_BYTES && json_array_size(chunk))
			break;
		json_array_append(chunk, row);
		(*at)++;
	}
	return chunk;
}

/* acctd counts the rows of an import from 1: "row 3: why; nothing was changed". The number, or 0;
 * *why is the rest. */
static size_t row_number(char *text, const char **why)
{
	static const char tail[] = "; nothing was changed";
	size_t n = strlen(text), t = sizeof(tail) - 1;
	char *end = text;
	unsigned long k = strncmp(text, "row ", 4) == 0 ? strtoul(text + 4, &end, 10) : 0;
	if (k == 0 || strncmp(end, ": ", 2) != 0)
		return 0;
	if (n > t && strcmp(text + n - t, tail) == 0)
		text[n - t] = '\0';
	*why = end + 2;
	return k;
}

/* Says what acctd said, with the row's place in the file. */
static int refused(struct cli *c, struct control_error *e, const json_t *rows)
{
	const char *why = NULL;
	int status = ask_data_code(e);
	size_t k = row_number(e->text, &why);
	const json_t *row = k ? json_array_get(rows, k - 1) : NULL;
	if (row)
		cli_fail(c, status, "%s: %s", rows_text(row, "where"), why);
	else
		ask_failed(c, e);
	cli_warn(c, "nothing was imported");
	return status;
}

/* The options of the last request. */
static void put_options(struct cli *c, json_t *args, bool dry_run)
{
	if (dry_run)
		json_object_set_new(args, "dry_run", json_true());
	if (cli_flag(c, "replace-missing"))
		json_object_set_new(args, "replace_missing", json_true());
	ask_put_text(c, args, "reason", "reason");
}

/* What acctd says to the last request, or NULL with *status. */
static json_t *send_rows(struct cli *c, const json_t *rows, const json_t *all, bool dry_run,
			 int *status)
{
	struct control_error e;
	json_t *import = NULL, *r = NULL;
	size_t at = 0;
	do {
		json_t *args = json_pack("{s:o}", "rows", next_chunk(all, &at));
		if (import)
			json_object_set(args, "import", import);
		if (at < json_array_size(all))
			json_object_set_new(args, "more", json_true());
		else
			put_options(c, args, dry_run);
		json_decref(r);
		r = control_call_within(c->conf.run_dir, "exempt.import", args, NULL, APPLY_MS, &e);
		json_decref(args);
		json_decref(import);
		import = json_incref(json_object_get(r, "import"));
	} while (r && at < json_array_size(all));
	json_decref(import);
	if (!r)
		*status = refused(c, &e, rows);
	return r;
}

static const struct col import_cols[] = {
    {"ADDED", "added", COL_NUM},	 {"UPDATED", "updated", COL_NUM},
    {"UNCHANGED", "unchanged", COL_NUM}, {"REMOVED", "removed", COL_NUM},
    {"IN_FORCE", "in_force", COL_TEXT},	 COL_END,
};

/* --format, else the file's name, else CSV. */
static bool is_json(const struct cli *c, const char *file)
{
	const char *format = cli_text(c, "format");
	size_t n = file ? strlen(file) : 0;
	if (format)
		return strcmp(format, "json") == 0;
	return n > 5 && strcmp(file + n - 5, ".json") == 0;
}

/* A person who is about to remove some is told how many first. */
static bool agreed(struct cli *c, const json_t *rows, const json_t *all, int *status)
{
	char question[96];
	if (!cli_flag(c, "replace-missing") || !c->io->in_tty || !c->io->out_tty)
		return true;
	json_t *r = send_rows(c, rows, all, true, status);
	int64_t n = json_integer_value(json_object_get(r, "removed"));
	bool known = r != NULL;
	json_decref(r);
	snprintf(question, sizeof(question), "%lld exemptions are not in the file. Remove them?",
		 (long long)n);
	if (!known || n == 0 || ask_yes(c, question))
		return known;
	*status = cli_fail(c, CLI_NO, "nothing was imported");
	return false;
}

static int run_rows(struct cli *c, const json_t *rows, const json_t *all)
{
	int status = EX_OK;
	bool dry_run = cli_flag(c, "dry-run");
	if (!dry_run && !agreed(c, rows, all, &status))
		return status;
	json_t *r = send_rows(c, rows, all, dry_run, &status);
	if (!r)
		return status;
	/* Nothing to put in force is as good as in force. */
	if (!dry_run && !json_object_get(r, "in_force"))
		json_object_set_new(r, "in_force", json_true());
	out_result(c, import_cols, r);
	if (dry_run)
		cli_warn(c, "nothing was changed: this was a dry run");
	else if (json_is_false(json_object_get(r, "in_force")))
		cli_warn(c, "recorded, but sekisho-nfqd has not said yet that it is in force");
	json_decref(r);
	return EX_OK;
}

int exempt_run_import(struct cli *c)
{
	int status = EX_OK;
	if (!ask_conf(c, &status))
		return status;
	json_t *rows = rows_read(c, c->args[0], is_json(c, c->args[0]), &spec, &status);
	json_t *all = rows ? check_rows(c, rows, &status) : NULL;
	if (all && json_array_size(all) == 0)
		status = cli_fail(c, EX_DATAERR, "there is no row in it: nothing was imported");
	else if (all)
		status = run_rows(c, rows, all);
	json_decref(all);
	json_decref(rows);
	return status;
}

/* --- export --- */

static const char *export_text(const struct cli *c, const json_t *row, const char *column)
{
	static char when[CLOCK_STRLEN];
	char key[32];
	(void)c;
	snprintf(key, sizeof(key), "%s_ms", column);
	const json_t *ms = json_object_get(row, key);
	if (json_integer_value(ms))
		return clock_format(json_integer_value(ms), when);
	const char *text = ms ? NULL : rows_text(row, column);
	if (text && strcmp(column, "state") == 0 && strcmp(text, "pending") == 0)
		return "active";
	return text ? text : "";
}

static void export_csv(const struct cli *c, const json_t *rows)
{
	FILE *f = c->io->out;
	size_t i;
	json_t *row;
	for (const char *const *k = columns; *k; k++)
		fprintf(f, "%s%s", k == columns ? "" : ",", *k);
	fputs("\r\n", f);
	json_array_foreach (rows, i, row) {
		for (const char *const *k = columns; *k; k++) {
			const char *text = export_text(c, row, *k);
			char *guarded =
			    csv_must_guard(text) ? talloc_asprintf(c->pool, "'%s", text) : NULL;
			fputs(k == columns ? "" : ",", f);
			csv_put(f, guarded ? guarded : text);
			talloc_free(guarded);
		}
		fputs("\r\n", f);
	}
}

static void export_json(const struct cli *c, const json_t *rows)
{
	json_t *out = json_array(), *row;
	size_t i;
	json_array_foreach (rows, i, row) {
		json_t *o = json_object();
		for (const char *const *k = columns; *k; k++) {
			const char *text = export_text(c, row, *k);
			if (*text)
				json_object_set_new(o, *k, json_string(text));
		}
		json_array_append_new(out, o);
	}
	out_json(c, out);
	json_decref(out);
}

struct sortable {
	struct prefix p;
	json_t *row;
};

static int by_prefix(const void *a, const void *b)
{
	const struct sortable *x = a, *y = b;
	int d = addr_cmp(&x->p.a, &y->p.a);
	return d ? d : (int)x->p.len - (int)y->p.len;
}

/* In the order of their addresses, so that two exports can be compared. */
static json_t *sorted(const struct cli *c, json_t *rows)
{
	char err[128];
	size_t n = json_array_size(rows);
	struct sortable *list = talloc_zero_array(c->pool, struct sortable, n + 1);
	json_t *out = json_array();
	for (size_t i = 0; i < n; i++) {
		list[i].row = json_array_get(rows, i);
		(void)prefix_parse(rows_text(list[i].row, "prefix"), &list[i].p, err);
	}
	qsort(list, n, sizeof(*list), by_prefix);
	for (size_t i = 0; i < n; i++)
		json_array_append(out, list[i].row);
	talloc_free(list);
	json_decref(rows);
	return out;
}

int exempt_run_export(struct cli *c)
{
	int status = EX_OK;
	json_t *r = exempt_all(c, &(struct query_exempt){.all = false}, &status);
	if (r)
		r = sorted(c, r);
	if (r && (c->json || is_json(c, NULL)))
		export_json(c, r);
	else if (r)
		export_csv(c, r);
	json_decref(r);
	return status;
}
