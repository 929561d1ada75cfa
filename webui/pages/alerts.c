/*
 * alerts - what people were told, by which way, and whether it arrived; and a test of the ways.
 *
 * One alert is alert.c's. Of a receiver's URL only the host is shown: the rest often is its
 * password. Known gaps: none.
 */
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"

/* A test waits for receivers. What is left of the request's time is for the page. */
#define TEST_SPARE_MS 2000

static const struct tab tabs[] = {
    {NULL, "All", "Nobody was told of anything yet. Send a test to see that the ways out work."},
    {"waiting", "Waiting", "No alert waits: what was to be told has been told."},
    {"failed", "Failed", "No alert was given up."},
    {"sent", "Sent", "No alert has arrived yet."},
};
enum { N_TABS = sizeof(tabs) / sizeof(*tabs) };

const char *alert_way(struct web *w, const char *to)
{
	const char *host = strstr(to, "://");
	if (!host)
		return to;
	size_t n = (size_t)(host - to) + 3;
	n += strcspn(to + n, "/?#");
	return talloc_asprintf(w->pool, "%.*s%s", (int)n, to, strlen(to) > n + 1 ? "/…" : "");
}

void alert_outcome(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	const char *state = jstr(x, "state");
	int64_t attempts = jint(x, "attempts", 0);
	bool retrying = strcmp(state, "waiting") == 0 && attempts > 0;
	chip(h, retrying ? "retrying" : state);
	if (attempts > 1 || retrying)
		put(h, LIT("<br><span class=\"sub\">"), NUM(attempts),
		    EITHER(attempts == 1, " attempt", " attempts"), LIT("</span>"));
	if (jint(x, "next_ms", 0) > 0)
		put(h, LIT("<br><span class=\"sub\">next "), AGO(jint(x, "next_ms", 0)),
		    LIT("</span>"));
	else if (jint(x, "done_ms", 0) > 0)
		put(h, LIT("<br><span class=\"sub\">"), AGO(jint(x, "done_ms", 0)), LIT("</span>"));
}

void alert_resend_form(struct web *w, const json_t *x, int64_t alert)
{
	bool due = strcmp(jstr(x, "state"), "waiting") == 0 && jint(x, "attempts", 0) == 0;
	if (w->role < ROLE_DESK || alert < 1 || due || strcmp(jstr(x, "state"), "sent") == 0)
		return;
	form_begin(w, "/alerts", alert, "resend", "inline");
	put(w->h, LIT("<input type=\"hidden\" name=\"send\" value=\""), INT(jint(x, "id", 0)),
	    LIT("\"><button>Send again<span class=\"sr\"> alert "), INT(alert), LIT(" to "),
	    TXT(alert_way(w, jstr(x, "to"))), LIT("</span></button>"));
	form_end(w);
}

void alert_done(struct web *w)
{
	static const struct page_done table[] = {
	    {"resend", "It is being sent again: the outcome is here in a moment. If it does not "
		       "arrive, the receiver's answer says why."},
	    {NULL, NULL}};
	page_done(w, table);
}

void post_alert_resend(struct web *w)
{
	int64_t send;
	const char *text = cgi_get(&w->req.form, "send");
	if (!text || !cgi_id(text, &send)) {
		w->status = 422;
		w->error = "Say which: use the button beside the receiver.";
	} else if (web_change(w, "alert.resend", json_pack("{s:I}", "id", (json_int_t)send),
			      NULL)) {
		web_redirect(w, talloc_asprintf(w->pool, "/alerts/%lld", (long long)w->id),
			     "resend");
		return;
	}
	page_alert(w);
}

static void row(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	put(h, LIT("<tr><th scope=\"row\">"), WHEN(jint(x, "made_ms", 0)), LIT("</th><td>"));
	chip(h, jstr(x, "severity"));
	put(h, LIT("</td><td class=\"why\"><a href=\"/alerts/"), INT(jint(x, "alert", 0)),
	    LIT("\">"), FOR(jstr(x, "title")), LIT("</a><br><span class=\"sub\">"),
	    FOR(jstr(x, "rule")), LIT(" &middot; "), FOR(jstr(x, "kind")), LIT("</span></td><td>"));
	alert_outcome(w, x);
	alert_resend_form(w, x, jint(x, "alert", 0));
	put(h, LIT("</td><td class=\"why\">"), FOR(alert_way(w, jstr(x, "to"))),
	    LIT("<br><span class=\"sub\">"), FOR(jstr(x, "answer")), LIT("</span></td></tr>"));
}

static void table(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h, SCROLL("Alerts"),
	    LIT("<table><caption class=\"sr\">Alerts, newest first, a "
		"row a receiver</caption><thead><tr><th scope=\"col\">Made (UTC)</th><th "
		"scope=\"col\">Severity</th><th scope=\"col\">What, group, kind</th><th "
		"scope=\"col\">Outcome</th><th scope=\"col\">To, and its "
		"answer</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x)
		row(w, x);
	put(w->h, LIT("</tbody></table></div>"));
}

/* --- how the ways are, and a test of them ----------------------------------------------------- */

static const char *state_of(struct web *w)
{
	struct control_error e;
	json_t *s = web_call(w, "status", NULL, &e);
	const json_t *alerts = json_object_get(json_object_get(s, "acctd"), "alerts");
	const char *state =
	    talloc_strdup(w->pool, s ? jstr(alerts, "state") : "sekisho-acctd does not answer");
	json_decref(s);
	return state;
}

static void state_line(struct web *w, const char *state)
{
	struct html *h = w->h;
	if (strcmp(state, "off") == 0)
		put(h, LIT("<div class=\"note\"><strong>Nobody is told.</strong> No group "
			   "<code>alert NAME { }</code> is in the configuration: "
			   "<code>man sekisho.conf</code> shows one for a webhook and one for "
			   "mail.</div>"));
	else if (strcmp(state, "ok") != 0 && *state)
		put(h,
		    LIT("<div class=\"note bad\" role=\"alert\"><strong>Some alerts do not "
			"arrive.</strong> "),
		    FOR(state), LIT("</div>"));
}

static void test_form(struct web *w)
{
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"test-title\"><h2 "
		      "id=\"test-title\">Try the ways out</h2>"));
	form_begin(w, "/alerts/test", 0, NULL, "stack");
	form_input(w, &(struct form_input){.name = "name",
					   .label = "Group",
					   .max = 60,
					   .placeholder = "all",
					   .hint = "The name of one group alert of the "
						   "configuration. Empty: all of them."});
	put(w->h, LIT("<button class=\"primary\">Send a test</button><p class=\"hint\">It says "
		      "that it is a test, and is not counted. What each receiver answers is shown "
		      "here.</p>"));
	form_end(w);
	put(w->h, LIT("</section>"));
}

static void test_result(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h,
	    LIT("<section class=\"card\" role=\"status\" aria-labelledby=\"got-title\"><h2 "
		"id=\"got-title\">What the receivers answered</h2>"),
	    SCROLL("Answers"),
	    LIT("<table><thead><tr><th scope=\"col\">Group</th><th "
		"scope=\"col\">Outcome</th><th scope=\"col\">To</th><th "
		"scope=\"col\">Answer</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(w->h, LIT("<tr><th scope=\"row\">"), FOR(jstr(x, "alert")), LIT("</th><td>"));
		chip(w->h, json_is_true(json_object_get(x, "ok")) ? "sent" : "failed");
		put(w->h, LIT("</td><td>"), FOR(alert_way(w, jstr(x, "to"))),
		    LIT("</td><td class=\"why\">"), FOR(jstr(x, "answer")), LIT("</td></tr>"));
	}
	put(w->h, LIT("</tbody></table></div></section>"));
}

/* --- the page --------------------------------------------------------------------------------- */

static void list(struct web *w, const struct tab *tab)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	const struct query_list l = {
	    .state = tab->state, .about = web_asked(w, "about"), .before_id = web_before(w)};
	json_t *rows = q ? query_alerts(q, &l, (int)w->conf->rows, &err) : NULL;
	if (!rows)
		page_unread(w, "The alerts", q ? err : w->query_err);
	else if (json_array_size(rows))
		table(w, rows);
	else
		put(w->h, LIT("<p class=\"empty\">"),
		    TXT(l.about || l.before_id ? "None is like that." : tab->empty), LIT("</p>"));
	page_older(w, rows, "id", "/alerts");
	json_decref(rows);
}

static void show(struct web *w, const json_t *tested)
{
	const struct tab *tab = tab_chosen(w, tabs, N_TABS);
	const char *state = state_of(w);
	page_begin(w, "Alerts", NAV_ALERTS);
	state_line(w, state);
	if (tested)
		test_result(w, tested);
	put(w->h, LIT("<div class=\"columns side-form\"><section class=\"card\"><div "
		      "class=\"head\">"));
	tab_bar(w, "/alerts", tabs, N_TABS, tab);
	put(w->h, LIT("</div>"));
	page_filter(w, "/alerts", "Group or kind (account, zombie, appliance …)", "state");
	list(w, tab);
	put(w->h, LIT("</section>"));
	if (w->role >= ROLE_ADMIN && strcmp(state, "off") != 0)
		test_form(w);
	put(w->h, LIT("</div>"));
	page_end(w);
}

void page_alerts(struct web *w)
{
	show(w, NULL);
}

/* The answers are in no database: they are shown at once, and are gone with the page. */
void post_alert_test(struct web *w)
{
	struct control_error e;
	const char *name = cgi_trimmed(w->pool, &w->req.form, "name");
	json_t *args = *name ? json_pack("{s:s}", "name", name) : NULL;
	int ms = (int)w->conf->deadline_ms - TEST_SPARE_MS;
	json_t *r = control_call_within(w->conf->common.run_dir, "alert.test", args, w->session,
					ms > 500 ? ms : 500, &e);
	json_decref(args);
	if (!r) {
		w->status = web_status_of(&e);
		w->error = talloc_asprintf(w->pool,
					   "%s. A receiver that answers slowly is waited for by "
					   "sekishoctl alert test.",
					   e.text);
	}
	show(w, json_object_get(r, "results"));
	json_decref(r);
}
