/*
 * handover - see handover.h.
 *
 * Trusted with: messages on their way to the spool. Diagnostics: `handover` lines. Known gaps: what
 * the spool has room for is known to the successor alone, which is asked when a message is
 * complete.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/handover.h"
#include "msa/handover_wire.h"

#define ID_COUNT 36

/* A datagram that waits. */
struct out {
	struct out *next;
	int fd; /* the memfd that goes with it; -1: none */
	size_t len;
	uint8_t buf[HANDOVER_DATAGRAM_MAX];
};

/* A message whose fate is not known. */
struct wait {
	struct wait *next;
	uint32_t number;
	bool failed; /* was never sent */
	void (*cb)(enum queue_result r, void *arg);
	void *arg;
};

struct handover {
	struct event_base *base;
	int fd;
	bool dead;
	struct event *read, *write, *fail;
	struct out *first, **last;
	struct wait *waits;
	uint32_t number;
	int64_t id_ms;
	uint32_t id_n, id_number;
	void (*lost)(void *arg);
	void *arg;
};

/* --- answers -----------------------------------------------------------------------------------
 */

static void settle(struct wait **at, enum queue_result r)
{
	struct wait *w = *at;

	*at = w->next;
	w->cb(r, w->arg);
	talloc_free(w);
}

static void answered(struct handover *h, uint32_t number, enum queue_result r)
{
	for (struct wait **at = &h->waits; *at; at = &(*at)->next)
		if ((*at)->number == number) {
			settle(at, r);
			return;
		}
}

/* Those nobody will answer. */
static void on_fail(evutil_socket_t fd, short what, void *arg)
{
	struct handover *h = arg;
	struct wait **at = &h->waits;

	(void)fd;
	(void)what;
	while (*at) {
		if (h->dead || (*at)->failed) {
			settle(at, QUEUE_ERROR);
			at = &h->waits; /* a callback may have asked more */
		} else {
			at = &(*at)->next;
		}
	}
}

static void die(struct handover *h, const char *why)
{
	if (h->dead)
		return;
	h->dead = true;
	log_event(LOG_ERR, "-", "handover", "successor-gone", LS("why", why));
	event_del(h->read);
	event_del(h->write);
	event_active(h->fail, EV_TIMEOUT, 0);
	h->lost(h->arg);
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
	struct handover *h = arg;
	struct handover_datagram d;
	uint8_t buf[HANDOVER_DATAGRAM_MAX];
	ssize_t n;

	(void)what;
	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		if (handover_get(buf, (size_t)n, &d) && d.kind == HANDOVER_REPLY)
			answered(h, d.number, d.result);
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		die(h, n == 0 ? "it ended" : strerror(errno));
}

/* --- questions --- */

static void free_out(struct out *o)
{
	if (o->fd >= 0)
		close(o->fd);
	talloc_free(o);
}

static ssize_t send_one(int fd, struct out *o)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS}};
	struct iovec v = {o->buf, o->len};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	if (o->fd >= 0) {
		memcpy(CMSG_DATA(&c.head), &o->fd, sizeof(int));
		m.msg_control = c.room;
		m.msg_controllen = sizeof(c.room);
	}
	return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void flush(struct handover *h)
{
	while (h->first && !h->dead && h->fd >= 0) {
		struct out *o = h->first;

		if (send_one(h->fd, o) < 0) {
			if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
				event_add(h->write, NULL);
			else
				die(h, strerror(errno));
			return;
		}
		h->first = o->next;
		if (!h->first)
			h->last = &h->first;
		free_out(o);
	}
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush(arg);
}

static void put(struct handover *h, const struct handover_datagram *d, int fd)
{
	struct out *o = talloc_zero(NULL, struct out);

	o->fd = fd;
	o->len = handover_put(d, o->buf, sizeof(o->buf));
	bug_on(o->len == 0);
	*h->last = o;
	h->last = &o->next;
	flush(h);
}

static bool write_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return false;
		p += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* The message in memory that nobody can change any more; -1 with errno. */
static int pack(const struct queue_msg *m)
{
	int fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t *envelope;
	size_t len = 0;
	bool ok;

	if (fd < 0)
		return -1;
	envelope = handover_put_message(NULL, m, &len);
	ok = envelope && write_all(fd, envelope, len) && write_all(fd, m->data, m->len) &&
	     fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0;
	talloc_free(envelope);
	if (ok)
		return fd;
	close(fd);
	return -1;
}

void handover_submit(struct handover *h, const struct queue_msg *m, bool hold,
		     void (*cb)(enum queue_result r, void *arg), void *arg)
{
	struct wait *w = talloc_zero(h, struct wait);
	int fd = h->dead ? -1 : pack(m);

	*w = (struct wait){.next = h->waits, .number = ++h->number, .cb = cb, .arg = arg};
	h->waits = w;
	if (fd >= 0) {
		put(h,
		    &(struct handover_datagram){
			.kind = HANDOVER_SUBMIT, .number = w->number, .hold = hold},
		    fd);
		return;
	}
	if (!h->dead)
		log_event(LOG_ERR, m->id, "handover", "not-handed", LS("error", strerror(errno)));
	w->failed = true;
	event_active(h->fail, EV_TIMEOUT, 0);
}

void handover_event(struct handover *h, const struct event *e)
{
	uint8_t record[EVENT_MAX_BYTES];
	size_t n = event_encode(e, record, sizeof(record));

	bug_on(n == 0);
	if (!h->dead)
		put(h,
		    &(struct handover_datagram){
			.kind = HANDOVER_EVENT, .record = record, .record_len = n},
		    -1);
}

static void base36(uint64_t v, char *out, int digits)
{
	while (digits--) {
		out[digits] = "0123456789abcdefghijklmnopqrstuvwxyz"[v % 36];
		v /= 36;
	}
}

/* As queue_new_id() makes them, but for "z" and this process's number where that one begins to
 * count within a millisecond: the spool tells messages apart by what stands before the random end.
 */
void handover_new_id(struct handover *h, int64_t now_ms, char out[static QUEUE_ID_LEN + 1])
{
	uint32_t r;

	if (now_ms > h->id_ms) {
		h->id_ms = now_ms;
		h->id_n = 0;
	} else if (++h->id_n == ID_COUNT) {
		h->id_ms++;
		h->id_n = 0;
	}
	if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r))
		fatal_errno("getrandom");
	base36((uint64_t)h->id_ms, out, 9);
	out[9] = 'z';
	base36(h->id_number, out + 10, 1);
	base36(h->id_n, out + 11, 1);
	base36(r, out + 12, 4);
	out[QUEUE_ID_LEN] = '\0';
}

bool handover_flushed(const struct handover *h)
{
	return h->dead || !h->first;
}

/* --- its life --- */

struct handover *handover_new(struct event_base *base, unsigned number)
{
	struct handover *h = talloc_zero(NULL, struct handover);

	bug_on(number >= ID_COUNT);
	h->base = base;
	h->id_number = number;
	h->fd = -1;
	h->last = &h->first;
	h->fail = event_new(base, -1, 0, on_fail, h);
	if (!h->fail)
		fatal("out of memory");
	return h;
}

void handover_attach(struct handover *h, int fd, void (*lost)(void *arg), void *arg)
{
	h->fd = fd;
	h->lost = lost;
	h->arg = arg;
	h->read = event_new(h->base, fd, EV_READ | EV_PERSIST, on_read, h);
	h->write = event_new(h->base, fd, EV_WRITE, on_write, h);
	if (!h->read || !h->write || event_add(h->read, NULL) != 0)
		fatal("out of memory");
	flush(h);
}

void handover_free(struct handover *h)
{
	if (!h)
		return;
	while (h->first) {
		struct out *o = h->first;

		h->first = o->next;
		free_out(o);
	}
	if (h->read)
		event_free(h->read);
	if (h->write)
		event_free(h->write);
	event_free(h->fail);
	if (h->fd >= 0)
		close(h->fd);
	talloc_free(h);
}
