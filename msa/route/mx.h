/*
 * mx - the servers of a destination, best first (RFC 5321 5.1, RFC 7505, RFC 7672 2.2). Pure: facts
 * of the DNS go in, and what is not known yet is noted there.
 */
#ifndef MSA_ROUTE_MX_H
#define MSA_ROUTE_MX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/dns_answer.h"
#include "msa/route/own.h"
#include "msa/route/route.h"

#define MX_HOSTS_MAX 16 /* the best ones; a domain that names more does not get more tries */
#define MX_ADDRS_MAX 48
#define MX_EACH_MAX  4 /* addresses of one family of one host */
#define MX_TLSA_MAX  16
#define MX_SELF_MAX  32

struct mx_ask {
	const char *domain; /* its mail servers; or "" and hosts */
	const struct route_host *hosts;
	size_t n_hosts;
	const char *const *self; /* names that are us, lower case */
	size_t n_self;
	const struct own *own; /* ends of connections that are us; NULL: none known */
	bool dane;	       /* look for TLSA records */
	uint32_t random;       /* orders equals */
};

struct mx_tlsa {
	uint8_t usage, selector, matching;
	uint16_t len;
	uint8_t data[DNS_DATA_MAX];
};

struct mx_host {
	char name[DNS_NAME_MAX]; /* as it is in a certificate; the address for a literal */
	char base[DNS_NAME_MAX]; /* whose TLSA records they are, when name is an alias of it; ""
				    name itself (RFC 7672 2.2.3) */
	uint16_t pref, port;
	bool literal;
	bool mx_secure; /* the name came by DNSSEC, or from the operator */
	bool dane;	/* there are secure TLSA records: TLS is a must, and they decide */
	bool unsure;	/* whether there are could not be found out: nothing may be sent */
	size_t n_tlsa;	/* usable ones (DANE-TA, DANE-EE); 0 with dane: encrypted, unverified */
	struct mx_tlsa *tlsa;
};

struct mx_addr {
	struct addr a;
	uint8_t host; /* index */
};

enum mx_status {
	MX_WAIT,    /* ask for the needs noted in the facts, then again */
	MX_FOUND,   /* hosts and addrs */
	MX_REFUSED, /* never: status 5.x.x and why */
	MX_LATER,   /* not now: status 4.x.x and why */
};

struct mx_list {
	enum mx_status result;
	char status[8];
	char why[DNS_NAME_MAX + 240];
	struct mx_host hosts[MX_HOSTS_MAX];
	size_t n_hosts;
	struct mx_addr addrs[MX_ADDRS_MAX]; /* in the order to try */
	size_t n_addrs;
};

/* out's records are talloc'd under ctx; complete whatever the result. */
void mx_judge(void *ctx, const struct mx_ask *ask, struct dns_facts *f, struct mx_list *out);

#endif
