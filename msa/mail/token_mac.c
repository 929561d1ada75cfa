/*
 * token_mac - see token_mac.h.
 *
 * Trusted with: the keys of tags and tokens, as long as the process lives. Diagnostics: none;
 * OpenSSL that fails is fatal. Known gaps: none.
 */
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "lib/proc.h"

#include "msa/mail/token_mac.h"

static _Thread_local struct worked_in {
	EVP_MAC_CTX *ctx;
	uint8_t key[TOKEN_MAC_KEY_MAX];
	size_t key_len;
} last[TOKEN_MACS];

static const char *const names[TOKEN_MACS] = {"SHA1", "SHA256"};

static void fail(enum token_mac digest)
{
	fatal("HMAC-%s is not available in OpenSSL", names[digest]);
}

static EVP_MAC_CTX *new_ctx(enum token_mac digest)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
	char name[8];
	OSSL_PARAM params[2] = {OSSL_PARAM_construct_end(), OSSL_PARAM_construct_end()};

	EVP_MAC_free(mac);
	(void)snprintf(name, sizeof(name), "%s", names[digest]);
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0);
	if (!ctx || !EVP_MAC_CTX_set_params(ctx, params))
		fail(digest);
	return ctx;
}

static void work_in(struct worked_in *w, enum token_mac digest, const uint8_t *key, size_t key_len)
{
	bug_on(key_len == 0 || key_len > sizeof(w->key));
	if (!w->ctx)
		w->ctx = new_ctx(digest);
	OPENSSL_cleanse(w->key, sizeof(w->key));
	memcpy(w->key, key, key_len);
	w->key_len = key_len;
	if (!EVP_MAC_init(w->ctx, key, key_len, NULL))
		fail(digest);
}

size_t token_mac(enum token_mac digest, const uint8_t *key, size_t key_len, const void *text,
		 size_t len, uint8_t out[static TOKEN_MAC_MAX])
{
	struct worked_in *w = &last[digest];
	size_t n = 0;

	if (w->key_len != key_len || CRYPTO_memcmp(w->key, key, key_len) != 0)
		work_in(w, digest, key, key_len);
	else if (!EVP_MAC_init(w->ctx, NULL, 0, NULL))
		fail(digest);
	if (!EVP_MAC_update(w->ctx, text, len) || !EVP_MAC_final(w->ctx, out, &n, TOKEN_MAC_MAX))
		fail(digest);
	return n;
}

void token_mac_forget(void)
{
	for (int d = 0; d < TOKEN_MACS; d++) {
		EVP_MAC_CTX_free(last[d].ctx);
		OPENSSL_cleanse(&last[d], sizeof(last[d]));
	}
}
