/*
 * outbox - events on their way to acctd: numbered batches, kept until acknowledged, bounded, and
 * kept over a restart. Pure; the bytes are read and written by the caller.
 */
#ifndef NFQ_OUTBOX_H
#define NFQ_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/event.h"

#define OUTBOX_BATCH_BYTES (8u << 10) /* acctd writes a hundred events in a millisecond or two */
#define OUTBOX_INSTANCE	   64

struct outbox;

/* instance names the numbering (copied). max_bytes: what is beyond it is given up, oldest first. */
struct outbox *outbox_new(void *ctx, const char *instance, size_t max_bytes);
const char *outbox_instance(const struct outbox *o);

/* Add to the batch being filled; outbox_seal() ends it, and so does its size. */
void outbox_add(struct outbox *o, const struct event *e);
void outbox_seal(struct outbox *o);

/*
 * Send in order what was not sent yet, as long as send() returns true and at most a window is
 * unacknowledged.
 */
void outbox_send(struct outbox *o,
		 bool (*send)(uint64_t seq, uint32_t n, const uint8_t *data, size_t len, void *arg),
		 void *arg);
void outbox_acked(struct outbox *o, uint64_t seq); /* this one and earlier ones */
void outbox_resend(struct outbox *o);		   /* a new connection: everything goes again */

size_t outbox_bytes(const struct outbox *o);
size_t outbox_batches(const struct outbox *o);
uint64_t outbox_lost(const struct outbox *o); /* events given up */

/* The whole as bytes, talloc'd under ctx; what was being filled is sealed first. */
uint8_t *outbox_encode(struct outbox *o, void *ctx, size_t *len);
/* An outbox with the instance and numbering of those bytes; NULL when they are damaged. */
struct outbox *outbox_decode(void *ctx, const uint8_t *data, size_t len, size_t max_bytes);

#endif
