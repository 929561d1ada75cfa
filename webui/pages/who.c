/*
 * who - what is known about an address, an account or a case, from what a caller can tell.
 *
 * One box takes an address, address:port, [address]:port, a prefix, an account or an incident
 * number. Known gaps: no search by Message-ID or queue id here; sekishoctl has the queue.
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
	int port; /* -1: not said */
	int64_t t_ms;
	enum { ASK_NOTHING, ASK_ADDR, ASK_ACCOUNT, ASK_WRONG } kind;
	const char *wrong; /* what to write instead */
};

/* --- understanding the question --------------------------------------------------------------- */

static bool wrong(struct ask *a, const char *why)
{
	a->kind = ASK_WRONG;
	a->wrong = why;
	return false;
}

static bool read_address(struct ask *a)
{
	const char *err, *colon = strrchr(a->q, ':');
	char errbuf[128];
	struct prefix p;
	uint16_t port;
	a->kind = ASK_ADDR;
	if (addr_parse(a->q, &a->addr, &err))
		return true;
	if (colon && addr_parse_port(a->q, &a->addr, &port, &err)) {
		a->port = port;
		return true;
	}
	if (strchr(a->q, '/') && prefix_parse(a->q, &p, errbuf)) {
		a->addr = p.a;
		return true;
	}
	return wrong(a, "That is neither an address (192.0.2.7, 2001:db8::7), an address with port "
			"(192.0.2.7:40123), nor an account (user@realm).");
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

static struct ask read_ask(struct web *w)
{
	struct ask a = {.port = -1, .t_ms = w->now_ms, .kind = ASK_NOTHING};
	bool post = w->req.method == CGI_POST;
	a.q = post ? cgi_trimmed(w->pool, &w->req.form, "account")
		   : cgi_trimmed(w->pool, &w->req.query, "q");
	a.port_text = cgi_trimmed(w->pool, &w->req.query, "port");
	a.time_text = cgi_trimmed(w->pool, &w->req.query, "time");
	if (!*a.q)
		return a;
	if (strchr(a.q, '@')) {
		a.kind = ASK_ACCOUNT;
		return a;
	}
	if (read_address(&a) && read_port(&a))
		read_time(w, &a);
	return a;
}

/* --- the form --------------------------------------------------------------------------------- */

static void ask_form(struct web *w, const struct ask *a)
{
	put(w->h,
	    LIT("<section class=\"card\"><form action=\"/who\" class=\"row-form\"><div "
		"class=\"field grow\"><label for=\"q\">Address, account or "
		"incident number</label><input id=\"q\" name=\"q\" maxlength=\"320\" required "
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

static void who_row(struct web *w, const json_t *x)
{
	size_t i;
	json_t *login;
	struct html *h = w->h;
	put(h, LIT("<tr><th scope=\"row\">"));
	subscriber(h, jstr(x, "subscriber"), jstr(x, "subscriber_name"));
	put(h, LIT("</th><td class=\"id\">"), TXT(jstr(x, "prefix")), LIT("</td><td>"));
	if (jint(x, "port_lo", 0) > 0 || jint(x, "port_hi", 65535) < 65535)
		put(h, INT(jint(x, "port_lo", 0)), LIT("&ndash;"), INT(jint(x, "port_hi", 65535)));
	else
		put(h, LIT("all"));
	put(h, LIT("</td>"));
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
	put(w->h, LIT("<div class=\"scroll\"><table><caption class=\"sr\">Who used the "
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
	put(w->h, LIT("<h3>Port 25 now</h3>"));
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
}

/* --- an account ------------------------------------------------------------------------------- */

static void limit_row(struct html *h, const json_t *x)
{
	int64_t used = jint(x, "used", 0), limit = jint(x, "limit", 0);
	put(h, LIT("<tr><th scope=\"row\">"), FOR(jstr(x, "unit")), LIT(" per "),
	    FOR(jstr(x, "window")));
	chart_bar(h, used < limit ? used : limit, limit);
	put(h, LIT("</th><td class=\"n\">"), NUM(used), LIT("</td><td class=\"n\">"));
	if (limit > 0)
		put(h, NUM(limit));
	else
		put(h, LIT("none"));
	put(h, LIT("</td></tr>"));
}

/* The detector's score, the heaviest signal first, and what ends it. */
static void score(struct html *h, const json_t *x)
{
	size_t i;
	json_t *why;
	if (!x)
		return;
	put(h, LIT("<h3>Score of the detector: "), NUM(jint(x, "score", 0)), LIT("</h3>"));
	if (strcmp(jstr(x, "mode"), "enforce") != 0)
		put(h, LIT("<p><span class=\"chip warn\"><i aria-hidden=\"true\">!</i>"),
		    FOR(jstr(x, "mode")), LIT(": nothing is done</span></p>"));
	if (json_array_size(json_object_get(x, "why")) > 0) {
		put(h, LIT("<ul>"));
		json_array_foreach (json_object_get(x, "why"), i, why)
			put(h, LIT("<li>"), FOR(json_string_value(why)), LIT("</li>"));
		put(h, LIT("</ul>"));
	}
	put(h, LIT("<p class=\"hint\">It ends: "), FOR(jstr(x, "clears")), LIT("</p>"));
}

static void limits(struct web *w, const char *account)
{
	struct control_error e;
	size_t i;
	json_t *r = web_call(w, "limit.show", json_pack("{s:s}", "account", account), &e), *x;
	put(w->h, LIT("<section class=\"card\"><h2>Limits now</h2>"));
	if (!r) {
		put(w->h, LIT("<p class=\"empty\">The limits could not be asked for: "),
		    FOR(e.text), LIT("</p></section>"));
		return;
	}
	put(w->h, LIT("<p>Now "));
	chip(w->h, jstr(r, "stage"));
	if (strcmp(jstr(r, "mode"), "observe") == 0)
		put(w->h, LIT(" <span class=\"chip warn\"><i aria-hidden=\"true\">!</i>limits only "
			      "observe</span>"));
	if (*jstr(r, "why"))
		put(w->h, LIT(" "), FOR(jstr(r, "why")));
	put(w->h, LIT("</p><div class=\"scroll\"><table><caption class=\"sr\">Limits of the "
		      "account</caption><thead><tr>"
		      "<th scope=\"col\">Window</th><th scope=\"col\" class=\"n\">Used</th>"
		      "<th scope=\"col\" class=\"n\">Limit</th></tr></thead><tbody>"));
	json_array_foreach (json_object_get(r, "limits"), i, x)
		limit_row(w->h, x);
	put(w->h, LIT("</tbody></table></div>"));
	score(w->h, json_object_get(r, "score"));
	put(w->h, LIT("</section>"));
	json_decref(r);
}

static void hold_form(struct web *w, const char *account)
{
	if (w->role < ROLE_DESK)
		return;
	put(w->h, LIT("<section class=\"card\"><h2>Contain</h2>"));
	form_begin(w, "/accounts/hold", 0, NULL, "stack");
	put(w->h, LIT("<input type=\"hidden\" name=\"account\" value=\""), ATT(account),
	    LIT("\">"));
	form_input(w, &(struct form_input){
			  .name = "reason", .label = "Why?", .required = true, .max = 300});
	put(w->h,
	    LIT("<button class=\"danger\">Hold its mail</button><p class=\"hint\">Opens an "
		"incident, or continues the one there is. Release is on the incident's page.</p>"));
	form_end(w);
	put(w->h, LIT("</section>"));
}

static void incidents_of(struct web *w, struct query *q, const char *account)
{
	const char *err;
	size_t i;
	json_t *all = query_incidents(q, "all", 1000, &err), *mine = json_array(), *x;
	json_array_foreach (all, i, x)
		if (strcmp(jstr(x, "subject"), account) == 0)
			json_array_append(mine, x);
	put(w->h, LIT("<section class=\"card\"><h2>Incidents</h2>"));
	if (json_array_size(mine))
		incident_table(w, mine);
	else
		put(w->h, LIT("<p class=\"empty\">None on record.</p>"));
	put(w->h, LIT("</section>"));
	json_decref(mine);
	json_decref(all);
}

static void messages_of(struct web *w, struct query *q, const char *account)
{
	const char *err = NULL;
	json_t *rows = query_messages(q, account, 50, &err);
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

static void about_account(struct web *w, const struct ask *a)
{
	struct query *q = web_query(w);
	put(w->h, LIT("<div class=\"columns side-form\"><div class=\"stack-cards\">"));
	if (q) {
		incidents_of(w, q, a->q);
		messages_of(w, q, a->q);
	} else {
		page_unread(w, "The database", w->query_err);
	}
	put(w->h, LIT("</div><div class=\"stack-cards\">"));
	limits(w, a->q);
	hold_form(w, a->q);
	put(w->h, LIT("</div></div>"));
}

/* --- tables that other pages use too ---------------------------------------------------------- */

void message_table(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	struct html *h = w->h;
	put(h, LIT("<div class=\"scroll\"><table><caption class=\"sr\">Messages, newest "
		   "first</caption><thead><tr>"
		   "<th scope=\"col\">Accepted, queue id</th><th scope=\"col\">From address</th>"
		   "<th scope=\"col\">Envelope sender</th><th scope=\"col\">Recipient domains</th>"
		   "<th scope=\"col\" class=\"n\">Rcpts</th><th scope=\"col\" "
		   "class=\"n\">Bytes</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<tr><th scope=\"row\">"), WHEN(jint(x, "t_ms", 0)),
		    LIT("<br><span class=\"id sub\">"), FOR(jstr(x, "queue_id")),
		    LIT("</span></th><td>"));
		link_subject(h, jstr(x, "src"));
		if (json_is_true(json_object_get(x, "held")))
			put(h, LIT("<br><span class=\"chip hold\"><i "
				   "aria-hidden=\"true\">&#9646;</i>came in held</span>"));
		put(h, LIT("</td><td>"), FOR(jstr(x, "mail_from")), LIT("</td><td class=\"why\">"),
		    FOR(jstr(x, "rcpt_domains")), LIT("</td><td class=\"n\">"),
		    NUM(jint(x, "rcpts", 0)), LIT("</td><td class=\"n\">"), NUM(jint(x, "size", 0)),
		    LIT("</td></tr>"));
	}
	put(h, LIT("</tbody></table></div>"));
}

void lease_table(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	struct html *h = w->h;
	put(h,
	    LIT("<div class=\"scroll\"><table><caption class=\"sr\">Lines</caption><thead><tr><th "
		"scope=\"col\">Prefix</th><th scope=\"col\">Ports</th>"
		"<th scope=\"col\">From</th><th scope=\"col\">To</th><th "
		"scope=\"col\">Source</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<tr><th scope=\"row\">"));
		link_subject(h, jstr(x, "prefix"));
		put(h, LIT("</th><td>"), INT(jint(x, "port_lo", 0)), LIT("&ndash;"),
		    INT(jint(x, "port_hi", 65535)), LIT("</td>"));
		span_cells(h, jint(x, "from_ms", 0), jint(x, "to_ms", 0));
		put(h, LIT("<td>"), FOR(jstr(x, "source")), LIT("</td></tr>"));
	}
	put(h, LIT("</tbody></table></div>"));
}

/* --- the page --------------------------------------------------------------------------------- */

void page_who(struct web *w)
{
	int64_t incident;
	struct ask a = read_ask(w);
	if (cgi_id(*a.q == '#' ? a.q + 1 : a.q, &incident)) {
		web_redirect(w, talloc_asprintf(w->pool, "/incidents/%lld", (long long)incident),
			     NULL);
		return;
	}
	if (a.kind == ASK_WRONG) {
		w->status = 422;
		w->error = a.wrong;
	}
	page_begin(w, "Look up", NAV_WHO);
	ask_form(w, &a);
	if (a.kind == ASK_ADDR)
		about_address(w, &a);
	else if (a.kind == ASK_ACCOUNT)
		about_account(w, &a);
	page_end(w);
}
