/*
 * tls_socket - see tls_socket.h.
 *
 * OpenSSL's own socket BIO knows write(2) only. The socket is one of TCP with TCP_NODELAY; with
 * another kind nothing is held.
 *
 * Trusted with: nothing, it sees records. Diagnostics: errno, as OpenSSL's has it. Known gaps:
 * none.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <openssl/bio.h>

#include "lib/proc.h"

#include "msa/tls_socket.h"

struct socket {
	int fd;
	bool held, waits, eof;
};

static int put(BIO *b, const char *data, int len)
{
	struct socket *s = BIO_get_data(b);
	ssize_t n = send(s->fd, data, (size_t)len, MSG_NOSIGNAL | (s->held ? MSG_MORE : 0));

	BIO_clear_retry_flags(b);
	if (n > 0)
		s->waits = s->held;
	else if (BIO_sock_should_retry((int)n))
		BIO_set_retry_write(b);
	return (int)n;
}

static int get(BIO *b, char *data, int len)
{
	struct socket *s = BIO_get_data(b);
	ssize_t n = recv(s->fd, data, (size_t)len, 0);

	BIO_clear_retry_flags(b);
	if (n < 0 && BIO_sock_should_retry((int)n))
		BIO_set_retry_read(b);
	s->eof = n == 0;
	return (int)n;
}

static long control(BIO *b, int what, long number, void *out)
{
	const struct socket *s = BIO_get_data(b);

	switch (what) {
	case BIO_C_GET_FD:
		if (out)
			*(int *)out = s->fd;
		return s->fd;
	case BIO_CTRL_GET_CLOSE:
		return BIO_get_shutdown(b);
	case BIO_CTRL_SET_CLOSE:
		BIO_set_shutdown(b, (int)number);
		return 1;
	case BIO_CTRL_EOF:
		return s->eof;
	case BIO_CTRL_FLUSH: /* each write is the system's already */
		return 1;
	default:
		return 0;
	}
}

static int destroy(BIO *b)
{
	free(BIO_get_data(b));
	return 1;
}

static const BIO_METHOD *method(void)
{
	static BIO_METHOD *m;

	if (m)
		return m;
	m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK | BIO_TYPE_DESCRIPTOR,
			 "held socket");
	if (!m || BIO_meth_set_write(m, put) != 1 || BIO_meth_set_read(m, get) != 1 ||
	    BIO_meth_set_ctrl(m, control) != 1 || BIO_meth_set_destroy(m, destroy) != 1)
		fatal("cannot set up TLS: OpenSSL refuses a socket");
	return m;
}

bool tls_socket_use(SSL *ssl, int fd)
{
	struct socket *s = calloc(1, sizeof(*s));
	BIO *b = s ? BIO_new(method()) : NULL;

	if (!b) {
		free(s);
		return false;
	}
	s->fd = fd;
	BIO_set_data(b, s);
	BIO_set_init(b, 1);
	BIO_set_shutdown(b, BIO_NOCLOSE);
	SSL_set_bio(ssl, b, b);
	return true;
}

/* While a handshake is under way, OpenSSL has a buffer of its own in front. */
static struct socket *socket_of(const SSL *ssl)
{
	return BIO_get_data(SSL_get_rbio(ssl));
}

void tls_socket_hold(SSL *ssl, bool hold)
{
	socket_of(ssl)->held = hold;
}

void tls_socket_push(SSL *ssl)
{
	struct socket *s = socket_of(ssl);
	const int on = 1;

	if (s->waits)
		(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	s->waits = false;
}
