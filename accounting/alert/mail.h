/*
 * mail - an alert as a message (RFC 5322), for the direct SMTP route. Pure.
 */
#ifndef ACCOUNTING_ALERT_MAIL_H
#define ACCOUNTING_ALERT_MAIL_H

#include <stdint.h>

struct mail_head {
	const char *from, *to; /* addresses, checked by the configuration */
	const char *host;      /* of the Message-ID */
	const char *uuid;      /* the alert's */
	int64_t made_ms;       /* UTC */
	const char *subject;   /* any UTF-8 without control characters */
};

/* Lines end in CRLF, none is longer than 78 octets but what has no blank; US-ASCII. talloc'd under
 * ctx. The same alert to the same address is the same message, octet by octet. */
char *mail_make(void *ctx, const struct mail_head *h, const char *text);

#endif
