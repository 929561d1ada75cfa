/*
 * queue_leave - see queue_leave.h.
 *
 * Trusted with: nothing of its own. Diagnostics: those of queue.c.
 */
#include "msa/queue/queue_int.h"
#include "msa/queue/queue_leave.h"

pid_t queue_leave(struct queue *q)
{
	pid_t pid = q->relay.pid;

	if (q->relay.conn)
		ipc_free(q->relay.conn, false);
	q->relay.conn = NULL;
	queue_close(q);
	return pid;
}

bool queue_has(const struct queue *q, const char *id)
{
	return index_has_key(q->ix, queue_id_key(id));
}
