/*
 * tlsrpt - how TLS went with mail servers, and the reports of it (RFC 8460).
 *
 * Trusted with: asking msad through acctd. Diagnostics: on stderr. Known gaps: none.
 */
#include <string.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

static const struct col show_cols[] = {
    {"DOMAIN", "domain", COL_TEXT},
    {"POLICY", "policy", COL_TEXT},
    {"OF", "policy_domain", COL_TEXT},
    {"SUCCESSFUL", "successful", COL_NUM},
    {"FAILED", "failed", COL_NUM},
    {"REPORTS_TO", "rua", COL_TEXT},
    COL_END,
};
static const struct col failure_cols[] = {
    {"DOMAIN", "domain", COL_TEXT},
    {"RESULT", "result", COL_TEXT},
    {"MX", "mx", COL_TEXT},
    {"ADDRESS", "to", COL_TEXT},
    {"COUNT", "count", COL_NUM},
    {"REASON", "reason", COL_TEXT},
    COL_END,
};
static const struct col sent_cols[] = {
    {"DAY", "day", COL_TEXT}, {"SENT", "sent", COL_NUM}, COL_END};

/* [DAY] [DOMAIN]: what begins with four digits and '-' is a day. */
static json_t *day_and_domain(struct cli *c, int *status)
{
	json_t *args = json_object();

	for (size_t i = 0; i < c->n_args; i++) {
		const char *word = c->args[i];
		bool day = strspn(word, "0123456789") == 4 && word[4] == '-';
		const char *key = day ? "day" : "domain";
		if (json_object_get(args, key)) {
			*status = cli_fail(c, EX_USAGE, "%s: say one day and one domain", word);
			json_decref(args);
			return NULL;
		}
		json_object_set_new(args, key, json_string(word));
	}
	return args;
}

/* The failures of all rows as one list. */
static json_t *failures(const json_t *rows)
{
	json_t *list = json_array(), *row, *f;
	size_t i, k;

	json_array_foreach (rows, i, row) {
		json_array_foreach (json_object_get(row, "failures"), k, f) {
			json_t *copy = json_copy(f);
			json_object_set(copy, "domain", json_object_get(row, "domain"));
			json_array_append_new(list, copy);
		}
	}
	return list;
}

static void print(struct cli *c, const json_t *r)
{
	const json_t *rows = json_object_get(r, "rows");
	json_t *failed = failures(rows);

	out_rows(c, c->io->out_tty ? "Sessions" : "sessions", show_cols, rows);
	if (json_array_size(failed))
		out_rows(c, c->io->out_tty ? "Failures" : "failure", failure_cols, failed);
	json_decref(failed);
}

static int run_show(struct cli *c)
{
	int status = EX_OK;
	json_t *args = day_and_domain(c, &status);
	json_t *r = args ? ask_control(c, "tlsrpt.show", args, &status) : NULL;
	const json_t *report = json_object_get(r, "report");

	if (!r)
		return status;
	if (c->json)
		out_json(c, report ? report : r);
	else
		print(c, r);
	if (json_array_size(json_object_get(r, "rows")) == 0)
		status = CLI_NO;
	json_decref(r);
	return status;
}

static int run_send(struct cli *c)
{
	int status = EX_OK;
	json_t *args = day_and_domain(c, &status);
	json_t *r = args ? ask_control(c, "tlsrpt.send", args, &status) : NULL;

	if (!r)
		return status;
	status = out_result(c, sent_cols, r);
	if (json_integer_value(json_object_get(r, "sent")) == 0)
		status = CLI_NO;
	json_decref(r);
	return status;
}

static const struct cli_verb verbs[] = {
    {"show", "[DAY] [DOMAIN]",
     "Show how TLS went with the mail servers of domains, today or on a day (UTC, YYYY-MM-DD).",
     "With --json and a domain it is the report of RFC 8460. Exit status 1: nothing was counted.",
     NULL, run_show},
    {"send", "[DAY] [DOMAIN]",
     "Send the reports of yesterday, or of a day, to who asks for them and has none yet.",
     "Whatever the configuration says. Exit status 1: none.", NULL, run_send},
};
const struct cli_noun noun_tlsrpt = {"tlsrpt", "TLS with mail servers, and reports of it",
				     CLI_VERBS(verbs)};
