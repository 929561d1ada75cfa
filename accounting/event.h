/*
 * event - what daemons tell accounting: one record, one encode/decode pair.
 *
 * Times are UTC milliseconds. Strings are bounded and never contain NUL; a field that does not
 * apply is "" or 0. The account is the authenticated identity in canonical form (user@realm, domain
 * part in lower case).
 */
#ifndef ACCOUNTING_EVENT_H
#define ACCOUNTING_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

enum event_kind {
	EVENT_BLOCK = 1, /* nfqd: port-25 packets of one source refused during an interval */
	EVENT_PASS =
	    2, /* nfqd: port-25 packets of one exempt source let through during an interval */
	EVENT_LOGIN = 3,    /* msad: an AUTH exchange ended */
	EVENT_MESSAGE = 4,  /* msad: a message was accepted (same commit as the message itself) */
	EVENT_DELIVERY = 5, /* msad: one recipient reached a final or deferred state */
	EVENT_REFUSE = 6,   /* msad: a recipient or message was refused (limit, identity, size) */
	EVENT_SUSPECT = 7,  /* nfqd: a refused line goes to as many servers as a zombie does */
	EVENT_SPRAY = 8,    /* msad: many accounts failed to log in from one network */
	EVENT_BOUNCE = 9, /* milter: mail to a valid tag says that a recipient was not reached */
};

#define EVENT_ACCOUNT_MAX 320 /* 64 + 1 + 255: RFC 5321 4.5.3.1 */
#define EVENT_ID_MAX	  32
#define EVENT_TEXT_MAX	  512
#define EVENT_TLS_MAX	  47
#define EVENT_MAX_BYTES	  4096 /* of one encoded record */

struct event {
	enum event_kind kind;
	int64_t t_ms;	 /* when it happened; for BLOCK/PASS the end of the interval */
	struct addr src; /* the line (BLOCK, PASS), the client (others) */
	uint16_t src_port;
	union {
		struct {
			int64_t first_ms;
			struct addr last_dst;
			uint32_t packets;
			uint32_t dsts; /* distinct destinations seen by the daemon, an estimate from
					  below */
			uint8_t plen;  /* src is a line of so many bits; 0: one address */
		} block;	       /* also PASS */
		struct {
			char account[EVENT_ACCOUNT_MAX +
				     1]; /* "" when the name was not a possible one */
			char mech[24];
			char session[EVENT_ID_MAX + 1];
			char reason[EVENT_TEXT_MAX + 1]; /* "" on success */
			char tls[EVENT_TLS_MAX + 1]; /* a name for the client's TLS; "" none */
			bool ok;
		} login;
		struct {
			char account[EVENT_ACCOUNT_MAX + 1];
			char session[EVENT_ID_MAX + 1];
			char queue_id[EVENT_ID_MAX + 1];
			char token[EVENT_ID_MAX + 1];	       /* trace token, X-Sekisho-Trace */
			char mail_from[EVENT_ACCOUNT_MAX + 1]; /* as the client gave it, untagged */
			char message_id[EVENT_TEXT_MAX + 1];
			char rcpt_domains[EVENT_TEXT_MAX +
					  1]; /* distinct, blank-separated, cut at the end */
			uint32_t rcpts;
			uint64_t size;
			bool held; /* went into the queue on hold */
		} message;
		struct {
			char account[EVENT_ACCOUNT_MAX + 1];
			char queue_id[EVENT_ID_MAX + 1];
			char rcpt[EVENT_ACCOUNT_MAX + 1];
			char status[16]; /* enhanced code: "2.1.5", "5.1.1", "4.7.1" */
			char reply[EVENT_TEXT_MAX + 1];
			enum { EVENT_DELIVERED = 1, EVENT_BOUNCED = 2, EVENT_DEFERRED = 3 } result;
			uint8_t answer; /* enum answer_class of ratelimit/answer.h; 0 not said */
			char server[EVENT_ACCOUNT_MAX +
				    1];	      /* "mx.example.net[192.0.2.1]:25"; "" not known */
			char tls[16];	      /* "TLSv1.3"; "" none */
			char cipher[64];
			char proof[16]; /* of who is there: "dane", "sts", "verify", "unverified" */
		} delivery;
		struct {
			char account[EVENT_ACCOUNT_MAX + 1];
			char session[EVENT_ID_MAX + 1];
			char status[16];
			char reason[EVENT_TEXT_MAX + 1];
			uint32_t rcpts;
		} refuse;
		struct {
			int64_t first_ms; /* the evidence is of first_ms..t_ms */
			struct addr last_dst;
			uint32_t packets;    /* refused */
			uint32_t dsts, nets; /* distinct destinations, and /24 or /48 of them:
						estimates from below */
			uint8_t plen;	     /* src is a line of so many bits (of its family) */
		} suspect;
		struct {
			int64_t first_ms;  /* the failures are of first_ms..t_ms */
			uint32_t accounts; /* distinct, at least */
			uint8_t plen;	   /* src is a network of so many bits (of its family) */
		} spray;
		struct {
			char sender[EVENT_ACCOUNT_MAX + 1]; /* whose tag it was, without the tag */
			char token[EVENT_ID_MAX + 1];	    /* of the message, "" not known */
			char rcpt[EVENT_ACCOUNT_MAX + 1];
			char original[EVENT_ACCOUNT_MAX + 1]; /* before forwarding, "" not said */
			char status[16];		      /* "" not said */
			char reply[EVENT_TEXT_MAX + 1];	      /* "" not said */
			char mta[EVENT_ACCOUNT_MAX + 1];      /* who says so, "" not said */
			uint8_t result;			      /* EVENT_BOUNCED, EVENT_DEFERRED */
			uint8_t answer; /* enum answer_class of ratelimit/answer.h */
		} bounce; /* src: the client that brought it */
	} u;
};

/* Appends nothing on failure. Returns the bytes written, 0 when cap is too small. Strings longer
 * than their field are a bug(). */
size_t event_encode(const struct event *e, uint8_t *buf, size_t cap);
/* Strict: returns the bytes consumed (a record carries its own length), 0 when it is not a valid
 * record. */
size_t event_decode(const uint8_t *buf, size_t len, struct event *out);
const char *event_kind_name(enum event_kind k);

#endif
