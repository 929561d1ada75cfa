/*
 * fuzz_proxy - PROXY headers, read as a socket gives them: what is asked for next never passes a
 * header's bounds, and a header that is complete is complete however it was cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum proxy_result feed(const uint8_t *data, size_t size, size_t step, size_t *used)
{
	uint8_t buf[PROXY_MAX] = {0};
	struct proxy_header h;
	enum proxy_result r = proxy_parse(buf, 0, &h);
	size_t n = 0;

	while (r == PROXY_MORE && n < size) {
		size_t take = h.more < step ? h.more : step;

		if (h.more == 0 || n + h.more > PROXY_MAX)
			abort();
		if (take > size - n)
			take = size - n;
		memcpy(buf + n, data + n, take);
		n += take;
		r = proxy_parse(buf, n, &h);
	}
	*used = n;
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t whole, bytes;
	enum proxy_result r = feed(data, size, PROXY_MAX, &whole);

	if (feed(data, size, 1, &bytes) != r)
		abort();
	if ((r == PROXY_OK || r == PROXY_LOCAL) && whole != bytes)
		abort();
	return 0;
}
