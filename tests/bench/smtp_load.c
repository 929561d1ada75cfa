/*
 * smtp_load - so many messages over so many TLS connections, as fast as the server takes them.
 *
 *   smtp_load HOST PORT USERS CONNECTIONS ROUNDS MESSAGES SIZE RECIPIENT [pipeline]
 *
 * CONNECTIONS threads; each opens ROUNDS connections one after the other and sends MESSAGES on
 * each: implicit TLS (a full handshake), EHLO, AUTH PLAIN as the next line of the file USERS (`user
 * password address`), then MAIL, RCPT and DATA, each after the reply to the one before (with the
 * word pipeline: in one write), a body of SIZE octets, and only with its 250 the next. Prints one
 * JSON object: messages, when it began (CLOCK_MONOTONIC, microseconds), seconds, a message's p50
 * and p99 (MAIL to 250), and how many were not taken; the first refusal goes to standard error.
 *
 * What `make bench-msa` loads every server with. Known gaps: certificates are not checked.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_USERS 64

struct user {
	char login[320], address[320];
	char plain[900]; /* base64 of \0login\0password */
};

static struct sockaddr_in server;
static struct user users[MAX_USERS];
static size_t n_users;
static unsigned connections, rounds, messages;
static const char *recipient;
static bool pipeline;
static char *body; /* with its final dot */
static size_t body_len;
static SSL_CTX *tls;
static uint64_t *took_us; /* a slot a message */
static atomic_uint n_took, n_failed;

static uint64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

struct session {
	int fd;
	SSL *ssl;
	char in[4096];
	size_t n, at;
};

/* One line without its CRLF; NULL at the end of the connection. */
static char *line(struct session *s)
{
	for (;;) {
		char *eol = memchr(s->in + s->at, '\n', s->n - s->at);
		if (eol) {
			char *start = s->in + s->at;
			*eol = 0;
			s->at = (size_t)(eol - s->in) + 1;
			return start;
		}
		memmove(s->in, s->in + s->at, s->n - s->at);
		s->n -= s->at;
		s->at = 0;
		int got = SSL_read(s->ssl, s->in + s->n, (int)(sizeof s->in - s->n));
		if (got <= 0)
			return NULL;
		s->n += (size_t)got;
	}
}

/* A whole reply; true when its code begins with `want`. */
static bool reply(struct session *s, char want)
{
	char *l;
	do {
		l = line(s);
	} while (l && strlen(l) > 3 && l[3] == '-');
	if (l && l[0] == want)
		return true;
	static atomic_bool said;
	if (!atomic_exchange(&said, true))
		fprintf(stderr, "smtp_load: %s\n", l ? l : "connection closed");
	return false;
}

static bool say(struct session *s, const char *text, size_t len)
{
	return SSL_write(s->ssl, text, (int)len) == (int)len;
}

static bool command(struct session *s, const char *text, char want)
{
	return say(s, text, strlen(text)) && reply(s, want);
}

static bool begin(struct session *s, const struct user *u)
{
	memset(s, 0, sizeof *s);
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	int on = 1;
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	s->ssl = SSL_new(tls);
	if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&server, sizeof server) != 0 ||
	    !SSL_set_fd(s->ssl, s->fd) || SSL_connect(s->ssl) != 1)
		return false;
	char auth[1000];
	snprintf(auth, sizeof auth, "AUTH PLAIN %s\r\n", u->plain);
	return reply(s, '2') && command(s, "EHLO load.example\r\n", '2') && command(s, auth, '2');
}

static void end(struct session *s, bool politely)
{
	if (politely)
		command(s, "QUIT\r\n", '2');
	SSL_free(s->ssl);
	close(s->fd);
}

static bool envelope(struct session *s, const struct user *u)
{
	char mail[400], rcpt[400], all[1000];
	snprintf(mail, sizeof mail, "MAIL FROM:<%s>\r\n", u->address);
	snprintf(rcpt, sizeof rcpt, "RCPT TO:<%s>\r\n", recipient);
	if (!pipeline)
		return command(s, mail, '2') && command(s, rcpt, '2') &&
		       command(s, "DATA\r\n", '3');
	int n = snprintf(all, sizeof all, "%s%sDATA\r\n", mail, rcpt);
	return say(s, all, (size_t)n) && reply(s, '2') && reply(s, '2') && reply(s, '3');
}

static bool message(struct session *s, const struct user *u)
{
	uint64_t from = now_us();
	if (!envelope(s, u) || !say(s, body, body_len) || !reply(s, '2'))
		return false;
	took_us[atomic_fetch_add(&n_took, 1)] = now_us() - from;
	return true;
}

static void *client(void *arg)
{
	const struct user *u = &users[(uintptr_t)arg % n_users];
	for (unsigned r = 0; r < rounds; r++) {
		struct session s;
		unsigned sent = 0;
		bool up = begin(&s, u);
		while (up && sent < messages && message(&s, u))
			sent++;
		atomic_fetch_add(&n_failed, messages - sent);
		end(&s, up && sent == messages);
	}
	return NULL;
}

static void read_users(const char *path)
{
	FILE *f = fopen(path, "r");
	if (!f)
		die(path);
	char password[256];
	while (n_users < MAX_USERS && fscanf(f, "%319s %255s %319s", users[n_users].login, password,
					     users[n_users].address) == 3) {
		char raw[640];
		int n = snprintf(raw, sizeof raw, "%c%s%c%s", 0, users[n_users].login, 0, password);
		EVP_EncodeBlock((unsigned char *)users[n_users].plain, (unsigned char *)raw, n);
		n_users++;
	}
	fclose(f);
	if (n_users == 0)
		die("no users");
}

static void make_body(size_t size)
{
	static const char head[] = "From: load@isp.example\r\nTo: sink@example.net\r\n"
				   "Subject: load\r\nMessage-ID: <load@isp.example>\r\n"
				   "Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n\r\n";
	static const char text[] =
	    "The quick brown fox jumps over the lazy dog; 0123456789 again.\r\n";
	body = malloc(size + sizeof head + sizeof text + 8);
	if (!body)
		die("malloc");
	memcpy(body, head, sizeof head - 1);
	body_len = sizeof head - 1;
	while (body_len < size) {
		memcpy(body + body_len, text, sizeof text - 1);
		body_len += sizeof text - 1;
	}
	memcpy(body + body_len, ".\r\n", 3);
	body_len += 3;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	pipeline = argc == 10 && strcmp(argv[9], "pipeline") == 0;
	if (argc != 9 && !pipeline) {
		fprintf(stderr, "usage: smtp_load HOST PORT USERS CONNECTIONS ROUNDS MESSAGES "
				"SIZE RECIPIENT [pipeline]\n");
		return 64;
	}
	server.sin_family = AF_INET;
	server.sin_port = htons((uint16_t)number(argv[2]));
	if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1)
		die(argv[1]);
	read_users(argv[3]);
	connections = number(argv[4]), rounds = number(argv[5]), messages = number(argv[6]);
	make_body(number(argv[7]));
	recipient = argv[8];
	tls = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
	took_us = calloc((size_t)connections * rounds * messages, sizeof *took_us);
	pthread_t *t = calloc(connections, sizeof *t);
	if (!tls || !took_us || !t)
		die("smtp_load");

	uint64_t from = now_us();
	for (uintptr_t i = 0; i < connections; i++)
		if (pthread_create(&t[i], NULL, client, (void *)i) != 0)
			die("pthread_create");
	for (unsigned i = 0; i < connections; i++)
		pthread_join(t[i], NULL);
	double seconds = (double)(now_us() - from) / 1e6;

	unsigned n = n_took;
	qsort(took_us, n, sizeof *took_us, by_size);
	printf("{\"messages\": %u, \"failed\": %u, \"start_us\": %" PRIu64 ", \"seconds\": %.6f, "
	       "\"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
	       n, n_failed, from, seconds, n ? (double)took_us[n / 2] / 1e3 : 0,
	       n ? (double)took_us[n * 99 / 100] / 1e3 : 0);
	return n_failed ? 1 : 0;
}
