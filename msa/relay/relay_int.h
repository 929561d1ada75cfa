/*
 * relay_int - what the files of the relay role share.
 *
 * A message of our parent's is a `work`; its recipients fall into `parts`, one a destination, each
 * of which becomes one transaction. A `dest` has the queue of its parts, its connections (`peer`),
 * its pace. relay.c talks to the parent and to the journal, work.c splits and settles, dest.c
 * decides which part goes when, peer.c runs a connection.
 */
#ifndef MSA_RELAY_INT_H
#define MSA_RELAY_INT_H

#include <event2/event.h>

#include "accounting/dns.h"
#include "lib/addr.h"
#include "lib/ipc.h"

#include "msa/queue/spool.h"
#include "msa/relay/dot.h"
#include "msa/relay/frames.h"
#include "msa/relay/journal.h"
#include "msa/relay/lookup.h"
#include "msa/relay/orphan.h"
#include "msa/relay/pace.h"
#include "msa/relay/relay_tls.h"
#include "msa/relay/sevenbit.h"
#include "msa/relay/smtp_client.h"
#include "msa/relay/sts_cache.h"
#include "msa/relay/tls_counts.h"
#include "msa/relay/tls_post.h"
#include "msa/route/mx.h"
#include "msa/route/route.h"

struct dest;
struct peer;
struct part;

/* talloc'd; its parts are its children. */
struct work {
	struct relay_work k;
	struct spool_envelope *env; /* read when there is room in the journal; NULL before */
	struct part *parts;
	uint32_t open;	   /* parts without an outcome */
	uint32_t reserved; /* journal records promised to them */
	struct work *prev, *next;
};

struct part {
	struct work *w;
	struct dest *d; /* NULL: decided here */
	struct smtp_tx tx;
	struct dot dot;
	struct sevenbit *seven; /* talloc'd: it is looked at, or converted; NULL neither */
	uint64_t body_off;
	struct peer *peer;	  /* that it is on; NULL: waits in d's queue */
	bool settled;		  /* has its outcome, or was given back */
	struct part *prev, *next; /* of d's queue */
	struct part *sibling;
};

struct work_list {
	struct work *first, *last;
	size_t n;
};

enum dest_state {
	DEST_COLD,    /* its servers are not known */
	DEST_LOOKING, /* they are being looked up */
	DEST_KNOWN,
};

#define DEST_CLEAR	  8
#define STATUS_INSECURE	  "4.7.5"
#define STATUS_LOCKED_OUT "4.7.8"

struct dest {
	struct relay *r;
	char name[ROUTE_NAME_MAX];
	struct route_table *table; /* a reference; route is in it */
	const struct route *route;
	const struct route_host *host;
	char domain[DNS_NAME_MAX]; /* whose mail servers; "" the route's or the map's hosts */
	bool lax; /* for mail whose sender does not want it held up by the domain's policies of TLS
		     (RFC 8689 5) */
	enum dest_state state;
	struct lookup *lookup;
	struct mx_list *list;	/* talloc'd, when known */
	struct sts_policy *sts; /* talloc'd; NULL: none */
	int64_t known_at;
	uint64_t bad; /* addresses that failed, by their place in the list */
	struct {      /* a handshake failed: no TLS there until then */
		struct addr a;
		int64_t until;
	} clear[DEST_CLEAR];
	unsigned n_clear; /* ever; the oldest gives way */
	struct {	  /* it offers what it does not do (enum client_lie) */
		struct addr a;
		unsigned lies;
		int64_t until;
	} liars[DEST_CLEAR];
	unsigned n_liars; /* ever */
	struct pace pace;
	unsigned streak; /* connections and transactions that went wrong without one that did not */
	char why[RELAY_REPLY_MAX + 1];
	bool locked_out; /* its server refuses our login: then the status is STATUS_LOCKED_OUT */
	bool insecure;	 /* its servers are there, but not as safe as they must be: then the status
			    is STATUS_INSECURE, by which work.c knows it again */
	struct part *first, *last;
	size_t n_queued;
	struct peer *peers;
	size_t n_peers, n_coming_up;
	bool said_up, said;  /* of the default route, to the parent */
	uint32_t told_limit; /* to the parent; 0: closed, or nothing */
	int64_t used_at;
	struct event *timer;
	struct dest *hash_next;
	struct dest *prev, *next; /* the ring of those that have mail waiting */
	bool waiting;
};

#define DESTS_HASH 4096

struct relay {
	struct event_base *base;
	struct ipc_conn *parent; /* NULL: gone */
	struct relay_config cfg;
	struct route_table *table, *coming; /* in force; being received */
	struct dns *dns;		    /* made when first needed */
	struct sts_cache *stss;		    /* NULL: MTA-STS is off */
	struct tls_counts *tls_counts;	    /* NULL until it is up, and when it has handed over */
	struct tls_post *posts;
	int lock_fd;
	struct event *lock_timer, *give_up, *sweep, *pump;
	struct spool_reader *spool;
	struct journal *journal;
	struct orphans *orphans;
	struct orphan *self; /* when our parent has gone and something is still under way */
	size_t reserved;     /* journal records promised to transactions under way */
	struct work_list intake, works;
	struct dest *dests[DESTS_HASH];
	size_t n_dests;
	struct dest *waiting;	  /* a ring of those that have mail waiting; this one is next */
	struct peer *idle;	  /* the one that has been idle longest; NULL none */
	size_t n_peers;		  /* connections, those that say goodbye included */
	size_t n_coming_up, n_up; /* without them */
	char **self_names;
	size_t n_self_names;
	struct own *own;
	void *pool; /* talloc; of tables and of what the configuration gave */
	uint32_t window;
	bool draining, up;
};

/* --- relay.c: the parent and the journal --- */
void relay_tell_outcome(const struct relay_outcome *o, void *relay);
void relay_tell_back(struct relay *r, const char *id, enum relay_back why, const char *lane,
		     int64_t wait_ms);
void relay_tell_lane(struct relay *r, const struct dest *d, uint32_t limit);
void relay_tell_host(struct relay *r, bool up, const char *why);
void relay_exit_when_done(struct relay *r);
uint32_t relay_random(void);
struct dns *relay_dns(struct relay *r);

/* --- work.c --- */
void work_add(struct relay *r, const struct relay_work *k);
/* Begins what waits for room in the journal. */
void work_intake(struct relay *r);
/* Every recipient of p has its result; via is how it went, in words. p is gone afterwards when its
 * work is. */
void work_part_done(struct relay *r, struct part *p, const char *via);
/* The same result for all of p that has none. */
void work_part_settle(struct relay *r, struct part *p, uint8_t result, const char *status,
		      const char *why);
/* Not begun, to be tried later; the parent keeps it, when nothing of its work is under way and it
 * may, else it is deferred with why. */
void work_part_later(struct relay *r, struct part *p, int64_t wait_ms, const char *why);
/* The spool did not give the body. */
void work_part_unreadable(struct relay *r, struct part *p);
/* Everything of it that can still be stopped is. True: it was here. */
bool work_recall(struct relay *r, const char *id);
void work_drop_all(struct relay *r);

/* --- dest.c --- */
/* Found or made. lax: as in struct dest; such a one is another than the one that is not. */
struct dest *dest_of(struct relay *r, const struct route_choice *c, bool lax);
/* It would have to wait: milliseconds, 0 not. */
int64_t dest_wait(const struct dest *d);
bool dest_full(const struct dest *d);
/* The parent's lane that closes with it; "": each of its messages waits by itself. */
const char *dest_lane(const struct dest *d);
void dest_put(struct dest *d, struct part *p);
void dest_take_out(struct dest *d, struct part *p);
/* Begins what can be begun. */
void dest_pump(struct dest *d);
void dest_pump_all(struct relay *r);
void dest_reopen_all(struct relay *r);
void dest_free_all(struct relay *r);
void dest_sweep(struct relay *r);
/* Of a connection: it takes mail; it ended before that (why; how its conversation stood); it ended.
 * p: nothing happened to it yet, NULL none. */
void dest_peer_ready(struct dest *d, struct peer *c);
/* Opportunistic TLS was tried there and failed, is not to be tried now. */
void dest_set_clear(struct dest *d, const struct addr *a, int64_t until);
bool dest_is_clear(const struct dest *d, const struct addr *a);
/* enum client_lie of a server: remembered for an hour. */
void dest_add_lies(struct dest *d, const struct addr *a, unsigned lies);
unsigned dest_lies(const struct dest *d, const struct addr *a);
void dest_peer_failed(struct dest *d, const struct addr *a, uint16_t port, const char *why,
		      const struct smtp_client *how);
/* Why it waits, as an enhanced code: what keeps it back, else dflt. */
const char *dest_status(const struct dest *d, const char *dflt);
void dest_peer_gone(struct dest *d, struct part *p);
void dest_good(struct dest *d);
void dest_less(struct dest *d, const char *why);
void dest_each_peer(struct relay *r, void (*fn)(struct peer *c));

/* --- body.c: a message's octets --- */
/* Is there one field TLS-Required: in a header section, and does it say No (RFC 8689 5)? */
bool header_tls_optional(const char *text, size_t len);
/* The same of a message. */
bool body_tls_optional(struct relay *r, const struct work *w);
enum body_as { BODY_AS_IS, BODY_STUFFED, BODY_CONVERTED };
/* From the first octet on. */
void body_rewind(struct part *p);
/* One piece more to out, its end and the final dot with the last; *got 0 then. False: the spool
 * does not give it. */
bool body_add(struct relay *r, struct part *p, enum body_as as, struct evbuffer *out, size_t *got);
/* One piece more of it is looked at; *done: p->tx.plan is made. False: as above. */
bool body_plan(struct relay *r, struct part *p, bool *done);

/* --- peer.c: one connection --- */
struct peer *peer_open(struct dest *d, size_t addr);
struct peer *peer_next(const struct peer *c);
bool peer_idle(const struct peer *c);
/* True once the final dot may be on its way: too late to break off. */
bool peer_committed(const struct peer *c);
/* c must be idle. The part is c's until work_part_done() or dest_peer_gone(). */
void peer_give(struct peer *c, struct part *p);
/* Close without any outcome, and free. Its part, if any, is nobody's now. */
void peer_abort(struct peer *c);
void peer_quit(struct peer *c);

#endif
