/*
 * relay_tls - opportunistic TLS towards the smart host (RFC 3207, RFC 7435): clear text is what
 * there is without it. The certificate is looked at, and a connection goes on without a good one;
 * only mail that requires TLS (RFC 8689) does not.
 */
#ifndef MSA_RELAY_TLS_H
#define MSA_RELAY_TLS_H

#include <event2/bufferevent.h>
#include <stdbool.h>

/* Who should be there. */
struct relay_tls_host {
	const char *address; /* without port */
	const char *name;    /* in its certificate; "": the address is */
	const char *ca;	     /* PEM file; "": the system's */
};

/* Wraps the connected fd; the bufferevent owns it. NULL when TLS cannot be had. host->ca is read
 * with the first call. */
struct bufferevent *relay_tls_new(struct event_base *base, int fd,
				  const struct relay_tls_host *host);
/* Its certificate is valid, and for that host. */
bool relay_tls_verified(struct bufferevent *bev);
/* "TLSv1.3", while the connection is up. */
const char *relay_tls_version(struct bufferevent *bev);

#endif
