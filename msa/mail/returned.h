/*
 * returned - what mail to the sender of a message says of that message: that a recipient was not
 * reached, and why; or nothing of the kind.
 *
 * Read are notifications of delivery (RFC 3464, multipart/report with message/delivery-status; RFC
 * 6533, message/global-delivery-status), qmail's (QSBMF) and Exim's, which names the recipients in
 * X-Failed-Recipients. Everything else, answers of people's programs (RFC 3834) and of their mail
 * readers (RFC 8098) above all, is no bounce.
 *
 * Whoever knows the address could have written it: it is for mail whose recipient has a valid tag,
 * and even then it is only what somebody says. Use: the header's fields in their order, then the
 * body, then the end. Memory is bounded: RETURNED_BODY_MAX octets of the body are looked at.
 *
 * Pure.
 */
#ifndef MSA_MAIL_RETURNED_H
#define MSA_MAIL_RETURNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/mail/token.h"

#define RETURNED_BODY_MAX (96u << 10)
#define RETURNED_FIELD	  1000 /* octets of a field that are looked at */
#define RETURNED_RCPTS	  50
#define RETURNED_ADDRESS  320
#define RETURNED_TEXT	  400

enum returned_form {
	RETURNED_NONE,	 /* says nothing of a delivery */
	RETURNED_DSN,	 /* RFC 3464 */
	RETURNED_QMAIL,	 /* its own */
	RETURNED_EXIM,	 /* names the recipients in the header */
	RETURNED_AUTO,	 /* a program answers: vacation and the like */
	RETURNED_READER, /* a mail reader answers (RFC 8098) */
	RETURNED_FORMS
};

enum returned_action {
	RETURNED_FAILED,
	RETURNED_DELAYED, /* the other side is still trying */
	RETURNED_ARRIVED, /* delivered, relayed or expanded */
};

struct returned_rcpt {
	enum returned_action action;
	char rcpt[RETURNED_ADDRESS + 1];     /* the final one; never "" */
	char original[RETURNED_ADDRESS + 1]; /* as it was first given; "" not said */
	char status[12];		     /* "5.1.1"; "" not said */
	char text[RETURNED_TEXT + 1];	     /* "550 5.1.1 No such user"; control characters are
						blanks */
};

struct returned {
	enum returned_form form;
	char mta[256];		   /* who reports; "" not said */
	char token[TOKEN_LEN + 1]; /* X-Sekisho-Trace of the message, when it came along; "" */
	uint32_t n;
	struct returned_rcpt rcpt[RETURNED_RCPTS];
};

struct returned_reader;

struct returned_reader *returned_new(void *ctx);
/* value without its line end; folded or not. */
void returned_field(struct returned_reader *r, const char *name, const char *value);
void returned_body(struct returned_reader *r, const void *data, size_t len);
/* What it says; of form RETURNED_NONE, AUTO and READER n is 0. Frees the reader. */
void returned_end(struct returned_reader *r, struct returned *out);

/* "none" "dsn" "qmail" "exim" "auto" "reader" */
const char *returned_form_name(enum returned_form f);

#endif
