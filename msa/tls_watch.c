/*
 * tls_watch - see tls_watch.h.
 *
 * OpenSSL shows each message of the handshake; the client's first is the only one that is looked
 * at, and then no more is shown. Its own way to a hello (SSL_CTX_set_client_hello_cb) names only
 * the extensions that this version of OpenSSL knows: every client would have another name after an
 * upgrade.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: those of tls_hello.c.
 */
#include "lib/proc.h"

#include "msa/tls_hello.h"
#include "msa/tls_watch.h"

static int name_index = -1;

static void free_name(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent;
	(void)ad;
	(void)idx;
	(void)argl;
	(void)argp;
	OPENSSL_free(ptr);
}

static void shown(int ours, int version, int type, const void *msg, size_t len, SSL *ssl, void *arg)
{
	char name[TLS_HELLO_TEXT];
	char *copy;

	(void)version;
	(void)arg;
	if (ours || type != SSL3_RT_HANDSHAKE)
		return;
	SSL_set_msg_callback(ssl, NULL);
	if (!tls_hello_name(msg, len, name))
		return;
	copy = OPENSSL_strdup(name);
	if (copy && SSL_set_ex_data(ssl, name_index, copy) != 1)
		OPENSSL_free(copy);
}

void tls_watch(SSL_CTX *ctx)
{
	if (name_index < 0)
		name_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_name);
	if (name_index < 0)
		fatal("cannot set up TLS: OpenSSL refuses an index");
	SSL_CTX_set_msg_callback(ctx, shown);
}

const char *tls_watched(const SSL *ssl)
{
	const char *name = name_index < 0 || !ssl ? NULL : SSL_get_ex_data(ssl, name_index);

	return name ? name : "";
}
