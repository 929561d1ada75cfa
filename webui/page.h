/*
 * page - what every page has: the request, the session, the data, the frame, and the small parts
 * pages are built of.
 *
 * A page is a function over struct web. It either writes its HTML into w->h between page_begin()
 * and page_end(), or sets w->location to redirect. Reads go through query (read-only database),
 * changes through web_call() (acctd's control socket, as the session's operator).
 */
#ifndef WEBUI_PAGE_H
#define WEBUI_PAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/conf.h"

#include "accounting/control.h"
#include "accounting/query.h"

#include "webui/cgi.h"
#include "webui/html.h"

struct web_conf {
	struct conf_common common; /* first */
	char *title;		   /* shown beside the logo: whose gateway this is */
	int64_t max_body;	   /* bytes of a POST */
	int64_t deadline_ms;	   /* for a whole request */
	int64_t rows;		   /* of a list */
};

extern const struct conf_key web_keys[];
extern const size_t web_keys_n;

enum web_role { ROLE_NONE, ROLE_VIEWER, ROLE_DESK, ROLE_ADMIN };

struct web {
	void *pool; /* of this request */
	const struct web_conf *conf;
	struct cgi_request req;
	int64_t now_ms;
	int64_t id; /* the number in the path, e.g. of /incidents/7 */

	struct html *h;
	int status;	      /* HTTP; 200 unless set */
	const char *location; /* not NULL: 303 to it, no body */
	const char *allow;    /* for 405 */
	const char *set_cookie[2];

	const char *session, *user, *csrf; /* NULL before login */
	enum web_role role;

	struct query *query; /* see web_query() */
	const char *query_err;
	bool query_tried;
	const char *error; /* of a change that was refused: shown on the page, with the form as it
			      was sent */
};

/* --- data ------------------------------------------------------------------------------------- */

/* The database, opened at first use. NULL: it cannot be read, w->query_err says why. */
struct query *web_query(struct web *w);
/* Ask acctd as this session's operator. args is stolen, may be NULL. NULL with *e on failure. The
 * result is the caller's to json_decref(). */
json_t *web_call(struct web *w, const char *op, json_t *args, struct control_error *e);
/*
 * The same for a change asked for by a form: true, or w->status and w->error are set and the caller
 * shows its page again. *result (may be NULL) is the caller's.
 */
bool web_change(struct web *w, const char *op, json_t *args, json_t **result);
/* HTTP status for an error of the control socket. */
int web_status_of(const struct control_error *e);
/* See Other, to a path of ours, perhaps with a query; done (may be NULL) names the sentence that
 * page shows. */
void web_redirect(struct web *w, const char *path, const char *done);
/* The form's "reason" into args. False, with w's error and status set, when there is none: each of
 * these changes has one, whatever the browser thinks of `required`. */
bool web_reason(struct web *w, json_t *args);
/* A value of the query, NULL when there is none or it is empty. */
const char *web_asked(const struct web *w, const char *name);
/* Where a list goes on, by ?before=ID; 0: at its newest row. */
int64_t web_before(const struct web *w);
/* A date or a time from now in the form's field name, to come, into args as expires_ms; empty is
 * never. False: w->error and w->status say what to write. */
bool web_expiry(struct web *w, json_t *args, const char *name, const char *label);
/* "/who?q=WHOM", for redirects and links. */
const char *web_who(struct web *w, const char *whom);

/* Members of a flat JSON object; "" and dflt when absent or null. */
const char *jstr(const json_t *o, const char *key);
int64_t jint(const json_t *o, const char *key, int64_t dflt);

/* --- the frame -------------------------------------------------------------------------------- */

enum web_nav {
	NAV_NONE,
	NAV_OVERVIEW,
	NAV_INCIDENTS,
	NAV_REPORTS,
	NAV_EXEMPTIONS,
	NAV_LIMITS,
	NAV_ALERTS,
	NAV_QUEUE,
	NAV_WHO,
	NAV_AUDIT
};

/* title is plain text. Shows navigation (with a session) and w->error, if any. */
void page_begin(struct web *w, const char *title, enum web_nav nav);
void page_end(struct web *w);
/* A whole page with one message: what happened, and what to do. */
void page_message(struct web *w, int status, const char *title, const char *what, const char *todo);

struct page_done {
	const char *word, *text;
};
/* Shows the sentence for ?done=WORD, if WORD is in the table (which ends with a NULL word). */
void page_done(struct web *w, const struct page_done *table);
/* Instead of a block whose data could not be read. */
void page_unread(struct web *w, const char *what, const char *err);
/* Under a list: the way to the older rows and back to the newest. Pages begin after a row, not at a
 * number, so that they stay whole while rows are added. key: the row's member that ?before= takes;
 * path: the list's own, for when a refused form shows it again. */
void page_older(struct web *w, const json_t *rows, const char *key, const char *path);
/* A list's search field, a GET form; keep names one value of the query that stays (NULL: none). */
void page_filter(struct web *w, const char *path, const char *label, const char *keep);

/* --- small parts ------------------------------------------------------------------------------ */

/* <form method="post"> with the CSRF token. path is ours; id < 1: none, else path/id/verb. */
void form_begin(struct web *w, const char *path, int64_t id, const char *verb, const char *cls);
void form_end(struct web *w);
/* What was typed into a field, when its form is shown again after an error. */
const char *form_value(const struct web *w, const char *name);
/* A labelled one-line input. hint (may be NULL) stands below it. attrs is further literal markup of
 * the input, or "". */
struct form_input {
	const char *name, *label, *hint, *placeholder, *list, *type;
	bool required, focus;
	int max;
	const char *value; /* shown when nothing was typed yet */
};
void form_input(struct web *w, const struct form_input *in);
/* A box to tick, and whether it was. */
void form_check(struct html *h, const char *name, const char *label);
bool form_checked(const struct web *w, const char *name);

/* A word for a state, with a sign of its own beside its colour. */
void chip(struct html *h, const char *state);
/* A link to what is known about a line or an account. */
void link_subject(struct html *h, const char *subject);
/* "name (ref)", the ref a link to what is known of the subscriber; or "nobody known". */
void subscriber(struct html *h, const char *ref, const char *name);
/* A label and a value in a <dl class="facts">. */
#define fact(h, label, ...)                                                                        \
	put(h, LIT("<div><dt>" label "</dt><dd>"), __VA_ARGS__, LIT("</dd></div>"))
/* The same over the whole width. */
#define fact_wide(h, label, ...)                                                                   \
	put(h, LIT("<div class=\"all\"><dt>" label "</dt><dd>"), __VA_ARGS__, LIT("</dd></div>"))
/* What a wide table stands in: it scrolls by itself, with the keyboard too. Closed by </div>. */
#define SCROLL(label)                                                                              \
	LIT("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" label "\">")
/* <time> or a dash for a time that may be absent (0 or below). */
void when_or_none(struct html *h, int64_t ms);
/* From when to when something holds, as two cells; to 0 is "still". */
void span_cells(struct html *h, int64_t from_ms, int64_t to_ms);
/* Is word one of words, which spaces separate? */
bool word_in(const char *words, const char *word);
void ago_or_none(struct html *h, int64_t ms);

/* A list by state: what ?state= says, the tab's name, and the words for a list without rows. The
 * first is what is shown unasked. */
struct tab {
	const char *state, *label, *empty;
};
/* The one that was asked for; the first for none and for a word that is not known. */
const struct tab *tab_chosen(const struct web *w, const struct tab *tabs, size_t n);
/* href: of the page, a path of ours. now is one of tabs. */
void tab_bar(struct web *w, const char *href, const struct tab *tabs, size_t n,
	     const struct tab *now);

#endif
