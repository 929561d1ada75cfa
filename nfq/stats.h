/*
 * stats - what each source did during an interval, in bounded memory. Pure; time is passed in.
 */
#ifndef NFQ_STATS_H
#define NFQ_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/event.h"
#include "lib/addr.h"

struct stats;

/* At most max sources an interval and kind. */
struct stats *stats_new(void *ctx, size_t max);

/* Packets that the kernel counted since since_ms; dst may be NULL (not known). kind: EVENT_BLOCK or
 * EVENT_PASS. */
void stats_count(struct stats *s, enum event_kind kind, const struct addr *src,
		 const struct addr *dst, uint64_t packets, int64_t since_ms);
/*
 * The kernel refused or passed so many packets in all since the last call, of which it may have
 * counted a sample by source, at most rate a second over ms. When it did, the events of this
 * interval are scaled up, so that they sum up to the total. Returns whether it did.
 */
bool stats_total(struct stats *s, enum event_kind kind, uint64_t total, uint64_t rate, int64_t ms);
/* The interval is over: an event for each source, and the next interval begins. */
void stats_close(struct stats *s, int64_t now_ms, void (*fn)(const struct event *e, void *arg),
		 void *arg);
/* Packets whose source was one too many: counted, but told of nobody. */
uint64_t stats_lost(const struct stats *s);

#endif
