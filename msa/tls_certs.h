/*
 * tls_certs - the server's certificates: from files and folders, found by the name a client asks
 * for (SNI, RFC 6066 3), one for each kind of key.
 */
#ifndef MSA_TLS_CERTS_H
#define MSA_TLS_CERTS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/tls_key.h"

enum tls_kind { TLS_ECDSA, TLS_RSA, TLS_EDDSA, TLS_KINDS };

struct tls_cert {
	char *file; /* the chain's, for messages */
	X509 *x509;
	STACK_OF(X509) * chain; /* what comes after x509; may be empty */
	EVP_PKEY *key;		/* a handle: see tls_provider.h */
	enum tls_kind kind;
	const char **names; /* lower case; "*.example.org" for one label more */
	size_t n_names;
	/* The OCSP response in FILE.ocsp (RFC 6960, DER), NULL when there is none that serves. */
	uint8_t *ocsp;
	size_t ocsp_len;
	int64_t ocsp_from_ms, ocsp_until_ms; /* UTC; until 0: for ever */
};

struct tls_certs {
	struct tls_cert **certs; /* the first one's names are the default */
	size_t n;
	struct tls_keys *keys; /* reads and keeps their private keys; only while they are added */
};

/* talloc'd under ctx; what it holds goes with it. */
struct tls_certs *tls_certs_new(void *ctx, struct tls_keys *keys);
/*
 * Add what a line says: "FOLDER" (every X.crt with its X.key, every X/fullchain.pem with its
 * X/privkey.pem), or "CERT KEY [NAME ...]"; without NAME, the certificate's own (subjectAltName,
 * else its common name). False: *err (talloc'd under ctx) names the file and why.
 */
bool tls_certs_add(struct tls_certs *s, const char *line, void *ctx, char **err);
/* As that, with both files given. */
bool tls_certs_add_pair(struct tls_certs *s, const char *cert, const char *key, void *ctx,
			char **err);

/*
 * The certificate of that kind for name (any case, NULL: the default); a name in full goes before a
 * wildcard, a certificate before those after it. NULL: none.
 */
const struct tls_cert *tls_certs_find(const struct tls_certs *s, const char *name,
				      enum tls_kind kind);
/* Is name, in lower case, covered by a certificate's name? */
bool tls_name_matches(const char *pattern, const char *name);

#endif
