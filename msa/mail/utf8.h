/*
 * utf8 - UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
#ifndef MSA_MAIL_UTF8_H
#define MSA_MAIL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the character that s..s+len begins with, its number in *cp; 0: it is none. */
size_t utf8_next(const char *s, size_t len, uint32_t *cp);
bool utf8_valid(const char *s, size_t len);
/* Has it an octet that is not ASCII? */
bool utf8_any(const char *s, size_t len);

#endif
