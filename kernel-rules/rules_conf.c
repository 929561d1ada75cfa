/*
 * rules_conf - see rules_conf.h. Pure, but for the number of CPUs.
 *
 * nfqd reads some of these keys too (nfq/nfq_conf.c), with the same meaning; tests/unit/nfq
 * compares.
 */
#include <ctype.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/queues.h"

#include "kernel-rules/rules_conf.h"

#define S	 struct rules_conf
#define ROW(n)	 "kernel-rules", #n
#define OFF(n)	 offsetof(S, n)
#define CLASS(n) "class", #n
#define COFF(n)	 offsetof(struct rules_class, n)
#define POOL(n)	 "pool", #n
#define POFF(n)	 offsetof(struct rules_pool, n)

const struct conf_key rules_keys[] = {
    CONF_COMMON_ROWS,
    {ROW(subscriber_interfaces), CONF_LIST, OFF(subscriber_interfaces), "", 0, 0, NULL, true,
     "interfaces that subscribers' packets come in by; a trailing * matches any end", false},
    {ROW(subscriber_prefixes), CONF_LIST, OFF(subscriber_prefixes), "", 0, 0, NULL, true,
     "sources that are subject on these interfaces; none: every source", false},
    {ROW(delegated), CONF_INT, OFF(delegated), "64", 48, 64, NULL, true,
     "prefix length of an IPv6 line", false},
    {ROW(own_mta), CONF_LIST, OFF(own_mta), "", 0, 0, NULL, true,
     "addresses and prefixes that port 25 is always open to", false},
    {ROW(mark_mask), CONF_STRING, OFF(mark_mask), "0x00ff0000", 0, 0, NULL, false,
     "bits of the packet mark that are ours alone", false},
    {ROW(queue_first), CONF_INT, OFF(queue_first), "25", 0, 65535, NULL, false,
     "number of the first netfilter queue", false},
    {ROW(queue_count), CONF_INT, OFF(queue_count), "0", 0, QUEUES_MAX, NULL, false,
     "number of queues; 0: one a CPU", false},
    {ROW(set_size), CONF_INT, OFF(set_size), "1048576", 1024, 1 << 24, NULL, false,
     "most elements of each kernel set", false},
    {ROW(throttle_rate), CONF_INT, OFF(throttle_rate), "60", 1, 1000000, NULL, true,
     "new connections a minute of an exemption of class throttled", false},
    {ROW(throttle_burst), CONF_INT, OFF(throttle_burst), "120", 1, 1000000, NULL, true,
     "and how many at once", false},
    {ROW(reply_rate), CONF_INT, OFF(reply_rate), "10000", 1, 1000000, NULL, true,
     "refusals answered a second; the rest is dropped", false},
    {ROW(count_rate), CONF_INT, OFF(count_rate), "5000", 1, 1000000, NULL, true,
     "packets a second that are counted by source; above it they are sampled", false},
    {ROW(notice_port), CONF_INT, OFF(notice_port), "2525", 1, 65535, NULL, true,
     "local port of the responder for pools that give notice", false},
    {ROW(fail), CONF_ENUM, OFF(fail), "closed", 0, 0, "closed|open", true,
     "what becomes of packets that nfqd did not judge", false},
    {ROW(reaction), CONF_ENUM, OFF(reaction), "reset", 0, 0, "reset|icmp|drop", true,
     "how a packet is refused", false},
    {ROW(tunnels), CONF_ENUM, OFF(tunnels), "pass", 0, 0, "pass|drop", true,
     "subscribers' tunnels (protocols 4, 41, 47), which are counted", false},
    {ROW(backend), CONF_ENUM, OFF(backend), "auto", 0, 0, "auto|nft|xt", false,
     "who hands packets to the queue", false},
    {ROW(antispoof), CONF_BOOL, OFF(antispoof), "true", 0, 0, NULL, true,
     "drop port 25 packets whose source is not routed to where they came in", false},
    {ROW(antispoof_except), CONF_LIST, OFF(antispoof_except), "", 0, 0, NULL, true,
     "interfaces where that is not checked, such as one of two paths", false},
    {"class", "", CONF_GROUP, OFF(classes), NULL, 0, sizeof(struct rules_class), NULL, true, NULL,
     false},
    {CLASS(rate), CONF_INT, COFF(rate), "0", 0, 1000000, NULL, true,
     "new connections a minute; 0: no limit", false},
    {CLASS(burst), CONF_INT, COFF(burst), "0", 0, 1000000, NULL, true,
     "and how many at once; 0: twice rate", false},
    {CLASS(concurrent), CONF_INT, COFF(concurrent), "0", 0, 1000000, NULL, true,
     "connections open at once; 0: no limit", false},
    {CLASS(destinations), CONF_INT, COFF(destinations), "0", 0, 1000000, NULL, true,
     "distinct destinations an hour; 0: no limit", false},
    {CLASS(listed), CONF_BOOL, COFF(listed), "false", 0, 0, NULL, true,
     "only to the destinations that the exemption names", false},
    {"pool", "", CONF_GROUP, OFF(pools), NULL, 0, sizeof(struct rules_pool), NULL, true, NULL,
     false},
    {POOL(interfaces), CONF_LIST, POFF(interfaces), "", 0, 0, NULL, true, "interfaces of this pool",
     false},
    {POOL(prefixes), CONF_LIST, POFF(prefixes), "", 0, 0, NULL, true, "sources of this pool",
     false},
    {POOL(delegated), CONF_INT, POFF(delegated), "64", 48, 64, NULL, true,
     "prefix length of an IPv6 line", false},
    {POOL(fail), CONF_ENUM, POFF(fail), "closed", 0, 0, "closed|open", true,
     "what becomes of packets that nfqd did not judge", false},
    {POOL(reaction), CONF_ENUM, POFF(reaction), "reset", 0, 0, "reset|icmp|drop", true,
     "how a packet is refused", false},
    {POOL(notice), CONF_BOOL, POFF(notice), "false", 0, 0, NULL, true,
     "hand refused connections to the local responder", false},
};
const size_t rules_keys_n = sizeof rules_keys / sizeof *rules_keys;

static bool complain(char err[static 256], const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static bool complain(char err[static 256], const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(err, 256, fmt, ap);
	va_end(ap);
	return false;
}

static bool interface_valid(const char *name)
{
	size_t len = strlen(name);
	size_t plain = len > 0 && name[len - 1] == '*' ? len - 1 : len;
	if (plain == 0 || plain >= IFNAMSIZ)
		return false;
	for (size_t i = 0; i < plain; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("_.-@:", name[i]))
			return false;
	return true;
}

static bool check_interfaces(const char *key, const struct conf_list *l, char err[static 256])
{
	for (size_t i = 0; i < l->n; i++)
		if (!interface_valid(l->items[i]))
			return complain(err, "%s: \"%.40s\" is not the name of an interface", key,
					l->items[i]);
	return true;
}

static bool check_prefixes(const char *key, const struct conf_list *l, char err[static 256])
{
	struct prefix p;
	char text[128];
	for (size_t i = 0; i < l->n; i++)
		if (!prefix_parse(l->items[i], &p, text))
			return complain(err, "%s: %s", key, text);
	return true;
}

static bool check_class(const struct rules_class *k, char err[static 256])
{
	if (strcmp(k->name, "full") == 0)
		return complain(err, "class full has no limits and cannot be written; give the "
				     "class another name");
	if (k->burst && !k->rate)
		return complain(err, "class %s: burst without rate says nothing; set rate",
				k->name);
	return true;
}

static bool shares(const struct conf_list *a, const struct conf_list *b, const char **what)
{
	for (size_t i = 0; i < a->n; i++)
		for (size_t j = 0; j < b->n; j++)
			if (strcmp(a->items[i], b->items[j]) == 0) {
				*what = a->items[i];
				return true;
			}
	return false;
}

static bool check_pool(const struct rules_conf *c, size_t i, char err[static 256])
{
	const struct rules_pool *p = rules_pool(c, i);
	const char *what;
	char key[64];
	(void)snprintf(key, sizeof key, "pool %s: interfaces", p->name);
	if (!check_interfaces(key, &p->interfaces, err))
		return false;
	(void)snprintf(key, sizeof key, "pool %s: prefixes", p->name);
	if (!check_prefixes(key, &p->prefixes, err))
		return false;
	if (p->interfaces.n == 0 && p->prefixes.n == 0)
		return complain(err, "pool %s: set interfaces or prefixes, or nobody is in it",
				p->name);
	for (size_t j = 0; j < i; j++)
		if (shares(&p->interfaces, &rules_pool(c, j)->interfaces, &what) ||
		    shares(&p->prefixes, &rules_pool(c, j)->prefixes, &what))
			return complain(err, "pools %s and %s both have %s; it can be in one",
					rules_pool(c, j)->name, p->name, what);
	return true;
}

static bool check_groups(const struct rules_conf *c, char err[static 256])
{
	const struct rules_class *k = c->classes.items;
	if (c->classes.n > RULES_MAX_CLASSES)
		return complain(err, "more than %d classes", RULES_MAX_CLASSES);
	if (c->pools.n > RULES_MAX_POOLS)
		return complain(err, "more than %d pools", RULES_MAX_POOLS);
	for (size_t i = 0; i < c->classes.n; i++)
		if (!check_class(&k[i], err))
			return false;
	for (size_t i = 0; i < c->pools.n; i++)
		if (!check_pool(c, i, err))
			return false;
	return true;
}

bool rules_conf_check(const struct rules_conf *c, char err[static 256])
{
	struct marks marks;
	const char *why;
	if (!check_interfaces("kernel-rules.subscriber_interfaces", &c->subscriber_interfaces,
			      err) ||
	    !check_interfaces("kernel-rules.antispoof_except", &c->antispoof_except, err) ||
	    !check_prefixes("kernel-rules.subscriber_prefixes", &c->subscriber_prefixes, err) ||
	    !check_prefixes("kernel-rules.own_mta", &c->own_mta, err) || !check_groups(c, err))
		return false;
	if (!marks_parse(c->mark_mask, &marks, &why))
		return complain(err, "kernel-rules.mark_mask %s", why);
	enum rules_fail last =
	    rules_fails(c, RULES_FAIL_OPEN) ? RULES_FAIL_OPEN : RULES_FAIL_CLOSED;
	if (rules_queues(c, last).last < c->queue_first)
		return complain(err, "kernel-rules: queue_first + queue_count is above 65536%s",
				last == RULES_FAIL_OPEN && rules_fails(c, RULES_FAIL_CLOSED)
				    ? " (twice queue_count: some fail closed and some open)"
				    : "");
	return true;
}

static bool anybody(const struct rules_conf *c)
{
	bool any = c->subscriber_interfaces.n > 0;
	for (size_t i = 0; i < c->pools.n; i++)
		any |= rules_pool(c, i)->interfaces.n > 0;
	return any;
}

bool rules_conf_load(void *ctx, const char *file, bool strict, struct rules_conf *out, char **err)
{
	char text[256];
	*out = (struct rules_conf){.fail = RULES_FAIL_CLOSED};
	if (!conf_load(ctx, file, rules_keys, rules_keys_n, out, err))
		return false;
	if (!rules_conf_check(out, text)) {
		*err = talloc_asprintf(ctx, "%s: %s", file, text);
		return false;
	}
	/* Valid, as the sample is; but rules for nobody would close nothing. */
	if (strict && !anybody(out)) {
		*err = talloc_strdup(ctx, "kernel-rules.subscriber_interfaces is empty: name the "
					  "interfaces that subscribers are behind");
		return false;
	}
	return true;
}

/* Ready to be rendered: burst is a number. */
static struct rules_class complete(struct rules_class k)
{
	if (k.burst == 0)
		k.burst = 2 * k.rate;
	return k;
}

size_t rules_classes(const struct rules_conf *c,
		     struct rules_class out[static RULES_MAX_CLASSES + 2])
{
	static char throttled[] = "throttled", listed[] = "listed";
	const struct rules_class *k = c->classes.items;
	bool has_throttled = false, has_listed = false;
	size_t n = 0;
	for (; n < c->classes.n; n++) {
		out[n] = complete(k[n]);
		has_throttled |= strcmp(k[n].name, throttled) == 0;
		has_listed |= strcmp(k[n].name, listed) == 0;
	}
	if (!has_throttled)
		out[n++] = (struct rules_class){
		    .name = throttled, .rate = c->throttle_rate, .burst = c->throttle_burst};
	if (!has_listed)
		out[n++] = (struct rules_class){.name = listed, .listed = true};
	return n;
}

bool rules_fails(const struct rules_conf *c, enum rules_fail how)
{
	bool any = c->fail == (int)how;
	for (size_t i = 0; i < c->pools.n; i++)
		any |= rules_pool(c, i)->fail == (int)how;
	return any;
}

bool rules_notices(const struct rules_conf *c)
{
	bool any = false;
	for (size_t i = 0; i < c->pools.n; i++)
		any |= rules_pool(c, i)->notice;
	return any;
}

struct rules_queues rules_queues(const struct rules_conf *c, enum rules_fail how)
{
	unsigned n = queues_count(c->queue_count), first = (unsigned)c->queue_first;
	if (how == RULES_FAIL_OPEN && rules_fails(c, RULES_FAIL_CLOSED))
		first += n;
	return (struct rules_queues){(uint16_t)first, (uint16_t)(first + n - 1)};
}
