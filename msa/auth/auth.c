/*
 * auth - see auth.h; the parent's side.
 *
 * Diagnostics: `auth` lines for a worker that ends or hangs.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "lib/role.h"
#include "lib/wire.h"

#include "msa/auth/auth.h"
#include "msa/smtp/parser.h"

#define RESPAWN_MIN_MS 1000 /* between two starts of one worker */

struct worker {
	struct auth *a;
	struct ipc_conn *conn; /* NULL: not running */
	pid_t pid;
	bool ready;
	int64_t started_ms;
	struct event *respawn;
	struct auth_exchange *exchanges;
	int n;
};

struct auth {
	struct event_base *base;
	struct auth_config cfg;
	struct worker *workers;
	uint64_t next_id;
	int64_t restarts;
};

struct auth_exchange {
	struct auth *a;
	struct worker *w; /* NULL: none, or it is over */
	struct auth_exchange *next, **at;
	uint64_t id;
	struct event *timer; /* deadline of the step under way, or the deferred "unavailable" */
	bool waiting;
	auth_cb *cb;
	void *arg;
};

/* --- workers -------------------------------------------------------------------------------------
 */

static bool send_config(struct worker *w)
{
	const struct auth_config *c = &w->a->cfg;
	uint8_t buf[8192];
	struct wire_out o;

	wire_out_init(&o, buf, sizeof(buf));
	wire_str(&o, c->hostname);
	wire_str(&o, c->realm);
	wire_str(&o, c->sasldb);
	wire_str(&o, c->conf_path);
	wire_str(&o, c->mechs);
	wire_str(&o, c->user);
	return !o.bad && ipc_send(w->conn, AUTH_F_CONFIG, buf, o.len);
}

static void worker_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len,
			 void *arg);
static void worker_closed(struct ipc_conn *c, const char *reason, void *arg);

static bool worker_start(struct worker *w, const char **err)
{
	static const struct ipc_handlers handlers = {.frame = worker_frame,
						     .closed = worker_closed};
	int fd, r;

	w->started_ms = clock_mono_ms();
	r = role_start(w->a->cfg.exe, "auth", &fd, &w->pid);
	if (r != 0) {
		*err = strerror(r);
		return false;
	}
	w->ready = false;
	w->conn = ipc_from_fd(w->a->base, fd, &handlers, w);
	if (send_config(w))
		return true;
	*err = "the auth configuration is too long";
	return false;
}

static void respawn(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	const struct timeval again = {RESPAWN_MIN_MS / 1000, 0};
	const char *err;

	(void)fd;
	(void)what;
	w->a->restarts++;
	if (worker_start(w, &err))
		return;
	log_event(LOG_ERR, "-", "auth", "worker-not-started", LS("error", err));
	event_add(w->respawn, &again);
}

static void unavailable(struct auth_exchange *x, const char *why)
{
	const struct auth_answer a = {AUTH_UNAVAILABLE, "", "", why};

	x->w = NULL;
	if (!x->waiting)
		return;
	x->waiting = false;
	event_del(x->timer);
	x->cb(&a, x->arg);
}

static void unlink_exchange(struct auth_exchange *x)
{
	if (!x->w)
		return;
	*x->at = x->next;
	if (x->next)
		x->next->at = x->at;
	x->w->n--;
	x->w = NULL;
}

/* The worker is gone, or as good as gone. */
static void worker_down(struct worker *w, const char *why)
{
	int64_t lived = clock_mono_ms() - w->started_ms;
	struct timeval tv = {0, lived < RESPAWN_MIN_MS ? RESPAWN_MIN_MS * 1000 - 1000 : 1000};
	int status = 0;

	if (w->pid > 0) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, &status, 0);
	}
	log_event(LOG_WARNING, "-", "auth", "worker-ended", LI("pid", w->pid), LI("status", status),
		  LS("reason", why));
	w->conn = NULL;
	while (w->exchanges) {
		struct auth_exchange *x = w->exchanges;

		unlink_exchange(x);
		unavailable(x, "the auth process ended");
	}
	event_add(w->respawn, &tv);
}

static void worker_closed(struct ipc_conn *c, const char *reason, void *arg)
{
	(void)c;
	worker_down(arg, reason);
}

static void worker_kill(struct worker *w, const char *why)
{
	struct ipc_conn *c = w->conn;

	w->conn = NULL;
	ipc_free(c, false);
	worker_down(w, why);
}

static struct auth_exchange *find(struct worker *w, uint64_t id)
{
	struct auth_exchange *x = w->exchanges;

	while (x && x->id != id)
		x = x->next;
	return x;
}

static void on_answer(struct worker *w, struct wire_in *in, const char **bad)
{
	char challenge[AUTH_CHALLENGE_MAX + 1], account[1024], detail[512];
	uint64_t id = wire_get_u64(in);
	uint8_t result = wire_get_u8(in);
	struct auth_exchange *x;

	wire_get_str(in, challenge, sizeof(challenge));
	wire_get_str(in, account, sizeof(account));
	wire_get_str(in, detail, sizeof(detail));
	if (!wire_done(in) || result < AUTH_CONTINUE || result > AUTH_UNAVAILABLE) {
		*bad = "an answer that breaks the rules";
		return;
	}
	x = find(w, id);
	if (!x || !x->waiting)
		return; /* ended meanwhile */
	const struct auth_answer a = {(enum auth_result)result, challenge, account, detail};

	x->waiting = false;
	event_del(x->timer);
	if (a.result != AUTH_CONTINUE)
		unlink_exchange(x);
	x->cb(&a, x->arg);
	explicit_bzero(challenge, sizeof(challenge));
}

static void worker_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len,
			 void *arg)
{
	struct worker *w = arg;
	const char *bad = NULL;
	struct wire_in in;

	(void)c;
	wire_in_init(&in, data, len);
	if (type == AUTH_F_READY && len == 0)
		w->ready = true;
	else if (type == AUTH_F_ANSWER)
		on_answer(w, &in, &bad);
	else
		bad = "an unknown frame";
	if (bad)
		worker_kill(w, bad);
}

static int destroy(struct auth *a)
{
	for (int i = 0; i < a->cfg.workers; i++) {
		struct worker *w = &a->workers[i];

		bug_on(w->exchanges != NULL);
		if (w->respawn)
			event_free(w->respawn);
		if (!w->conn)
			continue;
		ipc_free(w->conn, false);
		role_kill(w->pid); /* it keeps nothing that could be lost */
	}
	return 0;
}

struct auth *auth_new(struct event_base *base, const struct auth_config *cfg, const char **err)
{
	struct auth *a = talloc_zero(NULL, struct auth);

	a->base = base;
	a->cfg = (struct auth_config){
	    .exe = talloc_strdup(a, cfg->exe),
	    .hostname = talloc_strdup(a, cfg->hostname),
	    .realm = talloc_strdup(a, cfg->realm),
	    .sasldb = talloc_strdup(a, cfg->sasldb),
	    .conf_path = talloc_strdup(a, cfg->conf_path),
	    .mechs = talloc_strdup(a, cfg->mechs),
	    .user = talloc_strdup(a, cfg->user),
	    .workers = cfg->workers,
	};
	a->workers = talloc_zero_array(a, struct worker, (unsigned)cfg->workers);
	talloc_set_destructor(a, destroy);
	for (int i = 0; i < cfg->workers; i++) {
		struct worker *w = &a->workers[i];

		w->a = a;
		w->respawn = event_new(base, -1, 0, respawn, w);
		if (worker_start(w, err))
			continue;
		talloc_free(a);
		return NULL;
	}
	return a;
}

void auth_free(struct auth *a)
{
	talloc_free(a);
}

int auth_workers_up(const struct auth *a)
{
	int n = 0;

	for (int i = 0; i < a->cfg.workers; i++)
		n += a->workers[i].conn != NULL && a->workers[i].ready;
	return n;
}

int64_t auth_restarts(const struct auth *a)
{
	return a->restarts;
}

size_t auth_pids(const struct auth *a, pid_t *out, size_t max)
{
	size_t n = 0;

	for (int i = 0; i < a->cfg.workers && n < max; i++)
		if (a->workers[i].conn && a->workers[i].pid > 0)
			out[n++] = a->workers[i].pid;
	return n;
}

void auth_disown(struct auth *a)
{
	for (int i = 0; i < a->cfg.workers; i++)
		a->workers[i].pid = 0;
}

/* --- exchanges --- */

static struct worker *least_busy(struct auth *a)
{
	struct worker *best = NULL;

	for (int i = 0; i < a->cfg.workers; i++) {
		struct worker *w = &a->workers[i];

		if (w->conn && (!best || w->n < best->n))
			best = w;
	}
	return best;
}

static void deadline(evutil_socket_t fd, short what, void *arg)
{
	struct auth_exchange *x = arg;

	(void)fd;
	(void)what;
	if (x->w)
		worker_kill(x->w, "no answer in time"); /* ends x as well */
	else
		unavailable(x, "no auth process is running");
}

static void link_exchange(struct auth_exchange *x, struct worker *w)
{
	x->w = w;
	x->next = w->exchanges;
	x->at = &w->exchanges;
	if (x->next)
		x->next->at = &x->next;
	w->exchanges = x;
	w->n++;
}

static int exchange_destroy(struct auth_exchange *x)
{
	uint8_t buf[8];
	struct wire_out o;

	event_free(x->timer);
	if (!x->w)
		return 0;
	wire_out_init(&o, buf, sizeof(buf));
	wire_u64(&o, x->id);
	ipc_send(x->w->conn, AUTH_F_END, buf, o.len);
	unlink_exchange(x);
	return 0;
}

/* Sends what is in o and waits; with nobody to send to, the answer comes from the timer. */
static void ask(struct auth_exchange *x, uint16_t type, struct wire_out *o)
{
	struct timeval tv = {AUTH_DEADLINE_MS / 1000, 0};

	x->waiting = true;
	if (!x->w || o->bad || !ipc_send(x->w->conn, type, o->buf, o->len)) {
		unlink_exchange(x);
		tv.tv_sec = 0;
	}
	event_add(x->timer, &tv);
	explicit_bzero(o->buf, o->cap);
}

struct auth_exchange *auth_start(struct auth *a, const char *mech, const char *initial, size_t len,
				 const struct auth_context *ctx, auth_cb *cb, void *arg)
{
	struct auth_exchange *x = talloc_zero(NULL, struct auth_exchange);
	struct worker *w = least_busy(a);
	uint8_t buf[SMTP_AUTH_LINE_MAX + 1024];
	struct wire_out o;

	x->a = a;
	x->id = ++a->next_id;
	x->cb = cb;
	x->arg = arg;
	x->timer = event_new(a->base, -1, 0, deadline, x);
	talloc_set_destructor(x, exchange_destroy);
	if (w)
		link_exchange(x, w);
	wire_out_init(&o, buf, sizeof(buf));
	wire_u64(&o, x->id);
	wire_str(&o, mech);
	wire_u8(&o, initial != NULL);
	wire_bytes(&o, initial, initial ? len : 0);
	wire_u8(&o, ctx->plus);
	wire_bytes(&o, ctx->tls.exporter, ctx->tls.exporter_len);
	wire_bytes(&o, ctx->tls.endpoint, ctx->tls.endpoint_len);
	wire_str(&o, ctx->external);
	ask(x, AUTH_F_START, &o);
	return x;
}

void auth_step(struct auth_exchange *x, const char *data, size_t len)
{
	uint8_t buf[SMTP_AUTH_LINE_MAX + 128];
	struct wire_out o;

	wire_out_init(&o, buf, sizeof(buf));
	wire_u64(&o, x->id);
	wire_bytes(&o, data, len);
	ask(x, AUTH_F_STEP, &o);
}

void auth_end(struct auth_exchange *x)
{
	talloc_free(x);
}
