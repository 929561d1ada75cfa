/*
 * token_mac - HMAC with a key that is used again and again.
 *
 * OpenSSL's HMAC() looks up its algorithm and works the key in at each call, which costs more than
 * the sum itself. Here the last key of each digest stays worked in, for each thread.
 */
#ifndef MSA_MAIL_TOKEN_MAC_H
#define MSA_MAIL_TOKEN_MAC_H

#include <stddef.h>
#include <stdint.h>

enum token_mac { TOKEN_MAC_SHA1, TOKEN_MAC_SHA256, TOKEN_MACS };

#define TOKEN_MAC_KEY_MAX 64
#define TOKEN_MAC_MAX	  32

/* key: 1 to TOKEN_MAC_KEY_MAX octets. Returns how many octets of out are the sum: 20 or 32. OpenSSL
 * without the digest is fatal. */
size_t token_mac(enum token_mac digest, const uint8_t *key, size_t key_len, const void *text,
		 size_t len, uint8_t out[static TOKEN_MAC_MAX]);
/* Wipes what this thread's calls have left. */
void token_mac_forget(void);

#endif
