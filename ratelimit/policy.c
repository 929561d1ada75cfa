/*
 * policy - requests and answers of the policy protocol.
 *
 * Trusted with nothing: what a mail server says of a client comes from that client. Diagnostics:
 * the reason. Known gaps: none.
 */
#include "ratelimit/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FIELD(name, member)                                                                        \
	{                                                                                          \
		name, offsetof(struct policy_request, member),                                     \
		    sizeof(((struct policy_request *)0)->member)                                   \
	}

static const struct {
	const char *name;
	size_t at, size;
} fields[] = {
    FIELD("request", request),
    FIELD("protocol_state", state),
    FIELD("sasl_username", account),
    FIELD("sender", sender),
    FIELD("recipient", recipient),
    FIELD("instance", instance),
    FIELD("client_address", client),
    FIELD("size", size_text),
    FIELD("recipient_count", count_text),
};
#define N_FIELDS (sizeof fields / sizeof fields[0])

void policy_init(struct policy_parser *p)
{
	memset(&p->r, 0, sizeof p->r);
	p->seen = 0;
	p->n = 0;
	p->len = 0;
}

static bool number(const char *text, uint64_t max, uint64_t *out)
{
	*out = 0;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || *out > (max - 9) / 10)
			return false;
		*out = *out * 10 + (uint64_t)(*text - '0');
	}
	return true;
}

static enum policy_stage stage_of(const char *state)
{
	static const char *const names[] = {"RCPT", "DATA", "END-OF-MESSAGE"};
	for (int i = POLICY_RCPT; i <= POLICY_END; i++)
		if (strcmp(state, names[i]) == 0)
			return (enum policy_stage)i;
	return POLICY_OTHER;
}

static const char *take_request(struct policy_request *r)
{
	const char *why;
	uint64_t n;
	if (strcmp(r->request, "smtpd_access_policy") != 0)
		return "request is not smtpd_access_policy";
	if (!number(r->size_text, UINT64_C(1) << 50, &r->size))
		return "size is not a number";
	if (!number(r->count_text, 1000000000, &n))
		return "recipient_count is not a number";
	r->recipients = (uint32_t)n;
	r->stage = stage_of(r->state);
	if (!addr_parse(r->client, &r->address, &why))
		memset(&r->address, 0, sizeof r->address); /* "unknown" */
	return NULL;
}

static bool name_ok(const char *name, size_t len)
{
	return len >= 1 && len <= 64 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static const char *take_line(struct policy_parser *p)
{
	char *eq = strchr(p->line, '=');
	if (!eq)
		return "a line without =";
	*eq = '\0';
	if (!name_ok(p->line, (size_t)(eq - p->line)))
		return "a name of a forbidden form";
	if (++p->n > POLICY_ATTRS)
		return "too many attributes";
	for (size_t i = 0; i < N_FIELDS; i++) {
		if (strcmp(fields[i].name, p->line) != 0)
			continue;
		if (p->seen >> i & 1)
			return "an attribute twice";
		p->seen |= 1u << i;
		size_t len = strnlen(eq + 1, fields[i].size - 1);
		memcpy((char *)&p->r + fields[i].at, eq + 1, len);
	}
	return NULL;
}

enum policy_result policy_feed(struct policy_parser *p, const char *data, size_t len, size_t *used,
			       const char **err)
{
	for (*used = 0; *used < len;) {
		unsigned char c = (unsigned char)data[(*used)++];
		if (c != '\n') {
			*err = c < ' ' || c == 127 ? "a control character" : "a line too long";
			if (c < ' ' || c == 127 || p->len + 1 >= sizeof p->line)
				return POLICY_BAD;
			p->line[p->len++] = (char)c;
			continue;
		}
		p->line[p->len] = '\0';
		*err = p->len ? take_line(p) : take_request(&p->r);
		if (*err)
			return POLICY_BAD;
		if (p->len == 0)
			return POLICY_REQUEST;
		p->len = 0;
	}
	return POLICY_MORE;
}

/* What a sender may be shown: one line. */
static const char *one_line(const char *why, char *buf, size_t cap)
{
	size_t n = 0;
	for (; why[n] && n + 1 < cap; n++)
		buf[n] = (unsigned char)why[n] < ' ' || why[n] == 127 ? '?' : why[n];
	buf[n] = '\0';
	return buf;
}

size_t policy_answer(const struct rl_verdict *v, bool defer, char *buf, size_t cap)
{
	char why[256];
	int64_t s = v->retry_ms <= 0 ? 1 : (v->retry_ms + 999) / 1000;
	int n = 0;
	one_line(v->why, why, sizeof why);
	switch (v->answer) {
	case RL_OK:
		n = snprintf(buf, cap, "action=DUNNO\n\n");
		break;
	case RL_LIMIT:
		n = v->too_many
			? snprintf(buf, cap, "action=452 4.5.3 %s\n\n", why)
			: snprintf(buf, cap, "action=%s 4.7.28 %s; try again in %" PRId64 " s\n\n",
				   defer ? "DEFER_IF_PERMIT" : "452", why, s);
		break;
	case RL_HELD:
		n = snprintf(buf, cap, "action=HOLD %s\n\n", why);
		break;
	case RL_REFUSE:
		n = snprintf(buf, cap, "action=REJECT 5.7.1 This account is suspended: %s\n\n",
			     why);
		break;
	case RL_DOWN:
		n = snprintf(buf, cap,
			     "action=DEFER_IF_PERMIT 4.3.0 Limits cannot be checked just now\n\n");
		break;
	}
	return n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
}
