/*
 * rl - asks ratelimitd over its socket and hears of penalties.
 *
 * All asks wait equally long, so a list in order of asking is in order of deadline, and one timer a
 * list serves it. What cannot be sent waits in a third list, already failed, for the next turn of
 * the loop: a callback never runs inside the call that made it.
 *
 * Trusted with nothing. Diagnostics: `ratelimit bad-frame` when the server does not keep to the
 * protocol (the connection is then ended and made anew). Known gap: a charge whose answer came too
 * late stays charged.
 */
#include "ratelimit/rl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "lib/wire.h"
#include "ratelimit/proto.h"

#define ADMIN_DEADLINE_MS 2000

TAILQ_HEAD(pending_list, rl_pending);

/* Waiting for the same kind of answer, equally long. */
struct wait {
	struct rl *r;
	struct pending_list list;
	struct event *timer;
	int deadline_ms;
};

struct rl_pending {
	TAILQ_ENTRY(rl_pending) link;
	struct wait *in; /* NULL: its callback is running */
	uint32_t id;
	int64_t deadline_ms; /* monotonic */
	void (*asked)(const struct rl_verdict *v, void *arg);
	void (*admin)(bool ok, const json_t *result, void *arg);
	void *arg;
};

struct rl {
	struct event_base *base;
	struct ipc_conn *c; /* NULL: about to be made anew */
	struct rl_handlers h;
	void *arg;
	struct wait asks, admins, failed;
	struct event *restart; /* after the server broke the protocol */
	uint32_t next_id;
	bool up;
	char path[PATH_MAX];
	int busy;  /* callbacks running */
	bool dead; /* rl_free() was called in one of them */
};

/* --- life
 * ------------------------------------------------------------------------------------------ */

static void release(struct rl *r)
{
	event_free(r->asks.timer);
	event_free(r->admins.timer);
	event_free(r->failed.timer);
	event_free(r->restart);
	free(r);
}

static void leave(struct rl *r)
{
	if (--r->busy == 0 && r->dead)
		release(r);
}

static void drop_all(struct wait *w)
{
	struct rl_pending *p;
	while ((p = TAILQ_FIRST(&w->list))) {
		TAILQ_REMOVE(&w->list, p, link);
		free(p);
	}
	event_del(w->timer);
}

void rl_free(struct rl *r)
{
	if (!r || r->dead)
		return;
	r->dead = true;
	ipc_free(r->c, true);
	event_del(r->restart);
	drop_all(&r->asks);
	drop_all(&r->admins);
	drop_all(&r->failed);
	if (r->busy == 0)
		release(r);
}

/* --- waiting
 * ----------------------------------------------------------------------------------------- */

static void arm(struct wait *w, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	if (event_add(w->timer, &tv) != 0)
		fatal("out of memory");
}

static void put(struct wait *w, struct rl_pending *p, int64_t now_ms)
{
	p->in = w;
	p->deadline_ms = now_ms + w->deadline_ms;
	TAILQ_INSERT_TAIL(&w->list, p, link);
	if (!event_pending(w->timer, EV_TIMEOUT, NULL))
		arm(w, w->deadline_ms);
}

/* Ends p, which is in a list: NULL answers say "unavailable". */
static void finish(struct rl_pending *p, const struct rl_verdict *v, bool ok, const json_t *result)
{
	static const struct rl_verdict down = {.answer = RL_DOWN,
					       .why = "the rate limiter does not answer"};
	TAILQ_REMOVE(&p->in->list, p, link);
	p->in = NULL;
	if (p->asked)
		p->asked(v ? v : &down, p->arg);
	else if (p->admin)
		p->admin(ok, result, p->arg);
	free(p);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct wait *w = arg;
	struct rl *r = w->r;
	struct rl_pending *p;
	int64_t now = clock_mono_ms();
	r->busy++;
	/* finish() takes p out first; the analyzer loses sight of that.
	 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	while (!r->dead && (p = TAILQ_FIRST(&w->list)) && p->deadline_ms <= now)
		finish(p, NULL, false, NULL);
	if (!r->dead && (p = TAILQ_FIRST(&w->list)) && !event_pending(w->timer, EV_TIMEOUT, NULL))
		arm(w, p->deadline_ms - now);
	leave(r);
}

static struct rl_pending *find(struct wait *w, uint32_t id)
{
	struct rl_pending *p;
	TAILQ_FOREACH(p, &w->list, link)
	{
		if (p->id == id)
			return p;
	}
	return NULL; /* cancelled or too late */
}

static void fail_later(struct wait *w)
{
	struct rl_pending *p;
	int64_t now = clock_mono_ms();
	while ((p = TAILQ_FIRST(&w->list))) {
		TAILQ_REMOVE(&w->list, p, link);
		put(&w->r->failed, p, now);
	}
}

/* --- frames in
 * ------------------------------------------------------------------------------------------ */

static bool on_answer(struct rl *r, const uint8_t *data, size_t len)
{
	uint32_t id;
	struct rl_verdict v;
	if (!proto_get_answer(data, len, &id, &v))
		return false;
	struct rl_pending *p = find(&r->asks, id);
	if (p)
		finish(p, &v, false, NULL);
	return true;
}

static bool on_penalty(struct rl *r, const uint8_t *data, size_t len)
{
	struct rl_penalty p;
	if (!proto_get_penalty(data, len, &p))
		return false;
	if (r->h.penalty)
		r->h.penalty(&p, r->arg);
	return true;
}

static bool on_synced(struct rl *r, const uint8_t *data, size_t len)
{
	(void)data;
	if (len == 0 && r->h.synced)
		r->h.synced(r->arg);
	return len == 0;
}

static bool on_reply(struct rl *r, const uint8_t *data, size_t len)
{
	uint32_t id;
	bool ok;
	const char *json;
	size_t n;
	json_error_t e;
	if (!proto_get_reply(data, len, &id, &ok, &json, &n))
		return false;
	json_t *result = json_loadb(json, n, JSON_DECODE_ANY, &e);
	struct rl_pending *p = find(&r->admins, id);
	if (p && result)
		finish(p, NULL, ok, result);
	bool valid = result != NULL;
	json_decref(result);
	return valid;
}

static const struct {
	uint16_t type;
	bool (*run)(struct rl *r, const uint8_t *data, size_t len); /* false: not a valid frame */
} frames[] = {
    {PROTO_ANSWER, on_answer},
    {PROTO_PENALTY, on_penalty},
    {PROTO_SYNCED, on_synced},
    {PROTO_ADMIN_REPLY, on_reply},
};

static bool dispatch(struct rl *r, uint16_t type, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
		if (frames[i].type == type)
			return frames[i].run(r, data, len);
	return false;
}

static void went_down(struct rl *r)
{
	fail_later(&r->asks);
	fail_later(&r->admins);
	if (!r->up)
		return;
	r->up = false;
	if (r->h.state)
		r->h.state(false, r->arg);
}

static void start_later(struct rl *r)
{
	const struct timeval tv = {.tv_sec = 1};
	if (event_add(r->restart, &tv) != 0)
		fatal("out of memory");
}

static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	(void)c;
	struct rl *r = arg;
	r->busy++;
	bool valid = dispatch(r, type, data, len);
	if (!valid && !r->dead) {
		log_event(LOG_ERR, "-", "ratelimit", "bad-frame", LI("type", type),
			  LI("bytes", len));
		ipc_free(r->c, false);
		r->c = NULL;
		went_down(r);
		if (!r->dead)
			start_later(r);
	}
	leave(r);
}

static void on_connected(struct ipc_conn *c, void *arg)
{
	struct rl *r = arg;
	r->busy++;
	r->up = true;
	if (r->h.penalty)
		(void)ipc_send(c, PROTO_SUBSCRIBE, NULL, 0);
	if (r->h.state)
		r->h.state(true, r->arg);
	leave(r);
}

static void on_closed(struct ipc_conn *c, const char *reason, void *arg)
{
	(void)c;
	(void)reason;
	struct rl *r = arg;
	r->busy++;
	went_down(r);
	leave(r);
}

/* --- calls
 * ---------------------------------------------------------------------------------------------- */

static char *socket_path(const char *run_dir, char path[static PATH_MAX])
{
	if (snprintf(path, PATH_MAX, "%s/ratelimitd.sock", run_dir) >= PATH_MAX)
		fatal_config("common.run_dir is too long");
	return path;
}

static void start(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct rl *r = arg;
	static const struct ipc_handlers handlers = {
	    .frame = on_frame, .closed = on_closed, .connected = on_connected};
	r->c = ipc_client(r->base, r->path, &handlers, r);
}

static void wait_init(struct rl *r, struct wait *w, int deadline_ms)
{
	w->r = r;
	w->deadline_ms = deadline_ms;
	TAILQ_INIT(&w->list);
	w->timer = evtimer_new(r->base, on_deadline, w);
	if (!w->timer)
		fatal("out of memory");
}

struct rl *rl_new(struct event_base *base, const char *run_dir, int deadline_ms,
		  const struct rl_handlers *h, void *arg)
{
	struct rl *r = calloc(1, sizeof *r);
	if (!r)
		fatal("out of memory");
	r->base = base;
	r->h = *h;
	r->arg = arg;
	socket_path(run_dir, r->path);
	wait_init(r, &r->asks, deadline_ms);
	wait_init(r, &r->admins, ADMIN_DEADLINE_MS);
	wait_init(r, &r->failed, 0);
	r->restart = evtimer_new(base, start, r);
	if (!r->restart)
		fatal("out of memory");
	start(-1, 0, r);
	return r;
}

static struct rl_pending *pending_new(struct rl *r, void *arg)
{
	struct rl_pending *p = calloc(1, sizeof *p);
	if (!p)
		fatal("out of memory");
	p->id = r->next_id++;
	p->arg = arg;
	return p;
}

static bool send_ask(struct rl *r, uint32_t id, uint8_t flags, const struct rl_ask *ask)
{
	uint8_t buf[PROTO_ASK_MAX];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	proto_put_ask(&w, id, flags, ask);
	return !w.bad && r->up && ipc_send(r->c, PROTO_ASK, w.buf, w.len);
}

struct rl_pending *rl_ask(struct rl *r, const struct rl_ask *ask,
			  void (*cb)(const struct rl_verdict *v, void *arg), void *arg)
{
	struct rl_pending *p = pending_new(r, arg);
	p->asked = cb;
	bool sent = send_ask(r, p->id, ask->charge ? PROTO_CHARGE : 0, ask);
	put(sent ? &r->asks : &r->failed, p, clock_mono_ms());
	return p;
}

void rl_cancel(struct rl_pending *p)
{
	if (!p || !p->in)
		return;
	TAILQ_REMOVE(&p->in->list, p, link);
	free(p);
}

void rl_refund(struct rl *r, const struct rl_ask *ask)
{
	(void)send_ask(r, 0, PROTO_REFUND, ask);
}

bool rl_observe(struct rl *r, const struct rl_observation *o)
{
	uint8_t buf[PROTO_SMALL_MAX];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	proto_put_observe(&w, o);
	return !w.bad && r->up && ipc_send_unhurried(r->c, PROTO_OBSERVE, w.buf, w.len);
}

bool rl_set(struct rl *r, const struct rl_penalty *p)
{
	uint8_t buf[PROTO_SMALL_MAX];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	proto_put_penalty(&w, p);
	return !w.bad && r->up && ipc_send(r->c, PROTO_SET, w.buf, w.len);
}

static bool send_admin(struct rl *r, uint32_t id, const char *op, const json_t *args)
{
	json_t *request = json_pack("{s:s, s:O?}", "op", op, "args", args);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	bool sent = false;
	if (text && strlen(text) <= PROTO_JSON_MAX) {
		uint8_t buf[PROTO_ADMIN_MAX];
		struct wire_out w;
		wire_out_init(&w, buf, sizeof buf);
		proto_put_admin(&w, id, text, strlen(text));
		sent = r->up && ipc_send(r->c, PROTO_ADMIN, w.buf, w.len);
	}
	free(text);
	json_decref(request);
	return sent;
}

void rl_admin(struct rl *r, const char *op, const json_t *args,
	      void (*cb)(bool ok, const json_t *result, void *arg), void *arg)
{
	struct rl_pending *p = pending_new(r, arg);
	p->admin = cb;
	bool sent = send_admin(r, p->id, op, args);
	put(sent ? &r->admins : &r->failed, p, clock_mono_ms());
}

bool rl_connected(const struct rl *r)
{
	return r->up;
}
