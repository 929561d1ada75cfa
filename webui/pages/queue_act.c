/*
 * queue_act - something is done with many messages: first how many there are, then, with a reason,
 * the change.
 *
 * The count is asked of msad (dry_run), and so is the change, of what was there when it was
 * counted: mail that came in since is left alone. A change that takes longer than a request may
 * goes as far as it gets, and says how to go on. Trusted with: nothing; acctd checks the role and
 * puts each part of a change into the audit trail. Diagnostics: on the page. Known gaps: a message
 * that leaves the queue between the count and the change is not missed by anybody.
 */
#include <string.h>

#include <talloc.h>

#include "webui/pages/pages.h"
#include "webui/pages/queue.h"

static const struct act {
	const char *word, *op, *verb, *done, *what;
	bool danger;
} acts[] = {
    {"hold", "queue.hold", "Hold", "Held",
     "They stay in the queue and nothing is tried until somebody releases them.", false},
    {"release", "queue.release", "Release", "Released",
     "What was held by an operator is tried at once. Mail held because of its account goes out "
     "when the account is released.",
     false},
    {"retry", "queue.retry", "Try now", "To be tried now",
     "What waits for its next attempt is tried at once. Held messages stay held.", false},
    {"bounce", "queue.bounce", "Bounce", "Bounced",
     "Each sender is told that the message could not be delivered; then it is gone from the queue. "
     "This cannot be taken back.",
     true},
    {"delete", "queue.delete", "Delete", "Deleted",
     "They are gone for good, and nobody is told. This cannot be taken back.", true},
};

static const struct act *act_named(const char *word)
{
	for (size_t i = 0; word && i < sizeof(acts) / sizeof(*acts); i++)
		if (strcmp(acts[i].word, word) == 0)
			return &acts[i];
	return NULL;
}

struct counts {
	int64_t matched, changed, bytes;
};

static bool take_counts(const json_t *answer, void *arg)
{
	struct counts *n = arg;
	n->matched += jint(answer, "matched", 0);
	n->changed += jint(answer, "changed", 0);
	n->bytes += jint(answer, "bytes", 0);
	return true;
}

/* What a request asks for, whichever of the two it is. */
struct todo {
	const struct act *act;
	struct pick pick;
	const char *after; /* where the part before ended */
	int64_t seen_ms;   /* when the messages were counted; 0: not yet */
};

static bool todo_read(struct web *w, const struct cgi_fields *f, struct todo *t)
{
	const char *after = cgi_get(f, "after"), *seen = cgi_get(f, "seen");
	t->act = act_named(cgi_get(f, "do"));
	t->after = after && *after ? after : NULL;
	if (!t->act) {
		w->status = 422;
		w->error = "Say what is to be done: hold, release, retry, bounce or delete.";
	} else if (seen && (!cgi_id(seen, &t->seen_ms) || t->seen_ms > w->now_ms)) {
		w->status = 422;
		w->error = "This form is damaged. Count the messages again.";
	}
	return !w->error && pick_read(w, f, &t->pick);
}

/* --- the count -------------------------------------------------------------------------------- */

static void none_found(struct web *w, const struct todo *t, const struct counts *n)
{
	put(w->h, LIT("<p class=\"lead\">"));
	if (n->matched == 0)
		put(w->h, LIT("No message is like that now."));
	else
		put(w->h, NUM(n->matched), EITHER(n->matched == 1, " message is", " messages are"),
		    LIT(" like that, and there is nothing to "), TXT(t->act->word),
		    EITHER(n->matched == 1, " about it.", " about them."));
	put(w->h, LIT("</p>"));
}

static void found(struct web *w, const struct todo *t, const struct counts *n, bool part)
{
	struct html *h = w->h;
	put(h, LIT("<p class=\"lead\" id=\"count\"><strong>"), TXT(t->act->verb), LIT(" "),
	    EITHER(part, "at least ", ""), NUM(n->changed),
	    EITHER(n->changed == 1, " message", " messages"), LIT("?</strong> "));
	if (n->changed != n->matched)
		put(h, NUM(n->matched), EITHER(n->matched == 1, " is", " are"),
		    LIT(" chosen; the rest is so already, or cannot be. "));
	put(h, SIZE(n->bytes), LIT(" in all.</p><p>"), TXT(t->act->what), LIT("</p>"));
}

static void confirm_form(struct web *w, const struct todo *t, const struct counts *n)
{
	form_begin(w, "/queue/act", 0, NULL, "stack");
	pick_hidden(w, &t->pick);
	put(w->h, LIT("<input type=\"hidden\" name=\"do\" value=\""), ATT(t->act->word),
	    LIT("\"><input type=\"hidden\" name=\"seen\" value=\""),
	    INT(t->seen_ms ? t->seen_ms : w->now_ms), LIT("\">"));
	if (t->after)
		put(w->h, LIT("<input type=\"hidden\" name=\"after\" value=\""), ATT(t->after),
		    LIT("\">"));
	form_input(w, &(struct form_input){.name = "note",
					   .label = "Why",
					   .required = true,
					   .focus = true,
					   .max = 500,
					   .hint = "Kept in the audit trail."});
	put(w->h, EITHER(t->act->danger, "<button class=\"danger\">", "<button class=\"primary\">"),
	    TXT(t->act->verb), LIT(" "), NUM(n->changed),
	    EITHER(n->changed == 1, " message", " messages"), LIT("</button>"));
	form_end(w);
}

/* The rest of a change that took too long for one request. */
static void rest_note(struct web *w)
{
	int64_t n = 0;
	const char *done = web_asked(w, "n");
	if (!web_asked(w, "after") || !done || !cgi_id(done, &n))
		return;
	put(w->h, LIT("<div class=\"note warn\" role=\"status\"><strong>"), NUM(n),
	    EITHER(n == 1, " message is", " messages are"),
	    LIT(" done, and there are more.</strong> A request may take only so long: below is the "
		"rest of them.</div>"));
}

static void preview(struct web *w, const struct todo *t)
{
	struct counts n = {.matched = 0};
	struct walk wk = walk_for(w->conf->deadline_ms / 3);
	json_t *args = pick_args(&t->pick, t->seen_ms ? w->now_ms - t->seen_ms : 0);
	json_object_set_new(args, "dry_run", json_true());
	wk.after = t->after;
	bool ok = queue_walk(w, t->act->op, args, take_counts, &n, &wk);
	page_begin(w, talloc_asprintf(w->pool, "%s messages of the queue", t->act->verb),
		   NAV_QUEUE);
	rest_note(w);
	put(w->h, LIT("<section class=\"card\">"));
	pick_words(w, &t->pick);
	if (!ok) {
		queue_away(w, &wk.e);
	} else if (n.changed == 0 && !wk.after) {
		none_found(w, t, &n);
	} else {
		found(w, t, &n, wk.after != NULL);
		confirm_form(w, t, &n);
	}
	put(w->h, LIT("<p class=\"more\"><a href=\""),
	    ATT(pick_href(w, "/queue", &t->pick, PICKS, NULL)),
	    LIT("\">Back to the queue</a>, nothing done.</p></section>"));
	page_end(w);
}

static void refused(struct web *w)
{
	page_begin(w, "The queue", NAV_QUEUE);
	put(w->h, LIT("<p><a href=\"/queue\">Back to the queue</a></p>"));
	page_end(w);
}

void page_queue_act(struct web *w)
{
	struct todo t = {.act = NULL};
	if (todo_read(w, &w->req.query, &t))
		preview(w, &t);
	else
		refused(w);
}

/* --- the change ------------------------------------------------------------------------------- */

/* What was counted, and nothing that came later: ages are meant as of then. */
static bool change(struct web *w, const struct todo *t, const char *note, struct counts *n,
		   struct walk *wk)
{
	json_t *args = pick_args(&t->pick, w->now_ms - t->seen_ms);
	json_object_set_new(args, "note", json_string(note));
	return queue_walk(w, t->act->op, args, take_counts, n, wk);
}

static void changed(struct web *w, const struct todo *t, const struct counts *n,
		    const struct walk *wk)
{
	const char *path;
	if (wk->after)
		path = talloc_asprintf(w->pool, "/queue/act?do=%s&after=%s&seen=%lld&n=%lld",
				       t->act->word, cgi_encode(w->pool, wk->after),
				       (long long)t->seen_ms, (long long)n->changed);
	else
		path = talloc_asprintf(w->pool, "/queue?done=%s&n=%lld", t->act->word,
				       (long long)n->changed);
	web_redirect(w, pick_href(w, path, &t->pick, PICKS, NULL), NULL);
}

void post_queue_act(struct web *w)
{
	struct todo t = {.act = NULL};
	struct counts n = {.matched = 0};
	struct walk wk = walk_for(w->conf->deadline_ms / 2);
	const char *note = cgi_trimmed(w->pool, &w->req.form, "note");
	if (!todo_read(w, &w->req.form, &t)) {
		refused(w);
		return;
	}
	wk.after = t.after;
	if (!*note || !t.seen_ms) {
		w->status = 422;
		w->error = *note ? "Count the messages first."
				 : "Say why: the reason is kept with the change.";
		preview(w, &t);
	} else if (change(w, &t, note, &n, &wk)) {
		changed(w, &t, &n, &wk);
	} else {
		w->status = web_status_of(&wk.e);
		w->error = talloc_asprintf(w->pool, "%s (%lld messages were done before that)",
					   wk.e.text, (long long)n.changed);
		preview(w, &t);
	}
}

const char *queue_done_word(const char *word)
{
	const struct act *a = act_named(word);
	return a ? a->done : NULL;
}
