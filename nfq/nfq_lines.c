/*
 * nfq_lines - what the configuration says of classes, subjects and lines (contract in nfq_conf.h).
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: none.
 */
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/nfq_conf.h"

/* --- classes --------------------------------------------------------------------- */

static const struct nfq_class *find_class(const struct nfq_conf *c, const char *name)
{
	const struct nfq_class *k = c->classes.items;
	for (size_t i = 0; i < c->classes.n; i++)
		if (strcmp(k[i].name, name) == 0)
			return &k[i];
	return NULL;
}

bool nfq_conf_class_known(const struct nfq_conf *c, const char *class)
{
	return strcmp(class, "full") == 0 || strcmp(class, "throttled") == 0 ||
	       strcmp(class, "listed") == 0 || find_class(c, class) != NULL;
}

enum policy_kind nfq_conf_kind(const char *class, void *arg)
{
	const struct nfq_class *k = find_class(arg, class);
	bool listed = k ? k->listed : strcmp(class, "listed") == 0;
	return listed ? POLICY_KIND_LISTED : POLICY_KIND_LIMITED;
}

void nfq_conf_limits(const char *class, struct policy_limits *out, void *arg)
{
	const struct nfq_conf *c = arg;
	const struct nfq_class *k = find_class(c, class);
	if (!k && nfq_conf_kind(class, arg) == POLICY_KIND_LISTED)
		return;
	int64_t rate = k ? k->rate : c->throttle_rate, burst = k ? k->burst : c->throttle_burst;
	*out = (struct policy_limits){(uint32_t)rate, (uint32_t)(burst ? burst : 2 * rate),
				      k ? (uint32_t)k->destinations : 0};
}

/* --- who is subject --------------------------------------------------------------- */

/* "ppp*" is every interface whose name begins with ppp. */
static bool is_named(const char *name, const char *pattern)
{
	size_t len = strlen(pattern);
	if (len > 0 && pattern[len - 1] == '*')
		return strncmp(name, pattern, len - 1) == 0;
	return strcmp(name, pattern) == 0;
}

static bool is_among(const struct conf_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (is_named(name, l->items[i]))
			return true;
	return false;
}

static bool is_in(const struct conf_list *l, const struct addr *a)
{
	char err[128];
	struct prefix p;
	for (size_t i = 0; i < l->n; i++)
		if (prefix_parse(l->items[i], &p, err) && prefix_contains(&p, a))
			return true;
	return false;
}

bool nfq_conf_own_mta(const struct nfq_conf *c, const struct addr *a)
{
	return is_in(&c->own_mta, a);
}

/* The length of the longest of these prefixes that has a; -1: none has. */
static int longest_with(const struct conf_list *l, const struct addr *a)
{
	int best = -1;
	char err[128];
	struct prefix p;
	for (size_t i = 0; i < l->n; i++)
		if (prefix_parse(l->items[i], &p, err) && prefix_contains(&p, a) && p.len > best)
			best = p.len;
	return best;
}

const struct nfq_pool *nfq_conf_pool_of(const struct nfq_conf *c, const struct addr *a,
					const char *interface)
{
	const struct nfq_pool *found = NULL, *by_interface = NULL;
	int best = -1;
	for (size_t i = 0; i < c->pools.n; i++) {
		const struct nfq_pool *p = nfq_conf_pool(c, i);
		int len = longest_with(&p->prefixes, a);
		if (len > best) {
			best = len;
			found = p;
		}
		if (!by_interface && interface && is_among(&p->interfaces, interface))
			by_interface = p;
	}
	return found ? found : by_interface;
}

enum nfq_subject nfq_conf_subject(const struct nfq_conf *c, const struct addr *a,
				  const char *interface)
{
	bool in = is_in(&c->subscriber_prefixes, a), prefixes = c->subscriber_prefixes.n > 0,
	     pools = false, of_pool = false;
	for (size_t i = 0; i < c->pools.n; i++) {
		const struct nfq_pool *p = nfq_conf_pool(c, i);
		in |= is_in(&p->prefixes, a);
		prefixes |= p->prefixes.n > 0;
		pools |= p->interfaces.n > 0;
		of_pool |= interface && is_among(&p->interfaces, interface);
	}
	if (interface && !of_pool && !is_among(&c->subscriber_interfaces, interface))
		return NFQ_OUTSIDE;
	if (in || !prefixes || of_pool)
		return NFQ_SUBJECT;
	return pools && !interface ? NFQ_PERHAPS : NFQ_STRANGER;
}

/* --- lines ----------------------------------------------------------------------- */

bool nfq_conf_lines_vary(const struct nfq_conf *c)
{
	for (size_t i = 0; i < c->pools.n; i++)
		if (nfq_conf_pool(c, i)->interfaces.n > 0 &&
		    nfq_conf_pool(c, i)->delegated != c->delegated)
			return true;
	return false;
}

static void add_prefix(struct verdict_lines *l, const char *text, uint8_t delegated)
{
	char err[128];
	struct prefix p;
	if (!prefix_parse(text, &p, err) || addr_is4(&p.a))
		return;
	l->pools = talloc_realloc(l, l->pools, struct verdict_pool, l->n_pools + 1);
	bug_on(!l->pools);
	l->pools[l->n_pools++] = (struct verdict_pool){p, delegated};
}

static void add_interface(struct verdict_lines *l, const struct nfq_pool *p, const char *name,
			  uint32_t index)
{
	if (!is_among(&p->interfaces, name))
		return;
	l->interfaces =
	    talloc_realloc(l, l->interfaces, struct verdict_interface, l->n_interfaces + 1);
	bug_on(!l->interfaces);
	l->interfaces[l->n_interfaces++] = (struct verdict_interface){index, (uint8_t)p->delegated};
}

static int longest_first(const void *x, const void *y)
{
	const struct verdict_pool *a = x, *b = y;
	return (int)b->prefix.len - (int)a->prefix.len;
}

static int by_index(const void *x, const void *y)
{
	const struct verdict_interface *a = x, *b = y;
	return a->index < b->index ? -1 : a->index > b->index;
}

static void add_interfaces(struct verdict_lines *l, const struct nfq_conf *c)
{
	struct if_nameindex *list = if_nameindex();
	for (const struct if_nameindex *i = list; i && i->if_index != 0; i++)
		for (size_t k = 0; k < c->pools.n; k++)
			if (nfq_conf_pool(c, k)->delegated != c->delegated)
				add_interface(l, nfq_conf_pool(c, k), i->if_name, i->if_index);
	if (list)
		if_freenameindex(list);
	if (l->n_interfaces > 0)
		qsort(l->interfaces, l->n_interfaces, sizeof *l->interfaces, by_index);
}

struct verdict_lines *nfq_conf_lines(void *ctx, const struct nfq_conf *c)
{
	struct verdict_lines *l = talloc_zero(ctx, struct verdict_lines);
	bug_on(!l);
	l->delegated = (uint8_t)c->delegated;
	for (size_t i = 0; i < c->pools.n; i++) {
		const struct nfq_pool *p = nfq_conf_pool(c, i);
		for (size_t k = 0; k < p->prefixes.n; k++)
			add_prefix(l, p->prefixes.items[k], (uint8_t)p->delegated);
	}
	if (l->n_pools > 0)
		qsort(l->pools, l->n_pools, sizeof *l->pools, longest_first);
	if (nfq_conf_lines_vary(c))
		add_interfaces(l, c);
	return l;
}
