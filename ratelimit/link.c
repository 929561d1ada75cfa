/*
 * link - frames in, frames out, over one unix socket.
 *
 * Trusted with bytes from peers that SO_PEERCRED has let in; every length is checked. Diagnostics:
 * the reason given to closed(). Known gap: a peer that sends nothing is kept for ever; only our own
 * user is let in.
 */
#include "ratelimit/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/ipc_frame.h"
#include "lib/proc.h"

#define IN_BYTES  (LINK_MAX_FRAME + IPC_HEAD)
#define READ_MAX  4096u /* answers wait for the last ask of a read, and others wait for them */
#define OUT_START 65536u

struct link {
	struct event *readable, *writable;
	struct link_handlers h;
	void *arg;
	int fd;
	bool busy; /* frames are being handled: answers wait for the end */
	size_t in_len;
	uint8_t *out;
	size_t out_len, out_cap;
	uint8_t in[IN_BYTES];
};

void link_free(struct link *c)
{
	if (!c)
		return;
	event_free(c->readable);
	event_free(c->writable);
	(void)close(c->fd);
	free(c->out);
	free(c);
}

static void over(struct link *c, const char *reason)
{
	c->h.closed(c, reason, c->arg);
	link_free(c);
}

/* What the socket takes now; false: it is broken. */
static bool flush(struct link *c)
{
	size_t done = 0;
	while (done < c->out_len) {
		ssize_t n = send(c->fd, c->out + done, c->out_len - done, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n < 0)
			break;
		done += (size_t)n;
	}
	if (done > 0 && done < c->out_len)
		memmove(c->out, c->out + done, c->out_len - done);
	c->out_len -= done;
	if (c->out_len > 0 && !event_pending(c->writable, EV_WRITE, NULL))
		(void)event_add(c->writable, NULL);
	return true;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct link *c = arg;
	(void)fd, (void)what;
	if (!flush(c))
		over(c, "the connection broke");
}

/* Handles the whole frames in the buffer, *n; NULL, or why the connection is to end. */
static const char *take_frames(struct link *c, unsigned *n)
{
	size_t at = 0, len;
	uint16_t type;
	for (*n = 0; c->in_len - at >= IPC_HEAD; ++*n) {
		if (!ipc_get_head(c->in + at, &type, &len) || len > LINK_MAX_FRAME)
			return "a frame of a forbidden length";
		if (c->in_len - at < IPC_HEAD + len)
			break;
		if (!c->h.frame(c, type, c->in + at + IPC_HEAD, len, c->arg))
			return "it broke the protocol";
		at += IPC_HEAD + len;
	}
	c->in_len -= at;
	if (at > 0)
		memmove(c->in, c->in + at, c->in_len);
	return NULL;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct link *c = arg;
	size_t room = IN_BYTES - c->in_len;
	(void)what;
	ssize_t n = recv(fd, c->in + c->in_len, room < READ_MAX ? room : READ_MAX, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		over(c, n < 0	    ? "the connection broke"
			: c->in_len ? "closed in the middle of a frame"
				    : "closed by the other side");
		return;
	}
	c->in_len += (size_t)n;
	c->busy = true;
	int64_t since_us = clock_mono_us();
	unsigned frames;
	const char *why = take_frames(c, &frames);
	if (c->h.batch)
		c->h.batch(frames, since_us, c->arg);
	c->busy = false;
	if (!why && c->out_len > 0 && !flush(c))
		why = "the connection broke";
	if (why)
		over(c, why);
}

static bool make_room(struct link *c, size_t need)
{
	size_t cap = c->out_cap ? c->out_cap : OUT_START;
	if (c->out_len + need > LINK_MAX_BACKLOG)
		return false;
	while (cap < c->out_len + need)
		cap *= 2;
	if (cap == c->out_cap)
		return true;
	uint8_t *p = realloc(c->out, cap);
	if (!p)
		return false;
	c->out = p;
	c->out_cap = cap;
	return true;
}

bool link_send(struct link *c, uint16_t type, const void *data, size_t len)
{
	if (!make_room(c, IPC_HEAD + len))
		return false;
	ipc_put_head(c->out + c->out_len, type, len);
	if (len)
		memcpy(c->out + c->out_len + IPC_HEAD, data, len);
	c->out_len += IPC_HEAD + len;
	if (!c->busy && !event_pending(c->writable, EV_WRITE, NULL))
		(void)event_add(c->writable, NULL);
	return true;
}

size_t link_backlog(const struct link *c)
{
	return c->out_len;
}

struct link *link_new(struct event_base *base, int fd, const struct link_handlers *h, void *arg)
{
	struct link *c = calloc(1, sizeof *c);
	(void)evutil_make_socket_nonblocking(fd);
	if (!c || !make_room(c, 1))
		fatal("out of memory");
	c->fd = fd;
	c->h = *h;
	c->arg = arg;
	c->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
	c->writable = event_new(base, fd, EV_WRITE, on_writable, c);
	if (!c->readable || !c->writable || event_add(c->readable, NULL) != 0)
		fatal("out of memory");
	return c;
}
