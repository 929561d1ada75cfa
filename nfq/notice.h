/*
 * notice - what the responder says on connections to port 25 that are not let out: SMTP as far as
 * RFC 5321 3.1 asks of a server that refuses service. Pure: bytes in, bytes out.
 *
 * The greeting is 554; whatever comes then is answered 503, QUIT with 221, and after NOTICE_ERRORS
 * lines the connection ends with 421. Nothing of what a client says is kept.
 */
#ifndef NFQ_NOTICE_H
#define NFQ_NOTICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

#define NOTICE_LINE   512 /* octets of a command line with its CRLF (RFC 5321 4.5.3.1.4) */
#define NOTICE_REPLY  512
#define NOTICE_ERRORS 10

/* --- one connection -------------------------------------------------------------- */

struct notice {
	uint8_t errors;
	bool too_long, over;
	size_t len; /* of the line so far; beyond the first bytes nothing is kept */
	char start[8];
};

/*
 * The greeting: "554 5.7.1 HOSTNAME TEXT URL\r\n". url may be "". False: it does not fit a reply
 * line, or holds what no reply may.
 */
bool notice_greeting(const char *hostname, const char *text, const char *url,
		     char out[static NOTICE_REPLY]);
/*
 * What the client sent. Appends replies to out, *out_len at most cap; what has no room is not read:
 * the bytes taken are returned. n->over: close after sending.
 */
size_t notice_feed(struct notice *n, const char *data, size_t len, char *out, size_t cap,
		   size_t *out_len);

/* --- who may have one ------------------------------------------------------------ */

struct notice_gate;

/* max connections at once; of one source (host, or /64) at most a tenth of them, at least 2.
 * Allocated under ctx (talloc). */
struct notice_gate *notice_gate_new(void *ctx, unsigned max);
bool notice_enter(struct notice_gate *g, const struct addr *source);
void notice_leave(struct notice_gate *g, const struct addr *source);
unsigned notice_inside(const struct notice_gate *g);

#endif
