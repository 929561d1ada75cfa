/*
 * nlq - see nlq.h.
 *
 * recvmmsg(2) into a fixed pool; attributes are walked in place. Verdicts come in the order of the
 * ids, so a run of equal marks is one "all up to this id" message, and a batch is one send. That
 * "all" holds only if every packet before was answered: a process that died with a batch in its
 * hands leaves packets that were not. They are sent round the chain once more, unmarked, before the
 * first verdict of whoever adopts the queue.
 *
 * Trusted with: the queue. Diagnostics: nlq_counts(), nlq_waiting(),
 * /proc/net/netfilter/nfnetlink_queue. Known gaps: none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/proc.h"

#include "nfq/nlq.h"
#include "nfq/pkt.h"
#include "nfq/procq.h"

#define BATCH	      64
#define MESSAGE_BYTES 1024 /* headers and attributes around PKT_COPY_RANGE bytes: about 300 */
#define TRUESIZE      1280 /* of one queued message in the receive buffer, with some room */
#define MAX_BUFFER    (1u << 30)
#define ADOPT_TRIES   3
#define ADOPT_MS      1000 /* each */

/* Who an error or acknowledgement is for; verdicts have 0. */
enum { SEQ_VERDICT, SEQ_CONFIG, SEQ_REQUEUE, SEQ_WAKE };

struct run {
	bool open, drop;
	uint32_t last_id, mark;
};

/* The messages of a verdict, as they go out. */
struct verdict_message {
	struct nlmsghdr nlh;
	struct nfgenmsg nfg;
	struct nlattr verdict_attr;
	struct nfqnl_msg_verdict_hdr verdict;
	struct nlattr mark_attr;
	uint32_t mark;
};
_Static_assert(sizeof(struct verdict_message) == 40, "no holes");
#define NO_MARK offsetof(struct verdict_message, mark_attr) /* the length without a mark */

struct nlq {
	struct mnl_socket *nl;
	uint16_t number;
	bool orphans;	/* adopted: packets before the first one may be unanswered */
	int config_err; /* of the last configuration; -1: no answer yet */
	struct nlq_counts counts;
	struct run run;
	int received; /* datagrams of the batch */
	size_t n_out;
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	_Alignas(struct nlmsghdr) uint8_t in[BATCH][MESSAGE_BYTES];
	struct verdict_message out[BATCH + 1]; /* packed: only the last may be longer */
};

static struct nlmsghdr *put_header(void *buf, uint16_t number, unsigned type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = SEQ_CONFIG;
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

/* Send one configuration message on a socket without packets, wait for its acknowledgement. False
 * with errno. */
static bool configure(struct nlq *q, struct nlmsghdr *nlh)
{
	char buf[8192];
	if (mnl_socket_sendto(q->nl, nlh, nlh->nlmsg_len) < 0)
		return false;
	ssize_t n = mnl_socket_recvfrom(q->nl, buf, sizeof buf);
	return n >= 0 && mnl_cb_run(buf, (size_t)n, SEQ_CONFIG, mnl_socket_get_portid(q->nl),
				    ignore, NULL) >= 0;
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

static struct nlmsghdr *put_parameters(void *buf, uint16_t number, const struct nlq_options *o)
{
	const uint32_t flags = NFQA_CFG_F_GSO | (o->fail_open ? NFQA_CFG_F_FAIL_OPEN : 0);
	const struct nfqnl_msg_config_params params = {.copy_range = htonl(PKT_COPY_RANGE),
						       .copy_mode = NFQNL_COPY_PACKET};
	struct nlmsghdr *nlh = put_header(buf, number, NFQNL_MSG_CONFIG, NLM_F_ACK);
	mnl_attr_put(nlh, NFQA_CFG_PARAMS, sizeof params, &params);
	mnl_attr_put_u32(nlh, NFQA_CFG_QUEUE_MAXLEN, htonl(o->max_packets));
	mnl_attr_put_u32(nlh, NFQA_CFG_FLAGS, htonl(flags));
	mnl_attr_put_u32(nlh, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
	return nlh;
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

static struct nlq *new_queue(uint16_t number)
{
	struct nlq *q = calloc(1, sizeof *q);
	if (!q)
		fatal("out of memory");
	q->number = number;
	for (size_t i = 0; i < BATCH; i++) {
		q->iov[i] = (struct iovec){q->in[i], MESSAGE_BYTES};
		q->msgs[i].msg_hdr = (struct msghdr){.msg_iov = &q->iov[i], .msg_iovlen = 1};
	}
	return q;
}

struct nlq *nlq_open(uint16_t number, const struct nlq_options *o, char err[static 256])
{
	struct nlq *q = new_queue(number);
	char buf[256];
	q->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!q->nl || mnl_socket_bind(q->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		(void)snprintf(err, 256, "cannot open a netfilter socket: %s", strerror(errno));
	} else if (!bind_queue(q)) {
		if (errno == EBUSY || (errno == EPERM && geteuid() == 0))
			name_holder(number, err, 256);
		else
			(void)snprintf(err, 256, "cannot bind queue %u: %s", number,
				       strerror(errno));
	} else if (!configure(q, put_parameters(buf, number, o))) {
		(void)snprintf(err, 256, "cannot configure queue %u: %s", number, strerror(errno));
	} else {
		big_buffer(q, o->max_packets);
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

bool nlq_waiting(const struct nlq *q, uint32_t *bytes, uint32_t *drops)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof info;
	if (getsockopt(nlq_fd(q), SOL_SOCKET, SO_MEMINFO, info, &len) < 0)
		return false;
	*bytes = info[SK_MEMINFO_RMEM_ALLOC];
	*drops = info[SK_MEMINFO_DROPS];
	return true;
}

/* libmnl's handle is freed and the descriptor kept by giving it a copy to close. */
int nlq_release(struct nlq *q)
{
	int fd = fcntl(nlq_fd(q), F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		fatal_errno("cannot keep the socket of queue %u", q->number);
	nlq_close(q);
	return fd;
}

void nlq_close(struct nlq *q)
{
	if (q->nl)
		(void)mnl_socket_close(q->nl);
	free(q);
}

/* --- verdicts -------------------------------------------------------------------- */

static void put_verdict(struct nlq *q, uint32_t seq, uint32_t id, uint32_t verdict, uint32_t mark,
			size_t len)
{
	bug_on(q->n_out + len > sizeof q->out);
	const struct verdict_message m = {
	    .nlh = {.nlmsg_len = (uint32_t)len,
		    .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT_BATCH,
		    .nlmsg_flags = NLM_F_REQUEST,
		    .nlmsg_seq = seq},
	    .nfg = {AF_UNSPEC, NFNETLINK_V0, htons(q->number)},
	    .verdict_attr = {NLA_HDRLEN + sizeof m.verdict, NFQA_VERDICT_HDR},
	    .verdict = {htonl(verdict), htonl(id)},
	    .mark_attr = {NLA_HDRLEN + sizeof m.mark, NFQA_MARK},
	    .mark = htonl(mark)};
	memcpy((uint8_t *)q->out + q->n_out, &m, len);
	q->n_out += len;
}

static void close_run(struct nlq *q)
{
	const struct run *r = &q->run;
	if (r->open && r->drop)
		put_verdict(q, SEQ_VERDICT, r->last_id, NF_DROP, 0, NO_MARK);
	else if (r->open)
		put_verdict(q, SEQ_VERDICT, r->last_id, NF_REPEAT, r->mark, sizeof *q->out);
	q->run.open = false;
}

static void go_on(struct nlq *q, struct run next)
{
	if (q->run.open && (q->run.mark != next.mark || q->run.drop != next.drop))
		close_run(q);
	q->run = next;
}

void nlq_verdict(struct nlq *q, uint32_t id, uint32_t mark)
{
	go_on(q, (struct run){true, false, id, mark});
}

void nlq_drop(struct nlq *q, uint32_t id)
{
	go_on(q, (struct run){true, true, id, 0});
}

/* Errors of single verdicts come back as messages; only a broken socket fails here. */
static bool flush(struct nlq *q)
{
	close_run(q);
	size_t len = q->n_out;
	q->n_out = 0;
	while (len > 0 && mnl_socket_sendto(q->nl, q->out, len) < 0) {
		struct pollfd p = {nlq_fd(q), POLLOUT, 0};
		if (errno != EINTR && errno != EAGAIN && errno != ENOBUFS)
			return false;
		(void)poll(&p, 1, 10);
	}
	return true;
}

/* Those up to id that nobody answered walk the chain again, as they were. */
static void requeue(struct nlq *q, uint32_t id)
{
	put_verdict(q, SEQ_REQUEUE, id, NF_REPEAT, 0, NO_MARK);
	q->orphans = false;
}

void nlq_wake(const struct nlq *q)
{
	const struct nlmsghdr noop = {.nlmsg_len = NLMSG_HDRLEN,
				      .nlmsg_type = NLMSG_NOOP,
				      .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
				      .nlmsg_seq = SEQ_WAKE};
	(void)mnl_socket_sendto(q->nl, &noop, sizeof noop);
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
		case NFQA_IFINDEX_INDEV:
			p->indev = ntohl(n);
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
	nlq_packet_fn *packet;
	void *arg;
};

static void take_error(struct nlq *q, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	if (nlh->nlmsg_len < NLMSG_LENGTH(sizeof *e))
		return;
	if (nlh->nlmsg_seq == SEQ_CONFIG)
		q->config_err = -e->error;
	else if (nlh->nlmsg_seq == SEQ_VERDICT)
		q->counts.verdict_errors++;
}

/* The packet must be of this queue: an adopted socket may hold more than one. */
static int take_message(struct nlq *q, const struct nlmsghdr *nlh, const struct delivery *d)
{
	struct nlq_packet p;
	const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		take_error(q, nlh);
		return 0;
	}
	if (nlh->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
		return 0;
	if (nlh->nlmsg_len < NLMSG_LENGTH(sizeof *nfg) || nfg->res_id != htons(q->number) ||
	    !read_packet(nlh, &p)) {
		q->counts.unreadable++;
		return 0;
	}
	if (q->orphans)
		requeue(q, p.id - 1);
	q->counts.packets++;
	d->packet(q, &p, d->arg);
	return 1;
}

/* A message that did not fit: its first attribute is the packet's header, so it can be answered for
 * itself. It must be, or the next verdict would answer it too. */
static int take_cut(struct nlq *q, const uint8_t *buf, unsigned bytes, const struct delivery *d)
{
	const struct nlmsghdr *nlh = (const void *)buf;
	const struct nlattr *attr = (const void *)(buf + NLMSG_LENGTH(sizeof(struct nfgenmsg)));
	struct nlq_packet p = {0};
	q->counts.unreadable++;
	if (bytes < MESSAGE_BYTES ||
	    nlh->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) ||
	    mnl_attr_get_type(attr) != NFQA_PACKET_HDR)
		return 0;
	memcpy(&p.id, mnl_attr_get_payload(attr), sizeof p.id);
	p.id = ntohl(p.id);
	d->packet(q, &p, d->arg);
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

static bool receive(struct nlq *q, int flags)
{
	int n = recvmmsg(nlq_fd(q), q->msgs, BATCH, flags, NULL);
	q->received = n < 0 ? 0 : n;
	return n >= 0 || errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
}

bool nlq_receive(struct nlq *q)
{
	return receive(q, MSG_WAITFORONE);
}

int nlq_answer(struct nlq *q, nlq_packet_fn *packet, void *arg)
{
	const struct delivery d = {packet, arg};
	int packets = 0;
	for (int i = 0; i < q->received; i++) {
		const struct mmsghdr *m = &q->msgs[i];
		packets += m->msg_hdr.msg_flags & MSG_TRUNC
			       ? take_cut(q, q->in[i], m->msg_len, &d)
			       : take_datagram(q, q->in[i], m->msg_len, &d);
	}
	q->received = 0;
	return flush(q) ? packets : -1;
}

/* --- taking over ----------------------------------------------------------------- */

static bool is_netfilter_socket(int fd)
{
	int domain = 0, protocol = 0;
	socklen_t len = sizeof domain;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return false;
	len = sizeof protocol;
	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
	       domain == AF_NETLINK && protocol == NETLINK_NETFILTER;
}

/* Answers what waits until the kernel's word about the configuration comes, or the time is over. */
static void await_config(struct nlq *q, nlq_packet_fn *packet, void *arg)
{
	struct pollfd p = {nlq_fd(q), POLLIN, 0};
	while (q->config_err == -1 && poll(&p, 1, ADOPT_MS) > 0)
		if (!receive(q, MSG_DONTWAIT) || nlq_answer(q, packet, arg) < 0)
			return;
}

/* The kernel lets only the owner of a queue configure it: one question for both. */
static bool claim(struct nlq *q, const struct nlq_options *o, nlq_packet_fn *packet, void *arg)
{
	char buf[256];
	q->config_err = -1;
	for (int i = 0; i < ADOPT_TRIES && q->config_err == -1; i++) {
		struct nlmsghdr *nlh = put_parameters(buf, q->number, o);
		if (mnl_socket_sendto(q->nl, nlh, nlh->nlmsg_len) < 0)
			q->config_err = errno;
		else
			await_config(q, packet, arg);
	}
	return q->config_err == 0;
}

struct nlq *nlq_adopt(int fd, uint16_t number, const struct nlq_options *o, nlq_packet_fn *packet,
		      void *arg, char err[static 256])
{
	if (!is_netfilter_socket(fd)) {
		(void)snprintf(err, 256, "what was handed over for queue %u is no netfilter socket",
			       number);
		return NULL;
	}
	/* A copy, so that a failure leaves fd open. */
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	int flags = fcntl(fd, F_GETFL);
	struct nlq *q = new_queue(number);
	q->orphans = true;
	q->nl = own >= 0 ? mnl_socket_fdopen(own) : NULL;
	if (!q->nl || flags < 0 || fcntl(own, F_SETFL, flags & ~O_NONBLOCK) < 0)
		fatal_errno("cannot take over the socket of queue %u", number);
	big_buffer(q, o->max_packets);
	if (claim(q, o, packet, arg)) {
		/* Nobody has come yet behind whom they would be noticed: all ids there are. */
		if (q->orphans) {
			requeue(q, INT32_MAX);
			requeue(q, UINT32_MAX);
			(void)flush(q);
		}
		(void)close(fd);
		return q;
	}
	(void)snprintf(err, 256, "the socket handed over does not own queue %u: %s", number,
		       q->config_err > 0 ? strerror(q->config_err) : "no answer");
	nlq_close(q);
	return NULL;
}
