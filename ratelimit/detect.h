/*
 * detect - does this account behave like a zombie? Counts in, a rule and one sentence out.
 *
 * Rules, the first that fits wins:
 *   burst    at least `rate` messages in the last minute and at least `recipients` different
 * recipients in the window refused  at least `refused` refusals by a limit in the window and at
 * least `recipients` different recipients in it A threshold of 0 turns its rule off; recipients 0
 * turns off both.
 */
#ifndef RATELIMIT_DETECT_H
#define RATELIMIT_DETECT_H

#include <stddef.h>
#include <stdint.h>

struct detect_conf {
	int64_t window_ms; /* the window */
	int64_t recipients, rate, refused;
};

struct detect_counts {
	uint64_t rate;	   /* messages in the last minute */
	uint32_t distinct; /* different recipients in the window */
	uint64_t refused;  /* refusals in the window */
};

/* The rule's name (static), with why filled (the numbers, for a human); NULL when none fits. */
const char *detect(const struct detect_conf *c, const struct detect_counts *n, char *why,
		   size_t cap);

#endif
