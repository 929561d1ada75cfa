/*
 * tls_tickets - see tls_tickets.h.
 *
 * Trusted with: keys that open what was said in resumed TLS 1.2 sessions of the last two periods;
 * they are never written anywhere. Known gaps: several servers behind one address do not share them
 * (each takes the other's tickets for none, and makes a full handshake).
 */
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "lib/proc.h"

#include "msa/tls_tickets.h"

static void rotate(struct tls_tickets *t, int64_t mono_ms)
{
	struct tls_ticket_key *k = &t->key[0];

	if (k->made_ms && mono_ms - k->made_ms < t->period_ms)
		return;
	t->key[1] = *k;
	if (getrandom(k, offsetof(struct tls_ticket_key, made_ms), 0) !=
	    (ssize_t)offsetof(struct tls_ticket_key, made_ms))
		fatal_errno("getrandom");
	k->made_ms = mono_ms;
}

const struct tls_ticket_key *tls_tickets_newest(struct tls_tickets *t, int64_t mono_ms)
{
	rotate(t, mono_ms);
	return &t->key[0];
}

const struct tls_ticket_key *tls_tickets_find(struct tls_tickets *t,
					      const uint8_t name[static TLS_TICKET_NAME],
					      int64_t mono_ms, bool *newest)
{
	rotate(t, mono_ms);
	for (int i = 0; i < 2; i++) {
		const struct tls_ticket_key *k = &t->key[i];

		if (k->made_ms && mono_ms - k->made_ms < 2 * t->period_ms &&
		    memcmp(k->name, name, TLS_TICKET_NAME) == 0) {
			*newest = i == 0;
			return k;
		}
	}
	return NULL;
}

void tls_tickets_wipe(struct tls_tickets *t)
{
	explicit_bzero(t->key, sizeof(t->key));
}
