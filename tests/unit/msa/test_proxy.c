/* proxy: headers of both versions, whole and byte by byte, and never an octet too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "msa/proxy.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define C(text, result, client, port)                                                              \
	{                                                                                          \
		(text), sizeof(text) - 1, (result), (client), (port)                               \
	}
#define FOUR "\xc6\x33\x64\x07\x0a\x00\x00\x01\x9c\x40\x02\x4b"
#define SIX                                                                                        \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"                                               \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x9c\x40\x02\x4b"
#define MAPPED                                                                                     \
	"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x07"                                             \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x9c\x40\x02\x4b"

static const struct {
	const char *text;
	size_t len;
	enum proxy_result result;
	const char *client;
	uint16_t port;
} cases[] = {
    C("PROXY TCP4 198.51.100.7 10.0.0.1 40000 587\r\n", PROXY_OK, "198.51.100.7", 40000),
    C("PROXY TCP6 2001:db8::1 2001:db8::2 40000 465\r\n", PROXY_OK, "2001:db8::1", 40000),
    C("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
      "65535 65535\r\n",
      PROXY_OK, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    C("PROXY UNKNOWN\r\n", PROXY_LOCAL, NULL, 0),
    C("PROXY UNKNOWN ffff:ffff::1 what ever\r\n", PROXY_LOCAL, NULL, 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 0 587\r\n", PROXY_OK, "198.51.100.7", 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 40000\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 40000 587 1\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 40000 587 \r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.7  10.0.0.1 40000 587\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 65536 587\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 040 587\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 -1 587\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.256 10.0.0.1 1 587\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 2001:db8::1 10.0.0.1 1 587\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP6 198.51.100.7 2001:db8::1 1 587\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.7\0 10.0.0.1 1 587\r\n", PROXY_BAD, NULL, 0),
    C("PROXY UDP4 198.51.100.7 10.0.0.1 1 587\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 40000 587\n\r\n", PROXY_BAD, NULL, 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 40000 587\r\r\n", PROXY_BAD, NULL, 0),
    C("proxy TCP4 198.51.100.7 10.0.0.1 40000 587\r\n", PROXY_BAD, NULL, 0),
    C("EHLO client.example\r\n", PROXY_BAD, NULL, 0),
    C("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", PROXY_BAD, NULL, 0),
    C("PROXY UNKNOWN "
      "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
      "x"
      "\r\n",
      PROXY_BAD, NULL, 0),
    C(SIG "\x21\x11\x00\x0c" FOUR, PROXY_OK, "198.51.100.7", 40000),
    C(SIG "\x21\x11\x00\x10" FOUR "\x04\x00\x01\x00", PROXY_OK, "198.51.100.7", 40000),
    C(SIG "\x21\x21\x00\x24" SIX, PROXY_OK, "2001:db8::1", 40000),
    C(SIG "\x21\x21\x00\x24" MAPPED, PROXY_OK, "198.51.100.7", 40000),
    C(SIG "\x20\x00\x00\x00", PROXY_LOCAL, NULL, 0),
    C(SIG "\x20\x11\x00\x0c" FOUR, PROXY_LOCAL, NULL, 0),
    C(SIG "\x21\x00\x00\x00", PROXY_LOCAL, NULL, 0),
    C(SIG "\x21\x11\x00\x0b" FOUR, PROXY_BAD, NULL, 0), /* one octet too few for it */
    C(SIG "\x21\x21\x00\x0c" FOUR, PROXY_BAD, NULL, 0),
    C(SIG "\x21\x12\x00\x0c" FOUR, PROXY_BAD, NULL, 0), /* UDP */
    C(SIG "\x21\x31\x00\x00", PROXY_BAD, NULL, 0),
    C(SIG "\x11\x11\x00\x0c" FOUR, PROXY_BAD, NULL, 0), /* version 1 in version 2's form */
    C(SIG "\x22\x11\x00\x0c" FOUR, PROXY_BAD, NULL, 0),
    C(SIG "\x21\x11\xff\xff" FOUR, PROXY_BAD, NULL, 0), /* too long */
    C("\r\n\r\n\0\r\nQUIT\r", PROXY_BAD, NULL, 0),
    C("\r\n", PROXY_MORE, NULL, 0),
    C("", PROXY_MORE, NULL, 0),
    C("PROXY TCP4 198.51.100.7 10.0.0.1 40000 587\r", PROXY_MORE, NULL, 0),
};

/* Reads as a socket would give it, at most `step` octets at once and never more than asked for. */
static enum proxy_result feed(size_t i, size_t step, struct proxy_header *h, size_t *used)
{
	enum proxy_result r = proxy_parse((const uint8_t *)cases[i].text, 0, h);
	size_t n = 0;

	while (r == PROXY_MORE && n < cases[i].len) {
		size_t take = h->more < step ? h->more : step;

		if (take > cases[i].len - n)
			take = cases[i].len - n;
		assert_in_range(h->more, 1, PROXY_MAX);
		n += take;
		r = proxy_parse((const uint8_t *)cases[i].text, n, h);
	}
	*used = n;
	return r;
}

static void test_cases(void **state)
{
	static const size_t steps[] = {PROXY_MAX, 1, 7};
	struct proxy_header h;
	char text[ADDR_STRLEN];
	size_t used;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		for (size_t j = 0; j < 3; j++) {
			if (feed(i, steps[j], &h, &used) != cases[i].result)
				fail_msg("case %zu, %zu at once", i, steps[j]);
			if (cases[i].result == PROXY_OK || cases[i].result == PROXY_LOCAL)
				assert_int_equal(used, cases[i].len);
			if (cases[i].result != PROXY_OK)
				continue;
			assert_string_equal(addr_format(&h.client, text), cases[i].client);
			assert_int_equal(h.port, cases[i].port);
		}
	}
}

/* Further fields up to PROXY_MAX in all are passed over, and not one octet beyond. */
static void test_longest(void **state)
{
	static const char head[] = SIG "\x21\x11\x00\x00" FOUR;
	uint8_t data[PROXY_MAX + 1] = {0};
	struct proxy_header h;

	(void)state;
	memcpy(data, head, sizeof(head) - 1);
	for (size_t len = PROXY_MAX - 1; len <= PROXY_MAX + 1; len++) {
		data[14] = (uint8_t)((len - 16) >> 8);
		data[15] = (uint8_t)(len - 16);
		assert_int_equal(proxy_parse(data, 16, &h),
				 len <= PROXY_MAX ? PROXY_MORE : PROXY_BAD);
		assert_int_equal(proxy_parse(data, len, &h),
				 len <= PROXY_MAX ? PROXY_OK : PROXY_BAD);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cases),
	    cmocka_unit_test(test_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
