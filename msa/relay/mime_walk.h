/*
 * mime_walk - the structure of a message as it streams by (RFC 2045, 2046): headers of the message,
 * of its parts and of the messages in it; bodies; the lines between them. Pure.
 *
 * What it cannot tell for sure is a trouble, not a guess: who changes a message by what it says
 * must not see another structure than the recipient.
 */
#ifndef MSA_RELAY_MIME_WALK_H
#define MSA_RELAY_MIME_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIME_DEPTH_MAX	  100
#define MIME_ENTITIES_MAX 10000
#define MIME_BOUNDARY_MAX 200
#define MIME_HEADER_MAX	  (256u << 10)

enum mime_kind { MIME_LEAF, MIME_MULTIPART, MIME_MESSAGE };
/* Content-Transfer-Encoding; OTHER: none of the RFC's. */
enum mime_cte { MIME_NONE, MIME_7BIT, MIME_8BIT, MIME_BINARY, MIME_QP, MIME_BASE64, MIME_OTHER };

/* The message itself, a part, or a message in one. */
struct mime_entity {
	unsigned number; /* from 0, in the order in which they begin */
	enum mime_kind kind;
	enum mime_cte cte;
	bool text;	  /* of type text, or of none */
	bool typed;	  /* it has Content-Type: */
	bool message;	  /* its header is that of a message */
	bool version;	  /* it has MIME-Version: */
	bool in_signed;	  /* within multipart/signed: every octet counts */
	bool sealed;	  /* its body may not be encoded: what it is forbids it, or is not clear */
	bool header_8bit; /* non-ASCII octets, NUL, a bare CR or LF in its header */
};

struct mime_handler {
	/* The header's lines, each with CRLF; blank: an empty line follows. */
	void (*header)(const struct mime_entity *e, const char *text, size_t len, bool blank,
		       void *arg);
	/* Octets of a leaf's body, or of what stands before and after the parts of a multipart;
	 * line ends come by eol, so that there is no CRLF in it. */
	void (*body)(const struct mime_entity *e, const uint8_t *data, size_t n, void *arg);
	void (*eol)(const struct mime_entity *e, void *arg);
	/* A leaf's body is over. last: with the message. */
	void (*leaf_end)(const struct mime_entity *e, bool last, void *arg);
	/* A line between parts, without its ends; before, after: there was a CRLF there. */
	void (*delimiter)(const char *line, size_t n, bool before, bool after, void *arg);
};

struct mime_walk;

/* talloc'd under ctx. binary: only CR LF ends a line (RFC 3030); else CR and LF alone, too, which
 * are never seen again. */
struct mime_walk *mime_walk_new(void *ctx, bool binary, const struct mime_handler *h, void *arg);
/* Any pieces. */
void mime_walk_feed(struct mime_walk *w, const uint8_t *data, size_t n);
void mime_walk_end(struct mime_walk *w);
/* In words; NULL: none. After the first nothing is called any more. */
const char *mime_walk_trouble(const struct mime_walk *w);

/* The field that line (with its CRLF) begins: is it called name? */
bool mime_field_is(const char *line, size_t n, const char *name);
/* Octets of the field that text begins with, folded lines and CRLF included. */
size_t mime_field_len(const char *text, size_t len);

#endif
