/*
 * conn - one client connection: bytes to session steps, and what the steps want from the rest of
 * the process.
 */
#ifndef MSA_CONN_H
#define MSA_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"
#include "msa/server.h"

struct conn;

/* Take over the connected socket fd, accepted at listener (as configured). It frees itself when the
 * session is over. */
void conn_new(struct server *srv, int fd, const struct addr *client, uint16_t port,
	      const char *listener, bool implicit_tls);
/* End it now, whatever it does. */
void conn_free(struct conn *c);
/* The server is stopping: idle ones end with 421, others after their message. */
void conn_stop(struct conn *c);
/* If c is logged in as account. */
void conn_suspend(struct conn *c, const char *account, const char *why);
const struct addr *conn_client(const struct conn *c);

/* The list io.c keeps. */
struct conn_link {
	struct conn *next, **at;
};
struct conn_link *conn_link(struct conn *c);

#endif
