/*
 * ruleset - the nft ruleset as text, from the configuration. Pure.
 *
 * Feeding the text to nft(8) is idempotent: the table, its sets and its base chains are created
 * when missing and kept when there; every chain is flushed and filled again in the same
 * transaction. Only the sets that hold configuration (sub_if, own_mta4, own_mta6) and the meters
 * lose their elements.
 */
#ifndef KERNEL_RULES_RULESET_H
#define KERNEL_RULES_RULESET_H

#include <stdbool.h>
#include <stddef.h>

#include "kernel-rules/rules_conf.h"

#define RULES_TABLE "sekisho"

struct ruleset_how {
	bool native;  /* the kernel has nft `queue`: the queue step is in the ruleset */
	bool clear_q; /* a chain of an earlier native queue step is there: empty it */
	unsigned queue_last;
	const char
	    *note; /* "VERSION: STEP: REASON", kept in the table for nfqd to tell; no quotes */
};

/* Begins the comment that is the note; nfq/nftset.c looks for it. nft takes 127 bytes in all. */
#define RULES_NOTE "sekisho-rules "

/* The ruleset, allocated under ctx. c has passed rules_conf_check(). */
char *ruleset_render(void *ctx, const struct rules_conf *c, const struct ruleset_how *how);

#endif
