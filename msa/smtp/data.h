/*
 * data - the bytes between DATA's 354 and <CRLF>.<CRLF>: end found, dots unstuffed, faults noticed.
 *
 * Only the exact sequence CR LF . CR LF ends the message (RFC 5321 4.1.1.4); a bare CR, a bare LF
 * or a NUL makes the whole message faulty, and reading goes on to the real end, so that nothing
 * inside it can be taken for commands. Any split of the input gives the same result.
 */
#ifndef MSA_SMTP_DATA_H
#define MSA_SMTP_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dot_fault { DOT_CLEAN = 0, DOT_BARE_CR, DOT_BARE_LF, DOT_NUL };

struct dot {
	enum { DOT_BOL, DOT_DOT, DOT_DOTCR, DOT_TEXT, DOT_CR, DOT_DONE } state;
	enum dot_fault fault; /* the first one; nothing is handed out after it */
};

void dot_init(struct dot *d);
/*
 * Take bytes; *used is how many belong to the message (all, unless the end was found: the rest are
 * commands). out is called with unstuffed runs, CRLF included. True when the end was found.
 */
bool dot_feed(struct dot *d, const uint8_t *in, size_t len, size_t *used,
	      void (*out)(const uint8_t *data, size_t len, void *arg), void *arg);
/* "bare LF" and the like, for replies. */
const char *dot_fault_name(enum dot_fault f);

/*
 * The same rules for octets whose end is known beforehand (BDAT): nothing is unstuffed, and the
 * octets are the message. In a binary message they hold for the header section alone, up to the
 * first empty line.
 */
struct crlf {
	bool binary;	      /* allowed: set by the caller, after crlf_init() */
	bool in_body;	      /* the empty line has come */
	bool not_text;	      /* of a binary message: it could not have been sent by DATA */
	bool cr, any;	      /* the last octet was CR; there was one */
	bool line_end;	      /* the last two were CR LF */
	uint64_t column;      /* of the line under way */
	enum dot_fault fault; /* the first one */
};

void crlf_init(struct crlf *l);
/* True as long as nothing is wrong. */
bool crlf_feed(struct crlf *l, const uint8_t *in, size_t len);
/* Nothing more comes: a CR at the very end was one too many. */
bool crlf_end(struct crlf *l);

#endif
