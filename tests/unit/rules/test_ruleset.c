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
				   .delegated = 64,
				   .throttle_rate = 60,
				   .throttle_burst = 120,
				   .reply_rate = 10000,
				   .count_rate = 5000,
				   .notice_port = 2525,
				   .fail = RULES_FAIL_CLOSED,
				   .reaction = RULES_RESET,
				   .antispoof = true};
}

static char *render(void *ctx, const struct rules_conf *c, bool native)
{
	struct ruleset_how how = {.native = native, .note = "1.0: nft: as configured"};
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
	assert_int_equal(occurrences(t, "queue flags"), 0);
	assert_int_equal(occurrences(t, "@mask@"), 0);
	assert_non_null(strstr(t, "fib saddr"));
	assert_non_null(strstr(t, "\t\tip daddr 198.51.100.0/28 accept\n"));
	assert_non_null(strstr(t, "\t\tip6 daddr 2001:db8:25::/64 accept\n"));
	assert_non_null(strstr(t, "iifname != \"ppp*\" iifname != \"lan0\" accept"));
	assert_non_null(strstr(t, "c_unfiltered goto refuse"));
	assert_non_null(strstr(t, "reject with tcp reset"));
	assert_null(strstr(t, "prerouting"));
	assert_null(strstr(t, "ct count"));
	assert_null(strstr(t, "@subject"));
	c.antispoof = false;
	c.fail = RULES_FAIL_OPEN;
	c.reaction = RULES_DROP;
	c.tunnels = RULES_TUNNELS_DROP;
	c.mark_mask = TEXT("0xf0");
	c.throttle_rate = 7;
	c.own_mta.n = 0;
	c.count_rate = 9;
	t = render(ctx, &c, false);
	assert_null(strstr(t, "fib saddr"));
	assert_null(strstr(t, "reject with"));
	assert_null(strstr(t, "daddr 192"));
	assert_non_null(strstr(t, "c_unfiltered accept"));
	assert_null(strstr(t, "queue_closed"));
	assert_non_null(strstr(t, "c_tunnels drop"));
	assert_non_null(strstr(t, "meta mark & 0x000000f0 == 0x00000030 counter"));
	assert_non_null(strstr(t, "limit rate over 9/second burst 90 packets update @busy_drop { "
				  "meta l4proto timeout 100ms } drop\n"));
	assert_int_equal(occurrences(t, "over 7/minute"), 25 + 33 + 17);
	c.reaction = RULES_RESET;
	t = render(ctx, &c, false);
	assert_non_null(strstr(t, "\t\tlimit rate over 10000/second burst 10000 packets drop\n"
				  "\t\treject with tcp reset\n"));
	c.reaction = RULES_ICMP;
	c.queue_count = 1;
	t = render(ctx, &c, true);
	assert_non_null(strstr(t, "\t\tlimit rate over 10000/second burst 10000 packets drop\n"
				  "\t\treject with icmp type admin-prohibited\n"));
	assert_non_null(strstr(t, "reject with icmp type admin-prohibited"));
	assert_non_null(strstr(t, "reject with icmpv6 type admin-prohibited"));
	assert_non_null(strstr(t, "queue flags bypass to 25\n"));
	talloc_free(ctx);
}

/* A rule for each pool that is treated otherwise, most specific first; none when all are alike. */
static void pools(void **state)
{
	char *a_if[] = {TEXT("dsl0"), TEXT("ppp*")}, *b_if[] = {TEXT("ppp1")},
	     *a_net[] = {TEXT("10.0.0.0/8")},
	     *b_net[] = {TEXT("10.1.0.0/16"), TEXT("2001:db8::/32")};
	struct rules_pool p[] = {
	    {.name = TEXT("a"), .interfaces = {a_if, 2}, .prefixes = {a_net, 1}, .delegated = 56},
	    {.name = TEXT("b"), .interfaces = {b_if, 1}, .prefixes = {b_net, 2}, .delegated = 64}};
	struct rules_conf c = sample();
	void *ctx = talloc_new(NULL);
	(void)state;
	c.pools = (struct conf_items){p, 2};
	const char *t = render(ctx, &c, true);
	assert_null(strstr(t, "10.1.0.0/16 goto"));
	assert_null(strstr(t, "wait_open"));
	/* Only sources of prefixes are subject now, but on interfaces of pools. */
	assert_non_null(strstr(t, "add element ip sekisho subject { 10.0.0.0/8 }"));
	assert_non_null(strstr(t, "add element ip6 sekisho subject { 2001:db8::/32 }"));
	assert_non_null(
	    strstr(t, "\t\tiifname != \"ppp*\" iifname != { \"dsl0\", \"ppp1\" } ip saddr != "
		      "@subject goto stranger"));
	/* Lines of both lengths are denied. */
	assert_non_null(strstr(t, "\t\tip6 saddr & ffff:ffff:ffff:ff00:: @deny_56 goto refuse"));
	assert_non_null(strstr(t, "\t\tip6 saddr & ffff:ffff:ffff:ffff:: @deny_64 goto refuse"));
	p[1].fail = RULES_FAIL_OPEN;
	p[0].reaction = RULES_ICMP;
	t = render(ctx, &c, true);
	assert_non_null(strstr(t, "\t\tip saddr 10.1.0.0/16 goto wait_open\n"
				  "\t\tip saddr 10.0.0.0/8 goto wait_closed\n"
				  "\t\tiifname \"dsl0\" goto wait_closed\n"
				  "\t\tiifname \"ppp1\" goto wait_open\n"
				  "\t\tiifname \"ppp*\" goto wait_closed\n"
				  "\t\tgoto wait_closed\n"));
	assert_non_null(strstr(t, "\t\tip6 saddr 2001:db8::/32 goto wait_open\n"));
	assert_non_null(strstr(t, "\t\tip saddr 10.0.0.0/8 goto answer_icmp\n"));
	/* What only a pool says has its chain. */
	assert_non_null(strstr(t, "\tchain answer_icmp {\n"));
	assert_non_null(strstr(t, "\tchain answer_reset {\n"));
	/* The subjects are those of this configuration, of either family. */
	assert_non_null(strstr(t, "flush set ip sekisho subject\n"
				  "add element ip sekisho subject { 10.0.0.0/8 }\n"));
	assert_int_equal(occurrences(t, "ip saddr != @subject goto stranger\n"), 4);
	assert_int_equal(occurrences(t, "ip6 saddr != @subject goto stranger\n"), 3);
	assert_non_null(strstr(t, "\tchain stranger {\n\t\t# Nobody's business"));
	c.antispoof = false;
	t = render(ctx, &c, true);
	assert_int_equal(occurrences(t, "\tchain stranger {\n\t\taccept\n\t}\n"), 2);
	assert_non_null(strstr(t, "queue flags fanout to 25-28\n"));
	assert_non_null(strstr(t, "queue flags fanout,bypass to 29-32\n"));
	talloc_free(ctx);
}

static void notice(void **state)
{
	char *ifs[] = {TEXT("kid0")};
	struct rules_pool p = {
	    .name = TEXT("k"), .interfaces = {ifs, 1}, .delegated = 64, .notice = true};
	struct rules_conf c = sample();
	void *ctx = talloc_new(NULL);
	(void)state;
	c.pools = (struct conf_items){&p, 1};
	const char *t = render(ctx, &c, true);
	assert_int_equal(occurrences(t, "hook prerouting priority -150"), 2);
	assert_non_null(strstr(
	    t, "tproxy to 127.0.0.1:2525 meta mark set meta mark & 0xff00ffff | 0x00010000"));
	assert_non_null(strstr(t, "tproxy to [::1]:2525"));
	assert_non_null(strstr(t, "\t\tiifname \"kid0\" goto notice_line\n\t\taccept\n"));
	assert_non_null(strstr(t, "\t\tiifname \"kid0\" goto hush\n\t\tgoto refuse\n"));
	/* In prerouting a class only says that the line is exempt. */
	assert_int_equal(occurrences(t, "\t\toif 0 accept\n"), 2 * (25 + 33 + 17));
	assert_int_equal(occurrences(t, "c_judged goto rejected\n"), 2);
	c.pools.n = 0;
	t = render(ctx, &c, true);
	assert_int_equal(occurrences(t, "c_judged goto refuse\n"), 2);
	assert_null(strstr(t, "tproxy"));
	assert_null(strstr(t, "oif 0"));
	struct ruleset_how how = {.note = "x", .notice_there = true};
	t = ruleset_render(ctx, &c, &how);
	assert_non_null(strstr(t, "flush chain ip sekisho notice\n"));
	assert_null(strstr(t, "hook prerouting"));
	talloc_free(ctx);
}

/* Only what a class asks for. */
static void classes(void **state)
{
	struct rules_class k[] = {
	    {.name = TEXT("biz"), .rate = 10, .concurrent = 3, .destinations = 50, .listed = true},
	    {.name = TEXT("throttled")}};
	struct rules_conf c = sample();
	void *ctx = talloc_new(NULL);
	(void)state;
	c.classes = (struct conf_items){k, 2};
	const char *t = render(ctx, &c, true);
	assert_non_null(strstr(t, "\tset rate_biz { type ipv4_addr; flags dynamic,timeout; "
				  "gc-interval 1m; size 1048576; }"));
	assert_non_null(strstr(t, "\tset dest_biz { type ipv6_addr . ipv6_addr;"));
	assert_null(strstr(t, "set rate_throttled"));
	assert_non_null(strstr(
	    t, "\tchain class_biz_29 {\n"
	       "\t\tiifname != \"ppp*\" iifname != \"lan0\" accept\n"
	       "\t\tip daddr 192.0.2.25 accept\n"
	       "\t\tip daddr 198.51.100.0/28 accept\n"
	       "\t\tip saddr & 255.255.255.248 . ip daddr != @listed goto pend\n"
	       "\t\ttcp flags & (syn | ack) != syn goto exempt\n"
	       "\t\tfib saddr . iif oif missing goto forged\n"
	       "\t\tadd @conc_biz { ip saddr & 255.255.255.248 ct count over 3 } counter name "
	       "c_throttled goto refuse\n"
	       "\t\tupdate @rate_biz { ip saddr & 255.255.255.248 timeout 12m limit rate over "
	       "10/minute burst 20 packets } counter name c_throttled goto refuse\n"
	       "\t\tip saddr & 255.255.255.248 . ip daddr @dest_biz goto passed\n"
	       "\t\tupdate @dmeter_biz { ip saddr & 255.255.255.248 timeout 2h limit rate over "
	       "50/hour burst 50 packets } counter name c_throttled goto refuse\n"
	       "\t\tadd @dest_biz { ip saddr & 255.255.255.248 . ip daddr timeout 1h }\n"
	       "\t\tgoto passed\n"
	       "\t}\n"));
	assert_non_null(strstr(t, "\t\tip6 daddr 2001:db8:25::/64 accept\n"
				  "\t\ttcp flags & (syn | ack) != syn goto exempt\n"
				  "\t\tgoto exempt\n"));
	/* A meter keeps its rate for as long as it lives. */
	static const char *const meters[] = {"conc", "rate", "dmeter", "dest"};
	for (size_t i = 0; i < 4; i++) {
		char flush[64];
		(void)snprintf(flush, sizeof flush, "flush set ip6 sekisho %s_biz\n", meters[i]);
		assert_non_null(strstr(t, flush));
	}
	assert_null(strstr(t, "_throttled\n"));
	/* The chain of a class that is no longer there leads to nfqd. */
	static const char *const left[] = {"ip class_gone_24", NULL};
	struct ruleset_how how = {.note = "x", .orphans = left};
	t = ruleset_render(ctx, &c, &how);
	assert_int_equal(occurrences(t, "\tchain class_gone_24 {\n\t\tgoto pend\n\t}\n"), 1);
	talloc_free(ctx);
}

/* Each limit by itself makes a class that limits, whose packets' source is looked at first. */
static void each_limit(void **state)
{
	const struct {
		struct rules_class k;
		const char *rule;
	} cases[] = {
	    {{.name = TEXT("one"), .rate = 10}, "\t\tupdate @rate_one "},
	    {{.name = TEXT("one"), .concurrent = 3}, "\t\tadd @conc_one "},
	    {{.name = TEXT("one"), .destinations = 5}, "\t\tip6 saddr . ip6 daddr @dest_one "},
	};
	void *ctx = talloc_new(NULL);
	(void)state;
	for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
		struct rules_class k = cases[i / 2].k;
		struct rules_conf c = sample();
		char want[128];
		c.classes = (struct conf_items){&k, 1};
		c.antispoof = i % 2;
		(void)snprintf(want, sizeof want,
			       "\t\ttcp flags & (syn | ack) != syn goto exempt\n%s%s",
			       c.antispoof ? "\t\tfib saddr . iif oif missing goto forged\n" : "",
			       cases[i / 2].rule);
		const char *t = render(ctx, &c, true),
			   *chain = strstr(t, "\tchain class_one_128 {\n");
		assert_non_null(chain);
		const char *found = strstr(chain, want);
		if (!found || found > strstr(chain, "\t}\n"))
			fail_msg("case %zu: %.500s", i, chain);
	}
	talloc_free(ctx);
}

/* Few own servers are compared one by one, more are looked up. */
static void own_servers(void **state)
{
	char *many[] = {TEXT("192.0.2.1"), TEXT("192.0.2.2"), TEXT("192.0.2.3"),
			TEXT("192.0.2.4"), TEXT("192.0.2.5"), TEXT("2001:db8::1")};
	struct rules_conf c = sample();
	void *ctx = talloc_new(NULL);
	(void)state;
	c.own_mta = (struct conf_list){many, 6};
	const char *t = render(ctx, &c, true);
	assert_non_null(strstr(t, "\t\tip daddr @own_mta accept\n"));
	assert_null(strstr(t, "ip daddr 192.0.2.1 "));
	assert_non_null(strstr(t, "\t\tip6 daddr 2001:db8::1 accept\n"));
	assert_null(strstr(t, "ip6 sekisho own_mta"));
	assert_non_null(strstr(t, "flush set ip sekisho own_mta\n"
				  "add element ip sekisho own_mta { 192.0.2.1 }\n"));
	assert_int_equal(occurrences(t, "add element ip sekisho own_mta"), 5);
	talloc_free(ctx);
}

static void antispoof_except(void **state)
{
	char *ifs[] = {TEXT("wan2")};
	struct rules_conf c = sample();
	void *ctx = talloc_new(NULL);
	(void)state;
	c.antispoof_except = (struct conf_list){ifs, 1};
	const char *t = render(ctx, &c, true);
	assert_int_equal(occurrences(t, "fib saddr . iif oif missing"),
			 occurrences(t, "\t\tiifname != \"wan2\" fib saddr . iif oif missing"));
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
	static const char *const kept[] = {"allow",   "class",	"deny",	 "seen",
					   "refused", "passed", "alive", "listed"};
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		char text[64];
		(void)snprintf(text, sizeof text, "flush set ip sekisho %s", kept[i]);
		assert_null(strstr(t, text));
	}
	/* One base chain a family: each costs every packet. */
	assert_int_equal(occurrences(t, "type filter hook"), 2);
	talloc_free(t);
}

struct flushed {
	const char *text;
	unsigned n;
	bool native;
};

static void is_flushed(const char *family, const char *chain, unsigned rules, void *arg)
{
	struct flushed *f = arg;
	char flush[128];
	bool queue = strncmp(chain, "queue_", 6) == 0;
	(void)snprintf(flush, sizeof flush, "\nflush chain %s sekisho %s\n", family, chain);
	/* The loader's own queue rule stays where it is. */
	if (!strstr(f->text, flush) != (queue && !f->native))
		fail_msg("chain %s %s", family, chain);
	if (!rules && !(queue && !f->native))
		fail_msg("chain %s %s is empty", family, chain);
	f->n++;
}

/* Each chain that has rules is flushed first, or a second load would double them. */
static void flushes(void **state)
{
	struct rules_conf c = sample();
	(void)state;
	for (unsigned native = 0; native < 2; native++) {
		struct flushed f = {render(NULL, &c, native), 0, native};
		ruleset_chains(f.text, is_flushed, &f);
		assert_true(f.n > 2 * (25 + 33 + 17));
		talloc_free((char *)(uintptr_t)f.text);
	}
}

/* A set without a size stops matching at 65,535 elements. */
static void sizes(void **state)
{
	struct rules_conf c = sample();
	char *t = render(NULL, &c, true), *save = NULL;
	unsigned n = 0;
	(void)state;
	for (char *l = strtok_r(t, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if ((strncmp(l, "\tset ", 5) != 0 && strncmp(l, "\tmap ", 5) != 0) ||
		    strstr(l, "flags interval") || strstr(l, "set alive"))
			continue;
		n++;
		if (!strstr(l, " size "))
			fail_msg("%s", l);
	}
	assert_int_equal(n, 2 * (2 + 4) + 2 * 9 + 2);
	talloc_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(equals_sample), cmocka_unit_test(keys),
	    cmocka_unit_test(pools),	     cmocka_unit_test(notice),
	    cmocka_unit_test(classes),	     cmocka_unit_test(antispoof_except),
	    cmocka_unit_test(keeps),	     cmocka_unit_test(flushes),
	    cmocka_unit_test(sizes),	     cmocka_unit_test(each_limit),
	    cmocka_unit_test(own_servers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
