/*
 * policy_file - the policy as bytes: the snapshot, and the journal of changes since (contract in
 * policy.h). Pure; nfq/policy_store.c has the files.
 *
 * Trusted with: a policy that is as it was written, or none. Diagnostics: *err. Known gaps: none.
 */
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"
#include "lib/wire.h"

#include "nfq/policy.h"

#define MAGIC	    "SKNP"
#define VERSION	    2
#define TRAILER	    4 /* the CRC */
#define MIN_BYTES   (POLICY_FILE_HEADER + TRAILER)
#define MAX_ENTRIES (1u << 24)
#define PIECE_ITEMS 1024

/* CRC-32 (IEEE 802.3), four bits at a time: a table that is read at a glance. */
uint32_t policy_crc(uint32_t crc, const uint8_t *data, size_t len)
{
	static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
					   0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
					   0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
					   0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
	crc = ~crc;
	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

/* --- the snapshot ---------------------------------------------------------------- */

void policy_file_begin(struct wire_out *w, uint64_t version)
{
	for (const char *m = MAGIC; *m; m++)
		wire_u8(w, (uint8_t)*m);
	wire_u32(w, VERSION);
	wire_u64(w, version);
}

void policy_file_end(struct wire_out *w, uint64_t count)
{
	wire_u32(w, 0);
	wire_u64(w, count);
}

uint8_t *policy_encode(const struct policy *p, void *ctx, size_t *len)
{
	size_t cap = POLICY_FILE_HEADER + POLICY_FILE_END + TRAILER +
		     policy_count(p) * POLICY_ENTRY_MAX + (policy_count(p) + 1) * 4 +
		     POLICY_ENTRY_MAX;
	struct wire_out w;
	uint32_t at = 0;
	uint64_t count = 0;
	uint8_t *buf = talloc_array(ctx, uint8_t, cap);
	bug_on(!buf);
	wire_out_init(&w, buf, cap);
	policy_file_begin(&w, policy_version(p));
	while (policy_file_piece(p, &at, PIECE_ITEMS, &count, &w))
		;
	policy_file_end(&w, count);
	wire_u32(&w, policy_crc(0, buf, w.len));
	bug_on(w.bad);
	*len = w.len;
	return buf;
}

/* The version of the file; 0: it is none of ours. */
static uint32_t read_header(struct wire_in *r)
{
	for (const char *m = MAGIC; *m; m++)
		if (wire_get_u8(r) != (uint8_t)*m)
			r->bad = true;
	uint32_t version = wire_get_u32(r);
	return !r->bad && version <= VERSION ? version : 0;
}

/* An entry of file version 1: the class was a number, and there were no destinations. */
static bool entry_get_1(struct wire_in *r, struct policy_entry *e)
{
	uint8_t buf[POLICY_ENTRY_MAX];
	struct wire_out w;
	struct wire_in again;
	struct addr a;
	wire_out_init(&w, buf, sizeof buf);
	wire_u8(&w, wire_get_u8(r));
	wire_get_addr(r, &a);
	wire_addr(&w, &a);
	uint8_t class = wire_get_u8(r);
	wire_str(&w, class == 1 ? "full" : class == 2 ? "throttled" : "");
	for (int i = 0; i < 3; i++)
		wire_i64(&w, wire_get_i64(r));
	wire_u8(&w, 0);
	wire_in_init(&again, buf, w.len);
	if (!policy_entry_get(&again, e))
		r->bad = true;
	return !r->bad;
}

static void read_entries(struct policy *p, struct wire_in *r, uint32_t n,
			 bool (*get)(struct wire_in *r, struct policy_entry *e))
{
	struct policy_entry e;
	if (n > MAX_ENTRIES)
		r->bad = true;
	for (uint32_t i = 0; i < n && !r->bad; i++)
		if (get(r, &e))
			policy_put(p, &e);
}

static void read_pieces(struct policy *p, struct wire_in *r)
{
	uint64_t count = 0;
	for (uint32_t n; (n = wire_get_u32(r)) != 0 && !r->bad; count += n)
		read_entries(p, r, n, policy_entry_get);
	if (wire_get_u64(r) != count)
		r->bad = true;
}

struct policy *policy_decode(void *ctx, const uint8_t *data, size_t len, const char **err)
{
	struct wire_in r, end;
	*err = "it is cut short";
	if (len < MIN_BYTES)
		return NULL;
	wire_in_init(&end, data + len - TRAILER, TRAILER);
	wire_in_init(&r, data, len - TRAILER);
	*err = "it is not a policy snapshot of this version";
	uint32_t version = read_header(&r);
	if (version == 0)
		return NULL;
	*err = "its checksum is wrong";
	if (wire_get_u32(&end) != policy_crc(0, data, len - TRAILER))
		return NULL;
	struct policy *p = policy_new(ctx);
	policy_set_version(p, wire_get_u64(&r));
	if (version == 1)
		read_entries(p, &r, wire_get_u32(&r), entry_get_1);
	else
		read_pieces(p, &r);
	if (wire_done(&r))
		return p;
	*err = "its entries are damaged";
	policy_free(p);
	return NULL;
}

/* --- the journal ----------------------------------------------------------------- */

void policy_change_put(struct wire_out *w, uint64_t version, enum policy_op op,
		       const struct policy_entry *e)
{
	uint8_t buf[POLICY_CHANGE_MAX];
	struct wire_out x;
	wire_out_init(&x, buf, sizeof buf);
	wire_u64(&x, version);
	wire_u8(&x, (uint8_t)op);
	policy_entry_put(&x, e);
	bug_on(x.bad);
	wire_u32(w, (uint32_t)x.len);
	wire_u32(w, policy_crc(0, buf, x.len));
	for (size_t i = 0; i < x.len; i++)
		wire_u8(w, buf[i]);
}

static bool apply_change(struct policy *p, const uint8_t *data, size_t len, size_t *changes)
{
	struct wire_in r;
	struct policy_entry e;
	wire_in_init(&r, data, len);
	uint64_t version = wire_get_u64(&r);
	uint8_t op = wire_get_u8(&r);
	if (!policy_entry_get(&r, &e) || !wire_done(&r) ||
	    (op != POLICY_SET && op != POLICY_DELETE))
		return false;
	if (version <= policy_version(p))
		return true;
	if (op == POLICY_SET)
		policy_put(p, &e);
	else
		(void)policy_remove(p, &e);
	policy_set_version(p, version);
	if (changes)
		++*changes;
	return true;
}

size_t policy_replay(struct policy *p, const uint8_t *data, size_t len, size_t *changes)
{
	size_t done = 0;
	while (len - done >= 8) {
		struct wire_in r;
		wire_in_init(&r, data + done, 8);
		uint32_t n = wire_get_u32(&r), crc = wire_get_u32(&r);
		if (n > len - done - 8 || n > POLICY_CHANGE_MAX ||
		    policy_crc(0, data + done + 8, n) != crc ||
		    !apply_change(p, data + done + 8, n, changes))
			break;
		done += 8 + n;
	}
	return done;
}
