/*
 * queue_pick - which messages of the queue are meant, and asking msad about them.
 *
 * Trusted with: nothing of its own; msad checks what it is asked, acctd who asks. Diagnostics: a
 * word that is not known is an error, and nothing is chosen. Known gaps: none.
 */
#include "webui/pages/queue.h"

#include <string.h>

#include <talloc.h>

#include "lib/clock.h"

enum kind { ANY_TEXT, A_STATE, AN_AGE, AN_ID };

static const struct {
	const char *name, *arg, *words;
	enum kind kind;
} fields[PICKS] = {
    [PICK_ACCOUNT] = {"account", "account", "account", ANY_TEXT},
    [PICK_DOMAIN] = {"domain", "domain", "destination", ANY_TEXT},
    [PICK_STATE] = {"state", "state", "state", A_STATE},
    [PICK_REASON] = {"reason", "reason", "reason or last reply contains", ANY_TEXT},
    [PICK_OLDER] = {"older", "older_ms", "older than", AN_AGE},
    [PICK_YOUNGER] = {"younger", "younger_ms", "younger than", AN_AGE},
    [PICK_ID] = {"id", "ids", "message", AN_ID},
};

static const struct {
	const char *word, *label;
	int64_t ms;
} ages[] = {
    {"5m", "5 minutes", 300000}, {"20m", "20 minutes", 1200000}, {"1h", "1 hour", 3600000},
    {"6h", "6 hours", 21600000}, {"1d", "1 day", 86400000},	 {"3d", "3 days", 259200000},
};
enum { N_AGES = sizeof(ages) / sizeof(*ages) };

static const char *const states[] = {"due", "deferred", "held", "active", "unreadable"};
enum { N_STATES = sizeof(states) / sizeof(*states) };

const char *pick_name(enum pick_field f)
{
	return fields[f].name;
}

const char *pick_age(size_t i, const char **label)
{
	*label = i < N_AGES ? ages[i].label : NULL;
	return i < N_AGES ? ages[i].word : NULL;
}

const char *pick_state(size_t i)
{
	return i < N_STATES ? states[i] : NULL;
}

static size_t age_at(const char *word)
{
	size_t i = 0;
	while (i < N_AGES && strcmp(ages[i].word, word) != 0)
		i++;
	return i;
}

static bool is_state(const char *word)
{
	for (size_t i = 0; i < N_STATES; i++)
		if (strcmp(states[i], word) == 0)
			return true;
	return false;
}

static bool known(enum kind kind, const char *v)
{
	switch (kind) {
	case A_STATE:
		return is_state(v);
	case AN_AGE:
		return age_at(v) < N_AGES;
	case AN_ID:
		return strlen(v) == strspn(v, "0123456789abcdefghijklmnopqrstuvwxyz");
	default:
		return true;
	}
}

bool pick_read(struct web *w, const struct cgi_fields *f, struct pick *p)
{
	*p = (struct pick){.v = {NULL}};
	for (size_t i = 0; i < PICKS; i++) {
		const char *v = cgi_trimmed(w->pool, f, fields[i].name);
		if (!*v)
			continue;
		if (!known(fields[i].kind, v)) {
			w->status = 422;
			w->error = talloc_asprintf(w->pool,
						   "%s: nothing is called \"%s\" there. "
						   "Choose with the fields of the queue page.",
						   fields[i].name, v);
			return false;
		}
		p->v[i] = v;
	}
	return true;
}

bool pick_any(const struct pick *p)
{
	for (size_t i = 0; i < PICKS; i++)
		if (p->v[i])
			return true;
	return false;
}

static json_t *arg_of(enum kind kind, const char *v, int64_t since_ms)
{
	if (kind == AN_AGE)
		return json_integer(ages[age_at(v)].ms + since_ms);
	return kind == AN_ID ? json_pack("[s]", v) : json_string(v);
}

json_t *pick_args(const struct pick *p, int64_t since_ms)
{
	json_t *args = json_object();
	for (size_t i = 0; i < PICKS; i++)
		if (p->v[i])
			json_object_set_new(args, fields[i].arg,
					    arg_of(fields[i].kind, p->v[i], since_ms));
	if (!pick_any(p))
		json_object_set_new(args, "all", json_true());
	if (!p->v[PICK_OLDER] && since_ms > 0)
		json_object_set_new(args, "older_ms", json_integer(since_ms));
	return args;
}

const char *pick_href(struct web *w, const char *path, const struct pick *p, enum pick_field field,
		      const char *value)
{
	char *out = talloc_strdup(w->pool, path), sep = strchr(path, '?') ? '&' : '?';
	for (size_t i = 0; out && i < PICKS; i++) {
		const char *v = i == (size_t)field ? value : p->v[i];
		if (!v)
			continue;
		out = talloc_asprintf_append(out, "%c%s=%s", sep, fields[i].name,
					     cgi_encode(w->pool, v));
		sep = '&';
	}
	return out;
}

void pick_hidden(struct web *w, const struct pick *p)
{
	for (size_t i = 0; i < PICKS; i++)
		if (p->v[i])
			put(w->h, LIT("<input type=\"hidden\" name=\""), ATT(fields[i].name),
			    LIT("\" value=\""), ATT(p->v[i]), LIT("\">"));
}

void pick_words(struct web *w, const struct pick *p)
{
	struct html *h = w->h;
	if (!pick_any(p)) {
		put(h, LIT("<p class=\"lead\"><strong>The whole queue</strong>: nothing narrows it "
			   "down.</p>"));
		return;
	}
	put(h, LIT("<p>Messages that all of this holds for:</p><ul class=\"dots\">"));
	for (size_t i = 0; i < PICKS; i++)
		if (p->v[i])
			put(h, LIT("<li>"), TXT(fields[i].words), LIT(" <strong>"),
			    FOR(fields[i].kind == AN_AGE ? ages[age_at(p->v[i])].label : p->v[i]),
			    LIT("</strong></li>"));
	put(h, LIT("</ul>"));
}

/* --- asking ----------------------------------------------------------------------------------- */

struct walk walk_for(int64_t ms)
{
	return (struct walk){.until_ms = clock_mono_ms() + ms};
}

bool queue_walk(struct web *w, const char *op, json_t *args,
		bool (*take)(const json_t *answer, void *arg), void *arg, struct walk *wk)
{
	bool more = true, ok = true;
	while (more && ok) {
		if (wk->after)
			json_object_set_new(args, "after", json_string(wk->after));
		json_t *r = web_call(w, op, json_deep_copy(args), &wk->e);
		const char *next = json_string_value(json_object_get(r, "next"));
		ok = r != NULL;
		if (ok) {
			wk->after = next ? talloc_strdup(w->pool, next) : NULL;
			more = take(r, arg) && next && clock_mono_ms() < wk->until_ms;
		}
		json_decref(r);
	}
	json_decref(args);
	return ok;
}

/* --- parts of pages --------------------------------------------------------------------------- */

void queue_away(struct web *w, const struct control_error *e)
{
	if (strcmp(e->code, "unavailable") == 0)
		put(w->h,
		    LIT("<div class=\"note bad\" role=\"alert\"><strong>The queue cannot be asked "
			"now:</strong> "),
		    FOR(e->text),
		    LIT(" What was accepted is safe on the disk and goes on when sekisho-msad "
			"runs; until then nothing is accepted or sent. <code>systemctl status "
			"sekisho-msad</code> and <code>journalctl -u sekisho-msad</code> say what "
			"is wrong.</div>"));
	else
		put(w->h,
		    LIT("<div class=\"note bad\" role=\"alert\"><strong>sekisho-msad refused the "
			"question:</strong> "),
		    FOR(e->text), LIT("</div>"));
}

void queue_chip(struct html *h, const char *state)
{
	chip(h, strcmp(state, "held") == 0     ? "hold"
		: strcmp(state, "active") == 0 ? "being sent"
					       : state);
}

void queue_actions(struct web *w, const struct pick *p)
{
	static const char *const acts[][2] = {{"hold", "Hold"},
					      {"release", "Release"},
					      {"retry", "Try now"},
					      {"bounce", "Bounce"},
					      {"delete", "Delete"}};
	if (w->role < ROLE_DESK)
		return;
	put(w->h, LIT("<div class=\"need-do\" role=\"group\" aria-label=\"What may be done with "
		      "them\">"));
	for (size_t i = 0; i < sizeof(acts) / sizeof(*acts); i++) {
		const char *path = talloc_asprintf(w->pool, "/queue/act?do=%s", acts[i][0]);
		put(w->h, LIT("<a class=\"button\" href=\""),
		    ATT(pick_href(w, path, p, PICKS, NULL)), LIT("\">"), TXT(acts[i][1]),
		    LIT(" …</a>"));
	}
	put(w->h, LIT("</div>"));
}
