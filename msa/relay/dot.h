/*
 * dot - a message as DATA carries it (RFC 5321 4.5.2): a dot before each line's leading dot, CRLF
 * at the very end. Pure.
 */
#ifndef MSA_RELAY_DOT_H
#define MSA_RELAY_DOT_H

#include <stddef.h>
#include <stdint.h>

struct dot {
	char last; /* 0 at the start; '\n' at the start of a line, '\r' after a CR not yet written,
		      'x' within a line */
};

/* Room for any n octets stuffed. */
#define DOT_ROOM(n) ((n)*2 + 2)
#define DOT_END_MAX 5

/*
 * Stuff n octets of the message into out (DOT_ROOM(n)); any cutting into pieces gives the same
 * octets. Returns how many were written. Our spool holds CRLF lines; a bare CR or LF in it would be
 * passed on, so it is turned into CRLF here: nothing leaves that another server could read as an
 * end of data.
 */
size_t dot_stuff(struct dot *d, const uint8_t *in, size_t n, uint8_t *out);
/* What ends the data: ".\r\n", after a CRLF when the message lacks its own. */
size_t dot_end(struct dot *d, uint8_t out[static DOT_END_MAX]);

#endif
