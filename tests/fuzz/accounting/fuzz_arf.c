/* Abuse reports: any bytes parse or do not; what parses survives its own codec. The bytes are also
 * tried as an encoded report. */
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "accounting/arf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(void *pool, const struct arf *a)
{
	static uint8_t one[ARF_WIRE_MAX], two[ARF_WIRE_MAX];
	size_t n = arf_encode(a, one, sizeof one);
	struct arf *b = n ? arf_decode(pool, one, n) : NULL;
	if (n && (!b || arf_encode(b, two, sizeof two) != n || memcmp(one, two, n) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *err = NULL;
	void *pool = talloc_new(NULL);
	struct arf *a = arf_parse(pool, data, size, "smtp.isp.example", &err);
	if (a)
		round_trip(pool, a);
	else if (!err)
		abort();
	a = arf_decode(pool, data, size);
	if (a)
		round_trip(pool, a);
	talloc_free(pool);
	return 0;
}
