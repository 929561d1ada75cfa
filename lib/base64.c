/*
 * base64 - see base64.h.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: it only encodes; accounting/token.c
 * decodes.
 */
#include "lib/base64.h"

#include <stdint.h>

#include <talloc.h>

#include "lib/proc.h"

char *base64_encode(void *ctx, const void *data, size_t len)
{
	static const char digit[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = data;
	char *out = talloc_size(ctx, (len + 2) / 3 * 4 + 1), *o = out;
	if (!out)
		fatal("out of memory");
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (left > 2 ? p[i + 2] : 0);
		*o++ = digit[v >> 18];
		*o++ = digit[v >> 12 & 63];
		*o++ = left > 1 ? digit[v >> 6 & 63] : '=';
		*o++ = left > 2 ? digit[v & 63] : '=';
	}
	*o = '\0';
	return out;
}
