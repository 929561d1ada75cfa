/*
 * tls_key_wire - see tls_key_wire.h.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: the hash in a CertificateVerify and the
 * point in a ServerKeyExchange are not looked at; they are as good as random.
 */
#include <string.h>
#include <strings.h>

#include "msa/tls_key_wire.h"

#define RANDOMS	    64 /* of client and server, RFC 8422 5.4 */
#define NAMED_CURVE 3
#define PAD	    64 /* blanks, RFC 8446 4.4.3 */
#define HASH_MIN    32
#define HASH_MAX    48
#define N(a)	    (sizeof(a) / sizeof *(a))

static const struct tls_key_scheme schemes[] = {
    {0x0401, KEY_RSA_PKCS1, "SHA256"}, {0x0501, KEY_RSA_PKCS1, "SHA384"},
    {0x0601, KEY_RSA_PKCS1, "SHA512"}, {0x0804, KEY_RSA_PSS, "SHA256"},
    {0x0805, KEY_RSA_PSS, "SHA384"},   {0x0806, KEY_RSA_PSS, "SHA512"},
    {0x0403, KEY_ECDSA, "SHA256"},     {0x0503, KEY_ECDSA, "SHA384"},
    {0x0603, KEY_ECDSA, "SHA512"},     {0x0807, KEY_ED25519, NULL},
    {0x0808, KEY_ED448, NULL},
};

const struct tls_key_scheme *tls_key_scheme(uint16_t code)
{
	for (size_t i = 0; i < N(schemes); i++)
		if (schemes[i].code == code)
			return &schemes[i];
	return NULL;
}

/* OpenSSL has two names for each: SHA256 and SHA2-256. */
static bool same_digest(const char *x, const char *name)
{
	if (!x || !name)
		return !x && !name;
	return strcasecmp(x, name) == 0 ||
	       (strncasecmp(name, "SHA2-", 5) == 0 && strcasecmp(x + 3, name + 5) == 0);
}

uint16_t tls_key_code(enum tls_key_kind kind, const char *digest)
{
	for (size_t i = 0; i < N(schemes); i++)
		if (schemes[i].kind == kind && same_digest(schemes[i].digest, digest))
			return schemes[i].code;
	return 0;
}

/* --- what a server signs --- */

static bool is_certificate_verify(const uint8_t *p, size_t len)
{
	static const char context[] = "TLS 1.3, server CertificateVerify"; /* and its NUL */
	size_t fixed = PAD + sizeof(context);

	if (len != fixed + HASH_MIN && len != fixed + HASH_MAX)
		return false;
	for (size_t i = 0; i < PAD; i++)
		if (p[i] != ' ')
			return false;
	return memcmp(p + PAD, context, sizeof(context)) == 0;
}

static bool is_key_exchange(const uint8_t *p, size_t len)
{
	size_t fixed = RANDOMS + 4; /* type, curve, length of the point */

	return len > fixed && p[RANDOMS] == NAMED_CURVE && len == fixed + p[RANDOMS + 3];
}

bool tls_key_request_get(struct wire_in *in, struct tls_key_request *out)
{
	out->number = wire_get_u32(in);
	out->key = wire_get_u32(in);
	out->scheme = tls_key_scheme(wire_get_u16(in));
	out->tbs = wire_get_bytes(in, TLS_KEY_TBS_MAX, &out->len);
	if (!wire_done(in) || !out->tbs || !out->scheme)
		return false;
	if (is_certificate_verify(out->tbs, out->len))
		return out->scheme->kind != KEY_RSA_PKCS1; /* RFC 8446 4.2.3 */
	return is_key_exchange(out->tbs, out->len);
}

void tls_key_request_put(struct wire_out *o, uint32_t number, uint32_t key, uint16_t scheme,
			 const uint8_t *tbs, size_t len)
{
	wire_u32(o, number);
	wire_u32(o, key);
	wire_u16(o, scheme);
	wire_bytes(o, tbs, len);
}

bool tls_key_signature_get(uint16_t type, const uint8_t *data, size_t len,
			   struct tls_key_signature *out)
{
	struct wire_in in;

	wire_in_init(&in, data, len);
	*out = (struct tls_key_signature){.number = wire_get_u32(&in)};
	if (type == KEY_F_SIGNED)
		out->sig = wire_get_bytes(&in, TLS_KEY_SIG_MAX, &out->len);
	else if (type != KEY_F_UNSIGNED)
		return false;
	return wire_done(&in) && (type == KEY_F_UNSIGNED || out->len > 0);
}
