/*
 * exempt_state - the life of an exemption, as a table. Pure.
 *
 *   requested -> verified -> active <-> suspended; each of them -> expired | revoked | removed
 *
 * A verified one whose evidence is bad before it was activated is requested again. Only an active
 * one is in force.
 */
#ifndef ACCOUNTING_EXEMPT_STATE_H
#define ACCOUNTING_EXEMPT_STATE_H

#include <stdbool.h>
#include <stddef.h>

enum exempt_state {
	EXEMPT_NONE, /* not there yet */
	EXEMPT_REQUESTED,
	EXEMPT_VERIFIED,
	EXEMPT_ACTIVE,
	EXEMPT_SUSPENDED,
	EXEMPT_EXPIRED,
	EXEMPT_REVOKED, /* the line is another subscriber's now */
	EXEMPT_REMOVED,
	EXEMPT_STATES
};

#define EXEMPT_PATH_MAX 4

const char *exempt_state_name(enum exempt_state s);	/* "" for NONE */
enum exempt_state exempt_state_parse(const char *name); /* NONE: no such state */
/* Requested to suspended: it has not ended. */
bool exempt_lives(enum exempt_state s);
bool exempt_may(enum exempt_state from, enum exempt_state to);
/* The states passed on the way, `to` last: their number, 0 when there is no way (or no change). */
size_t exempt_path(enum exempt_state from, enum exempt_state to,
		   enum exempt_state path[static EXEMPT_PATH_MAX]);
/* What to do instead: "it is requested: verify and activate it first". Static. */
const char *exempt_advice(enum exempt_state from, enum exempt_state to);

#endif
