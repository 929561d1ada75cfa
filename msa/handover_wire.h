/*
 * handover_wire - what a leaving msad says to the one that has taken its place. Pure.
 *
 * Datagrams on a SOCK_SEQPACKET pair, so that whoever reads next finds whole ones. A message itself
 * is in a sealed memfd that comes with its datagram: u32 length of the envelope, the envelope, the
 * message.
 */
#ifndef MSA_HANDOVER_WIRE_H
#define MSA_HANDOVER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/event.h"
#include "msa/queue/queue.h"

enum handover_kind {
	HANDOVER_HELLO = 1, /* > (empty): the sessions are with the leaving process */
	HANDOVER_SUBMIT,    /* > u32 number, u8 hold; with a memfd */
	HANDOVER_EVENT,	    /* > an encoded event: the rest of the datagram */
	HANDOVER_REPLY,	    /* < u32 number, u8 result (enum queue_result) */
};

#define HANDOVER_DATAGRAM_MAX (EVENT_MAX_BYTES + 16)
#define HANDOVER_RCPTS_MAX    100000
#define HANDOVER_HEAD	      4 /* the length before the envelope */

struct handover_datagram {
	enum handover_kind kind;
	uint32_t number;
	bool hold;
	enum queue_result result;
	const uint8_t *record; /* a view */
	size_t record_len;
};

/* 0: it did not fit, which 16 octets and a record always do. */
size_t handover_put(const struct handover_datagram *d, uint8_t *buf, size_t cap);
bool handover_get(const uint8_t *data, size_t len, struct handover_datagram *out);

/* The envelope with its length before it, talloc'd under ctx. */
uint8_t *handover_put_message(void *ctx, const struct queue_msg *m, size_t *len);
/*
 * The message in data: views into it, and what is talloc'd under ctx; the event in *e, m->event is
 * e or NULL. False: it breaks the rules.
 */
bool handover_get_message(void *ctx, const uint8_t *data, size_t len, struct queue_msg *m,
			  struct event *e);

#endif
