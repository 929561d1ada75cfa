/*
 * queue - accepted mail that is not delivered yet: look, hold, release, retry, bounce, delete.
 *
 * Trusted with: asking msad through acctd. A change of more than the messages named asks first,
 * with their number, when a person sits at the terminal. Diagnostics: on stderr. Known gaps: none.
 */
#include <string.h>

#include <talloc.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

static const struct col list_cols[] = {
    {"ID", "id", COL_TEXT},
    {"STATE", "state", COL_TEXT},
    {"ACCOUNT", "account", COL_TEXT},
    {"MAIL_FROM", "mail_from", COL_TEXT},
    {"RCPTS", "rcpts", COL_NUM},
    {"SIZE", "size", COL_SIZE},
    {"RECEIVED", "received_ms", COL_TIME},
    {"NEXT", "next_ms", COL_TIME},
    {"ATTEMPTS", "attempts", COL_NUM},
    {"DOMAINS", "rcpt_domains", COL_TEXT},
    {"WHY", "why", COL_TEXT},
    {"LAST_REPLY", "last_reply", COL_TEXT},
    COL_END,
};
static const struct col rcpt_cols[] = {
    {"ADDRESS", "address", COL_TEXT},
    {"STATE", "state", COL_TEXT},
    {"STATUS", "status", COL_TEXT},
    {"REPLY", "reply", COL_TEXT},
    COL_END,
};
static const struct col change_cols[] = {{"MATCHED", "matched", COL_NUM},
					 {"CHANGED", "changed", COL_NUM},
					 {"WOULD_CHANGE", "would_change", COL_NUM},
					 COL_END};

/* --- selections --- */

static bool has_selector(const struct cli *c)
{
	return cli_text(c, "account") || cli_text(c, "domain") || cli_text(c, "state");
}

/* The selection: IDs, or selectors, or --all; exactly one of the three unless none is allowed. NULL
 * with *status. */
static json_t *selection(struct cli *c, bool none_ok, int *status)
{
	bool all = cli_flag(c, "all"), some = has_selector(c);
	int kinds = (c->n_args > 0) + some + all;
	if (kinds > 1 || (kinds == 0 && !none_ok)) {
		*status = cli_fail(
		    c, EX_USAGE,
		    "say which messages: either IDs, or --account, --domain and --state, or --all");
		return NULL;
	}
	json_t *args = json_object();
	ask_put_text(c, args, "account", "account");
	ask_put_text(c, args, "domain", "domain");
	ask_put_text(c, args, "state", "state");
	if (all)
		json_object_set_new(args, "all", json_true());
	if (c->n_args == 0)
		return args;
	json_t *ids = json_array();
	for (size_t i = 0; i < c->n_args; i++)
		json_array_append_new(ids, json_string(c->args[i]));
	json_object_set_new(args, "ids", ids);
	return args;
}

/* --- looking --- */

static int run_list(struct cli *c)
{
	int status = EX_OK;
	int64_t limit = 1000;
	json_t *args = selection(c, true, &status);
	if (!args)
		return status;
	cli_number(c, "limit", &limit);
	json_object_set_new(args, "limit", json_integer(limit));
	json_t *r = ask_control(c, "queue.list", args, &status);
	const json_t *rows = json_object_get(r, "messages");
	if (r && c->json) {
		out_json(c, r);
		status = json_array_size(rows) ? EX_OK : CLI_NO;
	} else if (r) {
		status = out_list(c, list_cols, rows);
		json_int_t total = json_integer_value(json_object_get(r, "total"));
		if (total > (json_int_t)json_array_size(rows))
			cli_warn(c, "%zu of %lld messages; --limit N shows more",
				 json_array_size(rows), (long long)total);
	}
	json_decref(r);
	return status;
}

static int run_show(struct cli *c)
{
	int status = EX_OK;
	json_t *args = json_pack("{s:s}", "id", c->args[0]);
	json_t *r = ask_control(c, "queue.show", args, &status);
	const char *headers = json_string_value(json_object_get(r, "headers"));
	if (r && c->json) {
		out_json(c, r);
	} else if (r) {
		out_object(c, list_cols, r);
		out_rows(c, c->io->out_tty ? "Recipients" : "recipient", rcpt_cols,
			 json_object_get(r, "recipients"));
		out_lines(c, "Headers", "header", headers ? headers : "");
	}
	json_decref(r);
	return status;
}

/* Domains by age: the columns are the answer's own. */
static int grid_print(struct cli *c, const json_t *r)
{
	struct col cols[32] = {
	    {"DOMAIN", "domain", COL_TEXT}, {"TOTAL", "total", COL_NUM}, COL_END};
	const json_t *buckets = json_object_get(r, "buckets");
	json_t *rows = json_deep_copy(json_object_get(r, "rows")), *row, *v;
	size_t n = 2, i, k;
	json_array_foreach (buckets, i, v) {
		const char *name = out_value(c, COL_TEXT, v);
		if (n + 1 < sizeof(cols) / sizeof(cols[0]))
			cols[n++] =
			    (struct col){name, talloc_asprintf(c->pool, "n%zu", i), COL_NUM};
	}
	cols[n] = (struct col)COL_END;
	json_array_foreach (rows, i, row)
		json_array_foreach (json_object_get(row, "counts"), k, v)
			json_object_set(row, talloc_asprintf(c->pool, "n%zu", k), v);
	int status = out_list(c, cols, rows);
	json_decref(rows);
	return status;
}

static int run_grid(struct cli *c)
{
	int status = EX_OK;
	json_t *args = selection(c, true, &status);
	json_t *r = args ? ask_control(c, "queue.grid", args, &status) : NULL;
	if (r && c->json) {
		out_json(c, r);
		status = json_array_size(json_object_get(r, "rows")) ? EX_OK : CLI_NO;
	} else if (r) {
		status = grid_print(c, r);
	}
	json_decref(r);
	return status;
}

/* --- changing --- */

/* True: go on. A selection that is not a list of IDs is counted first and asked about. */
static bool confirmed(struct cli *c, const char *op, const json_t *args, int *status)
{
	if (c->n_args > 0 || cli_flag(c, "yes") || cli_flag(c, "dry-run") || !c->io->in_tty ||
	    !c->io->out_tty)
		return true;
	json_t *count = json_copy((json_t *)args);
	json_object_set_new(count, "dry_run", json_true());
	json_t *r = ask_control(c, op, count, status);
	if (!r)
		return false;
	long long n = json_integer_value(json_object_get(r, "matched"));
	json_decref(r);
	if (n == 0)
		*status = cli_fail(c, CLI_NO, "nothing found");
	else if (!ask_yes(c, talloc_asprintf(c->pool, "%s %lld message%s?", c->verb->name, n,
					     n == 1 ? "" : "s")))
		*status = cli_fail(c, CLI_NO, "nothing was changed");
	else
		return true;
	return false;
}

static int change(struct cli *c, const char *op)
{
	int status = EX_OK;
	json_t *args = selection(c, false, &status);
	if (!args)
		return status;
	if (!confirmed(c, op, args, &status)) {
		json_decref(args);
		return status;
	}
	if (cli_flag(c, "dry-run"))
		json_object_set_new(args, "dry_run", json_true());
	json_t *r = ask_control(c, op, args, &status);
	if (r && cli_flag(c, "dry-run")) { /* msad says what it would have changed */
		json_object_set(r, "would_change", json_object_get(r, "changed"));
		json_object_set_new(r, "changed", json_integer(0));
	}
	if (r) {
		out_result(c, change_cols, r);
		status = json_integer_value(json_object_get(r, "matched")) ? EX_OK : CLI_NO;
	}
	json_decref(r);
	return status;
}

static int run_hold(struct cli *c)
{
	return change(c, "queue.hold");
}

static int run_release(struct cli *c)
{
	return change(c, "queue.release");
}

static int run_retry(struct cli *c)
{
	return change(c, "queue.retry");
}

static int run_bounce(struct cli *c)
{
	return change(c, "queue.bounce");
}

static int run_delete(struct cli *c)
{
	return change(c, "queue.delete");
}

#define SELECT_OPTS                                                                                \
	{"account", CLI_TEXT, "ACCOUNT", "messages of this account", 0, 0, false},                 \
	    {"domain", CLI_TEXT, "DOMAIN", "messages with a recipient there", 0, 0, false},        \
	    {"state", CLI_CHOICE, "due|held|deferred|active", "messages in this state", 0,         \
	     0,	      false},                                                                      \
	{                                                                                          \
		"all", CLI_FLAG, NULL, "every message", 0, 0, false                                \
	}

static const struct cli_opt list_opts[] = {
    SELECT_OPTS,
    {"limit", CLI_INT, "N", "at most so many, oldest first; default 1000", 1, 10000, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt grid_opts[] = {
    SELECT_OPTS,
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt change_opts[] = {
    SELECT_OPTS,
    {"dry-run", CLI_FLAG, NULL, "say how many match and would change, and change nothing", 0, 0,
     false},
    {"yes", CLI_FLAG, NULL, "do not ask", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const char which[] =
    "Name the messages by ID, or choose them by --account, --domain and --state, which must all be "
    "met, or take --all. "
    "On a terminal a choice is confirmed with its number first. Exit status 1 when none matches.";
static const struct cli_verb verbs[] = {
    {"list", "[ID...]", "List queued messages, oldest first.", NULL, list_opts, run_list},
    {"show", "ID", "Show one message: its recipients, replies and headers.", NULL, NULL, run_show},
    {"hold", "[ID...]", "Keep messages from being delivered.", which, change_opts, run_hold},
    {"release", "[ID...]", "Let held messages go.", which, change_opts, run_release},
    {"retry", "[ID...]", "Try messages now instead of at their next time.", which, change_opts,
     run_retry},
    {"bounce", "[ID...]", "Give messages back to their senders with a failure notice.", which,
     change_opts, run_bounce},
    {"delete", "[ID...]", "Throw messages away without a notice.", which, change_opts, run_delete},
    {"grid", "", "Count messages by recipient domain and age.", NULL, grid_opts, run_grid},
};
const struct cli_noun noun_queue = {"queue", "mail that is accepted and not delivered yet",
				    CLI_VERBS(verbs)};
