/* The files nfqd keeps: what decodes, encodes to something that decodes to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "nfq/outbox.h"
#include "nfq/policy.h"

#define MAX_BYTES (1u << 24)

static void policy(const uint8_t *data, size_t size)
{
	const char *err;
	size_t len;
	struct policy *p = policy_decode(NULL, data, size, &err);
	if (!p)
		return;
	uint8_t *again = policy_encode(p, p, &len);
	struct policy *q = policy_decode(NULL, again, len, &err);
	if (!q || policy_count(q) != policy_count(p) || policy_version(q) != policy_version(p))
		abort();
	policy_free(q);
	policy_free(p);
}

/* The checksum would keep a fuzzer out: what it finds is given a right one. */
static void journal(const uint8_t *data, size_t size)
{
	uint8_t framed[8 + POLICY_CHANGE_MAX];
	struct policy *p = policy_new(NULL);
	struct wire_out w;
	size_t n = size < POLICY_CHANGE_MAX ? size : POLICY_CHANGE_MAX;
	if (policy_replay(p, data, size, NULL) > size)
		abort();
	wire_out_init(&w, framed, sizeof framed);
	wire_u32(&w, (uint32_t)n);
	wire_u32(&w, policy_crc(0, data, n));
	memcpy(framed + 8, data, n);
	size_t done = policy_replay(p, framed, 8 + n, NULL);
	if (done != 0 && done != 8 + n)
		abort();
	policy_free(p);
}

static void outbox(const uint8_t *data, size_t size)
{
	size_t len;
	struct outbox *o = outbox_decode(NULL, data, size, MAX_BYTES);
	if (!o)
		return;
	uint8_t *again = outbox_encode(o, o, &len);
	if (len != size || memcmp(again, data, len) != 0)
		abort();
	talloc_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	policy(data, size);
	journal(data, size);
	outbox(data, size);
	return 0;
}
