/*
 * radius_session - what RADIUS accounting packets mean for a session and what it holds. Pure.
 *
 * Packets come late, twice, in any order, or never. So a session is kept as the earliest and the
 * latest of what was heard of it, and everything else is worked out from that: the same packets
 * lead to the same leases whatever their order. Times are UTC milliseconds; 0 is "not known".
 */
#ifndef ACCOUNTING_RADIUS_SESSION_H
#define ACCOUNTING_RADIUS_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "accounting/radius.h"

/* When it happened: Event-Timestamp, else the time of arrival less Acct-Delay-Time. *skewed: the
 * NAS's clock is so far off that its Event-Timestamp was not taken. */
int64_t radius_event_ms(const struct radius_request *r, int64_t now_ms, bool *skewed);

struct radius_life {
	bool started; /* a Start was heard */
	int64_t start_ms, first_ms, last_ms, stop_ms, silent_ms, interims, seen_ms;
};

struct radius_news {
	int status;	  /* RADIUS_START, _INTERIM, _STOP */
	int64_t t_ms;	  /* when it happened */
	int64_t began_ms; /* when the session began, as far as this packet says */
	int64_t now_ms;	  /* when it came */
};

/* A session's first packet, and each further one. */
void radius_life_begin(struct radius_life *l, const struct radius_news *n);
void radius_life_add(struct radius_life *l, const struct radius_news *n);
/* When it ended, 0: it lives. restart_ms: the first Accounting-On or -Off after it was last heard
 * of; taken_ms: when another session began on its port. 0: none. */
int64_t radius_life_end(const struct radius_life *l, int64_t restart_ms, int64_t taken_ms);

/*
 * A NAS may count its session ids from 1 again, so that one id has had several lives. before: the
 * latest that began by then (a Start: or a moment later); after: the next one. NULL: there is none.
 */
enum radius_whose { RADIUS_OF_BEFORE, RADIUS_OF_AFTER, RADIUS_OF_NEW, RADIUS_OF_NONE };
enum radius_whose radius_whose(const struct radius_news *n, const struct radius_life *before,
			       const struct radius_life *after);
#define RADIUS_SAME_MS 10000 /* two Starts so close together are one, told twice */

/* One thing a session holds: when it was named first and last, and given back. */
struct radius_claim {
	int64_t first_ms, last_ms, back_ms;
};
void radius_claim_add(struct radius_claim *c, int64_t t_ms, bool back);
int64_t radius_claim_from(const struct radius_claim *c, const struct radius_life *l);
/* 0: open. other: another Framed-IP-Address of the session (NULL: none). */
int64_t radius_claim_back(const struct radius_claim *c, const struct radius_claim *other);

/* The earlier of two ends, of which 0 is none. */
int64_t radius_earlier(int64_t a_ms, int64_t b_ms);

#endif
