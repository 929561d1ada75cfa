/*
 * route - where mail of a recipient goes: routes, and the transport map that chooses among them.
 * Pure, but for the reading of files at load.
 *
 * A route is a group of the configuration (`route NAME { }`). Which one a recipient takes: the map
 * (the address, then its domain, then the domains above it), else the default route. Mail that was
 * deferred often goes to the fallback route, mail of suspect accounts to the suspect one; the map
 * is asked first, and what it refuses stays refused.
 */
#ifndef MSA_ROUTE_ROUTE_H
#define MSA_ROUTE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/conf.h"
#include "lib/wire.h"

#define ROUTE_NAME_MAX	256 /* of a destination, with its NUL */
#define ROUTE_HOSTS_MAX 16
#define ROUTE_SMTP_PORT 25
#define ROUTE_LMTP_PORT 24

/* How a connection is protected, weakest first. */
enum route_tls {
	ROUTE_TLS_NONE,	   /* never */
	ROUTE_TLS_MAY,	   /* when offered; whoever is there */
	ROUTE_TLS_DANE,	   /* what the domain publishes (TLSA, MTA-STS) is binding; else as may */
	ROUTE_TLS_ENCRYPT, /* always; whoever is there */
	ROUTE_TLS_VERIFY,  /* always, with a certificate for the host's name */
};
#define ROUTE_TLS_WORDS "none|may|dane|encrypt|verify"

struct route_host {
	bool mx;	  /* name is a domain: its mail servers */
	bool literal;	  /* addr is what to connect to */
	const char *name; /* host name, or the address as text */
	struct addr addr;
	uint16_t port, pref;
};

/* As the configuration has it: one group, or the keys of the section for the default route. */
struct route {
	char *name;		/* the group's; "" is the default route */
	struct conf_list hosts; /* "[PREFERENCE ]HOST[:PORT]" or "[PREFERENCE ]mx:DOMAIN"; none: the
				   mail servers of the recipient's domain */
	char *auth_user, *auth_password_file;
	int tls; /* enum route_tls */
	char *tls_name, *tls_ca;
	struct conf_list source; /* at most one address of each family */
	bool lmtp;
	int64_t connections, rate, per_connection; /* at once to a destination; messages a minute, 0
						      any; messages a connection, 0 any */

	/* Made by route_prepare(). */
	struct route_host *list;
	size_t n;
	struct addr source4, source6;
	bool has_source4, has_source6;
	char *password; /* wiped with the route */
};

/* Hosts and sources from their texts; false with *err (talloc'd under ctx), which names no key but
 * what is wrong. talloc'd under r's own context owner. */
bool route_prepare(void *owner, struct route *r, void *ctx, char **err);
/* Reads auth_password_file, one line. False with *err (talloc'd under ctx). */
bool route_read_password(void *owner, struct route *r, void *ctx, char **err);

enum route_act {
	ROUTE_TO,      /* a destination */
	ROUTE_ERROR,   /* bounces with the map's text */
	ROUTE_DISCARD, /* counts as delivered, silently */
};

/* The answer for one recipient. */
struct route_choice {
	enum route_act act;
	const struct route *route;     /* of ROUTE_TO */
	const char *domain;	       /* whose mail servers; "" when the route says its hosts */
	const struct route_host *host; /* the map's own HOST:PORT, else NULL */
	const char *status, *text;     /* of ROUTE_ERROR: "5.1.2", words */
	bool fallback;		       /* because it was deferred so often */
};

struct route_table;

/* talloc'd under ctx. The default route is copied, the routes too; strings stay the caller's. */
struct route_table *route_table_new(void *ctx, const struct route *dflt, const struct route *routes,
				    size_t n);
/* NULL: none of that name. */
const struct route *route_find(const struct route_table *t, const char *name);
/* The i-th name, in the order of the configuration; NULL after the last. */
const char *route_name(const struct route_table *t, size_t i);
/* Names of routes, "" none. False: no such route. */
bool route_set_fallback(struct route_table *t, const char *name, uint32_t after);
bool route_set_suspect(struct route_table *t, const char *name);

/*
 * One line of a transport map, comments and blank lines included:
 *   user@domain | domain | .domain (below it) | *    and then
 *   route NAME | HOST[:PORT] | mx | mx:DOMAIN | error:[STATUS ]TEXT | discard
 * False: *err is static text. A key that was there already is an error.
 */
bool route_map_line(struct route_table *t, const char *line, size_t len, const char **err);
/* A whole file; *err (talloc'd under ctx) is file:line and what is wrong. */
bool route_map_load(struct route_table *t, const char *file, void *ctx, char **err);
size_t route_map_size(const struct route_table *t);

struct route_ask {
	const char *rcpt;  /* local@domain, domain in lower case */
	uint32_t attempts; /* so often it was deferred */
	bool suspect;
};
void route_choose(const struct route_table *t, const struct route_ask *ask,
		  struct route_choice *out);
/* The route an operator gave the message, by name; "" or one that is no more changes nothing. */
void route_override(const struct route_table *t, const char *name, const struct route_ask *ask,
		    struct route_choice *c);
/* The destination's name: who shares it shares connections, pace and back-off. Returns buf. */
const char *route_destination(const struct route_choice *c, char buf[static ROUTE_NAME_MAX]);

/*
 * The table as bytes, for the relay role, in pieces of at most cap octets each: put() fills w with
 * the next piece, true while there is more (*at starts with 0). get() adds a piece to a table under
 * ctx (*t NULL before the first); false when it makes no sense.
 */
bool route_table_put(const struct route_table *t, size_t *at, struct wire_out *w);
bool route_table_get(void *ctx, struct wire_in *in, struct route_table **t);

#endif
