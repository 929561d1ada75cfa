/*
 * xt_queue - see xt_queue.h.
 *
 * The kernel works on a request inside of sendmsg(2): the answers are there when it returns.
 *
 * Trusted with: CAP_NET_ADMIN. Diagnostics: errno. Known gaps: none.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/xt_NFQUEUE.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/proc.h"

#include "kernel-rules/ruleset.h"
#include "kernel-rules/xt_queue.h"

#define TARGET	      "NFQUEUE"
#define REVISION      3
#define RECEIVE_BYTES (64u << 10)
#define DUMP_TRIES    5

struct xt_queue {
	struct mnl_socket *nl;
	uint32_t seq;
	uint8_t send[4096];
	uint8_t receive[RECEIVE_BYTES];
};

/* What comes back from one request. */
struct answer {
	void (*message)(const struct nlmsghdr *nlh, void *arg);
	void *arg;
	int error;
	bool done, interrupted;
};

struct xt_queue *xt_queue_open(char err[static 256])
{
	struct xt_queue *x = calloc(1, sizeof *x);
	if (!x)
		fatal("out of memory");
	x->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!x->nl || mnl_socket_bind(x->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		(void)snprintf(err, 256, "cannot open a netfilter socket: %s", strerror(errno));
		xt_queue_close(x);
		return NULL;
	}
	return x;
}

void xt_queue_close(struct xt_queue *x)
{
	if (!x)
		return;
	if (x->nl)
		(void)mnl_socket_close(x->nl);
	free(x);
}

/* --- requests ------------------------------------------------------------------------ */

static uint8_t family_of(const char *name)
{
	return strcmp(name, "ip6") == 0 ? NFPROTO_IPV6 : NFPROTO_IPV4;
}

static struct nlmsghdr *begin(struct xt_queue *x, void *at, unsigned subsystem, unsigned type,
			      unsigned flags, uint8_t family, uint16_t id)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(at);
	nlh->nlmsg_type = (uint16_t)(subsystem << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = x->seq;
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof *nfg);
	*nfg = (struct nfgenmsg){family, NFNETLINK_V0, htons(id)};
	return nlh;
}

static struct nlmsghdr *begin_nft(struct xt_queue *x, unsigned type, unsigned flags,
				  const char *family)
{
	x->seq++;
	return begin(x, x->send, NFNL_SUBSYS_NFTABLES, type, flags, family_of(family), 0);
}

static void take(const struct nlmsghdr *nlh, struct answer *a)
{
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		a->interrupted = true;
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
		if (e->error && !a->error)
			a->error = -e->error;
		a->done = true;
	} else if (nlh->nlmsg_type == NLMSG_DONE) {
		a->done = true;
	} else if (nlh->nlmsg_type >= NLMSG_MIN_TYPE && a->message) {
		a->message(nlh, a->arg);
	}
}

/* Sends len bytes of x->send and takes every answer to x->seq. False with errno. */
static bool ask(struct xt_queue *x, size_t len, struct answer *a)
{
	if (mnl_socket_sendto(x->nl, x->send, len) < 0)
		return false;
	while (!a->done) {
		ssize_t n = mnl_socket_recvfrom(x->nl, x->receive, sizeof x->receive);
		int left = (int)n;
		if (n <= 0)
			return false;
		for (const struct nlmsghdr *nlh = (const void *)x->receive; mnl_nlmsg_ok(nlh, left);
		     nlh = mnl_nlmsg_next(nlh, &left))
			if (nlh->nlmsg_seq == x->seq)
				take(nlh, a);
	}
	errno = a->error;
	return a->error == 0;
}

static bool ask_one(struct xt_queue *x, const struct nlmsghdr *nlh, struct answer *a)
{
	return ask(x, nlh->nlmsg_len, a);
}

/* --- looking ------------------------------------------------------------------------- */

bool xt_queue_supported(struct xt_queue *x)
{
	struct answer a = {.message = NULL};
	x->seq++;
	struct nlmsghdr *nlh = begin(x, x->send, NFNL_SUBSYS_NFT_COMPAT, NFNL_MSG_COMPAT_GET,
				     NLM_F_ACK, NFPROTO_IPV4, 0);
	mnl_attr_put_strz(nlh, NFTA_COMPAT_NAME, TARGET);
	mnl_attr_put_u32(nlh, NFTA_COMPAT_REV, htonl(REVISION));
	mnl_attr_put_u32(nlh, NFTA_COMPAT_TYPE, htonl(1)); /* a target */
	return ask_one(x, nlh, &a);
}

static void take_generation(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *at;
	mnl_attr_for_each(at, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(at) == NFTA_GEN_ID)
			*(uint32_t *)arg = ntohl(mnl_attr_get_u32(at));
	}
}

bool xt_queue_generation(struct xt_queue *x, uint32_t *gen)
{
	struct answer a = {.message = take_generation, .arg = gen};
	*gen = 0;
	return ask_one(x, begin_nft(x, NFT_MSG_GETGEN, NLM_F_ACK, "ip"), &a) && *gen != 0;
}

/* The attribute of that type that belongs to a message, or NULL. */
static const struct nlattr *attr_of(const struct nlmsghdr *nlh, unsigned type)
{
	const struct nlattr *at;
	mnl_attr_for_each(at, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(at) == type)
			return at;
	}
	return NULL;
}

static const struct nlattr *nested(const struct nlattr *in, unsigned type)
{
	const struct nlattr *at;
	if (!in)
		return NULL;
	mnl_attr_for_each_nested(at, in)
	{
		if (mnl_attr_get_type(at) == type)
			return at;
	}
	return NULL;
}

static const char *text_of(const struct nlattr *at)
{
	return at && mnl_attr_validate(at, MNL_TYPE_NUL_STRING) >= 0 ? mnl_attr_get_str(at) : "";
}

struct names {
	unsigned table_attr, name_attr;
	void (*fn)(const char *name, void *arg);
	void *arg;
};

static void take_name(const struct nlmsghdr *nlh, void *arg)
{
	const struct names *n = arg;
	if (strcmp(text_of(attr_of(nlh, n->table_attr)), RULES_TABLE) == 0)
		n->fn(text_of(attr_of(nlh, n->name_attr)), n->arg);
}

/* The table is there? A dump of what is not would be empty. */
static bool table_there(struct xt_queue *x, const char *family)
{
	struct answer a = {.message = NULL};
	struct nlmsghdr *nlh = begin_nft(x, NFT_MSG_GETTABLE, NLM_F_ACK, family);
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, RULES_TABLE);
	return ask_one(x, nlh, &a);
}

bool xt_queue_rules(struct xt_queue *x, const char *family,
		    void (*fn)(const char *chain, void *arg), void *arg)
{
	struct names n = {NFTA_RULE_TABLE, NFTA_RULE_CHAIN, fn, arg};
	struct answer a = {.message = take_name, .arg = &n};
	if (!table_there(x, family))
		return false;
	struct nlmsghdr *nlh = begin_nft(x, NFT_MSG_GETRULE, NLM_F_DUMP, family);
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, RULES_TABLE);
	bool ok = ask_one(x, nlh, &a);
	if (ok && a.interrupted) {
		errno = EINTR;
		return false;
	}
	return ok;
}

bool xt_queue_chains(struct xt_queue *x, const char *family,
		     void (*fn)(const char *chain, void *arg), void *arg)
{
	struct names n = {NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, fn, arg};
	struct answer a = {.message = take_name, .arg = &n};
	return ask_one(x, begin_nft(x, NFT_MSG_GETCHAIN, NLM_F_DUMP, family), &a);
}

#define SET_COUNT 20 /* NFTA_SET_COUNT, of Linux 6.16; older kernels tell none */

struct sets {
	void (*fn)(const char *set, uint32_t size, int64_t elements, void *arg);
	void *arg;
};

static void take_set(const struct nlmsghdr *nlh, void *arg)
{
	const struct sets *s = arg;
	const struct nlattr *flags = attr_of(nlh, NFTA_SET_FLAGS),
			    *size = nested(attr_of(nlh, NFTA_SET_DESC), NFTA_SET_DESC_SIZE),
			    *count = attr_of(nlh, SET_COUNT);
	if (flags && ntohl(mnl_attr_get_u32(flags)) & NFT_SET_ANONYMOUS)
		return;
	s->fn(text_of(attr_of(nlh, NFTA_SET_NAME)), size ? ntohl(mnl_attr_get_u32(size)) : 0,
	      count ? (int64_t)ntohl(mnl_attr_get_u32(count)) : -1, s->arg);
}

bool xt_queue_sets(struct xt_queue *x, const char *family,
		   void (*fn)(const char *set, uint32_t size, int64_t elements, void *arg),
		   void *arg)
{
	struct sets s = {fn, arg};
	struct answer a = {.message = take_set, .arg = &s};
	struct nlmsghdr *nlh = begin_nft(x, NFT_MSG_GETSET, NLM_F_DUMP, family);
	mnl_attr_put_strz(nlh, NFTA_SET_TABLE, RULES_TABLE);
	return ask_one(x, nlh, &a);
}

struct counters {
	void (*fn)(const char *name, uint64_t packets, void *arg);
	void *arg;
};

static void take_counter(const struct nlmsghdr *nlh, void *arg)
{
	const struct counters *c = arg;
	const struct nlattr *packets = nested(attr_of(nlh, NFTA_OBJ_DATA), NFTA_COUNTER_PACKETS);
	if (packets && mnl_attr_get_payload_len(packets) >= sizeof(uint64_t))
		c->fn(text_of(attr_of(nlh, NFTA_OBJ_NAME)), be64toh(mnl_attr_get_u64(packets)),
		      c->arg);
}

bool xt_queue_counters(struct xt_queue *x, const char *family,
		       void (*fn)(const char *name, uint64_t packets, void *arg), void *arg)
{
	struct counters c = {fn, arg};
	struct answer a = {.message = take_counter, .arg = &c};
	struct nlmsghdr *nlh = begin_nft(x, NFT_MSG_GETOBJ, NLM_F_DUMP, family);
	mnl_attr_put_strz(nlh, NFTA_OBJ_TABLE, RULES_TABLE);
	mnl_attr_put_u32(nlh, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
	return ask_one(x, nlh, &a);
}

/* A rule's comment is its user data: type, length, text with a NUL. */
static void take_note(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *at = attr_of(nlh, NFTA_RULE_USERDATA);
	const size_t begin = strlen(RULES_NOTE), len = at ? mnl_attr_get_payload_len(at) : 0;
	const char *data = at ? mnl_attr_get_payload(at) : NULL;
	const char *p = data ? memmem(data, len, RULES_NOTE, begin) : NULL;
	if (!p)
		return;
	p += begin;
	(void)snprintf(arg, XT_QUEUE_NOTE, "%.*s", (int)strnlen(p, len - (size_t)(p - data)), p);
}

bool xt_queue_note(struct xt_queue *x, const char *family, char note[static XT_QUEUE_NOTE])
{
	struct answer a = {.message = take_note, .arg = note};
	struct nlmsghdr *nlh = begin_nft(x, NFT_MSG_GETRULE, NLM_F_DUMP, family);
	note[0] = '\0';
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, RULES_TABLE);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, "about");
	return ask_one(x, nlh, &a) && note[0];
}

static void take_elements(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *list = attr_of(nlh, NFTA_SET_ELEM_LIST_ELEMENTS), *at;
	uint64_t *n = arg;
	if (!list)
		return;
	mnl_attr_for_each_nested(at, list)
	{
		++*n;
	}
}

bool xt_queue_count(struct xt_queue *x, const char *family, const char *set, uint64_t *n)
{
	for (unsigned i = 0; i < DUMP_TRIES; i++) {
		struct answer a = {.message = take_elements, .arg = n};
		struct nlmsghdr *nlh = begin_nft(x, NFT_MSG_GETSETELEM, NLM_F_DUMP, family);
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, RULES_TABLE);
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
		*n = 0;
		if (!ask_one(x, nlh, &a))
			return false;
		if (!a.interrupted)
			break; /* else as near as it could be counted */
	}
	return true;
}

/* --- the queue step ------------------------------------------------------------------ */

static struct xt_NFQ_info_v3 info_of(struct rules_queues q, bool bypass)
{
	uint16_t fanout = q.first == q.last ? 0 : NFQ_FLAG_CPU_FANOUT;
	return (struct xt_NFQ_info_v3){q.first, (uint16_t)(q.last - q.first + 1),
				       (uint16_t)(fanout | (bypass ? NFQ_FLAG_BYPASS : 0))};
}

struct look {
	struct xt_NFQ_info_v3 want;
	unsigned rules, right;
};

static bool is_right(const struct nlattr *expr, const struct xt_NFQ_info_v3 *want)
{
	const struct nlattr *data = nested(expr, NFTA_EXPR_DATA);
	const struct nlattr *info = nested(data, NFTA_TARGET_INFO);
	return strcmp(text_of(nested(expr, NFTA_EXPR_NAME)), "target") == 0 &&
	       strcmp(text_of(nested(data, NFTA_TARGET_NAME)), TARGET) == 0 && info &&
	       mnl_attr_get_payload_len(info) >= sizeof *want &&
	       memcmp(mnl_attr_get_payload(info), want, sizeof *want) == 0;
}

static void take_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct look *l = arg;
	const struct nlattr *list = attr_of(nlh, NFTA_RULE_EXPRESSIONS), *at;
	unsigned expressions = 0;
	bool right = false;
	l->rules++;
	if (!list)
		return;
	mnl_attr_for_each_nested(at, list)
	{
		expressions++;
		right = is_right(at, &l->want);
	}
	l->right += right && expressions == 1;
}

enum xt_queue_state xt_queue_look(struct xt_queue *x, const char *family, const char *chain,
				  struct rules_queues q, bool bypass)
{
	struct look l = {info_of(q, bypass), 0, 0};
	struct answer a = {.message = take_rule, .arg = &l};
	struct nlmsghdr *nlh = begin_nft(x, NFT_MSG_GETRULE, NLM_F_DUMP, family);
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, RULES_TABLE);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
	if (!ask_one(x, nlh, &a) || l.rules == 0)
		return XT_QUEUE_NONE;
	return l.rules == 1 && l.right == 1 ? XT_QUEUE_RIGHT : XT_QUEUE_OTHER;
}

static void put_chain(struct nlmsghdr *nlh, const char *chain)
{
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, RULES_TABLE);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
}

static void put_target(struct nlmsghdr *nlh, const struct xt_NFQ_info_v3 *info)
{
	/* x_tables rounds its structures up to eight bytes. */
	uint8_t padded[8] = {0};
	_Static_assert(sizeof *info <= sizeof padded, "as x_tables rounds it");
	memcpy(padded, info, sizeof *info);
	struct nlattr *list = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);
	struct nlattr *elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, "target");
	struct nlattr *data = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
	mnl_attr_put_strz(nlh, NFTA_TARGET_NAME, TARGET);
	mnl_attr_put_u32(nlh, NFTA_TARGET_REV, htonl(REVISION));
	mnl_attr_put(nlh, NFTA_TARGET_INFO, sizeof padded, padded);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, elem);
	mnl_attr_nest_end(nlh, list);
}

bool xt_queue_put(struct xt_queue *x, const char *family, const char *chain, struct rules_queues q,
		  bool bypass)
{
	const struct xt_NFQ_info_v3 info = info_of(q, bypass);
	struct answer a = {.message = NULL};
	uint8_t f = family_of(family), *at = x->send;
	struct nlmsghdr *nlh;
	x->seq++;
	at += begin(x, at, NFNL_SUBSYS_NONE, NFNL_MSG_BATCH_BEGIN, 0, NFPROTO_UNSPEC,
		    NFNL_SUBSYS_NFTABLES)
		  ->nlmsg_len;
	nlh = begin(x, at, NFNL_SUBSYS_NFTABLES, NFT_MSG_DELRULE, 0, f, 0);
	put_chain(nlh, chain);
	at += nlh->nlmsg_len;
	nlh = begin(x, at, NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWRULE,
		    NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, f, 0);
	put_chain(nlh, chain);
	put_target(nlh, &info);
	at += nlh->nlmsg_len;
	at += begin(x, at, NFNL_SUBSYS_NONE, NFNL_MSG_BATCH_END, 0, NFPROTO_UNSPEC,
		    NFNL_SUBSYS_NFTABLES)
		  ->nlmsg_len;
	return ask(x, (size_t)(at - x->send), &a);
}
