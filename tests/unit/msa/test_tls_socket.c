/* tls_socket: what is held leaves with what comes next, and nothing is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"

#include "msa/tls_socket.h"

struct pair {
	SSL_CTX *ctx;
	SSL *ssl;
	int fd, peer;
};

static void connect_pair(struct pair *p)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0);
	const int on = 1;

	assert_int_equal(bind(l, (struct sockaddr *)&a, n), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&a, &n), 0);
	p->peer = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(p->peer, (struct sockaddr *)&a, n), 0);
	p->fd = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	assert_true(p->fd >= 0);
	assert_int_equal(setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	close(l);
}

static int setup(void **state)
{
	static struct pair p;

	p.ctx = SSL_CTX_new(TLS_server_method());
	p.ssl = SSL_new(p.ctx);
	connect_pair(&p);
	assert_true(tls_socket_use(p.ssl, p.fd));
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	SSL_free(p->ssl);
	SSL_CTX_free(p->ctx);
	assert_int_equal(close(p->fd), 0); /* it was not closed with ssl */
	close(p->peer);
	return 0;
}

static void say(struct pair *p, const char *text)
{
	assert_int_equal(BIO_write(SSL_get_wbio(p->ssl), text, (int)strlen(text)), strlen(text));
}

/* Waits for something, and says what is there then. */
static void expect(struct pair *p, const char *text)
{
	struct pollfd f = {.fd = p->peer, .events = POLLIN};
	char buf[64] = "";

	assert_int_equal(poll(&f, 1, 20000), 1);
	assert_true(recv(p->peer, buf, sizeof(buf) - 1, 0) >= 0);
	assert_string_equal(buf, text);
}

static void nothing_is_held_at_first(void **state)
{
	say(*state, "now");
	expect(*state, "now");
}

static void held_goes_with_the_next(void **state)
{
	struct pair *p = *state;

	tls_socket_hold(p->ssl, true);
	say(p, "ticket ");
	tls_socket_hold(p->ssl, false);
	say(p, "greeting");
	expect(p, "ticket greeting"); /* one read(2): it came in one piece */
}

static void held_goes_when_pushed(void **state)
{
	struct pair *p = *state;
	int64_t from = clock_mono_ms();
	char buf[8];

	tls_socket_hold(p->ssl, true);
	say(p, "a");
	say(p, "b");
	ssize_t n = recv(p->peer, buf, sizeof(buf), MSG_DONTWAIT | MSG_PEEK);
	if (clock_mono_ms() - from < 100) /* the system pushes after 200 */
		assert_int_equal(n, -1);
	tls_socket_push(p->ssl);
	int unsent = -1;
	assert_int_equal(ioctl(p->fd, SIOCOUTQNSD, &unsent), 0);
	assert_int_equal(unsent, 0); /* now, not when the system thinks of it */
	expect(p, "ab");
	tls_socket_push(p->ssl); /* nothing waits */
	say(p, "c");
	say(p, "d");
	shutdown(p->fd, SHUT_WR);
	expect(p, "cd");
	expect(p, "");
}

static void its_end_and_its_descriptor(void **state)
{
	struct pair *p = *state;
	BIO *b = SSL_get_rbio(p->ssl);
	char buf[8];

	assert_int_equal(BIO_get_fd(b, NULL), p->fd);
	assert_int_equal(SSL_get_fd(p->ssl), p->fd);
	assert_int_equal(BIO_read(b, buf, sizeof(buf)), -1);
	assert_true(BIO_should_retry(b));
	assert_false(BIO_eof(b));
	assert_int_equal(write(p->peer, "xyz", 3), 3);
	shutdown(p->peer, SHUT_WR);
	while (BIO_read(b, buf, sizeof(buf)) < 0)
		assert_true(BIO_should_retry(b));
	assert_memory_equal(buf, "xyz", 3);
	while (!BIO_eof(b))
		(void)BIO_read(b, buf, sizeof(buf));
	assert_false(BIO_should_retry(b));
}

/* A peer that is gone is an error, no signal. */
static void broken(void **state)
{
	struct pair *p = *state;
	const struct linger reset = {1, 0};
	BIO *b = SSL_get_wbio(p->ssl);

	setsockopt(p->peer, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(p->peer);
	p->peer = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(BIO_write(b, "x", 1), -1);
	assert_false(BIO_should_retry(b));
	assert_int_equal(BIO_write(b, "x", 1), -1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(nothing_is_held_at_first), T(held_goes_with_the_next),
					   T(held_goes_when_pushed), T(its_end_and_its_descriptor),
					   T(broken)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
