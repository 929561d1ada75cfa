/*
 * msa_sessions - clients by the thousand for tests/bench/msa-sessions, all to one TLS port of the loopback.
 *
 *   msa_sessions idle PORT N          N sessions that have read the greeting; "open", then wait for the end of stdin
 *   msa_sessions loris PORT N         the same, and each sends one octet of a command a second
 *   msa_sessions good PORT N          N submissions, one after the other: milliseconds of each, from connect to 221
 *   msa_sessions handshakes PORT MS   full handshakes on two threads for so long: how many a second
 */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS 2

static SSL_CTX *ctx;
static uint16_t port;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static SSL *dial(void)
{
	const struct sockaddr_in a = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	SSL *s = SSL_new(ctx);

	if (fd < 0 || !s || connect(fd, (const struct sockaddr *)&a, sizeof(a)) != 0)
		die("connect");
	SSL_set_fd(s, fd);
	if (SSL_connect(s) != 1)
		die("the handshake failed");
	return s;
}

static void hang_up(SSL *s)
{
	int fd = SSL_get_fd(s);

	SSL_free(s);
	close(fd);
}

/* The last line of a reply must begin with code. */
static void expect(SSL *s, const char *code)
{
	char buf[4096];
	int len = 0, n;

	for (;;) {
		n = SSL_read(s, buf + len, (int)sizeof(buf) - 1 - len);
		if (n <= 0)
			die("the session broke");
		len += n;
		buf[len] = '\0';
		if (buf[len - 1] != '\n')
			continue;
		const char *last = buf, *p;
		while ((p = strchr(last, '\n')) && p[1])
			last = p + 1;
		if (last[3] == '-')
			continue;
		if (strncmp(last, code, 3) != 0) {
			fprintf(stderr, "expected %s: %s", code, last);
			exit(1);
		}
		return;
	}
}

static void say(SSL *s, const char *line, const char *code)
{
	if (SSL_write(s, line, (int)strlen(line)) <= 0)
		die("the session broke");
	expect(s, code);
}

static SSL **open_many(int n)
{
	SSL **s = calloc((size_t)n, sizeof(*s));

	for (int i = 0; s && i < n; i++) {
		s[i] = dial();
		expect(s[i], "220");
	}
	puts("open");
	fflush(stdout);
	return s;
}

static bool stdin_ended(int wait_ms)
{
	struct pollfd p = {.fd = 0, .events = POLLIN};
	char c;

	return poll(&p, 1, wait_ms) == 1 && read(0, &c, 1) <= 0;
}

static void idle(int n)
{
	(void)open_many(n);
	while (!stdin_ended(1000))
		;
}

/* A command that never ends: all of them an octet within each second. */
static void loris(int n)
{
	SSL **s = open_many(n);

	for (int i = 0;; i = (i + 1) % n) {
		if (SSL_write(s[i], "x", 1) <= 0)
			die("a slow session broke");
		if (i % 10 == 0 && stdin_ended(10000 / n))
			return;
	}
}

static void good(int n)
{
	for (int i = 0; i < n; i++) {
		double from = now_ms();
		SSL *s = dial();

		expect(s, "220");
		say(s, "EHLO client.example\r\n", "250");
		say(s, "AUTH PLAIN AHVzZXIwMUBpc3AuZXhhbXBsZQBzZWNyZXQwMQ==\r\n", "235");
		say(s, "MAIL FROM:<user01@isp.example>\r\n", "250");
		say(s, "RCPT TO:<someone@far.example>\r\n", "250");
		say(s, "DATA\r\n", "354");
		say(s, "Subject: good\r\n\r\ntext\r\n.\r\n", "250");
		say(s, "QUIT\r\n", "221");
		hang_up(s);
		printf("%.3f\n", now_ms() - from);
	}
}

static double until;

static void *shake(void *arg)
{
	long *n = arg;

	while (now_ms() < until) {
		hang_up(dial());
		++*n;
	}
	return NULL;
}

static void handshakes(int ms)
{
	pthread_t t[THREADS];
	long n[THREADS] = {0}, all = 0;

	until = now_ms() + ms;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, shake, &n[i]);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		all += n[i];
	}
	printf("%.0f\n", (double)all * 1000 / ms);
}

int main(int argc, char **argv)
{
	struct rlimit r;
	int n = argc == 4 ? (int)strtol(argv[3], NULL, 10) : 0;

	if (n <= 0)
		return 64;
	port = (uint16_t)strtol(argv[2], NULL, 10);
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (strcmp(argv[1], "idle") == 0)
		idle(n);
	else if (strcmp(argv[1], "loris") == 0)
		loris(n);
	else if (strcmp(argv[1], "good") == 0)
		good(n);
	else if (strcmp(argv[1], "handshakes") == 0)
		handshakes(n);
	else
		return 64;
	return 0;
}
