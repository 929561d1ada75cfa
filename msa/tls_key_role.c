/*
 * tls_key_role - see tls_key_role.h.
 *
 * Its life: read the files its parent names, drop everything, sign. When it is sealed, a system
 * call filter leaves it its socket to the parent, memory, time, and a line to the log: no file, no
 * network, no other process. Questions are answered one after the other; those that have come
 * together are answered together, if that does not take long. One that breaks the rules ends it,
 * for the parent that asks so is not the one that was started. It ends when the parent's end of fd
 * 3 closes; signals meant for the parent are ignored.
 *
 * Trusted with: the private keys of the server's certificates; nobody else reads them.
 * Diagnostics: `key` lines. Known gaps: key files are read as the user the parent runs as.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/ipc_frame.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/tls_key_role.h"

#define PARENT	    3
#define PEM_MAX	    65536
#define SECURE_HEAP 262144 /* locked, where the limit on locked memory allows it */
#define READY_MS    10000

#define QUESTION_MAX (TLS_KEY_PATH_MAX + 64)
#define ANSWER_MAX   (TLS_KEY_SPKI_MAX + 64)
#define IN_MAX	     (64 << 10) /* many questions at once, and at least a whole one */
#define KEEP_US	     300	/* an answer waits so long for those of the questions behind it */

/* What the parent is to be told. */
struct answers {
	uint8_t buf[4 * (IPC_HEAD + ANSWER_MAX)];
	size_t len;
	int64_t since_us;
};

struct tls_key_store {
	EVP_PKEY **keys;
	uint32_t n;
	bool sealed;
};

/* --- reading --- */

static int wipe(struct tls_key_store *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		EVP_PKEY_free(s->keys[i]);
	return 0;
}

struct tls_key_store *tls_key_store_new(void *ctx)
{
	struct tls_key_store *s = talloc_zero(ctx, struct tls_key_store);

	talloc_set_destructor(s, wipe);
	return s;
}

/* A daemon cannot ask for a pass phrase. */
static int no_password(char *buf, int size, int rw, void *arg)
{
	(void)buf;
	(void)size;
	(void)rw;
	(void)arg;
	return -1;
}

static const char *why_unreadable(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *why = e ? ERR_reason_error_string(e) : NULL;

	if (ERR_GET_REASON(e) == PEM_R_BAD_PASSWORD_READ)
		why = "it has a pass phrase, which nobody is there to give: store it without "
		      "(openssl pkey)";
	else if (ERR_GET_REASON(e) == ERR_R_UNSUPPORTED || ERR_GET_REASON(e) == PEM_R_NO_START_LINE)
		why = "it is no private key in PEM";
	ERR_clear_error();
	return why ? why : "unknown error";
}

static bool usable(EVP_PKEY *key)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_EC:
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		return true;
	default:
		return false;
	}
}

const char *tls_key_store_add(struct tls_key_store *s, const void *pem, size_t len)
{
	BIO *b = len <= PEM_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
	EVP_PKEY *key;

	ERR_clear_error();
	key = b ? PEM_read_bio_PrivateKey(b, NULL, no_password, NULL) : NULL;
	BIO_free(b);
	if (!key)
		return why_unreadable();
	if (!usable(key) || s->n == TLS_KEY_MAX) {
		EVP_PKEY_free(key);
		return s->n == TLS_KEY_MAX ? "there are too many keys"
					   : "it is neither ECDSA, RSA nor EdDSA";
	}
	s->keys = talloc_realloc(s, s->keys, EVP_PKEY *, s->n + 1);
	s->keys[s->n++] = key;
	return NULL;
}

static const char *read_file(struct tls_key_store *s, const char *path)
{
	size_t len = 0;
	char *pem = proc_read_file(path, PEM_MAX, &len);
	const char *why;

	if (!pem)
		return strerror(errno);
	why = tls_key_store_add(s, pem, len);
	explicit_bzero(pem, len);
	free(pem);
	return why;
}

static uint16_t refuse(struct wire_out *w, const char *why)
{
	wire_str(w, why);
	return KEY_F_REFUSED;
}

static uint16_t on_load(struct tls_key_store *s, struct wire_in *in, struct wire_out *w)
{
	char path[TLS_KEY_PATH_MAX];
	const char *why;
	uint8_t *spki = NULL;
	int len;

	wire_get_str(in, path, sizeof(path));
	if (!wire_done(in) || s->sealed)
		return 0;
	why = read_file(s, path);
	if (why)
		return refuse(w, why);
	len = i2d_PUBKEY(s->keys[s->n - 1], &spki);
	if (len <= 0 || len > TLS_KEY_SPKI_MAX)
		return refuse(w, "its public half cannot be told");
	wire_bytes(w, spki, (size_t)len);
	OPENSSL_free(spki);
	return KEY_F_LOADED;
}

/* --- signing --- */

static bool fits(EVP_PKEY *key, enum tls_key_kind kind)
{
	static const int types[] = {[KEY_RSA_PKCS1] = EVP_PKEY_RSA,
				    [KEY_RSA_PSS] = EVP_PKEY_RSA,
				    [KEY_ECDSA] = EVP_PKEY_EC,
				    [KEY_ED25519] = EVP_PKEY_ED25519,
				    [KEY_ED448] = EVP_PKEY_ED448};
	int type = EVP_PKEY_get_base_id(key);

	return type == types[kind] || (type == EVP_PKEY_RSA_PSS && kind == KEY_RSA_PSS);
}

static bool set_padding(EVP_PKEY_CTX *p, enum tls_key_kind kind)
{
	if (kind == KEY_RSA_PKCS1)
		return EVP_PKEY_CTX_set_rsa_padding(p, RSA_PKCS1_PADDING) == 1;
	if (kind == KEY_RSA_PSS)
		return EVP_PKEY_CTX_set_rsa_padding(p, RSA_PKCS1_PSS_PADDING) == 1 &&
		       EVP_PKEY_CTX_set_rsa_pss_saltlen(p, RSA_PSS_SALTLEN_DIGEST) == 1;
	return true;
}

static bool sign(EVP_PKEY *key, const struct tls_key_request *r, uint8_t *sig, size_t *len)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	EVP_PKEY_CTX *p = NULL;
	bool ok =
	    c && EVP_DigestSignInit_ex(c, &p, r->scheme->digest, NULL, NULL, key, NULL) == 1 &&
	    set_padding(p, r->scheme->kind) && EVP_DigestSign(c, sig, len, r->tbs, r->len) == 1;

	EVP_MD_CTX_free(c);
	ERR_clear_error();
	return ok;
}

static uint16_t on_sign(struct tls_key_store *s, struct wire_in *in, struct wire_out *w)
{
	struct tls_key_request r;
	uint8_t sig[TLS_KEY_SIG_MAX];
	size_t len = sizeof(sig);

	if (!tls_key_request_get(in, &r) || r.key >= s->n || !fits(s->keys[r.key], r.scheme->kind))
		return 0;
	wire_u32(w, r.number);
	if (!sign(s->keys[r.key], &r, sig, &len))
		return KEY_F_UNSIGNED;
	wire_bytes(w, sig, len);
	return KEY_F_SIGNED;
}

uint16_t tls_key_answer(struct tls_key_store *s, uint16_t type, const uint8_t *data, size_t len,
			struct wire_out *w)
{
	struct wire_in in;

	wire_in_init(&in, data, len);
	if (type == KEY_F_SIGN)
		return on_sign(s, &in, w);
	if (type == KEY_F_LOAD)
		return on_load(s, &in, w);
	return 0;
}

/* --- the process --- */

static void seal(struct tls_key_store *s, const uint8_t *data, size_t len)
{
	struct proc_identity id;
	struct wire_in in;
	char user[64];
	const char *err;

	wire_in_init(&in, data, len);
	wire_get_str(&in, user, sizeof(user));
	if (!wire_done(&in) || s->sealed)
		fatal("the parent sent a frame that breaks the rules (seal)");
	if (!proc_identity(user, &id, &err))
		fatal("cannot become %s: %s", user, err);
	if (id.change && geteuid() == id.uid)
		id.change = false; /* started again by a parent that has dropped already */
	proc_drop(&id, NULL, 0);
	proc_seccomp_compute();
	s->sealed = true;
}

/* Blocks. False: the parent is gone. */
static bool flush(struct answers *a)
{
	for (size_t at = 0; at < a->len;) {
		ssize_t n = send(PARENT, a->buf + at, a->len - at, MSG_NOSIGNAL);

		if (n > 0)
			at += (size_t)n;
		else if (errno != EINTR)
			return false;
	}
	a->len = 0;
	return true;
}

static bool answer(struct tls_key_store *s, uint16_t type, const uint8_t *data, size_t len,
		   struct answers *a)
{
	struct wire_out w;
	uint16_t said = KEY_F_SEALED;
	int64_t now;

	if (a->len + IPC_HEAD + ANSWER_MAX > sizeof(a->buf) && !flush(a))
		return false;
	wire_out_init(&w, a->buf + a->len + IPC_HEAD, ANSWER_MAX);
	if (type == KEY_F_SEAL)
		seal(s, data, len);
	else
		said = tls_key_answer(s, type, data, len, &w);
	if (said == 0 || w.bad)
		fatal("the parent sent a frame that breaks the rules (type %u)", type);
	ipc_put_head(a->buf + a->len, said, w.len);
	now = clock_mono_us();
	if (a->len == 0)
		a->since_us = now;
	a->len += IPC_HEAD + w.len;
	return now - a->since_us < KEEP_US || flush(a);
}

/* The whole frames in p are answered: how many octets that were. -1: the parent is gone. */
static ssize_t answer_all(struct tls_key_store *s, const uint8_t *p, size_t len, struct answers *a)
{
	size_t at = 0, n;
	uint16_t type;

	while (len - at >= IPC_HEAD) {
		if (!ipc_get_head(p + at, &type, &n) || n > QUESTION_MAX)
			fatal("the parent sent a frame of a forbidden length");
		if (len - at - IPC_HEAD < n)
			break;
		if (!answer(s, type, p + at + IPC_HEAD, n, a))
			return -1;
		at += IPC_HEAD + n;
	}
	return flush(a) ? (ssize_t)at : -1;
}

static void serve(struct tls_key_store *s)
{
	static uint8_t in[IN_MAX];
	static struct answers out;
	size_t have = 0;
	ssize_t n;

	for (;;) {
		n = recv(PARENT, in + have, sizeof(in) - have, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		have += (size_t)n;
		n = answer_all(s, in, have, &out);
		if (n < 0)
			return;
		have -= (size_t)n;
		memmove(in, in + n, have);
	}
}

int tls_key_main(void)
{
	struct tls_key_store *s;
	const char *err;

	log_open("sekisho-msad[key]", LOG_INFO);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	(void)close_range(PARENT + 1, ~0u, 0);
	(void)CRYPTO_secure_malloc_init(SECURE_HEAP, 16);
	s = tls_key_store_new(NULL);
	if (ipc_write(PARENT, KEY_F_READY, NULL, 0, READY_MS, &err))
		serve(s);
	talloc_free(s);
	return 0;
}
