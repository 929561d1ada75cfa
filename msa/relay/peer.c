/*
 * peer - the rim of one SMTP connection: socket, TLS, timeouts, streaming of the body. The protocol
 * is in smtp_client.c.
 *
 * Purpose: move bytes between the smart host, the reply parser and the spool. Trusted with: an
 * outgoing TCP connection, reading the spool. Diagnostics: log lines `relay connected|closed` at
 * debug level; failures of the host go to the parent. Known gaps: none.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/relay_int.h"

#define CHUNK	     (64u << 10)
#define OUTPUT_AHEAD (128u << 10)
#define CONNECT_MS   30000 /* at most, whatever the timeout of later steps */
#define IDLE_S	     5
#define NO_TLS_MS    60000

struct peer {
	struct relay *r;
	struct bufferevent *bev;
	struct smtp_client client;
	struct reply_parser parser;
	struct work *work;
	struct event *idle;
	bool came_up, idling;
	struct peer *prev, *next;
};

struct peer *peer_next(const struct peer *c)
{
	return c->next;
}

bool peer_idle(const struct peer *c)
{
	return c->idling;
}

struct work *peer_work(const struct peer *c)
{
	return c->work;
}

bool peer_committed(const struct peer *c)
{
	return c->client.state == CLIENT_DOT;
}

/* --- the end ----------------------------------------------------------------------------- */

static void free_peer(struct peer *c)
{
	struct relay *r = c->r;

	*(c->prev ? &c->prev->next : &r->peers) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	r->n_peers--;
	if (!c->came_up)
		r->n_coming_up--;
	event_free(c->idle);
	bufferevent_free(c->bev);
	free(c);
}

struct work *peer_abort(struct peer *c)
{
	struct work *w = c->work;

	free_peer(c);
	return w;
}

/* The connection is over. Settles or hands back what was on it. */
static void over(struct peer *c, const char *why)
{
	struct relay *r = c->r;
	struct work *w = c->work;
	bool up = c->came_up;
	char words[RELAY_REPLY_MAX + 1];

	log_event(LOG_DEBUG, "-", "relay", "closed", LS("why", why));
	bool settled = client_lost(&c->client, why);
	memcpy(words, c->client.why, sizeof(words));
	c->work = NULL;
	free_peer(c);
	if (w && settled) {
		relay_work_done(r, w);
		w = NULL;
	}
	relay_peer_gone(r, w, up, up ? NULL : words);
}

/* --- the body ---------------------------------------------------------------------------- */

/* One piece; *got 0 at the end. False: the spool cannot be read. */
static bool add_piece(struct peer *c, struct evbuffer *out, size_t *got)
{
	struct work *w = c->work;
	static uint8_t raw[CHUNK];
	struct evbuffer_iovec v;

	if (!spool_read_body(c->r->spool, w->k.key, w->body_off, raw, sizeof(raw), got))
		return false;
	if (*got == 0 && w->body_off != w->env->size)
		return false;
	if (evbuffer_reserve_space(out, (ev_ssize_t)DOT_ROOM(*got) + DOT_END_MAX, &v, 1) != 1)
		return false;
	if (client_sends_binary(&c->client))
		memcpy(v.iov_base, raw, v.iov_len = *got);
	else
		v.iov_len =
		    *got ? dot_stuff(&w->dot, raw, *got, v.iov_base) : dot_end(&w->dot, v.iov_base);
	w->body_off += *got;
	return evbuffer_commit_space(out, &v, 1) == 0;
}

/* False when the connection was given up. */
static bool fill(struct peer *c)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	while (c->client.state == CLIENT_BODY && evbuffer_get_length(out) < OUTPUT_AHEAD) {
		size_t got;
		if (!add_piece(c, out, &got)) {
			struct relay *r = c->r;
			/* Without the final dot nothing of it counts for the other side. */
			relay_work_unreadable(r, peer_abort(c));
			relay_peer_gone(r, NULL, true, NULL);
			return false;
		}
		if (got == 0)
			client_body_sent(&c->client);
	}
	return true;
}

/* --- events ------------------------------------------------------------------------------ */

static void set_timeouts(struct peer *c, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	bufferevent_set_timeouts(c->bev, &tv, &tv);
}

static void go_idle(struct peer *c)
{
	struct timeval tv = {.tv_sec = IDLE_S};

	if (!c->came_up) {
		c->came_up = true;
		c->r->n_coming_up--;
	}
	c->idling = true;
	event_add(c->idle, &tv);
	relay_peer_ready(c->r, c);
}

static void on_read(struct bufferevent *bev, void *arg);
static void on_write(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);

static void listen_to(struct peer *c)
{
	bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
	bufferevent_setwatermark(c->bev, EV_WRITE, OUTPUT_AHEAD / 2, 0);
	set_timeouts(c, c->r->cfg.timeout_ms);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

/* Opportunistic: without, but not for good: one lost connection must not turn TLS off. */
static void without_tls(struct relay *r)
{
	int64_t now = clock_mono_ms();

	if (now >= r->no_tls_until_ms)
		log_event(LOG_WARNING, "-", "relay", "tls-failed",
			  LS("action", "clear text for a minute, then TLS is tried again"));
	r->no_tls_until_ms = now + NO_TLS_MS;
}

/* What came with the 220 in clear text is dropped with the old buffers (RFC 3207 6). */
static void start_tls(struct peer *c)
{
	int fd = dup(bufferevent_getfd(c->bev));
	struct bufferevent *tls = fd < 0 ? NULL : relay_tls_new(c->r->base, fd, &c->r->tls);

	if (!tls) {
		if (fd >= 0)
			close(fd);
		without_tls(c->r);
		over(c, "TLS could not be started here");
		return;
	}
	bufferevent_free(c->bev);
	c->bev = tls;
	reply_init(&c->parser);
	listen_to(c);
}

static void finished(struct peer *c)
{
	struct work *w = c->work;

	c->work = NULL;
	/* First of all: the outcome goes to the journal. */
	relay_work_done(c->r, w);
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
		start_tls(c);
		return false;
	case CLIENT_DO_BODY:
		return fill(c);
	case CLIENT_DONE:
		finished(c);
		if (c->client.state == CLIENT_CLOSED) {
			over(c, "closed by the next mail server");
			return false;
		}
		/* This may begin the next transaction; what is read next is its reply. */
		if (c->client.state == CLIENT_IDLE)
			go_idle(c);
		return true;
	case CLIENT_FAILED:
	case CLIENT_CLOSE:
		over(c, c->client.why);
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
			over(c, c->parser.err);
			return;
		}
		if (r == REPLY_DONE && !act(c, client_reply(&c->client, &c->parser.reply,
							    bufferevent_get_output(c->bev))))
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
	char why[128];

	if (what & BEV_EVENT_CONNECTED) {
		if (c->client.state == CLIENT_HANDSHAKE) {
			log_event(LOG_DEBUG, "-", "relay", "tls",
				  LS("version", relay_tls_version(bev)),
				  LS("certificate", relay_tls_verified(bev) ? "verified" : "-"));
			client_tls_done(&c->client, relay_tls_verified(bev),
					bufferevent_get_output(bev));
		}
		set_timeouts(c, c->r->cfg.timeout_ms);
		return;
	}
	/* While we write a long body there is nothing to read. */
	if (what == (BEV_EVENT_TIMEOUT | BEV_EVENT_READING) && c->client.state == CLIENT_BODY) {
		bufferevent_enable(bev, EV_READ);
		return;
	}
	if (c->client.state == CLIENT_HANDSHAKE)
		without_tls(c->r);
	snprintf(why, sizeof(why), "%s", reason(c, what));
	over(c, why);
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	peer_quit(arg);
}

void peer_quit(struct peer *c)
{
	c->idling = false;
	event_del(c->idle);
	set_timeouts(c, IDLE_S * 1000);
	client_quit(&c->client, bufferevent_get_output(c->bev));
}

void peer_give(struct peer *c, struct work *w)
{
	bug_on(!c->idling);
	c->idling = false;
	event_del(c->idle);
	c->work = w;
	w->body_off = 0;
	w->dot = (struct dot){.last = 0};
	if (client_begin(&c->client, &w->tx, bufferevent_get_output(c->bev)) == CLIENT_DONE) {
		finished(c);
		go_idle(c);
	}
}

struct peer *peer_open(struct relay *r)
{
	struct peer *c = calloc(1, sizeof(*c));
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&r->host, r->port, &ss);
	int one = 1, fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (!c)
		fatal("out of memory");
	c->r = r;
	c->idle = event_new(r->base, -1, 0, on_idle, c);
	c->bev =
	    bufferevent_socket_new(r->base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (!c->idle || !c->bev)
		fatal("out of memory");
	client_init(&c->client, r->cfg.hostname, clock_mono_ms() >= r->no_tls_until_ms);
	reply_init(&c->parser);
	c->next = r->peers;
	if (c->next)
		c->next->prev = c;
	r->peers = c;
	r->n_peers++;
	r->n_coming_up++;
	listen_to(c);
	if (r->cfg.timeout_ms > CONNECT_MS)
		set_timeouts(c, CONNECT_MS);
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* A failure at once is told through on_event(), deferred. */
	(void)bufferevent_socket_connect(c->bev, (struct sockaddr *)&ss, (int)len);
	return c;
}
