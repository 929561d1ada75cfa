/*
 * report - complaints from outside: import, list, show, attach to an incident.
 *
 * Trusted with: a message from anybody, which it does not look into: acctd reads it. Diagnostics:
 * on stderr. Known gaps: one message a file, not a mailbox.
 */
#include <string.h>

#include "lib/base64.h"

#include "webui/ctl/ask.h"
#include "webui/ctl/list.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

#define MAX_MESSAGE 700000 /* in base64 and JSON still under 1 MiB */

static const struct col list_cols[] = {
    {"ID", "id", COL_NUM},
    {"RECEIVED", "received_ms", COL_TIME},
    {"TYPE", "feedback_type", COL_TEXT},
    {"MATCH", "match", COL_TEXT},
    {"ACCOUNT", "account", COL_TEXT},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"INCIDENT", "incident", COL_NUM},
    {"SOURCE_IP", "source_ip", COL_TEXT},
    {"REPORTER", "reporter", COL_TEXT},
    {"ERROR", "error", COL_TEXT},
    COL_END,
};
static const struct col show_cols[] = {
    {"ID", "id", COL_NUM},
    {"RECEIVED", "received_ms", COL_TIME},
    {"FORMAT", "format", COL_TEXT},
    {"TYPE", "feedback_type", COL_TEXT},
    {"REPORTER", "reporter", COL_TEXT},
    {"SOURCE_IP", "source_ip", COL_TEXT},
    {"SOURCE_PORT", "source_port", COL_NUM},
    {"ARRIVAL", "arrival_ms", COL_TIME},
    {"MATCH", "match", COL_TEXT},
    {"ACCOUNT", "account", COL_TEXT},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"INCIDENT", "incident", COL_NUM},
    {"TOKEN", "token", COL_TEXT},
    {"QUEUE_ID", "queue_id", COL_TEXT},
    {"SHA256", "sha256", COL_TEXT},
    {"ERROR", "error", COL_TEXT},
    COL_END,
};
static const struct col import_cols[] = {
    {"ID", "id", COL_NUM},
    {"MATCH", "match", COL_TEXT},
    {"ACCOUNT", "account", COL_TEXT},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"INCIDENT", "incident", COL_NUM},
    {"DUPLICATE", "duplicate", COL_TEXT},
    COL_END,
};
static const struct col attach_cols[] = {
    {"REPORT", "id", COL_NUM}, {"INCIDENT", "incident", COL_NUM}, COL_END};

static int run_import(struct cli *c)
{
	int status = EX_OK;
	size_t len;
	struct control_error e;
	bool cut = false;
	char *raw = ask_file_head(c, c->args[0], MAX_MESSAGE, &len, &cut, &status);
	if (!raw || !ask_conf(c, &status))
		return status;
	if (len == 0)
		return cli_fail(c, EX_DATAERR, "%s: the message is empty", c->args[0]);
	/* What tells whose it is comes first; the rest is the body of the message complained of. */
	if (cut)
		cli_warn(c, "%s: only its first %d bytes are filed", c->args[0], MAX_MESSAGE);
	json_t *args = json_pack("{s:s}", "raw", base64_encode(c->pool, raw, len));
	json_t *r = ask_control_quiet(c, "report.import", args, &e);
	if (!r)
		return cli_fail(c, ask_data_code(&e), "%s: %s", c->args[0], e.text);
	out_result(c, import_cols, r);
	json_decref(r);
	return EX_OK;
}

static int run_list(struct cli *c)
{
	bool yes = cli_flag(c, "matched"), no = cli_flag(c, "unmatched");
	if (yes && no)
		return cli_fail(c, EX_USAGE, "give --matched or --unmatched, not both");
	return list_run(c, query_reports, yes ? "matched" : no ? "unmatched" : NULL, list_cols);
}

static void show_fields(const struct cli *c, const json_t *fields)
{
	const char *key;
	json_t *v, *one;
	size_t i;
	if (c->io->out_tty && json_object_size(fields))
		fputs("\nFields:\n", c->io->out);
	json_object_foreach ((json_t *)fields, key, v) {
		const char *name = out_escape(c->pool, key);
		json_array_foreach (v, i, one)
			fprintf(c->io->out, c->io->out_tty ? "  %s: %s\n" : "field\t%s\t%s\n", name,
				out_value(c, COL_TEXT, one));
	}
}

static int run_show(struct cli *c)
{
	int status = EX_OK;
	json_t *r = ask_one(c, "report", query_report, &status);
	const char *headers = json_string_value(json_object_get(r, "original_headers"));
	if (r && c->json) {
		out_json(c, r);
	} else if (r) {
		out_object(c, show_cols, r);
		show_fields(c, json_object_get(r, "fields"));
		if (headers && *headers)
			out_lines(c, "Headers of the message", "header", headers);
	}
	json_decref(r);
	return status;
}

static int run_attach(struct cli *c)
{
	int status = EX_OK;
	int64_t id, incident;
	if (!ask_id(c, c->args[0], &id, &status) || !ask_id(c, c->args[1], &incident, &status))
		return status;
	json_t *args =
	    json_pack("{s:I, s:I}", "id", (json_int_t)id, "incident", (json_int_t)incident);
	json_t *keep = json_incref(args);
	json_t *r = ask_control(c, "report.attach", args, &status);
	if (r) {
		json_object_update_missing(r, keep);
		out_result(c, attach_cols, r);
	}
	json_decref(keep);
	json_decref(r);
	return status;
}

static const struct cli_opt list_opts[] = {
    {"matched", CLI_FLAG, NULL, "only those of a known account or line, or under an incident", 0, 0,
     false},
    {"unmatched", CLI_FLAG, NULL,
     "only those that nobody was found for, and that are under no incident", 0, 0, false},
    LIST_OPTIONS("only of this account, subscriber, source address or reporter"),
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb verbs[] = {
    {"import", "FILE|-", "File one abuse report, a mail message in ARF (RFC 5965).",
     "The account is found by our trace token, the queue id, or the address and time; the report "
     "goes to the incident of that account. Of a message above 700000 bytes the first 700000 are "
     "filed. "
     "Exit status 65 when the message is no report.",
     NULL, run_import},
    {"list", "", "List the reports, newest first.", NULL, list_opts, run_list},
    {"show", "ID", "Show one report: its fields and the headers of the message it is about.", NULL,
     NULL, run_show},
    {"attach", "ID INCIDENT", "Put a report under an incident by hand.", NULL, NULL, run_attach},
};
const struct cli_noun noun_report = {"report", "complaints from outside", CLI_VERBS(verbs)};
