/*
 * relay_tls - see relay_tls.h.
 *
 * Purpose: encryption towards mail servers, and proof of who they are: by authorities or by TLSA
 * records. Trusted with: no key. Diagnostics: NULL, and a log line when a file of authorities
 * cannot be read. Known gaps: none.
 */
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <talloc.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/relay_tls.h"

#define CONTEXTS_MAX 64 /* files of authorities, one a route at most */

static void trust(SSL_CTX *ctx, const char *ca)
{
	if (!(ca[0] ? SSL_CTX_load_verify_locations(ctx, ca, NULL)
		    : SSL_CTX_set_default_verify_paths(ctx)))
		log_event(LOG_ERR, "-", "relay", "authorities-unreadable", LS("file", ca),
			  LS("action", "nobody is verified by them"));
}

static SSL_CTX *new_context(const char *ca)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_dane_enable(ctx) <= 0) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_dane_set_flags(ctx, DANE_FLAG_NO_DANE_EE_NAMECHECKS); /* RFC 7672 3.1.1 */
	trust(ctx, ca);
	return ctx;
}

static SSL_CTX *context(const char *ca)
{
	static struct {
		char *ca;
		SSL_CTX *ctx;
	} made[CONTEXTS_MAX];
	size_t i = 0;

	while (i < CONTEXTS_MAX - 1 && made[i].ctx && strcmp(made[i].ca, ca) != 0)
		i++;
	if (made[i].ctx && strcmp(made[i].ca, ca) == 0)
		return made[i].ctx;
	SSL_CTX_free(made[i].ctx);
	free(made[i].ca);
	made[i].ctx = new_context(ca);
	made[i].ca = strdup(ca);
	if (!made[i].ca)
		fatal("out of memory");
	return made[i].ctx;
}

static bool expect_records(SSL *ssl, const struct relay_tls_wish *w)
{
	bool any = false;

	if (SSL_dane_enable(ssl, w->name) <= 0)
		return false;
	if (w->also && w->also[0] && SSL_add1_host(ssl, w->also) != 1)
		return false;
	for (size_t i = 0; i < w->n_tlsa; i++)
		any |= SSL_dane_tlsa_add(ssl, w->tlsa[i].usage, w->tlsa[i].selector,
					 w->tlsa[i].matching, w->tlsa[i].data, w->tlsa[i].len) > 0;
	return any;
}

/* Whom the certificate must name; without this every valid one would do. */
static bool expect(SSL *ssl, const struct relay_tls_wish *w)
{
	if (w->literal)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), w->name) == 1;
	if (SSL_set_tlsext_host_name(ssl, w->name) != 1)
		return false;
	if (w->dane && w->n_tlsa && expect_records(ssl, w))
		return true;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, w->name) == 1;
}

struct bufferevent *relay_tls_new(struct event_base *base, int fd,
				  const struct relay_tls_wish *wish)
{
	SSL_CTX *ctx = context(wish->ca);
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;
	struct bufferevent *bev;

	if (!ssl)
		return NULL;
	if (!expect(ssl, wish)) {
		SSL_free(ssl);
		return NULL;
	}
	bev = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_CONNECTING,
					     BEV_OPT_CLOSE_ON_FREE);
	if (!bev)
		SSL_free(ssl);
	else
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	return bev;
}

const char *relay_tls_version(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	return ssl ? SSL_get_version(ssl) : "";
}

const char *relay_tls_cipher(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	return ssl ? SSL_get_cipher_name(ssl) : "";
}

bool relay_tls_verified(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	return ssl && SSL_get0_peer_certificate(ssl) && SSL_get_verify_result(ssl) == X509_V_OK;
}

const char *relay_tls_fault(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	if (!ssl || !SSL_get0_peer_certificate(ssl))
		return "there is none";
	return X509_verify_cert_error_string(SSL_get_verify_result(ssl));
}

int relay_tls_fault_number(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	if (!ssl || !SSL_get0_peer_certificate(ssl))
		return X509_V_ERR_UNSPECIFIED;
	return (int)SSL_get_verify_result(ssl);
}

const char *relay_tls_handshake_fault(struct bufferevent *bev)
{
	unsigned long e = bufferevent_get_openssl_error(bev);
	const char *words = e ? ERR_reason_error_string(e) : NULL;

	return words ? words : "the connection ended in the handshake";
}
