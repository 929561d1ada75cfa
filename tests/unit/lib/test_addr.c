/* addr: what is taken, what is refused and in which words, and that text goes there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lib/addr.h"

#define N(a) (sizeof(a) / sizeof *(a))

static void test_addr_parse(void **state)
{
	static const struct {
		const char *in, *out; /* out NULL: refused, with err in the text */
		const char *err;
	} cases[] = {
	    {"192.0.2.1", "192.0.2.1", NULL},
	    {"0.0.0.0", "0.0.0.0", NULL},
	    {"255.255.255.255", "255.255.255.255", NULL},
	    {"::", "::", NULL},
	    {"::1", "::1", NULL},
	    {"2001:DB8:0:0:0:0:0:1", "2001:db8::1", NULL},
	    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1", NULL},
	    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1", NULL},
	    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1", NULL},
	    {"::ffff:1.2.3.4", "1.2.3.4", NULL},
	    {"::ffff:102:304", "1.2.3.4", NULL},
	    {"64:ff9b::192.0.2.33", "64:ff9b::c000:221", NULL},
	    {"", NULL, "missing"},
	    {" 192.0.2.1", NULL, "blanks"},
	    {"192.0.2.1\n", NULL, "blanks"},
	    {"192.0.2.01", NULL, "leading zeros"},
	    {"192.0.2", NULL, "four numbers"},
	    {"192.0.2.256", NULL, "four numbers"},
	    {"192.0.2.1.", NULL, "four numbers"},
	    {"3221225985", NULL, "not an IPv6 address"},
	    {"0x7f.1", NULL, "not an IPv4 or IPv6"},
	    {"192.0.2.1:25", NULL, "port"},
	    {"192.0.2.0/24", NULL, "prefix"},
	    {"[::1]", NULL, "brackets"},
	    {"fe80::1%eth0", NULL, "zone"},
	    {"1::2::3", NULL, "not an IPv6"},
	    {"12345::", NULL, "not an IPv6"},
	    {"1:2:3:4:5:6:7:8:9", NULL, "not an IPv6"},
	    {"localhost", NULL, "not an IPv4 or IPv6"},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct addr a, again;
		char buf[ADDR_STRLEN];
		const char *err = NULL;
		bool ok = addr_parse(cases[i].in, &a, &err);
		if (ok != (cases[i].out != NULL))
			fail_msg("\"%s\": %s", cases[i].in, ok ? "taken" : err);
		if (!ok) {
			if (!strstr(err, cases[i].err))
				fail_msg("\"%s\": the error is \"%s\"", cases[i].in, err);
			continue;
		}
		assert_string_equal(addr_format(&a, buf), cases[i].out);
		assert_true(addr_parse(buf, &again, &err));
		assert_true(addr_eq(&a, &again));
	}
}

static void test_addr_family(void **state)
{
	struct addr a, b;
	const char *err;
	static const uint8_t v4[4] = {192, 0, 2, 1};
	(void)state;
	addr_from_v4(&a, v4);
	assert_true(addr_is4(&a));
	assert_memory_equal(addr_v4(&a), v4, 4);
	assert_true(addr_parse("::192.0.2.1", &b, &err));
	assert_false(addr_is4(&b)); /* IPv4-compatible is not IPv4-mapped */
	assert_false(addr_eq(&a, &b));
	assert_true(addr_cmp(&a, &b) > 0);
	assert_true(addr_cmp(&b, &a) < 0);
	assert_int_equal(addr_cmp(&a, &a), 0);
}

static void test_sockaddr(void **state)
{
	static const char *const texts[] = {"192.0.2.7", "2001:db8::7"};
	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		struct sockaddr_storage ss;
		struct addr a, b;
		uint16_t port = 0;
		const char *err;
		assert_true(addr_parse(texts[i], &a, &err));
		socklen_t len = addr_to_sockaddr(&a, 587, &ss);
		assert_int_equal(len, i ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
		assert_int_equal(ss.ss_family, i ? AF_INET6 : AF_INET);
		assert_true(addr_from_sockaddr((struct sockaddr *)&ss, &b, &port));
		assert_true(addr_eq(&a, &b));
		assert_int_equal(port, 587);
		assert_true(addr_from_sockaddr((struct sockaddr *)&ss, &b, NULL));
	}
	struct sockaddr_storage un = {.ss_family = AF_UNIX};
	struct addr a;
	assert_false(addr_from_sockaddr((struct sockaddr *)&un, &a, NULL));
}

/* A dual-stack listener sees an IPv4 client as ::ffff:a.b.c.d in an AF_INET6 sockaddr. */
static void test_sockaddr_mapped(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(25)};
	struct addr a;
	char buf[ADDR_STRLEN];
	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.9", &in6.sin6_addr), 1);
	assert_true(addr_from_sockaddr((struct sockaddr *)&in6, &a, NULL));
	assert_true(addr_is4(&a));
	assert_string_equal(addr_format(&a, buf), "192.0.2.9");
}

static void test_parse_port(void **state)
{
	static const struct {
		const char *in, *host;
		uint16_t port;
		const char *err;
	} cases[] = {
	    {"192.0.2.1:25", "192.0.2.1", 25, NULL},
	    {"[2001:db8::1]:587", "2001:db8::1", 587, NULL},
	    {"0.0.0.0:65535", "0.0.0.0", 65535, NULL},
	    {"[::]:1", "::", 1, NULL},
	    {"[::ffff:192.0.2.1]:1", "192.0.2.1", 1, NULL},
	    {"", NULL, 0, "with its port"},
	    {"192.0.2.1", NULL, 0, "with its port"},
	    {"192.0.2.1:", NULL, 0, "1 to 65535"},
	    {"192.0.2.1:0", NULL, 0, "1 to 65535"},
	    {"192.0.2.1:65536", NULL, 0, "1 to 65535"},
	    {"192.0.2.1:025", NULL, 0, "1 to 65535"},
	    {"192.0.2.1:+25", NULL, 0, "1 to 65535"},
	    {"192.0.2.1:25 ", NULL, 0, "1 to 65535"},
	    {"192.0.2.1:99999999999999999999", NULL, 0, "1 to 65535"},
	    {"2001:db8::1:25", NULL, 0, "brackets"},
	    {"[192.0.2.1]:25", NULL, 0, "brackets"},
	    {"[2001:db8::1]", NULL, 0, "with its port"},
	    {"[2001:db8::1:25", NULL, 0, "with its port"},
	    {"[2001:db8::1]25", NULL, 0, "with its port"},
	    {"[]:25", NULL, 0, "missing"},
	    {":25", NULL, 0, "missing"},
	    {"[aaaa:bbbb:cccc:dddd:eeee:ffff:aaaa:bbbb:cccc:dddd:eeee]:1", NULL, 0, "not an IPv4"},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct addr a;
		uint16_t port = 0;
		char buf[ADDR_STRLEN];
		const char *err = NULL;
		bool ok = addr_parse_port(cases[i].in, &a, &port, &err);
		if (ok != (cases[i].host != NULL))
			fail_msg("\"%s\": %s", cases[i].in, ok ? "taken" : err);
		if (ok) {
			assert_string_equal(addr_format(&a, buf), cases[i].host);
			assert_int_equal(port, cases[i].port);
		} else if (!strstr(err, cases[i].err)) {
			fail_msg("\"%s\": the error is \"%s\"", cases[i].in, err);
		}
	}
}

static void test_prefix_parse(void **state)
{
	static const struct {
		const char *in, *out, *err;
	} cases[] = {
	    {"192.0.2.0/24", "192.0.2.0/24", NULL},
	    {"192.0.2.1", "192.0.2.1", NULL},
	    {"192.0.2.1/32", "192.0.2.1", NULL},
	    {"0.0.0.0/0", "0.0.0.0/0", NULL},
	    {"10.128.0.0/9", "10.128.0.0/9", NULL},
	    {"2001:db8::/48", "2001:db8::/48", NULL},
	    {"2001:DB8::1/128", "2001:db8::1", NULL},
	    {"::/0", "::/0", NULL},
	    {"::ffff:192.0.2.1", "192.0.2.1", NULL},
	    {"192.0.2.1/24", NULL, "host bits are set; the network is 192.0.2.0/24"},
	    {"10.192.0.0/9", NULL, "the network is 10.128.0.0/9"},
	    {"2001:db8::1/64", NULL, "the network is 2001:db8::/64"},
	    {"::1/0", NULL, "the network is ::/0"},
	    {"192.0.2.0/33", NULL, "0 to 32"},
	    {"2001:db8::/129", NULL, "0 to 128"},
	    {"192.0.2.0/", NULL, "0 to 32"},
	    {"192.0.2.0/024", NULL, "0 to 32"},
	    {"192.0.2.0/-1", NULL, "0 to 32"},
	    {"192.0.2.0/255.255.255.0", NULL, "0 to 32"},
	    {"192.0.2.0/24/24", NULL, "0 to 32"},
	    {"192.0.2/24", NULL, "four numbers"},
	    {"/24", NULL, "missing"},
	    {"", NULL, "missing"},
	    {"::ffff:192.0.2.0/120", NULL, "as an IPv4 prefix"},
	    {"::ffff:0:0/96", NULL, "as an IPv4 prefix"},
	    {"::/80", NULL, "IPv4-mapped"},
	    {"::fffe:0:0/95", NULL, "IPv4-mapped"},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct prefix p, again;
		char buf[PREFIX_STRLEN], err[128] = "";
		bool ok = prefix_parse(cases[i].in, &p, err);
		if (ok != (cases[i].out != NULL))
			fail_msg("\"%s\": %s", cases[i].in, ok ? "taken" : err);
		if (!ok) {
			if (!strstr(err, cases[i].err))
				fail_msg("\"%s\": the error is \"%s\"", cases[i].in, err);
			continue;
		}
		assert_string_equal(prefix_format(&p, buf), cases[i].out);
		assert_true(prefix_parse(buf, &again, err));
		assert_true(prefix_eq(&p, &again));
	}
}

static void test_prefix_contains(void **state)
{
	static const struct {
		const char *prefix, *addr;
		bool in;
	} cases[] = {
	    {"192.0.2.0/24", "192.0.2.0", true},
	    {"192.0.2.0/24", "192.0.2.255", true},
	    {"192.0.2.0/24", "192.0.3.0", false},
	    {"192.0.2.0/25", "192.0.2.128", false},
	    {"192.0.2.7", "192.0.2.7", true},
	    {"192.0.2.7", "192.0.2.6", false},
	    {"0.0.0.0/0", "255.1.2.3", true},
	    {"0.0.0.0/0", "2001:db8::1", false},
	    {"::/0", "2001:db8::1", true},
	    {"::/0", "192.0.2.1", false},
	    {"2001:db8::/33", "2001:db8:7fff::", true},
	    {"2001:db8::/33", "2001:db8:8000::", false},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct prefix p;
		struct addr a;
		char errbuf[128];
		const char *err;
		assert_true(prefix_parse(cases[i].prefix, &p, errbuf));
		assert_true(addr_parse(cases[i].addr, &a, &err));
		if (prefix_contains(&p, &a) != cases[i].in)
			fail_msg("%s in %s", cases[i].addr, cases[i].prefix);
	}
}

static void test_prefix_range(void **state)
{
	static const struct {
		const char *prefix, *first, *last;
		bool host;
	} cases[] = {
	    {"192.0.2.0/24", "192.0.2.0", "192.0.2.255", false},
	    {"192.0.2.4/31", "192.0.2.4", "192.0.2.5", false},
	    {"192.0.2.4", "192.0.2.4", "192.0.2.4", true},
	    {"0.0.0.0/0", "0.0.0.0", "255.255.255.255", false},
	    {"2001:db8::/47", "2001:db8::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff", false},
	    {"::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false},
	    {"::1", "::1", "::1", true},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct prefix p;
		struct addr first, last;
		char errbuf[128], buf[ADDR_STRLEN];
		assert_true(prefix_parse(cases[i].prefix, &p, errbuf));
		assert_int_equal(prefix_is_host(&p), cases[i].host);
		prefix_range(&p, &first, &last);
		assert_string_equal(addr_format(&first, buf), cases[i].first);
		assert_string_equal(addr_format(&last, buf), cases[i].last);
		assert_true(prefix_contains(&p, &first));
		assert_true(prefix_contains(&p, &last));
	}
}

/* Every length of both families, against a bit-by-bit model. */
static void test_mask(void **state)
{
	static const char *const texts[] = {"203.45.171.119",
					    "2001:db8:dead:beef:cafe:f00d:1234:5677"};
	(void)state;
	for (size_t t = 0; t < N(texts); t++) {
		struct addr a, m;
		const char *err;
		assert_true(addr_parse(texts[t], &a, &err));
		unsigned base = addr_is4(&a) ? 96 : 0;
		for (unsigned len = 0; len <= 128 - base; len++) {
			addr_mask(&a, (uint8_t)len, &m);
			for (unsigned bit = 0; bit < 128; bit++) {
				unsigned x = a.b[bit / 8] >> (7 - bit % 8) & 1;
				unsigned y = m.b[bit / 8] >> (7 - bit % 8) & 1;
				assert_int_equal(y, bit < base + len ? x : 0);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_addr_parse),
	    cmocka_unit_test(test_addr_family),
	    cmocka_unit_test(test_sockaddr),
	    cmocka_unit_test(test_sockaddr_mapped),
	    cmocka_unit_test(test_parse_port),
	    cmocka_unit_test(test_prefix_parse),
	    cmocka_unit_test(test_prefix_contains),
	    cmocka_unit_test(test_prefix_range),
	    cmocka_unit_test(test_mask),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
