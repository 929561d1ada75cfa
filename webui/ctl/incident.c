/*
 * incident - what was noticed, and what is done about it.
 *
 * Trusted with: asking acctd for changes; holding and releasing an account's mail goes through it
 * too, so that the audit trail has it. Diagnostics: on stderr. Known gaps: none.
 */
#include <string.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/list.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

static const struct col list_cols[] = {
    {"ID", "id", COL_NUM},
    {"STATE", "state", COL_TEXT},
    {"SUBJECT", "subject", COL_TEXT},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"OPENED", "opened_ms", COL_TIME},
    {"HELD_SINCE", "held_since", COL_NUM},
    {"REPORTS", "reports", COL_NUM},
    {"OWNER", "owner", COL_TEXT},
    {"WHY", "why", COL_TEXT},
    COL_END,
};
static const struct col show_cols[] = {
    {"ID", "id", COL_NUM},
    {"STATE", "state", COL_TEXT},
    {"SUBJECT", "subject", COL_TEXT},
    {"TYPE", "subject_type", COL_TEXT},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"NAME", "subscriber_name", COL_TEXT},
    {"WHY", "why", COL_TEXT},
    {"DETECTOR", "detector", COL_TEXT},
    {"SEVERITY", "severity", COL_TEXT},
    {"STAGE", "stage", COL_TEXT},
    {"OPENED", "opened_ms", COL_TIME},
    {"CONTAINED", "contained_ms", COL_TIME},
    {"RELEASED", "released_ms", COL_TIME},
    {"RESOLVED", "resolved_ms", COL_TIME},
    {"UPDATED", "updated_ms", COL_TIME},
    {"OWNER", "owner", COL_TEXT},
    {"HELD_SINCE", "held_since", COL_NUM},
    COL_END,
};
static const struct col timeline_cols[] = {
    {"TIME", "t_ms", COL_TIME},
    {"ACTOR", "actor", COL_TEXT},
    {"WHAT", "what", COL_TEXT},
    {"TEXT", "text", COL_TEXT},
    COL_END,
};
static const struct col report_cols[] = {
    {"ID", "id", COL_NUM},
    {"RECEIVED", "received_ms", COL_TIME},
    {"TYPE", "feedback_type", COL_TEXT},
    {"REPORTER", "reporter", COL_TEXT},
    {"MATCH", "match", COL_TEXT},
    COL_END,
};
static const struct col message_cols[] = {
    {"TIME", "t_ms", COL_TIME},
    {"QUEUE_ID", "queue_id", COL_TEXT},
    {"SRC", "src", COL_TEXT},
    {"MAIL_FROM", "mail_from", COL_TEXT},
    {"RCPTS", "rcpts", COL_NUM},
    {"HELD", "held", COL_TEXT},
    {"DOMAINS", "rcpt_domains", COL_TEXT},
    COL_END,
};
static const struct col answer_cols[] = {
    {"CLASS", "answer", COL_TEXT},
    {"N", "n", COL_NUM},
    {"RETURNED", "returned", COL_NUM},
    {"FIRST", "first_ms", COL_TIME},
    {"LAST", "last_ms", COL_TIME},
    COL_END,
};
static const struct col lease_cols[] = {
    {"PREFIX", "prefix", COL_TEXT},  {"FROM", "from_ms", COL_TIME},   {"TO", "to_ms", COL_TIME},
    {"PORT_LO", "port_lo", COL_NUM}, {"PORT_HI", "port_hi", COL_NUM}, COL_END,
};
static const struct col change_cols[] = {{"INCIDENT", "id", COL_NUM}, COL_END};

static int run_list(struct cli *c)
{
	return list_run(c, query_incidents, cli_text(c, "state"), list_cols);
}

static void show(const struct cli *c, const json_t *r)
{
	bool tty = c->io->out_tty;
	out_object(c, show_cols, r);
	out_rows(c, tty ? "Timeline" : "timeline", timeline_cols, json_object_get(r, "timeline"));
	out_rows(c, tty ? "Reports" : "report", report_cols, json_object_get(r, "reports"));
	out_rows(c, tty ? "Last messages" : "message", message_cols,
		 json_object_get(r, "messages"));
	out_rows(c, tty ? "Answers of mail servers" : "answer", answer_cols,
		 json_object_get(r, "answers"));
	out_rows(c, tty ? "Lines" : "line", lease_cols, json_object_get(r, "lines"));
}

static int run_show(struct cli *c)
{
	int status = EX_OK;
	json_t *r = ask_one(c, "incident", query_incident, &status);
	if (r && c->json)
		out_json(c, r);
	else if (r)
		show(c, r);
	json_decref(r);
	return status;
}

/* {"id"} or, where the verb takes one, {"account"}. */
static json_t *subject(struct cli *c, bool account_too, int *status)
{
	int64_t id;
	const char *text = c->args[0];
	if (account_too && strchr(text, '@'))
		return json_pack("{s:s}", "account", text);
	if (account_too && !ask_int(text, 1, INT64_MAX, &id)) {
		*status =
		    cli_fail(c, EX_USAGE,
			     "%s is neither an incident's ID nor an account (user@realm)", text);
		return NULL;
	}
	if (!ask_id(c, text, &id, status))
		return NULL;
	return json_pack("{s:I}", "id", (json_int_t)id);
}

static int change(struct cli *c, const char *op, json_t *args, int status)
{
	if (!args)
		return status;
	json_t *keep = json_incref(args);
	json_t *r = ask_control(c, op, args, &status);
	if (r) {
		json_object_update_missing(r, keep);
		out_result(c, change_cols, r);
	}
	json_decref(keep);
	json_decref(r);
	return status;
}

static int with_reason(struct cli *c, const char *op, bool account_too)
{
	int status = EX_OK;
	json_t *args = subject(c, account_too, &status);
	if (args)
		ask_put_text(c, args, "reason", "reason");
	return change(c, op, args, status);
}

static int run_ack(struct cli *c)
{
	return with_reason(c, "incident.ack", false);
}

static int run_hold(struct cli *c)
{
	return with_reason(c, "incident.hold", true);
}

static int run_release(struct cli *c)
{
	int status = EX_OK;
	json_t *args = subject(c, true, &status);
	if (args) {
		ask_put_text(c, args, "reason", "reason");
		if (cli_flag(c, "false-positive"))
			json_object_set_new(args, "mistake", json_true());
	}
	return change(c, "incident.release", args, status);
}

static int run_resolve(struct cli *c)
{
	return with_reason(c, "incident.resolve", false);
}

static int run_note(struct cli *c)
{
	int status = EX_OK;
	json_t *args = subject(c, false, &status);
	if (args)
		json_object_set_new(args, "text", json_string(c->args[1]));
	return change(c, "incident.note", args, status);
}

static const struct cli_opt list_opts[] = {
    {"state", CLI_CHOICE, "open|acknowledged|contained|released|resolved|all",
     "only those in this state; default all but the resolved ones", 0, 0, false},
    LIST_OPTIONS("only of this account, line or subscriber"),
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt reason_opts[] = {
    {"reason", CLI_TEXT, "R", "why, for the timeline and the audit trail", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt release_opts[] = {
    {"reason", CLI_TEXT, "R", "why, for the timeline and the audit trail", 0, 0, false},
    {"false-positive", CLI_FLAG, NULL,
     "what the account did is its own way: the detector learns it", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb verbs[] = {
    {"list", "", "List the incidents, newest first.", NULL, list_opts, run_list},
    {"show", "ID", "Show one incident: why, what was done, reports, messages, lines.", NULL, NULL,
     run_show},
    {"ack", "ID", "Say that you have seen it and take it over.", NULL, reason_opts, run_ack},
    {"hold", "ID|ACCOUNT", "Hold the account's mail, what is queued already included.",
     "For an account without an open incident one is opened.", reason_opts, run_hold},
    {"release", "ID|ACCOUNT", "Let the account's held mail go, and its new mail pass.",
     "Without --false-positive the detector was right, and judges the account more strictly.",
     release_opts, run_release},
    {"resolve", "ID", "Close an incident; one that is contained must be released first.", NULL,
     reason_opts, run_resolve},
    {"note", "ID TEXT", "Add a line to the incident's timeline.", NULL, NULL, run_note},
};
const struct cli_noun noun_incident = {"incident", "what was noticed, and what is done about it",
				       CLI_VERBS(verbs)};
