/*
 * pkt - the first bytes of a packet as facts. Pure, no allocation.
 *
 * Strict: a header chain is followed only through headers that exist (RFC 8200, RFC 4302), with
 * lengths that cannot overflow, within what was captured; whatever does not parse is PKT_BAD.
 */
#ifndef NFQ_PKT_H
#define NFQ_PKT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

#define PKT_COPY_RANGE                                                                             \
	128 /* bytes of a packet that are asked for; a longer header chain is PKT_BAD */

enum pkt_kind {
	PKT_BAD,      /* truncated, contradictory, or an unknown header */
	PKT_TCP,      /* ports and flags are valid */
	PKT_FRAGMENT, /* not the first: no transport header in it */
	PKT_OTHER,    /* a transport or tunnel that is not TCP */
};

enum { PKT_FIN = 1, PKT_SYN = 2, PKT_RST = 4, PKT_ACK = 16 };

struct pkt {
	enum pkt_kind kind;
	const char *why; /* PKT_BAD: static text */
	uint8_t version; /* 4 or 6; 0 when not even that is known */
	struct addr src, dst;
	uint8_t proto; /* of the last header looked at */
	uint16_t sport, dport;
	uint8_t flags; /* TCP */
};

/* data: len captured bytes of a packet that begins with its IP header; total: its length on the
 * wire. */
void pkt_parse(const uint8_t *data, size_t len, size_t total, struct pkt *out);

#endif
