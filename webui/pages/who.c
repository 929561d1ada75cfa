/*
 * who - what is known about an address, an account, a subscriber, a message or a case, from what a
 * caller can tell.
 *
 * One box takes an address, address:port, [address]:port, a prefix, an account, a subscriber's
 * number or name, a queue id, trace token or Message-ID, or an incident number.
 * Known gaps: of a prefix the first 200 lines.
 */
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

#include "webui/chart.h"
#include "webui/pages/pages.h"

struct ask {
	const char *q, *port_text, *time_text;
	struct addr addr;
	struct prefix within; /* ASK_PREFIX */
	int port;	      /* -1: not said */
	int64_t t_ms;
	enum { ASK_NOTHING, ASK_ADDR, ASK_PREFIX, ASK_ACCOUNT, ASK_NAME, ASK_WRONG } kind;
	const char *wrong; /* what to write instead */
};

/* --- understanding the question --------------------------------------------------------------- */

static bool wrong(struct ask *a, const char *why)
{
	a->kind = ASK_WRONG;
	a->wrong = why;
	return false;
}

/* False when it does not look like an address or a prefix. */
static bool read_address(struct ask *a)
{
	const char *err, *colon = strrchr(a->q, ':');
	char errbuf[128];
	uint16_t port;
	a->kind = ASK_ADDR;
	if (addr_parse(a->q, &a->addr, &err))
		return true;
	if (colon && addr_parse_port(a->q, &a->addr, &port, &err)) {
		a->port = port;
		return true;
	}
	if (!strchr(a->q, '/') || !prefix_parse(a->q, &a->within, errbuf))
		return false;
	a->addr = a->within.a;
	if (a->within.len < (addr_is4(&a->addr) ? 32 : 128))
		a->kind = ASK_PREFIX;
	return true;
}

static bool read_port(struct ask *a)
{
	int64_t port;
	if (!*a->port_text)
		return true;
	if (!cgi_id(a->port_text, &port) || port > 65535)
		return wrong(a, "The port is a number from 1 to 65535.");
	a->port = (int)port;
	return true;
}

static bool read_time(struct web *w, struct ask *a)
{
	const char *err;
	if (*a->time_text && !clock_parse(a->time_text, w->now_ms, &a->t_ms, &err))
		return wrong(
		    a, talloc_asprintf(
			   w->pool,
			   "Time: %s. Write 2026-11-22T13:08:10Z, or -2h for two hours ago.", err));
	return true;
}

/* Whom a form of this page is about. */
static const char *of_form(struct web *w)
{
	const char *account = cgi_trimmed(w->pool, &w->req.form, "account");
	return *account ? account : cgi_trimmed(w->pool, &w->req.form, "address");
}

static struct ask read_ask(struct web *w)
{
	struct ask a = {.port = -1, .t_ms = w->now_ms, .kind = ASK_NOTHING};
	a.q = w->req.method == CGI_POST ? of_form(w) : cgi_trimmed(w->pool, &w->req.query, "q");
	a.port_text = cgi_trimmed(w->pool, &w->req.query, "port");
	a.time_text = cgi_trimmed(w->pool, &w->req.query, "time");
	if (!*a.q)
		return a;
	if (!read_address(&a))
		a.kind = strchr(a.q, '@') ? ASK_ACCOUNT : ASK_NAME;
	else if (read_port(&a))
		read_time(w, &a);
	return a;
}

/* --- the form --------------------------------------------------------------------------------- */

static void ask_form(struct web *w, const struct ask *a)
{
	put(w->h,
	    LIT("<section class=\"card\"><form action=\"/who\" class=\"row-form\"><div "
		"class=\"field grow\"><label for=\"q\">Address, prefix, account, subscriber, queue "
		"id, "
		"Message-ID or incident number</label><input id=\"q\" name=\"q\" maxlength=\"320\" "
		"required "
		"autocomplete=\"off\" spellcheck=\"false\" "
		"placeholder=\"192.0.2.7:40123\" value=\""),
	    ATT(a->q),
	    LIT("\"></div><div class=\"field\"><label for=\"port\">Source port</label><input "
		"id=\"port\" name=\"port\" maxlength=\"5\" "
		"inputmode=\"numeric\" size=\"6\" placeholder=\"any\" value=\""),
	    ATT(a->port_text),
	    LIT("\"></div><div class=\"field\"><label for=\"time\">Time (UTC)</label><input "
		"id=\"time\" name=\"time\" maxlength=\"40\" "
		"placeholder=\"now\" value=\""),
	    ATT(a->time_text),
	    LIT("\"></div><button class=\"primary\">Look up</button></form><p "
		"class=\"hint\">Behind shared addresses (CGN, MAP-E) only address, port and time "
		"together name one subscriber. Times: 2026-11-22T13:08:10Z, or -2h for two hours "
		"ago.</p></section>"));
}

/* --- an address ------------------------------------------------------------------------------- */

/* What is known of the line besides its owner: its exemptions, and cases that need somebody. */
static void who_cases(struct html *h, const json_t *x)
{
	size_t i;
	json_t *v;
	const json_t *exempt = json_object_get(x, "exemptions"),
		     *incidents = json_object_get(x, "incident_ids");
	put(h, LIT("</td><td class=\"n\">"));
	if (jint(x, "blocked", 0) > 0)
		put(h, NUM(jint(x, "blocked", 0)));
	put(h, LIT("</td><td>"));
	if (json_array_size(exempt) == 0)
		put(h, FOR(""));
	json_array_foreach (exempt, i, v)
		put(h, EITHER(i > 0, "<br>", ""),
		    FOR(json_string_value(v) ? json_string_value(v) : ""));
	put(h, LIT("</td><td>"));
	if (json_array_size(incidents) == 0)
		put(h, FOR(""));
	json_array_foreach (incidents, i, v)
		put(h, EITHER(i > 0, " ", ""), LIT("<a class=\"no\" href=\"/incidents/"),
		    INT(json_integer_value(v)), LIT("\">#"), INT(json_integer_value(v)),
		    LIT("</a>"));
}

static void ports_cell(struct html *h, const json_t *x)
{
	put(h, LIT("<td>"));
	if (jint(x, "port_lo", 0) > 0 || jint(x, "port_hi", 65535) < 65535)
		put(h, INT(jint(x, "port_lo", 0)), LIT("&ndash;"), INT(jint(x, "port_hi", 65535)));
	else
		put(h, LIT("all"));
	put(h, LIT("</td>"));
}

static void who_row(struct web *w, const json_t *x)
{
	size_t i;
	json_t *login;
	struct html *h = w->h;
	put(h, LIT("<tr><th scope=\"row\">"));
	subscriber(h, jstr(x, "subscriber"), jstr(x, "subscriber_name"));
	put(h, LIT("</th><td class=\"id\">"), TXT(jstr(x, "prefix")), LIT("</td>"));
	ports_cell(h, x);
	span_cells(h, jint(x, "from_ms", 0), jint(x, "to_ms", 0));
	put(h, LIT("<td>"), FOR(jstr(x, "source")), LIT("</td><td>"));
	if (json_array_size(json_object_get(x, "accounts")) == 0)
		put(h, FOR(""));
	json_array_foreach (json_object_get(x, "accounts"), i, login) {
		if (i)
			put(h, LIT("<br>"));
		link_subject(h, json_string_value(login) ? json_string_value(login) : "");
	}
	who_cases(h, x);
	put(h, LIT("</td></tr>"));
}

static void who_table(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h, SCROLL("Who used the address"),
	    LIT("<table><caption class=\"sr\">Who used the "
		"address</caption><thead><tr><th scope=\"col\">Subscriber</th>"
		"<th scope=\"col\">Prefix</th><th scope=\"col\">Ports</th><th "
		"scope=\"col\">From</th><th scope=\"col\">To</th>"
		"<th scope=\"col\">Source</th><th "
		"scope=\"col\">Accounts</th><th scope=\"col\" class=\"n\">Refused in the "
		"day before</th><th scope=\"col\">Exempt</th><th "
		"scope=\"col\">Incidents</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x)
		who_row(w, x);
	put(w->h, LIT("</tbody></table></div>"));
}

static void who_sentence(struct web *w, const struct ask *a, size_t n)
{
	char text[ADDR_STRLEN];
	struct html *h = w->h;
	put(h, LIT("<p class=\"lead\"><span class=\"id\">"), TXT(addr_format(&a->addr, text)),
	    LIT("</span>"));
	if (a->port > 0)
		put(h, LIT(" port "), INT(a->port));
	put(h, LIT(" at "), WHEN(a->t_ms), LIT(" UTC: "));
	if (n == 0)
		put(h, LIT("no lease on record, so nobody known.</p>"));
	else if (n == 1)
		put(h, LIT("one subscriber.</p>"));
	else
		put(h, NUM(n),
		    LIT(" subscribers share it. Ask the reporter for the source port and the exact "
			"time.</p>"));
}

/* What the packet daemon would do with this source now; left out when it is away. */
static void port25(struct web *w, const struct ask *a)
{
	char text[ADDR_STRLEN];
	struct control_error e;
	json_t *r = web_call(w, "nfq.explain",
			     json_pack("{s:s}", "source", addr_format(&a->addr, text)), &e);
	put(w->h, LIT("<h2>Port 25 now</h2>"));
	if (r) {
		bool allow = strcmp(jstr(r, "decision"), "reject") != 0; /* or not-subject */
		put(w->h, LIT("<p>"),
		    EITHER(allow, "<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>",
			   "<span class=\"chip hold\"><i aria-hidden=\"true\">&#10005;</i>"),
		    FOR(jstr(r, "decision")), LIT("</span> "), FOR(jstr(r, "why")), LIT("</p>"));
	} else {
		put(w->h, LIT("<p class=\"empty\">The packet daemon could not be asked: "),
		    FOR(e.text), LIT("</p>"));
	}
	json_decref(r);
}

static void about_address(struct web *w, const struct ask *a)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *rows = q ? query_who(q, &a->addr, a->port, a->t_ms, &err) : NULL;
	put(w->h, LIT("<section class=\"card\">"));
	if (rows) {
		who_sentence(w, a, json_array_size(rows));
		if (json_array_size(rows))
			who_table(w, rows);
	} else {
		page_unread(w, "The leases", q ? err : w->query_err);
	}
	port25(w, a);
	put(w->h, LIT("</section>"));
	json_decref(rows);
	if (a->kind == ASK_PREFIX) {
		about_prefix(w, &a->within, a->t_ms);
		return;
	}
	char text[ADDR_STRLEN];
	(void)limits_card(w, "address", addr_format(&a->addr, text));
}

/* --- an account ------------------------------------------------------------------------------- */

static void hold_form(struct web *w, const char *account)
{
	form_begin(w, "/accounts/hold", 0, NULL, "stack");
	put(w->h, LIT("<input type=\"hidden\" name=\"account\" value=\""), ATT(account),
	    LIT("\"><div class=\"field\"><label for=\"r-hold\">Hold its mail: why? <span "
		"class=\"must\">required</span></label><input id=\"r-hold\" name=\"reason\" "
		"maxlength=\"300\" autocomplete=\"off\" required></div><button "
		"class=\"danger\">Hold its mail</button><p class=\"hint\">Queued mail waits, new "
		"mail is "
		"accepted and waits too. Opens an incident, or continues the one there is.</p>"));
	form_end(w);
}

/* Has it an incident that a release would end? */
static bool unresolved(struct web *w, const char *account)
{
	const char *err;
	struct query *q = web_query(w);
	const struct query_list l = {.about = account};
	json_t *rows = q ? query_incidents(q, &l, 1, &err) : NULL;
	bool any = json_array_size(rows) > 0;
	json_decref(rows);
	return any;
}

/* Release and hold, by the stage it is in. */
static void actions_card(struct web *w, const char *account, const char *stage)
{
	bool held = word_in("hold suspend", stage),
	     slowed = word_in("watch throttle", stage) && unresolved(w, account);
	if (w->role < ROLE_DESK)
		return;
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"act-title\"><h2 "
		      "id=\"act-title\">What to do</h2>"));
	if (held || slowed)
		release_form(w, 0, account);
	if (!held)
		hold_form(w, account);
	put(w->h, LIT("</section>"));
}

void incidents_of(struct web *w, struct query *q, const char *about)
{
	const char *err = NULL;
	const struct query_list l = {.state = "all", .about = about};
	json_t *rows = query_incidents(q, &l, 50, &err);
	put(w->h, LIT("<section class=\"card\"><h2>Incidents</h2>"));
	if (!rows)
		page_unread(w, "The incidents", err);
	else if (json_array_size(rows))
		incident_table(w, rows);
	else
		put(w->h, LIT("<p class=\"empty\">None on record.</p>"));
	put(w->h, LIT("</section>"));
	json_decref(rows);
}

static void messages_of(struct web *w, struct query *q, const char *account)
{
	const char *err = NULL;
	json_t *rows = query_messages(q, account, 25, &err);
	put(w->h, LIT("<section class=\"card\"><h2>Last messages</h2>"));
	if (!rows)
		page_unread(w, "The messages", err);
	else if (json_array_size(rows))
		message_table(w, rows);
	else
		put(w->h, LIT("<p class=\"empty\">No message of this account is on record.</p>"));
	put(w->h, LIT("</section>"));
	json_decref(rows);
}

/* Whose it is. */
static void account_head(struct web *w, const char *account)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *x = q ? query_account(q, account, &err) : NULL;
	put(w->h, LIT("<p class=\"lead\">"), LIT("<span class=\"id\">"), FOR(account),
	    LIT("</span>: "));
	if (x)
		subscriber(w->h, jstr(x, "subscriber"), jstr(x, "subscriber_name"));
	else
		put(w->h, LIT("nobody has seen this account. Is it spelt right?"));
	put(w->h, LIT("</p>"));
	json_decref(x);
}

static void about_account(struct web *w, const struct ask *a)
{
	struct query *q = web_query(w);
	put(w->h, LIT("<div class=\"columns side-form\"><div class=\"stack-cards\">"));
	account_head(w, a->q);
	const char *stage = limits_card(w, "account", a->q);
	if (q) {
		incidents_of(w, q, a->q);
		messages_of(w, q, a->q);
	} else {
		page_unread(w, "The database", w->query_err);
	}
	put(w->h, LIT("</div><div class=\"stack-cards\">"));
	actions_card(w, a->q, stage);
	put(w->h, LIT("</div></div>"));
}

/* --- tables that other pages use too ---------------------------------------------------------- */

void message_table(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	struct html *h = w->h;
	put(h, SCROLL("Messages"),
	    LIT("<table><caption class=\"sr\">Messages, newest "
		"first</caption><thead><tr>"
		"<th scope=\"col\">Accepted, queue id</th><th scope=\"col\">From address</th>"
		"<th scope=\"col\">Envelope sender</th><th scope=\"col\">Recipient domains</th>"
		"<th scope=\"col\" class=\"n\">Rcpts</th><th scope=\"col\" "
		"class=\"n\">Size</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<tr><th scope=\"row\">"), WHEN(jint(x, "t_ms", 0)),
		    LIT("<br><a class=\"id sub\" href=\"/messages?id="), URL(jstr(x, "queue_id")),
		    LIT("\">"), FOR(jstr(x, "queue_id")), LIT("</a></th><td>"));
		link_subject(h, jstr(x, "src"));
		if (json_is_true(json_object_get(x, "held")))
			put(h, LIT("<br><span class=\"chip hold\"><i "
				   "aria-hidden=\"true\">&#9646;</i>came in held</span>"));
		put(h, LIT("</td><td>"), FOR(jstr(x, "mail_from")), LIT("</td><td class=\"why\">"),
		    FOR(jstr(x, "rcpt_domains")), LIT("</td><td class=\"n\">"),
		    NUM(jint(x, "rcpts", 0)), LIT("</td><td class=\"n\">"),
		    SIZE(jint(x, "size", 0)), LIT("</td></tr>"));
	}
	put(h, LIT("</tbody></table></div>"));
}

void lease_table(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	struct html *h = w->h;
	put(h, SCROLL("Lines"),
	    LIT("<table><caption class=\"sr\">Lines</caption><thead><tr><th "
		"scope=\"col\">Prefix</th><th scope=\"col\">Ports</th>"
		"<th scope=\"col\">Subscriber</th><th scope=\"col\">From</th><th "
		"scope=\"col\">To</th><th scope=\"col\">Source</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<tr><th scope=\"row\">"));
		link_subject(h, jstr(x, "prefix"));
		put(h, LIT("</th>"));
		ports_cell(h, x);
		put(h, LIT("<td>"));
		subscriber(h, jstr(x, "subscriber"), "");
		put(h, LIT("</td>"));
		span_cells(h, jint(x, "from_ms", 0), jint(x, "to_ms", 0));
		put(h, LIT("<td>"), FOR(jstr(x, "source")), LIT("</td></tr>"));
	}
	put(h, LIT("</tbody></table></div>"));
}

/* --- the page --------------------------------------------------------------------------------- */

static const struct page_done done[] = {
    {"reset", "The counters are back at zero."},
    {"set", "The exception is in force."},
    {"unset", "The exception is gone: the configured limit holds again."},
    {NULL, NULL},
};

static bool leads_to_incident(struct web *w, const char *q)
{
	int64_t id;
	const char *digits = *q == '#' ? q + 1 : q;
	if (strlen(digits) > 12 || !cgi_id(digits, &id))
		return false;
	web_redirect(w, talloc_asprintf(w->pool, "/incidents/%lld", (long long)id), NULL);
	return true;
}

/* A queue id, token or Message-ID. *several: more than one message has it. */
static bool leads_to_message(struct web *w, const struct ask *a, json_t **several)
{
	const char *err;
	struct query *q = a->kind == ASK_NAME || a->kind == ASK_ACCOUNT ? web_query(w) : NULL;
	json_t *rows = q ? query_find(q, a->q, 50, &err) : NULL;
	size_t n = json_array_size(rows);
	if (n > 1) {
		*several = rows;
		return false;
	}
	if (n == 1)
		web_redirect(
		    w,
		    talloc_asprintf(w->pool, "/messages?id=%s",
				    cgi_encode(w->pool, jstr(json_array_get(rows, 0), "queue_id"))),
		    NULL);
	json_decref(rows);
	return n == 1;
}

static void answer(struct web *w, const struct ask *a, const json_t *messages)
{
	if (messages) {
		put(w->h, LIT("<section class=\"card\"><h2>Messages of that id</h2>"));
		message_table(w, messages);
		put(w->h, LIT("</section>"));
	} else if (a->kind == ASK_ADDR || a->kind == ASK_PREFIX) {
		about_address(w, a);
	} else if (a->kind == ASK_ACCOUNT) {
		about_account(w, a);
	} else if (a->kind == ASK_NAME) {
		about_name(w, a->q);
	}
}

void page_who(struct web *w)
{
	struct ask a = read_ask(w);
	json_t *messages = NULL;
	bool get = w->req.method != CGI_POST;
	if (get && (leads_to_message(w, &a, &messages) || leads_to_incident(w, a.q)))
		return;
	if (a.kind == ASK_WRONG) {
		w->status = 422;
		w->error = a.wrong;
	}
	page_begin(w, *a.q ? talloc_asprintf(w->pool, "Look up: %s", a.q) : "Look up", NAV_WHO);
	page_done(w, done);
	ask_form(w, &a);
	answer(w, &a, messages);
	page_end(w);
	json_decref(messages);
}
