/*
 * exemptions - who may use port 25 directly.
 *
 * Known gaps: an exemption is changed by adding it again; no approval by a second person yet.
 */
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

#include "webui/pages/pages.h"

#define DAY_MS INT64_C(86400000)

static const struct page_done done[] = {
    {"added", "Registered. The kernel lets this customer's port 25 through now."},
    {"waiting", "Registered, but the packet daemon has not confirmed it within a second. It takes "
		"effect when sekisho-nfqd is back."},
    {"removed", "Removed. Open sessions on port 25 are cut, new ones are refused."},
    {"leaving", "Removed, but the packet daemon has not confirmed it within a second. Until "
		"sekisho-nfqd is back the customer may still get through."},
    {NULL, NULL},
};

/* --- the list --------------------------------------------------------------------------------- */

static void expiry(struct web *w, const json_t *x, bool active)
{
	int64_t t = jint(x, "expires_ms", 0);
	if (t <= 0) {
		put(w->h, LIT("never"));
		return;
	}
	put(w->h, DAY(t));
	if (active && t - w->now_ms < 30 * DAY_MS)
		put(w->h, LIT("<br><span class=\"chip warn\"><i aria-hidden=\"true\">!</i>"),
		    AGO(t), LIT("</span>"));
}

static void last_used(struct web *w, const json_t *x, bool active)
{
	int64_t t = jint(x, "last_seen_ms", 0), created = jint(x, "created_ms", w->now_ms);
	if (t > 0)
		put(w->h, AGO(t), LIT("<br><span class=\"sub\">"), NUM(jint(x, "packets", 0)),
		    LIT(" packets</span>"));
	else
		put(w->h, LIT("<span class=\"none\">never</span>"));
	if (active && w->now_ms - (t > 0 ? t : created) > 90 * DAY_MS)
		put(w->h, LIT("<br><span class=\"chip warn\"><i aria-hidden=\"true\">!</i>unused "
			      "for 90 days</span>"));
}

static void remove_form(struct web *w, const json_t *x)
{
	const char *prefix = jstr(x, "prefix");
	put(w->h, LIT("<details class=\"pop\"><summary>Remove<span class=\"sr\"> "), TXT(prefix),
	    LIT("</span></summary><div>"));
	form_begin(w, "/exemptions/remove", 0, NULL, "");
	put(w->h, LIT("<input type=\"hidden\" name=\"prefix\" value=\""), ATT(prefix),
	    LIT("\"><label>Why? <input name=\"reason\" maxlength=\"300\" autocomplete=\"off\" "
		"required placeholder=\"contract ended\"></label>"
		"<p class=\"hint\">Cuts sessions that are open.</p><button "
		"class=\"danger\">Remove "),
	    TXT(prefix), LIT("</button>"));
	form_end(w);
	put(w->h, LIT("</div></details>"));
}

static void row(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	bool pending = strcmp(jstr(x, "state"), "pending") == 0;
	bool active = pending || strcmp(jstr(x, "state"), "active") == 0;
	put(h, LIT("<tr id=\"e"), INT(jint(x, "id", 0)), LIT("\"><th scope=\"row\">"));
	link_subject(h, jstr(x, "prefix"));
	put(h, LIT("<br>"));
	if (!active || pending)
		chip(h, jstr(x, "state"));
	if (strcmp(jstr(x, "class"), "full") != 0)
		put(h, LIT("<span class=\"sub\">"), TXT(jstr(x, "class")), LIT("</span>"));
	put(h, LIT("</th><td>"), FOR(jstr(x, "contract")), LIT("<br><span class=\"sub\">"),
	    FOR(jstr(x, "contact")), LIT("</span></td><td class=\"why\">"), FOR(jstr(x, "reason")),
	    LIT("<br><span class=\"sub\">by "), FOR(jstr(x, "actor")), LIT(", "),
	    AGO(jint(x, "created_ms", 0)), LIT("</span></td><td>"));
	last_used(w, x, active);
	put(h, LIT("</td><td>"));
	expiry(w, x, active);
	put(h, LIT("</td><td class=\"act\">"));
	if (active && w->role >= ROLE_ADMIN)
		remove_form(w, x);
	put(h, LIT("</td></tr>"));
}

static void list(struct web *w, bool all)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *rows = q ? query_exemptions(q, &(struct query_exempt){.all = all}, web_rows(w),
					    w->now_ms, &err)
			 : NULL;
	size_t i;
	json_t *x;
	if (!rows) {
		page_unread(w, "The exemptions", q ? err : w->query_err);
		return;
	}
	if (json_array_size(rows) == 0) {
		put(w->h, LIT("<p class=\"empty\">Nobody is registered: port 25 is closed for "
			      "everybody. Register a fixed-IP customer with the form.</p>"));
	} else {
		put(w->h, LIT("<div class=\"scroll\"><table><caption class=\"sr\">Exemptions, "
			      "newest first</caption><thead><tr>"
			      "<th scope=\"col\">Prefix</th><th "
			      "scope=\"col\">Contract, contact</th>"
			      "<th scope=\"col\">Reason</th><th scope=\"col\">Last used</th><th "
			      "scope=\"col\">Expires</th>"
			      "<th scope=\"col\"><span "
			      "class=\"sr\">Action</span></th></tr></thead><tbody>"));
		json_array_foreach (rows, i, x)
			row(w, x);
		put(w->h, LIT("</tbody></table></div>"));
		page_more(w, json_array_size(rows), all ? "/exemptions?show=all" : "/exemptions");
	}
	json_decref(rows);
}

/* --- the form --------------------------------------------------------------------------------- */

static void class_field(struct web *w)
{
	bool throttled = strcmp(form_value(w, "class"), "throttled") == 0;
	put(w->h,
	    LIT("<div class=\"field\"><label for=\"f-class\">How much</label><select "
		"id=\"f-class\" name=\"class\">"
		"<option value=\"full\">Everything: their own mail server</option><option "
		"value=\"throttled\""),
	    EITHER(throttled, " selected>", ">"),
	    LIT("New connections throttled</option></select></div>"));
}

static void add_form(struct web *w)
{
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"add-title\"><h2 "
		      "id=\"add-title\">Register a customer</h2>"
		      "<p class=\"hint\">For fixed-IP customers who run a mail server. Everybody "
		      "else submits on 587 or 465.</p>"));
	form_begin(w, "/exemptions/add", 0, NULL, "stack");
	form_input(w, &(struct form_input){.name = "prefix",
					   .label = "Address or prefix",
					   .required = true,
					   .max = 50,
					   .placeholder = "192.0.2.25 or 2001:db8:1::/48"});
	form_input(
	    w, &(struct form_input){
		   .name = "contract", .label = "Contract", .max = 100, .placeholder = "F-0001"});
	form_input(w, &(struct form_input){.name = "contact",
					   .label = "Contact",
					   .placeholder = "postmaster@customer.example"});
	form_input(w, &(struct form_input){.name = "reason",
					   .label = "Reason",
					   .required = true,
					   .max = 300,
					   .placeholder = "own mail server, reverse DNS set"});
	form_input(
	    w, &(struct form_input){
		   .name = "expires",
		   .label = "Expires",
		   .max = 40,
		   .list = "expiries",
		   .placeholder = "never",
		   .hint =
		       "A date (2027-03-31, 00:00 UTC), or a time from now (+90d). Empty: never."});
	put(w->h,
	    LIT("<datalist id=\"expiries\"><option value=\"+30d\"><option value=\"+90d\"><option "
		"value=\"+180d\"><option value=\"+365d\"></datalist>"));
	class_field(w);
	put(w->h, LIT("<button class=\"primary\">Register</button>"));
	form_end(w);
	put(w->h, LIT("</section>"));
}

void page_exemptions(struct web *w)
{
	const char *show = cgi_get(&w->req.query, "show");
	bool all = show && strcmp(show, "all") == 0;
	page_begin(w, "Port 25 exemptions", NAV_EXEMPTIONS);
	page_done(w, done);
	put(w->h,
	    LIT("<div class=\"columns side-form\"><section class=\"card\" "
		"aria-labelledby=\"list-title\"><div class=\"head\"><h2 "
		"id=\"list-title\">Registered</h2>"
		"<ul class=\"tabs\"><li><a href=\"/exemptions\""),
	    EITHER(!all, " aria-current=\"true\"", ""),
	    LIT(">In force</a></li><li><a href=\"/exemptions?show=all\""),
	    EITHER(all, " aria-current=\"true\"", ""), LIT(">Ended too</a></li></ul></div>"));
	list(w, all);
	put(w->h, LIT("</section>"));
	if (w->role >= ROLE_ADMIN)
		add_form(w);
	put(w->h, LIT("</div>"));
	page_end(w);
}

/* --- changes ---------------------------------------------------------------------------------- */

/* Puts a form field into args, unless it is empty. */
static void take(struct web *w, json_t *args, const char *name)
{
	const char *v = cgi_trimmed(w->pool, &w->req.form, name);
	if (*v)
		json_object_set_new(args, name, json_string(v));
}

static bool take_expiry(struct web *w, json_t *args)
{
	const char *err, *text = cgi_trimmed(w->pool, &w->req.form, "expires");
	int64_t t;
	if (!*text)
		return true;
	if (!clock_parse(text, w->now_ms, &t, &err)) {
		w->error = talloc_asprintf(
		    w->pool,
		    "Expires: %s. Write a date like 2027-03-31 or a time from now like +90d.", err);
		return false;
	}
	if (t <= w->now_ms) {
		w->error = "Expires: that time is over. Write a later one, or nothing for never.";
		return false;
	}
	json_object_set_new(args, "expires_ms", json_integer(t));
	return true;
}

/* The outcome, as a word for the page that follows. */
static void finish(struct web *w, json_t *result, const char *now, const char *later)
{
	web_redirect(w, "/exemptions",
		     json_is_true(json_object_get(result, "in_force")) ? now : later);
	json_decref(result);
}

void post_exempt_add(struct web *w)
{
	static const char *const names[] = {"prefix", "class", "contract", "contact", "reason"};
	json_t *args = json_object(), *result = NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		take(w, args, names[i]);
	if (!take_expiry(w, args)) {
		json_decref(args);
		w->status = 422;
		page_exemptions(w);
		return;
	}
	if (web_change(w, "exempt.add", args, &result))
		finish(w, result, "added", "waiting");
	else
		page_exemptions(w);
}

void post_exempt_remove(struct web *w)
{
	json_t *args = json_object(), *result = NULL;
	take(w, args, "prefix");
	take(w, args, "reason");
	if (web_change(w, "exempt.remove", args, &result))
		finish(w, result, "removed", "leaving");
	else
		page_exemptions(w);
}
