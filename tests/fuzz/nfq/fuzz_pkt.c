/* Packets: nothing is read outside of the capture, and how much was captured never changes a fact. */
#include <stdint.h>
#include <stdlib.h>

#include "nfq/pkt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pkt whole, part;
	size_t captured = size < PKT_COPY_RANGE ? size : PKT_COPY_RANGE;
	pkt_parse(data, size, size, &whole);
	if ((whole.kind == PKT_BAD) != (whole.why != NULL))
		abort();
	if (whole.kind == PKT_TCP && (size < 40 || whole.proto != 6))
		abort();
	pkt_parse(data, captured, size, &part);
	if (part.kind != PKT_BAD && whole.kind != PKT_BAD &&
	    (part.kind != whole.kind || part.dport != whole.dport || part.sport != whole.sport ||
	     !addr_eq(&part.src, &whole.src)))
		abort();
	/* More on the wire than captured can only make less certain what was read. */
	pkt_parse(data, size, size + 100, &part);
	if (whole.kind != PKT_BAD && (part.kind != whole.kind || part.dport != whole.dport))
		abort();
	return 0;
}
