/*
 * nftset - see nftset.h.
 *
 * libmnl alone. Here: the names of the sets, and transactions. One that fails as a whole is done
 * again element by element, to leave out what cannot be done.
 *
 * Trusted with: CAP_NET_ADMIN. Diagnostics: results and errno. Known gaps: none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "lib/proc.h"

#include "nfq/nftset_int.h"

#define PER_MESSAGE 400 /* elements: their list may have 64 KB */

/* NFT_MSG_DESTROYSETELEM of Linux 6.3: a deletion that minds nothing that is gone by itself. */
#define MSG_DESTROYSETELEM 30

#define DENY6(len) [NFTSET_DENY6_48 + (len)-48] = {"deny_" #len, "deny_" #len, true, SHAPE_HOST}

const struct nftset_set nftset_sets[NFTSET_COUNT] = {
    [NFTSET_ALLOW4_32] = {"allow_32", "allow_32", false, SHAPE_HOST},
    [NFTSET_ALLOW4_24] = {"allow_24", "allow_24", false, SHAPE_HOST},
    [NFTSET_ALLOW6_128] = {"allow_128", "allow_128", true, SHAPE_HOST},
    [NFTSET_ALLOW6_64] = {"allow_64", "allow_64", true, SHAPE_HOST},
    [NFTSET_ALLOW6_56] = {"allow_56", "allow_56", true, SHAPE_HOST},
    [NFTSET_ALLOW6_48] = {"allow_48", "allow_48", true, SHAPE_HOST},
    [NFTSET_CLASS4_32] = {"class_32", "class_32", false, SHAPE_MAP},
    [NFTSET_CLASS4_24] = {"class_24", "class_24", false, SHAPE_MAP},
    [NFTSET_CLASS6_128] = {"class_128", "class_128", true, SHAPE_MAP},
    [NFTSET_CLASS6_64] = {"class_64", "class_64", true, SHAPE_MAP},
    [NFTSET_CLASS6_56] = {"class_56", "class_56", true, SHAPE_MAP},
    [NFTSET_CLASS6_48] = {"class_48", "class_48", true, SHAPE_MAP},
    [NFTSET_LISTED4] = {"listed", "ip listed", false, SHAPE_PAIR},
    [NFTSET_LISTED6] = {"listed", "ip6 listed", true, SHAPE_PAIR},
    [NFTSET_HOSTS4] = {"hosts", "ip hosts", false, SHAPE_HOST},
    [NFTSET_HOSTS6] = {"hosts", "ip6 hosts", true, SHAPE_LOW_WORD},
    [NFTSET_NEAR4] = {"near", "ip near", false, SHAPE_HOST},
    [NFTSET_NEAR6] = {"near", "ip6 near", true, SHAPE_WORD},
    [NFTSET_DENY4] = {"deny", "deny", false, SHAPE_HOST},
    DENY6(48),
    DENY6(49),
    DENY6(50),
    DENY6(51),
    DENY6(52),
    DENY6(53),
    DENY6(54),
    DENY6(55),
    DENY6(56),
    DENY6(57),
    DENY6(58),
    DENY6(59),
    DENY6(60),
    DENY6(61),
    DENY6(62),
    DENY6(63),
    DENY6(64),
    [NFTSET_REFUSED4] = {"refused", "ip refused", false, SHAPE_PAIR},
    [NFTSET_REFUSED6] = {"refused", "ip6 refused", true, SHAPE_PAIR},
    [NFTSET_PASSED4] = {"passed", "ip passed", false, SHAPE_PAIR},
    [NFTSET_PASSED6] = {"passed", "ip6 passed", true, SHAPE_PAIR},
    [NFTSET_SEEN4] = {"seen", "ip seen", false, SHAPE_HOST},
    [NFTSET_SEEN6] = {"seen", "ip6 seen", true, SHAPE_HOST},
    [NFTSET_ALIVE4] = {"alive", "ip alive", false, SHAPE_PROTO},
    [NFTSET_ALIVE6] = {"alive", "ip6 alive", true, SHAPE_PROTO},
};

const char *nftset_name(enum nftset_id id)
{
	return nftset_sets[id].name;
}

const char *nftset_label(enum nftset_id id)
{
	return nftset_sets[id].label;
}

bool nftset_is6(enum nftset_id id)
{
	return nftset_sets[id].is6;
}

uint32_t nftset_commits(const struct nftset *n)
{
	return n->commits;
}

/* --- transactions ---------------------------------------------------------------- */

void nftset_batch_begin(struct nftset_batch *b, struct nftset *n)
{
	*b =
	    (struct nftset_batch){n, nftmsg_put_batch(n, n->send, NFNL_MSG_BATCH_BEGIN)->nlmsg_len};
}

struct nlmsghdr *nftset_batch_message(struct nftset_batch *b, const struct nftset_set *set,
				      unsigned type, unsigned flags, bool list_wanted,
				      struct nlattr **list)
{
	bug_on(b->len + 65536 > SEND_BYTES);
	struct nlmsghdr *nlh = nftmsg_put(b->n, b->n->send + b->len, set->is6, type, flags);
	nftset_put_set(nlh, set);
	*list = list_wanted ? mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS) : NULL;
	return nlh;
}

void nftset_batch_message_end(struct nftset_batch *b, struct nlmsghdr *nlh, struct nlattr *list)
{
	if (list)
		mnl_attr_nest_end(nlh, list);
	b->len += nlh->nlmsg_len;
	bug_on(b->len > SEND_BYTES);
}

bool nftset_batch_commit(struct nftset_batch *b, struct nftmsg_answer *a)
{
	struct nftset *n = b->n;
	bug_on(b->len + 64 > SEND_BYTES);
	b->len += nftmsg_put_batch(n, n->send + b->len, NFNL_MSG_BATCH_END)->nlmsg_len;
	if (!nftmsg_request(n, b->len, a, false))
		return false;
	n->commits++;
	return true;
}

static void put_flush(struct nftset_batch *b, enum nftset_id id)
{
	struct nlattr *list;
	nftset_batch_message_end(
	    b,
	    nftset_batch_message(b, &nftset_sets[id], NFT_MSG_DELSETELEM, NLM_F_ACK, false, &list),
	    NULL);
}

/* The ops of one set and direction, in messages of PER_MESSAGE; none: no message. */
static void put_ops(struct nftset_batch *b, enum nftset_id id, bool add,
		    const struct nftset_op *ops, size_t count)
{
	struct nlmsghdr *nlh = NULL;
	struct nlattr *list = NULL;
	unsigned in_message = 0;
	unsigned delete = b->n->only_delete ? NFT_MSG_DELSETELEM : MSG_DESTROYSETELEM;
	for (size_t i = 0; i < count; i++) {
		const struct nftset_op *op = &ops[i];
		if (op->set != id || op->verb == NFTSET_FLUSH ||
		    op->verb == (add ? NFTSET_DELETE : NFTSET_ADD))
			continue;
		b->n->destroy_used |= !add && !b->n->only_delete;
		if (!nlh)
			nlh = nftset_batch_message(
			    b, &nftset_sets[id], add ? NFT_MSG_NEWSETELEM : delete,
			    NLM_F_ACK | (add ? NLM_F_CREATE : 0), true, &list);
		nftset_put_element(nlh, &nftset_sets[id], op, add);
		if (++in_message == PER_MESSAGE) {
			nftset_batch_message_end(b, nlh, list);
			nlh = NULL;
			in_message = 0;
		}
	}
	if (nlh)
		nftset_batch_message_end(b, nlh, list);
}

static bool commit_ops(struct nftset *n, const struct nftset_op *ops, size_t count)
{
	struct nftset_batch b;
	struct nftmsg_answer a = {0};
	bool used[NFTSET_COUNT] = {false}, flush[NFTSET_COUNT] = {false}, any = false;
	for (size_t i = 0; i < count; i++) {
		if (!n->look.present[ops[i].set])
			continue;
		any = true;
		if (ops[i].verb == NFTSET_FLUSH)
			flush[ops[i].set] = true;
		else
			used[ops[i].set] = true;
	}
	if (!any)
		return true;
	n->destroy_used = false;
	nftset_batch_begin(&b, n);
	for (unsigned id = 0; id < NFTSET_COUNT; id++)
		if (flush[id])
			put_flush(&b, id);
	for (int add = 0; add < 2; add++)
		for (unsigned id = 0; id < NFTSET_COUNT; id++)
			if (used[id])
				put_ops(&b, id, add, ops, count);
	return nftset_batch_commit(&b, &a);
}

static void commit_one(struct nftset *n, const struct nftset_op *op, struct nftset_result *r)
{
	struct nftset_op add = *op;
	if (commit_ops(n, op, 1))
		return;
	if (errno == ENOENT && op->verb == NFTSET_DELETE)
		return;
	add.verb = NFTSET_ADD;
	if (errno == ENOENT && op->verb == NFTSET_FLUSH)
		return;
	if (errno == ENOENT && op->verb == NFTSET_REPLACE && commit_ops(n, &add, 1))
		return;
	if (errno == ENFILE) {
		n->no_room[op->set] = true;
		r->full++;
	} else {
		r->failed++;
		r->error = errno;
	}
}

/* Without those there is no room for: true when ops became fewer. */
static bool leave_out_full(const struct nftset *n, struct nftset_op *ops, size_t *count,
			   struct nftset_result *r)
{
	size_t kept = 0;
	for (size_t i = 0; i < *count; i++)
		if (ops[i].verb == NFTSET_ADD && n->no_room[ops[i].set])
			r->full++;
		else
			ops[kept++] = ops[i];
	bool fewer = kept < *count;
	*count = kept;
	return fewer;
}

/*
 * What fails as a whole is halved until what fails is alone: each failure costs the kernel a grace
 * period. So a set that is full is asked once only, and what a set does not hold any more is
 * deleted by a message that does not mind.
 */
static void commit_some(struct nftset *n, struct nftset_op *ops, size_t count,
			struct nftset_result *r)
{
	if (leave_out_full(n, ops, &count, r) && count == 0)
		return;
	if (count > 0 && commit_ops(n, ops, count)) {
		n->destroy_known |= n->destroy_used;
	} else if (errno == EINVAL && n->destroy_used && !n->destroy_known) {
		n->only_delete = true;
		commit_some(n, ops, count, r);
	} else if (count == 1) {
		commit_one(n, ops, r);
	} else if (count > 1) {
		commit_some(n, ops, count / 2, r);
		commit_some(n, ops + count / 2, count - count / 2, r);
	}
}

struct nftset_result nftset_apply(struct nftset *n, const struct nftset_op *ops, size_t count)
{
	struct nftset_result r = {0};
	struct nftset_op some[NFTSET_CHUNK];
	memset(n->no_room, 0, sizeof n->no_room);
	for (size_t at = 0; at < count; at += NFTSET_CHUNK) {
		size_t now = count - at < NFTSET_CHUNK ? count - at : NFTSET_CHUNK;
		memcpy(some, ops + at, now * sizeof *some);
		commit_some(n, some, now, &r);
	}
	return r;
}
