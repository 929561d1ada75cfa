/*
 * subscriber - whose something is: one subscriber with lines, accounts, exemptions and incidents,
 * or the lines inside a prefix. Parts of the look-up page.
 *
 * Known gaps: none.
 */
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"

/* --- a subscriber, or one of several ---------------------------------------------------------- */

static void exemption_list(struct web *w, const struct query_exempt *f)
{
	size_t i;
	json_t *x;
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *rows = q ? query_exemptions(q, f, 200, w->now_ms, &err) : NULL;
	put(w->h, LIT("<section class=\"card\"><h2>Port 25 exemptions</h2>"));
	if (!rows) {
		page_unread(w, "The exemptions", q ? err : w->query_err);
	} else if (json_array_size(rows) == 0) {
		put(w->h, LIT("<p class=\"empty\">None: port 25 is closed.</p>"));
	} else {
		put(w->h, LIT("<ul class=\"plain-list\">"));
		json_array_foreach (rows, i, x) {
			put(w->h, LIT("<li><a class=\"id\" href=\"/exemptions/"),
			    INT(jint(x, "id", 0)), LIT("\">"), TXT(jstr(x, "prefix")),
			    LIT("</a> "));
			chip(w->h, jstr(x, "state"));
			put(w->h, LIT(" <span class=\"sub\">"), FOR(jstr(x, "contract")), LIT(" "),
			    FOR(jstr(x, "reason")), LIT("</span></li>"));
		}
		put(w->h, LIT("</ul>"));
	}
	put(w->h, LIT("</section>"));
	json_decref(rows);
}

static void subscriber_head(struct web *w, const json_t *x)
{
	size_t i;
	json_t *login;
	struct html *h = w->h;
	put(h, LIT("<section class=\"card\"><p class=\"lead\">Subscriber "));
	subscriber(h, jstr(x, "ref"), jstr(x, "name"));
	put(h, LIT("</p><dl class=\"facts\">"));
	fact(h, "Contact", FOR(jstr(x, "contact")));
	put(h, LIT("<div class=\"all\"><dt>Accounts</dt><dd>"));
	if (json_array_size(json_object_get(x, "accounts")) == 0)
		put(h, LIT("none on record"));
	json_array_foreach (json_object_get(x, "accounts"), i, login) {
		put(h, EITHER(i > 0, ", ", ""));
		link_subject(h, json_string_value(login) ? json_string_value(login) : "");
	}
	put(h, LIT("</dd></div></dl><h2>Lines</h2>"));
	if (json_array_size(json_object_get(x, "lines")))
		lease_table(w, json_object_get(x, "lines"));
	else
		put(h, LIT("<p class=\"empty\">No line is on record.</p>"));
	put(h, LIT("</section>"));
}

static void about_subscriber(struct web *w, struct query *q, const char *ref)
{
	const char *err = NULL;
	json_t *x = query_subscriber(q, ref, &err);
	if (!x) {
		page_unread(w, "The subscriber", err);
		return;
	}
	subscriber_head(w, x);
	exemption_list(w, &(struct query_exempt){.subscriber = ref, .all = true});
	incidents_of(w, q, ref);
	json_decref(x);
}

static void subscriber_choice(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h, LIT("<section class=\"card\"><h2>Subscribers of that name</h2><ul "
		      "class=\"plain-list\">"));
	json_array_foreach (rows, i, x) {
		put(w->h, LIT("<li>"));
		subscriber(w->h, jstr(x, "ref"), jstr(x, "name"));
		put(w->h, LIT(" <span class=\"sub\">"), FOR(jstr(x, "contact")),
		    LIT("</span></li>"));
	}
	put(w->h, LIT("</ul></section>"));
}

enum { NAMED_MAX = 20 };

void about_name(struct web *w, const char *name)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *rows = q ? query_subscribers_named(q, name, NAMED_MAX, &err) : NULL;
	const json_t *first = json_array_get(rows, 0);
	if (!rows)
		page_unread(w, "The subscribers", q ? err : w->query_err);
	else if (json_array_size(rows) == 0)
		put(w->h, LIT("<section class=\"card\"><p class=\"empty\">Nothing is known by that "
			      "name. Write an address (192.0.2.7, 2001:db8::7), with port "
			      "([2001:db8::7]:40123) or as a prefix (192.0.2.0/24), an account "
			      "(user@isp.example), a subscriber's number or name, a queue id, a "
			      "Message-ID, or an incident's number.</p></section>"));
	else if (json_array_size(rows) == 1 || strcmp(jstr(first, "ref"), name) == 0)
		about_subscriber(w, q, jstr(first, "ref"));
	else
		subscriber_choice(w, rows);
	json_decref(rows);
}

/* --- a prefix --------------------------------------------------------------------------------- */

enum { WITHIN_MAX = 200 };

void about_prefix(struct web *w, const struct prefix *p, int64_t t_ms)
{
	char text[PREFIX_STRLEN];
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *rows = q ? query_leases_within(q, p, t_ms, WITHIN_MAX, &err) : NULL;
	put(w->h, LIT("<section class=\"card\"><h2>Lines inside <span class=\"id\">"),
	    TXT(prefix_format(p, text)), LIT("</span></h2>"));
	if (!rows)
		page_unread(w, "The leases", q ? err : w->query_err);
	else if (json_array_size(rows) == 0)
		put(w->h, LIT("<p class=\"empty\">No lease is on record that begins and ends "
			      "inside it.</p>"));
	else
		lease_table(w, rows);
	if (json_array_size(rows) >= WITHIN_MAX)
		put(w->h, LIT("<p class=\"hint\">The first 200 are shown: ask for a smaller "
			      "prefix.</p>"));
	put(w->h, LIT("</section>"));
	json_decref(rows);
	exemption_list(w, &(struct query_exempt){.within = p});
}
