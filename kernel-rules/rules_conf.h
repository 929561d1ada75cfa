/*
 * rules_conf - the section kernel-rules of the configuration, its classes and pools, and what
 * follows from them.
 */
#ifndef KERNEL_RULES_RULES_CONF_H
#define KERNEL_RULES_RULES_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/conf.h"
#include "lib/marks.h"

enum rules_fail { RULES_FAIL_CLOSED, RULES_FAIL_OPEN };
enum rules_reaction { RULES_RESET, RULES_ICMP, RULES_DROP };
enum rules_tunnels { RULES_TUNNELS_PASS, RULES_TUNNELS_DROP };
enum rules_backend { RULES_AUTO, RULES_NFT, RULES_XT };

/* class NAME { }: what an exemption of that class may do. */
struct rules_class {
	char *name;
	int64_t rate, burst;  /* new connections a minute, and at once; 0: no limit, twice rate */
	int64_t concurrent;   /* connections open at once; 0: no limit */
	int64_t destinations; /* distinct ones an hour; 0: no limit */
	bool listed;	      /* only to the destinations that the exemption names */
};

/* pool NAME { }: subscribers who are treated alike. */
struct rules_pool {
	char *name;
	struct conf_list interfaces, prefixes;
	int64_t delegated;  /* prefix length of an IPv6 line */
	int fail, reaction; /* enums above */
	bool notice;
};

struct rules_conf {
	struct conf_common common;
	struct conf_list subscriber_interfaces, subscriber_prefixes, own_mta, antispoof_except;
	char *mark_mask;
	int64_t queue_first, queue_count;
	int64_t set_size, delegated;
	int64_t throttle_rate, throttle_burst; /* new connections a minute, and at once */
	int64_t reply_rate;		       /* refusals answered a second */
	int64_t count_rate;		       /* packets a second that are counted by source */
	int64_t notice_port;
	int fail, reaction, tunnels, backend; /* the enums above; fail, reaction: of no pool */
	bool antispoof;
	struct conf_items classes, pools;
};

extern const struct conf_key rules_keys[];
extern const size_t rules_keys_n;

#define RULES_MAX_CLASSES 16
#define RULES_MAX_POOLS	  32

/*
 * Reads FILE and checks it. False: *err, talloc'd under ctx, says what to change. strict: somebody
 * must be subject, or the rules would close nothing.
 */
bool rules_conf_load(void *ctx, const char *file, bool strict, struct rules_conf *out, char **err);
/* What the table of keys cannot say. False: err (at least 256 bytes) says what to change. */
bool rules_conf_check(const struct rules_conf *c, char err[static 256]);

/*
 * The classes with limits of their own: those written, and throttled and listed when they are not.
 * Returns how many. `full` is none of them: it has no limits.
 */
size_t rules_classes(const struct rules_conf *c,
		     struct rules_class out[static RULES_MAX_CLASSES + 2]);
static inline const struct rules_pool *rules_pool(const struct rules_conf *c, size_t i)
{
	return (const struct rules_pool *)c->pools.items + i;
}
/* Does anybody, in a pool or in none, fail that way? */
bool rules_fails(const struct rules_conf *c, enum rules_fail how);
bool rules_notices(const struct rules_conf *c); /* does any pool give notice? */

struct rules_queues {
	uint16_t first, last;
};
/*
 * The queues of those that fail that way: queue_first and the queue_count behind it (0: one a CPU);
 * where both ways are in use, open has the next as many.
 */
struct rules_queues rules_queues(const struct rules_conf *c, enum rules_fail how);

#endif
