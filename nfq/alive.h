/*
 * alive - the sign of life: the rules hand packets to the queues while they find `tcp` in the sets
 * alive.
 *
 * A thread of its own renews it, so that nothing that holds the main thread - a comparison, a
 * harvest, a slow disk - makes the rules take nfqd for gone. The thread asks whether the workers
 * answer, and lets the sign run out while they do not.
 */
#ifndef NFQ_ALIVE_H
#define NFQ_ALIVE_H

#include <stdbool.h>
#include <stdint.h>

struct alive;

/* well(arg) is asked by the thread, each second; never while it is paused. The first sign is given
 * once there are tables. NULL with err. */
struct alive *alive_start(bool (*well)(void *arg), void *arg, char err[static 256]);
/* Are the tables there? Where they are new, the sign is given at once. */
void alive_tables(struct alive *a, bool there);
/* Between these two well() is not asked, and no sign is given: for what it looks at. The pause
 * begins with a sign, if all is well. */
void alive_pause(struct alive *a);
void alive_resume(struct alive *a);
/* Is the thread itself at work? */
bool alive_works(const struct alive *a);
/* Transactions of its own, twice as many; odd while one is under way. */
uint32_t alive_commits(const struct alive *a);
/* Ends the thread, takes the sign away, frees. */
void alive_stop(struct alive *a);

#endif
