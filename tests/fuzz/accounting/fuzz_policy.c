/* Policy entries: what is taken is valid and goes back byte for byte. */
#include <stdlib.h>
#include <string.h>

#include "lib/wire.h"
#include "accounting/feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_in r;
	struct wire_out w;
	struct policy_entry e;
	uint8_t again[POLICY_ENTRY_MAX];
	wire_in_init(&r, data, size);
	for (;;) {
		const uint8_t *start = r.p;
		if (!policy_entry_get(&r, &e))
			return 0;
		wire_out_init(&w, again, sizeof again);
		policy_entry_put(&w, &e);
		if (w.bad || w.len != (size_t)(r.p - start) || memcmp(again, start, w.len) != 0)
			abort();
	}
}
