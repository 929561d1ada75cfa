/*
 * lanes - when which message is due, by destination: a destination that takes nothing holds up
 * nobody else, however much waits for it.
 *
 * A lane has the due times of its messages, a limit of how many may be with the relay role at once,
 * and a time before which none is. Lanes that could go take turns. Single-threaded, no clock.
 */
#ifndef MSA_QUEUE_LANES_H
#define MSA_QUEUE_LANES_H

#include <stddef.h>
#include <stdint.h>

#define LANE_FIRST 4 /* messages at once before the relay role has said more */

struct lane;
struct lanes;
struct msg;

struct lanes *lanes_new(void);
void lanes_free(struct lanes *l);

/* Moves m to the lane of that name; "" is the one of mail for several destinations, which has no
 * limit. Not while m counts as active. */
void lanes_set(struct lanes *l, struct msg *m, const char *name);
/* m leaves for good. */
void lanes_forget(struct lanes *l, struct msg *m);
const char *lanes_name(const struct msg *m);
/* m waits for its next_ms, or for another one than before; m does not wait any more. */
void lanes_put(struct lanes *l, struct msg *m);
void lanes_take(struct lanes *l, struct msg *m);
/* One message of m's lane more, or less, is with the relay role. */
void lanes_active(struct lanes *l, struct msg *m, int by);
/* What the relay role says; of a lane that nobody is in nothing is kept. limit 0: as it was;
 * not_before_ms 0: open. */
void lanes_limit(struct lanes *l, const char *name, uint32_t limit, int64_t not_before_ms);
/* No lane is closed any more. */
void lanes_open_all(struct lanes *l);

/* The message whose turn it is at now_ms, NULL when none may go. Its lane's turn is over when it is
 * taken. */
struct msg *lanes_due(struct lanes *l, int64_t now_ms);
/* When the next one may be due; INT64_MAX when nothing waits for time. */
int64_t lanes_next(const struct lanes *l);
size_t lanes_count(const struct lanes *l);

#endif
