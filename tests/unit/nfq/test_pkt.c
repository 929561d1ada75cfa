/*
 * Bytes to facts: what is TCP port 25 in any disguise must come out as TCP port 25 or as bad, never
 * as something that is let through. Each case is also cut short at every length.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "nfq/pkt.h"

/* A packet as hexadecimal text: blanks are skipped. T4 and T6 are fixed headers without the varying
 * fields. */
#define SRC4  "c0000201"
#define DST4  "c6336419"
#define SRC6  "20010db8000100000000000000000002"
#define DST6  "20010db8000200000000000000000019"
#define SYN25 "d431 0019 00000001 00000000 5002 ffff 0000 0000"
#define SYN26 "d431 001a 00000001 00000000 5002 ffff 0000 0000"

static size_t bytes(const char *hex, uint8_t *out, size_t cap)
{
	size_t n = 0;
	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		char two[3] = {hex[0], hex[1], 0};
		assert_true(n < cap);
		out[n++] = (uint8_t)strtoul(two, NULL, 16);
		hex++;
	}
	return n;
}

static struct pkt parse(const uint8_t *data, size_t len, size_t total)
{
	/* An exact copy on the heap: the sanitizer sees any read past the end. */
	uint8_t *copy = malloc(len ? len : 1);
	struct pkt p;
	assert_non_null(copy);
	memcpy(copy, data, len);
	pkt_parse(copy, len, total, &p);
	free(copy);
	return p;
}

static const struct {
	const char *name, *hex;
	enum pkt_kind kind;
	uint16_t dport;
} cases[] = {
    /* IPv4 */
    {"v4 syn", "4500 0028 0000 4000 40 06 0000" SRC4 DST4 SYN25, PKT_TCP, 25},
    {"v4 other port", "4500 0028 0000 4000 40 06 0000" SRC4 DST4 SYN26, PKT_TCP, 26},
    {"v4 options", "4600 002c 0000 4000 40 06 0000" SRC4 DST4 "01010101" SYN25, PKT_TCP, 25},
    {"v4 longest header",
     "4f00 0050 0000 4000 40 06 0000" SRC4 DST4
     "01010101010101010101010101010101010101010101010101010101010101010101010101010101" SYN25,
     PKT_TCP, 25},
    {"v4 header under 20", "4400 0028 0000 4000 40 06 0000" SRC4 DST4 SYN25, PKT_BAD, 0},
    /* What would be TCP if it were believed. */
    {"v4 header of 16",
     "4400 0028 0000 4000 40 06 0000" SRC4 DST4 "d431 0019 00000001 50000000 5002 ffff 0000 0000",
     PKT_BAD, 0},
    {"v4 header past the packet", "4f00 0028 0000 4000 40 06 0000" SRC4 DST4 SYN25, PKT_BAD, 0},
    {"v4 length cuts the TCP header", "4500 0020 0000 4000 40 06 0000" SRC4 DST4 SYN25, PKT_BAD, 0},
    {"v4 length 0 (offload)", "4500 0000 0000 4000 40 06 0000" SRC4 DST4 SYN25, PKT_TCP, 25},
    {"v4 length beyond the packet", "4500 ffff 0000 4000 40 06 0000" SRC4 DST4 SYN25, PKT_TCP, 25},
    {"v4 trailing bytes", "4500 0028 0000 4000 40 06 0000" SRC4 DST4 SYN25 "ffffffff", PKT_TCP, 25},
    {"v4 syn with data", "4500 002c 0000 4000 40 06 0000" SRC4 DST4 SYN25 "48454c4f", PKT_TCP, 25},
    {"v4 first fragment", "4500 0028 0001 2000 40 06 0000" SRC4 DST4 SYN25, PKT_TCP, 25},
    {"v4 first fragment of 8 bytes",
     "4500 001c 0001 2000 40 06 0000" SRC4 DST4 "d431 0019 00000001", PKT_BAD, 0},
    {"v4 fragment at 1", "4500 0028 0001 2001 40 06 0000" SRC4 DST4 SYN25, PKT_BAD, 0},
    {"v4 last fragment at 1", "4500 0028 0001 0001 40 06 0000" SRC4 DST4 SYN25, PKT_BAD, 0},
    {"v4 fragment at 2", "4500 0028 0001 2002 40 06 0000" SRC4 DST4 SYN25, PKT_FRAGMENT, 0},
    {"v4 last fragment", "4500 0028 0001 1fff 40 06 0000" SRC4 DST4 SYN25, PKT_FRAGMENT, 0},
    {"v4 udp fragment at 1", "4500 0028 0001 2001 40 11 0000" SRC4 DST4 SYN25, PKT_FRAGMENT, 0},
    {"v4 reserved bit", "4500 0028 0000 8000 40 06 0000" SRC4 DST4 SYN25, PKT_TCP, 25},
    {"v4 tcp header under 20",
     "4500 0028 0000 4000 40 06 0000" SRC4 DST4 "d431 0019 00000001 00000000 4002 ffff 0000 0000",
     PKT_BAD, 0},
    {"v4 tcp options missing",
     "4500 0028 0000 4000 40 06 0000" SRC4 DST4 "d431 0019 00000001 00000000 f002 ffff 0000 0000",
     PKT_BAD, 0},
    {"v4 ah",
     "4500 0040 0000 4000 40 33 0000" SRC4 DST4
     "06 04 0000 00000001 00000001 000000000000000000000000" SYN25,
     PKT_TCP, 25},
    {"v4 ah twice",
     "4500 0058 0000 4000 40 33 0000" SRC4 DST4
     "33 04 0000 00000001 00000001 000000000000000000000000"
     "06 04 0000 00000001 00000001 000000000000000000000000" SYN25,
     PKT_TCP, 25},
    {"v4 ah under 12",
     "4500 0040 0000 4000 40 33 0000" SRC4 DST4
     "06 00 0000 00000001 00000001 000000000000000000000000" SYN25,
     PKT_BAD, 0},
    /* What would be TCP if 8 bytes of it were believed. */
    {"v4 ah of 8", "4500 0030 0000 4000 40 33 0000" SRC4 DST4 "06 00 0000 00000001" SYN25, PKT_BAD,
     0},
    {"v4 ah past the packet",
     "4500 0040 0000 4000 40 33 0000" SRC4 DST4
     "06 ff 0000 00000001 00000001 000000000000000000000000" SYN25,
     PKT_BAD, 0},
    {"v4 ah then udp",
     "4500 0034 0000 4000 40 33 0000" SRC4 DST4
     "11 04 0000 00000001 00000001 000000000000000000000000"
     "0019001900080000",
     PKT_OTHER, 0},
    {"v4 udp", "4500 001c 0000 4000 40 11 0000" SRC4 DST4 "0019001900080000", PKT_OTHER, 0},
    {"v4 in v4", "4500 003c 0000 4000 40 04 0000" SRC4 DST4, PKT_OTHER, 0},
    {"v4 unknown protocol", "4500 0028 0000 4000 40 fd 0000" SRC4 DST4 SYN25, PKT_BAD, 0},
    {"v4 with hop-by-hop number", "4500 0028 0000 4000 40 00 0000" SRC4 DST4 SYN25, PKT_BAD, 0},
    /* IPv6 */
    {"v6 syn", "60000000 0014 06 40" SRC6 DST6 SYN25, PKT_TCP, 25},
    /* It would be taken for the IPv4 customer 192.0.2.10. */
    {"v6 from an IPv4-mapped address",
     "60000000 0014 06 40 00000000000000000000ffffc000020a" DST6 SYN25, PKT_BAD, 0},
    {"v6 to an IPv4-mapped address",
     "60000000 0014 06 40" SRC6 "00000000000000000000ffffc000020a" SYN25, PKT_BAD, 0},
    {"v6 other port", "60000000 0014 06 40" SRC6 DST6 SYN26, PKT_TCP, 26},
    {"v6 hop-by-hop", "60000000 001c 00 40" SRC6 DST6 "06 00 010400000000" SYN25, PKT_TCP, 25},
    {"v6 destination options", "60000000 001c 3c 40" SRC6 DST6 "06 00 010400000000" SYN25, PKT_TCP,
     25},
    {"v6 routing", "60000000 001c 2b 40" SRC6 DST6 "06 00 040000000000" SYN25, PKT_TCP, 25},
    {"v6 all of them",
     "60000000 004c 00 40" SRC6 DST6 "3c 00 010400000000"
     "2b 00 010400000000"
     "2c 00 040000000000"
     "33 00 0000 00000001"
     "06 04 0000 00000001 00000001 0000000000000000"
     "00000000" SYN25,
     PKT_TCP, 25},
    {"v6 hop-by-hop later",
     "60000000 0024 3c 40" SRC6 DST6 "00 00 010400000000"
     "06 00 010400000000" SYN25,
     PKT_TCP, 25},
    {"v6 atomic fragment", "60000000 001c 2c 40" SRC6 DST6 "06 00 0000 00000001" SYN25, PKT_TCP,
     25},
    {"v6 first fragment", "60000000 001c 2c 40" SRC6 DST6 "06 00 0001 00000001" SYN25, PKT_TCP, 25},
    {"v6 first fragment, short",
     "60000000 0010 2c 40" SRC6 DST6 "06 00 0001 00000001"
     "d431 0019 00000001",
     PKT_BAD, 0},
    {"v6 fragment, reserved bits", "60000000 001c 2c 40" SRC6 DST6 "06 ff 0006 00000001" SYN25,
     PKT_TCP, 25},
    {"v6 later fragment", "60000000 001c 2c 40" SRC6 DST6 "06 00 0009 00000001" SYN25, PKT_FRAGMENT,
     0},
    {"v6 last fragment", "60000000 001c 2c 40" SRC6 DST6 "06 00 fff8 00000001" SYN25, PKT_FRAGMENT,
     0},
    {"v6 first fragment, chain not whole",
     "60000000 0010 2c 40" SRC6 DST6 "3c 00 0001 00000001"
     "06 01 010c000000000000",
     PKT_BAD, 0},
    {"v6 two fragment headers",
     "60000000 0024 2c 40" SRC6 DST6 "2c 00 0000 00000001"
     "06 00 0001 00000002" SYN25,
     PKT_TCP, 25},
    {"v6 options past the packet", "60000000 001c 3c 40" SRC6 DST6 "06 ff 010400000000" SYN25,
     PKT_BAD, 0},
    {"v6 ah",
     "60000000 002c 33 40" SRC6 DST6 "06 04 0000 00000001 00000001 0000000000000000 00000000" SYN25,
     PKT_TCP, 25},
    {"v6 ah length",
     "60000000 002c 33 40" SRC6 DST6 "06 ff 0000 00000001 00000001 0000000000000000 00000000" SYN25,
     PKT_BAD, 0},
    {"v6 payload length cuts tcp", "60000000 0010 06 40" SRC6 DST6 SYN25, PKT_BAD, 0},
    {"v6 payload length 0 (jumbo)", "60000000 0000 06 40" SRC6 DST6 SYN25, PKT_TCP, 25},
    {"v6 esp", "60000000 0014 32 40" SRC6 DST6 SYN25, PKT_OTHER, 0},
    {"v6 no next header", "60000000 0014 3b 40" SRC6 DST6 SYN25, PKT_OTHER, 0},
    {"v6 in v6", "60000000 0014 29 40" SRC6 DST6 SYN25, PKT_OTHER, 0},
    {"v6 mobility header", "60000000 001c 87 40" SRC6 DST6 "06 00 0000 00000000" SYN25, PKT_BAD, 0},
    {"v6 shim6", "60000000 001c 8c 40" SRC6 DST6 "06 00 0000 00000000" SYN25, PKT_BAD, 0},
    {"v6 unknown", "60000000 001c fd 40" SRC6 DST6 "06 00 0000 00000000" SYN25, PKT_BAD, 0},
    /* neither */
    {"version 5", "5500 0028 0000 4000 40 06 0000" SRC4 DST4 SYN25, PKT_BAD, 0},
    {"nothing", "", PKT_BAD, 0},
};
#define N_CASES (sizeof cases / sizeof *cases)

static void table(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_CASES; i++) {
		uint8_t data[256];
		size_t len = bytes(cases[i].hex, data, sizeof data);
		struct pkt p = parse(data, len, len);
		if (p.kind != cases[i].kind || p.dport != cases[i].dport)
			fail_msg("%s: kind %d (%s), port %u", cases[i].name, p.kind,
				 p.why ? p.why : "-", p.dport);
		if (p.kind == PKT_BAD)
			assert_non_null(p.why);
	}
}

/* However short the capture: bad, or the same facts. What is port 25 never becomes another port. */
static void truncated(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_CASES; i++) {
		uint8_t data[256];
		size_t len = bytes(cases[i].hex, data, sizeof data);
		for (size_t cut = 0; cut < len; cut++) {
			struct pkt p = parse(data, cut, len);
			if (p.kind == PKT_BAD)
				continue;
			if (p.kind != cases[i].kind || p.dport != cases[i].dport)
				fail_msg("%s cut at %zu: kind %d, port %u", cases[i].name, cut,
					 p.kind, p.dport);
			/* And not longer than what was captured: the same again as the whole
			 * packet. */
			p = parse(data, cut, cut);
			assert_true(p.kind == PKT_BAD || p.dport == cases[i].dport);
		}
	}
}

/* A chain of more headers than anybody needs, and one longer than what is captured. */
static void long_chains(void **state)
{
	uint8_t data[1024] = {0x60, 0, 0, 0, 0, 0, 60, 64}, tail[32];
	size_t tail_len = bytes(SYN25, tail, sizeof tail);
	(void)state;
	for (unsigned n = 1; n < 60; n++) {
		size_t len = 40;
		for (unsigned k = 0; k < n; k++, len += 8) {
			memset(data + len, 0, 8);
			data[len] = k + 1 == n ? 6 : 60;
		}
		memcpy(data + len, tail, tail_len);
		len += tail_len;
		data[4] = (uint8_t)((len - 40) >> 8);
		data[5] = (uint8_t)(len - 40);
		size_t captured = len < PKT_COPY_RANGE ? len : PKT_COPY_RANGE;
		struct pkt p = parse(data, captured, len);
		if (40 + n * 8 + 20 <= PKT_COPY_RANGE) {
			assert_int_equal(p.kind, PKT_TCP);
			assert_int_equal(p.dport, 25);
		} else {
			assert_int_equal(p.kind, PKT_BAD);
		}
		p = parse(data, len, len);
		assert_int_equal(p.kind, n < 16 ? PKT_TCP : PKT_BAD);
	}
}

/* The same of IPv4: 16 authentication headers are followed, and no more. */
static void long_chains4(void **state)
{
	uint8_t data[512];
	(void)state;
	for (unsigned n = 1; n < 20; n++) {
		size_t len = bytes("4500 0000 0000 4000 40 33 0000" SRC4 DST4, data, sizeof data);
		for (unsigned k = 1; k <= n; k++, len += 12) {
			memset(data + len, 0, 12);
			data[len] = k == n ? 6 : 0x33;
			data[len + 1] = 1;
		}
		len += bytes(SYN25, data + len, sizeof data - len);
		data[2] = (uint8_t)(len >> 8);
		data[3] = (uint8_t)len;
		assert_int_equal(parse(data, len, len).kind, n <= 16 ? PKT_TCP : PKT_BAD);
	}
}

static void facts(void **state)
{
	uint8_t data[128];
	char text[ADDR_STRLEN];
	(void)state;
	size_t len = bytes("4500 0028 0000 4000 40 06 0000" SRC4 DST4 SYN25, data, sizeof data);
	struct pkt p = parse(data, len, len);
	assert_int_equal(p.version, 4);
	assert_string_equal(addr_format(&p.src, text), "192.0.2.1");
	assert_string_equal(addr_format(&p.dst, text), "198.51.100.25");
	assert_int_equal(p.sport, 0xd431);
	assert_int_equal(p.flags, PKT_SYN);
	len = bytes("60000000 0014 06 40" SRC6 DST6 SYN25, data, sizeof data);
	p = parse(data, len, len);
	assert_int_equal(p.version, 6);
	assert_string_equal(addr_format(&p.src, text), "2001:db8:1::2");
	assert_string_equal(addr_format(&p.dst, text), "2001:db8:2::19");
}

/* Options of TCP that were not captured must still fit what the packet has behind the capture. */
static void options_not_captured(void **state)
{
	static const char hex[] = "4500 0088 0000 4000 40 06 0000" SRC4 DST4
				  "d431 0019 00000001 00000000 f002 ffff 0000 0000";
	static const struct {
		uint8_t total_length;
		size_t total;
		enum pkt_kind kind;
	} lengths[] = {{0x50, 80, PKT_TCP},  {0x50, 200, PKT_TCP}, {0x4f, 80, PKT_BAD},
		       {0x4f, 200, PKT_BAD}, {0x88, 79, PKT_BAD},  {0x88, 80, PKT_TCP},
		       {0x00, 79, PKT_BAD},  {0x00, 80, PKT_TCP}};
	uint8_t data[64];
	size_t n = bytes(hex, data, sizeof data);
	(void)state;
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		data[3] = lengths[i].total_length;
		assert_int_equal(parse(data, n, lengths[i].total).kind, lengths[i].kind);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(options_not_captured),
	    cmocka_unit_test(table),
	    cmocka_unit_test(truncated),
	    cmocka_unit_test(long_chains),
	    cmocka_unit_test(long_chains4),
	    cmocka_unit_test(facts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
