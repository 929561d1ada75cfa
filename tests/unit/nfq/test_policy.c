/* Exemptions: which one decides, when, what is on disk. And verdicts from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <cmocka.h>

#include "nfq/policy.h"
#include "nfq/verdict.h"

static struct policy_entry entry(const char *prefix, int64_t id, int64_t from, int64_t to,
				 const char *class)
{
	struct policy_entry e = {.exemption_id = id, .starts_ms = from, .expires_ms = to};
	char err[128];
	(void)snprintf(e.class, sizeof e.class, "%s", class);
	if (!prefix_parse(prefix, &e.prefix, err))
		fail_msg("%s: %s", prefix, err);
	return e;
}

static struct addr address(const char *text)
{
	struct addr a;
	const char *err;
	assert_true(addr_parse(text, &a, &err));
	return a;
}

static int64_t who(const struct policy *p, const char *text, int64_t now)
{
	struct addr a = address(text);
	const struct policy_entry *e = policy_match(p, &a, now);
	return e ? e->exemption_id : 0;
}

static struct policy *example(void)
{
	static const struct {
		const char *prefix;
		int64_t id, from, to;
		const char *class;
	} rows[] = {
	    {"192.0.2.10", 1, 100, 0, "full"},
	    {"192.0.2.0/24", 2, 100, 500, "throttled"},
	    {"198.51.100.8/29", 3, 100, 0, "full"},
	    {"198.51.100.8/29", 4, 100, 300, "full"},
	    {"2001:db8:1::25", 5, 100, 0, "full"},
	    {"2001:db8:1::/56", 6, 200, 400, "throttled"},
	    {"203.0.113.0/24", 7, 100, 200, "throttled"},
	    {"203.0.113.0/24", 8, 200, 0, "full"},
	    {"2001:db8::/32", 9, 100, 350, "full"},
	};
	struct policy *p = policy_new(NULL);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct policy_entry e =
		    entry(rows[i].prefix, rows[i].id, rows[i].from, rows[i].to, rows[i].class);
		policy_put(p, &e);
	}
	return p;
}

static void matches(void **state)
{
	static const struct {
		const char *source;
		int64_t now, id;
	} cases[] = {
	    {"192.0.2.10", 100, 1},	  {"192.0.2.10", 99, 0},	 {"192.0.2.11", 100, 2},
	    {"192.0.2.11", 499, 2},	  {"192.0.2.11", 500, 0},	 {"192.0.2.10", 500, 1},
	    {"192.0.3.10", 200, 0},	  {"198.51.100.8", 200, 3},	 {"198.51.100.15", 200, 3},
	    {"198.51.100.16", 200, 0},	  {"198.51.100.7", 200, 0},	 {"203.0.113.1", 150, 7},
	    {"203.0.113.1", 200, 8},	  {"2001:db8:1::25", 250, 5},	 {"2001:db8:1::26", 250, 6},
	    {"2001:db8:1:ff::1", 399, 6}, {"2001:db8:1:100::1", 250, 9}, {"2001:db8:1::26", 150, 9},
	    {"2001:db8:1::26", 400, 0},	  {"2001:db9::1", 250, 0},	 {"::192.0.2.10", 250, 0},
	};
	struct policy *p = example();
	(void)state;
	assert_int_equal(policy_count(p), 9);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (who(p, cases[i].source, cases[i].now) != cases[i].id)
			fail_msg("%s at %d: exemption %d", cases[i].source, (int)cases[i].now,
				 (int)who(p, cases[i].source, cases[i].now));
	policy_free(p);
}

static void ends(void **state)
{
	struct policy *p = example();
	struct addr a = address("192.0.2.10");
	int64_t until;
	(void)state;
	const struct policy_entry *e = policy_find(p, &a, 0, 32, 200, &until);
	assert_int_equal(e->exemption_id, 1);
	assert_int_equal(until, 0); /* one of them never ends */
	assert_null(policy_find(p, &a, 25, 31, 200, &until));
	e = policy_find(p, &a, 0, 24, 200, &until);
	assert_int_equal(e->exemption_id, 2);
	assert_int_equal(until, 500);
	a = address("2001:db8:1::26");
	e = policy_find(p, &a, 0, 128, 250, &until);
	assert_int_equal(e->exemption_id, 6);
	assert_int_equal(until, 400); /* the later of 400 and 350 */
	assert_int_equal(policy_next_edge(p, 0), 100);
	assert_int_equal(policy_next_edge(p, 100), 200);
	assert_int_equal(policy_next_edge(p, 350), 400);
	assert_int_equal(policy_next_edge(p, 500), 0);
	policy_free(p);
}

static void removal(void **state)
{
	struct policy *p = example();
	(void)state;
	struct policy_entry e = entry("192.0.2.10", 99, 0, 0, "full");
	assert_false(policy_remove(p, &e)); /* another id */
	e.exemption_id = 1;
	assert_true(policy_remove(p, &e));
	assert_false(policy_remove(p, &e));
	assert_int_equal(who(p, "192.0.2.10", 200), 2);
	e = entry("198.51.100.8/29", 3, 0, 0, "full");
	assert_true(policy_remove(p, &e));
	assert_int_equal(who(p, "198.51.100.8", 200), 4);
	/* Put again with another end: replaced, not added. */
	e = entry("198.51.100.8/29", 4, 100, 900, "throttled");
	policy_put(p, &e);
	assert_int_equal(policy_count(p), 7);
	assert_int_equal(who(p, "198.51.100.8", 800), 4);
	policy_free(p);
}

/* Many, in and out, against a plain list. */
static void many(void **state)
{
	struct policy *p = policy_new(NULL);
	(void)state;
	enum { N = 5000 };
	static bool in[N];
	srand(25);
	for (unsigned round = 0; round < 60000; round++) {
		unsigned i = (unsigned)rand() % N;
		struct policy_entry e = {.exemption_id = i + 1, .class = "full", .prefix.len = 32};
		addr_from_v4(&e.prefix.a, (const uint8_t[4]){10, 0, (uint8_t)(i >> 8), (uint8_t)i});
		if (in[i])
			assert_true(policy_remove(p, &e));
		else
			policy_put(p, &e);
		in[i] = !in[i];
	}
	size_t n = 0;
	for (unsigned i = 0; i < N; i++) {
		struct addr a;
		addr_from_v4(&a, (const uint8_t[4]){10, 0, (uint8_t)(i >> 8), (uint8_t)i});
		const struct policy_entry *e = policy_match(p, &a, 1);
		assert_int_equal(e != NULL, in[i]);
		if (e)
			assert_int_equal(e->exemption_id, i + 1);
		n += in[i];
	}
	assert_int_equal(policy_count(p), n);
	policy_free(p);
}

static void disk(void **state)
{
	struct policy *p = example();
	size_t len;
	const char *err;
	(void)state;
	policy_set_version(p, 42);
	uint8_t *data = policy_encode(p, p, &len);
	struct policy *q = policy_decode(NULL, data, len, &err);
	assert_non_null(q);
	assert_int_equal(policy_version(q), 42);
	assert_int_equal(policy_count(q), 9);
	assert_int_equal(who(q, "2001:db8:1::26", 250), 6);
	policy_free(q);
	/* Cut or changed anywhere: nothing of it is used. */
	for (size_t cut = 0; cut < len; cut++)
		assert_null(policy_decode(NULL, data, cut, &err));
	for (size_t i = 0; i < len; i++) {
		data[i] ^= 0x10;
		assert_null(policy_decode(NULL, data, len, &err));
		data[i] ^= 0x10;
	}
	policy_free(p);
}

/* As the first version of nfqd wrote it: the class is a number. */
static void disk_of_version_1(void **state)
{
	static const uint8_t file[] = {
	    'S', 'K', 'N', 'P', 0, 0,  0, 1, 0,	 0,    0, 0,   0,    0,	   0,	 42,   0,   0,
	    0,	 2,   32,  0,	0, 0,  0, 0, 0,	 0,    0, 0,   0,    0xff, 0xff, 192,  0,   2,
	    1,	 1,   0,   0,	0, 0,  0, 0, 0,	 0,    0, 0,   0,    0,	   0,	 0,    0,   0,
	    0,	 0,   0,   0,	0, 0,  0, 5, 56, 0x20, 1, 0xd, 0xb8, 0,	   0,	 0,    0,   0,
	    0,	 0,   0,   0,	0, 0,  0, 2, 0,	 0,    0, 0,   0,    0,	   0,	 9,    0,   0,
	    0,	 0,   0,   0,	0, 99, 0, 0, 0,	 0,    0, 0,   0,    6,	   0xec, 0x86, 0x7, 0x86};
	const char *err;
	struct policy *p = policy_decode(NULL, file, sizeof file, &err);
	(void)state;
	assert_non_null(p);
	assert_int_equal(policy_version(p), 42);
	assert_int_equal(policy_count(p), 2);
	assert_int_equal(who(p, "192.0.2.1", 1), 5);
	struct addr a = address("2001:db8::1");
	const struct policy_entry *e = policy_match(p, &a, 10);
	assert_non_null(e);
	assert_string_equal(e->class, "throttled");
	assert_int_equal(e->expires_ms, 99);
	policy_free(p);
}

static void verdicts(void **state)
{
	static const struct {
		enum pkt_kind kind;
		const char *source;
		uint16_t dport;
		enum verdict_rule rule;
		bool allow, learn;
	} cases[] = {
	    {PKT_TCP, "192.0.2.10", 25, VERDICT_EXEMPT, true, false},
	    {PKT_TCP, "192.0.2.11", 25, VERDICT_THROTTLED, true, false},
	    {PKT_TCP, "192.0.3.11", 25, VERDICT_CLOSED, false, true},
	    {PKT_TCP, "2001:db8:1::25", 25, VERDICT_EXEMPT, true, false},
	    {PKT_TCP, "2001:db9::25", 25, VERDICT_CLOSED, false, true},
	    {PKT_TCP, "192.0.3.11", 26, VERDICT_OTHER, true, false},
	    {PKT_OTHER, "192.0.3.11", 25, VERDICT_OTHER, true, false},
	    {PKT_FRAGMENT, "192.0.3.11", 0, VERDICT_OTHER, true, false},
	    {PKT_BAD, "192.0.3.11", 25, VERDICT_MALFORMED, false, false},
	    {PKT_BAD, "192.0.2.10", 25, VERDICT_MALFORMED, false, false},
	};
	struct policy *p = example();
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct pkt pkt = {.kind = cases[i].kind,
				  .src = address(cases[i].source),
				  .dport = cases[i].dport};
		struct verdict v = verdict_decide(&pkt, p, 200);
		if (v.rule != cases[i].rule || v.allow != cases[i].allow ||
		    v.learn != cases[i].learn)
			fail_msg("case %zu: %s", i, verdict_rule_name(v.rule));
	}
	policy_free(p);
}

static void marks(void **state)
{
	struct marks m;
	struct addr key, want;
	const char *err;
	(void)state;
	assert_true(marks_parse("0x00ff0000", &m, &err));
	assert_int_equal(verdict_mark(&m, 0xab01cdef, true), 0xab02cdef);
	assert_int_equal(verdict_mark(&m, 0xabffcdef, false), 0xab03cdef);
	assert_true(marks_parse("0x30", &m, &err));
	assert_int_equal(verdict_mark(&m, 0xffffffff, true), 0xffffffef);
	static const char *const wrong[] = {"",	     "0x", "0x0",   "0x1",	  "0x5",
					    "0x1ff", "ff", "0xffz", "0x00ff00000"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		if (marks_parse(wrong[i], &m, &err))
			fail_msg("mask %s", wrong[i]);
	want = address("2001:db8:1:2::");
	struct addr a = address("2001:db8:1:2:3:4:5:6");
	verdict_source_key(&a, &key);
	assert_true(addr_eq(&key, &want));
	a = address("192.0.2.10");
	verdict_source_key(&a, &key);
	assert_true(addr_eq(&key, &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(matches),	cmocka_unit_test(ends),
	    cmocka_unit_test(removal),	cmocka_unit_test(many),
	    cmocka_unit_test(disk),	cmocka_unit_test(disk_of_version_1),
	    cmocka_unit_test(verdicts), cmocka_unit_test(marks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
