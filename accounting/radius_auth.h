/*
 * radius_auth - is an Accounting-Request from who knows the secret, and the proof in the answer.
 *
 * RFC 2866 section 3 (Request and Response Authenticator: MD5 with the secret), RFC 3579
 * section 3.2 and RFC 5997 (Message-Authenticator: HMAC-MD5). Comparisons take the same time for
 * every input.
 */
#ifndef ACCOUNTING_RADIUS_AUTH_H
#define ACCOUNTING_RADIUS_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/radius.h"

enum radius_proof { RADIUS_GENUINE, RADIUS_FORGED, RADIUS_UNPROVEN };

/*
 * Of a packet of len bytes, RADIUS_MAX at most, whose Message-Authenticator's value is at auth_at
 * (0: none). FORGED: one of the two does not fit. UNPROVEN: a Message-Authenticator is needed and
 * not there; a Status-Server always needs one, for its Request Authenticator proves nothing.
 */
enum radius_proof radius_check(const uint8_t *p, size_t len, size_t auth_at, bool need,
			       const char *secret, size_t secret_len);
/* Fills in both of an answer to a request with that authenticator. */
void radius_sign(uint8_t *answer, size_t len, size_t auth_at,
		 const uint8_t request_authenticator[static 16], const char *secret,
		 size_t secret_len);

#endif
