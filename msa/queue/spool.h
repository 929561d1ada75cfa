/*
 * spool - the queue on disk: <state_dir>/msa/spool.db (SQLite, WAL, synchronous=FULL).
 * docs/decisions/0004-spool.md says why.
 *
 * struct spool writes; one thread at a time, in practice the writer's. struct spool_reader only
 * reads, one a thread or process. Nothing here reads a clock. Results are enum queue_result:
 * QUEUE_FULL when the disk (or a file size limit) is, QUEUE_ERROR for anything else; the reason is
 * in spool_why(). After any failure the transaction must be rolled back.
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

#define SPOOL_INSTANCE_MAX 33
#define SPOOL_OUTBOX_ROW   (256u << 10) /* bytes; a commit with more makes several rows */

/* Creates or migrates. NULL with *err (malloc'd, says what to do). host fills Reporting-MTA and
 * From: of notifications; both are copied. */
struct spool *spool_open(const char *path, const struct dsn_host *host, char **err);
void spool_close(struct spool *s);
const char *spool_instance(const struct spool *s);
/* In words, of the last failure; until the next call. */
const char *spool_why(const struct spool *s);

enum queue_result spool_begin(struct spool *s);
/* Stores the records gathered since spool_begin() in the outbox and syncs. */
enum queue_result spool_commit(struct spool *s);
void spool_rollback(struct spool *s);
/* Moves the WAL into the database when it has grown enough, or anyway; outside a transaction,
 * between commits. */
void spool_checkpoint(struct spool *s, bool anyway);
/*
 * Give the disk back what deleted mail has left in the file, a slice at a time; some of it stays
 * for the next messages, nothing when the disk is tight. True: there is more, call again.
 */
bool spool_shrink(struct spool *s, bool tight);
/*
 * Disk space kept back in <path>.reserve, so that mail can leave when the disk is full: a delete
 * needs room before it makes any. keep(): take it (again), false when the disk has not got it.
 * use(): give it to the spool, false when it was given before.
 */
bool spool_reserve_keep(struct spool *s);
bool spool_reserve_use(struct spool *s);
/* Number of the newest outbox row that was committed; 0: none since spool_open() found none. */
uint64_t spool_outbox_last(const struct spool *s);

/* --- in a transaction ------------------------------------------------------------------ */

struct spool_message {
	int64_t key;
	const char *id, *account, *mail_from, *mail_from_out;
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
	const struct relay_rcpt *rcpts;
	uint32_t n;
	bool all;		       /* rcpts[0] is said of every recipient still waiting */
	bool quiet;		       /* tell the sender nothing */
	int64_t now_ms, retry_at_ms;   /* next_ms when somebody was deferred */
	int64_t lifetime_ms;	       /* a deferral later than this is a failure */
	int64_t delay_ms;	       /* and later than this is told to who asked; 0: never */
	char dsn_id[QUEUE_ID_LEN + 1]; /* a new id and key, used if a notification is made */
	int64_t dsn_key;
	/* out */
	bool gone; /* nobody waits any more: the message was removed (or was not there) */
	int64_t next_ms;
	uint32_t attempts;
	uint32_t delivered, bounced, deferred;
	bool notified; /* dsn_id is in the spool, dsn_size bytes */
	uint64_t dsn_size;
	bool double_bounce; /* there was nobody to tell */
};
enum queue_result spool_settle(struct spool *s, struct spool_settle *t);

enum queue_result spool_hold_account(struct spool *s, const char *account, const char *why);
enum queue_result spool_release_account(struct spool *s, const char *account);
/* Set hold bits; next_ms when it is not -1, and with it life_from_ms when that is not -1. A key
 * that is not there is no error. */
enum queue_result spool_update(struct spool *s, int64_t key, uint8_t hold, int64_t next_ms,
			       int64_t life_from_ms);
enum queue_result spool_outbox_forget(struct spool *s, uint64_t seq);

/* --- at start ---------------------------------------------------------------------------- */

struct spool_row {
	char id[QUEUE_ID_LEN + 1];
	int64_t key, received_ms, life_from_ms, next_ms;
	const char *account;
	uint64_t size;
	uint32_t attempts;
	uint8_t hold;
};
/* Every message in order of key, then every account hold. False: *err as in spool_open(). */
bool spool_load(struct spool *s, void (*message)(const struct spool_row *r, void *arg),
		void (*hold)(const char *account, const char *why, void *arg), void *arg,
		char **err);

/* --- reading (spool_read.c) --------------------------------------------------------------- */

struct spool_reader;

/* Text of failures is malloc'd. A call that takes longer than 2 s is broken off and fails. */
struct spool_reader *spool_reader_open(const char *path, char **err);
void spool_reader_close(struct spool_reader *r);

struct spool_envelope {
	char id[QUEUE_ID_LEN + 1];
	char *mail_from_out;
	uint64_t size;
	struct esmtp_mail esmtp;
	uint32_t n;
	struct spool_rcpt {
		uint32_t idx;
		char *address;
		struct esmtp_rcpt esmtp;
	} * rcpts; /* those to be tried in this round, at most max */
};
enum spool_found { SPOOL_FOUND, SPOOL_GONE, SPOOL_FAILED };
/* *e is talloc'd under ctx. */
enum spool_found spool_read_envelope(struct spool_reader *r, void *ctx, int64_t key, uint32_t max,
				     struct spool_envelope **e);
/* Up to cap octets of the body from off on; fewer only at its end. False: not readable. */
bool spool_read_body(struct spool_reader *r, int64_t key, uint64_t off, uint8_t *buf, size_t cap,
		     size_t *got);

/* Outbox rows after seq, oldest first, until fn says false. False: not readable. */
bool spool_read_outbox(struct spool_reader *r, uint64_t after,
		       bool (*fn)(uint64_t seq, uint32_t n, const uint8_t *records, size_t len,
				  void *arg),
		       void *arg);

struct spool_detail {
	const char *mail_from;
	uint32_t rcpts;		  /* still waiting */
	const char *rcpt_domains; /* distinct, blank-separated, at most 512 octets */
	const char *last_reply;
};
/* Valid until the next call on r. */
enum spool_found spool_read_detail(struct spool_reader *r, int64_t key, struct spool_detail *d);
struct spool_recipient {
	const char *address, *state, *status, *reply;
};
bool spool_read_recipients(struct spool_reader *r, int64_t key,
			   void (*fn)(const struct spool_recipient *t, void *arg), void *arg);
/* Header section of the body, at most 64 KB, talloc'd under ctx and NUL-terminated; NULL when not
 * readable. */
char *spool_read_headers(struct spool_reader *r, void *ctx, int64_t key);
/* Keys of messages that still have a recipient in domain, ascending. */
bool spool_read_domain(struct spool_reader *r, const char *domain,
		       void (*fn)(int64_t key, void *arg), void *arg);
/* One row a domain and message still waiting. */
bool spool_read_grid(struct spool_reader *r,
		     void (*fn)(int64_t key, const char *domain, int64_t received_ms,
				uint32_t rcpts, void *arg),
		     void *arg);

#endif
