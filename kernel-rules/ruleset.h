/*
 * ruleset - the nft ruleset as text, from the configuration. Pure.
 *
 * Two tables, `ip sekisho` and `ip6 sekisho`, with one base chain each. Feeding the text to nft(8)
 * is idempotent: tables, sets and base chains are created when missing and kept when there; every
 * other chain is flushed and filled again in the same transaction. Only the sets that hold
 * configuration (subject, own_mta) and the meters lose their elements.
 */
#ifndef KERNEL_RULES_RULESET_H
#define KERNEL_RULES_RULESET_H

#include <stdbool.h>
#include <stddef.h>

#include "kernel-rules/rules_conf.h"

#define RULES_TABLE "sekisho"

struct ruleset_how {
	bool native; /* nft `queue` is in the text; else the loader keeps the queue chains filled */
	bool notice_there; /* the prerouting chain of an earlier load is there: empty it at least */
	const char
	    *note; /* "VERSION: STEP: REASON", kept in the tables for nfqd to tell; no quotes */
	/* Chains of classes that are no longer configured, ended by NULL, or NULL: each leads to
	 * the queue until nothing points to it. "ip class_x_32". */
	const char *const *orphans;
};

/* Begins the comment that is the note, on the only rule of chain `about`; nfq/nftset.c looks for
 * it. nft takes 127 bytes in all. */
#define RULES_NOTE "sekisho-rules "

/* The ruleset, allocated under ctx. c has passed rules_conf_check(). */
char *ruleset_render(void *ctx, const struct rules_conf *c, const struct ruleset_how *how);

/*
 * How many rules the text puts into each chain, told as "ip" or "ip6", the chain's name and its
 * number of rules: what a table that nobody has damaged looks like.
 */
void ruleset_chains(const char *text,
		    void (*fn)(const char *family, const char *chain, unsigned rules, void *arg),
		    void *arg);

#endif
