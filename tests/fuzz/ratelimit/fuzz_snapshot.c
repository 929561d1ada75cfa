/*
 * A snapshot file from anywhere: as it is, and with a right checksum put behind it. What is taken must encode and decode again.
 */
#include <stdlib.h>
#include <string.h>

#include "ratelimit/hash.h"
#include "ratelimit/snapshot.h"

static const struct limiter_conf conf = {
    .limit = {{5, 8, 10}, {10, 20, 30}},
    .detect = {.window_ms = 600000, .recipients = 30, .rate = 20, .refused = 50},
    .accounts = 20,
};
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
	for (int kind = SNAPSHOT_COUNTERS; kind <= SNAPSHOT_STANDING; kind++) {
		uint8_t *whole = malloc(size + 8);
		if (!whole)
			return 0;
		memcpy(whole, data, size);
		uint64_t h = hash_bytes(0x534b524cu, data, size);
		for (size_t i = 0; i < 8; i++)
			whole[size + i] = (uint8_t)(h >> (8 * (7 - i)));
		once(kind, data, size);
		once(kind, whole, size + 8);
		free(whole);
	}
	return 0;
}
