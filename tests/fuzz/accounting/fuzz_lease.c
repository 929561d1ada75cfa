/* Rows of lease.import: JSON, the list of arguments, and the lease they make. */
#include <stdlib.h>
#include <string.h>

#include "accounting/ops_lease.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void want(bool ok)
{
	if (!ok)
		abort();
}

static void row(const json_t *args)
{
	struct store_lease l;
	struct addr first, last;
	char err[256] = "";
	if (!op_check("a row", lease_args, args, err, sizeof err)) {
		want(err[0] != '\0');
		return;
	}
	const char *bad = lease_from_args(args, 1795000000000, &l, err);
	if (bad) {
		want(bad[0] != '\0');
		return;
	}
	prefix_range(&l.prefix, &first, &last);
	want(addr_eq(&first, &l.prefix.a) && l.port_lo <= l.port_hi);
	want(l.from_ms >= 0 && (l.to_ms == 0 || l.to_ms > l.from_ms));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *rows = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL), *args;
	size_t i;
	json_array_foreach (rows, i, args)
		if (json_is_object(args))
			row(args);
	json_decref(rows);
	return 0;
}
