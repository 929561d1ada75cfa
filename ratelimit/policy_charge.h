/*
 * policy_charge - when a message that a mail server asks about is counted: exactly once, wherever
 * the question is hooked in. Pure.
 *
 * A server that has asked at END-OF-MESSAGE (or DATA) within the last hour is expected to do so
 * again: its questions at RCPT are checks. Of others each RCPT counts one recipient, and the first
 * of a message the message. Whatever was counted early is left out later: `instance`, the same for
 * all questions about one message, says which they are. Who the recipients are is said at RCPT
 * alone, so it is kept until the message is counted.
 */
#ifndef RATELIMIT_POLICY_CHARGE_H
#define RATELIMIT_POLICY_CHARGE_H

#include "ratelimit/policy.h"

#define POLICY_CLIENTS 64    /* mail servers kept apart; the longest silent gives way */
#define POLICY_KEPT    65536 /* recipients of all messages under way; the oldest give way */

/* What one mail server has asked so far. */
struct policy_client {
	struct addr address;		  /* zero: over a unix socket */
	int64_t used_ms, data_ms, end_ms; /* last question; at DATA; at END-OF-MESSAGE. 0: never */
	int64_t warned_ms;
	uint64_t requests, with_login, stage[POLICY_OTHER + 1];
};

struct policy_charges;

/* Ends the process when memory is out. */
struct policy_charges *policy_charges_new(void);
void policy_charges_free(struct policy_charges *t);
/* Notes the question, and whose it is. The client is good until the next call. */
struct policy_client *policy_note(struct policy_charges *t, const struct addr *server,
				  const struct policy_request *r, int64_t mono_ms);
/* rl_hash() of a recipient and of its domain. */
struct policy_rcpt {
	uint64_t name, domain;
};
/*
 * Amounts and charge of ask, and its recipients: at a check all of the message so far, at a charge
 * those that were not counted before; they live until the next call. rcpt: who the question names;
 * NULL: nobody. False: there is nothing to ask, DUNNO.
 */
bool policy_amounts(struct policy_charges *t, const struct policy_client *c,
		    const struct policy_request *r, const struct policy_rcpt *rcpt, int64_t mono_ms,
		    struct rl_ask *ask);
/* ask passed; at a charge it was counted. */
void policy_passed(struct policy_charges *t, const struct policy_client *c,
		   const struct policy_request *r, const struct policy_rcpt *rcpt, int64_t mono_ms,
		   const struct rl_ask *ask);
/* In words (static) whether limits can bite as this server asks. */
const char *policy_verdict(const struct policy_client *c, bool *bites);
void policy_each_client(const struct policy_charges *t,
			void (*f)(const struct policy_client *c, void *arg), void *arg);

#endif
