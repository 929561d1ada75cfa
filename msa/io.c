/*
 * io - see io.h.
 *
 * Diagnostics: `io` lines for listening, refused connections and trouble with accept(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include <event2/listener.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/conn.h"
#include "msa/io.h"
#include "msa/listening.h"
#include "msa/proxy.h"

#define ACCEPT_REST_S 1
#define PROXY_WAIT_S  5 /* a proxy knows its header when it connects */
#define CLIENT_SLOTS  4096

struct listener {
	struct server *srv;
	struct evconnlistener *ev;
	const char *address; /* as configured */
	char name[LISTENING_NAME];
	bool implicit_tls;
};

/* A proxy's connection whose header has not come whole. */
struct proxied {
	struct proxied *next, **at;
	struct listener *l;
	struct event *ev;
	int fd;
	struct addr from;
	uint16_t port;
	uint8_t buf[PROXY_MAX];
	size_t len;
};

/* How many connections a client has; clients() finds its place. */
struct client {
	struct client *next;
	struct addr addr;
	int64_t n;
};

struct io {
	struct listener *listeners;
	size_t n_listeners;
	struct conn *conns;
	size_t n_conns;
	struct client *clients[CLIENT_SLOTS];
	uint64_t client_seed;
	struct proxied *proxied;
	size_t n_proxied;
	struct event *rest; /* accept(2) had no descriptors left: pause */
	struct event *deadline;
	void (*done)(void *arg);
	void *done_arg;
};

/* --- who is there ------------------------------------------------------------------------------
 */

/* Lines of IPv6 clients are /64 prefixes; whoever has one has all its addresses. */
static struct addr client_key(const struct addr *a)
{
	struct addr k = *a;

	if (!addr_is4(a))
		memset(k.b + 8, 0, 8);
	return k;
}

/* Seeded FNV-1a: nobody can choose addresses that share a slot. */
static uint64_t hash(uint64_t seed, const void *data, size_t len)
{
	uint64_t h = 14695981039346656037u ^ seed;

	for (const uint8_t *p = data; len--; p++)
		h = (h ^ *p) * 1099511628211u;
	return h ^ h >> 29;
}

/* Where the client is linked, or would be. */
static struct client **clients(struct io *io, const struct addr *key)
{
	struct client **at =
	    &io->clients[hash(io->client_seed, key->b, sizeof(key->b)) % CLIENT_SLOTS];

	while (*at && !addr_eq(&(*at)->addr, key))
		at = &(*at)->next;
	return at;
}

static void count_client(struct io *io, const struct addr *client, int by)
{
	const struct addr key = client_key(client);
	struct client **at = clients(io, &key), *c = *at;

	if (!c) {
		c = talloc_zero(io, struct client);
		c->addr = key;
		*at = c;
	}
	c->n += by;
	if (c->n > 0)
		return;
	*at = c->next;
	talloc_free(c);
}

/* --- connections that are open --- */

static void look_done(struct io *io)
{
	void (*done)(void *arg) = io->done;

	if (!done || io->n_conns > 0 || io->n_proxied > 0)
		return;
	io->done = NULL;
	done(io->done_arg);
}

void io_add(struct server *srv, struct conn *c)
{
	struct io *io = srv->io;
	struct conn_link *l = conn_link(c);

	l->next = io->conns;
	l->at = &io->conns;
	if (l->next)
		conn_link(l->next)->at = &l->next;
	io->conns = c;
	io->n_conns++;
	count_client(io, conn_client(c), 1);
}

void io_remove(struct server *srv, struct conn *c)
{
	struct io *io = srv->io;
	struct conn_link *l = conn_link(c);

	*l->at = l->next;
	if (l->next)
		conn_link(l->next)->at = l->at;
	count_client(io, conn_client(c), -1);
	io->n_conns--;
	look_done(io);
}

size_t io_sessions(const struct server *srv)
{
	return srv->io->n_conns;
}

void io_suspend(struct server *srv, const char *account, const char *why)
{
	struct conn *next;

	for (struct conn *c = srv->io->conns; c; c = next) {
		next = conn_link(c)->next;
		conn_suspend(c, account, why);
	}
}

static const char *why_not(const struct server *srv, const struct addr *client)
{
	const struct addr key = client_key(client);
	const struct client *c = *clients(srv->io, &key);

	if (srv->io->n_conns >= (size_t)srv->cfg->max_sessions)
		return "Too many sessions; try again later";
	return c && c->n >= srv->cfg->max_sessions_per_client
		   ? "Too many sessions from your address"
		   : NULL;
}

/* --- listeners --- */

static void turn_away(struct server *srv, int fd, const struct addr *client, bool implicit_tls,
		      const char *why)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "421 4.7.0 %s %s\r\n", srv->cfg->hostname, why);

	metric_add(srv->count[COUNT_SESSIONS_TURNED_AWAY], 1);
	log_event(LOG_INFO, "-", "io", "turned-away", LA("client", client), LS("why", why));
	/* Best effort, and only where the client reads plain text at this point. */
	if (!implicit_tls && n > 0 && (size_t)n < sizeof(text) &&
	    send(fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_event(LOG_DEBUG, "-", "io", "turned-away-silently", LA("client", client));
	close(fd);
}

/* The client is known: turn it away, or begin. */
static void begin(struct listener *l, int fd, const struct addr *client, uint16_t port)
{
	const char *why = why_not(l->srv, client);
	int one = 1;

	if (why) {
		turn_away(l->srv, fd, client, l->implicit_tls, why);
		return;
	}
	/* A reply is one write; it must not wait for the client's delayed ACK. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
		log_event(LOG_DEBUG, "-", "io", "no-nodelay", LS("error", strerror(errno)));
	conn_new(l->srv, fd, client, port, l->address, l->implicit_tls);
}

/* --- connections of proxies, which say first who the client is --- */

static void proxied_free(struct proxied *p)
{
	struct io *io = p->l->srv->io;

	*p->at = p->next;
	if (p->next)
		p->next->at = p->at;
	io->n_proxied--;
	event_free(p->ev);
	talloc_free(p);
}

static void proxied_end(struct proxied *p, const char *why)
{
	struct io *io = p->l->srv->io;

	log_event(LOG_NOTICE, "-", "io", "proxy-refused", LA("proxy", &p->from), LS("why", why));
	close(p->fd);
	proxied_free(p);
	look_done(io);
}

/* The header is complete; not an octet more was read. */
static void proxied_done(struct proxied *p, enum proxy_result r, const struct proxy_header *h)
{
	struct listener *l = p->l;
	struct addr client = r == PROXY_OK ? h->client : p->from;
	uint16_t port = r == PROXY_OK ? h->port : p->port;
	int fd = p->fd;

	proxied_free(p);
	begin(l, fd, &client, port);
	look_done(l->srv->io);
}

static void proxied_read(evutil_socket_t fd, short what, void *arg)
{
	struct proxied *p = arg;
	struct proxy_header h;
	enum proxy_result r;
	ssize_t n;

	if (what & EV_TIMEOUT) {
		proxied_end(p, "no header in time");
		return;
	}
	while ((r = proxy_parse(p->buf, p->len, &h)) == PROXY_MORE) {
		n = recv(fd, p->buf + p->len, h.more, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			proxied_end(p, n == 0 ? "closed" : strerror(errno));
			return;
		}
		p->len += (size_t)n;
	}
	if (r == PROXY_BAD)
		proxied_end(p, "no PROXY header");
	else
		proxied_done(p, r, &h);
}

static void proxied_new(struct listener *l, int fd, const struct addr *from, uint16_t port)
{
	const struct timeval tv = {PROXY_WAIT_S, 0};
	struct io *io = l->srv->io;
	struct proxied *p = talloc_zero(NULL, struct proxied);

	p->l = l;
	p->fd = fd;
	p->from = *from;
	p->port = port;
	p->next = io->proxied;
	p->at = &io->proxied;
	if (p->next)
		p->next->at = &p->next;
	io->proxied = p;
	io->n_proxied++;
	p->ev = event_new(l->srv->base, fd, EV_READ | EV_PERSIST, proxied_read, p);
	event_add(p->ev, &tv);
}

static bool is_proxy(const struct server *srv, const struct addr *from)
{
	for (size_t i = 0; i < srv->cfg->proxy_from.n; i++)
		if (prefix_contains(&srv->cfg->proxies[i], from))
			return true;
	return false;
}

static void accepted(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *sa, int len,
		     void *arg)
{
	struct listener *l = arg;
	struct addr client;
	uint16_t port;

	(void)ev;
	(void)len;
	if (!addr_from_sockaddr(sa, &client, &port))
		close(fd);
	else if (!is_proxy(l->srv, &client))
		begin(l, fd, &client, port);
	else if (l->srv->io->n_proxied < (size_t)l->srv->cfg->max_sessions)
		proxied_new(l, fd, &client, port);
	else
		turn_away(l->srv, fd, &client, l->implicit_tls,
			  "Too many sessions; try again later");
}

static void set_enabled(struct io *io, bool on)
{
	for (size_t i = 0; i < io->n_listeners; i++) {
		if (on)
			evconnlistener_enable(io->listeners[i].ev);
		else
			evconnlistener_disable(io->listeners[i].ev);
	}
}

static void rested(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	set_enabled(arg, true);
}

static void accept_failed(struct evconnlistener *ev, void *arg)
{
	struct listener *l = arg;
	const struct timeval tv = {ACCEPT_REST_S, 0};

	(void)ev;
	log_event(LOG_ERR, "-", "io", "accept-failed", LS("error", strerror(errno)));
	set_enabled(l->srv->io, false);
	event_add(l->srv->io->rest, &tv);
}

static bool bind_list(struct server *srv, const struct conf_list *list, bool implicit_tls,
		      char **err)
{
	for (size_t i = 0; i < list->n; i++) {
		struct listener *l = &srv->io->listeners[srv->io->n_listeners];

		*l = (struct listener){.srv = srv,
				       .address = talloc_strdup(srv->io, list->items[i]),
				       .implicit_tls = implicit_tls};
		l->ev = listening_open(srv->base, list->items[i], LEV_OPT_DISABLED, accepted, l,
				       l->name);
		if (!l->ev) {
			*err = talloc_asprintf(srv->cfg, "cannot listen on %s: %s", list->items[i],
					       strerror(errno));
			return false;
		}
		evconnlistener_set_error_cb(l->ev, accept_failed);
		srv->io->n_listeners++;
		log_event(LOG_INFO, "-", "io", "listening", LS("address", list->items[i]),
			  LS("tls", implicit_tls ? "implicit" : "starttls"));
	}
	return true;
}

bool io_listen(struct server *srv, char **err)
{
	struct io *io = talloc_zero(NULL, struct io);

	srv->io = io;
	if (getrandom(&io->client_seed, sizeof(io->client_seed), 0) !=
	    (ssize_t)sizeof(io->client_seed))
		fatal_errno("getrandom");
	io->rest = event_new(srv->base, -1, 0, rested, io);
	io->listeners = talloc_zero_array(
	    io, struct listener,
	    (unsigned)(srv->cfg->listen_submission.n + srv->cfg->listen_submissions.n));
	return bind_list(srv, &srv->cfg->listen_submission, false, err) &&
	       bind_list(srv, &srv->cfg->listen_submissions, true, err);
}

void io_start(struct server *srv)
{
	set_enabled(srv->io, true);
}

/* --- stopping --- */

static void free_listeners(struct io *io)
{
	for (size_t i = 0; i < io->n_listeners; i++)
		evconnlistener_free(io->listeners[i].ev);
	io->n_listeners = 0;
}

static void close_listeners(struct io *io)
{
	event_del(io->rest);
	while (io->proxied) {
		close(io->proxied->fd);
		proxied_free(io->proxied);
	}
	free_listeners(io);
}

static void deadline(evutil_socket_t fd, short what, void *arg)
{
	struct server *srv = arg;

	(void)fd;
	(void)what;
	log_event(LOG_NOTICE, "-", "io", "stop-deadline", LI("sessions", srv->io->n_conns));
	while (srv->io->conns)
		conn_free(srv->io->conns);
}

void io_stop(struct server *srv, int64_t deadline_ms, void (*done)(void *arg), void *arg)
{
	struct io *io = srv->io;
	const struct timeval tv = {deadline_ms / 1000, deadline_ms % 1000 * 1000};
	struct conn *next;

	close_listeners(io);
	io->done = NULL;
	if (!io->deadline)
		io->deadline = event_new(srv->base, -1, 0, deadline, srv);
	event_add(io->deadline, &tv);
	for (struct conn *c = io->conns; c; c = next) {
		next = conn_link(c)->next;
		conn_stop(c);
	}
	if (io->n_conns == 0) {
		done(arg);
		return;
	}
	io->done = done;
	io->done_arg = arg;
}

size_t io_release(struct server *srv, struct upgrade_fd *fds, size_t max)
{
	struct io *io = srv->io;
	size_t n = 0;

	for (size_t i = 0; i < io->n_listeners && n < max; i++) {
		const struct listener *l = &io->listeners[i];

		n += listening_copy(l->ev, l->name, &fds[n]);
	}
	event_del(io->rest);
	free_listeners(io);
	return n;
}

void io_drain(struct server *srv, void (*done)(void *arg), void *arg)
{
	srv->io->done = done;
	srv->io->done_arg = arg;
	look_done(srv->io);
}

void io_free(struct server *srv)
{
	struct io *io = srv->io;

	io->done = NULL;
	while (io->conns)
		conn_free(io->conns);
	close_listeners(io);
	event_free(io->rest);
	if (io->deadline)
		event_free(io->deadline);
	talloc_free(io);
	srv->io = NULL;
}
