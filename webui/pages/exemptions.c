/*
 * exemptions - who may use port 25 directly: the list, and the form that adds to it. One of them is
 * exemption.c's.
 *
 * Known gaps: what is recorded of one is changed by an import.
 */
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"

#define DAY_MS INT64_C(86400000)

static const struct page_done done[] = {
    {"added", "Registered. The kernel lets this customer's port 25 through now."},
    {"waiting", "Registered, but the packet daemon has not confirmed it within a second. It takes "
		"effect when sekisho-nfqd is back."},
    {"requested", "Requested. Its evidence is being looked up; an administrator activates it."},
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
	put(h, LIT("<tr id=\"e"), INT(jint(x, "id", 0)),
	    LIT("\"><th scope=\"row\"><a href=\"/exemptions/"), INT(jint(x, "id", 0)), LIT("\">"),
	    TXT(jstr(x, "prefix")), LIT("</a><br>"));
	if (!active || pending)
		chip(h, jstr(x, "state"));
	exemption_evidence(w, x);
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

static struct query_exempt filter_of(const struct web *w, bool all)
{
	return (struct query_exempt){.all = all || web_asked(w, "state"),
				     .state = web_asked(w, "state"),
				     .class = web_asked(w, "class"),
				     .evidence = web_asked(w, "evidence"),
				     .before_id = web_before(w)};
}

static bool filtered(const struct query_exempt *f)
{
	return f->state || f->class || f->evidence || f->before_id;
}

static void choices(struct web *w, const char *chosen, const char *const *words)
{
	for (; *words; words++)
		put(w->h, LIT("<option value=\""), ATT(*words),
		    EITHER(chosen && strcmp(chosen, *words) == 0, "\" selected>", "\">"),
		    TXT(*words), LIT("</option>"));
}

static void filter_form(struct web *w, const struct query_exempt *f)
{
	static const char *const states[] = {"requested", "verified",  "active",
					     "pending",	  "suspended", "expired",
					     "revoked",	  "removed",   NULL};
	static const char *const found[] = {"good", "weak", "unknown", "bad", NULL};
	put(w->h,
	    LIT("<form method=\"get\" action=\"/exemptions\" class=\"act-row\" role=\"search\">"
		"<div class=\"field\"><label for=\"q-state\">State</label>"
		"<select id=\"q-state\" name=\"state\"><option value=\"\">any</option>"));
	choices(w, f->state, states);
	put(w->h,
	    LIT("</select></div><div class=\"field\"><label for=\"q-evidence\">Evidence</label>"
		"<select id=\"q-evidence\" name=\"evidence\"><option value=\"\">any</option>"));
	choices(w, f->evidence, found);
	put(w->h,
	    LIT("</select></div><div class=\"field\"><label for=\"q-class\">Class</label>"
		"<input id=\"q-class\" name=\"class\" maxlength=\"15\" list=\"classes\" value=\""),
	    ATT(f->class ? f->class : ""), LIT("\"></div><button>Filter</button></form>"));
}

static void list(struct web *w, const struct query_exempt *f)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	json_t *rows = q ? query_exemptions(q, f, (int)w->conf->rows, w->now_ms, &err) : NULL;
	size_t i;
	json_t *x;
	if (!rows) {
		page_unread(w, "The exemptions", q ? err : w->query_err);
		return;
	}
	if (json_array_size(rows) == 0 && filtered(f)) {
		put(w->h, LIT("<p class=\"empty\">None is like that.</p>"));
	} else if (json_array_size(rows) == 0) {
		put(w->h, LIT("<p class=\"empty\">Nobody is registered: port 25 is closed for "
			      "everybody. Register a fixed-IP customer with the form.</p>"));
	} else {
		put(w->h, SCROLL("Exemptions"),
		    LIT("<table><caption class=\"sr\">Exemptions, "
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
	}
	page_older(w, rows, "id", "/exemptions");
	json_decref(rows);
}

/* --- the form --------------------------------------------------------------------------------- */

/* Administrators register at once; the desk requests. */
static void add_form(struct web *w)
{
	bool admin = w->role >= ROLE_ADMIN;
	put(w->h,
	    LIT("<section class=\"card\" aria-labelledby=\"add-title\"><h2 id=\"add-title\">"),
	    EITHER(admin, "Register a customer", "Request an exemption"),
	    LIT("</h2><p class=\"hint\">For fixed-IP customers who run a mail server. Everybody "
		"else submits on 587 or 465.</p>"));
	form_begin(w, admin ? "/exemptions/add" : "/exemptions/request", 0, NULL, "stack");
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
	form_input(w, &(struct form_input){.name = "helo",
					   .label = "HELO name",
					   .max = 253,
					   .placeholder = "mail.customer.example"});
	form_input(w, &(struct form_input){.name = "domain",
					   .label = "Mail domain",
					   .max = 253,
					   .placeholder = "customer.example"});
	form_input(w, &(struct form_input){.name = "class",
					   .label = "Class",
					   .max = 15,
					   .list = "classes",
					   .placeholder = "full"});
	form_input(w, &(struct form_input){.name = "to",
					   .label = "Destinations",
					   .max = 700,
					   .placeholder = "198.51.100.25, 2001:db8:9::/48",
					   .hint = "Of a class for listed destinations only."});
	put(w->h,
	    LIT("<datalist id=\"classes\"><option value=\"full\"><option "
		"value=\"throttled\"><option value=\"listed\"></datalist>"
		"<button class=\"primary\">"),
	    EITHER(admin, "Register", "Request"), LIT("</button>"));
	if (admin) /* the same fields, without putting it in force */
		put(w->h, LIT("<button formaction=\"/exemptions/request\">Request only</button>"));
	form_end(w);
	put(w->h, LIT("</section>"));
}

void page_exemptions(struct web *w)
{
	const char *show = cgi_get(&w->req.query, "show");
	bool all = show && strcmp(show, "all") == 0;
	const struct query_exempt f = filter_of(w, all);
	page_begin(w, "Port 25 exemptions", NAV_EXEMPTIONS);
	page_done(w, done);
	put(w->h,
	    LIT("<div class=\"columns side-form\"><section class=\"card\" "
		"aria-labelledby=\"list-title\"><div class=\"head\"><h2 "
		"id=\"list-title\">Registered</h2><a class=\"narrow\" href=\"#add-title\">Add "
		"one</a>"
		"<ul class=\"tabs\"><li><a href=\"/exemptions\""),
	    EITHER(!all, " aria-current=\"true\"", ""),
	    LIT(">Not ended</a></li><li><a href=\"/exemptions?show=all\""),
	    EITHER(all, " aria-current=\"true\"", ""), LIT(">Ended too</a></li></ul></div>"));
	filter_form(w, &f);
	list(w, &f);
	put(w->h, LIT("</section>"));
	if (w->role >= ROLE_DESK)
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

/* The outcome, as a word for the page that follows. */
static void finish(struct web *w, json_t *result, const char *now, const char *later)
{
	web_redirect(w, "/exemptions",
		     json_is_true(json_object_get(result, "in_force")) ? now : later);
	json_decref(result);
}

static void begin_exemption(struct web *w, const char *op, const char *now, const char *later)
{
	static const char *const names[] = {"prefix", "class",	"contract", "contact",
					    "helo",   "domain", "to"};
	json_t *args = json_object(), *result = NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		take(w, args, names[i]);
	if (!web_reason(w, args) || !web_expiry(w, args, "expires", "Expires")) {
		json_decref(args);
		w->status = 422;
		page_exemptions(w);
		return;
	}
	if (web_change(w, op, args, &result))
		finish(w, result, now, later);
	else
		page_exemptions(w);
}

void post_exempt_add(struct web *w)
{
	begin_exemption(w, "exempt.add", "added", "waiting");
}

void post_exempt_request(struct web *w)
{
	begin_exemption(w, "exempt.request", "requested", "requested");
}

void post_exempt_remove(struct web *w)
{
	json_t *args = json_object(), *result = NULL;
	take(w, args, "prefix");
	if (!web_reason(w, args)) {
		json_decref(args);
		page_exemptions(w);
		return;
	}
	if (web_change(w, "exempt.remove", args, &result))
		finish(w, result, "removed", "leaving");
	else
		page_exemptions(w);
}
