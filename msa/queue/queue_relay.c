/*
 * queue_relay - the relay role as seen by its parent: start it, hand it what is due, take its
 * outcomes.
 *
 * Purpose: at most `window` messages are with the role; one that dies is started again, and what it
 * had is taken back when its successor has told the journal. Trusted with: fork and exec of our own
 * program. Diagnostics: log lines relay started/ended, host up/down. Known gaps: none.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/queue_int.h"
#include "msa/queue/lanes.h"
#include "msa/queue/schedule.h"
#include "msa/route/route.h"

#define RESPAWN_MIN_MS 100
#define RESPAWN_MAX_MS 5000
#define STOP_MS	       5000
#define DOMAIN_ROOM    260
#define CLOSED_MS      1000 /* a destination that is only full is put off for less */
#define ROUTES_FRAME   (256u << 10)

static void spawn(struct queue *q);

/* --- outcomes ---------------------------------------------------------------------------- */

static bool take_outcome(struct queue *q, struct wire_in *r)
{
	struct relay_outcome *o = talloc(NULL, struct relay_outcome);

	if (!o)
		fatal("out of memory");
	bool ok = relay_outcome_get(r, o);
	if (ok)
		queue_op_settle(q, index_find(q->ix, o->id), o);
	talloc_free(o);
	return ok;
}

/* Not delivered. What else of it has an outcome may still be on its way to the disk. */
static void ready_again(struct queue *q, struct msg *m)
{
	m->elsewhere = false;
	index_set_state(q->ix, m, m->settling ? MSG_SETTLING : MSG_READY);
	queue_apply_wish(q, m);
}

/* It knows better where the message goes than we did; that lane waits. */
static void put_off(struct queue *q, struct msg *m, const struct relay_returned *b)
{
	int64_t until = clock_utc_ms() + b->wait_ms;

	if (b->lane[0])
		lanes_set(index_lanes(q->ix), m, b->lane);
	if (b->lane[0] && b->wait_ms >= CLOSED_MS) {
		lanes_limit(index_lanes(q->ix), b->lane, 0, until);
		return;
	}
	m->next_ms = until;
	index_update(q->ix, m);
}

static bool take_back(struct queue *q, struct wire_in *r)
{
	struct relay_returned b;

	if (!relay_returned_get(r, &b))
		return false;
	struct msg *m = index_find(q->ix, b.id);
	if (!m || m->state != MSG_ACTIVE)
		return true;
	if (b.why == BACK_UNREADABLE) {
		m->next_ms = clock_utc_ms() + q->cfg.retry_min_ms;
		queue_op_check(q, m);
		return true;
	}
	ready_again(q, m);
	if (b.why == BACK_LATER)
		put_off(q, m, &b);
	return true;
}

/* With a role that outlived its msad; its outcome comes through the present one. */
static bool take_busy(struct queue *q, struct wire_in *r)
{
	char id[QUEUE_ID_LEN + 1];

	wire_get_str(r, id, sizeof(id));
	struct msg *m = index_find(q->ix, id);
	if (m && (m->state == MSG_READY || m->state == MSG_ACTIVE)) {
		m->elsewhere = true;
		index_set_state(q->ix, m, MSG_ACTIVE);
	}
	return wire_done(r);
}

static bool take_lane(struct queue *q, struct wire_in *r)
{
	struct relay_lane l;

	if (!relay_lane_get(r, &l))
		return false;
	lanes_limit(index_lanes(q->ix), l.name, l.limit,
		    l.closed_ms ? clock_utc_ms() + l.closed_ms : 0);
	return true;
}

/* What was with the predecessor and has no outcome in the journal was not delivered. */
static bool take_ready(struct queue *q, struct wire_in *r)
{
	q->relay.window = wire_get_u32(r);
	if (!wire_done(r) || q->relay.window == 0)
		return false;
	q->relay.ready = true;
	q->relay.respawn_ms = RESPAWN_MIN_MS;
	for (struct msg *m = index_first(q->ix), *next; m; m = next) {
		next = m->next;
		if (m->state == MSG_ACTIVE && !m->elsewhere)
			ready_again(q, m);
	}
	log_event(LOG_INFO, "-", "queue", "relay-ready", LI("pid", q->relay.pid),
		  LI("window", q->relay.window));
	return true;
}

static bool take_host(struct queue *q, struct wire_in *r)
{
	bool up = wire_get_u8(r);

	wire_get_str(r, q->relay.host_why, sizeof(q->relay.host_why));
	if (!wire_done(r))
		return false;
	if (up != q->relay.host_up || (!up && !q->relay.host_down_ms))
		log_event(up ? LOG_NOTICE : LOG_ERR, "-", "queue",
			  up ? "smarthost-up" : "smarthost-down", LS("address", q->cfg.smarthost),
			  LS("why", q->relay.host_why));
	q->relay.host_up = up;
	if (up)
		q->relay.host_down_ms = 0;
	else if (!q->relay.host_down_ms)
		q->relay.host_down_ms = clock_utc_ms();
	return true;
}

/* --- the process ------------------------------------------------------------------------- */

static void reap(struct relay_child *c)
{
	for (size_t i = 0; i < sizeof(c->old) / sizeof(c->old[0]); i++)
		if (c->old[i] && waitpid(c->old[i], NULL, WNOHANG) != 0)
			c->old[i] = 0;
}

/* Leaves the pid to be reaped; a full list means children that will not die, and those are init's
 * in the end. */
static void forget_child(struct relay_child *c)
{
	for (size_t i = 0; i < sizeof(c->old) / sizeof(c->old[0]); i++)
		if (!c->old[i]) {
			c->old[i] = c->pid;
			break;
		}
	c->pid = 0;
	c->conn = NULL;
	c->ready = false;
	reap(c);
}

static void ended(struct queue *q, const char *reason)
{
	struct relay_child *c = &q->relay;

	log_event(q->closing ? LOG_INFO : LOG_WARNING, "-", "queue", "relay-ended",
		  LI("pid", c->pid), LS("reason", reason));
	forget_child(c);
	if (q->closing)
		return;
	struct timeval tv = {.tv_sec = c->respawn_ms / 1000,
			     .tv_usec = c->respawn_ms % 1000 * 1000};
	event_add(c->respawn, &tv);
	c->respawn_ms = c->respawn_ms * 2 > RESPAWN_MAX_MS ? RESPAWN_MAX_MS : c->respawn_ms * 2;
}

/* The role reads foreign bytes; what it says is checked, and one that talks nonsense is replaced.
 */
static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	static const struct {
		uint16_t type;
		bool (*take)(struct queue *q, struct wire_in *r);
	} table[] = {{RELAY_OUTCOME, take_outcome}, {RELAY_BACK, take_back},
		     {RELAY_READY, take_ready},	    {RELAY_HOST, take_host},
		     {RELAY_LANE, take_lane},	    {RELAY_BUSY, take_busy}};
	struct queue *q = arg;
	struct wire_in r;
	bool ok = false;

	wire_in_init(&r, data, len);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].type == type)
			ok = table[i].take(q, &r);
	if (!ok) {
		log_event(LOG_CRIT, "-", "queue", "relay-malformed", LI("frame", type),
			  LI("pid", q->relay.pid));
		kill(q->relay.pid, SIGKILL);
		ended(q, "malformed frame");
		ipc_free(c, false);
	}
	queue_kick_relay(q);
}

static void on_closed(struct ipc_conn *conn, const char *reason, void *arg)
{
	(void)conn;
	ended(arg, reason);
}

static const struct ipc_handlers handlers = {.frame = on_frame, .closed = on_closed};

static void on_respawn(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	spawn(arg);
}

/* In the child of a process with threads: nothing but system calls until exec. */
static _Noreturn void become_relay(const char *exe, int fd)
{
	char *const argv[] = {(char *)(uintptr_t) "sekisho-relay", (char *)(uintptr_t) "-x",
			      (char *)(uintptr_t) "relay", NULL};
	sigset_t none;

	if (fd == 3)
		fcntl(fd, F_SETFD, 0);
	else
		dup2(fd, 3);
	close_range(4, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(exe, argv);
	_exit(71);
}

static void copy_text(char *to, size_t cap, const char *from)
{
	to[0] = '\0';
	strncat(to, from ? from : "", cap - 1);
}

static void send_config(struct queue *q)
{
	struct relay_config c = {.connections = (uint32_t)q->cfg.connections,
				 .timeout_ms = q->cfg.timeout_ms,
				 .pause_min_ms = q->cfg.pause_min_ms,
				 .pause_max_ms = q->cfg.pause_max_ms,
				 .sts = q->cfg.mta_sts,
				 .tlsrpt = q->cfg.tlsrpt};
	uint8_t buf[sizeof(c) + 64];
	struct wire_out w;

	copy_text(c.state_dir, sizeof(c.state_dir), q->cfg.state_dir);
	copy_text(c.hostname, sizeof(c.hostname), q->cfg.hostname);
	copy_text(c.dns_server, sizeof(c.dns_server), q->cfg.dns_server);
	copy_text(c.dns_anchor, sizeof(c.dns_anchor), q->cfg.dns_anchor);
	copy_text(c.self, sizeof(c.self), q->cfg.self);
	copy_text(c.ca, sizeof(c.ca), q->cfg.relay_ca);
	wire_out_init(&w, buf, sizeof(buf));
	relay_config_put(&w, &c);
	bug_on(w.bad);
	ipc_send(q->relay.conn, RELAY_CONFIG, buf, w.len);
}

static void send_routes(struct queue *q)
{
	uint8_t *buf = talloc_array(NULL, uint8_t, ROUTES_FRAME);
	struct wire_out w;
	size_t at = 0;
	bool more = true;

	if (!buf)
		fatal("out of memory");
	while (more) {
		wire_out_init(&w, buf + 1, ROUTES_FRAME - 1);
		more = route_table_put(q->routes, &at, &w);
		bug_on(w.bad);
		buf[0] = !more;
		if (!ipc_send(q->relay.conn, RELAY_ROUTES, buf, w.len + 1))
			break; /* the role is on its way out, or will be replaced for its silence */
	}
	explicit_bzero(buf, ROUTES_FRAME);
	talloc_free(buf);
}

void queue_set_routes(struct queue *q, const struct route_table *routes)
{
	q->routes = routes;
	for (struct msg *m = index_first(q->ix); m; m = m->next)
		relay_set_lane(q, m);
	if (q->relay.conn)
		send_routes(q);
}

static void spawn(struct queue *q)
{
	struct relay_child *c = &q->relay;
	int sv[2];

	reap(c);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
		log_event(LOG_ERR, "-", "queue", "relay-not-started", LS("why", strerror(errno)));
		struct timeval tv = {.tv_sec = 1};
		event_add(c->respawn, &tv);
		return;
	}
	c->pid = fork();
	if (c->pid == 0)
		become_relay(q->cfg.exe, sv[1]);
	close(sv[1]);
	if (c->pid < 0) {
		log_event(LOG_ERR, "-", "queue", "relay-not-started", LS("why", strerror(errno)));
		close(sv[0]);
		c->pid = 0;
		struct timeval tv = {.tv_sec = 1};
		event_add(c->respawn, &tv);
		return;
	}
	metric_add(q->metric.relay_starts, 1);
	c->commit_seq = 0;
	c->conn = ipc_from_fd(q->base, sv[0], &handlers, q);
	for (struct msg *m = index_first(q->ix); m; m = m->next)
		m->elsewhere = false;
	send_config(q);
	send_routes(q);
}

/* The last word of via; none: clear text. */
static const struct {
	const char *word, *label;
} tls_kinds[RELAY_TLS_KINDS] = {
    {"", "tls=\"none\""},	    {"unverified", "tls=\"unverified\""},
    {"trusted", "tls=\"trusted\""}, {"encrypt", "tls=\"encrypt\""},
    {"verify", "tls=\"verify\""},   {"dane", "tls=\"dane\""},
    {"sts", "tls=\"sts\""},
};

static void make_tls_metrics(struct queue *q)
{
	for (size_t i = 0; i < RELAY_TLS_KINDS; i++)
		q->relay.tls[i] = metric_new(
		    METRIC_COUNTER, "sekisho_msa_queue_delivered_tls_total", tls_kinds[i].label,
		    "Recipients delivered, by what was proven of the server.");
}

void relay_count_tls(struct queue *q, const char *via, uint32_t n)
{
	const char *last = strrchr(via, ' ');

	for (size_t i = 0; via[0] && n && q->relay.tls[0] && i < RELAY_TLS_KINDS; i++)
		if (strcmp(tls_kinds[i].word, last ? last + 1 : "") == 0)
			metric_add(q->relay.tls[i], n);
}

/* Tests say an address and no routes. */
static const struct route_table *only_route(struct queue *q, char **err)
{
	char *host = talloc_strdup(q, q->cfg.smarthost), **items = talloc_array(q, char *, 1);
	char *empty = talloc_strdup(q, "");
	struct route r = {.name = empty,
			  .auth_user = empty,
			  .auth_password_file = empty,
			  .tls = ROUTE_TLS_MAY,
			  .tls_name = talloc_strdup(q, q->cfg.smarthost_name),
			  .tls_ca = talloc_strdup(q, q->cfg.smarthost_ca),
			  .connections = q->cfg.connections};

	if (!host || !items || !empty || !r.tls_name || !r.tls_ca)
		fatal("out of memory");
	items[0] = host;
	r.hosts = (struct conf_list){items, 1};
	char *why = NULL;
	if (route_prepare(q, &r, q, &why))
		return route_table_new(q, &r, NULL, 0);
	*err = strdup(why);
	return NULL;
}

bool relay_start(struct queue *q, char **err)
{
	const struct relay_config *c = NULL;

	if (strlen(q->cfg.state_dir) >= sizeof(c->state_dir) ||
	    strlen(q->cfg.hostname) >= sizeof(c->hostname) ||
	    (q->cfg.self && strlen(q->cfg.self) >= sizeof(c->self))) {
		*err = strdup("state_dir, hostname or own_names is too long");
		return false;
	}
	if (!q->cfg.pause_min_ms)
		q->cfg.pause_min_ms = 1000;
	if (q->cfg.pause_max_ms < q->cfg.pause_min_ms)
		q->cfg.pause_max_ms = q->cfg.pause_min_ms > 30000 ? q->cfg.pause_min_ms : 30000;
	if (!q->routes && !(q->routes = only_route(q, err)))
		return false;
	for (struct msg *m = index_first(q->ix); m; m = m->next)
		relay_set_lane(q, m);
	make_tls_metrics(q);
	q->relay.respawn_ms = RESPAWN_MIN_MS;
	q->relay.respawn = event_new(q->base, -1, 0, on_respawn, q);
	if (!q->relay.respawn)
		fatal("out of memory");
	spawn(q);
	return true;
}

/* --- work -------------------------------------------------------------------------------- */

/* What has waited so long that its sender must hear of it gets an outcome even while its
 * destination is closed. */
static uint8_t work_flags(const struct queue *q, const struct msg *m)
{
	int64_t now = clock_utc_ms();
	bool late = schedule_expired(m->life_from_ms, q->cfg.lifetime_ms, now) ||
		    (q->cfg.delay_notice_ms > 0 && now - m->life_from_ms >= q->cfg.delay_notice_ms);

	return (uint8_t)((m->account->suspect ? WORK_SUSPECT : 0) | (late ? WORK_SETTLE : 0));
}

static bool send_work(struct queue *q, const struct msg *m)
{
	struct relay_work k = {
	    .key = m->place, .attempt = m->attempts - m->unwritten, .flags = work_flags(q, m)};
	uint8_t buf[64];
	struct wire_out w;

	memcpy(k.id, m->id, sizeof(k.id));
	wire_out_init(&w, buf, sizeof(buf));
	relay_work_put(&w, &k);
	bug_on(w.bad);
	return ipc_send(q->relay.conn, RELAY_WORK, buf, w.len);
}

/* A guess from the one domain that all who wait for it share: the relay role decides by address. */
void relay_set_lane(struct queue *q, struct msg *m)
{
	char at[DOMAIN_ROOM] = "@", name[ROUTE_NAME_MAX] = "";
	struct route_ask ask = {
	    .rcpt = at, .attempts = m->attempts, .suspect = m->account->suspect};
	struct route_choice c;

	if (!q->routes || m->counted_active)
		return;
	index_domain(m, at + 1, sizeof(at) - 1);
	route_choose(q->routes, &ask, &c);
	if (c.act == ROUTE_TO && (at[1] || !c.domain[0]))
		route_destination(&c, name);
	lanes_set(index_lanes(q->ix), m, name);
}

void relay_dispatch(struct queue *q, int64_t now_ms)
{
	struct msg *m;

	while (q->relay.ready && !q->closing && index_counts(q->ix).active < q->relay.window &&
	       (m = index_due(q->ix, now_ms))) {
		if (!send_work(q, m))
			return;
		index_set_state(q->ix, m, MSG_ACTIVE);
	}
}

void relay_recall(struct queue *q, const struct msg *m)
{
	uint8_t buf[64];
	struct wire_out w;

	if (!q->relay.ready)
		return;
	wire_out_init(&w, buf, sizeof(buf));
	wire_str(&w, m->id);
	ipc_send(q->relay.conn, RELAY_RECALL, buf, w.len);
}

void relay_retry(struct queue *q)
{
	lanes_open_all(index_lanes(q->ix));
	if (q->relay.ready)
		ipc_send(q->relay.conn, RELAY_RETRY, NULL, 0);
}

bool queue_post(struct queue *q, const struct relay_post *p)
{
	uint8_t buf[sizeof(*p) + 64];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	relay_post_put(&w, p);
	return q->relay.ready && ipc_send(q->relay.conn, RELAY_POST, buf, w.len);
}

void relay_tell_committed(struct queue *q)
{
	uint8_t buf[8];
	struct wire_out w;

	if (!q->relay.commit_seq || !q->relay.conn)
		return;
	wire_out_init(&w, buf, sizeof(buf));
	wire_u64(&w, q->relay.commit_seq);
	if (ipc_send(q->relay.conn, RELAY_COMMITTED, buf, w.len))
		q->relay.commit_seq = 0;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* Runs the loop until the role is through with what cannot be broken off. */
void relay_stop(struct queue *q)
{
	int64_t until = clock_mono_ms() + STOP_MS;
	struct event *tick = event_new(q->base, -1, EV_PERSIST, on_tick, NULL);
	const struct timeval often = {.tv_usec = 100000};

	q->closing = true;
	if (q->relay.respawn)
		event_del(q->relay.respawn);
	if (tick)
		event_add(tick, &often);
	if (q->relay.conn && ipc_send(q->relay.conn, RELAY_STOP, NULL, 0))
		while (q->relay.conn && clock_mono_ms() < until)
			if (event_base_loop(q->base, EVLOOP_ONCE) != 0)
				break;
	if (q->relay.conn)
		ipc_free(q->relay.conn, false);
	q->relay.conn = NULL;
	if (tick)
		event_free(tick);
	if (q->relay.respawn)
		event_free(q->relay.respawn);
}
