/*
 * control_server - the one door for changes (contract in control_server.h).
 *
 * A connection has one call under way; what its client sends meanwhile waits, bounded. Root and the
 * configured admins act as themselves when they present no session; whoever presents one is that
 * operator and nothing more, so that a CGI that runs as root has only the rights of who is logged
 * in.
 *
 * Trusted with: deciding who may do what. Input: anybody on this machine. Diagnostics: "control"
 * log lines, and the audit trail the operations write. Known gaps: none.
 */
#include "accounting/control_server.h"

#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/login.h"
#include "lib/metrics.h"
#include "lib/proc.h"
#include "accounting/control.h"
#include "accounting/store_sql.h"
#include "accounting/token.h"

#define CONNECTIONS_MAX	    256
#define CONNECTIONS_PER_UID 64
#define WAITING_MAX	    16 /* requests of one connection */
#define WAITING_BYTES	    (2u << 20)
#define SEEN_MS		    60000 /* a session's last use is written at most this often */

struct waiting {
	STAILQ_ENTRY(waiting) link;
	size_t len;
	uint8_t data[];
};

struct call;

struct client {
	struct control_server *cs;
	struct ipc_conn *conn;
	struct ipc_peer peer;
	char name[80], peer_text[48]; /* "unix:root", "uid=0 pid=12" */
	bool admin;
	struct call *call; /* under way */
	unsigned n_waiting;
	size_t waiting_bytes;
	STAILQ_HEAD(, waiting) waiting;
	LIST_ENTRY(client) link;
};

struct call {
	struct op_call c;      /* first: what operations see */
	struct client *client; /* NULL: gone */
	struct control_server *cs;
	json_t *msg;
	const struct op *op;
	struct store_session session;
	char hash[SHA256_HEX], peer[64];
	LIST_ENTRY(call) link;
};

struct control_server {
	struct store *store;
	const struct control_rules *rules;
	struct acctd *a;
	struct ipc_listener *listener;
	int connections;
	LIST_HEAD(, client) clients;
	LIST_HEAD(, call) calls;
	struct metric *m_calls, *m_failed;
};

static void serve(struct client *cl, const uint8_t *data, size_t len);

static const struct op *const tables[] = {ops_door,	ops_who,    ops_policy, ops_import,
					  ops_incident, ops_report, ops_remote, ops_alert};

static const struct op *find_op(const char *name)
{
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
		for (const struct op *o = tables[i]; o->name; o++)
			if (strcmp(o->name, name) == 0)
				return o;
	return NULL;
}

/* --- answers --- */

static void send_text(struct client *cl, const char *text)
{
	if (!ipc_send(cl->conn, CONTROL_RESPONSE, text, strlen(text)))
		log_event(LOG_WARNING, cl->name, "control", "answer-lost");
}

static void send_json(struct client *cl, json_t *msg)
{
	char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	if (text && strlen(text) <= IPC_MAX_FRAME)
		send_text(cl, text);
	else
		send_text(cl, "{\"ok\":false,\"code\":\"invalid\",\"error\":\"the answer is longer "
			      "than 1 MiB: ask for less\"}");
	free(text);
}

static void wipe_secrets(const struct op_arg *list, const json_t *args)
{
	for (const struct op_arg *a = list; a && a->name; a++) {
		const char *s = a->type == OP_SECRET ? op_text(args, a->name) : NULL;
		if (s)
			explicit_bzero((char *)(uintptr_t)s, strlen(s));
	}
}

static void free_call(struct call *k)
{
	struct client *cl = k->client;
	LIST_REMOVE(k, link);
	if (k->op)
		wipe_secrets(k->op->args, k->c.args);
	json_decref(k->msg);
	free(k);
	if (cl)
		cl->call = NULL;
}

/* The next one that waits, if any. */
static void serve_waiting(struct client *cl)
{
	struct waiting *w;
	while (!cl->call && (w = STAILQ_FIRST(&cl->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&cl->waiting, link);
		cl->n_waiting--;
		cl->waiting_bytes -= w->len;
		serve(cl, w->data, w->len);
		explicit_bzero(w->data, w->len);
		free(w);
	}
}

static void answer(struct call *k, json_t *msg)
{
	struct client *cl = k->client;
	if (cl)
		send_json(cl, msg);
	json_decref(msg);
	free_call(k);
}

void op_done(struct op_call *c, json_t *result)
{
	struct call *k = (struct call *)c;
	struct client *cl = k->client;
	answer(k, json_pack("{s:b, s:o}", "ok", 1, "result", result ? result : json_object()));
	if (cl)
		serve_waiting(cl);
}

void op_fail(struct op_call *c, const char *code, const char *fmt, ...)
{
	struct call *k = (struct call *)c;
	struct client *cl = k->client;
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	metric_add(k->cs->m_failed, 1);
	answer(k, json_pack("{s:b, s:s, s:o}", "ok", 0, "code", code, "error",
			    sql_json_text(text, strlen(text))));
	if (cl)
		serve_waiting(cl);
}

bool op_commit(struct op_call *c)
{
	struct call *k = (struct call *)c;
	const char *err = NULL;
	bool passes = false;
	if (store_commit(k->cs->store, &err, &passes))
		return true;
	op_fail(c, passes ? "unavailable" : "internal", "nothing was changed: %s", err);
	return false;
}

/* --- who asks --- */

int64_t control_session_expires(const struct control_rules *r, const struct store_session *s)
{
	int64_t idle = s->seen_ms + r->session_idle_ms,
		end = s->created_ms + r->session_lifetime_ms;
	return idle < end ? idle : end;
}

/* NULL when the session is good; else why not. */
static const char *enter_session(struct call *k, const char *token)
{
	struct control_server *cs = k->cs;
	token_sha256(token, strlen(token), k->hash);
	if (!store_session(cs->store, k->hash, &k->session))
		return "there is no such session: log in";
	if (control_session_expires(cs->rules, &k->session) <= k->c.now_ms)
		return "the session has ended: log in again";
	if (k->c.now_ms - k->session.seen_ms > SEEN_MS) {
		store_begin(cs->store);
		store_session_seen(cs->store, k->hash, k->c.now_ms);
		(void)store_commit(cs->store, NULL, NULL);
	}
	snprintf(k->peer, sizeof k->peer, "%s", k->session.address);
	k->c.session = token;
	k->c.session_hash = k->hash;
	k->c.role = k->session.role;
	k->c.who = (struct store_who){k->session.user, k->peer};
	return NULL;
}

static const char *identify(struct call *k)
{
	const json_t *session = json_object_get(k->msg, "session");
	struct client *cl = k->client;
	snprintf(k->peer, sizeof k->peer, "%s", cl->peer_text);
	k->c.who = (struct store_who){cl->name, k->peer};
	k->c.role = cl->admin ? ROLE_ADMIN : ROLE_NONE;
	if (!session || json_is_null(session))
		return NULL;
	const char *token = json_string_value(session);
	return token && token[0] ? enter_session(k, token) : "the session is empty: log in";
}

static const char *missing_role(const struct call *k)
{
	if (k->c.role == ROLE_NONE)
		return "log in first (session.login), or ask as root or a user in "
		       "accounting.admins";
	return "your role does not allow this: ask an operator with a higher one";
}

/* --- calls --- */

static bool known_members(const json_t *msg)
{
	const char *key;
	json_t *value;
	json_object_foreach ((json_t *)(uintptr_t)msg, key, value)
		if (strcmp(key, "op") != 0 && strcmp(key, "args") != 0 &&
		    strcmp(key, "session") != 0)
			return false;
	return true;
}

/* Who names an account means the one that logins lead to, whatever the request. */
static void fold_names(json_t *args, enum login_case rule)
{
	static const char *const names[] = {"account", "login"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		json_t *v = json_object_get(args, names[i]);
		if (!json_is_string(v))
			continue;
		char *text = strdup(json_string_value(v));
		if (!text)
			fatal("out of memory");
		login_fold(text, rule);
		(void)json_string_set_nocheck(v, text);
		free(text);
	}
}

static void run(struct call *k)
{
	char err[256];
	const char *name = json_string_value(json_object_get(k->msg, "op"));
	json_t *args = json_object_get(k->msg, "args");
	if (!name || !known_members(k->msg) ||
	    (args && !json_is_object(args) && !json_is_null(args))) {
		op_fail(&k->c, "invalid", "a request is {\"op\":…,\"args\":{…},\"session\":…}");
		return;
	}
	if (!json_is_object(args)) {
		json_object_set_new(k->msg, "args", json_object());
		args = json_object_get(k->msg, "args");
	}
	fold_names(args, k->cs->rules->login_case);
	k->c.args = args;
	k->op = find_op(name);
	const char *denied = identify(k);
	if (denied)
		op_fail(&k->c, "denied", "%s", denied);
	else if (k->op ? k->op->role > k->c.role : k->c.role == ROLE_NONE)
		op_fail(&k->c, "denied", "%s", missing_role(k));
	else if (!k->op)
		op_fail(&k->c, "invalid", "there is no operation %.64s", name);
	else if (k->op->args && !op_check(name, k->op->args, args, err, sizeof err))
		op_fail(&k->c, "invalid", "%s", err);
	else {
		k->c.op = k->op->name;
		k->op->run(&k->c);
	}
}

static void serve(struct client *cl, const uint8_t *data, size_t len)
{
	struct control_server *cs = cl->cs;
	struct call *k = calloc(1, sizeof *k);
	if (!k)
		fatal("out of memory");
	metric_add(cs->m_calls, 1);
	k->client = cl;
	k->cs = cs;
	k->c.a = cs->a;
	k->c.now_ms = clock_utc_ms();
	cl->call = k;
	LIST_INSERT_HEAD(&cs->calls, k, link);
	k->msg = json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(k->msg))
		run(k);
	else
		op_fail(&k->c, "invalid", "the request is not a JSON object");
}

/* --- connections --- */

static void free_client(struct client *cl)
{
	struct waiting *w;
	if (cl->call)
		cl->call->client = NULL;
	while ((w = STAILQ_FIRST(&cl->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&cl->waiting, link);
		free(w);
	}
	LIST_REMOVE(cl, link);
	cl->cs->connections--;
	free(cl);
}

static void on_closed(struct ipc_conn *c, const char *reason, void *arg)
{
	(void)c, (void)reason;
	free_client(arg);
}

static void end_client(struct client *cl, const char *why)
{
	log_event(LOG_WARNING, cl->name, "control", "ended", LS("why", why));
	ipc_free(cl->conn, false);
	free_client(cl);
}

static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	struct client *cl = arg;
	(void)c;
	if (type != CONTROL_REQUEST) {
		end_client(cl, "not a request");
		return;
	}
	if (!cl->call) {
		serve(cl, data, len);
		return;
	}
	struct waiting *w = malloc(sizeof *w + len);
	if (!w || cl->n_waiting >= WAITING_MAX || cl->waiting_bytes + len > WAITING_BYTES) {
		free(w);
		end_client(cl, "too many requests at once");
		return;
	}
	w->len = len;
	memcpy(w->data, data, len);
	cl->n_waiting++;
	cl->waiting_bytes += len;
	STAILQ_INSERT_TAIL(&cl->waiting, w, link);
}

static bool listed(const struct conf_list *l, const char *name)
{
	for (size_t i = 0; l && i < l->n; i++)
		if (strcmp(l->items[i], name) == 0)
			return true;
	return false;
}

static void name_client(struct client *cl)
{
	char buf[4096];
	struct passwd pw, *found = NULL;
	(void)getpwuid_r(cl->peer.uid, &pw, buf, sizeof buf, &found);
	if (found)
		snprintf(cl->name, sizeof cl->name, "unix:%s", found->pw_name);
	else
		snprintf(cl->name, sizeof cl->name, "unix:%u", (unsigned)cl->peer.uid);
	snprintf(cl->peer_text, sizeof cl->peer_text, "uid=%u pid=%d", (unsigned)cl->peer.uid,
		 (int)cl->peer.pid);
	cl->admin = cl->peer.uid == 0 || (found && listed(cl->cs->rules->admins, found->pw_name));
}

/* Room for one more of this uid? Root always gets in. */
static bool has_room(const struct control_server *cs, uid_t uid)
{
	const struct client *cl;
	int n = 0;
	LIST_FOREACH(cl, &cs->clients, link)
	n += cl->peer.uid == uid;
	return uid == 0 || (cs->connections < CONNECTIONS_MAX && n < CONNECTIONS_PER_UID);
}

static bool on_accepted(struct ipc_conn *c, const struct ipc_peer *who, void *arg)
{
	static const struct ipc_handlers h = {.frame = on_frame, .closed = on_closed};
	struct control_server *cs = arg;
	struct client *cl = has_room(cs, who->uid) ? calloc(1, sizeof *cl) : NULL;
	if (!cl) {
		log_event(LOG_WARNING, "-", "control", "refused", LI("uid", who->uid));
		return false;
	}
	cl->cs = cs;
	cl->conn = c;
	cl->peer = *who;
	STAILQ_INIT(&cl->waiting);
	name_client(cl);
	LIST_INSERT_HEAD(&cs->clients, cl, link);
	cs->connections++;
	ipc_accept(c, &h, cl);
	return true;
}

struct control_server *control_server_new(struct event_base *base, const char *run_dir,
					  struct store *store, const struct control_rules *rules,
					  struct acctd *a, char **err)
{
	char *path = NULL;
	struct control_server *cs = calloc(1, sizeof *cs);
	if (!cs || asprintf(&path, "%s/control.sock", run_dir) < 0)
		fatal("out of memory");
	cs->store = store;
	cs->rules = rules;
	cs->a = a;
	LIST_INIT(&cs->clients);
	LIST_INIT(&cs->calls);
	cs->m_calls = metric_new(METRIC_COUNTER, "sekisho_accounting_requests_total", NULL,
				 "Requests on the control socket.");
	cs->m_failed = metric_new(METRIC_COUNTER, "sekisho_accounting_requests_failed_total", NULL,
				  "Requests that were answered with an error.");
	/* Anybody may connect: what they may do is decided by who they are. */
	cs->listener = ipc_listen(base, path, 0660, on_accepted, cs, err);
	free(path);
	if (cs->listener)
		return cs;
	free(cs);
	return NULL;
}

int control_server_connections(const struct control_server *cs)
{
	return cs->connections;
}

void control_server_free(struct control_server *cs)
{
	if (!cs)
		return;
	ipc_listener_free(cs->listener);
	for (struct client *cl = LIST_FIRST(&cs->clients), *next; cl; cl = next) {
		next = LIST_NEXT(cl, link);
		ipc_free(cl->conn, true);
		free_client(cl);
	}
	for (struct call *k = LIST_FIRST(&cs->calls), *next; k; k = next) {
		next = LIST_NEXT(k, link);
		free_call(k);
	}
	free(cs);
}
