/*
 * fuzz_relay - what msad and its relay role say to each other, and a record of the relay's journal:
 * the first octet says which. What is taken comes out the same when it is written again and read
 * again; ids are ids, and texts end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/queue/crc32c.h"
#include "msa/relay/frames.h"
#include "msa/relay/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t once[RELAY_OUTCOME_BYTES], twice[RELAY_OUTCOME_BYTES];

static void same(const struct wire_out *a, const struct wire_out *b)
{
	if (a->bad || b->bad || a->len != b->len || memcmp(once, twice, a->len) != 0)
		abort();
}

/* get, put, get and put of one kind of frame. */
#define KIND(name)                                                                                 \
	static void name(const uint8_t *data, size_t size)                                         \
	{                                                                                          \
		static struct relay_##name x, y;                                                   \
		struct wire_in in;                                                                 \
		struct wire_out a, b;                                                              \
                                                                                                   \
		wire_in_init(&in, data, size);                                                     \
		if (!relay_##name##_get(&in, &x))                                                  \
			return;                                                                    \
		wire_out_init(&a, once, sizeof(once));                                             \
		relay_##name##_put(&a, &x);                                                        \
		wire_in_init(&in, once, a.len);                                                    \
		if (!relay_##name##_get(&in, &y))                                                  \
			abort();                                                                   \
		wire_out_init(&b, twice, sizeof(twice));                                           \
		relay_##name##_put(&b, &y);                                                        \
		same(&a, &b);                                                                      \
	}
KIND(config)
KIND(work)
KIND(returned)
KIND(lane)
KIND(outcome)

/* The octets as a record's, under a right checksum; as they are they have none. */
static void record(const uint8_t *data, size_t size)
{
	static const struct journal_record any = {
	    .seq = 1, .id = "0123456789abcdef", .rcpt = {.result = RELAY_DELIVERED}};
	uint8_t slot[JOURNAL_SLOT_BYTES], again[JOURNAL_SLOT_BYTES];
	struct journal_record r, s;
	struct wire_out w;

	journal_encode(&any, slot); /* for its first four octets */
	memset(slot + 4, 0, sizeof(slot) - 4);
	if (size > 0)
		memcpy(slot + 8, data, size < sizeof(slot) - 8 ? size : sizeof(slot) - 8);
	if (journal_decode(slot, &r))
		abort();
	wire_out_init(&w, slot + 4, 4);
	wire_u32(&w, crc32c(0, slot + 8, sizeof(slot) - 8));
	if (!journal_decode(slot, &r))
		return;
	journal_encode(&r, again);
	if (!journal_decode(again, &s) || s.seq != r.seq || strcmp(s.id, r.id) != 0 ||
	    s.rcpt.idx != r.rcpt.idx || strcmp(s.rcpt.reply, r.rcpt.reply) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(const uint8_t *, size_t) = {config, work,	  returned,
								 lane,	 outcome, record};

	if (size > 0)
		kinds[data[0] % 6](data + 1, size - 1);
	return 0;
}
