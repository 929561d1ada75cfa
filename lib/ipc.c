/*
 * ipc - see ipc.h. Connections on a libevent base; the blocking calls are in ipc_block.c.
 *
 * A connection is freed by whoever owns it (ipc_free) or by its own end; either may happen inside a
 * handler, so each call into a handler is counted and the struct goes when the last has returned.
 *
 * Trusted with: unix sockets. What comes in is bounded: at most one frame and a read's worth is
 * buffered for a connection. Diagnostics: reasons given to closed(); `- ipc accept-failed` when the
 * process is out of descriptors. Known gaps: a peer that sends nothing is kept for ever; who serves
 * strangers sets his own limits in accepted().
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/ipc_frame.h"
#include "lib/log.h"
#include "lib/proc.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000
#define FLUSH_S	       5 /* how long ipc_free() with flush waits for the peer to read */

struct ipc_conn {
	struct event_base *base;
	struct bufferevent *bev; /* NULL: not connected */
	struct event *flush;	 /* active: frames of this turn wait to be written */
	bool unhurried;		 /* flush is set for later */
	struct ipc_handlers h;
	void *arg;
	int busy;      /* handlers running */
	bool dead;     /* ipc_free() was called, or it ended */
	bool draining; /* dead to its owner, but output is still being written */

	/* Clients only. */
	char *path;
	struct event *retry;
	int64_t backoff_ms, since_ms;
	bool heard; /* a frame came over this connection */
};

struct ipc_listener {
	struct evconnlistener *lev;
	struct event *resume;
	char *path;
	dev_t dev;
	ino_t ino;
	bool (*accepted)(struct ipc_conn *c, const struct ipc_peer *peer, void *arg);
	void *arg;
};

/* --- life and death ------------------------------------------------------------------ */

static void on_flush(evutil_socket_t none, short what, void *arg);

static struct ipc_conn *new_conn(struct event_base *base)
{
	struct ipc_conn *c = calloc(1, sizeof *c);
	if (!c)
		fatal("ipc: out of memory");
	c->base = base;
	c->flush = event_new(base, -1, 0, on_flush, c);
	if (!c->flush)
		fatal("ipc: out of memory");
	return c;
}

static void drop_bev(struct ipc_conn *c)
{
	if (c->bev)
		bufferevent_free(c->bev); /* closes the descriptor */
	c->bev = NULL;
	c->unhurried = false;
	(void)event_del(c->flush);
}

static void destroy(struct ipc_conn *c)
{
	drop_bev(c);
	if (c->retry)
		event_free(c->retry);
	event_free(c->flush);
	free(c->path);
	free(c);
}

static void enter(struct ipc_conn *c)
{
	c->busy++;
}

/* False when c is gone. */
static bool leave(struct ipc_conn *c)
{
	if (--c->busy > 0 || !c->dead || c->draining)
		return true;
	destroy(c);
	return false;
}

static void retry_in(struct ipc_conn *c, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	(void)event_add(c->retry, &tv);
}

/* The connection ended: tell, then free or try again. The caller is between enter() and leave(). */
static void end(struct ipc_conn *c, const char *reason)
{
	bool told = c->dead;
	drop_bev(c);
	if (!c->path)
		c->dead = true;
	if (!told && c->h.closed)
		c->h.closed(c, reason, c->arg);
	if (c->dead || !c->path)
		return;
	/* A server that takes us and drops us at once must not be hammered. */
	if (c->heard || clock_mono_ms() - c->since_ms > BACKOFF_MAX_MS)
		c->backoff_ms = BACKOFF_MIN_MS;
	retry_in(c, c->backoff_ms);
	c->backoff_ms = c->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : c->backoff_ms * 2;
}

/* --- frames
 * --------------------------------------------------------------------------------------- */

/* Handles one whole frame at the front of in. False: wait for more, or the connection is over. */
static bool one_frame(struct ipc_conn *c, struct evbuffer *in)
{
	uint8_t head[IPC_HEAD];
	uint16_t type;
	size_t len;
	if (evbuffer_copyout(in, head, sizeof head) < (ev_ssize_t)sizeof head)
		return false;
	if (!ipc_get_head(head, &type, &len)) {
		end(c, "a frame of a forbidden length");
		return false;
	}
	if (evbuffer_get_length(in) < IPC_HEAD + len)
		return false;
	const uint8_t *p = evbuffer_pullup(in, (ev_ssize_t)(IPC_HEAD + len));
	if (!p) {
		end(c, "out of memory");
		return false;
	}
	c->heard = true;
	c->h.frame(c, type, p + IPC_HEAD, len, c->arg);
	if (c->dead || !c->bev)
		return false;
	(void)evbuffer_drain(in, IPC_HEAD + len);
	return true;
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct ipc_conn *c = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	if (c->draining) {
		(void)evbuffer_drain(in, evbuffer_get_length(in));
		return;
	}
	enter(c);
	while (one_frame(c, in))
		;
	(void)leave(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct ipc_conn *c = arg;
	if (c->draining) {
		c->draining = false;
		destroy(c);
		return;
	}
	enter(c);
	if (what & BEV_EVENT_ERROR)
		end(c, "the connection broke");
	else if (evbuffer_get_length(bufferevent_get_input(bev)))
		end(c, "closed in the middle of a frame");
	else
		end(c, "closed by the other side");
	(void)leave(c);
}

/* What on_flush() left is out. */
static void on_written(struct bufferevent *bev, void *arg)
{
	(void)arg;
	if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		(void)bufferevent_disable(bev, EV_WRITE);
}

/* Makes c connected over fd, which it takes in any case. */
static bool attach(struct ipc_conn *c, int fd)
{
	(void)evutil_make_socket_nonblocking(fd);
	c->bev = bufferevent_socket_new(c->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!c->bev) {
		(void)close(fd);
		return false;
	}
	bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
	/* Reading pauses when one whole frame is there; on_read() takes it out. */
	bufferevent_setwatermark(c->bev, EV_READ, 0, IPC_HEAD + IPC_MAX_FRAME);
	(void)bufferevent_set_max_single_read(c->bev, 65536);
	(void)bufferevent_set_max_single_write(c->bev, 262144);
	(void)bufferevent_disable(c->bev, EV_WRITE); /* on_flush() */
	(void)bufferevent_enable(c->bev, EV_READ);
	c->heard = false;
	c->since_ms = clock_mono_ms();
	return true;
}

/* Whether out is empty now. Broken: false, as when the socket is full; libevent tells which. */
static bool write_out(struct ipc_conn *c, struct evbuffer *out)
{
	(void)evbuffer_unfreeze(out, 1);
	while (evbuffer_get_length(out) && evbuffer_write(out, bufferevent_getfd(c->bev)) > 0)
		;
	(void)evbuffer_freeze(out, 1);
	return evbuffer_get_length(out) == 0;
}

/*
 * At the end of the loop's turn: what was sent in it goes in one write. Only what the socket does
 * not take is left to libevent, which asks epoll when it will.
 */
static void on_flush(evutil_socket_t none, short what, void *arg)
{
	struct ipc_conn *c = arg;
	(void)none, (void)what;
	c->unhurried = false;
	if (c->bev && !c->draining && !write_out(c, bufferevent_get_output(c->bev)))
		(void)bufferevent_enable(c->bev, EV_WRITE);
}

static void flush_later(struct ipc_conn *c)
{
	const struct timeval tv = {.tv_usec = IPC_UNHURRIED_MS * 1000};
	c->unhurried = true;
	(void)event_add(c->flush, &tv);
}

static bool send_frame(struct ipc_conn *c, uint16_t type, const void *data, size_t len, bool hurry)
{
	uint8_t head[IPC_HEAD];
	if (c->dead || !c->bev || len > IPC_MAX_FRAME)
		return false;
	struct evbuffer *out = bufferevent_get_output(c->bev);
	if (evbuffer_get_length(out) + IPC_HEAD + len > IPC_MAX_BACKLOG)
		return false;
	if (hurry && (evbuffer_get_length(out) == 0 || c->unhurried))
		event_active(c->flush, EV_TIMEOUT, 0);
	else if (evbuffer_get_length(out) == 0)
		flush_later(c);
	ipc_put_head(head, type, len);
	/* Room first, so that never half a frame is queued. */
	if (evbuffer_expand(out, IPC_HEAD + len) != 0)
		return false;
	(void)evbuffer_add(out, head, sizeof head);
	if (len)
		(void)evbuffer_add(out, data, len);
	return true;
}

bool ipc_send(struct ipc_conn *c, uint16_t type, const void *data, size_t len)
{
	return send_frame(c, type, data, len, true);
}

bool ipc_send_unhurried(struct ipc_conn *c, uint16_t type, const void *data, size_t len)
{
	return send_frame(c, type, data, len, false);
}

bool ipc_connected(const struct ipc_conn *c)
{
	return c->bev && !c->dead;
}

size_t ipc_backlog(const struct ipc_conn *c)
{
	return c->bev ? evbuffer_get_length(bufferevent_get_output(c->bev)) : 0;
}

static void on_drained(struct bufferevent *bev, void *arg)
{
	struct ipc_conn *c = arg;
	if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		on_event(bev, 0, c);
}

/* Writes what the socket takes now. True when there is more: then c lives on until it is out, or
 * FLUSH_S passed. */
static bool drain(struct ipc_conn *c)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	struct timeval tv = {.tv_sec = FLUSH_S, .tv_usec = 0};
	errno = 0;
	if (write_out(c, out) || (errno != EAGAIN && errno != EWOULDBLOCK))
		return false;
	c->draining = true;
	bufferevent_setcb(c->bev, on_read, on_drained, on_event, c);
	bufferevent_setwatermark(c->bev, EV_WRITE, 0, 0);
	(void)bufferevent_set_timeouts(c->bev, NULL, &tv);
	(void)bufferevent_enable(c->bev, EV_WRITE);
	return true;
}

void ipc_free(struct ipc_conn *c, bool flush)
{
	if (!c || c->dead)
		return;
	c->dead = true;
	if (c->retry)
		(void)event_del(c->retry);
	if (flush && c->bev && drain(c))
		return;
	if (!c->busy)
		destroy(c);
}

/* --- clients
 * ------------------------------------------------------------------------------------------- */

static int connect_to(const char *path)
{
	struct sockaddr_un sun;
	int folder;
	if (!ipc_sockaddr(path, &sun, &folder))
		return -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* On a unix socket this never takes time: done, refused, or EAGAIN when the queue is full. */
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&sun, sizeof sun) != 0) {
		int saved = errno;
		(void)close(fd);
		errno = saved;
		fd = -1;
	}
	ipc_folder_close(folder);
	return fd;
}

static void on_retry(evutil_socket_t none, short what, void *arg)
{
	struct ipc_conn *c = arg;
	int fd = connect_to(c->path);
	(void)none, (void)what;
	if (fd < 0 || !attach(c, fd)) {
		retry_in(c, c->backoff_ms);
		c->backoff_ms =
		    c->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : c->backoff_ms * 2;
		return;
	}
	enter(c);
	if (c->h.connected)
		c->h.connected(c, c->arg);
	(void)leave(c);
}

struct ipc_conn *ipc_client(struct event_base *base, const char *path, const struct ipc_handlers *h,
			    void *arg)
{
	struct ipc_conn *c = new_conn(base);
	ipc_accept(c, h, arg);
	c->backoff_ms = BACKOFF_MIN_MS;
	c->path = strdup(path);
	c->retry = evtimer_new(base, on_retry, c);
	if (!c->path || !c->retry)
		fatal("ipc: out of memory");
	retry_in(c, 0);
	return c;
}

struct ipc_conn *ipc_from_fd(struct event_base *base, int fd, const struct ipc_handlers *h,
			     void *arg)
{
	struct ipc_conn *c = new_conn(base);
	ipc_accept(c, h, arg);
	if (!attach(c, fd))
		fatal("ipc: out of memory");
	return c;
}

/* --- listeners
 * ------------------------------------------------------------------------------------------- */

void ipc_accept(struct ipc_conn *c, const struct ipc_handlers *h, void *arg)
{
	c->h = *h;
	c->arg = arg;
}

int ipc_take_fd(struct ipc_conn *c)
{
	return fcntl(bufferevent_getfd(c->bev), F_DUPFD_CLOEXEC, 0);
}

static void on_accept(struct evconnlistener *lev, evutil_socket_t fd, struct sockaddr *sa, int len,
		      void *arg)
{
	struct ipc_listener *l = arg;
	struct ucred cred = {0};
	socklen_t n = sizeof cred;
	(void)sa, (void)len;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0) {
		(void)close(fd);
		return;
	}
	struct ipc_peer peer = {.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
	struct ipc_conn *c = new_conn(evconnlistener_get_base(lev));
	enter(c);
	if (!attach(c, fd) || !l->accepted(c, &peer, l->arg) || !c->h.frame)
		c->dead = true; /* without a word: it was never theirs */
	(void)leave(c);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	const struct ipc_listener *l = arg;
	(void)fd, (void)what;
	(void)evconnlistener_enable(l->lev);
}

/*
 * accept(2) failed; nearly always for want of descriptors, and then at once again. Wait a little.
 */
static void on_accept_error(struct evconnlistener *lev, void *arg)
{
	const struct ipc_listener *l = arg;
	struct timeval pause = {.tv_sec = 0, .tv_usec = 100000};
	log_event(LOG_ERR, "-", "ipc", "accept-failed", LS("path", l->path),
		  LS("reason", strerror(errno)));
	(void)evconnlistener_disable(lev);
	(void)event_add(l->resume, &pause);
}

/* Removes a socket nobody answers on. False: *why says what is in the way. */
static bool clear_stale(const char *path, const char **why)
{
	struct stat st;
	if (lstat(path, &st) != 0)
		return true; /* bind(2) will say what is wrong, if anything */
	if (!S_ISSOCK(st.st_mode)) {
		*why = "something that is not a socket is there: remove it";
		return false;
	}
	int fd = connect_to(path);
	if (fd < 0 && errno == ECONNREFUSED) {
		(void)unlink(path);
		return true;
	}
	*why = fd >= 0 || errno == EAGAIN ? "another process is listening there: stop it first"
					  : strerror(errno);
	if (fd >= 0)
		(void)close(fd);
	return false;
}

/* A bound and listening socket with its mode from the start, or -1 with *why. */
static int bind_at(const char *path, mode_t mode, const char **why)
{
	struct sockaddr_un sun;
	int folder;
	if (!clear_stale(path, why))
		return -1;
	if (!ipc_sockaddr(path, &sun, &folder)) {
		*why = strerror(errno);
		return -1;
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old = umask(~mode & 0777);
	bool ok = fd >= 0 && bind(fd, (const struct sockaddr *)&sun, sizeof sun) == 0;
	(void)umask(old);
	ipc_folder_close(folder);
	if (ok && listen(fd, 128) == 0)
		return fd;
	*why = strerror(errno);
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

struct ipc_listener *ipc_listen(struct event_base *base, const char *path, mode_t mode,
				bool (*accepted)(struct ipc_conn *c, const struct ipc_peer *peer,
						 void *arg),
				void *arg, char **err)
{
	const char *why = "";
	struct stat st = {0};
	int fd = bind_at(path, mode, &why);
	if (fd < 0) {
		*err = talloc_asprintf(NULL, "cannot listen on %s: %s", path, why);
		return NULL;
	}
	struct ipc_listener *l = calloc(1, sizeof *l);
	if (!l)
		fatal("ipc: out of memory");
	l->path = strdup(path);
	l->accepted = accepted;
	l->arg = arg;
	l->resume = evtimer_new(base, on_resume, l);
	l->lev = evconnlistener_new(base, on_accept, l,
				    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!l->path || !l->resume || !l->lev)
		fatal("ipc: out of memory");
	evconnlistener_set_error_cb(l->lev, on_accept_error);
	if (lstat(path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	return l;
}

bool ipc_listener_chown(struct ipc_listener *l, uid_t uid, gid_t gid)
{
	return lchown(l->path, uid, gid) == 0;
}

void ipc_listener_free(struct ipc_listener *l)
{
	struct stat st;
	if (!l)
		return;
	evconnlistener_free(l->lev);
	event_free(l->resume);
	/* Not the socket of a successor that has already taken the place. */
	if (lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		(void)unlink(l->path);
	free(l->path);
	free(l);
}
