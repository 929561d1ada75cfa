/* tls_write, tls_read_on: replies that a client does not read; records that come together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "msa/tls.h"

#define LINES	 20000
#define LINE_LEN 10

struct pair {
	struct event_base *base;
	SSL_CTX *server, *client;
	struct bufferevent *bev;
	SSL *peer;
	int fd;
	size_t got; /* octets the server has read */
};

static void give_certificate(SSL_CTX *ctx)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();

	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), 0));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), 3600));
	assert_int_equal(X509_set_pubkey(x, key), 1);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct pair *p = arg;
	size_t n = evbuffer_get_length(bufferevent_get_input(bev));

	p->got += n;
	evbuffer_drain(bufferevent_get_input(bev), n);
	tls_read_on(bev);
}

static void turn(struct pair *p)
{
	assert_true(event_base_loop(p->base, EVLOOP_NONBLOCK) >= 0);
}

static struct pair start(void)
{
	struct pair p = {.base = event_base_new(),
			 .server = SSL_CTX_new(TLS_server_method()),
			 .client = SSL_CTX_new(TLS_client_method())};
	int sv[2], small = 4096;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	assert_int_equal(setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	give_certificate(p.server);
	SSL_CTX_set_mode(p.server, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(p.server, 1);
	p.bev = bufferevent_openssl_socket_new(p.base, sv[0], SSL_new(p.server),
					       BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	p.peer = SSL_new(p.client);
	p.fd = sv[1];
	assert_int_equal(SSL_set_fd(p.peer, p.fd), 1);
	bufferevent_enable(p.bev, EV_READ | EV_WRITE);
	for (int i = 0; i < 100 && SSL_connect(p.peer) != 1; i++)
		turn(&p);
	turn(&p);
	assert_true(SSL_is_init_finished(bufferevent_openssl_get_ssl(p.bev)));
	return p;
}

static void end(struct pair *p)
{
	bufferevent_free(p->bev);
	SSL_free(p->peer);
	close(p->fd);
	SSL_CTX_free(p->server);
	SSL_CTX_free(p->client);
	event_base_free(p->base);
}

/* What the socket does not take waits, and comes once, in order. */
static void test_slow_reader(void **state)
{
	struct pair p = start();
	char line[32], in[16384];
	size_t got = 0, waited;

	(void)state;
	assert_true(tls_write(p.bev, "first\r\n", 7));
	assert_int_equal(evbuffer_get_length(bufferevent_get_output(p.bev)), 0);
	assert_int_equal(SSL_read(p.peer, in, sizeof(in)), 7); /* no turn of the loop was needed */
	for (int i = 0; i < LINES; i++) {
		snprintf(line, sizeof(line), "%08d\r\n", i);
		assert_true(tls_write(p.bev, line, LINE_LEN));
	}
	waited = evbuffer_get_length(bufferevent_get_output(p.bev));
	assert_true(waited > 0 && waited < (size_t)LINES * LINE_LEN);
	for (int dry = 0; got < (size_t)LINES * LINE_LEN && dry < 1000; dry++) {
		char want[32];
		int n = SSL_read(p.peer, in, sizeof(in));

		for (int k = 0; k < n; k++, got++) {
			snprintf(want, sizeof(want), "%08zu\r\n", got / LINE_LEN);
			if (in[k] != want[got % LINE_LEN])
				fail_msg("octet %zu", got);
		}
		if (n > 0)
			dry = 0;
		turn(&p);
	}
	assert_int_equal(got, (size_t)LINES * LINE_LEN);
	end(&p);
}

/* Many small records are in OpenSSL's buffer after one read(2): all of them come out. */
static void test_records_together(void **state)
{
	struct pair p = start();

	(void)state;
	bufferevent_setcb(p.bev, on_read, NULL, NULL, &p);
	for (int i = 0; i < 100; i++)
		assert_int_equal(SSL_write(p.peer, "12345", 5), 5);
	for (int i = 0; i < 300; i++)
		turn(&p);
	assert_int_equal(p.got, 500);
	/* While reading is paused, nothing is read on. */
	bufferevent_disable(p.bev, EV_READ);
	assert_int_equal(SSL_write(p.peer, "12345", 5), 5);
	tls_read_on(p.bev);
	turn(&p);
	assert_int_equal(p.got, 500);
	bufferevent_enable(p.bev, EV_READ);
	turn(&p);
	assert_int_equal(p.got, 505);
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_slow_reader),
	    cmocka_unit_test(test_records_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
