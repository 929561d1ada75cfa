/*
 * lease - whose line an address (and port range) is: add, end, list, import.
 *
 * Trusted with: asking acctd for changes. Diagnostics: on stderr; an import checks every row before
 * it sends the first; acctd applies all of them or none. Known gaps: none.
 */
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"
#include "webui/ctl/rows.h"

static const struct col list_cols[] = {
    {"PREFIX", "prefix", COL_TEXT},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"FROM", "from_ms", COL_TIME},
    {"TO", "to_ms", COL_TIME},
    {"PORT_LO", "port_lo", COL_NUM},
    {"PORT_HI", "port_hi", COL_NUM},
    {"SOURCE", "source", COL_TEXT},
    {"ID", "id", COL_NUM},
    COL_END,
};
static const struct col change_cols[] = {{"PREFIX", "prefix", COL_TEXT},
					 {"ID", "id", COL_NUM},
					 {"ENDED", "ended", COL_NUM},
					 {"REVOKED", "revoked", COL_NUM},
					 {"SUSPENDED", "suspended", COL_NUM},
					 {"IN_FORCE", "in_force", COL_TEXT},
					 COL_END};
static const struct col import_cols[] = {
    {"ADDED", "added", COL_NUM},
    {"SAME", "same", COL_NUM},
    {"ENDED", "ended", COL_NUM},
    {"REVOKED", "revoked", COL_NUM},
    {"SUBSCRIBERS", "subscribers", COL_NUM},
    {"DRY_RUN", "dry_run", COL_TEXT},
    {"IN_FORCE", "in_force", COL_TEXT},
    COL_END,
};

/* "1024-2047" into port_lo and port_hi. */
static bool put_ports(json_t *args, const char *text)
{
	int64_t lo, hi;
	const char *dash = strchr(text, '-');
	char low[8];
	if (!dash || (size_t)(dash - text) >= sizeof(low))
		return false;
	snprintf(low, sizeof(low), "%.*s", (int)(dash - text), text);
	if (!ask_int(low, 0, 65535, &lo) || !ask_int(dash + 1, lo, 65535, &hi))
		return false;
	json_object_set_new(args, "port_lo", json_integer(lo));
	json_object_set_new(args, "port_hi", json_integer(hi));
	return true;
}

static const char bad_ports[] = "ports are LO-HI, such as 1024-2047";

static int finish(struct cli *c, const char *prefix, json_t *r, const int *status)
{
	if (!r)
		return *status;
	json_object_set_new(r, "prefix", json_string(prefix));
	out_result(c, change_cols, r);
	json_decref(r);
	return EX_OK;
}

static int run_add(struct cli *c)
{
	char prefix[PREFIX_STRLEN];
	int status = EX_OK;
	const char *ports = cli_text(c, "ports");
	if (!ask_prefix(c, c->args[0], prefix, &status))
		return status;
	if (!cli_text(c, "subscriber"))
		return cli_fail(c, EX_USAGE, "lease add needs --subscriber REF");
	json_t *args = json_pack("{s:s}", "prefix", prefix);
	ask_put_text(c, args, "subscriber", "subscriber");
	ask_put_number(c, args, "from_ms", "from");
	ask_put_number(c, args, "to_ms", "to");
	if (ports && !put_ports(args, ports)) {
		json_decref(args);
		return cli_fail(c, EX_USAGE, "--ports %s: %s", ports, bad_ports);
	}
	return finish(c, prefix, ask_control(c, "lease.add", args, &status), &status);
}

static int run_end(struct cli *c)
{
	char prefix[PREFIX_STRLEN];
	int status = EX_OK;
	if (!ask_prefix(c, c->args[0], prefix, &status))
		return status;
	json_t *args = json_pack("{s:s}", "prefix", prefix);
	ask_put_number(c, args, "time_ms", "time");
	ask_put_number(c, args, "port_lo", "port-lo");
	return finish(c, prefix, ask_control(c, "lease.end", args, &status), &status);
}

static int run_list(struct cli *c)
{
	int status = EX_OK;
	const char *err = NULL;
	struct query *q = ask_query(c, &status);
	json_t *r =
	    q ? ask_got(c, query_leases(q, cli_flag(c, "all"), ASK_ROWS, &err), err, &status)
	      : NULL;
	if (r)
		status = out_list(c, list_cols, r);
	json_decref(r);
	return status;
}

/* --- import --- */

static const char *const columns[] = {"prefix",	 "subscriber", "from",	 "to",
				      "port_lo", "port_hi",    "source", NULL};
static const char *const texts[] = {"subscriber", "source", NULL};
static const char *const ignored[] = {"id", NULL};
static const struct rows_spec spec = {columns, ignored};

static bool row_ports(struct cli *c, const json_t *row, json_t *args, int *status)
{
	const char *lo = rows_text(row, "port_lo"), *hi = rows_text(row, "port_hi");
	if (!lo && !hi)
		return true;
	if (lo && hi && put_ports(args, talloc_asprintf(c->pool, "%s-%s", lo, hi)))
		return true;
	return rows_bad(c, row, status, "port_lo and port_hi are 0 to 65535, both or neither");
}

static bool good_row(struct cli *c, const json_t *row, json_t *args, int *status)
{
	char prefix[PREFIX_STRLEN];
	int64_t from, to;
	if (!rows_prefix(c, row, prefix, status))
		return false;
	json_object_set_new(args, "prefix", json_string(prefix));
	if (!rows_text(row, "subscriber"))
		return rows_bad(c, row, status, "the subscriber is missing");
	if (!rows_time(c, row, "from", args, "from_ms", &from, status) ||
	    !rows_time(c, row, "to", args, "to_ms", &to, status) ||
	    !row_ports(c, row, args, status))
		return false;
	if (to && to <= from)
		return rows_bad(c, row, status, "it ends before it starts");
	rows_copy(row, texts, args);
	return true;
}

static json_t *check_rows(struct cli *c, const json_t *rows, int *status)
{
	json_t *out = json_array(), *row;
	size_t i;
	json_array_foreach (rows, i, row) {
		json_t *args = json_object();
		json_array_append_new(out, args);
		if (good_row(c, row, args, status))
			continue;
		json_decref(out);
		return NULL;
	}
	return out;
}

#define ROWS_A_REQUEST 1000
#define APPLY_MS       600000 /* a million rows may take minutes */

/* "row 1234: why" names a row of the whole import: say where in the file it is. */
static int refused(struct cli *c, const json_t *rows, const struct control_error *e)
{
	int status = ask_data_code(e);
	char *end = NULL;
	size_t n = strncmp(e->text, "row ", 4) == 0 ? strtoul(e->text + 4, &end, 10) : 0;
	if (n > 0 && n <= json_array_size(rows) && strncmp(end, ": ", 2) == 0)
		return cli_fail(c, status, "%s: %s",
				rows_text(json_array_get(rows, n - 1), "where"), end + 2);
	return cli_fail(c, status, "%s", e->text);
}

/* One request: the rows from first on, and what every request says. */
static json_t *request(const json_t *all, size_t first, const json_t *fixed, const char *import)
{
	json_t *args = json_deep_copy(fixed), *part = json_array();
	size_t n = json_array_size(all);
	for (size_t i = first; i < n && i < first + ROWS_A_REQUEST; i++)
		json_array_append(part, json_array_get(all, i));
	json_object_set_new(args, "rows", part);
	if (first + ROWS_A_REQUEST < n)
		json_object_set_new(args, "more", json_true());
	if (*import)
		json_object_set_new(args, "import", json_string(import));
	return args;
}

/* acctd's answer to the last request; NULL with *status. */
static json_t *send_rows(struct cli *c, const json_t *rows, const json_t *all, const json_t *fixed,
			 int *status)
{
	struct control_error e;
	char import[64] = "";
	for (size_t first = 0;; first += ROWS_A_REQUEST) {
		json_t *args = request(all, first, fixed, import);
		json_t *r =
		    control_call_within(c->conf.run_dir, "lease.import", args, NULL, APPLY_MS, &e);
		json_decref(args);
		if (!r) {
			*status = refused(c, rows, &e);
			return NULL;
		}
		if (first + ROWS_A_REQUEST >= json_array_size(all))
			return r;
		const char *id = json_string_value(json_object_get(r, "import"));
		snprintf(import, sizeof(import), "%s", id ? id : "");
		json_decref(r);
	}
}

static int run_rows(struct cli *c, json_t *fixed)
{
	int status = EX_OK;
	json_t *rows = NULL, *all = NULL, *r = NULL;
	if (cli_flag(c, "create"))
		json_object_set_new(fixed, "create", json_true());
	if (cli_flag(c, "dry-run"))
		json_object_set_new(fixed, "dry_run", json_true());
	if (ask_conf(c, &status))
		rows = rows_read(c, c->args[0], false, &spec, &status);
	if (rows)
		all = check_rows(c, rows, &status);
	if (all && json_array_size(all) == 0)
		status = cli_fail(c, EX_DATAERR, "%s has no rows", c->args[0]);
	else if (all)
		r = send_rows(c, rows, all, fixed, &status);
	if (r)
		out_result(c, import_cols, r);
	json_decref(r);
	json_decref(all);
	json_decref(rows);
	json_decref(fixed);
	return status;
}

static int run_import(struct cli *c)
{
	return run_rows(c, json_object());
}

static int run_resync(struct cli *c)
{
	const char *source = cli_text(c, "source");
	if (!source || !*source)
		return cli_fail(c, EX_USAGE,
				"lease resync needs --source NAME: whose leases FILE has");
	return run_rows(c, json_pack("{s:s}", "resync", source));
}

/* --- the table --- */

static const struct cli_opt add_opts[] = {
    {"subscriber", CLI_TEXT, "REF", "whose line it is; required", 0, 0, false},
    {"from", CLI_TIME, "TIME", "since when; default now", 0, 0, false},
    {"to", CLI_TIME, "TIME", "until when; default open", 0, 0, false},
    {"ports", CLI_TEXT, "LO-HI", "only these source ports of a shared address", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt end_opts[] = {
    {"time", CLI_TIME, "TIME", "when it ended; default now", 0, 0, false},
    {"port-lo", CLI_INT, "PORT", "only the lease whose ports begin there", 0, 65535, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
#define IMPORT_OPTS                                                                                \
	{"create", CLI_FLAG, NULL, "make subscribers that are new", 0, 0, false},                  \
	{                                                                                          \
		"dry-run", CLI_FLAG, NULL, "count what would change, and change nothing", 0, 0,    \
		    false                                                                          \
	}
static const struct cli_opt import_opts[] = {
    IMPORT_OPTS,
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt resync_opts[] = {
    {"source", CLI_TEXT, "NAME", "whose leases FILE has, such as ipam; required", 0, 0, false},
    IMPORT_OPTS,
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt list_opts[] = {
    {"all", CLI_FLAG, NULL, "ended ones too", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb verbs[] = {
    {"add", "PREFIX", "Record that PREFIX is a subscriber's line.",
     "Open leases of other subscribers inside PREFIX end when this one begins; one around it goes "
     "on "
     "for the rest. Exemptions of other subscribers that share an address with PREFIX are revoked "
     "first, and the command returns when the kernel has it.",
     add_opts, run_add},
    {"end", "PREFIX", "Record that the lease of PREFIX has ended.",
     "An exemption of the line is suspended until the line comes back to the same subscriber, and "
     "revoked when it goes to another.",
     end_opts, run_end},
    {"list", "", "List the leases that are open.", NULL, list_opts, run_list},
    {"import", "FILE|-", "Record many leases from a CSV file.",
     "The first line names the columns, which are prefix, subscriber, from, to, port_lo, port_hi "
     "and source; prefix and subscriber are needed. All rows are recorded or, when one is wrong, "
     "none.",
     import_opts, run_import},
    {"resync", "FILE|-", "Make a CSV file the only open leases of one source.",
     "What is in FILE and not recorded is added, what is recorded from that source and not in FILE "
     "ends now, all or nothing; leases of other sources stay, but where FILE gives their line to "
     "somebody else. The columns are those of import; a row without a source is of this one. "
     "--dry-run first says how much would change.",
     resync_opts, run_resync},
};
const struct cli_noun noun_lease = {"lease", "whose line an address is", CLI_VERBS(verbs)};
