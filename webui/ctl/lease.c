/*
 * lease - whose line an address (and port range) is: add, end, list, import.
 *
 * Trusted with: asking acctd for changes. Diagnostics: on stderr; an import checks every row before
 * it sends the first. Known gaps: an import is one transaction a row.
 */
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
static const struct col change_cols[] = {
    {"PREFIX", "prefix", COL_TEXT},	{"ID", "id", COL_NUM},
    {"ENDED", "ended", COL_NUM},	{"REVOKED", "revoked", COL_NUM},
    {"IN_FORCE", "in_force", COL_TEXT}, COL_END};
static const struct col import_cols[] = {
    {"ADDED", "added", COL_NUM},
    {"ENDED", "ended", COL_NUM},
    {"REVOKED", "revoked", COL_NUM},
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

static int send_rows(struct cli *c, const json_t *rows, const json_t *all)
{
	struct control_error e;
	json_int_t ended = 0, revoked = 0;
	json_t *args;
	size_t i;
	json_array_foreach (all, i, args) {
		json_t *r = ask_control_quiet(c, "lease.add", json_incref(args), &e);
		if (!r) {
			int status = ask_data_code(&e);
			cli_fail(c, status, "%s: %s", rows_text(json_array_get(rows, i), "where"),
				 e.text);
			cli_warn(c, "the %zu rows before it are in; it and the rest are not", i);
			return status;
		}
		ended += json_integer_value(json_object_get(r, "ended"));
		revoked += json_integer_value(json_object_get(r, "revoked"));
		json_decref(r);
	}
	json_t *sum = json_pack("{s:I, s:I, s:I}", "added", (json_int_t)json_array_size(all),
				"ended", ended, "revoked", revoked);
	out_result(c, import_cols, sum);
	json_decref(sum);
	return EX_OK;
}

static int run_import(struct cli *c)
{
	int status = EX_OK;
	if (!ask_conf(c, &status))
		return status;
	json_t *rows = rows_read(c, c->args[0], false, &spec, &status);
	json_t *all = rows ? check_rows(c, rows, &status) : NULL;
	if (all)
		status = send_rows(c, rows, all);
	json_decref(all);
	json_decref(rows);
	return status;
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
     "An exemption stays until the line goes to another subscriber, so that a line that comes back "
     "has it still.",
     end_opts, run_end},
    {"list", "", "List the leases that are open.", NULL, list_opts, run_list},
    {"import", "FILE|-", "Record many leases from a CSV file.",
     "The first line names the columns, which are prefix, subscriber, from, to, port_lo, port_hi "
     "and source; prefix and subscriber are needed. "
     "Every row is checked before anything is sent; then each row is a transaction of its own.",
     NULL, run_import},
};
const struct cli_noun noun_lease = {"lease", "whose line an address is", CLI_VERBS(verbs)};
