/*
 * dsn - delivery status notices: RFC 3464 in RFC 6522 multipart/report, non-ASCII addresses as RFC
 * 6533 says. Pure.
 */
#ifndef MSA_MAIL_DSN_H
#define MSA_MAIL_DSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dsn_host {
	const char *hostname;	/* Reporting-MTA */
	const char *postmaster; /* From: */
};

/* DELIVERED: into the mailbox. RELAYED: handed to a server that does not tell of successes itself
 * (RFC 3461 5.2.2). */
enum dsn_action { DSN_FAILED = 0, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_ACTIONS };

struct dsn_rcpt {
	const char *address; /* as the client gave it */
	const char *status;  /* "5.1.1" */
	const char *reply; /* what the remote server said, or our own words when remote is false */
	int remote;
	enum dsn_action action;
	const char *orcpt; /* as RCPT said it; "" or NULL: nothing */
	const char *mta;   /* who answered: a name, or "[ADDRESS]"; "" or NULL not known */
	int64_t last_ms;   /* of the attempt; 0 not known */
	const char *about; /* of a summary: queue id of the message; else NULL */
};

struct dsn {
	const struct dsn_host *host;
	const char *id; /* queue id of this notice, for Message-ID and boundary */
	const char *to; /* envelope sender of the failed message, untagged, not "" */
	const char *failed_id;
	const char *envid; /* as MAIL said it; "" or NULL: nothing */
	int64_t now_ms, received_ms;
	int64_t until_ms;   /* delayed: when it will be given up */
	bool summary;	    /* of several messages: nothing is said of one, and none given back */
	uint32_t more;	    /* of a summary: so many recipients are not listed */
	bool double_bounce; /* to the postmaster: the sender could not be told */
	const struct dsn_rcpt *rcpts;
	size_t n;
	const char *message; /* the failed message, or a beginning of it */
	size_t message_len;
	enum {
		DSN_HEADERS = 0,
		DSN_FULL,
		DSN_SECRET
	} give; /* back: its header; all of it, which
		   message then is; no more of it than
		   what names it */
};

/*
 * The whole notice: CRLF lines of at most 998 octets. When `to` is not ASCII, it can only go a way
 * that has SMTPUTF8: then it is in UTF-8 as RFC 6533 says (message/global-delivery-status,
 * message/global-headers). Else it is 7 bit whatever the input holds (addresses as
 * utf-8-addr-xtext, other octets "?"), but for a message given back in full. talloc'd under ctx;
 * *len without the NUL at its end. NULL when out of memory.
 */
char *dsn_build(void *ctx, const struct dsn *d, size_t *len);

#endif
