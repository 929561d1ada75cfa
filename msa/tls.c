/*
 * tls - see tls.h.
 *
 * One context has everything; the certificate is chosen when the client has named its host. What
 * the choice needs lives with the context, whose users OpenSSL counts: a reload does not touch the
 * connections that are there. ALPN is not answered (RFC 7301 3.2 leaves that to us), so a client
 * that sends it gets its session.
 *
 * Trusted with: the keys of session tickets. The certificates' private keys are with the key role
 * (tls_key.h); it reads them at start and on SIGHUP, as the user the daemon runs as then.
 * Diagnostics: text for the caller to log; tls_certs.c says what was loaded.
 * Known gaps: no revocation lists for client certificates.
 */
#include <stdio.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/bufferevent_struct.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/clock.h"
#include "lib/proc.h"

#include "msa/tls.h"
#include "msa/tls_certs.h"
#include "msa/tls_socket.h"
#include "msa/tls_watch.h"

#define TLS_RECORD 16384

struct tls {
	SSL_CTX *ctx; /* OpenSSL counts its users: each SSL holds one */
	struct tls_keys *keys;
};

/* What the callbacks need; freed with the SSL_CTX. */
struct chooser {
	struct tls_certs *certs;
	struct tls_tickets *tickets;
};

/* TLS 1.2 only with forward secrecy and AEAD; the TLS 1.3 suites are OpenSSL's own. */
static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL";
static const char groups[] = "X25519:P-256:P-384";
/* What the key role signs with (tls_key_wire.c). */
static const char sigalgs[] = "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:ed448:"
			      "rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:"
			      "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:"
			      "RSA+SHA256:RSA+SHA384:RSA+SHA512";

static int chooser_index = -1, hand_index = -1;

static struct chooser *chooser_of(const SSL *ssl)
{
	return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), chooser_index);
}

/* --- the certificate for a name ------------------------------------------------------------------
 */

static int choose(SSL *ssl, void *arg)
{
	const struct chooser *ch = chooser_of(ssl);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	bool first = true;

	(void)arg;
	if (!name)
		return 1;
	for (int k = 0; k < TLS_KINDS; k++) {
		const struct tls_cert *c = tls_certs_find(ch->certs, name, (enum tls_kind)k);

		if (!c)
			continue;
		if (first)
			SSL_certs_clear(ssl);
		first = false;
		if (SSL_use_cert_and_key(ssl, c->x509, c->key, c->chain, 1) != 1)
			return 0;
	}
	return 1; /* a name we do not know gets the default */
}

static bool use_default(SSL_CTX *ctx, const struct tls_certs *certs)
{
	for (int k = 0; k < TLS_KINDS; k++) {
		const struct tls_cert *c = tls_certs_find(certs, NULL, (enum tls_kind)k);

		if (c && SSL_CTX_use_cert_and_key(ctx, c->x509, c->key, c->chain, 1) != 1)
			return false;
	}
	return true;
}

/* --- stapling (RFC 6066 8) --- */

static const struct tls_cert *in_use(const struct chooser *ch, const X509 *x)
{
	for (size_t i = 0; i < ch->certs->n; i++)
		if (ch->certs->certs[i]->x509 == x)
			return ch->certs->certs[i];
	return NULL;
}

static int staple(SSL *ssl, void *arg)
{
	const struct tls_cert *c = in_use(chooser_of(ssl), SSL_get_certificate(ssl));
	int64_t now = clock_utc_ms();
	uint8_t *copy;

	(void)arg;
	if (!c || !c->ocsp || now < c->ocsp_from_ms || (c->ocsp_until_ms && now > c->ocsp_until_ms))
		return SSL_TLSEXT_ERR_NOACK;
	copy = OPENSSL_memdup(c->ocsp, c->ocsp_len);
	if (!copy)
		return SSL_TLSEXT_ERR_NOACK;
	SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)c->ocsp_len); /* it frees copy */
	return SSL_TLSEXT_ERR_OK;
}

/* --- tickets --- */

static int ticket_use(const struct tls_ticket_key *k, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
		      EVP_MAC_CTX *mac, bool enc)
{
	OSSL_PARAM p[] = {
	    OSSL_PARAM_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac, sizeof(k->mac)),
	    OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
	    OSSL_PARAM_END,
	};

	return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv, enc) == 1 &&
	       EVP_MAC_CTX_set_params(mac, p) == 1;
}

/* 1: done, 2: done, and give a new ticket, 0: not ours, -1: failed. */
static int ticket(SSL *ssl, unsigned char name[16], unsigned char iv[EVP_MAX_IV_LENGTH],
		  EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int enc)
{
	struct tls_tickets *t = chooser_of(ssl)->tickets;
	int64_t now = clock_mono_ms();
	const struct tls_ticket_key *k;
	bool newest = true;

	if (!enc) {
		k = tls_tickets_find(t, name, now, &newest);
		if (!k)
			return 0;
		return !ticket_use(k, iv, cipher, mac, false) ? -1 : newest ? 1 : 2;
	}
	k = tls_tickets_newest(t, now);
	memcpy(name, k->name, TLS_TICKET_NAME);
	if (RAND_bytes(iv, 16) != 1 || !ticket_use(k, iv, cipher, mac, true))
		return -1;
	return 1;
}

/* --- client certificates --- */

/* A certificate we cannot use is no reason to send a client away that can give its password: it is
 * looked at when EXTERNAL is offered. */
static int any_client(int ok, X509_STORE_CTX *ctx)
{
	(void)ok;
	(void)ctx;
	return 1;
}

/* Sessions are resumed only where the same authorities are asked for. */
static bool set_session_context(SSL_CTX *ctx, const STACK_OF(X509_NAME) * names)
{
	uint8_t id[32] = "sekisho", der_hash[32];
	unsigned n;

	for (int i = 0; i < sk_X509_NAME_num(names); i++) {
		if (X509_NAME_digest(sk_X509_NAME_value(names, i), EVP_sha256(), der_hash, &n) != 1)
			return false;
		for (unsigned j = 0; j < n; j++)
			id[j] ^= der_hash[j];
	}
	return SSL_CTX_set_session_id_context(ctx, id, sizeof(id)) == 1;
}

static bool ask_for_clients(SSL_CTX *ctx, const char *file, void *err_ctx, char **err)
{
	STACK_OF(X509_NAME) *names = NULL;

	ERR_clear_error();
	if (file[0]) {
		names = SSL_load_client_CA_file(file);
		if (!names || SSL_CTX_load_verify_file(ctx, file) != 1) {
			const char *why = ERR_reason_error_string(ERR_peek_last_error());

			*err = talloc_asprintf(err_ctx, "cannot read the authorities %s: %s", file,
					       why ? why : "no certificate in it");
			sk_X509_NAME_pop_free(names, X509_NAME_free);
			ERR_clear_error();
			return false;
		}
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, any_client);
		SSL_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT);
	}
	if (!set_session_context(ctx, names))
		bug("no session context");
	SSL_CTX_set_client_CA_list(ctx, names); /* it frees names */
	return true;
}

/* --- loading --- */

static void free_chooser(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
			 void *argp)
{
	(void)parent;
	(void)ad;
	(void)idx;
	(void)argl;
	(void)argp;
	talloc_free(ptr);
}

static SSL_CTX *new_ctx(const struct tls_config *cfg, struct chooser *ch)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());

	if (chooser_index < 0)
		chooser_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_chooser);
	if (!c || chooser_index < 0 || SSL_CTX_set_ex_data(c, chooser_index, ch) != 1)
		fatal("cannot set up TLS: OpenSSL refuses a context");
	SSL_CTX_set_min_proto_version(c,
				      cfg->policy == TLS_MODERN ? TLS1_3_VERSION : TLS1_2_VERSION);
	if (SSL_CTX_set_cipher_list(c, ciphers) != 1 || SSL_CTX_set1_groups_list(c, groups) != 1 ||
	    SSL_CTX_set1_sigalgs_list(c, sigalgs) != 1)
		fatal("cannot set up TLS: OpenSSL lacks the ciphers %s", ciphers);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF |
				   SSL_OP_PRIORITIZE_CHACHA);
	/* What could not be written at once is written again from a buffer of libevent's. */
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(c, 1); /* a record in one read(2); see tls_read_on() */
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF); /* tickets; nothing is kept here */
	SSL_CTX_set_timeout(c, (long)(cfg->ticket_ms / 1000));
	SSL_CTX_set_num_tickets(c, 1); /* a mail client makes one connection at a time */
	SSL_CTX_set_tlsext_ticket_key_evp_cb(c, ticket);
	SSL_CTX_set_cert_cb(c, choose, NULL);
	SSL_CTX_set_tlsext_status_cb(c, staple);
	tls_watch(c);
	return c;
}

static bool load_certs(struct tls_certs *s, const struct tls_config *cfg, void *ctx, char **err)
{
	if (!tls_certs_add_pair(s, cfg->cert, cfg->key, ctx, err))
		return false;
	for (size_t i = 0; cfg->more && i < cfg->more->n; i++)
		if (!tls_certs_add(s, cfg->more->items[i], ctx, err))
			return false;
	return true;
}

static int destroy(struct tls *t)
{
	SSL_CTX_free(t->ctx);
	tls_keys_let(t->keys); /* the role goes with the last handshake */
	tls_keys_unref(t->keys);
	return 0;
}

static bool start_keys(struct tls *t, const struct tls_config *cfg, void *ctx, char **err)
{
	const char *why;

	t->keys = tls_keys_start(cfg->base, cfg->exe, cfg->user, &why);
	if (!t->keys)
		*err = talloc_asprintf(ctx, "the key role does not start: %s", why);
	return t->keys;
}

static bool seal_keys(const struct tls *t, void *ctx, char **err)
{
	const char *why;

	if (tls_keys_seal(t->keys, &why))
		return true;
	*err = talloc_asprintf(ctx, "the key role does not give up its rights: %s", why);
	return false;
}

struct tls *tls_load(void *ctx, const struct tls_config *cfg, char **err)
{
	struct tls *t = talloc_zero(ctx, struct tls);
	struct chooser *ch = talloc_zero(NULL, struct chooser);

	ch->tickets = cfg->tickets;
	t->ctx = new_ctx(cfg, ch);
	talloc_set_destructor(t, destroy);
	if (!start_keys(t, cfg, ctx, err)) {
		talloc_free(t);
		return NULL;
	}
	ch->certs = tls_certs_new(ch, t->keys);
	if (load_certs(ch->certs, cfg, ctx, err) && seal_keys(t, ctx, err) &&
	    ask_for_clients(t->ctx, cfg->client_ca, ctx, err)) {
		if (use_default(t->ctx, ch->certs))
			return t;
		*err = talloc_asprintf(ctx, "OpenSSL does not take the certificate %s: %s",
				       cfg->cert, ERR_reason_error_string(ERR_peek_last_error()));
		ERR_clear_error();
	}
	talloc_free(t);
	return NULL;
}

void tls_free(struct tls *t)
{
	talloc_free(t);
}

struct tls_keys *tls_keys_of(struct tls *t)
{
	return t->keys;
}

/* --- connections --- */

static struct tls_handshake *handshake_of(struct bufferevent *bev)
{
	return SSL_get_ex_data(bufferevent_openssl_get_ssl(bev), hand_index);
}

/* The bufferevent is for who comes after the handshake. */
static struct bufferevent *new_bev(struct event_base *base, SSL *ssl, int fd)
{
	struct bufferevent *bev = bufferevent_openssl_socket_new(
	    base, fd, ssl, BUFFEREVENT_SSL_OPEN, BEV_OPT_CLOSE_ON_FREE);

	if (bev)
		bufferevent_disable(bev, EV_READ | EV_WRITE);
	return bev;
}

struct bufferevent *tls_accept(struct event_base *base, struct tls *t, int fd, int64_t idle_ms,
			       tls_over *over, void *arg)
{
	SSL *ssl = SSL_new(t->ctx);
	struct bufferevent *bev;

	if (hand_index < 0)
		hand_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (!ssl || SSL_set_ex_data(ssl, hand_index, NULL) != 1 || !tls_socket_use(ssl, fd)) {
		SSL_free(ssl);
		return NULL;
	}
	bev = new_bev(base, ssl, fd);
	if (!bev) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_ex_data(ssl, hand_index, /* it has a place for it */
			tls_handshake_new(base, ssl, t->keys, idle_ms, over, arg));
	return bev;
}

void tls_settle(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	SSL_set_ex_data(ssl, hand_index, NULL);
	SSL_certs_clear(ssl);
	tls_socket_hold(ssl, false);
}

void tls_give_up(struct bufferevent *bev)
{
	struct tls_handshake *h = handshake_of(bev);

	if (h)
		tls_handshake_free(h);
	SSL_set_ex_data(bufferevent_openssl_get_ssl(bev), hand_index, NULL);
}

const char *tls_version(struct bufferevent *bev)
{
	return SSL_get_version(bufferevent_openssl_get_ssl(bev));
}

const char *tls_cipher(struct bufferevent *bev)
{
	return SSL_get_cipher_name(bufferevent_openssl_get_ssl(bev));
}

const char *tls_asked(struct bufferevent *bev)
{
	const char *name =
	    SSL_get_servername(bufferevent_openssl_get_ssl(bev), TLSEXT_NAMETYPE_host_name);

	return name ? name : "";
}

const char *tls_fingerprint(struct bufferevent *bev)
{
	return tls_watched(bufferevent_openssl_get_ssl(bev));
}

bool tls_resumed(struct bufferevent *bev)
{
	return SSL_session_reused(bufferevent_openssl_get_ssl(bev)) == 1;
}

/*
 * libevent would wait for the socket to be writable first: two epoll_ctl(2) and a turn of the loop
 * a reply, which it does for each connection that is enabled to write; so that is left to here.
 * What OpenSSL has begun to write must be offered to it again, whole, in one piece: it is in the
 * first chunk of an empty evbuffer.
 */
bool tls_write(struct bufferevent *bev, const void *data, size_t len)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);
	int n = 0;

	if (len > 0 && len <= TLS_RECORD && SSL_is_init_finished(ssl) &&
	    evbuffer_get_length(bufferevent_get_output(bev)) == 0) {
		n = SSL_write(ssl, data, (int)len);
		if (n <= 0)
			ERR_clear_error();
	}
	return n == (int)len ||
	       (bufferevent_write(bev, data, len) == 0 && bufferevent_enable(bev, EV_WRITE) == 0);
}

void tls_read_on(struct bufferevent *bev)
{
	if ((bufferevent_get_enabled(bev) & EV_READ) &&
	    SSL_has_pending(bufferevent_openssl_get_ssl(bev)))
		event_active(&bev->ev_read, EV_READ, 0);
}

void tls_hold(struct bufferevent *bev)
{
	tls_socket_hold(bufferevent_openssl_get_ssl(bev), true);
}

void tls_push(struct bufferevent *bev)
{
	tls_socket_push(bufferevent_openssl_get_ssl(bev));
}

void tls_close_notify(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	if (SSL_is_init_finished(ssl))
		SSL_shutdown(ssl);
	ERR_clear_error();
}

/* --- what ties a login to the connection --- */

/* RFC 5929 4.1: the digest of the certificate's signature, SHA-256 for MD5 and SHA-1. */
static const EVP_MD *endpoint_digest(const X509 *x)
{
	int md = NID_undef;

	if (X509_get_signature_info((X509 *)(uintptr_t)x, &md, NULL, NULL, NULL) != 1)
		return NULL;
	if (md == NID_md5 || md == NID_sha1)
		md = NID_sha256;
	return md == NID_undef ? NULL : EVP_get_digestbynid(md); /* EdDSA has none */
}

/* The certificate that was shown; NULL when the session was resumed and none was.
 * SSL_get_certificate() is of no use with two of them. */
static const struct tls_cert *shown(const SSL *ssl)
{
	const struct tls_certs *certs = chooser_of(ssl)->certs;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	int type = NID_undef;
	const struct tls_cert *c = NULL;
	enum tls_kind kind;

	if (SSL_session_reused(ssl) || SSL_get_signature_type_nid(ssl, &type) != 1)
		return NULL;
	kind = type == EVP_PKEY_EC				  ? TLS_ECDSA
	       : type == EVP_PKEY_RSA || type == EVP_PKEY_RSA_PSS ? TLS_RSA
								  : TLS_EDDSA;
	for (int k = 0; name && k < TLS_KINDS && !c; k++)
		c = tls_certs_find(certs, name, (enum tls_kind)k);
	return tls_certs_find(certs, c ? name : NULL, kind);
}

bool tls_can_bind(struct bufferevent *bev)
{
	return SSL_version(bufferevent_openssl_get_ssl(bev)) >= TLS1_3_VERSION;
}

void tls_bindings(struct bufferevent *bev, struct tls_bindings *out)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	SSL *ssl = bufferevent_openssl_get_ssl(bev);
	const struct tls_cert *c = shown(ssl);
	const EVP_MD *md = c ? endpoint_digest(c->x509) : NULL;
	unsigned n = 0;

	*out = (struct tls_bindings){.endpoint_len = 0};
	if (SSL_version(ssl) >= TLS1_3_VERSION &&
	    SSL_export_keying_material(ssl, out->exporter, sizeof(out->exporter), label,
				       sizeof(label) - 1, NULL, 0, 0) == 1)
		out->exporter_len = sizeof(out->exporter);
	if (md && EVP_MD_get_size(md) <= TLS_BINDING_MAX &&
	    X509_digest(c->x509, md, out->endpoint, &n) == 1)
		out->endpoint_len = n;
	ERR_clear_error();
}

/* The only rfc822Name; false: there is none, or more than one. */
static bool only_address(const X509 *x, char *out, size_t max)
{
	GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	int found = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(list, i);
		const ASN1_STRING *s = g->d.ia5;

		if (g->type != GEN_EMAIL)
			continue;
		found++;
		if (ASN1_STRING_length(s) <= 0 || (size_t)ASN1_STRING_length(s) >= max ||
		    memchr(ASN1_STRING_get0_data(s), '\0', (size_t)ASN1_STRING_length(s)))
			found = 2;
		else
			snprintf(out, max, "%.*s", ASN1_STRING_length(s),
				 (const char *)ASN1_STRING_get0_data(s));
	}
	GENERAL_NAMES_free(list);
	return found == 1;
}

bool tls_client_address(struct bufferevent *bev, int64_t now_ms, char *out, size_t max,
			const char **why)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);
	X509 *x = SSL_get0_peer_certificate(ssl);
	long verdict = SSL_get_verify_result(ssl);
	time_t now = (time_t)(now_ms / 1000);

	*why = NULL;
	if (!x)
		return false;
	if (verdict != X509_V_OK)
		*why = X509_verify_cert_error_string(verdict);
	else if (X509_cmp_time(X509_get0_notAfter(x), &now) <= 0)
		*why = "certificate has expired"; /* since the session that is resumed */
	else if (!only_address(x, out, max))
		*why = "the certificate does not name exactly one mail address";
	return !*why;
}

/* --- digests --- */

void tls_prf(const uint8_t key[static 32], const char *text, uint8_t out[static 32])
{
	unsigned n = 0;

	if (!HMAC(EVP_sha256(), key, 32, (const uint8_t *)text, strlen(text), out, &n) || n != 32)
		bug("HMAC-SHA-256 failed");
}

size_t tls_scram_work(const char *digest, const char *text)
{
	const EVP_MD *md = EVP_get_digestbyname(digest);
	int n = md ? EVP_MD_get_size(md) : 0;
	uint8_t out[EVP_MAX_MD_SIZE];

	if (n <= 0 || PKCS5_PBKDF2_HMAC(text, (int)strlen(text), (const uint8_t *)"salt", 4, 4096,
					md, n, out) != 1)
		bug("PBKDF2 with %s failed", digest);
	OPENSSL_cleanse(out, sizeof(out));
	return (size_t)n;
}
