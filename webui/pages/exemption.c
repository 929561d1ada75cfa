/*
 * exemption - one exemption: what is recorded, what the DNS says of it, its history, and what can
 * be done now.
 *
 * Known gaps: what is recorded is changed by an import.
 */
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

#include "webui/pages/pages.h"

static const struct page_done done[] = {
    {"verify", "Looked up: the evidence below is of now."},
    {"activate", "Active: the kernel lets this line's port 25 through now."},
    {"suspend", "Suspended: open sessions on port 25 are cut, new ones are refused."},
    {"resume", "Active again: the kernel lets this line's port 25 through now."},
    {"remove", "Removed. Open sessions on port 25 are cut, new ones are refused."},
    {"waiting", "Recorded, but the packet daemon has not confirmed it yet. It takes effect when "
		"sekisho-nfqd is back."},
    {NULL, NULL},
};

void exemption_evidence(struct web *w, const json_t *x)
{
	int64_t bad = jint(x, "evidence_bad_ms", 0);
	if (*jstr(x, "evidence"))
		chip(w->h, jstr(x, "evidence"));
	if (bad > 0)
		put(w->h, LIT(" <span class=\"sub\">since "), DAY(bad), LIT("</span>"));
}

/* --- what can be done ------------------------------------------------------------------------- */

static const struct action {
	const char *verb, *label, *cls, *hint;
	const char *states; /* blank-separated */
	enum web_role role;
	bool reason; /* asked for, and needed */
} actions[] = {
    {"verify", "Verify now", "",
     "Asks the DNS again. One that is requested becomes verified when the "
     "evidence is good or weak.",
     "requested verified active pending suspended", ROLE_DESK, false},
    {"activate", "Activate", "primary", "Opens port 25 for this line.", "requested verified",
     ROLE_ADMIN, true},
    {"resume", "Resume", "primary", "Opens port 25 for this line again.", "suspended", ROLE_ADMIN,
     true},
    {"suspend", "Suspend", "danger", "Cuts sessions that are open. It can be resumed.",
     "active pending", ROLE_DESK, true},
    {"remove", "Remove", "danger", "Ends it for good. Cuts sessions that are open.",
     "requested verified active pending suspended", ROLE_ADMIN, true},
};

static void action_form(struct web *w, const struct action *a, const char *prefix)
{
	struct html *h = w->h;
	form_begin(w, "/exemptions", w->id, a->verb, "act-row");
	put(h, LIT("<input type=\"hidden\" name=\"prefix\" value=\""), ATT(prefix), LIT("\">"));
	if (a->reason)
		put(h, LIT("<div class=\"field\"><label for=\"r-"), ATT(a->verb), LIT("\">"),
		    TXT(a->label),
		    LIT(": why? <span class=\"must\">required</span></label>"
			"<input id=\"r-"),
		    ATT(a->verb),
		    LIT("\" name=\"reason\" maxlength=\"300\" autocomplete=\"off\" "
			"aria-describedby=\"d-"),
		    ATT(a->verb), LIT("\" required></div>"));
	if (strcmp(a->verb, "suspend") == 0)
		form_check(h, "abuse",
			   "It sends abuse: what is configured happens to the accounts used from "
			   "this line.");
	put(h, LIT("<button class=\""), ATT(a->cls), LIT("\">"), TXT(a->label),
	    LIT("</button><p class=\"hint\" id=\"d-"), ATT(a->verb), LIT("\">"), TXT(a->hint),
	    LIT("</p>"));
	form_end(w);
}

static void actions_card(struct web *w, const json_t *x)
{
	if (w->role < ROLE_DESK || jint(x, "ended_ms", 0) > 0)
		return;
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"act-title\"><h2 "
		      "id=\"act-title\">What to do</h2>"));
	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++)
		if (w->role >= actions[i].role && word_in(actions[i].states, jstr(x, "state")))
			action_form(w, &actions[i], jstr(x, "prefix"));
	put(w->h, LIT("</section>"));
}

/* --- what is known ---------------------------------------------------------------------------- */

static void suspended_fact(struct web *w, const json_t *x)
{
	const char *by = jstr(x, "suspended_by");
	int64_t until = jint(x, "suspended_until_ms", 0);
	if (!*by)
		return;
	if (until > 0)
		fact(w->h, "Suspended by", TXT(by), LIT(", until "), WHEN(until));
	else
		fact(w->h, "Suspended by", TXT(by));
}

static void expires_fact(struct web *w, const json_t *x)
{
	int64_t t = jint(x, "expires_ms", 0);
	if (t > 0)
		fact(w->h, "Expires", WHEN(t));
	else
		fact(w->h, "Expires", LIT("never"));
}

static void day_fact(struct web *w, int64_t t, bool aup)
{
	if (t <= 0)
		return;
	if (aup)
		fact(w->h, "Use policy accepted", DAY(t));
	else
		fact(w->h, "Review", DAY(t));
}

static void head_card(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	put(h, LIT("<section class=\"card\"><div class=\"head\"><h2>"));
	link_subject(h, jstr(x, "prefix"));
	put(h, LIT("</h2>"));
	chip(h, jstr(x, "state"));
	put(h, LIT("</div><dl class=\"facts\">"));
	fact(h, "Class", TXT(jstr(x, "class")));
	if (*jstr(x, "to"))
		fact(h, "Destinations", FOR(jstr(x, "to")));
	put(h, LIT("<div><dt>Subscriber</dt><dd>"));
	subscriber(h, jstr(x, "subscriber"), jstr(x, "subscriber_name"));
	put(h, LIT("</dd></div>"));
	suspended_fact(w, x);
	fact(h, "Starts", WHEN(jint(x, "starts_ms", 0)));
	expires_fact(w, x);
	day_fact(w, jint(x, "review_ms", 0), false);
	put(h, LIT("<div><dt>Last used</dt><dd>"));
	ago_or_none(h, jint(x, "last_seen_ms", 0));
	put(h, LIT(" <span class=\"sub\">"), NUM(jint(x, "packets", 0)),
	    LIT(" packets</span></dd></div>"));
	fact(h, "Contract", FOR(jstr(x, "contract")));
	fact(h, "Service", FOR(jstr(x, "service")));
	fact(h, "Static by provisioning", FOR(jstr(x, "static")));
	fact(h, "Access port", FOR(jstr(x, "access_port")));
	fact(h, "Contact", FOR(jstr(x, "contact")));
	fact(h, "Abuse contact", FOR(jstr(x, "abuse_contact")));
	fact(h, "Use", FOR(jstr(x, "use")));
	fact(h, "Software", FOR(jstr(x, "software")));
	fact(h, "Expected volume", FOR(jstr(x, "volume")));
	fact(h, "HELO name", FOR(jstr(x, "helo")));
	fact(h, "Mail domain", FOR(jstr(x, "domain")));
	day_fact(w, jint(x, "aup_ms", 0), true);
	fact(h, "Approver", FOR(jstr(x, "approver")));
	fact(h, "Ticket", FOR(jstr(x, "ticket")));
	fact_wide(h, "Reason", FOR(jstr(x, "reason")));
	put(h, LIT("</dl></section>"));
}

static void evidence_card(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	const json_t *items = json_object_get(x, "evidence_items");
	size_t i;
	json_t *e;
	put(h, LIT("<section class=\"card\" aria-labelledby=\"ev-title\"><div class=\"head\"><h2 "
		   "id=\"ev-title\">Evidence</h2>"));
	exemption_evidence(w, x);
	put(h, LIT("</div>"));
	if (json_array_size(items) == 0) {
		put(h, LIT("<p class=\"empty\">Nobody has looked yet.</p></section>"));
		return;
	}
	put(h, LIT("<p class=\"hint\">Looked up "), AGO(jint(x, "evidence_ms", 0)), LIT(".</p>"),
	    SCROLL("Evidence"),
	    LIT("<table><caption class=\"sr\">Evidence of the "
		"DNS</caption><thead><tr><th scope=\"col\">What</th><th scope=\"col\">Verdict</th>"
		"<th scope=\"col\">Why</th></tr></thead><tbody>"));
	json_array_foreach (items, i, e) {
		put(h, LIT("<tr><th scope=\"row\">"), TXT(jstr(e, "item")), LIT("</th><td>"));
		chip(h, jstr(e, "verdict"));
		put(h, LIT("</td><td class=\"why\">"), FOR(jstr(e, "words")), LIT("</td></tr>"));
	}
	put(h, LIT("</tbody></table></div></section>"));
}

static void history_card(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	size_t i;
	json_t *e;
	put(h, LIT("<section class=\"card\" aria-labelledby=\"hi-title\"><h2 "
		   "id=\"hi-title\">History</h2><ol class=\"timeline\">"));
	json_array_foreach (json_object_get(x, "history"), i, e) {
		put(h, LIT("<li><div class=\"t\">"), WHEN(jint(e, "t_ms", 0)), LIT("</div><div>"));
		chip(h, jstr(e, "new"));
		put(h, LIT(" <span class=\"sub\">by "), FOR(jstr(e, "actor")), LIT("</span><p>"),
		    FOR(jstr(e, "reason")), LIT("</p></div></li>"));
	}
	put(h, LIT("</ol></section>"));
}

/* NULL: a page was written that says why. */
static json_t *read_one(struct web *w)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *x = q ? query_exemption(q, w->id, w->now_ms, &err) : NULL;
	if (x)
		return x;
	if (q && err && strcmp(err, "not found") == 0)
		page_message(w, 404, "There is no such exemption", "Its number may be mistyped.",
			     "Find it in the list of exemptions.");
	else
		page_message(w, 503, "The exemption cannot be read", q ? err : w->query_err,
			     "Try again in a moment.");
	return NULL;
}

void page_exemption(struct web *w)
{
	json_t *x = read_one(w);
	if (!x)
		return;
	page_begin(w, talloc_asprintf(w->pool, "Exemption of %s", jstr(x, "prefix")),
		   NAV_EXEMPTIONS);
	page_done(w, done);
	put(w->h, LIT("<div class=\"columns two\"><div>"));
	head_card(w, x);
	evidence_card(w, x);
	put(w->h, LIT("</div><div>"));
	actions_card(w, x);
	history_card(w, x);
	put(w->h, LIT("</div></div>"));
	page_end(w);
	json_decref(x);
}

/* --- changes ---------------------------------------------------------------------------------- */

/* acctd knows it by its prefix, which the form has. */
static void change(struct web *w, const char *verb, bool reason)
{
	json_t *result = NULL, *args = json_object();
	json_object_set_new(args, "prefix",
			    json_string(cgi_trimmed(w->pool, &w->req.form, "prefix")));
	if (reason && !web_reason(w, args)) {
		json_decref(args);
		page_exemption(w);
		return;
	}
	if (form_checked(w, "abuse") && strcmp(verb, "suspend") == 0)
		json_object_set_new(args, "abuse", json_true());
	if (!web_change(w, talloc_asprintf(w->pool, "exempt.%s", verb), args, &result)) {
		page_exemption(w);
		return;
	}
	bool waits = json_is_false(json_object_get(result, "in_force"));
	json_decref(result);
	web_redirect(w, talloc_asprintf(w->pool, "/exemptions/%lld", (long long)w->id),
		     waits ? "waiting" : verb);
}

void post_exempt_verify(struct web *w)
{
	change(w, "verify", false);
}

void post_exempt_activate(struct web *w)
{
	change(w, "activate", true);
}

void post_exempt_suspend(struct web *w)
{
	change(w, "suspend", true);
}

void post_exempt_resume(struct web *w)
{
	change(w, "resume", true);
}

void post_exempt_end(struct web *w)
{
	change(w, "remove", true);
}
