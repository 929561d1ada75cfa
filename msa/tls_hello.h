/*
 * tls_hello - which program is this? A name for the way a client says hello (RFC 8446 4.1.2).
 *
 * In the manner of JA4: what a TLS library was built and configured with, and no more. Order of
 * ciphers and extensions, random GREASE values (RFC 8701), the host that is asked for, and whatever
 * comes and goes with the resumption of a session or a second hello do not change it. A name is no
 * proof of anything: whoever knows one can say the same hello.
 *
 * Pure: bytes in, text out.
 */
#ifndef MSA_TLS_HELLO_H
#define MSA_TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_HELLO_TEXT 40 /* with its NUL */
#define TLS_HELLO_MAX  16384

/*
 * A ClientHello with its handshake header becomes "13-31-10-h2-8daaf6152771-e5627efa2ab1": highest
 * version, ciphers, extensions, first and last letter of the first protocol of ALPN ("00": none),
 * 12 digits of SHA-256 of the sorted ciphers, and of the sorted extensions with signature
 * algorithms and groups in the client's order. False, and "", when it is not well-formed in every
 * part that is looked at, or absurdly long.
 */
bool tls_hello_name(const uint8_t *msg, size_t len, char out[static TLS_HELLO_TEXT]);

#endif
