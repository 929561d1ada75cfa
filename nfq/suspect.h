/*
 * suspect - which refused lines go to as many servers as a zombie does. Pure; time is passed in.
 *
 * A mail program that cannot reach port 25 tries one or two servers, for ever; a zombie delivers to
 * the MX of each victim. So a line is suspected when within a window it makes enough attempts, to
 * enough distinct destinations, in enough distinct networks of them (/24 of IPv4, /48 of IPv6): all
 * three. The number of attempts alone never does.
 *
 * Memory is fixed. When there are more lines than places, the one with the fewest destinations
 * makes room; destinations are kept as bitmaps, so their number is an estimate from below.
 */
#ifndef NFQ_SUSPECT_H
#define NFQ_SUSPECT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

/* The most that can be asked for: the bitmaps are four times as large. */
#define SUSPECT_MAX_DSTS 128
#define SUSPECT_MAX_NETS 64

struct suspect_limits {
	int64_t attempts, destinations, networks; /* 0 attempts: nobody is suspected */
	int64_t window_ms;
};

struct suspect;

/* Room for `lines` lines (rounded up to a power of two, at least 64), allocated under ctx (talloc):
 * 176 bytes each. */
struct suspect *suspect_new(void *ctx, const struct suspect_limits *limits, size_t lines);
void suspect_set_limits(struct suspect *s, const struct suspect_limits *limits);

/* So many refused packets of the line to dst, seen at now_ms (UTC). */
void suspect_count(struct suspect *s, const struct addr *line_key, const struct addr *dst,
		   uint64_t packets, int64_t now_ms);

struct suspect_finding {
	struct addr line, last_dst;
	int64_t first_ms;    /* of the evidence */
	uint64_t packets;    /* since then */
	uint32_t dsts, nets; /* distinct, estimates from below */
};
/*
 * Those that came over the line since the last call, and those still over it that were told of half
 * a window ago or longer and have gone on since.
 */
void suspect_close(struct suspect *s, int64_t now_ms,
		   void (*fn)(const struct suspect_finding *f, void *arg), void *arg);
/* Lines over the line as of the last suspect_close(). */
size_t suspect_now(const struct suspect *s);
uint64_t suspect_evicted(const struct suspect *s); /* lines that made room, since the start */

#endif
