/*
 * reports - the inbox of abuse reports: all, matched to a subscriber, or belonging to nobody yet.
 *
 * Known gaps: a report is pasted, not uploaded; large ones go through sekishoctl report import.
 */
#include <string.h>

#include <talloc.h>

#include "lib/base64.h"

#include "webui/pages/pages.h"

static const struct page_done done[] = {
    {"imported", "The report was read and filed."},
    {"duplicate", "This very report is here already; it was not filed twice."},
    {NULL, NULL},
};

static void source(struct html *h, const json_t *x)
{
	int64_t port = jint(x, "source_port", 0);
	link_subject(h, jstr(x, "source_ip"));
	if (port > 0)
		put(h, LIT("<span class=\"sub\"> port "), INT(port), LIT("</span>"));
}

static void match_chip(struct html *h, const char *match)
{
	static const struct {
		const char *match;
		struct html_piece markup;
	} rows[] = {
	    {"token",
	     LIT("<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>by token</span>")},
	    {"queue_id", LIT("<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>by "
			     "queue id</span>")},
	    {"tag", LIT("<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>by sender's "
			"tag</span>")},
	    {"lease", LIT("<span class=\"chip calm\"><i aria-hidden=\"true\">&#8776;</i>by address "
			  "and time</span>")},
	    {"none",
	     LIT("<span class=\"chip need\"><i aria-hidden=\"true\">?</i>unmatched</span>")},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (strcmp(rows[i].match, match) == 0)
			html_put(h,
				 (const struct html_piece[]){rows[i].markup, {.type = HTML_END}});
}

static void row(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	int64_t id = jint(x, "id", 0), incident = jint(x, "incident", 0);
	const char *account = jstr(x, "account");
	put(h, LIT("<tr><th scope=\"row\"><a class=\"no\" href=\"/reports/"), INT(id), LIT("\">R"),
	    INT(id), LIT("</a></th><td>"), AGO(jint(x, "received_ms", 0)), LIT("</td><td>"),
	    FOR(jstr(x, "reporter")), LIT("<br><span class=\"sub\">"),
	    FOR(jstr(x, "feedback_type")), LIT(", "), FOR(jstr(x, "format")),
	    LIT("</span></td><td>"));
	source(h, x);
	put(h, LIT("</td><td>"));
	match_chip(h, jstr(x, "match"));
	put(h, LIT("</td><td>"));
	link_subject(h, account);
	if (*jstr(x, "subscriber"))
		put(h, LIT("<br><span class=\"ref\">"), FOR(jstr(x, "subscriber")), LIT("</span>"));
	put(h, LIT("</td><td>"));
	if (incident > 0)
		put(h, LIT("<a class=\"no\" href=\"/incidents/"), INT(incident), LIT("\">#"),
		    INT(incident), LIT("</a>"));
	else
		put(h, FOR(""));
	put(h, LIT("</td></tr>"));
}

void report_table(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h, SCROLL("Abuse reports"),
	    LIT("<table><caption class=\"sr\">Abuse reports, newest "
		"first</caption><thead><tr>"
		"<th scope=\"col\">No.</th><th scope=\"col\">Received</th><th "
		"scope=\"col\">Reporter</th>"
		"<th scope=\"col\">Source (the abuser)</th><th scope=\"col\">Match</th><th "
		"scope=\"col\">Account</th>"
		"<th scope=\"col\">Incident</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x)
		row(w, x);
	put(w->h, LIT("</tbody></table></div>"));
}

static void tab(struct web *w, const char *label, const char *path, bool here)
{
	put(w->h, LIT("<li><a href=\""), ATT(path),
	    EITHER(here, "\" aria-current=\"true\">", "\">"), TXT(label), LIT("</a></li>"));
}

static void import_form(struct web *w)
{
	if (w->role < ROLE_DESK)
		return;
	put(w->h, LIT("<section class=\"card\"><details"),
	    EITHER(*form_value(w, "raw"), " open>", ">"), LIT("<summary>Paste a report</summary>"));
	form_begin(w, "/reports/import", 0, NULL, "stack");
	put(w->h,
	    LIT("<div class=\"field\"><label for=\"raw\">The whole message, headers and all (ARF, "
		"RFC 5965)</label>"
		"<textarea id=\"raw\" name=\"raw\" rows=\"12\" required spellcheck=\"false\" "
		"class=\"mono\">\n"),
	    ATT(form_value(w, "raw")),
	    LIT("</textarea></div><button class=\"primary\">Read and file it</button>"));
	form_end(w);
	put(w->h, LIT("</details></section>"));
}

static const char *filter_of(const struct web *w)
{
	const char *show = cgi_get(&w->req.query, "show");
	if (show && strcmp(show, "matched") == 0)
		return "matched";
	return show && strcmp(show, "unmatched") == 0 ? "unmatched" : NULL;
}

static void list(struct web *w, const char *filter)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	const struct query_list l = {
	    .state = filter, .about = web_asked(w, "about"), .before_id = web_before(w)};
	json_t *rows = q ? query_reports(q, &l, (int)w->conf->rows, &err) : NULL;
	if (!rows) {
		page_unread(w, "The reports", q ? err : w->query_err);
		return;
	}
	if (json_array_size(rows))
		report_table(w, rows);
	else if (filter || l.about || l.before_id)
		put(w->h, LIT("<p class=\"empty\">None is like that.</p>"));
	else
		put(w->h, LIT("<p class=\"empty\">No report is here. They come by mail, by "
			      "<code>sekishoctl report import</code>, or pasted below.</p>"));
	page_older(w, rows, "id", "/reports");
	json_decref(rows);
}

void page_reports(struct web *w)
{
	const char *filter = filter_of(w);
	page_begin(w, "Abuse reports", NAV_REPORTS);
	page_done(w, done);
	put(w->h, LIT("<section class=\"card\"><div class=\"head\"><ul class=\"tabs\">"));
	tab(w, "All", "/reports", !filter);
	tab(w, "Matched", "/reports?show=matched", filter && *filter == 'm');
	tab(w, "Unmatched", "/reports?show=unmatched", filter && *filter == 'u');
	put(w->h, LIT("</ul></div>"));
	page_filter(w, "/reports", "Account, subscriber, source address or reporter", "show");
	list(w, filter);
	put(w->h, LIT("</section>"));
	import_form(w);
	page_end(w);
}

/* --- import ----------------------------------------------------------------------------------- */

void post_report_import(struct web *w)
{
	json_t *result = NULL;
	const char *raw = cgi_get(&w->req.form, "raw");
	if (!raw || !*raw) {
		w->status = 422;
		w->error = "Paste the whole message, its headers included.";
		page_reports(w);
		return;
	}
	raw += strspn(raw, "\n");
	char *b64 = base64_encode(w->pool, raw, strlen(raw));
	if (!web_change(w, "report.import", json_pack("{s:s}", "raw", b64), &result)) {
		page_reports(w);
		return;
	}
	web_redirect(w, talloc_asprintf(w->pool, "/reports/%lld", (long long)jint(result, "id", 0)),
		     json_is_true(json_object_get(result, "duplicate")) ? "duplicate" : "imported");
	json_decref(result);
}
