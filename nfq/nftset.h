/*
 * nftset - the sets and counters of the tables ip sekisho and ip6 sekisho, read and changed over
 * netlink.
 *
 * The names are those of kernel-rules/ (tests/unit/nfq holds them against its sample). Calls are
 * synchronous and from one thread; changes go in transactions of at most NFTSET_CHUNK elements.
 */
#ifndef NFQ_NFTSET_H
#define NFQ_NFTSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

enum nftset_id {
	/* Allow sets, most specific first within a family; a map of the other classes for each in
	   the same order. */
	NFTSET_ALLOW4_32,
	NFTSET_ALLOW4_24,
	NFTSET_ALLOW6_128,
	NFTSET_ALLOW6_64,
	NFTSET_ALLOW6_56,
	NFTSET_ALLOW6_48,
	NFTSET_CLASS4_32,
	NFTSET_CLASS4_24,
	NFTSET_CLASS6_128,
	NFTSET_CLASS6_64,
	NFTSET_CLASS6_56,
	NFTSET_CLASS6_48,
	NFTSET_LISTED4, /* prefix of the exemption, and a destination it may reach */
	NFTSET_LISTED6,
	NFTSET_HOSTS4, /* the /28 or /64 of every host in the allow sets and class maps */
	NFTSET_HOSTS6,
	NFTSET_NEAR4, /* the /24 or /48 of every wider element of them */
	NFTSET_NEAR6,
	NFTSET_DENY4,
	NFTSET_DENY6_48, /* one for each length of a delegated prefix */
	NFTSET_DENY6_64 = NFTSET_DENY6_48 + 16,
	NFTSET_REFUSED4, /* refused packets by source and destination */
	NFTSET_REFUSED6,
	NFTSET_PASSED4, /* exempt packets, the same */
	NFTSET_PASSED6,
	NFTSET_SEEN4, /* refused packets by source, when there are too many pairs */
	NFTSET_SEEN6,
	NFTSET_ALIVE4, /* holds `tcp` while nfqd is well */
	NFTSET_ALIVE6,
	NFTSET_COUNT
};
#define NFTSET_ALLOW_SETS (NFTSET_ALLOW6_48 + 1)
#define NFTSET_FILLED	  (NFTSET_DENY6_64 + 1) /* those below are filled by ksync */

const char *nftset_name(enum nftset_id id); /* "allow_32" */
/* The same with what is not in the name: "ip6 seen". */
const char *nftset_label(enum nftset_id id);
bool nftset_is6(enum nftset_id id);

#define NFTSET_CHUNK	     4000
#define NFTSET_CHAIN	     28 /* "class_NAME_LEN" */
#define NFTSET_COUNT_UNKNOWN SIZE_MAX

struct nftset_elem {
	struct addr src, dst; /* dst: refused and passed sets only */
	int64_t left_ms;      /* until the kernel drops it; 0: never */
	uint64_t packets;     /* refused, passed and seen sets only */
};

enum nftset_verb {
	NFTSET_ADD,
	NFTSET_DELETE,
	NFTSET_REPLACE, /* delete and add in one transaction */
	NFTSET_FLUSH,	/* everything out; before all others of the same transaction */
};

struct nftset_op {
	enum nftset_verb verb;
	enum nftset_id set;
	struct addr key, dst;	  /* dst: listed sets only; alive sets have no key of ours */
	int64_t timeout_ms;	  /* 0: none */
	char chain[NFTSET_CHAIN]; /* class maps only */
};

struct nftset_result {
	size_t full;   /* not added: the set has as many elements as it may */
	size_t failed; /* not done for another reason */
	int error;     /* errno of the last of those */
};

struct nftset;

struct nftset *nftset_open(char err[static 256]);
void nftset_close(struct nftset *n);

/* Are both tables there? 1, 0, or -1 (errno). handle differs after one was made anew. */
int nftset_table(struct nftset *n, uint64_t *handle);
/*
 * Look which sets and class chains there are: a table may be of another configuration. What is
 * missing is left out of transactions. False with errno.
 */
bool nftset_look(struct nftset *n);
bool nftset_present(const struct nftset *n, enum nftset_id id);
/* Instead of a look: take it to be there. */
void nftset_assume(struct nftset *n, enum nftset_id id);
/* Elements at the last look, NFTSET_COUNT_UNKNOWN when this kernel does not tell. */
size_t nftset_elements(const struct nftset *n, enum nftset_id id);
bool nftset_has_chain(const struct nftset *n, bool is6, const char *chain);
/* The generation of the whole ruleset, which every transaction of anybody moves on. */
bool nftset_generation(struct nftset *n, uint32_t *gen);
/* Transactions that this handle committed: to tell one's own steps of the generation from others'.
 */
uint32_t nftset_commits(const struct nftset *n);

#define NFTSET_NOTE 128

/* Who hands packets to the queue, as the kernel has it now: nft in both tables, xt in each. */
enum { NFTSET_STEP_NFT = 1, NFTSET_STEP_XT4 = 2, NFTSET_STEP_XT6 = 4 };
int nftset_steps(struct nftset *n);

/*
 * What the loader left in the table: "VERSION: STEP: REASON", see kernel-rules/ruleset.h. False,
 * and "": there is nothing.
 */
bool nftset_note(struct nftset *n, char note[static NFTSET_NOTE]);

/* Deleting what is not there, and adding what is, are no failures. */
struct nftset_result nftset_apply(struct nftset *n, const struct nftset_op *ops, size_t count);

/* Every element; false with errno. fn must not call nftset. */
bool nftset_dump(struct nftset *n, enum nftset_id id,
		 void (*fn)(const struct nftset_elem *e, void *arg), void *arg); /* small sets only:
							 the kernel's work grows with the square */
/*
 * Take every element out and tell what it had counted: each packet is told once, in this harvest or
 * the next, but for those that hit an element in the moment of its removal. Sets of more than max
 * elements are left for another time. Returns how many, -1 with errno (ENOBUFS: some went untold).
 */
int64_t nftset_harvest(struct nftset *n, enum nftset_id id, size_t max,
		       void (*fn)(const struct nftset_elem *e, void *arg), void *arg);
/* Is key there now? 1, 0, or -1 (errno). */
int nftset_has(struct nftset *n, enum nftset_id id, const struct addr *key);
/* The named counters of both tables, without their c_; a name may be told twice. */
bool nftset_counters(struct nftset *n, void (*fn)(const char *name, uint64_t packets, void *arg),
		     void *arg);

#endif
