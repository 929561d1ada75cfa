/*
 * io - listeners, and the connections that are open.
 */
#ifndef MSA_IO_H
#define MSA_IO_H

#include <event2/bufferevent.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/addr.h"
#include "lib/upgrade.h"
#include "msa/server.h"

struct conn;

/* Binds every address configured, or takes the socket that a program before, or the service
 * manager, has for it; nothing is accepted before io_start(). False: *err (talloc'd
 * under srv->cfg) names the address. */
bool io_listen(struct server *srv, char **err);
void io_start(struct server *srv);

/*
 * Stop: close the listeners, end idle sessions with 421, let the others finish their message until
 * deadline_ms have passed. done() is called once, when the last connection is gone.
 */
void io_stop(struct server *srv, int64_t deadline_ms, void (*done)(void *arg), void *arg);
void io_free(struct server *srv);

/*
 * For a handover. Release: the listeners are told in fds (names are static), at most max, and
 * listened to no more here. Drain: done() is called once, when the last connection is gone; none is
 * asked to go.
 */
size_t io_release(struct server *srv, struct upgrade_fd *fds, size_t max);
void io_drain(struct server *srv, void (*done)(void *arg), void *arg);

size_t io_sessions(const struct server *srv);
/* An account is suspended: its sessions are told at their next MAIL, idle ones at once. */
void io_suspend(struct server *srv, const char *account, const char *why);

/* --- for conn.c --- */
void io_add(struct server *srv, struct conn *c);
void io_remove(struct server *srv, struct conn *c);

#endif
