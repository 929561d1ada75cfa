/* STARTTLS towards the smart host: taken when offered, done without when it does not work. */
#include <event2/bufferevent_ssl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "lib/log.h"
#include "tests/unit/msa/kit.h"

static struct kit k;
static SSL_CTX *ctx;

static int setup(void **state)
{
	(void)state;
	kit_init(&k);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kit_remove(&k);
	return 0;
}

static void make_certificate(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();

	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"sink.example", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	ctx = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	X509_free(x);
	EVP_PKEY_free(key);
}

static struct bufferevent *accept_tls(struct event_base *base, int fd)
{
	return bufferevent_openssl_socket_new(base, fd, SSL_new(ctx), BUFFEREVENT_SSL_ACCEPTING,
					      BEV_OPT_CLOSE_ON_FREE);
}

static struct bufferevent *no_handshake(struct event_base *base, int fd)
{
	(void)base;
	(void)fd;
	return NULL;
}

static void delivers_through_tls(void **state)
{
	(void)state;
	k.sink.o.tls = accept_tls;
	kit_open_relay(&k);
	for (int i = 0; i < 20; i++)
		kit_send(&k, &(struct kit_msg){.pad = i == 7 ? 500000 : 0}, NULL);
	assert_true(kit_queued(&k, 0, 10000));
	assert_int_equal(sink_count(&k.sink, " TLS"), 20);
	assert_int_equal(sink_count(&k.sink, ""), 20);
}

static void goes_on_in_clear_text(void **state)
{
	(void)state;
	k.sink.o.tls = no_handshake;
	kit_open_relay(&k);
	kit_send(&k, &(struct kit_msg){.hold = false}, NULL);
	assert_true(kit_queued(&k, 0, 10000));
	assert_int_equal(sink_count(&k.sink, " TLS"), 0);
	assert_int_equal(sink_count(&k.sink, ""), 1);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "-x") == 0)
		return relay_main();
	log_open("test", getenv("KIT_LOG") ? LOG_DEBUG : LOG_ALERT);
	make_certificate();
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(delivers_through_tls, setup, teardown),
	    cmocka_unit_test_setup_teardown(goes_on_in_clear_text, setup, teardown),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	SSL_CTX_free(ctx);
	return rc;
}
