/* tls_key_wire, tls_key_role: what is signed, and what ends the role. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <talloc.h>

#include "msa/tls_key_role.h"
#include "msa/tls_key_wire.h"

#define N(a) (sizeof(a) / sizeof *(a))

/* Made for this test. */
static const char ec_key[] = "-----BEGIN PRIVATE KEY-----\n"
			     "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjiObvDtZuiETfbEW\n"
			     "t6jVaIIntpJlYKySffrUSDsN4guhRANCAASAmD6CQFHyozIcsShekzAuxte2DUcZ\n"
			     "TMwkcbr+OMPoYfTKV/vOy+r8brqKaxPLexeLeGWHPFx8bpssVgmvi/fN\n"
			     "-----END PRIVATE KEY-----\n";

static const char context[] = "TLS 1.3, server CertificateVerify";

static size_t verify_text(uint8_t *out, size_t hash)
{
	memset(out, ' ', 64);
	memcpy(out + 64, context, sizeof(context));
	memset(out + 64 + sizeof(context), 0x5a, hash);
	return 64 + sizeof(context) + hash;
}

static size_t exchange_text(uint8_t *out, uint8_t point)
{
	memset(out, 0x11, 64);
	out[64] = 3;
	out[65] = 0;
	out[66] = 29;
	out[67] = point;
	memset(out + 68, 0x77, point);
	return (size_t)68 + point;
}

static bool taken(uint16_t scheme, const uint8_t *tbs, size_t len)
{
	uint8_t buf[1024];
	struct tls_key_request r;
	struct wire_out w;
	struct wire_in in;

	wire_out_init(&w, buf, sizeof(buf));
	tls_key_request_put(&w, 0xfffffffe, 7, scheme, tbs, len);
	assert_false(w.bad);
	wire_in_init(&in, buf, w.len);
	if (!tls_key_request_get(&in, &r))
		return false;
	assert_int_equal(r.number, 0xfffffffe);
	assert_int_equal(r.key, 7);
	assert_int_equal(r.scheme->code, scheme);
	assert_int_equal(r.len, len);
	assert_memory_equal(r.tbs, tbs, len);
	return true;
}

static void test_texts(void **state)
{
	uint8_t t[600] = {0};
	size_t n;

	(void)state;
	n = verify_text(t, 32);
	assert_true(taken(0x0403, t, n));
	assert_true(taken(0x0804, t, n));
	assert_false(taken(0x0401, t, n)); /* PKCS #1 is not for TLS 1.3 */
	assert_false(taken(0x0201, t, n)); /* SHA-1 */
	assert_false(taken(0, t, n));
	assert_false(taken(0x0403, t, n - 1));
	for (size_t i = 0; i < 64 + sizeof(context); i++) {
		t[i] ^= 1;
		assert_false(taken(0x0403, t, n));
		t[i] ^= 1;
	}
	assert_true(taken(0x0403, t, verify_text(t, 48)));
	assert_false(taken(0x0403, t, verify_text(t, 33)));
	assert_false(taken(0x0403, t, verify_text(t, 64)));
	for (int point = 1; point < 256; point++)
		assert_true(taken(0x0401, t, exchange_text(t, (uint8_t)point)));
	assert_false(taken(0x0401, t, exchange_text(t, 0)));
	n = exchange_text(t, 32);
	assert_false(taken(0x0401, t, n + 1));
	assert_false(taken(0x0401, t, n - 1));
	t[64] = 1; /* explicit prime curve */
	assert_false(taken(0x0401, t, n));
	assert_false(taken(0x0401, t, 0));
}

static void test_codes(void **state)
{
	static const struct {
		enum tls_key_kind kind;
		const char *digest;
		uint16_t want;
	} cases[] = {
	    {KEY_ECDSA, "SHA256", 0x0403},     {KEY_ECDSA, "SHA2-256", 0x0403},
	    {KEY_ECDSA, "sha384", 0x0503},     {KEY_RSA_PSS, "SHA2-512", 0x0806},
	    {KEY_RSA_PKCS1, "SHA256", 0x0401}, {KEY_RSA_PKCS1, "SHA1", 0},
	    {KEY_RSA_PKCS1, "SHA2-224", 0},    {KEY_RSA_PKCS1, NULL, 0},
	    {KEY_ED25519, NULL, 0x0807},       {KEY_ED448, NULL, 0x0808},
	    {KEY_ED25519, "SHA256", 0},	       {KEY_ECDSA, "MD5-SHA1", 0},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		if (tls_key_code(cases[i].kind, cases[i].digest) != cases[i].want)
			fail_msg("case %zu", i);
}

static uint16_t ask(struct tls_key_store *s, uint16_t type, const void *data, size_t len,
		    struct wire_out *w)
{
	static uint8_t buf[8192];

	wire_out_init(w, buf, sizeof(buf));
	return tls_key_answer(s, type, data, len, w);
}

#define NUMBER 41

static size_t sign_request(uint8_t *buf, size_t cap, uint32_t key, uint16_t scheme)
{
	uint8_t tbs[256];
	struct wire_out w;

	wire_out_init(&w, buf, cap);
	tls_key_request_put(&w, NUMBER, key, scheme, tbs, verify_text(tbs, 32));
	return w.len;
}

static void test_role(void **state)
{
	struct tls_key_store *s = tls_key_store_new(NULL);
	struct tls_key_signature sig;
	uint8_t buf[1024];
	struct wire_out w;
	size_t n;

	(void)state;
	n = sign_request(buf, sizeof(buf), 0, 0x0403);
	assert_int_equal(ask(s, KEY_F_SIGN, buf, n, &w), 0); /* no such key */
	assert_string_equal(tls_key_store_add(s, "no key", 6), "it is no private key in PEM");
	assert_null(tls_key_store_add(s, ec_key, sizeof(ec_key) - 1));
	assert_int_equal(ask(s, KEY_F_SIGN, buf, n, &w), KEY_F_SIGNED);
	assert_in_range(w.len, 8 + 60, 8 + 72);
	assert_true(tls_key_signature_get(KEY_F_SIGNED, w.buf, w.len, &sig));
	assert_int_equal(sig.number, NUMBER);
	assert_int_equal(sig.len, w.len - 8);
	/* A scheme of another kind of key, another key, a frame that is cut or too long. */
	assert_int_equal(ask(s, KEY_F_SIGN, buf, sign_request(buf, sizeof(buf), 0, 0x0804), &w), 0);
	assert_int_equal(ask(s, KEY_F_SIGN, buf, sign_request(buf, sizeof(buf), 1, 0x0403), &w), 0);
	n = sign_request(buf, sizeof(buf), 0, 0x0403);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(ask(s, KEY_F_SIGN, buf, i, &w), 0);
	assert_int_equal(ask(s, KEY_F_SIGN, buf, n + 1, &w), 0);
	assert_int_equal(ask(s, 99, buf, n, &w), 0);
	/* Files. */
	wire_out_init(&w, buf, sizeof(buf));
	wire_str(&w, "/nonexistent/key.pem");
	n = w.len;
	assert_int_equal(ask(s, KEY_F_LOAD, buf, n, &w), KEY_F_REFUSED);
	talloc_free(s);
}

static bool got(uint16_t type, const struct wire_out *w, size_t len, struct tls_key_signature *out)
{
	return tls_key_signature_get(type, w->buf, len, out);
}

static void test_answers(void **state)
{
	static uint8_t buf[TLS_KEY_SIG_MAX + 64], sig[TLS_KEY_SIG_MAX + 1] = {1};
	struct tls_key_signature s;
	struct wire_out w;

	(void)state;
	wire_out_init(&w, buf, sizeof(buf));
	wire_u32(&w, NUMBER);
	assert_true(got(KEY_F_UNSIGNED, &w, w.len, &s));
	assert_int_equal(s.number, NUMBER);
	assert_null(s.sig);
	assert_false(got(KEY_F_UNSIGNED, &w, w.len - 1, &s));
	assert_false(got(KEY_F_SIGNED, &w, w.len, &s));
	wire_bytes(&w, sig, TLS_KEY_SIG_MAX);
	assert_true(got(KEY_F_SIGNED, &w, w.len, &s));
	assert_int_equal(s.len, TLS_KEY_SIG_MAX);
	assert_false(got(KEY_F_SIGNED, &w, w.len - 1, &s));
	assert_false(got(KEY_F_SIGNED, &w, w.len + 1, &s));
	assert_false(got(KEY_F_UNSIGNED, &w, w.len, &s));
	assert_false(got(KEY_F_REFUSED, &w, w.len, &s));
	assert_false(got(KEY_F_SIGN, &w, w.len, &s));
	/* An empty one is none, and too long a one is none of ours. */
	wire_out_init(&w, buf, sizeof(buf));
	wire_u32(&w, NUMBER);
	wire_bytes(&w, sig, 0);
	assert_false(got(KEY_F_SIGNED, &w, w.len, &s));
	wire_out_init(&w, buf, sizeof(buf));
	wire_u32(&w, NUMBER);
	wire_bytes(&w, sig, TLS_KEY_SIG_MAX + 1);
	assert_false(got(KEY_F_SIGNED, &w, w.len, &s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_texts),
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_codes),
	    cmocka_unit_test(test_role),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
