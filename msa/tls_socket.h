/*
 * tls_socket - the socket below a TLS connection, as OpenSSL's BIO. What is written while it is
 * held leaves together with what is written next: a segment less, and the peer is woken once.
 */
#ifndef MSA_TLS_SOCKET_H
#define MSA_TLS_SOCKET_H

#include <stdbool.h>

#include <openssl/ssl.h>

/* Gives ssl the connected socket fd, which stays the caller's. False: out of memory. */
bool tls_socket_use(SSL *ssl, int fd);
/* Whether what is written may wait for more. It does not wait longer than 0.2 s (MSG_MORE), and
 * shutdown(2) or a write that is not held takes it along. */
void tls_socket_hold(SSL *ssl, bool hold);
/* What waits goes now. */
void tls_socket_push(SSL *ssl);

#endif
