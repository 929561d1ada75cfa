/*
 * nftset_int - what the parts of nftset share: nftset.c (the names, transactions), nftset_elem.c
 * (elements, the harvest), nftset_look.c (what there is), nftset_msg.c (the socket, messages).
 */
#ifndef NFQ_NFTSET_INT_H
#define NFQ_NFTSET_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfq/nftset.h"

#define NFTSET_TABLE  "sekisho"
#define SEND_BYTES    (1u << 20)
#define RECEIVE_BYTES (64u << 10)

struct mnl_socket;
struct nlmsghdr;
struct nlattr;

enum nftset_shape {
	SHAPE_HOST,
	SHAPE_PAIR,
	SHAPE_MAP,
	SHAPE_PROTO,
	SHAPE_WORD,	/* bits 16 to 47 of an IPv6 address */
	SHAPE_LOW_WORD, /* bits 32 to 63 */
};

struct nftset_set {
	const char *name, *label;
	bool is6;
	enum nftset_shape shape;
};
extern const struct nftset_set nftset_sets[NFTSET_COUNT];

/* What nftset_look() found. */
struct nftset_found {
	bool present[NFTSET_COUNT];
	size_t elements[NFTSET_COUNT];
	struct chain {
		bool is6;
		char name[NFTSET_CHAIN];
	} * chains;
	size_t n_chains, cap_chains;
};

struct nftset {
	struct mnl_socket *nl;
	uint32_t seq, commits;
	bool destroy_used,
	    destroy_known;	    /* MSG_DESTROYSETELEM: in the transaction; to the kernel */
	bool only_delete;	    /* it is not */
	bool no_room[NFTSET_COUNT]; /* found out in the nftset_apply() that runs */
	struct nftset_found look;
	uint8_t send[SEND_BYTES];
	uint8_t receive[RECEIVE_BYTES];
};

/* What comes back from one request. */
struct nftmsg_answer {
	void (*message)(const struct nlmsghdr *nlh, void *arg);
	void *arg;
	int error;	  /* errno of the first error message, 0 */
	bool interrupted; /* a dump during which the ruleset changed */
	bool lost;	  /* the receive buffer ran over */
};

/* --- nftset_msg.c ---------------------------------------------------------------- */

/* Begin a message of nf_tables in buf. */
struct nlmsghdr *nftmsg_put(struct nftset *n, void *buf, bool is6, unsigned type, unsigned flags);
/* The frame of a transaction. */
struct nlmsghdr *nftmsg_put_batch(struct nftset *n, void *buf, uint16_t type);
/* Send len bytes of n->send, and read what is there; until_end: until a message ends it. False with
 * errno. */
bool nftmsg_request(struct nftset *n, size_t len, struct nftmsg_answer *a, bool until_end);
/* A dump is begun again when the ruleset changed under it: the receiver may be told things twice.
 */
bool nftmsg_dump(struct nftset *n, const struct nlmsghdr *nlh, struct nftmsg_answer *a);
/* The attribute of this type in a nest, in a message; NULL: there is none. */
const struct nlattr *nftmsg_find(const struct nlattr *nest, uint16_t type);
const struct nlattr *nftmsg_find_top(const struct nlmsghdr *nlh, uint16_t type);
/* 0 when attr is NULL or too short. */
uint64_t nftmsg_be64(const struct nlattr *attr);
uint32_t nftmsg_be32(const struct nlattr *attr);

/* --- nftset_elem.c --------------------------------------------------------------- */

/* Table and set of a message about elements. */
void nftset_put_set(struct nlmsghdr *nlh, const struct nftset_set *set);
/* add: with what it is to have, else its key only. */
void nftset_put_element(struct nlmsghdr *nlh, const struct nftset_set *set,
			const struct nftset_op *op, bool add);

/* --- nftset.c: a transaction, in n->send ----------------------------------------- */

struct nftset_batch {
	struct nftset *n;
	size_t len;
};

void nftset_batch_begin(struct nftset_batch *b, struct nftset *n);
/* A message about set; list_wanted: *list is its list of elements, to be filled. */
struct nlmsghdr *nftset_batch_message(struct nftset_batch *b, const struct nftset_set *set,
				      unsigned type, unsigned flags, bool list_wanted,
				      struct nlattr **list);
void nftset_batch_message_end(struct nftset_batch *b, struct nlmsghdr *nlh, struct nlattr *list);
bool nftset_batch_commit(struct nftset_batch *b, struct nftmsg_answer *a);

#endif
