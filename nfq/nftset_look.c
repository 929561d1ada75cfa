/*
 * nftset_look - what there is in the tables: themselves, their sets and class chains, who hands
 * packets to the queue, the counters (see nftset.h).
 */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#include "nfq/nftset_int.h"

#define SET_COUNT 20	    /* NFTA_SET_COUNT, of Linux 6.16; older kernels tell none */
#define XT_TARGET "NFQUEUE" /* of the twin of nft queue, see kernel-rules/ */

/* --- table, generation, counters ------------------------------------------------- */

static void read_table(const struct nlmsghdr *nlh, void *arg)
{
	*(uint64_t *)arg = nftmsg_be64(nftmsg_find_top(nlh, NFTA_TABLE_HANDLE));
}

static int one_table(struct nftset *n, bool is6, uint64_t *handle)
{
	struct nftmsg_answer a = {.message = read_table, .arg = handle};
	struct nlmsghdr *nlh = nftmsg_put(n, n->send, is6, NFT_MSG_GETTABLE, 0);
	*handle = 0;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, NFTSET_TABLE);
	if (nftmsg_request(n, nlh->nlmsg_len, &a, false))
		return *handle != 0;
	return errno == ENOENT ? 0 : -1;
}

int nftset_table(struct nftset *n, uint64_t *handle)
{
	uint64_t h4, h6;
	int there4 = one_table(n, false, &h4), there6 = there4 == 1 ? one_table(n, true, &h6) : 0;
	*handle = there6 == 1 ? h4 << 32 ^ h6 : 0;
	return there4 == 1 ? there6 : there4;
}

static void read_generation(const struct nlmsghdr *nlh, void *arg)
{
	*(uint32_t *)arg = nftmsg_be32(nftmsg_find_top(nlh, NFTA_GEN_ID));
}

bool nftset_generation(struct nftset *n, uint32_t *gen)
{
	struct nftmsg_answer a = {.message = read_generation, .arg = gen};
	return nftmsg_request(n, nftmsg_put(n, n->send, false, NFT_MSG_GETGEN, 0)->nlmsg_len, &a,
			      false);
}

struct counter_reader {
	void (*fn)(const char *name, uint64_t packets, void *arg);
	void *arg;
};

static void read_object(const struct nlmsghdr *nlh, void *arg)
{
	struct counter_reader *r = arg;
	const struct nlattr *name = nftmsg_find_top(nlh, NFTA_OBJ_NAME),
			    *data = nftmsg_find_top(nlh, NFTA_OBJ_DATA);
	if (!name || !data || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0)
		return;
	const char *text = mnl_attr_get_str(name);
	if (strncmp(text, "c_", 2) == 0)
		r->fn(text + 2, nftmsg_be64(nftmsg_find(data, NFTA_COUNTER_PACKETS)), r->arg);
}

bool nftset_counters(struct nftset *n, void (*fn)(const char *name, uint64_t packets, void *arg),
		     void *arg)
{
	struct counter_reader r = {fn, arg};
	struct nftmsg_answer a = {.message = read_object, .arg = &r};
	for (int is6 = 0; is6 < 2; is6++) {
		struct nlmsghdr *nlh = nftmsg_put(n, n->send, is6, NFT_MSG_GETOBJ, NLM_F_DUMP);
		mnl_attr_put_strz(nlh, NFTA_OBJ_TABLE, NFTSET_TABLE);
		mnl_attr_put_u32(nlh, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
		if (!nftmsg_dump(n, nlh, &a))
			return false;
	}
	return true;
}

/* --- what there is --------------------------------------------------------------- */

struct looking {
	struct nftset_found *look;
	bool is6;
};

static void read_set(const struct nlmsghdr *nlh, void *arg)
{
	const struct looking *l = arg;
	const struct nlattr *name = nftmsg_find_top(nlh, NFTA_SET_NAME);
	const struct nlattr *count = nftmsg_find_top(nlh, SET_COUNT);
	if (!name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0)
		return;
	for (unsigned id = 0; id < NFTSET_COUNT; id++)
		if (nftset_sets[id].is6 == l->is6 &&
		    strcmp(nftset_sets[id].name, mnl_attr_get_str(name)) == 0) {
			l->look->present[id] = true;
			l->look->elements[id] = count ? nftmsg_be32(count) : NFTSET_COUNT_UNKNOWN;
		}
}

static void read_chain(const struct nlmsghdr *nlh, void *arg)
{
	const struct looking *l = arg;
	struct nftset_found *k = l->look;
	const struct nlattr *name = nftmsg_find_top(nlh, NFTA_CHAIN_NAME);
	if (!name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0 ||
	    mnl_attr_get_payload_len(name) > NFTSET_CHAIN ||
	    strncmp(mnl_attr_get_str(name), "class_", 6) != 0)
		return;
	if (k->n_chains == k->cap_chains) {
		k->cap_chains = k->cap_chains ? k->cap_chains * 2 : 64;
		struct chain *more = reallocarray(k->chains, k->cap_chains, sizeof *more);
		if (!more)
			fatal("out of memory");
		k->chains = more;
	}
	struct chain *c = &k->chains[k->n_chains++];
	*c = (struct chain){.is6 = l->is6};
	(void)snprintf(c->name, sizeof c->name, "%s", mnl_attr_get_str(name));
}

static bool ask_all(struct nftset *n, bool is6, unsigned type, uint16_t table_attr,
		    void (*fn)(const struct nlmsghdr *nlh, void *arg))
{
	struct looking l = {&n->look, is6};
	struct nftmsg_answer a = {.message = fn, .arg = &l};
	struct nlmsghdr *nlh = nftmsg_put(n, n->send, is6, type, NLM_F_DUMP);
	mnl_attr_put_strz(nlh, table_attr, NFTSET_TABLE);
	return nftmsg_dump(n, nlh, &a);
}

static int compare_chains(const void *x, const void *y)
{
	const struct chain *a = x, *b = y;
	return a->is6 != b->is6 ? (int)a->is6 - (int)b->is6 : strcmp(a->name, b->name);
}

bool nftset_look(struct nftset *n)
{
	memset(n->look.present, 0, sizeof n->look.present);
	n->look.n_chains = 0;
	for (int is6 = 0; is6 < 2; is6++)
		if (!ask_all(n, is6, NFT_MSG_GETSET, NFTA_SET_TABLE, read_set) ||
		    !ask_all(n, is6, NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, read_chain))
			return false;
	if (n->look.n_chains > 0)
		qsort(n->look.chains, n->look.n_chains, sizeof *n->look.chains, compare_chains);
	return true;
}

bool nftset_present(const struct nftset *n, enum nftset_id id)
{
	return n->look.present[id];
}

void nftset_assume(struct nftset *n, enum nftset_id id)
{
	n->look.present[id] = true;
}

size_t nftset_elements(const struct nftset *n, enum nftset_id id)
{
	return n->look.elements[id];
}

bool nftset_has_chain(const struct nftset *n, bool is6, const char *chain)
{
	struct chain want = {.is6 = is6};
	(void)snprintf(want.name, sizeof want.name, "%s", chain);
	return n->look.n_chains > 0 && bsearch(&want, n->look.chains, n->look.n_chains, sizeof want,
					       compare_chains) != NULL;
}

/* --- the queue step -------------------------------------------------------------- */

/* Bits of enum step: a rule of the table hands packets to a queue. */
enum { STEP_NATIVE = 1, STEP_XT = 2 };

static void search_step(const struct nlmsghdr *nlh, void *arg)
{
	int *found = arg;
	const struct nlattr *list = nftmsg_find_top(nlh, NFTA_RULE_EXPRESSIONS), *expr;
	if (!list)
		return;
	mnl_attr_for_each_nested(expr, list)
	{
		const struct nlattr *name = nftmsg_find(expr, NFTA_EXPR_NAME);
		if (!name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0)
			continue;
		if (strcmp(mnl_attr_get_str(name), "queue") == 0)
			*found |= STEP_NATIVE;
		if (strcmp(mnl_attr_get_str(name), "target") == 0 &&
		    memmem(expr, expr->nla_len, XT_TARGET, strlen(XT_TARGET)))
			*found |= STEP_XT;
	}
}

static int steps_of(struct nftset *n, bool is6)
{
	int found = 0;
	struct nftmsg_answer a = {.message = search_step, .arg = &found};
	struct nlmsghdr *nlh = nftmsg_put(n, n->send, is6, NFT_MSG_GETRULE, NLM_F_DUMP);
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, NFTSET_TABLE);
	return nftmsg_dump(n, nlh, &a) ? found : 0;
}

int nftset_steps(struct nftset *n)
{
	int v4 = steps_of(n, false), v6 = steps_of(n, true);
	return (v4 & v6 & STEP_NATIVE ? NFTSET_STEP_NFT : 0) |
	       (v4 & STEP_XT ? NFTSET_STEP_XT4 : 0) | (v6 & STEP_XT ? NFTSET_STEP_XT6 : 0);
}

#define NOTE "sekisho-rules " /* RULES_NOTE, see kernel-rules/ruleset.h */

static void read_note(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *data = nftmsg_find_top(nlh, NFTA_RULE_USERDATA);
	size_t len = data ? mnl_attr_get_payload_len(data) : 0;
	const char *p = data ? memmem(mnl_attr_get_payload(data), len, NOTE, strlen(NOTE)) : NULL;
	if (!p)
		return;
	p += strlen(NOTE);
	size_t left = len - (size_t)(p - (const char *)mnl_attr_get_payload(data));
	(void)snprintf(arg, NFTSET_NOTE, "%.*s", (int)strnlen(p, left), p);
}

bool nftset_note(struct nftset *n, char note[static NFTSET_NOTE])
{
	struct nftmsg_answer a = {.message = read_note, .arg = note};
	struct nlmsghdr *nlh = nftmsg_put(n, n->send, false, NFT_MSG_GETRULE, NLM_F_DUMP);
	note[0] = '\0';
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, NFTSET_TABLE);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, "about");
	return nftmsg_dump(n, nlh, &a) && note[0];
}
