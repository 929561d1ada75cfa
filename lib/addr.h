/*
 * addr - IPv4 and IPv6 addresses and prefixes, strictly parsed.
 *
 * An address is always 16 bytes; IPv4 is stored v4-mapped (::ffff:a.b.c.d, RFC 4291 2.5.5.2), so
 * that one key type serves sets, tables and database rows. A prefix length is that of the address's
 * own family: 0..32 for IPv4, 0..128 for IPv6. No function here allocates or reads anything but its
 * arguments.
 */
#ifndef LIB_ADDR_H
#define LIB_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct addr {
	uint8_t b[16];
};

struct prefix {
	struct addr a; /* host bits are zero */
	uint8_t len;   /* in the address's own family */
};

#define ADDR_STRLEN   46 /* longest address with its NUL */
#define PREFIX_STRLEN 50 /* longest prefix with its NUL */

bool addr_is4(const struct addr *a);
/* The four bytes of an IPv4 address; only when addr_is4(). */
const uint8_t *addr_v4(const struct addr *a);
void addr_from_v4(struct addr *a, const uint8_t v4[4]);
void addr_from_v6(struct addr *a, const uint8_t v6[16]);
int addr_cmp(const struct addr *x, const struct addr *y); /* memcmp order */
bool addr_eq(const struct addr *x, const struct addr *y);

/*
 * Parse exactly one address: dotted quad without leading zeros, or RFC 4291 text. A zone id, a
 * port, brackets, blanks or anything after the address is an error; *err then says in words what is
 * wrong (static text).
 * "::ffff:1.2.3.4" is taken as the IPv4 address 1.2.3.4.
 */
bool addr_parse(const char *text, struct addr *out, const char **err);
/* Canonical text (RFC 5952); returns buf. */
const char *addr_format(const struct addr *a, char buf[static ADDR_STRLEN]);

/* False when the family is neither AF_INET nor AF_INET6. port may be NULL. */
bool addr_from_sockaddr(const struct sockaddr *sa, struct addr *a, uint16_t *port);
/* Fills ss and returns its length. */
socklen_t addr_to_sockaddr(const struct addr *a, uint16_t port, struct sockaddr_storage *ss);
/* "192.0.2.1:25", "[2001:db8::1]:25"; the port is required. */
bool addr_parse_port(const char *text, struct addr *a, uint16_t *port, const char **err);

/*
 * "192.0.2.0/24", "2001:db8::/48", or a bare address (its full length). Host bits set are an error
 * that names the network meant, written to errbuf (at least 128 bytes).
 */
bool prefix_parse(const char *text, struct prefix *out, char errbuf[static 128]);
/* Full-length prefixes print as a bare address. */
const char *prefix_format(const struct prefix *p, char buf[static PREFIX_STRLEN]);
bool prefix_contains(const struct prefix *p, const struct addr *a);
bool prefix_eq(const struct prefix *x, const struct prefix *y);
/* True when it names one host: /32 or /128. */
bool prefix_is_host(const struct prefix *p);
/* First and last address of the prefix. */
void prefix_range(const struct prefix *p, struct addr *first, struct addr *last);
/* a with all but the first len bits (of its own family) cleared. */
void addr_mask(const struct addr *a, uint8_t len, struct addr *out);

#endif
