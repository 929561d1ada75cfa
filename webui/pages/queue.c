/*
 * queue - the mail that waits: where to and for how long, whose it is, and what may be done.
 *
 * What msad says at this moment; nothing of it is in the database. Destinations are counted in
 * recipients, senders in messages. Diagnostics: msad away is a state of this page. Known gaps: of
 * a queue that takes longer to go through than a request may, the oldest part is counted, and the
 * page says so.
 */
#include "webui/pages/queue.h"

#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"

enum { TOP = 20, COLUMNS = 6 };

/* --- how it is -------------------------------------------------------------------------------- */

#define tile(h, label, ...)                                                                        \
	put(h, LIT("<div class=\"tile\"><dt>" label "</dt><dd>"), __VA_ARGS__, LIT("</dd></div>"))

static void tiles(struct html *h, const json_t *s)
{
	put(h, LIT("<dl class=\"tiles\">"));
	tile(h, "Messages", NUM(jint(s, "queued", 0)));
	tile(h, "Held", NUM(jint(s, "held", 0)));
	tile(h, "Deferred", NUM(jint(s, "deferred", 0)));
	tile(h, "Being sent", NUM(jint(s, "active", 0)));
	tile(h, "On disk", SIZE(jint(s, "bytes", 0)));
	put(h, LIT("<div class=\"tile\"><dt>Oldest</dt><dd>"));
	ago_or_none(h, jint(s, "oldest_ms", 0));
	put(h, LIT("</dd></div></dl>"));
}

static void trouble(struct html *h, const json_t *s)
{
	if (jint(s, "damaged", 0) > 0)
		put(h, LIT("<div class=\"note bad\" role=\"alert\"><strong>"),
		    NUM(jint(s, "damaged", 0)),
		    EITHER(jint(s, "damaged", 0) == 1, " damaged piece was put aside:</strong> ",
			   " damaged pieces were put aside:</strong> "),
		    FOR(jstr(s, "damaged_where")), LIT("</div>"));
	if (*jstr(s, "disk") && strcmp(jstr(s, "disk"), "enough") != 0)
		put(h,
		    LIT("<div class=\"note bad\" role=\"alert\"><strong>The disk of the spool is "),
		    FOR(jstr(s, "disk")),
		    LIT(" of room.</strong> New mail is put off until there is more: delete what "
			"is "
			"not wanted, or give it space.</div>"));
}

/* --- sums over the answers of a walk ---------------------------------------------------------- */

struct row {
	const char *name;
	int64_t total, counts[COLUMNS];
};

struct sums {
	const char *key;
	json_t *at;	  /* name -> index of its row */
	struct row *rows; /* talloc'd */
	struct row all;
	size_t n;
	void *pool;
};

static struct row *row_of(struct sums *s, const char *name)
{
	const json_t *at = json_object_get(s->at, name);
	if (at)
		return &s->rows[json_integer_value(at)];
	if (s->n % 256 == 0)
		s->rows = talloc_realloc(s->pool, s->rows, struct row, s->n + 256);
	if (!s->rows)
		return NULL;
	s->rows[s->n] = (struct row){.name = talloc_strdup(s->pool, name)};
	json_object_set_new(s->at, name, json_integer((json_int_t)s->n));
	return &s->rows[s->n++];
}

static void add_counts(struct row *to, const json_t *x)
{
	size_t i;
	json_t *v;
	to->total += jint(x, "total", 0);
	json_array_foreach (json_object_get(x, "counts"), i, v)
		if (i < COLUMNS)
			to->counts[i] += json_integer_value(v);
}

static bool take_rows(const json_t *answer, void *arg)
{
	struct sums *s = arg;
	size_t i;
	json_t *x;
	json_array_foreach (json_object_get(answer, "rows"), i, x) {
		struct row *to = row_of(s, jstr(x, s->key));
		if (!to)
			return false;
		add_counts(to, x);
		add_counts(&s->all, x);
	}
	return true;
}

static int by_total(const void *x, const void *y)
{
	const struct row *a = x, *b = y;
	return a->total != b->total ? (a->total > b->total ? -1 : 1) : strcmp(a->name, b->name);
}

/* Rows by domain or by account, the fullest first. False: msad could not be asked. */
static bool sum_up(struct web *w, const struct pick *p, const char *key, struct sums *s,
		   struct walk *wk)
{
	json_t *args = pick_args(p, 0);
	*s = (struct sums){.key = key, .at = json_object(), .pool = w->pool};
	json_object_set_new(args, "by", json_string(key));
	*wk = walk_for(w->conf->deadline_ms / 8);
	bool ok = queue_walk(w, "queue.grid", args, take_rows, s, wk);
	json_decref(s->at);
	if (s->n)
		qsort(s->rows, s->n, sizeof(*s->rows), by_total);
	return ok;
}

/* --- the grid --------------------------------------------------------------------------------- */

/* The columns of msad's answer, as the fields that choose the same. */
static const struct {
	const char *label, *older, *younger;
} columns[COLUMNS] = {
    {"up to 5 min", NULL, "5m"}, {"to 20 min", "5m", "20m"}, {"to 1 h", "20m", "1h"},
    {"to 6 h", "1h", "6h"},	 {"to 1 d", "6h", "1d"},     {"older", "1d", NULL},
};

/* A count that leads to its messages, unless ages were chosen already. */
static void cell(struct web *w, const struct pick *p, enum pick_field by, const struct row *r,
		 size_t col)
{
	struct pick one = *p;
	put(w->h, LIT("<td class=\"n\">"));
	if (r->counts[col] == 0) {
		put(w->h, LIT("<span class=\"none\">0</span></td>"));
		return;
	}
	if (!p->v[PICK_OLDER] && !p->v[PICK_YOUNGER]) {
		one.v[PICK_OLDER] = columns[col].older;
		one.v[PICK_YOUNGER] = columns[col].younger;
	}
	put(w->h, LIT("<a href=\""),
	    ATT(pick_href(w, "/queue", &one, r->name ? by : PICKS, r->name)), LIT("#list\">"),
	    NUM(r->counts[col]), LIT("</a></td>"));
}

static void sum_row(struct web *w, const struct pick *p, enum pick_field by, const struct row *r)
{
	struct html *h = w->h;
	put(h, LIT("<tr><th scope=\"row\">"));
	if (r->name)
		put(h, LIT("<a class=\"id\" href=\""), ATT(pick_href(w, "/queue", p, by, r->name)),
		    LIT("\">"), FOR(r->name), LIT("</a>"));
	else
		put(h, LIT("<strong>All</strong>"));
	put(h, LIT("</th><td class=\"n\"><strong>"), NUM(r->total), LIT("</strong></td>"));
	for (size_t i = 0; i < COLUMNS; i++)
		cell(w, p, by, r, i);
	put(h, LIT("</tr>"));
}

static void sum_foot(struct web *w, const struct sums *s, const struct walk *wk)
{
	int64_t rest = s->all.total;
	for (size_t i = 0; i < s->n && i < TOP; i++)
		rest -= s->rows[i].total;
	if (s->n > TOP)
		put(w->h, LIT("<p class=\"hint\">And "), NUM(s->n - TOP), LIT(" more with "),
		    NUM(rest),
		    LIT(" in all; <code>sekishoctl queue grid</code> has every one.</p>"));
	if (wk->after)
		put(w->h, LIT("<p class=\"hint\"><strong>A part:</strong> the queue is too long to "
			      "be counted for a page. These are its oldest messages.</p>"));
}

/* by: what a row is. */
static void sum_card(struct web *w, const struct pick *p, enum pick_field by)
{
	struct html *h = w->h;
	struct sums s;
	struct walk wk;
	bool domains = by == PICK_DOMAIN;
	bool ok = sum_up(w, p, domains ? "domain" : "account", &s, &wk);
	if (ok && s.n == 0)
		return;
	put(h,
	    EITHER(domains,
		   "<section class=\"card\"><div class=\"head\"><h2>Destinations by age</h2><span "
		   "class=\"hint\">recipients that wait</span></div>",
		   "<section class=\"card\"><div class=\"head\"><h2>Senders by age</h2><span "
		   "class=\"hint\">messages that wait</span></div>"));
	if (!ok) {
		queue_away(w, &wk.e);
	} else {
		put(h,
		    EITHER(domains,
			   "<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
			   "aria-label=\"Destinations by age\">",
			   "<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
			   "aria-label=\"Senders by age\">"),
		    LIT("<table class=\"ages\"><thead><tr><th scope=\"col\">"),
		    EITHER(domains, "Destination", "Account"),
		    LIT("</th><th scope=\"col\" class=\"n\">Total</th>"));
		for (size_t i = 0; i < COLUMNS; i++)
			put(h, LIT("<th scope=\"col\" class=\"n\">"), TXT(columns[i].label),
			    LIT("</th>"));
		put(h, LIT("</tr></thead><tbody>"));
		sum_row(w, p, by, &s.all);
		for (size_t i = 0; i < s.n && i < TOP; i++)
			sum_row(w, p, by, &s.rows[i]);
		put(h, LIT("</tbody></table></div>"));
		sum_foot(w, &s, &wk);
	}
	put(h, LIT("</section>"));
}

/* --- the filter ------------------------------------------------------------------------------- */

static void text_field(struct web *w, const struct pick *p, enum pick_field f, const char *label)
{
	put(w->h, LIT("<div class=\"field grow\"><label for=\"p-"), ATT(pick_name(f)), LIT("\">"),
	    TXT(label), LIT("</label><input id=\"p-"), ATT(pick_name(f)), LIT("\" name=\""),
	    ATT(pick_name(f)),
	    LIT("\" maxlength=\"320\" autocomplete=\"off\" spellcheck=\"false\" value=\""),
	    ATT(p->v[f] ? p->v[f] : ""), LIT("\"></div>"));
}

static void option(struct web *w, const char *value, const char *label, const char *now)
{
	put(w->h, LIT("<option value=\""), ATT(value),
	    EITHER(strcmp(value, now) == 0, "\" selected>", "\">"), TXT(label), LIT("</option>"));
}

static void select_begin(struct web *w, enum pick_field f, const char *label)
{
	put(w->h, LIT("<div class=\"field\"><label for=\"p-"), ATT(pick_name(f)), LIT("\">"),
	    TXT(label), LIT("</label><select id=\"p-"), ATT(pick_name(f)), LIT("\" name=\""),
	    ATT(pick_name(f)), LIT("\">"));
	option(w, "", "any", "");
}

static void select_end(struct web *w)
{
	put(w->h, LIT("</select></div>"));
}

static void age_field(struct web *w, const struct pick *p, enum pick_field f, const char *label)
{
	const char *word, *says;
	select_begin(w, f, label);
	for (size_t i = 0; (word = pick_age(i, &says)) != NULL; i++)
		option(w, word, says, p->v[f] ? p->v[f] : "");
	select_end(w);
}

static void state_field(struct web *w, const struct pick *p)
{
	const char *word;
	select_begin(w, PICK_STATE, "State");
	for (size_t i = 0; (word = pick_state(i)) != NULL; i++)
		option(w, word, word, p->v[PICK_STATE] ? p->v[PICK_STATE] : "");
	select_end(w);
}

static void filter(struct web *w, const struct pick *p)
{
	put(w->h, LIT("<section class=\"card\"><form method=\"get\" action=\"/queue\" "
		      "class=\"row-form\" role=\"search\" aria-label=\"Choose messages\">"));
	text_field(w, p, PICK_ACCOUNT, "Account");
	text_field(w, p, PICK_DOMAIN, "Destination (domain)");
	text_field(w, p, PICK_REASON, "Reason or last reply contains");
	state_field(w, p);
	age_field(w, p, PICK_OLDER, "Older than");
	age_field(w, p, PICK_YOUNGER, "Younger than");
	put(w->h, LIT("<button class=\"primary\">Filter</button>"));
	if (pick_any(p))
		put(w->h, LIT("<a class=\"button\" href=\"/queue\">Whole queue</a>"));
	put(w->h, LIT("</form></section>"));
}

/* --- the list --------------------------------------------------------------------------------- */

struct listing {
	json_t *rows;
	int64_t total; /* -1: not known */
	size_t max;
	bool first;
};

static bool take_list(const json_t *answer, void *arg)
{
	struct listing *l = arg;
	json_array_extend(l->rows, json_object_get(answer, "messages"));
	if (l->first)
		l->total = jint(answer, "total", -1);
	l->first = false;
	return json_array_size(l->rows) < l->max;
}

static void message_row(struct web *w, const json_t *x)
{
	struct html *h = w->h;
	int64_t attempts = jint(x, "attempts", 0), rcpts = jint(x, "rcpts", 0);
	put(h, LIT("<tr><th scope=\"row\"><a class=\"id\" href=\"/messages?id="),
	    URL(jstr(x, "id")), LIT("\">"), FOR(jstr(x, "id")), LIT("</a></th><td>"));
	queue_chip(h, jstr(x, "state"));
	put(h, LIT("</td><td>"));
	link_subject(h, jstr(x, "account"));
	put(h, LIT("<br><span class=\"sub\">"), FOR(jstr(x, "mail_from")),
	    LIT("</span></td><td class=\"why\">"), FOR(jstr(x, "rcpt_domains")),
	    LIT("<br><span class=\"sub\">"), NUM(rcpts),
	    EITHER(rcpts == 1, " recipient", " recipients"), LIT("</span></td><td class=\"n\">"),
	    SIZE(jint(x, "size", 0)), LIT("</td><td>"), AGO(jint(x, "received_ms", 0)),
	    LIT("</td><td>"));
	if (word_in("due deferred", jstr(x, "state")))
		put(h, AGO(jint(x, "next_ms", 0)));
	else
		put(h, FOR(""));
	if (attempts > 0)
		put(h, LIT("<br><span class=\"sub\">"), NUM(attempts),
		    EITHER(attempts == 1, " attempt", " attempts"), LIT("</span>"));
	put(h, LIT("</td><td class=\"why\"><span class=\"brief\">"), FOR(jstr(x, "why")),
	    LIT("</span></td></tr>"));
}

static void list_table(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h, SCROLL("Messages of the queue"),
	    LIT("<table><caption class=\"sr\">Messages of the queue, oldest "
		"first</caption><thead><tr><th scope=\"col\">Queue id</th><th "
		"scope=\"col\">State</th><th scope=\"col\">Account, sender</th><th "
		"scope=\"col\">To</th><th scope=\"col\" class=\"n\">Size</th><th "
		"scope=\"col\">Came</th><th scope=\"col\">Next attempt</th><th "
		"scope=\"col\">Why it waits, last reply</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x)
		message_row(w, x);
	put(w->h, LIT("</tbody></table></div>"));
}

/* Messages are in the order they came; a page begins after one of them. */
static void list_pages(struct web *w, const struct pick *p, const char *next, size_t n)
{
	bool inside = web_asked(w, "after") != NULL;
	if (!next && !inside)
		return;
	put(w->h, LIT("<nav class=\"pages\" aria-label=\"Pages of the list\">"));
	if (inside)
		put(w->h, LIT("<a class=\"button\" href=\""),
		    ATT(pick_href(w, "/queue", p, PICKS, NULL)), LIT("#list\">Oldest</a>"));
	if (next)
		put(w->h, LIT("<a class=\"button\" rel=\"next\" href=\""),
		    ATT(pick_href(
			w, talloc_asprintf(w->pool, "/queue?after=%s", cgi_encode(w->pool, next)),
			p, PICKS, NULL)),
		    LIT("#list\">Newer</a>"));
	put(w->h, LIT("<span class=\"hint\">"), NUM(n),
	    EITHER(next, " shown, oldest first</span></nav>",
		   " shown, the newest of the list</span></nav>"));
}

static void list_head(struct web *w, const struct pick *p, int64_t total)
{
	put(w->h, LIT("<section class=\"card\" id=\"list\"><div class=\"head\"><h2>"),
	    EITHER(pick_any(p), "Messages like that", "Messages"));
	if (total >= 0)
		put(w->h, LIT(" <span class=\"hint\">"), NUM(total), LIT(" in all</span>"));
	put(w->h, LIT("</h2>"));
}

static void list_card(struct web *w, const struct pick *p)
{
	struct walk wk = walk_for(w->conf->deadline_ms / 8);
	struct listing l = {
	    .rows = json_array(), .total = -1, .max = (size_t)w->conf->rows, .first = true};
	json_t *args = pick_args(p, 0);
	json_object_set_new(args, "limit", json_integer(w->conf->rows));
	wk.after = web_asked(w, "after");
	bool ok = queue_walk(w, "queue.list", args, take_list, &l, &wk);
	size_t n = json_array_size(l.rows);
	list_head(w, p, ok ? l.total : -1);
	if (ok && n)
		queue_actions(w, p);
	put(w->h, LIT("</div>"));
	if (!ok)
		queue_away(w, &wk.e);
	else if (n)
		list_table(w, l.rows);
	else if (wk.after)
		put(w->h, LIT("<p class=\"empty\">None among the oldest; there are newer ones to "
			      "look through.</p>"));
	else
		put(w->h, EITHER(pick_any(p), "<p class=\"empty\">No message is like that.</p>",
				 "<p class=\"empty\">The queue is empty: whatever was accepted has "
				 "been delivered or returned.</p>"));
	if (ok)
		list_pages(w, p, wk.after, n);
	put(w->h, LIT("</section>"));
	json_decref(l.rows);
}

/* --- the page --------------------------------------------------------------------------------- */

/* "Held: 12 messages" after a change. */
static void done_note(struct web *w)
{
	int64_t n = 0;
	const char *word = web_asked(w, "done"), *text = word ? queue_done_word(word) : NULL,
		   *count = web_asked(w, "n");
	if (!text)
		return;
	if (!count || !cgi_id(count, &n))
		n = 0;
	put(w->h, LIT("<div class=\"note good\" role=\"status\">"), TXT(text), LIT(": "), NUM(n),
	    EITHER(n == 1, " message.</div>", " messages.</div>"));
}

static void queue_body(struct web *w, const struct pick *p)
{
	struct control_error e;
	json_t *stats = web_call(w, "queue.stats", NULL, &e);
	if (!stats) {
		queue_away(w, &e);
		return;
	}
	tiles(w->h, stats);
	trouble(w->h, stats);
	filter(w, p);
	if (jint(stats, "queued", 0) > 0) {
		sum_card(w, p, PICK_DOMAIN);
		sum_card(w, p, PICK_ACCOUNT);
	}
	list_card(w, p);
	json_decref(stats);
}

void page_queue(struct web *w)
{
	struct pick p;
	bool ok = pick_read(w, &w->req.query, &p);
	page_begin(w, "Queue", NAV_QUEUE);
	done_note(w);
	if (ok)
		queue_body(w, &p);
	else
		filter(w, &(struct pick){.v = {NULL}});
	page_end(w);
}
