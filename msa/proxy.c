/*
 * proxy - see proxy.h.
 *
 * Trusted with: who the client is, so it is asked only for connections of listed proxies. What
 * comes after the addresses in version 2 (names, TLS, checksums) is passed over. Known gaps:
 * the checksum of version 2 is not verified; TCP has its own.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "msa/proxy.h"

#define V1_MIN	15  /* "PROXY UNKNOWN\r\n" */
#define V1_MAX	107 /* the specification's bound, with CR LF */
#define V2_HEAD 16

static const uint8_t v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static enum proxy_result more(struct proxy_header *out, size_t n)
{
	out->more = n;
	return PROXY_MORE;
}

/* --- version 1: a line of text --- */

/* The next word of the line, to the blank or the end; false when it is empty or too long. */
static bool word(const char **p, const char *end, char *out, size_t max)
{
	size_t n = 0;

	while (*p + n < end && (*p)[n] != ' ')
		n++;
	if (n == 0 || n >= max)
		return false;
	memcpy(out, *p, n);
	out[n] = '\0';
	*p += n;
	if (*p < end)
		(*p)++;
	return memchr(out, '\0', n) == NULL;
}

/* 0 to 65535 without leading zeros. */
static bool port_of(const char *text, uint16_t *out)
{
	size_t n = strspn(text, "0123456789");
	unsigned long v = strtoul(text, NULL, 10);

	if (n == 0 || n > 5 || text[n] || (text[0] == '0' && n > 1) || v > 65535)
		return false;
	*out = (uint16_t)v;
	return true;
}

static bool address_of(const char *text, bool four, struct addr *out)
{
	const char *err;

	return addr_parse(text, out, &err) && addr_is4(out) == four &&
	       (strchr(text, ':') == NULL) == four;
}

/* What stands between "PROXY " and CR LF. */
static enum proxy_result v1_line(const char *p, const char *end, struct proxy_header *out)
{
	char kind[8], src[48], dst[48], sport[8], dport[8];
	struct addr to;
	uint16_t to_port;
	bool four;

	if (!word(&p, end, kind, sizeof(kind)))
		return PROXY_BAD;
	if (strcmp(kind, "UNKNOWN") == 0)
		return PROXY_LOCAL; /* the rest of the line says nothing */
	four = strcmp(kind, "TCP4") == 0;
	if ((!four && strcmp(kind, "TCP6") != 0) || !word(&p, end, src, sizeof(src)) ||
	    !word(&p, end, dst, sizeof(dst)) || !word(&p, end, sport, sizeof(sport)) ||
	    !word(&p, end, dport, sizeof(dport)) || p != end || end[-1] == ' ')
		return PROXY_BAD;
	if (!address_of(src, four, &out->client) || !address_of(dst, four, &to) ||
	    !port_of(sport, &out->port) || !port_of(dport, &to_port))
		return PROXY_BAD;
	return PROXY_OK;
}

static enum proxy_result v1(const uint8_t *data, size_t len, struct proxy_header *out)
{
	const char *text = (const char *)data;
	const uint8_t *cr = memchr(data, '\r', len);

	if (memcmp(text, "PROXY ", 6) != 0)
		return PROXY_BAD;
	if (!cr && len <= V1_MAX - 2)
		return more(out, 2); /* CR LF at least */
	if (!cr)
		return len < V1_MAX ? more(out, 1) : PROXY_BAD;
	if (cr == data + len - 1)
		return len < V1_MAX ? more(out, 1) : PROXY_BAD;
	if (cr != data + len - 2 || cr[1] != '\n')
		return PROXY_BAD;
	return v1_line(text + 6, (const char *)cr, out);
}

/* --- version 2: octets --- */

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* What an address says must be what it is: IPv4 in IPv6's form is IPv4 here. */
static enum proxy_result v2_body(const uint8_t *data, size_t body, struct proxy_header *out)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	struct sockaddr_in four = {.sin_family = AF_INET};
	const uint8_t *p = data + V2_HEAD;
	bool ok;

	if (data[12] == 0x20)
		return PROXY_LOCAL;
	if (data[13] == 0x11 && body >= 12) {
		memcpy(&four.sin_addr, p, 4);
		memcpy(&four.sin_port, p + 8, 2);
		ok = addr_from_sockaddr((const struct sockaddr *)&four, &out->client, &out->port);
	} else if (data[13] == 0x21 && body >= 36) {
		memcpy(&six.sin6_addr, p, 16);
		memcpy(&six.sin6_port, p + 32, 2);
		ok = addr_from_sockaddr((const struct sockaddr *)&six, &out->client, &out->port);
	} else {
		/* AF_UNSPEC is for the receiver to ignore; UDP and unix sockets do not come here.
		 */
		return data[13] == 0 ? PROXY_LOCAL : PROXY_BAD;
	}
	return ok ? PROXY_OK : PROXY_BAD;
}

static enum proxy_result v2(const uint8_t *data, size_t len, struct proxy_header *out)
{
	size_t body;

	if (memcmp(data, v2_signature, len < 12 ? len : 12) != 0)
		return PROXY_BAD;
	if (len < V2_HEAD)
		return more(out, V2_HEAD - len);
	body = be16(data + 14);
	if ((data[12] != 0x20 && data[12] != 0x21) || V2_HEAD + body > PROXY_MAX ||
	    len > V2_HEAD + body)
		return PROXY_BAD;
	if (len < V2_HEAD + body)
		return more(out, V2_HEAD + body - len);
	return v2_body(data, body, out);
}

/* --- either --- */

enum proxy_result proxy_parse(const uint8_t *data, size_t len, struct proxy_header *out)
{
	*out = (struct proxy_header){.more = 0};
	if (len > 0 && data[0] == v2_signature[0])
		return v2(data, len, out);
	if (len >= V1_MIN)
		return v1(data, len, out);
	if (memcmp(data, "PROXY UNKNOWN\r\n", len < 6 ? len : 6) != 0)
		return PROXY_BAD;
	return more(out, V1_MIN - len);
}
