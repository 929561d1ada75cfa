/*
 * sts_cache - MTA-STS policies of domains (RFC 8461): looked up, fetched, kept on disk as long as
 * they say.
 */
#ifndef MSA_RELAY_STS_CACHE_H
#define MSA_RELAY_STS_CACHE_H

#include <event2/event.h>

#include "accounting/dns.h"
#include "msa/route/sts.h"
#include "msa/tlsrpt/counts.h"

struct sts_cache;
struct relay;

/* Policies are kept in <folder>/sts. ca: PEM file of authorities, "": the system's. dns is asked
 * for the resolver, which may be NULL. unfetched: a policy that is announced could not be had. */
struct sts_cache *sts_cache_new(struct event_base *base, const char *folder, const char *ca,
				struct dns *(*dns)(struct relay *r),
				void (*unfetched)(struct relay *r, const char *domain,
						  enum tlsrpt_result result, const char *why),
				struct relay *r);
void sts_cache_free(struct sts_cache *c);
/* cb once, maybe before this returns: a talloc'd policy without parent, the callee's; NULL: the
 * domain has none. */
void sts_get(struct sts_cache *c, const char *domain,
	     void (*cb)(struct sts_policy *policy, void *arg), void *arg);

#endif
