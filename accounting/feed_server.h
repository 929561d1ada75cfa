/*
 * feed_server - acctd's side of <run_dir>/feed.sock (docs/protocols/feed.md).
 *
 * Stores what daemons send, acknowledges after the commit, keeps nfqd's policy up to date, and
 * carries requests to them.
 */
#ifndef ACCOUNTING_FEED_SERVER_H
#define ACCOUNTING_FEED_SERVER_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "accounting/store.h"

struct feed_server;

/* answered false: the program is away, or was too late (result is NULL). Else ok and a borrowed
 * result. */
typedef void feed_answer(bool answered, bool ok, const json_t *result, void *arg);

/*
 * Listens; takes the hooks of the store. applied (may be NULL) is told what a program says is in
 * force, at its HELLO too. NULL with *err (malloc'd).
 */
struct feed_server *feed_server_new(
    struct event_base *base, const char *run_dir, struct store *store,
    void (*applied)(const char *program, uint64_t version, void *arg), void *arg, char **err);
/* seen() is told of each event that program (static) sends and that is stored, once; it must not
 * use the store. One for each of two programs. */
void feed_server_watch(struct feed_server *fs, const char *program,
		       void (*seen)(const struct event *e, void *arg), void *arg);
bool feed_server_connected(const struct feed_server *fs, const char *program);
/* args is borrowed (NULL: {}). cb is called once, maybe before this returns; deadline 5 s. */
void feed_server_request(struct feed_server *fs, const char *program, const char *op, json_t *args,
			 feed_answer *cb, void *arg);
/* [{"program","instance","since_ms","policy_version"}] */
json_t *feed_server_status(const struct feed_server *fs);
/* Requests under way are answered as unanswered. */
void feed_server_free(struct feed_server *fs);

#endif
