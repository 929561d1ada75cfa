/*
 * store_alert - what is to be told to whom, and the outbox of alerts, in the accounting database.
 *
 * The timelines of incidents are the log that alerts are made from: each of their lines is looked
 * at once, in the transaction that moves the mark, so that a change that was committed is told even
 * when acctd is killed at once. All calls are inside a transaction of store.h but those that say
 * otherwise.
 */
#ifndef ACCOUNTING_STORE_ALERT_H
#define ACCOUNTING_STORE_ALERT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "accounting/store.h"

/* One line of a timeline that nobody has looked at. */
struct store_alert_change {
	int64_t event, incident;
	bool account; /* the subject is an account */
	char what[16], detector[32], severity[8], stage[12];
	char subject[EVENT_ACCOUNT_MAX + 1];
};
/* The next one after the mark; false: none. In a transaction or not. */
bool store_alert_next(struct store *s, struct store_alert_change *out);
void store_alert_seen(struct store *s, int64_t event);

struct store_alert_item {
	const char *rule, *kase, *kind;
	int64_t incident; /* 0: a state of the appliance */
	int rank;
	bool over, told;	   /* told: since it was opened or opened again */
	int64_t new_ms, change_ms; /* 0: nothing waits */
};
/* Fills what the database knows of rule and kase, which are set; false: nothing. */
bool store_alert_item(struct store *s, struct store_alert_item *i);
void store_alert_item_put(struct store *s, const struct store_alert_item *i);

/* What waits of a rule, by kind: calls f for each. Not in a transaction. */
struct store_alert_waits {
	const char *kind;
	int64_t new_ms, change_ms, told_ms;
	int told; /* alerts of the kind after since_ms */
};
void store_alert_waiting(struct store *s, const char *rule, int64_t since_ms,
			 void (*f)(const struct store_alert_waits *w, void *arg), void *arg);
/* Alerts of the rule after since_ms, and the first of them. Not in a transaction. */
int store_alert_made(struct store *s, const char *rule, int64_t since_ms, int64_t *first_ms);

#define STORE_ALERT_FACTS 10
/*
 * The cases of a kind that wait, the worst first, at most limit of them, the first
 * STORE_ALERT_FACTS with facts:
 * [{"case","incident","over","told_before","rank","state","stage","subject_type","subject",
 *   "subscriber","subscriber_name","detector","severity","why","opened_ms","resolved_ms",
 *   "changes":[{"t_ms","actor","what","text"}],"totals":{...},"networks":[...],"replies":[...],
 *   "blocked":{...},"reports":n}];
 * of a state of the appliance only case, over, severity, why, opened_ms, resolved_ms. *all is how
 * many there are. evidence_ms: facts from then on.
 */
json_t *store_alert_cases(struct store *s, const char *rule, const char *kind, int limit,
			  int64_t evidence_ms, int64_t *all);
/* They are told now. */
void store_alert_told(struct store *s, const char *rule, const char *kind, int64_t now_ms);

/* An alert and a row of the outbox for each receiver. */
struct store_alert {
	const char *uuid, *rule, *kind, *title, *body;
	int64_t made_ms;
};
int64_t store_alert_add(struct store *s, const struct store_alert *a);
void store_alert_add_send(struct store *s, int64_t alert, const char *dest, int64_t now_ms);

/* The next due one that is not in `busy` (ids with blanks around, " 3 17 "): as an object with
 * "id","uuid","rule","dest","attempts","made_ms","title","body", or NULL. Not in a transaction. */
json_t *store_alert_due(struct store *s, const char *busy, int64_t now_ms);
/* When the next is due; 0: none waits. Not in a transaction. */
int64_t store_alert_next_due(struct store *s, const char *busy);
/* An attempt has ended: state "waiting" (then until next_ms), "sent" or "failed". */
void store_alert_result(struct store *s, int64_t send, const char *state, int attempts,
			int64_t next_ms, const char *answer, int64_t now_ms);

/* A row of the outbox: 0 there is none, 1 it has not arrived, 2 it has. */
int store_alert_arrived(struct store *s, int64_t send);
/* It waits again, and is due at now_ms. */
void store_alert_resend(struct store *s, int64_t send, int64_t now_ms);

/* Of the appliance: the condition as it was last put down; false: never seen, or over. */
bool store_alert_condition(struct store *s, const char *name);
void store_alert_condition_put(struct store *s, const char *name, const char *severity,
			       const char *why, int64_t begun_ms);
void store_alert_condition_end(struct store *s, const char *name, int64_t now_ms);

/* {"waiting","sent","failed" (both of the last
 * day),"oldest_ms","retrying","answer","failed_answer"} Not in a transaction. */
json_t *store_alert_status(struct store *s, int64_t day_ms);
/* Forgets what was made before and does not wait. */
void store_alert_prune(struct store *s, int64_t before_ms);

#endif
