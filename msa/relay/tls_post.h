/*
 * tls_post - reports of TLS that go over HTTPS (RFC 8460 5.4).
 */
#ifndef MSA_RELAY_TLS_POST_H
#define MSA_RELAY_TLS_POST_H

#include <event2/event.h>

#include "accounting/dns.h"
#include "msa/relay/frames.h"

struct tls_post;
struct relay;

/* folder: <state_dir>/msa; hostname: ours; ca as in https_new(); dns as in sts_cache_new(). */
struct tls_post *tls_post_new(struct event_base *base, const char *folder, const char *hostname,
			      const char *ca, struct dns *(*dns)(struct relay *r), struct relay *r);
/* What is under way is dropped. */
void tls_post_free(struct tls_post *t);
/* Tries once, in the background; when it was taken, it is marked as sent. A few at a time: what is
 * more is dropped, for the next time that it is asked for. */
void tls_post_send(struct tls_post *t, const struct relay_post *p);

#endif
