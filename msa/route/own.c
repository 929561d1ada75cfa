/*
 * own - see own.h.
 *
 * Trusted with: reading the machine's addresses. Diagnostics: none. Known gaps: an address that an
 * interface gets later is not seen before the next start.
 */
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/route/own.h"

struct end {
	struct addr a;
	uint16_t port;
};

struct own {
	struct end *ends;
	size_t n;
};

struct own *own_new(void *ctx)
{
	struct own *o = talloc_zero(ctx, struct own);

	if (!o)
		fatal("out of memory");
	return o;
}

static void add_one(struct own *o, const struct addr *a, uint16_t port)
{
	if (own_is(o, a, port))
		return;
	o->ends = talloc_realloc(o, o->ends, struct end, (unsigned)o->n + 1);
	if (!o->ends)
		fatal("out of memory");
	o->ends[o->n++] = (struct end){*a, port};
}

static void add_interfaces(struct own *o, bool four, uint16_t port)
{
	struct ifaddrs *all = NULL;
	struct addr a;
	uint16_t none;

	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *i = all; i; i = i->ifa_next)
		/* A listener on [::] is our own business: it does not take IPv4 (msa/io.c). */
		if (i->ifa_addr && i->ifa_flags & IFF_UP &&
		    addr_from_sockaddr(i->ifa_addr, &a, &none) && addr_is4(&a) == four)
			add_one(o, &a, port);
	freeifaddrs(all);
}

void own_add(struct own *o, const struct addr *a, uint16_t port)
{
	static const struct addr six = {{0}};
	struct addr four;

	addr_from_v4(&four, (const uint8_t[4]){0});
	if (addr_eq(a, &four) || addr_eq(a, &six))
		add_interfaces(o, addr_is4(a), port);
	else
		add_one(o, a, port);
}

bool own_add_text(struct own *o, const char *text)
{
	struct addr a;
	uint16_t port = 0;
	const char *err;

	if (!addr_parse(text, &a, &err) && !addr_parse_port(text, &a, &port, &err))
		return false;
	own_add(o, &a, port);
	return true;
}

bool own_is(const struct own *o, const struct addr *a, uint16_t port)
{
	for (size_t i = 0; o && i < o->n; i++)
		if (addr_eq(&o->ends[i].a, a) && (!o->ends[i].port || o->ends[i].port == port))
			return true;
	return false;
}
