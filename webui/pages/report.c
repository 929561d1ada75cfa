/*
 * report - one abuse report: what it says, how it was matched, and where it belongs.
 *
 * Known gaps: the raw message is kept by acctd and not shown; its headers are.
 */
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"

static const struct page_done done[] = {
    {"imported", "The report was read and filed."},
    {"duplicate", "This very report was here already; it was not filed twice."},
    {"attached", "Attached to the incident."},
    {NULL, NULL},
};

static const char *match_words(const char *match)
{
	static const char *const rows[][2] = {
	    {"token", "Our trace token is in the reported message: it is certain which message and "
		      "account this is."},
	    {"queue_id", "Our queue id is in the reported message: it is certain which message and "
			 "account this is."},
	    {"tag", "The envelope sender carries a tag that was made here: it is certain which "
		    "account sent "
		    "it, and on which day."},
	    {"lease", "By the address (and port, if given) and the time: this is who used it then, "
		      "by the leases on record."},
	    {"none", "Nothing in the report leads to a subscriber. Behind shared addresses an IP "
		     "without a port and a time is ambiguous."},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (strcmp(rows[i][0], match) == 0)
			return rows[i][1];
	return "";
}

static void head_card(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	int64_t incident = jint(x, "incident", 0), port = jint(x, "source_port", 0);
	put(h, LIT("<section class=\"card\"><p class=\"lead\">"),
	    TXT(match_words(jstr(x, "match"))), LIT("</p>"));
	if (*jstr(x, "error"))
		put(h, LIT("<div class=\"note warn\">"), FOR(jstr(x, "error")), LIT("</div>"));
	put(h, LIT("<dl class=\"facts\"><div><dt>Account</dt><dd>"));
	link_subject(h, jstr(x, "account"));
	put(h, LIT("</dd></div>"));
	fact(h, "Subscriber", FOR(jstr(x, "subscriber")));
	put(h, LIT("<div><dt>Incident</dt><dd>"));
	if (incident > 0)
		put(h, LIT("<a class=\"no\" href=\"/incidents/"), INT(incident), LIT("\">#"),
		    INT(incident), LIT("</a>"));
	else
		put(h, LIT("<span class=\"none\">none yet</span>"));
	put(h, LIT("</dd></div><div><dt>Source (the abuser)</dt><dd>"));
	link_subject(h, jstr(x, "source_ip"));
	if (port > 0)
		put(h, LIT(" port "), INT(port));
	put(h, LIT("</dd></div><div><dt>Happened</dt><dd>"));
	when_or_none(h, jint(x, "arrival_ms", 0));
	put(h, LIT("</dd></div>"));
	fact(h, "Received", WHEN(jint(x, "received_ms", 0)));
	fact(h, "Reporter", FOR(jstr(x, "reporter")));
	fact(h, "Type", FOR(jstr(x, "feedback_type")));
	fact(h, "Format", FOR(jstr(x, "format")));
	fact(h, "Trace token", LIT("<span class=\"id\">"), FOR(jstr(x, "token")), LIT("</span>"));
	fact(h, "Queue id", LIT("<span class=\"id\">"), FOR(jstr(x, "queue_id")), LIT("</span>"));
	fact_wide(h, "SHA-256 of the message", LIT("<span class=\"id\">"), FOR(jstr(x, "sha256")),
		  LIT("</span>"));
	put(h, LIT("</dl></section>"));
}

static void fields_card(struct web *w, json_t *fields)
{
	const char *name;
	json_t *values, *v;
	size_t i;
	put(w->h, LIT("<section class=\"card\"><h2>Fields of the report</h2><dl class=\"raw\">"));
	json_object_foreach (fields, name, values) {
		put(w->h, LIT("<div><dt>"), FOR(name), LIT("</dt>"));
		json_array_foreach (values, i, v)
			put(w->h, LIT("<dd>"), FOR(json_string_value(v)), LIT("</dd>"));
		put(w->h, LIT("</div>"));
	}
	put(w->h, LIT("</dl></section>"));
}

static void headers_card(struct web *w, const char *headers)
{
	put(w->h, LIT("<section class=\"card\"><h2>Headers of the reported message</h2><p "
		      "class=\"hint\">As the reporter sent them, perhaps redacted. "
		      "Hidden and direction-changing characters are shown by their number.</p>"));
	if (*headers)
		put(w->h, LIT("<pre class=\"mail\" tabindex=\"0\">"), PRE(headers), LIT("</pre>"));
	else
		put(w->h, LIT("<p class=\"empty\">The report holds none.</p>"));
	put(w->h, LIT("</section>"));
}

/* The unresolved incidents, to choose from; a number can be typed when there are none or it is
 * another one. */
static void incident_options(struct web *w)
{
	const char *err;
	struct query *q = web_query(w);
	json_t *rows =
		   q ? query_incidents(q, &(struct query_list){.state = NULL}, 200, &err) : NULL,
	       *x;
	size_t i;
	put(w->h, LIT("<datalist id=\"incidents\">"));
	json_array_foreach (rows, i, x)
		put(w->h, LIT("<option value=\""), INT(jint(x, "id", 0)), LIT("\">"),
		    TXT(jstr(x, "subject")), LIT(", "), TXT(jstr(x, "state")), LIT("</option>"));
	put(w->h, LIT("</datalist>"));
	json_decref(rows);
}

static void attach_card(struct web *w, const json_t *x)
{
	if (w->role < ROLE_DESK)
		return;
	put(w->h, LIT("<section class=\"card\"><h2>Where it belongs</h2>"));
	form_begin(w, "/reports", w->id, "attach", "stack");
	form_input(w, &(struct form_input){.name = "incident",
					   .label = "Attach to incident no.",
					   .required = true,
					   .max = 20,
					   .list = "incidents",
					   .hint = "The list offers those that are not resolved."});
	incident_options(w);
	put(w->h, EITHER(jint(x, "incident", 0) > 0, "<button>Move it there</button>",
			 "<button class=\"primary\">Attach</button>"));
	form_end(w);
	put(w->h, LIT("</section>"));
}

void page_report(struct web *w)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *x = q ? query_report(q, w->id, &err) : NULL;
	if (q && !x && err && strcmp(err, "not found") == 0) {
		page_message(w, 404, "There is no such report", "No report has this number.",
			     "The list of reports shows all there are.");
		return;
	}
	page_begin(w, talloc_asprintf(w->pool, "Abuse report R%lld", (long long)w->id),
		   NAV_REPORTS);
	page_done(w, done);
	if (x) {
		put(w->h, LIT("<div class=\"columns side-form\"><div class=\"stack-cards\">"));
		head_card(w, x);
		fields_card(w, json_object_get(x, "fields"));
		headers_card(w, jstr(x, "original_headers"));
		put(w->h, LIT("</div>"));
		attach_card(w, x);
		put(w->h, LIT("</div>"));
	} else {
		page_unread(w, "The report", q ? err : w->query_err);
	}
	page_end(w);
	json_decref(x);
}

void post_report_attach(struct web *w)
{
	int64_t incident;
	const char *text = cgi_trimmed(w->pool, &w->req.form, "incident");
	if (*text == '#')
		text++;
	if (!cgi_id(text, &incident)) {
		w->status = 422;
		w->error = "Give the number of an incident, for example 12.";
		page_report(w);
		return;
	}
	json_t *args =
	    json_pack("{s:I,s:I}", "id", (json_int_t)w->id, "incident", (json_int_t)incident);
	if (web_change(w, "report.attach", args, NULL))
		web_redirect(w, talloc_asprintf(w->pool, "/reports/%lld", (long long)w->id),
			     "attached");
	else
		page_report(w);
}
