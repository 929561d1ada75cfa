/*
 * incidents - the list: who was flagged, why, and whether it is contained.
 *
 * Known gaps: none.
 */
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"

void incident_stage(struct html *h, const json_t *x)
{
	if (!word_in("open acknowledged contained", jstr(x, "state")) ||
	    !word_in("watch throttle suspend", jstr(x, "stage")))
		return;
	put(h, LIT(" "));
	chip(h, jstr(x, "stage"));
}

static void incident_row(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	int64_t id = jint(x, "id", 0), reports = jint(x, "reports", 0),
		held = jint(x, "held_since", 0);
	put(h, LIT("<tr><th scope=\"row\"><a class=\"no\" href=\"/incidents/"), INT(id),
	    LIT("\">#"), INT(id), LIT("</a></th><td>"));
	chip(h, jstr(x, "state"));
	incident_stage(h, x);
	put(h, LIT("</td><td>"));
	link_subject(h, jstr(x, "subject"));
	put(h, LIT("<br><span class=\"sub\">"));
	subscriber(h, jstr(x, "subscriber"), jstr(x, "subscriber_name"));
	put(h, LIT("</span></td><td class=\"why\"><a class=\"plain\" href=\"/incidents/"), INT(id),
	    LIT("\">"), FOR(jstr(x, "why")), LIT("</a></td><td class=\"n\">"));
	if (held > 0)
		put(h, NUM(held));
	put(h, LIT("</td><td class=\"n\">"));
	if (reports > 0)
		put(h, NUM(reports));
	put(h, LIT("</td><td>"), AGO(jint(x, "opened_ms", 0)), LIT("</td><td>"),
	    AGO(jint(x, "updated_ms", 0)));
	if (*jstr(x, "owner"))
		put(h, LIT("<br><span class=\"sub\">by "), FOR(jstr(x, "owner")), LIT("</span>"));
	put(h, LIT("</td></tr>"));
}

void incident_table(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h, SCROLL("Incidents"),
	    LIT("<table><caption class=\"sr\">Incidents, newest "
		"first</caption><thead><tr>"
		"<th scope=\"col\">No.</th><th scope=\"col\">State</th><th "
		"scope=\"col\">Who</th><th scope=\"col\">Why</th>"
		"<th scope=\"col\" class=\"n\">Held since</th><th scope=\"col\" "
		"class=\"n\">Reports</th>"
		"<th scope=\"col\">Opened</th><th scope=\"col\">Last "
		"change</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x)
		incident_row(w, x);
	put(w->h, LIT("</tbody></table></div>"));
}

static const struct tab tabs[] = {
    {NULL, "Unresolved", "No incident is unresolved. Nobody needs you."},
    {"open", "Open", "Nobody waits for you."},
    {"acknowledged", "Acknowledged", "No incident is acknowledged and still uncontained."},
    {"contained", "Contained", "No account is held."},
    {"released", "Released", "No incident is released and waiting to be resolved."},
    {"resolved", "Resolved", "No incident was resolved yet."},
    {"all", "All", "There has been no incident yet."},
};
enum { N_TABS = sizeof(tabs) / sizeof(*tabs) };

void page_incidents(struct web *w)
{
	const struct tab *tab = tab_chosen(w, tabs, N_TABS);
	const char *err = NULL;
	struct query *q = web_query(w);
	const struct query_list l = {
	    .state = tab->state, .about = web_asked(w, "about"), .before_id = web_before(w)};
	json_t *rows = q ? query_incidents(q, &l, (int)w->conf->rows, &err) : NULL;
	page_begin(w, "Incidents", NAV_INCIDENTS);
	put(w->h, LIT("<section class=\"card\"><div class=\"head\">"));
	tab_bar(w, "/incidents", tabs, N_TABS, tab);
	put(w->h, LIT("</div>"));
	page_filter(w, "/incidents", "Account, line or subscriber", "state");
	if (!rows)
		page_unread(w, "The incidents", q ? err : w->query_err);
	else if (json_array_size(rows) == 0)
		put(w->h, LIT("<p class=\"empty\">"),
		    TXT(l.about || l.before_id ? "None is like that." : tab->empty), LIT("</p>"));
	else
		incident_table(w, rows);
	if (rows)
		page_older(w, rows, "id", "/incidents");
	put(w->h, LIT("</section>"));
	page_end(w);
	json_decref(rows);
}
