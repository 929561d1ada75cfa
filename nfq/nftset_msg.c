/*
 * nftset_msg - see nftset_int.h. The kernel works on a request inside of sendmsg(2), so the answers
 * are there when it returns.
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

#include "nfq/nftset_int.h"

#define SOCKET_BYTES (256 << 20) /* of a harvest: used only while it is read */
#define DUMP_TRIES   5

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

struct nlmsghdr *nftmsg_put(struct nftset *n, void *buf, bool is6, unsigned type, unsigned flags)
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

struct nlmsghdr *nftmsg_put_batch(struct nftset *n, void *buf, uint16_t type)
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
static bool take(const struct nlmsghdr *nlh, struct nftmsg_answer *a)
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
static void collect(struct nftset *n, struct nftmsg_answer *a, bool until_end)
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

bool nftmsg_request(struct nftset *n, size_t len, struct nftmsg_answer *a, bool until_end)
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

bool nftmsg_dump(struct nftset *n, const struct nlmsghdr *nlh, struct nftmsg_answer *a)
{
	for (int i = 0; i < DUMP_TRIES; i++) {
		if (!nftmsg_request(n, nlh->nlmsg_len, a, true))
			return false;
		if (!a->interrupted && !a->lost)
			return true;
	}
	errno = EINTR;
	return false;
}

/* --- reading messages ------------------------------------------------------------ */

const struct nlattr *nftmsg_find(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *attr;
	mnl_attr_for_each_nested(attr, nest) if (mnl_attr_get_type(attr) == type) return attr;
	return NULL;
}

const struct nlattr *nftmsg_find_top(const struct nlmsghdr *nlh, uint16_t type)
{
	const struct nlattr *attr;
	mnl_attr_for_each(attr, nlh,
			  sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) == type) return attr;
	return NULL;
}

uint64_t nftmsg_be64(const struct nlattr *attr)
{
	uint64_t v = 0;
	if (attr && mnl_attr_get_payload_len(attr) >= sizeof v)
		memcpy(&v, mnl_attr_get_payload(attr), sizeof v);
	return be64toh(v);
}

uint32_t nftmsg_be32(const struct nlattr *attr)
{
	uint32_t v = 0;
	if (attr && mnl_attr_get_payload_len(attr) >= sizeof v)
		memcpy(&v, mnl_attr_get_payload(attr), sizeof v);
	return ntohl(v);
}
