/*
 * exempt_state - see exempt_state.h.
 */
#include "accounting/exempt_state.h"

#include <string.h>

#define TO(s)	(1u << (s))
#define ANY_END (TO(EXEMPT_EXPIRED) | TO(EXEMPT_REVOKED) | TO(EXEMPT_REMOVED))

static const struct {
	const char *name;
	unsigned next;
	const char *advice; /* to whoever wants something else of it */
} states[EXEMPT_STATES] = {
    [EXEMPT_NONE] = {"", TO(EXEMPT_REQUESTED), "it is not registered: request or add it"},
    [EXEMPT_REQUESTED] = {"requested", TO(EXEMPT_VERIFIED) | ANY_END,
			  "it is requested: verify and activate it, or remove it"},
    [EXEMPT_VERIFIED] = {"verified", TO(EXEMPT_ACTIVE) | TO(EXEMPT_REQUESTED) | ANY_END,
			 "it is verified, not in force: activate or remove it"},
    [EXEMPT_ACTIVE] = {"active", TO(EXEMPT_SUSPENDED) | ANY_END,
		       "it is active: suspend or remove it"},
    [EXEMPT_SUSPENDED] = {"suspended", TO(EXEMPT_ACTIVE) | ANY_END,
			  "it is suspended: resume or remove it"},
    [EXEMPT_EXPIRED] = {"expired", 0, "it has expired: request or add it anew"},
    [EXEMPT_REVOKED] = {"revoked", 0, "it was revoked: request or add it anew"},
    [EXEMPT_REMOVED] = {"removed", 0, "it was removed: request or add it anew"},
};

const char *exempt_state_name(enum exempt_state s)
{
	return states[s].name;
}

enum exempt_state exempt_state_parse(const char *name)
{
	for (int s = EXEMPT_REQUESTED; s < EXEMPT_STATES; s++)
		if (strcmp(states[s].name, name) == 0)
			return (enum exempt_state)s;
	return EXEMPT_NONE;
}

bool exempt_lives(enum exempt_state s)
{
	return s >= EXEMPT_REQUESTED && s <= EXEMPT_SUSPENDED;
}

bool exempt_may(enum exempt_state from, enum exempt_state to)
{
	return (states[from].next & TO(to)) != 0;
}

size_t exempt_path(enum exempt_state from, enum exempt_state to,
		   enum exempt_state path[static EXEMPT_PATH_MAX])
{
	size_t n = 0;
	if (exempt_may(from, to)) {
		path[0] = to;
		return 1;
	}
	/* Forward, a step at a time. */
	for (; exempt_lives(to) && from < to && n < EXEMPT_PATH_MAX; from = path[n++]) {
		path[n] = (enum exempt_state)(from + 1);
		if (!exempt_may(from, path[n]))
			return 0;
	}
	return n;
}

const char *exempt_advice(enum exempt_state from, enum exempt_state to)
{
	if (from == EXEMPT_REQUESTED && to == EXEMPT_ACTIVE)
		return "it is requested: verify it first";
	return states[from].advice;
}
