/*
 * verdict - see verdict.h.
 *
 * Trusted with: the decision. What is not known to be allowed is refused. Diagnostics: the rule.
 * Known gaps: none. The limits of a class are metered elsewhere (meter.h).
 */
#include "nfq/verdict.h"

#define SMTP_PORT 25

struct verdict verdict_smtp(const struct addr *src, const struct addr *dst,
			    const struct policy *policy, int64_t now_utc_ms)
{
	const struct policy_item *i = policy_match(policy, src, now_utc_ms);
	if (!i)
		return (struct verdict){VERDICT_CLOSED, false, true, NULL};
	const struct policy_item *limited = policy_limits(policy, i) ? i : NULL;
	switch (policy_kind(policy, i)) {
	case POLICY_KIND_FULL:
		return (struct verdict){VERDICT_EXEMPT, true, false, NULL};
	case POLICY_KIND_LIMITED:
		return (struct verdict){VERDICT_THROTTLED, true, false, limited};
	case POLICY_KIND_LISTED:
		break;
	}
	bool listed = policy_listed(i, dst);
	return (struct verdict){listed ? VERDICT_LISTED : VERDICT_UNLISTED, listed, false,
				listed ? limited : NULL};
}

struct verdict verdict_decide(const struct pkt *pkt, const struct policy *policy,
			      int64_t now_utc_ms)
{
	switch (pkt->kind) {
	case PKT_TCP:
		if (pkt->dport == SMTP_PORT)
			return verdict_smtp(&pkt->src, &pkt->dst, policy, now_utc_ms);
		return (struct verdict){VERDICT_OTHER, true, false, NULL};
	case PKT_FRAGMENT:
	case PKT_OTHER:
		return (struct verdict){VERDICT_OTHER, true, false, NULL};
	case PKT_BAD:
		break;
	}
	return (struct verdict){VERDICT_MALFORMED, false, false, NULL};
}

const char *verdict_rule_name(enum verdict_rule r)
{
	static const char *const names[VERDICT_RULES] = {"exempt",    "throttled",  "listed",
							 "unlisted",  "closed",	    "other",
							 "malformed", "over-limit", "not-yet"};
	return names[r];
}

uint32_t verdict_mark(const struct marks *m, uint32_t old, bool allow)
{
	return marks_set(m, old, allow ? m->allow : m->reject);
}

static uint8_t by_interface(const struct verdict_lines *l, uint32_t indev)
{
	size_t lo = 0, hi = l->n_interfaces;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (l->interfaces[mid].index == indev)
			return l->interfaces[mid].delegated;
		if (l->interfaces[mid].index < indev)
			lo = mid + 1;
		else
			hi = mid;
	}
	return l->delegated;
}

static uint8_t line_length(const struct verdict_lines *l, const struct addr *src, uint32_t indev)
{
	if (addr_is4(src))
		return 32;
	for (size_t i = 0; i < l->n_pools; i++)
		if (prefix_contains(&l->pools[i].prefix, src))
			return l->pools[i].delegated;
	return by_interface(l, indev);
}

uint8_t verdict_line(const struct verdict_lines *l, const struct addr *src, uint32_t indev,
		     struct addr *key)
{
	uint8_t len = line_length(l, src, indev);
	addr_mask(src, len, key);
	return len;
}
