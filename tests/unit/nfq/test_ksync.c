/* Prefixes as elements, and names and defaults that two folders must agree on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/conf.h"
#include "lib/proc.h"

#include "nfq/ksync.h"
#include "nfq/nfq_conf.h"

struct elements {
	unsigned n;
	enum nftset_id set;
	struct addr first, last;
};

static void take(enum nftset_id set, const struct addr *key, void *arg)
{
	struct elements *e = arg;
	if (e->n == 0)
		e->first = *key;
	else
		assert_true(addr_cmp(&e->last, key) < 0);
	assert_true(e->n == 0 || e->set == set);
	e->set = set;
	e->last = *key;
	e->n++;
}

static void expand(void **state)
{
	static const struct {
		const char *prefix;
		unsigned n;
		enum nftset_id set;
		const char *first, *last;
	} cases[] = {
	    {"192.0.2.10", 1, NFTSET_ALLOW4_32, "192.0.2.10", "192.0.2.10"},
	    {"192.0.2.8/29", 8, NFTSET_ALLOW4_32, "192.0.2.8", "192.0.2.15"},
	    {"192.0.2.128/25", 128, NFTSET_ALLOW4_32, "192.0.2.128", "192.0.2.255"},
	    {"192.0.2.0/24", 1, NFTSET_ALLOW4_24, "192.0.2.0", "192.0.2.0"},
	    {"192.0.0.0/22", 4, NFTSET_ALLOW4_24, "192.0.0.0", "192.0.3.0"},
	    {"10.0.0.0/8", 65536, NFTSET_ALLOW4_24, "10.0.0.0", "10.255.255.0"},
	    {"10.0.0.0/7", 0, 0, NULL, NULL},
	    {"0.0.0.0/0", 0, 0, NULL, NULL},
	    {"2001:db8::1", 1, NFTSET_ALLOW6_128, "2001:db8::1", "2001:db8::1"},
	    {"2001:db8::/125", 8, NFTSET_ALLOW6_128, "2001:db8::", "2001:db8::7"},
	    {"2001:db8::/112", 65536, NFTSET_ALLOW6_128, "2001:db8::", "2001:db8::ffff"},
	    {"2001:db8::/111", 0, 0, NULL, NULL},
	    {"2001:db8::/65", 0, 0, NULL, NULL},
	    {"2001:db8::/64", 1, NFTSET_ALLOW6_64, "2001:db8::", "2001:db8::"},
	    {"2001:db8::/61", 8, NFTSET_ALLOW6_64, "2001:db8::", "2001:db8:0:7::"},
	    {"2001:db8:0:ff00::/56", 1, NFTSET_ALLOW6_56, "2001:db8:0:ff00::", "2001:db8:0:ff00::"},
	    {"2001:db8::/52", 16, NFTSET_ALLOW6_56, "2001:db8::", "2001:db8:0:f00::"},
	    {"2001:db8::/48", 1, NFTSET_ALLOW6_48, "2001:db8::", "2001:db8::"},
	    {"2001:db8::/32", 65536, NFTSET_ALLOW6_48, "2001:db8::", "2001:db8:ffff::"},
	    {"2001:db8::/31", 0, 0, NULL, NULL},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct elements e = {0};
		struct prefix p;
		char err[128], text[ADDR_STRLEN];
		if (!prefix_parse(cases[i].prefix, &p, err)) {
			/* 2001:db8::/31 and 10.0.0.0/7 are their own networks; nothing else may
			 * fail. */
			fail_msg("%s", err);
		}
		assert_int_equal(ksync_expand(&p, take, &e), cases[i].n > 0);
		if (e.n != cases[i].n)
			fail_msg("%s: %u elements", cases[i].prefix, e.n);
		if (e.n == 0)
			continue;
		assert_int_equal(e.set, cases[i].set);
		assert_string_equal(addr_format(&e.first, text), cases[i].first);
		assert_string_equal(addr_format(&e.last, text), cases[i].last);
		/* Every address inside falls into one of these elements. */
		struct addr lo, hi, key;
		prefix_range(&p, &lo, &hi);
		ksync_key(e.set, &hi, &key);
		assert_true(addr_eq(&key, &e.last));
		assert_int_equal(nftset_is6(e.set), !addr_is4(&lo));
	}
}

/* The sets that nfqd fills are the ones that kernel-rules makes, as far as its sample has them. */
static void names(void **state)
{
	size_t len;
	char *text = proc_read_file("kernel-rules/sekisho.nft", 1 << 20, &len);
	(void)state;
	assert_non_null(text);
	for (enum nftset_id i = 0; i < NFTSET_COUNT; i++) {
		char want[80];
		bool map = i >= NFTSET_CLASS4_32 && i <= NFTSET_CLASS6_48;
		(void)snprintf(want, sizeof want, "%s %s {", map ? "map" : "set", nftset_name(i));
		/* One for each length that the sample delegates. */
		if (i >= NFTSET_DENY6_48 && i < NFTSET_DENY6_64)
			continue;
		if (!strstr(text, want))
			fail_msg("no \"%s\" in kernel-rules/sekisho.nft", want);
	}
	assert_non_null(strstr(text, "chain about {"));
	assert_non_null(strstr(text, "chain class_throttled_32 {"));
	free(text);
}

static void deny_sets(void **state)
{
	(void)state;
	assert_int_equal(ksync_deny_set(true, 32), NFTSET_DENY4);
	assert_int_equal(ksync_deny_set(true, 24), NFTSET_COUNT);
	assert_int_equal(ksync_deny_set(false, 47), NFTSET_COUNT);
	assert_int_equal(ksync_deny_set(false, 65), NFTSET_COUNT);
	for (uint8_t length = 48; length <= 64; length++) {
		char want[16];
		(void)snprintf(want, sizeof want, "deny_%u", length);
		assert_string_equal(nftset_name(ksync_deny_set(false, length)), want);
	}
}

/* The keys that both read have the same type, default and range. */
static void defaults(void **state)
{
	size_t len, n = 0;
	char *text = proc_read_file("kernel-rules/rules_conf.c", 1 << 20, &len);
	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < nfq_keys_n; i++) {
		const struct conf_key *k = &nfq_keys[i];
		char want[80];
		if (!k->peek || k->type == CONF_GROUP)
			continue;
		(void)snprintf(want, sizeof want, " %s(%s), \"%s\", ",
			       strcmp(k->section, "pool") == 0	  ? "POFF"
			       : strcmp(k->section, "class") == 0 ? "COFF"
								  : "OFF",
			       k->name, k->dflt);
		if (!strstr(text, want))
			fail_msg("%s.%s has another default in kernel-rules/", k->section, k->name);
		n++;
	}
	assert_int_equal(n, 23);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(expand),
	    cmocka_unit_test(names),
	    cmocka_unit_test(deny_sets),
	    cmocka_unit_test(defaults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
