/*
 * base64 - RFC 4648 section 4: a message inside JSON, words of a mail header.
 */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include <stddef.h>

/* NUL-terminated text, talloc'd under ctx; never NULL. */
char *base64_encode(void *ctx, const void *data, size_t len);

#endif
