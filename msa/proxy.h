/*
 * proxy - the PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): what a load balancer
 * says of the client before the client's first octet. Pure.
 */
#ifndef MSA_PROXY_H
#define MSA_PROXY_H

#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

#define PROXY_MAX 1024 /* octets of a header, version 2 with its further fields included */

enum proxy_result {
	PROXY_MORE,  /* read `more` octets and ask again: all of them belong to the header */
	PROXY_OK,    /* the header is complete: client and port */
	PROXY_LOCAL, /* complete, of the proxy itself (a check of its), or of nobody it can name */
	PROXY_BAD,   /* no such header: the connection must end */
};

struct proxy_header {
	size_t more; /* PROXY_MORE: 1 to PROXY_MAX, never beyond the header's end */
	struct addr client;
	uint16_t port;
};

/* The len octets that have come so far, from the first. Either version. */
enum proxy_result proxy_parse(const uint8_t *data, size_t len, struct proxy_header *out);

#endif
