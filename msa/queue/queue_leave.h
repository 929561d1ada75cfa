/*
 * queue_leave - what a handover asks of the queue.
 */
#ifndef MSA_QUEUE_QUEUE_LEAVE_H
#define MSA_QUEUE_QUEUE_LEAVE_H

#include <sys/types.h>

#include "msa/queue/queue.h"

/*
 * queue_close() that does not wait for the relay role: it finishes the replies it waits for by
 * itself, and the role of whoever opens the spool next waits for it. What was submitted is on disk,
 * or has failed, and its callback was called. Returns the role's process, which is still to be
 * waited for; 0: none.
 */
pid_t queue_leave(struct queue *q);
/* Is there a message of that id, or one that queue_id_key() does not tell from it? */
bool queue_has(const struct queue *q, const char *id);

#endif
