/*
 * table and distinct - against slow models of them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit/distinct.h"
#include "ratelimit/table.h"
#include "tests/unit/ratelimit/rand.h"

#define NAMES 300
#define ROOM  200

static struct model {
	struct table_node node;
	char name[32];
	bool in;
} model[NAMES];

static size_t count_in(void)
{
	size_t n = 0;
	for (int i = 0; i < NAMES; i++)
		n += model[i].in;
	return n;
}

/* The one used longest ago of those that may go. */
static struct table_node *model_oldest(const int64_t *stamp)
{
	int best = -1;
	for (int i = 0; i < NAMES; i++)
		if (model[i].in && !model[i].node.pinned && (best < 0 || stamp[i] < stamp[best]))
			best = i;
	return best < 0 ? NULL : &model[best].node;
}

static void check_all(const struct table *t, const int64_t *stamp)
{
	for (int i = 0; i < NAMES; i++)
		assert_ptr_equal(table_find(t, model[i].name), model[i].in ? &model[i].node : NULL);
	assert_int_equal(t->n, count_in());
	assert_ptr_equal(table_oldest(t), model_oldest(stamp));
}

static void random_use_matches_a_model(void **state)
{
	(void)state;
	struct table t;
	int64_t stamp[NAMES] = {0}, now = 0;
	table_init(&t, ROOM, 42);
	for (int i = 0; i < NAMES; i++) {
		snprintf(model[i].name, sizeof model[i].name, "user%d@x", i);
		model[i].node.name = model[i].name;
	}
	for (int step = 0; step < 20000; step++) {
		struct model *m = &model[rnd(NAMES)];
		int64_t *s = &stamp[m - model];
		now++;
		if (!m->in) {
			m->in = table_insert(&t, &m->node, now);
			if (!m->in)
				assert_int_equal(t.n, ROOM);
			*s = now;
		} else if (rnd(4) == 0) {
			table_remove(&t, &m->node);
			m->in = false;
		} else if (rnd(8) == 0) {
			table_pin(&t, &m->node, !m->node.pinned);
			*s = now;
		} else {
			table_touch(&t, &m->node, now);
			if (!m->node.pinned)
				*s = now;
		}
		if (step % 50 == 0)
			check_all(&t, stamp);
	}
	table_done(&t);
}

static void a_pinned_node_is_never_offered(void **state)
{
	(void)state;
	struct table t;
	struct table_node a = {.name = "a"}, b = {.name = "b"}, c = {.name = "c"};
	table_init(&t, 2, 1);
	assert_true(table_insert(&t, &a, 1));
	assert_true(table_insert(&t, &b, 2));
	assert_false(table_insert(&t, &c, 3));
	assert_ptr_equal(table_oldest(&t), &a);
	table_pin(&t, &a, true);
	assert_ptr_equal(table_oldest(&t), &b);
	table_pin(&t, &b, true);
	assert_null(table_oldest(&t));
	table_pin(&t, &a, false);
	assert_ptr_equal(table_oldest(&t), &a);
	table_remove(&t, &a);
	table_remove(&t, &b);
	assert_true(table_insert(&t, &c, 3));
	table_done(&t);
}

/* --- distinct ------------------------------------------------------------------------------------
 */

#define HASHES 40
#define WINDOW 1000

static uint32_t model_count(const int64_t *last, int64_t now)
{
	uint32_t n = 0;
	for (int i = 0; i < HASHES; i++)
		n += last[i] >= 0 && now - last[i] < WINDOW;
	return n;
}

static void distinct_is_exact_within_its_room(void **state)
{
	(void)state;
	struct distinct d = {0};
	int64_t last[HASHES], now = 0;
	for (int i = 0; i < HASHES; i++)
		last[i] = -1;
	for (int step = 0; step < 20000; step++) {
		uint64_t h[3];
		uint32_t n = (uint32_t)rnd(4);
		now += (int64_t)rnd(100) * (int64_t)rnd(2);
		for (uint32_t i = 0; i < n; i++) {
			h[i] = rnd(HASHES);
			last[h[i]] = now;
		}
		distinct_add(&d, now, WINDOW, HASHES, h, n);
		assert_int_equal(distinct_count(&d, now, WINDOW), model_count(last, now));
	}
	distinct_clear(&d);
	assert_int_equal(distinct_count(&d, now, WINDOW), 0);
}

static void distinct_is_bounded_and_drops_the_oldest(void **state)
{
	(void)state;
	struct distinct d = {0};
	for (uint64_t h = 0; h < 1000; h++)
		distinct_add(&d, (int64_t)h, WINDOW, 16, &h, 1);
	assert_int_equal(distinct_count(&d, 999, WINDOW), 16);
	assert_int_equal(d.cap, 16);
	assert_int_equal(distinct_count(&d, 999 + WINDOW - 15, WINDOW), 15); /* 985..999 */
	distinct_clear(&d);
}

static void the_window_ends_to_the_millisecond(void **state)
{
	(void)state;
	struct distinct d = {0};
	uint64_t h = 7;
	distinct_add(&d, 100, WINDOW, 16, &h, 1);
	assert_int_equal(distinct_count(&d, 100 + WINDOW - 1, WINDOW), 1);
	assert_int_equal(distinct_count(&d, 100 + WINDOW, WINDOW), 0);
	distinct_clear(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_use_matches_a_model),
	    cmocka_unit_test(a_pinned_node_is_never_offered),
	    cmocka_unit_test(distinct_is_exact_within_its_room),
	    cmocka_unit_test(distinct_is_bounded_and_drops_the_oldest),
	    cmocka_unit_test(the_window_ends_to_the_millisecond),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
