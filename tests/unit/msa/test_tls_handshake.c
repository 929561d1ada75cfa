/*
 * tls_handshake, tls_key, tls_provider: handshakes that wait for signatures. This program is the
 * key role too (`-x key`), one that keeps its answers back, turns them round, lies or says nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/ipc.h"
#include "msa/tls.h"
#include "msa/tls_key_role.h"

#define MANY	  80 /* more than TLS_KEY_ASKED_MAX */
#define TURNS	  4000
#define STACK	  32768 /* OpenSSL's, for a job */
#define DEEP_MOST (STACK / 2)

/* --- the role ------------------------------------------------------------------------------------
 */

#define ROLE_FD 3

/* KEY_TEST in the environment: "N" answers when there are N questions, the last first; "N once"
 * does so once, and after that answers each at once; "mute" never answers, "lie" does with a number
 * that nobody asked for. */
struct question {
	uint8_t data[1024];
	size_t len;
};

static void sign(struct tls_key_store *s, const struct question *q, uint8_t lie)
{
	uint8_t buf[4096];
	struct wire_out w;
	const char *err;
	uint16_t type;

	wire_out_init(&w, buf, sizeof(buf));
	type = tls_key_answer(s, KEY_F_SIGN, q->data, q->len, &w);
	if (type == 0)
		_exit(1);
	buf[0] ^= lie;
	if (!ipc_write(ROLE_FD, type, buf, w.len, 1000, &err))
		_exit(0);
}

static void on_sign(struct tls_key_store *s, const uint8_t *data, size_t len)
{
	static struct question kept[MANY];
	static int n, want = -1;
	const char *how = getenv("KEY_TEST");

	if (!how || strcmp(how, "mute") == 0)
		return;
	if (want < 0)
		want = strcmp(how, "lie") == 0 ? 1 : (int)strtol(how, NULL, 10);
	if (n >= MANY || len > sizeof(kept[0].data))
		_exit(1);
	memcpy(kept[n].data, data, len);
	kept[n++].len = len;
	if (n < want)
		return;
	while (n > 0)
		sign(s, &kept[--n], strcmp(how, "lie") == 0);
	if (strstr(how, "once"))
		want = 1;
}

static bool answer(struct tls_key_store *s, uint16_t type, const uint8_t *data, size_t len)
{
	uint8_t buf[8192];
	uint16_t said = KEY_F_SEALED;
	struct wire_out w;
	const char *err;

	wire_out_init(&w, buf, sizeof(buf));
	if (type != KEY_F_SEAL)
		said = tls_key_answer(s, type, data, len, &w);
	return ipc_write(ROLE_FD, said, buf, w.len, 1000, &err);
}

static int role(void)
{
	struct tls_key_store *s = tls_key_store_new(NULL);
	uint8_t *data;
	const char *err;
	uint16_t type;
	size_t len;

	signal(SIGPIPE, SIG_IGN);
	if (!ipc_write(ROLE_FD, KEY_F_READY, NULL, 0, 1000, &err))
		return 1;
	while (ipc_read(ROLE_FD, &type, &data, &len, -1, &err)) {
		if (type == KEY_F_SIGN)
			on_sign(s, data, len);
		else if (!answer(s, type, data, len))
			break;
		free(data);
	}
	talloc_free(s);
	return 0;
}

/* --- how deep a job's stack goes -----------------------------------------------------------------
 */

static uint8_t *stacks[MANY + 8];
static size_t n_stacks;

static void *watched_malloc(size_t n, const char *file, int line)
{
	uint8_t *p = malloc(n ? n : 1);

	(void)file;
	(void)line;
	if (p && n == STACK && n_stacks < MANY + 8) {
		memset(p, 0xa5, n);
		stacks[n_stacks++] = p;
	}
	return p;
}

static void *watched_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return realloc(p, n ? n : 1);
}

static void watched_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	for (size_t i = 0; p && i < n_stacks; i++)
		if (stacks[i] == p)
			stacks[i] = NULL;
	free(p);
}

/* Stacks grow down. */
static size_t deepest(void)
{
	size_t most = 0;

	for (size_t i = 0; i < n_stacks; i++) {
		size_t at = 0;

		while (stacks[i] && at < STACK && stacks[i][at] == 0xa5)
			at++;
		if (stacks[i] && STACK - at > most)
			most = STACK - at;
	}
	return most;
}

/* --- certificates --- */

static char folder[] = "/tmp/test_tls_handshake.XXXXXX";

static const char *path(const char *name, const char *end)
{
	static char text[2][128];
	static int which;

	which = !which;
	snprintf(text[which], sizeof(text[which]), "%s/%s%s", folder, name, end);
	return text[which];
}

static void write_pair(const char *name, EVP_PKEY *key)
{
	FILE *c = fopen(path(name, ".crt"), "w"), *k = fopen(path(name, ".key"), "w");
	X509 *x = X509_new();

	assert_non_null(key);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), 0));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), 3600));
	assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
						    (const uint8_t *)name, -1, -1, 0),
			 1);
	assert_int_equal(X509_set_pubkey(x, key), 1);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(c, x), 1);
	assert_int_equal(PEM_write_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(c);
	fclose(k);
	X509_free(x);
	EVP_PKEY_free(key);
}

static int make_files(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	write_pair("ec.example", EVP_EC_gen("P-256"));
	write_pair("rsa.example", EVP_RSA_gen(2048));
	return 0;
}

static int remove_files(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		unlink(path(i & 1 ? "ec.example" : "rsa.example", i & 2 ? ".crt" : ".key"));
	return rmdir(folder);
}

/* --- a server and its clients --- */

struct client {
	SSL *ssl;
	int fd;
	struct bufferevent *bev; /* the server's side */
	bool ended;
	enum tls_end end;
	int alert; /* that it got; 0 none */
};

struct net {
	struct event_base *base;
	struct tls *tls;
	SSL_CTX *ctx;
	struct client c[MANY];
	size_t n;
	struct tls_key_counts before;
};

static struct tls_tickets tickets;

static void start(struct net *n, const char *role_does)
{
	struct conf_list more = {0};
	char self[4096], *err = NULL, line[300];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *items[1] = {line};
	struct tls_config cfg = {.exe = self, .user = "", .client_ca = "", .more = &more};

	assert_true(len > 0);
	self[len] = '\0';
	setenv("KEY_TEST", role_does, 1);
	memset(n, 0, sizeof(*n));
	n->base = event_base_new();
	tickets.period_ms = 3600000;
	snprintf(line, sizeof(line), "%s %s", path("rsa.example", ".crt"),
		 path("rsa.example", ".key"));
	more.items = (void *)items;
	more.n = 1;
	cfg.base = n->base;
	cfg.cert = path("ec.example", ".crt");
	cfg.key = path("ec.example", ".key");
	cfg.tickets = &tickets;
	cfg.ticket_ms = 3600000;
	n->tls = tls_load(NULL, &cfg, &err);
	if (!n->tls)
		fail_msg("%s", err);
	n->ctx = SSL_CTX_new(TLS_client_method());
	n->before = tls_keys_counts();
}

static void over(void *arg, enum tls_end end, const char *why)
{
	struct client *c = arg;

	(void)why;
	assert_false(c->ended);
	c->ended = true;
	c->end = end;
	tls_settle(c->bev);
}

static void on_info(const SSL *ssl, int where, int value)
{
	struct client *c = SSL_get_app_data(ssl);

	if (where == SSL_CB_READ_ALERT)
		c->alert = value & 0xff;
}

static struct client *come(struct net *n, const char *host, int version)
{
	struct client *c = &n->c[n->n++];
	int sv[2];

	assert_true(n->n <= MANY);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	c->ssl = SSL_new(n->ctx);
	c->fd = sv[1];
	SSL_set_app_data(c->ssl, c);
	SSL_set_info_callback(c->ssl, on_info);
	assert_int_equal(SSL_set_fd(c->ssl, c->fd), 1);
	assert_int_equal(SSL_set_tlsext_host_name(c->ssl, host), 1);
	assert_int_equal(SSL_set_max_proto_version(c->ssl, version), 1);
	c->bev = tls_accept(n->base, n->tls, sv[0], 60000, over, c);
	assert_non_null(c->bev);
	(void)SSL_connect(c->ssl);
	ERR_clear_error();
	return c;
}

static void turn(struct net *n)
{
	assert_true(event_base_loop(n->base, EVLOOP_NONBLOCK) >= 0);
	for (size_t i = 0; i < n->n; i++)
		if (n->c[i].ssl && !SSL_is_init_finished(n->c[i].ssl))
			(void)SSL_connect(n->c[i].ssl);
	ERR_clear_error();
	usleep(1000);
}

static size_t ended(const struct net *n, enum tls_end end)
{
	size_t is = 0;

	for (size_t i = 0; i < n->n; i++)
		is += n->c[i].ended && n->c[i].end == end;
	return is;
}

static void until_ended(struct net *n, enum tls_end end, size_t want)
{
	for (int i = 0; i < TURNS && ended(n, end) < want; i++)
		turn(n);
	assert_int_equal(ended(n, end), want);
}

static void until_asked(struct net *n, int64_t want)
{
	for (int i = 0; i < TURNS && tls_keys_counts().asked != want; i++)
		turn(n);
	assert_int_equal(tls_keys_counts().asked, want);
}

static void leave(struct client *c)
{
	if (!c->ended)
		tls_give_up(c->bev);
	bufferevent_free(c->bev);
	c->bev = NULL;
}

static void forget(struct client *c)
{
	if (c->bev)
		leave(c);
	SSL_free(c->ssl);
	close(c->fd);
	c->ssl = NULL;
}

static void stop(struct net *n)
{
	for (size_t i = 0; i < n->n; i++)
		if (n->c[i].ssl)
			forget(&n->c[i]);
	assert_true(event_base_loop(n->base, EVLOOP_NONBLOCK) >= 0); /* what libevent frees late */
	tls_free(n->tls);
	SSL_CTX_free(n->ctx);
	event_base_free(n->base);
	assert_int_equal(tls_keys_counts().asked, 0);
}

/* --- tests --- */

/* Eight wait at once, none holds another up, and each gets its own signature: the client checks. */
static void test_out_of_order(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct net n;

	(void)state;
	start(&n, "8");
	for (int i = 0; i < 7; i++)
		come(&n, i & 1 ? "rsa.example" : "ec.example", versions[i / 2 % 2]);
	until_asked(&n, 7);
	for (int i = 0; i < 50; i++)
		turn(&n);
	assert_int_equal(ended(&n, TLS_UP), 0);
	come(&n, "rsa.example", TLS1_3_VERSION);
	until_ended(&n, TLS_UP, 8);
	assert_int_equal(tls_keys_counts().signatures - n.before.signatures, 8);
	for (int i = 0; i < 8; i++) {
		X509 *x = SSL_get0_peer_certificate(n.c[i].ssl);
		char name[64] = "";

		X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name,
					  sizeof(name));
		assert_string_equal(name, (i & 1) || i == 7 ? "rsa.example" : "ec.example");
	}
	stop(&n);
}

#define WAITING 9
#define ROUNDS	10 /* so that more go away than there are stacks */

/* Nine wait, and go away: an alert for each, and the end. Until they are signed, they count. */
static void come_and_go(struct net *n)
{
	char octet;

	n->n = 0;
	memset(n->c, 0, sizeof(n->c));
	for (int i = 0; i < WAITING; i++)
		come(n, i & 1 ? "rsa.example" : "ec.example", TLS1_3_VERSION);
	until_asked(n, WAITING);
	for (int i = 0; i < WAITING; i++)
		leave(&n->c[i]);
	for (int i = 0; i < 5; i++)
		turn(n);
	for (int i = 0; i < WAITING; i++) {
		assert_int_equal(n->c[i].alert, SSL_AD_INTERNAL_ERROR);
		assert_int_equal(recv(n->c[i].fd, &octet, 1, 0), 0);
		forget(&n->c[i]);
	}
	assert_int_equal(tls_keys_counts().asked, WAITING);
}

/* Nobody else suffers: no stack is lost, and who comes then gets his signature. */
static void test_given_up(void **state)
{
	struct net n;

	(void)state;
	start(&n, "10");
	for (int i = 0; i < ROUNDS; i++) {
		come_and_go(&n);
		come(&n, "ec.example", TLS1_2_VERSION);
		until_ended(&n, TLS_UP, 1);
		until_asked(&n, 0);
		forget(&n.c[WAITING]);
	}
	assert_int_equal(tls_keys_counts().failures, n.before.failures);
	stop(&n);
}

/* More than may ask at once: the others begin when there is room. */
static void test_line(void **state)
{
	struct net n;

	(void)state;
	start(&n, "64 once");
	for (int i = 0; i < MANY; i++)
		come(&n, i & 1 ? "ec.example" : "rsa.example", TLS1_3_VERSION);
	until_ended(&n, TLS_UP, MANY);
	assert_int_equal(tls_keys_counts().signatures - n.before.signatures, MANY);
	assert_int_equal(tls_keys_counts().failures, n.before.failures);
	stop(&n);
}

/* Some go away out of the line; the others come to their turn, though it is a bad one. */
static void test_line_left(void **state)
{
	struct net n;

	(void)state;
	start(&n, "mute");
	for (int i = 0; i < MANY; i++)
		come(&n, "ec.example", TLS1_3_VERSION);
	until_asked(&n, TLS_KEY_ASKED_MAX);
	for (int i = 0; i < 20; i++)
		turn(&n);
	assert_int_equal(tls_keys_counts().asked, TLS_KEY_ASKED_MAX);
	forget(&n.c[0]); /* asked */
	forget(&n.c[MANY - 10]);
	forget(&n.c[MANY - 1]);
	until_ended(&n, TLS_FAILED, MANY - 3);
	stop(&n);
}

/* The role ends: who waits gets an alert, and its successor signs. */
static void test_role_ends(void **state)
{
	struct net n;
	pid_t pid;

	(void)state;
	start(&n, "5");
	for (int i = 0; i < 4; i++)
		come(&n, "ec.example", TLS1_3_VERSION);
	until_asked(&n, 4);
	assert_int_equal(tls_keys_pids(&pid, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	until_ended(&n, TLS_FAILED, 4);
	turn(&n);
	for (int i = 0; i < 4; i++)
		assert_int_equal(n.c[i].alert, SSL_AD_INTERNAL_ERROR);
	assert_int_equal(tls_keys_counts().failures - n.before.failures, 4);
	assert_false(tls_keys_up(tls_keys_of(n.tls)));
	come(&n, "ec.example", TLS1_3_VERSION);
	until_ended(&n, TLS_FAILED, 5); /* at once: nobody can be asked */
	setenv("KEY_TEST", "1", 1);
	for (int i = 0; i < TURNS && !tls_keys_up(tls_keys_of(n.tls)); i++)
		turn(&n);
	come(&n, "rsa.example", TLS1_3_VERSION);
	until_ended(&n, TLS_UP, 1);
	assert_int_equal(tls_keys_counts().restarts - n.before.restarts, 1);
	stop(&n);
}

/* One that says nothing is one that has ended, after its time; so is one that says what nobody
 * asked. */
static void test_bad_roles(void **state)
{
	static const char *const roles[] = {"mute", "lie"};
	struct net n;

	(void)state;
	for (int i = 0; i < 2; i++) {
		start(&n, roles[i]);
		come(&n, "ec.example", TLS1_3_VERSION);
		come(&n, "rsa.example", TLS1_2_VERSION);
		until_ended(&n, TLS_FAILED, 2);
		assert_false(tls_keys_up(tls_keys_of(n.tls)));
		assert_int_equal(tls_keys_counts().failures - n.before.failures, 2);
		stop(&n);
	}
}

/* All of it goes while handshakes wait: at the end of the program, or after a failed start. */
static void test_stop(void **state)
{
	struct net n;

	(void)state;
	start(&n, "mute");
	for (int i = 0; i < 10; i++)
		come(&n, "ec.example", TLS1_3_VERSION);
	until_asked(&n, 10);
	stop(&n);
}

static void test_deep(void **state)
{
	(void)state;
	print_message("deepest stack of a job: %zu of %d octets, %zu stacks\n", deepest(), STACK,
		      n_stacks);
	assert_in_range(n_stacks, 1, TLS_KEY_ASKED_MAX + 1);
	assert_in_range(deepest(), 1000, DEEP_MOST);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_out_of_order), cmocka_unit_test(test_given_up),
	    cmocka_unit_test(test_line),	 cmocka_unit_test(test_line_left),
	    cmocka_unit_test(test_role_ends),	 cmocka_unit_test(test_bad_roles),
	    cmocka_unit_test(test_stop),	 cmocka_unit_test(test_deep),
	};

	if (argc == 3 && strcmp(argv[1], "-x") == 0)
		return role();
	if (CRYPTO_set_mem_functions(watched_malloc, watched_realloc, watched_free) != 1)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_files, remove_files);
}
