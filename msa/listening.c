/*
 * listening - see listening.h.
 *
 * Trusted with: nothing. Diagnostics: none; who opens says so. Known gaps: none.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/proc.h"
#include "ratelimit/hash.h"

#include "msa/listening.h"

#define BACKLOG 1024

/* A socket that listens there already; -1: there is none. */
static int adopt(const char *known_as, const struct sockaddr_storage *ss, socklen_t len,
		 bool *stored)
{
	struct sockaddr_storage own = {0};
	socklen_t own_len = sizeof(own), int_len = sizeof(int);
	int fd = upgrade_take(known_as, stored), on = 0;

	if (fd < 0)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &int_len) == 0 && on &&
	    getsockname(fd, (struct sockaddr *)&own, &own_len) == 0 && own_len == len &&
	    memcmp(&own, ss, len) == 0 && evutil_make_socket_nonblocking(fd) == 0)
		return fd;
	close(fd);
	if (*stored)
		upgrade_forget(known_as);
	*stored = false;
	return -1;
}

struct evconnlistener *listening_open(struct event_base *base, const char *address, unsigned flags,
				      evconnlistener_cb cb, void *arg,
				      char name[static LISTENING_NAME])
{
	struct evconnlistener *ev;
	struct sockaddr_storage ss;
	struct addr a;
	uint16_t port;
	const char *err;
	bool stored = false;
	socklen_t len;
	int fd;

	if (!addr_parse_port(address, &a, &port, &err))
		bug("msa: %s passed the configuration check", address);
	memset(&ss, 0, sizeof(ss));
	len = addr_to_sockaddr(&a, port, &ss);
	(void)snprintf(name, LISTENING_NAME, "l-%016llx",
		       (unsigned long long)hash_bytes(0, address, strlen(address)));
	flags |= LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
	fd = adopt(name, &ss, len, &stored);
	if (fd >= 0)
		ev = evconnlistener_new(base, cb, arg, flags, BACKLOG, fd);
	else
		ev = evconnlistener_new_bind(
		    base, cb, arg,
		    flags | LEV_OPT_REUSEABLE |
			(ss.ss_family == AF_INET6 ? LEV_OPT_BIND_IPV6ONLY : 0),
		    BACKLOG, (const struct sockaddr *)&ss, (int)len);
	/* Stored twice it would be let go as one that nobody wanted. */
	if (ev && !stored)
		upgrade_store(name, evconnlistener_get_fd(ev));
	if (!ev && fd >= 0)
		close(fd);
	return ev;
}

size_t listening_copy(struct evconnlistener *l, const char *name, struct upgrade_fd *out)
{
	int fd = fcntl(evconnlistener_get_fd(l), F_DUPFD_CLOEXEC, 0);

	if (fd >= 0)
		*out = (struct upgrade_fd){name, fd};
	return fd >= 0;
}
