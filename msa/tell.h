/*
 * tell - events for accounting, made from what happened in a session.
 */
#ifndef MSA_TELL_H
#define MSA_TELL_H

#include <stdbool.h>
#include <stdint.h>

#include "accounting/event.h"
#include "lib/addr.h"
#include "msa/smtp/session.h"

struct tell_from {
	const char *session;
	struct addr client;
	uint16_t port;
	int64_t t_ms;	 /* UTC */
	const char *tls; /* the name of its TLS (tls_hello.h); "": none, NULL: not asked */
};

/* EVENT_LOGIN or EVENT_REFUSE of a note; texts are cut to their fields. */
void tell_note(const struct tell_from *from, const struct smtp_session *s,
	       const struct smtp_note *note, struct event *out);

/* EVENT_SPRAY: so many accounts have failed there; wide: from anywhere. */
void tell_spray(const struct tell_from *from, uint32_t accounts, bool wide, struct event *out);

struct tell_message {
	const char *token, *message_id;
	uint64_t size;
	bool held;
};

/* EVENT_MESSAGE of the session's transaction. */
void tell_message(const struct tell_from *from, const struct smtp_session *s,
		  const struct tell_message *m, struct event *out);

#endif
