/*
 * queue - what the pages about the queue share: which messages are meant, and asking msad about
 * them some at a time.
 *
 * However long the queue, one request to msad looks at a bounded part of it (protocols/control.md,
 * queue.*). A page goes on until it has gone through all of it or its time is over; then it says
 * that it shows a part.
 */
#ifndef WEBUI_PAGES_QUEUE_H
#define WEBUI_PAGES_QUEUE_H

#include "webui/page.h"

enum pick_field {
	PICK_ACCOUNT,
	PICK_DOMAIN,
	PICK_STATE,
	PICK_REASON,
	PICK_OLDER,
	PICK_YOUNGER,
	PICK_ID,
	PICKS
};

/* Which messages: what a query or a form says of them. NULL: that is left open. */
struct pick {
	const char *v[PICKS];
};

/* Its name in queries and forms. */
const char *pick_name(enum pick_field f);
/* Reads the fields. False, with w->error and w->status, for a word that is none of ours: what is
 * chosen must never be more than was meant. */
bool pick_read(struct web *w, const struct cgi_fields *f, struct pick *p);
bool pick_any(const struct pick *p);
/* The arguments of queue.*; a new reference. since_ms: how long ago the ages were meant; what came
 * after that is not chosen, 0: now. */
json_t *pick_args(const struct pick *p, int64_t since_ms);
/* path with the fields as its query; field and value replace one of them (PICKS: none). Under
 * w->pool. */
const char *pick_href(struct web *w, const char *path, const struct pick *p, enum pick_field field,
		      const char *value);
/* The same fields, hidden in a form. */
void pick_hidden(struct web *w, const struct pick *p);
/* In words, as a list. */
void pick_words(struct web *w, const struct pick *p);
/* The spans of ?older= and ?younger=: the word and how it reads; NULL after the last. */
const char *pick_age(size_t i, const char **label);
/* The states of ?state=; NULL after the last. */
const char *pick_state(size_t i);

/* How far a walk came. */
struct walk {
	int64_t until_ms;  /* of the monotonic clock: no request begins later */
	const char *after; /* where to begin, and where it ended before the end; NULL: start, end */
	struct control_error e; /* of the failure */
};

/* For so long from now. */
struct walk walk_for(int64_t ms);
/*
 * Ask op until the queue was gone through, take says that is enough, or the time is over. Takes
 * args. False: wk->e says why.
 */
bool queue_walk(struct web *w, const char *op, json_t *args,
		bool (*take)(const json_t *answer, void *arg), void *arg, struct walk *wk);

/* A named state of the page, instead of what could not be asked. */
void queue_away(struct web *w, const struct control_error *e);
/* What may be done with the messages of p, as links to where it is counted and confirmed; nothing
 * for who may only look. */
void queue_actions(struct web *w, const struct pick *p);
/* What was done, in a word or two, after the action of that name; NULL: there is none such. */
const char *queue_done_word(const char *word);
/* The state of one as a chip. */
void queue_chip(struct html *h, const char *state);

#endif
