/*
 * handover - a leaving msad: its sessions go on, what they finish goes to its successor.
 *
 * On an upgrade (restart.h) the process forks; the child keeps the connections, the parent runs the
 * new program. There is one writer of the spool at each time: it is closed before the fork and
 * opened by the new program, and a message that a session in the child completes is committed
 * there, before that session says 250. These are the same questions as queue.h has, asked over a
 * socket.
 */
#ifndef MSA_HANDOVER_H
#define MSA_HANDOVER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "accounting/event.h"
#include "msa/queue/queue.h"

struct handover;

/* From here on what is asked waits until there is somebody to ask. number: less than 36, and no
 * other process's that leaves now. base outlives it. */
struct handover *handover_new(struct event_base *base, unsigned number);
/* The successor is at the other end of fd (SOCK_SEQPACKET, non-blocking), which it takes. lost() is
 * called once when it is gone; all that waits fails then, and all that comes later. */
void handover_attach(struct handover *h, int fd, void (*lost)(void *arg), void *arg);
void handover_free(struct handover *h);

/* As queue_submit(), queue_event() and queue_new_id(); ids are none that the successor makes,
 * or another process that leaves. */
void handover_submit(struct handover *h, const struct queue_msg *m, bool hold,
		     void (*cb)(enum queue_result r, void *arg), void *arg);
void handover_event(struct handover *h, const struct event *e);
void handover_new_id(struct handover *h, int64_t now_ms, char out[static QUEUE_ID_LEN + 1]);
/* Has all that was said been sent? */
bool handover_flushed(const struct handover *h);

#endif
