/*
 * relay_int - what relay.c and peer.c share.
 */
#ifndef MSA_RELAY_INT_H
#define MSA_RELAY_INT_H

#include <event2/event.h>

#include "lib/addr.h"
#include "lib/ipc.h"

#include "msa/queue/spool.h"
#include "msa/relay/dot.h"
#include "msa/relay/frames.h"
#include "msa/relay/journal.h"
#include "msa/relay/relay_tls.h"
#include "msa/relay/smtp_client.h"

/* One message of our parent's, here to be delivered. talloc'd. */
struct work {
	struct relay_work k;
	struct spool_envelope *env; /* read when it is begun; NULL before */
	struct smtp_tx tx;
	struct dot dot;
	uint64_t body_off;
	struct work *prev, *next; /* pending ones only */
};

struct peer;

struct relay {
	struct event_base *base;
	struct ipc_conn *parent; /* NULL: gone */
	struct relay_config cfg;
	struct addr host;
	uint16_t port;
	char host_text[ADDR_STRLEN];
	struct relay_tls_host tls; /* views into cfg and host_text */
	int lock_fd;
	struct event *lock_timer, *resume, *give_up;
	struct spool_reader *spool;
	struct journal *journal;
	size_t reserved;	   /* journal records promised to transactions under way */
	struct work *first, *last; /* pending, in order */
	size_t n_pending;
	struct peer *peers;
	size_t n_peers, n_coming_up;
	bool host_up, host_said;
	int64_t
	    no_tls_until_ms; /* a handshake has failed: clear text for so long; CLOCK_MONOTONIC */
	int pause_ms;	     /* between tries of a host that is down; 0: it is up */
	bool draining, up;
};

/* peer.c: one connection to the smart host */
struct peer *peer_open(struct relay *r);
struct peer *peer_next(const struct peer *c);
bool peer_idle(const struct peer *c);
struct work *peer_work(const struct peer *c);
/* True once the final dot may be on its way: too late to break off. */
bool peer_committed(const struct peer *c);
/* c must be idle. The work is c's until relay_work_done() or relay_peer_gone(). */
void peer_give(struct peer *c, struct work *w);
/* Close without any outcome, and free. Returns the work it had, or NULL. */
struct work *peer_abort(struct peer *c);
void peer_quit(struct peer *c);

/* relay.c: what becomes of it */
void relay_peer_ready(struct relay *r, struct peer *c);
/* Every recipient of w has its result. Takes w. */
void relay_work_done(struct relay *r, struct work *w);
/* The spool did not give it. Takes w. */
void relay_work_unreadable(struct relay *r, struct work *w);
/* A connection is closed and freed. w: nothing happened to it yet, NULL none. host_why not NULL:
 * the host takes no mail now. */
void relay_peer_gone(struct relay *r, struct work *w, bool came_up, const char *host_why);

#endif
