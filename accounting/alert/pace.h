/*
 * pace - when an alert is made, and when it is tried again. Pure: times are passed in.
 *
 * The first case of a kind is told at once. New cases that follow an alert of their kind are
 * gathered, each time for twice as long, up to `repeat`; further changes of what was told are
 * gathered for `repeat`. So a campaign of many accounts becomes a few alerts with lists. When
 * `per_hour` alerts went out within an hour, everything waits until the first of them is an hour
 * old.
 */
#ifndef ACCOUNTING_ALERT_PACE_H
#define ACCOUNTING_ALERT_PACE_H

#include <stdint.h>

#include "accounting/alert/rules.h"

#define PACE_HOUR_MS 3600000

/* What waits of one kind, and what was told of it. 0: none. */
struct pace_kind {
	int64_t new_ms;	   /* since when the first new case waits, or one that has become worse */
	int64_t change_ms; /* the same of other changes */
	int64_t told_ms;   /* the last alert within the hour */
	int told;	   /* alerts within the hour */
};

/* Of the whole rule. */
struct pace_hour {
	int64_t first_ms; /* the oldest alert within the hour */
	int told;
};

/* When the kind's next alert is to be made; 0: nothing waits. */
int64_t pace_due(const struct alert_rule *r, const struct pace_kind *k, const struct pace_hour *h);

/* How long to wait after this many attempts that failed (1 or more). */
int64_t pace_retry(const struct alert_rule *r, int attempts);

#endif
