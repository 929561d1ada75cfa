/*
 * incident - penalties and cases: what ratelimitd does to an account and what the desk knows of it
 * stay in step.
 *
 * Pure but for the store: time is passed in, penalties are set through a function.
 *
 * A penalty opens (or contains again) the account's incident. A contained incident whose penalty
 * ratelimitd has lost gets it again; a penalty that was released here, when ratelimitd could not
 * hear it, is lifted.
 */
#ifndef ACCOUNTING_INCIDENT_H
#define ACCOUNTING_INCIDENT_H

#include <stdbool.h>
#include <stdint.h>

#include "ratelimit/rl.h"
#include "accounting/store.h"

struct incidents;
struct reflex_rules;

/* set: hand a penalty to ratelimitd; false when it is away. */
struct incidents *incidents_new(struct store *store,
				bool (*set)(const struct rl_penalty *p, void *arg), void *arg);
/* What follows from a hold of its own accord; NULL (at first): nothing. Read at each hold. */
void incidents_reflexes(struct incidents *in, const struct reflex_rules *r);
void incidents_free(struct incidents *in);

/* From ratelimitd: the connection came up (penalties in force follow, then synced), and each
 * change. */
void incidents_connected(struct incidents *in);
void incidents_penalty(struct incidents *in, const struct rl_penalty *p, int64_t now_ms);
void incidents_synced(struct incidents *in, int64_t now_ms);

/*
 * By people, inside a transaction. id 0: by account. NULL, or a sentence that says why not, with
 * *code. The penalty is to be set by the caller after the commit: incidents_apply().
 */
struct incident_change {
	int64_t id;
	struct rl_penalty penalty;
};
const char *incidents_hold(struct incidents *in, int64_t id, const char *account, const char *rule,
			   const char *reason, const char *actor, int64_t now_ms,
			   struct incident_change *out, const char **code);
const char *incidents_release(struct incidents *in, int64_t id, const char *account,
			      const char *reason, const char *actor, int64_t now_ms,
			      struct incident_change *out, const char **code);
/* A hold of the caller's own, after it went in: what follows from it. In the same transaction. */
void incidents_follow(struct incidents *in, int64_t id, int64_t now_ms);
bool incidents_apply(struct incidents *in, const struct incident_change *c);

/* The unresolved incident a complaint belongs to, opened when there is none; inside a transaction.
 * subject_type "account" or "line". */
int64_t incidents_complaint(struct incidents *in, int64_t account, const char *login,
			    int64_t subscriber, const char *line, const char *why, int64_t now_ms);

#endif
