/*
 * wire: the input is a record, read in an order that it chooses itself; what was read well is
 * written again and must give the same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void copy_field(struct wire_in *r, struct wire_out *w, uint8_t kind)
{
	struct addr a;
	size_t len = 0;
	char s[64];
	const uint8_t *p = NULL;
	switch (kind % 8) {
	case 0:
		wire_u8(w, wire_get_u8(r));
		break;
	case 1:
		wire_u16(w, wire_get_u16(r));
		break;
	case 2:
		wire_u32(w, wire_get_u32(r));
		break;
	case 3:
		wire_u64(w, wire_get_u64(r));
		break;
	case 4:
		wire_i64(w, wire_get_i64(r));
		break;
	case 5:
		wire_get_addr(r, &a);
		wire_addr(w, &a);
		break;
	case 6:
		p = wire_get_bytes(r, 1000, &len);
		must(len <= 1000 && (p != NULL) == !r->bad);
		wire_bytes(w, p, len);
		break;
	default:
		wire_get_str(r, s, 1u + kind / 8);
		must(strlen(s) <= kind / 8u);
		wire_str(w, s);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 8)
		return 0;
	uint8_t *again = malloc(size);
	struct wire_in r;
	struct wire_out w;
	const uint8_t *body = data + 8;
	size_t n = size - 8;
	wire_in_init(&r, body, n);
	wire_out_init(&w, again, size);
	for (unsigned i = 0; !r.bad && r.p != r.end && i < 4096; i++) {
		const uint8_t *before = r.p;
		size_t len = w.len;
		copy_field(&r, &w, data[i % 8]);
		if (!r.bad)
			must(!w.bad && w.len - len == (size_t)(r.p - before));
	}
	must(r.p <= r.end);
	if (wire_done(&r))
		must(w.len == n && memcmp(again, body, n) == 0);
	free(again);
	return 0;
}
