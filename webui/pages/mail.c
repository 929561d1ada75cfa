/*
 * mail - one message that went through here: whose it is, where it is now, what mail servers
 * answered; and what may be done while it waits.
 *
 * What happened is acctd's to tell (the database), how it waits is msad's: each without the other
 * is shown as far as it goes. Known gaps: none.
 */
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"
#include "webui/pages/queue.h"

enum { DELIVERIES = 200, RECIPIENTS = 200 };

/* What msad has of it, while it waits. */
static void in_queue(struct web *w, const json_t *r, const struct control_error *e)
{
	if (r) {
		put(w->h, LIT("<div><dt>In the queue</dt><dd>"));
		queue_chip(w->h, jstr(r, "state"));
		put(w->h, LIT(" "), FOR(jstr(r, "why")));
		if (word_in("due deferred", jstr(r, "state")))
			put(w->h, LIT("<br><span class=\"sub\">next attempt "),
			    AGO(jint(r, "next_ms", 0)), LIT("</span>"));
		put(w->h, LIT("</dd></div>"));
	} else if (strcmp(e->code, "notfound") == 0) {
		fact(w->h, "In the queue", LIT("no longer"));
	} else {
		fact(w->h, "In the queue", LIT("not known: "), FOR(e->text));
	}
}

/* What a recipient's state is called by people. */
static void recipient(struct html *h, const json_t *x)
{
	put(h, LIT("<tr><th scope=\"row\">"), FOR(jstr(x, "address")), LIT("</th><td>"),
	    FOR(jstr(x, "state")), LIT("</td><td class=\"why\">"), FOR(jstr(x, "reply")),
	    LIT("<br><span class=\"sub\">"), FOR(jstr(x, "status")), LIT("</span></td></tr>"));
}

static void recipients(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h, SCROLL("Recipients"),
	    LIT("<table><caption class=\"sr\">Recipients</caption><thead><tr><th "
		"scope=\"col\">Recipient</th><th scope=\"col\">State</th><th scope=\"col\">Last "
		"reply</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x)
		if (i < RECIPIENTS)
			recipient(w->h, x);
	put(w->h, LIT("</tbody></table></div>"));
	if (json_array_size(rows) > RECIPIENTS)
		put(w->h, LIT("<p class=\"hint\">200 of "), NUM(json_array_size(rows)),
		    LIT(" are shown; sekishoctl queue show has them all.</p>"));
}

/* The message as it waits: who is still to get it, its headers, and what may be done. */
static void waiting(struct web *w, const json_t *r)
{
	struct pick p = {.v = {[PICK_ID] = jstr(r, "id")}};
	put(w->h, LIT("<section class=\"card\"><div class=\"head\"><h2>In the queue</h2>"));
	queue_actions(w, &p);
	put(w->h, LIT("</div>"));
	recipients(w, json_object_get(r, "recipients"));
	put(w->h,
	    LIT("<details class=\"figures\"><summary>Headers</summary><pre class=\"mail\" "
		"tabindex=\"0\" role=\"region\" aria-label=\"Headers\">"),
	    PRE(jstr(r, "headers")), LIT("</pre></details></section>"));
}

/* Accepted a moment ago, or forgotten by the database: what msad knows is all there is. */
static void queue_facts(struct web *w, const json_t *r)
{
	struct html *h = w->h;
	put(h, LIT("<section class=\"card\"><dl class=\"facts\"><div><dt>Account</dt><dd>"));
	link_subject(h, jstr(r, "account"));
	put(h, LIT("</dd></div>"));
	in_queue(w, r, NULL);
	fact(h, "Accepted (UTC)", WHEN(jint(r, "received_ms", 0)));
	fact(h, "Envelope sender", FOR(jstr(r, "mail_from")));
	fact(h, "Recipients", NUM(jint(r, "rcpts", 0)));
	fact(h, "Size", SIZE(jint(r, "size", 0)));
	fact_wide(h, "Recipient domains", FOR(jstr(r, "rcpt_domains")));
	put(h, LIT("</dl></section>"));
}

static void facts(struct web *w, const json_t *x, const json_t *r, const struct control_error *e)
{
	struct html *h = w->h;
	put(h, LIT("<section class=\"card\"><dl class=\"facts\"><div><dt>Account</dt><dd>"));
	link_subject(h, jstr(x, "account"));
	put(h, LIT("</dd></div><div><dt>Sent from</dt><dd>"));
	link_subject(h, jstr(x, "src"));
	if (jint(x, "src_port", 0) > 0)
		put(h, LIT(" port "), INT(jint(x, "src_port", 0)));
	put(h, LIT("</dd></div><div><dt>Accepted (UTC)</dt><dd>"));
	when_or_none(h, jint(x, "t_ms", 0));
	if (json_is_true(json_object_get(x, "held")))
		put(h, LIT(" <span class=\"chip hold\"><i aria-hidden=\"true\">&#9646;</i>came in "
			   "held</span>"));
	put(h, LIT("</dd></div>"));
	in_queue(w, r, e);
	fact(h, "Envelope sender", FOR(jstr(x, "mail_from")));
	fact(h, "Recipients", NUM(jint(x, "rcpts", 0)));
	fact(h, "Size", SIZE(jint(x, "size", 0)));
	fact(h, "Session", FOR(jstr(x, "session")));
	fact(h, "Trace token", FOR(jstr(x, "token")));
	fact_wide(h, "Recipient domains", FOR(jstr(x, "rcpt_domains")));
	fact_wide(h, "Message-ID", FOR(jstr(x, "message_id")));
	put(h, LIT("</dl></section>"));
}

static void delivery(struct html *h, const json_t *x)
{
	put(h, LIT("<tr><th scope=\"row\">"), WHEN(jint(x, "t_ms", 0)), LIT("</th><td>"),
	    FOR(jstr(x, "rcpt")), LIT("</td><td>"), FOR(jstr(x, "result")),
	    LIT("<br><span class=\"sub\">"), FOR(jstr(x, "answer")),
	    LIT("</span></td><td class=\"why\">"), FOR(jstr(x, "reply")), LIT("</td><td>"),
	    FOR(jstr(x, "server")), LIT("<br><span class=\"sub\">"), FOR(jstr(x, "tls")), LIT(" "),
	    FOR(jstr(x, "proof")), LIT("</span></td></tr>"));
}

static void deliveries(struct web *w, const json_t *rows)
{
	size_t i;
	json_t *x;
	put(w->h, LIT("<section class=\"card\"><h2>What mail servers answered</h2>"));
	if (json_array_size(rows) == 0) {
		put(w->h, LIT("<p class=\"empty\">Nobody was asked yet.</p></section>"));
		return;
	}
	put(w->h, SCROLL("Answers"),
	    LIT("<table><caption class=\"sr\">Answers, newest "
		"first</caption><thead><tr><th scope=\"col\">When (UTC)</th><th "
		"scope=\"col\">Recipient</th><th scope=\"col\">Result</th><th "
		"scope=\"col\">Reply</th><th scope=\"col\">Server, "
		"TLS</th></tr></thead><tbody>"));
	json_array_foreach (rows, i, x)
		delivery(w->h, x);
	put(w->h, LIT("</tbody></table></div>"));
	if (json_array_size(rows) >= DELIVERIES)
		put(w->h, LIT("<p class=\"hint\">The newest 200 are shown; sekishoctl message show "
			      "--limit has them all.</p>"));
	put(w->h, LIT("</section>"));
}

static void whole(struct web *w, const json_t *x, const json_t *r, const struct control_error *e)
{
	if (x)
		facts(w, x, r, e);
	else
		queue_facts(w, r);
	if (r)
		waiting(w, r);
	if (x)
		deliveries(w, json_object_get(x, "deliveries"));
}

void page_mail(struct web *w)
{
	const char *err = NULL, *id = web_asked(w, "id");
	struct control_error e = {.code = "notfound"};
	struct query *q = web_query(w);
	json_t *x = q && id ? query_message(q, id, DELIVERIES, &err) : NULL;
	json_t *r = id ? web_call(w, "queue.show", json_pack("{s:s}", "id", id), &e) : NULL;
	if (q && !x && !r && (!err || strcmp(err, "not found") == 0)) {
		page_message(w, 404, "There is no such message",
			     "No message on record has this queue id.",
			     "A message is on record a second or two after it was accepted. Look "
			     "it up by its Message-ID, or by the account.");
		return;
	}
	page_begin(w, talloc_asprintf(w->pool, "Message %s", id ? id : ""), NAV_WHO);
	if (x || r)
		whole(w, x, r, &e);
	else
		page_unread(w, "The message", q ? err : w->query_err);
	page_end(w);
	json_decref(x);
	json_decref(r);
}
