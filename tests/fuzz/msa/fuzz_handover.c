/*
 * fuzz_handover - what a leaving process says: datagrams, and the message in a memfd. What is taken
 * comes out the same when it is written again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/handover_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void datagram(const uint8_t *data, size_t size)
{
	uint8_t buf[HANDOVER_DATAGRAM_MAX];
	struct handover_datagram d;

	if (!handover_get(data, size, &d))
		return;
	if (handover_put(&d, buf, sizeof(buf)) != size || memcmp(buf, data, size) != 0)
		abort();
}

static void message(const uint8_t *data, size_t size)
{
	void *ctx = talloc_new(NULL);
	struct queue_msg m, again;
	struct event e, f;
	size_t n = 0;

	if (handover_get_message(ctx, data, size, &m, &e)) {
		uint8_t *out = handover_put_message(ctx, &m, &n);

		if (m.data + m.len != data + size)
			abort();
		if (out && (!handover_get_message(ctx, out, n, &again, &f) ||
			    again.n_rcpts != m.n_rcpts || strcmp(again.id, m.id) != 0))
			abort();
	}
	talloc_free(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0 && data[0] == 0)
		message(data, size);
	else
		datagram(data, size);
	return 0;
}
