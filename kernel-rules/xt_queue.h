/*
 * xt_queue - the queue step where nft has no `queue`, and a look at the tables, over netlink.
 *
 * nft(8) cannot write a target of x_tables into a table of its own; the kernel takes one there
 * (nft_compat), though not in a table of family inet.
 */
#ifndef KERNEL_RULES_XT_QUEUE_H
#define KERNEL_RULES_XT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel-rules/rules_conf.h"

struct xt_queue;

/* NULL: err says why. One thread. */
struct xt_queue *xt_queue_open(char err[static 256]);
void xt_queue_close(struct xt_queue *x);

/* Has this kernel the target NFQUEUE for nft? */
bool xt_queue_supported(struct xt_queue *x);

/* What is in chain of table sekisho of a family ("ip", "ip6"). */
enum xt_queue_state { XT_QUEUE_NONE, XT_QUEUE_OTHER, XT_QUEUE_RIGHT };
enum xt_queue_state xt_queue_look(struct xt_queue *x, const char *family, const char *chain,
				  struct rules_queues q, bool bypass);
/*
 * Makes that rule the chain's only one, in one transaction: there is no moment without a rule when
 * there was one. False with errno.
 */
bool xt_queue_put(struct xt_queue *x, const char *family, const char *chain, struct rules_queues q,
		  bool bypass);

/* The generation of the namespace's nft rules, which every transaction of anybody moves on. */
bool xt_queue_generation(struct xt_queue *x, uint32_t *gen);
/* Each rule of table sekisho of a family, told by its chain; false with errno: ENOENT, no table. */
bool xt_queue_rules(struct xt_queue *x, const char *family,
		    void (*fn)(const char *chain, void *arg), void *arg);
/* Each chain of the table. */
bool xt_queue_chains(struct xt_queue *x, const char *family,
		     void (*fn)(const char *chain, void *arg), void *arg);
/* Each named set and map of the table, with its most elements (0: no limit) and how many there are
 * (-1: this kernel does not tell). */
bool xt_queue_sets(struct xt_queue *x, const char *family,
		   void (*fn)(const char *set, uint32_t size, int64_t elements, void *arg),
		   void *arg);
/* Counts the elements of a set by reading them, which costs the kernel the square of their number.
 * False with errno. */
bool xt_queue_count(struct xt_queue *x, const char *family, const char *set, uint64_t *n);
/* Each named counter of the table, with its packets. */
bool xt_queue_counters(struct xt_queue *x, const char *family,
		       void (*fn)(const char *name, uint64_t packets, void *arg), void *arg);
#define XT_QUEUE_NOTE 256
/* What the loader left in the table (RULES_NOTE); false and "": nothing. */
bool xt_queue_note(struct xt_queue *x, const char *family, char note[static XT_QUEUE_NOTE]);

#endif
