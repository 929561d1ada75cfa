/*
 * token - the trace token of a message: what leads a complaint back to it.
 *
 * 96 bits in hexadecimal, HMAC-SHA-256(key, queue id NUL account) cut short: it says nothing to who
 * has not got the key, nobody else can make one (RFC 9477 asks that of a CFBL-Feedback-ID), and it
 * names neither an address nor a host, which is what reporters black out. Accounting finds the
 * message by it; with the key, anybody can prove later that it belongs to a queue id and an account
 * of the log.
 */
#ifndef MSA_MAIL_TOKEN_H
#define MSA_MAIL_TOKEN_H

#include <stddef.h>
#include <stdint.h>

#define TOKEN_LEN 24
#define TOKEN_KEY 32

struct token_key {
	uint8_t key[TOKEN_KEY];
};

void token_make(const struct token_key *key, const char *queue_id, const char *account,
		char out[static TOKEN_LEN + 1]);

#endif
