/*
 * limit - sending limits: show, override, reset; whom a class is given to; whether they bite.
 *
 * Trusted with: asking ratelimitd through acctd. Diagnostics: on stderr. Known gaps: none.
 */
#include <string.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

static const struct col account_cols[] = {
    {"ACCOUNT", "account", COL_TEXT},	{"ADDRESS", "address", COL_TEXT},
    {"DOMAIN", "domain", COL_TEXT},	{"STAGE", "stage", COL_TEXT},
    {"SINCE", "since_ms", COL_TIME},	{"WHY", "why", COL_TEXT},
    {"MODE", "mode", COL_TEXT},		{"FIRST", "first", COL_TEXT},
    {"RULE", "rule", COL_TEXT},		{"ACTOR", "actor", COL_TEXT},
    {"CLASS", "class", COL_TEXT},	{"HELD", "held", COL_TEXT},
    {"DETECTOR", "detector", COL_TEXT}, COL_END,
};
static const struct col score_cols[] = {
    {"SCORE", "score", COL_NUM},    {"STAGE", "stage", COL_TEXT}, {"MODE", "mode", COL_TEXT},
    {"CLEARS", "clears", COL_TEXT}, {"SIGNALS", "why", COL_TEXT}, COL_END,
};
static const struct col limit_cols[] = {
    {"UNIT", "unit", COL_TEXT},
    {"WINDOW", "window", COL_TEXT},
    {"LIMIT", "limit", COL_NUM},
    {"USED", "used", COL_NUM},
    {"LEFT", "left", COL_NUM},
    {"RESETS", "resets_ms", COL_TIME},
    {"OVERRIDE", "override", COL_TEXT},
    {"KEY", "key", COL_TEXT},
    {"MODE", "mode", COL_TEXT},
    {"NAME", "name", COL_TEXT},
    COL_END,
};
static const struct col row_cols[] = {
    {"NAME", "name", COL_TEXT},
    {"KEY", "key", COL_TEXT},
    {"UNIT", "unit", COL_TEXT},
    {"WINDOW", "window", COL_TEXT},
    {"MAX", "max", COL_NUM},
    {"CLASS", "class", COL_TEXT},
    {"MODE", "mode", COL_TEXT},
    {"REFUSED", "refused", COL_NUM},
    {"WOULD", "would_refuse", COL_NUM},
    COL_END,
};
static const struct col class_cols[] = {
    {"CLASS", "name", COL_TEXT},
    {"RECIPIENTS", "max_recipients", COL_NUM},
    {"HOURS", "hours", COL_TEXT},
    COL_END,
};
static const struct col over_cols[] = {
    {"OF", "of", COL_TEXT},
    {"WHOM", "whom", COL_TEXT},
    {"LIMIT", "limit", COL_TEXT},
    {"MAX", "max", COL_NUM},
    {"MODE", "mode", COL_TEXT},
    {"EXPIRES", "expires_ms", COL_NEVER},
    {"ACTOR", "actor", COL_TEXT},
    {"REASON", "reason", COL_TEXT},
    COL_END,
};
static const struct col member_cols[] = {
    {"OF", "of", COL_TEXT},
    {"WHOM", "whom", COL_TEXT},
    {"CLASS", "class", COL_TEXT},
    {"EXPIRES", "expires_ms", COL_NEVER},
    {"ACTOR", "actor", COL_TEXT},
    {"REASON", "reason", COL_TEXT},
    COL_END,
};
static const struct col test_cols[] = {
    {"NAME", "name", COL_TEXT}, {"MAX", "max", COL_NUM},	{"WINDOW", "window", COL_TEXT},
    {"MODE", "mode", COL_TEXT}, {"RESULT", "result", COL_TEXT}, COL_END,
};
static const struct col front_cols[] = {
    {"CLIENT", "client", COL_TEXT},    {"REQUESTS", "requests", COL_NUM},
    {"LOGINS", "with_login", COL_NUM}, {"RCPT", "rcpt", COL_NUM},
    {"DATA", "data", COL_NUM},	       {"END", "end", COL_NUM},
    {"VERDICT", "verdict", COL_TEXT},  COL_END,
};

static int print_show(struct cli *c, json_t *r, const int *status)
{
	if (r && c->json) {
		out_json(c, r);
	} else if (r) {
		out_object(c, account_cols, r);
		if (json_object_get(r, "score"))
			out_object(c, score_cols, json_object_get(r, "score"));
		out_rows(c, c->io->out_tty ? "Limits" : "limit", limit_cols,
			 json_object_get(r, "limits"));
	}
	json_decref(r);
	return *status;
}

static void print_part(struct cli *c, const json_t *r, const char *part, const char *title,
		       const struct col *cols)
{
	const json_t *rows = json_object_get(r, part);
	if (json_array_size(rows) > 0)
		out_rows(c, c->io->out_tty ? title : part, cols, rows);
}

static int print_list(struct cli *c, json_t *r, const int *status)
{
	if (r && c->json) {
		out_json(c, r);
	} else if (r) {
		print_part(c, r, "limits", "Limits", row_cols);
		print_part(c, r, "classes", "Classes", class_cols);
		print_part(c, r, "members", "Members", member_cols);
		print_part(c, r, "overrides", "Overrides", over_cols);
	}
	json_decref(r);
	return *status;
}

/* --- whom ------------------------------------------------------------------------------------- */

static bool is_account(const char *text)
{
	const char *at = strrchr(text, '@');
	return at && at != text && at[1];
}

/* What is no account has no limit, and would be remembered for nothing. NULL: said why not.
 * or_class: a class may be given instead. */
static json_t *whom(struct cli *c, bool or_class, int *status)
{
	json_t *args = json_object();
	ask_put_text(c, args, "address", "address");
	ask_put_text(c, args, "domain", "domain");
	if (c->n_args > 0 && !is_account(c->args[0]))
		*status = cli_fail(c, EX_USAGE, "%s is not an account: an account is user@realm",
				   c->args[0]);
	else if (c->n_args == 0 && json_object_size(args) == 0 &&
		 !(or_class && cli_text(c, "class")))
		*status = cli_fail(c, EX_USAGE, "say whose: an ACCOUNT, --address or --domain");
	else {
		if (c->n_args > 0)
			json_object_set_new(args, "account", json_string(c->args[0]));
		return args;
	}
	json_decref(args);
	return NULL;
}

static int ask(struct cli *c, const char *op)
{
	int status = EX_OK;
	json_t *args = whom(c, false, &status);
	return args ? print_show(c, ask_control(c, op, args, &status), &status) : status;
}

static int run_show(struct cli *c)
{
	return ask(c, "limit.show");
}

static int run_reset(struct cli *c)
{
	return ask(c, "limit.reset");
}

/* --- set -------------------------------------------------------------------------------------- */

/* --limit N, unlimited, or none to take the override away. 0 is not accepted: to ratelimitd it
 * means unlimited, to a person the opposite. */
static bool put_limit(json_t *args, const char *text)
{
	int64_t n = 0;
	if (!text)
		return true;
	if (strcmp(text, "none") == 0)
		return json_object_set_new(args, "limit", json_null()) == 0;
	return (strcmp(text, "unlimited") == 0 || ask_int(text, 1, 1000000000000, &n)) &&
	       json_object_set_new(args, "limit", json_integer(n)) == 0;
}

static bool names_a_limit(const struct cli *c)
{
	return cli_text(c, "name") || (cli_text(c, "unit") && cli_text(c, "window"));
}

static int run_set(struct cli *c)
{
	int status = EX_OK;
	if (!names_a_limit(c) || (!cli_text(c, "limit") && !cli_text(c, "mode")))
		return cli_fail(c, EX_USAGE,
				"limit set needs --name, or --unit and --window; and --limit or "
				"--mode");
	json_t *args = whom(c, true, &status);
	if (!args)
		return status;
	static const char *const texts[] = {"class", "name", "unit", "window", "mode", "reason"};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		ask_put_text(c, args, texts[i], texts[i]);
	ask_put_number(c, args, "expires_ms", "expires");
	if (put_limit(args, cli_text(c, "limit"))) {
		bool class = cli_text(c, "class") && json_object_size(args) > 0 && c->n_args == 0 &&
			     !cli_text(c, "address") && !cli_text(c, "domain");
		json_t *r = ask_control(c, "limit.set", args, &status);
		return class ? print_list(c, r, &status) : print_show(c, r, &status);
	}
	json_decref(args);
	return cli_fail(c, EX_USAGE,
			"--limit %s: give a whole number above 0, unlimited, or none; to stop an "
			"account, say incident hold",
			cli_text(c, "limit"));
}

static int run_class(struct cli *c)
{
	int status = EX_OK;
	const char *class = cli_text(c, "class");
	if (!class)
		return cli_fail(c, EX_USAGE, "limit class needs --class: its name, or none");
	json_t *args = whom(c, false, &status);
	if (!args)
		return status;
	json_object_set_new(args, "class",
			    strcmp(class, "none") == 0 ? json_null() : json_string(class));
	ask_put_text(c, args, "reason", "reason");
	ask_put_number(c, args, "expires_ms", "expires");
	return print_show(c, ask_control(c, "limit.class", args, &status), &status);
}

/* --- list, selftest --------------------------------------------------------------------------- */

static int run_list(struct cli *c)
{
	int status = EX_OK;
	return print_list(c, ask_control(c, "limit.list", NULL, &status), &status);
}

static bool all_bite(const json_t *r)
{
	size_t i;
	const json_t *row;
	json_array_foreach (json_object_get(r, "limits"), i, row)
		if (strcmp(json_string_value(json_object_get(row, "result")), "failed") == 0)
			return false;
	json_array_foreach (json_object_get(r, "policy"), i, row)
		if (!json_is_true(json_object_get(row, "bites")))
			return false;
	return true;
}

static int run_selftest(struct cli *c)
{
	int status = EX_OK;
	json_t *r = ask_control(c, "limit.selftest", NULL, &status);
	if (r && c->json) {
		out_json(c, r);
	} else if (r) {
		print_part(c, r, "limits", "Limits", test_cols);
		print_part(c, r, "policy", "Policy clients", front_cols);
	}
	if (r && !all_bite(r))
		status = CLI_NO;
	json_decref(r);
	return status;
}

/* --- words ------------------------------------------------------------------------------------ */

#define OPT_ADDRESS                                                                                \
	{                                                                                          \
		"address", CLI_TEXT, "IP", "of this address, or its delegated prefix", 0, 0, false \
	}
#define OPT_DOMAIN                                                                                 \
	{                                                                                          \
		"domain", CLI_TEXT, "D", "of this domain or realm", 0, 0, false                    \
	}
#define OPT_EXPIRES                                                                                \
	{                                                                                          \
		"expires", CLI_END, "TIME|never", "when it ends; default never", 0, 0, false       \
	}
#define OPT_REASON                                                                                 \
	{                                                                                          \
		"reason", CLI_TEXT, "R", "why, for the audit trail", 0, 0, false                   \
	}
#define OPT_END                                                                                    \
	{                                                                                          \
		NULL, CLI_FLAG, NULL, NULL, 0, 0, false                                            \
	}

static const struct cli_opt whom_opts[] = {OPT_ADDRESS, OPT_DOMAIN, OPT_END};
static const struct cli_opt set_opts[] = {
    {"name", CLI_TEXT, "NAME", "the limit's name, as limit list shows it", 0, 0, false},
    {"unit", CLI_TEXT, "UNIT", "instead of the name: what is counted", 0, 0, false},
    {"window", CLI_TEXT, "TIME", "and over which time, such as 1m, 1h or 1d", 0, 0, false},
    {"limit", CLI_TEXT, "N|unlimited|none", "how many; none goes back to the configured limit", 0,
     0, false},
    {"mode", CLI_CHOICE, "enforce|observe|same", "whether it refuses or only counts and logs", 0, 0,
     false},
    OPT_ADDRESS,
    OPT_DOMAIN,
    {"class", CLI_TEXT, "CLASS", "of every account of this class", 0, 0, false},
    OPT_EXPIRES,
    OPT_REASON,
    OPT_END,
};
static const struct cli_opt class_opts[] = {
    {"class", CLI_TEXT, "CLASS|none", "an account-class of the configuration; required", 0, 0,
     false},
    OPT_DOMAIN,
    OPT_EXPIRES,
    OPT_REASON,
    OPT_END,
};
static const struct cli_verb verbs[] = {
    {"show", "[ACCOUNT]",
     "Show limits, what is used and left of them, when they reset, and which bites first.", NULL,
     whom_opts, run_show},
    {"set", "[ACCOUNT]", "Give an account, address, domain or class a limit of its own.", NULL,
     set_opts, run_set},
    {"reset", "[ACCOUNT]", "Set counters to zero.", NULL, whom_opts, run_reset},
    {"class", "[ACCOUNT]", "Say of which class an account or a domain is.", NULL, class_opts,
     run_class},
    {"list", "", "List the limits, classes, overrides, and how often each limit refused.", NULL,
     NULL, run_list},
    {"selftest", "", "Try whether each limit lets max pass and stops the next; exit 1 if not.",
     "Each is tried on counters of its own, so nobody's are touched. Mail servers that use the "
     "policy protocol are judged by what they have asked so far.",
     NULL, run_selftest},
};
const struct cli_noun noun_limit = {"limit", "how much an account may send", CLI_VERBS(verbs)};
