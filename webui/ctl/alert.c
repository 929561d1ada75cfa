/*
 * alert - whom alerts reach: a test of the way there, and what waits or has failed.
 *
 * Trusted with: asking acctd for a test, or to send one again. Diagnostics: on stderr. Known gaps:
 * none.
 */
#include "webui/ctl/ask.h"
#include "webui/ctl/list.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

#define TEST_MS 150000 /* the longest timeout a receiver may have, and some more */

static const struct col test_cols[] = {
    {"ALERT", "alert", COL_TEXT},
    {"TO", "to", COL_TEXT},
    {"OK", "ok", COL_TEXT},
    {"ANSWER", "answer", COL_TEXT},
    COL_END,
};
static const struct col list_cols[] = {
    {"ID", "id", COL_NUM},	    {"MADE", "made_ms", COL_TIME},
    {"ALERT", "rule", COL_TEXT},    {"TO", "to", COL_TEXT},
    {"STATE", "state", COL_TEXT},   {"ATTEMPTS", "attempts", COL_NUM},
    {"NEXT", "next_ms", COL_TIME},  {"TITLE", "title", COL_TEXT},
    {"ANSWER", "answer", COL_TEXT}, COL_END,
};

static bool all_ok(const json_t *results)
{
	size_t i;
	json_t *r;
	json_array_foreach (results, i, r)
		if (!json_is_true(json_object_get(r, "ok")))
			return false;
	return true;
}

static int run_test(struct cli *c)
{
	int status = EX_OK;
	struct control_error e;
	json_t *args = c->n_args ? json_pack("{s:s}", "name", c->args[0]) : NULL;
	if (!ask_conf(c, &status)) {
		json_decref(args);
		return status;
	}
	json_t *r = control_call_within(c->conf.run_dir, "alert.test", args, NULL, TEST_MS, &e);
	json_decref(args);
	if (!r)
		return ask_failed(c, &e);
	const json_t *results = json_object_get(r, "results");
	(void)out_list(c, test_cols, results);
	status = all_ok(results) ? EX_OK : CLI_NO;
	json_decref(r);
	return status;
}

static int run_resend(struct cli *c)
{
	int64_t id;
	int status = EX_OK;
	const char *reason = cli_text(c, "reason");
	if (!ask_id(c, c->args[0], &id, &status))
		return status;
	json_decref(ask_control(c, "alert.resend",
				json_pack("{s:I,s:s*}", "id", (json_int_t)id, "reason", reason),
				&status));
	return status;
}

static int run_list(struct cli *c)
{
	return list_run(c, query_alerts, cli_text(c, "state"), list_cols);
}

static const struct cli_opt resend_opts[] = {
    {"reason", CLI_TEXT, "TEXT", "why, for the audit trail", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt list_opts[] = {
    {"state", CLI_CHOICE, "waiting|sent|failed", "only those in this state; default all", 0, 0,
     false},
    LIST_OPTIONS("only of this group, or of this kind: account, zombie, appliance …"),
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb verbs[] = {
    {"test", "[NAME]", "Send a test now, and show what each receiver answered.",
     "Of all alerts of the configuration, or of one. Exit status 1 when a receiver did not take "
     "it.",
     NULL, run_test},
    {"resend", "ID", "Try again now to send an alert that did not arrive.",
     "ID is that of alert list: one alert to one receiver. alert list says what became of it.",
     resend_opts, run_resend},
    {"list", "", "List alerts and what became of each, newest first.", NULL, list_opts, run_list},
};
const struct cli_noun noun_alert = {"alert", "whether alerts reach whom they should",
				    CLI_VERBS(verbs)};
