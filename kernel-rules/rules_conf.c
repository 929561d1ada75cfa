/*
 * rules_conf - see rules_conf.h. Pure, but for the number of CPUs.
 *
 * nfqd reads some of these keys too (nfq/nfq_conf.c); the meaning of mark_mask and queue_count is
 * the same there, and tests/unit/nfq holds it against the sample ruleset.
 */
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/addr.h"

#include "kernel-rules/rules_conf.h"

#define S	   struct rules_conf
#define ROW(n)	   "kernel-rules", #n
#define OFF(n)	   offsetof(S, n)
#define MAX_QUEUES 64

const struct conf_key rules_keys[] = {
    CONF_COMMON_ROWS,
    {ROW(subscriber_interfaces), CONF_LIST, OFF(subscriber_interfaces), "", 0, 0, NULL, true,
     "interfaces that subscribers' packets come in by; a trailing * matches any end", false},
    {ROW(own_mta), CONF_LIST, OFF(own_mta), "", 0, 0, NULL, true,
     "addresses and prefixes that port 25 is always open to", false},
    {ROW(mark_mask), CONF_STRING, OFF(mark_mask), "0x00ff0000", 0, 0, NULL, false,
     "bits of the packet mark that are ours alone", false},
    {ROW(queue_first), CONF_INT, OFF(queue_first), "25", 0, 65535, NULL, false,
     "number of the first netfilter queue", false},
    {ROW(queue_count), CONF_INT, OFF(queue_count), "0", 0, MAX_QUEUES, NULL, false,
     "number of queues; 0: one a CPU", false},
    {ROW(set_size), CONF_INT, OFF(set_size), "1048576", 1024, 1 << 24, NULL, false,
     "most elements of each kernel set", false},
    {ROW(throttle_rate), CONF_INT, OFF(throttle_rate), "60", 1, 1000000, NULL, true,
     "new connections a minute of an exemption of class throttled", false},
    {ROW(throttle_burst), CONF_INT, OFF(throttle_burst), "120", 1, 1000000, NULL, true,
     "and how many at once", false},
    {ROW(reply_rate), CONF_INT, OFF(reply_rate), "10000", 1, 1000000, NULL, true,
     "refusals answered a second; the rest is dropped", false},
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
};
const size_t rules_keys_n = sizeof rules_keys / sizeof *rules_keys;

bool rules_parse_mask(const char *text, struct rules_marks *out, const char **err)
{
	char *end = NULL;
	*err = "must be 2 to 8 neighbouring bits in hexadecimal, such as 0x00ff0000";
	if (strncmp(text, "0x", 2) != 0 || !isxdigit((unsigned char)text[2]) || strlen(text) > 10)
		return false;
	uint32_t mask = (uint32_t)strtoul(text, &end, 16);
	if (*end != '\0' || mask == 0)
		return false;
	unsigned shift = (unsigned)__builtin_ctz(mask);
	uint32_t bits = mask >> shift;
	if (bits < 3 || bits > 0xff || (bits & (bits + 1)) != 0)
		return false;
	*out = (struct rules_marks){mask, 1u << shift, 2u << shift, 3u << shift};
	return true;
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

bool rules_conf_check(const struct rules_conf *c, char err[static 256])
{
	struct rules_marks marks;
	struct prefix p;
	const char *why;
	char text[128];
	for (size_t i = 0; i < c->subscriber_interfaces.n; i++)
		if (!interface_valid(c->subscriber_interfaces.items[i])) {
			(void)snprintf(err, 256,
				       "kernel-rules.subscriber_interfaces: \"%.40s\" is "
				       "not the name of an interface",
				       c->subscriber_interfaces.items[i]);
			return false;
		}
	for (size_t i = 0; i < c->own_mta.n; i++)
		if (!prefix_parse(c->own_mta.items[i], &p, text)) {
			(void)snprintf(err, 256, "kernel-rules.own_mta: %s", text);
			return false;
		}
	if (!rules_parse_mask(c->mark_mask, &marks, &why)) {
		(void)snprintf(err, 256, "kernel-rules.mark_mask %s", why);
		return false;
	}
	if (rules_queue_last(c) > 65535) {
		(void)snprintf(err, 256, "kernel-rules: queue_first + queue_count is above 65536");
		return false;
	}
	return true;
}

unsigned rules_queue_last(const struct rules_conf *c)
{
	long n = c->queue_count;
	if (n == 0)
		n = sysconf(_SC_NPROCESSORS_CONF);
	if (n < 1)
		n = 1;
	if (n > MAX_QUEUES)
		n = MAX_QUEUES;
	return (unsigned)(c->queue_first + n - 1);
}
