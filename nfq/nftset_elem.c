/*
 * nftset_elem - the elements of the sets, and what they counted (see nftset.h).
 *
 * Counting: the counters of an element that is deleted come back with the deletion (NLM_F_ECHO),
 * which needs neither a remembered baseline nor a kernel that can dump and reset.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "nfq/nftset_int.h"

/* --- reading ---------------------------------------------------------------------- */

static void get_addr(const uint8_t *p, bool is6, struct addr *a)
{
	if (is6)
		addr_from_v6(a, p);
	else
		addr_from_v4(a, p);
}

static bool read_key(const struct nlattr *elem, const struct nftset_set *set,
		     struct nftset_elem *out)
{
	const struct nlattr *key = nftmsg_find(elem, NFTA_SET_ELEM_KEY);
	const struct nlattr *value = key ? nftmsg_find(key, NFTA_DATA_VALUE) : NULL;
	size_t one = set->is6 ? 16 : 4;
	if (!value || mnl_attr_get_payload_len(value) < (set->shape == SHAPE_PAIR ? 2 * one : one))
		return false;
	const uint8_t *p = mnl_attr_get_payload(value);
	get_addr(p, set->is6, &out->src);
	if (set->shape == SHAPE_PAIR)
		get_addr(p + one, set->is6, &out->dst);
	return true;
}

static uint64_t read_counter(const struct nlattr *elem)
{
	const struct nlattr *expr = nftmsg_find(elem, NFTA_SET_ELEM_EXPR), *attr;
	if (!expr) {
		const struct nlattr *list = nftmsg_find(elem, NFTA_SET_ELEM_EXPRESSIONS);
		if (!list)
			return 0;
		mnl_attr_for_each_nested(attr, list)
		{
			expr = attr;
			break;
		}
	}
	const struct nlattr *data = expr ? nftmsg_find(expr, NFTA_EXPR_DATA) : NULL;
	return data ? nftmsg_be64(nftmsg_find(data, NFTA_COUNTER_PACKETS)) : 0;
}

struct reader {
	const struct nftset_set *set;
	void (*fn)(const struct nftset_elem *e, void *arg);
	void *arg;
	int64_t n;
};

/* A NEWSETELEM of a dump, or the echo of a DELSETELEM. */
static void read_elements(const struct nlmsghdr *nlh, void *arg)
{
	struct reader *r = arg;
	const struct nlattr *list = nftmsg_find_top(nlh, NFTA_SET_ELEM_LIST_ELEMENTS), *elem;
	if (!list)
		return;
	mnl_attr_for_each_nested(elem, list)
	{
		struct nftset_elem e = {0};
		if (!read_key(elem, r->set, &e))
			continue;
		e.packets = read_counter(elem);
		e.left_ms = (int64_t)nftmsg_be64(nftmsg_find(elem, NFTA_SET_ELEM_EXPIRATION));
		r->n++;
		r->fn(&e, r->arg);
	}
}
/* --- elements -------------------------------------------------------------------- */

void nftset_put_set(struct nlmsghdr *nlh, const struct nftset_set *set)
{
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, NFTSET_TABLE);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set->name);
}

static size_t put_key(uint8_t value[32], const struct nftset_set *set, const struct addr *src,
		      const struct addr *dst)
{
	size_t one = set->is6 ? 16 : 4;
	if (set->shape == SHAPE_PROTO) {
		value[0] = IPPROTO_TCP;
		return 1;
	}
	if (set->shape == SHAPE_WORD || set->shape == SHAPE_LOW_WORD) {
		memcpy(value, src->b + (set->shape == SHAPE_WORD ? 2 : 4), 4);
		return 4;
	}
	memcpy(value, set->is6 ? src->b : addr_v4(src), one);
	if (set->shape != SHAPE_PAIR)
		return one;
	memcpy(value + one, set->is6 ? dst->b : addr_v4(dst), one);
	return 2 * one;
}

static void put_verdict(struct nlmsghdr *nlh, const char *chain)
{
	struct nlattr *data = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_DATA);
	struct nlattr *verdict = mnl_attr_nest_start(nlh, NFTA_DATA_VERDICT);
	mnl_attr_put_u32(nlh, NFTA_VERDICT_CODE, htonl((uint32_t)NFT_GOTO));
	mnl_attr_put_strz(nlh, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(nlh, verdict);
	mnl_attr_nest_end(nlh, data);
}

void nftset_put_element(struct nlmsghdr *nlh, const struct nftset_set *set,
			const struct nftset_op *op, bool add)
{
	uint8_t value[32];
	size_t len = put_key(value, set, &op->key, &op->dst);
	struct nlattr *elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	struct nlattr *key = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, value);
	mnl_attr_nest_end(nlh, key);
	if (add && set->shape == SHAPE_MAP)
		put_verdict(nlh, op->chain);
	if (add && op->timeout_ms > 0)
		mnl_attr_put_u64(nlh, NFTA_SET_ELEM_TIMEOUT, htobe64((uint64_t)op->timeout_ms));
	mnl_attr_nest_end(nlh, elem);
}

bool nftset_dump(struct nftset *n, enum nftset_id id,
		 void (*fn)(const struct nftset_elem *e, void *arg), void *arg)
{
	struct reader r = {&nftset_sets[id], fn, arg, 0};
	struct nftmsg_answer a = {.message = read_elements, .arg = &r};
	struct nlmsghdr *nlh = nftmsg_put(n, n->send, r.set->is6, NFT_MSG_GETSETELEM, NLM_F_DUMP);
	nftset_put_set(nlh, r.set);
	/* An interrupted dump is taken as it is: an element told twice, or missed, is put right by
	 * the next. */
	return nftmsg_request(n, nlh->nlmsg_len, &a, true) && !a.lost;
}

static void ignore_element(const struct nftset_elem *e, void *arg)
{
	(void)e;
	(void)arg;
}

int nftset_has(struct nftset *n, enum nftset_id id, const struct addr *key)
{
	const struct nftset_op op = {.key = *key};
	struct reader r = {&nftset_sets[id], ignore_element, NULL, 0};
	struct nftmsg_answer a = {.message = read_elements, .arg = &r};
	struct nlmsghdr *nlh = nftmsg_put(n, n->send, r.set->is6, NFT_MSG_GETSETELEM, 0);
	nftset_put_set(nlh, r.set);
	struct nlattr *list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	nftset_put_element(nlh, r.set, &op, false);
	mnl_attr_nest_end(nlh, list);
	if (nftmsg_request(n, nlh->nlmsg_len, &a, false))
		return r.n > 0;
	return errno == ENOENT ? 0 : -1;
}
/* --- harvest --------------------------------------------------------------------- */

static bool take_all(struct nftset *n, struct reader *r)
{
	struct nftset_batch b;
	struct nlattr *list;
	struct nftmsg_answer a = {.message = read_elements, .arg = r};
	nftset_batch_begin(&b, n);
	nftset_batch_message_end(&b,
				 nftset_batch_message(&b, r->set, NFT_MSG_DELSETELEM,
						      NLM_F_ACK | NLM_F_ECHO, false, &list),
				 NULL);
	if (!nftset_batch_commit(&b, &a))
		return false;
	errno = ENOBUFS;
	return !a.lost;
}

int64_t nftset_harvest(struct nftset *n, enum nftset_id id, size_t max,
		       void (*fn)(const struct nftset_elem *e, void *arg), void *arg)
{
	struct reader r = {&nftset_sets[id], fn, arg, 0};
	size_t count = n->look.elements[id];
	if (!n->look.present[id] || count == 0)
		return 0;
	if (count != NFTSET_COUNT_UNKNOWN && count > max)
		return 0;
	return take_all(n, &r) ? r.n : -1;
}
