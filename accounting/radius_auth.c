/*
 * radius_auth - see radius_auth.h. The only file that knows MD5, and the reason why it may:
 * docs/decisions/0009-radius-digests.md.
 *
 * Trusted with: shared secrets while it looks at them; what it copied is wiped. Diagnostics: none.
 * Known gaps: RADIUS offers nothing better than MD5 without TLS; keep the path between FreeRADIUS
 * and acctd on one machine or in a private network.
 */
#include "accounting/radius_auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "lib/proc.h"

#define DIGEST 16

/* MD5 of packet and secret. */
static void packet_md5(const uint8_t *p, size_t len, const char *secret, size_t secret_len,
		       uint8_t out[static DIGEST])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1 &&
		  EVP_DigestUpdate(ctx, p, len) == 1 &&
		  EVP_DigestUpdate(ctx, secret, secret_len) == 1 &&
		  EVP_DigestFinal_ex(ctx, out, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		fatal("MD5 is not available in OpenSSL: RADIUS needs it");
}

static void packet_hmac(const uint8_t *p, size_t len, const char *secret, size_t secret_len,
			uint8_t out[static DIGEST])
{
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	if (!HMAC(EVP_md5(), secret, (int)secret_len, p, len, md, &n) || n != DIGEST)
		fatal("HMAC-MD5 is not available in OpenSSL: RADIUS needs it");
	memcpy(out, md, DIGEST);
}

/* The Request Authenticator is the digest of the packet with zeros in its place. */
static bool authenticator_fits(const uint8_t *p, uint8_t *copy, size_t len, const char *secret,
			       size_t secret_len)
{
	uint8_t md[DIGEST];
	memset(copy + 4, 0, 16);
	packet_md5(copy, len, secret, secret_len, md);
	return CRYPTO_memcmp(md, p + 4, DIGEST) == 0;
}

/* Of an Accounting-Request it is made over zeros as authenticator, of a Status-Server over its own.
 */
static bool message_auth_fits(const uint8_t *p, uint8_t *copy, size_t len, size_t auth_at,
			      const char *secret, size_t secret_len)
{
	uint8_t md[DIGEST];
	if (p[0] == RADIUS_STATUS_SERVER)
		memcpy(copy + 4, p + 4, 16);
	memset(copy + auth_at, 0, DIGEST);
	packet_hmac(copy, len, secret, secret_len, md);
	return CRYPTO_memcmp(md, p + auth_at, DIGEST) == 0;
}

enum radius_proof radius_check(const uint8_t *p, size_t len, size_t auth_at, bool need,
			       const char *secret, size_t secret_len)
{
	uint8_t copy[RADIUS_MAX];
	bool status = p[0] == RADIUS_STATUS_SERVER;
	bug_on(len > sizeof copy || len < RADIUS_HEADER || auth_at + DIGEST > len);
	memcpy(copy, p, len);
	bool fits = status || authenticator_fits(p, copy, len, secret, secret_len);
	if (auth_at)
		fits &= message_auth_fits(p, copy, len, auth_at, secret, secret_len);
	if (!fits)
		return RADIUS_FORGED;
	return !auth_at && (need || status) ? RADIUS_UNPROVEN : RADIUS_GENUINE;
}

void radius_sign(uint8_t *answer, size_t len, size_t auth_at,
		 const uint8_t request_authenticator[static 16], const char *secret,
		 size_t secret_len)
{
	memcpy(answer + 4, request_authenticator, 16);
	if (auth_at) {
		memset(answer + auth_at, 0, DIGEST);
		packet_hmac(answer, len, secret, secret_len, answer + auth_at);
	}
	packet_md5(answer, len, secret, secret_len, answer + 4);
}
