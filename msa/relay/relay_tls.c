/*
 * relay_tls - the client side of STARTTLS.
 *
 * Purpose: keep eyes off the wire between us and the smart host when it offers to. Trusted with: no
 * key. Diagnostics: NULL. Known gaps: the peer is not authenticated; the smart host is a machine of
 * the ISP's own network.
 */
#include <event2/bufferevent_ssl.h>
#include <openssl/ssl.h>

#include "msa/relay/relay_tls.h"

static SSL_CTX *context(void)
{
	static SSL_CTX *ctx;

	if (!ctx && (ctx = SSL_CTX_new(TLS_client_method()))) {
		SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
		SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
		SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	}
	return ctx;
}

struct bufferevent *relay_tls_new(struct event_base *base, int fd)
{
	SSL *ssl = context() ? SSL_new(context()) : NULL;
	struct bufferevent *bev;

	if (!ssl)
		return NULL;
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
