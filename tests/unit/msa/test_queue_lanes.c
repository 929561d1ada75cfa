/* The schedule by destination: who goes when, and that nobody holds up the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "msa/queue/index.h"
#include "msa/queue/lanes.h"

static struct msg *all; /* of one test, by account_next */

static struct msg *add(struct lanes *l, const char *lane, int64_t key, int64_t next_ms)
{
	struct msg *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->account_next = all;
	all = m;
	m->key = key;
	m->next_ms = next_ms;
	lanes_set(l, m, lane);
	lanes_put(l, m);
	return m;
}

static void dispatch(struct lanes *l, struct msg *m)
{
	m->counted_active = true;
	lanes_active(l, m, 1);
	lanes_take(l, m);
}

static void back(struct lanes *l, struct msg *m)
{
	m->counted_active = false;
	lanes_active(l, m, -1);
}

static int free_all(void **state)
{
	(void)state;
	for (struct msg *next; all; all = next) {
		next = all->account_next;
		free(all);
	}
	return 0;
}

static void order_within_a_lane(void **state)
{
	struct lanes *l = lanes_new();
	static const int64_t times[] = {50, 10, 30, 10, 20};
	static const int64_t want[] = {2, 4, 5, 3, 1};
	(void)state;
	for (int64_t i = 0; i < 5; i++)
		add(l, "", i + 1, times[i]);
	assert_int_equal(lanes_next(l), 10);
	assert_null(lanes_due(l, 9));
	for (size_t i = 0; i < 5; i++) {
		struct msg *m = lanes_due(l, 100);
		assert_int_equal(m->key, want[i]);
		lanes_take(l, m);
		lanes_forget(l, m);
	}
	assert_null(lanes_due(l, 100));
	assert_int_equal(lanes_count(l), 0);
	lanes_free(l);
}

static void lanes_take_turns(void **state)
{
	struct lanes *l = lanes_new();
	char got[8] = "";
	(void)state;
	lanes_limit(l, "a", 100, 0); /* nobody is there: not kept */
	for (int64_t i = 0; i < 5; i++)
		add(l, "a", i, 1);
	add(l, "b", 10, 2);
	add(l, "c", 11, 3);
	lanes_limit(l, "a", 100, 0);
	for (int i = 0; i < 7; i++) {
		struct msg *m = lanes_due(l, 5);
		got[i] = lanes_name(m)[0];
		dispatch(l, m);
	}
	assert_string_equal(got, "abcaaaa");
	assert_null(lanes_due(l, 5));
	lanes_free(l);
}

static void a_limit_is_kept(void **state)
{
	struct lanes *l = lanes_new();
	struct msg *on[LANE_FIRST];
	(void)state;
	for (int64_t i = 0; i < 10; i++)
		add(l, "slow", i, 0);
	for (int i = 0; i < LANE_FIRST; i++)
		dispatch(l, on[i] = lanes_due(l, 0));
	assert_null(lanes_due(l, 1000));
	assert_int_equal(lanes_next(l), INT64_MAX);
	struct msg *other = add(l, "fast", 100, 0);
	assert_ptr_equal(lanes_due(l, 1), other);
	dispatch(l, other);
	back(l, on[0]);
	lanes_forget(l, on[0]);
	assert_non_null(lanes_due(l, 1));
	lanes_limit(l, "slow", 1, 0);
	assert_null(lanes_due(l, 1));
	lanes_free(l);
}

static void closed_until_its_time(void **state)
{
	struct lanes *l = lanes_new();
	struct msg *m = add(l, "dead", 1, 0);
	(void)state;
	assert_ptr_equal(lanes_due(l, 5), m);
	lanes_limit(l, "dead", 0, 100);
	assert_null(lanes_due(l, 99));
	assert_int_equal(lanes_next(l), 100);
	assert_ptr_equal(lanes_due(l, 100), m);
	lanes_limit(l, "dead", 0, 500);
	assert_null(lanes_due(l, 200));
	lanes_open_all(l);
	assert_ptr_equal(lanes_due(l, 200), m);
	m->next_ms = 300;
	lanes_put(l, m);
	assert_null(lanes_due(l, 200));
	assert_ptr_equal(lanes_due(l, 300), m);
	lanes_set(l, m, "other");
	assert_int_equal(lanes_count(l), 1);
	assert_ptr_equal(lanes_due(l, 300), m);
	lanes_forget(l, m);
	lanes_free(l);
}

/* A hundred thousand for a dead destination: others go first, and it costs next to nothing. */
static void a_crowd_is_in_nobodys_way(void **state)
{
	struct lanes *l = lanes_new();
	(void)state;
	for (int64_t i = 0; i < 100000; i++)
		add(l, "dead", i, 0);
	for (int i = 0; i < LANE_FIRST; i++)
		dispatch(l, lanes_due(l, 1));
	lanes_limit(l, "dead", 0, 1000000);
	for (int64_t i = 0; i < 100000; i++) {
		struct msg *m = add(l, i % 2 ? "x" : "y", 200000 + i, 2);
		assert_ptr_equal(lanes_due(l, 3), m);
		dispatch(l, m);
		back(l, m);
		lanes_forget(l, m);
	}
	assert_null(lanes_due(l, 3));
	lanes_free(l);
}

/* Against the plain rule: a message that may go is found, and only such a one. */
static void random_steps(void **state)
{
	enum { N = 60, LANES = 5 };
	struct lanes *l = lanes_new();
	struct msg *m[N];
	uint32_t limit[LANES], active[LANES] = {0}, x = 12345;
	int64_t closed[LANES] = {0};
	(void)state;
	for (int i = 0; i < N; i++) {
		char name[4] = {'l', (char)('0' + i % LANES), 0};
		m[i] = add(l, name, i, i % 7);
		limit[i % LANES] = LANE_FIRST;
	}
	for (int64_t now = 10, step = 0; step < 20000; step++) {
		x = x * 1664525u + 1013904223u;
		int i = (int)(x >> 16) % N, k = i % LANES;
		char name[4] = {'l', (char)('0' + k), 0};
		switch (x >> 8 & 3) {
		case 0:
			limit[k] = 1 + (x >> 24) % 6;
			closed[k] = (x >> 20 & 3) == 0 ? now + 5 : 0;
			lanes_limit(l, name, limit[k], closed[k]);
			break;
		case 1:
			now++;
			break;
		case 2:
			if (m[i]->counted_active) {
				back(l, m[i]);
				active[k]--;
				m[i]->next_ms = now + (int64_t)(x >> 28);
				lanes_put(l, m[i]);
			}
			break;
		default:
			break;
		}
		bool any = false;
		for (int j = 0; j < N; j++)
			any |= m[j]->heap_pos && m[j]->next_ms <= now && closed[j % LANES] <= now &&
			       active[j % LANES] < limit[j % LANES];
		struct msg *due = lanes_due(l, now);
		assert_int_equal(due != NULL, any);
		if (!due)
			continue;
		k = (int)due->key % LANES;
		assert_true(due->next_ms <= now && closed[k] <= now && active[k] < limit[k]);
		dispatch(l, due);
		active[k]++;
	}
	lanes_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(order_within_a_lane, free_all),
	    cmocka_unit_test_teardown(lanes_take_turns, free_all),
	    cmocka_unit_test_teardown(a_limit_is_kept, free_all),
	    cmocka_unit_test_teardown(closed_until_its_time, free_all),
	    cmocka_unit_test_teardown(a_crowd_is_in_nobodys_way, free_all),
	    cmocka_unit_test_teardown(random_steps, free_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
