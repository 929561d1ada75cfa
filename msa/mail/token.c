/*
 * token - see token.h.
 *
 * Trusted with: the trace key. Diagnostics: none; OpenSSL without SHA-256 is fatal.
 */
#include <string.h>

#include "lib/proc.h"

#include "msa/mail/token.h"
#include "msa/mail/token_mac.h"

void token_make(const struct token_key *key, const char *queue_id, const char *account,
		char out[static TOKEN_LEN + 1])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t text[512], md[TOKEN_MAC_MAX];
	size_t id_len = strlen(queue_id), who_len = strlen(account);

	bug_on(id_len + 1 + who_len > sizeof(text));
	for (size_t i = 0; i <= id_len; i++)
		text[i] = (uint8_t)queue_id[i];
	for (size_t i = 0; i < who_len; i++)
		text[id_len + 1 + i] = (uint8_t)account[i];
	(void)token_mac(TOKEN_MAC_SHA256, key->key, TOKEN_KEY, text, id_len + 1 + who_len, md);
	for (size_t i = 0; i < TOKEN_LEN; i++)
		out[i] = hex[md[i / 2] >> (i % 2 ? 0 : 4) & 15];
	out[TOKEN_LEN] = '\0';
}
