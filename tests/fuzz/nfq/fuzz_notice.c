/* notice: whatever a client sends, whole or byte by byte, the answer is the same, bounded, and ends. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "nfq/notice.h"

#define ROOM ((NOTICE_ERRORS + 2) * NOTICE_REPLY)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char whole[ROOM], part[ROOM];
	size_t whole_len = 0, part_len = 0, i = 0;
	struct notice a = {0}, b = {0};
	size_t used = notice_feed(&a, (const char *)data, size, whole, ROOM, &whole_len);
	while (i < size && !b.over)
		i += notice_feed(&b, (const char *)data + i, 1, part, ROOM, &part_len);
	if (used != i || whole_len != part_len || memcmp(whole, part, part_len) != 0 ||
	    a.over != b.over)
		abort();
	if (!a.over && used != size)
		abort();
	return 0;
}
