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
 * The kernel refused or passed so many more packets without a look at their source. They are told
 * as of the sources counted in the same interval, each in proportion; when there is none, in the
 * next one.
 */
void stats_uncounted(struct stats *s, enum event_kind kind, uint64_t packets);
/* The interval is over: an event for each source, and the next interval begins. */
void stats_close(struct stats *s, int64_t now_ms, void (*fn)(const struct event *e, void *arg),
		 void *arg);
/* Packets whose source was one too many: counted, but told of nobody. */
uint64_t stats_lost(const struct stats *s);

#endif
