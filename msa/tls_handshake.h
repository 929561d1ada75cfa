/*
 * tls_handshake - a server's handshake that waits for nobody.
 *
 * It runs as a job of OpenSSL's (SSL_MODE_ASYNC): on a stack of its own, which it leaves while the
 * key role signs (tls_key.h). The stack is lent for that time only; TLS_KEY_ASKED_MAX handshakes
 * can have one, and who comes then waits in line before it begins.
 */
#ifndef MSA_TLS_HANDSHAKE_H
#define MSA_TLS_HANDSHAKE_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdint.h>

#include "msa/tls_key.h"

enum tls_end { TLS_UP, TLS_FAILED, TLS_TIMED_OUT };

/* why: OpenSSL's static text, or NULL: the connection was lost, or there is nothing to say. */
typedef void tls_over(void *arg, enum tls_end end, const char *why);

struct tls_handshake;

/*
 * Begin it over the non-blocking socket of ssl (tls_socket_use()), which is held for its time; keys
 * are held until it is over. idle_ms: so long the client may say nothing. over() is called once,
 * from the loop, when h is gone. Never NULL.
 */
struct tls_handshake *tls_handshake_new(struct event_base *base, SSL *ssl, struct tls_keys *keys,
					int64_t idle_ms, tls_over *over, void *arg);
/* Give it up: over() is not called. If it waits for a signature, it fails with an alert. */
void tls_handshake_free(struct tls_handshake *h);

#endif
