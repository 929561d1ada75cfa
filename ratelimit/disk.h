/*
 * disk - ratelimitd's three files: counters, and what the detector has learnt, written by a forked
 * child so that nobody waits; standing, written at once.
 *
 * The folder must exist. A file that does not decode is renamed to NAME.damaged (over an earlier
 * one), logged and counted. What an interrupted write left behind is removed at the start.
 */
#ifndef RATELIMIT_DISK_H
#define RATELIMIT_DISK_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "ratelimit/limiter.h"
#include "ratelimit/sentry.h"

struct disk;

struct disk *disk_new(struct event_base *base, const char *folder);
/* All files into l and s, which is written from now on, too: with the counters, when interval_ms
 * have gone by since. */
void disk_load(struct disk *d, struct limiter *l, struct sentry *s, const struct moment *now);
void disk_detector_every(struct disk *d, int64_t interval_ms);
/* The counters, in the background; nothing when one such write is still under way. */
void disk_save_counters(struct disk *d, struct limiter *l, const struct moment *now);
/* Durable when it returns true; a failure is logged. */
/* The detector too. */
bool disk_save_counters_now(struct disk *d, struct limiter *l, const struct moment *now);
bool disk_save_standing(struct disk *d, struct limiter *l, const struct moment *now);
/* mono_ms of the moment the counters on disk are from; 0: none were read or written yet. */
int64_t disk_counters_ms(const struct disk *d);
/* How long everybody waited while the process was copied for the last write in the background. */
int64_t disk_fork_ms(const struct disk *d);
uint64_t disk_errors(const struct disk *d);  /* writes that failed */
uint64_t disk_damaged(const struct disk *d); /* files set aside */
/* Breaks off a write under way. */
void disk_free(struct disk *d);

#endif
