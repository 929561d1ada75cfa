/*
 * relay_tls - the client side of STARTTLS.
 *
 * Purpose: keep eyes off the wire between us and the smart host when it offers to. Trusted with: no
 * key. Diagnostics: NULL, and a log line when the file of authorities cannot be read. Known gaps: a
 * peer without a good certificate is talked to all the same; no DANE, no MTA-STS.
 */
#include <event2/bufferevent_ssl.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "lib/log.h"

#include "msa/relay/relay_tls.h"

static void trust(SSL_CTX *ctx, const char *ca)
{
	if (!(ca[0] ? SSL_CTX_load_verify_locations(ctx, ca, NULL)
		    : SSL_CTX_set_default_verify_paths(ctx)))
		log_event(LOG_ERR, "-", "relay", "authorities-unreadable", LS("file", ca),
			  LS("action", "mail that requires TLS is returned"));
}

static SSL_CTX *context(const char *ca)
{
	static SSL_CTX *ctx;

	if (!ctx && (ctx = SSL_CTX_new(TLS_client_method()))) {
		SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
		SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
		SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
		trust(ctx, ca);
	}
	return ctx;
}

/* Whom the certificate must name; without this every valid one would do. */
static bool expect(SSL *ssl, const struct relay_tls_host *host)
{
	if (host->name[0])
		return SSL_set1_host(ssl, host->name) == 1 &&
		       SSL_set_tlsext_host_name(ssl, host->name) == 1;
	return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host->address) == 1;
}

struct bufferevent *relay_tls_new(struct event_base *base, int fd,
				  const struct relay_tls_host *host)
{
	SSL_CTX *ctx = context(host->ca);
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;
	struct bufferevent *bev;

	if (!ssl)
		return NULL;
	if (!expect(ssl, host)) {
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

bool relay_tls_verified(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	return ssl && SSL_get0_peer_certificate(ssl) && SSL_get_verify_result(ssl) == X509_V_OK;
}
