/*
 * tls - see tls.h.
 *
 * Trusted with: the server's private key. It is read at start and on SIGHUP, by the user the daemon
 * runs as then. Diagnostics: text for the caller to log. Known gaps: one certificate (no SNI
 * choice), no client certificates.
 */
#include <errno.h>
#include <string.h>
#include <talloc.h>

#include <event2/bufferevent_ssl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>

#include "lib/proc.h"

#include "msa/tls.h"

struct tls {
	SSL_CTX *ctx; /* OpenSSL counts its users: each SSL holds one */
};

/* TLS 1.2 only with forward secrecy and AEAD; the TLS 1.3 suites are OpenSSL's own. */
static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL";

static int destroy(struct tls *t)
{
	SSL_CTX_free(t->ctx);
	return 0;
}

static char *failure(void *ctx, const char *what, const char *file)
{
	unsigned long e = ERR_peek_last_error();
	const char *why = e ? ERR_reason_error_string(e) : NULL;

	if (e && ERR_SYSTEM_ERROR(e))
		why = strerror(ERR_GET_REASON(e));
	char *text = talloc_asprintf(ctx, "%s %s: %s", what, file, why ? why : "unknown error");

	ERR_clear_error();
	return text;
}

static SSL_CTX *new_ctx(void)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());

	if (!c)
		fatal("cannot set up TLS: OpenSSL refuses a context");
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(c, ciphers);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF |
				   SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_id_context(c, (const uint8_t *)"sekisho", 7);
	return c;
}

struct tls *tls_load(void *ctx, const char *cert, const char *key, char **err)
{
	struct tls *t = talloc_zero(ctx, struct tls);

	t->ctx = new_ctx();
	talloc_set_destructor(t, destroy);
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(t->ctx, cert) != 1)
		*err = failure(ctx, "cannot read the certificate", cert);
	else if (SSL_CTX_use_PrivateKey_file(t->ctx, key, SSL_FILETYPE_PEM) != 1)
		*err = failure(ctx, "cannot read the key", key);
	else if (SSL_CTX_check_private_key(t->ctx) != 1)
		*err = failure(ctx, "the key does not belong to the certificate:", key);
	else
		return t;
	talloc_free(t);
	return NULL;
}

void tls_free(struct tls *t)
{
	talloc_free(t);
}

struct bufferevent *tls_accept(struct event_base *base, struct tls *t, int fd)
{
	SSL *ssl = SSL_new(t->ctx);
	struct bufferevent *bev;

	if (!ssl)
		return NULL;
	bev = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
					     BEV_OPT_CLOSE_ON_FREE);
	if (!bev)
		SSL_free(ssl);
	return bev;
}

const char *tls_version(struct bufferevent *bev)
{
	return SSL_get_version(bufferevent_openssl_get_ssl(bev));
}

const char *tls_cipher(struct bufferevent *bev)
{
	return SSL_get_cipher_name(bufferevent_openssl_get_ssl(bev));
}

const char *tls_error(struct bufferevent *bev)
{
	unsigned long e = bufferevent_get_openssl_error(bev);

	return e ? ERR_reason_error_string(e) : NULL;
}

void tls_close_notify(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	if (SSL_is_init_finished(ssl))
		SSL_shutdown(ssl);
	ERR_clear_error();
}

void tls_prf(const uint8_t key[static 32], const char *text, uint8_t out[static 32])
{
	unsigned n = 0;

	if (!HMAC(EVP_sha256(), key, 32, (const uint8_t *)text, strlen(text), out, &n) || n != 32)
		bug("HMAC-SHA-256 failed");
}

void tls_scram_work(const char *text)
{
	uint8_t out[32];

	if (PKCS5_PBKDF2_HMAC(text, (int)strlen(text), (const uint8_t *)"salt", 4, 4096,
			      EVP_sha256(), sizeof(out), out) != 1)
		bug("PBKDF2 failed");
	OPENSSL_cleanse(out, sizeof(out));
}
