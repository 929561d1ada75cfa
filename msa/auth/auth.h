/*
 * auth - who is logging in, answered by processes of their own.
 *
 * N workers run Cyrus SASL (`sekisho-msad -x auth`, re-executed over fd 3); an exchange stays with
 * the worker it began with. A worker that dies or does not answer within AUTH_DEADLINE_MS is killed
 * and started anew; its exchanges end as unavailable, nobody else notices. Passwords pass through
 * as the base64 text they came in and are wiped with the buffers.
 *
 * A realm may have a back end of its own, with workers of its own: one that is slow or dead takes
 * no other realm's logins with it. Whose turn it is goes by the name in the client's first message
 * (auth_name.h); where the server speaks first, by the listener's realm. Nobody gets in whom
 * another back end than his realm's has vouched for.
 */
#ifndef MSA_AUTH_AUTH_H
#define MSA_AUTH_AUTH_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "msa/tls.h"

#define AUTH_DEADLINE_MS   20000
#define AUTH_CHALLENGE_MAX 1900 /* base64 text; fits one reply */

/* Who checks passwords, and whose; strings are copied. */
struct auth_backend {
	const char *name;	    /* of the realm, for the log; "": everybody else's */
	const char *const *domains; /* what is after the @ of its accounts */
	size_t n_domains;
	const char *sasldb;    /* path; used when conf_path is "" */
	const char *conf_path; /* folder with sekisho.conf in Cyrus SASL's format, or "" */
	int workers;
};

/* What the workers need to know; strings are copied. */
struct auth_config {
	const char *exe;		     /* our own program */
	const char *hostname;		     /* server name in mechanisms that use it */
	const char *realm;		     /* completes a bare name, lower case */
	const char *mechs;		     /* blank-separated */
	const char *user;		     /* who a worker becomes, "" = stay */
	bool keep_case;			     /* of what is before the @ of a login */
	const struct auth_backend *backends; /* the first has no domains: it is everybody else's */
	size_t n_backends;
};

enum auth_result {
	AUTH_CONTINUE = 1,    /* text: challenge, base64 */
	AUTH_OK = 2,	      /* account */
	AUTH_FAILED = 3,      /* wrong password or name; detail says which, for the log only */
	AUTH_MALFORMED = 4,   /* not base64 or not what the mechanism allows */
	AUTH_UNAVAILABLE = 5, /* no worker, or the database is out of reach */
};

#define AUTH_NO_SUCH_USER "unknown user" /* a detail of AUTH_FAILED, where the back end says so */

struct auth_answer {
	enum auth_result result;
	const char *challenge;
	const char
	    *account; /* canonical user@realm; when not OK, who it was about if known, else "" */
	const char *detail;
};

/* What the connection brings to a login. */
struct auth_context {
	struct tls_bindings tls;
	bool plus;	      /* the client was offered -PLUS: it must not think otherwise */
	const char *external; /* the address in the client's certificate, or "" */
	const char *realm;    /* completes a bare name at this listener; "": the configuration's */
};

struct auth;
struct auth_exchange;

typedef void auth_cb(const struct auth_answer *a, void *arg);

/* Starts the workers. NULL with *err (static or strerror text). Call before privileges are dropped.
 */
struct auth *auth_new(struct event_base *base, const struct auth_config *cfg, const char **err);
int auth_workers_up(const struct auth *a);
int auth_workers_wanted(const struct auth *a);
int64_t auth_restarts(const struct auth *a);
/* Their processes, at most max. */
size_t auth_pids(const struct auth *a, pid_t *out, size_t max);
/* The processes are somebody else's children now (a handover): they are left to end by themselves.
 */
void auth_disown(struct auth *a);
/* Ends the workers. No exchange may be alive. */
void auth_free(struct auth *a);

/*
 * Begin an exchange. initial is NULL when there is no initial response, else base64 text ("" for an
 * empty one). ctx is copied. cb is called once for each start or step, never from inside them.
 * After any answer but AUTH_CONTINUE the exchange is over; it is freed by auth_end() in every case.
 */
struct auth_exchange *auth_start(struct auth *a, const char *mech, const char *initial, size_t len,
				 const struct auth_context *ctx, auth_cb *cb, void *arg);
void auth_step(struct auth_exchange *x, const char *data, size_t len);
void auth_end(struct auth_exchange *x);

/* The worker's main(), for `-x auth` with fd 3 the socket to its parent. */
int auth_main(void);

/* --- the mechanisms: auth_cyrus.c, in the worker --- */
struct auth_mech_config {
	const char *hostname, *realm, *sasldb, *conf_path, *mechs;
	bool keep_case; /* else names are made lower case before anybody is asked */
};

struct sasl_exchange;

/* Once. False: *err is static or the library's text. */
bool auth_cyrus_init(const struct auth_mech_config *cfg, const char **err);
/* ctx is copied, the text of external too. */
struct sasl_exchange *auth_cyrus_new(const struct auth_context *ctx);
/* mech not NULL: start. data is base64, NULL for no initial response. out's strings live until the
 * next call with x. */
void auth_cyrus_step(struct sasl_exchange *x, const char *mech, const char *data, size_t len,
		     struct auth_answer *out);
void auth_cyrus_free(struct sasl_exchange *x);

#endif
