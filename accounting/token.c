/*
 * token - the only file of accounting that calls OpenSSL and crypt (contract in token.h, reasons in
 * docs/decisions/0005-accounting-digests.md).
 *
 * Trusted with: passwords and session tokens while it looks at them; what it copied is wiped.
 */
#include "accounting/token.h"

#include <crypt.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/proc.h"

static void to_hex(const uint8_t *p, size_t n, char *out)
{
	static const char digit[] = "0123456789abcdef";
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digit[p[i] >> 4];
		out[2 * i + 1] = digit[p[i] & 15];
	}
	out[2 * n] = '\0';
}

void token_new(char out[static TOKEN_HEX])
{
	uint8_t raw[16];
	if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
		fatal_errno("getrandom");
	to_hex(raw, sizeof raw, out);
	explicit_bzero(raw, sizeof raw);
}

void token_sha256(const void *data, size_t len, char out[static SHA256_HEX])
{
	uint8_t md[EVP_MAX_MD_SIZE];
	if (EVP_Digest(data, len, md, NULL, EVP_sha256(), NULL) != 1)
		fatal("SHA-256 is not available in OpenSSL");
	to_hex(md, 32, out);
}

void token_csrf(const char *session, char out[static TOKEN_HEX])
{
	static const unsigned char text[] = "sekisho csrf";
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	if (!HMAC(EVP_sha256(), session, (int)strlen(session), text, sizeof text - 1, md, &n))
		fatal("HMAC-SHA-256 is not available in OpenSSL");
	to_hex(md, 16, out);
	explicit_bzero(md, sizeof md);
}

void token_hmac(const void *key, size_t key_len, const void *a, size_t a_len, const void *b,
		size_t b_len, char out[static SHA256_HEX])
{
	uint8_t md[EVP_MAX_MD_SIZE];
	size_t n = 0;
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
	    OSSL_PARAM_construct_end()};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *c = mac ? EVP_MAC_CTX_new(mac) : NULL;
	if (!c || EVP_MAC_init(c, key, key_len, params) != 1 || EVP_MAC_update(c, a, a_len) != 1 ||
	    EVP_MAC_update(c, b, b_len) != 1 || EVP_MAC_final(c, md, &n, sizeof md) != 1)
		fatal("HMAC-SHA-256 is not available in OpenSSL");
	EVP_MAC_CTX_free(c);
	EVP_MAC_free(mac);
	to_hex(md, 32, out);
	explicit_bzero(md, sizeof md);
}

static bool is_base64(const char *s, size_t len)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = 0;
	while (n < len && s[n] != '\0' && strchr(alphabet, s[n]))
		n++;
	return len % 4 == 0 && (n == len || (n + 1 == len && s[n] == '=') ||
				(n + 2 == len && s[n] == '=' && s[n + 1] == '='));
}

uint8_t *token_unbase64(const char *text, size_t len, size_t *out_len)
{
	if (!is_base64(text, len) || len > INT32_MAX)
		return NULL;
	uint8_t *out = malloc(len / 4 * 3 + 1);
	if (!out)
		return NULL;
	int n = len ? EVP_DecodeBlock(out, (const unsigned char *)text, (int)len) : 0;
	if (n < 0) {
		free(out);
		return NULL;
	}
	/* EVP_DecodeBlock counts the padding as bytes. */
	*out_len = (size_t)n - (len && text[len - 1] == '=') - (len > 1 && text[len - 2] == '=');
	out[*out_len] = '\0';
	return out;
}

static bool hash_with(const char *password, const char *setting, char *out, size_t n)
{
	struct crypt_data *data = calloc(1, sizeof *data);
	if (!data)
		fatal("out of memory");
	const char *hash = crypt_r(password, setting, data);
	bool ok = hash && hash[0] != '*' && strlen(hash) < n;
	if (ok)
		memcpy(out, hash, strlen(hash) + 1);
	explicit_bzero(data, sizeof *data);
	free(data);
	return ok;
}

bool token_password_hash(const char *password, char *out, size_t n)
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];
	return crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting) &&
	       hash_with(password, setting, out, n);
}

bool token_password_check(const char *password, const char *hash)
{
	/* Somebody's hash of nothing anybody knows: who is not there takes as long as who is. */
	static const char nobody[] =
	    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$O760xg4ztpOUW1tqXrPmgLVe15N3oz/.W0lxBpirF5A";
	char got[PASSWORD_HASH_MAX];
	const char *want = hash ? hash : nobody;
	bool ok = hash_with(password, want, got, sizeof got) && strlen(got) == strlen(want) &&
		  CRYPTO_memcmp(got, want, strlen(want)) == 0;
	explicit_bzero(got, sizeof got);
	return ok && hash;
}
