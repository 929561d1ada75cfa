/*
 * control_server - acctd's side of <run_dir>/control.sock (docs/protocols/control.md): frames,
 * JSON, who asks, and the way to the operation.
 */
#ifndef ACCOUNTING_CONTROL_SERVER_H
#define ACCOUNTING_CONTROL_SERVER_H

#include <event2/event.h>
#include <stdbool.h>

#include "lib/conf.h"
#include "lib/login.h"
#include "accounting/ops.h"

struct control_server;

struct control_rules {
	const struct conf_list *admins; /* users that act as themselves, besides root */
	int64_t session_idle_ms, session_lifetime_ms;
	enum login_case login_case; /* of the accounts that requests name */
};

/* rules is borrowed and may change. NULL with *err (malloc'd). */
struct control_server *control_server_new(struct event_base *base, const char *run_dir,
					  struct store *store, const struct control_rules *rules,
					  struct acctd *a, char **err);
int control_server_connections(const struct control_server *cs);
/* Calls under way are forgotten: their op_done() goes nowhere. */
void control_server_free(struct control_server *cs);

/* When a session ends if it is not used again. */
int64_t control_session_expires(const struct control_rules *r, const struct store_session *s);

#endif
