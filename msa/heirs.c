/*
 * heirs - see heirs.h.
 *
 * Trusted with: messages for the spool, from a process that was this one a moment ago; what it says
 * is checked all the same. Diagnostics: `handover` lines. Known gaps: when this process stops, what
 * a leaving one completes afterwards is refused there with 451.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/handover_wire.h"
#include "msa/heirs.h"
#include "msa/queue/queue_leave.h"

#define AT_ONCE 32 /* datagrams before others get a turn */
#define SEALS	(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* A process that leaves, or a child that somebody else started. */
struct heir {
	struct heir *next, **at;
	struct heirs *all;
	struct event *ev;
	int fd;
	unsigned number;	/* of a process that leaves: no other one's */
	struct commit *commits; /* of its messages, under way */
};

struct heirs {
	struct server *srv;
	struct heir *leaving, *strays;
	size_t n_leaving, n_strays;
};

struct commit {
	struct heir *h; /* NULL: it has gone */
	struct commit *next, **at;
	uint32_t number;
};

/* --- one of them -------------------------------------------------------------------------------
 */

static struct heir *add(struct heirs *all, struct heir **list, int fd, event_callback_fn fn)
{
	struct heir *h = talloc_zero(all, struct heir);

	h->all = all;
	h->fd = fd;
	h->next = *list;
	h->at = list;
	if (h->next)
		h->next->at = &h->next;
	*list = h;
	h->ev = event_new(all->srv->base, fd, EV_READ | EV_PERSIST, fn, h);
	if (!h->ev || event_add(h->ev, NULL) != 0)
		fatal("out of memory");
	return h;
}

static void drop(struct heir *h)
{
	for (struct commit *c = h->commits; c; c = c->next)
		c->h = NULL;
	*h->at = h->next;
	if (h->next)
		h->next->at = h->at;
	event_free(h->ev);
	close(h->fd);
	talloc_free(h);
}

/* --- messages of a process that leaves --- */

static void reply(const struct heir *h, uint32_t number, enum queue_result r)
{
	const struct handover_datagram d = {.kind = HANDOVER_REPLY, .number = number, .result = r};
	uint8_t buf[HANDOVER_DATAGRAM_MAX];
	size_t n = handover_put(&d, buf, sizeof(buf));

	/* It reads whatever it does; a socket that is full or broken is the end of it. */
	if (send(h->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)n)
		log_event(LOG_ERR, "-", "handover", "not-told", LS("error", strerror(errno)));
}

static void committed(enum queue_result r, void *arg)
{
	struct commit *c = arg;

	if (c->h) {
		*c->at = c->next;
		if (c->next)
			c->next->at = c->at;
		reply(c->h, c->number, r);
	}
	talloc_free(c);
}

static bool submit(struct heir *h, const struct handover_datagram *d, const uint8_t *data,
		   size_t len)
{
	struct queue *q = h->all->srv->queue;
	void *tmp = talloc_new(NULL);
	struct queue_msg m;
	struct event e;
	enum queue_result r = QUEUE_ERROR;
	bool ok = handover_get_message(tmp, data, len, &m, &e) && !queue_has(q, m.id);

	if (ok)
		r = queue_may_accept(q, m.account, m.len);
	if (ok && r == QUEUE_OK) {
		struct commit *c = talloc_zero(NULL, struct commit);

		*c = (struct commit){
		    .h = h, .next = h->commits, .at = &h->commits, .number = d->number};
		if (c->next)
			c->next->at = &c->next;
		h->commits = c;
		queue_submit(q, &m, d->hold, committed, c);
	} else {
		log_event(LOG_ERR, "-", "handover", "refused",
			  LS("why", ok ? "the queue has no room" : "it breaks the rules"));
		reply(h, d->number, r);
	}
	talloc_free(tmp);
	return ok;
}

/* Sealed, or another process could take it from under us. */
static const uint8_t *map(int fd, size_t *len)
{
	int seals = fd < 0 ? -1 : fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *p;

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) != 0 || st.st_size <= 0)
		return NULL;
	*len = (size_t)st.st_size;
	p = mmap(NULL, *len, PROT_READ, MAP_PRIVATE, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void take_message(struct heir *h, const struct handover_datagram *d, int fd)
{
	size_t len = 0;
	const uint8_t *p = map(fd, &len);

	if (!p) {
		reply(h, d->number, QUEUE_ERROR);
		return;
	}
	(void)submit(h, d, p, len);
	munmap((void *)(uintptr_t)p, len);
}

static void take_event(struct heir *h, const struct handover_datagram *d)
{
	struct event e;

	if (event_decode(d->record, d->record_len, &e) == d->record_len)
		queue_event(h->all->srv->queue, &e);
}

static ssize_t receive(int from, uint8_t *buf, size_t cap, int *fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct iovec v = {buf, cap};
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = c.room,
			   .msg_controllen = sizeof(c.room)};
	ssize_t n = recvmsg(from, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	*fd = -1;
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS &&
	    h->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(h), sizeof(int));
	return n;
}

static void left(struct heir *h)
{
	struct heirs *all = h->all;

	drop(h);
	all->n_leaving--;
	log_event(LOG_NOTICE, "-", "handover", "predecessor-left", LI("others", all->n_leaving));
}

static void on_datagram(evutil_socket_t from, short what, void *arg)
{
	struct heir *h = arg;
	struct handover_datagram d;
	uint8_t buf[HANDOVER_DATAGRAM_MAX];
	ssize_t n = 1;
	int fd;

	(void)what;
	for (int i = 0; i < AT_ONCE; i++) {
		n = receive(from, buf, sizeof(buf), &fd);
		if (n <= 0)
			break;
		if (!handover_get(buf, (size_t)n, &d))
			log_event(LOG_ERR, "-", "handover", "malformed");
		else if (d.kind == HANDOVER_SUBMIT)
			take_message(h, &d, fd);
		else if (d.kind == HANDOVER_EVENT)
			take_event(h, &d);
		if (fd >= 0)
			close(fd);
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		left(h);
}

/* --- children --- */

static void on_child(evutil_socket_t fd, short what, void *arg)
{
	struct heir *h = arg;
	struct heirs *all = h->all;
	siginfo_t info;

	(void)what;
	if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) != 0 || info.si_pid != 0) {
		drop(h);
		all->n_strays--;
	}
}

/* --- from the program before, and to the next ------------------------------------------------- */

static void name(char out[static HEIRS_NAME], const char *what, size_t i)
{
	snprintf(out, HEIRS_NAME, "%s-%u", what, (unsigned)(i % 1000));
}

struct heirs *heirs_take(struct server *srv)
{
	struct heirs *h = talloc_zero(NULL, struct heirs);
	char text[HEIRS_NAME];
	int fd;

	h->srv = srv;
	for (size_t i = 0; i < HEIRS_LEAVING_MAX; i++) {
		name(text, "leaving", i);
		if ((fd = upgrade_take(text, NULL)) < 0)
			continue;
		add(h, &h->leaving, fd, on_datagram)->number = (unsigned)i;
		h->n_leaving++;
	}
	for (size_t i = 0; i < HEIRS_STRAYS_MAX; i++) {
		name(text, "stray", i);
		if ((fd = upgrade_take(text, NULL)) < 0)
			continue;
		add(h, &h->strays, fd, on_child);
		h->n_strays++;
	}
	if (h->n_leaving)
		log_event(LOG_NOTICE, "-", "handover", "taken-over", LI("leaving", h->n_leaving));
	return h;
}

void heirs_free(struct heirs *h)
{
	if (!h)
		return;
	heirs_drop(h);
	talloc_free(h);
}

void heirs_drop(struct heirs *h)
{
	while (h->leaving)
		drop(h->leaving);
	while (h->strays)
		drop(h->strays);
	h->n_leaving = h->n_strays = 0;
}

size_t heirs_leaving(const struct heirs *h)
{
	return h->n_leaving;
}

unsigned heirs_free_number(const struct heirs *h)
{
	bool used[HEIRS_LEAVING_MAX] = {false};
	unsigned i = 0;

	for (const struct heir *o = h->leaving; o; o = o->next)
		used[o->number] = true;
	while (i < HEIRS_LEAVING_MAX - 1 && used[i])
		i++;
	return i;
}

size_t heirs_pass_on(struct heirs *h, int fd, const pid_t *pids, size_t n_pids,
		     struct upgrade_fd *fds, char (*names)[HEIRS_NAME])
{
	size_t n = 0, strays = 0;

	name(names[n], "leaving", heirs_free_number(h));
	fds[n] = (struct upgrade_fd){names[n], fd};
	n++;
	for (const struct heir *o = h->leaving; o && n < HEIRS_LEAVING_MAX; o = o->next) {
		name(names[n], "leaving", o->number);
		fds[n] = (struct upgrade_fd){names[n], o->fd};
		n++;
	}
	for (const struct heir *o = h->strays; o && strays < HEIRS_STRAYS_MAX; o = o->next) {
		name(names[n], "stray", strays++);
		fds[n] = (struct upgrade_fd){names[n], o->fd};
		n++;
	}
	for (size_t i = 0; i < n_pids && strays < HEIRS_STRAYS_MAX; i++) {
		int child = pids[i] > 0 ? (int)syscall(SYS_pidfd_open, pids[i], 0) : -1;

		if (child < 0)
			continue;
		name(names[n], "stray", strays++);
		fds[n] = (struct upgrade_fd){names[n], child};
		n++;
	}
	return n;
}
