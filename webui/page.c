/*
 * page - what pages share: data access and the frame around them.
 *
 * Purpose: each page file holds only what is its own.
 * Trusted with: the read-only database handle and the control socket, both for one request.
 * Diagnostics: blocks that could not be read say so in their place; refused changes show on top of
 * their page. Known gaps: none.
 */
#include "webui/page.h"

#include <stdio.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

#define KEY(k, type, field, dflt, lo, hi, text)                                                    \
	{                                                                                          \
		"webui", k, type, offsetof(struct web_conf, field), dflt, lo, hi, NULL, true,      \
		    text, false                                                                    \
	}

const struct conf_key web_keys[] = {
    CONF_COMMON_ROWS,
    KEY("title", CONF_STRING, title, "", 0, 0, "whose gateway this is; shown beside the logo"),
    KEY("max_body", CONF_SIZE, max_body, "256k", 4096, 1000000, "largest form that is read"),
    KEY("deadline", CONF_DURATION, deadline_ms, "15s", 1000, 60000,
	"a request that takes longer is answered with 503"),
    KEY("rows", CONF_INT, rows, "100", 10, 1000, "rows a list shows at first"),
};
const size_t web_keys_n = sizeof(web_keys) / sizeof(*web_keys);

/* --- data ------------------------------------------------------------------------------------- */

struct query *web_query(struct web *w)
{
	if (!w->query_tried) {
		w->query_tried = true;
		w->query = query_open(w->conf->common.state_dir, &w->query_err);
	}
	return w->query;
}

json_t *web_call(struct web *w, const char *op, json_t *args, struct control_error *e)
{
	json_t *r = control_call(w->conf->common.run_dir, op, args, w->session, e);
	json_decref(args);
	return r;
}

int web_status_of(const struct control_error *e)
{
	static const struct {
		const char *code;
		int status;
	} rows[] = {{"invalid", 422},
		    {"exists", 409},
		    {"notfound", 404},
		    {"denied", 403},
		    {"unavailable", 503}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (strcmp(e->code, rows[i].code) == 0)
			return rows[i].status;
	return 500;
}

bool web_change(struct web *w, const char *op, json_t *args, json_t **result)
{
	struct control_error e = {.code = ""};
	json_t *r = web_call(w, op, args, &e);
	if (!r) {
		w->status = web_status_of(&e);
		w->error = talloc_strdup(w->pool, e.text);
		return false;
	}
	if (result)
		*result = r;
	else
		json_decref(r);
	return true;
}

bool web_reason(struct web *w, json_t *args)
{
	const char *text = cgi_trimmed(w->pool, &w->req.form, "reason");
	if (*text) {
		json_object_set_new(args, "reason", json_string(text));
		return true;
	}
	w->error = "Say why: the reason is kept with the change.";
	w->status = 422;
	return false;
}

void web_redirect(struct web *w, const char *path, const char *done)
{
	w->location = done ? talloc_asprintf(w->pool, "%s%cdone=%s", path,
					     strchr(path, '?') ? '&' : '?', done)
			   : talloc_strdup(w->pool, path);
}

const char *web_asked(const struct web *w, const char *name)
{
	const char *v = cgi_get(&w->req.query, name);
	return v && *v ? v : NULL;
}

int64_t web_before(const struct web *w)
{
	int64_t id;
	const char *before = web_asked(w, "before");
	return before && cgi_id(before, &id) ? id : 0;
}

const char *web_who(struct web *w, const char *whom)
{
	return talloc_asprintf(w->pool, "/who?q=%s", cgi_encode(w->pool, whom));
}

bool web_expiry(struct web *w, json_t *args, const char *name, const char *label)
{
	const char *err, *text = cgi_trimmed(w->pool, &w->req.form, name);
	int64_t t;
	if (!*text)
		return true;
	if (!clock_parse(text, w->now_ms, &t, &err))
		w->error = talloc_asprintf(w->pool,
					   "%s: %s. Write a date like 2027-03-31 or a time from "
					   "now like +90d.",
					   label, err);
	else if (t <= w->now_ms)
		w->error = talloc_asprintf(
		    w->pool, "%s: that time is over. Write a later one, or nothing for never.",
		    label);
	else
		json_object_set_new(args, "expires_ms", json_integer(t));
	if (w->error)
		w->status = 422;
	return !w->error;
}

const char *jstr(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

int64_t jint(const json_t *o, const char *key, int64_t dflt)
{
	const json_t *v = json_object_get(o, key);
	return json_is_integer(v) ? json_integer_value(v) : dflt;
}

/* --- the frame -------------------------------------------------------------------------------- */

/* How many incidents need someone, reports belong to nobody yet, and alerts do not arrive; NULL
 * when that cannot be read. */
static json_t *nav_counts(struct web *w)
{
	const char *err;
	struct query *q = web_query(w);
	return q ? query_nav(q, &err) : NULL;
}

static void nav_item(struct html *h, bool here, const char *path, const char *label, int64_t count,
		     const char *what)
{
	put(h, LIT("<li><a href=\""), ATT(path), EITHER(here, "\" aria-current=\"page\">", "\">"),
	    TXT(label));
	if (count > 0)
		put(h, LIT(" <span class=\"count\">"), NUM(count), LIT("<span class=\"sr\"> "),
		    TXT(what), LIT("</span></span>"));
	put(h, LIT("</a></li>"));
}

static void navigation(struct web *w, enum web_nav nav)
{
	struct html *h = w->h;
	json_t *n = nav_counts(w);
	put(h, LIT("<nav aria-label=\"Pages\"><ul>"));
	nav_item(h, nav == NAV_OVERVIEW, "/overview", "Overview", 0, "");
	nav_item(h, nav == NAV_INCIDENTS, "/incidents", "Incidents", jint(n, "incidents_open", 0),
		 "need you");
	nav_item(h, nav == NAV_REPORTS, "/reports", "Abuse reports",
		 jint(n, "reports_unmatched", 0), "unmatched");
	nav_item(h, nav == NAV_EXEMPTIONS, "/exemptions", "Exemptions", 0, "");
	nav_item(h, nav == NAV_LIMITS, "/limits", "Limits", 0, "");
	nav_item(h, nav == NAV_QUEUE, "/queue", "Queue", 0, "");
	nav_item(h, nav == NAV_ALERTS, "/alerts", "Alerts", jint(n, "alerts_retrying", 0),
		 "did not arrive yet");
	json_decref(n);
	nav_item(h, nav == NAV_WHO, "/who", "Look up", 0, "");
	nav_item(h, nav == NAV_AUDIT, "/audit", "Audit trail", 0, "");
	put(h, LIT("</ul></nav><div class=\"me\"><p><bdi class=\"name\">"), TXT(w->user),
	    LIT("</bdi><span class=\"role\">"),
	    TXT(w->role == ROLE_ADMIN  ? "admin"
		: w->role == ROLE_DESK ? "desk"
				       : "viewer"),
	    LIT("</span></p>"));
	form_begin(w, "/logout", 0, NULL, "");
	put(h, LIT("<button class=\"quiet\">Sign out</button>"));
	form_end(w);
	put(h, LIT("</div>"));
}

static void brand(struct web *w)
{
	put(w->h, LIT("<a class=\"brand\" href=\"/overview\"><img src=\"/static/logo.svg\" "
		      "width=\"30\" height=\"30\" alt=\"\">"
		      "<span>Sekisho"));
	if (w->conf->title && *w->conf->title)
		put(w->h, LIT("<small>"), TXT(w->conf->title), LIT("</small>"));
	put(w->h, LIT("</span></a>"));
}

static void search_box(struct web *w)
{
	put(w->h, LIT("<form class=\"find\" action=\"/who\" role=\"search\"><label class=\"sr\" "
		      "for=\"find\">Address, account, subscriber, message or incident "
		      "number</label><input id=\"find\" name=\"q\" type=\"search\" "
		      "autocomplete=\"off\" spellcheck=\"false\" "
		      "maxlength=\"320\" placeholder=\"Address, account, subscriber, "
		      "message\"><button>Look up</button></form>"));
}

void page_begin(struct web *w, const char *title, enum web_nav nav)
{
	struct html *h = w->h;
	put(h, LIT("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>"),
	    TXT(title),
	    LIT(" &middot; Sekisho</title><meta name=\"viewport\" content=\"width=device-width, "
		"initial-scale=1\">"
		"<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"robots\" "
		"content=\"noindex\">"
		"<link rel=\"icon\" href=\"/static/logo.svg\" type=\"image/svg+xml\">"
		"<link rel=\"stylesheet\" href=\"/static/sekisho.css\">"
		"<script src=\"/static/sekisho.js\" defer></script></head>"));
	put(h, EITHER(w->session != NULL, "<body>", "<body class=\"alone\">"),
	    LIT("<a class=\"skip\" href=\"#main\">Skip to the page</a>"));
	put(h, LIT("<header class=\"side\">"));
	brand(w);
	if (w->session)
		navigation(w, nav);
	put(h, LIT("</header><main id=\"main\" tabindex=\"-1\"><div class=\"top\"><h1>"),
	    TXT(title), LIT("</h1>"));
	if (w->session)
		search_box(w);
	put(h, LIT("</div>"));
	if (w->error)
		put(h, LIT("<div class=\"note bad\" role=\"alert\">"),
		    EITHER(w->req.method == CGI_POST, "<strong>Not done.</strong> ", ""),
		    TXT(w->error), LIT("</div>"));
}

void page_end(struct web *w)
{
	put(w->h, LIT("</main><footer><p>All times are UTC. Page made "), WHEN(w->now_ms),
	    LIT(". Sekisho " SEKISHO_VERSION "</p></footer></body></html>\n"));
}

void page_message(struct web *w, int status, const char *title, const char *what, const char *todo)
{
	w->status = status;
	page_begin(w, title, NAV_NONE);
	put(w->h, LIT("<section class=\"card message\"><p class=\"lead\">"), TXT(what),
	    LIT("</p><p>"), TXT(todo),
	    LIT("</p><p><a class=\"button\" href=\"/overview\">To the overview</a></p></section>"));
	page_end(w);
}

void page_done(struct web *w, const struct page_done *table)
{
	const char *word = cgi_get(&w->req.query, "done");
	if (!word || w->error)
		return;
	for (; table->word; table++)
		if (strcmp(table->word, word) == 0)
			put(w->h, LIT("<div class=\"note good\" role=\"status\">"),
			    TXT(table->text), LIT("</div>"));
}

void page_unread(struct web *w, const char *what, const char *err)
{
	w->status = w->status == 200 ? 503 : w->status;
	put(w->h, LIT("<div class=\"note bad\" role=\"alert\"><strong>"), TXT(what),
	    LIT(" cannot be read:</strong> "), FOR(err),
	    LIT(". The database is written by sekisho-acctd; <code>journalctl -u "
		"sekisho-acctd</code> says how it is.</div>"));
}

/* This list from another row on: what was asked for stays, but not what was done. */
static char *list_link(struct web *w, const char *path, int64_t before)
{
	char sep = '?', *out = talloc_strdup(w->pool, path);
	const struct cgi_fields *f = &w->req.query;
	for (size_t i = 0; out && i < f->n; i++) {
		if (word_in("before done", f->v[i].name) || !*f->v[i].value)
			continue;
		out = talloc_asprintf_append(out, "%c%s=%s", sep, cgi_encode(w->pool, f->v[i].name),
					     cgi_encode(w->pool, f->v[i].value));
		sep = '&';
	}
	if (before && out)
		out = talloc_asprintf_append(out, "%cbefore=%lld", sep, (long long)before);
	return out;
}

void page_older(struct web *w, const json_t *rows, const char *key, const char *path)
{
	size_t n = json_array_size(rows);
	bool more = n >= (size_t)w->conf->rows, inside = web_before(w) > 0;
	if (!more && !inside)
		return;
	put(w->h, LIT("<nav class=\"pages\" aria-label=\"Pages of the list\">"));
	if (inside)
		put(w->h, LIT("<a class=\"button\" href=\""), ATT(list_link(w, path, 0)),
		    LIT("\">Newest</a>"));
	if (more)
		put(w->h, LIT("<a class=\"button\" rel=\"next\" href=\""),
		    ATT(list_link(w, path, jint(json_array_get(rows, n - 1), key, 0))),
		    LIT("\">Older</a>"));
	put(w->h, LIT("<span class=\"hint\">"), NUM(n),
	    EITHER(more, " shown, newest first</span></nav>",
		   " shown, the oldest of the list</span></nav>"));
}

void page_filter(struct web *w, const char *path, const char *label, const char *keep)
{
	const char *about = web_asked(w, "about"), *kept = keep ? web_asked(w, keep) : NULL;
	put(w->h, LIT("<form method=\"get\" action=\""), ATT(path),
	    LIT("\" class=\"act-row\" role=\"search\" aria-label=\"Filter this list\"><div "
		"class=\"field\"><label for=\"about\">"),
	    TXT(label),
	    LIT("</label><input id=\"about\" name=\"about\" maxlength=\"320\" "
		"autocomplete=\"off\" spellcheck=\"false\" value=\""),
	    ATT(about ? about : ""), LIT("\"></div>"));
	if (kept)
		put(w->h, LIT("<input type=\"hidden\" name=\""), ATT(keep), LIT("\" value=\""),
		    ATT(kept), LIT("\">"));
	put(w->h, LIT("<button>Filter</button></form>"));
}

/* --- forms ------------------------------------------------------------------------------------ */

void form_begin(struct web *w, const char *path, int64_t id, const char *verb, const char *cls)
{
	put(w->h, LIT("<form method=\"post\" action=\""), ATT(path));
	if (id > 0)
		put(w->h, LIT("/"), INT(id), LIT("/"), URL(verb));
	put(w->h, LIT("\" class=\""), ATT(cls),
	    LIT("\"><input type=\"hidden\" name=\"csrf\" value=\""), ATT(w->csrf), LIT("\">"));
}

void form_end(struct web *w)
{
	put(w->h, LIT("</form>"));
}

const char *form_value(const struct web *w, const char *name)
{
	const char *v = w->error ? cgi_get(&w->req.form, name) : NULL;
	return v ? v : "";
}

void form_check(struct html *h, const char *name, const char *label)
{
	put(h, LIT("<div class=\"field\"><label><input type=\"checkbox\" name=\""), ATT(name),
	    LIT("\" value=\"yes\"> "), TXT(label), LIT("</label></div>"));
}

bool form_checked(const struct web *w, const char *name)
{
	const char *v = cgi_get(&w->req.form, name);
	return v && strcmp(v, "yes") == 0;
}

void form_input(struct web *w, const struct form_input *in)
{
	struct html *h = w->h;
	const char *typed = form_value(w, in->name);
	put(h, LIT("<div class=\"field\"><label for=\"f-"), ATT(in->name), LIT("\">"),
	    TXT(in->label), EITHER(in->required, " <span class=\"must\">required</span>", ""),
	    LIT("</label><input id=\"f-"), ATT(in->name), LIT("\" name=\""), ATT(in->name),
	    LIT("\" type=\""), ATT(in->type ? in->type : "text"), LIT("\" maxlength=\""),
	    INT(in->max ? in->max : 200), LIT("\" value=\""),
	    ATT(*typed || !in->value ? typed : in->value), LIT("\""));
	if (in->placeholder)
		put(h, LIT(" placeholder=\""), ATT(in->placeholder), LIT("\""));
	if (in->list)
		put(h, LIT(" list=\""), ATT(in->list), LIT("\""));
	if (in->hint)
		put(h, LIT(" aria-describedby=\"h-"), ATT(in->name), LIT("\""));
	put(h, EITHER(in->required, " required", ""), EITHER(in->focus, " autofocus", ""),
	    LIT(" autocomplete=\"off\" spellcheck=\"false\">"));
	if (in->hint)
		put(h, LIT("<p class=\"hint\" id=\"h-"), ATT(in->name), LIT("\">"), TXT(in->hint),
		    LIT("</p>"));
	put(h, LIT("</div>"));
}

/* --- small parts ------------------------------------------------------------------------------ */

void chip(struct html *h, const char *state)
{
	static const struct {
		const char *state;
		struct html_piece markup;
	} rows[] = {
	    {"open", LIT("<span class=\"chip need\"><i aria-hidden=\"true\">!</i>open</span>")},
	    {"acknowledged", LIT("<span class=\"chip warn\"><i "
				 "aria-hidden=\"true\">&#9675;</i>acknowledged</span>")},
	    {"contained",
	     LIT("<span class=\"chip hold\"><i aria-hidden=\"true\">&#9646;</i>contained</span>")},
	    {"released",
	     LIT("<span class=\"chip calm\"><i aria-hidden=\"true\">&#9655;</i>released</span>")},
	    {"resolved",
	     LIT("<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>resolved</span>")},
	    {"active",
	     LIT("<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>active</span>")},
	    {"pending",
	     LIT("<span class=\"chip warn\"><i aria-hidden=\"true\">&#9675;</i>pending</span>")},
	    {"requested",
	     LIT("<span class=\"chip warn\"><i aria-hidden=\"true\">&#9675;</i>requested</span>")},
	    {"verified",
	     LIT("<span class=\"chip warn\"><i aria-hidden=\"true\">&#9681;</i>verified</span>")},
	    {"suspended",
	     LIT("<span class=\"chip need\"><i aria-hidden=\"true\">&#9646;</i>suspended</span>")},
	    {"good",
	     LIT("<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>good</span>")},
	    {"weak", LIT("<span class=\"chip warn\"><i aria-hidden=\"true\">~</i>weak</span>")},
	    {"unknown",
	     LIT("<span class=\"chip calm\"><i aria-hidden=\"true\">?</i>unknown</span>")},
	    {"bad", LIT("<span class=\"chip need\"><i aria-hidden=\"true\">!</i>bad</span>")},
	    {"expired",
	     LIT("<span class=\"chip calm\"><i aria-hidden=\"true\">&#9633;</i>expired</span>")},
	    {"removed",
	     LIT("<span class=\"chip calm\"><i aria-hidden=\"true\">&#10005;</i>removed</span>")},
	    {"revoked",
	     LIT("<span class=\"chip warn\"><i aria-hidden=\"true\">&#10005;</i>revoked</span>")},
	    {"hold",
	     LIT("<span class=\"chip hold\"><i aria-hidden=\"true\">&#9646;</i>held</span>")},
	    {"due", LIT("<span class=\"chip calm\"><i aria-hidden=\"true\">&#9655;</i>due</span>")},
	    {"deferred",
	     LIT("<span class=\"chip warn\"><i aria-hidden=\"true\">&#9675;</i>deferred</span>")},
	    {"being sent",
	     LIT("<span class=\"chip good\"><i aria-hidden=\"true\">&#9654;</i>active</span>")},
	    {"unreadable",
	     LIT("<span class=\"chip need\"><i aria-hidden=\"true\">!</i>unreadable</span>")},
	    {"normal",
	     LIT("<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>normal</span>")},
	    {"suspend",
	     LIT("<span class=\"chip need\"><i aria-hidden=\"true\">&#10005;</i>suspended</span>")},
	    {"watch",
	     LIT("<span class=\"chip warn\"><i aria-hidden=\"true\">&#9681;</i>watched</span>")},
	    {"throttle",
	     LIT("<span class=\"chip hold\"><i aria-hidden=\"true\">&#9646;</i>throttled</span>")},
	    {"sent",
	     LIT("<span class=\"chip good\"><i aria-hidden=\"true\">&#10003;</i>sent</span>")},
	    {"waiting",
	     LIT("<span class=\"chip warn\"><i aria-hidden=\"true\">&#9675;</i>waiting</span>")},
	    {"retrying",
	     LIT("<span class=\"chip need\"><i aria-hidden=\"true\">!</i>retrying</span>")},
	    {"failed",
	     LIT("<span class=\"chip need\"><i aria-hidden=\"true\">&#10005;</i>failed</span>")},
	    {"high",
	     LIT("<span class=\"chip need\"><i aria-hidden=\"true\">&#9650;</i>high</span>")},
	    {"medium",
	     LIT("<span class=\"chip warn\"><i aria-hidden=\"true\">&#9654;</i>medium</span>")},
	    {"low", LIT("<span class=\"chip calm\"><i aria-hidden=\"true\">&#9660;</i>low</span>")},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (strcmp(rows[i].state, state) == 0) {
			html_put(h,
				 (const struct html_piece[]){rows[i].markup, {.type = HTML_END}});
			return;
		}
	}
	if (*state)
		put(h, LIT("<span class=\"chip calm\">"), FOR(state), LIT("</span>"));
}

void link_subject(struct html *h, const char *subject)
{
	if (!*subject) {
		put(h, FOR(""));
		return;
	}
	put(h, LIT("<a class=\"id\" href=\"/who?q="), URL(subject), LIT("\">"), FOR(subject),
	    LIT("</a>"));
}

void subscriber(struct html *h, const char *ref, const char *name)
{
	if (!*ref && !*name) {
		put(h, LIT("<span class=\"none\">nobody known</span>"));
		return;
	}
	if (*name)
		put(h, FOR(name), LIT(" "));
	if (*ref)
		put(h, LIT("<a class=\"ref\" href=\"/who?q="), URL(ref), LIT("\">"), FOR(ref),
		    LIT("</a>"));
}

void when_or_none(struct html *h, int64_t ms)
{
	if (ms > 0)
		put(h, WHEN(ms));
	else
		put(h, FOR(""));
}

void ago_or_none(struct html *h, int64_t ms)
{
	if (ms > 0)
		put(h, AGO(ms));
	else
		put(h, FOR(""));
}

bool word_in(const char *words, const char *word)
{
	size_t n = strlen(word);
	for (const char *s = words; n && (s = strstr(s, word)); s += n)
		if ((s == words || s[-1] == ' ') && (s[n] == ' ' || s[n] == '\0'))
			return true;
	return false;
}

void span_cells(struct html *h, int64_t from_ms, int64_t to_ms)
{
	put(h, LIT("<td>"));
	when_or_none(h, from_ms);
	put(h, LIT("</td><td>"));
	if (to_ms > 0)
		put(h, WHEN(to_ms));
	else
		put(h, LIT("still"));
	put(h, LIT("</td>"));
}

/* --- tabs --- */

const struct tab *tab_chosen(const struct web *w, const struct tab *tabs, size_t n)
{
	const char *state = web_asked(w, "state");
	for (size_t i = 0; state && i < n; i++)
		if (tabs[i].state && strcmp(state, tabs[i].state) == 0)
			return &tabs[i];
	return &tabs[0];
}

void tab_bar(struct web *w, const char *href, const struct tab *tabs, size_t n,
	     const struct tab *now)
{
	put(w->h, LIT("<ul class=\"tabs\">"));
	for (size_t i = 0; i < n; i++) {
		put(w->h, LIT("<li><a href=\""), TXT(href));
		if (tabs[i].state)
			put(w->h, LIT("?state="), URL(tabs[i].state));
		put(w->h, EITHER(&tabs[i] == now, "\" aria-current=\"true\">", "\">"),
		    TXT(tabs[i].label), LIT("</a></li>"));
	}
	put(w->h, LIT("</ul>"));
}
