/* What event_decode() takes, event_encode() gives back byte for byte. */
#include <stdlib.h>
#include <string.h>

#include "accounting/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event e;
	uint8_t again[EVENT_MAX_BYTES];
	while (size > 0) {
		size_t used = event_decode(data, size, &e);
		if (used == 0)
			break;
		if (event_encode(&e, again, sizeof again) != used || memcmp(again, data, used) != 0)
			abort();
		data += used;
		size -= used;
	}
	return 0;
}
