/*
 * queue_ask - one request of an operator, as queue_request.c and queue_figures.c share it.
 */
#ifndef MSA_QUEUE_ASK_H
#define MSA_QUEUE_ASK_H

#include "msa/queue/queue_int.h"

struct ask {
	struct queue *q;
	const json_t *args;
	int64_t now;
	/* the selection */
	bool everything, any; /* "all" was said; some criterion was */
	const json_t *ids;
	const char *account, *domain, *state, *reason;
	int64_t older_ms, younger_ms; /* -1: not said */
	int64_t after;		      /* key; -1: from the beginning */
	bool dry_run;
	const char *route;
	bool by_account; /* of a grid */
	int64_t limit;
	struct msg **found; /* talloc'd under the ask */
	size_t n, looked, reads;
	uint64_t bytes;
	int64_t next; /* key of the last one looked at, when there are more; -1: that was all */
	const char *err;
};

enum asked { ASK_LOOK, ASK_GRID, ASK_CHANGE, ASK_MOVE };

/* Foreign octets may not be UTF-8; jansson wants it. A new reference. */
json_t *queue_ask_text(const char *s);
/* Reads the arguments; false with a->err. */
bool queue_ask_args(struct ask *a, enum asked what);
/* Oldest first, at most max of them, and no longer than a request may take. */
void queue_ask_find(struct ask *a, size_t max);
/* The member "next" of the answer. */
void queue_ask_next(struct ask *a, json_t *o);

/* queue_figures.c */
json_t *queue_ask_grid(struct ask *a);
json_t *queue_ask_stats(struct ask *a);
json_t *queue_ask_damaged(struct ask *a);

#endif
