/*
 * counts - how TLS went with other servers, by day, recipient domain and policy: what a report of
 * RFC 8460 is made of.
 *
 * One file a day (UTC), <folder>/YYYY-MM-DD, of at most TLSRPT_ROWS rows of TLSRPT_ROW_BYTES, each
 * with its checksum; a row is written in place when it changes. Plain pwrite(2): it must survive
 * the death of processes. A full disk loses counts, never mail. One process writes.
 */
#ifndef MSA_TLSRPT_COUNTS_H
#define MSA_TLSRPT_COUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

#define TLSRPT_ROW_BYTES  1024u
#define TLSRPT_ROWS	  8192u /* of a day: 8 MiB; what does not fit is counted as dropped */
#define TLSRPT_NAME_MAX	  256
#define TLSRPT_TEXT_MAX	  432
#define TLSRPT_REASON_MAX 160
#define TLSRPT_DAY_LEN	  11 /* "2026-11-22" with its NUL */
#define TLSRPT_KEEP_DAYS  8

enum tlsrpt_policy { TLSRPT_NO_POLICY = 1, TLSRPT_STS, TLSRPT_TLSA, TLSRPT_POLICIES };

/* RFC 8460 4.3. */
enum tlsrpt_result {
	TLSRPT_OK = 0,
	TLSRPT_STARTTLS_NOT_SUPPORTED,
	TLSRPT_HOST_MISMATCH,
	TLSRPT_EXPIRED,
	TLSRPT_NOT_TRUSTED,
	TLSRPT_VALIDATION_FAILURE,
	TLSRPT_TLSA_INVALID,
	TLSRPT_DNSSEC_INVALID,
	TLSRPT_DANE_REQUIRED,
	TLSRPT_STS_FETCH_ERROR,
	TLSRPT_STS_INVALID,
	TLSRPT_STS_WEBPKI_INVALID,
	TLSRPT_RESULTS
};

enum tlsrpt_kind {
	TLSRPT_DOMAIN = 1, /* text: its rua, "" it wants no report */
	TLSRPT_POLICY,	   /* text: the policy, lines; ok and failed sessions */
	TLSRPT_FAILURE,	   /* failed sessions of one kind; text: the reason in words */
};

struct tlsrpt_row {
	uint8_t kind, policy, result;
	uint64_t ok, failed;
	char domain[TLSRPT_NAME_MAX];	     /* of recipients */
	char policy_domain[TLSRPT_NAME_MAX]; /* DANE: whose TLSA records; else domain */
	char mx[TLSRPT_NAME_MAX];
	struct addr from, to; /* zeros: not known */
	char text[TLSRPT_TEXT_MAX];
};

/* One attempt. Texts may be ""; longer ones are cut. */
struct tlsrpt_session {
	const char *domain;
	enum tlsrpt_policy policy;
	const char *policy_domain, *policy_text;
	enum tlsrpt_result result;
	const char *mx;		      /* of a failure, as from, to and reason */
	const struct addr *from, *to; /* NULL: not known */
	const char *reason;
};

struct tlsrpt_counts;

/* "2026-11-22"; returns buf. */
const char *tlsrpt_day(int64_t utc_ms, char buf[static TLSRPT_DAY_LEN]);
bool tlsrpt_day_valid(const char *day);
const char *tlsrpt_policy_word(enum tlsrpt_policy p); /* "no-policy-found" */
const char *tlsrpt_result_word(enum tlsrpt_result r); /* "starttls-not-supported"; "" OK */

/* talloc'd under ctx. write: made when it is not there, and what is older than TLSRPT_KEEP_DAYS is
 * removed. NULL with errno. */
struct tlsrpt_counts *tlsrpt_open(void *ctx, const char *folder, const char *day, bool write);
void tlsrpt_close(struct tlsrpt_counts *c);
/* False with errno when the file did not take it; it is in memory all the same. */
bool tlsrpt_count(struct tlsrpt_counts *c, const struct tlsrpt_session *s);
/* Has the domain a row of its own (its rua was looked up)? */
bool tlsrpt_knows(const struct tlsrpt_counts *c, const char *domain);
bool tlsrpt_set_rua(struct tlsrpt_counts *c, const char *domain, const char *rua);
const struct tlsrpt_row *tlsrpt_rows(const struct tlsrpt_counts *c, size_t *n);
/* Who has got the report of a day: <folder>/<day>.sent, a line a domain. "\nDOMAIN\nDOMAIN\n",
 * talloc'd under ctx; and one more, false with errno. */
char *tlsrpt_sent(void *ctx, const char *folder, const char *day);
bool tlsrpt_is_sent(const char *sent, const char *domain);
bool tlsrpt_mark_sent(const char *folder, const char *day, const char *domain);
/* Rows that there was no room for; damaged ones that were passed over. */
uint64_t tlsrpt_dropped(const struct tlsrpt_counts *c);

#endif
