/*
 * bucket - against a log that keeps every event: the exact rule, its edges, refunds, what a restart
 * may do.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ratelimit/bucket.h"
#include "tests/unit/ratelimit/rand.h"

#define MAX_LOG 20000

static const struct bucket_shape shapes[] = {
    {.slot_ms = 1000, .slots = 60},   {.slot_ms = 60000, .slots = 60},
    {.slot_ms = 900000, .slots = 96}, {.slot_ms = 10, .slots = 3},
    {.slot_ms = 7, .slots = 1},
};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])

static struct {
	int64_t t;
	uint32_t n;
} events[MAX_LOG];
static size_t n_events;

static int64_t window_of(const struct bucket_shape *s)
{
	return (int64_t)s->slot_ms * s->slots;
}

/* Events in (now - back, now]. */
static uint64_t log_sum(int64_t now, int64_t back)
{
	uint64_t sum = 0;
	for (size_t i = n_events; i > 0 && events[i - 1].t > now - back; i--)
		sum += events[i - 1].n;
	return sum;
}

/* The rule of the header, said with the log. */
static uint64_t log_rule(const struct bucket_shape *s, int64_t now)
{
	uint64_t sum = 0;
	for (size_t i = n_events; i > 0; i--) {
		int64_t end = (events[i - 1].t / s->slot_ms + 1) * s->slot_ms;
		if (end + window_of(s) > now)
			sum += events[i - 1].n;
	}
	return sum;
}

static void record(int64_t t, uint32_t n)
{
	assert_true(n_events < MAX_LOG);
	events[n_events].t = t;
	events[n_events++].n = n;
}

static struct bucket copy(const struct bucket *b)
{
	struct bucket c = *b;
	c.slot = test_malloc(b->cap * sizeof *c.slot + 1);
	for (uint16_t i = 0; i < b->n; i++)
		c.slot[i] = b->slot[i];
	return c;
}

/* What passes when asked again at `at`, nothing else having happened. */
static int64_t retry_at(const struct bucket *b, const struct bucket_shape *s, int64_t at,
			uint64_t limit, uint64_t n)
{
	struct bucket c = copy(b);
	int64_t r = bucket_retry(&c, s, at, limit, n);
	test_free(c.slot);
	return r;
}

static void check_retry(const struct bucket *b, const struct bucket_shape *s, int64_t now,
			uint64_t limit, uint32_t n, int64_t retry)
{
	assert_true(retry > 0);
	assert_true(retry <= window_of(s) + s->slot_ms);
	assert_true(retry_at(b, s, now + retry, limit, n) == 0);
	assert_true(retry_at(b, s, now + retry - 1, limit, n) > 0);
}

static int64_t step(const struct bucket_shape *s)
{
	switch (rnd(6)) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return (int64_t)rnd(s->slot_ms);
	case 3:
		return (int64_t)rnd((uint64_t)s->slot_ms * 3);
	case 4:
		return rnd(20) == 0 ? window_of(s) - 1 + (int64_t)rnd(3) : (int64_t)rnd(s->slot_ms);
	default:
		return rnd(50) == 0 ? window_of(s) * 2 : 1;
	}
}

static void random_run(const struct bucket_shape *s, uint32_t limit)
{
	struct bucket b = {0};
	int64_t now = 1000000 + (int64_t)rnd(100000);
	n_events = 0;
	for (int i = 0; i < 3000; i++) {
		now += step(s);
		uint32_t n = 1 + (uint32_t)rnd(3);
		int64_t retry = bucket_retry(&b, s, now, limit, n);
		uint64_t used = bucket_used(&b, s, now);
		assert_int_equal(used, log_rule(s, now));
		assert_true(used >= log_sum(now, window_of(s)));
		assert_true(used <= log_sum(now, window_of(s) + s->slot_ms));
		assert_int_equal(retry == 0, used + n <= limit);
		if (retry > 0) {
			if (n <= limit)
				check_retry(&b, s, now, limit, n, retry);
			continue;
		}
		bucket_add(&b, s, now, n);
		record(now, n);
		assert_true(log_sum(now, window_of(s)) <=
			    limit); /* never more than N in any window: each ends at some event */
		assert_true(b.n <= s->slots + 1);
	}
	int64_t empty = bucket_empty_in(&b, s, now);
	assert_true(bucket_used(&b, s, now + empty) == 0);
	bucket_clear(&b);
}

static void never_more_than_n_in_any_window(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_SHAPES; i++)
		for (uint32_t limit = 1; limit <= 64; limit *= 2)
			random_run(&shapes[i], limit);
}

static void n_passes_and_one_more_does_not(void **state)
{
	(void)state;
	const struct bucket_shape *s = &shapes[0];
	struct bucket b = {0};
	int64_t t = 5000500; /* in the middle of a slot */
	for (int i = 0; i < 30; i++) {
		assert_int_equal(bucket_retry(&b, s, t, 30, 1), 0);
		bucket_add(&b, s, t, 1);
	}
	assert_int_equal(bucket_retry(&b, s, t, 30, 1),
			 60500); /* the slot ends in 500 ms, then a minute */
	assert_int_equal(bucket_retry(&b, s, t + 60499, 30, 1), 1);
	assert_int_equal(bucket_retry(&b, s, t + 60500, 30, 1), 0);
	assert_int_equal(bucket_used(&b, s, t + 60500), 0);
	bucket_clear(&b);
}

static void retry_waits_for_as_many_as_are_asked(void **state)
{
	(void)state;
	const struct bucket_shape *s = &shapes[0];
	struct bucket b = {0};
	bucket_add(&b, s, 1000, 2);
	bucket_add(&b, s, 11000, 3);
	bucket_add(&b, s, 21000, 5);
	static const struct {
		uint32_t n;
		int64_t retry;
	} cases[] = {{1, 40000}, {2, 40000},  {3, 50000}, {5, 50000},
		     {6, 60000}, {10, 60000}, {11, 61000}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(bucket_retry(&b, s, 22000, 10, cases[i].n), cases[i].retry);
	bucket_clear(&b);
}

static void a_refund_makes_room_but_never_too_early(void **state)
{
	(void)state;
	const struct bucket_shape *s = &shapes[0];
	struct bucket b = {0};
	bucket_add(&b, s, 1000, 1);
	bucket_add(&b, s, 31000, 1);
	bucket_sub(&b, s, 32000, 1000, 1); /* the one of second 1 */
	assert_int_equal(bucket_used(&b, s, 32000), 1);
	assert_int_equal(bucket_used(&b, s, 62000), 1); /* that of second 31 still counts */
	bucket_sub(&b, s, 62000, 1000, 1); /* aged out long ago: nothing to give back */
	assert_int_equal(bucket_used(&b, s, 62000), 1);
	bucket_sub(&b, s, 62000, 30990, 9); /* asked just before the slot it was counted in */
	assert_int_equal(bucket_used(&b, s, 62000), 0);
	assert_int_equal(b.n, 0);
	bucket_add(&b, s, 62000, 2);
	bucket_sub(&b, s, 63000, 63000,
		   1); /* a later slot than the charge: not taken from others */
	assert_int_equal(bucket_used(&b, s, 63000), 2);
	bucket_clear(&b);
}

static void time_that_goes_back_loses_nothing(void **state)
{
	(void)state;
	const struct bucket_shape *s = &shapes[0];
	struct bucket b = {0};
	bucket_add(&b, s, 100000, 5);
	bucket_add(&b, s, 40000, 1);
	assert_int_equal(bucket_used(&b, s, 40000), 6);
	assert_int_equal(bucket_used(&b, s, 100000), 6);
	bucket_clear(&b);
}

static void counts_saturate(void **state)
{
	(void)state;
	struct bucket b = {0};
	bucket_add(&b, &shapes[0], 1000, UINT32_MAX);
	bucket_add(&b, &shapes[0], 1001, UINT32_MAX);
	assert_int_equal(bucket_used(&b, &shapes[0], 1002), UINT32_MAX);
	assert_int_equal(bucket_retry(&b, &shapes[0], 1002, 10, 11), 61000);
	bucket_clear(&b);
}

/* Into a process whose slots begin elsewhere: counted for at least W since it happened, and less
 * than two slots more. */
static void restored_counts_never_leave_early(void **state)
{
	(void)state;
	for (int round = 0; round < 2000; round++) {
		const struct bucket_shape *s = &shapes[rnd(4)];
		struct bucket b = {0}, r = {0};
		int64_t now = 100000000 + (int64_t)rnd(100000), shift = (int64_t)rnd(1000000);
		int64_t older = (int64_t)rnd((uint64_t)window_of(s) + 5);
		n_events = 0;
		for (int i = 0; i < 20; i++) {
			uint32_t n = 1 + (uint32_t)rnd(3);
			bucket_add(&b, s, now += (int64_t)rnd(s->slot_ms * 2), n);
			record(now, n);
		}
		bucket_used(&b, s, now);
		for (uint16_t i = 0; i < b.n; i++)
			bucket_restore(&r, s, now + older + shift,
				       now - (int64_t)b.slot[i].at * s->slot_ms + older,
				       b.slot[i].n);
		for (int64_t t = now + older; t < now + older + window_of(s) * 2;
		     t += 1 + (int64_t)rnd(s->slot_ms)) {
			uint64_t have = bucket_used(&r, s, t + shift);
			assert_true(have >= log_sum(t, window_of(s)));
			assert_true(have <= log_sum(t, window_of(s) + 2 * s->slot_ms));
		}
		bucket_clear(&b);
		bucket_clear(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(never_more_than_n_in_any_window),
	    cmocka_unit_test(n_passes_and_one_more_does_not),
	    cmocka_unit_test(retry_waits_for_as_many_as_are_asked),
	    cmocka_unit_test(a_refund_makes_room_but_never_too_early),
	    cmocka_unit_test(time_that_goes_back_loses_nothing),
	    cmocka_unit_test(counts_saturate),
	    cmocka_unit_test(restored_counts_never_leave_early),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
