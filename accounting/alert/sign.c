/*
 * sign - see sign.h.
 *
 * Trusted with: the key, while it signs; what it copied is wiped. Diagnostics: none. Known gaps:
 * none.
 */
#include "accounting/alert/sign.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "accounting/token.h"

void sign_body(const void *key, size_t key_len, int64_t unix_s, const char *body, size_t len,
	       char out[static SIGN_MAX])
{
	char time[24], hex[SHA256_HEX];
	int n = snprintf(time, sizeof time, "%" PRId64 ".", unix_s);
	token_hmac(key, key_len, time, (size_t)n, body, len, hex);
	snprintf(out, SIGN_MAX, "t=%" PRId64 ",v1=%s", unix_s, hex);
}
