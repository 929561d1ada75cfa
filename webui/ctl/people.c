/*
 * people - subscribers, their mail accounts, the operators of the dashboard, and the audit trail of
 * what was changed.
 *
 * Trusted with: a new operator's password on its way to acctd; it is wiped afterwards and never
 * printed. Diagnostics: on stderr. Known gaps: none.
 */
#include <string.h>

#include "lib/clock.h"

#include "webui/ctl/ask.h"
#include "webui/ctl/list.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

/* --- subscriber --- */

static const struct col subscriber_cols[] = {
    {"REF", "ref", COL_TEXT},
    {"NAME", "name", COL_TEXT},
    {"CONTACT", "contact", COL_TEXT},
    {"ACCOUNTS", "accounts", COL_TEXT},
    {"ID", "id", COL_NUM},
    COL_END,
};
static const struct col added_cols[] = {{"REF", "ref", COL_TEXT},   {"LOGIN", "login", COL_TEXT},
					{"USER", "user", COL_TEXT}, {"ROLE", "role", COL_TEXT},
					{"ID", "id", COL_NUM},	    COL_END};

/* Prints what was changed: acctd's answer, with the name the caller gave. */
static int done(struct cli *c, const char *key, const char *name, json_t *r, const int *status)
{
	if (!r)
		return *status;
	json_object_set_new(r, key, json_string(name));
	out_result(c, added_cols, r);
	json_decref(r);
	return EX_OK;
}

static int run_subscriber_add(struct cli *c)
{
	int status = EX_OK;
	json_t *args = json_pack("{s:s}", "ref", c->args[0]);
	ask_put_text(c, args, "name", "name");
	ask_put_text(c, args, "contact", "contact");
	return done(c, "ref", c->args[0], ask_control(c, "subscriber.add", args, &status), &status);
}

static int run_subscriber_list(struct cli *c)
{
	int status = EX_OK;
	const char *err = NULL;
	struct query *q = ask_query(c, &status);
	json_t *r = q ? ask_got(c, query_subscribers(q, ASK_ROWS, &err), err, &status) : NULL;
	if (r)
		status = out_list(c, subscriber_cols, r);
	json_decref(r);
	return status;
}

static const struct cli_opt subscriber_add_opts[] = {
    {"name", CLI_TEXT, "N", "the name people know", 0, 0, false},
    {"contact", CLI_TEXT, "C", "how to reach the subscriber", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb subscriber_verbs[] = {
    {"add", "REF", "Record a subscriber under your own reference, or change its name and contact.",
     NULL, subscriber_add_opts, run_subscriber_add},
    {"list", "", "List the subscribers and their accounts.", NULL, NULL, run_subscriber_list},
};
const struct cli_noun noun_subscriber = {"subscriber", "the customers",
					 CLI_VERBS(subscriber_verbs)};

/* --- account --- */

static int run_account_add(struct cli *c)
{
	int status = EX_OK;
	const char *ref = cli_text(c, "subscriber");
	if (!ref)
		return cli_fail(c, EX_USAGE, "account add needs --subscriber REF");
	json_t *args = json_pack("{s:s, s:s}", "login", c->args[0], "subscriber", ref);
	return done(c, "login", c->args[0], ask_control(c, "account.add", args, &status), &status);
}

static const struct col login_cols[] = {
    {"NETWORK", "network", COL_TEXT}, {"OK", "ok", COL_NUM},
    {"FAILED", "failed", COL_NUM},    {"ADDRESSES", "addresses", COL_NUM},
    {"FIRST", "first_ms", COL_TIME},  {"LAST", "last_ms", COL_TIME},
    {"MECHANISM", "mech", COL_TEXT},  {"TLS", "tls", COL_TEXT},
    COL_END};

static int run_account_logins(struct cli *c)
{
	int status = EX_OK;
	int64_t since = clock_utc_ms() - INT64_C(86400000), limit = 100;
	const char *err = NULL;
	struct query *q = ask_query(c, &status);
	(void)cli_number(c, "since", &since);
	(void)cli_number(c, "limit", &limit);
	json_t *r =
	    q ? ask_got(c, query_logins(q, c->args[0], since, (int)limit, &err), err, &status)
	      : NULL;
	if (r)
		status = out_list(c, login_cols, r);
	json_decref(r);
	return status;
}

static const struct cli_opt account_logins_opts[] = {
    {"since", CLI_TIME, "TIME", "logins since then; default a day ago", 0, 0, false},
    {"limit", CLI_INT, "N", "at most so many networks; default 100", 1, ASK_ROWS, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt account_add_opts[] = {
    {"subscriber", CLI_TEXT, "REF", "whose account it is; required", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb account_verbs[] = {
    {"add", "LOGIN",
     "Record that LOGIN (user@realm) is an account of a subscriber, or move it there.", NULL,
     account_add_opts, run_account_add},
    {"logins", "LOGIN",
     "List the networks (/24, /48) from which LOGIN has logged in, or somebody has tried to.", NULL,
     account_logins_opts, run_account_logins},
};
const struct cli_noun noun_account = {"account", "the mail accounts of the customers",
				      CLI_VERBS(account_verbs)};

/* --- operator --- */

static const struct col operator_cols[] = {{"USER", "user", COL_TEXT},
					   {"ROLE", "role", COL_TEXT},
					   {"CREATED", "created_ms", COL_TIME},
					   {"LAST_LOGIN", "login_ms", COL_TIME},
					   COL_END};

/* The role an operator has already, so that a new password does not take it away. */
static const char *present_role(const char *user, const json_t *list)
{
	size_t i;
	json_t *o;
	json_array_foreach (list, i, o) {
		const char *name = json_string_value(json_object_get(o, "user"));
		const char *role = json_string_value(json_object_get(o, "role"));
		if (name && role && strcmp(name, user) == 0)
			return role;
	}
	return "viewer";
}

static int send_operator(struct cli *c, const char *role, const char *password)
{
	int status = EX_OK;
	json_t *secret = json_string(password);
	if (!secret)
		return cli_fail(c, EX_USAGE, "the password is not UTF-8 text");
	json_t *args =
	    json_pack("{s:s, s:O, s:s}", "user", c->args[0], "password", secret, "role", role);
	json_t *r = ask_control(c, "operator.add", args, &status);
	explicit_bzero((char *)json_string_value(secret), json_string_length(secret));
	json_decref(secret);
	if (r)
		json_object_set_new(r, "role", json_string(role));
	return done(c, "user", c->args[0], r, &status);
}

static int run_operator_add(struct cli *c)
{
	char password[256];
	int status = EX_OK;
	const char *role = cli_text(c, "role");
	json_t *list = role ? NULL : ask_control(c, "operator.list", NULL, &status);
	if (!role && !list)
		return status;
	role = role ? role : present_role(c->args[0], list);
	if (ask_password(c, cli_flag(c, "password-stdin"), password, sizeof(password), &status))
		status = send_operator(c, role, password);
	explicit_bzero(password, sizeof(password));
	json_decref(list);
	return status;
}

static int run_operator_remove(struct cli *c)
{
	int status = EX_OK;
	json_t *args = json_pack("{s:s}", "user", c->args[0]);
	return done(c, "user", c->args[0], ask_control(c, "operator.remove", args, &status),
		    &status);
}

static int run_operator_list(struct cli *c)
{
	int status = EX_OK;
	json_t *r = ask_control(c, "operator.list", NULL, &status);
	if (r)
		status = out_list(c, operator_cols, r);
	json_decref(r);
	return status;
}

static const struct cli_opt operator_add_opts[] = {
    {"role", CLI_CHOICE, "viewer|desk|admin",
     "viewer reads, desk works incidents and reports, admin does all; default the present one, "
     "else viewer",
     0, 0, false},
    {"password-stdin", CLI_FLAG, NULL, "read the password from standard input even on a terminal",
     0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb operator_verbs[] = {
    {"add", "USER", "Let USER log in to the dashboard, or set a new password.",
     "The password is asked for twice on a terminal, else it is the first line of standard input.",
     operator_add_opts, run_operator_add},
    {"list", "", "List the operators.", NULL, NULL, run_operator_list},
    {"remove", "USER", "Take the dashboard away from USER.", NULL, NULL, run_operator_remove},
};
const struct cli_noun noun_operator = {"operator", "who may use the dashboard",
				       CLI_VERBS(operator_verbs)};

/* --- audit --- */

static const struct col audit_cols[] = {
    {"SEQ", "seq", COL_NUM},	    {"TIME", "t_ms", COL_TIME},	    {"ACTOR", "actor", COL_TEXT},
    {"ACTION", "action", COL_TEXT}, {"OBJECT", "object", COL_TEXT}, {"REASON", "reason", COL_TEXT},
    {"PEER", "peer", COL_TEXT},	    {"DETAIL", "detail", COL_TEXT}, COL_END,
};

static int run_audit_list(struct cli *c)
{
	return list_run(c, query_audit, NULL, audit_cols);
}

static const struct cli_opt audit_opts[] = {
    LIST_OPTIONS("only those with this in actor, action or object"),
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb audit_verbs[] = {
    {"list", "", "List who changed what, newest first.", NULL, audit_opts, run_audit_list},
};
const struct cli_noun noun_audit = {"audit", "who changed what", CLI_VERBS(audit_verbs)};
