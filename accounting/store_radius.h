/*
 * store_radius - sessions told by RADIUS accounting, and the leases that follow from them.
 *
 * The calls are made between store_begin() and store_commit(), several events to a transaction.
 * What they do does not depend on the order of the events (accounting/radius_session.h).
 */
#ifndef ACCOUNTING_STORE_RADIUS_H
#define ACCOUNTING_STORE_RADIUS_H

#include "accounting/radius_session.h"
#include "accounting/store.h"

struct store_radius {
	struct radius_news news;
	const char *nas, *session, *port, *calling,
	    *subscriber; /* not empty: nas session subscriber */
	const struct radius_line *lines;
	size_t n_lines;
	bool port_exclusive; /* a session ends when another begins on its port */
	bool confirmed;	     /* what RADIUS_WAIT revoked is out of force, or nobody can say */
};

enum store_radius_result {
	STORE_RADIUS_DONE,
	STORE_RADIUS_LATE, /* of a session that has ended: nothing was changed */
	/*
	 * It gives an address to somebody else than whose exemption has it. That was revoked and
	 * nothing else was done: call again, confirmed, when the kernel has forgotten it.
	 */
	STORE_RADIUS_WAIT,
};
enum store_radius_result store_radius_event(struct store *s, const struct store_radius *e);

/* Accounting-On or -Off: its sessions end, by store_radius_restart_step(). */
void store_radius_restart(struct store *s, const char *nas, int64_t t_ms);
/* Ends up to max sessions of NASes that have restarted. True: there may be more. */
bool store_radius_restart_step(struct store *s, int64_t now_ms, int max);
/* Ends up to max sessions that send Interims and were last heard of by seen_ms; each ends
 * silence_ms after its last packet. True: there may be more. */
bool store_radius_silence_step(struct store *s, int64_t seen_ms, int64_t silence_ms, int64_t now_ms,
			       int max);
int64_t store_radius_open(struct store *s); /* sessions that live; not in a transaction */

#endif
