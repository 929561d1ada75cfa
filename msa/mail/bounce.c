/*
 * bounce - see bounce.h. Trusted with: what a mail server says of its client. Diagnostics: results
 * only. Fuzzed by tests/fuzz/msa/fuzz_bounce.c.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/addr.h"
#include "ratelimit/hash.h"

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

uint64_t bounce_client(const char *address)
{
	struct addr a;
	const char *err;
	uint64_t h;

	if (!addr_parse(address, &a, &err))
		h = hash_bytes(0, address, strlen(address));
	else
		h = hash_bytes(0, a.b, addr_is4(&a) ? sizeof(a.b) : 8);
	return h ? h : 1;
}

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

bool bounce_ours(const struct bounce_about *about, const char *domain)
{
	return identity_batv_domain(about->ids, about->realm, domain);
}

static bool must_be_tagged(const struct bounce_about *about, const struct path *p)
{
	if (strcasecmp(p->local, "postmaster") == 0)
		return false;
	for (size_t i = 0; i < about->n_strict; i++)
		if (strcasecmp(about->strict[i], p->domain) == 0)
			return true;
	return false;
}

/* An expired tag was ours: its MAC is right, and nobody is told more than that. */
static enum bounce_result result_of_tag(struct bounce_probes *probes, enum batv_reason reason,
					uint64_t client, int64_t now_ms)
{
	if (guesses(probes, client, now_ms))
		return BOUNCE_PUT_OFF;
	if (reason == BATV_VALID)
		return BOUNCE_VALID;
	if (reason != BATV_EXPIRED)
		count_wrong(probes, client, now_ms);
	return BOUNCE_INVALID;
}

static bool is_ours(const struct bounce_about *about, const struct bounce_request *r,
		    struct path *p)
{
	const char *err;

	return r->policy && r->sender[0] == '\0' &&
	       path_parse_mailbox_utf8(r->recipient, strlen(r->recipient), p, &err) &&
	       bounce_ours(about, p->domain);
}

static enum bounce_answer answer_to(const struct bounce_about *about, const struct path *p,
				    struct bounce_verdict *v)
{
	static const char *const invalid[] = {
	    [BATV_EXPIRED] = "This is no bounce of recent mail: the tag of the address is expired",
	    [BATV_FORGED] =
		"This is no bounce of mail sent from here: the tag of the address is forged",
	    [BATV_UNKNOWN_KEY] =
		"This is no bounce of mail sent from here: the tag of the address is unknown"};

	if (about->mode == BOUNCE_LOG)
		return BOUNCE_PASS;
	if (v->result == BOUNCE_PUT_OFF) {
		v->text = "Too many bounces with wrong tags; try again in an hour";
		return BOUNCE_DEFER;
	}
	if (about->mode == BOUNCE_REJECT && v->result == BOUNCE_INVALID) {
		v->text = invalid[v->reason];
		return BOUNCE_REFUSE;
	}
	if (about->mode == BOUNCE_REJECT && v->result == BOUNCE_UNTAGGED &&
	    must_be_tagged(about, p)) {
		v->text = "This is no bounce of mail sent from here: the address has no tag";
		return BOUNCE_REFUSE;
	}
	return BOUNCE_MARK;
}

void bounce_judge(const struct bounce_about *about, struct bounce_probes *probes,
		  const struct bounce_request *r, uint64_t client, int64_t now_ms,
		  struct bounce_verdict *out)
{
	struct batv_result tag;
	struct path p;

	*out = (struct bounce_verdict){BOUNCE_NOT_OURS, BATV_NOT_TAGGED, BOUNCE_PASS, ""};
	if (!is_ours(about, r, &p))
		return;
	batv_verify(about->keys, &p, now_ms, &tag);
	out->reason = tag.reason;
	out->result = tag.reason == BATV_NOT_TAGGED
			  ? BOUNCE_UNTAGGED
			  : result_of_tag(probes, tag.reason, client, now_ms);
	out->answer = answer_to(about, &p, out);
}

void bounce_action(const struct bounce_verdict *v, char out[static BOUNCE_ACTION_MAX])
{
	static const char *const codes[] = {
	    [BOUNCE_REFUSE] = "550 5.7.1", [BOUNCE_DEFER] = "450 4.7.1"};

	if (v->answer == BOUNCE_PASS)
		snprintf(out, BOUNCE_ACTION_MAX, "DUNNO");
	else if (v->answer == BOUNCE_MARK)
		snprintf(out, BOUNCE_ACTION_MAX, "PREPEND %s: %s", BOUNCE_FIELD,
			 batv_reason_name(v->reason));
	else
		snprintf(out, BOUNCE_ACTION_MAX, "%s %s", codes[v->answer], v->text);
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
