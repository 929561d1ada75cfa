/*
 * radius_server - acctd's RADIUS accounting port (docs/protocols/radius.md).
 *
 * Takes Accounting-Requests from the configured clients, stores what they say, many to a
 * transaction, and answers each after the commit. When a packet gives a line to somebody else than
 * whose exemption has it, the exemption goes first; the lease and the answer follow when nfqd says
 * that the kernel has forgotten it.
 */
#ifndef ACCOUNTING_RADIUS_SERVER_H
#define ACCOUNTING_RADIUS_SERVER_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/conf.h"
#include "accounting/feed_server.h"
#include "accounting/store.h"

enum radius_subscriber { RADIUS_BY_USER_NAME, RADIUS_BY_CLASS };

struct radius_rules {
	struct conf_list listen, clients; /* "ADDRESS:PORT", see radius_clients.h */
	int subscriber;			  /* enum radius_subscriber */
	bool message_authenticator;	  /* every packet must have one */
	bool netmask, port_exclusive;
	int64_t silence_ms; /* 0: off */
};

struct radius_server;

/* True when the rows can be used; else *err (malloc'd). Reads the secrets. */
bool radius_rules_check(const struct radius_rules *rules, char **err);
/* Listens. rules is the caller's and may be changed through radius_server_reload() only. NULL with
 * *err (malloc'd). Without an address it does nothing but end sessions that fall silent. */
struct radius_server *radius_server_new(struct event_base *base, const struct radius_rules *rules,
					struct store *store, struct feed_server *feed, char **err);
/* Other clients and rules; the addresses stay. False with *err (malloc'd): nothing was changed. */
bool radius_server_reload(struct radius_server *rs, const struct radius_rules *rules, char **err);
/* nfqd says what is in force. */
void radius_server_applied(struct radius_server *rs, const char *program, uint64_t version);
/* {"sessions","packets","answered",...} */
json_t *radius_server_status(struct radius_server *rs);
void radius_server_free(struct radius_server *rs); /* stores what has come; NULL is allowed */

#endif
