/*
 * spf - does a domain's SPF record allow an address to send? RFC 7208 over facts of the DNS. Pure.
 *
 * Evaluated: all, include, a, mx, ip4, ip6, redirect; qualifiers, prefix lengths, the limits of ten
 * look-ups, ten MX hosts and two empty answers. Not evaluated: exists, ptr and names with macros;
 * they never match, and are named in the words.
 */
#ifndef ACCOUNTING_SPF_H
#define ACCOUNTING_SPF_H

#include "accounting/dns_answer.h"

enum spf_result {
	SPF_PENDING, /* the facts have needs first */
	SPF_NONE,
	SPF_PASS,
	SPF_NEUTRAL,
	SPF_SOFTFAIL,
	SPF_FAIL,
	SPF_PERMERROR,
	SPF_TEMPERROR,
};

struct spf {
	enum spf_result result;
	char why[160];	   /* the term that matched, or what is wrong */
	char skipped[100]; /* terms not evaluated on the way, "" when there are none */
};

void spf_check(struct dns_facts *f, const struct addr *a, const char *domain, struct spf *out);
const char *spf_word(enum spf_result r);

#endif
