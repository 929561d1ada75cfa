/*
 * conditions - states of the appliance that somebody should know of, from what the daemons say of
 * themselves. Pure.
 */
#ifndef ACCOUNTING_ALERT_CONDITIONS_H
#define ACCOUNTING_ALERT_CONDITIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct conditions_limits {
	int64_t away_ms;      /* a daemon that is away so long */
	int64_t queue_depth;  /* messages in the queue; 0: no limit */
	int64_t queue_age_ms; /* of the oldest; 0: no limit */
	int64_t disk_free;    /* percent that must be free; 0: no limit */
};

enum { ABSENT_NFQD, ABSENT_MSAD, ABSENT_RATELIMITD, ABSENT_RULES, ABSENT_N };

struct conditions_facts {
	const json_t *nfqd, *msad;	/* their status; NULL: not known now */
	int64_t absent_since[ABSENT_N]; /* 0: it is there. RULES: nothing is enforced */
	int disk_free;			/* percent; -1: not known */
	int64_t now_ms;
};

struct condition {
	const char *name, *severity;
	bool holds;
	char why[256];
};

/*
 * Calls f for each condition that can be told now; one that cannot is left out. held() says whether
 * it held before: a queue must be clearly shorter again to be called so.
 */
void conditions_look(const struct conditions_limits *l, const struct conditions_facts *facts,
		     bool (*held)(const char *name, void *arg),
		     void (*f)(const struct condition *c, void *arg), void *arg);

#endif
