/*
 * pool, series, uniq, subjects - what limits are made of: edges, estimates, and what a million
 * take.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/clock.h"
#include "ratelimit/snapshot.h"
#include "tests/unit/ratelimit/common.h"
#include "tests/unit/ratelimit/rand.h"

/* --- pool --- */

static void records_do_not_overlap(void **state)
{
	(void)state;
	enum { N = 3000 };
	static struct {
		uint32_t h;
		size_t size;
	} got[N];
	struct pool *p = pool_new(32 << 20);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < N; i++) {
			if (got[i].h)
				continue;
			got[i].size = 1 + (size_t)rnd(i % 50 == 0 ? POOL_MAX : 400);
			got[i].h = pool_get(p, got[i].size);
			assert_int_not_equal(got[i].h, 0);
			assert_true(pool_round(got[i].size) >= got[i].size);
			assert_int_equal(((uint8_t *)pool_at(p, got[i].h))[got[i].size - 1], 0);
			memset(pool_at(p, got[i].h), i & 255, got[i].size);
		}
		for (int i = 0; i < N; i++) {
			const uint8_t *b = pool_at(p, got[i].h);
			assert_int_equal(b[0], i & 255);
			assert_int_equal(b[got[i].size - 1], i & 255);
			if (rnd(2)) {
				pool_put(p, got[i].h, got[i].size);
				got[i].h = 0;
			}
		}
	}
	for (int i = 0; i < N; i++)
		pool_put(p, got[i].h, got[i].size);
	assert_int_equal(pool_used(p), 0);
	pool_free_all(p);
}

static void a_full_pool_says_so(void **state)
{
	(void)state;
	struct pool *p = pool_new(1 << 20);
	uint32_t first = pool_get(p, POOL_MAX), h;
	while ((h = pool_get(p, POOL_MAX)))
		;
	assert_int_equal(pool_touched(p), 1 << 20);
	assert_int_equal(pool_get(p, 16), 0);
	pool_put(p, first, POOL_MAX);
	assert_int_equal(pool_get(p, POOL_MAX), first);
	pool_free_all(p);
}

/* --- series --- */

/* Never more than max in any time of that length, and max do pass; against every window at once. */
static void never_more_in_any_window(void **state)
{
	(void)state;
	static const int64_t lengths[] = {SEC, 10 * SEC, MIN, 10 * MIN, HOUR, 7 * HOUR, DAY};
	for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
		static int64_t log[20000];
		static uint8_t entries[4096 * SERIES_NARROW_BYTES];
		struct series s = {.e = entries, .cap = 4096};
		struct series_windows ws = {0};
		size_t n = 0;
		int64_t now = T0;
		for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
			assert_true(series_window_add(&ws, lengths[i]));
		for (int i = 0; i < 20000; i++) {
			uint32_t w = (uint32_t)lengths[k];
			now += (int64_t)rnd((uint64_t)lengths[k] / 40 + 2);
			if (series_retry(&s, 0, w, (uint32_t)now, 25, 1) != 0)
				continue;
			assert_int_equal(series_add(&s, &ws, (uint32_t)now, 1, 0), SERIES_OK);
			log[n++] = now;
			assert_true(n <= 25 || log[n - 1] - log[n - 26] >= lengths[k]);
			if (rnd(30) == 0)
				series_compact(&s, &ws, (uint32_t)now);
		}
		assert_true(n > 100);
		assert_true(s.n < 128 * ws.n);
	}
}

static void counts_that_do_not_fit_ask_for_more(void **state)
{
	(void)state;
	uint8_t narrow[4 * SERIES_NARROW_BYTES], wide[4 * SERIES_WIDE_BYTES];
	struct series s = {.e = narrow, .cap = 2};
	struct series_windows ws = {0};
	assert_true(series_window_add(&ws, HOUR));
	assert_int_equal(series_add(&s, &ws, 1000, 65535, 1), SERIES_OK);
	assert_int_equal(series_add(&s, &ws, 1000, 1, 0), SERIES_TOO_BIG);
	assert_int_equal(series_add(&s, &ws, 1000, 65536, 0), SERIES_TOO_BIG);
	assert_int_equal(series_add(&s, &ws, 100000, 1, 0), SERIES_OK);
	assert_int_equal(series_add(&s, &ws, 200000, 1, 0), SERIES_FULL);
	series_widen(&s, wide);
	struct series w = {.e = wide, .n = s.n, .cap = 4, .wide = true};
	assert_int_equal(series_add(&w, &ws, 200000, UINT32_MAX, 0), SERIES_OK);
	assert_int_equal(series_add(&w, &ws, 200000, 7, 7), SERIES_OK); /* stops at the top */
	assert_int_equal(series_used(&w, 0, HOUR, 200000), 65536ULL + UINT32_MAX);
	assert_int_equal(series_used(&w, 1, HOUR, 200000), 8);
	series_sub(&w, 200000, 200000, 1, UINT32_MAX, 7);
	assert_int_equal(series_used(&w, 0, HOUR, 200000), 65536);
}

/* Milliseconds modulo 2^32 come round every 49 days. */
static void the_turn_of_the_counter_is_nothing(void **state)
{
	(void)state;
	uint8_t e[64 * SERIES_NARROW_BYTES];
	struct series s = {.e = e, .cap = 64};
	struct series_windows ws = {0};
	uint32_t now = UINT32_MAX - 30 * (uint32_t)SEC;
	assert_true(series_window_add(&ws, MIN));
	for (int i = 0; i < 60; i++, now += SEC)
		assert_int_equal(series_add(&s, &ws, now, 1, 0), SERIES_OK);
	assert_int_equal(series_used(&s, 0, MIN, now), 60);
	assert_int_equal(series_used(&s, 0, MIN, now + 90 * SEC), 0);
}

/* --- uniq --- */

static struct uniq_scratch scratch;

static uint32_t different(struct subjects *t, uint32_t set, int64_t now)
{
	return uniq_count(subjects_set(t, set), now, HOUR, NULL, 0, &scratch);
}

static void exact_then_estimated(void **state)
{
	(void)state;
	struct subjects *t = subjects_new(100, 8 << 20, 1);
	uint32_t set = 0, worst = 0;
	for (uint64_t n = 1; n <= 100000; n++) {
		char text[32];
		snprintf(text, sizeof text, "r%llu@x.example", (unsigned long long)n);
		uint64_t hash = rl_hash(text);
		uint32_t before =
		    n <= UNIQ_EXACT ? uniq_count(subjects_set(t, set), T0, HOUR, &hash, 1, &scratch)
				    : 0;
		subjects_set_add(t, &set, T0, HOUR, T0, &hash, 1);
		if (n <= UNIQ_EXACT) {
			assert_int_equal(different(t, set, T0), n);
			assert_int_equal(before, n); /* what an ask is told it would be */
			assert_int_not_equal(subjects_set(t, set)->cap, 0);
		} else if (n % 997 == 0) {
			uint32_t got = different(t, set, T0);
			uint32_t off = (uint32_t)(1000 * (got > n ? got - n : n - got) / n);
			worst = off > worst ? off : worst;
		}
	}
	assert_int_equal(subjects_set(t, set)->cap, 0);
	assert_true(worst <= 98); /* three standard errors of 3.25 % */
	assert_true(different(t, set, T0 + HOUR - 1) > 90000);
	assert_int_equal(different(t, set, T0 + HOUR + HOUR / 8), 0);
	subjects_free(t);
}

static void members_age_out_exactly(void **state)
{
	(void)state;
	struct subjects *t = subjects_new(100, 8 << 20, 1);
	uint32_t set = 0;
	for (uint64_t i = 1; i <= 200; i++)
		subjects_set_add(t, &set, T0 + (int64_t)i * SEC, HOUR, T0 + (int64_t)i * SEC, &i,
				 1);
	for (uint32_t i = 1; i <= 200; i++) {
		assert_int_equal(different(t, set, T0 + i * SEC + HOUR - 1), 200 - i + 1);
		assert_int_equal(different(t, set, T0 + i * SEC + HOUR), 200 - i);
	}
	subjects_free(t);
}

/* --- what a million take --- */

#ifdef __SANITIZE_ADDRESS__
#define MANY 50000 /* the sanitizer takes its time */
#else
#define MANY 1000000
#endif

static void charge_at(struct limiter *l, int i, int64_t ms)
{
	char name[48];
	snprintf(name, sizeof name, "customer%07d@isp.example", i);
	assert_int_equal(charge_to(l, name, ms, 1), RL_OK);
}

/*
 * A million accounts, each with 1 to 4 mails in the day behind them: at most 100 bytes each when
 * they are idle, 256 MB in all; and a file of them is read within the second.
 */
static void a_million_accounts(void **state)
{
	(void)state;
	enum { N = MANY };
	struct limiter_conf c = default_conf();
	c.accounts = N;
	c.memory = 224 << 20;
	struct limiter *l = limiter_new(&c, 3);
	for (int mail = 0; mail < 4; mail++)
		for (int i = 0; i < N; i++) {
			if (i % 4 < mail)
				continue;
			charge_at(l, i, mail * 2 * HOUR + i * 7LL);
			if (i % 1000 == 999) { /* the housekeeping keeps step with the clock */
				struct moment now = at(mail * 2 * HOUR + i * 7LL);
				limiter_sweep(l, &now, 4096);
			}
		}
	struct moment now = at(9 * HOUR);
	size_t used, touched;
	limiter_sweep(l, &now, 1 << 22);
	assert_int_equal(accounts_of(l), N);
	assert_int_equal(subjects_evicted(limiter_subjects(l)), 0);
	touched = subjects_memory(limiter_subjects(l), &used);
	print_message("# %zu bytes an idle account, %zu MB touched at the most\n", used / N,
		      touched >> 20);
	assert_true(used / N <= 100);
	assert_true(touched <= 256u << 20);

	size_t len, left_out;
	const char *err;
	int64_t t0 = clock_mono_ms();
	uint8_t *file = snapshot_encode(l, SNAPSHOT_COUNTERS, &now, &len);
	int64_t t1 = clock_mono_ms();
	struct limiter *again = limiter_new(&c, 4);
	assert_true(snapshot_decode(again, SNAPSHOT_COUNTERS, &now, file, len, &left_out, &err));
	print_message("# %zu MB of snapshot: %lld ms to write, %lld ms to read\n", len >> 20,
		      (long long)(t1 - t0), (long long)(clock_mono_ms() - t1));
	assert_int_equal(left_out, 0);
	assert_int_equal(accounts_of(again), N);
	for (int i = 0; i < N; i += 9973) {
		char name[48];
		static struct limiter_view v;
		snprintf(name, sizeof name, "customer%07d@isp.example", i);
		view(again, name, 9 * HOUR, &v);
		assert_int_equal(row_of(&v, "messages-1d")->used, i % 4 + 1);
	}
	free(file);
	limiter_free(l);
	limiter_free(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records_do_not_overlap),
	    cmocka_unit_test(a_full_pool_says_so),
	    cmocka_unit_test(never_more_in_any_window),
	    cmocka_unit_test(counts_that_do_not_fit_ask_for_more),
	    cmocka_unit_test(the_turn_of_the_counter_is_nothing),
	    cmocka_unit_test(exact_then_estimated),
	    cmocka_unit_test(members_age_out_exactly),
	    cmocka_unit_test(a_million_accounts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
