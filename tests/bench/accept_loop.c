/*
 * accept_loop - the least that answers NFQUEUE: every packet is accepted, nothing is looked at.
 *
 *   accept_loop FIRST-QUEUE COUNT
 *
 * One thread a queue, pinned; recvmmsg(2) of up to 64 packets, one verdict for the batch. What
 * nfqd's verdicts a second are measured against. Prints "ready"; the kernel counts.
 *
 * Diagnostics: standard error, exit 1. Known gaps: none that a benchmark would mind.
 */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH	   64
#define MAX_QUEUES 64

struct message {
	struct nlmsghdr nlh;
	struct nfgenmsg nfg;
	uint8_t attrs[64];
};

static unsigned first;

static void put(struct message *m, uint16_t type, const void *data, size_t len)
{
	struct nlattr a = {(uint16_t)(NLA_HDRLEN + len), type};
	uint8_t *at = (uint8_t *)m + m->nlh.nlmsg_len;
	memcpy(at, &a, sizeof a);
	memcpy(at + NLA_HDRLEN, data, len);
	m->nlh.nlmsg_len += NLA_ALIGN(NLA_HDRLEN + len);
}

static void begin(struct message *m, unsigned type, unsigned queue)
{
	memset(m, 0, sizeof *m);
	m->nlh.nlmsg_len = NLMSG_LENGTH(sizeof m->nfg);
	m->nlh.nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
	m->nlh.nlmsg_flags = NLM_F_REQUEST;
	m->nfg.res_id = htons((uint16_t)queue);
}

static int open_queue(unsigned queue)
{
	struct sockaddr_nl nobody = {.nl_family = AF_NETLINK};
	struct nfqnl_msg_config_cmd bind_it = {.command = NFQNL_CFG_CMD_BIND};
	struct nfqnl_msg_config_params copy = {htonl(128), NFQNL_COPY_PACKET};
	uint32_t length = htonl(16384), flags = htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN);
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), bytes = 16384 * 1280, one = 1;
	struct message m;
	if (fd < 0 || bind(fd, (void *)&nobody, sizeof nobody) < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one);
	begin(&m, NFQNL_MSG_CONFIG, queue);
	put(&m, NFQA_CFG_CMD, &bind_it, sizeof bind_it);
	if (send(fd, &m, m.nlh.nlmsg_len, 0) < 0)
		return -1;
	begin(&m, NFQNL_MSG_CONFIG, queue);
	put(&m, NFQA_CFG_PARAMS, &copy, sizeof copy);
	put(&m, NFQA_CFG_QUEUE_MAXLEN, &length, 4);
	put(&m, NFQA_CFG_FLAGS, &flags, 4);
	put(&m, NFQA_CFG_MASK, &flags, 4);
	return send(fd, &m, m.nlh.nlmsg_len, 0) < 0 ? -1 : fd;
}

/* NFQA_PACKET_HDR is the first attribute of every packet. */
static uint32_t id_of(const uint8_t *buf)
{
	uint32_t id;
	memcpy(&id, buf + NLMSG_LENGTH(sizeof(struct nfgenmsg)) + NLA_HDRLEN, 4);
	return id;
}

static void *loop(void *arg)
{
	unsigned n = (unsigned)(uintptr_t)arg;
	static __thread uint8_t in[BATCH][1024];
	struct iovec iov[BATCH];
	struct mmsghdr msgs[BATCH];
	cpu_set_t cpu;
	int fd = open_queue(first + n);
	if (fd < 0) {
		perror("accept_loop");
		exit(1);
	}
	CPU_ZERO(&cpu);
	CPU_SET(n % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &cpu);
	(void)pthread_setaffinity_np(pthread_self(), sizeof cpu, &cpu);
	for (size_t i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){in[i], sizeof in[i]};
		msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	for (;;) {
		struct nfqnl_msg_verdict_hdr v = {.verdict = htonl(NF_ACCEPT)};
		struct message m;
		int got = recvmmsg(fd, msgs, BATCH, MSG_WAITFORONE, NULL);
		if (got <= 0 || ((struct nlmsghdr *)(void *)in[got - 1])->nlmsg_type !=
				    (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
			continue;
		v.id = id_of(in[got - 1]);
		begin(&m, NFQNL_MSG_VERDICT_BATCH, first + n);
		put(&m, NFQA_VERDICT_HDR, &v, sizeof v);
		(void)send(fd, &m, m.nlh.nlmsg_len, 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned count = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
	if (count == 0 || count > MAX_QUEUES) {
		(void)fputs("usage: accept_loop FIRST-QUEUE COUNT\n", stderr);
		return 64;
	}
	first = (unsigned)atoi(argv[1]);
	for (unsigned i = 0; i < count; i++) {
		pthread_t t;
		if (pthread_create(&t, NULL, loop, (void *)(uintptr_t)i) != 0)
			return 1;
	}
	(void)puts("ready");
	(void)fflush(stdout);
	for (;;)
		(void)pause();
}
