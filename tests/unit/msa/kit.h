/*
 * kit - a queue in a folder of its own, for tests: submit and wait, run the loop until something is
 * true.
 */
#ifndef TESTS_KIT_H
#define TESTS_KIT_H

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "msa/queue/queue.h"
#include "tests/unit/msa/sink.h"

struct kit {
	char dir[64], smarthost[64];
	struct event_base *base;
	struct queue *q;
	struct queue_config cfg;
	struct queue_handlers h;
	struct sink sink;
	/* the outbox as accounting would have it */
	bool refuse, keep; /* say "not now"; take but do not acknowledge */
	uint64_t seqs[4096];
	uint32_t n_seqs, n_events;
	struct event events[512];
	/* submits */
	int waiting;
	enum queue_result last;
	int n;
};

static int kit_unlink(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(path);
}

static bool kit_outbox(uint64_t seq, uint32_t n, const uint8_t *records, size_t len, void *arg)
{
	struct kit *k = arg;
	size_t at = 0;

	if (k->refuse)
		return false;
	k->seqs[k->n_seqs++ % 4096] = seq;
	for (uint32_t i = 0; i < n; i++) {
		struct event *e = &k->events[k->n_events++ % 512];
		size_t got = event_decode(records + at, len - at, e);
		assert_true(got > 0);
		at += got;
	}
	assert_int_equal(at, len);
	if (!k->keep)
		queue_outbox_acked(k->q, seq);
	return true;
}

static inline void kit_init(struct kit *k)
{
	memset(k, 0, sizeof(*k));
	snprintf(k->dir, sizeof(k->dir), "/tmp/sekisho-queue-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	snprintf(k->smarthost, sizeof(k->smarthost), "127.0.0.1:9");
	k->cfg = (struct queue_config){
	    .state_dir = k->dir,
	    .hostname = "smtp.isp.example",
	    .smarthost = k->smarthost,
	    .postmaster = "postmaster@isp.example",
	    .retry_min_ms = 200,
	    .retry_max_ms = 1000,
	    .lifetime_ms = 3600000,
	    .max_bytes = 1 << 30,
	    .max_held_per_account = 1000,
	    .connections = 4,
	    .timeout_ms = 5000,
	    .start_relay = false,
	};
	k->h = (struct queue_handlers){.outbox = kit_outbox};
}

static inline void kit_open(struct kit *k)
{
	char *err = NULL;
	k->base = event_base_new();
	k->q = queue_open(k->base, &k->cfg, &k->h, k, &err);
	if (!k->q)
		fail_msg("queue_open: %s", err);
	if (!queue_start(k->q, &err))
		fail_msg("queue_start: %s", err);
}

/* With the relay role, delivering to a sink. */
static inline void kit_open_relay(struct kit *k)
{
	if (!k->sink.pid)
		sink_start(&k->sink, k->dir);
	snprintf(k->smarthost, sizeof(k->smarthost), "127.0.0.1:%d", k->sink.port);
	k->cfg.start_relay = true;
	kit_open(k);
}

static inline void kit_close(struct kit *k)
{
	queue_close(k->q);
	event_base_free(k->base);
	k->q = NULL;
	k->base = NULL;
}

static inline void kit_remove(struct kit *k)
{
	if (k->q)
		kit_close(k);
	sink_stop(&k->sink);
	nftw(k->dir, kit_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static void kit_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* Runs the loop until cond, at most ms. */
static inline bool kit_until(struct kit *k, bool (*cond)(struct kit *k, const void *arg),
			     const void *arg, int ms)
{
	/* The deadline is for what never comes: a machine that is shared has twenty seconds. */
	int64_t end = clock_mono_ms() + (ms >= 5000 && ms < 20000 ? 20000 : ms);
	struct event *tick = event_new(k->base, -1, EV_PERSIST, kit_tick, NULL);
	const struct timeval tv = {.tv_usec = 5000};
	bool ok;

	event_add(tick, &tv);
	while (!(ok = cond(k, arg)) && clock_mono_ms() < end)
		event_base_loop(k->base, EVLOOP_ONCE);
	event_free(tick);
	return ok;
}

static void kit_submitted(enum queue_result r, void *arg)
{
	struct kit *k = arg;
	k->waiting--;
	k->last = r;
}

static bool kit_idle(struct kit *k, const void *arg)
{
	(void)arg;
	return k->waiting == 0;
}

struct kit_msg {
	const char *account, *from, *rcpts[8], *body;
	bool hold;
	struct esmtp_mail esmtp;
	struct esmtp_rcpt each; /* of every recipient */
	size_t pad;		/* octets added to the body */
};

/* Hands it in; the id goes to id. Does not wait. */
static inline void kit_put(struct kit *k, const struct kit_msg *m, char id[QUEUE_ID_LEN + 1])
{
	struct queue_rcpt rcpts[8];
	struct event e = {.kind = EVENT_MESSAGE, .t_ms = clock_utc_ms(), .src_port = 4711};
	struct queue_msg qm = {.account = m->account ? m->account : "user01@isp.example",
			       .mail_from = m->from ? m->from : "user01@isp.example",
			       .rcpts = rcpts,
			       .esmtp = m->esmtp,
			       .received_ms = clock_utc_ms(),
			       .event = &e};
	char out[80];
	size_t cap = m->pad + 512;
	char *data = malloc(cap);

	snprintf(out, sizeof(out), "%s%s", qm.mail_from[0] ? "" : "", qm.mail_from);
	qm.mail_from_out = out;
	while (qm.n_rcpts < 8 && m->rcpts[qm.n_rcpts]) {
		rcpts[qm.n_rcpts] =
		    (struct queue_rcpt){.address = m->rcpts[qm.n_rcpts], .esmtp = m->each};
		qm.n_rcpts++;
	}
	if (!qm.n_rcpts)
		rcpts[qm.n_rcpts++] =
		    (struct queue_rcpt){.address = "someone@example.net", .esmtp = m->each};
	queue_new_id(k->q, clock_utc_ms(), qm.id);
	memcpy(id, qm.id, sizeof(qm.id));
	int n = snprintf(
	    data, cap, "From: <user01@isp.example>\r\nX-Test-Id: %s\r\nSubject: test\r\n\r\n%s\r\n",
	    qm.id, m->body ? m->body : ".hidden\r\ntext");
	for (size_t i = 0; i < m->pad; i++)
		data[(size_t)n++] = (char)(i % 72 == 70 ? '\r' : i % 72 == 71 ? '\n' : 'x');
	snprintf(e.u.message.account, sizeof(e.u.message.account), "%s", qm.account);
	snprintf(e.u.message.queue_id, sizeof(e.u.message.queue_id), "%s", qm.id);
	qm.data = (const uint8_t *)data;
	qm.len = (size_t)n;
	k->waiting++;
	k->n++;
	queue_submit(k->q, &qm, m->hold, kit_submitted, k);
	free(data);
}

/* Waits for the answer. */
static inline enum queue_result kit_send(struct kit *k, const struct kit_msg *m,
					 char id[QUEUE_ID_LEN + 1])
{
	char own[QUEUE_ID_LEN + 1];
	kit_put(k, m, id ? id : own);
	assert_true(kit_until(k, kit_idle, NULL, 5000));
	return k->last;
}

/* queue_request() of a literal JSON object, with ' for ". */
static inline json_t *kit_ask(struct kit *k, const char *op, const char *args, bool *ok)
{
	char text[4096];
	bool good;
	snprintf(text, sizeof(text), "%s", args);
	for (char *p = text; *p; p++)
		if (*p == '\'')
			*p = '"';
	json_t *a = json_loads(text, 0, NULL);
	assert_non_null(a);
	json_t *r = queue_request(k->q, op, a, &good);
	json_decref(a);
	assert_non_null(r);
	if (ok)
		*ok = good;
	else if (!good)
		fail_msg("%s %s: %s", op, args, json_string_value(r));
	return r;
}

static inline json_int_t kit_number(struct kit *k, const char *op, const char *args,
				    const char *member)
{
	json_t *r = kit_ask(k, op, args, NULL);
	json_int_t v = json_integer_value(json_object_get(r, member));
	json_decref(r);
	return v;
}

static bool kit_queued_is(struct kit *k, const void *n)
{
	return kit_number(k, "queue.stats", "{}", "queued") == *(const int *)n;
}

static inline bool kit_queued(struct kit *k, int n, int ms)
{
	return kit_until(k, kit_queued_is, &n, ms);
}

#endif
