/*
 * tls_key - the private keys of the server's certificates, in a process of their own.
 *
 * `sekisho-msad -x key` (sekisho-key in ps(1)) reads the key files and signs; who parses SMTP has
 * the certificates, and asks for each handshake's signature. A question is a blocking round trip of
 * some ten microseconds plus the signature itself, which would block as long in this process
 * (decision 0015). A role that ends, or that takes longer than TLS_KEY_DEADLINE_MS, is replaced;
 * until its successor has read the same keys, full handshakes fail with an alert. Sessions that are
 * there, and those that are resumed, need no key.
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
#define TLS_KEY_START_MS    10000 /* for a role to come up, at start and on a reload */

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

/* The signature of tbs by that scheme. False: there is none, and why is logged. */
bool tls_keys_sign(struct tls_keys *k, uint32_t key, uint16_t scheme, const uint8_t *tbs,
		   size_t len, uint8_t out[static TLS_KEY_SIG_MAX], size_t *out_len);

bool tls_keys_up(const struct tls_keys *k);
/* The processes of all roles that are up, at most max. */
size_t tls_keys_pids(pid_t *out, size_t max);
/* They are somebody else's children now (a handover): they are left to end by themselves. */
void tls_keys_disown_all(void);

struct tls_key_counts {
	int64_t signatures, failures, restarts;
};
struct tls_key_counts tls_keys_counts(void); /* since the process began */

#endif
