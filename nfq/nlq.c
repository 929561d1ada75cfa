/*
 * nlq - see nlq.h.
 *
 * recvmmsg(2) into a fixed pool; attributes are walked in place. Verdicts come in the order of the
 * ids, so a run of equal marks is one "all up to this id" message, and a batch is one send. The
 * kernel is asked to pass on packets it cannot queue (FAIL_OPEN): they carry the mark PEND, and the
 * ruleset decides about them, counted.
 *
 * Trusted with: the queue. Diagnostics: nlq_counts(), /proc/net/netfilter/nfnetlink_queue. Known
 * gaps: the queue dies with the process; what it holds then is dropped, and the rule's bypass takes
 * over.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/proc.h"

#include "nfq/nlq.h"
#include "nfq/pkt.h"
#include "nfq/procq.h"

#define BATCH	      64
#define MESSAGE_BYTES 1024 /* headers and attributes around PKT_COPY_RANGE bytes: about 300 */
#define VERDICT_BYTES 64   /* of one verdict message: 40 */
#define TRUESIZE      1280 /* of one queued message in the receive buffer, with some room */
#define MAX_BUFFER    (1u << 30)

struct run {
	bool open;
	uint32_t last_id, mark;
};

struct nlq {
	struct mnl_socket *nl;
	uint16_t number;
	struct nlq_counts counts;
	struct run run;
	size_t out_len;
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	uint8_t in[BATCH][MESSAGE_BYTES];
	uint8_t out[BATCH * VERDICT_BYTES];
};

static struct nlmsghdr *put_header(void *buf, uint16_t number, unsigned type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof *nfg);
	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(number);
	return nlh;
}

/* --- binding --------------------------------------------------------------------- */

static int ignore(const struct nlmsghdr *nlh, void *arg)
{
	(void)nlh;
	(void)arg;
	return MNL_CB_OK;
}

/* Send one configuration message, wait for its acknowledgement. False with errno. */
static bool configure(struct nlq *q, struct nlmsghdr *nlh)
{
	char buf[8192];
	nlh->nlmsg_seq = 1;
	if (mnl_socket_sendto(q->nl, nlh, nlh->nlmsg_len) < 0)
		return false;
	ssize_t n = mnl_socket_recvfrom(q->nl, buf, sizeof buf);
	return n >= 0 &&
	       mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(q->nl), ignore, NULL) >= 0;
}

static bool bind_queue(struct nlq *q)
{
	char buf[256];
	struct nlmsghdr *nlh = put_header(buf, q->number, NFQNL_MSG_CONFIG, NLM_F_ACK);
	const struct nfqnl_msg_config_cmd cmd = {.command = NFQNL_CFG_CMD_BIND,
						 .pf = htons(AF_UNSPEC)};
	mnl_attr_put(nlh, NFQA_CFG_CMD, sizeof cmd, &cmd);
	return configure(q, nlh);
}

static bool set_parameters(struct nlq *q, uint32_t max_packets)
{
	const uint32_t flags = NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN;
	const struct nfqnl_msg_config_params params = {.copy_range = htonl(PKT_COPY_RANGE),
						       .copy_mode = NFQNL_COPY_PACKET};
	char buf[256];
	struct nlmsghdr *nlh = put_header(buf, q->number, NFQNL_MSG_CONFIG, NLM_F_ACK);
	mnl_attr_put(nlh, NFQA_CFG_PARAMS, sizeof params, &params);
	mnl_attr_put_u32(nlh, NFQA_CFG_QUEUE_MAXLEN, htonl(max_packets));
	mnl_attr_put_u32(nlh, NFQA_CFG_FLAGS, htonl(flags));
	mnl_attr_put_u32(nlh, NFQA_CFG_MASK, htonl(flags));
	return configure(q, nlh);
}

/* Who has the queue, as far as the kernel tells: the holder's port id is most often its process id.
 */
static void name_holder(uint16_t number, char *err, size_t size)
{
	struct procq q = {0};
	char path[64];
	size_t len;
	char *text = proc_read_file(PROCQ_PATH, 1 << 20, &len);
	if (text)
		(void)procq_find(text, number, &q);
	free(text);
	(void)snprintf(path, sizeof path, "/proc/%lu/comm", q.port);
	char *name = q.port ? proc_read_file(path, 4096, &len) : NULL;
	if (name)
		name[strcspn(name, "\n")] = '\0';
	(void)snprintf(err, size,
		       "queue %u is taken by port id %lu (%.32s): stop that program, or choose "
		       "another kernel-rules.queue_first",
		       number, q.port, name ? name : "unknown");
	free(name);
}

static void big_buffer(const struct nlq *q, uint32_t max_packets)
{
	size_t want = (size_t)max_packets * TRUESIZE;
	int bytes = (int)(want > MAX_BUFFER ? MAX_BUFFER : want), one = 1, fd = nlq_fd(q);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one);
}

static void point_pool(struct nlq *q)
{
	for (size_t i = 0; i < BATCH; i++) {
		q->iov[i] = (struct iovec){q->in[i], MESSAGE_BYTES};
		q->msgs[i].msg_hdr = (struct msghdr){.msg_iov = &q->iov[i], .msg_iovlen = 1};
	}
}

struct nlq *nlq_open(uint16_t number, uint32_t max_packets, char err[static 256])
{
	struct nlq *q = calloc(1, sizeof *q);
	if (!q)
		fatal("out of memory");
	q->number = number;
	q->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!q->nl || mnl_socket_bind(q->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		(void)snprintf(err, 256, "cannot open a netfilter socket: %s", strerror(errno));
	} else if (!bind_queue(q)) {
		if (errno == EBUSY || (errno == EPERM && geteuid() == 0))
			name_holder(number, err, 256);
		else
			(void)snprintf(err, 256, "cannot bind queue %u: %s", number,
				       strerror(errno));
	} else if (!set_parameters(q, max_packets)) {
		(void)snprintf(err, 256, "cannot configure queue %u: %s", number, strerror(errno));
	} else {
		big_buffer(q, max_packets);
		point_pool(q);
		return q;
	}
	nlq_close(q);
	return NULL;
}

int nlq_fd(const struct nlq *q)
{
	return mnl_socket_get_fd(q->nl);
}

struct nlq_counts nlq_counts(const struct nlq *q)
{
	return q->counts;
}

void nlq_close(struct nlq *q)
{
	if (q->nl)
		(void)mnl_socket_close(q->nl);
	free(q);
}

/* --- verdicts -------------------------------------------------------------------- */

static void close_run(struct nlq *q)
{
	if (!q->run.open)
		return;
	bug_on(q->out_len + VERDICT_BYTES > sizeof q->out);
	struct nlmsghdr *nlh =
	    put_header(q->out + q->out_len, q->number, NFQNL_MSG_VERDICT_BATCH, 0);
	const struct nfqnl_msg_verdict_hdr v = {.verdict = htonl(NF_ACCEPT),
						.id = htonl(q->run.last_id)};
	mnl_attr_put(nlh, NFQA_VERDICT_HDR, sizeof v, &v);
	mnl_attr_put_u32(nlh, NFQA_MARK, htonl(q->run.mark));
	q->out_len += nlh->nlmsg_len;
	q->run.open = false;
}

void nlq_verdict(struct nlq *q, uint32_t id, uint32_t mark)
{
	if (q->run.open && q->run.mark != mark)
		close_run(q);
	q->run = (struct run){true, id, mark};
}

/* Errors of single verdicts come back as messages; only a broken socket fails here. */
static bool flush(struct nlq *q)
{
	close_run(q);
	size_t len = q->out_len;
	q->out_len = 0;
	while (len > 0 && mnl_socket_sendto(q->nl, q->out, len) < 0) {
		struct pollfd p = {nlq_fd(q), POLLOUT, 0};
		if (errno != EINTR && errno != EAGAIN && errno != ENOBUFS)
			return false;
		(void)poll(&p, 1, 10);
	}
	return true;
}

/* --- packets --------------------------------------------------------------------- */

static bool read_packet(const struct nlmsghdr *nlh, struct nlq_packet *p)
{
	const struct nlattr *attr;
	bool have_id = false, have_total = false;
	*p = (struct nlq_packet){0};
	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		size_t len = mnl_attr_get_payload_len(attr);
		const void *data = mnl_attr_get_payload(attr);
		uint32_t n = 0;
		if (len >= 4)
			memcpy(&n, data, 4);
		switch (mnl_attr_get_type(attr)) {
		case NFQA_PACKET_HDR:
			p->id = ntohl(n);
			have_id = len >= sizeof(struct nfqnl_msg_packet_hdr);
			break;
		case NFQA_MARK:
			p->mark = ntohl(n);
			break;
		case NFQA_PAYLOAD:
			p->data = data;
			p->len = len;
			break;
		case NFQA_CAP_LEN:
			p->total = ntohl(n);
			have_total = true;
			break;
		default:
			break;
		}
	}
	if (!have_total)
		p->total = p->len;
	return have_id;
}

struct delivery {
	void (*packet)(const struct nlq_packet *p, void *arg);
	void *arg;
};

static int take_message(struct nlq *q, const struct nlmsghdr *nlh, const struct delivery *d)
{
	struct nlq_packet p;
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		q->counts.verdict_errors++;
		return 0;
	}
	if (nlh->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
		return 0;
	if (!read_packet(nlh, &p)) {
		q->counts.unreadable++;
		return 0;
	}
	q->counts.packets++;
	d->packet(&p, d->arg);
	return 1;
}

static int take_datagram(struct nlq *q, const uint8_t *buf, unsigned bytes,
			 const struct delivery *d)
{
	const struct nlmsghdr *nlh = (const void *)buf;
	int len = (int)bytes, n = 0;
	for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
		n += take_message(q, nlh, d);
	return n;
}

int nlq_run(struct nlq *q, void (*packet)(const struct nlq_packet *p, void *arg), void *arg)
{
	const struct delivery d = {packet, arg};
	int packets = 0;
	int n = recvmmsg(nlq_fd(q), q->msgs, BATCH, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
	for (int i = 0; i < n; i++) {
		if (q->msgs[i].msg_hdr.msg_flags & MSG_TRUNC)
			q->counts.unreadable++;
		packets += take_datagram(q, q->in[i], q->msgs[i].msg_len, &d);
	}
	return flush(q) ? packets : -1;
}
