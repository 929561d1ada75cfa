/*
 * pace - how fast mail goes to one destination: connections at once, messages a minute, back-off.
 * Pure; times are CLOCK_MONOTONIC milliseconds.
 *
 * Slow start: a destination begins with PACE_FIRST connections; each message it takes allows one
 * more, until it has once been too many; from then on one more a round. A 421, a lost connection or
 * a refused one halves. When none of its addresses takes a connection the destination is closed,
 * for a pause that doubles each time, with jitter; after it one connection looks whether it is
 * back.
 */
#ifndef MSA_RELAY_PACE_H
#define MSA_RELAY_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_FIRST 4

struct pace_rules {
	uint32_t most;		      /* connections at once, at least 1 */
	int64_t pause_min, pause_max; /* of the back-off */
	int64_t rate;		      /* messages a minute; 0: any */
};

struct pace {
	struct pace_rules rules;
	uint32_t limit;	    /* connections now, 1..most */
	uint32_t threshold; /* below it every success counts for one more */
	uint32_t good;	    /* successes since the last change above it */
	int64_t pause_ms;   /* 0: not in back-off */
	int64_t closed_until;
	int64_t next_at; /* of rate */
};

void pace_init(struct pace *p, const struct pace_rules *rules);
void pace_set_rules(struct pace *p, const struct pace_rules *rules);
/* A transaction came to its end in good order, or a connection came up (first of a probe). */
void pace_good(struct pace *p);
/* It asked for less (421), or a connection was lost or refused while others work. */
void pace_less(struct pace *p);
/* Nobody there takes a connection. random: any 32 bits. */
void pace_close(struct pace *p, int64_t now, uint32_t random);
/* As if never closed: an operator wants it tried now. */
void pace_reopen(struct pace *p);
/* Milliseconds until a connection may be tried; 0 now. */
int64_t pace_wait(const struct pace *p, int64_t now);
/* After a pause nothing has come up yet. */
bool pace_probing(const struct pace *p);
/* Connections that may be open now. */
uint32_t pace_connections(const struct pace *p);
/* Milliseconds until the next message may begin, 0 now; pace_take() counts one that begins. */
int64_t pace_rate_wait(const struct pace *p, int64_t now);
void pace_take(struct pace *p, int64_t now);

#endif
