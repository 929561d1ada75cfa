/*
 * bounce - see bounce.h. Trusted with: what a mail server says of its client. Diagnostics: results
 * only. Fuzzed by tests/fuzz/msa/fuzz_bounce.c.
 */
#include <stdio.h>
#include <string.h>

#include "msa/mail/bounce.h"

#define HOUR_MS INT64_C(3600000)

/* --- requests --- */

static bool take(const char *name, const char *line, size_t len, char *out, size_t cap, bool *ok)
{
	size_t n = strlen(name);

	if (len <= n || memcmp(line, name, n) != 0 || line[n] != '=')
		return false;
	*ok = len - n - 1 < cap;
	if (*ok) {
		memcpy(out, line + n + 1, len - n - 1);
		out[len - n - 1] = '\0';
	}
	return true;
}

static bool read_line(const char *line, size_t len, struct bounce_request *out)
{
	char request[32] = "";
	bool ok = true;

	if (!memchr(line, '=', len))
		return false;
	if (take("request", line, len, request, sizeof(request), &ok)) {
		out->policy = strcmp(request, "smtpd_access_policy") == 0;
		return true; /* a longer word is another request */
	}
	if (!take("sender", line, len, out->sender, sizeof(out->sender), &ok) &&
	    !take("recipient", line, len, out->recipient, sizeof(out->recipient), &ok))
		take("client_address", line, len, out->client, sizeof(out->client), &ok);
	return ok;
}

bool bounce_parse(const char *text, size_t len, struct bounce_request *out)
{
	const char *end = text + len;

	memset(out, 0, sizeof(*out));
	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		const char *to = nl ? nl : end;

		if (!read_line(text, (size_t)(to - text), out))
			return false;
		text = to + 1;
	}
	return true;
}

/* --- clients that guess --- */

/* The client's place, or the one that has been quiet longest. */
static size_t place(const struct bounce_probes *p, uint64_t client)
{
	size_t oldest = 0;

	for (size_t i = 0; i < BOUNCE_CLIENTS; i++) {
		if (p->c[i].client == client)
			return i;
		if (p->c[i].last_ms < p->c[oldest].last_ms)
			oldest = i;
	}
	return oldest;
}

static bool guesses(const struct bounce_probes *p, uint64_t client, int64_t now_ms)
{
	size_t i = place(p, client);

	return p->c[i].client == client && p->c[i].wrong >= BOUNCE_PROBES &&
	       now_ms - p->c[i].since_ms < HOUR_MS;
}

static void count_wrong(struct bounce_probes *p, uint64_t client, int64_t now_ms)
{
	size_t i = place(p, client);

	if (p->c[i].client != client || now_ms - p->c[i].since_ms >= HOUR_MS) {
		p->c[i].client = client;
		p->c[i].wrong = 0;
		p->c[i].since_ms = now_ms;
	}
	p->c[i].wrong++;
	p->c[i].last_ms = now_ms;
}

/* --- verdicts --- */

static enum bounce_result result_of(const struct bounce_about *about, struct bounce_probes *probes,
				    const struct bounce_request *r, uint64_t client, int64_t now_ms,
				    enum batv_reason *reason)
{
	struct batv_result v;
	struct path p;
	const char *err;

	*reason = BATV_NOT_TAGGED;
	if (!r->policy || r->sender[0] ||
	    !path_parse_mailbox_utf8(r->recipient, strlen(r->recipient), &p, &err) ||
	    !identity_batv_domain(about->ids, about->realm, p.domain))
		return BOUNCE_NOT_OURS;
	batv_verify(about->keys, &p, now_ms, &v);
	*reason = v.reason;
	if (v.reason == BATV_NOT_TAGGED)
		return BOUNCE_UNTAGGED;
	if (guesses(probes, client, now_ms))
		return BOUNCE_PUT_OFF;
	if (v.reason == BATV_VALID)
		return BOUNCE_VALID;
	/* An expired tag was ours: its MAC is right, and nobody is told more than that. */
	if (v.reason != BATV_EXPIRED)
		count_wrong(probes, client, now_ms);
	return BOUNCE_INVALID;
}

static void action(enum bounce_mode mode, struct bounce_verdict *v)
{
	const char *name = batv_reason_name(v->reason);

	snprintf(v->action, sizeof(v->action), "DUNNO");
	if (v->result == BOUNCE_NOT_OURS || mode == BOUNCE_LOG)
		return;
	if (v->result == BOUNCE_PUT_OFF)
		snprintf(v->action, sizeof(v->action),
			 "450 4.7.1 Too many bounces with wrong tags; try again in an hour");
	else if (v->result == BOUNCE_INVALID && mode == BOUNCE_REJECT)
		snprintf(v->action, sizeof(v->action),
			 "550 5.7.1 This is no bounce of mail sent from here: the tag of the "
			 "address is %s",
			 name);
	else
		snprintf(v->action, sizeof(v->action), "PREPEND X-Sekisho-BATV: %s", name);
}

void bounce_judge(const struct bounce_about *about, struct bounce_probes *probes,
		  const struct bounce_request *r, uint64_t client, int64_t now_ms,
		  struct bounce_verdict *out)
{
	out->result = result_of(about, probes, r, client, now_ms, &out->reason);
	action(about->mode, out);
}

const char *bounce_result_name(enum bounce_result r)
{
	static const char *const names[] = {[BOUNCE_NOT_OURS] = "not-ours",
					    [BOUNCE_UNTAGGED] = "untagged",
					    [BOUNCE_VALID] = "valid",
					    [BOUNCE_INVALID] = "invalid",
					    [BOUNCE_PUT_OFF] = "put-off"};

	return names[r];
}
