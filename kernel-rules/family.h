/*
 * family - what differs between the tables of IPv4 and IPv6, and small pieces of nft text.
 */
#ifndef KERNEL_RULES_FAMILY_H
#define KERNEL_RULES_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel-rules/rules_conf.h"

struct family {
	const char *name;  /* "ip": of the table, and before saddr */
	const char *type;  /* of an address in a set */
	const char *proto; /* the protocol behind the headers */
	const char *icmp;  /* reject with ... */
	const char *local; /* where the notice responder listens */
	bool is6;
	uint8_t levels[5];     /* prefix lengths of the allow sets, longest first, then 0 */
	uint8_t lengths[2][2]; /* first and last prefix length of exemptions that fit the sets */
};

extern const struct family families[2];

/* "ip saddr", or "ip saddr & MASK" for a length that is not the whole. Under ctx, as all here. */
char *family_source(void *ctx, const struct family *f, unsigned len);

/* `iifname != "a" iifname != { "b", "c" } `, true for packets that came in by none of them. */
char *text_not_in(void *ctx, const struct conf_list *interfaces);

/*
 * A rule for each pool that says otherwise than the rest, most specific first, and one for the
 * rest: "\t\tMATCH ACTION\n". One rule alone when all say the same. of(NULL) is for who is in no
 * pool; actions are compared by their text.
 */
char *text_by_pool(void *ctx, const struct rules_conf *c, const struct family *f,
		   const char *(*of)(const struct rules_conf *c, const struct rules_pool *p));

/* Every interface that somebody subject is behind. The items are the configuration's. */
struct conf_list subject_interfaces(void *ctx, const struct rules_conf *c);
/* Interfaces where every source is subject: those of pools; only when prefixes matter at all. */
struct conf_list pool_interfaces(void *ctx, const struct rules_conf *c);

#endif
