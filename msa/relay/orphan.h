/*
 * orphan - what a relay role leaves behind when its parent has gone while replies to final dots are
 * still out, so that its successor need not wait for them.
 *
 * It writes the ids of those messages to a file of its own beside the journal, gives the journal
 * and its lock away, and adds the outcomes to that file as they come. The file is locked as long as
 * its writer lives. The successor delivers everything else meanwhile, and takes the outcomes when
 * the lock is free: an id without one was not answered, and is sent again.
 *
 * File: "N\n", N lines of ids, then records as in the journal.
 */
#ifndef MSA_RELAY_ORPHAN_H
#define MSA_RELAY_ORPHAN_H

#include <stdbool.h>
#include <stddef.h>

#include "msa/relay/frames.h"

struct orphan;	/* ours */
struct orphans; /* those of before us */

/* Writes <folder>/orphan.PID and locks it. NULL with errno: then the journal must be kept. */
struct orphan *orphan_begin(const char *folder, const char (*ids)[QUEUE_ID_LEN + 1], size_t n);
bool orphan_append(struct orphan *o, struct relay_outcome *outcome);
void orphan_end(struct orphan *o);

/* NULL: there are none. */
struct orphans *orphans_find(const char *folder);
void orphans_free(struct orphans *o);
void orphans_each_id(const struct orphans *o, void (*fn)(const char *id, void *arg), void *arg);
/*
 * Looks which writers are through. take() is called with each of their outcomes; false from it:
 * no room now, the same again at the next call. lost() with each id that has none. True when no
 * file is left.
 */
struct orphans_handlers {
	bool (*take)(struct relay_outcome *o, void *arg);
	void (*lost)(const char *id, void *arg);
};
bool orphans_poll(struct orphans *o, const struct orphans_handlers *h, void *arg);

#endif
