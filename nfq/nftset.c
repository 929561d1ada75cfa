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
#define SET_COUNT     20	/* NFTA_SET_COUNT, of Linux 6.16; older kernels tell none */
#define XT_TARGET     "NFQUEUE" /* of the twin of nft queue, see kernel-rules/ */
#define SEND_BYTES    (1u << 20)
#define PER_MESSAGE   400 /* elements: their list may have 64 KB */
#define RECEIVE_BYTES (64u << 10)
#define SOCKET_BYTES  (256 << 20) /* of a harvest: used only while it is read */
#define DUMP_TRIES    5

/* NFT_MSG_DESTROYSETELEM of Linux 6.3: a deletion that minds nothing that is gone by itself. */
#define MSG_DESTROYSETELEM 30

enum shape { HOST, PAIR, MAP, PROTO };

#define DENY6(len) [NFTSET_DENY6_48 + (len)-48] = {"deny_" #len, "deny_" #len, true, HOST}

static const struct set {
	const char *name, *label;
	bool is6;
	enum shape shape;
} sets[NFTSET_COUNT] = {
    [NFTSET_ALLOW4_32] = {"allow_32", "allow_32", false, HOST},
    [NFTSET_ALLOW4_24] = {"allow_24", "allow_24", false, HOST},
    [NFTSET_ALLOW6_128] = {"allow_128", "allow_128", true, HOST},
    [NFTSET_ALLOW6_64] = {"allow_64", "allow_64", true, HOST},
    [NFTSET_ALLOW6_56] = {"allow_56", "allow_56", true, HOST},
    [NFTSET_ALLOW6_48] = {"allow_48", "allow_48", true, HOST},
    [NFTSET_CLASS4_32] = {"class_32", "class_32", false, MAP},
    [NFTSET_CLASS4_24] = {"class_24", "class_24", false, MAP},
    [NFTSET_CLASS6_128] = {"class_128", "class_128", true, MAP},
    [NFTSET_CLASS6_64] = {"class_64", "class_64", true, MAP},
    [NFTSET_CLASS6_56] = {"class_56", "class_56", true, MAP},
    [NFTSET_CLASS6_48] = {"class_48", "class_48", true, MAP},
    [NFTSET_LISTED4] = {"listed", "ip listed", false, PAIR},
    [NFTSET_LISTED6] = {"listed", "ip6 listed", true, PAIR},
    [NFTSET_DENY4] = {"deny", "deny", false, HOST},
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
    [NFTSET_REFUSED4] = {"refused", "ip refused", false, PAIR},
    [NFTSET_REFUSED6] = {"refused", "ip6 refused", true, PAIR},
    [NFTSET_PASSED4] = {"passed", "ip passed", false, PAIR},
    [NFTSET_PASSED6] = {"passed", "ip6 passed", true, PAIR},
    [NFTSET_SEEN4] = {"seen", "ip seen", false, HOST},
    [NFTSET_SEEN6] = {"seen", "ip6 seen", true, HOST},
    [NFTSET_ALIVE4] = {"alive", "ip alive", false, PROTO},
    [NFTSET_ALIVE6] = {"alive", "ip6 alive", true, PROTO},
};

/* What nftset_look() found. */
struct look {
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
	struct look look;
	void (*between)(void *arg);
	void *between_arg;
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

const char *nftset_label(enum nftset_id id)
{
	return sets[id].label;
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
	bytes = 2 * SEND_BYTES;
	if (setsockopt(mnl_socket_get_fd(n->nl), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) <
	    0)
		(void)setsockopt(mnl_socket_get_fd(n->nl), SOL_SOCKET, SO_SNDBUF, &bytes,
				 sizeof bytes);
	return n;
}

void nftset_close(struct nftset *n)
{
	if (n->nl)
		(void)mnl_socket_close(n->nl);
	free(n->look.chains);
	free(n);
}

/* --- requests and answers -------------------------------------------------------- */

static uint8_t family(bool is6)
{
	return is6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
}

static struct nlmsghdr *put(struct nftset *n, void *buf, bool is6, unsigned type, unsigned flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++n->seq;
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof *nfg);
	nfg->nfgen_family = family(is6);
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

static int one_table(struct nftset *n, bool is6, uint64_t *handle)
{
	struct answer a = {.message = read_table, .arg = handle};
	struct nlmsghdr *nlh = put(n, n->send, is6, NFT_MSG_GETTABLE, 0);
	*handle = 0;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, TABLE);
	if (request(n, nlh->nlmsg_len, &a, false))
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
	*(uint32_t *)arg = get_be32(find_top(nlh, NFTA_GEN_ID));
}

bool nftset_generation(struct nftset *n, uint32_t *gen)
{
	struct answer a = {.message = read_generation, .arg = gen};
	return request(n, put(n, n->send, false, NFT_MSG_GETGEN, 0)->nlmsg_len, &a, false);
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
	for (int is6 = 0; is6 < 2; is6++) {
		struct nlmsghdr *nlh = put(n, n->send, is6, NFT_MSG_GETOBJ, NLM_F_DUMP);
		mnl_attr_put_strz(nlh, NFTA_OBJ_TABLE, TABLE);
		mnl_attr_put_u32(nlh, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
		if (!dump(n, nlh, &a))
			return false;
	}
	return true;
}

/* --- what there is --------------------------------------------------------------- */

struct looking {
	struct look *look;
	bool is6;
};

static void read_set(const struct nlmsghdr *nlh, void *arg)
{
	const struct looking *l = arg;
	const struct nlattr *name = find_top(nlh, NFTA_SET_NAME);
	const struct nlattr *count = find_top(nlh, SET_COUNT);
	if (!name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0)
		return;
	for (unsigned id = 0; id < NFTSET_COUNT; id++)
		if (sets[id].is6 == l->is6 && strcmp(sets[id].name, mnl_attr_get_str(name)) == 0) {
			l->look->present[id] = true;
			l->look->elements[id] = count ? get_be32(count) : NFTSET_COUNT_UNKNOWN;
		}
}

static void read_chain(const struct nlmsghdr *nlh, void *arg)
{
	const struct looking *l = arg;
	struct look *k = l->look;
	const struct nlattr *name = find_top(nlh, NFTA_CHAIN_NAME);
	if (!name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0 ||
	    mnl_attr_get_payload_len(name) > NFTSET_CHAIN ||
	    strncmp(mnl_attr_get_str(name), "class_", 6) != 0)
		return;
	if (k->n_chains == k->cap_chains) {
		k->cap_chains = k->cap_chains ? k->cap_chains * 2 : 64;
		k->chains = reallocarray(k->chains, k->cap_chains, sizeof *k->chains);
		if (!k->chains)
			fatal("out of memory");
	}
	struct chain *c = &k->chains[k->n_chains++];
	*c = (struct chain){.is6 = l->is6};
	(void)snprintf(c->name, sizeof c->name, "%s", mnl_attr_get_str(name));
}

static bool ask_all(struct nftset *n, bool is6, unsigned type, uint16_t table_attr,
		    void (*fn)(const struct nlmsghdr *nlh, void *arg))
{
	struct looking l = {&n->look, is6};
	struct answer a = {.message = fn, .arg = &l};
	struct nlmsghdr *nlh = put(n, n->send, is6, type, NLM_F_DUMP);
	mnl_attr_put_strz(nlh, table_attr, TABLE);
	return dump(n, nlh, &a);
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
	const struct nlattr *list = find_top(nlh, NFTA_RULE_EXPRESSIONS), *expr;
	if (!list)
		return;
	mnl_attr_for_each_nested(expr, list)
	{
		const struct nlattr *name = find(expr, NFTA_EXPR_NAME);
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
	struct answer a = {.message = search_step, .arg = &found};
	struct nlmsghdr *nlh = put(n, n->send, is6, NFT_MSG_GETRULE, NLM_F_DUMP);
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, TABLE);
	return dump(n, nlh, &a) ? found : 0;
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
	struct nlmsghdr *nlh = put(n, n->send, false, NFT_MSG_GETRULE, NLM_F_DUMP);
	note[0] = '\0';
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, TABLE);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, "about");
	return dump(n, nlh, &a) && note[0];
}

/* --- elements -------------------------------------------------------------------- */

static void put_set(struct nlmsghdr *nlh, const struct set *set)
{
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, TABLE);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set->name);
}

static size_t put_key(uint8_t value[32], const struct set *set, const struct addr *src,
		      const struct addr *dst)
{
	size_t one = set->is6 ? 16 : 4;
	if (set->shape == PROTO) {
		value[0] = IPPROTO_TCP;
		return 1;
	}
	memcpy(value, set->is6 ? src->b : addr_v4(src), one);
	if (set->shape != PAIR)
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

static void put_element(struct nlmsghdr *nlh, const struct set *set, const struct nftset_op *op,
			bool add)
{
	uint8_t value[32];
	size_t len = put_key(value, set, &op->key, &op->dst);
	struct nlattr *elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	struct nlattr *key = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, value);
	mnl_attr_nest_end(nlh, key);
	if (add && set->shape == MAP)
		put_verdict(nlh, op->chain);
	if (add && op->timeout_ms > 0)
		mnl_attr_put_u64(nlh, NFTA_SET_ELEM_TIMEOUT, htobe64((uint64_t)op->timeout_ms));
	mnl_attr_nest_end(nlh, elem);
}

bool nftset_dump(struct nftset *n, enum nftset_id id,
		 void (*fn)(const struct nftset_elem *e, void *arg), void *arg)
{
	struct reader r = {&sets[id], fn, arg, 0};
	struct answer a = {.message = read_elements, .arg = &r};
	struct nlmsghdr *nlh = put(n, n->send, r.set->is6, NFT_MSG_GETSETELEM, NLM_F_DUMP);
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
	const struct nftset_op op = {.key = *key};
	struct reader r = {&sets[id], ignore_element, NULL, 0};
	struct answer a = {.message = read_elements, .arg = &r};
	struct nlmsghdr *nlh = put(n, n->send, r.set->is6, NFT_MSG_GETSETELEM, 0);
	put_set(nlh, r.set);
	struct nlattr *list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	put_element(nlh, r.set, &op, false);
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
				      unsigned flags, bool list_wanted, struct nlattr **list)
{
	bug_on(b->len + 65536 > SEND_BYTES);
	struct nlmsghdr *nlh = put(b->n, b->n->send + b->len, set->is6, type, flags);
	put_set(nlh, set);
	*list = list_wanted ? mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS) : NULL;
	return nlh;
}

static void batch_message_end(struct batch *b, struct nlmsghdr *nlh, struct nlattr *list)
{
	if (list)
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

static void put_flush(struct batch *b, enum nftset_id id)
{
	struct nlattr *list;
	batch_message_end(
	    b, batch_message(b, &sets[id], NFT_MSG_DELSETELEM, NLM_F_ACK, false, &list), NULL);
}

/* The ops of one set and direction, in messages of PER_MESSAGE; none: no message. */
static void put_ops(struct batch *b, enum nftset_id id, bool add, const struct nftset_op *ops,
		    size_t count)
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
			nlh = batch_message(b, &sets[id], add ? NFT_MSG_NEWSETELEM : delete,
					    NLM_F_ACK | (add ? NLM_F_CREATE : 0), true, &list);
		put_element(nlh, &sets[id], op, add);
		if (++in_message == PER_MESSAGE) {
			batch_message_end(b, nlh, list);
			nlh = NULL;
			in_message = 0;
		}
	}
	if (nlh)
		batch_message_end(b, nlh, list);
}

static bool commit_ops(struct nftset *n, const struct nftset_op *ops, size_t count)
{
	struct batch b;
	struct answer a = {0};
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
	batch_begin(&b, n);
	for (unsigned id = 0; id < NFTSET_COUNT; id++)
		if (flush[id])
			put_flush(&b, id);
	for (int add = 0; add < 2; add++)
		for (unsigned id = 0; id < NFTSET_COUNT; id++)
			if (used[id])
				put_ops(&b, id, add, ops, count);
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

void nftset_between(struct nftset *n, void (*fn)(void *arg), void *arg)
{
	n->between = fn;
	n->between_arg = arg;
}

static void between(struct nftset *n)
{
	void (*fn)(void *arg) = n->between;
	n->between = NULL; /* not within itself */
	if (fn)
		fn(n->between_arg);
	n->between = fn;
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
		between(n);
	}
	return r;
}

/* --- harvest --------------------------------------------------------------------- */

static bool take_all(struct nftset *n, struct reader *r)
{
	struct batch b;
	struct nlattr *list;
	struct answer a = {.message = read_elements, .arg = r};
	batch_begin(&b, n);
	batch_message_end(
	    &b, batch_message(&b, r->set, NFT_MSG_DELSETELEM, NLM_F_ACK | NLM_F_ECHO, false, &list),
	    NULL);
	if (!batch_commit(&b, &a))
		return false;
	errno = ENOBUFS;
	return !a.lost;
}

int64_t nftset_harvest(struct nftset *n, enum nftset_id id, size_t max,
		       void (*fn)(const struct nftset_elem *e, void *arg), void *arg)
{
	struct reader r = {&sets[id], fn, arg, 0};
	size_t count = n->look.elements[id];
	if (!n->look.present[id] || count == 0)
		return 0;
	if (count != NFTSET_COUNT_UNKNOWN && count > max)
		return 0;
	return take_all(n, &r) ? r.n : -1;
}
