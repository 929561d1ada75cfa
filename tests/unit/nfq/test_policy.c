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
	const struct policy_item *e = policy_match(p, &a, now);
	return e ? e->id : 0;
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
	const struct policy_item *e = policy_find(p, &a, 0, 32, 200, &until);
	assert_int_equal(e->id, 1);
	assert_int_equal(until, 0); /* one of them never ends */
	assert_null(policy_find(p, &a, 25, 31, 200, &until));
	e = policy_find(p, &a, 0, 24, 200, &until);
	assert_int_equal(e->id, 2);
	assert_int_equal(until, 500);
	a = address("2001:db8:1::26");
	e = policy_find(p, &a, 0, 128, 250, &until);
	assert_int_equal(e->id, 6);
	assert_int_equal(until, 400); /* the later of 400 and 350 */
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
		const struct policy_item *e = policy_match(p, &a, 1);
		assert_int_equal(e != NULL, in[i]);
		if (e)
			assert_int_equal(e->id, i + 1);
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
	const struct policy_item *e = policy_match(p, &a, 10);
	assert_non_null(e);
	assert_string_equal(policy_class(p, e->class), "throttled");
	assert_int_equal(e->expires_ms, 99);
	policy_free(p);
}

/* The moments, in order, each once; one that was taken back is not told. */
static void edges(void **state)
{
	static const int64_t times[] = {100, 200, 300, 350, 400, 500};
	struct policy *p = example();
	struct prefix x;
	(void)state;
	assert_int_equal(policy_next_edge(p), 0); /* nobody asked */
	assert_false(policy_edge(p, 1000, &x));
	policy_edges_start(p, 0);
	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		assert_int_equal(policy_next_edge(p), times[i]);
		assert_false(policy_edge(p, times[i] - 1, &x));
		while (policy_edge(p, times[i], &x))
			;
	}
	assert_int_equal(policy_next_edge(p), 0);
	/* What comes later is told, too: soon, and behind the window. */
	const int64_t day = 86400000;
	struct policy_entry soon = entry("192.0.2.77", 20, 0, 2000, "full"),
			    gone = entry("192.0.2.78", 21, 0, 2001, "full"),
			    late = entry("192.0.2.79", 22, 3 * day, 0, "full");
	policy_put(p, &soon);
	policy_put(p, &gone);
	policy_put(p, &late);
	assert_true(policy_remove(p, &gone));
	assert_int_equal(policy_next_edge(p), 2000);
	assert_true(policy_edge(p, 2500, &x));
	assert_true(prefix_eq(&x, &soon.prefix));
	assert_false(policy_edge(p, 2500, &x));
	assert_true(policy_next_edge(p) > 2500 && policy_next_edge(p) < day);
	assert_false(policy_edge(p, 3 * day - 1, &x));
	assert_int_equal(policy_next_edge(p), 3 * day);
	assert_true(policy_edge(p, 3 * day, &x));
	assert_true(prefix_eq(&x, &late.prefix));
	assert_int_equal(policy_next_edge(p), 0);
	policy_free(p);
}

static enum policy_kind kind_of(const char *name, void *arg)
{
	++*(unsigned *)arg;
	return strcmp(name, "partner") == 0 ? POLICY_KIND_LISTED : POLICY_KIND_LIMITED;
}

static void classes(void **state)
{
	struct policy *p = policy_new(NULL);
	unsigned asked = 0;
	(void)state;
	policy_set_kinds(p, kind_of, &asked);
	assert_int_equal(asked, 1); /* throttled; full needs no asking */
	struct policy_entry listed = entry("192.0.2.1", 1, 0, 0, "partner"),
			    limited = entry("192.0.2.1", 2, 0, 9, "small"),
			    full = entry("192.0.2.1", 3, 0, 5, "full");
	policy_put(p, &listed);
	assert_int_equal(who(p, "192.0.2.1", 1), 1);
	policy_put(p, &limited);
	assert_int_equal(who(p, "192.0.2.1", 1), 2);
	policy_put(p, &full);
	assert_int_equal(who(p, "192.0.2.1", 1), 3);
	assert_int_equal(who(p, "192.0.2.1", 5), 2);
	assert_int_equal(who(p, "192.0.2.1", 9), 1);
	assert_int_equal(asked, 3);
	/* More names than there is room for: the rest is throttled, never full. */
	for (int i = 0; i < 2 * POLICY_CLASSES; i++) {
		struct policy_entry e = entry("198.51.100.1", 100 + i, 0, 0, "x");
		(void)snprintf(e.class, sizeof e.class, "c%d", i);
		policy_put(p, &e);
	}
	assert_int_equal(policy_classes(p), POLICY_CLASSES);
	struct addr a = address("198.51.100.1");
	const struct policy_item *i = policy_match(p, &a, 1);
	assert_int_equal(policy_kind(p, i), POLICY_KIND_LIMITED);
	policy_free(p);
}

/* A snapshot that is written while the policy changes, and the journal: together it is all there.
 */
static void journal(void **state)
{
	enum { N = 500 };
	static uint8_t file[1 << 18], log[1 << 18];
	struct policy *p = policy_new(NULL);
	struct wire_out w, j;
	uint32_t at = 0;
	uint64_t count = 0, version = 0;
	size_t changes = 0;
	const char *err;
	(void)state;
	wire_out_init(&w, file, sizeof file);
	wire_out_init(&j, log, sizeof log);
	srand(7);
	for (unsigned i = 0; i < N; i++) {
		struct policy_entry e = entry("10.0.0.1", i + 1, 0, 0, i % 3 ? "full" : "small");
		e.prefix.a.b[14] = (uint8_t)i;
		policy_put(p, &e);
	}
	policy_set_version(p, version = 10);
	policy_file_begin(&w, version);
	while (policy_file_piece(p, &at, 16, &count, &w))
		for (int k = 0; k < 20; k++) {
			unsigned i = (unsigned)rand() % (2 * N);
			struct policy_entry e =
			    entry("10.0.0.1", i + 1, 0, rand() % 100, k % 2 ? "full" : "small");
			enum policy_op op = rand() % 2 ? POLICY_SET : POLICY_DELETE;
			e.prefix.a.b[14] = (uint8_t)i;
			policy_change_put(&j, ++version, op, &e);
			if (op == POLICY_SET)
				policy_put(p, &e);
			else
				(void)policy_remove(p, &e);
			policy_set_version(p, version);
		}
	policy_file_end(&w, count);
	wire_u32(&w, policy_crc(0, file, w.len));
	assert_false(w.bad || j.bad);
	struct policy *q = policy_decode(NULL, file, w.len, &err);
	assert_non_null(q);
	assert_int_equal(policy_version(q), 10);
	assert_int_equal(policy_replay(q, log, j.len, &changes), j.len);
	assert_int_equal(changes, version - 10);
	assert_int_equal(policy_version(q), version);
	assert_int_equal(policy_count(q), policy_count(p));
	for (unsigned i = 0; i < 256; i++) {
		struct addr a;
		addr_from_v4(&a, (const uint8_t[4]){10, 0, (uint8_t)i, 1});
		for (int64_t now = 0; now < 100; now += 7) {
			const struct policy_item *x = policy_match(p, &a, now),
						 *y = policy_match(q, &a, now);
			assert_int_equal(x == NULL, y == NULL);
			if (x)
				assert_string_equal(policy_class(p, x->class),
						    policy_class(q, y->class));
		}
	}
	/* Again: nothing is applied twice. */
	changes = 0;
	assert_int_equal(policy_replay(q, log, j.len, &changes), j.len);
	assert_int_equal(changes, 0);
	policy_free(q);
	/* A crash cut it short, or it is damaged: what comes before counts. */
	for (size_t cut = 0; cut < 300; cut++) {
		q = policy_decode(NULL, file, w.len, &err);
		changes = 0;
		size_t whole = policy_replay(q, log, cut, &changes);
		assert_true(whole <= cut);
		assert_int_equal(policy_version(q), 10 + changes);
		policy_free(q);
	}
	for (size_t i = 0; i < 200; i++) {
		q = policy_decode(NULL, file, w.len, &err);
		log[i] ^= 0x10;
		assert_true(policy_replay(q, log, j.len, NULL) <= i);
		log[i] ^= 0x10;
		policy_free(q);
	}
	policy_free(p);
}

static void lines(void **state)
{
	struct verdict_pool pools[2] = {{entry("2001:db8:1:2200::/60", 0, 0, 0, "x").prefix, 60},
					{entry("2001:db8:1::/48", 0, 0, 0, "x").prefix, 56}};
	struct verdict_interface interfaces[3] = {{3, 48}, {7, 52}, {9, 62}};
	const struct verdict_lines l = {64, pools, 2, interfaces, 3};
	static const struct {
		const char *source;
		uint32_t indev;
		uint8_t len;
		const char *key;
	} cases[] = {
	    {"192.0.2.1", 7, 32, "192.0.2.1"},
	    {"2001:db8:1:2201:3::4", 7, 60, "2001:db8:1:2200::"},
	    {"2001:db8:1:2301:3::4", 0, 56, "2001:db8:1:2300::"},
	    {"2001:db8:2:3:4::5", 0, 64, "2001:db8:2:3::"},
	    {"2001:db8:2:3:4::5", 8, 64, "2001:db8:2:3::"},
	    {"2001:db8:2:3:4::5", 3, 48, "2001:db8:2::"},
	    {"2001:db8:2:7fff:4::5", 7, 52, "2001:db8:2:7000::"},
	    {"2001:db8:2:3:4::5", 9, 62, "2001:db8:2::"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct addr a = address(cases[i].source), key, want = address(cases[i].key);
		assert_int_equal(verdict_line(&l, &a, cases[i].indev, &key), cases[i].len);
		if (!addr_eq(&key, &want))
			fail_msg("%s by %u", cases[i].source, cases[i].indev);
	}
}

static void listed_destinations(void **state)
{
	static const struct {
		const char *destination;
		bool allow;
	} cases[] = {{"198.51.100.25", true}, {"198.51.100.26", false}, {"203.0.113.200", true},
		     {"203.0.114.1", false},  {"2001:db8::25", true},	{"2001:db8::26", false}};
	struct policy *p = policy_new(NULL);
	unsigned asked = 0;
	(void)state;
	policy_set_kinds(p, kind_of, &asked);
	struct policy_entry e = entry("192.0.2.1", 1, 0, 0, "partner");
	e.n_dst = 3;
	e.dst[0] = entry("198.51.100.25", 0, 0, 0, "x").prefix;
	e.dst[1] = entry("203.0.113.0/24", 0, 0, 0, "x").prefix;
	e.dst[2] = entry("2001:db8::25", 0, 0, 0, "x").prefix;
	policy_put(p, &e);
	struct addr src = address("192.0.2.1");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct addr dst = address(cases[i].destination);
		struct verdict v = verdict_smtp(&src, &dst, p, 1);
		assert_int_equal(v.allow, cases[i].allow);
		assert_int_equal(v.rule, cases[i].allow ? VERDICT_LISTED : VERDICT_UNLISTED);
		assert_false(v.learn); /* or its other destinations would be refused */
	}
	struct policy_entry out;
	policy_entry_of(p, policy_match(p, &src, 1), &out);
	assert_memory_equal(&out, &e, sizeof e);
	policy_free(p);
}

static void limits_of(const char *name, struct policy_limits *out, void *arg)
{
	(void)arg;
	if (strcmp(name, "throttled") == 0 || strcmp(name, "partner") == 0)
		out->rate = 60;
}

/* Whose connections are to be counted: of a class that limits, and only what is let through. */
static void limited(void **state)
{
	static const struct {
		const char *source, *destination;
		bool allow;
		int64_t limited; /* the exemption's id; 0: nobody counts */
	} cases[] = {
	    {"192.0.2.10", "198.51.100.25", true, 0}, {"192.0.2.11", "198.51.100.25", true, 2},
	    {"192.0.2.1", "198.51.100.25", true, 10}, {"192.0.2.1", "198.51.100.26", false, 0},
	    {"192.0.3.1", "198.51.100.25", false, 0},
	};
	struct policy *p = example();
	unsigned asked = 0;
	(void)state;
	policy_set_kinds(p, kind_of, &asked);
	struct policy_entry e = entry("192.0.2.1", 10, 0, 0, "partner");
	e.n_dst = 1;
	e.dst[0] = entry("198.51.100.25", 0, 0, 0, "x").prefix;
	policy_put(p, &e);
	for (unsigned known = 0; known < 2; known++) {
		if (known)
			policy_set_limits(p, limits_of, NULL);
		for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
			struct addr src = address(cases[i].source),
				    dst = address(cases[i].destination);
			struct verdict v = verdict_smtp(&src, &dst, p, 200);
			struct policy_entry of = {.exemption_id = 0};
			if (v.limited)
				policy_entry_of(p, v.limited, &of);
			if (v.allow != cases[i].allow || of.exemption_id != (known ? cases[i].limited : 0))
				fail_msg("case %zu: exemption %lld", i, (long long)of.exemption_id);
		}
	}
	policy_free(p);
}

static void verdicts(void **state)
{
	static const struct {
		enum pkt_kind kind;
		const char *source;
		uint16_t dport; /* from port 25 when it is another */
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
				  .sport = cases[i].dport == 25 ? 54321 : 25,
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
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(matches),	cmocka_unit_test(ends),
	    cmocka_unit_test(removal),	cmocka_unit_test(many),
	    cmocka_unit_test(disk),	cmocka_unit_test(disk_of_version_1),
	    cmocka_unit_test(verdicts), cmocka_unit_test(limited),
	    cmocka_unit_test(marks),	cmocka_unit_test(edges),
	    cmocka_unit_test(classes),	cmocka_unit_test(journal),
	    cmocka_unit_test(lines),	cmocka_unit_test(listed_destinations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
