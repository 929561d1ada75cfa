/*
 * reflex - what one layer does because of what another saw: a held account and the exemption of the
 * line its mail came from, a line's exemption that is suspended for abuse and the accounts used
 * from it.
 *
 * Pure but for the store; everything happens in the caller's transaction, is in the case's timeline
 * and in the audit trail (actor "reflex"), and is done once for a case. Undone is what a person
 * took back as a mistake; else the operator decides, and is told what to type.
 */
#ifndef ACCOUNTING_REFLEX_H
#define ACCOUNTING_REFLEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ratelimit/rl.h"
#include "accounting/store.h"

enum reflex_exemption { REFLEX_EXEMPTION_OFF, REFLEX_EXEMPTION_NOTE, REFLEX_EXEMPTION_SUSPEND };
enum reflex_accounts { REFLEX_ACCOUNTS_OFF, REFLEX_ACCOUNTS_WATCH, REFLEX_ACCOUNTS_HOLD };

struct reflex_rules {
	int exemption; /* enum reflex_exemption */
	int accounts;  /* enum reflex_accounts */
};

#define REFLEX_RULE	"exemption" /* the detector of cases that a suspension has opened */
#define REFLEX_ACTOR	"reflex"
#define REFLEX_HELD_MS	3600000	 /* mail of so long before a hold says which line it came from */
#define REFLEX_LINE_MS	86400000 /* and who has used a line */
#define REFLEX_ACCOUNTS 50	 /* of one line, at most */

/* The case of a contained account: every active exemption of a line from which it logged in or sent
 * within REFLEX_HELD_MS. */
void reflex_held(struct store *s, const struct reflex_rules *r, int64_t incident, int64_t now_ms);
/* Its case was released; mistake: what was suspended for it is in force again. */
void reflex_released(struct store *s, int64_t incident, bool mistake, const struct store_who *w,
		     int64_t now_ms);

struct incidents;
/*
 * The exemption was suspended for abuse. Penalties that the caller sets after the commit go to out
 * (room for REFLEX_ACCOUNTS); their number.
 */
size_t reflex_suspended(struct store *s, struct incidents *in, const struct reflex_rules *r,
			int64_t exemption, const char *reason, int64_t now_ms,
			struct rl_penalty *out);
/* It is in force again: accounts that were only watched for it are not any more; the same. */
size_t reflex_resumed(struct store *s, int64_t exemption, const struct store_who *w, int64_t now_ms,
		      struct rl_penalty *out);

#endif
