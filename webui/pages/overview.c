/*
 * overview - the first page: who is hurting us, is it contained, what needs me.
 *
 * Known gaps: the health strip shows what each daemon says of itself, no history.
 */
#include <string.h>

#include <talloc.h>

#include "webui/chart.h"
#include "webui/health.h"
#include "webui/pages/pages.h"

#define DAY_MS INT64_C(86400000)

enum { NEEDS_MAX = 10, TOP_MAX = 8 };

/* --- the sentence ----------------------------------------------------------------------------- */

static void sentence(struct web *w, const json_t *o, int64_t needs, int64_t contained)
{
	struct html *h = w->h;
	int64_t packets = jint(o, "blocked_packets", 0), lines = jint(o, "blocked_sources", 0);
	put(h, LIT("<p class=\"headline\"><strong>"));
	if (needs == 0)
		put(h, LIT("Nobody needs you</strong>"));
	else
		put(h, NUM(needs), LIT(" of "), NUM(needs + contained),
		    EITHER(needs + contained == 1, " sender", " senders"),
		    EITHER(needs == 1, " needs", " need"), LIT(" you</strong>"));
	if (contained)
		put(h, LIT("; "), NUM(contained),
		    EITHER(contained == 1, " is contained", " are contained"));
	put(h, LIT(". Port 25: <strong>"), NUM(packets),
	    EITHER(packets == 1, " attempt", " attempts"), LIT("</strong> from "), NUM(lines),
	    EITHER(lines == 1, " line", " lines"), LIT(" stopped in the last 24 hours.</p>"));
}

static void tile(struct html *h, const char *label, int64_t n, const char *link, const char *extra)
{
	put(h, LIT("<div class=\"tile\"><dt>"), TXT(label), LIT("</dt><dd>"));
	if (link)
		put(h, LIT("<a href=\""), ATT(link), LIT("\">"), NUM(n), LIT("</a>"));
	else
		put(h, NUM(n));
	if (*extra)
		put(h, LIT(" <small>"), TXT(extra), LIT("</small>"));
	put(h, LIT("</dd></div>"));
}

static void tiles(struct web *w, const json_t *o)
{
	int64_t soon = jint(o, "exemptions_expiring_30d", 0);
	const char *expiring =
	    soon > 0 ? talloc_asprintf(w->pool, "%lld expire soon", (long long)soon) : "";
	put(w->h, LIT("<dl class=\"tiles\" aria-label=\"Last 24 hours\">"));
	tile(w->h, "Accepted", jint(o, "accepted", 0), NULL, "");
	tile(w->h, "Delivered", jint(o, "delivered", 0), NULL, "");
	tile(w->h, "Deferred", jint(o, "deferred", 0), NULL, "");
	tile(w->h, "Bounced", jint(o, "bounced", 0), NULL, "");
	tile(w->h, "Held", jint(o, "held", 0), NULL, "");
	tile(w->h, "Refused", jint(o, "refused", 0), NULL, "");
	tile(w->h, "Failed logins", jint(o, "logins_failed", 0), NULL, "");
	tile(w->h, "Unmatched", jint(o, "reports_unmatched", 0), "/reports?show=unmatched",
	     "reports");
	tile(w->h, "Exemptions", jint(o, "exemptions_active", 0), "/exemptions", expiring);
	put(w->h, LIT("</dl>"));
}

/* --- what needs me ---------------------------------------------------------------------------- */

static void quick(struct web *w, int64_t id, const char *verb, const char *label, const char *cls)
{
	form_begin(w, "/incidents", id, verb, "inline");
	put(w->h, LIT("<button class=\""), ATT(cls), LIT("\">"), TXT(label),
	    LIT("<span class=\"sr\"> incident "), INT(id), LIT("</span></button>"));
	form_end(w);
}

/* What can be done at once, by state; the rest is on the incident's page. */
static void need_actions(struct web *w, const json_t *x, int64_t id)
{
	bool account = strcmp(jstr(x, "subject_type"), "account") == 0;
	const char *state = jstr(x, "state");
	put(w->h, LIT("<div class=\"need-do\">"));
	if (w->role >= ROLE_DESK && account && strcmp(state, "contained") != 0)
		quick(w, id, "hold", "Hold its mail", "danger");
	if (w->role >= ROLE_DESK && strcmp(state, "open") == 0)
		quick(w, id, "ack", "Acknowledge", "");
	put(w->h, LIT("<a class=\"button\" href=\"/incidents/"), INT(id),
	    LIT("\">Details<span class=\"sr\"> of incident "), INT(id), LIT("</span></a></div>"));
}

static void need(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	int64_t id = jint(x, "id", 0), reports = jint(x, "reports", 0),
		held = jint(x, "held_since", 0);
	bool calm =
	    strcmp(jstr(x, "state"), "contained") == 0 || strcmp(jstr(x, "state"), "released") == 0;
	put(h, EITHER(calm, "<li class=\"need-row calm\">", "<li class=\"need-row\">"),
	    LIT("<div class=\"need-text\"><p class=\"need-who\">"));
	chip(h, jstr(x, "state"));
	incident_stage(h, x);
	put(h, LIT(" "));
	link_subject(h, jstr(x, "subject"));
	put(h, LIT(" <span class=\"sub\">"));
	subscriber(h, jstr(x, "subscriber"), jstr(x, "subscriber_name"));
	put(h, LIT("</span></p><p>"), FOR(jstr(x, "why")), LIT("</p><p class=\"sub\">"),
	    AGO(jint(x, "opened_ms", 0)));
	if (held > 0)
		put(h, LIT(" &middot; "), NUM(held), EITHER(held == 1, " message", " messages"),
		    LIT(" held since"));
	if (reports > 0)
		put(h, LIT(" &middot; "), NUM(reports),
		    EITHER(reports == 1, " abuse report", " abuse reports"));
	if (*jstr(x, "owner"))
		put(h, LIT(" &middot; "), FOR(jstr(x, "owner")));
	put(h, LIT("</p></div>"));
	need_actions(w, x, id);
	put(h, LIT("</li>"));
}

static const struct group {
	const char *title; /* NULL: the first one, which has the card's */
	const char *states[2];
} groups[] = {
    {NULL, {"open", "acknowledged"}},
    {"Contained: held until you release", {"contained", NULL}},
    {"Released: resolve when it stays quiet", {"released", NULL}},
};
enum { N_GROUPS = sizeof(groups) / sizeof(*groups) };

/* The newest of a group: those of its first state, then of its second. */
static void group_list(struct web *w, struct query *q, const struct group *g, int64_t all)
{
	size_t i;
	json_t *x;
	const char *err;
	int left = NEEDS_MAX;
	put(w->h, LIT("<ul class=\"needs\">"));
	for (size_t s = 0; s < 2 && g->states[s] && left > 0; s++) {
		const struct query_list l = {.state = g->states[s]};
		json_t *rows = query_incidents(q, &l, left, &err);
		json_array_foreach (rows, i, x)
			need(w, x);
		left -= (int)json_array_size(rows);
		json_decref(rows);
	}
	put(w->h, LIT("</ul>"));
	if (all > NEEDS_MAX)
		put(w->h, LIT("<p class=\"more\"><a href=\"/incidents?state="), URL(g->states[0]),
		    LIT("\">All "), NUM(all), LIT(" of them</a></p>"));
}

static void needs_card(struct web *w, struct query *q, const json_t *o)
{
	const int64_t count[N_GROUPS] = {jint(o, "incidents_open", 0),
					 jint(o, "incidents_contained", 0),
					 jint(o, "incidents_released", 0)};
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"needs-title\"><div class=\"head\">"
		      "<h2 id=\"needs-title\">Needs you</h2><a href=\"/incidents\">All "
		      "incidents</a></div>"));
	if (!count[0])
		put(w->h, LIT("<p class=\"empty\">Nobody does.</p>"));
	for (size_t i = 0; i < N_GROUPS; i++) {
		if (!count[i])
			continue;
		if (groups[i].title)
			put(w->h, LIT("<h3>"), TXT(groups[i].title), LIT("</h3>"));
		group_list(w, q, &groups[i], count[i]);
	}
	put(w->h, LIT("</section>"));
}

/* --- who is hurting us ------------------------------------------------------------------------ */

static int64_t largest(const json_t *rows, const char *key)
{
	size_t i;
	json_t *x;
	int64_t max = 0;
	json_array_foreach (rows, i, x)
		if (jint(x, key, 0) > max)
			max = jint(x, key, 0);
	return max;
}

static void top_lines(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	struct html *h = w->h;
	int64_t max = largest(rows, "packets");
	put(h, LIT("<section class=\"card\" aria-labelledby=\"lines-title\"><h2 "
		   "id=\"lines-title\">Lines that tried port 25</h2>"));
	if (json_array_size(rows) == 0) {
		put(h, LIT("<p class=\"empty\">No line tried to send on port 25.</p></section>"));
		return;
	}
	put(h, SCROLL("Lines that tried port 25"),
	    LIT("<table><thead><tr><th scope=\"col\">Line</th><th "
		"scope=\"col\" class=\"n\">Stopped</th>"
		"<th scope=\"col\" class=\"n\">Destinations</th><th "
		"scope=\"col\">Last</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<tr><th scope=\"row\">"));
		link_subject(h, jstr(x, "source"));
		put(h, LIT("<br><span class=\"sub\">"));
		subscriber(h, jstr(x, "subscriber"), jstr(x, "subscriber_name"));
		put(h, LIT("</span></th><td class=\"n\">"), NUM(jint(x, "packets", 0)));
		chart_bar(h, jint(x, "packets", 0), max);
		put(h, LIT("</td><td class=\"n\">"), NUM(jint(x, "dsts", 0)), LIT("</td><td>"));
		ago_or_none(h, jint(x, "last_ms", 0));
		put(h, LIT("</td></tr>"));
	}
	put(h, LIT("</tbody></table></div></section>"));
}

static void top_accounts(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	struct html *h = w->h;
	int64_t max = largest(rows, "rcpts");
	put(h, LIT("<section class=\"card\" aria-labelledby=\"accounts-title\"><h2 "
		   "id=\"accounts-title\">Accounts that send most</h2>"));
	if (json_array_size(rows) == 0) {
		put(h, LIT("<p class=\"empty\">No mail was submitted.</p></section>"));
		return;
	}
	put(h, SCROLL("Accounts that send most"),
	    LIT("<table><thead><tr><th scope=\"col\">Account</th><th "
		"scope=\"col\" class=\"n\">Rcpts</th>"
		"<th scope=\"col\" class=\"n\">Messages</th><th scope=\"col\" "
		"class=\"n\">Refused</th><th scope=\"col\" class=\"n\">Bounced</th>"
		"<th scope=\"col\" class=\"n\">Held</th><th "
		"scope=\"col\">Last</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<tr><th scope=\"row\">"));
		link_subject(h, jstr(x, "account"));
		put(h, LIT("<br><span class=\"sub\">"));
		subscriber(h, jstr(x, "subscriber"), "");
		put(h, LIT(" "));
		chip(h, strcmp(jstr(x, "stage"), "normal") == 0 ? "" : jstr(x, "stage"));
		put(h, LIT("</span></th><td class=\"n\">"), NUM(jint(x, "rcpts", 0)));
		chart_bar(h, jint(x, "rcpts", 0), max);
		put(h, LIT("</td><td class=\"n\">"), NUM(jint(x, "messages", 0)),
		    LIT("</td><td class=\"n\">"), NUM(jint(x, "refused", 0)),
		    LIT("</td><td class=\"n\">"), NUM(jint(x, "bounced", 0)),
		    LIT("</td><td class=\"n\">"), NUM(jint(x, "held", 0)), LIT("</td><td>"));
		ago_or_none(h, jint(x, "last_ms", 0));
		put(h, LIT("</td></tr>"));
	}
	put(h, LIT("</tbody></table></div></section>"));
}

/* --- the chart -------------------------------------------------------------------------------- */

static void chart_card(struct web *w, struct query *q)
{
	const char *err = NULL;
	json_t *rows = query_chart(q, w->now_ms, &err), *x;
	size_t n = json_array_size(rows), i;
	struct chart_point *p = talloc_array(w->pool, struct chart_point, n ? n : 1);
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"chart-head\"><h2 "
		      "id=\"chart-head\">The last 24 hours</h2>"));
	json_array_foreach (rows, i, x)
		p[i] = (struct chart_point){jint(x, "t_ms", 0), jint(x, "blocked", 0),
					    jint(x, "accepted", 0), jint(x, "held", 0),
					    jint(x, "refused", 0)};
	if (rows)
		chart_write(w->h, p, n);
	else
		page_unread(w, "The chart", err);
	put(w->h, LIT("</section>"));
	json_decref(rows);
}

/* --- health ----------------------------------------------------------------------------------- */

static void health(struct web *w)
{
	struct control_error e;
	json_t *s = web_call(w, "status", NULL, &e);
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"health-title\"><h2 "
		      "id=\"health-title\">Health</h2>"));
	if (s)
		health_write(w->h, s);
	else
		put(w->h, LIT("<p class=\"empty\">The daemons could not be asked: "), FOR(e.text),
		    LIT("</p>"));
	put(w->h, LIT("</section>"));
	json_decref(s);
}

/* --- a new installation ------------------------------------------------------------------------
 */

/* Nothing has passed and nobody is registered: what to do first. */
static bool is_new(const json_t *o)
{
	static const char *const keys[] = {"accepted",
					   "refused",
					   "blocked_packets",
					   "incidents_open",
					   "incidents_contained",
					   "incidents_released",
					   "exemptions_active",
					   "logins_ok",
					   "logins_failed",
					   "reports_unmatched"};
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (jint(o, keys[i], 0) > 0)
			return false;
	return true;
}

static void first_steps(struct html *h)
{
	put(h,
	    LIT("<section class=\"card\" aria-labelledby=\"first-title\"><h2 "
		"id=\"first-title\">Nothing has come through yet: first steps</h2><ol "
		"class=\"steps\"><li>Look whether everything fits: <code>sekishoctl check</code>, "
		"and Health below.</li><li>Say whose line an address is: <code>sekishoctl lease "
		"import FILE --create</code>, or RADIUS accounting (<code>man "
		"sekisho.conf</code>).</li><li>Register the customers with a fixed address who run "
		"a mail server, before port 25 is closed: <a href=\"/exemptions\">Port 25 "
		"exemptions</a>.</li><li>Send a message over port 587 or 465, and try port 25 from "
		"a line that is not registered: both are on this page a few seconds "
		"later.</li><li>See that somebody is told when it matters: <a "
		"href=\"/alerts\">Alerts</a> tries the ways out.</li></ol></section>"));
}

/* --- the page --------------------------------------------------------------------------------- */

/* Two columns: whom to look at, and how things run. */
static void columns(struct web *w, struct query *q, const json_t *o)
{
	const char *err = NULL;
	json_t *t = query_top(q, w->now_ms - DAY_MS, w->now_ms, TOP_MAX, &err);
	put(w->h, LIT("<div class=\"columns now\"><div class=\"stack-cards\">"));
	needs_card(w, q, o);
	if (t)
		top_accounts(w, json_object_get(t, "accounts"));
	put(w->h, LIT("</div><div class=\"stack-cards\">"));
	chart_card(w, q);
	if (t)
		top_lines(w, json_object_get(t, "lines"));
	else
		page_unread(w, "Who sends most", err);
	put(w->h, LIT("</div></div>"));
	json_decref(t);
}

/* False when the database cannot be read: w->query_err then says why. */
static bool from_database(struct web *w, struct query *q)
{
	json_t *o = query_overview(q, w->now_ms - DAY_MS, w->now_ms, &w->query_err);
	if (!o)
		return false;
	sentence(w, o, jint(o, "incidents_open", 0), jint(o, "incidents_contained", 0));
	if (is_new(o))
		first_steps(w->h);
	tiles(w, o);
	columns(w, q, o);
	health(w);
	json_decref(o);
	return true;
}

void page_overview(struct web *w)
{
	struct query *q = web_query(w);
	page_begin(w, "Overview", NAV_OVERVIEW);
	if (!q || !from_database(w, q)) {
		page_unread(w, "The database", w->query_err);
		health(w);
	}
	page_end(w);
}
