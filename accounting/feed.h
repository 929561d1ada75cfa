/*
 * feed - the one connection a daemon (nfqd, msad) keeps to acctd: events up, policy and requests
 * down.
 *
 * Socket: <run_dir>/feed.sock, frames of lib/ipc. See docs/protocols/feed.md for the bytes. The
 * client reconnects by itself; packets and sessions never wait for it.
 *
 * Events: a batch has a sequence number of the sender's own, rising within an instance (a string
 * that names the life of that numbering: msad's spool id, nfqd's start). acctd commits a batch and
 * its number in one transaction and then acknowledges; a batch sent again is acknowledged and not
 * counted twice. The sender keeps a batch until it is acknowledged, and sends again after a
 * reconnect.
 */
#ifndef ACCOUNTING_FEED_H
#define ACCOUNTING_FEED_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "accounting/event.h"
#include "lib/addr.h"

#define FEED_PROTOCOL 2 /* acctd refuses any other */

enum feed_frame {		  /* u16 type of lib/ipc */
		  FEED_HELLO = 1, /* > u8 FEED_PROTOCOL, str program, str instance, u8 wants policy,
				     u64 version in force (0: none) */
		  FEED_EVENTS = 2,  /* > u64 seq, u32 n, n records of event_encode() */
		  FEED_REPLY = 3,   /* > u32 request id, bytes JSON */
		  FEED_APPLIED = 4, /* > u64 version: this policy version is in force */
		  FEED_ACK = 16,    /* < u64 seq: this batch and every earlier one are on disk */
		  FEED_POLICY_BEGIN = 17, /* < u64 version, u32 count: forget nothing yet, a full
					     snapshot follows */
		  FEED_POLICY_ENTRY = 18, /* < u32 n, n entries */
		  FEED_POLICY_END =
		      19, /* < u64 version: the snapshot is complete, it replaces what was held */
		  FEED_POLICY_CHANGE = 20, /* < u64 version, u8 op (enum policy_op), entry */
		  FEED_REQUEST = 21, /* < u32 request id, bytes JSON {"op":…,"args":{…}} */
};

enum policy_op { POLICY_SET = 1, POLICY_DELETE = 2 };

#define POLICY_CLASS	 16 /* bytes of a class name with its NUL: [a-z0-9-]{1,15} */
#define POLICY_DST_MAX	 16
#define POLICY_ENTRY_MAX (1 + 16 + 4 + 15 + 3 * 8 + 1 + POLICY_DST_MAX * 17) /* bytes encoded */

/* One active exemption. Only those in force now or later are sent; a suspended or ended one is a
 * POLICY_DELETE. */
struct policy_entry {
	struct prefix prefix;
	char class[POLICY_CLASS];      /* what it means is nfqd's configuration */
	int64_t starts_ms, expires_ms; /* UTC; expires 0: never */
	int64_t exemption_id;
	uint8_t n_dst;			   /* of a class for listed destinations only */
	struct prefix dst[POLICY_DST_MAX]; /* of the prefix's own family or not */
};

struct feed;
struct feed_request; /* to be answered once, with feed_reply() */

struct feed_handlers {
	/* All may be NULL. A program without policy handlers is sent no policy. */
	void (*policy_begin)(uint64_t version, uint32_t count, void *arg);
	void (*policy_entry)(const struct policy_entry *e, void *arg);
	void (*policy_end)(uint64_t version, void *arg);
	void (*policy_change)(uint64_t version, enum policy_op op, const struct policy_entry *e,
			      void *arg);
	void (*acked)(uint64_t seq, void *arg);
	void (*request)(struct feed_request *r, const char *op, const json_t *args, void *arg);
	void (*state)(bool connected, void *arg);
};

/* instance is copied. policy_version() may be NULL; else it is asked at each (re)connect. */
struct feed *feed_new(struct event_base *base, const char *run_dir, const char *program,
		      const char *instance, uint64_t (*policy_version)(void *arg),
		      const struct feed_handlers *h, void *arg);
bool feed_connected(const struct feed *f);
/* False when not connected or the backlog is full: keep the batch. records: n concatenated
 * event_encode() results of at most 512 KB. */
bool feed_send(struct feed *f, uint64_t seq, uint32_t n, const uint8_t *records, size_t len);
/* Tell acctd that policy up to this version is in force in the kernel. False when not connected
 * (the next HELLO says it). */
bool feed_applied(struct feed *f, uint64_t version);
/* Takes result (a reference). ok false: result is a string, the error in words. */
void feed_reply(struct feed_request *r, bool ok, json_t *result);
void feed_free(struct feed *f);

/* Codec, for both ends. Entry: u8 family len, addr, str class, i64 starts, i64 expires, i64 id, u8
 * n_dst, of each: u8 family len, addr. */
struct wire_out;
struct wire_in;
/* Is it a class name as the configuration allows it? */
bool policy_class_valid(const char *name);
void policy_entry_put(struct wire_out *w, const struct policy_entry *e);
bool policy_entry_get(struct wire_in *r, struct policy_entry *e);

#endif
