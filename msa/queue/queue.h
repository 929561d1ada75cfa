/*
 * queue - accepted mail: durable before 250, held or due, handed to delivery, gone when done.
 *
 * Owner of the spool (<state_dir>/msa/spool), of its one writer thread (group commit: every
 * session waiting shares one fsync), of the event outbox, of the schedule, and of the relay role,
 * the process that delivers. The session side sees only this header. All calls and callbacks are on
 * the main loop's thread.
 *
 * Order in msad: sockets and keys, proc_drop(), proc_seccomp(true), queue_open(), queue_start():
 * the writer thread and the relay role inherit what was dropped (a seccomp filter and capabilities
 * are a thread's own), spool files belong to the daemon's user, and a relay that died can be
 * started again (execve stays allowed). `sekisho-msad -x relay` calls relay_main() before anything
 * else reads arguments.
 */
#ifndef MSA_QUEUE_H
#define MSA_QUEUE_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/event.h"
#include "lib/addr.h"
#include "msa/mail/esmtp.h"

#define QUEUE_ID_LEN 16 /* [0-9a-z], rises with time */

struct queue;
struct route_table;
struct answer_table;
struct dkim_table;

struct queue_rcpt {
	const char *address; /* without <>, as given, domain in lower case */
	struct esmtp_rcpt esmtp;
};

struct queue_msg {
	char id[QUEUE_ID_LEN + 1]; /* from queue_new_id() */
	const char *account;	   /* "" for our own notifications */
	const char *mail_from;	   /* untagged; "" is the null sender */
	const char *mail_from_out; /* what MAIL FROM will carry, fixed now: the tag is the same in
				      every retry */
	const struct queue_rcpt *rcpts;
	uint32_t n_rcpts;
	const uint8_t
	    *data; /* the whole message, CRLF lines, not dot-stuffed, headers already final */
	size_t len;
	uint8_t *own; /* data, when it is malloc'd and the queue's from now on; NULL: it is copied */
	struct esmtp_mail esmtp; /* smtputf8: the header holds UTF-8; addresses speak for
				    themselves */
	int64_t received_ms;
	const struct event
	    *event; /* EVENT_MESSAGE, stored in the same commit; NULL for notifications */
};

enum queue_result {
	QUEUE_OK = 0,	 /* on disk: say 250 */
	QUEUE_FULL = 1,	 /* disk or limits: 452 4.3.1 */
	QUEUE_ERROR = 2, /* I/O error: 451 4.3.0 */
};

struct queue_config {
	const char *state_dir; /* the spool goes to <state_dir>/msa */
	const char *hostname;
	const char *smarthost;	    /* "ADDRESS:PORT", "[v6]:PORT" */
	const char *smarthost_name; /* in its certificate; "" or NULL: its address is */
	const char *smarthost_ca;   /* who may have signed it, PEM; "" or NULL: the system's */
	const char *dns_server, *dns_anchor; /* as dns_new() takes them; NULL: "" */
	const char *self;     /* names, addresses and ADDRESS:PORTs that are us beside hostname,
				 blank-separated */
	const char *relay_ca; /* authorities for mail servers, PEM; "" or NULL: the system's */
	bool mta_sts;
	bool tlsrpt; /* find out who wants reports of TLS */
	int64_t pause_min_ms,
	    pause_max_ms; /* back-off of destinations that are down; 0: as built in */
	const struct route_table *routes; /* the caller's, as long as the queue; NULL: smarthost */
	const struct answer_table *answers; /* classes of answers beside the built-in; or NULL */
	const char *postmaster;		    /* From: of our notifications; gets double bounces */
	int64_t notices_per_hour;	    /* to one address; then a summary. 0: no ceiling */
	int64_t retry_min_ms, retry_max_ms; /* back-off doubles from min to max, with jitter */
	int64_t lifetime_ms;		    /* then a failure notice */
	int64_t delay_notice_ms; /* then one of the delay, but to who has not asked for it (NOTIFY
				    without DELAY); 0 never */
	int64_t max_bytes;	 /* of the whole spool */
	int64_t keep_bytes;	 /* of its disk that new mail leaves free: spool_set_keep() */
	int64_t max_held_per_account; /* messages; above it queue_may_accept() says no */
	int connections;	      /* deliveries at once */
	int64_t timeout_ms;	      /* of each step with the smart host */
	bool start_relay;	      /* false: -n and tests without delivery */
	const char *exe;	      /* program to re-exec as `-x relay`; NULL: /proc/self/exe */
};

struct queue_handlers {
	/* An EVENT_DELIVERY that is on disk now: what became of one recipient, but for later
	 * deferrals. NULL: not wanted. */
	void (*delivery)(const struct event *e, void *arg);
	/* Outbox: a batch for accounting, in order; call queue_outbox_acked() later. False: not now
	 * (asked again on queue_outbox_kick()). */
	bool (*outbox)(uint64_t seq, uint32_t n, const uint8_t *records, size_t len, void *arg);
};

/* Opens (creates, migrates, recovers) the spool. NULL with *err (malloc'd). cfg strings are copied.
 */
struct queue *queue_open(struct event_base *base, const struct queue_config *cfg,
			 const struct queue_handlers *h, void *arg, char **err);
/* Start the relay role (no-op when cfg.start_relay is false); it is started again when it dies. */
bool queue_start(struct queue *q, char **err);
/* Other routes from now on; the caller's, as long as the queue or until the next call. */
void queue_set_routes(struct queue *q, const struct route_table *routes);
/* Classes of answers from now on, before the built-in ones; the caller's, as the routes. NULL: none
 * but those. */
void queue_set_answers(struct queue *q, const struct answer_table *answers);
/* Keys that sign our notices from now on; the caller's, as the routes. NULL: none. */
void queue_set_dkim(struct queue *q, const struct dkim_table *keys);
/* Mail of the account goes by the suspect route, or does no more. */
void queue_suspect_account(struct queue *q, const char *account, bool suspect);
/* A name for the life of this spool's outbox numbering, for feed_new(). */
const char *queue_instance(const struct queue *q);
struct relay_post;
/* The relay role is asked to send a report of TLS over HTTPS, and tells nobody how it went but the
 * file of what was sent. False: it is not there now. */
bool queue_post(struct queue *q, const struct relay_post *p);
void queue_new_id(struct queue *q, int64_t now_ms, char out[static QUEUE_ID_LEN + 1]);

/* Cheap, before DATA: QUEUE_FULL when the disk or the spool's own bound would not take size more
 * bytes. */
enum queue_result queue_may_accept(struct queue *q, const char *account, uint64_t size);
/*
 * Copies what it needs from m before it returns. cb once, from the main loop (never from inside
 * this call), when it is on disk or has failed. hold: goes in held. The account's penalty at the
 * time of the commit counts too.
 */
void queue_submit(struct queue *q, const struct queue_msg *m, bool hold,
		  void (*cb)(enum queue_result r, void *arg), void *arg);
/* Store an event that belongs to no message (login, refusal) in the outbox with the next commit;
 * nobody waits. */
void queue_event(struct queue *q, const struct event *e);

/* Penalties, from ratelimit/rl. Held: out of delivery at once, what is in flight and not yet past
 * MAIL FROM included. */
void queue_hold_account(struct queue *q, const char *account, const char *why);
void queue_release_account(struct queue *q, const char *account);
void queue_holds_synced(struct queue *q, const char *const *held,
			size_t n); /* these and no others */

void queue_outbox_kick(
    struct queue *q); /* the feed is (back) up: offer from the oldest unacknowledged on */
void queue_outbox_acked(struct queue *q, uint64_t seq); /* delete up to seq */

/* "queue.list" "queue.show" "queue.hold" "queue.release" "queue.retry" "queue.bounce"
 * "queue.delete" "queue.grid" "queue.stats": docs/protocols/control.md. A new reference; *ok false:
 * a string saying why. */
json_t *queue_request(struct queue *q, const char *op, const json_t *args, bool *ok);

/* Finish the commit under way, stop the relay after its current replies (bounded, 5 s), close. */
void queue_close(struct queue *q);

/* The relay role's main(), for `sekisho-msad -x relay` with fd 3 the socket to its parent. */
int relay_main(void);

#endif
