/* The section kernel-rules: what is accepted, and what a mistake is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <talloc.h>

#include "kernel-rules/rules_conf.h"

#define TEXT(s)                                                                                    \
	((char *)(uintptr_t)(s)) /* the configuration owns its strings, these are constant */

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
	struct rules_pool open = {.name = TEXT("p"), .fail = RULES_FAIL_OPEN};
	(void)state;
	assert_int_equal(rules_queues(&c, RULES_FAIL_CLOSED).first, 25);
	assert_int_equal(rules_queues(&c, RULES_FAIL_CLOSED).last, 26);
	c.queue_count = 1;
	assert_int_equal(rules_queues(&c, RULES_FAIL_CLOSED).last, 25);
	c.queue_count = 0;
	assert_true(rules_queues(&c, RULES_FAIL_CLOSED).last >= 25 &&
		    rules_queues(&c, RULES_FAIL_CLOSED).last < 25 + 64);
	/* Both ways to fail: open has the queues behind. */
	c.queue_count = 3;
	c.pools = (struct conf_items){&open, 1};
	assert_int_equal(rules_queues(&c, RULES_FAIL_CLOSED).last, 27);
	assert_int_equal(rules_queues(&c, RULES_FAIL_OPEN).first, 28);
	assert_int_equal(rules_queues(&c, RULES_FAIL_OPEN).last, 30);
	c.fail = RULES_FAIL_OPEN;
	assert_int_equal(rules_queues(&c, RULES_FAIL_OPEN).first, 25);
}

static void groups(void **state)
{
	static const struct {
		const char *text, *why; /* NULL: fine */
	} cases[] = {
	    {"class throttled { rate = 5 } class x { } pool a { interfaces = {p0} }", NULL},
	    {"class full { }", "class full has no limits"},
	    {"class x { burst = 5 }", "class x: burst without rate"},
	    {"pool a { }", "pool a: set interfaces or prefixes"},
	    {"pool a { interfaces = {'a b'} }", "pool a: interfaces: \"a b\" is not"},
	    {"pool a { prefixes = {'192.0.2.1/24'} }", "pool a: prefixes: "},
	    {"pool a { interfaces = {p0} } pool b { interfaces = {p1, p0} }",
	     "pools a and b both have p0"},
	    {"pool a { prefixes = {'10.0.0.0/8'} } pool b { prefixes = {'10.0.0.0/8'} }",
	     "both have 10.0.0.0/8"},
	    {"pool a { interfaces = {p0} prefixes = {'10.0.0.0/8'} }"
	     " pool b { prefixes = {'10.1.0.0/16', '2001:db8::/32'} }",
	     NULL},
	    {"kernel-rules { queue_first = 65500 queue_count = 20 } pool a { interfaces = {p0} "
	     "fail "
	     "= open }",
	     "twice queue_count"},
	    {"kernel-rules { antispoof_except = {'a;b'} }", "antispoof_except"},
	    {"kernel-rules { subscriber_prefixes = {'10.0.0.1/8'} }", "subscriber_prefixes"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		void *ctx = talloc_new(NULL);
		struct rules_conf c;
		char path[] = "/tmp/sekisho-test-rules.XXXXXX", *err = NULL;
		int fd = mkstemp(path);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, cases[i].text, strlen(cases[i].text)),
				 strlen(cases[i].text));
		(void)close(fd);
		bool ok = rules_conf_load(ctx, path, false, &c, &err);
		(void)unlink(path);
		if (ok != !cases[i].why || (!ok && !strstr(err, cases[i].why)))
			fail_msg("%s: %s", cases[i].text, ok ? "taken" : err);
		talloc_free(ctx);
	}
}

static void classes(void **state)
{
	struct rules_class k[RULES_MAX_CLASSES + 2],
	    own[] = {{.name = TEXT("biz"), .rate = 10}, {.name = TEXT("throttled"), .rate = 7}};
	struct rules_conf c = {.throttle_rate = 60, .throttle_burst = 120};
	(void)state;
	assert_int_equal(rules_classes(&c, k), 2);
	assert_string_equal(k[0].name, "throttled");
	assert_int_equal(k[0].burst, 120);
	assert_true(k[1].listed);
	/* One's own come first, take the place of those built in, and have a burst. */
	c.classes = (struct conf_items){own, 2};
	assert_int_equal(rules_classes(&c, k), 3);
	assert_int_equal(k[0].burst, 20);
	assert_int_equal(k[1].rate, 7);
	assert_string_equal(k[2].name, "listed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(interfaces), cmocka_unit_test(mistakes), cmocka_unit_test(queues),
	    cmocka_unit_test(groups),	  cmocka_unit_test(classes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
