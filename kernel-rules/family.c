/*
 * family - see family.h. Pure.
 *
 * Trusted with: text. Diagnostics: none. Known gaps: none.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/addr.h"
#include "lib/proc.h"

#include "kernel-rules/family.h"

const struct family families[2] = {
    {"ip",
     "ipv4_addr",
     "ip protocol",
     "icmp type admin-prohibited",
     "127.0.0.1",
     false,
     {32, 24},
     {{8, 32}, {1, 0}}},
    {"ip6",
     "ipv6_addr",
     "meta l4proto",
     "icmpv6 type admin-prohibited",
     "[::1]",
     true,
     {128, 64, 56, 48},
     {{32, 64}, {112, 128}}},
};

char *family_source(void *ctx, const struct family *f, unsigned len)
{
	static const uint8_t ones[4] = {255, 255, 255, 255};
	char text[ADDR_STRLEN];
	struct addr all, mask;
	if (len == (f->is6 ? 128 : 32))
		return talloc_asprintf(ctx, "%s saddr", f->name);
	memset(&all, 0xff, sizeof all);
	if (!f->is6)
		addr_from_v4(&all, ones);
	addr_mask(&all, (uint8_t)len, &mask);
	return talloc_asprintf(ctx, "%s saddr & %s", f->name, addr_format(&mask, text));
}

static bool wild(const char *interface)
{
	return interface[strlen(interface) - 1] == '*';
}

char *text_not_in(void *ctx, const struct conf_list *l)
{
	char *plain = talloc_strdup(ctx, ""), *out = talloc_strdup(ctx, "");
	size_t n = 0;
	for (size_t i = 0; i < l->n; i++)
		if (wild(l->items[i])) {
			out = talloc_asprintf_append(out, "iifname != \"%s\" ", l->items[i]);
		} else {
			plain =
			    talloc_asprintf_append(plain, "%s\"%s\"", n ? ", " : "", l->items[i]);
			n++;
		}
	if (n == 0)
		return out;
	return talloc_asprintf_append(out, n == 1 ? "iifname != %s " : "iifname != { %s } ", plain);
}

/* --- who is in which pool ------------------------------------------------------------ */

struct member {
	const struct rules_pool *pool;
	const char *interface; /* or */
	struct prefix prefix;
};

static unsigned weight(const struct member *m)
{
	/* Prefixes before interfaces, long before short, whole names before patterns. */
	if (!m->interface)
		return 1000 + m->prefix.len;
	return (wild(m->interface) ? 0 : 100) + (unsigned)strlen(m->interface);
}

static int heavier(const void *a, const void *b)
{
	unsigned x = weight(a), y = weight(b);
	return x == y ? 0 : x > y ? -1 : 1;
}

static size_t members(const struct rules_conf *c, const struct family *f, struct member *out)
{
	char err[128];
	size_t n = 0;
	for (size_t i = 0; i < c->pools.n; i++) {
		const struct rules_pool *p = rules_pool(c, i);
		for (size_t j = 0; j < p->interfaces.n; j++)
			out[n++] = (struct member){.pool = p, .interface = p->interfaces.items[j]};
		for (size_t j = 0; j < p->prefixes.n; j++) {
			out[n] = (struct member){.pool = p};
			bug_on(!prefix_parse(p->prefixes.items[j], &out[n].prefix, err));
			n += addr_is4(&out[n].prefix.a) != f->is6;
		}
	}
	qsort(out, n, sizeof *out, heavier);
	return n;
}

static size_t members_max(const struct rules_conf *c)
{
	size_t n = 1;
	for (size_t i = 0; i < c->pools.n; i++)
		n += rules_pool(c, i)->interfaces.n + rules_pool(c, i)->prefixes.n;
	return n;
}

char *text_by_pool(void *ctx, const struct rules_conf *c, const struct family *f,
		   const char *(*of)(const struct rules_conf *c, const struct rules_pool *p))
{
	struct member *m = talloc_array(ctx, struct member, (unsigned)members_max(c));
	char *out = talloc_strdup(ctx, ""), text[PREFIX_STRLEN];
	size_t n = members(c, f, m);
	bool differ = false;
	for (size_t i = 0; i < n; i++)
		differ |= strcmp(of(c, m[i].pool), of(c, NULL)) != 0;
	for (size_t i = 0; differ && i < n; i++)
		out = m[i].interface ? talloc_asprintf_append(out, "\t\tiifname \"%s\" %s\n",
							      m[i].interface, of(c, m[i].pool))
				     : talloc_asprintf_append(out, "\t\t%s saddr %s %s\n", f->name,
							      prefix_format(&m[i].prefix, text),
							      of(c, m[i].pool));
	talloc_free(m);
	return talloc_asprintf_append(out, "\t\t%s\n", of(c, NULL));
}

static void add_new(void *ctx, struct conf_list *to, const struct conf_list *from)
{
	for (size_t i = 0; i < from->n; i++) {
		size_t j = 0;
		while (j < to->n && strcmp(to->items[j], from->items[i]) != 0)
			j++;
		if (j < to->n)
			continue;
		to->items = talloc_realloc(ctx, to->items, char *, (unsigned)to->n + 1);
		to->items[to->n++] = from->items[i];
	}
}

struct conf_list pool_interfaces(void *ctx, const struct rules_conf *c)
{
	struct conf_list l = {NULL, 0};
	for (size_t i = 0; i < c->pools.n; i++)
		add_new(ctx, &l, &rules_pool(c, i)->interfaces);
	return l;
}

struct conf_list subject_interfaces(void *ctx, const struct rules_conf *c)
{
	struct conf_list l = {NULL, 0}, pools = pool_interfaces(ctx, c);
	add_new(ctx, &l, &c->subscriber_interfaces);
	add_new(ctx, &l, &pools);
	return l;
}
