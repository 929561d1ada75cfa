/*
 * verdict - see verdict.h.
 *
 * Trusted with: the decision. What is not known to be allowed is refused. Diagnostics: the rule.
 * Known gaps: none.
 */
#include <string.h>

#include "nfq/verdict.h"

#define SMTP_PORT 25

static struct verdict judge_source(const struct addr *src, const struct policy *policy, int64_t now)
{
	const struct policy_entry *e = policy_match(policy, src, now);
	if (!e)
		return (struct verdict){VERDICT_CLOSED, false, true};
	return (struct verdict){strcmp(e->class, "full") == 0 ? VERDICT_EXEMPT : VERDICT_THROTTLED, true,
				false};
}

struct verdict verdict_decide(const struct pkt *pkt, const struct policy *policy,
			      int64_t now_utc_ms)
{
	switch (pkt->kind) {
	case PKT_TCP:
		if (pkt->dport == SMTP_PORT)
			return judge_source(&pkt->src, policy, now_utc_ms);
		return (struct verdict){VERDICT_OTHER, true, false};
	case PKT_FRAGMENT:
	case PKT_OTHER:
		return (struct verdict){VERDICT_OTHER, true, false};
	case PKT_BAD:
		break;
	}
	return (struct verdict){VERDICT_MALFORMED, false, false};
}

const char *verdict_rule_name(enum verdict_rule r)
{
	static const char *const names[VERDICT_RULES] = {"exempt", "throttled", "closed", "other",
							 "malformed"};
	return names[r];
}

uint32_t verdict_mark(const struct marks *m, uint32_t old, bool allow)
{
	return marks_set(m, old, allow ? m->allow : m->reject);
}

void verdict_source_key(const struct addr *src, struct addr *key)
{
	addr_mask(src, addr_is4(src) ? 32 : 64, key);
}
