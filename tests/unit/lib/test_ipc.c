/* ipc: frames whole and byte by byte, rules broken, freeing inside handlers, listeners, clients,
 * blocking calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
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
#include "lib/log.h"

#define N(a) (sizeof(a) / sizeof *(a))

static char dir[] = "/tmp/sekisho-test-ipc.XXXXXX";
static char sock_path[64];
static struct event_base *base;

/* --- a recording handler ------------------------------------------------------------- */

struct side {
	struct ipc_conn *c;
	int frames, closes, connects;
	uint16_t type;
	uint8_t *data; /* of the last frame */
	size_t len;
	char reason[64];
	enum { KEEP, ECHO, FREE, FREE_FLUSH } then; /* what the frame handler does afterwards */
	bool free_in_closed;
};

static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	struct side *s = arg;
	s->frames++;
	s->type = type;
	free(s->data);
	s->data = malloc(len + 1);
	memcpy(s->data, data, len);
	s->data[len] = '\0';
	s->len = len;
	if (s->then == ECHO || s->then == FREE_FLUSH)
		assert_true(ipc_send(c, (uint16_t)(type + 1), data, len));
	if (s->then == FREE || s->then == FREE_FLUSH) {
		ipc_free(c, s->then == FREE_FLUSH);
		s->c = NULL;
	}
}

static void on_closed(struct ipc_conn *c, const char *reason, void *arg)
{
	struct side *s = arg;
	s->closes++;
	(void)snprintf(s->reason, sizeof s->reason, "%s", reason);
	assert_false(ipc_connected(c));
	assert_false(ipc_send(c, 1, "x", 1));
	if (s->free_in_closed)
		ipc_free(c, true);
}

static void on_connected(struct ipc_conn *c, void *arg)
{
	struct side *s = arg;
	s->connects++;
	assert_true(ipc_connected(c));
}

static const struct ipc_handlers handlers = {on_frame, on_closed, on_connected};

static void on_too_long(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	*(bool *)arg = true;
}

/* Runs the loop until *value reaches want; a test that would hang fails after ten seconds. */
static void until(const int *value, int want)
{
	struct timeval tv = {10, 0};
	bool late = false;
	struct event *ev = evtimer_new(base, on_too_long, &late);
	event_add(ev, &tv);
	while (*value < want && !late)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(ev);
	if (late)
		fail_msg("waited too long for %d, at %d", want, *value);
}

static void settle(void)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* A connection of ours whose other end is a bare descriptor. */
static int raw_pair(struct side *s)
{
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	s->c = ipc_from_fd(base, sv[0], &handlers, s);
	return sv[1];
}

static void put(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static int setup(void **state)
{
	(void)state;
	base = event_base_new();
	return base ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

/* --- frames -------------------------------------------------------------------------- */

static void test_frames_trickle(void **state)
{
	static const char stream[] = "\0\0\0\5\0\7abc"
				     "\0\0\0\2\xff\xfe"
				     "\0\0\0\3\0\1z";
	(void)state;
	for (size_t step = 1; step < sizeof stream; step++) {
		struct side s = {.c = NULL};
		int fd = raw_pair(&s), seen = 0;
		for (size_t at = 0; at < sizeof stream - 1; at += step) {
			size_t n = sizeof stream - 1 - at < step ? sizeof stream - 1 - at : step;
			put(fd, stream + at, n);
			event_base_loop(base, EVLOOP_NONBLOCK);
			if (s.frames != seen && s.frames == 1) {
				assert_int_equal(s.type, 7);
				assert_string_equal((char *)s.data, "abc");
			}
			if (s.frames != seen && s.frames == 2) {
				assert_int_equal(s.type, 0xfffe);
				assert_int_equal(s.len, 0);
			}
			seen = s.frames;
		}
		until(&s.frames, 3);
		assert_int_equal(s.type, 1);
		assert_string_equal((char *)s.data, "z");
		assert_int_equal(s.closes, 0);
		ipc_free(s.c, false);
		free(s.data);
		close(fd);
	}
}

static void test_both_ways(void **state)
{
	static const size_t sizes[] = {0, 1, 65535, 65536, 500000, IPC_MAX_FRAME};
	struct side a = {.c = NULL}, b = {.then = ECHO};
	int sv[2], got = 0;
	uint8_t *big = malloc(IPC_MAX_FRAME);
	(void)state;
	for (size_t i = 0; i < IPC_MAX_FRAME; i++)
		big[i] = (uint8_t)(i * 7 + i / 256);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	a.c = ipc_from_fd(base, sv[0], &handlers, &a);
	b.c = ipc_from_fd(base, sv[1], &handlers, &b);
	for (size_t i = 0; i < N(sizes); i++) {
		assert_true(ipc_send(a.c, (uint16_t)i, big, sizes[i]));
		assert_true(ipc_backlog(a.c) >= sizes[i]);
		until(&a.frames, ++got);
		assert_int_equal(a.type, i + 1);
		assert_int_equal(a.len, sizes[i]);
		assert_memory_equal(a.data, big, sizes[i]);
		assert_int_equal(ipc_backlog(a.c), 0);
	}
	assert_false(ipc_send(a.c, 1, big, IPC_MAX_FRAME + 1));
	assert_int_equal(ipc_backlog(a.c), 0);
	ipc_free(a.c, false);
	until(&b.closes, 1);
	assert_string_equal(b.reason, "closed by the other side");
	free(a.data);
	free(b.data);
	free(big);
}

static void test_bad_frames(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool eof;
		const char *reason;
	} cases[] = {
	    {"\0\0\0\0\0\0", 6, false, "a frame of a forbidden length"},
	    {"\0\0\0\1\0\0", 6, false, "a frame of a forbidden length"},
	    {"\0\x10\0\3\0\0", 6, false, "a frame of a forbidden length"}, /* 1 MiB and one byte */
	    {"\xff\xff\xff\xff\0\0", 6, false, "a frame of a forbidden length"},
	    {"GET / HTTP/1.1\r\n", 16, false, "a frame of a forbidden length"},
	    {"\0\0\0\2\0\1\0\0\0\0\0\0", 12, false, "a frame of a forbidden length"},
	    {"\0\0\0", 3, true, "closed in the middle of a frame"},
	    {"\0\0\0\5\0\1ab", 8, true, "closed in the middle of a frame"},
	    {"", 0, true, "closed by the other side"},
	    {"\0\0\0\2\0\1", 6, true, "closed by the other side"},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct side s = {.c = NULL};
		char end;
		int fd = raw_pair(&s);
		put(fd, cases[i].bytes, cases[i].len);
		if (cases[i].eof)
			assert_int_equal(shutdown(fd, SHUT_WR), 0);
		until(&s.closes, 1);
		assert_string_equal(s.reason, cases[i].reason);
		settle();
		assert_int_equal(s.closes, 1);
		assert_true(recv(fd, &end, 1, 0) <= 0); /* hung up on */
		free(s.data);
		close(fd);
	}
}

/* A frame announced long: memory grows with what came, and the rest of the stream is not read ahead
 * of need. */
static void test_flood_is_bounded(void **state)
{
	struct side s = {.c = NULL};
	int fd = raw_pair(&s);
	static char zeros[65536];
	(void)state;
	put(fd, "\0\x10\0\2\0\1", 6); /* the longest there may be */
	for (size_t sent = 0; sent < IPC_MAX_FRAME;) {
		ssize_t n =
		    send(fd, zeros,
			 sizeof zeros < IPC_MAX_FRAME - sent ? sizeof zeros : IPC_MAX_FRAME - sent,
			 MSG_DONTWAIT);
		sent += n > 0 ? (size_t)n : 0;
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	until(&s.frames, 1);
	assert_int_equal(s.len, IPC_MAX_FRAME);
	put(fd, "\0\0\0\2\0\1", 6); /* reading goes on after the high-water mark */
	until(&s.frames, 2);
	ipc_free(s.c, false);
	free(s.data);
	close(fd);
}

/* --- freeing
 * ------------------------------------------------------------------------------------------ */

static void test_free_in_frame(void **state)
{
	static const char three[] = "\0\0\0\3\0\1a\0\0\0\3\0\1b\0\0\0\3\0\1c";
	char buf[32];
	(void)state;
	struct side s = {.then = FREE};
	int fd = raw_pair(&s);
	put(fd, three, sizeof three - 1);
	until(&s.frames, 1);
	settle();
	assert_int_equal(s.frames, 1); /* nothing after the free, closed() included */
	assert_int_equal(s.closes, 0);
	free(s.data);
	close(fd);

	s = (struct side){.then = FREE_FLUSH};
	fd = raw_pair(&s);
	put(fd, three, sizeof three - 1);
	until(&s.frames, 1);
	settle();
	assert_int_equal(s.frames, 1);
	assert_int_equal(recv(fd, buf, sizeof buf, 0), 7);
	assert_memory_equal(buf, "\0\0\0\3\0\2a", 7);
	assert_true(recv(fd, buf, sizeof buf, 0) <= 0); /* reset: b and c were never read */
	free(s.data);
	close(fd);
}

static void test_free_in_closed(void **state)
{
	struct side s = {.free_in_closed = true};
	int fd = raw_pair(&s);
	(void)state;
	close(fd);
	until(&s.closes, 1);
	settle();
	assert_int_equal(s.closes, 1);
	ipc_free(NULL, true);
}

/* More than the socket takes at once: the connection lives on until the peer has it all. */
static void test_flush(void **state)
{
	struct side s = {.c = NULL};
	size_t want = 0, got = 0;
	static char chunk[100000], buf[65536];
	int fd = raw_pair(&s);
	(void)state;
	for (int i = 0; i < 30; i++) {
		assert_true(ipc_send(s.c, 1, chunk, sizeof chunk));
		want += sizeof chunk + 6;
	}
	ipc_free(s.c, true);
	put(fd, "\0\0\0\2\0\1", 6); /* not heard any more */
	for (;;) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(got, want);
	assert_int_equal(s.frames, 0);
	assert_int_equal(s.closes, 0);
	close(fd);
}

/* The peer goes away while we drain: no crash, no leak, no callback. */
static ssize_t there(int fd)
{
	char buf[64];
	return recv(fd, buf, sizeof buf, MSG_PEEK | MSG_DONTWAIT);
}

/* It goes by itself after a while, with the next frame at once, and always in order. */
static void test_unhurried(void **state)
{
	struct side s = {0};
	int fd = raw_pair(&s);
	uint8_t got[6 + 1];
	int64_t from = clock_mono_ms();
	(void)state;
	assert_true(ipc_send_unhurried(s.c, 1, "a", 1));
	while (there(fd) < 0 && clock_mono_ms() - from < 10000)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(there(fd), sizeof got);
	assert_true(clock_mono_ms() - from >= IPC_UNHURRIED_MS - 2);
	assert_int_equal(read(fd, got, sizeof got), sizeof got);

	assert_true(ipc_send_unhurried(s.c, 2, "b", 1));
	assert_true(ipc_send_unhurried(s.c, 3, "c", 1));
	assert_true(ipc_send(s.c, 4, "d", 1));
	event_base_loop(base, EVLOOP_NONBLOCK); /* one turn: no time passes in it */
	assert_int_equal(there(fd), 3 * sizeof got);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(read(fd, got, sizeof got), sizeof got);
		assert_int_equal(got[sizeof got - 1], "bcd"[i]);
	}
	/* What waits goes with the connection, too. */
	assert_true(ipc_send_unhurried(s.c, 5, "e", 1));
	ipc_free(s.c, true);
	assert_int_equal(there(fd), sizeof got);
	close(fd);
	free(s.data);
}

static void test_flush_to_nobody(void **state)
{
	struct side s = {.c = NULL};
	static char chunk[500000];
	int fd = raw_pair(&s);
	(void)state;
	for (int i = 0; i < 4; i++)
		assert_true(ipc_send(s.c, 1, chunk, sizeof chunk));
	ipc_free(s.c, true);
	close(fd);
	settle();
	assert_int_equal(s.closes, 0);
}

static void test_backlog(void **state)
{
	struct side s = {.c = NULL};
	static char chunk[500000], buf[65536];
	size_t want = 0, got = 0;
	int fd = raw_pair(&s);
	(void)state;
	while (ipc_send(s.c, 1, chunk, sizeof chunk))
		want += sizeof chunk + 6;
	assert_true(want <= IPC_MAX_BACKLOG && want > IPC_MAX_BACKLOG - sizeof chunk - 6);
	assert_int_equal(ipc_backlog(s.c), want); /* nothing of the refused one */
	while (got < want) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
		got += n > 0 ? (size_t)n : 0;
	}
	assert_true(ipc_send(s.c, 1, chunk, sizeof chunk));
	ipc_free(s.c, false);
	close(fd);
}

/* --- listeners and clients
 * ------------------------------------------------------------------------------ */

struct server {
	struct side side[4];
	int n;
	bool refuse;
	struct ipc_peer peer;
};

static bool on_accepted(struct ipc_conn *c, const struct ipc_peer *peer, void *arg)
{
	struct server *s = arg;
	s->peer = *peer;
	s->n++;
	if (s->refuse)
		return false;
	struct side *side = &s->side[s->n - 1];
	side->c = c;
	ipc_accept(c, &handlers, side);
	return true;
}

static void free_server(struct server *s)
{
	for (size_t i = 0; i < N(s->side); i++)
		free(s->side[i].data);
}

static void test_listen(void **state)
{
	struct server srv = {.side[0].then = ECHO};
	struct side cl = {.c = NULL};
	struct stat st;
	char *err = NULL;
	(void)state;
	mode_t old = umask(0);
	struct ipc_listener *l = ipc_listen(base, sock_path, 0660, on_accepted, &srv, &err);
	assert_non_null(l);
	assert_int_equal(umask(old), 0); /* put back */
	assert_int_equal(stat(sock_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	cl.c = ipc_client(base, sock_path, &handlers, &cl);
	assert_int_equal(cl.connects, 0); /* in the background, never inside the call */
	until(&cl.connects, 1);
	assert_true(ipc_send(cl.c, 5, "hello", 5));
	until(&cl.frames, 1);
	assert_int_equal(cl.type, 6);
	assert_string_equal((char *)cl.data, "hello");
	assert_int_equal(srv.peer.pid, getpid());
	assert_int_equal(srv.peer.uid, geteuid());
	assert_int_equal(srv.peer.gid, getegid());
	/* Connections live on without their listener. */
	ipc_listener_free(l);
	assert_int_not_equal(access(sock_path, F_OK), 0);
	assert_true(ipc_send(cl.c, 5, "again", 5));
	until(&cl.frames, 2);
	ipc_free(cl.c, false);
	until(&srv.side[0].closes, 1);
	free(cl.data);
	free_server(&srv);
}

static void test_listen_refuses(void **state)
{
	struct server srv = {.n = 0};
	char *err = NULL, *long_path = NULL;
	(void)state;
	struct ipc_listener *l = ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err);
	assert_non_null(l);
	/* Someone answers there. */
	assert_null(ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err));
	assert_non_null(strstr(err, "another process is listening"));
	assert_non_null(strstr(err, sock_path));
	talloc_free(err);
	/* A successor's socket is not removed by its predecessor. */
	assert_int_equal(unlink(sock_path), 0);
	struct ipc_listener *l2 = ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err);
	assert_non_null(l2);
	ipc_listener_free(l);
	assert_int_equal(access(sock_path, F_OK), 0);
	ipc_listener_free(l2);
	ipc_listener_free(NULL);
	/* Something else is in the way. */
	int fd = open(sock_path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_null(ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err));
	assert_non_null(strstr(err, "not a socket"));
	talloc_free(err);
	assert_int_equal(unlink(sock_path), 0);
	/* No folder; too long a path. */
	assert_null(ipc_listen(base, "/nonexistent/x.sock", 0600, on_accepted, &srv, &err));
	assert_non_null(strstr(err, "No such file"));
	talloc_free(err);
	long_path = talloc_asprintf(NULL, "/%0200d", 1);
	assert_null(ipc_listen(base, long_path, 0600, on_accepted, &srv, &err));
	assert_non_null(strstr(err, "too long"));
	talloc_free(err);
	talloc_free(long_path);
	/* A folder deeper than sun_path: bind, connect and unlink all reach it. */
	char *deep = talloc_asprintf(NULL, "%s.%0150d", sock_path, 1);
	const char *why;
	assert_int_equal(mkdir(deep, 0700), 0);
	long_path = talloc_asprintf(deep, "%s/x.sock", deep);
	l = ipc_listen(base, long_path, 0600, on_accepted, &srv, &err);
	assert_non_null(l);
	int dialled = ipc_dial(long_path, 1000, &why);
	assert_true(dialled >= 0);
	close(dialled);
	assert_null(ipc_listen(base, long_path, 0600, on_accepted, &srv, &err));
	assert_non_null(strstr(err, "another process"));
	talloc_free(err);
	ipc_listener_free(l);
	assert_int_not_equal(access(long_path, F_OK), 0);
	assert_int_equal(ipc_dial(long_path, 100, &why), -1);
	assert_int_equal(rmdir(deep), 0);
	talloc_free(deep);
}

/* A socket whose owner was killed is taken over. */
static void test_stale(void **state)
{
	struct server srv = {.n = 0};
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char *err = NULL;
	(void)state;
	(void)snprintf(sun.sun_path, sizeof sun.sun_path, "%s", sock_path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
	close(fd); /* the file stays */
	struct ipc_listener *l = ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err);
	assert_non_null(l);
	ipc_listener_free(l);
}

static void test_accept_refused(void **state)
{
	struct server srv = {.refuse = true};
	struct side cl = {.c = NULL};
	char *err = NULL;
	(void)state;
	struct ipc_listener *l = ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err);
	assert_non_null(l);
	cl.c = ipc_client(base, sock_path, &handlers, &cl);
	until(&cl.closes, 1);
	assert_int_equal(srv.side[0].closes, 0); /* never ours */
	ipc_free(cl.c, false);
	ipc_listener_free(l);
}

/* Who is taken and dropped at once asks more and more seldom: after 50, 100, 200 ms. */
static void test_hammering(void **state)
{
	struct server srv = {.refuse = true};
	struct side cl = {.c = NULL};
	char *err = NULL;
	(void)state;
	struct ipc_listener *l = ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err);
	assert_non_null(l);
	int64_t began = clock_mono_ms();
	cl.c = ipc_client(base, sock_path, &handlers, &cl);
	until(&cl.closes, 4);
	assert_true(clock_mono_ms() - began >= 340);
	ipc_free(cl.c, false);
	ipc_listener_free(l);
}

/* The client was first; the server comes, goes and comes back. */
static void test_reconnect(void **state)
{
	struct server srv = {.n = 0};
	struct side cl = {.c = NULL};
	char *err = NULL;
	(void)state;
	cl.c = ipc_client(base, sock_path, &handlers, &cl);
	settle();
	assert_false(ipc_connected(cl.c));
	assert_false(ipc_send(cl.c, 1, "x", 1));
	for (int round = 1; round <= 3; round++) {
		struct ipc_listener *l = ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err);
		assert_non_null(l);
		until(&cl.connects, round);
		assert_true(ipc_send(cl.c, 1, "x", 1));
		until(&srv.side[round - 1].frames, 1);
		ipc_listener_free(l);
		ipc_free(srv.side[round - 1].c, false);
		until(&cl.closes, round);
	}
	ipc_free(cl.c, true);
	settle();
	free_server(&srv);
}

/* Freed in every state it can be in. */
static void test_client_free(void **state)
{
	struct server srv = {.n = 0};
	struct side cl = {.free_in_closed = true};
	char *err = NULL;
	(void)state;
	ipc_free(ipc_client(base, sock_path, &handlers, &cl), true); /* before the loop ran */
	struct ipc_conn *c = ipc_client(base, sock_path, &handlers, &cl);
	settle();
	ipc_free(c, true); /* between two tries */
	struct ipc_listener *l = ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err);
	c = ipc_client(base, sock_path, &handlers, &cl);
	until(&srv.n, 1);
	ipc_free(srv.side[0].c, false);
	until(&cl.closes, 1); /* inside closed() */
	settle();
	assert_int_equal(cl.connects, 1);
	ipc_listener_free(l);
}

/* --- blocking calls
 * ---------------------------------------------------------------------------------------- */

static void test_blocking(void **state)
{
	int sv[2];
	uint16_t type;
	uint8_t *data = NULL;
	size_t len;
	const char *err = NULL;
	static char big[IPC_MAX_FRAME + 1];
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_true(ipc_write(sv[0], 9, "hello", 5, 1000, &err));
	assert_true(ipc_write(sv[0], 10, NULL, 0, 1000, &err));
	assert_true(ipc_read(sv[1], &type, &data, &len, 1000, &err));
	assert_int_equal(type, 9);
	assert_int_equal(len, 5);
	assert_string_equal((char *)data, "hello");
	free(data);
	assert_true(ipc_read(sv[1], &type, &data, &len, 1000, &err));
	assert_int_equal(type, 10);
	assert_int_equal(len, 0);
	free(data);
	/* Nothing comes; half a frame comes; too much; the end. */
	assert_false(ipc_read(sv[1], &type, &data, &len, 10, &err));
	assert_string_equal(err, "no answer in time");
	put(sv[0], "\0\0\0\5\0\1a", 7);
	assert_false(ipc_read(sv[1], &type, &data, &len, 10, &err));
	assert_string_equal(err, "no answer in time");
	put(sv[0], "\xff\xff\xff\xff\0\1", 6);
	assert_false(ipc_read(sv[1], &type, &data, &len, 10, &err));
	assert_string_equal(err, "the answer has a forbidden length");
	assert_false(ipc_write(sv[0], 1, big, sizeof big, 10, &err));
	assert_non_null(strstr(err, "too long"));
	assert_false(ipc_write(sv[0], 1, big, IPC_MAX_FRAME, 10, &err)); /* nobody reads */
	assert_string_equal(err, "no answer in time");
	close(sv[0]);
	while (recv(sv[1], big, sizeof big, 0) > 0)
		;
	assert_false(ipc_read(sv[1], &type, &data, &len, 10, &err));
	assert_string_equal(err, "the other side closed the connection");
	assert_false(ipc_write(sv[1], 1, "x", 1, 10, &err));
	assert_string_equal(err, "the other side closed the connection");
	close(sv[1]);
	assert_int_equal(ipc_dial(sock_path, 10, &err), -1);
	assert_non_null(strstr(err, "nobody is listening"));
}

#define ASKS 200

static void *ask(void *arg)
{
	const char *err = NULL;
	intptr_t bad = 0;
	int fd = ipc_dial(sock_path, 5000, &err);
	(void)arg;
	for (uint16_t i = 0; fd >= 0 && i < ASKS; i++) {
		char text[32];
		uint16_t type;
		uint8_t *data = NULL;
		size_t len;
		int n = snprintf(text, sizeof text, "question %d", i);
		if (!ipc_write(fd, i, text, (size_t)n, 5000, &err) ||
		    !ipc_read(fd, &type, &data, &len, 5000, &err)) {
			bad++;
			break;
		}
		bad += type != i + 1 || strcmp((char *)data, text) != 0;
		free(data);
	}
	if (fd < 0)
		bad++;
	else
		close(fd);
	return (void *)bad;
}

/* A tool in its own thread against a daemon's loop. */
static void test_ask_over_loop(void **state)
{
	struct server srv = {.side[0].then = ECHO, .side[1].then = ECHO};
	char *err = NULL;
	pthread_t t[2];
	(void)state;
	struct ipc_listener *l = ipc_listen(base, sock_path, 0600, on_accepted, &srv, &err);
	assert_non_null(l);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, ask, NULL), 0);
	until(&srv.side[0].closes, 1);
	until(&srv.side[1].closes, 1);
	for (size_t i = 0; i < 2; i++) {
		void *bad = NULL;
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_int_equal(srv.side[0].frames + srv.side[1].frames, 2 * ASKS);
	ipc_listener_free(l);
	free_server(&srv);
}

static int group_setup(void **state)
{
	(void)state;
	log_level(LOG_CRIT);
	(void)signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(sock_path, sizeof sock_path, "%s/s", dir);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	return rmdir(dir); /* every socket is gone */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_frames_trickle),  T(test_both_ways),
	    T(test_bad_frames),	     T(test_flood_is_bounded),
	    T(test_free_in_frame),   T(test_free_in_closed),
	    T(test_flush),	     T(test_unhurried),
	    T(test_flush_to_nobody), T(test_backlog),
	    T(test_listen),	     T(test_listen_refuses),
	    T(test_stale),	     T(test_accept_refused),
	    T(test_reconnect),	     T(test_client_free),
	    T(test_blocking),	     T(test_ask_over_loop),
	    T(test_hammering),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
