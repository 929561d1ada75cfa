/*
 * relay_tls - the client side of TLS towards a mail server (RFC 3207, 7435, 7672). Whether a
 * connection goes on without proof of who is there is the caller's to decide.
 */
#ifndef MSA_RELAY_TLS_H
#define MSA_RELAY_TLS_H

#include <event2/bufferevent.h>
#include <stdbool.h>

#include "msa/route/mx.h"

/* Who should be there. */
struct relay_tls_wish {
	const char
	    *name; /* in its certificate, and said in the handshake; an address when literal */
	const char *also; /* another name that it may have, when its authority is a TLSA record;
			     "" or NULL none (RFC 7672 3.2.2) */
	bool literal;
	const char *ca; /* PEM file; "": the system's */
	bool dane;	/* tlsa decides, not the authorities */
	const struct mx_tlsa *tlsa;
	size_t n_tlsa;
};

/* Wraps the connected fd; the bufferevent owns it. NULL when TLS cannot be had. */
struct bufferevent *relay_tls_new(struct event_base *base, int fd,
				  const struct relay_tls_wish *wish);
/* The certificate is what the wish says. */
bool relay_tls_verified(struct bufferevent *bev);
/* Why it is not, in words. */
const char *relay_tls_fault(struct bufferevent *bev);
/* The same as X509_V_ERR of OpenSSL; 0 none. */
int relay_tls_fault_number(struct bufferevent *bev);
/* Why the handshake failed, in words. */
const char *relay_tls_handshake_fault(struct bufferevent *bev);
/* "TLSv1.3", "TLS_AES_256_GCM_SHA384", while the connection is up. */
const char *relay_tls_version(struct bufferevent *bev);
const char *relay_tls_cipher(struct bufferevent *bev);

#endif
