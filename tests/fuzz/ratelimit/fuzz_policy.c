/*
 * The policy protocol from anywhere: whole, and byte by byte, with the same results; and counting with what came out.
 */
#include <stdlib.h>
#include <string.h>

#include "ratelimit/policy_charge.h"

static unsigned run(struct policy_charges *t, const char *data, size_t size, size_t step)
{
	static const struct addr server;
	struct policy_parser p;
	char text[1024];
	const char *err;
	unsigned n = 0;
	size_t used;
	policy_init(&p);
	for (size_t at = 0; at < size; at += used) {
		enum policy_result r = policy_feed(&p, data + at, size - at < step ? size - at : step, &used, &err);
		if (r == POLICY_BAD)
			return n | 1u << 31;
		if (r != POLICY_REQUEST)
			continue;
		n++;
		struct rl_ask ask = {0};
		struct policy_client *c = policy_note(t, &server, &p.r, n);
		struct policy_rcpt named = {rl_hash(p.r.recipient), 0}, *rcpt = p.r.recipient[0] ? &named : NULL;
		if (policy_amounts(t, c, &p.r, rcpt, n, &ask)) {
			if (ask.n_hash > 0 && p.r.stage == POLICY_RCPT && ask.rcpt_hash[ask.n_hash - 1] != named.name)
				abort();
			if (p.r.size % 2)
				policy_passed(t, c, &p.r, rcpt, n, &ask);
		}
		struct rl_verdict v = {.answer = (enum rl_answer)(p.r.size % (RL_DOWN + 1))};
		memcpy(v.why, p.r.sender, sizeof p.r.sender);
		if (policy_answer(&v, false, text, sizeof text) != strlen(text) || strcmp(text + strlen(text) - 2, "\n\n") != 0)
			abort();
		policy_init(&p);
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct policy_charges *t;
	if (!t)
		t = policy_charges_new();
	unsigned whole = run(t, (const char *)data, size, size + 1), bytes = run(t, (const char *)data, size, 1);
	if (whole != bytes)
		abort();
	return 0;
}
