/*
 * dns_answer - answers of the DNS as plain data: read from the wire, and kept by name and type.
 * Pure.
 *
 * Names are lower-case ASCII without the last dot. What a name or a text of a record holds beside
 * printable ASCII is written as "?", so that nothing of it acts anywhere.
 */
#ifndef ACCOUNTING_DNS_ANSWER_H
#define ACCOUNTING_DNS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

#define DNS_NAME_MAX 256  /* with its NUL */
#define DNS_TEXT_MAX 2048 /* of a TXT record, its strings put together; longer ones are cut */
#define DNS_RR_MAX   32	  /* of one answer; further ones are counted only */

#define DNS_DATA_MAX                                                                               \
	512 /* of a TLSA record: a longer one is passed over, as if it could not be used */

enum dns_type {
	DNS_A = 1,
	DNS_CNAME = 5,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_TLSA = 52
};

enum dns_status {
	DNS_FOUND,    /* there are records */
	DNS_NODATA,   /* the name is there, without records of this type */
	DNS_NXDOMAIN, /* there is no such name */
	DNS_TROUBLE,  /* nobody can say now: no answer, SERVFAIL, REFUSED, DNSSEC that does not hold
		       */
};

struct dns_rr {
	struct addr a; /* A, AAAA */
	uint16_t pref; /* MX */
	char *text;    /* PTR, MX, CNAME: a name ("" is the root); TXT: its text */
	uint8_t *data; /* TLSA: usage, selector, matching type, association data (RFC 6698 2.1) */
	size_t len;
};

struct dns_answer {
	enum dns_status status;
	bool secure;  /* DNSSEC holds, from an anchor on; also of "there is none" */
	char why[80]; /* of DNS_TROUBLE, in words */
	char *owner; /* of DNS_FOUND: the name that has the records: not the one asked for when that
			is an alias */
	size_t n, dropped; /* records; those beyond DNS_RR_MAX */
	struct dns_rr *rr;
};

/*
 * The records of a type in the answer section of a response (RFC 1035 4.1), talloc'd under ctx.
 * False when the bytes are not a response: then out is DNS_TROUBLE.
 */
bool dns_answer_parse(void *ctx, const uint8_t *p, size_t len, enum dns_type type,
		      struct dns_answer *out);

/* "1.2.0.192.in-addr.arpa"; returns buf. */
const char *dns_reverse_name(const struct addr *a, char buf[static DNS_NAME_MAX]);
/* Lower case, without the last dot; false when it is no host name that can be asked for (letters,
 * digits, '-', '_' and dots; labels of 1 to 63; at most 253 bytes). */
bool dns_name(const char *text, char out[static DNS_NAME_MAX]);
const char *dns_type_name(enum dns_type t);

/* --- facts: what is known, and what was asked for and is not --- */

#define DNS_NEEDS_MAX 24  /* asked for at once */
#define DNS_FACTS_MAX 100 /* questions of one judgement: who needs more does not get it */

struct dns_need {
	enum dns_type type;
	char name[DNS_NAME_MAX];
};

struct dns_facts;
struct dns_facts *dns_facts_new(void *ctx); /* talloc'd */
/* What is known of it; NULL: it is one of the needs now. A name that cannot be asked for is
 * DNS_NXDOMAIN, a question too many DNS_TROUBLE. */
const struct dns_answer *dns_fact(struct dns_facts *f, enum dns_type type, const char *name);
/* Takes a, whose records are under ctx of dns_facts_new() or static. */
void dns_fact_put(struct dns_facts *f, enum dns_type type, const char *name,
		  const struct dns_answer *a);
/* The needs noted since the last call, which forgets them. */
size_t dns_facts_needs(struct dns_facts *f, struct dns_need out[static DNS_NEEDS_MAX]);

#endif
