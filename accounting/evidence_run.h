/*
 * evidence_run - looks at the evidence of exemptions, when asked and on a schedule, and does what
 * follows from it.
 *
 * What follows: good or weak clears a warning; bad is a warning at first, and suspends an active
 * one when it has been bad for evidence_grace (one whose evidence never held only where
 * evidence_required); trouble of the DNS changes nothing. Nothing is resumed by itself.
 */
#ifndef ACCOUNTING_EVIDENCE_RUN_H
#define ACCOUNTING_EVIDENCE_RUN_H

#include "accounting/acctd.h"
#include "accounting/evidence.h"

/* NULL with *err. */
struct evidence_runner *evidence_runner_new(struct acctd *a, const char **err);
/* Looks under way end: nothing was found. a->evidence is NULL then. */
void evidence_runner_free(struct evidence_runner *r);

/* Plans the next look; to be called when something may have become due earlier. */
void evidence_plan(struct acctd *a);

/* e: what was found, already stored; NULL: the exemption has ended meanwhile, or could not be
 * stored, or the daemon stops. */
typedef void evidence_done(const struct evidence *e, void *arg);
/* Looks at one now. cb (may be NULL) is called once, later or before this returns. */
void evidence_look(struct acctd *a, int64_t id, evidence_done *cb, void *arg);

/* --- the rule, pure --- */

struct evidence_rules {
	int64_t interval_ms, grace_ms;
	bool required;
};
struct evidence_next {
	bool warn, suspend; /* warn: it was lost just now */
	int64_t due_ms, held_ms, bad_ms;
};
void evidence_follow(const struct evidence_rules *rules, const struct store_exempt *x,
		     enum evidence_verdict found, int64_t now_ms, struct evidence_next *out);

#endif
