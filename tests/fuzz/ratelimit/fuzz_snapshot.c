/*
 * A snapshot file from anywhere: as it is, and with a right checksum put behind it. What is taken must encode and decode again.
 */
#include <stdlib.h>
#include <string.h>

#include "ratelimit/snapshot.h"
#include "tests/fuzz/ratelimit/few.h"

static struct limiter_conf conf;
static const struct moment now = {.mono_ms = 1795000000000, .utc_ms = 1795000000000};

static void once(enum snapshot_kind kind, const uint8_t *data, size_t size)
{
	size_t left_out, len;
	const char *err;
	struct limiter *l = limiter_new(&conf, 1), *again = limiter_new(&conf, 2);
	if (snapshot_decode(l, kind, &now, data, size, &left_out, &err)) {
		uint8_t *bytes = snapshot_encode(l, kind, &now, &len);
		if (!snapshot_decode(again, kind, &now, bytes, len, &left_out, &err))
			abort();
		free(bytes);
	}
	limiter_free(l);
	limiter_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (conf.accounts == 0)
		limiter_of_a_few(&conf);
	for (int kind = SNAPSHOT_COUNTERS; kind <= SNAPSHOT_STANDING; kind++) {
		uint8_t *whole = malloc(size + 8);
		if (!whole)
			return 0;
		if (size)
			memcpy(whole, data, size);
		uint64_t h = snapshot_sum(data, size);
		for (size_t i = 0; i < 8; i++)
			whole[size + i] = (uint8_t)(h >> (8 * (7 - i)));
		once(kind, data, size);
		once(kind, whole, size + 8);
		free(whole);
	}
	return 0;
}
