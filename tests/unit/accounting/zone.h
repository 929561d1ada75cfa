/* zone - a few records as text, to answer the needs of a judgement from. */
#ifndef TESTS_ACCOUNTING_ZONE_H
#define TESTS_ACCOUNTING_ZONE_H

#include <talloc.h>

#include "accounting/dns_answer.h"

/* data: an address, a name, "10 name" (MX), a text; "!": trouble. */
struct record {
	const char *name;
	enum dns_type type;
	const char *data;
};

static void zone_rr(void *ctx, const struct record *r, struct dns_rr *rr)
{
	const char *err, *text = r->data;
	if (r->type == DNS_A || r->type == DNS_AAAA) {
		assert_true(addr_parse(text, &rr->a, &err));
		return;
	}
	if (r->type == DNS_MX) {
		rr->pref = (uint16_t)strtol(text, NULL, 10);
		text = strchr(text, ' ') + 1;
	}
	rr->text = talloc_strdup(ctx, text);
}

/* zone ends with a row without a name. Counts the questions. */
static int zone_questions;
static void zone_answer(void *ctx, const struct record *zone, const struct dns_need *q,
			struct dns_answer *a)
{
	*a = (struct dns_answer){.status = DNS_NXDOMAIN,
				 .rr = talloc_zero_array(ctx, struct dns_rr, DNS_RR_MAX)};
	zone_questions++;
	for (; zone->name; zone++) {
		if (strcmp(zone->name, q->name) != 0)
			continue;
		if (zone->type != q->type) {
			if (a->status == DNS_NXDOMAIN)
				a->status = DNS_NODATA;
		} else if (strcmp(zone->data, "!") == 0) {
			a->status = DNS_TROUBLE;
			snprintf(a->why, sizeof a->why, "SERVFAIL");
			return;
		} else if (a->n < DNS_RR_MAX) {
			a->status = DNS_FOUND;
			zone_rr(ctx, zone, &a->rr[a->n++]);
		}
	}
}

/* False when nothing was needed. */
static bool zone_fill(struct dns_facts *f, const struct record *zone)
{
	struct dns_need q[DNS_NEEDS_MAX];
	size_t n = dns_facts_needs(f, q);
	for (size_t i = 0; i < n; i++) {
		struct dns_answer a;
		zone_answer(f, zone, &q[i], &a);
		dns_fact_put(f, q[i].type, q[i].name, &a);
	}
	return n > 0;
}

#endif
