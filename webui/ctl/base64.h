/*
 * base64 - RFC 4648 section 4, for a message inside JSON.
 */
#ifndef WEBUI_CTL_BASE64_H
#define WEBUI_CTL_BASE64_H

#include <stddef.h>

/* NUL-terminated text, talloc'd under pool. */
char *base64_encode(void *pool, const void *data, size_t len);

#endif
