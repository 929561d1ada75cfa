/*
 * sts_fetch - policy files of MTA-STS over HTTPS (RFC 8461 3.3), on the caller's loop.
 */
#ifndef MSA_ROUTE_STS_FETCH_H
#define MSA_ROUTE_STS_FETCH_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/addr.h"

struct sts_fetcher;

/* Which side of it failed: the certificate of the policy's host, or anything else. */
enum sts_fault { STS_FAULT_NONE, STS_FAULT_FETCH, STS_FAULT_WEBPKI };

/* ca: PEM file of authorities, "": the system's. NULL when the library does not come up. */
struct sts_fetcher *sts_fetcher_new(struct event_base *base, const char *ca);
/* What is under way ends without a call. */
void sts_fetcher_free(struct sts_fetcher *f);
/*
 * https://mta-sts.DOMAIN/.well-known/mta-sts.txt from the addresses given: no redirects, one
 * minute, 64 KB. cb once, not from inside this call: the text, NULL with why (until it returns) in
 * words.
 */
void sts_fetch(struct sts_fetcher *f, const char *domain, const struct addr *addrs, size_t n,
	       void (*cb)(const char *text, size_t len, enum sts_fault fault, const char *why,
			  void *arg),
	       void *arg);

#endif
