/*
 * esmtp - what MAIL and RCPT say beside an address, as it is kept with a message: the body type
 * (RFC 6152, 3030), SMTPUTF8 (6531), REQUIRETLS (8689), and what notices are wanted (3461, 6533).
 * Pure.
 */
#ifndef MSA_MAIL_ESMTP_H
#define MSA_MAIL_ESMTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ESMTP_ENVID_MAX	 100 /* as written; RFC 3461 4.4 */
#define ESMTP_ORCPT_MAX	 500 /* as written; RFC 3461 4.2 */
#define ESMTP_NOTIFY_MAX 24

/* Numbers are stored: never change one. */
enum esmtp_body { ESMTP_7BIT = 0, ESMTP_8BIT = 1, ESMTP_BINARY = 2 };
enum esmtp_ret { ESMTP_RET_ANY = 0, ESMTP_RET_FULL = 1, ESMTP_RET_HDRS = 2 };
/* Of one recipient; 0: nothing was said, failures are told and nothing else. */
enum {
	NOTIFY_NEVER = 1,
	NOTIFY_SUCCESS = 2,
	NOTIFY_FAILURE = 4,
	NOTIFY_DELAY = 8,
	NOTIFY_ASKED = 15,
	NOTIFY_DELAY_TOLD = 16, /* the queue's: the notice of the delay has been sent */
};

struct esmtp_mail {
	uint8_t body; /* enum esmtp_body: what the message holds */
	uint8_t ret;  /* enum esmtp_ret */
	bool smtputf8, requiretls;
	const char *envid; /* xtext; "" or NULL: none */
};

struct esmtp_rcpt {
	uint8_t notify;
	const char *orcpt; /* TYPE;ADDRESS as written, ASCII; "" or NULL: none */
};

/* NOTIFY's value. False: not one, or NEVER beside something else. */
bool esmtp_notify(const char *v, size_t len, uint8_t *out);
/* "SUCCESS,FAILURE"; "" for 0. Returns buf. */
const char *esmtp_notify_text(uint8_t notify, char buf[static ESMTP_NOTIFY_MAX]);

/* Decodes xtext (RFC 3461 4) to printable ASCII with a NUL. False: it is not xtext, decodes to
 * something else, or does not fit cap. */
bool esmtp_xtext(const char *v, size_t len, char *out, size_t cap);

/*
 * ORCPT's value, made ASCII: non-ASCII characters of the type utf-8, allowed when utf8 is said,
 * become \x{...} (RFC 6533 3). False: not one, or too long.
 */
bool esmtp_orcpt(const char *v, size_t len, bool utf8, char out[static ESMTP_ORCPT_MAX + 1]);
/* ORCPT's value as Original-Recipient: shows it: "rfc822;a@b" with xtext decoded. False: not one.
 */
bool esmtp_orcpt_text(const char *orcpt, char out[static ESMTP_ORCPT_MAX + 1]);

/* An address in ASCII whatever it holds: as it is, or as utf-8-addr-xtext (RFC 6533 3). False: it
 * does not fit, or is not UTF-8. */
bool esmtp_address_text(const char *address, char *out, size_t cap);

#endif
