/*
 * The rendered ruleset. kernel-rules/sekisho.nft is what the sample configuration below renders to;
 * with SEKISHO_WRITE_SAMPLE=1 in the environment it is written instead of compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <cmocka.h>

#include "lib/proc.h"

#include "kernel-rules/ruleset.h"

#define TEXT(s)                                                                                    \
	((char *)(uintptr_t)(s)) /* the configuration owns its strings, these are constant */
#define SAMPLE "kernel-rules/sekisho.nft"

static char *interfaces[] = {TEXT("lan0"), TEXT("ppp*")};
static char *mtas[] = {TEXT("192.0.2.25"), TEXT("2001:db8:25::/64"), TEXT("198.51.100.0/28")};

static struct rules_conf sample(void)
{
	return (struct rules_conf){.subscriber_interfaces = {interfaces, 2},
				   .own_mta = {mtas, 3},
				   .mark_mask = TEXT("0x00ff0000"),
				   .queue_first = 25,
				   .queue_count = 4,
				   .set_size = 1048576,
				   .throttle_rate = 60,
				   .throttle_burst = 120,
				   .reply_rate = 10000,
				   .fail = RULES_FAIL_CLOSED,
				   .reaction = RULES_RESET,
				   .antispoof = true};
}

static char *render(void *ctx, const struct rules_conf *c, bool native)
{
	struct ruleset_how how = {
	    .native = native, .queue_last = rules_queue_last(c), .note = "1.0: nft: as configured"};
	return ruleset_render(ctx, c, &how);
}

static void equals_sample(void **state)
{
	struct rules_conf c = sample();
	char *text = render(NULL, &c, true);
	(void)state;
	if (getenv("SEKISHO_WRITE_SAMPLE")) {
		FILE *f = fopen(SAMPLE, "w");
		assert_non_null(f);
		assert_true(fputs(text, f) >= 0);
		assert_int_equal(fclose(f), 0);
	} else {
		size_t len;
		char *want = proc_read_file(SAMPLE, 1 << 20, &len);
		assert_non_null(want);
		assert_string_equal(text, want);
		free(want);
	}
	talloc_free(text);
}

static size_t occurrences(const char *text, const char *what)
{
	size_t n = 0;
	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

/* Each key changes what it says. */
static void keys(void **state)
{
	struct rules_conf c = sample();
	(void)state;
	void *ctx = talloc_new(NULL);
	const char *t = render(ctx, &c, false);
	assert_int_equal(occurrences(t, "chain q"), 0);
	assert_int_equal(occurrences(t, "@mask@"), 0);
	assert_non_null(strstr(t, "fib saddr"));
	assert_non_null(strstr(t, "own_mta4 { 192.0.2.25, 198.51.100.0/28 }"));
	assert_non_null(strstr(t, "own_mta6 { 2001:db8:25::/64 }"));
	assert_non_null(strstr(t, "sub_if { \"lan0\", \"ppp*\" }"));
	assert_non_null(strstr(t, "c_unfiltered goto refuse"));
	assert_non_null(strstr(t, "reject with tcp reset"));
	c.antispoof = false;
	c.fail = RULES_FAIL_OPEN;
	c.reaction = RULES_DROP;
	c.tunnels = RULES_TUNNELS_DROP;
	c.mark_mask = TEXT("0xf0");
	c.throttle_rate = 7;
	c.own_mta.n = 0;
	t = render(ctx, &c, false);
	assert_null(strstr(t, "fib saddr"));
	assert_null(strstr(t, "reject"));
	assert_null(strstr(t, "add element inet sekisho own_mta"));
	assert_non_null(strstr(t, "c_unfiltered meta mark set meta mark & 0xffffff0f accept"));
	assert_non_null(strstr(t, "c_tunnels drop"));
	assert_non_null(strstr(t, "meta mark & 0xffffff0f | 0x00000010 accept"));
	assert_int_equal(occurrences(t, "over 7/minute"), 6);
	c.reaction = RULES_ICMP;
	c.queue_count = 1;
	t = render(ctx, &c, true);
	assert_non_null(strstr(t, "reject with icmpx type admin-prohibited"));
	assert_non_null(strstr(t, "queue flags bypass to 25\n"));
	talloc_free(ctx);
}

/* Nothing that would drop queued packets, or forget what sets hold. */
static void keeps(void **state)
{
	struct rules_conf c = sample();
	char *t = render(NULL, &c, true);
	(void)state;
	assert_null(strstr(t, "delete "));
	assert_null(strstr(t, "destroy "));
	assert_null(strstr(t, "flush table"));
	assert_null(strstr(t, "flush ruleset"));
	static const char *const kept[] = {"allow", "throttle", "deny",
					   "seen",  "refused",	"passed"};
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		char text[64];
		(void)snprintf(text, sizeof text, "flush set inet sekisho %s", kept[i]);
		assert_null(strstr(t, text));
	}
	/* Each chain that has rules is flushed first, or a second load would double them. */
	for (const char *p = strstr(t, "\n\n\tchain"); p; p = strstr(p + 1, "\n\n\tchain")) {
		char name[32], flush[64];
		assert_int_equal(sscanf(p, " chain %31s", name), 1);
		(void)snprintf(flush, sizeof flush, "\nflush chain inet sekisho %s\n", name);
		if (!strstr(t, flush))
			fail_msg("chain %s is not flushed", name);
	}
	talloc_free(t);
}

/* A set without a size stops matching at 65,535 elements. */
static void sizes(void **state)
{
	struct rules_conf c = sample();
	char *t = render(NULL, &c, true), *save = NULL;
	unsigned n = 0;
	(void)state;
	for (char *l = strtok_r(t, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (strncmp(l, "\tset ", 5) != 0 || strstr(l, "flags interval"))
			continue;
		n++;
		if (!strstr(l, " size "))
			fail_msg("%s", l);
	}
	assert_int_equal(n, 12 + 2 + 6 + 2);
	talloc_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(equals_sample),
	    cmocka_unit_test(keys),
	    cmocka_unit_test(keeps),
	    cmocka_unit_test(sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
