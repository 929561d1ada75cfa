/*
 * alerts - from timelines and states of the appliance to alerts that have arrived, inside acctd.
 *
 * What is to be told is in the database before it is told (store_alert.h), when it is told is
 * decided by pace.h, what is said by payload.h; the network is the sender's. acctd's loop never
 * waits for a receiver, and nothing here needs msad.
 */
#ifndef ACCOUNTING_ALERT_ALERTS_H
#define ACCOUNTING_ALERT_ALERTS_H

#include <jansson.h>
#include <stdint.h>

#include "lib/conf.h"
#include "accounting/alert/conditions.h"

struct acctd;
struct alerts;

/* Of the section `accounting`. */
struct alerts_conf {
	struct conf_items rules; /* struct alert_rule */
	char *dashboard_url;
	struct conditions_limits limits;
};

/* After the store and the feed are there. exe: this program, to run as -x alert. */
struct alerts *alerts_new(struct acctd *a, const char *exe);
void alerts_free(struct alerts *al);
/* The configuration has changed. */
void alerts_reloaded(struct alerts *al);

/* {"state","waiting","sent","failed"}: state is "off", "ok", "retrying: WHY since TIME" or "failed:
 * WHY"; sent and failed are of the last day. */
json_t *alerts_status(struct alerts *al, int64_t now_ms);

/*
 * Send a test to every receiver of the rule name (NULL: of every rule), now and not through the
 * outbox. done is called once, never from inside: [{"alert","to","ok","answer"}]; it takes the
 * result. False: there is no such rule.
 */
bool alerts_test(struct alerts *al, const char *name, int64_t now_ms,
		 void (*done)(json_t *result, void *arg), void *arg);

/* Rows of the outbox were made due: look soon. */
void alerts_wake(struct alerts *al);

#endif
