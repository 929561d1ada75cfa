/*
 * loader - put the ruleset and the queue step into the kernel, look at them, take them out.
 */
#ifndef KERNEL_RULES_LOADER_H
#define KERNEL_RULES_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel-rules/rules_conf.h"

struct rules_status {
	bool loaded;		 /* the table is there */
	bool native_step;	 /* chain q holds the queue rule */
	bool xt_step4, xt_step6; /* mangle/FORWARD holds ours */
	const char *note;	 /* "VERSION: STEP: REASON" as load left it; "" */
	struct {
		const char *name; /* without c_ */
		uint64_t packets;
	} counters[16];
	unsigned n_counters;
};

/* Every result false with *err, a talloc'd text under ctx that says what to do. */

/* Can nft hand packets to a queue here (as configured: auto asks the kernel)? why: static text. */
bool loader_choose(void *ctx, const struct rules_conf *c, bool *native, const char **why,
		   char **err);
/* Idempotent; what was there stays in force until the new rules are. */
bool loader_load(void *ctx, const struct rules_conf *c, bool native, const char *why, char **err);
/* The kernel's opinion on the ruleset; nothing is changed. */
bool loader_check(void *ctx, const struct rules_conf *c, bool native, const char *why, char **err);
/* Removes the table and the twin's rules. */
bool loader_unload(void *ctx, char **err);
bool loader_status(void *ctx, struct rules_status *out, char **err);
/* The text that load would give to nft. */
char *loader_text(void *ctx, const struct rules_conf *c, bool native, const char *why);

#endif
