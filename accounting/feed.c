/*
 * feed - a daemon's side of its connection to acctd (contract in feed.h, bytes in
 * docs/protocols/feed.md).
 *
 * One ipc client that says HELLO on every (re)connect. Frames that break the rules end the
 * connection and a new one is begun; nothing here waits.
 *
 * Trusted with: nothing of its own; it hands on what acctd says. Diagnostics: log lines "feed ...".
 * Known gaps: none.
 */
#include "accounting/feed.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "lib/wire.h"

#define NAME_MAX_LEN  128

struct feed_request {
	struct feed *feed; /* NULL: the feed is gone, the answer goes nowhere */
	uint64_t epoch;	   /* of the connection it came by */
	uint32_t id;
	LIST_ENTRY(feed_request) link;
};

struct feed {
	struct event_base *base;
	struct ipc_conn *conn;
	struct feed_handlers h;
	void *arg;
	uint64_t (*policy_version)(void *arg);
	char *path, *program, *instance;
	uint64_t epoch; /* counts connections */
	bool up;
	LIST_HEAD(, feed_request) requests;
};

static const struct ipc_handlers feed_ipc;

static char *copy(const char *s)
{
	char *p = strdup(s);
	if (!p)
		fatal("out of memory");
	return p;
}

static void say_hello(struct feed *f)
{
	uint8_t buf[2 * NAME_MAX_LEN + 64];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	wire_u8(&w, FEED_PROTOCOL);
	wire_str(&w, f->program);
	wire_str(&w, f->instance);
	wire_u8(&w, f->h.policy_end || f->h.policy_change);
	wire_u64(&w, f->policy_version ? f->policy_version(f->arg) : 0);
	bug_on(w.bad);
	(void)ipc_send(f->conn, FEED_HELLO, w.buf, w.len);
}

static void set_up(struct feed *f, bool up)
{
	if (f->up == up)
		return;
	f->up = up;
	if (f->h.state)
		f->h.state(up, f->arg);
}

static void on_connected(struct ipc_conn *c, void *arg)
{
	struct feed *f = arg;
	(void)c;
	f->epoch++;
	say_hello(f);
	log_event(LOG_INFO, "-", "feed", "connected", LS("path", f->path));
	set_up(f, true);
}

static void on_closed(struct ipc_conn *c, const char *reason, void *arg)
{
	struct feed *f = arg;
	(void)c;
	if (f->up)
		log_event(LOG_WARNING, "-", "feed", "disconnected", LS("reason", reason));
	set_up(f, false);
}

/* What acctd said made no sense: begin again. */
static void start_over(struct feed *f, const char *why)
{
	log_event(LOG_ERR, "-", "feed", "bad-frame", LS("why", why));
	ipc_free(f->conn, false);
	set_up(f, false);
	f->conn = ipc_client(f->base, f->path, &feed_ipc, f);
}

static bool take_ack(struct feed *f, struct wire_in *r)
{
	uint64_t seq = wire_get_u64(r);
	if (!wire_done(r))
		return false;
	if (f->h.acked)
		f->h.acked(seq, f->arg);
	return true;
}

static bool take_begin(struct feed *f, struct wire_in *r)
{
	uint64_t version = wire_get_u64(r);
	uint32_t count = wire_get_u32(r);
	if (!wire_done(r))
		return false;
	if (f->h.policy_begin)
		f->h.policy_begin(version, count, f->arg);
	return true;
}

static bool take_entries(struct feed *f, struct wire_in *r)
{
	struct policy_entry e;
	uint32_t n = wire_get_u32(r);
	for (uint32_t i = 0; i < n && !r->bad; i++)
		if (policy_entry_get(r, &e) && f->h.policy_entry)
			f->h.policy_entry(&e, f->arg);
	return wire_done(r);
}

static bool take_end(struct feed *f, struct wire_in *r)
{
	uint64_t version = wire_get_u64(r);
	if (!wire_done(r))
		return false;
	if (f->h.policy_end)
		f->h.policy_end(version, f->arg);
	return true;
}

static bool take_change(struct feed *f, struct wire_in *r)
{
	struct policy_entry e;
	uint64_t version = wire_get_u64(r);
	uint8_t op = wire_get_u8(r);
	if (!policy_entry_get(r, &e) || !wire_done(r))
		return false;
	if (op != POLICY_SET && op != POLICY_DELETE)
		return false;
	if (f->h.policy_change)
		f->h.policy_change(version, (enum policy_op)op, &e, f->arg);
	return true;
}

static void serve_request(struct feed *f, uint32_t id, const json_t *msg)
{
	const char *op = json_string_value(json_object_get(msg, "op"));
	struct feed_request *r = calloc(1, sizeof *r);
	if (!r)
		fatal("out of memory");
	*r = (struct feed_request){.feed = f, .epoch = f->epoch, .id = id};
	LIST_INSERT_HEAD(&f->requests, r, link);
	if (!op)
		feed_reply(r, false, json_string("a request needs an op"));
	else if (!f->h.request)
		feed_reply(r, false, json_string("this daemon takes no requests"));
	else
		f->h.request(r, op, json_object_get(msg, "args"), f->arg);
}

static bool take_request(struct feed *f, struct wire_in *r)
{
	size_t len = 0;
	uint32_t id = wire_get_u32(r);
	const uint8_t *text = wire_get_bytes(r, IPC_MAX_FRAME, &len);
	if (!text || !wire_done(r))
		return false;
	json_t *msg = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(msg)) {
		json_decref(msg);
		return false;
	}
	serve_request(f, id, msg);
	json_decref(msg);
	return true;
}

static const struct {
	uint16_t type;
	const char *name;
	bool (*take)(struct feed *f, struct wire_in *r);
} frames[] = {
    {FEED_ACK, "ack", take_ack},
    {FEED_POLICY_BEGIN, "policy begin", take_begin},
    {FEED_POLICY_ENTRY, "policy entry", take_entries},
    {FEED_POLICY_END, "policy end", take_end},
    {FEED_POLICY_CHANGE, "policy change", take_change},
    {FEED_REQUEST, "request", take_request},
};

static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	struct feed *f = arg;
	struct wire_in r;
	(void)c;
	wire_in_init(&r, data, len);
	for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
		if (frames[i].type != type)
			continue;
		if (!frames[i].take(f, &r))
			start_over(f, frames[i].name);
		return;
	}
	start_over(f, "unknown type");
}

static const struct ipc_handlers feed_ipc = {
    .frame = on_frame,
    .closed = on_closed,
    .connected = on_connected,
};

struct feed *feed_new(struct event_base *base, const char *run_dir, const char *program,
		      const char *instance, uint64_t (*policy_version)(void *arg),
		      const struct feed_handlers *h, void *arg)
{
	struct feed *f = calloc(1, sizeof *f);
	bug_on(strlen(program) > NAME_MAX_LEN || strlen(instance) > NAME_MAX_LEN);
	if (!f || asprintf(&f->path, "%s/feed.sock", run_dir) < 0)
		fatal("out of memory");
	f->base = base;
	f->h = *h;
	f->arg = arg;
	f->policy_version = policy_version;
	f->program = copy(program);
	f->instance = copy(instance);
	LIST_INIT(&f->requests);
	f->conn = ipc_client(base, f->path, &feed_ipc, f);
	return f;
}

bool feed_connected(const struct feed *f)
{
	return f->up;
}

bool feed_send(struct feed *f, uint64_t seq, uint32_t n, const uint8_t *records, size_t len)
{
	if (!f->up)
		return false;
	bug_on(len > IPC_MAX_FRAME / 2);
	uint8_t *buf = malloc(len + 12);
	if (!buf)
		return false;
	struct wire_out w;
	wire_out_init(&w, buf, len + 12);
	wire_u64(&w, seq);
	wire_u32(&w, n);
	if (len)
		memcpy(buf + w.len, records, len);
	bool sent = ipc_send(f->conn, FEED_EVENTS, buf, w.len + len);
	free(buf);
	return sent;
}

bool feed_applied(struct feed *f, uint64_t version)
{
	uint8_t buf[8];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	wire_u64(&w, version);
	return f->up && ipc_send(f->conn, FEED_APPLIED, w.buf, w.len);
}

/* {"ok":…,"result":…} as text, or NULL when it would not fit a frame. */
static char *reply_text(bool ok, json_t *result)
{
	json_t *msg = json_pack("{s:b, s:o}", "ok", ok, "result", result ? result : json_null());
	char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	json_decref(msg);
	if (text && strlen(text) > IPC_MAX_FRAME - 64) {
		free(text);
		text = NULL;
	}
	return text;
}

static void send_reply(struct feed *f, uint32_t id, const char *text)
{
	size_t len = strlen(text);
	uint8_t *buf = malloc(len + 8);
	if (!buf)
		return;
	struct wire_out w;
	wire_out_init(&w, buf, len + 8);
	wire_u32(&w, id);
	wire_bytes(&w, text, len);
	if (!ipc_send(f->conn, FEED_REPLY, w.buf, w.len))
		log_event(LOG_WARNING, "-", "feed", "reply-lost", LI("request", id));
	free(buf);
}

void feed_reply(struct feed_request *r, bool ok, json_t *result)
{
	struct feed *f = r->feed;
	char *text = reply_text(ok, result);
	if (f) {
		LIST_REMOVE(r, link);
		if (f->up && f->epoch == r->epoch)
			send_reply(f, r->id,
				   text ? text
					: "{\"ok\":false,\"result\":\"the answer is too long: "
					  "ask for fewer rows\"}");
	}
	free(text);
	free(r);
}

void feed_free(struct feed *f)
{
	struct feed_request *r;
	if (!f)
		return;
	LIST_FOREACH(r, &f->requests, link) r->feed = NULL;
	ipc_free(f->conn, true);
	free(f->path);
	free(f->program);
	free(f->instance);
	free(f);
}
