/*
 * queue - accepted mail that is not delivered yet: look, hold, release, retry, bounce, delete,
 * move.
 *
 * Trusted with: asking msad through acctd, some messages at a time: each answer says after which id
 * to go on. A change of more than the messages named asks first, with their number, when a person
 * sits at the terminal, and wants --yes when nobody does. Diagnostics: on stderr. Known gaps: what
 * comes into the queue while a command goes through it may be seen or not.
 */
#include <stdlib.h>
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
					 {"SIZE", "bytes", COL_SIZE},
					 COL_END};

/* --- selections --- */

static const char *const text_opts[][2] = {{"account", "account"},
					   {"destination", "domain"},
					   {"domain", "domain"},
					   {"state", "state"},
					   {"reason", "reason"}};
static const char *const span_opts[][2] = {{"older", "older_ms"}, {"younger", "younger_ms"}};

/* Puts what chooses messages into args; true when something does. */
static bool put_selectors(const struct cli *c, json_t *args)
{
	for (size_t i = 0; i < sizeof(text_opts) / sizeof(*text_opts); i++)
		ask_put_text(c, args, text_opts[i][1], text_opts[i][0]);
	for (size_t i = 0; i < sizeof(span_opts) / sizeof(*span_opts); i++)
		ask_put_number(c, args, span_opts[i][1], span_opts[i][0]);
	return json_object_size(args) > 0;
}

/* The selection: IDs, or selectors, or --all; exactly one of the three unless none is allowed. NULL
 * with *status. IDs are put in by the caller, some at a time. */
static json_t *selection(struct cli *c, bool none_ok, int *status)
{
	json_t *args = json_object();
	bool all = cli_flag(c, "all"), some = put_selectors(c, args);
	int kinds = (c->n_args > 0) + some + all;
	if (kinds > 1 || (kinds == 0 && !none_ok)) {
		*status = cli_fail(c, EX_USAGE,
				   "say which messages: either IDs, or --account, --destination, "
				   "--state, --older, --younger and --reason, or --all");
		json_decref(args);
		return NULL;
	}
	if (all)
		json_object_set_new(args, "all", json_true());
	return args;
}

#define IDS_AT_ONCE 1000

/* The next request of a walk: *at is how many IDs were asked for. False: there is none. */
static bool put_ids(const struct cli *c, json_t *args, size_t *at)
{
	json_t *ids;
	if (c->n_args == 0)
		return true;
	if (*at == c->n_args)
		return false;
	ids = json_array();
	for (size_t i = 0; i < IDS_AT_ONCE && *at < c->n_args; i++)
		json_array_append_new(ids, json_string(c->args[(*at)++]));
	json_object_set_new(args, "ids", ids);
	return true;
}

/* Asks again and again until the whole selection was gone through, or take says enough. Takes args.
 * False with *status. */
static bool walk(struct cli *c, const char *op, json_t *args,
		 bool (*take)(json_t *answer, json_t *args, void *arg), void *arg, int *status)
{
	size_t at = 0;
	bool more = put_ids(c, args, &at), ok = true;
	while (more && ok) {
		json_t *r = ask_control(c, op, json_deep_copy(args), status);
		const json_t *next = json_object_get(r, "next");
		ok = r != NULL;
		more = ok && take(r, args, arg);
		if (more && json_is_string(next))
			json_object_set(args, "after", (json_t *)(uintptr_t)next);
		else if (more)
			more = c->n_args > 0 && put_ids(c, args, &at);
		json_decref(r);
	}
	json_decref(args);
	return ok;
}

/* --- looking --- */

#define PAGE 1000

struct listing {
	json_t *rows, *total;
	int64_t limit;
	bool cut;
};

static bool take_rows(json_t *answer, json_t *args, void *arg)
{
	struct listing *l = arg;
	json_array_extend(l->rows, json_object_get(answer, "messages"));
	if (!l->total && json_is_integer(json_object_get(answer, "total")))
		l->total = json_incref(json_object_get(answer, "total"));
	int64_t left = l->limit - (int64_t)json_array_size(l->rows);
	l->cut = left <= 0 && json_is_string(json_object_get(answer, "next"));
	json_object_set_new(args, "limit", json_integer(left < PAGE ? left : PAGE));
	return left > 0;
}

static void say_cut(struct cli *c, const struct listing *l)
{
	if (l->cut && l->total)
		cli_warn(c, "%zu of %lld messages; --limit N shows more", json_array_size(l->rows),
			 (long long)json_integer_value(l->total));
	else if (l->cut)
		cli_warn(c, "%zu messages, and there are more; --limit N shows them",
			 json_array_size(l->rows));
}

static int run_list(struct cli *c)
{
	int status = EX_OK;
	struct listing l = {.limit = 1000};
	json_t *args = selection(c, true, &status);
	if (!args)
		return status;
	cli_number(c, "limit", &l.limit);
	l.rows = json_array();
	json_object_set_new(args, "limit", json_integer(l.limit < PAGE ? l.limit : PAGE));
	if (walk(c, "queue.list", args, take_rows, &l, &status)) {
		if (c->json) {
			json_t *all = json_pack("{s:O,s:O?}", "messages", l.rows, "total", l.total);
			out_json(c, all);
			json_decref(all);
			status = json_array_size(l.rows) ? EX_OK : CLI_NO;
		} else {
			status = out_list(c, list_cols, l.rows);
			say_cut(c, &l);
		}
	}
	json_decref(l.rows);
	json_decref(l.total);
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

/* Answers of parts of the queue, added up. */
struct sum {
	json_t *buckets, *by_domain; /* domain -> row */
};

static void add_row(json_t *to, const json_t *row)
{
	json_t *counts = json_object_get(to, "counts"), *v;
	size_t i;
	json_object_set_new(to, "total",
			    json_integer(json_integer_value(json_object_get(to, "total")) +
					 json_integer_value(json_object_get(row, "total"))));
	json_array_foreach (json_object_get(row, "counts"), i, v)
		json_array_set_new(counts, i,
				   json_integer(json_integer_value(json_array_get(counts, i)) +
						json_integer_value(v)));
}

static bool take_part(json_t *answer, json_t *args, void *arg)
{
	struct sum *s = arg;
	json_t *row;
	size_t i;
	(void)args;
	if (!s->buckets)
		s->buckets = json_incref(json_object_get(answer, "buckets"));
	json_array_foreach (json_object_get(answer, "rows"), i, row) {
		const char *domain = json_string_value(json_object_get(row, "domain"));
		json_t *to = domain ? json_object_get(s->by_domain, domain) : NULL;
		if (to)
			add_row(to, row);
		else if (domain)
			json_object_set(s->by_domain, domain, row);
	}
	return true;
}

static int by_total(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	json_int_t n = json_integer_value(json_object_get(x, "total")),
		   m = json_integer_value(json_object_get(y, "total"));
	if (n != m)
		return n > m ? -1 : 1;
	return strcmp(json_string_value(json_object_get(x, "domain")),
		      json_string_value(json_object_get(y, "domain")));
}

/* {"buckets","rows"} with the fullest domain first. Takes what s holds. */
static json_t *sum_json(struct cli *c, struct sum *s)
{
	size_t n = 0;
	json_t *row, *rows = json_array(),
		     **v = talloc_array(c->pool, json_t *, json_object_size(s->by_domain) + 1);
	const char *key = NULL;
	json_object_foreach (s->by_domain, key, row)
		v[n++] = row;
	if (n)
		qsort(v, n, sizeof(void *), by_total);
	for (size_t i = 0; i < n; i++)
		json_array_append(rows, v[i]);
	json_decref(s->by_domain);
	return json_pack("{s:o,s:o}", "buckets", s->buckets ? s->buckets : json_array(), "rows",
			 rows);
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
	struct sum sum = {.by_domain = json_object()};
	json_t *args = selection(c, true, &status);
	bool ok = args && walk(c, "queue.grid", args, take_part, &sum, &status);
	json_t *r = sum_json(c, &sum);
	if (!ok) {
		json_decref(r);
		return status;
	}
	if (r && c->json) {
		out_json(c, r);
		status = json_array_size(json_object_get(r, "rows")) ? EX_OK : CLI_NO;
	} else if (r) {
		status = grid_print(c, r);
	}
	json_decref(r);
	return status;
}

static const struct col damaged_cols[] = {
    {"FILE", "file", COL_TEXT},		 {"SIZE", "bytes", COL_SIZE},
    {"SINCE", "put_aside_ms", COL_TIME}, {"ID", "id", COL_TEXT},
    {"ACCOUNT", "account", COL_TEXT},	 {"MAIL_FROM", "mail_from", COL_TEXT},
    {"RCPTS", "rcpts", COL_NUM},	 COL_END,
};

static int run_damaged(struct cli *c)
{
	int status = EX_OK;
	json_t *r = ask_conf(c, &status) ? ask_control(c, "queue.damaged", NULL, &status) : NULL;
	if (!r)
		return status;
	if (c->json) {
		out_json(c, r);
		status = json_integer_value(json_object_get(r, "total")) ? EX_OK : CLI_NO;
	} else {
		status = out_list(c, damaged_cols, json_object_get(r, "pieces"));
	}
	if (status == EX_OK && !c->json)
		cli_warn(c, "they are in %s: look at the disk, save what you can, remove them",
			 json_string_value(json_object_get(r, "dir")));
	json_decref(r);
	return status;
}

/* --- changing --- */

struct counts {
	json_int_t matched, changed, bytes;
};

static bool take_counts(json_t *answer, json_t *args, void *arg)
{
	struct counts *n = arg;
	(void)args;
	n->matched += json_integer_value(json_object_get(answer, "matched"));
	n->changed += json_integer_value(json_object_get(answer, "changed"));
	n->bytes += json_integer_value(json_object_get(answer, "bytes"));
	return true;
}

static bool count(struct cli *c, const char *op, const json_t *args, struct counts *n, int *status)
{
	json_t *dry = json_copy((json_t *)(uintptr_t)args);
	json_object_set_new(dry, "dry_run", json_true());
	return walk(c, op, dry, take_counts, n, status);
}

/* True: go on. A selection that is not a list of IDs is counted first and asked about. */
static bool confirmed(struct cli *c, const char *op, const json_t *args, int *status)
{
	struct counts n = {.matched = 0};
	if (c->n_args > 0 || cli_flag(c, "yes"))
		return true;
	if (!c->io->in_tty || !c->io->out_tty) {
		*status = cli_fail(c, EX_USAGE,
				   "this may change many messages, and there is nobody to ask: say "
				   "--yes (--dry-run counts them)");
		return false;
	}
	if (!count(c, op, args, &n, status))
		return false;
	if (n.matched == 0)
		*status = cli_fail(c, CLI_NO, "nothing found");
	else if (!ask_yes(c, talloc_asprintf(c->pool, "%s %lld message%s, %lld bytes?",
					     c->verb->name, (long long)n.matched,
					     n.matched == 1 ? "" : "s", (long long)n.bytes)))
		*status = cli_fail(c, CLI_NO, "nothing was changed");
	else
		return true;
	return false;
}

static int change_args(struct cli *c, const char *op, json_t *args)
{
	int status = EX_OK;
	struct counts n = {.matched = 0};
	bool dry = cli_flag(c, "dry-run"), ok;
	if (dry)
		ok = count(c, op, args, &n, &status);
	else
		ok = confirmed(c, op, args, &status) &&
		     walk(c, op, json_incref(args), take_counts, &n, &status);
	json_decref(args);
	if (!ok)
		return status;
	json_t *r = json_pack("{s:I,s:I,s:I}", "matched", n.matched, "changed", dry ? 0 : n.changed,
			      "bytes", n.bytes);
	if (dry)
		json_object_set_new(r, "would_change", json_integer(n.changed));
	out_result(c, change_cols, r);
	json_decref(r);
	return n.matched ? EX_OK : CLI_NO;
}

static int change(struct cli *c, const char *op)
{
	int status = EX_OK;
	json_t *args = selection(c, false, &status);
	return args ? change_args(c, op, args) : status;
}

/* The first argument is the route; "-" goes by the rules again. */
static int run_move(struct cli *c)
{
	int status = EX_OK;
	const char *route = c->args[0];
	c->args++;
	c->n_args--;
	json_t *args = selection(c, false, &status);
	if (!args)
		return status;
	json_object_set_new(args, "route", json_string(strcmp(route, "-") == 0 ? "" : route));
	return change_args(c, "queue.move", args);
}

/* What waits is tried now; without a selection all of it. */
static int run_flush(struct cli *c)
{
	int status = EX_OK;
	json_t *args = selection(c, true, &status);
	if (!args)
		return status;
	if (json_object_size(args) == 0 && c->n_args == 0)
		json_object_set_new(args, "all", json_true());
	return change_args(c, "queue.retry", args);
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

#define SELECT_OPTS                                                                                 \
	{"account", CLI_TEXT, "ACCOUNT", "messages of this account", 0, 0, false},                  \
	    {"destination", CLI_TEXT, "DOMAIN", "messages with a recipient there", 0, 0, false},    \
	    {"domain", CLI_TEXT, "DOMAIN", "the same as --destination", 0, 0, false},               \
	    {"state",                                                                               \
	     CLI_CHOICE,                                                                            \
	     "due|held|deferred|active|unreadable",                                                 \
	     "messages in this state",                                                              \
	     0,                                                                                     \
	     0,                                                                                     \
	     false},                                                                                \
	    {"older", CLI_DURATION, "DURATION", "messages that came longer ago",                    \
	     0,	      INT64_MAX,    false},                                                         \
	    {"younger", CLI_DURATION, "DURATION", "messages that came since", 0, INT64_MAX, false}, \
	    {"reason", CLI_TEXT, "TEXT", "messages whose last reply or hold says this",             \
	     0,	       0,	 false},                                                            \
	{                                                                                           \
		"all", CLI_FLAG, NULL, "every message", 0, 0, false                                 \
	}

static const struct cli_opt list_opts[] = {
    SELECT_OPTS,
    {"limit", CLI_INT, "N", "at most so many, oldest first; default 1000", 1, 10000000, false},
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
    "Name the messages by ID, or choose them by --account, --destination, --state, --older, "
    "--younger and --reason, which must all be met, or take --all. "
    "On a terminal a choice is confirmed with its number first; elsewhere it needs --yes. Exit "
    "status 1 when none matches.";
static const char move_which[] =
    "ROUTE is a word of the configuration's routes, - to go by the rules again. "
    "Name the messages by ID, or choose them by --account, --destination, --state, --older, "
    "--younger and --reason, which must all be met, or take --all. "
    "On a terminal a choice is confirmed with its number first; elsewhere it needs --yes. Exit "
    "status 1 when none matches.";
static const char flush_which[] =
    "The messages named by ID, or chosen by the options; without any, all of them. "
    "On a terminal a choice is confirmed with its number first; elsewhere it needs --yes. Exit "
    "status 1 when none matches.";
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
    {"move", "ROUTE [ID...]", "Deliver messages by another route.", move_which, change_opts,
     run_move},
    {"flush", "[ID...]", "Try all that waits now.", flush_which, change_opts, run_flush},
    {"damaged", "", "List what of the spool was damaged and is put aside.", NULL, NULL,
     run_damaged},
    {"grid", "", "Count messages by recipient domain and age.", NULL, grid_opts, run_grid},
};
const struct cli_noun noun_queue = {"queue", "mail that is accepted and not delivered yet",
				    CLI_VERBS(verbs)};
