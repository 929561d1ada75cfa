/*
 * gzip - see gzip.h. The one file that talks to zlib.
 *
 * Trusted with: nothing. Diagnostics: NULL. Known gaps: none.
 */
#include <talloc.h>

#include <zlib.h>

#include "msa/tlsrpt/gzip.h"

#define WITH_GZIP_HEADER (15 + 16)
#define MEMORY		 8

uint8_t *gzip_pack(void *ctx, const void *data, size_t n, size_t *len)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)n};

	if (n > UINT32_MAX / 2 || deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, WITH_GZIP_HEADER,
					       MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
		return NULL;
	size_t room = deflateBound(&z, (uLong)n);
	uint8_t *out = talloc_array(ctx, uint8_t, (unsigned)room);
	if (out) {
		z.next_out = out;
		z.avail_out = (uInt)room;
		if (deflate(&z, Z_FINISH) != Z_STREAM_END)
			TALLOC_FREE(out);
	}
	*len = z.total_out;
	(void)deflateEnd(&z);
	return out;
}
