/*
 * trace - a line of JSON to an observation. Pure.
 *
 * Trusted with a file from anywhere. Diagnostics: what is wrong with a line, in *err. Known gaps:
 * none.
 */
#include "webui/ctl/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit/rl.h"

#define T_MAX 253402300800000.0 /* the year 10000 */

static const char *text_of(const json_t *root, const char *name)
{
	return json_string_value(json_object_get(root, name));
}

/* The same; NULL when there is nothing in it. */
static const char *word_of(const json_t *root, const char *name)
{
	const char *text = text_of(root, name);
	return text && *text ? text : NULL;
}

static bool number_of(const json_t *root, const char *name, double *out)
{
	const json_t *v = json_object_get(root, name);
	if (!json_is_number(v))
		return false;
	*out = json_number_value(v);
	return isfinite(*out);
}

static uint64_t count_of(const json_t *root, const char *name)
{
	double n;
	return number_of(root, name, &n) && n > 0 ? n > 1e12 ? (uint64_t)1e12 : (uint64_t)n : 0;
}

static bool hex_of(const char *text, uint64_t *out)
{
	if (!text || strlen(text) > 16 || strspn(text, "0123456789abcdefABCDEF") != strlen(text))
		return false;
	*out = strtoull(text, NULL, 16);
	return true;
}

static bool make_room(struct trace *t, size_t n)
{
	if (n <= t->cap)
		return true;
	const char **rcpt = realloc(t->rcpt, n * sizeof(*rcpt));
	if (rcpt)
		t->rcpt = rcpt;
	const char **reply = realloc(t->reply, n * sizeof(*reply));
	if (reply)
		t->reply = reply;
	if (rcpt && reply)
		t->cap = n;
	return rcpt && reply;
}

static bool recipients(struct trace *t, const char **err)
{
	const json_t *rcpt = json_object_get(t->root, "rcpt"),
		     *result = json_object_get(t->root, "result");
	bool one = json_is_string(rcpt);
	size_t n = one ? 1 : json_array_size(rcpt);
	*err = "no memory";
	if (!make_room(t, n))
		return false;
	for (size_t i = 0; i < n; i++) {
		const char *r = json_string_value(one ? rcpt : json_array_get(rcpt, i));
		if (!r)
			continue;
		t->rcpt[t->a.n_rcpt] = r;
		const json_t *said =
		    json_is_string(result) && one ? result : json_array_get(result, i);
		t->reply[t->a.n_rcpt++] = json_string_value(said);
	}
	t->a.rcpt = t->rcpt;
	return true;
}

static bool attempt(struct trace *t, const char **err)
{
	t->a.ehlo = word_of(t->root, "ehlo");
	t->a.from = word_of(t->root, "from");
	const char *tls = word_of(t->root, "tls");
	t->a.tls = tls ? rl_hash(tls) : 0;
	t->a.bytes = (int64_t)count_of(t->root, "bytes");
	/* 0 is what a text too short for one has. */
	t->a.has_body = hex_of(word_of(t->root, "body"), &t->a.body) && t->a.body != 0;
	return recipients(t, err);
}

static enum trace_kind kind_of(const json_t *root)
{
	static const struct {
		const char *name;
		enum trace_kind kind;
	} rows[] = {
	    {"auth", TRACE_AUTH},     {"syn25", TRACE_SYN},    {"report", TRACE_REPORT},
	    {"bounce", TRACE_BOUNCE}, {"rcpt", TRACE_ATTEMPT},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (json_object_get(root, rows[i].name))
			return rows[i].kind;
	return TRACE_OTHER;
}

static bool details(struct trace *t, const char **err)
{
	const char *word;
	switch (t->kind) {
	case TRACE_ATTEMPT:
		return attempt(t, err);
	case TRACE_AUTH:
		word = text_of(t->root, "auth");
		t->auth_ok = word && strcmp(word, "ok") == 0;
		if (!word || (!t->auth_ok && strcmp(word, "fail") != 0))
			t->kind = TRACE_OTHER;
		return true;
	case TRACE_SYN:
		t->syn = count_of(t->root, "syn25");
		t->dst = count_of(t->root, "dst");
		if (!t->a.has_client)
			t->kind = TRACE_OTHER;
		return true;
	case TRACE_REPORT:
		word = text_of(t->root, "report");
		if (!word || strcmp(word, "abuse") != 0)
			t->kind = TRACE_OTHER;
		return true;
	case TRACE_BOUNCE:
		t->code = text_of(t->root, "bounce");
		return true;
	case TRACE_OTHER:
		break;
	}
	return true;
}

bool trace_parse(struct trace *t, const char *line, size_t len, const char **err)
{
	json_error_t e;
	double ms;
	const char *why;
	json_decref(t->root);
	*t = (struct trace){.reply = t->reply, .rcpt = t->rcpt, .cap = t->cap};
	t->root = json_loadb(line, len, 0, &e);
	*err = "it is no JSON object";
	if (!json_is_object(t->root))
		return false;
	*err = "it has no time t in milliseconds";
	if (!number_of(t->root, "t", &ms) || ms < 0 || ms > T_MAX)
		return false;
	t->t_ms = t->a.t_ms = (int64_t)ms;
	t->kind = kind_of(t->root);
	t->a.account = word_of(t->root, "account");
	*err = "it names no account";
	if (!t->a.account && t->kind != TRACE_SYN && t->kind != TRACE_OTHER)
		return false;
	t->class = text_of(t->root, "class");
	static const struct addr none;
	const char *ip = text_of(t->root, "ip");
	t->a.has_client = ip && addr_parse(ip, &t->a.client, &why) && !addr_eq(&t->a.client, &none);
	return details(t, err);
}

void trace_clear(struct trace *t)
{
	json_decref(t->root);
	free(t->rcpt);
	free(t->reply);
	*t = (struct trace){.root = NULL};
}
