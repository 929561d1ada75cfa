/*
 * acctd - what the files of sekisho-acctd share. Only they include it.
 */
#ifndef ACCOUNTING_ACCTD_H
#define ACCOUNTING_ACCTD_H

#include <event2/event.h>

#include "lib/conf.h"
#include "ratelimit/rl.h"
#include "accounting/alert/alerts.h"
#include "accounting/backoff.h"
#include "accounting/control_server.h"
#include "accounting/feed_server.h"
#include "accounting/incident.h"
#include "accounting/ops.h"
#include "accounting/radius_server.h"
#include "accounting/reflex.h"
#include "accounting/store.h"

/* A group class NAME { } of the configuration, as far as acctd cares. */
struct acctd_class {
	char *name; /* first */
	bool listed;
};

struct acctd_conf {
	struct conf_common common; /* first */
	struct conf_list admins;
	int64_t retention_ms, session_idle_ms, session_lifetime_ms, complaints_hold;
	int64_t evidence_interval_ms, evidence_grace_ms;
	bool evidence_required;
	char *dns_server, *dns_trust_anchor;
	struct conf_items classes; /* struct acctd_class */
	char *metrics;
	char *hostname; /* msa.hostname, to know our own Received headers */
	int login_case; /* msa.login_case */
	struct radius_rules radius;
	struct alerts_conf alerts;
	struct reflex_rules reflex;
};

struct policy_wait;
struct evidence_runner;
struct import;
struct acctd {
	struct event_base *base;
	struct acctd_conf conf;
	struct control_rules rules;
	struct store *store;
	struct feed_server *feed;
	struct control_server *control;
	struct radius_server *radius;
	struct rl *rl;
	struct incidents *incidents;
	struct backoff *backoff;	  /* of logins */
	struct policy_wait *waits;	  /* for nfqd to say that a version is in force */
	struct event *expiry;		  /* of exemptions */
	struct event *follow;		  /* held mail came: look again what follows */
	json_t *held;			  /* whose it was */
	struct evidence_runner *evidence; /* NULL: no look-ups */
	struct import *imports;		  /* whose rows are still coming */
	struct alerts *alerts;
	int64_t started_ms;
};

/* ops_policy.c: a program says what is in force. */
void policy_applied(struct acctd *a, const char *program, uint64_t version);
void policy_waits_end(struct acctd *a); /* answers those that wait: not in force */
/* Answers c when nfqd has said that version is in force, or after a second: with "version" and
 * "in_force" in result, which it takes. */
void policy_answer(struct op_call *c, uint64_t version, json_t *result);
/* Expires what is due and plans the next look, by a->expiry. */
void policy_plan_expiry(struct acctd *a);
/* Commits, and answers: when the policy has changed since `before`, after nfqd has it. Takes
 * result. False: it could not be written, and the call has failed. c may be gone afterwards.
 */
bool policy_commit(struct op_call *c, uint64_t before, json_t *result);

#endif
