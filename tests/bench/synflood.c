/*
 * synflood - send TCP packets to one address and port from many sources, as fast as asked or as it
 * goes.
 *
 *   synflood DEVICE GATEWAY-MAC FIRST-SOURCE COUNT DESTINATION PORT SECONDS [PER-SECOND
 * [data|mail]]
 *
 * Sources are FIRST-SOURCE and the COUNT - 1 behind it, in an order that is not theirs: addresses
 * of IPv4, /64s of IPv6. SYNs, with `data` segments of an open connection with 64 bytes in them, or
 * with `mail` both as in sessions that bring one short message: one SYN to eleven segments.
 * One thread a processor, pinned: what a gateway in the same machine does with a packet is done by
 * the processor that sent it. PER-SECOND 0: no limit. Prints the packets that were sent. For
 * benchmarks in network namespaces of one's own.
 *
 * Diagnostics: standard error, exit 1. Known gaps: none that a benchmark would mind.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH	    64
#define PAYLOAD	    64
#define SESSION	    12 /* SYN, ACK, EHLO, MAIL, RCPT, DATA, three of text, QUIT, ACKs */
#define MAX_THREADS 64

struct segment {
	struct tcphdr tcp;
	uint8_t payload[PAYLOAD];
} __attribute__((packed));

struct frame4 {
	struct iphdr ip;
	struct segment s;
} __attribute__((packed));

struct frame6 {
	struct ip6_hdr ip;
	struct segment s;
} __attribute__((packed));

/* What all threads send. */
static struct {
	const char *device;
	struct sockaddr_ll to;
	bool is6;
	uint32_t syn_each; /* a SYN in so many packets; 0: none */
	uint8_t src[16], dst[16];
	uint16_t port;
	uint32_t count, step;
	double seconds, rate;
	unsigned threads;
} job;
static uint64_t sent[MAX_THREADS];

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

/* addresses: both of them, one behind the other, as in the IP header. */
static size_t fill_segment(struct segment *s, const void *addresses, uint32_t n)
{
	bool data = job.syn_each == 0 || n / job.threads % job.syn_each > 0;
	size_t len = sizeof s->tcp + (data ? PAYLOAD : 0);
	s->tcp = (struct tcphdr){.source = htons((uint16_t)(1024 + n % 60000)),
				 .dest = htons(job.port),
				 .seq = htonl(n),
				 .doff = 5,
				 .syn = !data,
				 .ack = data,
				 .psh = data,
				 .window = 0xffff};
	s->tcp.check =
	    fold(sum(addresses, job.is6 ? 32 : 8, sum(s, len, (uint32_t)(IPPROTO_TCP + len))));
	return len;
}

static void add(uint8_t *at, uint32_t n)
{
	uint32_t v;
	memcpy(&v, at, 4);
	v = htonl(ntohl(v) + n);
	memcpy(at, &v, 4);
}

static size_t fill4(struct frame4 *f, uint32_t source, uint32_t n)
{
	uint8_t addresses[8];
	memcpy(addresses, job.src, 4);
	add(addresses, source);
	memcpy(addresses + 4, job.dst, 4);
	size_t len = sizeof f->ip + fill_segment(&f->s, addresses, n);
	f->ip = (struct iphdr){.version = 4,
			       .ihl = 5,
			       .tot_len = htons((uint16_t)len),
			       .frag_off = htons(IP_DF),
			       .ttl = 64,
			       .protocol = IPPROTO_TCP};
	memcpy(&f->ip.saddr, addresses, 8);
	f->ip.check = fold(sum(&f->ip, sizeof f->ip, 0));
	return len;
}

static size_t fill6(struct frame6 *f, uint32_t source, uint32_t n)
{
	uint8_t addresses[32];
	memcpy(addresses, job.src, 16);
	add(addresses + 4, source);
	memcpy(addresses + 16, job.dst, 16);
	size_t len = fill_segment(&f->s, addresses, n);
	f->ip = (struct ip6_hdr){.ip6_flow = htonl(6u << 28),
				 .ip6_plen = htons((uint16_t)len),
				 .ip6_nxt = IPPROTO_TCP,
				 .ip6_hlim = 64};
	memcpy(&f->ip.ip6_src, addresses, 32);
	return sizeof f->ip + len;
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

static void pin(unsigned n)
{
	cpu_set_t cpu;
	CPU_ZERO(&cpu);
	CPU_SET(n, &cpu);
	(void)sched_setaffinity(0, sizeof cpu, &cpu);
}

static int send_batch(int fd, uint32_t *at, uint32_t *n)
{
	static __thread uint8_t frames[BATCH][sizeof(struct frame6)];
	struct iovec iov[BATCH];
	struct mmsghdr msgs[BATCH];
	for (size_t i = 0; i < BATCH; i++, *n += job.threads) {
		size_t len =
		    job.is6 ? fill6((void *)frames[i], *at, *n) : fill4((void *)frames[i], *at, *n);
		iov[i] = (struct iovec){frames[i], len};
		msgs[i].msg_hdr = (struct msghdr){&job.to, sizeof job.to, &iov[i], 1, NULL, 0, 0};
		*at = (uint32_t)((*at + (uint64_t)job.step * job.threads) % job.count);
	}
	return sendmmsg(fd, msgs, BATCH, 0);
}

static void *flood(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	int fd = socket(AF_PACKET, SOCK_DGRAM, 0), one = 1;
	uint32_t at = (uint32_t)((uint64_t)job.step * me % job.count), n = me;
	uint64_t mine = 0;
	pin(me);
	/* A network does not wait for a verdict on what it has brought; a socket would. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){1 << 28}, sizeof(int)) < 0)
		exit(complain("SO_SNDBUFFORCE"));
	(void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
	double begin = now();
	for (double t = begin; t - begin < job.seconds; t = now()) {
		if (job.rate > 0 && (double)mine > (t - begin) * job.rate / job.threads) {
			const struct timespec pause = {0, 200000};
			(void)nanosleep(&pause, NULL);
			continue;
		}
		int done = send_batch(fd, &at, &n);
		if (done < 0 && errno != ENOBUFS && errno != EAGAIN)
			exit(complain("sendmmsg"));
		mine += done > 0 ? (uint64_t)done : 0;
	}
	sent[me] = mine;
	return NULL;
}

static bool read_link(const char *mac)
{
	unsigned m[6];
	job.to = (struct sockaddr_ll){.sll_family = AF_PACKET,
				      .sll_protocol = htons(job.is6 ? ETH_P_IPV6 : ETH_P_IP),
				      .sll_ifindex = (int)if_nametoindex(job.device),
				      .sll_halen = 6};
	if (job.to.sll_ifindex == 0 ||
	    sscanf(mac, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
		return false;
	for (size_t i = 0; i < 6; i++)
		job.to.sll_addr[i] = (uint8_t)m[i];
	return true;
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_THREADS];
	uint64_t total = 0;
	if (argc < 8) {
		(void)fputs("usage: synflood DEVICE GATEWAY-MAC FIRST-SOURCE COUNT DESTINATION "
			    "PORT SECONDS [PER-SECOND [data|mail]]\n",
			    stderr);
		return 64;
	}
	errno = 0;
	job.device = argv[1];
	job.is6 = strchr(argv[3], ':') != NULL;
	int family = job.is6 ? AF_INET6 : AF_INET;
	if (inet_pton(family, argv[3], job.src) != 1 || inet_pton(family, argv[5], job.dst) != 1)
		return complain("an address");
	if (!read_link(argv[2]))
		return complain(argv[1]);
	job.count = (uint32_t)strtoul(argv[4], NULL, 10);
	job.count = job.count ? job.count : 1;
	job.step = stride(job.count);
	job.port = (uint16_t)strtoul(argv[6], NULL, 10);
	job.seconds = strtod(argv[7], NULL);
	job.rate = argc > 8 ? strtod(argv[8], NULL) : 0;
	const char *kind = argc > 9 ? argv[9] : "";
	job.syn_each = strcmp(kind, "data") == 0 ? 0 : strcmp(kind, "mail") == 0 ? SESSION : 1;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	job.threads = processors < 1		 ? 1
		      : processors > MAX_THREADS ? MAX_THREADS
						 : (unsigned)processors;
	for (unsigned i = 0; i < job.threads; i++)
		if (pthread_create(&threads[i], NULL, flood, (void *)(uintptr_t)i) != 0)
			return complain("a thread");
	for (unsigned i = 0; i < job.threads; i++) {
		(void)pthread_join(threads[i], NULL);
		total += sent[i];
	}
	(void)printf("%llu\n", (unsigned long long)total);
	return 0;
}
