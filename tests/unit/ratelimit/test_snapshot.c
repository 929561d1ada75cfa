/*
 * snapshot - there and back, older by the time between, and nothing of a damaged one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "ratelimit/snapshot.h"
#include "tests/unit/ratelimit/common.h"
#include "tests/unit/ratelimit/rand.h"

#define ME "user01@isp.example"

static struct limiter *new_default(uint64_t seed)
{
	struct limiter_conf c = default_conf();
	c.prefix4 = 24;
	add_limit(&c, "far", KEY_ACCOUNT, UNIT_DISTINCT_RCPTS, 2 * HOUR, 50);
	add_limit(&c, "wide", KEY_REALM, UNIT_DISTINCT_RCPTS, 2 * HOUR, 50000);
	add_limit(&c, "bytes", KEY_ACCOUNT, UNIT_BYTES, 2 * HOUR, 50000);
	add_limit(&c, "net", KEY_ADDRESS, UNIT_MESSAGES, HOUR, 50000);
	finish(&c);
	return limiter_new(&c, seed);
}

struct blob {
	uint8_t *data;
	size_t len;
};

static struct blob encode(struct limiter *l, enum snapshot_kind kind, int64_t ms)
{
	struct moment now = at(ms);
	struct blob b;
	b.data = snapshot_encode(l, kind, &now, &b.len);
	return b;
}

static bool decode(struct limiter *l, enum snapshot_kind kind, const struct blob *b,
		   struct moment now)
{
	size_t left_out;
	const char *err = NULL;
	bool ok = snapshot_decode(l, kind, &now, b->data, b->len, &left_out, &err);
	assert_int_equal(ok, err == NULL);
	return ok;
}

/* A new limiter from both files of l, both written at ms and read at now. */
static struct limiter *restart(struct limiter *l, int64_t ms, struct moment now)
{
	struct blob counters = encode(l, SNAPSHOT_COUNTERS, ms),
		    standing = encode(l, SNAPSHOT_STANDING, ms);
	struct limiter *r = limiter_new(limiter_config(l), 99);
	assert_true(decode(r, SNAPSHOT_COUNTERS, &counters, now));
	assert_true(decode(r, SNAPSHOT_STANDING, &standing, now));
	free(counters.data);
	free(standing.data);
	return r;
}

static void same_view(struct limiter *a, struct limiter *b, const char *name, int64_t ms)
{
	static struct limiter_view x, y;
	view(a, name, ms, &x);
	view(b, name, ms, &y);
	assert_int_equal(x.n, y.n);
	for (unsigned i = 0; i < x.n; i++) {
		assert_int_equal(x.row[i].max, y.row[i].max);
		assert_int_equal(x.row[i].used, y.row[i].used);
		assert_int_equal(x.row[i].empty_in_ms, y.row[i].empty_in_ms);
		assert_int_equal(x.row[i].estimated, y.row[i].estimated);
		assert_int_equal(!x.row[i].over, !y.row[i].over);
		if (x.row[i].over)
			assert_memory_equal(x.row[i].over, y.row[i].over, sizeof *x.row[i].over);
	}
	assert_int_equal(x.held, y.held);
	assert_int_equal(x.grace_left_ms, y.grace_left_ms);
	if (x.grace_left_ms == 0) /* a restart in the grace forgets what the detector saw */
		assert_memory_equal(&x.detect, &y.detect, sizeof x.detect);
	assert_int_equal(x.penalty != NULL, y.penalty != NULL);
	if (x.penalty)
		assert_memory_equal(x.penalty, y.penalty, sizeof *x.penalty);
}

/* Everything at once: traffic of many accounts, holds, releases, overrides. */
static struct limiter *busy(int accounts)
{
	struct limiter *l = new_default(5);
	char name[48];
	for (int i = 0; i < 4000; i++) {
		struct moment now = at(i * 500);
		snprintf(name, sizeof name, "user%llu@isp.example",
			 (unsigned long long)rnd((uint64_t)accounts));
		(void)ask_n(l, name, i * 500, rnd(4) != 0, (uint32_t)rnd(100),
			    1 + (uint32_t)rnd(12));
		if (rnd(100) == 0) {
			struct rl_penalty p =
			    penalty_of(name, rnd(2) ? RL_HOLD : RL_NORMAL, now.utc_ms);
			limiter_set_penalty(l, &p, &now);
		}
		if (rnd(200) == 0) {
			static const char *const limits[] = {"messages-1m", "recipients-1d", "far"};
			struct override o = {.max = (int64_t)rnd(500),
					     .terms = {.expires_ms = now.utc_ms + DAY,
						       .set_ms = now.utc_ms,
						       .reason = "why not",
						       .actor = "taro"}};
			snprintf(o.limit, sizeof o.limit, "%s", limits[rnd(3)]);
			limiter_override(l, TARGET_ACCOUNT, name, &o);
		}
	}
	return l;
}

static void there_and_back(void **state)
{
	(void)state;
	struct limiter *l = busy(40);
	int64_t end = 4000 * 500;
	for (int64_t later = 0; later < 2 * HOUR; later += 7 * MIN + 333) {
		struct moment now = at(end + later);
		struct limiter *r = restart(l, end, now);
		assert_int_equal(accounts_of(r), accounts_of(l));
		for (int i = 0; i < 40; i++) {
			char name[48];
			snprintf(name, sizeof name, "user%d@isp.example", i);
			same_view(l, r, name, end + later);
		}
		assert_memory_equal(limiter_stats(l)->penalised, limiter_stats(r)->penalised,
				    sizeof limiter_stats(l)->penalised);
		limiter_free(r);
	}
	limiter_free(l);
}

/* Found by fuzz_snapshot: an age too large for its field made the whole file unreadable. */
static void a_year_on_hold_is_still_readable(void **state)
{
	(void)state;
	struct limiter *l = new_default(5);
	struct moment start = at(0), now = at(365 * DAY + 5 * MIN);
	struct rl_penalty p = penalty_of(ME, RL_HOLD, T0);
	charge_to(l, ME, 0, 1);
	limiter_set_penalty(l, &p, &start);
	struct limiter *r = restart(l, 365 * DAY, now);
	assert_non_null(limiter_penalty(r, ME));
	struct limiter *again = restart(r, 365 * DAY + 6 * MIN, now);
	assert_non_null(limiter_penalty(again, ME));
	limiter_free(again);
	limiter_free(r);
	limiter_free(l);
}

/* The machine was started anew: another monotonic clock, whose slots begin elsewhere. */
static void another_clock_never_forgets_early(void **state)
{
	(void)state;
	struct limiter *l = new_default(5);
	for (uint32_t i = 0; i < 25; i++)
		assert_int_equal(charge_to(l, ME, i * 100, i % 5), RL_OK);
	for (int64_t shift = -1500; shift < 1500; shift += 77) {
		struct moment now = {.mono_ms = T0 + 30 * SEC + shift, .utc_ms = T0 + 30 * SEC};
		struct limiter *r = restart(l, 3 * SEC, now);
		struct limiter_view v;
		for (int64_t t = 30 * SEC; t < 2 * MIN; t += 100) {
			const struct limiter_who me = {.account = ME};
			struct moment m = {.mono_ms = T0 + t + shift, .utc_ms = T0 + t};
			limiter_view(r, &me, &m, &v);
			if (t < 60 * SEC)
				assert_int_equal(row_of(&v, "messages-1m")->used, 25);
			if (t >= 2400 + 61 * SEC)
				assert_int_equal(row_of(&v, "messages-1m")->used, 0);
		}
		limiter_free(r);
	}
	limiter_free(l);
}

static void a_clock_set_back_counts_as_no_time(void **state)
{
	(void)state;
	struct limiter *l = new_default(5);
	charge_to(l, ME, 0, 1);
	struct moment now = {.mono_ms = T0 - DAY, .utc_ms = T0 - DAY};
	struct limiter *r = restart(l, SEC, now);
	const struct limiter_who me = {.account = ME};
	struct limiter_view v;
	limiter_view(r, &me, &now, &v);
	assert_int_equal(row_of(&v, "messages-1m")->used, 1);
	limiter_free(r);
	limiter_free(l);
}

/* Counters on disk are from before the release: they must not trip the detector again. */
static void a_release_survives_older_counters(void **state)
{
	(void)state;
	struct limiter *l = new_default(5);
	for (uint32_t i = 0; i < 30; i++)
		charge_to(l, ME, i, i);
	assert_non_null(limiter_penalty(l, ME));
	struct blob counters = encode(l, SNAPSHOT_COUNTERS, 100);
	struct moment release = at(200), now = at(300);
	struct rl_penalty p = penalty_of(ME, RL_NORMAL, T0);
	limiter_set_penalty(l, &p, &release);
	struct blob standing = encode(l, SNAPSHOT_STANDING, 200);
	struct limiter *r = new_default(6);
	assert_true(decode(r, SNAPSHOT_COUNTERS, &counters, now));
	assert_true(decode(r, SNAPSHOT_STANDING, &standing, now));
	struct limiter_view v;
	view(r, ME, 300, &v);
	assert_null(v.penalty);
	assert_int_equal(v.detect.distinct, 0);
	assert_int_equal(v.grace_left_ms, 10 * MIN - 100);
	free(counters.data);
	free(standing.data);
	limiter_free(r);
	limiter_free(l);
}

static void nothing_of_a_damaged_one_is_taken(void **state)
{
	(void)state;
	struct limiter *l = busy(10);
	for (int kind = SNAPSHOT_COUNTERS; kind <= SNAPSHOT_STANDING; kind++) {
		struct blob whole = encode(l, kind, 0);
		for (int i = 0; i < 3000; i++) {
			struct limiter *r = new_default(6);
			struct blob b = {.data = test_malloc(whole.len + 8), .len = whole.len};
			memcpy(b.data, whole.data, whole.len);
			if (i % 3 == 0)
				b.len = (size_t)rnd(whole.len);
			else if (i % 3 == 1)
				b.data[rnd(whole.len)] ^= (uint8_t)(1 + rnd(255));
			else
				b.len += 1 + (size_t)rnd(8);
			assert_false(decode(r, kind, &b, at(0)));
			assert_int_equal(accounts_of(r), 0);
			test_free(b.data);
			limiter_free(r);
		}
		free(whole.data);
	}
	limiter_free(l);
}

static void put_checksum(struct blob *b)
{
	uint64_t h = snapshot_sum(b->data, b->len - 8);
	for (int i = 0; i < 8; i++)
		b->data[b->len - 1 - (size_t)i] = (uint8_t)(h >> (8 * i));
}

/* With a right checksum the records must still stand on their own. */
static void forged_records_are_read_strictly(void **state)
{
	(void)state;
	struct limiter *l = busy(10);
	int refused = 0;
	for (int kind = SNAPSHOT_COUNTERS; kind <= SNAPSHOT_STANDING; kind++) {
		struct blob b = encode(l, kind, 0);
		uint8_t *whole = test_malloc(b.len);
		memcpy(whole, b.data, b.len);
		for (int i = 0; i < 3000; i++) {
			struct limiter *r = new_default(6);
			for (int k = 0; k < 3; k++)
				b.data[rnd(b.len)] ^= (uint8_t)(1 + rnd(255));
			put_checksum(&b);
			refused += !decode(r, kind, &b, at(0));
			memcpy(b.data, whole, b.len);
			limiter_free(r);
		}
		test_free(whole);
		free(b.data);
	}
	assert_true(refused > 100);
	limiter_free(l);
}

static void the_wrong_kind_or_version_is_named(void **state)
{
	(void)state;
	struct limiter *l = new_default(5), *r = new_default(5);
	struct blob b = encode(l, SNAPSHOT_COUNTERS, 0);
	struct moment now = at(0);
	size_t left_out;
	const char *err;
	assert_false(snapshot_decode(r, SNAPSHOT_STANDING, &now, b.data, b.len, &left_out, &err));
	assert_string_equal(err, "not a snapshot of this kind");
	b.data[5]++;
	put_checksum(&b);
	assert_false(snapshot_decode(r, SNAPSHOT_COUNTERS, &now, b.data, b.len, &left_out, &err));
	assert_string_equal(err, "written by another version of this program");
	free(b.data);
	limiter_free(l);
	limiter_free(r);
}

static void a_smaller_table_takes_penalties_first(void **state)
{
	(void)state;
	struct limiter *l = new_default(5);
	struct limiter_conf small = default_conf();
	small.accounts = 10;
	struct moment now = at(0);
	char name[48];
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "user%d@isp.example", i);
		charge_to(l, name, 0, 1);
	}
	for (int i = 25; i < 30; i++) {
		snprintf(name, sizeof name, "user%d@isp.example", i);
		struct rl_penalty p = penalty_of(name, RL_HOLD, T0);
		limiter_set_penalty(l, &p, &now);
	}
	struct blob counters = encode(l, SNAPSHOT_COUNTERS, 0),
		    standing = encode(l, SNAPSHOT_STANDING, 0);
	struct limiter *r = limiter_new(&small, 6);
	size_t left_out;
	const char *err;
	assert_true(snapshot_decode(r, SNAPSHOT_COUNTERS, &now, counters.data, counters.len,
				    &left_out, &err));
	assert_int_equal(left_out, 21); /* and the realm, which has its own count */
	assert_true(snapshot_decode(r, SNAPSHOT_STANDING, &now, standing.data, standing.len,
				    &left_out, &err));
	assert_int_equal(left_out, 0);
	assert_int_equal(accounts_of(r), 10);
	assert_int_equal(limiter_stats(r)->penalised[RL_HOLD], 5);
	free(counters.data);
	free(standing.data);
	limiter_free(l);
	limiter_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(there_and_back),
	    cmocka_unit_test(a_year_on_hold_is_still_readable),
	    cmocka_unit_test(another_clock_never_forgets_early),
	    cmocka_unit_test(a_clock_set_back_counts_as_no_time),
	    cmocka_unit_test(a_release_survives_older_counters),
	    cmocka_unit_test(nothing_of_a_damaged_one_is_taken),
	    cmocka_unit_test(forged_records_are_read_strictly),
	    cmocka_unit_test(the_wrong_kind_or_version_is_named),
	    cmocka_unit_test(a_smaller_table_takes_penalties_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
