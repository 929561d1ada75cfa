/*
 * firstlog - which refused packets get a line in the log: the first of a source in a while, and at
 * most so many a second over all. Pure; time is passed in.
 */
#ifndef NFQ_FIRSTLOG_H
#define NFQ_FIRSTLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"

#define FIRSTLOG_RATE  50  /* lines a second */
#define FIRSTLOG_BURST 500 /* at once */

struct firstlog;

struct firstlog *firstlog_new(void *ctx);
/* Shall this packet of source be told? Then no other of it is for period_ms. */
bool firstlog_wanted(struct firstlog *f, const struct addr *source, int64_t mono_ms,
		     int64_t period_ms);
/* Lines left out for want of rate, since the last call. */
uint64_t firstlog_suppressed(struct firstlog *f);

#endif
