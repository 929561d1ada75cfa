/* tls_hello, tls_watch: what gives a client another name and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "msa/tls_hello.h"
#include "msa/tls_watch.h"
#include "tests/unit/msa/hellos.h"

#define N(a) (sizeof(a) / sizeof *(a))

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = 0;
	unsigned v;

	for (; *hex; hex += 2) {
		assert_int_equal(sscanf(hex, "%2x", &v), 1);
		out[n++] = (uint8_t)v;
	}
	return n;
}

static void test_captured(void **state)
{
	static const struct {
		const char *hex, *name;
	} cases[] = {
	    {hello_openssl, "13-31-07-00-e8f1e7e78f70-bb81f8c4c020"},
	    {hello_openssl_no_name, "13-31-07-00-e8f1e7e78f70-bb81f8c4c020"},
	    {hello_openssl_1_2, "12-28-05-00-d943125447b4-a2faf5517fd6"},
	    {hello_gnutls, "13-29-10-00-723694b0fccc-79f69b970fdd"},
	    {hello_gnutls_name, "13-29-10-00-723694b0fccc-79f69b970fdd"},
	    {hello_swaks, "13-31-07-00-e8f1e7e78f70-bb81f8c4c020"},
	    {hello_chromium, "13-15-13-h2-8daaf6152771-3bda76db2170"},
	    {hello_chromium_again, "13-15-13-h2-8daaf6152771-3bda76db2170"},
	};
	uint8_t msg[TLS_HELLO_MAX];
	char name[TLS_HELLO_TEXT];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		assert_true(tls_hello_name(msg, unhex(cases[i].hex, msg), name));
		if (strcmp(name, cases[i].name) != 0)
			fail_msg("%zu: %s", i, name);
	}
}

/* Every prefix, and every octet more, is no hello. */
static void test_cut(void **state)
{
	uint8_t msg[TLS_HELLO_MAX];
	size_t n = unhex(hello_gnutls, msg);
	char name[TLS_HELLO_TEXT];

	(void)state;
	for (size_t i = 0; i < n; i++) {
		uint8_t *exact = malloc(i ? i : 1);
		memcpy(exact, msg, i);
		assert_false(tls_hello_name(exact, i, name));
		assert_string_equal(name, "");
		free(exact);
	}
	msg[n] = 0;
	assert_false(tls_hello_name(msg, n + 1, name));
}

/* A hello of the parts given, in hex; sizes are put before them. */
static size_t make(uint8_t *out, const char *ciphers, const char *exts)
{
	uint8_t *p = out + 4, c[512], e[2048];
	size_t nc = unhex(ciphers, c), ne = unhex(exts, e), n;

	*p++ = 3;
	*p++ = 3;
	memset(p, 7, 32);
	p += 32;
	*p++ = 0;
	*p++ = (uint8_t)(nc >> 8);
	*p++ = (uint8_t)nc;
	memcpy(p, c, nc);
	p += nc;
	*p++ = 1;
	*p++ = 0;
	if (ne) {
		*p++ = (uint8_t)(ne >> 8);
		*p++ = (uint8_t)ne;
		memcpy(p, e, ne);
		p += ne;
	}
	n = (size_t)(p - out) - 4;
	out[0] = 1;
	out[1] = 0;
	out[2] = (uint8_t)(n >> 8);
	out[3] = (uint8_t)n;
	return n + 4;
}

#define CIPHERS	 "13011302c02b"
#define VERSIONS "002b00050403040303"
#define SIGALGS	 "000d0006000404030804"
#define GROUPS	 "000a00060004001d0017"
#define EMS	 "00170000"
#define USUAL	 VERSIONS SIGALGS GROUPS EMS

static void test_same(void **state)
{
	static const struct {
		const char *ciphers, *exts;
		bool same;
	} cases[] = {
	    {CIPHERS, USUAL, true},
	    {"c02b13021301", EMS GROUPS SIGALGS VERSIONS, true},
	    {"0a0a" CIPHERS "fafa", "1a1a0000" USUAL "dada000100", true},
	    {CIPHERS, "002b000706baba03040303" SIGALGS GROUPS EMS, true},
	    {CIPHERS, VERSIONS SIGALGS "000a000800060a0a001d0017" EMS, true},
	    {CIPHERS "5600", USUAL, true},
	    {CIPHERS, "0000000e000c0000096d61696c2e74657374" USUAL, true}, /* a host */
	    {CIPHERS,
	     USUAL "00150004"
		   "00000000",
	     true},				     /* padding */
	    {CIPHERS, "00230000" USUAL, true},	     /* may have a ticket */
	    {CIPHERS, "00230003010203" USUAL, true}, /* has one */
	    {CIPHERS, USUAL "002d00020101", true},
	    {CIPHERS, USUAL "002a0000", true},
	    {CIPHERS, USUAL "002c0004000212ab", true},
	    {CIPHERS, USUAL "fe0d000100", true},
	    {CIPHERS, USUAL "002900050001020304", true},
	    {CIPHERS "c02c", USUAL, false},
	    {CIPHERS, VERSIONS SIGALGS GROUPS, false},
	    {CIPHERS, USUAL "ff01000100", false},
	    {CIPHERS, "002b0003020303" SIGALGS GROUPS EMS, false},
	    {CIPHERS, VERSIONS "000d0006000408040403" GROUPS EMS, false},
	    {CIPHERS, VERSIONS SIGALGS "000a000600040017001d" EMS, false},
	    {CIPHERS,
	     USUAL "00100005000302"
		   "6832",
	     false}, /* ALPN h2 */
	    {CIPHERS, "", false},
	};
	uint8_t msg[4096];
	char first[TLS_HELLO_TEXT], name[TLS_HELLO_TEXT];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		if (!tls_hello_name(msg, make(msg, cases[i].ciphers, cases[i].exts), name))
			fail_msg("%zu has no name", i);
		if (i == 0)
			memcpy(first, name, sizeof(first));
		if ((strcmp(first, name) == 0) != cases[i].same)
			fail_msg("%zu: %s, %s", i, first, name);
	}
}

static void test_malformed(void **state)
{
	static const struct {
		const char *ciphers, *exts;
	} cases[] = {
	    {"", USUAL},
	    {"1301c0", USUAL},
	    {CIPHERS, EMS EMS},	   /* twice */
	    {CIPHERS, "002b0000"}, /* an empty list */
	    {CIPHERS, "002b000100"},
	    {CIPHERS, "002b0004030304"
		      "03"}, /* odd */
	    {CIPHERS, "002b00060403040303"
		      "00"}, /* more than it says */
	    {CIPHERS, "000d00040004"
		      "0403"}, /* less */
	    {CIPHERS, "000a0002"
		      "0000"},
	    {CIPHERS, "0010000300"
		      "0100"}, /* a protocol without a name */
	    {CIPHERS, "00100002"
		      "0000"},
	    {CIPHERS, "0010000600"
		      "04026832"
		      "00"},
	    {CIPHERS, "0017"},
	    {CIPHERS, "001700"},
	    {CIPHERS, "00170001"},
	};
	uint8_t msg[4096];
	char name[TLS_HELLO_TEXT];

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		if (tls_hello_name(msg, make(msg, cases[i].ciphers, cases[i].exts), name))
			fail_msg("%zu: %s", i, name);
	assert_false(tls_hello_name(NULL, 0, name));
}

/* --- through OpenSSL --- */

static SSL_CTX *server_ctx(void)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();

	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), 0));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), 3600));
	assert_int_equal(X509_set_pubkey(x, key), 1);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(c, x), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(c, key), 1);
	X509_free(x);
	EVP_PKEY_free(key);
	tls_watch(c);
	return c;
}

static SSL_SESSION *kept;

static int keep(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(kept);
	kept = session;
	return 1;
}

/* One handshake, and what the server calls the client. */
static void shake(SSL_CTX *sc, SSL_CTX *cc, const char *host, bool resume,
		  char name[TLS_HELLO_TEXT])
{
	SSL *s = SSL_new(sc), *c = SSL_new(cc);
	BIO *a, *b;
	char octet;

	assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
	SSL_set_bio(s, a, a);
	SSL_set_bio(c, b, b);
	SSL_set_accept_state(s);
	SSL_set_connect_state(c);
	assert_int_equal(SSL_set_tlsext_host_name(c, host), 1);
	if (resume)
		assert_int_equal(SSL_set_session(c, kept), 1);
	assert_string_equal(tls_watched(s), "");
	for (int i = 0; i < 20; i++) {
		SSL_do_handshake(c);
		SSL_do_handshake(s);
	}
	assert_true(SSL_is_init_finished(s) && SSL_is_init_finished(c));
	SSL_read(c, &octet, 1); /* takes the ticket */
	assert_int_equal(SSL_session_reused(s), resume);
	snprintf(name, TLS_HELLO_TEXT, "%s", tls_watched(s));
	SSL_set_shutdown(c, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else it is not resumed */
	SSL_free(s);
	SSL_free(c);
}

static void test_watch(void **state)
{
	static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
	char first[TLS_HELLO_TEXT], again[TLS_HELLO_TEXT], other[TLS_HELLO_TEXT];

	(void)state;
	for (size_t i = 0; i < N(versions); i++) {
		SSL_CTX *sc = server_ctx(), *cc = SSL_CTX_new(TLS_client_method());

		SSL_CTX_set_max_proto_version(sc, versions[i]);
		SSL_CTX_set_session_cache_mode(cc, SSL_SESS_CACHE_CLIENT);
		SSL_CTX_sess_set_new_cb(cc, keep);
		shake(sc, cc, "a.example", false, first);
		assert_non_null(kept);
		shake(sc, cc, "mail.b.example", true, again);
		assert_int_equal(strlen(first), TLS_HELLO_TEXT - 3);
		assert_string_equal(first, again);
		/* A second hello, because the server wants another group, is not the first. */
		assert_int_equal(SSL_CTX_set1_groups_list(sc, "P-384"), 1);
		shake(sc, cc, "a.example", false, again);
		assert_string_equal(first, again);
		assert_int_equal(SSL_CTX_set_cipher_list(cc, "ECDHE+AESGCM"), 1);
		shake(sc, cc, "a.example", false, other);
		assert_string_not_equal(first, other);
		SSL_SESSION_free(kept);
		kept = NULL;
		SSL_CTX_free(sc);
		SSL_CTX_free(cc);
	}
	assert_string_equal(tls_watched(NULL), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_captured), cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_same),     cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_watch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
