/*
 * sevenbit - a message that holds 8-bit or binary data, made fit for a server that takes neither
 * (RFC 6152 3, RFC 3030 3): part by part, in the encodings of RFC 2045. Pure.
 *
 * It goes over the message twice: the first time a plan is made, the second time it leaves by the
 * plan. Parts that need nothing keep their octets; what is within multipart/signed keeps them, too,
 * or the whole message is not converted. What is decoded afterwards is what was there before,
 * octet by octet. A DKIM signature over the body breaks: to its reader the message is as one that
 * is not signed (RFC 6376 6.1).
 */
#ifndef MSA_RELAY_SEVENBIT_H
#define MSA_RELAY_SEVENBIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEVENBIT_STATUS_MAX 8
#define SEVENBIT_WHY_MAX    160

/* How to. talloc'd. */
struct sevenbit_plan {
	uint8_t *encodings; /* of each entity */
	unsigned n;
	uint64_t size; /* of what comes of it, about */
	/* It cannot be: the enhanced code and why; "" it can. */
	char status[SEVENBIT_STATUS_MAX], why[SEVENBIT_WHY_MAX];
};

struct sevenbit;

typedef void sevenbit_out(const void *data, size_t n, void *arg);

/* binary: as in mime_walk_new(). Both talloc'd under ctx. */
struct sevenbit *sevenbit_scan(void *ctx, bool binary);
/* plan: of the same octets, without status; must live as long. */
struct sevenbit *sevenbit_convert(void *ctx, bool binary, const struct sevenbit_plan *plan,
				  sevenbit_out *out, void *arg);
/* Any pieces. */
void sevenbit_feed(struct sevenbit *s, const uint8_t *data, size_t n);
/* The message is complete. False: it was not converted, because it is not what was scanned. */
bool sevenbit_end(struct sevenbit *s);
/* Of a scan, after its end; talloc'd under ctx. */
struct sevenbit_plan *sevenbit_plan(struct sevenbit *s, void *ctx);

#endif
