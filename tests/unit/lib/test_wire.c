/* wire: every field there and back, every cut of a record refused, every overrun kept inside the
 * buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire.h"

static const struct addr some_addr = {{0x20, 0x01, 0x0d, 0xb8, [15] = 7}};

static void write_all(struct wire_out *w)
{
	wire_u8(w, 0xfe);
	wire_u16(w, 0x1234);
	wire_u32(w, 0xdeadbeef);
	wire_u64(w, UINT64_MAX - 1);
	wire_i64(w, INT64_MIN);
	wire_addr(w, &some_addr);
	wire_bytes(w, "\0\1\2", 3);
	wire_str(w, "user@isp.example");
	wire_str(w, NULL);
}

static void read_all(struct wire_in *r)
{
	struct addr a;
	size_t len;
	char s[17];
	assert_int_equal(wire_get_u8(r), 0xfe);
	assert_int_equal(wire_get_u16(r), 0x1234);
	assert_int_equal(wire_get_u32(r), 0xdeadbeef);
	assert_true(wire_get_u64(r) == UINT64_MAX - 1);
	assert_true(wire_get_i64(r) == INT64_MIN);
	wire_get_addr(r, &a);
	assert_true(addr_eq(&a, &some_addr));
	const uint8_t *p = wire_get_bytes(r, 3, &len);
	assert_int_equal(len, 3);
	assert_memory_equal(p, "\0\1\2", 3);
	wire_get_str(r, s, sizeof s);
	assert_string_equal(s, "user@isp.example");
	wire_get_str(r, s, 1);
	assert_string_equal(s, "");
}

static void test_round_trip(void **state)
{
	uint8_t buf[128];
	struct wire_out w;
	struct wire_in r;
	(void)state;
	wire_out_init(&w, buf, sizeof buf);
	write_all(&w);
	assert_false(w.bad);
	assert_int_equal(w.len, 1 + 2 + 4 + 8 + 8 + 16 + 7 + 20 + 4);
	assert_memory_equal(buf, "\xfe\x12\x34\xde\xad\xbe\xef", 7); /* big-endian */
	wire_in_init(&r, buf, w.len);
	assert_false(wire_done(&r));
	read_all(&r);
	assert_true(wire_done(&r));
	assert_int_equal(wire_get_u8(&r), 0);
	assert_true(r.bad);
	assert_false(wire_done(&r));
}

/* One byte short at every length: bad, and nothing read past the end (the sanitizer watches an
 * exact copy). */
static void test_every_cut(void **state)
{
	uint8_t buf[128];
	struct wire_out w;
	(void)state;
	wire_out_init(&w, buf, sizeof buf);
	write_all(&w);
	for (size_t cut = 0; cut < w.len; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);
		struct wire_in r;
		struct addr a;
		size_t len;
		char s[32];
		memcpy(exact, buf, cut);
		wire_in_init(&r, exact, cut);
		(void)wire_get_u8(&r), (void)wire_get_u16(&r), (void)wire_get_u32(&r);
		(void)wire_get_u64(&r), (void)wire_get_i64(&r);
		wire_get_addr(&r, &a);
		(void)wire_get_bytes(&r, 64, &len);
		wire_get_str(&r, s, sizeof s);
		wire_get_str(&r, s, sizeof s);
		assert_true(r.bad);
		assert_false(wire_done(&r));
		assert_string_equal(s, "");
		free(exact);
	}
}

static void test_every_short_buffer(void **state)
{
	(void)state;
	for (size_t cap = 0; cap < 70; cap++) {
		uint8_t *exact = malloc(cap ? cap : 1);
		struct wire_out w;
		wire_out_init(&w, exact, cap);
		write_all(&w);
		assert_true(w.bad);
		assert_true(w.len <= cap);
		size_t len = w.len;
		wire_u8(&w, 1); /* sticky, even where one byte would fit */
		assert_int_equal(w.len, len);
		free(exact);
	}
}

static void test_bad_strings(void **state)
{
	static const struct {
		const char *data;
		size_t len, cap;
	} cases[] = {
	    {"\0\0\0\4abcd", 8, 4},	 /* no room for the NUL */
	    {"\0\0\0\3a\0b", 7, 16},	 /* a NUL inside */
	    {"\0\0\0\5abcd", 8, 16},	 /* longer than the record */
	    {"\xff\xff\xff\xff", 4, 16}, /* 4 GiB */
	    {"\0\0\0", 3, 16},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct wire_in r;
		char s[16] = "before";
		wire_in_init(&r, cases[i].data, cases[i].len);
		wire_get_str(&r, s, cases[i].cap);
		assert_true(r.bad);
		assert_string_equal(s, "");
	}
}

static void test_bytes_limit(void **state)
{
	struct wire_in r;
	size_t len = 9;
	(void)state;
	wire_in_init(&r, "\0\0\0\4abcd", 8);
	assert_non_null(wire_get_bytes(&r, 4, &len));
	assert_int_equal(len, 4);
	wire_in_init(&r, "\0\0\0\4abcd", 8);
	assert_null(wire_get_bytes(&r, 3, &len));
	assert_int_equal(len, 0);
	assert_true(r.bad);
	wire_in_init(&r, "\0\0\0\0", 4);
	assert_non_null(wire_get_bytes(&r, 0, &len));
	assert_int_equal(len, 0);
	assert_true(wire_done(&r));
}

static void test_empty(void **state)
{
	struct wire_in r;
	struct wire_out w;
	(void)state;
	wire_in_init(&r, NULL, 0);
	assert_true(wire_done(&r));
	assert_int_equal(wire_get_u32(&r), 0);
	assert_true(r.bad);
	wire_out_init(&w, NULL, 0);
	wire_str(&w, "");
	assert_true(w.bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),	       cmocka_unit_test(test_every_cut),
	    cmocka_unit_test(test_every_short_buffer), cmocka_unit_test(test_bad_strings),
	    cmocka_unit_test(test_bytes_limit),	       cmocka_unit_test(test_empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
