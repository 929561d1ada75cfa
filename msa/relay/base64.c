/*
 * base64 - see base64.h.
 *
 * Trusted with: passwords, which it does not keep. Diagnostics: none. Known gaps: none.
 */
#include "msa/relay/base64.h"

size_t base64_put(const uint8_t *in, size_t n, char *out)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t w = 0;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) |
			     (i + 2 < n ? in[i + 2] : 0);
		for (size_t k = 0; k < 4; k++)
			out[w++] = i + k <= n ? digits[v >> (18 - 6 * k) & 63] : '=';
	}
	return w;
}
