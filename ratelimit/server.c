/*
 * server - what goes in and out of ratelimitd.
 *
 * A frame is decoded (proto), decided (limiter), made durable when a penalty changed (disk), told
 * to every subscriber, then answered: who gets an answer may rely on the penalty behind it. The
 * penalties of all frames that one read brought are made durable together. A frame that is not
 * valid ends its connection.
 *
 * Trusted with the socket and the folder <state_dir>/ratelimit. Diagnostics: log lines `ACCOUNT
 * ratelimit hold|limit|would-hold|would-limit|penalty|override|reset`, metrics sekisho_ratelimit_*.
 * Known gaps: none.
 */
#include "ratelimit/server.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/wire.h"
#include "ratelimit/admin.h"
#include "ratelimit/disk.h"
#include "ratelimit/link.h"
#include "ratelimit/policy_front.h"
#include "ratelimit/proto.h"
#include "ratelimit/sentry.h"
#include "ratelimit/server_metrics.h"

#define SWEEP_PLACES   64 /* of the table, at a time: asks wait for it */
#define SWEEP_TIMES    16 /* with the sockets served in between */
#define SWEEP_EVERY_MS 50
#define FULL_EVERY_MS  60000
#define CHANGES	       64 /* of penalties, told together */

struct peer {
	TAILQ_ENTRY(peer) link;
	struct server *s;
	struct link *c;
	bool subscribed;
	bool dead; /* to be freed when the present frame is done */
};

struct late {
	uint32_t id;
	struct rl_verdict v;
};

struct server {
	struct event_base *base;
	struct limiter *limiter;
	struct sentry *sentry;
	struct disk *disk;
	struct ipc_listener *listener;
	struct event *tick, *sweep, *more_sweep;
	unsigned sweeps_left;
	TAILQ_HEAD(, peer) peers;
	int64_t epoch_ms; /* UTC minus monotonic at the start: limiter time is epoch + monotonic */
	int64_t interval_ms, full_said_ms;
	uid_t uid;	    /* of the configured user */
	int64_t changed_ms; /* limiter time of the last change of a counter */
	bool standing_dirty;
	struct rl_penalty change[CHANGES]; /* in force, and told when they are on disk */
	unsigned n_changes;
	bool must_save;
	struct late late[CHANGES]; /* answers of the present read that wait for that */
	unsigned n_late;
	struct peer *late_to;
	int64_t minute_until_ms; /* UTC: until then `minute` is right */
	int minute;
	struct policy_front *front;
	struct proto_ask ask; /* the one being answered */
	struct limiter_outcome outcome;
	struct served served;
};

static struct moment now_of(struct server *s)
{
	struct moment now = {.mono_ms = s->epoch_ms + clock_mono_ms(), .utc_ms = clock_utc_ms()};
	if (now.utc_ms >= s->minute_until_ms || now.utc_ms < s->minute_until_ms - 60000) {
		s->minute = clock_local_minute(now.utc_ms);
		s->minute_until_ms = (now.utc_ms / 60000 + 1) * 60000;
	}
	now.minute = s->minute;
	return now;
}

/* --- out ----------------------------------------------------------------------------------------
 */

static void send_frame(struct peer *p, uint16_t type, const struct wire_out *w)
{
	bug_on(w->bad);
	if (p->dead || link_send(p->c, type, w->buf, w->len))
		return;
	log_event(LOG_WARNING, "-", "ratelimit", "peer-slow",
		  LI("backlog_bytes", link_backlog(p->c)));
	p->dead = true; /* it reconnects and is told everything again */
}

static void send_penalty(struct peer *p, const struct rl_penalty *penalty)
{
	uint8_t buf[PROTO_SMALL_MAX];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	proto_put_penalty(&w, penalty);
	send_frame(p, PROTO_PENALTY, &w);
}

static void push(struct server *s, const struct rl_penalty *penalty)
{
	struct peer *p;
	TAILQ_FOREACH(p, &s->peers, link)
	{
		if (p->subscribed)
			send_penalty(p, penalty);
	}
}

/* Durable before anybody hears of it; if the disk fails, in force all the same and tried again at
 * the next tick. */
static void save_standing(struct server *s, const struct moment *now)
{
	s->standing_dirty = !disk_save_standing(s->disk, s->limiter, now);
}

static void answer(struct peer *p, uint32_t id, const struct rl_verdict *v)
{
	uint8_t buf[PROTO_SMALL_MAX];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	proto_put_answer(&w, id, v);
	send_frame(p, PROTO_ANSWER, &w);
}

/* What has changed is on disk, everybody is told, and who asked is answered. */
static void settle(struct server *s, const struct moment *now)
{
	if (s->must_save)
		save_standing(s, now);
	s->must_save = false;
	for (unsigned i = 0; i < s->n_changes; i++)
		push(s, &s->change[i]);
	for (unsigned i = 0; i < s->n_late; i++)
		answer(s->late_to, s->late[i].id, &s->late[i].v);
	s->n_changes = s->n_late = 0;
}

/* Not before what stands behind it, nor behind an earlier one. */
static void answer_in_turn(struct peer *p, uint32_t id, const struct rl_verdict *v,
			   const struct moment *now)
{
	struct server *s = p->s;
	if (s->n_changes == 0) {
		answer(p, id, v);
		return;
	}
	s->late_to = p;
	s->late[s->n_late++] = (struct late){id, *v};
	if (s->n_late == CHANGES)
		settle(s, now);
}

/* A stage below a hold may be lost with a crash. */
static void changed(struct server *s, const struct rl_penalty *p, const struct moment *now)
{
	if (s->n_changes == CHANGES)
		settle(s, now);
	s->change[s->n_changes++] = *p;
	s->standing_dirty = true;
	s->must_save |= p->stage >= RL_HOLD;
}

/* The detector has set or lifted a penalty. */
static void detector_changed(const struct rl_penalty *p, const struct moment *now, void *arg)
{
	changed(arg, p, now);
}

/* --- ASK ----------------------------------------------------------------------------------------
 */

static void log_full(struct server *s, const char *account, const struct moment *now)
{
	size_t used;
	if (now->mono_ms - s->full_said_ms < FULL_EVERY_MS)
		return;
	s->full_said_ms = now->mono_ms;
	log_event(LOG_ERR, account, "ratelimit", "full",
		  LI("accounts", subjects_count(limiter_subjects(s->limiter))),
		  LI("bytes", subjects_memory(limiter_subjects(s->limiter), &used)),
		  LS("advice", "raise ratelimit.accounts and ratelimit.memory"));
}

static void log_would(const struct rl_ask *ask, const struct limiter_outcome *o)
{
	char why[RL_WHY_MAX];
	for (unsigned i = 0; i < o->n_would; i++) {
		limiter_say(o->would[i], o->would_be[i], o->would[i]->max, why, sizeof why);
		log_event(LOG_NOTICE, ask->account, "ratelimit", "would-limit",
			  LS("limit", o->would[i]->name), LS("why", why),
			  LA("client", &ask->client));
	}
}

static void log_outcome(struct server *s, const struct rl_ask *ask, const struct rl_verdict *v,
			const struct limiter_outcome *o, const struct moment *now)
{
	if (o->opened || o->would_hold)
		log_event(LOG_WARNING, ask->account, "ratelimit", o->opened ? "hold" : "would-hold",
			  LS("rule", o->rule), LS("why", o->why), LA("client", &ask->client));
	if (o->limited)
		log_event(LOG_NOTICE, ask->account, "ratelimit", "limit", LS("limit", o->limit),
			  LS("why", v->why), LI("retry_ms", v->retry_ms),
			  LA("client", &ask->client));
	log_would(ask, o);
	if (o->full)
		log_full(s, ask->account, now);
}

static void decide(struct server *s, const struct rl_ask *ask, const struct moment *now,
		   struct rl_verdict *v)
{
	struct limiter_outcome *o = &s->outcome;
	s->changed_ms = now->mono_ms;
	limiter_ask(s->limiter, ask, now, v, o);
	log_outcome(s, ask, v, o, now);
	if (o->opened)
		changed(s, limiter_penalty(s->limiter, ask->account), now);
}

void server_ask(struct server *s, const struct rl_ask *ask, struct rl_verdict *v)
{
	struct moment now = now_of(s);
	decide(s, ask, &now, v);
	settle(s, &now);
}

static bool on_ask(struct peer *p, const uint8_t *data, size_t len)
{
	struct server *s = p->s;
	struct rl_verdict v;
	if (!proto_get_ask(data, len, &s->ask))
		return false;
	struct moment now = now_of(s);
	if (s->ask.flags == PROTO_REFUND) {
		s->changed_ms = now.mono_ms;
		limiter_refund(s->limiter, &s->ask.ask, &now);
		return true;
	}
	decide(s, &s->ask.ask, &now, &v);
	answer_in_turn(p, s->ask.id, &v, &now);
	return true;
}

static bool on_observe(struct peer *p, const uint8_t *data, size_t len)
{
	struct server *s = p->s;
	struct proto_observe seen;
	if (!proto_get_observe(data, len, &seen))
		return false;
	struct moment now = now_of(s);
	s->changed_ms = now.mono_ms;
	limiter_observe(s->limiter, &seen.o, &now);
	sentry_observed(s->sentry, &seen.o, &now);
	return true;
}

/* --- SUBSCRIBE, SET, ADMIN
 * ------------------------------------------------------------------------ */

static void tell_one(const struct rl_penalty *penalty, void *arg)
{
	send_penalty(arg, penalty);
}

static bool on_subscribe(struct peer *p, const uint8_t *data, size_t len)
{
	(void)data;
	struct wire_out w;
	struct moment now = now_of(p->s);
	if (len != 0)
		return false;
	settle(p->s, &now);
	p->subscribed = true;
	limiter_each_penalty(p->s->limiter, tell_one, p);
	wire_out_init(&w, NULL, 0);
	send_frame(p, PROTO_SYNCED, &w);
	return true;
}

static bool on_set(struct peer *p, const uint8_t *data, size_t len)
{
	struct server *s = p->s;
	struct rl_penalty penalty;
	if (!proto_get_penalty(data, len, &penalty))
		return false;
	struct moment now = now_of(s);
	settle(s, &now);
	enum limiter_set r = limiter_set_penalty(s->limiter, &penalty, &now);
	if (r == LIMITER_CHANGED) {
		log_event(LOG_NOTICE, penalty.account, "ratelimit", "penalty",
			  LS("stage", rl_stage_name(penalty.stage)), LS("rule", penalty.rule),
			  LS("actor", penalty.actor), LS("why", penalty.why));
		save_standing(s, &now);
		sentry_decided(s->sentry, &penalty, &now);
		push(s, &penalty);
	} else if (r == LIMITER_SAME && p->subscribed) {
		send_penalty(p, &penalty); /* it is as they want it */
	} else if (r == LIMITER_FULL) {
		log_event(LOG_ERR, penalty.account, "ratelimit", "full",
			  LS("advice", "raise ratelimit.accounts"));
	}
	return true;
}

static void log_admin(const struct admin_result *r, const char *request, size_t n)
{
	if (r->ok && r->changed)
		log_event(LOG_NOTICE, r->name, "ratelimit", r->op + strlen("limit."),
			  LB("request", request, n));
}

static void reply(struct peer *p, uint32_t id, const struct admin_result *r)
{
	uint8_t buf[PROTO_ADMIN_MAX];
	struct wire_out w;
	char *json = json_dumps(r->value, JSON_COMPACT | JSON_ENCODE_ANY);
	bool fits = json && strlen(json) <= PROTO_JSON_MAX;
	const char *text = fits ? json : "\"the answer is too long: ask for less\"";
	wire_out_init(&w, buf, sizeof buf);
	proto_put_reply(&w, id, r->ok && fits, text, strlen(text));
	send_frame(p, PROTO_ADMIN_REPLY, &w);
	free(json);
}

static bool on_admin(struct peer *p, const uint8_t *data, size_t len)
{
	struct server *s = p->s;
	struct admin_result r;
	uint32_t id;
	const char *json;
	size_t n;
	if (!proto_get_admin(data, len, &id, &json, &n))
		return false;
	struct moment now = now_of(s);
	settle(s, &now);
	admin_run(s->limiter, json, n, &now, &r);
	/* What the mail servers have asked so far is known here alone. */
	if (r.ok && r.op && strcmp(r.op, "limit.selftest") == 0)
		json_object_set_new(r.value, "policy", policy_front_report(s->front));
	const char *account = json_string_value(json_object_get(r.value, "account"));
	if (r.ok && account)
		sentry_show(s->sentry, account, &now, r.value);
	log_admin(&r, json, n);
	s->changed_ms = now.mono_ms;
	if (r.standing_changed)
		save_standing(s, &now);
	reply(p, id, &r);
	json_decref(r.value);
	return true;
}

/* --- in
 * ------------------------------------------------------------------------------------------- */

static const struct {
	uint16_t type;
	bool (*run)(struct peer *p, const uint8_t *data, size_t len); /* false: not a valid frame */
} handlers[] = {
    {PROTO_ASK, on_ask},     {PROTO_SUBSCRIBE, on_subscribe}, {PROTO_SET, on_set},
    {PROTO_ADMIN, on_admin}, {PROTO_OBSERVE, on_observe},
};

static void peer_free(struct peer *p)
{
	TAILQ_REMOVE(&p->s->peers, p, link);
	free(p);
}

static void reap(struct server *s)
{
	struct peer *p = TAILQ_FIRST(&s->peers);
	while (p) {
		struct peer *next = TAILQ_NEXT(p, link);
		if (p->dead) {
			link_free(p->c);
			peer_free(p);
		}
		p = next;
	}
}

static bool dispatch(struct peer *p, uint16_t type, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++)
		if (handlers[i].type == type)
			return handlers[i].run(p, data, len);
	return false;
}

static bool on_frame(struct link *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	(void)c;
	struct peer *p = arg;
	struct server *s = p->s;
	if (!dispatch(p, type, data, len)) {
		log_event(LOG_WARNING, "-", "ratelimit", "bad-frame", LI("type", type),
			  LI("bytes", len));
		return false;
	}
	if (p->dead)
		return false;
	reap(s); /* those that were too slow for what this frame made known */
	return true;
}

static void on_closed(struct link *c, const char *reason, void *arg)
{
	(void)c;
	log_event(LOG_DEBUG, "-", "ratelimit", "peer-gone", LS("reason", reason));
	peer_free(arg);
}

static void on_batch(unsigned n, int64_t since_us, void *arg)
{
	const struct peer *p = arg;
	struct moment now = now_of(p->s);
	settle(p->s, &now);
	served_add(&p->s->served, n, clock_mono_us() - since_us);
}

static const struct link_handlers peer_handlers = {
    .frame = on_frame, .batch = on_batch, .closed = on_closed};

static struct peer *peer_new(struct server *s)
{
	struct peer *p = calloc(1, sizeof *p);
	if (!p)
		fatal("out of memory");
	p->s = s;
	TAILQ_INSERT_TAIL(&s->peers, p, link);
	return p;
}

static bool on_accept(struct ipc_conn *c, const struct ipc_peer *peer, void *arg)
{
	struct server *s = arg;
	if (peer->uid != 0 && peer->uid != geteuid() && peer->uid != s->uid) {
		log_event(LOG_WARNING, "-", "ratelimit", "peer-refused", LI("uid", peer->uid),
			  LI("pid", peer->pid));
		return false;
	}
	int fd = ipc_take_fd(c);
	if (fd >= 0)
		server_adopt_fd(s, fd);
	return false; /* the descriptor is ours now; what is left is not */
}

void server_adopt_fd(struct server *s, int fd)
{
	struct peer *p = peer_new(s);
	p->c = link_new(s->base, fd, &peer_handlers, p);
}

/* --- time
 * ------------------------------------------------------------------------------------------ */

static void sweep_some(struct server *s, const struct moment *now)
{
	static const struct timeval next_turn = {0};
	if (subjects_count(limiter_subjects(s->limiter)) == 0)
		return;
	limiter_sweep(s->limiter, now, SWEEP_PLACES);
	if (--s->sweeps_left > 0)
		(void)event_add(s->more_sweep, &next_turn);
}

static void on_more_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct server *s = arg;
	struct moment now = now_of(s);
	sweep_some(s, &now);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct server *s = arg;
	struct moment now = now_of(s);
	s->sweeps_left = SWEEP_TIMES;
	sweep_some(s, &now);
	sentry_tick(s->sentry, &now);
	settle(s, &now);
}

static void arm_tick(struct server *s)
{
	struct timeval tv = {.tv_sec = s->interval_ms / 1000,
			     .tv_usec = s->interval_ms % 1000 * 1000};
	if (event_add(s->tick, &tv) != 0)
		fatal("out of memory");
}

/* The disk lacks something. */
static bool counters_behind(const struct server *s)
{
	return s->changed_ms >= disk_counters_ms(s->disk);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct server *s = arg;
	struct moment now = now_of(s);
	reap(s);
	limiter_sweep_standing(s->limiter, &now);
	if (s->standing_dirty)
		save_standing(s, &now);
	if (counters_behind(s))
		disk_save_counters(s->disk, s->limiter, &now);
	arm_tick(s);
}

bool server_save(struct server *s)
{
	struct moment now = now_of(s);
	bool ok = true;
	if (s->standing_dirty)
		ok = disk_save_standing(s->disk, s->limiter, &now);
	if (counters_behind(s))
		ok = disk_save_counters_now(s->disk, s->limiter, &now) && ok;
	return ok;
}

void server_refresh_metrics(void *server)
{
	struct server *s = server;
	int64_t age_ms = counters_behind(s) ? now_of(s).mono_ms - disk_counters_ms(s->disk) : 0;
	server_put_metrics(s->limiter, s->sentry, s->disk, &s->served, age_ms);
}

/* --- up and down
 * --------------------------------------------------------------------------------------- */

static bool open_folder(struct server *s, const char *state_dir, const struct proc_identity *id,
			char **err)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof path, "%s/ratelimit", state_dir) >= (int)sizeof path) {
		*err = talloc_strdup(NULL, "common.state_dir is too long");
		return false;
	}
	if (!proc_folder(path, 0750, id)) {
		*err = talloc_asprintf(NULL, "%s: %s", path, strerror(errno));
		return false;
	}
	s->disk = disk_new(s->base, path);
	return true;
}

static bool open_socket(struct server *s, const char *run_dir, const struct proc_identity *id,
			char **err)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof path, "%s/ratelimitd.sock", run_dir) >= (int)sizeof path) {
		*err = talloc_strdup(NULL, "common.run_dir is too long");
		return false;
	}
	s->listener = ipc_listen(s->base, path, 0660, on_accept, s, err);
	if (!s->listener)
		return false;
	if (id->change && !ipc_listener_chown(s->listener, id->uid, id->gid)) {
		*err = talloc_asprintf(NULL, "%s: %s", path, strerror(errno));
		return false;
	}
	return true;
}

static void front_ask(void *arg, const struct rl_ask *ask, struct rl_verdict *v)
{
	server_ask(arg, ask, v);
}

static struct policy_front_conf front_conf(const struct ratelimit_conf *conf)
{
	return (struct policy_front_conf){.listen = &conf->policy_listen,
					  .realm = conf->policy_realm,
					  .login_case = (enum login_case)conf->login_case,
					  .defer = conf->policy_action == POLICY_DEFER};
}

static bool open_front(struct server *s, const struct ratelimit_conf *conf, char **err)
{
	struct policy_front_conf c = front_conf(conf);
	s->front = policy_front_new(s->base, &c, front_ask, s, err);
	return s->front != NULL;
}

static uint64_t random_seed(void)
{
	uint64_t seed;
	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		fatal_errno("getrandom");
	return seed;
}

struct server *server_new(struct event_base *base, const struct ratelimit_conf *conf,
			  const struct proc_identity *id, char **err)
{
	struct server *s = calloc(1, sizeof *s);
	if (!s)
		fatal("out of memory");
	TAILQ_INIT(&s->peers);
	s->base = base;
	s->uid = id->change ? id->uid : geteuid();
	s->epoch_ms = clock_utc_ms() - clock_mono_ms();
	s->interval_ms = conf->snapshot_interval_ms;
	s->full_said_ms = -FULL_EVERY_MS;
	s->limiter = limiter_new(&conf->limiter, random_seed());
	/* The socket first: it says whether another daemon is using the folder. */
	if (!open_socket(s, conf->common.run_dir, id, err) ||
	    !open_folder(s, conf->common.state_dir, id, err) || !open_front(s, conf, err)) {
		server_free(s);
		return NULL;
	}
	struct moment now = now_of(s);
	s->sentry = sentry_new(&conf->detector, conf->limiter.mode == MODE_OBSERVE, random_seed(),
			       s->limiter, detector_changed, s);
	disk_load(s->disk, s->limiter, s->sentry, &now);
	disk_detector_every(s->disk, conf->detector.snapshot_interval_ms);
	s->tick = evtimer_new(base, on_tick, s);
	if (!s->tick)
		fatal("out of memory");
	arm_tick(s);
	static const struct timeval sweep = {.tv_usec = SWEEP_EVERY_MS * 1000};
	s->sweep = event_new(base, -1, EV_PERSIST, on_sweep, s);
	s->more_sweep = evtimer_new(base, on_more_sweep, s);
	if (!s->sweep || !s->more_sweep || event_add(s->sweep, &sweep) != 0)
		fatal("out of memory");
	return s;
}

void server_reload(struct server *s, const struct ratelimit_conf *conf)
{
	struct policy_front_conf c = front_conf(conf);
	struct moment now = now_of(s);
	limiter_configure(s->limiter, &conf->limiter);
	sentry_configure(s->sentry, &conf->detector, conf->limiter.mode == MODE_OBSERVE, &now);
	disk_detector_every(s->disk, conf->detector.snapshot_interval_ms);
	policy_front_configure(s->front, &c);
	s->interval_ms = conf->snapshot_interval_ms;
	arm_tick(s);
}

void server_free(struct server *s)
{
	if (!s)
		return;
	struct peer *p;
	TAILQ_FOREACH(p, &s->peers, link)
	{
		p->dead = true;
	}
	reap(s);
	ipc_listener_free(s->listener);
	if (s->tick)
		event_free(s->tick);
	if (s->sweep)
		event_free(s->sweep);
	if (s->more_sweep)
		event_free(s->more_sweep);
	policy_front_free(s->front);
	disk_free(s->disk);
	sentry_free(s->sentry);
	limiter_free(s->limiter);
	free(s);
}
