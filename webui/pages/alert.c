/*
 * alert - one alert: its cases with cause, evidence and next action, and what became of it at each
 * receiver.
 *
 * It is shown as it was sent (docs/protocols/alert.md); how a case is now is on the incident's
 * page. Known gaps: none.
 */
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

#include "webui/pages/pages.h"

/* --- evidence --------------------------------------------------------------------------------- */

static void signals(struct html *h, const json_t *v)
{
	size_t i;
	json_t *x;
	if (json_array_size(v) == 0)
		return;
	put(h, LIT("<div class=\"all\"><dt>Signals</dt><dd><ul class=\"dots\">"));
	json_array_foreach (v, i, x)
		put(h, LIT("<li>"), FOR(json_string_value(x)), LIT("</li>"));
	put(h, LIT("</ul></dd></div>"));
}

static void totals(struct html *h, const json_t *v)
{
	static const char *const names[] = {"messages", "recipients", "held", "refused", "bounced"};
	if (!json_is_object(v))
		return;
	put(h, LIT("<div class=\"all\"><dt>In the day before</dt><dd>"));
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		put(h, EITHER(i > 0, ", ", ""), NUM(jint(v, names[i], 0)), LIT(" "), TXT(names[i]));
	put(h, LIT("</dd></div>"));
}

static void networks(struct html *h, const json_t *v)
{
	size_t i;
	json_t *x;
	if (json_array_size(v) == 0)
		return;
	put(h, LIT("<div class=\"all\"><dt>Sent from</dt><dd><ul class=\"dots\">"));
	json_array_foreach (v, i, x) {
		put(h, LIT("<li>"));
		link_subject(h, jstr(x, "network"));
		put(h, LIT(": "), NUM(jint(x, "messages", 0)),
		    EITHER(jint(x, "messages", 0) == 1, " message, ", " messages, "),
		    NUM(jint(x, "recipients", 0)),
		    EITHER(jint(x, "recipients", 0) == 1, " recipient</li>", " recipients</li>"));
	}
	put(h, LIT("</ul></dd></div>"));
}

static void replies(struct html *h, const json_t *v)
{
	size_t i;
	json_t *x;
	if (json_array_size(v) == 0)
		return;
	put(h, LIT("<div class=\"all\"><dt>Mail servers said</dt><dd><ul class=\"dots\">"));
	json_array_foreach (v, i, x)
		put(h, LIT("<li>"), NUM(jint(x, "n", 0)), LIT(" &times; "), FOR(jstr(x, "reply")),
		    LIT(" <span class=\"sub\">"), FOR(jstr(x, "server")), LIT("</span></li>"));
	put(h, LIT("</ul></dd></div>"));
}

static void evidence(struct html *h, const json_t *x)
{
	const json_t *e = json_object_get(x, "evidence"), *blocked = json_object_get(e, "blocked");
	signals(h, json_object_get(e, "signals"));
	totals(h, json_object_get(e, "totals"));
	networks(h, json_object_get(e, "networks"));
	replies(h, json_object_get(e, "replies"));
	if (jint(blocked, "packets", 0) > 0)
		fact_wide(
		    h, "Refused on port 25", NUM(jint(blocked, "packets", 0)),
		    EITHER(jint(blocked, "packets", 0) == 1, " packet to ", " packets to "),
		    NUM(jint(blocked, "destinations", 0)),
		    EITHER(jint(blocked, "destinations", 0) == 1, " destination", " destinations"));
	if (jint(e, "reports", 0) > 0)
		fact_wide(h, "Complaints", NUM(jint(e, "reports", 0)));
}

/* --- a case ----------------------------------------------------------------------------------- */

static void next(struct html *h, const json_t *rows)
{
	size_t i;
	json_t *x;
	if (json_array_size(rows) == 0)
		return;
	put(h, LIT("<h3>Next</h3><ul class=\"dots\">"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<li>"), FOR(jstr(x, "say")));
		if (*jstr(x, "run"))
			put(h, LIT("<br><code>"), FOR(jstr(x, "run")), LIT("</code>"));
		put(h, LIT("</li>"));
	}
	put(h, LIT("</ul>"));
}

/* To the case as it is now; who may, takes it over from here. */
static void case_actions(struct web *w, int64_t id)
{
	const char *err;
	struct query *q = web_query(w);
	json_t *now = q ? query_incident(q, id, &err) : NULL;
	put(w->h, LIT("<div class=\"need-do\">"));
	if (now && w->role >= ROLE_DESK && strcmp(jstr(now, "state"), "open") == 0) {
		form_begin(w, "/incidents", id, "ack", "inline");
		put(w->h, LIT("<button class=\"primary\">Acknowledge<span class=\"sr\"> incident "),
		    INT(id), LIT("</span></button>"));
		form_end(w);
	}
	put(w->h, LIT("<a class=\"button\" href=\"/incidents/"), INT(id), LIT("\">Incident #"),
	    INT(id));
	if (now)
		put(w->h, LIT(", now "), TXT(jstr(now, "state")));
	put(w->h, LIT("</a></div>"));
	json_decref(now);
}

/* An RFC 3339 time of the payload; nothing when there is none. */
static void time_fact(struct web *w, const char *label, const char *text)
{
	int64_t t;
	const char *err;
	if (!*text || !clock_parse(text, w->now_ms, &t, &err))
		return;
	put(w->h, LIT("<div><dt>"), TXT(label), LIT("</dt><dd>"), WHEN(t), LIT("</dd></div>"));
}

static void one_case(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	put(h, LIT("<section class=\"card case\"><div class=\"case-head\">"));
	chip(h, jstr(x, "severity"));
	put(h, LIT("<h2 class=\"case-who\">"));
	if (*jstr(x, "subject"))
		link_subject(h, jstr(x, "subject"));
	else
		put(h, FOR(jstr(x, "case")));
	put(h, LIT("</h2><span class=\"sub\">"), FOR(jstr(x, "now")),
	    EITHER(json_is_true(json_object_get(x, "told_before")), ", told before</span>",
		   "</span>"),
	    LIT("</div><p class=\"lead\">"), FOR(jstr(x, "cause")),
	    LIT("</p><dl class=\"facts\">"));
	if (*jstr(x, "subscriber") || *jstr(x, "subscriber_name")) {
		put(h, LIT("<div><dt>Subscriber</dt><dd>"));
		subscriber(h, jstr(x, "subscriber"), jstr(x, "subscriber_name"));
		put(h, LIT("</dd></div>"));
	}
	time_fact(w, "Since (UTC)", jstr(x, "since"));
	time_fact(w, "Ended (UTC)", jstr(x, "ended"));
	evidence(h, x);
	put(h, LIT("</dl>"));
	next(h, json_object_get(x, "next"));
	if (jint(x, "incident", 0) > 0)
		case_actions(w, jint(x, "incident", 0));
	put(h, LIT("</section>"));
}

/* --- the page --------------------------------------------------------------------------------- */

static void head_card(struct web *w, const json_t *x, const json_t *body)
{
	struct html *h = w->h;
	put(h, LIT("<section class=\"card\"><p class=\"lead\">"), FOR(jstr(x, "title")),
	    LIT("</p><dl class=\"facts\"><div><dt>Severity</dt><dd>"));
	chip(h, jstr(body, "severity"));
	put(h, LIT("</dd></div>"));
	fact(h, "Made (UTC)", WHEN(jint(x, "made_ms", 0)));
	fact(h, "Group", FOR(jstr(x, "rule")));
	fact(h, "Kind", FOR(jstr(x, "kind")));
	fact(h, "Gateway", FOR(jstr(body, "host")));
	fact(h, "Id", LIT("<span class=\"id\">"), FOR(jstr(x, "uuid")), LIT("</span>"));
	put(h, LIT("</dl></section>"));
}

static void ways(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h, LIT("<section class=\"card\"><h2>Ways out</h2><ul class=\"plain-list\">"));
	json_array_foreach (rows, i, x) {
		put(w->h, LIT("<li><strong>"), FOR(alert_way(w, jstr(x, "to"))), LIT("</strong> "));
		alert_outcome(w, x);
		put(w->h, LIT("<br><span class=\"sub\">"), FOR(jstr(x, "answer")), LIT("</span>"));
		alert_resend_form(w, x, w->id);
		put(w->h, LIT("</li>"));
	}
	put(w->h, LIT("</ul></section>"));
}

static void body(struct web *w, const json_t *x)
{
	size_t i;
	json_t *one;
	const json_t *sent = json_object_get(x, "body");
	put(w->h, LIT("<div class=\"columns side-form\"><div class=\"stack-cards\">"));
	head_card(w, x, sent);
	json_array_foreach (json_object_get(sent, "cases"), i, one)
		one_case(w, one);
	if (jint(sent, "more", 0) > 0)
		put(w->h, LIT("<p class=\"hint\">And "), NUM(jint(sent, "more", 0)),
		    LIT(" more cases: see the incidents.</p>"));
	put(w->h, LIT("</div>"));
	ways(w, json_object_get(x, "sends"));
	put(w->h, LIT("</div>"));
}

void page_alert(struct web *w)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *x = q ? query_alert(q, w->id, &err) : NULL;
	if (q && !x && err && strcmp(err, "not found") == 0) {
		page_message(w, 404, "There is no such alert",
			     "No alert has this number, or it was so long ago that it is "
			     "forgotten.",
			     "The list of alerts shows all there are.");
		return;
	}
	page_begin(w, talloc_asprintf(w->pool, "Alert %lld", (long long)w->id), NAV_ALERTS);
	alert_done(w);
	if (x)
		body(w, x);
	else
		page_unread(w, "The alert", q ? err : w->query_err);
	page_end(w);
	json_decref(x);
}
