/*
 * verdict - what becomes of a packet: facts, policy and time in, decision out. Pure.
 */
#ifndef NFQ_VERDICT_H
#define NFQ_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/marks.h"

#include "nfq/pkt.h"
#include "nfq/policy.h"

/* Why; verdict_rule_name() is what people see in nfq.explain and in metrics. */
enum verdict_rule {
	VERDICT_EXEMPT,	   /* the source is exempt */
	VERDICT_THROTTLED, /* exempt, with limited connections */
	VERDICT_LISTED,	   /* exempt for listed destinations, and this is one */
	VERDICT_UNLISTED,  /* exempt for listed destinations, and this is none */
	VERDICT_CLOSED,	   /* port 25, and not exempt */
	VERDICT_OTHER,	   /* not TCP port 25 after all */
	VERDICT_MALFORMED, /* does not parse */
	VERDICT_OVER,	   /* a new connection above the limits of the exemption */
	VERDICT_NOT_YET,   /* the same, before the kernel has the exemption: to be tried again */
	VERDICT_RULES
};

struct verdict {
	enum verdict_rule rule;
	bool allow;
	bool learn; /* the kernel may refuse this source by itself for a while */
	const struct policy_item *limited; /* allowed, when it begins no connection too many */
};

struct verdict verdict_decide(const struct pkt *pkt, const struct policy *policy,
			      int64_t now_utc_ms);
/* The same for a packet to port 25, from source and destination alone. */
struct verdict verdict_smtp(const struct addr *src, const struct addr *dst,
			    const struct policy *policy, int64_t now_utc_ms);
const char *verdict_rule_name(enum verdict_rule r);

/* The mark a packet goes back with: only the bits of mask are ours. */
uint32_t verdict_mark(const struct marks *m, uint32_t old, bool allow);

/*
 * What of an address is a line: the host of IPv4; of IPv6 the prefix that the pool delegates. The
 * pool is that of the longest prefix with the source, else that of the interface, else none.
 */
struct verdict_lines {
	uint8_t delegated; /* in no pool */
	struct verdict_pool {
		struct prefix prefix;
		uint8_t delegated;
	} * pools; /* of IPv6, longest prefix first */
	size_t n_pools;
	struct verdict_interface {
		uint32_t index;
		uint8_t delegated;
	} * interfaces; /* by index; those of pools that delegate otherwise than `delegated` */
	size_t n_interfaces;
};

/* The key of deny sets and of refusals counted; returns its prefix length. indev 0: not known. */
uint8_t verdict_line(const struct verdict_lines *l, const struct addr *src, uint32_t indev,
		     struct addr *key);

#endif
