/*
 * pkt - see pkt.h.
 *
 * Trusted with: bytes that a hostile subscriber chose. Diagnostics: pkt.why. Known gaps: does not
 * look into tunnels (4, 41, 47) or encrypted payloads.
 */
#include "nfq/pkt.h"

#include <string.h>

enum {
	HOPOPTS = 0,
	ICMP = 1,
	IPIP = 4,
	TCP = 6,
	UDP = 17,
	IPV6 = 41,
	ROUTING = 43,
	FRAGMENT = 44,
	GRE = 47,
	ESP = 50,
	AH = 51,
	ICMPV6 = 58,
	NONE = 59,
	DSTOPTS = 60,
	SCTP = 132,
	UDPLITE = 136,
};

#define MAX_HEADERS    16
#define MIN_TCP_HEADER 20

/* What is left to look at: p..end are captured, and so many bytes of the packet lie past end. */
struct view {
	const uint8_t *p, *end;
	size_t beyond;
};

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void bad(struct pkt *out, const char *why)
{
	out->kind = PKT_BAD;
	out->why = why;
}

static bool have(const struct view *v, size_t n)
{
	return (size_t)(v->end - v->p) >= n;
}

/* Cut the view to the length that the IP header claims. */
static void limit(struct view *v, const uint8_t *start, size_t claimed)
{
	size_t captured = (size_t)(v->end - start);
	if (claimed <= captured) {
		v->end = start + claimed;
		v->beyond = 0;
	} else if (claimed - captured < v->beyond) {
		v->beyond = claimed - captured;
	}
}

static void short_of(const struct view *v, struct pkt *out)
{
	bad(out, v->beyond > 0 ? "the header chain is longer than what is captured"
			       : "the header chain does not fit the packet");
}

static void parse_tcp(const struct view *v, struct pkt *out)
{
	if (!have(v, MIN_TCP_HEADER)) {
		short_of(v, out);
		return;
	}
	size_t header = (size_t)(v->p[12] >> 4) * 4;
	if (header < MIN_TCP_HEADER) {
		bad(out, "the TCP header claims less than 20 bytes");
		return;
	}
	/* Options may lie past the captured bytes, but not past the packet. */
	if ((size_t)(v->end - v->p) + v->beyond < header) {
		bad(out, "the TCP header is longer than the packet");
		return;
	}
	out->kind = PKT_TCP;
	out->sport = be16(v->p);
	out->dport = be16(v->p + 2);
	out->flags = v->p[13] & 0x3f;
}

static bool known_transport(uint8_t proto)
{
	static const uint8_t known[] = {ICMP, IPIP,   UDP,  IPV6, GRE,
					ESP,  ICMPV6, NONE, SCTP, UDPLITE};
	return memchr(known, proto, sizeof known) != NULL;
}

static void parse_transport(const struct view *v, struct pkt *out)
{
	if (out->proto == TCP) {
		parse_tcp(v, out);
	} else if (known_transport(out->proto)) {
		out->kind = PKT_OTHER;
	} else {
		bad(out, "an unknown header");
	}
}

/* Step over one header of n bytes whose first byte names the next. */
static bool skip(struct view *v, size_t n, struct pkt *out)
{
	if (!have(v, n)) {
		short_of(v, out);
		return false;
	}
	out->proto = v->p[0];
	v->p += n;
	return true;
}

static bool skip_ah(struct view *v, struct pkt *out)
{
	if (!have(v, 2)) {
		short_of(v, out);
		return false;
	}
	size_t n = ((size_t)v->p[1] + 2) * 4; /* RFC 4302 2.2 */
	if (n < 12) {
		bad(out, "the authentication header claims less than 12 bytes");
		return false;
	}
	return skip(v, n, out);
}

/* --- IPv4 (RFC 791) -------------------------------------------------------------- */

static void parse4(struct view *v, struct pkt *out)
{
	const uint8_t *ip = v->p;
	if (!have(v, 20)) {
		short_of(v, out);
		return;
	}
	size_t header = (size_t)(ip[0] & 0xf) * 4, total = be16(ip + 2);
	uint16_t offset = be16(ip + 6) & 0x1fff;
	addr_from_v4(&out->src, ip + 12);
	addr_from_v4(&out->dst, ip + 16);
	out->proto = ip[9];
	/* Segmentation offload: a length that does not fit 16 bits is sent as 0. */
	if (total != 0)
		limit(v, ip, total);
	if (header < 20 || !have(v, header)) {
		bad(out, "the IPv4 header length is wrong");
		return;
	}
	v->p += header;
	if (offset == 1 && out->proto == TCP) {
		bad(out, "a fragment at offset 1"); /* RFC 3128 */
		return;
	}
	if (offset != 0) {
		out->kind = PKT_FRAGMENT;
		return;
	}
	for (int n = 0; out->proto == AH; n++) {
		if (n == MAX_HEADERS) {
			bad(out, "too many headers");
			return;
		}
		if (!skip_ah(v, out))
			return;
	}
	parse_transport(v, out);
}

/* --- IPv6 (RFC 8200) ------------------------------------------------------------- */

static bool skip_options(struct view *v, struct pkt *out)
{
	if (!have(v, 2)) {
		short_of(v, out);
		return false;
	}
	return skip(v, ((size_t)v->p[1] + 1) * 8, out);
}

/* False: the walk ends here. */
static bool skip_fragment(struct view *v, struct pkt *out)
{
	if (!have(v, 8)) {
		short_of(v, out);
		return false;
	}
	bool first = (be16(v->p + 2) & 0xfff8) == 0;
	if (!skip(v, 8, out))
		return false;
	if (!first)
		out->kind = PKT_FRAGMENT;
	return first;
}

static void parse6(struct view *v, struct pkt *out)
{
	const uint8_t *ip = v->p;
	if (!have(v, 40)) {
		short_of(v, out);
		return;
	}
	size_t payload = be16(ip + 4);
	addr_from_v6(&out->src, ip + 8);
	addr_from_v6(&out->dst, ip + 24);
	/* On the wire such an address is a lie, and here it would be the IPv4 customer's (RFC 4291
	 * 2.5.5.2). */
	if (addr_is4(&out->src) || addr_is4(&out->dst)) {
		bad(out, "an IPv4-mapped address in an IPv6 header");
		return;
	}
	out->proto = ip[6];
	/* 0 is a jumbogram, or a segmentation offload above 64 KB: only the capture bounds it. */
	if (payload != 0)
		limit(v, ip, 40 + payload);
	v->p += 40;
	for (int n = 0; n < MAX_HEADERS; n++) {
		bool on;
		switch (out->proto) {
		case HOPOPTS:
		case ROUTING:
		case DSTOPTS:
			on = skip_options(v, out);
			break;
		case AH:
			on = skip_ah(v, out);
			break;
		case FRAGMENT:
			on = skip_fragment(v, out);
			break;
		default:
			parse_transport(v, out);
			return;
		}
		if (!on)
			return;
	}
	bad(out, "too many headers");
}

void pkt_parse(const uint8_t *data, size_t len, size_t total, struct pkt *out)
{
	struct view v = {data, data + len, total > len ? total - len : 0};
	*out = (struct pkt){.kind = PKT_BAD};
	if (len == 0) {
		bad(out, "no bytes");
		return;
	}
	out->version = data[0] >> 4;
	if (out->version == 4) {
		parse4(&v, out);
	} else if (out->version == 6) {
		parse6(&v, out);
	} else {
		out->version = 0;
		bad(out, "neither IPv4 nor IPv6");
	}
}
