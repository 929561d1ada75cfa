/*
 * verdict - see verdict.h.
 *
 * Trusted with: the decision. What is not known to be allowed is refused. Diagnostics: the rule.
 * Known gaps: none.
 */
#include <ctype.h>
#include <stdlib.h>
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

bool verdict_parse_mask(const char *text, struct verdict_marks *out, const char **err)
{
	char *end = NULL;
	*err = "must be 2 to 8 neighbouring bits in hexadecimal, such as 0x00ff0000";
	if (strncmp(text, "0x", 2) != 0 || !isxdigit((unsigned char)text[2]) || strlen(text) > 10)
		return false;
	uint32_t mask = (uint32_t)strtoul(text, &end, 16);
	if (*end != '\0' || mask == 0)
		return false;
	unsigned shift = (unsigned)__builtin_ctz(mask);
	uint32_t bits = mask >> shift;
	if (bits < 3 || bits > 0xff || (bits & (bits + 1)) != 0)
		return false;
	*out = (struct verdict_marks){mask, 2u << shift, 3u << shift};
	return true;
}

uint32_t verdict_mark(const struct verdict_marks *m, uint32_t old, bool allow)
{
	return (old & ~m->mask) | (allow ? m->allow : m->reject);
}

void verdict_source_key(const struct addr *src, struct addr *key)
{
	addr_mask(src, addr_is4(src) ? 32 : 64, key);
}
