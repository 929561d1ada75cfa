/*
 * reply - SMTP replies from a byte stream (RFC 5321 4.2). Pure; bytes come from outside.
 *
 * Accepted: "CODE", "CODE text", "CODE-text" lines ending in CRLF or LF, one code throughout a
 * reply. A line longer than REPLY_LINE_MAX, more than REPLY_LINES_MAX lines, a code outside
 * 200..599, another code within a reply, or anything else is not SMTP: the stream is then dead for
 * good.
 */
#ifndef MSA_RELAY_REPLY_H
#define MSA_RELAY_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_LINE_MAX	 2048 /* octets of one line with its end; RFC 5321 4.5.3.1.5 asks for 512 */
#define REPLY_LINES_MAX	 256
#define REPLY_TEXT_MAX	 4096 /* kept of a reply; the rest is read and forgotten */
#define REPLY_STATUS_MAX 12

enum reply_result {
	REPLY_MORE, /* the input is used up */
	REPLY_DONE, /* one whole reply is in p->reply */
	REPLY_BAD,  /* not SMTP; p->err says why (static text) */
};

struct reply {
	int code;		       /* 200..599 */
	char status[REPLY_STATUS_MAX]; /* enhanced code of the last line that has one (RFC 2034),
					  its class that of code; "" none */
	char text[REPLY_TEXT_MAX]; /* the lines without their codes, joined by '\n'; no NUL, CR or
				      LF inside a line */
	size_t len;
	int lines;
};

struct reply_parser {
	struct reply reply;
	char line[REPLY_LINE_MAX];
	size_t line_len;
	bool done, dead;
	const char *err;
};

void reply_init(struct reply_parser *p);
/*
 * Reads from data up to the end of one reply. *used is how much was taken (all of it when
 * REPLY_MORE). After REPLY_DONE the next call begins a new reply.
 */
enum reply_result reply_feed(struct reply_parser *p, const uint8_t *data, size_t len, size_t *used);

/* What an EHLO reply offers (RFC 5321 4.1.1.1); its first line is the greeting. Keywords are
 * caseless. */
struct reply_ehlo {
	bool pipelining, starttls, eightbitmime, size, smtputf8, dsn, chunking, binarymime,
	    requiretls, auth_plain, auth_login;
	uint64_t max_size; /* 0: none said */
};
void reply_ehlo(const struct reply *r, struct reply_ehlo *out);

/* "550 5.1.1 No such user": one printable ASCII line of at most n - 1 bytes for notices, events and
 * logs; of a longer one what decides its class is kept (answer_abridge()). Returns buf. */
const char *reply_line(const struct reply *r, char *buf, size_t n);

#endif
