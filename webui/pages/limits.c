/*
 * limits - how much may be sent: of one account or address, as a card with what can be done; and
 * the page of all limits, classes and exceptions.
 *
 * ratelimitd answers, through acctd. Known gaps: who is of which class is changed by sekishoctl
 * limit class.
 */
#include <string.h>

#include <talloc.h>

#include "webui/chart.h"
#include "webui/pages/pages.h"

static const struct page_done done[] = {
    {"set", "The exception is in force."},
    {"unset", "The exception is gone: the configured limit holds again."},
    {NULL, NULL},
};

/* --- one account or address ------------------------------------------------------------------- */

static void limit_name(struct html *h, const json_t *x)
{
	put(h, FOR(jstr(x, "unit")), LIT(" per "), FOR(jstr(x, "window")));
	if (strcmp(jstr(x, "mode"), "observe") == 0)
		put(h, LIT(" <span class=\"chip warn\"><i aria-hidden=\"true\">!</i>only "
			   "counts</span>"));
	put(h, LIT("<br><span class=\"sub\">"), FOR(jstr(x, "name")));
	if (*jstr(x, "key"))
		put(h, LIT(" &middot; of the "), FOR(jstr(x, "key")));
	put(h, LIT("</span>"));
}

static void whom_field(struct web *w, const char *kind, const char *whom)
{
	put(w->h, LIT("<input type=\"hidden\" name=\""), ATT(kind), LIT("\" value=\""), ATT(whom),
	    LIT("\">"));
}

static void until(struct html *h, const json_t *x)
{
	if (jint(x, "expires_ms", 0) > 0)
		put(h, LIT("until "), WHEN(jint(x, "expires_ms", 0)));
	else
		put(h, LIT("for good"));
}

static void unset_form(struct web *w, const char *kind, const char *whom, const char *name)
{
	if (w->role < ROLE_ADMIN)
		return;
	put(w->h, LIT("<details class=\"pop\"><summary>Take away<span class=\"sr\"> "), TXT(name),
	    LIT(" of "), TXT(whom), LIT("</span></summary><div>"));
	form_begin(w, "/limits/set", 0, NULL, "");
	whom_field(w, kind, whom);
	put(w->h, LIT("<input type=\"hidden\" name=\"name\" value=\""), ATT(name),
	    LIT("\"><input type=\"hidden\" name=\"limit\" value=\"none\"><label>Why? <input "
		"name=\"reason\" maxlength=\"300\" autocomplete=\"off\" required></label><p "
		"class=\"hint\">The configured limit holds again.</p><button class=\"danger\">Take "
		"away</button>"));
	form_end(w);
	put(w->h, LIT("</div></details>"));
}

/* Who made an exception, why, until when; and its end. */
static void exception(struct web *w, const json_t *x, const char *kind, const char *whom)
{
	if (!json_is_true(json_object_get(x, "override")))
		return;
	put(w->h, LIT("<br><span class=\"sub\">Exception by "), FOR(jstr(x, "actor")), LIT(", "));
	until(w->h, x);
	put(w->h, LIT(": "), FOR(jstr(x, "reason")), LIT("</span> "));
	if (strcmp(jstr(x, "override_of"), kind) == 0)
		unset_form(w, kind, whom, jstr(x, "name"));
}

/* "now" when it is back at zero. */
static void resets(struct html *h, const json_t *x)
{
	if (jint(x, "resets_ms", 0) > html_now(h))
		put(h, AGO(jint(x, "resets_ms", 0)));
	else
		put(h, FOR(""));
}

static void limit_row(struct web *w, const json_t *x, const char *kind, const char *whom)
{
	struct html *h = w->h;
	int64_t used = jint(x, "used", 0), limit = jint(x, "limit", 0);
	put(h, LIT("<tr><th scope=\"row\">"));
	limit_name(h, x);
	exception(w, x, kind, whom);
	put(h, LIT("</th><td class=\"n\">"),
	    EITHER(json_is_true(json_object_get(x, "estimated")), "&asymp;&nbsp;", ""), NUM(used));
	chart_bar(h, used < limit ? used : limit, limit);
	put(h, LIT("</td><td class=\"n\">"));
	if (limit > 0)
		put(h, NUM(jint(x, "left", 0)), LIT("</td><td class=\"n\">"), NUM(limit));
	else
		put(h, FOR(""), LIT("</td><td class=\"n\">no limit"));
	put(h, LIT("</td><td>"));
	resets(h, x);
	put(h, LIT("</td></tr>"));
}

static void limit_table(struct web *w, const json_t *r, const char *kind, const char *whom)
{
	size_t i;
	json_t *x;
	const json_t *rows = json_object_get(r, "limits");
	if (json_array_size(rows) == 0) {
		put(w->h, LIT("<p class=\"empty\">No limit is configured for it.</p>"));
		return;
	}
	if (*jstr(r, "first"))
		put(w->h, LIT("<p>Bites first: <strong>"), FOR(jstr(r, "first")),
		    LIT("</strong>.</p>"));
	put(w->h, SCROLL("Limits"),
	    LIT("<table><caption class=\"sr\">Limits, and what is used "
		"of them</caption><thead><tr><th scope=\"col\">What</th><th scope=\"col\" "
		"class=\"n\">Used</th><th scope=\"col\" class=\"n\">Left</th><th "
		"scope=\"col\" class=\"n\">Limit</th><th scope=\"col\">At zero "
		"again</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x)
		limit_row(w, x, kind, whom);
	put(w->h, LIT("</tbody></table></div>"));
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
		put(h, LIT("<ul class=\"dots\">"));
		json_array_foreach (json_object_get(x, "why"), i, why)
			put(h, LIT("<li>"), FOR(json_string_value(why)), LIT("</li>"));
		put(h, LIT("</ul>"));
	} else {
		put(h, LIT("<p class=\"empty\">Nothing speaks against it.</p>"));
	}
	if (*jstr(x, "clears"))
		put(h, LIT("<p class=\"hint\">It ends: "), FOR(jstr(x, "clears")), LIT("</p>"));
}

static void reset_form(struct web *w, const char *kind, const char *whom)
{
	if (w->role < ROLE_DESK)
		return;
	form_begin(w, "/limits/reset", 0, NULL, "one-click");
	whom_field(w, kind, whom);
	put(w->h, LIT("<button aria-describedby=\"d-reset\">Reset the counters</button><p "
		      "class=\"hint\" id=\"d-reset\">They begin anew at zero. A hold or a throttle "
		      "stays.</p>"));
	form_end(w);
}

static void set_form(struct web *w, const json_t *r, const char *kind, const char *whom)
{
	size_t i;
	json_t *x;
	const char *typed = form_value(w, "name");
	if (w->role < ROLE_ADMIN || json_array_size(json_object_get(r, "limits")) == 0)
		return;
	put(w->h, LIT("<details"), EITHER(*typed, " open", ""),
	    LIT("><summary>Give it a limit of its own</summary>"));
	form_begin(w, "/limits/set", 0, NULL, "stack");
	whom_field(w, kind, whom);
	put(w->h, LIT("<div class=\"field\"><label for=\"f-name\">Which limit</label><select "
		      "id=\"f-name\" name=\"name\">"));
	json_array_foreach (json_object_get(r, "limits"), i, x)
		put(w->h, LIT("<option value=\""), ATT(jstr(x, "name")),
		    EITHER(strcmp(typed, jstr(x, "name")) == 0, "\" selected>", "\">"),
		    TXT(jstr(x, "unit")), LIT(" per "), TXT(jstr(x, "window")), LIT(" ("),
		    TXT(jstr(x, "name")), LIT(")</option>"));
	put(w->h, LIT("</select></div>"));
	form_input(w, &(struct form_input){.name = "limit",
					   .label = "How many",
					   .required = true,
					   .max = 15,
					   .placeholder = "5000",
					   .hint = "A number, unlimited, or none: the configured "
						   "limit again."});
	form_input(w, &(struct form_input){.name = "expires",
					   .label = "Until",
					   .max = 40,
					   .value = "+7d",
					   .hint = "A date (2027-03-31, 00:00 UTC), or a time from "
						   "now (+7d). Empty: for good."});
	form_input(w, &(struct form_input){
			  .name = "reason", .label = "Reason", .required = true, .max = 300});
	put(w->h, LIT("<button class=\"primary\">Set</button>"));
	form_end(w);
	put(w->h, LIT("</details>"));
}

static void stage(struct web *w, const json_t *r)
{
	put(w->h, LIT("<p>Now "));
	chip(w->h, jstr(r, "stage"));
	if (strcmp(jstr(r, "mode"), "observe") == 0)
		put(w->h, LIT(" <span class=\"chip warn\"><i aria-hidden=\"true\">!</i>limits only "
			      "observe</span>"));
	if (jint(r, "since_ms", 0) > 0 && strcmp(jstr(r, "stage"), "normal") != 0)
		put(w->h, LIT(" since "), WHEN(jint(r, "since_ms", 0)));
	if (*jstr(r, "why"))
		put(w->h, LIT(". "), FOR(jstr(r, "why")));
	put(w->h, LIT("</p>"));
	const json_t *class = json_object_get(r, "class");
	if (*jstr(class, "name"))
		put(w->h, LIT("<p class=\"sub\">Class "), FOR(jstr(class, "name")),
		    EITHER(json_is_false(json_object_get(class, "open")),
			   ", outside its hours: like everybody</p>", "</p>"));
}

const char *limits_card(struct web *w, const char *kind, const char *whom)
{
	struct control_error e;
	json_t *r = web_call(w, "limit.show", json_pack("{s:s}", kind, whom), &e);
	put(w->h, LIT("<section class=\"card\" aria-labelledby=\"limits-title\"><h2 "
		      "id=\"limits-title\">Limits now</h2>"));
	if (!r) {
		put(w->h, LIT("<p class=\"empty\">The limits could not be asked for: "),
		    FOR(e.text), LIT("</p></section>"));
		return "";
	}
	if (*jstr(r, "stage"))
		stage(w, r);
	limit_table(w, r, kind, whom);
	score(w->h, json_object_get(r, "score"));
	reset_form(w, kind, whom);
	set_form(w, r, kind, whom);
	put(w->h, LIT("</section>"));
	const char *now = talloc_strdup(w->pool, jstr(r, "stage"));
	json_decref(r);
	return now;
}

/* --- all of them ------------------------------------------------------------------------------ */

static void limits_list(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	struct html *h = w->h;
	put(h, LIT("<section class=\"card\"><h2>Configured</h2>"));
	if (json_array_size(rows) == 0) {
		put(h, LIT("<p class=\"empty\">No limit is configured: see limit in "
			   "sekisho.conf(5).</p></section>"));
		return;
	}
	put(h, SCROLL("Configured limits"),
	    LIT("<table><thead><tr><th "
		"scope=\"col\">What</th><th scope=\"col\" class=\"n\">Limit</th><th "
		"scope=\"col\">Class</th><th scope=\"col\" class=\"n\">Refused</th><th "
		"scope=\"col\" class=\"n\">Would have refused</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<tr><th scope=\"row\">"));
		limit_name(h, x);
		put(h, LIT("</th><td class=\"n\">"));
		if (jint(x, "max", 0) > 0)
			put(h, NUM(jint(x, "max", 0)));
		else
			put(h, LIT("no limit"));
		put(h, LIT("</td><td>"),
		    TXT(strcmp(jstr(x, "class"), "*") == 0 ? "everybody" : jstr(x, "class")),
		    LIT("</td><td class=\"n\">"), NUM(jint(x, "refused", 0)),
		    LIT("</td><td class=\"n\">"), NUM(jint(x, "would_refuse", 0)),
		    LIT("</td></tr>"));
	}
	put(h, LIT("</tbody></table></div></section>"));
}

/* Accounts and addresses have a page of their own. */
static void whom_cell(struct html *h, const json_t *x)
{
	if (word_in("account address", jstr(x, "of")))
		link_subject(h, jstr(x, "whom"));
	else
		put(h, FOR(jstr(x, "whom")));
	put(h, LIT("<br><span class=\"sub\">"), FOR(jstr(x, "of")), LIT("</span>"));
}

static void why_cells(struct html *h, const json_t *x)
{
	put(h, LIT("<td class=\"why\">"));
	if (*jstr(x, "actor"))
		put(h, FOR(jstr(x, "reason")), LIT("<br><span class=\"sub\">by "),
		    FOR(jstr(x, "actor")), LIT("</span></td><td>"));
	else
		put(h, LIT("in the configuration</td><td>"));
	until(h, x);
	put(h, LIT("</td>"));
}

static void exceptions(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	struct html *h = w->h;
	put(h, LIT("<section class=\"card\"><h2>Exceptions</h2>"));
	if (json_array_size(rows) == 0) {
		put(h, LIT("<p class=\"empty\">Everybody has the configured limits. An exception "
			   "is made on the page of an account or an address.</p></section>"));
		return;
	}
	put(h, SCROLL("Exceptions"),
	    LIT("<table><thead><tr><th "
		"scope=\"col\">Whom</th><th scope=\"col\">Limit</th><th scope=\"col\" "
		"class=\"n\">Now</th><th scope=\"col\">Why</th><th scope=\"col\">Until</th>"
		"<th scope=\"col\"><span class=\"sr\">Action</span></th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<tr><th scope=\"row\">"));
		whom_cell(h, x);
		put(h, LIT("</th><td>"), FOR(jstr(x, "limit")), LIT("</td><td class=\"n\">"));
		if (jint(x, "max", 0) > 0)
			put(h, NUM(jint(x, "max", 0)));
		else
			put(h, TXT(json_is_integer(json_object_get(x, "max")) ? "no limit"
									      : jstr(x, "mode")));
		put(h, LIT("</td>"));
		why_cells(h, x);
		put(h, LIT("<td class=\"act\">"));
		unset_form(w, jstr(x, "of"), jstr(x, "whom"), jstr(x, "limit"));
		put(h, LIT("</td></tr>"));
	}
	put(h, LIT("</tbody></table></div></section>"));
}

static void members(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	struct html *h = w->h;
	if (json_array_size(rows) == 0)
		return;
	put(h, LIT("<section class=\"card\"><h2>Members of classes</h2>"),
	    SCROLL("Members of classes"),
	    LIT("<table><thead><tr><th scope=\"col\">Whom</th><th "
		"scope=\"col\">Class</th><th scope=\"col\">Why</th><th "
		"scope=\"col\">Until</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x) {
		put(h, LIT("<tr><th scope=\"row\">"));
		whom_cell(h, x);
		put(h, LIT("</th><td>"), FOR(jstr(x, "class")), LIT("</td>"));
		why_cells(h, x);
		put(h, LIT("</tr>"));
	}
	put(h, LIT("</tbody></table></div></section>"));
}

static void body(struct web *w, const json_t *r)
{
	if (strcmp(jstr(r, "mode"), "observe") == 0)
		put(w->h, LIT("<div class=\"note\">Limits only observe: nobody is refused for "
			      "them.</div>"));
	limits_list(w, json_object_get(r, "limits"));
	exceptions(w, json_object_get(r, "overrides"));
	members(w, json_object_get(r, "members"));
	if (jint(r, "more", 0) > 0)
		put(w->h, LIT("<p class=\"hint\">And "), NUM(jint(r, "more", 0)),
		    LIT(" more exceptions and members, which are not shown.</p>"));
}

void page_limits(struct web *w)
{
	struct control_error e;
	json_t *r = web_call(w, "limit.list", NULL, &e);
	page_begin(w, "Limits", NAV_LIMITS);
	page_done(w, done);
	if (r)
		body(w, r);
	else
		put(w->h,
		    LIT("<div class=\"note bad\" role=\"alert\"><strong>The limits cannot be "
			"read:</strong> "),
		    FOR(e.text), LIT("</div>"));
	page_end(w);
	json_decref(r);
}

/* --- changes ---------------------------------------------------------------------------------- */

static const char *const kinds[] = {"account", "address", "domain", "class"};

/* {"account": …} and so on as the form says; *kind and *whom are that. NULL: w->error says so. */
static json_t *args_of(struct web *w, const char **kind, const char **whom)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		*kind = kinds[i];
		*whom = cgi_trimmed(w->pool, &w->req.form, kinds[i]);
		if (**whom)
			return json_pack("{s:s}", *kind, *whom);
	}
	w->status = 422;
	w->error = "The form does not say whose limit.";
	return NULL;
}

/* The page the form was on: of the account or address, else the list. */
static void again(struct web *w, const char *kind)
{
	if (word_in("account address", kind))
		page_who(w);
	else
		page_limits(w);
}

static void finish(struct web *w, const char *kind, const char *whom, const char *word)
{
	web_redirect(w, word_in("account address", kind) ? web_who(w, whom) : "/limits", word);
}

void post_limit_reset(struct web *w)
{
	const char *kind, *whom;
	json_t *args = args_of(w, &kind, &whom);
	if (!args)
		again(w, "");
	else if (web_change(w, "limit.reset", args, NULL))
		finish(w, kind, whom, "reset");
	else
		again(w, kind);
}

/* The form's "limit": a number above 0, "unlimited", or "none" to take the exception away. */
static bool put_limit(struct web *w, json_t *args)
{
	int64_t n = 0;
	const char *text = cgi_trimmed(w->pool, &w->req.form, "limit");
	if (strcmp(text, "none") == 0)
		return json_object_set_new(args, "limit", json_null()) == 0;
	if (strcmp(text, "unlimited") == 0 || cgi_id(text, &n))
		return json_object_set_new(args, "limit", json_integer(n)) == 0;
	w->status = 422;
	w->error = "How many: write a whole number above 0, unlimited, or none. To stop an "
		   "account, hold its mail.";
	return false;
}

void post_limit_set(struct web *w)
{
	const char *kind, *whom, *name = cgi_trimmed(w->pool, &w->req.form, "name");
	json_t *args = args_of(w, &kind, &whom);
	if (!args) {
		again(w, "");
		return;
	}
	json_object_set_new(args, "name", json_string(name));
	if (!put_limit(w, args) || !web_expiry(w, args, "expires", "Until") ||
	    !web_reason(w, args)) {
		json_decref(args);
		again(w, kind);
		return;
	}
	bool gone = json_is_null(json_object_get(args, "limit"));
	if (web_change(w, "limit.set", args, NULL))
		finish(w, kind, whom, gone ? "unset" : "set");
	else
		again(w, kind);
}
