/*
 * radius - see radius.h.
 *
 * Trusted with: bytes from the network, before and after they were found genuine. A packet whose
 * lengths do not fit is none; an attribute whose value does not fit makes what the packet says
 * unusable. Attributes that are not in the table are passed over, as RFC 2865 section 5 wants.
 * Diagnostics: out->bad. Known gaps: IP-Port-Type (which transport a port block is for) is not
 * looked at; IPv6 prefixes with bits behind their length are cut, not refused.
 */
#include "accounting/radius.h"

#include <stdio.h>
#include <string.h>

enum {
	AT_USER_NAME = 1,
	AT_NAS_IP = 4,
	AT_NAS_PORT = 5,
	AT_FRAMED_IP = 8,
	AT_FRAMED_MASK = 9,
	AT_CLASS = 25,
	AT_CALLING = 31,
	AT_NAS_ID = 32,
	AT_PROXY_STATE = 33,
	AT_STATUS = 40,
	AT_DELAY = 41,
	AT_SESSION_ID = 44,
	AT_SESSION_TIME = 46,
	AT_EVENT_TIME = 55,
	AT_MESSAGE_AUTH = 80,
	AT_NAS_PORT_ID = 87,
	AT_NAS_IP6 = 95,
	AT_FRAMED_PREFIX6 = 97,
	AT_DELEGATED_PREFIX6 = 123,
	AT_FRAMED_IP6 = 168,
	AT_EXTENDED_1 = 241,
	EXT_PORT_RANGE = 6,
};

/* TLVs of IP-Port-Range (RFC 8045 section 3.2) */
enum { TLV_EXT_IP4 = 3, TLV_ALLOC = 8, TLV_START = 9, TLV_END = 10 };
#define ALLOC_BACK 2

struct reading {
	struct radius_request *out;
	const uint8_t *packet;
	bool netmask;
	bool has_ip4, has_mask, has_shared; /* shared: ports of the framed address itself */
	struct addr ip4, nas_ip;
	bool has_nas_ip;
	int mask_len;
	char nas_id[RADIUS_TEXT], nas_port[12];
};

static uint32_t u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

size_t radius_packet(const uint8_t *p, size_t len)
{
	if (len < RADIUS_HEADER ||
	    (p[0] != RADIUS_ACCOUNTING_REQUEST && p[0] != RADIUS_STATUS_SERVER))
		return 0;
	size_t n = (size_t)p[2] << 8 | p[3];
	if (n < RADIUS_HEADER || n > len || n > RADIUS_MAX)
		return 0;
	size_t at = RADIUS_HEADER;
	while (at < n) {
		if (n - at < 2 || p[at + 1] < 2 || p[at + 1] > n - at)
			return 0;
		at += p[at + 1];
	}
	return n;
}

/* --- text --- */

/* A key: the same bytes, the same text, and no others. */
static void put_key(char out[static RADIUS_TEXT], const uint8_t *v, size_t n)
{
	static const char digit[] = "0123456789ABCDEF";
	char *w = out;
	for (size_t i = 0; i < n; i++) {
		if (v[i] > 0x20 && v[i] < 0x7f && v[i] != '%') {
			*w++ = (char)v[i];
			continue;
		}
		*w++ = '%';
		*w++ = digit[v[i] >> 4];
		*w++ = digit[v[i] & 15];
	}
	*w = '\0';
}

/* As sent; true when it holds control characters. */
static bool put_text(char out[static 254], const uint8_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] < 0x20 || v[i] == 0x7f)
			return true;
	memcpy(out, v, n);
	out[n] = '\0';
	return false;
}

/* --- lines --- */

static const char *add_line(struct reading *r, const struct radius_line *l)
{
	struct radius_request *o = r->out;
	if (o->n_lines == RADIUS_LINES_MAX)
		return "more than 32 addresses, prefixes and port blocks";
	o->lines[o->n_lines++] = *l;
	return NULL;
}

/* An address that a subscriber can send from. 255.255.255.254 and .255 mean "not chosen yet"
 * (RFC 2865 section 5.8). */
static bool is_host4(const uint8_t *v)
{
	return v[0] != 0 && v[0] != 127 && v[0] < 224;
}

static bool is_host6(const uint8_t *v)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, zero[12];
	bool link_local = v[0] == 0xfe && (v[1] & 0xc0) == 0x80;
	return v[0] != 0xff && !link_local && memcmp(v, mapped, 12) != 0 &&
	       memcmp(v, zero, 12) != 0;
}

static const char *prefix6(struct reading *r, const uint8_t *v, size_t n)
{
	struct radius_line l = {.port_hi = 65535};
	struct addr a = {.b = {0}};
	if (v[1] > 128 || (n - 2) * 8 < v[1])
		return "an IPv6 prefix whose length does not fit";
	memcpy(a.b, v + 2, n - 2);
	if (v[1] == 0 || !is_host6(a.b))
		return NULL;
	l.prefix.len = v[1];
	addr_mask(&a, v[1], &l.prefix.a);
	return add_line(r, &l);
}

static const char *framed_ip6(struct reading *r, const uint8_t *v, size_t n)
{
	struct radius_line l = {.port_hi = 65535, .prefix.len = 128};
	(void)n;
	if (!is_host6(v))
		return NULL;
	addr_from_v6(&l.prefix.a, v);
	return add_line(r, &l);
}

static const char *framed_ip(struct reading *r, const uint8_t *v, size_t n)
{
	(void)n;
	if (!is_host4(v))
		return NULL;
	addr_from_v4(&r->ip4, v);
	r->has_ip4 = true;
	return NULL;
}

static const char *framed_mask(struct reading *r, const uint8_t *v, size_t n)
{
	uint32_t m = u32(v);
	(void)n;
	r->mask_len = __builtin_popcount(m);
	if (m != (r->mask_len ? ~0U << (32 - r->mask_len) : 0))
		return "a Framed-IP-Netmask with holes";
	r->has_mask = true;
	return NULL;
}

struct ports {
	bool has_ip, has_lo, has_hi, back;
	uint32_t lo, hi;
	struct addr ip;
};

static const char *read_ports(const uint8_t *v, size_t n, struct ports *p)
{
	static const char wrong[] = "an IP-Port-Range whose parts do not fit";
	for (; n > 0; n -= v[1], v += v[1]) {
		if (n < 2 || v[1] < 3 || v[1] > n)
			return wrong;
		bool word = v[1] == 6;
		if (v[0] != TLV_EXT_IP4 && v[0] != TLV_ALLOC && v[0] != TLV_START &&
		    v[0] != TLV_END)
			continue;
		if (!word)
			return wrong;
		if (v[0] == TLV_EXT_IP4) {
			addr_from_v4(&p->ip, v + 2);
			p->has_ip = true;
		} else if (v[0] == TLV_ALLOC)
			p->back = u32(v + 2) == ALLOC_BACK;
		else if (v[0] == TLV_START) {
			p->lo = u32(v + 2);
			p->has_lo = true;
		} else {
			p->hi = u32(v + 2);
			p->has_hi = true;
		}
	}
	return NULL;
}

static const char *port_range(struct reading *r, const uint8_t *v, size_t n)
{
	struct ports p = {.has_ip = false};
	const char *bad = read_ports(v, n, &p);
	if (bad || !p.has_lo || !p.has_hi) /* without both ends it says how many, not which */
		return bad;
	if (p.lo > p.hi || p.hi > 65535)
		return "an IP-Port-Range that ends before it begins, or above 65535";
	if (p.has_ip && !is_host4(addr_v4(&p.ip)))
		return "an IP-Port-Range of no address";
	struct radius_line l = {.prefix = {.len = p.has_ip ? 32 : 0},
				.port_lo = (uint16_t)p.lo,
				.port_hi = (uint16_t)p.hi,
				.gone = p.back};
	if (p.has_ip)
		l.prefix.a = p.ip;
	else
		r->has_shared = true; /* the framed address gets known at the end */
	return add_line(r, &l);
}

static const char *extended(struct reading *r, const uint8_t *v, size_t n)
{
	return v[0] == EXT_PORT_RANGE ? port_range(r, v + 1, n - 1) : NULL;
}

/* --- the rest --- */

static const char *user_name(struct reading *r, const uint8_t *v, size_t n)
{
	r->out->user_bad = put_text(r->out->user, v, n);
	return NULL;
}

/* The first one counts; others may be anybody's. */
static const char *class(struct reading *r, const uint8_t *v, size_t n)
{
	if (!r->out->class[0] && !r->out->class_bad)
		r->out->class_bad = put_text(r->out->class, v, n);
	return NULL;
}

static const char *nas_ip(struct reading *r, const uint8_t *v, size_t n)
{
	if (r->has_nas_ip && n == 16) /* both: the IPv4 address is its name */
		return NULL;
	if (n == 4)
		addr_from_v4(&r->nas_ip, v);
	else
		addr_from_v6(&r->nas_ip, v);
	r->has_nas_ip = true;
	return NULL;
}

static const char *nas_id(struct reading *r, const uint8_t *v, size_t n)
{
	put_key(r->nas_id, v, n);
	return NULL;
}

static const char *nas_port(struct reading *r, const uint8_t *v, size_t n)
{
	(void)n;
	snprintf(r->nas_port, sizeof r->nas_port, "%u", u32(v));
	return NULL;
}

static const char *nas_port_id(struct reading *r, const uint8_t *v, size_t n)
{
	put_key(r->out->port, v, n);
	return NULL;
}

static const char *session_id(struct reading *r, const uint8_t *v, size_t n)
{
	put_key(r->out->session, v, n);
	return NULL;
}

static const char *calling(struct reading *r, const uint8_t *v, size_t n)
{
	put_key(r->out->calling, v, n);
	return NULL;
}

static const char *status(struct reading *r, const uint8_t *v, size_t n)
{
	(void)n;
	r->out->status = u32(v) < 256 ? (int)u32(v) : 255;
	return NULL;
}

static const char *delay(struct reading *r, const uint8_t *v, size_t n)
{
	(void)n;
	r->out->delay_s = u32(v);
	return NULL;
}

static const char *session_time(struct reading *r, const uint8_t *v, size_t n)
{
	(void)n;
	r->out->session_s = u32(v);
	return NULL;
}

static const char *event_time(struct reading *r, const uint8_t *v, size_t n)
{
	(void)n;
	r->out->event_s = u32(v);
	return NULL;
}

static const char *message_auth(struct reading *r, const uint8_t *v, size_t n)
{
	(void)n;
	r->out->auth_at = (size_t)(v - r->packet);
	return NULL;
}

static const struct attribute {
	uint8_t type, min, max; /* bytes of the value */
	bool many;
	const char *bad; /* a length that does not fit, or a second one */
	const char *(*read)(struct reading *r, const uint8_t *v, size_t n);
} attributes[] = {
    {AT_USER_NAME, 1, 253, false, "a second or empty User-Name", user_name},
    {AT_NAS_IP, 4, 4, false, "a NAS-IP-Address that is none", nas_ip},
    {AT_NAS_PORT, 4, 4, false, "a NAS-Port that is none", nas_port},
    {AT_FRAMED_IP, 4, 4, false, "a Framed-IP-Address that is none, or a second one", framed_ip},
    {AT_FRAMED_MASK, 4, 4, false, "a Framed-IP-Netmask that is none", framed_mask},
    {AT_CLASS, 1, 253, true, "an empty Class", class},
    {AT_CALLING, 1, 253, false, "a second or empty Calling-Station-Id", calling},
    {AT_NAS_ID, 1, 253, false, "a second or empty NAS-Identifier", nas_id},
    {AT_STATUS, 4, 4, false, "an Acct-Status-Type that is none, or a second one", status},
    {AT_DELAY, 4, 4, false, "an Acct-Delay-Time that is none", delay},
    {AT_SESSION_ID, 1, 253, false, "a second or empty Acct-Session-Id", session_id},
    {AT_SESSION_TIME, 4, 4, false, "an Acct-Session-Time that is none", session_time},
    {AT_EVENT_TIME, 4, 4, false, "an Event-Timestamp that is none", event_time},
    {AT_MESSAGE_AUTH, 16, 16, false, "a Message-Authenticator that is none, or a second one",
     message_auth},
    {AT_NAS_PORT_ID, 1, 253, false, "a second or empty NAS-Port-Id", nas_port_id},
    {AT_NAS_IP6, 16, 16, false, "a NAS-IPv6-Address that is none", nas_ip},
    {AT_FRAMED_PREFIX6, 2, 18, true, "a Framed-IPv6-Prefix that is none", prefix6},
    {AT_DELEGATED_PREFIX6, 2, 18, true, "a Delegated-IPv6-Prefix that is none", prefix6},
    {AT_FRAMED_IP6, 16, 16, true, "a Framed-IPv6-Address that is none", framed_ip6},
    {AT_EXTENDED_1, 2, 253, true, "an extended attribute that is none", extended},
};
#define N_ATTRIBUTES (sizeof attributes / sizeof attributes[0])

static const struct attribute *find_attribute(uint8_t type)
{
	for (size_t i = 0; i < N_ATTRIBUTES; i++)
		if (attributes[i].type == type)
			return &attributes[i];
	return NULL;
}

/* NULL, or what is wrong with one attribute at v, n bytes of value. seen: bits of the table. */
static const char *read_one(struct reading *r, uint8_t type, const uint8_t *v, size_t n,
			    uint32_t *seen)
{
	const struct attribute *a = find_attribute(type);
	if (!a)
		return NULL;
	uint32_t bit = 1U << (a - attributes);
	if (n < a->min || n > a->max || (!a->many && (*seen & bit)))
		return a->bad;
	*seen |= bit;
	return a->read(r, v, n);
}

/* The framed address, alone or with the ports that were named without one. */
static const char *finish_lines(struct reading *r)
{
	struct radius_request *o = r->out;
	struct radius_line l = {
	    .port_hi = 65535, .prefix = {.a = r->ip4, .len = 32}, .framed = true};
	if (!r->has_shared) {
		if (r->netmask && r->has_mask && r->mask_len >= 8)
			l.prefix.len = (uint8_t)r->mask_len;
		addr_mask(&r->ip4, l.prefix.len, &l.prefix.a);
		return r->has_ip4 ? add_line(r, &l) : NULL;
	}
	if (!r->has_ip4)
		return "an IP-Port-Range without an address";
	for (size_t i = 0; i < o->n_lines; i++)
		if (o->lines[i].prefix.len == 0)
			o->lines[i].prefix = l.prefix;
	return NULL;
}

static void finish_names(struct reading *r)
{
	struct radius_request *o = r->out;
	char text[ADDR_STRLEN];
	if (r->has_nas_ip)
		snprintf(o->nas, sizeof o->nas, "%s", addr_format(&r->nas_ip, text));
	else
		snprintf(o->nas, sizeof o->nas, "%s", r->nas_id);
	if (!o->port[0])
		snprintf(o->port, sizeof o->port, "%s", r->nas_port);
}

bool radius_parse(const uint8_t *p, size_t len, bool netmask, struct radius_request *out)
{
	struct reading r = {.out = out, .packet = p, .netmask = netmask};
	uint32_t seen = 0;
	*out = (struct radius_request){.code = p[0], .id = p[1], .event_s = -1, .delay_s = -1};
	for (size_t at = RADIUS_HEADER; at < len; at += p[at + 1]) {
		const char *bad = read_one(&r, p[at], p + at + 2, p[at + 1] - 2U, &seen);
		if (bad && !out->bad)
			out->bad = bad;
	}
	const char *bad = finish_lines(&r);
	if (bad && !out->bad)
		out->bad = bad;
	finish_names(&r);
	return !out->bad;
}

size_t radius_answer(const uint8_t *p, size_t len, uint8_t out[static RADIUS_MAX], size_t *auth_at)
{
	size_t n = RADIUS_HEADER;
	memset(out, 0, RADIUS_HEADER);
	*auth_at = 0;
	for (size_t at = RADIUS_HEADER; at < len; at += p[at + 1]) {
		size_t size = p[at + 1];
		bool auth = p[0] == RADIUS_STATUS_SERVER && p[at] == AT_MESSAGE_AUTH &&
			    size == 18 && !*auth_at;
		if (!auth && p[at] != AT_PROXY_STATE)
			continue;
		memcpy(out + n, p + at, size);
		if (auth) {
			*auth_at = n + 2;
			memset(out + n + 2, 0, 16);
		}
		n += size;
	}
	out[0] = RADIUS_ACCOUNTING_RESPONSE;
	out[1] = p[1];
	out[2] = (uint8_t)(n >> 8);
	out[3] = (uint8_t)n;
	return n;
}
