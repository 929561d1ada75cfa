/* The section kernel-rules: what is accepted, and what a mistake is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernel-rules/rules_conf.h"

#define TEXT(s)                                                                                    \
	((char *)(uintptr_t)(s)) /* the configuration owns its strings, these are constant */

static void masks(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		uint32_t pend, allow, reject;
	} cases[] = {
	    {"0x00ff0000", true, 0x10000, 0x20000, 0x30000},
	    {"0xff", true, 1, 2, 3},
	    {"0x3", true, 1, 2, 3},
	    {"0xc0000000", true, 0x40000000, 0x80000000, 0xc0000000},
	    {"0xFF000000", true, 0x01000000, 0x02000000, 0x03000000},
	    {"0x0", false, 0, 0, 0},
	    {"0x1", false, 0, 0, 0},
	    {"0x5", false, 0, 0, 0},   /* not neighbours */
	    {"0x1ff", false, 0, 0, 0}, /* nine bits */
	    {"0x1ff0000000", false, 0, 0, 0},
	    {"0xffg", false, 0, 0, 0},
	    {"255", false, 0, 0, 0},
	    {"0x", false, 0, 0, 0},
	    {"0x-3", false, 0, 0, 0},
	    {"", false, 0, 0, 0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rules_marks m;
		const char *err;
		if (rules_parse_mask(cases[i].text, &m, &err) != cases[i].ok)
			fail_msg("mask %s", cases[i].text);
		if (!cases[i].ok) {
			assert_non_null(strstr(err, "0x00ff0000"));
			continue;
		}
		assert_int_equal(m.pend, cases[i].pend);
		assert_int_equal(m.allow, cases[i].allow);
		assert_int_equal(m.reject, cases[i].reject);
	}
}

static struct rules_conf valid(char **interfaces, size_t n)
{
	return (struct rules_conf){.subscriber_interfaces = {interfaces, n},
				   .mark_mask = TEXT("0x00ff0000"),
				   .queue_first = 25,
				   .queue_count = 2};
}

static void interfaces(void **state)
{
	static const struct {
		const char *name;
		bool ok;
	} cases[] = {
	    {"eth0", true},
	    {"ppp*", true},
	    {"vlan.100", true},
	    {"a-b_c@d", true},
	    {"123456789012345", true},
	    {"", false},
	    {"*", false},
	    {"a*b", false},
	    {"a b", false},
	    {"1234567890123456", false},
	    {"a\"b", false},
	    {"a;b", false},
	    {"a{", false},
	    {"a\nb", false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *names[] = {TEXT(cases[i].name)};
		char err[256];
		struct rules_conf c = valid(names, 1);
		if (rules_conf_check(&c, err) != cases[i].ok)
			fail_msg("interface \"%s\"", cases[i].name);
	}
}

static void mistakes(void **state)
{
	char *names[] = {TEXT("sub0")}, *mta[] = {TEXT("192.0.2.1/24")}, err[256];
	(void)state;
	struct rules_conf c = valid(names, 1);
	c.own_mta = (struct conf_list){mta, 1};
	assert_false(rules_conf_check(&c, err));
	assert_non_null(strstr(err, "192.0.2.0/24"));
	c = valid(names, 1);
	c.mark_mask = TEXT("0x10");
	assert_false(rules_conf_check(&c, err));
	assert_non_null(strstr(err, "mark_mask"));
	c = valid(names, 1);
	c.queue_first = 65535;
	assert_false(rules_conf_check(&c, err));
	assert_non_null(strstr(err, "65536"));
}

static void queues(void **state)
{
	struct rules_conf c = valid(NULL, 0);
	(void)state;
	assert_int_equal(rules_queue_last(&c), 26);
	c.queue_count = 1;
	assert_int_equal(rules_queue_last(&c), 25);
	c.queue_count = 0;
	assert_true(rules_queue_last(&c) >= 25 && rules_queue_last(&c) < 25 + 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(masks),
	    cmocka_unit_test(interfaces),
	    cmocka_unit_test(mistakes),
	    cmocka_unit_test(queues),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
