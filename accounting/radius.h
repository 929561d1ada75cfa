/*
 * radius - an Accounting-Request as facts, and the answer to it. Pure: bytes in, facts out.
 *
 * RFC 2865 and 2866 (packet, attributes), 2869 (Event-Timestamp, Interim), 3162
 * (Framed-IPv6-Prefix), 4818 (Delegated-IPv6-Prefix), 6911 (Framed-IPv6-Address), 8045
 * (IP-Port-Range, the port blocks of a shared address), 5997 (Status-Server). Whether the packet is
 * genuine is radius_auth's to say.
 */
#ifndef ACCOUNTING_RADIUS_H
#define ACCOUNTING_RADIUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

#define RADIUS_HEADER	 20
#define RADIUS_MAX	 4096 /* bytes of a packet (RFC 2865 section 3) */
#define RADIUS_TEXT	 760  /* 253 bytes, each as %XX at the worst, and a NUL */
#define RADIUS_LINES_MAX 32

enum radius_code {
	RADIUS_ACCOUNTING_REQUEST = 4,
	RADIUS_ACCOUNTING_RESPONSE = 5,
	RADIUS_STATUS_SERVER = 12,
};

enum radius_status { /* Acct-Status-Type; 0: none */
		     RADIUS_START = 1,
		     RADIUS_STOP = 2,
		     RADIUS_INTERIM = 3,
		     RADIUS_ON = 7,
		     RADIUS_OFF = 8,
};

/* What a session has: an address, a prefix, or ports of a shared address. */
struct radius_line {
	struct prefix prefix;
	uint16_t port_lo, port_hi;
	bool framed; /* Framed-IP-Address: a session has one at a time */
	bool gone;   /* these ports were given back (IP-Port-Alloc deallocation) */
};

struct radius_request {
	uint8_t code, id;
	int status;
	/*
	 * Text without control characters; "" when the attribute is not there. In user and
	 * subscriber class bytes are as sent, and usable says that they are no control characters.
	 * The others are keys: bytes other than printable ASCII, and '%', are written %XX.
	 */
	char user[254], class[254], nas[RADIUS_TEXT], session[RADIUS_TEXT], port[RADIUS_TEXT],
	    calling[RADIUS_TEXT];
	bool user_bad, class_bad; /* it was there, but is no text */
	int64_t event_s;	  /* Event-Timestamp, -1: none */
	int64_t delay_s;	  /* Acct-Delay-Time, -1: none */
	int64_t session_s;	  /* Acct-Session-Time, 0: none */
	struct radius_line lines[RADIUS_LINES_MAX];
	size_t n_lines;
	size_t auth_at;	 /* offset of the value of Message-Authenticator, 0: none */
	const char *bad; /* why what it says cannot be used (static text), NULL: it can */
};

/*
 * The packet's own length when the header and the attributes' lengths fit into len bytes and its
 * code is one of those above; what follows it is padding. 0: no such packet.
 */
size_t radius_packet(const uint8_t *p, size_t len);
/*
 * The facts of a packet of which radius_packet() said len. False: an attribute's value breaks its
 * RFC (out->bad says which); code, id and auth_at are right all the same. Addresses that say
 * nothing (0.0.0.0, 255.255.255.254, multicast, ...) are left out. netmask: Framed-IP-Netmask says
 * that the whole network is the subscriber's.
 */
bool radius_parse(const uint8_t *p, size_t len, bool netmask, struct radius_request *out);

/*
 * The answer to it, into out: Accounting-Response, with every Proxy-State of the request in order.
 * That to a Status-Server has room for a Message-Authenticator, whose value's offset is *auth_at; in
 * that to an Accounting-Request there is none (0), for implementations do not agree on what it is
 * made of, and the Response Authenticator proves the same. Authenticators are zero. Returns its
 * length.
 */
size_t radius_answer(const uint8_t *p, size_t len, uint8_t out[static RADIUS_MAX], size_t *auth_at);

#endif
