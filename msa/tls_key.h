/*
 * tls_key - the private keys of the server's certificates, in a process of their own.
 *
 * `sekisho-msad -x key` (sekisho-key in ps(1)) reads the key files and signs; who parses SMTP has
 * the certificates, and asks for each handshake's signature (decision 0015). Nobody waits for an
 * answer but the handshake that needs it. A role that ends, or that is asked and answers nothing
 * for TLS_KEY_DEADLINE_MS, is replaced: what it was asked fails, and so do full handshakes until
 * its successor has read the same keys. Sessions that are there, and those that are resumed, need
 * no key.
 *
 * Each configuration has a role of its own. It runs while somebody holds it: the configuration in
 * force, and each handshake that was begun with it.
 */
#ifndef MSA_TLS_KEY_H
#define MSA_TLS_KEY_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "msa/tls_key_wire.h"

#define TLS_KEY_DEADLINE_MS 1000
#define TLS_KEY_START_MS    10000 /* for each answer of a role that comes up */
#define TLS_KEY_ASKED_MAX   64	  /* signatures under way, of all roles */

struct tls_keys;

/*
 * Start a role; one hold and one reference, the caller's. It becomes user when it has read its
 * files. NULL with *err (static or strerror text).
 */
struct tls_keys *tls_keys_start(struct event_base *base, const char *exe, const char *user,
				const char **err);
/*
 * Let it read the key in file (PEM). >= 0: its number; *spki is its public half (DER,
 * SubjectPublicKeyInfo), talloc'd under ctx. -1: *err (talloc'd under ctx) names the file and why.
 */
int tls_keys_load(struct tls_keys *k, const char *file, void *ctx, uint8_t **spki, size_t *len,
		  char **err);
/* No more files: from here on it can do nothing but sign. False: *err as from tls_keys_start(). */
bool tls_keys_seal(struct tls_keys *k, const char **err);

struct tls_keys *tls_keys_ref(struct tls_keys *k);
void tls_keys_unref(struct tls_keys *k); /* the last one frees k; NULL is allowed */
void tls_keys_hold(struct tls_keys *k);
void tls_keys_let(struct tls_keys *k); /* the last one ends the role; NULL is allowed */

struct tls_key_ask;

/* sig NULL: there is no signature, and why is logged. */
typedef void tls_key_done(void *arg, const uint8_t *sig, size_t len);
/*
 * Ask for the signature of tbs by that scheme. done() is called once, from the loop; the ask is
 * gone then. NULL: nobody can be asked now, and done() is not called.
 */
struct tls_key_ask *tls_keys_sign(struct tls_keys *k, uint32_t key, uint16_t scheme,
				  const uint8_t *tbs, size_t len, tls_key_done *done, void *arg);
/* Nobody waits for it any more: done() is not called. */
void tls_keys_forget(struct tls_key_ask *a);
/* Fewer than TLS_KEY_ASKED_MAX are under way. Those that are forgotten count until the role has
 * dealt with them: whoever asks and goes away does not get more done than whoever waits. */
bool tls_keys_room(void);
/* Who is told that there is room again; in the middle of things: to be noted, and acted upon in the
 * loop. */
void tls_keys_on_room(void (*room)(void));

bool tls_keys_up(const struct tls_keys *k);
/* The processes of all roles that are up, at most max. */
size_t tls_keys_pids(pid_t *out, size_t max);
/* They are somebody else's children now (a handover): they are left to end by themselves. */
void tls_keys_disown_all(void);

struct tls_key_counts {
	int64_t signatures, failures, restarts; /* since the process began */
	int64_t asked;				/* and not answered, now */
};
struct tls_key_counts tls_keys_counts(void);

#endif
