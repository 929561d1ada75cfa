/*
 * report - what RFC 8460 sends to a domain about TLS with its mail servers: the record that asks
 * for it, the report of a day as JSON, the mail that carries it. Pure.
 */
#ifndef MSA_TLSRPT_REPORT_H
#define MSA_TLSRPT_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/tlsrpt/counts.h"

#define TLSRPT_RUA_MAX TLSRPT_TEXT_MAX
#define TLSRPT_URI_MAX 400

/* Who reports. */
struct tlsrpt_who {
	const char *hostname, *organization, *contact; /* an address */
};

/* The value of rua of a TXT record (RFC 8460 3); false when it is no such record, or holds no URI
 * of a kind that we know. */
bool tlsrpt_record(const char *text, char rua[static TLSRPT_RUA_MAX]);
/* The next URI of a rua, *at begins with it; false at its end. One that is too long is passed over.
 */
bool tlsrpt_uri(const char **at, char uri[static TLSRPT_URI_MAX]);
/* The address of "mailto:ADDRESS", %XX decoded; false when it is none. */
bool tlsrpt_mailto(const char *uri, char address[static TLSRPT_URI_MAX]);

/* The host, lower case, and the rest of "https://HOST/PATH"; false when it is none, or names a
 * user, a port that is not 443, or an address. */
bool tlsrpt_https(const char *uri, char host[static TLSRPT_URI_MAX],
		  char path[static TLSRPT_URI_MAX]);

/* The report of a day to one domain (RFC 8460 4.4): a new reference, NULL when there is nothing. */
json_t *tlsrpt_report(const struct tlsrpt_row *rows, size_t n, const char *domain, const char *day,
		      const struct tlsrpt_who *who);
/* Of each domain and policy one object {domain, policy, policy_domain, successful, failed, rua,
 * failures: [{result, mx, to, from, count, reason}]}; domain NULL: of all. A new reference. */
json_t *tlsrpt_summary(const struct tlsrpt_row *rows, size_t n, const char *domain);
/* "2026-11-22.example.net@mx.isp.example": of one domain and day always the same, so that a report
 * sent twice is known. Returns buf. */
#define TLSRPT_ID_MAX 600
const char *tlsrpt_id(const char *domain, const char *day, const char *hostname,
		      char buf[static TLSRPT_ID_MAX]);
/* "mx.isp.example!example.net!1763769600!1763855999.json.gz"; returns buf. */
#define TLSRPT_FILE_MAX 600
const char *tlsrpt_file(const char *domain, const char *day, const char *hostname,
			char buf[static TLSRPT_FILE_MAX]);

struct tlsrpt_letter {
	const struct tlsrpt_who *who;
	const char *id; /* queue id, for Message-ID and boundary */
	const char *to, *domain, *day;
	int64_t now_ms;
	const uint8_t *gz; /* the report, packed */
	size_t gz_len;
};
/* The whole message (RFC 8460 5.3), 7 bit, CRLF; talloc'd under ctx, NUL-terminated past *len. */
char *tlsrpt_mail(void *ctx, const struct tlsrpt_letter *l, size_t *len);

#endif
