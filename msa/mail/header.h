/*
 * header - edits the header section of a message as it streams by.
 *
 * Added on top: the Received: and Authentication-Results: fields given, X-Sekisho-Trace: and, when
 * there is an address for complaints, CFBL-Address: and CFBL-Feedback-ID: (RFC 9477). Removed
 * wherever they stand, with their folded lines: Return-Path, Bcc, Resent-Bcc, Sender,
 * X-Sekisho-Trace, the CFBL fields when ours are added, and Authentication-Results: in this
 * server's name (RFC 8601 5), however it is spelt: only we may speak in it. Added at the end of the
 * section: Sender: (see below), Message-ID: and Date: when missing (RFC 6409 8). Every other byte
 * passes unchanged and in order, whatever its value and however it is folded; the body is never
 * looked at.
 *
 * A first line of a mailbox file ("From user@host date", RFC 4155) becomes the field
 * X-Mailbox-Line:, so that the header section after it is one.
 *
 * The section ends at the first empty line, or before the first line that is no field (an empty
 * line is then put in, so that the rest is body); RFC 5322 2.1, 3.6.
 */
#ifndef MSA_MAIL_HEADER_H
#define MSA_MAIL_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/mail/identity.h"
#include "msa/mail/path.h"

struct header_opts {
	const struct path *account;   /* who is authenticated */
	const struct identities *ids; /* what else is its own; may be NULL */
	enum sender_mode sender;      /* OFF: the client's Sender: is left alone */
	const char *received;	      /* complete, with CRLF */
	const char *auth_results;     /* the same, or NULL */
	const char *authserv_id;      /* fields in this name are removed; NULL: none are */
	const char *trace;	      /* token */
	const char *cfbl_address;     /* where complaints go, or NULL */
	const char *message_id;	      /* without <>, used when there is none */
	const char *date;	      /* RFC 5322, used when there is none */
};

/* Whom From: names. */
enum header_from {
	HEADER_FROM_NONE,    /* there is no From:, or nobody in it */
	HEADER_FROM_BAD,     /* more than one From:, or not a list of mailboxes */
	HEADER_FROM_FOREIGN, /* a mailbox that the account may not write as */
	HEADER_FROM_MAY,     /* mailboxes it may write as; not just one of its own */
	HEADER_FROM_OWN,     /* one mailbox, its own: Sender: has nothing to add */
};

struct header_editor;

typedef void header_out(const void *data, size_t len, void *arg);

/* opts and what it points to must live until header_end(). Freed with ctx (talloc). */
struct header_editor *header_new(void *ctx, const struct header_opts *opts, header_out *out,
				 void *arg);
/* Message bytes: CRLF lines, no bare CR or LF, dots unstuffed. */
void header_feed(struct header_editor *h, const uint8_t *data, size_t len);
/* The message is complete. */
void header_end(struct header_editor *h);

/* After the section has ended. */
const char *header_message_id(const struct header_editor *h); /* with <>, cut at 256 characters,
								 printable; the client's or ours */
unsigned header_hops(const struct header_editor *h);	      /* Received: fields that were there */
bool header_sender_added(const struct header_editor *h);
enum header_from header_from(const struct header_editor *h);
/* The first mailbox of From:; NULL with HEADER_FROM_NONE and HEADER_FROM_BAD. */
const struct path *header_from_path(const struct header_editor *h);

#endif
