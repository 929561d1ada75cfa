/*
 * loader - put the ruleset and the queue step into the kernel, look at them, take them out.
 */
#ifndef KERNEL_RULES_LOADER_H
#define KERNEL_RULES_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel-rules/rules_conf.h"

#define RULES_COUNTERS	    16
#define RULES_SETS	    128
#define RULES_NOTICE_LOOKUP 2525 /* routing table, and priority of the rule that leads there */

struct rules_status {
	bool loaded[2];	  /* IPv4, IPv6: the table is there */
	bool complete;	  /* both are, undamaged, and the queue step is right */
	const char *step; /* "nft", "xt" or "none" */
	const char *note; /* "VERSION: STEP: REASON" as load left it; "" */
	struct {
		const char *name; /* without c_ */
		uint64_t packets; /* of both families */
	} counters[RULES_COUNTERS];
	unsigned n_counters;
	struct {
		const char *family, *name;
		uint64_t elements;
		uint32_t size; /* 0: no limit */
	} sets[RULES_SETS];
	unsigned n_sets;
};

/* Every result false with *err, a talloc'd text under ctx that says what to do. */

/* How the queue step is done, and why (static text). */
struct rules_backend_choice {
	bool native;
	const char *why;
};
/* Can nft hand packets to a queue here (as configured: auto asks the kernel)? */
bool loader_choose(void *ctx, const struct rules_conf *c, struct rules_backend_choice *out,
		   char **err);
/* Idempotent; what was there stays in force until the new rules are. */
bool loader_load(void *ctx, const struct rules_conf *c, struct rules_backend_choice how,
		 char **err);
/* The kernel's opinion on the ruleset; nothing is changed. */
bool loader_check(void *ctx, const struct rules_conf *c, struct rules_backend_choice how,
		  char **err);
/* Removes all that any version has made. */
bool loader_unload(void *ctx, char **err);
/* c: what should be there, for `complete`. */
bool loader_status(void *ctx, const struct rules_conf *c, struct rules_status *out, char **err);
/* The text that load would give to nft. */
char *loader_text(void *ctx, const struct rules_conf *c, struct rules_backend_choice how);

/* Looking again and again: see watch.c. */
struct loader_look;
/* What a table loaded from this configuration looks like; NULL with *err. Free with talloc. */
struct loader_look *loader_look_new(void *ctx, const struct rules_conf *c,
				    struct rules_backend_choice how, char **err);
/* Has anybody changed any nft rule or set of the namespace since the last call? True at first. */
bool loader_changed(struct loader_look *l);
/* Is everything there? False: why (at least 128 bytes) says what is not. */
bool loader_whole(struct loader_look *l, char why[static 128]);

#endif
