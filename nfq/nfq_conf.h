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

struct nfq_conf {
	struct conf_common common;
	int64_t interval, deny_timeout; /* milliseconds */
	int64_t queue_length;
	int64_t event_backlog; /* bytes */
	char *metrics;
	/* of kernel-rules */
	char *mark_mask;
	int64_t queue_first, queue_count, set_size;
	struct conf_list own_mta;
	int fail; /* 0 closed, 1 open */
};

extern const struct conf_key nfq_keys[];
extern const size_t nfq_keys_n;

/* Loads, checks; marks are filled. False: *err is talloc'd under ctx. */
bool nfq_conf_load(void *ctx, const char *file, struct nfq_conf *out, struct marks *marks,
		   char **err);
/* How many queues: queue_count, or one a CPU. */
unsigned nfq_conf_queues(const struct nfq_conf *c);
/* Is it one of the addresses that port 25 is always open to? */
bool nfq_conf_own_mta(const struct nfq_conf *c, const struct addr *a);

#endif
