/*
 * token - digests and secrets of acctd: session tokens, the CSRF token derived from one, password
 * hashes, SHA-256, base64.
 */
#ifndef ACCOUNTING_TOKEN_H
#define ACCOUNTING_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_HEX  33 /* 128 bits in hex and its NUL */
#define SHA256_HEX 65

/* 128 random bits, in hex. */
void token_new(char out[static TOKEN_HEX]);
void token_sha256(const void *data, size_t len, char out[static SHA256_HEX]);
/* HMAC-SHA-256 of a followed by b, in hex. */
void token_hmac(const void *key, size_t key_len, const void *a, size_t a_len, const void *b,
		size_t b_len, char out[static SHA256_HEX]);
/* The session's CSRF token: HMAC-SHA-256 keyed with the session, cut to 128 bits. */
void token_csrf(const char *session, char out[static TOKEN_HEX]);
/* Strict RFC 4648 section 4, no blanks. malloc'd, NULL when it is not base64. */
uint8_t *token_unbase64(const char *text, size_t len, size_t *out_len);

#define PASSWORD_HASH_MAX 384
/* crypt(5) yescrypt with a fresh salt; about 50 to 100 ms. False when the system's libcrypt cannot.
 */
bool token_password_hash(const char *password, char *out, size_t n);
/* hash NULL: takes the same time and is never true. */
bool token_password_check(const char *password, const char *hash);

#endif
