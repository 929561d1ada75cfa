/*
 * relay_tls - opportunistic TLS towards the smart host (RFC 3207, RFC 7435): no certificate is
 * verified, clear text is what there is without it.
 */
#ifndef MSA_RELAY_TLS_H
#define MSA_RELAY_TLS_H

#include <event2/bufferevent.h>

/* Wraps the connected fd; the bufferevent owns it. NULL when TLS cannot be had. */
struct bufferevent *relay_tls_new(struct event_base *base, int fd);
/* "TLSv1.3", while the connection is up. */
const char *relay_tls_version(struct bufferevent *bev);

#endif
