/*
 * exempt - who may use port 25: register, withdraw, list, import, export.
 *
 * Trusted with: asking acctd for changes. Diagnostics: on stderr; an import checks every row before
 * it sends the first. Known gaps: an import of more than 1000 rows is several transactions.
 */
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

#include "webui/ctl/ask.h"
#include "webui/ctl/csv.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"
#include "webui/ctl/rows.h"

#define CHUNK_ROWS  1000
#define CHUNK_BYTES 900000 /* a request holds at most 1 MiB */

static const struct col list_cols[] = {
    {"PREFIX", "prefix", COL_TEXT},
    {"CLASS", "class", COL_TEXT},
    {"STATE", "state", COL_TEXT},
    {"STARTS", "starts_ms", COL_TIME},
    {"EXPIRES", "expires_ms", COL_NEVER},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"CONTRACT", "contract", COL_TEXT},
    {"CONTACT", "contact", COL_TEXT},
    {"LAST_SEEN", "last_seen_ms", COL_TIME},
    {"PACKETS", "packets", COL_NUM},
    {"REASON", "reason", COL_TEXT},
    COL_END,
};
static const struct col change_cols[] = {
    {"PREFIX", "prefix", COL_TEXT},
    {"ID", "id", COL_NUM},
    {"VERSION", "version", COL_NUM},
    {"IN_FORCE", "in_force", COL_TEXT},
    COL_END,
};

/* --- add, remove, list --- */

/* later: it is to begin some other time, so that nobody waits for it to be in force. */
static int changed(struct cli *c, const char *prefix, bool later, json_t *r, const int *status)
{
	if (!r)
		return *status;
	if (!json_object_get(r, "prefix"))
		json_object_set_new(r, "prefix", json_string(prefix));
	out_result(c, change_cols, r);
	if (!later && json_is_false(json_object_get(r, "in_force")))
		cli_warn(c, "recorded, but sekisho-nfqd has not said yet that it is in force");
	json_decref(r);
	return EX_OK;
}

static int run_add(struct cli *c)
{
	char prefix[PREFIX_STRLEN];
	int64_t starts = 0;
	int status = EX_OK;
	if (!ask_prefix(c, c->args[0], prefix, &status))
		return status;
	cli_number(c, "starts", &starts);
	json_t *args = json_pack("{s:s}", "prefix", prefix);
	ask_put_text(c, args, "class", "class");
	ask_put_text(c, args, "subscriber", "subscriber");
	ask_put_text(c, args, "contract", "contract");
	ask_put_text(c, args, "contact", "contact");
	ask_put_text(c, args, "reason", "reason");
	ask_put_number(c, args, "starts_ms", "starts");
	ask_put_number(c, args, "expires_ms", "expires");
	return changed(c, prefix, starts > c->io->now_ms,
		       ask_control(c, "exempt.add", args, &status), &status);
}

static int run_remove(struct cli *c)
{
	char prefix[PREFIX_STRLEN];
	int status = EX_OK;
	if (!ask_prefix(c, c->args[0], prefix, &status))
		return status;
	json_t *args = json_pack("{s:s}", "prefix", prefix);
	ask_put_text(c, args, "reason", "reason");
	return changed(c, prefix, false, ask_control(c, "exempt.remove", args, &status), &status);
}

static json_t *all_exemptions(struct cli *c, bool ended, int *status)
{
	const char *err = NULL;
	struct query *q = ask_query(c, status);
	return q ? ask_got(c,
			   query_exemptions(q, &(struct query_exempt){.all = ended}, ASK_ROWS,
					    c->io->now_ms, &err),
			   err, status)
		 : NULL;
}

static int run_list(struct cli *c)
{
	int status = EX_OK;
	json_t *r = all_exemptions(c, cli_flag(c, "all"), &status);
	if (r)
		status = out_list(c, list_cols, r);
	json_decref(r);
	return status;
}

/* --- files --- */

static const char *const columns[] = {"prefix", "class",  "subscriber", "contract", "contact",
				      "reason", "starts", "expires",	NULL};
static const char *const texts[] = {"class", "subscriber", "contract", "contact", "reason", NULL};
/* What exempt list prints besides. */
static const char *const ignored[] = {"id",	   "state",   "actor",	  "created",
				      "last_seen", "packets", "in_force", NULL};
static const struct rows_spec spec = {columns, ignored};

static bool good_row(struct cli *c, const json_t *row, json_t *args, int *status)
{
	char prefix[PREFIX_STRLEN];
	int64_t starts, expires;
	const char *class = rows_text(row, "class");
	if (!rows_prefix(c, row, prefix, status))
		return false;
	json_object_set_new(args, "prefix", json_string(prefix));
	if (class && strcmp(class, "full") != 0 && strcmp(class, "throttled") != 0)
		return rows_bad(c, row, status, "class %s is neither full nor throttled", class);
	if (!rows_time(c, row, "starts", args, "starts_ms", &starts, status) ||
	    !rows_time(c, row, "expires", args, "expires_ms", &expires, status))
		return false;
	if (expires && expires <= starts)
		return rows_bad(c, row, status, "it expires before it starts");
	if (expires && expires <= c->io->now_ms)
		return rows_bad(c, row, status, "it has expired already");
	rows_copy(row, texts, args);
	return true;
}

static bool first_of_prefix(struct cli *c, const json_t *row, const json_t *args, json_t *seen,
			    int *status)
{
	const char *prefix = rows_text(args, "prefix");
	const char *other = rows_text(seen, prefix);
	if (other)
		return rows_bad(c, row, status, "%s is there already, at %s", prefix, other);
	json_object_set(seen, prefix, json_object_get(row, "where"));
	return true;
}

/* An array of exempt.add args, one a row of rows; NULL with the first bad row said. */
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

/* acctd counts the rows of a request from 1: "row 3: why; nothing was changed". The number, or 0;
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

/* Says what acctd said, with the row's place in the file, and what is in all the same. */
static int refused(struct cli *c, struct control_error *e, const json_t *rows, size_t from)
{
	const char *why = NULL;
	int status = ask_data_code(e);
	size_t k = row_number(e->text, &why);
	const json_t *row = k ? json_array_get(rows, from + k - 1) : NULL;
	if (row)
		cli_fail(c, status, "%s: %s", rows_text(row, "where"), why);
	else
		ask_failed(c, e);
	if (from)
		cli_warn(c, "the %zu rows before %s are in; it and the rest are not", from,
			 rows_text(json_array_get(rows, from), "where"));
	else
		cli_warn(c, "nothing was imported");
	return status;
}

static void add_up(json_t *sum, const json_t *r, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(r, key));
	json_object_set_new(sum, key,
			    json_integer(json_integer_value(json_object_get(sum, key)) + n));
}

static int send_rows(struct cli *c, const json_t *rows, const json_t *all, json_t *sum)
{
	struct control_error e;
	for (size_t at = 0, from = 0; at < json_array_size(all); from = at) {
		json_t *args = json_pack("{s:o}", "rows", next_chunk(all, &at));
		json_t *r = ask_control_quiet(c, "exempt.import", args, &e);
		if (!r)
			return refused(c, &e, rows, from);
		add_up(sum, r, "added");
		add_up(sum, r, "updated");
		/* Policy is told in order: when the last of it is in force, all of it is. */
		json_object_set(sum, "in_force", json_object_get(r, "in_force"));
		json_decref(r);
	}
	return EX_OK;
}

static const struct col import_cols[] = {
    {"ADDED", "added", COL_NUM},
    {"UPDATED", "updated", COL_NUM},
    {"IN_FORCE", "in_force", COL_TEXT},
    COL_END,
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

static int run_import(struct cli *c)
{
	int status = EX_OK;
	if (!ask_conf(c, &status))
		return status;
	json_t *rows = rows_read(c, c->args[0], is_json(c, c->args[0]), &spec, &status);
	json_t *all = rows ? check_rows(c, rows, &status) : NULL;
	if (all) {
		json_t *sum = json_pack("{s:i, s:i}", "added", 0, "updated", 0);
		status = send_rows(c, rows, all, sum);
		if (status == EX_OK)
			out_result(c, import_cols, sum);
		if (json_is_false(json_object_get(sum, "in_force")))
			cli_warn(c,
				 "recorded, but sekisho-nfqd has not said yet that it is in force");
		json_decref(sum);
	}
	json_decref(all);
	json_decref(rows);
	return status;
}

static const char *time_text(const struct cli *c, const json_t *v)
{
	char buf[CLOCK_STRLEN];
	return json_integer_value(v)
		   ? talloc_strdup(c->pool, clock_format(json_integer_value(v), buf))
		   : "";
}

static const char *export_text(const struct cli *c, const json_t *row, const char *column)
{
	const char *key = talloc_asprintf(c->pool, "%s_ms", column);
	const json_t *ms = json_object_get(row, key);
	const char *text = ms ? time_text(c, ms) : rows_text(row, column);
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
			if (csv_must_guard(text))
				text = talloc_asprintf(c->pool, "'%s", text);
			fputs(k == columns ? "" : ",", f);
			csv_put(f, text);
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

static int by_prefix(const void *a, const void *b)
{
	struct prefix p, q;
	char err[128];
	if (!prefix_parse(rows_text(*(json_t *const *)a, "prefix"), &p, err) ||
	    !prefix_parse(rows_text(*(json_t *const *)b, "prefix"), &q, err))
		return 0;
	int d = memcmp(&p.a, &q.a, sizeof(p.a));
	return d ? d : (int)p.len - (int)q.len;
}

/* In the order of their addresses, so that two exports can be compared. */
static json_t *sorted(const struct cli *c, json_t *rows)
{
	size_t n = json_array_size(rows);
	json_t **list = talloc_array(c->pool, json_t *, n + 1), *out = json_array();
	for (size_t i = 0; i < n; i++)
		list[i] = json_array_get(rows, i);
	qsort(list, n, sizeof(json_t *), by_prefix);
	for (size_t i = 0; i < n; i++)
		json_array_append(out, list[i]);
	json_decref(rows);
	return out;
}

static int run_export(struct cli *c)
{
	int status = EX_OK;
	json_t *r = all_exemptions(c, false, &status);
	if (r)
		r = sorted(c, r);
	if (r && (c->json || is_json(c, NULL)))
		export_json(c, r);
	else if (r)
		export_csv(c, r);
	json_decref(r);
	return status;
}

/* --- the table --- */

static const struct cli_opt add_opts[] = {
    {"expires", CLI_END, "TIME|never", "when it ends by itself; default never", 0, 0, false},
    {"starts", CLI_TIME, "TIME", "when it begins; default now", 0, 0, false},
    {"class", CLI_CHOICE, "full|throttled",
     "full: unlimited, throttled: at a low rate; default full", 0, 0, false},
    {"subscriber", CLI_TEXT, "REF", "whose line it is; default the one who holds its lease", 0, 0,
     false},
    {"contract", CLI_TEXT, "C", "the contract that allows it", 0, 0, false},
    {"contact", CLI_TEXT, "A", "whom to write to about it", 0, 0, false},
    {"reason", CLI_TEXT, "R", "why, for the audit trail", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt remove_opts[] = {
    {"reason", CLI_TEXT, "R", "why, for the audit trail", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt list_opts[] = {
    {"all", CLI_FLAG, NULL, "ended and revoked ones too", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt format_opts[] = {
    {"format", CLI_CHOICE, "csv|json", "default csv, or what the file's name says", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb verbs[] = {
    {"add", "PREFIX", "Let PREFIX use port 25.",
     "PREFIX is an address or a network, such as 192.0.2.25 or 2001:db8:5::/48. The command "
     "returns when the kernel has it, and says so in in_force. "
     "A prefix that is registered already is refused with status 73; import changes its entry.",
     add_opts, run_add},
    {"remove", "PREFIX", "Take the exemption of PREFIX back; sessions that are open are cut.", NULL,
     remove_opts, run_remove},
    {"list", "", "List the exemptions in force and those that will be.", NULL, list_opts, run_list},
    {"import", "FILE|-", "Register many prefixes from a file.",
     "CSV: the first line names the columns, which are prefix, class, subscriber, contract, "
     "contact, reason, starts and expires; only prefix is needed. "
     "Without such a line the columns are in that order. JSON: an array of objects with these "
     "members. "
     "Every row is checked before anything is sent; then each 1000 rows are one transaction.",
     format_opts, run_import},
    {"export", "", "Write the exemptions in a form that import reads.",
     "In CSV a field that a spreadsheet would take for a formula gets an apostrophe before it, "
     "which import takes away.",
     format_opts, run_export},
};
const struct cli_noun noun_exempt = {"exempt", "who may use port 25", CLI_VERBS(verbs)};
