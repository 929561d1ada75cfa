/*
 * report - from a parsed abuse report to whom it is about.
 */
#ifndef ACCOUNTING_REPORT_H
#define ACCOUNTING_REPORT_H

#include "accounting/arf.h"
#include "accounting/incident.h"
#include "accounting/store.h"

struct report_match {
	const char *how;	     /* "token" "queue_id" "tag" "lease" "none" */
	int64_t account, subscriber; /* 0: not known */
	char login[EVENT_ACCOUNT_MAX + 1];
	char token[EVENT_ID_MAX + 1], queue_id[EVENT_ID_MAX + 1];
	char error[256]; /* how none: why */
	bool again;	 /* somebody has complained of that very message before */
};

/* What a->tagged says, if it was verified: whose it is, and when it was made. */
struct report_tag {
	const char *sender; /* without the tag; "" not verified */
	int64_t from_ms, to_ms;
};
/* The day (UTC) on which a tag was made that expires on day ddd (0..999): the last one before
 * received_ms. */
void report_tag_day(int ddd, int64_t received_ms, struct report_tag *out);

/* Our token, then our queue id, then our tag (NULL: none), then address (and port) and time through
 * the leases. received_ms: when it came, if nothing else says when. */
void report_match(struct store *s, const struct arf *a, const struct report_tag *tag,
		  int64_t received_ms, struct report_match *out);

/*
 * In a transaction: match, file under an incident unless it is no complaint (not-spam) or nobody
 * was found, and store. The id, 0 on error of the store; *match and *incident (0: none) are set.
 */
int64_t report_file(struct store *s, struct incidents *in, const struct arf *a,
		    const struct report_tag *tag, const char *sha256, int64_t received_ms,
		    struct report_match *match, int64_t *incident);

#endif
