/*
 * tls_key_wire - what goes between msad and its key role, and what the role signs at all. Pure.
 *
 * Only the two texts a TLS server signs are signed: the ServerKeyExchange of TLS 1.2 with an
 * ephemeral key on an elliptic curve (RFC 8422 5.4), and the CertificateVerify of TLS 1.3 (RFC 8446
 * 4.4.3). So whoever has taken over the asking process can pass for this server while he can ask,
 * and sign nothing else.
 */
#ifndef MSA_TLS_KEY_WIRE_H
#define MSA_TLS_KEY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/wire.h"

#define TLS_KEY_TBS_MAX	 512
#define TLS_KEY_SIG_MAX	 2048 /* RSA of 16384 bits */
#define TLS_KEY_SPKI_MAX 4096
#define TLS_KEY_PATH_MAX 4096
#define TLS_KEY_TEXT_MAX 256
#define TLS_KEY_MAX	 1024 /* keys a role */

/*
 * Frames of lib/ipc, one answer to each question. Signatures may be asked for before the ones
 * before are there; each answer has the number of its question, so their order is free.
 */
enum tls_key_frame {
	KEY_F_READY = 1, /* < (empty): it is there */
	KEY_F_LOAD,	 /* > str path */
	KEY_F_LOADED,	 /* < bytes SubjectPublicKeyInfo; the keys are numbered as they come */
	KEY_F_REFUSED,	 /* < str why */
	KEY_F_SEAL,	 /* > str user: no more files */
	KEY_F_SEALED,	 /* < (empty) */
	KEY_F_SIGN,	 /* > u32 number, u32 key, u16 scheme, bytes text */
	KEY_F_SIGNED,	 /* < u32 number, bytes signature */
	KEY_F_UNSIGNED,	 /* < u32 number: OpenSSL does not sign that */
};

/* Signature schemes by their numbers in TLS (IANA), those that may be used here. */
enum tls_key_kind { KEY_RSA_PKCS1, KEY_RSA_PSS, KEY_ECDSA, KEY_ED25519, KEY_ED448 };
struct tls_key_scheme {
	uint16_t code;
	enum tls_key_kind kind;
	const char *digest; /* as OpenSSL names it; NULL: none */
};
/* NULL: not one of ours. */
const struct tls_key_scheme *tls_key_scheme(uint16_t code);
/* The code for a kind of key, a digest (NULL: none); 0: there is none. */
uint16_t tls_key_code(enum tls_key_kind kind, const char *digest);

struct tls_key_request {
	uint32_t number, key;
	const struct tls_key_scheme *scheme;
	const uint8_t *tbs; /* a view */
	size_t len;
};
/* False: it breaks the rules, or is nothing a TLS server signs. */
bool tls_key_request_get(struct wire_in *in, struct tls_key_request *out);
void tls_key_request_put(struct wire_out *o, uint32_t number, uint32_t key, uint16_t scheme,
			 const uint8_t *tbs, size_t len);

struct tls_key_signature {
	uint32_t number;
	const uint8_t *sig; /* a view; NULL: there is none */
	size_t len;
};
/* False: it is no answer to KEY_F_SIGN, or breaks the rules. */
bool tls_key_signature_get(uint16_t type, const uint8_t *data, size_t len,
			   struct tls_key_signature *out);

#endif
