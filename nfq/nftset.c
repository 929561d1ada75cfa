/*
 * nftset - see nftset.h.
 *
 * libmnl alone. The kernel works on a request inside of sendmsg(2), so the answers are there when
 * it returns. A transaction that fails as a whole is done again element by element, to leave out
 * what cannot be done.
 *
 * Counting: the counters of an element that is deleted come back with the deletion (NLM_F_ECHO),
 * which needs neither a remembered baseline nor a kernel that can dump and reset.
 *
 * Trusted with: CAP_NET_ADMIN. Diagnostics: results and errno. Known gaps: none.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/proc.h"

#include "nfq/nftset.h"

#define TABLE	      "sekisho"
#define XT_COMMENT    "sekisho-queue-step" /* of the twin's rules, see kernel-rules/loader.c */
#define SEND_BYTES    (96u << 10)
#define RECEIVE_BYTES (64u << 10)
#define SOCKET_BYTES  (8 << 20)
#define DUMP_TRIES    5

enum shape { HOST, PAIR };

static const struct set {
	const char *name;
	bool is6;
	enum shape shape;
} sets[NFTSET_COUNT] = {
    [NFTSET_ALLOW4_32] = {"allow4_32", false, HOST},
    [NFTSET_ALLOW4_24] = {"allow4_24", false, HOST},
    [NFTSET_ALLOW6_128] = {"allow6_128", true, HOST},
    [NFTSET_ALLOW6_64] = {"allow6_64", true, HOST},
    [NFTSET_ALLOW6_56] = {"allow6_56", true, HOST},
    [NFTSET_ALLOW6_48] = {"allow6_48", true, HOST},
    [NFTSET_THROTTLE4_32] = {"throttle4_32", false, HOST},
    [NFTSET_THROTTLE4_24] = {"throttle4_24", false, HOST},
    [NFTSET_THROTTLE6_128] = {"throttle6_128", true, HOST},
    [NFTSET_THROTTLE6_64] = {"throttle6_64", true, HOST},
    [NFTSET_THROTTLE6_56] = {"throttle6_56", true, HOST},
    [NFTSET_THROTTLE6_48] = {"throttle6_48", true, HOST},
    [NFTSET_DENY4] = {"deny4", false, HOST},
    [NFTSET_DENY6] = {"deny6", true, HOST},
    [NFTSET_SEEN4] = {"seen4", false, HOST},
    [NFTSET_SEEN6] = {"seen6", true, HOST},
    [NFTSET_REFUSED4] = {"refused4", false, PAIR},
    [NFTSET_REFUSED6] = {"refused6", true, PAIR},
    [NFTSET_PASSED4] = {"passed4", false, PAIR},
    [NFTSET_PASSED6] = {"passed6", true, PAIR},
};

struct nftset {
	struct mnl_socket *nl;
	uint32_t seq, commits;
	size_t harvests;
	uint8_t send[SEND_BYTES];
	uint8_t receive[RECEIVE_BYTES];
};

/* What comes back from one request. */
struct answer {
	void (*message)(const struct nlmsghdr *nlh, void *arg);
	void *arg;
	int error;	  /* errno of the first error message, 0 */
	bool interrupted; /* a dump during which the ruleset changed */
	bool lost;	  /* the receive buffer ran over */
};

const char *nftset_name(enum nftset_id id)
{
	return sets[id].name;
}

bool nftset_is6(enum nftset_id id)
{
	return sets[id].is6;
}

uint32_t nftset_commits(const struct nftset *n)
{
	return n->commits;
}

struct nftset *nftset_open(char err[static 256])
{
	int bytes = SOCKET_BYTES;
	struct nftset *n = calloc(1, sizeof *n);
	if (!n)
		fatal("out of memory");
	n->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!n->nl || mnl_socket_bind(n->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		(void)snprintf(err, 256, "cannot open a netfilter socket: %s", strerror(errno));
		nftset_close(n);
		return NULL;
	}
	if (setsockopt(mnl_socket_get_fd(n->nl), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) <
	    0)
		(void)setsockopt(mnl_socket_get_fd(n->nl), SOL_SOCKET, SO_RCVBUF, &bytes,
				 sizeof bytes);
	return n;
}

void nftset_close(struct nftset *n)
{
	if (n->nl)
		(void)mnl_socket_close(n->nl);
	free(n);
}

/* --- requests and answers -------------------------------------------------------- */

static struct nlmsghdr *put(struct nftset *n, void *buf, unsigned type, unsigned flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++n->seq;
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof *nfg);
	nfg->nfgen_family = NFPROTO_INET;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = 0;
	return nlh;
}

/* The frame of a transaction. */
static struct nlmsghdr *put_batch(struct nftset *n, void *buf, uint16_t type)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = ++n->seq;
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof *nfg);
	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(NFNL_SUBSYS_NFTABLES);
	return nlh;
}

/* True when this message ends a dump or a single answer. */
static bool take(const struct nlmsghdr *nlh, struct answer *a)
{
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		a->interrupted = true;
	if (nlh->nlmsg_type == NLMSG_DONE)
		return true;
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
		if (e->error != 0 && a->error == 0)
			a->error = -e->error;
		return true;
	}
	if (nlh->nlmsg_type >= NLMSG_MIN_TYPE && a->message)
		a->message(nlh, a->arg);
	return false;
}

/* Read what is there; until_end: go on waiting until a message ends it. */
static void collect(struct nftset *n, struct answer *a, bool until_end)
{
	bool ended = false;
	while (!ended || !until_end) {
		ssize_t got = recv(mnl_socket_get_fd(n->nl), n->receive, sizeof n->receive,
				   until_end ? 0 : MSG_DONTWAIT);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == ENOBUFS) {
			a->lost = true;
			continue;
		}
		if (got < 0) {
			if (errno != EAGAIN && a->error == 0)
				a->error = errno;
			return;
		}
		const struct nlmsghdr *nlh = (const void *)n->receive;
		int len = (int)got;
		for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
			if (take(nlh, a))
				ended = true;
	}
}

static bool request(struct nftset *n, size_t len, struct answer *a, bool until_end)
{
	a->error = 0;
	a->interrupted = a->lost = false;
	if (mnl_socket_sendto(n->nl, n->send, len) < 0)
		a->error = errno;
	else
		collect(n, a, until_end);
	errno = a->error;
	return a->error == 0;
}

/* A dump is begun again when the ruleset changed under it: the receiver may be told things twice.
 */
static bool dump(struct nftset *n, const struct nlmsghdr *nlh, struct answer *a)
{
	for (int i = 0; i < DUMP_TRIES; i++) {
		if (!request(n, nlh->nlmsg_len, a, true))
			return false;
		if (!a->interrupted && !a->lost)
			return true;
	}
	errno = EINTR;
	return false;
}

/* --- reading messages ------------------------------------------------------------ */

static const struct nlattr *find(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *attr;
	mnl_attr_for_each_nested(attr, nest) if (mnl_attr_get_type(attr) == type) return attr;
	return NULL;
}

static const struct nlattr *find_top(const struct nlmsghdr *nlh, uint16_t type)
{
	const struct nlattr *attr;
	mnl_attr_for_each(attr, nlh,
			  sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) == type) return attr;
	return NULL;
}

static uint64_t get_be64(const struct nlattr *attr)
{
	uint64_t v = 0;
	if (attr && mnl_attr_get_payload_len(attr) >= sizeof v)
		memcpy(&v, mnl_attr_get_payload(attr), sizeof v);
	return be64toh(v);
}

static uint32_t get_be32(const struct nlattr *attr)
{
	uint32_t v = 0;
	if (attr && mnl_attr_get_payload_len(attr) >= sizeof v)
		memcpy(&v, mnl_attr_get_payload(attr), sizeof v);
	return ntohl(v);
}

static void get_addr(const uint8_t *p, bool is6, struct addr *a)
{
	if (is6)
		addr_from_v6(a, p);
	else
		addr_from_v4(a, p);
}

static bool read_key(const struct nlattr *elem, const struct set *set, struct nftset_elem *out)
{
	const struct nlattr *key = find(elem, NFTA_SET_ELEM_KEY);
	const struct nlattr *value = key ? find(key, NFTA_DATA_VALUE) : NULL;
	size_t one = set->is6 ? 16 : 4;
	if (!value || mnl_attr_get_payload_len(value) < (set->shape == PAIR ? 2 * one : one))
		return false;
	const uint8_t *p = mnl_attr_get_payload(value);
	get_addr(p, set->is6, &out->src);
	if (set->shape == PAIR)
		get_addr(p + one, set->is6, &out->dst);
	return true;
}

static uint64_t read_counter(const struct nlattr *elem)
{
	const struct nlattr *expr = find(elem, NFTA_SET_ELEM_EXPR), *attr;
	if (!expr) {
		const struct nlattr *list = find(elem, NFTA_SET_ELEM_EXPRESSIONS);
		if (!list)
			return 0;
		mnl_attr_for_each_nested(attr, list)
		{
			expr = attr;
			break;
		}
	}
	const struct nlattr *data = expr ? find(expr, NFTA_EXPR_DATA) : NULL;
	return data ? get_be64(find(data, NFTA_COUNTER_PACKETS)) : 0;
}

struct reader {
	const struct set *set;
	void (*fn)(const struct nftset_elem *e, void *arg);
	void *arg;
	int64_t n;
};

/* A NEWSETELEM of a dump, or the echo of a DELSETELEM. */
static void read_elements(const struct nlmsghdr *nlh, void *arg)
{
	struct reader *r = arg;
	const struct nlattr *list = find_top(nlh, NFTA_SET_ELEM_LIST_ELEMENTS), *elem;
	if (!list)
		return;
	mnl_attr_for_each_nested(elem, list)
	{
		struct nftset_elem e = {0};
		if (!read_key(elem, r->set, &e))
			continue;
		e.packets = read_counter(elem);
		e.left_ms = (int64_t)get_be64(find(elem, NFTA_SET_ELEM_EXPIRATION));
		r->n++;
		r->fn(&e, r->arg);
	}
}

/* --- table, generation, counters ------------------------------------------------- */

static void read_table(const struct nlmsghdr *nlh, void *arg)
{
	*(uint64_t *)arg = get_be64(find_top(nlh, NFTA_TABLE_HANDLE));
}

int nftset_table(struct nftset *n, uint64_t *handle)
{
	struct answer a = {.message = read_table, .arg = handle};
	struct nlmsghdr *nlh = put(n, n->send, NFT_MSG_GETTABLE, 0);
	*handle = 0;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, TABLE);
	if (request(n, nlh->nlmsg_len, &a, false))
		return *handle != 0;
	return errno == ENOENT ? 0 : -1;
}

static void read_generation(const struct nlmsghdr *nlh, void *arg)
{
	*(uint32_t *)arg = get_be32(find_top(nlh, NFTA_GEN_ID));
}

bool nftset_generation(struct nftset *n, uint32_t *gen)
{
	struct answer a = {.message = read_generation, .arg = gen};
	return request(n, put(n, n->send, NFT_MSG_GETGEN, 0)->nlmsg_len, &a, false);
}

struct counter_reader {
	void (*fn)(const char *name, uint64_t packets, void *arg);
	void *arg;
};

static void read_object(const struct nlmsghdr *nlh, void *arg)
{
	struct counter_reader *r = arg;
	const struct nlattr *name = find_top(nlh, NFTA_OBJ_NAME),
			    *data = find_top(nlh, NFTA_OBJ_DATA);
	if (!name || !data || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0)
		return;
	const char *text = mnl_attr_get_str(name);
	if (strncmp(text, "c_", 2) == 0)
		r->fn(text + 2, get_be64(find(data, NFTA_COUNTER_PACKETS)), r->arg);
}

bool nftset_counters(struct nftset *n, void (*fn)(const char *name, uint64_t packets, void *arg),
		     void *arg)
{
	struct counter_reader r = {fn, arg};
	struct answer a = {.message = read_object, .arg = &r};
	struct nlmsghdr *nlh = put(n, n->send, NFT_MSG_GETOBJ, NLM_F_DUMP);
	mnl_attr_put_strz(nlh, NFTA_OBJ_TABLE, TABLE);
	mnl_attr_put_u32(nlh, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
	return dump(n, nlh, &a);
}

/* --- the queue step -------------------------------------------------------------- */

struct rule_search {
	const char *text; /* NULL: any rule */
	bool found;
};

static void search_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct rule_search *s = arg;
	if (!s->text || memmem(nlh, nlh->nlmsg_len, s->text, strlen(s->text)))
		s->found = true;
}

static bool search(struct nftset *n, uint8_t family, const char *table, const char *chain,
		   const char *text)
{
	struct rule_search s = {text, false};
	struct answer a = {.message = search_rule, .arg = &s};
	struct nlmsghdr *nlh = put(n, n->send, NFT_MSG_GETRULE, NLM_F_DUMP);
	struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
	nfg->nfgen_family = family;
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
	return dump(n, nlh, &a) && s.found;
}

int nftset_steps(struct nftset *n)
{
	int steps = 0;
	if (search(n, NFPROTO_INET, TABLE, "q", NULL))
		steps |= NFTSET_STEP_NFT;
	if (search(n, NFPROTO_IPV4, "mangle", "FORWARD", XT_COMMENT))
		steps |= NFTSET_STEP_XT4;
	if (search(n, NFPROTO_IPV6, "mangle", "FORWARD", XT_COMMENT))
		steps |= NFTSET_STEP_XT6;
	return steps;
}

#define NOTE "sekisho-rules " /* RULES_NOTE, see kernel-rules/ruleset.h */

static void read_note(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *data = find_top(nlh, NFTA_RULE_USERDATA);
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
	struct answer a = {.message = read_note, .arg = note};
	struct nlmsghdr *nlh = put(n, n->send, NFT_MSG_GETRULE, NLM_F_DUMP);
	note[0] = '\0';
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, TABLE);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, "apply");
	return dump(n, nlh, &a) && note[0];
}

/* --- elements -------------------------------------------------------------------- */

static void put_set(struct nlmsghdr *nlh, const struct set *set)
{
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, TABLE);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set->name);
}

static void put_element(struct nlmsghdr *nlh, const struct set *set, const struct nftset_elem *e,
			int64_t timeout_ms)
{
	uint8_t value[32];
	size_t one = set->is6 ? 16 : 4;
	memcpy(value, set->is6 ? e->src.b : addr_v4(&e->src), one);
	if (set->shape == PAIR)
		memcpy(value + one, set->is6 ? e->dst.b : addr_v4(&e->dst), one);
	struct nlattr *elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	struct nlattr *key = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, set->shape == PAIR ? 2 * one : one, value);
	mnl_attr_nest_end(nlh, key);
	if (timeout_ms > 0)
		mnl_attr_put_u64(nlh, NFTA_SET_ELEM_TIMEOUT, htobe64((uint64_t)timeout_ms));
	mnl_attr_nest_end(nlh, elem);
}

bool nftset_dump(struct nftset *n, enum nftset_id id,
		 void (*fn)(const struct nftset_elem *e, void *arg), void *arg)
{
	struct reader r = {&sets[id], fn, arg, 0};
	struct answer a = {.message = read_elements, .arg = &r};
	struct nlmsghdr *nlh = put(n, n->send, NFT_MSG_GETSETELEM, NLM_F_DUMP);
	put_set(nlh, r.set);
	/* An interrupted dump is taken as it is: an element told twice, or missed, is put right by
	 * the next. */
	return request(n, nlh->nlmsg_len, &a, true) && !a.lost;
}

static void ignore_element(const struct nftset_elem *e, void *arg)
{
	(void)e;
	(void)arg;
}

int nftset_has(struct nftset *n, enum nftset_id id, const struct addr *key)
{
	const struct nftset_elem e = {.src = *key};
	struct reader r = {&sets[id], ignore_element, NULL, 0};
	struct answer a = {.message = read_elements, .arg = &r};
	struct nlmsghdr *nlh = put(n, n->send, NFT_MSG_GETSETELEM, 0);
	put_set(nlh, r.set);
	struct nlattr *list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	put_element(nlh, r.set, &e, 0);
	mnl_attr_nest_end(nlh, list);
	if (request(n, nlh->nlmsg_len, &a, false))
		return r.n > 0;
	return errno == ENOENT ? 0 : -1;
}

/* --- transactions ---------------------------------------------------------------- */

struct batch {
	struct nftset *n;
	size_t len;
};

static void batch_begin(struct batch *b, struct nftset *n)
{
	*b = (struct batch){n, put_batch(n, n->send, NFNL_MSG_BATCH_BEGIN)->nlmsg_len};
}

static struct nlmsghdr *batch_message(struct batch *b, const struct set *set, unsigned type,
				      unsigned flags, struct nlattr **list)
{
	bug_on(b->len + 1024 > SEND_BYTES);
	struct nlmsghdr *nlh = put(b->n, b->n->send + b->len, type, flags);
	put_set(nlh, set);
	*list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	return nlh;
}

static void batch_message_end(struct batch *b, struct nlmsghdr *nlh, struct nlattr *list)
{
	mnl_attr_nest_end(nlh, list);
	b->len += nlh->nlmsg_len;
	bug_on(b->len > SEND_BYTES);
}

static bool batch_commit(struct batch *b, struct answer *a)
{
	struct nftset *n = b->n;
	bug_on(b->len + 64 > SEND_BYTES);
	b->len += put_batch(n, n->send + b->len, NFNL_MSG_BATCH_END)->nlmsg_len;
	if (!request(n, b->len, a, false))
		return false;
	n->commits++;
	return true;
}

/* The ops of one set and direction as one message; none: no message. */
static void put_ops(struct batch *b, enum nftset_id id, bool add, const struct nftset_op *ops,
		    size_t count)
{
	struct nlmsghdr *nlh = NULL;
	struct nlattr *list = NULL;
	for (size_t i = 0; i < count; i++) {
		const struct nftset_op *op = &ops[i];
		if (op->set != id || op->verb == (add ? NFTSET_DELETE : NFTSET_ADD))
			continue;
		if (!nlh)
			nlh = batch_message(b, &sets[id],
					    add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
					    NLM_F_ACK | (add ? NLM_F_CREATE : 0), &list);
		const struct nftset_elem e = {.src = op->key};
		put_element(nlh, &sets[id], &e, add ? op->timeout_ms : 0);
	}
	if (nlh)
		batch_message_end(b, nlh, list);
}

static bool commit_ops(struct nftset *n, const struct nftset_op *ops, size_t count)
{
	struct batch b;
	struct answer a = {0};
	batch_begin(&b, n);
	for (unsigned id = 0; id < NFTSET_COUNT; id++) {
		put_ops(&b, id, false, ops, count);
		put_ops(&b, id, true, ops, count);
	}
	return batch_commit(&b, &a);
}

static void commit_one(struct nftset *n, const struct nftset_op *op, struct nftset_result *r)
{
	struct nftset_op add = *op;
	if (commit_ops(n, op, 1))
		return;
	if (errno == ENOENT && op->verb == NFTSET_DELETE)
		return;
	add.verb = NFTSET_ADD;
	if (errno == ENOENT && op->verb == NFTSET_REPLACE && commit_ops(n, &add, 1))
		return;
	if (errno == ENFILE) {
		r->full++;
	} else {
		r->failed++;
		r->error = errno;
	}
}

/* What fails as a whole is halved until what fails is alone: each failure costs the kernel a grace
 * period. */
static void commit_some(struct nftset *n, const struct nftset_op *ops, size_t count,
			struct nftset_result *r)
{
	if (count == 1) {
		commit_one(n, ops, r);
	} else if (!commit_ops(n, ops, count)) {
		commit_some(n, ops, count / 2, r);
		commit_some(n, ops + count / 2, count - count / 2, r);
	}
}

struct nftset_result nftset_apply(struct nftset *n, const struct nftset_op *ops, size_t count)
{
	struct nftset_result r = {0};
	for (size_t at = 0; at < count; at += NFTSET_CHUNK)
		commit_some(n, ops + at, count - at < NFTSET_CHUNK ? count - at : NFTSET_CHUNK, &r);
	return r;
}

/* --- harvest --------------------------------------------------------------------- */

struct keys {
	struct nftset_elem *v;
	size_t n, cap;
};

static void keep_key(const struct nftset_elem *e, void *arg)
{
	struct keys *k = arg;
	if (k->n == k->cap) {
		k->cap = k->cap ? k->cap * 2 : 1024;
		k->v = reallocarray(k->v, k->cap, sizeof *k->v);
		if (!k->v)
			fatal("out of memory");
	}
	k->v[k->n++] = *e;
}

static bool take_out(struct nftset *n, struct reader *r, const struct nftset_elem *v, size_t count)
{
	struct batch b;
	struct nlattr *list;
	struct answer a = {.message = read_elements, .arg = r};
	batch_begin(&b, n);
	struct nlmsghdr *nlh =
	    batch_message(&b, r->set, NFT_MSG_DELSETELEM, NLM_F_ACK | NLM_F_ECHO, &list);
	for (size_t i = 0; i < count; i++)
		put_element(nlh, r->set, &v[i], 0);
	batch_message_end(&b, nlh, list);
	return batch_commit(&b, &a);
}

/* Elements that somebody else took out meanwhile are no failure. */
static bool take_some(struct nftset *n, struct reader *r, const struct nftset_elem *v, size_t count)
{
	if (take_out(n, r, v, count))
		return true;
	if (errno != ENOENT)
		return false;
	return count == 1 ||
	       (take_some(n, r, v, count / 2) && take_some(n, r, v + count / 2, count - count / 2));
}

static int compare(const void *x, const void *y)
{
	const struct nftset_elem *a = x, *b = y;
	int c = addr_cmp(&a->src, &b->src);
	return c ? c : addr_cmp(&a->dst, &b->dst);
}

/* A set that grows while it is dumped tells elements twice. */
static void unique(struct keys *k)
{
	size_t n = 0;
	if (k->n > 0)
		qsort(k->v, k->n, sizeof *k->v, compare);
	for (size_t i = 0; i < k->n; i++)
		if (n == 0 || compare(&k->v[n - 1], &k->v[i]) != 0)
			k->v[n++] = k->v[i];
	k->n = n;
}

int64_t nftset_harvest(struct nftset *n, enum nftset_id id, size_t max,
		       void (*fn)(const struct nftset_elem *e, void *arg), void *arg)
{
	struct keys k = {0};
	struct reader r = {&sets[id], fn, arg, 0};
	bool ok = nftset_dump(n, id, keep_key, &k);
	unique(&k);
	/* Of too many, another stretch each time. */
	size_t at = k.n > max ? n->harvests++ * max % k.n : 0,
	       end = k.n - at > max ? at + max : k.n;
	for (; ok && at < end; at += NFTSET_CHUNK)
		ok = take_some(n, &r, k.v + at, end - at < NFTSET_CHUNK ? end - at : NFTSET_CHUNK);
	free(k.v);
	return ok ? r.n : -1;
}
