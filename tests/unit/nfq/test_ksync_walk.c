/*
 * A comparison in slices, with changes, starts and ends between them: what the kernel holds. The
 * kernel is a table of ours here, with a clock that goes on.
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

#include "nfq/amap.h"
#include "nfq/ksync.h"

#define T0   1000000
#define MANY 30000 /* exemptions: several slices */

/* --- the kernel ------------------------------------------------------------------ */

struct element {
	int64_t end_ms; /* 0: none */
	char chain[NFTSET_CHAIN];
};

static struct {
	struct amap *sets[NFTSET_FILLED];
	int64_t now_ms;
	size_t most_ops, calls;
} kernel;

static bool flush(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	(void)key, (void)tag, (void)value, (void)arg;
	return true;
}

struct nftset_result nftset_apply(struct nftset *n, const struct nftset_op *ops, size_t count)
{
	(void)n;
	kernel.calls += count > 0;
	kernel.most_ops = count > kernel.most_ops ? count : kernel.most_ops;
	for (size_t i = 0; i < count; i++) {
		const struct nftset_op *op = &ops[i];
		struct amap *set = kernel.sets[op->set];
		if (op->verb == NFTSET_FLUSH)
			amap_each(set, flush, NULL);
		if (op->verb == NFTSET_DELETE || op->verb == NFTSET_REPLACE)
			(void)amap_remove(set, &op->key, 0);
		if (op->verb == NFTSET_ADD || op->verb == NFTSET_REPLACE) {
			struct element *e = amap_put(set, &op->key, 0, NULL);
			e->end_ms = op->timeout_ms ? kernel.now_ms + op->timeout_ms : 0;
			memcpy(e->chain, op->chain, sizeof e->chain);
		}
	}
	return (struct nftset_result){0};
}

bool nftset_present(const struct nftset *n, enum nftset_id id)
{
	(void)n, (void)id;
	return true;
}

size_t nftset_elements(const struct nftset *n, enum nftset_id id)
{
	(void)n;
	return amap_count(kernel.sets[id]);
}

bool nftset_has_chain(const struct nftset *n, bool is6, const char *chain)
{
	(void)n, (void)is6, (void)chain;
	return true;
}

bool nftset_is6(enum nftset_id id)
{
	return id >= NFTSET_ALLOW6_128 && id <= NFTSET_ALLOW6_48;
}

static bool holds(enum nftset_id id, const struct addr *a)
{
	const struct element *e = amap_get(kernel.sets[id], a, 0);
	return e && (e->end_ms == 0 || e->end_ms > kernel.now_ms);
}

/* --- what is tried --------------------------------------------------------------- */

struct trial {
	struct policy *p;
	struct ksync *k;
	uint32_t seed;
};

static uint32_t any(struct trial *t, uint32_t below)
{
	t->seed = t->seed * 1664525u + 1013904223u;
	return (t->seed >> 8) % below;
}

static struct addr host(uint32_t n)
{
	struct addr a;
	const uint8_t v4[4] = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
	addr_from_v4(&a, v4);
	return a;
}

static struct policy_entry entry(uint32_t n, const char *class, int64_t from, int64_t to)
{
	struct policy_entry e = {
	    .prefix = {host(n), 32}, .starts_ms = from, .expires_ms = to, .exemption_id = n + 1};
	(void)snprintf(e.class, sizeof e.class, "%s", class);
	return e;
}

static void set(struct trial *t, uint32_t n, const char *class, int64_t from, int64_t to)
{
	const struct policy_entry e = entry(n, class, from, to);
	policy_put(t->p, &e);
	ksync_dirty(t->k, &e.prefix);
}

static void take(struct trial *t, uint32_t n)
{
	const struct policy_entry e = entry(n, "full", 0, 0);
	(void)policy_remove(t->p, &e);
	ksync_dirty(t->k, &e.prefix);
}

/* As nfqd does at an edge. */
static void edges(struct trial *t)
{
	struct prefix x;
	while (policy_edge(t->p, kernel.now_ms, &x))
		ksync_dirty(t->k, &x);
	(void)ksync_flush(t->k, NULL, t->p, kernel.now_ms);
}

static void step(struct trial *t)
{
	(void)ksync_step(t->k, NULL, t->p, kernel.now_ms);
}

static struct trial begin(void)
{
	struct trial t = {policy_new(NULL), ksync_new(NULL, 1 << 20), 7};
	memset(&kernel, 0, sizeof kernel);
	kernel.now_ms = T0;
	for (unsigned i = 0; i < NFTSET_FILLED; i++)
		kernel.sets[i] = amap_new(t.k, sizeof(struct element), SIZE_MAX);
	return t;
}

static void fill(struct trial *t)
{
	for (uint32_t n = 0; n < MANY; n++) {
		const struct policy_entry e = entry(n, n % 10 ? "full" : "slow", 0, 0);
		policy_put(t->p, &e);
	}
	policy_edges_start(t->p, T0);
}

static void end(struct trial *t)
{
	talloc_free(t->k);
	policy_free(t->p);
}

/* Is the kernel's word on this line the policy's? */
static void right(const struct trial *t, uint32_t n)
{
	const struct addr a = host(n);
	const struct policy_item *i = policy_match(t->p, &a, kernel.now_ms);
	bool full = holds(NFTSET_ALLOW4_32, &a), limited = holds(NFTSET_CLASS4_32, &a);
	bool wants_full = i && i->class == POLICY_CLASS_FULL;
	struct addr near;
	addr_mask(&a, 28, &near);
	if ((full || limited) && !holds(NFTSET_HOSTS4, &near))
		fail_msg("%u is in a set, and its neighbourhood is not", n);
	if (full != wants_full || limited != (i && !wants_full))
		fail_msg("%u: the policy %s, the sets full %d limited %d", n,
			 i ? policy_class(t->p, i->class) : "has nothing", full, limited);
}

static void all_right(const struct trial *t)
{
	for (uint32_t n = 0; n < MANY + 1000; n++)
		right(t, n);
}

/* What is changed between two slices is in the kernel at once, and stays as it is. */
static void meanwhile(void **state)
{
	(void)state;
	for (int refill = 0; refill < 2; refill++) {
		struct trial t = begin();
		uint32_t changed[4000], n_changed = 0;
		fill(&t);
		(void)ksync_refill(t.k, NULL, t.p, kernel.now_ms);
		while (ksync_busy(t.k))
			step(&t);
		all_right(&t);
		kernel.most_ops = 0;
		if (refill)
			(void)ksync_refill(t.k, NULL, t.p, kernel.now_ms);
		else
			(void)ksync_full(t.k, NULL, t.p, kernel.now_ms);
		unsigned slices = 0;
		for (; ksync_busy(t.k); slices++) {
			for (int i = 0; i < 20; i++) {
				uint32_t n = any(&t, MANY + 1000);
				if (any(&t, 2))
					set(&t, n, any(&t, 2) ? "full" : "slow", 0, 0);
				else
					take(&t, n);
				(void)ksync_flush(t.k, NULL, t.p, kernel.now_ms);
				right(&t, n);
				if (n_changed < 4000)
					changed[n_changed++] = n;
			}
			step(&t);
			for (uint32_t i = 0; i < n_changed; i++)
				right(&t, changed[i]);
		}
		assert_in_range(slices, MANY / 4096, 200);
		assert_in_range(kernel.most_ops, 1, refill ? NFTSET_CHUNK : 3000);
		all_right(&t);
		end(&t);
	}
}

/* A start is in force at its time, and no end is late, however long the comparison takes. */
static void in_time(void **state)
{
	struct trial t = begin();
	(void)state;
	fill(&t);
	for (uint32_t n = 0; n < 1000; n++) {
		const struct policy_entry e = entry(n, "full", T0 + 50 + any(&t, 3000),
						    T0 + 4000 + any(&t, 3000)),
					  old = entry(n, "full", 0, 0);
		(void)policy_remove(t.p, &old);
		policy_put(t.p, &e);
	}
	policy_edges_start(t.p, T0);
	/* They were learned as refused, too. */
	for (uint32_t n = 0; n < 1000; n++) {
		const struct addr a = host(n);
		ksync_learn(t.k, NULL, &a, 32, T0, 3600000, 3600000);
	}
	(void)ksync_learn_flush(t.k, NULL);
	for (int round = 0; kernel.now_ms < T0 + 8000; round++) {
		if (!ksync_busy(t.k))
			(void)ksync_full(t.k, NULL, t.p, kernel.now_ms);
		step(&t);
		kernel.now_ms += 137; /* a slow machine */
		edges(&t);
		for (uint32_t n = 0; n < 1000; n++) {
			const struct addr a = host(n);
			bool wants = policy_match(t.p, &a, kernel.now_ms) != NULL;
			bool has = holds(NFTSET_ALLOW4_32, &a);
			/* The last moments are nfqd's. */
			if (has && !wants)
				fail_msg("%u is in the set after its end", n);
			if (wants && holds(NFTSET_DENY4, &a))
				fail_msg("%u is refused after its start", n);
		}
	}
	end(&t);
}

/* One that ends while another one goes on with its element: no packet falls through in between, and
 * the kernel is told once. Another class is another matter. */
static void succeeded(void **state)
{
	static const struct {
		const char *class;
		bool stays;
	} cases[] = {{"full", true}, {"slow", false}};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct trial t = begin();
		const struct addr a = host(4);
		struct policy_entry wide = entry(4, cases[i].class, 0, T0 + 9000);
		wide.prefix.len = 30;
		wide.exemption_id = 99;
		(void)ksync_refill(t.k, NULL, t.p, kernel.now_ms);
		while (ksync_busy(t.k))
			step(&t);
		policy_put(t.p, &wide);
		set(&t, 4, "full", 0, T0 + 5000);
		ksync_dirty(t.k, &wide.prefix);
		(void)ksync_flush(t.k, NULL, t.p, kernel.now_ms);
		policy_edges_start(t.p, T0);
		kernel.now_ms = T0 + 5001; /* nfqd is late */
		assert_int_equal(holds(NFTSET_ALLOW4_32, &a), cases[i].stays);
		size_t calls = kernel.calls;
		edges(&t);
		assert_true(holds(cases[i].stays ? NFTSET_ALLOW4_32 : NFTSET_CLASS4_32, &a));
		assert_int_equal(kernel.calls == calls, cases[i].stays);
		kernel.now_ms = T0 + 9001;
		assert_false(holds(NFTSET_ALLOW4_32, &a));
		assert_false(holds(NFTSET_CLASS4_32, &a));
		end(&t);
	}
}

/* Limited exemptions are owed until they are in, full ones are not. */
static void owed(void **state)
{
	struct trial t = begin();
	(void)state;
	for (uint32_t n = 0; n < 20000; n++)
		set(&t, n, n % 2 ? "slow" : "full", 0, 0);
	(void)ksync_refill(t.k, NULL, t.p, kernel.now_ms);
	assert_true(ksync_limited_owed(t.k));
	while (ksync_limited_owed(t.k))
		step(&t);
	assert_true(ksync_busy(t.k));
	assert_int_equal(amap_count(kernel.sets[NFTSET_CLASS4_32]), 10000);
	while (ksync_busy(t.k))
		step(&t);
	assert_false(ksync_limited_owed(t.k));
	end(&t);
}

/* A prefix of 65,536 elements is put in bit by bit; a line that comes after it does not wait. */
static void wide(void **state)
{
	struct trial t = begin();
	struct policy_entry e = entry(1 << 16, "full", 0, 0);
	(void)state;
	(void)ksync_refill(t.k, NULL, t.p, kernel.now_ms);
	while (ksync_busy(t.k))
		step(&t);
	e.prefix = (struct prefix){host(0), 8};
	policy_put(t.p, &e);
	ksync_dirty(t.k, &e.prefix);
	(void)ksync_flush(t.k, NULL, t.p, kernel.now_ms);
	assert_true(ksync_behind(t.k));
	set(&t, 5, "slow", 0, 0);
	(void)ksync_flush(t.k, NULL, t.p, kernel.now_ms);
	assert_false(ksync_pending(t.k));
	right(&t, 5);
	unsigned slices = 0;
	for (; ksync_busy(t.k); slices++)
		step(&t);
	/* Each is its own neighbourhood, too. */
	assert_in_range(slices, 40, 50);
	assert_int_equal(amap_count(kernel.sets[NFTSET_NEAR4]), 65536);
	assert_int_equal(amap_count(kernel.sets[NFTSET_ALLOW4_24]), 65536);
	(void)policy_remove(t.p, &e);
	ksync_dirty(t.k, &e.prefix);
	(void)ksync_flush(t.k, NULL, t.p, kernel.now_ms);
	while (ksync_busy(t.k))
		step(&t);
	assert_int_equal(amap_count(kernel.sets[NFTSET_ALLOW4_24]), 0);
	assert_int_equal(amap_count(kernel.sets[NFTSET_NEAR4]), 0);
	assert_int_equal(amap_count(kernel.sets[NFTSET_HOSTS4]), 1);
	right(&t, 5);
	end(&t);
}

/* Another policy in the middle of a comparison; and one that fits into a transaction is never half
 * there. */
static void replaced(void **state)
{
	struct trial t = begin();
	(void)state;
	fill(&t);
	(void)ksync_refill(t.k, NULL, t.p, kernel.now_ms);
	step(&t);
	struct policy *old = t.p;
	t.p = policy_new(NULL);
	for (uint32_t n = 20000; n < 22000; n++) {
		const struct policy_entry e = entry(n, n % 3 ? "full" : "slow", 0, 0);
		policy_put(t.p, &e);
	}
	(void)ksync_full(t.k, NULL, t.p, kernel.now_ms);
	policy_free(old);
	while (ksync_busy(t.k))
		step(&t);
	all_right(&t);
	size_t calls = kernel.calls;
	(void)ksync_refill(t.k, NULL, t.p, kernel.now_ms);
	assert_int_equal(kernel.calls, calls + 1);
	all_right(&t);
	end(&t);
}

/* What ran out by itself is counted by the kernel until it looks: that is no difference. Elements
 * of somebody else are. */
static void counts(void **state)
{
	struct trial t = begin();
	(void)state;
	fill(&t);
	for (uint32_t n = MANY; n < MANY + 500; n++)
		set(&t, n, "full", 0, T0 + 1000);
	(void)ksync_refill(t.k, NULL, t.p, kernel.now_ms);
	while (ksync_busy(t.k))
		step(&t);
	assert_false(ksync_differs(t.k, NULL));
	kernel.now_ms = T0 + 1000;
	struct amap *held = kernel.sets[NFTSET_ALLOW4_32];
	kernel.sets[NFTSET_ALLOW4_32] = amap_new(t.k, sizeof(struct element), SIZE_MAX);
	edges(&t);
	kernel.sets[NFTSET_ALLOW4_32] = held; /* nothing was taken out */
	assert_false(ksync_differs(t.k, NULL));
	for (uint32_t n = MANY + 500; n < MANY + 600; n++) {
		const struct addr a = host(n);
		(void)amap_put(held, &a, 0, NULL);
	}
	assert_true(ksync_differs(t.k, NULL));
	end(&t);
}

/* A line of IPv6 is wider than an exempt host in it: it is not learned while the sets may lack that
 * one. */
static void holes(void **state)
{
	struct trial t = begin();
	struct addr line;
	const char *err;
	(void)state;
	assert_true(addr_parse("2001:db8:1::", &line, &err));
	fill(&t);
	(void)ksync_refill(t.k, NULL, t.p, kernel.now_ms);
	for (unsigned learned = 0; ksync_busy(t.k); learned++) {
		ksync_learn(t.k, NULL, &line, 64, T0, 1000, 1000);
		const struct addr a = host(MANY + learned);
		ksync_learn(t.k, NULL, &a, 32, T0, 1000, 1000);
		(void)ksync_learn_flush(t.k, NULL);
		assert_false(holds(NFTSET_DENY6_64, &line));
		assert_true(holds(NFTSET_DENY4, &a));
		step(&t);
	}
	ksync_learn(t.k, NULL, &line, 64, T0, 1000, 1000);
	(void)ksync_learn_flush(t.k, NULL);
	assert_true(holds(NFTSET_DENY6_64, &line));
	end(&t);
}

/* --- a table gone through bit by bit --------------------------------------------- */

static bool meet(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	unsigned *met = arg;
	unsigned n = (unsigned)key->b[14] << 8 | key->b[15];
	(void)tag, (void)value;
	met[n]++;
	return n % 7 == 0; /* taken out */
}

static void bit_by_bit(void **state)
{
	struct trial t = begin();
	static unsigned met[65536];
	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		struct amap *m = amap_new(NULL, 4, SIZE_MAX);
		struct amap_walk w = {0};
		unsigned n = 20 + any(&t, 3000);
		memset(met, 0, sizeof met);
		for (unsigned i = 0; i < n; i++) {
			const struct addr a = host(i);
			(void)amap_put(m, &a, 0, NULL);
		}
		while (amap_some(m, &w, 1 + any(&t, 64), meet, met))
			for (unsigned i = any(&t, 8); i > 0; i--) {
				const struct addr odd = host(any(&t, n) | 1);
				const struct addr more = host(n + any(&t, 5000));
				(void)amap_remove(m, &odd, 0);
				(void)amap_put(m, &more, 0, NULL);
			}
		/* Even ones were there all the time. */
		for (unsigned i = 0; i < n; i += 2)
			if (met[i] == 0)
				fail_msg("round %u: %u of %u was not met", round, i, n);
		for (unsigned i = 0; i < n; i += 14) {
			const struct addr a = host(i);
			assert_null(amap_get(m, &a, 0));
		}
		talloc_free(m);
	}
	end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(meanwhile),  cmocka_unit_test(in_time),   cmocka_unit_test(wide),
	    cmocka_unit_test(replaced),	  cmocka_unit_test(holes),     cmocka_unit_test(counts),
	    cmocka_unit_test(bit_by_bit), cmocka_unit_test(succeeded), cmocka_unit_test(owed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
