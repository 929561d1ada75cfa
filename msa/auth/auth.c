/*
 * auth - see auth.h; the parent's side.
 *
 * Diagnostics: `auth` lines for a worker that ends or hangs.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "lib/role.h"
#include "lib/wire.h"

#include "msa/auth/auth.h"
#include "msa/auth/auth_name.h"
#include "msa/auth/auth_wire.h"

#define RESPAWN_MIN_MS 1000 /* between two starts of one worker */

struct worker {
	struct group *g;
	struct ipc_conn *conn; /* NULL: not running */
	pid_t pid;
	bool ready;
	int64_t started_ms;
	struct event *respawn;
	struct auth_exchange *exchanges;
	int n;
};

/* The workers of one back end. */
struct group {
	struct auth *a;
	struct auth_backend backend;
	struct worker *workers;
};

struct auth {
	struct event_base *base;
	struct auth_config cfg;
	struct group *groups; /* as cfg.backends */
	uint64_t next_id;
	int64_t restarts;
};

struct auth_exchange {
	struct auth *a;
	struct group *g;  /* NULL: not known yet, the client has not said who it is */
	struct worker *w; /* NULL: none, or it is over */
	struct auth_exchange *next, **at;
	uint64_t id;
	struct event *timer; /* deadline of the step under way, or an answer of our own */
	bool waiting;
	const struct auth_answer *own; /* what the timer brings; NULL: "unavailable" */
	char mech[AUTH_MECH_MAX];
	struct auth_context ctx; /* strings are ours */
	auth_cb *cb;
	void *arg;
};

/* --- workers -------------------------------------------------------------------------------------
 */

static bool send_config(struct worker *w)
{
	const struct auth_config *c = &w->g->a->cfg;
	const struct auth_mech_config m = {
	    c->hostname, c->realm,    w->g->backend.sasldb, w->g->backend.conf_path,
	    c->mechs,	 c->keep_case};
	uint8_t buf[AUTH_CONFIG_MAX];
	struct wire_out o;

	wire_out_init(&o, buf, sizeof(buf));
	auth_wire_put_config(&o, &m, c->user);
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
	r = role_start(w->g->a->cfg.exe, "auth", &fd, &w->pid);
	if (r != 0) {
		*err = strerror(r);
		return false;
	}
	w->ready = false;
	w->conn = ipc_from_fd(w->g->a->base, fd, &handlers, w);
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
	w->g->a->restarts++;
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
		  LS("realm", w->g->backend.name), LS("reason", why));
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

static struct group *group_of(struct auth *a, const char *account);

/* A back end speaks for its own accounts and for nobody else's. */
static void check_group(const struct auth_exchange *x, struct auth_answer *a)
{
	if (a->result != AUTH_OK || group_of(x->a, a->account) == x->g)
		return;
	a->result = AUTH_FAILED;
	a->detail = "its realm has another back end";
}

static void on_answer(struct worker *w, const uint8_t *data, size_t len, const char **bad)
{
	struct auth_wire_answer in;
	struct auth_exchange *x;

	if (!auth_wire_get_answer(data, len, &in)) {
		*bad = "an answer that breaks the rules";
		return;
	}
	x = find(w, in.id);
	if (!x || !x->waiting)
		return; /* ended meanwhile */
	struct auth_answer a = {in.result, in.challenge, in.account, in.detail};

	check_group(x, &a);
	x->waiting = false;
	event_del(x->timer);
	if (a.result != AUTH_CONTINUE)
		unlink_exchange(x);
	x->cb(&a, x->arg);
	explicit_bzero(&in, sizeof(in));
}

static void worker_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len,
			 void *arg)
{
	struct worker *w = arg;
	const char *bad = NULL;

	(void)c;
	if (type == AUTH_F_READY && len == 0)
		w->ready = true;
	else if (type == AUTH_F_ANSWER)
		on_answer(w, data, len, &bad);
	else
		bad = "an unknown frame";
	if (bad)
		worker_kill(w, bad);
}

static void group_down(struct group *g)
{
	for (int i = 0; i < g->backend.workers; i++) {
		struct worker *w = &g->workers[i];

		bug_on(w->exchanges != NULL);
		if (w->respawn)
			event_free(w->respawn);
		if (!w->conn)
			continue;
		ipc_free(w->conn, false);
		role_kill(w->pid); /* it keeps nothing that could be lost */
	}
}

static int destroy(struct auth *a)
{
	for (size_t i = 0; i < a->cfg.n_backends; i++)
		group_down(&a->groups[i]);
	return 0;
}

static void group_copy(struct group *g, struct auth *a, const struct auth_backend *from)
{
	const char **domains = talloc_array(a, const char *, (unsigned)from->n_domains);

	for (size_t i = 0; i < from->n_domains; i++)
		domains[i] = talloc_strdup(domains, from->domains[i]);
	g->a = a;
	g->backend = (struct auth_backend){
	    .name = talloc_strdup(a, from->name),
	    .domains = domains,
	    .n_domains = from->n_domains,
	    .sasldb = talloc_strdup(a, from->sasldb),
	    .conf_path = talloc_strdup(a, from->conf_path),
	    .workers = from->workers,
	};
	g->workers = talloc_zero_array(a, struct worker, (unsigned)from->workers);
}

static bool group_up(struct group *g, const char **err)
{
	for (int i = 0; i < g->backend.workers; i++) {
		struct worker *w = &g->workers[i];

		w->g = g;
		w->respawn = event_new(g->a->base, -1, 0, respawn, w);
		if (!worker_start(w, err))
			return false;
	}
	return true;
}

struct auth *auth_new(struct event_base *base, const struct auth_config *cfg, const char **err)
{
	struct auth *a = talloc_zero(NULL, struct auth);

	bug_on(cfg->n_backends == 0);
	a->base = base;
	a->cfg = (struct auth_config){
	    .exe = talloc_strdup(a, cfg->exe),
	    .hostname = talloc_strdup(a, cfg->hostname),
	    .realm = talloc_strdup(a, cfg->realm),
	    .keep_case = cfg->keep_case,
	    .mechs = talloc_strdup(a, cfg->mechs),
	    .user = talloc_strdup(a, cfg->user),
	    .n_backends = cfg->n_backends,
	};
	a->groups = talloc_zero_array(a, struct group, (unsigned)cfg->n_backends);
	for (size_t i = 0; i < cfg->n_backends; i++)
		group_copy(&a->groups[i], a, &cfg->backends[i]);
	talloc_set_destructor(a, destroy);
	for (size_t i = 0; i < cfg->n_backends; i++) {
		if (group_up(&a->groups[i], err))
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

/* The i-th of all workers, group after group; NULL behind the last. */
static struct worker *nth(const struct auth *a, size_t i)
{
	for (size_t g = 0; g < a->cfg.n_backends; g++) {
		size_t n = (size_t)a->groups[g].backend.workers;

		if (i < n)
			return &a->groups[g].workers[i];
		i -= n;
	}
	return NULL;
}

int auth_workers_up(const struct auth *a)
{
	const struct worker *w;
	int n = 0;

	for (size_t i = 0; (w = nth(a, i)); i++)
		n += w->conn != NULL && w->ready;
	return n;
}

int auth_workers_wanted(const struct auth *a)
{
	int n = 0;

	for (size_t i = 0; i < a->cfg.n_backends; i++)
		n += a->groups[i].backend.workers;
	return n;
}

int64_t auth_restarts(const struct auth *a)
{
	return a->restarts;
}

size_t auth_pids(const struct auth *a, pid_t *out, size_t max)
{
	const struct worker *w;
	size_t n = 0;

	for (size_t i = 0; n < max && (w = nth(a, i)); i++)
		if (w->conn && w->pid > 0)
			out[n++] = w->pid;
	return n;
}

void auth_disown(struct auth *a)
{
	struct worker *w;

	for (size_t i = 0; (w = nth(a, i)); i++)
		w->pid = 0;
}

/* --- whose exchange it is --- */

static bool serves(const struct auth_backend *b, const char *domain)
{
	for (size_t i = 0; i < b->n_domains; i++)
		if (strcasecmp(b->domains[i], domain) == 0)
			return true;
	return false;
}

static struct group *group_of_domain(struct auth *a, const char *domain)
{
	for (size_t i = 1; i < a->cfg.n_backends; i++)
		if (serves(&a->groups[i].backend, domain))
			return &a->groups[i];
	return &a->groups[0];
}

static struct group *group_of(struct auth *a, const char *account)
{
	const char *at = strrchr(account, '@');

	return group_of_domain(a, at ? at + 1 : a->cfg.realm);
}

/* By the name in the client's message; with none to be seen, by the listener's realm. */
static struct group *group_by_message(struct auth_exchange *x, const char *data, size_t len)
{
	const struct auth_context *ctx = &x->ctx;
	char name[AUTH_ACCOUNT_MAX];

	if (x->a->cfg.n_backends == 1)
		return &x->a->groups[0];
	if (strcasecmp(x->mech, "EXTERNAL") == 0 && ctx->external[0])
		return group_of(x->a, ctx->external);
	if (data && auth_name(x->mech, data, len, name, sizeof(name)) && strchr(name, '@'))
		return group_of(x->a, name);
	return group_of_domain(x->a, ctx->realm[0] ? ctx->realm : x->a->cfg.realm);
}

/* --- exchanges --- */

static struct worker *least_busy(struct group *g)
{
	struct worker *best = NULL;

	for (int i = 0; i < g->backend.workers; i++) {
		struct worker *w = &g->workers[i];

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
	const struct auth_answer *own = x->own;

	x->own = NULL;
	if (own) {
		x->waiting = false;
		x->cb(own, x->arg);
	} else if (x->w) {
		worker_kill(x->w, "no answer in time"); /* ends x as well */
	} else {
		unavailable(x, "no auth process is running");
	}
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
	explicit_bzero(&x->ctx.tls, sizeof(x->ctx.tls));
	if (!x->w)
		return 0;
	wire_out_init(&o, buf, sizeof(buf));
	auth_wire_put_end(&o, x->id);
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

/* Answers without a worker, from the loop. */
static void answer_own(struct auth_exchange *x, const struct auth_answer *a)
{
	const struct timeval now = {0, 0};

	x->waiting = true;
	x->own = a;
	event_add(x->timer, &now);
}

/* The first message is there, or there is none to wait for. */
static void begin(struct auth_exchange *x, const char *initial, size_t len)
{
	uint8_t buf[AUTH_ASK_MAX];
	struct worker *w;
	struct wire_out o;

	x->g = group_by_message(x, initial, len);
	w = least_busy(x->g);
	if (w)
		link_exchange(x, w);
	wire_out_init(&o, buf, sizeof(buf));
	auth_wire_put_start(&o, x->id, x->mech, initial, len, &x->ctx);
	explicit_bzero(&x->ctx.tls, sizeof(x->ctx.tls));
	ask(x, AUTH_F_START, &o);
}

/* Asks the client who it is, as the mechanism would. */
static void prompt(struct auth_exchange *x)
{
	struct auth_answer *a = talloc_zero(x, struct auth_answer);

	*a = (struct auth_answer){AUTH_CONTINUE, auth_name_prompt(x->mech), "", ""};
	answer_own(x, a);
}

struct auth_exchange *auth_start(struct auth *a, const char *mech, const char *initial, size_t len,
				 const struct auth_context *ctx, auth_cb *cb, void *arg)
{
	struct auth_exchange *x = talloc_zero(NULL, struct auth_exchange);

	x->a = a;
	x->id = ++a->next_id;
	x->cb = cb;
	x->arg = arg;
	x->timer = event_new(a->base, -1, 0, deadline, x);
	x->ctx = *ctx;
	x->ctx.external = talloc_strdup(x, ctx->external);
	x->ctx.realm = talloc_strdup(x, ctx->realm);
	snprintf(x->mech, sizeof(x->mech), "%s", mech);
	talloc_set_destructor(x, exchange_destroy);
	if (!initial && a->cfg.n_backends > 1 && auth_name_first(mech))
		prompt(x);
	else
		begin(x, initial, len);
	return x;
}

void auth_step(struct auth_exchange *x, const char *data, size_t len)
{
	static const struct auth_answer empty = {AUTH_MALFORMED, "", "", "no name"};
	uint8_t buf[AUTH_ASK_MAX];
	struct wire_out o;

	if (!x->g && len == 0) {
		answer_own(x, &empty);
		return;
	}
	if (!x->g) {
		begin(x, data, len);
		return;
	}
	wire_out_init(&o, buf, sizeof(buf));
	auth_wire_put_step(&o, x->id, data, len);
	ask(x, AUTH_F_STEP, &o);
}

void auth_end(struct auth_exchange *x)
{
	talloc_free(x);
}
