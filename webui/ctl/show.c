/*
 * show - top, once or (for watch --totals) again and again: who is hurting us.
 *
 * Trusted with: reading. Diagnostics: on stderr. Known gaps: none.
 */
#include <talloc.h>

#include "lib/clock.h"

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

/* --- top --- */

static const struct col line_cols[] = {
    {"SOURCE", "source", COL_TEXT},
    {"PACKETS", "packets", COL_NUM},
    {"DSTS", "dsts", COL_NUM},
    {"FIRST", "first_ms", COL_TIME},
    {"LAST", "last_ms", COL_TIME},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"NAME", "subscriber_name", COL_TEXT},
    COL_END,
};
static const struct col account_cols[] = {
    {"ACCOUNT", "account", COL_TEXT},
    {"MESSAGES", "messages", COL_NUM},
    {"RCPTS", "rcpts", COL_NUM},
    {"REFUSED", "refused", COL_NUM},
    {"BOUNCED", "bounced", COL_NUM},
    {"HELD", "held", COL_NUM},
    {"STAGE", "stage", COL_TEXT},
    {"LAST", "last_ms", COL_TIME},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    COL_END,
};

struct window {
	int64_t since_ms, now_ms;
	int64_t limit;
};

#define DAY_MS (24 * 3600 * 1000LL)

static struct window window_of(const struct cli *c, int64_t now_ms)
{
	struct window w = {.since_ms = now_ms - DAY_MS, .now_ms = now_ms, .limit = 20};
	cli_number(c, "since", &w.since_ms);
	cli_number(c, "limit", &w.limit);
	return w;
}

/* {"since_ms","now_ms","lines","accounts"} and, if asked, "overview". NULL with *status. */
static json_t *top_get(struct cli *c, const struct window *w, bool overview, int *status)
{
	const char *err = NULL;
	struct query *q = ask_query(c, status);
	if (!q)
		return NULL;
	json_t *r =
	    ask_got(c, query_top(q, w->since_ms, w->now_ms, (int)w->limit, &err), err, status);
	if (!r)
		return NULL;
	json_object_set_new(r, "since_ms", json_integer(w->since_ms));
	json_object_set_new(r, "now_ms", json_integer(w->now_ms));
	if (!overview)
		return r;
	json_t *o = ask_got(c, query_overview(q, w->since_ms, w->now_ms, &err), err, status);
	if (o) {
		json_object_set_new(r, "overview", o);
		return r;
	}
	json_decref(r);
	return NULL;
}

static void top_print(const struct cli *c, const json_t *r)
{
	bool tty = c->io->out_tty;
	out_rows(c, tty ? "Lines refused on port 25" : "line", line_cols,
		 json_object_get(r, "lines"));
	out_rows(c, tty ? "Accounts that submit" : "account", account_cols,
		 json_object_get(r, "accounts"));
}

static int run_top(struct cli *c)
{
	int status = EX_OK;
	struct window w = window_of(c, c->io->now_ms);
	json_t *r = top_get(c, &w, false, &status);
	if (r && c->json)
		out_json(c, r);
	else if (r)
		top_print(c, r);
	json_decref(r);
	return status;
}

static const struct cli_opt top_opts[] = {
    {"since", CLI_TIME, "TIME", "count from then on; default -24h", 0, 0, false},
    {"limit", CLI_INT, "N", "at most so many of each; default 20", 1, 10000, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb top_verbs[] = {
    {NULL, "", "Show who hurts us: lines refused on port 25 and submitting accounts, worst first.",
     "Without a terminal the first field is \"line\" or \"account\".", top_opts, run_top},
};
const struct cli_noun noun_top = {"top", "who is hurting us, worst first", CLI_VERBS(top_verbs)};

/* --- watch --totals --- */

static void watch_overview(const struct cli *c, const json_t *o)
{
	const char *key;
	json_t *v;
	int n = 0;
	json_object_foreach ((json_t *)o, key, v) {
		const char *value = out_value(c, COL_NUM, v);
		if (c->io->out_tty)
			fprintf(c->io->out, "%-24s %8s%s", key, value, ++n % 2 ? "    " : "\n");
		else
			fprintf(c->io->out, "overview\t%s\t%s\n", key, value);
	}
	if (n % 2)
		fputc('\n', c->io->out);
}

static void watch_print(const struct cli *c, const struct window *w, const json_t *r)
{
	char now[CLOCK_STRLEN], since[CLOCK_STRLEN];
	clock_format(w->now_ms / 1000 * 1000, now);
	clock_format(w->since_ms / 1000 * 1000, since);
	if (c->io->out_tty)
		fprintf(c->io->out, "\033[H\033[2J%s, since %s\n\n", now, since);
	else
		fprintf(c->io->out, "time\t%s\n", now);
	watch_overview(c, json_object_get(r, "overview"));
	top_print(c, r);
}

static int watch_once(struct cli *c, int64_t now_ms)
{
	int status = EX_OK;
	struct window w = window_of(c, now_ms);
	void *keep = c->pool;
	c->pool = talloc_new(keep);
	json_t *r = top_get(c, &w, true, &status);
	if (r && c->json)
		out_json_line(c, r);
	else if (r)
		watch_print(c, &w, r);
	json_decref(r);
	talloc_free(c->pool);
	c->pool = keep;
	if (fflush(c->io->out) != 0)
		status = EX_IOERR;
	return status;
}

int show_totals(struct cli *c, int64_t now_ms)
{
	return watch_once(c, now_ms);
}
