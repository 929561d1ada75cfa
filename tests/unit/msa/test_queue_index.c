/* The index against a plain model, and its order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "msa/queue/index.h"

#define N 400

struct model {
	bool there, account_held;
	uint8_t hold, state;
	int64_t next_ms;
};

static uint64_t seed = 88172645463325252u;

static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16) % n;
}

static void name(int i, char id[QUEUE_ID_LEN + 1], char account[32])
{
	snprintf(id, QUEUE_ID_LEN + 1, "%012dabcd", i);
	snprintf(account, 32, "user%d@isp.example", i % 7);
}

static void check(struct index *ix, const struct model *m, const bool *held)
{
	struct index_counts c = index_counts(ix);
	size_t queued = 0, n_held = 0, active = 0;
	int first = -1;
	char id[QUEUE_ID_LEN + 1], account[32];

	for (int i = 0; i < N; i++) {
		if (!m[i].there)
			continue;
		bool h = m[i].hold || held[i % 7];
		queued++;
		n_held += h;
		active += m[i].state == MSG_ACTIVE;
		if (!h && m[i].state == MSG_READY && (first < 0 || m[i].next_ms < m[first].next_ms))
			first = i;
	}
	assert_int_equal(c.queued, queued);
	assert_int_equal(c.held, n_held);
	assert_int_equal(c.active, active);
	assert_int_equal(c.bytes, queued * (100 + INDEX_OVERHEAD));
	const struct msg *due = index_due(ix, INT64_MAX);
	if (first < 0) {
		assert_null(due);
		assert_true(index_next(ix) == INT64_MAX);
		return;
	}
	name(first, id, account);
	assert_non_null(due);
	assert_string_equal(due->id, id);
	assert_int_equal(index_next(ix), m[first].next_ms);
	assert_null(index_due(ix, m[first].next_ms - 1));
	assert_ptr_equal(index_due(ix, m[first].next_ms), due);
}

static void model(void **state)
{
	struct index *ix = index_new();
	struct model m[N] = {{.there = false}};
	bool held[7] = {false};
	char id[QUEUE_ID_LEN + 1], account[32];

	(void)state;
	for (int step = 0; step < 20000; step++) {
		int i = (int)rnd(N);
		name(i, id, account);
		struct msg *x = index_find(ix, id);
		assert_int_equal(x != NULL, m[i].there);
		switch (rnd(6)) {
		case 0:
			if (x)
				break;
			x = index_add(ix, id, account, 100, 5);
			m[i] = (struct model){.there = true, .state = MSG_COMMITTING, .next_ms = 5};
			break;
		case 1:
			if (x && rnd(3) == 0) {
				index_remove(ix, x);
				m[i].there = false;
			}
			break;
		case 2:
			if (x) {
				m[i].state = (uint8_t)rnd(4);
				index_set_state(ix, x, (enum msg_state)m[i].state);
			}
			break;
		case 3:
			if (x) {
				x->next_ms = m[i].next_ms = rnd(1000);
				index_update(ix, x);
			}
			break;
		case 4:
			if (x) {
				x->hold = m[i].hold = (uint8_t)rnd(4);
				index_update(ix, x);
			}
			break;
		default:
			if (rnd(10) == 0) {
				held[i % 7] = !held[i % 7];
				index_hold_account(ix, index_account(ix, account, true),
						   held[i % 7], "why");
			}
		}
		if (step % 16 == 0)
			check(ix, m, held);
	}
	/* The list is in order of key, whatever the order of adding. */
	int64_t last = -1;
	for (const struct msg *x = index_first(ix); x; x = x->next) {
		assert_true(x->key > last);
		last = x->key;
	}
	index_free(ix);
}

static void order_of_arrival_breaks_ties(void **state)
{
	struct index *ix = index_new();
	char id[QUEUE_ID_LEN + 1], account[32];

	(void)state;
	for (int i = 0; i < 3000; i++) {
		name(i, id, account);
		index_set_state(ix, index_add(ix, id, account, 1, 7), MSG_READY);
	}
	for (int i = 0; i < 3000; i++) {
		struct msg *m = index_due(ix, 7);
		name(i, id, account);
		assert_string_equal(m->id, id);
		index_set_state(ix, m, MSG_ACTIVE);
	}
	assert_null(index_due(ix, INT64_MAX));
	index_free(ix);
}

static void an_account_is_forgotten_when_it_says_nothing(void **state)
{
	struct index *ix = index_new();

	(void)state;
	assert_null(index_account(ix, "a@b", false));
	index_hold_account(ix, index_account(ix, "a@b", true), true, "x");
	struct msg *m = index_add(ix, "0123456789abcdef", "a@b", 1, 1);
	assert_true(index_is_held(m));
	index_hold_account(ix, m->account, false, "");
	assert_false(index_is_held(m));
	assert_non_null(index_account(ix, "a@b", false));
	index_remove(ix, m);
	assert_null(index_account(ix, "a@b", false));
	index_free(ix);
}

static void ids_with_the_same_beginning_are_one(void **state)
{
	struct index *ix = index_new();

	(void)state;
	assert_false(index_has_key(ix, queue_id_key("0123456789abcdef")));
	index_add(ix, "0123456789abcdef", "a@b", 1, 1);
	assert_null(index_find(ix, "0123456789abwxyz"));
	assert_true(index_has_key(ix, queue_id_key("0123456789abwxyz")));
	assert_false(index_has_key(ix, queue_id_key("0123456789aacdef")));
	assert_false(index_has_key(ix, queue_id_key("0123456789accdef")));
	index_free(ix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(model), cmocka_unit_test(order_of_arrival_breaks_ties),
	    cmocka_unit_test(ids_with_the_same_beginning_are_one),
	    cmocka_unit_test(an_account_is_forgotten_when_it_says_nothing)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
