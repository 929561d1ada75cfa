/*
 * server - ratelimitd on a libevent base: its socket, its subscribers, its files. The daemon is
 * this and the usual start-up.
 *
 * All calls are from the base's thread. Files: <state_dir>/ratelimit/snapshot (counters, every
 * snapshot_interval and at the end), <state_dir>/ratelimit/detector (what it has learnt, less
 * often) and <state_dir>/ratelimit/standing (penalties and overrides, before anybody is told of a
 * change; of a stage below a hold with the next snapshot). A damaged one is renamed to *.damaged
 * and the daemon starts without it.
 */
#ifndef RATELIMIT_SERVER_H
#define RATELIMIT_SERVER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/proc.h"
#include "ratelimit/config.h"

struct server;

/*
 * Makes the folder, reads the files, listens on <run_dir>/ratelimitd.sock (mode 0660), which is
 * handed to id. Peers that may connect: root, our own uid, id's uid. conf is read during the call
 * only. NULL with *err (talloc'd).
 */
struct server *server_new(struct event_base *base, const struct ratelimit_conf *conf,
			  const struct proc_identity *id, char **err);
/* New limits and intervals. */
void server_reload(struct server *s, const struct ratelimit_conf *conf);
/* Asks as a peer does: logged, made durable, told to everybody. */
void server_ask(struct server *s, const struct rl_ask *ask, struct rl_verdict *v);
/* Serve a peer on a connected fd (taken), without asking who it is. */
void server_adopt_fd(struct server *s, int fd);
/* Bring gauges up to date; for metrics_serve(). */
void server_refresh_metrics(void *server);
/* Write now what the files lack. False when one could not be written (logged). */
bool server_save(struct server *s);
/* Closes everything without saving. */
void server_free(struct server *s);

#endif
