/*
 * outbox - tells the accounting of notifications that came back, over <run_dir>/feed.sock
 * (accounting/feed.h).
 *
 * What happens while sekisho-acctd is away waits here, in memory, at most OUTBOX_MAX of them; then
 * the oldest are forgotten, and counted. Mail never waits for it.
 */
#ifndef MSA_MILTER_OUTBOX_H
#define MSA_MILTER_OUTBOX_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "accounting/event.h"

#define OUTBOX_MAX 2000

struct outbox;

struct outbox_state {
	bool connected;
	int64_t told, lost; /* since the start */
	int64_t waiting;
};

/* instance names the life of this process (accounting/feed.h). */
struct outbox *outbox_new(struct event_base *base, const char *run_dir, const char *instance);
void outbox_add(struct outbox *o, const struct event *e);
void outbox_state(const struct outbox *o, struct outbox_state *out);
void outbox_free(struct outbox *o); /* NULL is fine */

#endif
