/*
 * peer_int - one SMTP connection, for peer.c and peer_tls.c alone.
 */
#ifndef MSA_RELAY_PEER_INT_H
#define MSA_RELAY_PEER_INT_H

#include <event2/bufferevent.h>
#include <stdbool.h>
#include <stdint.h>

#include "msa/relay/relay_int.h"

struct peer { /* talloc'd */
	struct dest *d;
	const struct mx_list *list; /* a reference; host is in it */
	const struct mx_host *host;
	struct addr addr;
	struct relay_tls_wish wish;
	const char *policy;		    /* that the connection is held to: static text */
	bool must_tls, must_verify, proves; /* a good certificate proves who is there */
	struct bufferevent *bev;
	struct smtp_client client;
	struct reply_parser parser;
	struct part *part;
	struct event *idle;
	struct event *deadline; /* of the reply that is awaited, whole */
	struct event *planning; /* the next piece of a message that is to be converted */
	uint64_t unsent;	/* octets of the body, when the deadline was last looked at */
	int64_t body_until;	/* monotonic: the body must have been taken then */
	bool came_up, idling, counted;
	bool again; /* to be tried at once, in another way */
	bool told;  /* how TLS went is counted */
	char via[RELAY_VIA_MAX];
	struct peer *prev, *next;
	struct peer *idle_prev, *idle_next; /* a ring */
};

/* --- peer.c --- */

/* The connection is over: settles or hands back what was on it, and frees c. */
void peer_over(struct peer *c, const char *why);

/* Its callbacks and timeouts on the buffers it has now. */
void peer_listen(struct peer *c);

/* --- peer_tls.c --- */

/* What the connection is held to, before it is opened: the strongest that applies of DANE, MTA-STS
 * and its route. */
void peer_tls_policy(struct peer *c);

/* TLS in place of the clear connection. c may be gone afterwards. */
void peer_start_tls(struct peer *c);

/* The handshake is done; goes on with the protocol, or ends the connection: c may be gone. */
void peer_tls_up(struct peer *c);

/* TLS failed: not again for a while, or, where it must be, never without. */
void peer_without_tls(struct peer *c);

/* How TLS went, for reports: once a connection, and only where the domain's policy has a say. */
void peer_tell_tls(struct peer *c, enum tlsrpt_result result, const char *why);

/* TLS that was wanted and never began. */
void peer_tell_no_tls(struct peer *c);

#endif
