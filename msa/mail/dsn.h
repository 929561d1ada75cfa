/*
 * dsn - failure notices: RFC 3464 in RFC 6522 multipart/report. Pure.
 */
#ifndef MSA_MAIL_DSN_H
#define MSA_MAIL_DSN_H

#include <stddef.h>
#include <stdint.h>

struct dsn_host {
	const char *hostname;	/* Reporting-MTA */
	const char *postmaster; /* From: */
	const char *smarthost;	/* Remote-MTA, "ADDRESS:PORT" */
};

struct dsn_failure {
	const char *address; /* as the client gave it */
	const char *status;  /* "5.1.1" */
	const char *reply; /* what the remote server said, or our own words when remote is false */
	int remote;
};

struct dsn {
	const struct dsn_host *host;
	const char *id; /* queue id of this notice, for Message-ID and boundary */
	const char *to; /* envelope sender of the failed message, untagged, not "" */
	const char *failed_id;
	int64_t now_ms, received_ms;
	const struct dsn_failure *failures;
	size_t n;
	const char *headers; /* header section of the failed message, or a beginning of it */
	size_t headers_len;
};

/*
 * The whole notice: CRLF lines of at most 998 octets, 7 bit whatever the input holds (other octets
 * become "?"). talloc'd under ctx; *len without the NUL at its end. NULL when out of memory.
 */
char *dsn_build(void *ctx, const struct dsn *d, size_t *len);

#endif
