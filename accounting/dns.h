/*
 * dns - questions to the DNS without waiting for the answer, on the loop of a daemon (acctd, the
 * relay role of msad).
 *
 * libunbound, in this process and on this loop: no thread, no child. Answers are kept as long as
 * they live. Nothing here waits: an answer, or that there is none, comes by a callback.
 */
#ifndef ACCOUNTING_DNS_H
#define ACCOUNTING_DNS_H

#include <event2/event.h>

#include "accounting/dns_answer.h"

struct dns;

/* Borrowed; its records are talloc'd under ctx, as given to dns_ask(). */
typedef void dns_cb(const struct dns_answer *a, void *arg);

/*
 * server: "ADDRESS" or "ADDRESS:PORT" ("[ADDRESS]:PORT") of a resolver, "": those of
 * /etc/resolv.conf. anchor: a file of DNSSEC trust anchors, "": nothing is validated. NULL with
 * *err (static text or the library's).
 */
struct dns *dns_new(struct event_base *base, const char *server, const char *anchor,
		    const char **err);
/* name as dns_name() makes it. cb is called once, later or before this returns, unless dns_free()
 * comes first. */
void dns_ask(struct dns *d, void *ctx, enum dns_type type, const char *name, dns_cb *cb, void *arg);
/* Questions under way are dropped without a callback. */
void dns_free(struct dns *d);

#endif
