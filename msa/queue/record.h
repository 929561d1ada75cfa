/*
 * record - the bytes of the spool's segments (docs/decisions/0017-segments.md). Pure.
 *
 * A segment is a row of records, each at a multiple of RECORD_ALIGN: a header of RECORD_HEADER
 * octets, a head (a message's envelope, or what the type says), a body (of messages alone). The
 * header says whose segment it is and which commit it belongs to, and carries a CRC-32C of itself
 * with the head and one of the body: what is torn, foreign or damaged is told from what is sound
 * without trusting a length.
 */
#ifndef MSA_QUEUE_RECORD_H
#define MSA_QUEUE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/wire.h"

#include "msa/mail/esmtp.h"
#include "msa/queue/queue.h"

#define RECORD_ALIGN	8
#define RECORD_HEADER	40
#define RECORD_HEAD_MAX (64u << 20)
#define RECORD_MAGIC	0x53656b72u /* "Sekr" */

/* Numbers are stored: never change one. */
enum record_type {
	REC_START = 1,	  /* of a segment: what held before it (spool_log.c) */
	REC_MESSAGE = 2,  /* an envelope and its body */
	REC_ENVELOPE = 3, /* a newer envelope of a message whose body is elsewhere */
	REC_OUTBOX = 4,	  /* u64 seq, u32 n, the event records */
	REC_HOLD = 5,	  /* str account, u8 held, str why */
	REC_ACK = 6,	  /* u64 seq: accounting has what is up to it */
	REC_COMMIT =
	    7, /* u32 n, n times i64 key, u32 origin: messages that are done; ends a commit */
};
#define REC_TYPES 8

struct record {
	enum record_type type;
	uint32_t seg;
	uint64_t batch; /* number of the commit, rising for ever */
	uint32_t head_len, body_len, body_crc;
};

/* What the record takes with its padding. */
uint64_t record_size(const struct record *r);
uint64_t record_align(uint64_t n);
/* Writes the header; head is r->head_len octets. */
void record_seal(uint8_t out[static RECORD_HEADER], const struct record *r, const uint8_t *head);
/* A header of bounds that can be; its CRC is not looked at. */
bool record_parse(const uint8_t in[static RECORD_HEADER], struct record *r);
/* in: header and head. True when they are as they were sealed. */
bool record_sound(const uint8_t *in, const struct record *r);

/*
 * The next record of segment seg at or after *at in the n octets of data, whose head is whole and
 * sound. A record of an earlier commit than min_batch is not one: it was left from a commit that
 * failed. False: none. *at is where it begins.
 */
bool record_find(const uint8_t *data, size_t n, uint32_t seg, uint64_t min_batch, size_t *at,
		 struct record *r);

/* Where a record is: segment and offset in units of RECORD_ALIGN; 0 is nowhere. */
static inline int64_t place_of(uint32_t seg, uint64_t at)
{
	return (int64_t)seg << 32 | (int64_t)(at / RECORD_ALIGN);
}
static inline uint32_t place_seg(int64_t place)
{
	return (uint32_t)(place >> 32);
}
static inline uint64_t place_at(int64_t place)
{
	return (uint64_t)(uint32_t)place * RECORD_ALIGN;
}

/* --- envelopes ----------------------------------------------------------------------------- */

/* Recipient states. WAITING: to be tried in the coming or current round; DEFERRED: tried in the
 * current round. */
enum { R_WAITING = 0, R_DEFERRED = 1, R_DELIVERED = 2, R_BOUNCED = 3 };

struct env_rcpt {
	const char *address, *orcpt, *status, *reply;
	uint8_t state, notify;
};

struct envelope {
	char id[QUEUE_ID_LEN + 1];
	int64_t key;
	uint32_t origin; /* segment in which the message first came */
	int64_t body;	 /* place of the record with the body; 0: this one */
	uint32_t size;	 /* of the body */
	const char *account, *mail_from, *mail_from_out, *route, *last_reply;
	struct esmtp_mail esmtp;
	int64_t received_ms, life_from_ms, next_ms;
	uint32_t attempts;
	uint8_t hold;
	struct addr src;
	uint16_t src_port;
	uint32_t n;
	struct env_rcpt *rcpts;
};

/* Octets that envelope_encode() needs, or more. */
size_t envelope_bound(const struct envelope *e);
/* Returns the length; cap is at least envelope_bound(). NULL strings are "". */
size_t envelope_encode(const struct envelope *e, uint8_t *buf, size_t cap);
/* Fills *e with views into buf (which must live as long) and rcpts talloc'd under ctx. False: it is
 * no envelope, or no memory. */
bool envelope_decode(void *ctx, const uint8_t *buf, size_t len, struct envelope *e);
/* What is at the beginning of every envelope, without the rest. */
struct envelope_key {
	int64_t key, body;
	uint32_t origin, size;
};
bool envelope_peek(const uint8_t *buf, size_t len, struct envelope_key *k);
/* Recipients in these states. */
uint32_t envelope_count(const struct envelope *e, uint8_t state);

#endif
