/*
 * ahead - memory is touched before somebody waits for it.
 *
 * The first touch of a huge page clears 2 MB, and where the host of a virtual machine has to find
 * the memory first that takes milliseconds. A thread that runs when nothing else does touches what
 * tables are about to grow into; whoever gets there first touches it himself, as ever.
 */
#ifndef RATELIMIT_AHEAD_H
#define RATELIMIT_AHEAD_H

#include <stdbool.h>
#include <stddef.h>

/* Starts the thread, once in a process; false: there is none, and all goes on without it. */
bool ahead_start(void);
/* Ends it, and waits for that: a few milliseconds. */
void ahead_stop(void);

/* The bytes at p are wanted soon. What they hold stays as it is, and they may be unmapped at any
 * time. Kept until the thread runs; with more than AHEAD_WISHES waiting, forgotten. From any
 * thread; never waits for the thread. */
#define AHEAD_WISHES 256
void ahead_want(void *p, size_t bytes);

/* How much of a region that grows from its beginning was wanted; zeroed at first. */
struct ahead {
	size_t upto;
};

#define AHEAD_MARGIN ((size_t)4 << 20)

void ahead_grow(struct ahead *a, void *base, size_t used, size_t bytes);

/* `used` of the region's bytes are in use: the next AHEAD_MARGIN at least are wanted. */
static inline void ahead_of(struct ahead *a, void *base, size_t used, size_t bytes)
{
	if (used + AHEAD_MARGIN > a->upto && a->upto < bytes)
		ahead_grow(a, base, used, bytes);
}

#endif
