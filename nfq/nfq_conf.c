/*
 * nfq_conf - see nfq_conf.h. The rows of kernel-rules have the defaults of
 * kernel-rules/rules_conf.c; tests/unit/nfq compares.
 */
#include <talloc.h>

#include "lib/conf.h"
#include "lib/proc.h"
#include "lib/queues.h"

#include "nfq/nfq_conf.h"
#include "nfq/suspect.h"

#define OFF(n)	offsetof(struct nfq_conf, n)
#define POFF(n) offsetof(struct nfq_pool, n)
#define COFF(n) offsetof(struct nfq_class, n)

const struct conf_key nfq_keys[] = {
    CONF_COMMON_ROWS,
    {"nfq", "interval", CONF_DURATION, OFF(interval), "5s", 100, 3600000, NULL, true,
     "how often packets are summed up and told to acctd", false},
    {"nfq", "deny_timeout", CONF_DURATION, OFF(deny_timeout), "60s", 0, 86400000, NULL, true,
     "how long the kernel refuses a source by itself once nfqd has; 0: never", false},
    {"nfq", "deny_timeout_max", CONF_DURATION, OFF(deny_timeout_max), "1h", 0, 86400000, NULL, true,
     "the most of that, for a source that goes on: each time is four times the last", false},
    {"nfq", "queue_length", CONF_INT, OFF(queue_length), "16384", 64, 1048576, NULL, false,
     "packets that may wait in each queue", false},
    {"nfq", "event_backlog", CONF_SIZE, OFF(event_backlog), "16M", 1 << 20, (int64_t)1 << 32, NULL,
     false, "events kept while acctd is away; beyond it the oldest are given up, counted", false},
    {"nfq", "stall", CONF_DURATION, OFF(stall), "5s", 100, 600000, NULL, true,
     "a queue that is not empty and not answered for so long is stalled", false},
    {"nfq", "log_first", CONF_BOOL, OFF(log_first), "true", 0, 0, NULL, true,
     "log the first refused packet of a source, once a deny_timeout", false},
    {"nfq", "suspect_attempts", CONF_INT, OFF(suspect_attempts), "40", 0, 1000000, NULL, true,
     "a refused line is suspected from so many attempts within the window on; 0: never", false},
    {"nfq", "suspect_destinations", CONF_INT, OFF(suspect_destinations), "20", 2, SUSPECT_MAX_DSTS,
     NULL, true, "and to so many distinct servers", false},
    {"nfq", "suspect_networks", CONF_INT, OFF(suspect_networks), "10", 2, SUSPECT_MAX_NETS, NULL,
     true, "and in so many distinct networks of them (/24, /48)", false},
    {"nfq", "suspect_window", CONF_DURATION, OFF(suspect_window), "10m", 10000, 86400000, NULL,
     true, "the window of suspicion", false},
    {"nfq", "metrics", CONF_STRING, OFF(metrics), "127.0.0.1:9425", 0, 0, NULL, false,
     "where Prometheus metrics are served; empty: nowhere", false},
    {"kernel-rules", "mark_mask", CONF_STRING, OFF(mark_mask), "0x00ff0000", 0, 0, NULL, false,
     "bits of the packet mark that are ours alone", true},
    {"kernel-rules", "queue_first", CONF_INT, OFF(queue_first), "25", 0, 65535, NULL, false,
     "number of the first netfilter queue", true},
    {"kernel-rules", "queue_count", CONF_INT, OFF(queue_count), "0", 0, QUEUES_MAX, NULL, false,
     "number of queues; 0: one a CPU", true},
    {"kernel-rules", "set_size", CONF_INT, OFF(set_size), "1048576", 1024, 1 << 24, NULL, false,
     "most elements of each kernel set", true},
    {"kernel-rules", "own_mta", CONF_LIST, OFF(own_mta), "", 0, 0, NULL, true,
     "addresses and prefixes that port 25 is always open to", true},
    {"kernel-rules", "subscriber_interfaces", CONF_LIST, OFF(subscriber_interfaces), "", 0, 0, NULL,
     true, "interfaces that subscribers are behind", true},
    {"kernel-rules", "subscriber_prefixes", CONF_LIST, OFF(subscriber_prefixes), "", 0, 0, NULL,
     true, "sources that are subject; empty: every source", true},
    {"kernel-rules", "fail", CONF_ENUM, OFF(fail), "closed", 0, 0, "closed|open", true,
     "what becomes of packets that nfqd did not judge", true},
    {"kernel-rules", "reaction", CONF_ENUM, OFF(reaction), "reset", 0, 0, "reset|icmp|drop", true,
     "how a packet is refused", true},
    {"kernel-rules", "count_rate", CONF_INT, OFF(count_rate), "5000", 1, 1000000, NULL, true,
     "packets a second that are counted by source; above it they are sampled", true},
    {"kernel-rules", "delegated", CONF_INT, OFF(delegated), "64", 48, 64, NULL, true,
     "prefix length of an IPv6 line of those in no pool", true},
    {"kernel-rules", "throttle_rate", CONF_INT, OFF(throttle_rate), "60", 1, 1000000, NULL, true,
     "new connections a minute of an exemption of class throttled", true},
    {"kernel-rules", "throttle_burst", CONF_INT, OFF(throttle_burst), "120", 1, 1000000, NULL, true,
     "and how many at once", true},
    {"class", "", CONF_GROUP, OFF(classes), NULL, 0, sizeof(struct nfq_class), NULL, true, NULL,
     true},
    {"class", "rate", CONF_INT, COFF(rate), "0", 0, 1000000, NULL, true,
     "new connections a minute; 0: no limit", true},
    {"class", "burst", CONF_INT, COFF(burst), "0", 0, 1000000, NULL, true,
     "and how many at once; 0: twice rate", true},
    {"class", "destinations", CONF_INT, COFF(destinations), "0", 0, 1000000, NULL, true,
     "distinct destinations an hour; 0: no limit", true},
    {"class", "listed", CONF_BOOL, COFF(listed), "false", 0, 0, NULL, true,
     "only to the destinations that the exemption names", true},
    {"pool", "", CONF_GROUP, OFF(pools), NULL, 0, sizeof(struct nfq_pool), NULL, true, NULL, true},
    {"pool", "interfaces", CONF_LIST, POFF(interfaces), "", 0, 0, NULL, true,
     "interfaces of this pool", true},
    {"pool", "prefixes", CONF_LIST, POFF(prefixes), "", 0, 0, NULL, true, "sources of this pool",
     true},
    {"pool", "delegated", CONF_INT, POFF(delegated), "64", 48, 64, NULL, true,
     "prefix length of an IPv6 line", true},
    {"pool", "fail", CONF_ENUM, POFF(fail), "closed", 0, 0, "closed|open", true,
     "what becomes of packets that nfqd did not judge", true},
    {"pool", "reaction", CONF_ENUM, POFF(reaction), "reset", 0, 0, "reset|icmp|drop", true,
     "how a packet is refused", true},
    {"pool", "notice", CONF_BOOL, POFF(notice), "false", 0, 0, NULL, true,
     "hand refused connections to the local responder", true},
};
const size_t nfq_keys_n = sizeof nfq_keys / sizeof *nfq_keys;

bool nfq_conf_load(void *ctx, const char *file, struct nfq_conf *out, struct marks *marks,
		   char **err)
{
	const char *why;
	char text[128];
	struct prefix p;
	*out = (struct nfq_conf){0};
	if (!conf_load(ctx, file, nfq_keys, nfq_keys_n, out, err))
		return false;
	if (!marks_parse(out->mark_mask, marks, &why)) {
		*err = talloc_asprintf(ctx, "%s: kernel-rules.mark_mask %s", file, why);
		return false;
	}
	for (size_t i = 0; i < out->own_mta.n; i++)
		if (!prefix_parse(out->own_mta.items[i], &p, text)) {
			*err = talloc_asprintf(ctx, "%s: kernel-rules.own_mta: %s", file, text);
			return false;
		}
	const struct nfq_ranges r = nfq_conf_ranges(out);
	if (out->queue_first + r.closed + r.open > 65536) {
		*err = talloc_asprintf(
		    ctx, "%s: kernel-rules.queue_first + queue_count is above 65536%s", file,
		    r.closed && r.open ? " (twice queue_count: some fail closed and some open)"
				       : "");
		return false;
	}
	return true;
}

unsigned nfq_conf_queues(const struct nfq_conf *c)
{
	return queues_count(c->queue_count);
}

struct nfq_ranges nfq_conf_ranges(const struct nfq_conf *c)
{
	bool any[2] = {false, false};
	unsigned n = nfq_conf_queues(c);
	any[c->fail] = true;
	for (size_t i = 0; i < c->pools.n; i++)
		any[nfq_conf_pool(c, i)->fail] = true;
	return (struct nfq_ranges){any[0] ? n : 0, any[1] ? n : 0};
}
