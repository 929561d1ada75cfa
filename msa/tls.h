/*
 * tls - the server's certificates and connections, and the digests that others here need (OpenSSL
 * has its home in this file and its tls_ neighbours).
 */
#ifndef MSA_TLS_H
#define MSA_TLS_H

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf.h"
#include "msa/tls_handshake.h"
#include "msa/tls_tickets.h"

enum tls_policy {
	TLS_INTERMEDIATE, /* TLS 1.3, and 1.2 with forward secrecy and AEAD */
	TLS_MODERN,	  /* TLS 1.3 alone */
};

struct tls_config {
	struct event_base *base;      /* on which the key role is watched */
	const char *exe, *user;	      /* the role's: what to run, who to become */
	const char *cert, *key;	      /* PEM; the default for whoever names no host */
	const struct conf_list *more; /* as tls_certs_add(), or NULL */
	enum tls_policy policy;
	const char *client_ca;	     /* PEM: client certificates are asked for; "" not */
	struct tls_tickets *tickets; /* outlives every connection */
	int64_t ticket_ms;	     /* how long a session can be resumed */
};

struct tls; /* certificates loaded; connections made with it outlive it */

/*
 * Load what cfg names: certificates here, their keys in a role of their own, each checked to belong
 * to its certificate. NULL: *err (talloc'd under
 * ctx) names the file and why.
 */
struct tls *tls_load(void *ctx, const struct tls_config *cfg, char **err);
void tls_free(struct tls *t);
/* The role with its private keys. */
struct tls_keys *tls_keys_of(struct tls *t);

/*
 * A server-side TLS bufferevent over the connected socket fd, which it closes when freed, and its
 * handshake. Until over() has said TLS_UP, it must be neither enabled nor written to, and then only
 * be enabled to read: tls_write() does what writing needs. NULL when out
 * of memory: fd is still the caller's.
 */
struct bufferevent *tls_accept(struct event_base *base, struct tls *t, int fd, int64_t idle_ms,
			       tls_over *over, void *arg);
/* The handshake is over: what it alone needed is let go. Once, whatever its end was. The last
 * records of the handshake may wait for what is written next, or tls_push(). */
void tls_settle(struct bufferevent *bev);
/* The connection is to end while the handshake is not over: over() is not called. */
void tls_give_up(struct bufferevent *bev);
/* Of an established connection; static text, e.g. "TLSv1.3", "TLS_AES_256_GCM_SHA384". */
const char *tls_version(struct bufferevent *bev);
const char *tls_cipher(struct bufferevent *bev);
/* What host the client asked for, "" none; lives with the connection. */
const char *tls_asked(struct bufferevent *bev);
/* The name of the client's way to say hello (tls_hello.h), "" none; lives with the connection. */
const char *tls_fingerprint(struct bufferevent *bev);
bool tls_resumed(struct bufferevent *bev);
/* As bufferevent_write(), but what the socket takes is gone when it returns. */
bool tls_write(struct bufferevent *bev, const void *data, size_t len);
/* Records may have come with the one that was read, and no event will tell of them: call this when
 * more input is wanted, after the handshake and after each read callback. */
void tls_read_on(struct bufferevent *bev);
/* What is written from here on leaves in one piece with the end of the connection: the caller goes
 * on to shutdown(2), or close(2). */
void tls_hold(struct bufferevent *bev);
/* Nothing is to be written now: what waits goes. */
void tls_push(struct bufferevent *bev);
/* Tell the peer that this is the end (close_notify); once, after everything was flushed. */
void tls_close_notify(struct bufferevent *bev);

#define TLS_BINDING_MAX 64

/* What ties a login to this connection (RFC 5056); a length of 0: this TLS does not have it. */
struct tls_bindings {
	uint8_t exporter[32]; /* tls-exporter, RFC 9266: TLS 1.3 only */
	size_t exporter_len;
	uint8_t endpoint[TLS_BINDING_MAX]; /* tls-server-end-point, RFC 5929 */
	size_t endpoint_len;
};
/* Whether there is a tls-exporter. */
bool tls_can_bind(struct bufferevent *bev);
void tls_bindings(struct bufferevent *bev, struct tls_bindings *out);

/*
 * The mail address in the client's certificate, when an authority of client_ca signed it, it is not
 * over at now_ms (UTC), and it has exactly one (subjectAltName, rfc822Name). False: *why is static
 * text, NULL when no certificate was shown.
 */
bool tls_client_address(struct bufferevent *bev, int64_t now_ms, char *out, size_t max,
			const char **why);

/* HMAC-SHA-256 of text. */
void tls_prf(const uint8_t key[static 32], const char *text, uint8_t out[static 32]);
/* The work a SCRAM server with that digest ("SHA1", "SHA256", ...) does for one login: 4096 rounds
 * of PBKDF2. The octets of the digest. */
size_t tls_scram_work(const char *digest, const char *text);

#endif
