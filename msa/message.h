/*
 * message - the message a connection is receiving, by DATA or by chunks: dots unstuffed, header
 * edited, in memory and counted. What came in the one way is, octet by octet, what came in the
 * other.
 */
#ifndef MSA_MESSAGE_H
#define MSA_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/mail/header.h"
#include "msa/smtp/session.h"

struct message;

struct message_opts {
	struct header_opts header; /* strings are copied where they must live on */
	bool from_owned;	   /* From: must name addresses of the account */
	int64_t size_hint;	   /* as declared */
	int64_t max;		   /* bytes the client may send; above it nothing is kept */
	int64_t *in_flight;	   /* bytes of all messages of the process */
	int64_t max_in_flight;
	bool binary; /* BODY=BINARYMIME was said: by chunks alone, and only the header must be text
		      */
};

/* Freed with talloc_free(): its bytes leave *in_flight. */
struct message *message_new(void *ctx, const struct message_opts *o);
/* Bytes from the wire; *used as dot_feed(). True when the message is complete; end is then filled.
 */
bool message_feed(struct message *m, const uint8_t *in, size_t len, size_t *used,
		  struct smtp_data_end *end);
/* Octets of a chunk: as they are. */
void message_chunk(struct message *m, const uint8_t *in, size_t len);
/* How it stands after a chunk; last: it is complete. */
void message_chunk_end(struct message *m, bool last, struct smtp_data_end *end);
/* The finished message; only when end was clean. */
const uint8_t *message_data(const struct message *m, size_t *len);
/* Its octets are the caller's to free(3) from now on, and message_data() knows but their number; in
 * *in_flight they count until m is freed. */
uint8_t *message_take(struct message *m, size_t *len);
/* Similarity hash of the finished message's text (mail/simhash.h); 0: it has none. */
uint64_t message_similarity(const struct message *m);
const struct header_editor *message_header(const struct message *m);
/* Put fields before the finished message; false when there is no memory for it. */
bool message_prepend(struct message *m, const char *fields);

#endif
