/*
 * tls_key_role - the process that has the private keys: `sekisho-msad -x key`, fd 3 its parent.
 */
#ifndef MSA_TLS_KEY_ROLE_H
#define MSA_TLS_KEY_ROLE_H

#include <stddef.h>
#include <stdint.h>

#include "msa/tls_key_wire.h"

/* The role's main(). */
int tls_key_main(void);

/* --- its parts, for the tests and the fuzzer --- */
struct tls_key_store;

struct tls_key_store *tls_key_store_new(void *ctx); /* talloc'd; wiped when freed */
/* A key from PEM, len octets. NULL, or why not (static text, or OpenSSL's). */
const char *tls_key_store_add(struct tls_key_store *s, const void *pem, size_t len);
/* One question in, its answer out: the frame's type, its payload in *w. 0: the question breaks the
 * rules. Files are read while the store is not sealed. */
uint16_t tls_key_answer(struct tls_key_store *s, uint16_t type, const uint8_t *data, size_t len,
			struct wire_out *w);

#endif
