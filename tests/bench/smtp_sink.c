/*
 * smtp_sink - the least that takes mail: every command is welcome, every message is read and
 * forgotten.
 *
 *   smtp_sink ADDRESS PORT COUNTERS [CERTIFICATE KEY]
 *
 * With a certificate it speaks implicit TLS and offers AUTH PLAIN: the ceiling of what a submission
 * server on this machine could do. Without, it is where `make bench-msa` has mail delivered.
 * COUNTERS is a file of two 64-bit numbers, kept up to date: messages taken, and when the last one
 * was (CLOCK_MONOTONIC, nanoseconds). A thread a connection; SIGTERM ends it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct counters {
	_Atomic uint64_t messages, last_ns;
} * counters;
static SSL_CTX *tls;

struct session {
	int fd;
	SSL *ssl;
	char in[32768];
	size_t n, at;
	char out[4096];
	size_t pending;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int get(struct session *s, char *at, size_t room)
{
	return s->ssl ? SSL_read(s->ssl, at, (int)room) : (int)read(s->fd, at, room);
}

static bool flush(struct session *s)
{
	size_t n = s->pending;
	s->pending = 0;
	if (n == 0)
		return true;
	return (s->ssl ? SSL_write(s->ssl, s->out, (int)n) : (int)write(s->fd, s->out, n)) ==
	       (int)n;
}

static void say(struct session *s, const char *text)
{
	size_t n = strlen(text);
	if (s->pending + n > sizeof s->out)
		flush(s);
	memcpy(s->out + s->pending, text, n);
	s->pending += n;
}

/* More input; what was said goes out first. */
static bool fill(struct session *s)
{
	if (!flush(s))
		return false;
	memmove(s->in, s->in + s->at, s->n - s->at);
	s->n -= s->at;
	s->at = 0;
	if (s->n == sizeof s->in)
		return false;
	int got = get(s, s->in + s->n, sizeof s->in - s->n);
	if (got <= 0)
		return false;
	s->n += (size_t)got;
	return true;
}

static char *line(struct session *s)
{
	char *eol;
	while (!(eol = memchr(s->in + s->at, '\n', s->n - s->at)))
		if (!fill(s))
			return NULL;
	char *start = s->in + s->at;
	*eol = 0;
	s->at = (size_t)(eol - s->in) + 1;
	return start;
}

/* Up to the line with the dot; input begins at the start of a line. */
static bool data(struct session *s)
{
	bool at_start = true;
	for (;;) {
		char *from = s->in + s->at;
		size_t have = s->n - s->at;
		if (at_start && have >= 3 && memcmp(from, ".\r\n", 3) == 0) {
			s->at += 3;
			return true;
		}
		char *end = memmem(from, have, "\r\n.\r\n", 5);
		if (end) {
			s->at += (size_t)(end - from) + 5;
			return true;
		}
		if (have > 4) {
			s->at += have - 4;
			at_start = false;
		}
		if (!fill(s))
			return false;
	}
}

static bool take(struct session *s)
{
	say(s, "354 go on\r\n");
	if (!data(s))
		return false;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	atomic_fetch_add(&counters->messages, 1);
	counters->last_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	say(s, "250 2.0.0 forgotten\r\n");
	return true;
}

static void serve(struct session *s)
{
	char *l;
	say(s, "220 sink ESMTP\r\n");
	while ((l = line(s))) {
		if (strncasecmp(l, "EHLO", 4) == 0)
			say(s,
			    tls ? "250-sink\r\n250-PIPELINING\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n"
				: "250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
		else if (strncasecmp(l, "DATA", 4) == 0) {
			if (!take(s))
				return;
		} else if (strncasecmp(l, "AUTH", 4) == 0)
			say(s, "235 2.7.0 you are\r\n");
		else if (strncasecmp(l, "QUIT", 4) == 0) {
			say(s, "221 2.0.0 bye\r\n");
			flush(s);
			return;
		} else
			say(s, "250 2.0.0 yes\r\n");
	}
}

static void *connection(void *arg)
{
	struct session *s = arg;
	bool up = true;
	if (tls) {
		s->ssl = SSL_new(tls);
		up = s->ssl && SSL_set_fd(s->ssl, s->fd) && SSL_accept(s->ssl) == 1;
	}
	if (up)
		serve(s);
	SSL_free(s->ssl);
	close(s->fd);
	free(s);
	return NULL;
}

static void map_counters(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || ftruncate(fd, sizeof *counters) != 0)
		die(path);
	counters = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counters == MAP_FAILED)
		die("mmap");
	close(fd);
}

static int listen_on(const char *address, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1)
		die(address);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 1024) != 0)
		die(port);
	return fd;
}

int main(int argc, char **argv)
{
	if (argc != 4 && argc != 6) {
		fprintf(stderr, "usage: smtp_sink ADDRESS PORT COUNTERS [CERTIFICATE KEY]\n");
		return 64;
	}
	signal(SIGPIPE, SIG_IGN);
	map_counters(argv[3]);
	if (argc == 6) {
		tls = SSL_CTX_new(TLS_server_method());
		if (!tls || SSL_CTX_use_certificate_chain_file(tls, argv[4]) != 1 ||
		    SSL_CTX_use_PrivateKey_file(tls, argv[5], SSL_FILETYPE_PEM) != 1)
			die(argv[4]);
	}
	int fd = listen_on(argv[1], argv[2]);
	puts("ready");
	fflush(stdout);
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&small, 256 << 10);
	for (;;) {
		struct session *s = calloc(1, sizeof *s);
		int on = 1;
		pthread_t t;
		if (!s || (s->fd = accept(fd, NULL, NULL)) < 0)
			die("accept");
		setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		if (pthread_create(&t, &small, connection, s) != 0)
			die("pthread_create");
	}
}
