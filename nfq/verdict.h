/*
 * verdict - what becomes of a packet: facts, policy and time in, decision out. Pure.
 */
#ifndef NFQ_VERDICT_H
#define NFQ_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/marks.h"

#include "nfq/pkt.h"
#include "nfq/policy.h"

/* Why; verdict_rule_name() is what people see in nfq.explain and in metrics. */
enum verdict_rule {
	VERDICT_EXEMPT,	   /* the source is exempt */
	VERDICT_THROTTLED, /* exempt, with limited connections: the kernel meters them */
	VERDICT_CLOSED,	   /* port 25, and not exempt */
	VERDICT_OTHER,	   /* not TCP port 25 after all */
	VERDICT_MALFORMED, /* does not parse */
	VERDICT_RULES
};

struct verdict {
	enum verdict_rule rule;
	bool allow;
	bool learn; /* the kernel may refuse this source by itself for a while */
};

struct verdict verdict_decide(const struct pkt *pkt, const struct policy *policy,
			      int64_t now_utc_ms);
const char *verdict_rule_name(enum verdict_rule r);

/* The mark a packet goes back with: only the bits of mask are ours. */
uint32_t verdict_mark(const struct marks *m, uint32_t old, bool allow);

/* The key of deny sets and of refusals counted: the host of IPv4, the /64 of IPv6. */
void verdict_source_key(const struct addr *src, struct addr *key);

#endif
