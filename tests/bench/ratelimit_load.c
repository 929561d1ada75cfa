/*
 * ratelimit_load - asks sekisho-ratelimitd, or an echo server, at a steady rate over its socket, and measures each answer.
 *
 *   ratelimit_load SOCKET CONNECTIONS RATE SECONDS ACCOUNTS     one line: rate and percentiles in microseconds
 *   ratelimit_load SOCKET CONNECTIONS RATE SECONDS -ACCOUNTS    the same, account after account in turn
 *   ratelimit_load --echo SOCKET                                answers every frame with an empty one; ends with its standard input
 *
 * Asks are sent when they are due, as many as are, whether or not earlier ones were answered; an answer's time runs from when its ask
 * was due, so waiting in our own queue counts. The line: asks a second, then microseconds: median, 99 %, 99.9 %, the longest, and the
 * median over slices of SLICE asks of each slice's 99 %: what a machine that is shared takes away comes in bursts, and does not move it. Half are checks, half charges; accounts are drawn at random. An account writes as itself, from one address
 * and one program of its own; each message goes to an address that nobody wrote to before.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNS 64
#define WINDOW	  65536 /* asks not answered yet, on one connection */
#define BUF	  (1 << 18)
#define SLICE	  5000

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct conn {
	int fd;
	uint32_t sent, got;
	size_t nth[WINDOW]; /* which ask of all it was */
	uint8_t in[BUF], out[BUF];
	size_t in_len, out_len;
} conns[MAX_CONNS];

static uint8_t *be(uint8_t *p, uint64_t v, int bytes)
{
	while (bytes-- > 0)
		*p++ = (uint8_t)(v >> (8 * bytes));
	return p;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* An ASK of docs/protocols/ratelimit.md. */
static size_t put_ask(uint8_t *at, uint32_t id, bool charge, uint64_t who, uint64_t t_ms)
{
	char account[64];
	int n = snprintf(account, sizeof account, "customer%07" PRIu64 "@isp.example", who);
	uint8_t *p = at + 4;
	p = be(p, 1, 2);
	p = be(p, id, 4);
	p = be(p, charge, 1);
	p = be(p, (uint64_t)n, 4);
	memcpy(p, account, (size_t)n);
	p = be(p + n, 0, 8);
	p = be(p, 0xffff64400000 | (who & 0x3fffff), 8);
	p = be(p, t_ms, 8);
	p = be(p, 1, 4);
	p = be(p, 1, 4);
	p = be(p, 4000, 8);
	p = be(p, who, 8);
	p = be(p, 11, 4);
	memcpy(p, "isp.example", 11);
	p = be(p + 11, 5, 8);
	p = be(p, 6, 8);
	p = be(p, (who << 32 | id) * 0xd6e8feb86659fd93ULL | 1, 8); /* another text */
	p = be(p, 1, 4);
	p = be(p, id * 0x9e3779b97f4a7c15ULL, 8);
	p = be(p, 99, 8);
	if (charge) {
		char ehlo[32];
		int e = snprintf(ehlo, sizeof ehlo, "pc-%07" PRIu64 ".home", who);
		p = be(p, (uint64_t)e, 4);
		memcpy(p, ehlo, (size_t)e);
		p = be(p + e, (uint64_t)n, 4);
		memcpy(p, account, (size_t)n);
		p = be(p + n, id * 0x9e3779b97f4a7c15ULL | 1, 8);
		p = be(p, 0, 8);
	}
	be(at, (uint64_t)(p - at - 4), 4);
	return (size_t)(p - at);
}

static int dial(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof sun) != 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static uint32_t *took; /* nanoseconds, by ask; 0: not answered */
static size_t n_took;
static int64_t start;
static double ask_ns; /* between two */

static void take_answers(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, BUF - c->in_len, MSG_DONTWAIT);
	size_t at = 0;
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		fprintf(stderr, "the server has gone\n");
		exit(1);
	}
	c->in_len += n > 0 ? (size_t)n : 0;
	int64_t now = now_ns();
	while (c->in_len - at >= 6 && c->in_len - at >= 4 + (size_t)get32(c->in + at)) {
		at += 4 + (size_t)get32(c->in + at);
		size_t nth = c->nth[c->got++ % WINDOW];
		int64_t ns = now - start - (int64_t)((double)nth * ask_ns);
		took[nth] = ns > UINT32_MAX ? UINT32_MAX : ns < 1 ? 1 : (uint32_t)ns;
		n_took++;
	}
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
}

static void flush(struct conn *c)
{
	ssize_t n = c->out_len ? send(c->fd, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	if (n <= 0)
		return;
	memmove(c->out, c->out + n, c->out_len - (size_t)n);
	c->out_len -= (size_t)n;
}

static uint64_t rnd(uint64_t below)
{
	static uint64_t s = 88172645463325252ULL;
	s ^= s << 13, s ^= s >> 7, s ^= s << 17;
	return s % below;
}

/* The median of the slices' 99 %; sorts each slice. */
static double slices(size_t total)
{
	size_t n = total / SLICE;
	uint32_t *p99 = malloc((n + 1) * sizeof *p99);
	if (!p99 || n == 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		qsort(took + i * SLICE, SLICE, sizeof *took, by_value);
		p99[i] = took[i * SLICE + SLICE * 99 / 100];
	}
	qsort(p99, n, sizeof *p99, by_value);
	double median = p99[n / 2] / 1e3;
	free(p99);
	return median;
}

static void load(const char *path, int n_conns, double rate, double seconds, int64_t accounts)
{
	uint64_t n = (uint64_t)(accounts < 0 ? -accounts : accounts);
	size_t total = (size_t)(rate * seconds), sent = 0;
	uint64_t t_ms = (uint64_t)time(NULL) * 1000;
	took = calloc(total, sizeof *took);
	if (!took)
		exit(1);
	for (int i = 0; i < n_conns; i++)
		conns[i].fd = dial(path);
	start = now_ns();
	ask_ns = 1e9 / rate;
	int64_t end = start;
	while (n_took < total) {
		int64_t now = now_ns();
		size_t due = (size_t)((double)(now - start) * rate / 1e9);
		for (; sent < total && sent < due; sent++) {
			struct conn *c = &conns[sent % (size_t)n_conns];
			if (c->out_len + 512 > BUF || c->sent - c->got >= WINDOW - 1)
				break;
			c->nth[c->sent % WINDOW] = sent;
			c->out_len += put_ask(c->out + c->out_len, c->sent++, sent & 1, accounts < 0 ? sent / 2 % n : rnd(n), t_ms);
		}
		for (int i = 0; i < n_conns; i++)
			flush(&conns[i]);
		for (int i = 0; i < n_conns; i++)
			take_answers(&conns[i]);
		end = now_ns();
		if (end - start > (int64_t)(seconds * 3e9)) {
			fprintf(stderr, "%zu of %zu answers after three times as long\n", n_took, total);
			break;
		}
	}
	double slice = slices(total);
	qsort(took, total, sizeof *took, by_value);
	uint32_t *all = took + (total - n_took); /* those without an answer come first */
	printf("%.0f %.1f %.1f %.1f %.1f %.1f\n", (double)n_took * 1e9 / (double)(end - start), all[n_took / 2] / 1e3,
	       all[n_took * 99 / 100] / 1e3, all[n_took * 999 / 1000] / 1e3, all[n_took - 1] / 1e3, slice);
}

/* The least a server can do: read what there is, answer each frame with an empty one, write once. */
static void echo(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct pollfd p[MAX_CONNS + 2] = {{.fd = 0, .events = POLLIN}};
	int n = 2;
	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	p[1] = (struct pollfd){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .events = POLLIN};
	if (bind(p[1].fd, (struct sockaddr *)&sun, sizeof sun) != 0 || listen(p[1].fd, 64) != 0)
		exit(1);
	for (;;) {
		(void)poll(p, (nfds_t)n, -1);
		if (p[0].revents)
			return;
		if (p[1].revents && n < MAX_CONNS + 2)
			p[n++] = (struct pollfd){.fd = accept(p[1].fd, NULL, NULL), .events = POLLIN};
		for (int i = 2; i < n; i++) {
			struct conn *c = &conns[i - 2];
			size_t at = 0;
			if (!p[i].revents)
				continue;
			ssize_t got = recv(p[i].fd, c->in + c->in_len, 16384, 0);
			if (got <= 0) {
				close(p[i].fd);
				p[i].fd = -1;
				continue;
			}
			c->in_len += (size_t)got;
			for (; c->in_len - at >= 6 && c->in_len - at >= 4 + (size_t)get32(c->in + at); at += 4 + (size_t)get32(c->in + at)) {
				be(c->out + c->out_len, 20, 4);
				memset(c->out + c->out_len + 4, 0, 20);
				c->out_len += 24;
			}
			memmove(c->in, c->in + at, c->in_len - at);
			c->in_len -= at;
			(void)send(p[i].fd, c->out, c->out_len, MSG_NOSIGNAL);
			c->out_len = 0;
		}
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--echo") == 0)
		echo(argv[2]);
	else if (argc == 6 && strtol(argv[2], NULL, 10) <= MAX_CONNS)
		load(argv[1], (int)strtol(argv[2], NULL, 10), strtod(argv[3], NULL), strtod(argv[4], NULL), strtoll(argv[5], NULL, 10));
	else
		return 64;
	return 0;
}
