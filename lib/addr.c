/*
 * addr - see addr.h.
 *
 * Text goes through inet_pton(3) and inet_ntop(3), which are strict and canonical in glibc; what
 * this module adds is one key type for both families, prefixes, and errors in words.
 *
 * Trusted with: nothing; pure functions over their arguments.
 * Diagnostics: static texts, for the person who typed the address.
 * Known gaps: scoped addresses (fe80::1%eth0) are refused, not carried.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lib/addr.h"

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

bool addr_is4(const struct addr *a)
{
	return memcmp(a->b, mapped, sizeof mapped) == 0;
}

const uint8_t *addr_v4(const struct addr *a)
{
	return a->b + sizeof mapped;
}

void addr_from_v4(struct addr *a, const uint8_t v4[4])
{
	memcpy(a->b, mapped, sizeof mapped);
	memcpy(a->b + sizeof mapped, v4, 4);
}

void addr_from_v6(struct addr *a, const uint8_t v6[16])
{
	memcpy(a->b, v6, sizeof a->b);
}

int addr_cmp(const struct addr *x, const struct addr *y)
{
	return memcmp(x->b, y->b, sizeof x->b);
}

bool addr_eq(const struct addr *x, const struct addr *y)
{
	return addr_cmp(x, y) == 0;
}

/* The first thing wrong with a text that did not parse. */
static const char *why_not(const char *text)
{
	static const struct {
		const char *chars, *why;
	} rows[] = {
	    {" \t\r\n", "an address holds no blanks"},
	    {"%", "an address with a zone id (%) is not accepted"},
	    {"[]", "an address stands here without brackets"},
	    {"/", "one address is wanted here, not a prefix"},
	};
	if (!*text)
		return "an address is missing";
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (strpbrk(text, rows[i].chars))
			return rows[i].why;
	if (strspn(text, "0123456789abcdefABCDEF:.") != strlen(text))
		return "not an IPv4 or IPv6 address";
	if (strchr(text, '.') && !strchr(text, ':'))
		return "an IPv4 address is four numbers 0 to 255 without leading zeros";
	if (strchr(text, '.') && strchr(text, ':') == strrchr(text, ':'))
		return "an address stands here without a port";
	return "not an IPv6 address (RFC 4291)";
}

bool addr_parse(const char *text, struct addr *out, const char **err)
{
	uint8_t v4[4], v6[16];
	if (inet_pton(AF_INET, text, v4) == 1) {
		addr_from_v4(out, v4);
		return true;
	}
	if (inet_pton(AF_INET6, text, v6) == 1) {
		addr_from_v6(out, v6);
		return true;
	}
	*err = why_not(text);
	return false;
}

const char *addr_format(const struct addr *a, char buf[static ADDR_STRLEN])
{
	const char *ok = addr_is4(a) ? inet_ntop(AF_INET, addr_v4(a), buf, ADDR_STRLEN)
				     : inet_ntop(AF_INET6, a->b, buf, ADDR_STRLEN);
	if (!ok)
		buf[0] = '\0'; /* cannot happen: the buffer holds the longest text */
	return buf;
}

bool addr_from_sockaddr(const struct sockaddr *sa, struct addr *a, uint16_t *port)
{
	in_port_t p;
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof in);
		addr_from_v4(a, (const uint8_t *)&in.sin_addr);
		p = in.sin_port;
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof in6);
		addr_from_v6(a, in6.sin6_addr.s6_addr);
		p = in6.sin6_port;
	} else {
		return false;
	}
	if (port)
		*port = ntohs(p);
	return true;
}

socklen_t addr_to_sockaddr(const struct addr *a, uint16_t port, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof *ss);
	if (addr_is4(a)) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
		memcpy(&in.sin_addr, addr_v4(a), 4);
		memcpy(ss, &in, sizeof in);
		return sizeof in;
	}
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	memcpy(&in6.sin6_addr, a->b, 16);
	memcpy(ss, &in6, sizeof in6);
	return sizeof in6;
}

/* A decimal number without sign or leading zeros, at most max. */
static bool small_number(const char *s, unsigned max, unsigned *out)
{
	unsigned v = 0;
	if (!*s || (s[0] == '0' && s[1]))
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		v = v * 10 + (unsigned)(*s - '0');
		if (v > max)
			return false;
	}
	*out = v;
	return true;
}

/* Copies the first n characters of text; false when they do not fit. */
static bool part(char *buf, size_t cap, const char *text, size_t n)
{
	if (n >= cap)
		return false;
	memcpy(buf, text, n);
	buf[n] = '\0';
	return true;
}

bool addr_parse_port(const char *text, struct addr *a, uint16_t *port, const char **err)
{
	char host[ADDR_STRLEN];
	unsigned p = 0;
	bool bracket = text[0] == '[';
	const char *colon = strrchr(text, ':');
	const char *end = bracket ? strchr(text, ']') : colon;
	if (!end || (bracket && end[1] != ':')) {
		*err = "an address with its port is wanted: 192.0.2.1:25 or [2001:db8::1]:25";
		return false;
	}
	if (!bracket && strchr(text, ':') != colon) {
		*err = "an IPv6 address with a port needs brackets: [2001:db8::1]:25";
		return false;
	}
	if (!small_number(end + (bracket ? 2 : 1), 65535, &p) || p == 0) {
		*err = "a port is a number from 1 to 65535";
		return false;
	}
	if (!part(host, sizeof host, text + bracket, (size_t)(end - text) - bracket)) {
		*err = "not an IPv4 or IPv6 address";
		return false;
	}
	if (!addr_parse(host, a, err))
		return false;
	if (bracket != (strchr(host, ':') != NULL)) {
		*err = "brackets are for IPv6 addresses only";
		return false;
	}
	*port = (uint16_t)p;
	return true;
}

/* Where the address's own family starts in the 128 bits. */
static unsigned base_bits(const struct addr *a)
{
	return addr_is4(a) ? 96 : 0;
}

/* Bytes of a with the bits from `from` on set to 0 or 1. */
static void fill_tail(struct addr *a, unsigned from, bool ones)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = from <= i * 8 ? 0 : from - i * 8 >= 8 ? 8 : from - i * 8;
		uint8_t host = (uint8_t)(0xffu >> keep);
		a->b[i] = (uint8_t)(ones ? a->b[i] | host : a->b[i] & ~host);
	}
}

void addr_mask(const struct addr *a, uint8_t len, struct addr *out)
{
	unsigned from = base_bits(a) + len;
	*out = *a;
	if (from < 128)
		fill_tail(out, from, false);
}

static bool prefix_fail(char errbuf[static 128], const char *why)
{
	(void)snprintf(errbuf, 128, "%s", why);
	return false;
}

/* The address part and, if there is one, the length. */
static bool split_prefix(const char *text, struct prefix *out, char errbuf[static 128])
{
	char host[ADDR_STRLEN];
	const char *slash = strchr(text, '/'), *err = NULL;
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	if (!part(host, sizeof host, text, n))
		return prefix_fail(errbuf, "not an IPv4 or IPv6 address");
	if (!addr_parse(host, &out->a, &err))
		return prefix_fail(errbuf, err);
	unsigned max = 128 - base_bits(&out->a), len = max;
	if (slash && addr_is4(&out->a) && strchr(host, ':'))
		return prefix_fail(errbuf,
				   "write a prefix of IPv4-mapped addresses as an IPv4 prefix");
	if (slash && !small_number(slash + 1, max, &len)) {
		(void)snprintf(errbuf, 128, "the prefix length is a number from 0 to %u", max);
		return false;
	}
	out->len = (uint8_t)len;
	return true;
}

bool prefix_parse(const char *text, struct prefix *out, char errbuf[static 128])
{
	struct prefix p, net;
	struct addr first, last;
	char buf[PREFIX_STRLEN];
	if (!split_prefix(text, &p, errbuf))
		return false;
	net.len = p.len;
	addr_mask(&p.a, p.len, &net.a);
	if (!addr_eq(&net.a, &p.a)) {
		(void)snprintf(errbuf, 128, "host bits are set; the network is %s",
			       prefix_format(&net, buf));
		return false;
	}
	prefix_range(&p, &first, &last);
	if (addr_is4(&last) && !addr_is4(&first)) /* its last key would read as an IPv4 address */
		return prefix_fail(errbuf,
				   "an IPv6 prefix must not end among the IPv4-mapped addresses");
	*out = p;
	return true;
}

const char *prefix_format(const struct prefix *p, char buf[static PREFIX_STRLEN])
{
	addr_format(&p->a, buf);
	if (!prefix_is_host(p)) {
		size_t n = strlen(buf);
		(void)snprintf(buf + n, PREFIX_STRLEN - n, "/%u", p->len);
	}
	return buf;
}

bool prefix_contains(const struct prefix *p, const struct addr *a)
{
	struct addr net;
	if (addr_is4(&p->a) != addr_is4(a))
		return false;
	addr_mask(a, p->len, &net);
	return addr_eq(&net, &p->a);
}

bool prefix_eq(const struct prefix *x, const struct prefix *y)
{
	return x->len == y->len && addr_eq(&x->a, &y->a);
}

bool prefix_is_host(const struct prefix *p)
{
	return base_bits(&p->a) + p->len >= 128;
}

void prefix_range(const struct prefix *p, struct addr *first, struct addr *last)
{
	struct addr a = p->a;
	unsigned from = base_bits(&a) + p->len;
	*first = a;
	*last = a;
	if (from < 128)
		fill_tail(last, from, true);
}
