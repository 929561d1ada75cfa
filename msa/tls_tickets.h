/*
 * tls_tickets - the keys of session tickets (RFC 5077, RFC 8446 4.6.1): in memory only, new ones
 * every period, the last ones accepted for one period more.
 *
 * One set serves all certificates, and outlives reloads: who has a ticket keeps its worth.
 */
#ifndef MSA_TLS_TICKETS_H
#define MSA_TLS_TICKETS_H

#include <stdbool.h>
#include <stdint.h>

#define TLS_TICKET_NAME 16

struct tls_ticket_key {
	uint8_t name[TLS_TICKET_NAME];
	uint8_t aes[32], mac[32];
	int64_t made_ms; /* CLOCK_MONOTONIC; 0: there is none */
};

struct tls_tickets {
	struct tls_ticket_key key[2]; /* the newest first */
	int64_t period_ms;
};

/* The key to make tickets with: a new one when the last is a period old. */
const struct tls_ticket_key *tls_tickets_newest(struct tls_tickets *t, int64_t mono_ms);
/* The key with that name, while it may be used; NULL else. *newest: tickets are still made with it.
 */
const struct tls_ticket_key *tls_tickets_find(struct tls_tickets *t,
					      const uint8_t name[static TLS_TICKET_NAME],
					      int64_t mono_ms, bool *newest);
void tls_tickets_wipe(struct tls_tickets *t);

#endif
