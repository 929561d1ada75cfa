/*
 * tls_counts - how TLS goes with mail servers, counted for reports (RFC 8460): of each connection
 * to the mail servers of a domain, once.
 *
 * Only what goes by MX is counted: a host that the operator named is no policy domain's.
 */
#ifndef MSA_RELAY_TLS_COUNTS_H
#define MSA_RELAY_TLS_COUNTS_H

#include "accounting/dns.h"
#include "msa/route/mx.h"
#include "msa/route/sts.h"
#include "msa/tlsrpt/counts.h"

struct tls_counts;
struct relay;

/* talloc'd; files are in <folder>/tlsrpt. ask: the DNS is asked who wants reports, through dns,
 * which may give NULL. */
struct tls_counts *tls_counts_new(void *ctx, const char *folder, bool ask,
				  struct dns *(*dns)(struct relay *r), struct relay *r);

/* Nothing is written from now on; answers of the DNS that come yet are for nobody. */
void tls_counts_end(struct tls_counts *t);

/* What a connection is held to. */
struct tls_policy {
	const char *domain;	      /* of the recipients */
	const struct mx_host *host;   /* NULL: none was chosen */
	const struct sts_policy *sts; /* or NULL */
};

/* One attempt. reason: words, of a failure; to, from: NULL not known. */
void tls_count(struct tls_counts *t, const struct tls_policy *p, enum tlsrpt_result result,
	       const struct addr *to, const struct addr *from, const char *reason);
/* A policy of MTA-STS that could not be had. */
void tls_count_unfetched(struct tls_counts *t, const char *domain, enum tlsrpt_result result,
			 const char *reason);
/* What a certificate that does not hold (an X509_V_ERR of OpenSSL) is called there. */
enum tlsrpt_result tls_count_result(int x509_error);

#endif
