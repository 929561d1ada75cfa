/*
 * ceiling - so many notices an hour to one address, and what comes of the others: a summary.
 *
 * Pure: times are passed in. For each address that is told something an hour begins with the first
 * notice; what comes after the last that is allowed is listed in one summary, which goes out when
 * the hour is over. The caller keeps the summary on disk and says with each addition where it is;
 * so nothing is lost when the program ends.
 */
#ifndef MSA_QUEUE_CEILING_H
#define MSA_QUEUE_CEILING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/mail/dsn.h"

#define CEILING_WINDOW_MS 3600000
#define CEILING_LISTED	  100 /* recipients of one summary; further ones are counted */

struct ceiling;

/* What is listed; its texts are copies. */
struct ceiling_summary {
	int64_t due_ms; /* when it goes out */
	int64_t key;	/* the caller's: where it is kept; 0 nowhere yet */
	struct dsn_rcpt rcpts[CEILING_LISTED];
	uint32_t n, more;
};

/* talloc'd under ctx; per_hour 0: no ceiling. addresses: that many are known at once, then the
 * oldest are forgotten. NULL: no memory. */
struct ceiling *ceiling_new(void *ctx, uint32_t per_hour, size_t addresses);
/* True: it may go now, and counts. False: it belongs into the summary. */
bool ceiling_take(struct ceiling *c, const char *to, int64_t now_ms);
/* The summary of this hour for an address that ceiling_take() just refused; made when there is
 * none. NULL: no memory. */
struct ceiling_summary *ceiling_summary(struct ceiling *c, const char *to, int64_t now_ms);
/* False: no memory. */
bool ceiling_list(struct ceiling_summary *s, const struct dsn_rcpt *r, const char *about);

#endif
