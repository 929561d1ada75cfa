/*
 * received - the trace line this server adds (RFC 5321 4.4, RFC 3848).
 */
#ifndef MSA_MAIL_RECEIVED_H
#define MSA_MAIL_RECEIVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

#define RECEIVED_MAX 2048

struct received {
	const char *helo; /* what the client said; made safe here */
	struct addr client;
	bool hide_client; /* leave out both */
	const char *host; /* this server */
	const char *with; /* received_with() */
	const char *tls_version,
	    *tls_cipher; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384"; NULL without TLS */
	const char *queue_id;
	const char *rcpt; /* the one recipient, or NULL: several are not told of each other */
	int64_t t_ms;	  /* UTC */
};

/* The protocol's name (RFC 3848; RFC 6531 4.3 with SMTPUTF8). HELO has none that tells of TLS. */
const char *received_with(bool esmtp, bool tls, bool auth, bool utf8);
/* Writes the folded field with its last CRLF; returns its length. No line is longer than 998
 * octets. */
size_t received_format(const struct received *r, char buf[static RECEIVED_MAX]);

#endif
