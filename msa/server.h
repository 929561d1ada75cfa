/*
 * server - what the connections of one sekisho-msad share.
 */
#ifndef MSA_SERVER_H
#define MSA_SERVER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "accounting/feed.h"
#include "lib/metrics.h"
#include "msa/auth/auth.h"
#include "msa/auth/guard.h"
#include "msa/auth/spray.h"
#include "msa/config.h"
#include "msa/limits.h"
#include "msa/mail/batv.h"
#include "msa/mail/token.h"
#include "msa/queue/queue.h"
#include "msa/tls.h"

struct bounces;
struct handover;
struct heirs;
struct io;
struct reports;

enum msa_count {
	COUNT_SESSIONS,
	COUNT_SESSIONS_TURNED_AWAY,
	COUNT_COMMANDS,
	COUNT_TLS_FAILED,
	COUNT_AUTH_OK,
	COUNT_AUTH_FAILED,
	COUNT_AUTH_UNAVAILABLE,
	COUNT_AUTH_BLOCKED,
	COUNT_AUTH_SPRAYED,
	COUNT_AUTH_SPRAYED_WIDE,
	COUNT_ACCEPTED,
	COUNT_HELD,
	COUNT_REFUSED,
	COUNT_DEFERRED,
	COUNT_LIMITER_DOWN,
	COUNT_DKIM_SIGNED,
	COUNT_DKIM_FAILED,
	COUNTS
};

struct server {
	struct event_base *base;
	struct msa_config
	    *cfg; /* the newest; a connection keeps a reference to the one it began with */
	struct tls *tls;
	struct tls_tickets tickets;
	struct auth *auth;
	struct guard *guard;
	struct spray_wide *spray;
	struct limits *limits;
	struct queue *queue;
	struct feed *feed;
	struct io *io;
	struct bounces *bounces;
	struct reports *reports;
	struct heirs *heirs;	  /* what the program before left to this one, or NULL */
	struct handover *leaving; /* this one leaves: queue is NULL, and asked through this */
	struct batv_keys batv;
	struct token_key trace;
	int64_t in_flight;  /* bytes of messages being received */
	int64_t started_ms; /* UTC */
	bool stopping;
	struct metric *count[COUNTS];
};

#endif
