/*
 * fuzz_trace - lines of a trace through the parser and the real detector: no input may break
 * either, and a score is never negative.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "webui/ctl/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool changed, const struct detector_change *c)
{
	if (changed && (c->score < 0 || c->n_why > DETECTOR_WHY || c->stage >= STAGE_COUNT))
		abort();
}

static void answered(struct detector *d, const struct trace *t)
{
	struct detector_change c;
	enum answer_kind *kind = calloc(t->a.n_rcpt + 1, sizeof *kind);
	if (!kind)
		abort();
	for (size_t i = 0; i < t->a.n_rcpt; i++)
		kind[i] = answer_kind(answer_classify(NULL, "", t->reply[i]));
	check(detector_replies(d, t->t_ms, &t->a, kind, t->a.n_rcpt, &c), &c);
	free(kind);
}

static void feed(struct detector *d, const struct trace *t)
{
	struct detector_change c;
	switch (t->kind) {
	case TRACE_ATTEMPT:
		check(detector_attempt(d, &t->a, &c), &c);
		answered(d, t);
		break;
	case TRACE_AUTH:
		check(detector_auth(d, t->t_ms, t->a.account, t->a.has_client ? &t->a.client : NULL,
				    t->auth_ok, &c),
		      &c);
		break;
	case TRACE_SYN:
		detector_syn25(d, t->t_ms, &t->a.client, (unsigned)(t->dst % 129), t->syn, t->dst);
		break;
	case TRACE_REPORT:
		check(detector_complaint(d, t->t_ms, t->a.account, &c), &c);
		break;
	case TRACE_BOUNCE:
		check(detector_bounce(d, t->t_ms, t->a.account, t->code, &c), &c);
		break;
	case TRACE_OTHER:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct detector_conf conf;
	struct trace t = {.root = NULL};
	const char *err;
	detector_conf_default(&conf);
	conf.learn_ms = size % 3 ? 0 : 1000;
	struct detector *d = detector_new(&conf, 1, 8);
	if (!d)
		return 0;
	while (size > 0) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end ? (size_t)(end - data) + 1 : size;
		if (trace_parse(&t, (const char *)data, len, &err))
			feed(d, &t);
		data += len;
		size -= len;
	}
	trace_clear(&t);
	detector_free(d);
	return 0;
}
