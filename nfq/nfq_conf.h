/*
 * nfq_conf - the sections of the configuration that nfqd reads: its own, and a look into
 * kernel-rules.
 */
#ifndef NFQ_NFQ_CONF_H
#define NFQ_NFQ_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/conf.h"

#include "nfq/verdict.h"

/* Of pool NAME { }, what nfqd must know of its subscribers. */
struct nfq_pool {
	char *name;
	struct conf_list interfaces, prefixes;
	int64_t delegated;  /* prefix length of an IPv6 line */
	int fail, reaction; /* as kernel-rules.fail, .reaction */
	bool notice;
};

/* Of class NAME { }, the same. */
struct nfq_class {
	char *name;
	int64_t rate, burst, destinations;
	bool listed;
};

struct nfq_conf {
	struct conf_common common;
	int64_t interval, deny_timeout, deny_timeout_max; /* milliseconds */
	int64_t queue_length;
	int64_t event_backlog; /* bytes */
	int64_t stall;	       /* milliseconds */
	bool log_first;
	int64_t suspect_attempts, suspect_destinations, suspect_networks, suspect_window;
	char *metrics;
	/* of kernel-rules */
	char *mark_mask;
	int64_t queue_first, queue_count, set_size;
	struct conf_list own_mta, subscriber_interfaces, subscriber_prefixes;
	int fail, reaction; /* 0 closed, 1 open; of those in no pool */
	int64_t count_rate; /* packets a second that the rules count by source */
	int64_t delegated;
	int64_t throttle_rate, throttle_burst;
	struct conf_items classes, pools;
};

extern const struct conf_key nfq_keys[];
extern const size_t nfq_keys_n;

/* Loads, checks; marks are filled. False: *err is talloc'd under ctx. */
bool nfq_conf_load(void *ctx, const char *file, struct nfq_conf *out, struct marks *marks,
		   char **err);
/* How many queues: queue_count, or one a CPU. */
unsigned nfq_conf_queues(const struct nfq_conf *c);
static inline const struct nfq_pool *nfq_conf_pool(const struct nfq_conf *c, size_t i)
{
	return (const struct nfq_pool *)c->pools.items + i;
}
/*
 * Queues of those that fail closed, from queue_first on, and behind them of those that fail open;
 * 0 where nobody does.
 */
struct nfq_ranges {
	unsigned closed, open;
};
struct nfq_ranges nfq_conf_ranges(const struct nfq_conf *c);
/* What a class means; arg is the struct nfq_conf. One that is not configured is like throttled. */
enum policy_kind nfq_conf_kind(const char *class, void *arg);
/* And how much of it; arg the same. */
void nfq_conf_limits(const char *class, struct policy_limits *out, void *arg);
bool nfq_conf_class_known(const struct nfq_conf *c, const char *class);
/* How lines are told apart, with the interfaces that there are now; talloc'd under ctx. */
struct verdict_lines *nfq_conf_lines(void *ctx, const struct nfq_conf *c);
/* Do interfaces matter to it, so that it is to be asked for again as they come and go? */
bool nfq_conf_lines_vary(const struct nfq_conf *c);
/* Is it one of the addresses that port 25 is always open to? */
bool nfq_conf_own_mta(const struct nfq_conf *c, const struct addr *a);
/*
 * Is port 25 closed to this source, that comes in by this interface (NULL: not known)? Where
 * prefixes are configured, one in none of them is subject only behind the interfaces of pools:
 * PERHAPS, when pools have any and it is not known. OUTSIDE: no subscriber's interface.
 */
enum nfq_subject { NFQ_STRANGER, NFQ_PERHAPS, NFQ_SUBJECT, NFQ_OUTSIDE };
enum nfq_subject nfq_conf_subject(const struct nfq_conf *c, const struct addr *a,
				  const char *interface);
/* Its pool: that of the longest prefix with it, else that of the interface; NULL: none. */
const struct nfq_pool *nfq_conf_pool_of(const struct nfq_conf *c, const struct addr *a,
					const char *interface);

#endif
