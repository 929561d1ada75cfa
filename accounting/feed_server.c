/*
 * feed_server - the daemons' connections to acctd (contract in feed_server.h, bytes in
 * docs/protocols/feed.md).
 *
 * Batches that arrive within GROUP_MS share one transaction: the fewer there are, the seldomer a
 * page of an index is written. When it fails, nothing of it was acknowledged; its senders'
 * connections are closed after a pause, and they send again. A snapshot of the policy goes out in
 * pieces, as fast as the other side reads; changes made meanwhile follow it, and so do those of an
 * import that are more than it reads at once.
 *
 * Trusted with: what root and acctd's own user send. Every record is decoded before the store sees
 * it. Diagnostics: "feed" log lines, sekisho_accounting_* metrics. Known gaps: a snapshot is held
 * in memory, encoded, while it is sent.
 */
#include "accounting/feed_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/proc.h"
#include "lib/wire.h"

#define GROUP_MS      100
#define GROUP_BATCHES 512
#define STALL_MS      1000 /* before a sender whose batch failed is told to come again */
#define REQUEST_MS    5000
#define PUMP_BACKLOG  (2u << 20)
#define PUMP_MS	      10
#define PIECE_HEADER  8 /* u32 length of what follows, u32 entries */
#define PIECE_MAX     (48u << 10)
#define BATCH_MAX     (512u << 10)
#define CHANGES_MAX   100000 /* waiting for a daemon to read; above it a new snapshot is sent */

struct change {
	uint64_t version;
	enum policy_op op;
	struct policy_entry entry;
};

/* Frames of entries, one behind the other, each after its length. */
struct snapshot {
	uint8_t *bytes;
	size_t len, cap, next; /* next: the piece to be sent */
	size_t piece;	       /* the last one */
	uint32_t in_piece, n;
};

struct peer {
	struct feed_server *fs;
	struct ipc_conn *conn;
	char program[65], instance[129];
	bool hello, wants_policy, stalled;
	uint64_t applied, ack; /* ack: to be sent when the group is on disk; 0: nothing */
	int64_t since_ms;
	struct event *timer; /* the pump, or the end of a stall */

	struct snapshot snapshot; /* being sent */
	uint64_t version;
	bool pumping;	  /* something waits to be sent: a snapshot, changes */
	bool in_snapshot; /* its end is still to be said */
	bool again;	  /* a new snapshot is to be made */
	struct change *changes;
	size_t n_changes, cap_changes, next_change;
	LIST_ENTRY(peer) link;
};

struct request {
	uint32_t id;
	struct peer *peer;
	struct event *timer;
	feed_answer *cb;
	void *arg;
	LIST_ENTRY(request) link;
};

#define WATCHERS 2

/* Who wants to be told of the events of a program. */
struct watcher {
	const char *of;					/* static */
	void (*seen)(const struct event *e, void *arg); /* NULL: nobody */
	void *arg;
};

struct feed_server {
	struct watcher watch[WATCHERS];
	struct event_base *base;
	struct store *store;
	struct ipc_listener *listener;
	struct event *group_timer;
	unsigned group_batches;
	uint32_t next_id;
	void (*applied)(const char *program, uint64_t version, void *arg);
	void *arg;
	LIST_HEAD(, peer) peers;
	LIST_HEAD(, request) requests;
	struct metric *m_events, *m_batches, *m_again, *m_failed, *m_peers;
};

static void pump(struct peer *p);

static void timer_in(struct event *ev, int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	(void)event_add(ev, &tv);
}

/* --- requests to daemons --- */

static void finish_request(struct request *r, bool answered, bool ok, const json_t *result)
{
	feed_answer *cb = r->cb;
	void *arg = r->arg;
	LIST_REMOVE(r, link);
	event_free(r->timer);
	free(r);
	cb(answered, ok, result, arg);
}

static void on_request_late(evutil_socket_t none, short what, void *arg)
{
	struct request *r = arg;
	(void)none, (void)what;
	log_event(LOG_WARNING, r->peer->program, "feed", "request-late", LI("request", r->id));
	finish_request(r, false, false, NULL);
}

/* Of one peer, NULL: of all. A callback may begin a new request: those come before these. */
static void drop_requests(struct feed_server *fs, const struct peer *p)
{
	for (struct request *r = LIST_FIRST(&fs->requests), *next; r; r = next) {
		next = LIST_NEXT(r, link);
		if (!p || r->peer == p)
			finish_request(r, false, false, NULL);
	}
}

static struct peer *peer_of(const struct feed_server *fs, const char *program)
{
	struct peer *p;
	LIST_FOREACH(p, &fs->peers, link)
	if (p->hello && !p->stalled && strcmp(p->program, program) == 0)
		return p;
	return NULL;
}

void feed_server_watch(struct feed_server *fs, const char *program,
		       void (*seen)(const struct event *e, void *arg), void *arg)
{
	int i = 0;
	while (i < WATCHERS - 1 && fs->watch[i].seen && strcmp(fs->watch[i].of, program) != 0)
		i++;
	bug_on(fs->watch[i].seen && strcmp(fs->watch[i].of, program) != 0);
	fs->watch[i] = (struct watcher){program, seen, arg};
}

bool feed_server_connected(const struct feed_server *fs, const char *program)
{
	return peer_of(fs, program) != NULL;
}

static bool send_request(struct peer *p, uint32_t id, const char *op, json_t *args)
{
	json_t *msg = json_pack("{s:s, s:O}", "op", op, "args", args);
	char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	uint8_t *buf = text && len < IPC_MAX_FRAME - 16 ? malloc(len + 8) : NULL;
	bool sent = false;
	if (buf) {
		struct wire_out w;
		wire_out_init(&w, buf, len + 8);
		wire_u32(&w, id);
		wire_bytes(&w, text, len);
		sent = ipc_send(p->conn, FEED_REQUEST, w.buf, w.len);
	}
	free(buf);
	free(text);
	json_decref(msg);
	return sent;
}

void feed_server_request(struct feed_server *fs, const char *program, const char *op, json_t *args,
			 feed_answer *cb, void *arg)
{
	struct peer *p = peer_of(fs, program);
	json_t *none = json_object();
	uint32_t id = ++fs->next_id;
	if (!p || !send_request(p, id, op, args ? args : none)) {
		json_decref(none);
		cb(false, false, NULL, arg);
		return;
	}
	json_decref(none);
	struct request *r = calloc(1, sizeof *r);
	if (!r)
		fatal("out of memory");
	*r = (struct request){.id = id, .peer = p, .cb = cb, .arg = arg};
	r->timer = evtimer_new(fs->base, on_request_late, r);
	if (!r->timer)
		fatal("out of memory");
	timer_in(r->timer, REQUEST_MS);
	LIST_INSERT_HEAD(&fs->requests, r, link);
}

static bool take_reply(struct peer *p, struct wire_in *in)
{
	size_t len = 0;
	struct request *r;
	uint32_t id = wire_get_u32(in);
	const uint8_t *text = wire_get_bytes(in, IPC_MAX_FRAME, &len);
	if (!text || !wire_done(in))
		return false;
	json_t *msg = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *ok = json_object_get(msg, "ok"), *result = json_object_get(msg, "result");
	bool valid = json_is_boolean(ok) && result;
	LIST_FOREACH(r, &p->fs->requests, link)
	{
		if (valid && r->id == id && r->peer == p) {
			finish_request(r, true, json_is_true(ok), result);
			break;
		}
	}
	json_decref(msg);
	return valid;
}

static void drop_snapshot(struct peer *p)
{
	free(p->snapshot.bytes);
	p->snapshot = (struct snapshot){0};
}

/* --- peers --- */

static void free_peer(struct peer *p)
{
	struct feed_server *fs = p->fs;
	LIST_REMOVE(p, link);
	drop_requests(fs, p);
	event_free(p->timer);
	drop_snapshot(p);
	talloc_free(p->changes);
	free(p);
	metric_add(fs->m_peers, -1);
}

static void end_peer(struct peer *p, const char *why)
{
	log_event(LOG_WARNING, p->hello ? p->program : "-", "feed", "ended", LS("why", why));
	ipc_free(p->conn, false);
	free_peer(p);
}

static void on_closed(struct ipc_conn *c, const char *reason, void *arg)
{
	struct peer *p = arg;
	(void)c;
	log_event(p->hello ? LOG_NOTICE : LOG_DEBUG, p->hello ? p->program : "-", "feed", "closed",
		  LS("reason", reason));
	free_peer(p);
}

static void on_peer_timer(evutil_socket_t none, short what, void *arg)
{
	struct peer *p = arg;
	(void)none, (void)what;
	if (p->stalled)
		end_peer(p, "its events could not be stored");
	else if (p->pumping)
		pump(p);
}

static void stall(struct peer *p)
{
	p->stalled = true;
	timer_in(p->timer, STALL_MS);
}

/* --- events --- */

static void send_ack(struct peer *p)
{
	uint8_t buf[8];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	wire_u64(&w, p->ack);
	p->ack = 0;
	if (!ipc_send(p->conn, FEED_ACK, w.buf, w.len))
		stall(p);
}

static void on_flushed(bool ok, void *arg)
{
	struct feed_server *fs = arg;
	struct peer *p;
	(void)event_del(fs->group_timer);
	fs->group_batches = 0;
	if (!ok)
		metric_add(fs->m_failed, 1);
	LIST_FOREACH(p, &fs->peers, link)
	{
		if (!p->ack)
			continue;
		if (ok)
			send_ack(p);
		else
			stall(p);
	}
}

static void on_group_timer(evutil_socket_t none, short what, void *arg)
{
	struct feed_server *fs = arg;
	(void)none, (void)what;
	store_flush(fs->store);
}

static bool all_decode(uint32_t n, const uint8_t *p, size_t len)
{
	struct event e;
	for (uint32_t i = 0; i < n; i++) {
		size_t used = event_decode(p, len, &e);
		if (used == 0)
			return false;
		p += used;
		len -= used;
	}
	return len == 0;
}

static void tell_watcher(const struct peer *p, const struct watcher *w, uint32_t n,
			 const uint8_t *at, size_t len)
{
	struct event e;
	if (!w->seen || strcmp(p->program, w->of) != 0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		size_t used = event_decode(at, len, &e);
		w->seen(&e, w->arg);
		at += used;
		len -= used;
	}
}

static bool take_events(struct peer *p, struct wire_in *in)
{
	struct feed_server *fs = p->fs;
	uint64_t seq = wire_get_u64(in);
	uint32_t n = wire_get_u32(in);
	size_t len = (size_t)(in->end - in->p);
	if (in->bad || seq == 0 || seq > INT64_MAX || len > BATCH_MAX || !all_decode(n, in->p, len))
		return false;
	enum store_batch r =
	    store_batch(fs->store, p->program, p->instance, seq, n, in->p, len, clock_utc_ms());
	if (r == BATCH_FAILED) { /* on_flushed() has seen to the others of the group */
		stall(p);
		return true;
	}
	metric_add(r == BATCH_SEEN ? fs->m_again : fs->m_batches, 1);
	if (r == BATCH_STORED) {
		metric_add(fs->m_events, n);
		for (int i = 0; i < WATCHERS; i++)
			tell_watcher(p, &fs->watch[i], n, in->p, len);
	}
	if (seq > p->ack)
		p->ack = seq;
	if (++fs->group_batches >= GROUP_BATCHES)
		store_flush(fs->store);
	else if (!event_pending(fs->group_timer, EV_TIMEOUT, NULL))
		timer_in(fs->group_timer, GROUP_MS);
	return true;
}

/* --- policy --- */

static bool send_change(struct peer *p, const struct change *c)
{
	uint8_t buf[16 + POLICY_ENTRY_MAX];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	wire_u64(&w, c->version);
	wire_u8(&w, (uint8_t)c->op);
	policy_entry_put(&w, &c->entry);
	bug_on(w.bad);
	return ipc_send(p->conn, FEED_POLICY_CHANGE, w.buf, w.len);
}

static bool send_version(struct peer *p, uint16_t type, bool with_count)
{
	uint8_t buf[12];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	wire_u64(&w, p->version);
	if (with_count)
		wire_u32(&w, p->snapshot.n);
	return ipc_send(p->conn, type, w.buf, w.len);
}

/* An entry more: in the last piece, or in a new one. */
static void keep_entry(const struct policy_entry *e, void *arg)
{
	struct snapshot *s = arg;
	struct wire_out w;
	if (s->cap - s->len < PIECE_MAX) {
		s->cap = s->cap + s->cap / 2 + 2 * PIECE_MAX;
		s->bytes = realloc(s->bytes, s->cap);
		if (!s->bytes)
			fatal("out of memory");
	}
	if (s->in_piece == 0 || s->len - s->piece + POLICY_ENTRY_MAX > PIECE_MAX) {
		s->piece = s->len;
		s->len += PIECE_HEADER;
		s->in_piece = 0;
	}
	wire_out_init(&w, s->bytes + s->len, POLICY_ENTRY_MAX);
	policy_entry_put(&w, e);
	bug_on(w.bad);
	s->len += w.len;
	s->in_piece++;
	s->n++;
	wire_out_init(&w, s->bytes + s->piece, PIECE_HEADER);
	wire_u32(&w, (uint32_t)(s->len - s->piece - 4));
	wire_u32(&w, s->in_piece);
}

static bool send_entries(struct peer *p)
{
	struct wire_in r;
	wire_in_init(&r, p->snapshot.bytes + p->snapshot.next, 4);
	uint32_t len = wire_get_u32(&r);
	const uint8_t *piece = p->snapshot.bytes + p->snapshot.next + 4;
	p->snapshot.next += 4 + len;
	return ipc_send(p->conn, FEED_POLICY_ENTRY, piece, len);
}

static bool has_room(const struct peer *p)
{
	return ipc_backlog(p->conn) < PUMP_BACKLOG;
}

/* The changes that wait, as far as the other side reads. */
static bool send_changes(struct peer *p)
{
	bool ok = true;
	while (ok && p->next_change < p->n_changes && has_room(p))
		ok = send_change(p, &p->changes[p->next_change++]);
	if (ok && p->next_change < p->n_changes)
		return true;
	talloc_free(p->changes);
	p->changes = NULL;
	p->n_changes = p->cap_changes = p->next_change = 0;
	return ok;
}

static bool send_snapshot(struct peer *p)
{
	bool ok = true;
	while (ok && p->snapshot.next < p->snapshot.len && has_room(p))
		ok = send_entries(p);
	if (!ok || p->snapshot.next < p->snapshot.len)
		return ok;
	p->in_snapshot = false;
	drop_snapshot(p);
	return send_version(p, FEED_POLICY_END, false);
}

static void begin_pump(struct peer *p);

/* Sends on until all is out or the other side should read first. What cannot be sent ends the
 * connection. */
static void pump(struct peer *p)
{
	if (p->again) {
		begin_pump(p);
		return;
	}
	bool ok = !p->in_snapshot || send_snapshot(p);
	if (ok && !p->in_snapshot)
		ok = send_changes(p);
	p->pumping = p->in_snapshot || p->n_changes > 0;
	if (!ok)
		stall(p);
	else if (p->pumping)
		timer_in(p->timer, PUMP_MS);
}

static void begin_pump(struct peer *p)
{
	if (!store_policy_snapshot(p->fs->store, keep_entry, &p->snapshot, &p->version)) {
		stall(p); /* never an empty policy because the disk failed */
		return;
	}
	p->pumping = p->in_snapshot = true;
	p->again = false;
	if (send_version(p, FEED_POLICY_BEGIN, true))
		pump(p);
	else
		stall(p);
}

/* More than are kept: a new snapshot says the same, and begins when this commit is told. */
static void start_over(struct peer *p)
{
	drop_snapshot(p);
	talloc_free(p->changes);
	p->changes = NULL;
	p->n_changes = p->cap_changes = p->next_change = 0;
	p->in_snapshot = false;
	p->pumping = p->again = true;
	timer_in(p->timer, 0);
}

static void queue_change(struct peer *p, const struct change *c)
{
	if (p->again)
		return; /* the snapshot has it */
	if (p->n_changes >= CHANGES_MAX) {
		start_over(p);
		return;
	}
	if (p->n_changes == p->cap_changes) {
		size_t cap = p->cap_changes ? 2 * p->cap_changes : 16;
		struct change *list = talloc_realloc(NULL, p->changes, struct change, cap);
		if (!list)
			fatal("out of memory");
		p->changes = list;
		p->cap_changes = cap;
	}
	p->changes[p->n_changes++] = *c;
}

static void on_policy(uint64_t version, enum policy_op op, const struct policy_entry *e, void *arg)
{
	struct feed_server *fs = arg;
	struct change c = {.version = version, .op = op, .entry = *e};
	struct peer *p;
	LIST_FOREACH(p, &fs->peers, link)
	{
		if (!p->wants_policy || p->stalled)
			continue;
		if (!p->pumping && !has_room(p)) {
			p->pumping = true;
			timer_in(p->timer, PUMP_MS);
		}
		if (p->pumping)
			queue_change(p, &c);
		else if (!send_change(p, &c))
			stall(p);
	}
}

static void set_applied(struct peer *p, uint64_t version)
{
	p->applied = version;
	if (p->fs->applied)
		p->fs->applied(p->program, version, p->fs->arg);
}

static bool take_applied(struct peer *p, struct wire_in *in)
{
	uint64_t version = wire_get_u64(in);
	if (!wire_done(in))
		return false;
	set_applied(p, version);
	return true;
}

/* --- frames --- */

static void replace_older(struct peer *p)
{
	struct peer *q;
	LIST_FOREACH(q, &p->fs->peers, link)
	{
		if (q != p && q->hello && strcmp(q->program, p->program) == 0) {
			end_peer(q, "the same program connected again");
			return;
		}
	}
}

static bool take_hello(struct peer *p, struct wire_in *in)
{
	if (p->hello)
		return false;
	uint8_t protocol = wire_get_u8(in);
	if (!in->bad && protocol != FEED_PROTOCOL) {
		log_event(LOG_ERR, "-", "feed", "other-protocol", LI("theirs", protocol),
			  LI("ours", FEED_PROTOCOL),
			  LS("hint", "a daemon of another version: upgrade and restart them all"));
		return false;
	}
	wire_get_str(in, p->program, sizeof p->program);
	wire_get_str(in, p->instance, sizeof p->instance);
	uint8_t wants = wire_get_u8(in);
	uint64_t version = wire_get_u64(in);
	if (!wire_done(in) || !p->program[0] || wants > 1)
		return false;
	p->hello = true;
	p->wants_policy = wants == 1;
	p->since_ms = clock_utc_ms();
	replace_older(p);
	log_event(LOG_NOTICE, p->program, "feed", "connected", LS("instance", p->instance),
		  LI("policy", version));
	if (p->wants_policy) {
		set_applied(p, version);
		begin_pump(p);
	}
	return true;
}

static const struct {
	uint16_t type;
	const char *bad;
	bool (*take)(struct peer *p, struct wire_in *in);
} frames[] = {
    {FEED_HELLO, "a bad hello", take_hello},
    {FEED_EVENTS, "a bad batch", take_events},
    {FEED_REPLY, "a bad reply", take_reply},
    {FEED_APPLIED, "a bad version", take_applied},
};

static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	struct peer *p = arg;
	struct wire_in in;
	(void)c;
	if (p->stalled)
		return;
	if (!p->hello && type != FEED_HELLO) {
		end_peer(p, "no hello");
		return;
	}
	wire_in_init(&in, data, len);
	for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
		if (frames[i].type != type)
			continue;
		if (!frames[i].take(p, &in))
			end_peer(p, frames[i].bad);
		return;
	}
	end_peer(p, "a frame of unknown type");
}

static const struct ipc_handlers peer_ipc = {.frame = on_frame, .closed = on_closed};

static bool on_accepted(struct ipc_conn *c, const struct ipc_peer *who, void *arg)
{
	struct feed_server *fs = arg;
	if (who->uid != 0 && who->uid != geteuid()) {
		log_event(LOG_WARNING, "-", "feed", "refused", LI("uid", who->uid));
		return false;
	}
	struct peer *p = calloc(1, sizeof *p);
	if (!p)
		return false;
	p->fs = fs;
	p->conn = c;
	p->timer = evtimer_new(fs->base, on_peer_timer, p);
	if (!p->timer)
		fatal("out of memory");
	LIST_INSERT_HEAD(&fs->peers, p, link);
	metric_add(fs->m_peers, 1);
	ipc_accept(c, &peer_ipc, p);
	return true;
}

static void register_metrics(struct feed_server *fs)
{
	fs->m_events = metric_new(METRIC_COUNTER, "sekisho_accounting_events_total", NULL,
				  "Event records stored.");
	fs->m_batches =
	    metric_new(METRIC_COUNTER, "sekisho_accounting_batches_total", NULL, "Batches stored.");
	fs->m_again = metric_new(METRIC_COUNTER, "sekisho_accounting_batches_again_total", NULL,
				 "Batches that came again and were not counted twice.");
	fs->m_failed = metric_new(METRIC_COUNTER, "sekisho_accounting_commits_failed_total", NULL,
				  "Groups of batches that could not be stored.");
	fs->m_peers =
	    metric_new(METRIC_GAUGE, "sekisho_accounting_feeds", NULL, "Daemons connected.");
}

struct feed_server *feed_server_new(
    struct event_base *base, const char *run_dir, struct store *store,
    void (*applied)(const char *program, uint64_t version, void *arg), void *arg, char **err)
{
	static const struct store_hooks hooks = {.flushed = on_flushed, .policy = on_policy};
	char *path = NULL;
	struct feed_server *fs = calloc(1, sizeof *fs);
	if (!fs || asprintf(&path, "%s/feed.sock", run_dir) < 0)
		fatal("out of memory");
	fs->base = base;
	fs->store = store;
	fs->applied = applied;
	fs->arg = arg;
	LIST_INIT(&fs->peers);
	LIST_INIT(&fs->requests);
	register_metrics(fs);
	fs->group_timer = evtimer_new(base, on_group_timer, fs);
	fs->listener = ipc_listen(base, path, 0660, on_accepted, fs, err);
	free(path);
	if (!fs->listener) {
		event_free(fs->group_timer);
		free(fs);
		return NULL;
	}
	store_hooks(store, &hooks, fs);
	return fs;
}

json_t *feed_server_status(const struct feed_server *fs)
{
	json_t *list = json_array();
	const struct peer *p;
	LIST_FOREACH(p, &fs->peers, link)
	if (p->hello)
		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I}", "program", p->program,
						      "instance", p->instance, "since_ms",
						      (json_int_t)p->since_ms, "policy_version",
						      (json_int_t)p->applied));
	return list;
}

void feed_server_free(struct feed_server *fs)
{
	static const struct store_hooks none;
	if (!fs)
		return;
	store_flush(fs->store); /* and acknowledge what it held */
	store_hooks(fs->store, &none, NULL);
	ipc_listener_free(fs->listener);
	drop_requests(fs, NULL);
	for (struct peer *p = LIST_FIRST(&fs->peers), *next; p; p = next) {
		next = LIST_NEXT(p, link);
		ipc_free(p->conn, true);
		free_peer(p);
	}
	event_free(fs->group_timer);
	free(fs);
}
