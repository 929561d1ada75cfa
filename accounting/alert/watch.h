/*
 * watch - asks the daemons how they are, for conditions.h. Inside acctd.
 */
#ifndef ACCOUNTING_ALERT_WATCH_H
#define ACCOUNTING_ALERT_WATCH_H

#include "accounting/alert/conditions.h"

struct acctd;
struct watch;

/* looked() is called some seconds apart while somebody wants to know; facts are valid during the
 * call. */
struct watch *watch_new(struct acctd *a,
			void (*looked)(const struct conditions_facts *f, void *arg), void *arg);
void watch_want(struct watch *w, bool wanted);
void watch_free(struct watch *w);

#endif
