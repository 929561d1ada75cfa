/*
 * listening - a socket that listens, and goes on listening over a restart: it comes from whoever
 * keeps it for us (lib/upgrade.h) when it is there already, and is left with the service manager.
 */
#ifndef MSA_LISTENING_H
#define MSA_LISTENING_H

#include <stddef.h>

#include <event2/listener.h>

#include "lib/upgrade.h"

#define LISTENING_NAME 24

/*
 * At address, "ADDRESS:PORT", which passed the configuration check. flags: libevent's, beside those
 * every one has. name is by what the socket is known outside of this process. NULL with errno.
 */
struct evconnlistener *listening_open(struct event_base *base, const char *address, unsigned flags,
				      evconnlistener_cb cb, void *arg,
				      char name[static LISTENING_NAME]);
/* For a handover: a copy of its descriptor. 1, or 0 when there can be none; name is kept. */
size_t listening_copy(struct evconnlistener *l, const char *name, struct upgrade_fd *out);

#endif
