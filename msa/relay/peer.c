/*
 * peer - the rim of one SMTP connection: socket, timeouts, streaming of the body. Its TLS is in
 * peer_tls.c, the protocol in smtp_client.c.
 *
 * Purpose: move bytes between a mail server, the reply parser and the spool. Trusted with: outgoing
 * TCP connections, reading the spool. Diagnostics: log line `relay closed` at debug level; failures
 * go to the destination. Known gaps: none.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/peer_int.h"

#define OUTPUT_AHEAD (128u << 10)
#define CONNECT_MS   30000 /* at most, whatever the timeout of later steps */
#define ONE_OF_MS    10000 /* when there are other addresses */
#define IDLE_S	     5
#define SLOWEST	     500 /* octets of a body a second */

struct peer *peer_next(const struct peer *c)
{
	return c->next;
}

bool peer_idle(const struct peer *c)
{
	return c->idling;
}

bool peer_committed(const struct peer *c)
{
	return c->client.state == CLIENT_DOT;
}

/* --- the end ----------------------------------------------------------------------------- */

/* Does not count any more: another may be opened for it. */
static void uncount(struct peer *c)
{
	struct relay *r = c->d->r;

	if (!c->counted)
		return;
	c->counted = false;
	c->d->n_peers--;
	if (c->came_up) {
		r->n_up--;
	} else {
		c->d->n_coming_up--;
		r->n_coming_up--;
	}
}

static void leave_idle(struct peer *c)
{
	struct relay *r = c->d->r;

	if (!c->idling)
		return;
	c->idling = false;
	event_del(c->idle);
	if (r->idle == c)
		r->idle = c->idle_next == c ? NULL : c->idle_next;
	c->idle_prev->idle_next = c->idle_next;
	c->idle_next->idle_prev = c->idle_prev;
}

static void free_peer(struct peer *c)
{
	leave_idle(c);
	uncount(c);
	*(c->prev ? &c->prev->next : &c->d->peers) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->d->r->n_peers--;
	event_free(c->idle);
	event_free(c->deadline);
	event_free(c->planning);
	bufferevent_free(c->bev);
	talloc_free(c);
}

void peer_abort(struct peer *c)
{
	struct dest *d = c->d;

	free_peer(c);
	dest_peer_gone(d, NULL);
}

static void part_done(struct peer *c)
{
	struct part *p = c->part;

	c->part = NULL;
	/* First of all: the outcome goes to the journal. */
	work_part_done(c->d->r, p, c->via);
}

/* The connection is over. Settles or hands back what was on it. */
void peer_over(struct peer *c, const char *why)
{
	struct dest *d = c->d;
	struct part *p = c->part;
	bool up = c->came_up || c->again, quitting = c->client.state == CLIENT_QUIT;
	char words[RELAY_REPLY_MAX + 1], text[RELAY_REPLY_MAX + 1];
	struct addr a = c->addr;
	uint16_t port = c->host->port;
	struct smtp_client how = {.insecure = c->client.insecure,
				  .locked_out = c->client.locked_out};

	snprintf(text, sizeof(text), "%s", why);
	log_event(LOG_DEBUG, "-", "relay", "closed", LS("via", c->via), LS("why", text));
	if (c->client.insecure)
		peer_tell_no_tls(c);
	bool settled = client_lost(&c->client, text);
	memcpy(words, c->client.why, sizeof(words));
	if (p && settled) {
		part_done(c);
		dest_less(d, words);
		p = NULL;
	}
	c->part = NULL;
	free_peer(c);
	if (!up && !quitting)
		dest_peer_failed(d, &a, port, words, &how);
	dest_peer_gone(d, p);
}

/* --- the body ---------------------------------------------------------------------------- */

/* Without the final dot nothing of it counts for the other side. */
static void unreadable(struct peer *c)
{
	struct relay *r = c->d->r;
	struct part *p = c->part;

	c->part = NULL;
	peer_abort(c);
	work_part_unreadable(r, p);
}

/* False when the connection was given up. */
static bool fill(struct peer *c)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	enum body_as as = client_sends_chunk(&c->client) ? BODY_AS_IS
			  : c->client.converts		 ? BODY_CONVERTED
							 : BODY_STUFFED;

	while (c->client.state == CLIENT_BODY && evbuffer_get_length(out) < OUTPUT_AHEAD) {
		size_t got;
		if (!body_add(c->d->r, c->part, as, out, &got)) {
			unreadable(c);
			return false;
		}
		if (got == 0)
			client_body_sent(&c->client);
	}
	return true;
}

/* --- time ---------------------------------------------------------------------------------- */

/* Something must have gone out within ms, and the reply have come whole: a server that says an
 * octet now and then has not answered. */
static void set_timeouts(struct peer *c, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	bufferevent_set_timeouts(c->bev, NULL, &tv);
	event_add(c->deadline, &tv);
}

static void await_reply(struct peer *c)
{
	if (!c->idling)
		set_timeouts(c, c->client.state == CLIENT_QUIT ? IDLE_S * 1000
							       : c->d->r->cfg.timeout_ms);
}

/* Octets of the body that the other side has not acknowledged. */
static uint64_t unsent(const struct peer *c)
{
	int out = 0;

	if (ioctl(bufferevent_getfd(c->bev), SIOCOUTQ, &out) != 0)
		out = 0;
	return c->part->w->env->size - c->part->body_off +
	       evbuffer_get_length(bufferevent_get_output(c->bev)) + (uint64_t)out;
}

static void begin_body(struct peer *c)
{
	int64_t ms = (int64_t)(c->part->w->env->size * 1000 / SLOWEST);

	c->body_until = clock_mono_ms() + c->d->r->cfg.timeout_ms + ms;
	c->unsent = c->part->w->env->size > OUTPUT_AHEAD ? UINT64_MAX : 0;
	await_reply(c);
}

/* It takes the body, slowly: the reply is late only when that was over a whole timeout ago. */
static bool still_taking(struct peer *c)
{
	if (c->client.state != CLIENT_BODY && c->client.state != CLIENT_DOT)
		return false;
	uint64_t left = unsent(c);
	bool going = left < c->unsent && clock_mono_ms() < c->body_until;
	c->unsent = left;
	return going;
}

/* --- events ------------------------------------------------------------------------------ */

static void enter_idle(struct peer *c)
{
	struct relay *r = c->d->r;
	struct timeval tv = {.tv_sec = IDLE_S};

	c->idling = true;
	event_add(c->idle, &tv);
	event_del(c->deadline);
	if (!r->idle) {
		r->idle = c->idle_prev = c->idle_next = c;
		return;
	}
	c->idle_next = r->idle;
	c->idle_prev = r->idle->idle_prev;
	c->idle_prev->idle_next = c->idle_next->idle_prev = c;
}

static void go_idle(struct peer *c)
{
	int64_t most = c->d->route->per_connection;

	if (!c->came_up) {
		c->came_up = true;
		peer_tell_no_tls(c);
		c->d->n_coming_up--;
		c->d->r->n_coming_up--;
		c->d->r->n_up++;
	}
	enter_idle(c);
	if (most && c->client.done_tx >= most)
		peer_quit(c);
	else
		dest_peer_ready(c->d, c);
}

static void on_read(struct bufferevent *bev, void *arg);
static void on_write(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);

void peer_listen(struct peer *c)
{
	bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
	bufferevent_setwatermark(c->bev, EV_WRITE, OUTPUT_AHEAD / 2, 0);
	set_timeouts(c, c->d->r->cfg.timeout_ms);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

/* For an hour nobody tries it there. */
static void remember_lies(struct peer *c, unsigned lies)
{
	char words[CLIENT_LIES_TEXT];

	if (lies & ~dest_lies(c->d, &c->addr))
		log_event(LOG_NOTICE, "-", "relay", "offer-empty", LS("via", c->via),
			  LS("offers", client_lies_text(lies, words)),
			  LS("action", "not used there for an hour"));
	dest_add_lies(c->d, &c->addr, lies);
}

/* It refused what it offers. The part begins again, at once, and says less. */
static void begin_again(struct peer *c)
{
	struct dest *d = c->d;
	struct part *p = c->part;
	char words[CLIENT_LIES_TEXT];

	log_event(LOG_INFO, p->w->k.id, "relay", "begun-again", LS("via", c->via),
		  LS("without", client_lies_text(p->tx.without, words)));
	c->part = NULL;
	free_peer(c);
	dest_peer_gone(d, p);
}

static void finished(struct peer *c)
{
	struct dest *d = c->d;
	bool closed = c->client.state == CLIENT_CLOSED;
	char why[RELAY_REPLY_MAX + 1];

	snprintf(why, sizeof(why), "%s", c->part->tx.rcpts[0].out.reply);
	remember_lies(c, c->client.lies);
	part_done(c);
	if (closed)
		dest_less(d, why);
	else
		dest_good(d);
}

/* False when c is gone or its buffers have changed. */
static bool act(struct peer *c, enum client_action a)
{
	switch (a) {
	case CLIENT_WAIT:
		return true;
	case CLIENT_READY:
		go_idle(c);
		return true;
	case CLIENT_DO_TLS:
		peer_start_tls(c);
		return false;
	case CLIENT_DO_PLAN: /* of client_begin() alone */
		break;
	case CLIENT_DO_BODY:
		begin_body(c);
		return fill(c);
	case CLIENT_DONE:
		finished(c);
		if (c->client.state == CLIENT_CLOSED) {
			peer_over(c, "closed by the next mail server");
			return false;
		}
		/* This may begin the next transaction; what is read next is its reply. */
		if (c->client.state == CLIENT_IDLE)
			go_idle(c);
		return true;
	case CLIENT_AGAIN:
		begin_again(c);
		return false;
	case CLIENT_FAILED:
	case CLIENT_CLOSE:
		peer_over(c, c->client.why);
		return false;
	}
	bug("unknown action %d", (int)a);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct peer *c = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	size_t len, used;

	while ((len = evbuffer_get_contiguous_space(in)) > 0) {
		enum reply_result r =
		    reply_feed(&c->parser, evbuffer_pullup(in, (ev_ssize_t)len), len, &used);
		evbuffer_drain(in, used);
		if (r == REPLY_BAD) {
			peer_over(c, c->parser.err);
			return;
		}
		if (r == REPLY_MORE)
			continue;
		/* What is said before the end of the message has left is no reply to it. */
		struct evbuffer *out = bufferevent_get_output(c->bev);
		if (c->client.state == CLIENT_DOT && evbuffer_get_length(out) > 0)
			c->client.state = CLIENT_BODY;
		await_reply(c);
		if (!act(c, client_reply(&c->client, &c->parser.reply, out)))
			return;
	}
}

static void on_write(struct bufferevent *bev, void *arg)
{
	struct peer *c = arg;

	(void)bev;
	if (c->client.state == CLIENT_BODY)
		fill(c);
}

static const char *reason(struct peer *c, short what)
{
	if (what & BEV_EVENT_TIMEOUT)
		return c->came_up ? "the next mail server did not answer in time"
				  : "the next mail server could not be reached in time";
	if (what & BEV_EVENT_EOF)
		return "the next mail server closed the connection";
	return errno ? strerror(errno) : "the connection failed";
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct peer *c = arg;
	char why[RELAY_REPLY_MAX + 1];

	(void)bev;
	if (what & BEV_EVENT_CONNECTED) {
		set_timeouts(c, c->d->r->cfg.timeout_ms);
		if (c->client.state == CLIENT_HANDSHAKE)
			peer_tls_up(c);
		return;
	}
	if (c->client.state == CLIENT_HANDSHAKE) {
		peer_tell_tls(c, TLSRPT_VALIDATION_FAILURE, relay_tls_handshake_fault(c->bev));
		peer_without_tls(c);
	}
	if (what & BEV_EVENT_TIMEOUT && client_pipelines(&c->client))
		remember_lies(c, LIE_PIPELINING);
	snprintf(why, sizeof(why), "%s", reason(c, what));
	peer_over(c, why);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct peer *c = arg;

	(void)fd;
	(void)what;
	if (still_taking(c))
		await_reply(c);
	else
		on_event(c->bev, BEV_EVENT_TIMEOUT | BEV_EVENT_READING, c);
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	peer_quit(arg);
}

void peer_quit(struct peer *c)
{
	leave_idle(c);
	uncount(c);
	set_timeouts(c, IDLE_S * 1000);
	client_quit(&c->client, bufferevent_get_output(c->bev));
}

static void tell_converted(const struct peer *c)
{
	const struct smtp_tx *tx = &c->part->tx;

	log_event(LOG_INFO, c->part->w->k.id, "relay", "converted", LS("via", c->via),
		  LS("from", tx->esmtp.body == ESMTP_BINARY ? "binary" : "8bit"),
		  LI("size", (int64_t)tx->size), LI("becomes", (int64_t)tx->plan->size));
}

static void plan_later(struct peer *c)
{
	const struct timeval now = {0};

	event_add(c->planning, &now);
}

static void begin_part(struct peer *c)
{
	struct part *p = c->part;

	body_rewind(p);
	enum client_action a = client_begin(&c->client, &p->tx, bufferevent_get_output(c->bev));
	if (a == CLIENT_DONE) {
		part_done(c);
		go_idle(c);
	} else if (a == CLIENT_DO_PLAN) {
		plan_later(c);
	} else if (c->client.converts) {
		tell_converted(c);
	}
}

/* A large message is looked at in pieces, so that others go on between. */
static void on_planning(evutil_socket_t fd, short what, void *arg)
{
	struct peer *c = arg;
	bool done;

	(void)fd;
	(void)what;
	if (!body_plan(c->d->r, c->part, &done))
		unreadable(c);
	else if (done)
		begin_part(c);
	else
		plan_later(c);
}

void peer_give(struct peer *c, struct part *p)
{
	bug_on(!c->idling);
	leave_idle(c);
	c->part = p;
	await_reply(c);
	c->client.lies |= dest_lies(c->d, &c->addr);
	begin_part(c);
}

/* --- opening ------------------------------------------------------------------------------- */

static void set_client(struct peer *c)
{
	const struct route *t = c->d->route;
	bool use = c->must_tls || (t->tls != ROUTE_TLS_NONE && !dest_is_clear(c->d, &c->addr));

	client_init(&c->client, c->d->r->cfg.hostname, use);
	c->client.must_tls = c->must_tls;
	c->client.policy = c->must_tls ? c->policy : NULL;
	c->client.lmtp = t->lmtp && !c->d->host && !c->d->domain[0];
	if (t->auth_user[0] && !c->d->host && !c->d->domain[0]) {
		c->client.user = t->auth_user;
		c->client.password = t->password;
	}
}

static int open_socket(const struct peer *c, const struct sockaddr_storage *ss)
{
	const struct route *t = c->d->route;
	bool four = ss->ss_family == AF_INET;
	struct sockaddr_storage from;
	int one = 1, fd = socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (four ? t->has_source4 : t->has_source6) {
		socklen_t len = addr_to_sockaddr(four ? &t->source4 : &t->source6, 0, &from);
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(fd, (struct sockaddr *)&from, len) < 0)
			log_event(LOG_ERR, "-", "relay", "source-unusable",
				  LS("route", t->name[0] ? t->name : "default"),
				  LS("why", strerror(errno)));
	}
	return fd;
}

static void name_it(struct peer *c)
{
	char text[ADDR_STRLEN];

	addr_format(&c->addr, text);
	if (c->host->literal)
		snprintf(c->via, sizeof(c->via), "[%s]:%u", text, c->host->port);
	else
		snprintf(c->via, sizeof(c->via), "%s[%s]:%u", c->host->name, text, c->host->port);
}

static void count_in(struct peer *c)
{
	struct dest *d = c->d;

	c->next = d->peers;
	if (c->next)
		c->next->prev = c;
	d->peers = c;
	c->counted = true;
	d->n_peers++;
	d->n_coming_up++;
	d->r->n_peers++;
	d->r->n_coming_up++;
}

struct peer *peer_open(struct dest *d, size_t at)
{
	struct peer *c = talloc_zero(NULL, struct peer);
	struct sockaddr_storage ss;
	int64_t most = d->list->n_addrs > 1 ? ONE_OF_MS : CONNECT_MS;

	if (!c)
		fatal("out of memory");
	c->d = d;
	c->list = talloc_reference(c, d->list);
	c->addr = d->list->addrs[at].a;
	c->host = &d->list->hosts[d->list->addrs[at].host];
	name_it(c);
	peer_tls_policy(c);
	socklen_t len = addr_to_sockaddr(&c->addr, c->host->port, &ss);
	int fd = open_socket(c, &ss);
	c->idle = event_new(d->r->base, -1, 0, on_idle, c);
	c->deadline = event_new(d->r->base, -1, 0, on_deadline, c);
	c->planning = event_new(d->r->base, -1, 0, on_planning, c);
	c->bev =
	    bufferevent_socket_new(d->r->base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (!c->idle || !c->deadline || !c->planning || !c->bev || !c->list)
		fatal("out of memory");
	set_client(c);
	reply_init(&c->parser);
	count_in(c);
	peer_listen(c);
	if (d->r->cfg.timeout_ms > most)
		set_timeouts(c, most);
	/* A failure at once is told through on_event(), deferred. */
	(void)bufferevent_socket_connect(c->bev, (struct sockaddr *)&ss, (int)len);
	return c;
}
