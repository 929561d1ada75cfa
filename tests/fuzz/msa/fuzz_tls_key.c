/*
 * fuzz_tls_key - questions to the key role: what is signed is one of the two texts of a TLS server,
 * with a scheme of the key; everything else has no answer. The same octets as an answer: its number
 * and signature are within it. Octets that begin like PEM are a key file: it is taken, or there are
 * words why not.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/tls_key_role.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char ec_key[] = "-----BEGIN PRIVATE KEY-----\n"
			     "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjiObvDtZuiETfbEW\n"
			     "t6jVaIIntpJlYKySffrUSDsN4guhRANCAASAmD6CQFHyozIcsShekzAuxte2DUcZ\n"
			     "TMwkcbr+OMPoYfTKV/vOy+r8brqKaxPLexeLeGWHPFx8bpssVgmvi/fN\n"
			     "-----END PRIVATE KEY-----\n";

static bool allowed(const uint8_t *data, size_t size)
{
	static const char context[] = "TLS 1.3, server CertificateVerify";
	struct tls_key_request r;
	struct wire_in in;

	wire_in_init(&in, data, size);
	if (!tls_key_request_get(&in, &r) || r.key != 0 || r.scheme->kind != KEY_ECDSA)
		return false;
	return (r.len >= 64 + sizeof(context) &&
		memcmp(r.tbs + 64, context, sizeof(context)) == 0) ||
	       (r.len > 68 && r.tbs[64] == 3 && r.len == (size_t)68 + r.tbs[67]);
}

static void as_answer(const uint8_t *data, size_t size)
{
	struct tls_key_signature s;

	for (uint16_t type = 0; type <= KEY_F_UNSIGNED + 1; type++)
		if (tls_key_signature_get(type, data, size, &s) && s.sig &&
		    (type != KEY_F_SIGNED || s.sig != data + 8 || s.len != size - 8))
			abort();
}

/* A file that an operator has written, or something else has. */
static void as_file(const uint8_t *data, size_t size)
{
	struct tls_key_store *s = tls_key_store_new(NULL);
	const char *why = tls_key_store_add(s, data, size);

	if (why && !why[0])
		abort();
	talloc_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_key_store *s;
	uint8_t buf[8192];
	struct wire_out w;

	if (!s) {
		s = tls_key_store_new(NULL);
		if (tls_key_store_add(s, ec_key, sizeof(ec_key) - 1))
			abort();
	}
	if (size > 5 && memcmp(data, "-----", 5) == 0) {
		as_file(data, size);
		return 0;
	}
	as_answer(data, size);
	wire_out_init(&w, buf, sizeof(buf));
	if ((tls_key_answer(s, KEY_F_SIGN, data, size, &w) == KEY_F_SIGNED) != allowed(data, size))
		abort();
	if (w.bad || w.len > TLS_KEY_SIG_MAX + 8)
		abort();
	return 0;
}
