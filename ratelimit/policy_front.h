/*
 * policy_front - where Postfix and Exim ask: the policy protocol on unix and TCP sockets.
 */
#ifndef RATELIMIT_POLICY_FRONT_H
#define RATELIMIT_POLICY_FRONT_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

#include "lib/conf.h"
#include "lib/login.h"
#include "ratelimit/rl.h"

struct policy_front;

struct policy_front_conf {
	const struct conf_list *listen; /* "unix:/PATH", "inet:ADDRESS:PORT" */
	const char *realm;		/* of logins without one; "": none */
	enum login_case login_case;	/* a server says names as they were typed */
	bool defer;			/* DEFER_IF_PERMIT in place of 452 */
};

/*
 * Listens; ask() answers at once. NULL with *err (talloc'd). A unix socket is open to every local
 * user: its folder decides who reaches it.
 */
struct policy_front *policy_front_new(struct event_base *base, const struct policy_front_conf *c,
				      void (*ask)(void *arg, const struct rl_ask *ask,
						  struct rl_verdict *v),
				      void *arg, char **err);
/* New words; the sockets stay. */
void policy_front_configure(struct policy_front *f, const struct policy_front_conf *c);
/* A connection that is there already (taken), as of server: for tests. */
void policy_front_adopt(struct policy_front *f, int fd, const struct addr *server);
/* [{"client","requests","with_login","rcpt","data","end","other","verdict","bites"}] */
json_t *policy_front_report(const struct policy_front *f);
void policy_front_free(struct policy_front *f);

#endif
