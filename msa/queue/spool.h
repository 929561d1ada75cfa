/*
 * spool - the queue on disk: a log of segments in <state_dir>/msa/spool/.
 * docs/decisions/0017-segments.md says why, record.h what the bytes are.
 *
 * struct spool writes; one thread at a time, in practice the writer's (the two calls about the
 * outbox that say so are for any). struct spool_reader only reads, one a thread or process.
 * Nothing here reads a clock. Results are enum queue_result: QUEUE_FULL when the disk (or a file
 * size limit) is, QUEUE_ERROR for anything else; the reason is in spool_why(). After any failure
 * the transaction must be rolled back.
 */
#ifndef MSA_QUEUE_SPOOL_H
#define MSA_QUEUE_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/event.h"
#include "lib/addr.h"

#include "msa/mail/dsn.h"
#include "msa/queue/queue.h"
#include "msa/relay/frames.h"

struct spool;

/* FAILED: it cannot be read now (an I/O error, no memory). DAMAGED: it was read, and is not what
 * was written. */
enum spool_found { SPOOL_FOUND, SPOOL_GONE, SPOOL_FAILED, SPOOL_DAMAGED };

/* Of the disk. SHORT: new mail is refused, deferrals are not written down, index files go. TIGHT:
 * nothing is written that makes no room; notices wait, too. */
enum spool_room { ROOM_ENOUGH, ROOM_SHORT, ROOM_TIGHT };

#define SPOOL_INSTANCE_MAX 33
#define SPOOL_OUTBOX_ROW   (256u << 10) /* bytes; a commit with more makes several rows */
#define SPOOL_SEGMENT	   (32u << 20)	/* bytes of a segment; less on a small disk */

/*
 * dir: is made when it is not there; a spool of older versions in <dir>.db is taken over. Recovers:
 * a commit that was cut short is undone, what is damaged is put aside and reported. NULL with *err
 * (malloc'd, says what to do). host fills Reporting-MTA and From: of notifications; both are
 * copied.
 */
struct spool *spool_open(const char *dir, const struct dsn_host *host, char **err);
/* Of one address; before the first settle. 0: any number. */
void spool_set_notices(struct spool *s, uint32_t per_hour);
/* Who signs notices: has no keys at first. */
struct signer *spool_signer(struct spool *s);
void spool_close(struct spool *s);
const char *spool_instance(const struct spool *s);
/* In words, of the last failure; until the next call. */
const char *spool_why(const struct spool *s);

enum queue_result spool_begin(struct spool *s);
/* What comes soon is about this message: its entry, which is seldom in the cache when a million are
 * queued, is fetched meanwhile. */
void spool_ahead(const struct spool *s, int64_t key);
/* Stores the records gathered since spool_begin() in the outbox, syncs, and removes segments that
 * nobody needs any more. */
enum queue_result spool_commit(struct spool *s);
void spool_rollback(struct spool *s);
/*
 * Disk space kept back in files whose blocks are taken, so that mail can leave when the disk is
 * full: to write down what is done needs room before it makes any. <dir>/reserve is as large as a
 * segment; <dir>/reserve.NNNN are as many as the results of all recipients who wait need. keep():
 * take what is missing (some of it, if need be), false when there is no <dir>/reserve. use(): give
 * one to the spool; false when there is none (any more) for that: results may have them all,
 * moving only the large one, and that only while the others are enough for the results.
 */
enum reserve_for { FOR_RESULTS, FOR_MOVING };
bool spool_reserve_keep(struct spool *s);
bool spool_reserve_use(struct spool *s, enum reserve_for what);
/*
 * Octets to write down what becomes of who waits for a message, one outcome (of a destination)
 * after the other while accounting takes no events. Each outcome but the last writes the envelope
 * again: of addresses of 64 octets, and of 40 recipients who are done.
 */
uint64_t spool_result_room(uint64_t recipients, uint64_t outcomes);
#define SPOOL_RESULT 320 /* of a recipient: the event, its answer cut short, and the commit */
/* The sum of that over all messages. From any thread. */
void spool_set_results(struct spool *s, uint64_t octets);
/* Octets that results still need of the disk, beyond what is kept for them. From any thread. */
uint64_t spool_results_missing(const struct spool *s);
/* How much of the disk new mail leaves free: an eighth at most, two segments at least. 0: the
 * least. Before the first transaction, or on its thread. */
void spool_set_keep(struct spool *s, uint64_t bytes);
uint64_t spool_keep(const struct spool *s);
/* As of the last transaction's begin. From any thread. */
enum spool_room spool_room(const struct spool *s);
/* Number of the newest outbox row that was committed; 0: none ever. */
uint64_t spool_outbox_last(const struct spool *s);
/* Octets of the rows that accounting has not acknowledged. From any thread. */
uint64_t spool_outbox_bytes(struct spool *s);

/* --- in a transaction ------------------------------------------------------------------ */

struct spool_message {
	int64_t key;
	const char *id, *account, *mail_from, *mail_from_out;
	const char *route; /* an operator's word for it; NULL or "": by the rules */
	const struct queue_rcpt *rcpts;
	uint32_t n_rcpts;
	const uint8_t *data;
	size_t len;
	struct esmtp_mail esmtp;
	uint8_t hold;
	int64_t received_ms;
	struct addr src;
	uint16_t src_port;
};
enum queue_result spool_add(struct spool *s, const struct spool_message *m);
/* One record of event_encode() for the outbox. */
enum queue_result spool_record(struct spool *s, const uint8_t *record, size_t len);

/* What a delivery attempt, an operator or the lifetime did to recipients of one message. */
struct spool_settle {
	/* in */
	int64_t key;
	uint32_t attempt; /* stale deferrals are recognised by it */
	uint32_t waiting; /* recipients that wait, as far as is known; 0: not known */
	uint32_t skipped; /* deferrals before this one that were not written down */
	const struct relay_rcpt *rcpts;
	uint32_t n;
	bool all;		     /* rcpts[0] is said of every recipient still waiting */
	bool quiet;		     /* tell the sender nothing */
	int64_t now_ms, retry_at_ms; /* next_ms when somebody was deferred */
	int64_t lifetime_ms;	     /* a deferral later than this is a failure */
	int64_t delay_ms;	     /* and later than this is told, once a message; 0: never */
	const char *via;	     /* struct relay_outcome's; NULL not known */
	bool distrust; /* its account is held or suspected: only the account itself is told */
	char dsn_id[QUEUE_ID_LEN + 1]; /* a new id and key, used if a notification is made */
	int64_t dsn_key;
	/* out */
	bool gone; /* nobody waits any more: the message was removed (or was not there) */
	bool
	    unwritten; /* put off until next_ms; the disk is short, so that it says nothing of it */
	bool unread;   /* the disk does not give the envelope: nothing was changed */
	int64_t next_ms;
	uint32_t attempts;
	uint32_t delivered, bounced, deferred;
	bool notified; /* dsn_id is in the spool, dsn_size bytes */
	uint64_t dsn_size;
	bool double_bounce;	  /* mail of nobody's failed: the postmaster is told */
	bool withheld;		  /* nobody was told, because of distrust */
	int64_t dsn_next_ms;	  /* the notice is a summary, which goes out then; 0: at once */
	int64_t replaced_key;	  /* of the summary as it was before; 0: none */
	bool counted, listed;	  /* at the ceiling, in a try that was rolled back, too */
	int64_t place, dsn_place; /* where they are now, when not gone, when notified */
	char *dests;		  /* spool_dests() of who still waits; malloc'd, NULL when gone */
	unsigned tries;		  /* the caller's zero: how often the envelope was not given */
	char *dsn_dests;	  /* of the notification, when there is one; malloc'd */
	uint8_t *said;		  /* what was put down, as event_encode() writes it; malloc'd */
	size_t said_len, said_cap;
};
enum queue_result spool_settle(struct spool *s, struct spool_settle *t);

enum queue_result spool_hold_account(struct spool *s, const char *account, const char *why);
enum queue_result spool_release_account(struct spool *s, const char *account);
struct spool_change {
	uint8_t hold;
	int64_t next_ms, life_from_ms; /* -1: as they are */
	const char *route;	       /* NULL: as it is */
};
/* A key that is not there is no error. */
enum queue_result spool_update(struct spool *s, int64_t key, const struct spool_change *c);
/* Copies a message to the end of the log, so that its segment can go. A key that is not there is no
 * error. */
enum queue_result spool_move(struct spool *s, int64_t key);
/* Looks at a message that could not be read. GONE: there is none. DAMAGED: it is not what was
 * written, however often it is read; it was put aside and is gone. FAILED: the disk does not give
 * it now (spool_why()); nothing was changed. */
enum queue_result spool_check(struct spool *s, int64_t key, enum spool_found *found);
/* Where the message is now, for readers; 0: not there. */
int64_t spool_place(const struct spool *s, int64_t key);
/* The outbox rows of a segment are moved to the end of the log, too. */
enum queue_result spool_move_rows(struct spool *s, uint32_t seg);
/*
 * Keys of messages that keep a segment from being removed of which too little is of use; malloc'd,
 * *n of them at most max (and no more than bytes together, but one), NULL when there is no such
 * segment. Move them, and the rows of that segment; *more: then ask again. It takes a part of the
 * table at a time. When that was done until it said NULL, segments are no more octets than twice
 * what is of use and SPOOL_SLACK segments.
 */
#define SPOOL_SLACK 4
int64_t *spool_stragglers(struct spool *s, size_t max, uint64_t bytes, size_t *n, uint32_t *seg,
			  bool *more);
enum queue_result spool_outbox_forget(struct spool *s, uint64_t seq);

/* --- at start ---------------------------------------------------------------------------- */

struct spool_row {
	char id[QUEUE_ID_LEN + 1];
	int64_t key, received_ms, life_from_ms, next_ms;
	int64_t place;
	const char *account;
	const char *dests; /* spool_dests() of who still waits */
	uint64_t size;
	uint32_t attempts;
	uint8_t hold;
	bool routed; /* an operator gave it a route */
};
/* Every message in any order, then every account hold. False: *err as in spool_open(). */
bool spool_load(struct spool *s, void (*message)(const struct spool_row *r, void *arg),
		void (*hold)(const char *account, const char *why, void *arg), void *arg,
		char **err);

/* --- reading (spool_read.c) --------------------------------------------------------------- */

/*
 * A message is read by its place, which spool_place() gave: it changes with the message's state and
 * when it is moved. A place that was left may be GONE, or FAILED, when it is asked for again.
 */
struct spool_reader;

/* Text of failures is malloc'd. */
struct spool_reader *spool_reader_open(const char *dir, char **err);
void spool_reader_close(struct spool_reader *r);
/* Lets go of segments that were removed: until then their room on the disk is not free. Every few
 * seconds, and when something was committed. */
void spool_reader_trim(struct spool_reader *r);

struct spool_envelope {
	char id[QUEUE_ID_LEN + 1];
	char *mail_from_out, *route;
	uint64_t size;
	struct esmtp_mail esmtp;
	uint32_t n;
	struct spool_rcpt {
		uint32_t idx;
		char *address;
		char *status; /* of the last attempt; "" none */
		struct esmtp_rcpt esmtp;
	} * rcpts; /* those to be tried in this round, at most max */
};
/* *e is talloc'd under ctx. The body was looked at too: FAILED when it is damaged. */
enum spool_found spool_read_envelope(struct spool_reader *r, void *ctx, int64_t place, uint32_t max,
				     struct spool_envelope **e);
/* Up to cap octets of the body from off on; fewer only at its end. False: not readable. */
bool spool_read_body(struct spool_reader *r, int64_t place, uint64_t off, uint8_t *buf, size_t cap,
		     size_t *got);

/* Outbox rows after seq, oldest first, until fn says false. From the reader's thread, which may be
 * another than the writer's. False: not readable. */
bool spool_read_outbox(struct spool *s, struct spool_reader *r, uint64_t after,
		       bool (*fn)(uint64_t seq, uint32_t n, const uint8_t *records, size_t len,
				  void *arg),
		       void *arg);

struct spool_detail {
	const char *mail_from, *route;
	uint32_t rcpts;		  /* still waiting */
	const char *rcpt_domains; /* distinct, blank-separated, at most 512 octets */
	const char *last_reply;
};
/* Valid until the next call on r. */
enum spool_found spool_read_detail(struct spool_reader *r, int64_t place, struct spool_detail *d);
struct spool_recipient {
	const char *address, *state, *status, *reply;
};
bool spool_read_recipients(struct spool_reader *r, int64_t place,
			   void (*fn)(const struct spool_recipient *t, void *arg), void *arg);
/* A piece of the spool that was put aside. */
struct spool_damaged {
	const char *file; /* in damaged/ */
	uint64_t bytes;
	int64_t since_ms;
	/* Of the message, when its envelope is whole; else "" and 0. */
	const char *id, *account, *mail_from;
	uint32_t rcpts;
};
/* How many there are; fn for the first max of them, in no order. */
size_t spool_read_damaged(struct spool_reader *r, void *ctx, size_t max,
			  void (*fn)(const struct spool_damaged *d, void *arg), void *arg);
/* Header section of the body, at most 64 KB, talloc'd under ctx and NUL-terminated; NULL when not
 * readable. */
char *spool_read_headers(struct spool_reader *r, void *ctx, int64_t place);

/* "DOMAIN COUNT DOMAIN COUNT" of n addresses in order of domain; malloc'd, "" when n is 0. */
char *spool_dests(const char *const *addresses, size_t n);

#endif
