/*
 * radius_server - see radius_server.h.
 *
 * Packets that come within GROUP_MS share one transaction. One that cannot be committed is not
 * answered: whoever sent it sends it again. One that is genuine but says nothing we can use is
 * answered and counted, so that it does not stand in the way of those behind it.
 *
 * Trusted with: the shared secrets. Input: the network. Diagnostics: "radius" log lines, at most
 * LOGS_PER_S a second, and sekisho_accounting_radius_* metrics. Known gaps: an address that several
 * clients share behind a NAT is one client.
 */
#include "accounting/radius_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/proc.h"
#include "accounting/radius_auth.h"
#include "accounting/radius_clients.h"
#include "accounting/radius_recent.h"
#include "accounting/store_radius.h"

#define GROUP_MS	5
#define GROUP_PACKETS	256  /* a transaction */
#define PENDING_MAX	8192 /* packets that wait for one */
#define READ_PACKETS	64   /* a call */
#define SOCKET_BYTES	(4 << 20)
#define WAIT_MS		1000 /* for nfqd */
#define CHORES_MS	10000
#define CHORES_MORE_MS	20
#define CHORES_SESSIONS 200
#define LOGS_PER_S	5
#define REF_MAX		128

/* What became of packets: X(name, label, help) */
#define COUNTS(X)                                                                                  \
	X(C_ANSWERED, "answered")                                                                  \
	X(C_AGAIN, "duplicate")                                                                    \
	X(C_UNKNOWN, "unknown-client")                                                             \
	X(C_FORGED, "forged")                                                                      \
	X(C_UNPROVEN, "no-message-authenticator")                                                  \
	X(C_MALFORMED, "malformed")                                                                \
	X(C_UNUSABLE, "unusable")                                                                  \
	X(C_LATE, "late")                                                                          \
	X(C_OVERRUN, "overrun")                                                                    \
	X(C_FAILED, "not-stored")

enum count {
#define X(name, label) name,
	COUNTS(X)
#undef X
	    N_COUNTS
};

static const char *const labels[] = {
#define X(name, label) [name] = (label),
    COUNTS(X)
#undef X
};

struct port {
	struct radius_server *rs;
	int fd;
	struct event *ev;
	struct port *next;
};

/* A packet on its way to the store and back. */
struct pending {
	STAILQ_ENTRY(pending) link;
	struct port *port;
	struct sockaddr_storage from;
	socklen_t from_len;
	int64_t now_ms;
	uint64_t version; /* it waits for, 0: none */
	int64_t until_ms; /* monotonic */
	bool confirmed, done;
	size_t len;
	uint8_t bytes[];
};
STAILQ_HEAD(pending_list, pending);

struct radius_server {
	struct event_base *base;
	struct store *store;
	struct feed_server *feed;
	struct radius_rules rules;
	struct radius_clients *clients;
	struct port *ports;
	struct event *group, *wait, *chores;
	struct pending_list pending, waiting;
	size_t n_pending, n_waiting;
	struct radius_recent *recent;
	int64_t started_ms, log_s;
	int logs;
	struct metric *counts[N_COUNTS], *skewed, *unconfirmed, *sessions;
};

static void timer_in(struct event *ev, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	(void)event_add(ev, &tv);
}

/* --- counting and logging --- */

static bool may_log(struct radius_server *rs)
{
	int64_t s = clock_mono_ms() / 1000;
	if (s != rs->log_s) {
		rs->log_s = s;
		rs->logs = 0;
	}
	return rs->logs++ < LOGS_PER_S;
}

static void refuse(struct radius_server *rs, enum count c, const struct sockaddr_storage *from,
		   const char *why)
{
	struct addr a = {.b = {0}};
	char text[ADDR_STRLEN];
	metric_add(rs->counts[c], 1);
	if (!may_log(rs))
		return;
	(void)addr_from_sockaddr((const struct sockaddr *)from, &a, NULL);
	log_event(LOG_WARNING, addr_format(&a, text), "radius", labels[c], LS("why", why));
}

/* --- answers --- */

static const struct radius_client *client_of(const struct radius_server *rs,
					     const struct sockaddr_storage *from)
{
	struct addr a;
	return addr_from_sockaddr((const struct sockaddr *)from, &a, NULL)
		   ? radius_client_of(rs->clients, &a)
		   : NULL;
}

/* An answer that is lost is asked for again. */
static void answer(struct radius_server *rs, const struct pending *p)
{
	uint8_t out[RADIUS_MAX];
	size_t auth_at, n = radius_answer(p->bytes, p->len, out, &auth_at);
	const struct radius_client *c = client_of(rs, &p->from);
	if (!c) /* no client any more, since a reload */
		return;
	radius_sign(out, n, auth_at, p->bytes + 4, c->secret, c->len);
	(void)sendto(p->port->fd, out, n, MSG_DONTWAIT, (const struct sockaddr *)&p->from,
		     p->from_len);
	radius_recent_answered(rs->recent, &p->from, p->bytes, p->now_ms);
	metric_add(rs->counts[C_ANSWERED], 1);
}

/* --- what a packet says, for the store --- */

/* The subscriber's ref; NULL with *why. jansson judges whether it is UTF-8, as everywhere. */
static const char *ref_of(const struct radius_server *rs, const struct radius_request *r,
			  const char **why)
{
	bool by_class = rs->rules.subscriber == RADIUS_BY_CLASS;
	const char *ref = by_class ? r->class : r->user;
	if (by_class ? r->class_bad : r->user_bad) {
		*why = by_class ? "Class holds control characters"
				: "User-Name holds control characters";
		return NULL;
	}
	json_t *text = json_string(ref);
	bool good = text && ref[0] && strlen(ref) <= REF_MAX;
	json_decref(text);
	*why = by_class ? "Class is not 1 to 128 bytes of UTF-8"
			: "User-Name is not 1 to 128 bytes of UTF-8";
	return good ? ref : NULL;
}

/* NULL: it can be used. */
static const char *unusable(const struct radius_server *rs, const struct radius_request *r,
			    const char **ref)
{
	const char *why = NULL;
	if (r->bad)
		return r->bad;
	if (!r->nas[0])
		return "neither NAS-IP-Address nor NAS-IPv6-Address nor NAS-Identifier";
	if (r->status == RADIUS_ON || r->status == RADIUS_OFF)
		return NULL;
	if (r->status < RADIUS_START || r->status > RADIUS_INTERIM)
		return "its Acct-Status-Type is none we know";
	if (!r->session[0])
		return "no Acct-Session-Id";
	*ref = ref_of(rs, r, &why);
	return *ref ? NULL : why;
}

static enum store_radius_result session_event(struct radius_server *rs, const struct pending *p,
					      const struct radius_request *r, const char *ref,
					      int64_t t_ms)
{
	int64_t began = t_ms - r->session_s * 1000;
	struct store_radius e = {
	    .news = {r->status, t_ms,
		     r->status == RADIUS_START || began < 0 || r->session_s > INT32_MAX ? t_ms
											: began,
		     p->now_ms},
	    .nas = r->nas,
	    .session = r->session,
	    .port = r->port,
	    .calling = r->calling,
	    .subscriber = ref,
	    .lines = r->lines,
	    .n_lines = r->n_lines,
	    .port_exclusive = rs->rules.port_exclusive,
	    .confirmed = p->confirmed};
	return store_radius_event(rs->store, &e);
}

static void store_restart(struct radius_server *rs, const struct radius_request *r, int64_t t_ms)
{
	store_radius_restart(rs->store, r->nas, t_ms);
	log_event(LOG_NOTICE, r->nas, "radius", r->status == RADIUS_ON ? "nas-on" : "nas-off");
	timer_in(rs->chores, 0);
}

/* In a transaction. */
static enum store_radius_result store_packet(struct radius_server *rs, const struct pending *p)
{
	static struct radius_request r; /* large */
	const char *ref = NULL;
	bool skewed;
	(void)radius_parse(p->bytes, p->len, rs->rules.netmask, &r);
	const char *why = unusable(rs, &r, &ref);
	if (why) {
		refuse(rs, C_UNUSABLE, &p->from, why);
		return STORE_RADIUS_DONE;
	}
	int64_t t = radius_event_ms(&r, p->now_ms, &skewed);
	if (skewed)
		metric_add(rs->skewed, 1);
	if (ref)
		return session_event(rs, p, &r, ref, t);
	store_restart(rs, &r, t);
	return STORE_RADIUS_DONE;
}

/* --- groups --- */

static void take(struct radius_server *rs, struct pending_list *batch)
{
	struct pending *p;
	for (int i = 0; i < GROUP_PACKETS && (p = STAILQ_FIRST(&rs->pending)) != NULL; i++) {
		STAILQ_REMOVE_HEAD(&rs->pending, link);
		rs->n_pending--;
		STAILQ_INSERT_TAIL(batch, p, link);
	}
}

static void finish(struct radius_server *rs, struct pending *p, bool stored)
{
	if (stored)
		answer(rs, p);
	else {
		metric_add(rs->counts[C_FAILED], 1);
		radius_recent_forget(rs->recent, &p->from, p->bytes, p->now_ms);
	}
	free(p);
}

static void await(struct radius_server *rs, struct pending *p, uint64_t version)
{
	p->version = version;
	p->until_ms = clock_mono_ms() + WAIT_MS;
	STAILQ_INSERT_TAIL(&rs->waiting, p, link);
	rs->n_waiting++;
	if (!event_pending(rs->wait, EV_TIMEOUT, NULL))
		timer_in(rs->wait, WAIT_MS);
}

static void come_back(struct radius_server *rs, struct pending *p)
{
	p->confirmed = true;
	STAILQ_INSERT_HEAD(&rs->pending, p, link);
	rs->n_pending++;
	timer_in(rs->group, 0);
}

/* The kernel has not said that it let the exemption go, and the line has gone all the same. */
static void unconfirmed(struct radius_server *rs, struct pending *p)
{
	metric_add(rs->unconfirmed, 1);
	if (may_log(rs))
		log_event(LOG_WARNING, "-", "radius", "unconfirmed",
			  LS("why",
			     "nfqd does not say that an exemption is out of force; the line's "
			     "new lease is stored all the same"));
	come_back(rs, p);
}

static void store_batch_of(struct radius_server *rs, struct pending_list *batch)
{
	struct pending *p, *next;
	store_begin(rs->store);
	STAILQ_FOREACH(p, batch, link)
	{
		enum store_radius_result result = store_packet(rs, p);
		p->done = result != STORE_RADIUS_WAIT;
		if (result == STORE_RADIUS_LATE)
			metric_add(rs->counts[C_LATE], 1);
	}
	uint64_t version = store_policy_version(rs->store);
	bool stored = store_commit(rs->store, NULL, NULL);
	bool connected = feed_server_connected(rs->feed, "nfqd");
	for (p = STAILQ_FIRST(batch); p; p = next) {
		next = STAILQ_NEXT(p, link);
		if (p->done || !stored)
			finish(rs, p, stored);
		else if (connected)
			await(rs, p, version);
		else
			unconfirmed(rs, p);
	}
}

static void store_group(struct radius_server *rs)
{
	struct pending_list batch = STAILQ_HEAD_INITIALIZER(batch);
	take(rs, &batch);
	if (!STAILQ_EMPTY(&batch))
		store_batch_of(rs, &batch);
}

static void on_group(evutil_socket_t none, short what, void *arg)
{
	struct radius_server *rs = arg;
	(void)none, (void)what;
	store_group(rs);
	if (!STAILQ_EMPTY(&rs->pending)) /* others have their turn in between */
		timer_in(rs->group, 0);
}

/* Those that wait for version or are late go on. */
static void release_waiting(struct radius_server *rs, uint64_t version, int64_t mono_ms)
{
	struct pending_list list = STAILQ_HEAD_INITIALIZER(list);
	struct pending *p;
	STAILQ_CONCAT(&list, &rs->waiting);
	rs->n_waiting = 0;
	while ((p = STAILQ_FIRST(&list)) != NULL) {
		STAILQ_REMOVE_HEAD(&list, link);
		if (p->version <= version)
			come_back(rs, p);
		else if (p->until_ms <= mono_ms)
			unconfirmed(rs, p);
		else {
			STAILQ_INSERT_TAIL(&rs->waiting, p, link);
			rs->n_waiting++;
		}
	}
	p = STAILQ_FIRST(&rs->waiting);
	if (p)
		timer_in(rs->wait, p->until_ms > mono_ms ? p->until_ms - mono_ms : 1);
}

static void on_wait(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what;
	release_waiting(arg, 0, clock_mono_ms());
}

void radius_server_applied(struct radius_server *rs, const char *program, uint64_t version)
{
	if (rs && strcmp(program, "nfqd") == 0)
		release_waiting(rs, version, clock_mono_ms());
}

/* --- packets in --- */

/* False: it was dealt with, and is not for the store. */
static bool admit(struct radius_server *rs, struct pending *p)
{
	static struct radius_request r; /* large */
	const struct radius_client *c = client_of(rs, &p->from);
	if (!c) {
		refuse(rs, C_UNKNOWN, &p->from, "accounting.radius_clients has no such client");
		return false;
	}
	p->len = radius_packet(p->bytes, p->len);
	if (!p->len) {
		refuse(rs, C_MALFORMED, &p->from, "no Accounting-Request");
		return false;
	}
	(void)radius_parse(p->bytes, p->len, false, &r);
	switch (radius_check(p->bytes, p->len, r.auth_at, rs->rules.message_authenticator,
			     c->secret, c->len)) {
	case RADIUS_FORGED:
		refuse(rs, C_FORGED, &p->from, "the secret is not the same at both ends");
		return false;
	case RADIUS_UNPROVEN:
		refuse(rs, C_UNPROVEN, &p->from, "no Message-Authenticator, and one is needed");
		return false;
	case RADIUS_GENUINE:
		break;
	}
	if (p->bytes[0] != RADIUS_STATUS_SERVER)
		return true;
	answer(rs, p);
	return false;
}

/* Seen before: the same answer, if there is one yet. */
static bool again(struct radius_server *rs, const struct pending *p)
{
	bool answered;
	if (!radius_recent(rs->recent, &p->from, p->bytes, p->now_ms, &answered))
		return false;
	metric_add(rs->counts[C_AGAIN], 1);
	if (answered)
		answer(rs, p);
	return true;
}

static void receive(struct port *port, const struct mmsghdr *m, int64_t now_ms)
{
	struct radius_server *rs = port->rs;
	if (rs->n_pending + rs->n_waiting >= PENDING_MAX) {
		refuse(rs, C_OVERRUN, m->msg_hdr.msg_name, "too many at once: it will come again");
		return;
	}
	struct pending *p = calloc(1, sizeof *p + m->msg_len);
	if (!p)
		fatal("out of memory");
	p->port = port;
	p->now_ms = now_ms;
	p->len = m->msg_len;
	p->from_len = m->msg_hdr.msg_namelen;
	memcpy(&p->from, m->msg_hdr.msg_name, p->from_len);
	memcpy(p->bytes, m->msg_hdr.msg_iov->iov_base, m->msg_len);
	if (!admit(rs, p) || again(rs, p)) {
		free(p);
		return;
	}
	STAILQ_INSERT_TAIL(&rs->pending, p, link);
	if (++rs->n_pending == 1)
		timer_in(rs->group, GROUP_MS);
}

static void on_packets(evutil_socket_t fd, short what, void *arg)
{
	static uint8_t bytes[READ_PACKETS][RADIUS_MAX];
	static struct sockaddr_storage from[READ_PACKETS];
	struct iovec iov[READ_PACKETS];
	struct mmsghdr m[READ_PACKETS];
	(void)what;
	for (int i = 0; i < READ_PACKETS; i++) {
		iov[i] = (struct iovec){bytes[i], RADIUS_MAX};
		m[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &from[i],
						    .msg_namelen = sizeof from[i],
						    .msg_iov = &iov[i],
						    .msg_iovlen = 1}};
	}
	int n = recvmmsg(fd, m, READ_PACKETS, MSG_DONTWAIT, NULL);
	int64_t now = clock_utc_ms();
	for (int i = 0; i < n; i++)
		receive(arg, &m[i], now);
}

/* --- chores: what ends many sessions, in steps --- */

static bool silence_step(struct radius_server *rs, int64_t now)
{
	int64_t silence = rs->rules.silence_ms;
	if (!silence || now - rs->started_ms < silence) /* while we were away it may have spoken */
		return false;
	return store_radius_silence_step(rs->store, now - silence, silence, now, CHORES_SESSIONS);
}

static void on_chores(evutil_socket_t none, short what, void *arg)
{
	struct radius_server *rs = arg;
	int64_t now = clock_utc_ms();
	(void)none, (void)what;
	store_begin(rs->store);
	bool more = store_radius_restart_step(rs->store, now, CHORES_SESSIONS);
	more |= silence_step(rs, now);
	bool stored = store_commit(rs->store, NULL, NULL);
	metric_set(rs->sessions, store_radius_open(rs->store));
	timer_in(rs->chores, more && stored ? CHORES_MORE_MS : CHORES_MS);
}

/* --- start and stop --- */

static char *say(const char *row, const char *why)
{
	char *text = NULL;
	if (asprintf(&text, "accounting.radius_listen %s: %s", row, why) < 0)
		fatal("out of memory");
	return text;
}

static bool check_listen(const struct radius_rules *rules, char **err)
{
	struct addr a;
	uint16_t port;
	const char *why = NULL;
	for (size_t i = 0; i < rules->listen.n; i++)
		if (!addr_parse_port(rules->listen.items[i], &a, &port, &why)) {
			*err = say(rules->listen.items[i], why);
			return false;
		}
	if (!rules->listen.n || rules->clients.n)
		return true;
	*err = say(rules->listen.items[0],
		   "nobody may send to it: name the clients in accounting.radius_clients");
	return false;
}

static struct radius_clients *load_clients(const struct radius_rules *rules, char **err)
{
	char *why = NULL;
	struct radius_clients *c = radius_clients_load(&rules->clients, &why);
	if (!c && asprintf(err, "accounting.radius_clients %s", why) < 0)
		fatal("out of memory");
	free(why);
	return c;
}

bool radius_rules_check(const struct radius_rules *rules, char **err)
{
	struct radius_clients *c = check_listen(rules, err) ? load_clients(rules, err) : NULL;
	radius_clients_free(c);
	return c != NULL;
}

static int open_socket(const char *row, char **err)
{
	struct addr a;
	uint16_t number;
	const char *why = NULL;
	struct sockaddr_storage ss;
	int one = 1, bytes = SOCKET_BYTES;
	(void)addr_parse_port(row, &a, &number, &why); /* was checked */
	socklen_t len = addr_to_sockaddr(&a, number, &ss);
	int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && ss.ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&ss, len) == 0)
		return fd;
	*err = say(row, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool open_port(struct radius_server *rs, const char *row, char **err)
{
	int fd = open_socket(row, err);
	if (fd < 0)
		return false;
	struct port *p = calloc(1, sizeof *p);
	if (!p)
		fatal("out of memory");
	*p = (struct port){.rs = rs, .fd = fd, .next = rs->ports};
	rs->ports = p;
	p->ev = event_new(rs->base, fd, EV_READ | EV_PERSIST, on_packets, p);
	if (!p->ev || event_add(p->ev, NULL) != 0)
		fatal("out of memory");
	return true;
}

static void make_metrics(struct radius_server *rs)
{
	char label[64];
	for (int i = 0; i < N_COUNTS; i++) {
		snprintf(label, sizeof label, "result=\"%s\"", labels[i]);
		rs->counts[i] =
		    metric_new(METRIC_COUNTER, "sekisho_accounting_radius_packets_total", label,
			       "RADIUS accounting packets by what became of them");
	}
	rs->skewed = metric_new(METRIC_COUNTER, "sekisho_accounting_radius_skewed_total", NULL,
				"packets whose Event-Timestamp was too far off to be taken");
	rs->unconfirmed =
	    metric_new(METRIC_COUNTER, "sekisho_accounting_radius_unconfirmed_total", NULL,
		       "leases stored before nfqd said that the old owner's exemption is gone");
	rs->sessions = metric_new(METRIC_GAUGE, "sekisho_accounting_radius_sessions", NULL,
				  "RADIUS sessions that have not ended");
}

static void make_timers(struct radius_server *rs)
{
	rs->group = evtimer_new(rs->base, on_group, rs);
	rs->wait = evtimer_new(rs->base, on_wait, rs);
	rs->chores = evtimer_new(rs->base, on_chores, rs);
	if (!rs->group || !rs->wait || !rs->chores)
		fatal("out of memory");
	timer_in(rs->chores, 1000);
}

struct radius_server *radius_server_new(struct event_base *base, const struct radius_rules *rules,
					struct store *store, struct feed_server *feed, char **err)
{
	struct radius_server *rs = calloc(1, sizeof *rs);
	if (!rs)
		fatal("out of memory");
	*rs = (struct radius_server){.base = base,
				     .store = store,
				     .feed = feed,
				     .rules = *rules,
				     .started_ms = clock_utc_ms(),
				     .recent = radius_recent_new()};
	STAILQ_INIT(&rs->pending);
	STAILQ_INIT(&rs->waiting);
	make_metrics(rs);
	make_timers(rs);
	bool ok = check_listen(rules, err) && (rs->clients = load_clients(rules, err)) != NULL;
	for (size_t i = 0; ok && i < rules->listen.n; i++)
		ok = open_port(rs, rules->listen.items[i], err);
	if (ok)
		return rs;
	radius_server_free(rs);
	return NULL;
}

bool radius_server_reload(struct radius_server *rs, const struct radius_rules *rules, char **err)
{
	struct radius_clients *c = check_listen(rules, err) ? load_clients(rules, err) : NULL;
	if (!c)
		return false;
	radius_clients_free(rs->clients);
	rs->clients = c;
	rs->rules = *rules;
	return true;
}

json_t *radius_server_status(struct radius_server *rs)
{
	json_int_t waiting = (json_int_t)rs->n_pending;
	waiting += (json_int_t)rs->n_waiting;
	json_t *o =
	    json_pack("{s:I, s:I, s:I, s:I}", "sessions", (json_int_t)store_radius_open(rs->store),
		      "waiting", waiting, "skewed", (json_int_t)metric_get(rs->skewed),
		      "unconfirmed", (json_int_t)metric_get(rs->unconfirmed));
	for (int i = 0; i < N_COUNTS; i++)
		json_object_set_new(o, labels[i], json_integer(metric_get(rs->counts[i])));
	return o;
}

static void free_list(struct pending_list *list)
{
	struct pending *p;
	while ((p = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, link);
		free(p);
	}
}

void radius_server_free(struct radius_server *rs)
{
	if (!rs)
		return;
	while (rs->clients && !STAILQ_EMPTY(&rs->pending))
		store_group(rs);
	free_list(&rs->pending);
	free_list(&rs->waiting); /* not answered: they come again */
	for (struct port *p = rs->ports, *next; p; p = next) {
		next = p->next;
		event_free(p->ev);
		close(p->fd);
		free(p);
	}
	event_free(rs->group);
	event_free(rs->wait);
	event_free(rs->chores);
	radius_clients_free(rs->clients);
	radius_recent_free(rs->recent);
	free(rs);
}
