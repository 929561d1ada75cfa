/*
 * ipc: the input is what a peer sends, in pieces of a size that its first byte chooses. The frames
 * that arrive must be those that a plain reading of the bytes gives, on the loop and by the
 * blocking reader.
 */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/ipc.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

struct peer {
	const uint8_t *p, *end; /* what is still to come */
	bool closed, freed;
};

/* The next frame by the rule of the book: a u32, at least 2 and at most 2 + 1 MiB, then so many
 * bytes. */
static bool next(struct peer *x, uint16_t *type, const uint8_t **data, size_t *len)
{
	if (x->end - x->p < 6)
		return false;
	size_t n = (size_t)x->p[0] << 24 | (size_t)x->p[1] << 16 | (size_t)x->p[2] << 8 | x->p[3];
	if (n < 2 || n > 2 + IPC_MAX_FRAME || (size_t)(x->end - x->p) < 4 + n)
		return false;
	*type = (uint16_t)(x->p[4] << 8 | x->p[5]);
	*data = x->p + 6;
	*len = n - 2;
	x->p += 4 + n;
	return true;
}

static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	struct peer *x = arg;
	const uint8_t *want = NULL;
	size_t n = 0;
	uint16_t t = 0;
	must(!x->freed && !x->closed);
	must(next(x, &t, &want, &n) && t == type && n == len && memcmp(want, data, n) == 0);
	if (type % 5 == 1)
		(void)ipc_send(c, type, data, len);
	if (type % 5 == 2) {
		ipc_free(c, type % 2);
		x->freed = true;
	}
}

static void on_closed(struct ipc_conn *c, const char *reason, void *arg)
{
	struct peer *x = arg;
	const uint8_t *want = NULL;
	size_t n = 0;
	uint16_t t = 0;
	must(!x->freed && reason);
	must(!next(x, &t, &want, &n)); /* no whole frame was left unread */
	x->closed = true;
	if (n % 2)
		ipc_free(c, true);
}

static void over_the_loop(const uint8_t *data, size_t size, size_t step)
{
	static const struct ipc_handlers h = {on_frame, on_closed, NULL};
	struct event_base *base = event_base_new();
	struct peer x = {.p = data, .end = data + size};
	int sv[2];
	char sink[4096];
	must(base && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
	(void)ipc_from_fd(base, sv[0], &h, &x);
	for (size_t at = 0; at < size && !x.closed && !x.freed;) {
		size_t n = size - at < step ? size - at : step;
		ssize_t w = send(sv[1], data + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		at += w > 0 ? (size_t)w : 0;
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
		while (recv(sv[1], sink, sizeof sink, MSG_DONTWAIT) > 0)
			;
	}
	(void)shutdown(sv[1], SHUT_WR);
	for (int i = 0; i < 1000 && !x.closed && !x.freed; i++) {
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
		while (recv(sv[1], sink, sizeof sink, MSG_DONTWAIT) > 0)
			;
	}
	must(x.closed || x.freed);
	(void)close(sv[1]);
	for (int i = 0; i < 5; i++) /* a connection that drains sees that its peer is gone */
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_free(base);
}

static void blocking(const uint8_t *data, size_t size)
{
	struct peer x = {.p = data, .end = data + size};
	int sv[2];
	uint16_t type, t;
	uint8_t *got = NULL;
	const uint8_t *want;
	const char *err = NULL;
	size_t len, n;
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
	bool all = send(sv[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
	(void)shutdown(sv[1], SHUT_WR);
	while (all && ipc_read(sv[0], &type, &got, &len, 0, &err)) {
		must(next(&x, &t, &want, &n) && t == type && n == len && memcmp(got, want, n) == 0);
		must(got[len] == '\0');
		free(got);
	}
	must(!all || (err && !next(&x, &t, &want, &n)));
	(void)close(sv[0]);
	(void)close(sv[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	(void)signal(SIGPIPE, SIG_IGN);
	over_the_loop(data + 1, size - 1, data[0] ? data[0] * 16u : 1);
	blocking(data + 1, size - 1);
	return 0;
}
