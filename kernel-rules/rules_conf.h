/*
 * rules_conf - the section kernel-rules of the configuration, and the plan that follows from it.
 */
#ifndef KERNEL_RULES_RULES_CONF_H
#define KERNEL_RULES_RULES_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf.h"

enum rules_fail { RULES_FAIL_CLOSED, RULES_FAIL_OPEN };
enum rules_reaction { RULES_RESET, RULES_ICMP, RULES_DROP };
enum rules_tunnels { RULES_TUNNELS_PASS, RULES_TUNNELS_DROP };
enum rules_backend { RULES_AUTO, RULES_NFT, RULES_XT };

struct rules_conf {
	struct conf_common common;
	struct conf_list subscriber_interfaces, own_mta;
	char *mark_mask;
	int64_t queue_first, queue_count;
	int64_t set_size;
	int64_t throttle_rate, throttle_burst; /* new connections a minute, and at once */
	int64_t reply_rate;		       /* refusals answered a second */
	int fail, reaction, tunnels, backend;  /* the enums above */
	bool antispoof;
};

extern const struct conf_key rules_keys[];
extern const size_t rules_keys_n;

/* The three meanings of the mark byte, as values of the whole mark. */
struct rules_marks {
	uint32_t mask, pend, allow, reject;
};

/*
 * "0x00ff0000": 2 to 8 neighbouring bits, in hexadecimal. False with *err (static text).
 */
bool rules_parse_mask(const char *text, struct rules_marks *out, const char **err);

/* What the table of keys cannot say. False: err (at least 256 bytes) says what to change. */
bool rules_conf_check(const struct rules_conf *c, char err[static 256]);
/* The last queue number: queue_count 0 means one queue a CPU. */
unsigned rules_queue_last(const struct rules_conf *c);

#endif
