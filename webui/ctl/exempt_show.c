/*
 * exempt_show - exemptions as lists, and one with all there is about it (see exempt.h).
 *
 * Trusted with: reading the database. Diagnostics: on stderr. Known gaps: a list of many is read in
 * pages, and is not of one moment.
 */
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

#include "webui/ctl/exempt.h"
#include "webui/ctl/out.h"

#define PAGE 20000

static const struct col list_cols[] = {
    {"PREFIX", "prefix", COL_TEXT},
    {"CLASS", "class", COL_TEXT},
    {"STATE", "state", COL_TEXT},
    {"STARTS", "starts_ms", COL_TIME},
    {"EXPIRES", "expires_ms", COL_NEVER},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"CONTRACT", "contract", COL_TEXT},
    {"CONTACT", "contact", COL_TEXT},
    {"LAST_SEEN", "last_seen_ms", COL_TIME},
    {"PACKETS", "packets", COL_NUM},
    {"REASON", "reason", COL_TEXT},
    {"EVIDENCE", "evidence_note", COL_TEXT},
    COL_END,
};

json_t *exempt_all(struct cli *c, const struct query_exempt *filter, int *status)
{
	struct query_exempt f = *filter;
	struct query *q = ask_query(c, status);
	json_t *all = q ? json_array() : NULL;
	for (size_t n = PAGE; all && n == PAGE;) {
		const char *err = NULL;
		json_t *page =
		    ask_got(c, query_exemptions(q, &f, PAGE, c->io->now_ms, &err), err, status);
		if (!page) {
			json_decref(all);
			return NULL;
		}
		n = json_array_size(page);
		f.before_id =
		    n ? json_integer_value(json_object_get(json_array_get(page, n - 1), "id")) : 0;
		json_array_extend(all, page);
		json_decref(page);
	}
	return all;
}

/* "bad since 2026-11-22T13:08:10Z, suspended" for those that need somebody. */
static void add_note(const struct cli *c, json_t *row)
{
	const char *found = json_string_value(json_object_get(row, "evidence"));
	const char *by = json_string_value(json_object_get(row, "suspended_by"));
	char buf[CLOCK_STRLEN];
	int64_t since = json_integer_value(json_object_get(row, "evidence_bad_ms"));
	char *note = talloc_strdup(c->pool, found ? found : "");
	if (since)
		note = talloc_asprintf_append(note, " since %s", clock_format(since, buf));
	if (by && strcmp(by, "evidence") == 0)
		note = talloc_asprintf_append(note, ", suspended for it");
	json_object_set_new(row, "evidence_note", json_string(note));
	talloc_free(note);
}

int exempt_run_list(struct cli *c)
{
	int status = EX_OK;
	struct prefix within;
	char text[PREFIX_STRLEN], err[128];
	const char *inside = cli_text(c, "within");
	struct query_exempt f = {.all = cli_flag(c, "all"),
				 .state = cli_text(c, "state"),
				 .class = cli_text(c, "class"),
				 .subscriber = cli_text(c, "subscriber"),
				 .evidence = cli_text(c, "evidence")};
	cli_number(c, "expiring", &f.expires_ms);
	if (inside && (!ask_prefix(c, inside, text, &status) || !prefix_parse(text, &within, err)))
		return status;
	f.within = inside ? &within : NULL;
	/* A state of the past is asked for by its name alone. */
	f.all = f.all || (f.state && strchr("er", f.state[0]) && strcmp(f.state, "requested") != 0);
	json_t *r = exempt_all(c, &f, &status), *row;
	size_t i;
	json_array_foreach (c->json ? NULL : r, i, row)
		add_note(c, row);
	if (r)
		status = out_list(c, list_cols, r);
	json_decref(r);
	return status;
}

/* --- one --- */

static const struct col show_cols[] = {
    {"PREFIX", "prefix", COL_TEXT},
    {"ID", "id", COL_NUM},
    {"STATE", "state", COL_TEXT},
    {"CLASS", "class", COL_TEXT},
    {"TO", "to", COL_TEXT},
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"NAME", "subscriber_name", COL_TEXT},
    {"CONTRACT", "contract", COL_TEXT},
    {"SERVICE", "service", COL_TEXT},
    {"STATIC", "static", COL_TEXT},
    {"ACCESS_PORT", "access_port", COL_TEXT},
    {"CONTACT", "contact", COL_TEXT},
    {"ABUSE_CONTACT", "abuse_contact", COL_TEXT},
    {"USE", "use", COL_TEXT},
    {"SOFTWARE", "software", COL_TEXT},
    {"VOLUME", "volume", COL_TEXT},
    {"HELO", "helo", COL_TEXT},
    {"DOMAIN", "domain", COL_TEXT},
    {"AUP", "aup_ms", COL_TIME},
    {"APPROVER", "approver", COL_TEXT},
    {"TICKET", "ticket", COL_TEXT},
    {"REASON", "reason", COL_TEXT},
    {"ACTOR", "actor", COL_TEXT},
    {"CREATED", "created_ms", COL_TIME},
    {"STARTS", "starts_ms", COL_TIME},
    {"EXPIRES", "expires_ms", COL_NEVER},
    {"REVIEW", "review_ms", COL_TIME},
    {"ENDED", "ended_ms", COL_TIME},
    {"SUSPENDED_BY", "suspended_by", COL_TEXT},
    {"SUSPENDED_UNTIL", "suspended_until_ms", COL_TIME},
    {"LAST_SEEN", "last_seen_ms", COL_TIME},
    {"PACKETS", "packets", COL_NUM},
    {"EVIDENCE", "evidence", COL_TEXT},
    {"LOOKED", "evidence_ms", COL_TIME},
    {"BAD_SINCE", "evidence_bad_ms", COL_TIME},
    COL_END,
};
static const struct col item_cols[] = {
    {"ITEM", "item", COL_TEXT},
    {"VERDICT", "verdict", COL_TEXT},
    {"WHY", "words", COL_TEXT},
    COL_END,
};
static const struct col history_cols[] = {
    {"TIME", "t_ms", COL_TIME}, {"ACTOR", "actor", COL_TEXT},	{"FROM", "old", COL_TEXT},
    {"TO", "new", COL_TEXT},	{"REASON", "reason", COL_TEXT}, COL_END,
};

int exempt_run_show(struct cli *c)
{
	struct prefix p;
	char text[PREFIX_STRLEN], bad[128];
	const char *err = NULL;
	int status = EX_OK;
	if (!ask_prefix(c, c->args[0], text, &status) || !prefix_parse(text, &p, bad))
		return status;
	struct query *q = ask_query(c, &status);
	json_t *r = q ? query_exemption_of(q, &p, c->io->now_ms, &err) : NULL;
	if (q && !r && err && strcmp(err, "not found") == 0)
		return cli_fail(c, CLI_NO, "%s has never been registered", text);
	if (!q || !ask_got(c, r, err, &status))
		return status;
	out_result(c, show_cols, r);
	if (!c->json) {
		out_rows(c, "evidence", item_cols, json_object_get(r, "evidence_items"));
		out_rows(c, "history", history_cols, json_object_get(r, "history"));
	}
	json_decref(r);
	return EX_OK;
}
