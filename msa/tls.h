/*
 * tls - the server's certificate and connections, and the digests that others here need (OpenSSL
 * has its home in this file).
 */
#ifndef MSA_TLS_H
#define MSA_TLS_H

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls; /* one loaded certificate; connections made with it outlive it */

/*
 * Load certificate chain and key (PEM), TLS 1.2 and up, checked to belong together. NULL: *err
 * (talloc'd under ctx) names the file and why.
 */
struct tls *tls_load(void *ctx, const char *cert, const char *key, char **err);
void tls_free(struct tls *t);

/*
 * A server-side TLS bufferevent over the connected socket fd, which it closes when freed. NULL when
 * out of memory: fd is still the caller's.
 */
struct bufferevent *tls_accept(struct event_base *base, struct tls *t, int fd);
/* Of an established connection; static text, e.g. "TLSv1.3", "TLS_AES_256_GCM_SHA384". */
const char *tls_version(struct bufferevent *bev);
const char *tls_cipher(struct bufferevent *bev);
/* Why the connection failed, for the log; static text of OpenSSL, or NULL. */
const char *tls_error(struct bufferevent *bev);
/* Tell the peer that this is the end (close_notify); once, after everything was flushed. */
void tls_close_notify(struct bufferevent *bev);

/* HMAC-SHA-256 of text. */
void tls_prf(const uint8_t key[static 32], const char *text, uint8_t out[static 32]);
/* The work a SCRAM-SHA-256 server does for one login: 4096 rounds of PBKDF2. */
void tls_scram_work(const char *text);

#endif
