/*
 * tls_provider - keys that are elsewhere, as OpenSSL's EVP_PKEY (OpenSSL has its home here).
 */
#ifndef MSA_TLS_PROVIDER_H
#define MSA_TLS_PROVIDER_H

#include <openssl/evp.h>
#include <stdint.h>

#include "msa/tls_key.h"

/*
 * Key number `key` of k, whose public half is pub: it is that key for a TLS server whose handshake
 * runs as a job (tls_handshake.h), and nothing else can be done with it. It holds a reference to k.
 * NULL: OpenSSL's queue says why.
 */
EVP_PKEY *tls_provider_key(struct tls_keys *k, uint32_t key, EVP_PKEY *pub);

#endif
