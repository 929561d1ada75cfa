/*
 * incident - one case: why it was flagged, what happened since, what can be done now.
 *
 * Known gaps: no notice to the subscriber from here yet.
 */
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"

static const struct page_done done[] = {
    {"ack", "Acknowledged: it is yours now."},
    {"hold", "Held: queued mail of this account waits, and so does what it sends from now on."},
    {"release", "Released: what was held goes out now, and nothing is slowed down."},
    {"resolve", "Resolved. A new burst or complaint opens a new incident."},
    {"note", "The note was added."},
    {NULL, NULL},
};

/* --- what can be done ------------------------------------------------------------------------- */

/* Which buttons a state offers; the first one is the main one. */
static const struct action {
	const char *verb, *label, *cls, *hint;
	const char *states; /* blank-separated */
	bool account_only, needs_reason;
} actions[] = {
    {"hold", "Hold its mail", "danger", "Queued mail waits, new mail is accepted and waits too.",
     "open acknowledged released", true, true},
    {"ack", "Acknowledge", "", "Says that you look after it. Nothing else changes.", "open", false,
     false},
    {"resolve", "Resolve", "", "Closes the case.", "open acknowledged released", false, true},
};

static void action_form(struct web *w, const struct action *a)
{
	struct html *h = w->h;
	form_begin(w, "/incidents", w->id, a->verb, "act-row");
	put(h, LIT("<div class=\"field\"><label for=\"r-"), ATT(a->verb), LIT("\">"), TXT(a->label),
	    LIT(": why?"), EITHER(a->needs_reason, " <span class=\"must\">required</span>", ""),
	    LIT("</label><input id=\"r-"), ATT(a->verb),
	    LIT("\" name=\"reason\" maxlength=\"300\" autocomplete=\"off\" aria-describedby=\"d-"),
	    ATT(a->verb), EITHER(a->needs_reason, "\" required", "\""), LIT("></div>"));
	put(h, LIT("<button class=\""), ATT(a->cls), LIT("\">"), TXT(a->label),
	    LIT("</button><p class=\"hint\" id=\"d-"), ATT(a->verb), LIT("\">"), TXT(a->hint),
	    LIT("</p>"));
	form_end(w);
}

void release_form(struct web *w, int64_t by_id, const char *account)
{
	struct html *h = w->h;
	if (by_id)
		form_begin(w, "/incidents", by_id, "release", "stack");
	else
		form_begin(w, "/accounts/release", 0, NULL, "stack");
	if (!by_id)
		put(h, LIT("<input type=\"hidden\" name=\"account\" value=\""), ATT(account),
		    LIT("\">"));
	put(h, LIT("<div class=\"field\"><label for=\"r-release\">Release: why? <span "
		   "class=\"must\">required</span></label><input id=\"r-release\" name=\"reason\" "
		   "maxlength=\"300\" autocomplete=\"off\" required "
		   "aria-describedby=\"d-release\"></div>"));
	form_check(h, "mistake", "It was a false positive: this is the account's own way.");
	put(h,
	    LIT("<button class=\"primary\">Release</button><p class=\"hint\" "
		"id=\"d-release\">What was held goes out at once, and nothing is slowed down any "
		"more. It is remembered: after a false positive the detector learns this way of "
		"sending and is milder for a month, and what was suspended for it is in force "
		"again; without it, it is stricter.</p>"));
	form_end(w);
}

/* Held, or slowed down by the detector. */
static bool releasable(const json_t *x)
{
	if (strcmp(jstr(x, "subject_type"), "account") != 0)
		return false;
	return strcmp(jstr(x, "state"), "contained") == 0 ||
	       (word_in("open acknowledged", jstr(x, "state")) &&
		word_in("watch throttle", jstr(x, "stage")));
}

static void note_form(struct web *w)
{
	form_begin(w, "/incidents", w->id, "note", "note-form");
	put(w->h,
	    LIT("<div class=\"field\"><label for=\"text\">Note</label><textarea id=\"text\" "
		"name=\"text\" rows=\"3\" maxlength=\"2000\" required "
		"placeholder=\"Called the customer: virus on the shop's PC, password "
		"changed.\">\n"),
	    ATT(form_value(w, "text")), LIT("</textarea></div><button>Add note</button>"));
	form_end(w);
}

static void actions_card(struct web *w, const json_t *x)
{
	bool account = strcmp(jstr(x, "subject_type"), "account") == 0;
	if (w->role < ROLE_DESK)
		return;
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"act-title\"><h2 "
		      "id=\"act-title\">What to do</h2>"));
	if (releasable(x))
		release_form(w, w->id, NULL);
	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++)
		if (word_in(actions[i].states, jstr(x, "state")) &&
		    (account || !actions[i].account_only))
			action_form(w, &actions[i]);
	note_form(w);
	put(w->h, LIT("</section>"));
}

/* --- what is known ---------------------------------------------------------------------------- */

/* What waits in the queue now, by msad; when it is away, what the database knows: the messages
 * taken since the hold. */
static void held_fact(struct web *w, const json_t *x)
{
	struct control_error e;
	if (strcmp(jstr(x, "subject_type"), "account") != 0)
		return; /* a line has no mail */
	json_t *r = web_call(
	    w, "queue.list",
	    json_pack("{s:s,s:s,s:i}", "account", jstr(x, "subject"), "state", "held", "limit", 1),
	    &e);
	if (r)
		fact(w->h, "Held in the queue", NUM(jint(r, "total", 0)));
	else
		fact(w->h, "Held since", NUM(jint(x, "held_since", 0)));
	json_decref(r);
}

static void head_card(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	put(h, LIT("<section class=\"card case\"><div class=\"case-head\">"));
	chip(h, jstr(x, "state"));
	incident_stage(h, x);
	put(h, LIT("<span class=\"case-who\">"));
	link_subject(h, jstr(x, "subject"));
	put(h, LIT("</span></div><p class=\"lead\">"), FOR(jstr(x, "why")),
	    LIT("</p><dl class=\"facts\"><div><dt>Subscriber</dt><dd>"));
	subscriber(h, jstr(x, "subscriber"), jstr(x, "subscriber_name"));
	put(h, LIT("</dd></div><div><dt>Severity</dt><dd>"));
	chip(h, jstr(x, "severity"));
	put(h, LIT("</dd></div>"));
	fact(h, "Detector", FOR(jstr(x, "detector")));
	fact(h, "Owner", FOR(jstr(x, "owner")));
	held_fact(w, x);
	fact(h, "Opened", WHEN(jint(x, "opened_ms", 0)));
	put(h, LIT("<div><dt>Contained</dt><dd>"));
	when_or_none(h, jint(x, "contained_ms", 0));
	put(h, LIT("</dd></div><div><dt>Released</dt><dd>"));
	when_or_none(h, jint(x, "released_ms", 0));
	put(h, LIT("</dd></div><div><dt>Resolved</dt><dd>"));
	when_or_none(h, jint(x, "resolved_ms", 0));
	put(h, LIT("</dd></div></dl></section>"));
}

static void timeline(struct web *w, const json_t *events)
{
	size_t i;
	json_t *e;
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"time-title\"><h2 "
		      "id=\"time-title\">Timeline</h2><ol class=\"timeline\">"));
	json_array_foreach (events, i, e)
		put(w->h, LIT("<li><div class=\"t\">"), WHEN(jint(e, "t_ms", 0)),
		    LIT("</div><div><strong>"), FOR(jstr(e, "what")),
		    LIT("</strong> <span class=\"sub\">by "), FOR(jstr(e, "actor")),
		    LIT("</span><p>"), TXT(jstr(e, "text")), LIT("</p></div></li>"));
	put(w->h, LIT("</ol></section>"));
}

/* A titled card around a table, or a sentence when there is nothing. */
static void list_card(struct web *w, const char *title, const json_t *rows, const char *empty,
		      void (*table)(struct web *w, const json_t *rows))
{
	put(w->h, LIT("<section class=\"card\"><h2>"), TXT(title), LIT("</h2>"));
	if (json_array_size(rows))
		table(w, rows);
	else
		put(w->h, LIT("<p class=\"empty\">"), TXT(empty), LIT("</p>"));
	put(w->h, LIT("</section>"));
}

static void body(struct web *w, const json_t *x)
{
	bool account = strcmp(jstr(x, "subject_type"), "account") == 0;
	put(w->h, LIT("<div class=\"columns side-form\"><div class=\"stack-cards\">"));
	head_card(w, x);
	timeline(w, json_object_get(x, "timeline"));
	if (account && strcmp(jstr(x, "state"), "resolved") != 0)
		(void)limits_card(w, "account", jstr(x, "subject"));
	list_card(w, "Abuse reports", json_object_get(x, "reports"),
		  "Nobody has complained about this yet.", report_table);
	if (account)
		list_card(w, "Last messages", json_object_get(x, "messages"),
			  "No message of this account is on record.", message_table);
	list_card(w, "Lines of the subscriber", json_object_get(x, "lines"),
		  "No line of this subscriber is on record.", lease_table);
	put(w->h, LIT("</div>"));
	actions_card(w, x);
	put(w->h, LIT("</div>"));
}

void page_incident(struct web *w)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *x = q ? query_incident(q, w->id, &err) : NULL;
	if (q && !x && err && strcmp(err, "not found") == 0) {
		page_message(w, 404, "There is no such incident", "No incident has this number.",
			     "The list of incidents shows all there are.");
		return;
	}
	page_begin(w, talloc_asprintf(w->pool, "Incident #%lld", (long long)w->id), NAV_INCIDENTS);
	page_done(w, done);
	if (x)
		body(w, x);
	else
		page_unread(w, "The incident", q ? err : w->query_err);
	page_end(w);
	json_decref(x);
}

/* --- changes ---------------------------------------------------------------------------------- */

static void put_mistake(struct web *w, const char *op, json_t *args)
{
	if (form_checked(w, "mistake") && strcmp(op, "incident.release") == 0)
		json_object_set_new(args, "mistake", json_true());
}

/* incident.VERB with the id of the path and one text of the form, then the incident's page. */
static void change(struct web *w, const char *op, const char *field, const char *word)
{
	json_t *args = json_pack("{s:I}", "id", (json_int_t)w->id);
	const char *text = cgi_trimmed(w->pool, &w->req.form, field);
	if (*text)
		json_object_set_new(args, field, json_string(text));
	put_mistake(w, op, args);
	if (web_change(w, op, args, NULL))
		web_redirect(w, talloc_asprintf(w->pool, "/incidents/%lld", (long long)w->id),
			     word);
	else
		page_incident(w);
}

void post_incident_ack(struct web *w)
{
	change(w, "incident.ack", "reason", "ack");
}

void post_incident_hold(struct web *w)
{
	change(w, "incident.hold", "reason", "hold");
}

void post_incident_release(struct web *w)
{
	change(w, "incident.release", "reason", "release");
}

void post_incident_resolve(struct web *w)
{
	change(w, "incident.resolve", "reason", "resolve");
}

void post_incident_note(struct web *w)
{
	change(w, "incident.note", "text", "note");
}

/* The same by account, from pages that know no incident; it leads to the incident acctd answers
 * with. */
static void by_account(struct web *w, const char *op, const char *word)
{
	json_t *args = json_object(), *result = NULL;
	const char *account = cgi_trimmed(w->pool, &w->req.form, "account"),
		   *reason = cgi_trimmed(w->pool, &w->req.form, "reason");
	json_object_set_new(args, "account", json_string(account));
	if (*reason)
		json_object_set_new(args, "reason", json_string(reason));
	put_mistake(w, op, args);
	if (web_change(w, op, args, &result)) {
		web_redirect(
		    w,
		    talloc_asprintf(w->pool, "/incidents/%lld", (long long)jint(result, "id", 0)),
		    word);
		json_decref(result);
	} else {
		page_who(w);
	}
}

void post_account_hold(struct web *w)
{
	by_account(w, "incident.hold", "hold");
}

void post_account_release(struct web *w)
{
	by_account(w, "incident.release", "release");
}
