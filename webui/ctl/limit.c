/*
 * limit - an account's sending limits: show, override, reset.
 *
 * Trusted with: asking ratelimitd through acctd. Diagnostics: on stderr. Known gaps: none.
 */
#include <string.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

static const struct col account_cols[] = {
    {"ACCOUNT", "account", COL_TEXT},
    {"STAGE", "stage", COL_TEXT},
    {"SINCE", "since_ms", COL_TIME},
    {"WHY", "why", COL_TEXT},
    {"MODE", "mode", COL_TEXT},
    {"FIRST", "first", COL_TEXT},
    {"RULE", "rule", COL_TEXT},
    {"ACTOR", "actor", COL_TEXT},
    {"HELD", "held", COL_TEXT},
    {"DETECTOR", "detector", COL_TEXT},
    COL_END,
};
static const struct col limit_cols[] = {
    {"UNIT", "unit", COL_TEXT},		{"WINDOW", "window", COL_TEXT},
    {"LIMIT", "limit", COL_NUM},	{"USED", "used", COL_NUM},
    {"LEFT", "left", COL_NUM},		{"RESETS", "resets_ms", COL_TIME},
    {"OVERRIDE", "override", COL_TEXT}, COL_END,
};

static int print(struct cli *c, json_t *r, const int *status)
{
	if (r && c->json) {
		out_json(c, r);
	} else if (r) {
		out_object(c, account_cols, r);
		out_rows(c, c->io->out_tty ? "Limits" : "limit", limit_cols,
			 json_object_get(r, "limits"));
	}
	json_decref(r);
	return *status;
}

/* {"account"}, or NULL: what is no account has no limit, and would be remembered for nothing. */
static json_t *account(struct cli *c, int *status)
{
	const char *at = strrchr(c->args[0], '@');
	if (at && at != c->args[0] && at[1])
		return json_pack("{s:s}", "account", c->args[0]);
	*status =
	    cli_fail(c, EX_USAGE, "%s is not an account: an account is user@realm", c->args[0]);
	return NULL;
}

/* --limit N, unlimited, or none to take the override away. 0 is not accepted: to ratelimitd it
 * means unlimited, to a person the opposite. */
static bool put_limit(json_t *args, const char *text)
{
	int64_t n = 0;
	if (strcmp(text, "none") == 0)
		return json_object_set_new(args, "limit", json_null()) == 0;
	return (strcmp(text, "unlimited") == 0 || ask_int(text, 1, 1000000000, &n)) &&
	       json_object_set_new(args, "limit", json_integer(n)) == 0;
}

static int ask(struct cli *c, const char *op)
{
	int status = EX_OK;
	json_t *args = account(c, &status);
	return args ? print(c, ask_control(c, op, args, &status), &status) : status;
}

static int run_show(struct cli *c)
{
	return ask(c, "limit.show");
}

static int run_set(struct cli *c)
{
	int status = EX_OK;
	if (!cli_text(c, "unit") || !cli_text(c, "window") || !cli_text(c, "limit"))
		return cli_fail(c, EX_USAGE, "limit set needs --unit, --window and --limit");
	json_t *args = account(c, &status);
	if (!args)
		return status;
	ask_put_text(c, args, "unit", "unit");
	ask_put_text(c, args, "window", "window");
	ask_put_text(c, args, "reason", "reason");
	ask_put_number(c, args, "expires_ms", "expires");
	if (put_limit(args, cli_text(c, "limit")))
		return print(c, ask_control(c, "limit.set", args, &status), &status);
	json_decref(args);
	return cli_fail(c, EX_USAGE,
			"--limit %s: give a whole number above 0, unlimited, or none; to stop an "
			"account, say incident hold",
			cli_text(c, "limit"));
}

static int run_reset(struct cli *c)
{
	return ask(c, "limit.reset");
}

static const struct cli_opt set_opts[] = {
    {"unit", CLI_CHOICE, "messages|recipients", "what is counted; required", 0, 0, false},
    {"window", CLI_CHOICE, "1m|1h|1d", "over which time; required", 0, 0, false},
    {"limit", CLI_TEXT, "N|unlimited|none",
     "how many; none goes back to the configured limit; required", 0, 0, false},
    {"expires", CLI_END, "TIME|never", "when the override ends; default never", 0, 0, false},
    {"reason", CLI_TEXT, "R", "why, for the audit trail", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb verbs[] = {
    {"show", "ACCOUNT", "Show an account's limits, what is used of them, and which bites first.",
     NULL, NULL, run_show},
    {"set", "ACCOUNT", "Give an account a limit of its own.", NULL, set_opts, run_set},
    {"reset", "ACCOUNT", "Set an account's counters to zero.", NULL, NULL, run_reset},
};
const struct cli_noun noun_limit = {"limit", "how much an account may send", CLI_VERBS(verbs)};
