/*
 * sign - the signature of a webhook: HMAC-SHA-256 over "TIME.BODY", TIME in Unix seconds. Pure.
 */
#ifndef ACCOUNTING_ALERT_SIGN_H
#define ACCOUNTING_ALERT_SIGN_H

#include <stddef.h>
#include <stdint.h>

#define SIGN_HEADER "Sekisho-Signature"
#define SIGN_MAX    112

/* "t=1795000000,v1=<64 hex digits>" */
void sign_body(const void *key, size_t key_len, int64_t unix_s, const char *body, size_t len,
	       char out[static SIGN_MAX]);

#endif
