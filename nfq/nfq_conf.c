/*
 * nfq_conf - see nfq_conf.h. The rows of kernel-rules have the defaults of
 * kernel-rules/rules_conf.c; tests/unit/nfq compares.
 */
#include <talloc.h>
#include <unistd.h>

#include "lib/conf.h"

#include "nfq/nfq_conf.h"

#define OFF(n)	   offsetof(struct nfq_conf, n)
#define MAX_QUEUES 64

const struct conf_key nfq_keys[] = {
    CONF_COMMON_ROWS,
    {"nfq", "interval", CONF_DURATION, OFF(interval), "5s", 100, 3600000, NULL, true,
     "how often packets are summed up and told to acctd", false},
    {"nfq", "deny_timeout", CONF_DURATION, OFF(deny_timeout), "60s", 0, 86400000, NULL, true,
     "how long the kernel refuses a source by itself once nfqd has; 0: never", false},
    {"nfq", "queue_length", CONF_INT, OFF(queue_length), "16384", 64, 1048576, NULL, false,
     "packets that may wait in each queue", false},
    {"nfq", "event_backlog", CONF_SIZE, OFF(event_backlog), "16M", 1 << 20, (int64_t)1 << 32, NULL,
     false, "events kept while acctd is away; beyond it the oldest are given up, counted", false},
    {"nfq", "metrics", CONF_STRING, OFF(metrics), "127.0.0.1:9425", 0, 0, NULL, false,
     "where Prometheus metrics are served; empty: nowhere", false},
    {"kernel-rules", "mark_mask", CONF_STRING, OFF(mark_mask), "0x00ff0000", 0, 0, NULL, false,
     "bits of the packet mark that are ours alone", true},
    {"kernel-rules", "queue_first", CONF_INT, OFF(queue_first), "25", 0, 65535, NULL, false,
     "number of the first netfilter queue", true},
    {"kernel-rules", "queue_count", CONF_INT, OFF(queue_count), "0", 0, MAX_QUEUES, NULL, false,
     "number of queues; 0: one a CPU", true},
    {"kernel-rules", "set_size", CONF_INT, OFF(set_size), "1048576", 1024, 1 << 24, NULL, false,
     "most elements of each kernel set", true},
    {"kernel-rules", "own_mta", CONF_LIST, OFF(own_mta), "", 0, 0, NULL, true,
     "addresses and prefixes that port 25 is always open to", true},
    {"kernel-rules", "fail", CONF_ENUM, OFF(fail), "closed", 0, 0, "closed|open", true,
     "what becomes of packets that nfqd did not judge", true},
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
	if (out->queue_first + nfq_conf_queues(out) > 65536) {
		*err = talloc_asprintf(
		    ctx, "%s: kernel-rules.queue_first + queue_count is above 65536", file);
		return false;
	}
	return true;
}

unsigned nfq_conf_queues(const struct nfq_conf *c)
{
	long n = c->queue_count;
	if (n == 0)
		n = sysconf(_SC_NPROCESSORS_CONF);
	if (n < 1)
		n = 1;
	return n > MAX_QUEUES ? MAX_QUEUES : (unsigned)n;
}

bool nfq_conf_own_mta(const struct nfq_conf *c, const struct addr *a)
{
	char err[128];
	struct prefix p;
	for (size_t i = 0; i < c->own_mta.n; i++)
		if (prefix_parse(c->own_mta.items[i], &p, err) && prefix_contains(&p, a))
			return true;
	return false;
}
