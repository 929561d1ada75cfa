/*
 * https - small requests over HTTPS on the caller's loop: policies of MTA-STS are fetched (RFC 8461
 * 3.3), reports of TLS are sent (RFC 8460 3).
 *
 * Servers are verified, redirects and proxies are not followed, the port is 443, and a request has
 * a minute.
 */
#ifndef MSA_ROUTE_HTTPS_H
#define MSA_ROUTE_HTTPS_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/addr.h"

struct https;

/* Which side of it failed: the certificate of the host, or anything else. */
enum https_fault { HTTPS_FINE, HTTPS_FAILED, HTTPS_WEBPKI };

/* ca: PEM file of authorities, "": the system's. NULL when the library does not come up. */
struct https *https_new(struct event_base *base, const char *ca);
/* What is under way ends without a call. */
void https_free(struct https *h);

/*
 * https://HOST/PATH from the addresses given; PATH begins with "/". cb once, not from inside this
 * call; why, in words, and text last until it returns.
 *
 * get: at most max octets of text/plain with code 200; text NULL with why. post: any code 2xx; why
 * NULL then, and text always.
 */
typedef void https_done(const char *text, size_t len, enum https_fault fault, const char *why,
			void *arg);
void https_get(struct https *h, const char *host, const char *path, const struct addr *addrs,
	       size_t n, size_t max, https_done *cb, void *arg);
struct https_content {
	const char *type;
	const void *data; /* copied */
	size_t len;
};
void https_post(struct https *h, const char *host, const char *path, const struct addr *addrs,
		size_t n, const struct https_content *what, https_done *cb, void *arg);

#endif
