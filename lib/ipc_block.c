/*
 * ipc_block - the frame header, and the blocking calls of ipc.h for command-line tools and the CGI.
 *
 * Each call has one deadline for all it does. The descriptor may be blocking or not; no call blocks
 * past its deadline.
 *
 * Trusted with: one socket. Diagnostics: static texts, or strerror(3).
 * Known gaps: strerror(3) texts are for one thread at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/ipc_frame.h"
#include "lib/wire.h"

void ipc_put_head(uint8_t head[static IPC_HEAD], uint16_t type, size_t len)
{
	struct wire_out w;
	wire_out_init(&w, head, IPC_HEAD);
	wire_u32(&w, (uint32_t)len + 2);
	wire_u16(&w, type);
}

bool ipc_get_head(const uint8_t head[static IPC_HEAD], uint16_t *type, size_t *len)
{
	struct wire_in r;
	wire_in_init(&r, head, IPC_HEAD);
	uint32_t n = wire_get_u32(&r);
	*type = wire_get_u16(&r);
	*len = n - 2;
	return n >= 2 && n - 2 <= IPC_MAX_FRAME;
}

bool ipc_sockaddr(const char *path, struct sockaddr_un *sun, int *folder)
{
	size_t n = strlen(path);
	const char *name = strrchr(path, '/');
	memset(sun, 0, sizeof *sun);
	sun->sun_family = AF_UNIX;
	*folder = -1;
	if (n && n < sizeof sun->sun_path) {
		memcpy(sun->sun_path, path, n);
		return true;
	}
	if (!name || n >= PATH_MAX || strlen(name) > 64) {
		errno = n ? ENAMETOOLONG : EINVAL;
		return false;
	}
	char dir[PATH_MAX];
	memcpy(dir, path, (size_t)(name - path));
	dir[name - path] = '\0';
	*folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*folder < 0)
		return false;
	(void)snprintf(sun->sun_path, sizeof sun->sun_path, "/proc/self/fd/%d%s", *folder, name);
	return true;
}

void ipc_folder_close(int folder)
{
	int saved = errno;
	if (folder >= 0)
		(void)close(folder);
	errno = saved;
}

/* Monotonic; INT64_MAX for a negative timeout: no deadline. */
static int64_t deadline_in(int timeout_ms)
{
	return timeout_ms < 0 ? INT64_MAX : clock_mono_ms() + timeout_ms;
}

/* Until fd is ready for `what`. False with *err when the deadline passed. */
static bool wait_for(int fd, short what, int64_t deadline, const char **err)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = what};
		int64_t left = deadline == INT64_MAX ? -1 : deadline - clock_mono_ms();
		if (deadline != INT64_MAX && left < 0)
			left = 0;
		int n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR) {
			*err = strerror(errno);
			return false;
		}
		if (n == 0 && clock_mono_ms() >= deadline) {
			*err = "no answer in time";
			return false;
		}
	}
}

/* ENOENT and ECONNREFUSED mean the same to whoever typed a command. */
static const char *dial_error(int e)
{
	if (e == ENOENT || e == ECONNREFUSED)
		return "nobody is listening there: is the daemon running?";
	return strerror(e);
}

int ipc_dial(const char *path, int timeout_ms, const char **err)
{
	struct sockaddr_un sun;
	int64_t deadline = deadline_in(timeout_ms);
	int folder;
	if (!ipc_sockaddr(path, &sun, &folder)) {
		*err = dial_error(errno);
		return -1;
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		*err = strerror(errno);
		ipc_folder_close(folder);
		return -1;
	}
	while (connect(fd, (const struct sockaddr *)&sun, sizeof sun) != 0) {
		int e = errno;
		if ((e == EAGAIN || e == EINTR) && clock_mono_ms() < deadline) {
			(void)poll(NULL, 0, 10); /* the daemon's queue is full */
			continue;
		}
		(void)close(fd);
		ipc_folder_close(folder);
		*err = e == EAGAIN ? "no answer in time" : dial_error(e);
		return -1;
	}
	ipc_folder_close(folder);
	return fd;
}

static bool send_all(int fd, const uint8_t *p, size_t len, int flags, int64_t deadline,
		     const char **err)
{
	while (len) {
		ssize_t w = send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
		if (w >= 0) {
			p += w;
			len -= (size_t)w;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			if (!wait_for(fd, POLLOUT, deadline, err))
				return false;
		} else if (errno != EINTR) {
			*err = errno == EPIPE ? "the other side closed the connection"
					      : strerror(errno);
			return false;
		}
	}
	return true;
}

bool ipc_write(int fd, uint16_t type, const void *data, size_t len, int timeout_ms,
	       const char **err)
{
	uint8_t head[IPC_HEAD];
	int64_t deadline = deadline_in(timeout_ms);
	if (len > IPC_MAX_FRAME) {
		*err = "the message is too long: at most 1 MiB";
		return false;
	}
	ipc_put_head(head, type, len);
	return send_all(fd, head, sizeof head, len ? MSG_MORE : 0, deadline, err) &&
	       send_all(fd, data, len, 0, deadline, err);
}

static bool recv_all(int fd, uint8_t *p, size_t len, int64_t deadline, const char **err)
{
	while (len) {
		ssize_t r = recv(fd, p, len, MSG_DONTWAIT);
		if (r > 0) {
			p += r;
			len -= (size_t)r;
		} else if (r == 0) {
			*err = "the other side closed the connection";
			return false;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			if (!wait_for(fd, POLLIN, deadline, err))
				return false;
		} else if (errno != EINTR) {
			*err = strerror(errno);
			return false;
		}
	}
	return true;
}

bool ipc_read(int fd, uint16_t *type, uint8_t **data, size_t *len, int timeout_ms, const char **err)
{
	uint8_t head[IPC_HEAD], *buf;
	int64_t deadline = deadline_in(timeout_ms);
	if (!recv_all(fd, head, sizeof head, deadline, err))
		return false;
	if (!ipc_get_head(head, type, len)) {
		*err = "the answer has a forbidden length";
		return false;
	}
	buf = malloc(*len + 1);
	if (!buf) {
		*err = "out of memory";
		return false;
	}
	if (!recv_all(fd, buf, *len, deadline, err)) {
		free(buf);
		return false;
	}
	buf[*len] = '\0';
	*data = buf;
	return true;
}
