/* Sums by source, events on their way, and the table under both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <cmocka.h>

#include "nfq/amap.h"
#include "nfq/outbox.h"
#include "nfq/procq.h"
#include "nfq/stats.h"

static struct addr number(unsigned n)
{
	struct addr a;
	addr_from_v4(&a, (const uint8_t[4]){10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n});
	return a;
}

/* --- amap --- */

static bool remove_odd(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	unsigned *seen = arg;
	(void)key;
	(void)tag;
	seen[*(unsigned *)value]++;
	return *(unsigned *)value % 2 == 1;
}

static void table(void **state)
{
	enum { N = 3000 };
	static unsigned seen[N];
	struct amap *m = amap_new(NULL, sizeof(unsigned), N);
	(void)state;
	for (unsigned i = 0; i < N; i++) {
		struct addr a = number(i / 2);
		bool is_new;
		unsigned *v = amap_put(m, &a, i % 2, &is_new);
		assert_non_null(v);
		assert_true(is_new);
		*v = i;
	}
	struct addr other = number(N), first = number(0);
	assert_null(amap_put(m, &other, 0, NULL)); /* one too many */
	assert_non_null(amap_put(m, &first, 0, NULL));
	amap_each(m, remove_odd, seen);
	for (unsigned i = 0; i < N; i++) {
		struct addr a = number(i / 2);
		const unsigned *v = amap_get(m, &a, i % 2);
		assert_int_equal(seen[i], 1); /* each once, though entries moved */
		assert_int_equal(v != NULL, i % 2 == 0);
		if (v)
			assert_int_equal(*v, i);
	}
	assert_int_equal(amap_count(m), N / 2);
	assert_false(amap_remove(m, &other, 0));
	assert_true(amap_remove(m, &first, 0));
	assert_null(amap_get(m, &first, 0));
	amap_clear(m);
	assert_int_equal(amap_count(m), 0);
	talloc_free(m);
}

static void table_random(void **state)
{
	enum { N = 400 };
	static bool in[N];
	struct amap *m = amap_new(NULL, 1, N);
	(void)state;
	srand(1);
	for (unsigned round = 0; round < 100000; round++) {
		unsigned i = (unsigned)rand() % N;
		struct addr a = number(i);
		if (in[i])
			assert_true(amap_remove(m, &a, 0));
		else
			assert_non_null(amap_put(m, &a, 0, NULL));
		in[i] = !in[i];
	}
	for (unsigned i = 0; i < N; i++) {
		struct addr a = number(i);
		assert_int_equal(amap_get(m, &a, 0) != NULL, in[i]);
	}
	talloc_free(m);
}

/* --- stats --- */

static struct event got[16];
static unsigned n_got;

static void take(const struct event *e, void *arg)
{
	(void)arg;
	assert_true(n_got < 16);
	got[n_got++] = *e;
}

static void sums(void **state)
{
	struct stats *s = stats_new(NULL, 2);
	struct addr a = number(1), b = number(2), c = number(3), x = number(100), y = number(101);
	(void)state;
	stats_count(s, EVENT_BLOCK, &a, &x, 3, 1000);
	stats_count(s, EVENT_BLOCK, &a, &y, 4, 1000);
	stats_count(s, EVENT_BLOCK, &a, NULL, 5, 1000);
	stats_count(s, EVENT_PASS, &b, &y, 1, 1000);
	stats_count(s, EVENT_PASS, &c, &y, 7, 1000); /* no room for a third */
	n_got = 0;
	stats_close(s, 6000, take, NULL);
	assert_int_equal(n_got, 2);
	const struct event *e = got[0].kind == EVENT_BLOCK ? &got[0] : &got[1];
	assert_int_equal(e->u.block.packets, 12);
	assert_int_equal(e->u.block.dsts, 2);
	assert_int_equal(e->u.block.first_ms, 1000);
	assert_int_equal(e->t_ms, 6000);
	assert_true(addr_eq(&e->src, &a));
	assert_true(addr_eq(&e->u.block.last_dst, &y));
	assert_int_equal(stats_lost(s), 7);
	/* Told once; the clock stepped back meanwhile. */
	stats_count(s, EVENT_BLOCK, &c, &x, 1, 6000);
	n_got = 0;
	stats_close(s, 5000, take, NULL);
	assert_int_equal(n_got, 1);
	assert_int_equal(got[0].u.block.first_ms, 5000);
	talloc_free(s);
}

/* The estimate is from below, whatever the destinations are. */
static void destinations(void **state)
{
	struct stats *s = stats_new(NULL, 4);
	struct addr a = number(1);
	(void)state;
	for (unsigned n = 1; n <= 200; n++) {
		for (unsigned i = 0; i < n; i++) {
			struct addr d = number(1000 + i);
			stats_count(s, EVENT_BLOCK, &a, &d, 1, 0);
		}
		n_got = 0;
		stats_close(s, 1, take, NULL);
		assert_int_equal(n_got, 1);
		assert_in_range(got[0].u.block.dsts, n < 4 ? 1 : n / 2, n);
	}
	talloc_free(s);
}

static void many_packets(void **state)
{
	struct stats *s = stats_new(NULL, 4);
	struct addr a = number(1);
	(void)state;
	stats_count(s, EVENT_BLOCK, &a, NULL, 1ull << 40, 0);
	n_got = 0;
	stats_close(s, 1, take, NULL);
	assert_int_equal(got[0].u.block.packets, UINT32_MAX);
	talloc_free(s);
}

/* --- outbox --- */

static struct event block(unsigned n)
{
	struct event e = {.kind = EVENT_BLOCK, .t_ms = 1, .src = number(n)};
	e.u.block.packets = n;
	e.u.block.last_dst = number(0);
	return e;
}

struct wire {
	uint64_t seqs[64];
	uint32_t events;
	unsigned n, limit;
};

static bool send_to(uint64_t seq, uint32_t n, const uint8_t *data, size_t len, void *arg)
{
	struct wire *w = arg;
	struct event e;
	if (w->n == w->limit)
		return false;
	w->seqs[w->n++] = seq;
	w->events += n;
	for (uint32_t i = 0; i < n; i++) {
		size_t used = event_decode(data, len, &e);
		assert_true(used > 0);
		data += used;
		len -= used;
	}
	assert_int_equal(len, 0);
	return true;
}

static void fill(struct outbox *o, unsigned batches)
{
	for (unsigned i = 0; i < batches; i++) {
		struct event e = block(i + 1);
		outbox_add(o, &e);
		outbox_seal(o);
	}
}

static void sending(void **state)
{
	struct outbox *o = outbox_new(NULL, "test", 1 << 20);
	struct wire w = {.limit = 2};
	(void)state;
	outbox_seal(o); /* nothing to seal */
	assert_int_equal(outbox_batches(o), 0);
	fill(o, 3);
	outbox_send(o, send_to, &w);
	assert_int_equal(w.n, 2);
	w.limit = 64;
	outbox_send(o, send_to, &w);
	assert_int_equal(w.n, 3);
	assert_int_equal(w.seqs[2], 3);
	outbox_send(o, send_to, &w); /* nothing new */
	assert_int_equal(w.n, 3);
	outbox_acked(o, 2);
	assert_int_equal(outbox_batches(o), 1);
	outbox_resend(o);
	outbox_send(o, send_to, &w);
	assert_int_equal(w.n, 4);
	assert_int_equal(w.seqs[3], 3);
	outbox_acked(o, 99);
	assert_int_equal(outbox_batches(o), 0);
	assert_int_equal(outbox_bytes(o), 0);
	/* A window: the rest waits for acknowledgements. */
	fill(o, 40);
	w = (struct wire){.limit = 64};
	outbox_send(o, send_to, &w);
	assert_int_equal(w.n, 4);
	outbox_acked(o, w.seqs[3]);
	outbox_send(o, send_to, &w);
	assert_int_equal(w.n, 8);
	talloc_free(o);
}

static void bounds(void **state)
{
	struct outbox *o = outbox_new(NULL, "test", OUTBOX_BATCH_BYTES * 2);
	struct wire w = {.limit = 64};
	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct event e = block(i);
		outbox_add(o, &e);
	}
	outbox_seal(o);
	assert_true(outbox_bytes(o) <= OUTBOX_BATCH_BYTES * 2);
	outbox_send(o, send_to, &w);
	assert_true(w.n >= 2);
	assert_true(outbox_lost(o) > 0);
	assert_int_equal(w.events + outbox_lost(o), 20000);
	assert_true(w.seqs[0] > 1); /* the oldest went */
	talloc_free(o);
}

static void restart(void **state)
{
	struct outbox *o = outbox_new(NULL, "life", 1 << 20);
	struct wire w = {.limit = 64};
	size_t len;
	(void)state;
	fill(o, 3);
	outbox_send(o, send_to, &w);
	outbox_acked(o, 1);
	struct event e = block(9);
	outbox_add(o, &e); /* not sealed: kept all the same */
	uint8_t *data = outbox_encode(o, o, &len);
	struct outbox *p = outbox_decode(NULL, data, len, 1 << 20);
	assert_non_null(p);
	assert_string_equal(outbox_instance(p), "life");
	assert_int_equal(outbox_batches(p), 3);
	fill(p, 1);
	w.n = 0;
	outbox_send(p, send_to, &w);
	assert_int_equal(w.n, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(w.seqs[i], i + 2); /* the same numbers, and none twice */
	for (size_t cut = 0; cut < len; cut++)
		assert_null(outbox_decode(NULL, data, cut, 1 << 20));
	talloc_free(p);
	talloc_free(o);
}

/* --- procq --- */

static void queue_rows(void **state)
{
	static const char text[] = "   25   3078     7 2    128     3     4        9  1\n"
				   "   26   3079     0 2    128     0     0        0  1\n";
	struct procq q;
	(void)state;
	assert_true(procq_find(text, 25, &q));
	assert_int_equal(q.port, 3078);
	assert_int_equal(q.depth, 7);
	assert_int_equal(q.dropped, 3);
	assert_int_equal(q.user_dropped, 4);
	assert_true(procq_find(text, 26, &q));
	assert_int_equal(q.port, 3079);
	assert_false(procq_find(text, 2, &q));
	assert_int_equal(q.port, 0);
	static const char *const wrong[] = {"", "\n", "25 1 2 3", "25 1 2 3 4 5 x",
					    "25 1 2 3 4 5 99999999999999999999999"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_false(procq_find(wrong[i], 25, &q));
}

/* --- amap with short keys, scaled counts --- */

static bool check_key(const struct addr *key, uint8_t tag, void *value, void *arg)
{
	struct addr want = *(struct addr *)arg;
	(void)tag;
	want.b[want.b[0] == 0x20 ? 5 : 14] = *(uint8_t *)value;
	assert_true(addr_eq(key, &want));
	return false;
}

static void short_keys(void **state)
{
	(void)state;
	for (int is4 = 0; is4 < 2; is4++) {
		struct amap *m = amap_new_short(NULL, is4, is4 ? AMAP_IPV4 : 6, 1, 1000);
		struct addr a = number(0);
		if (!is4)
			a = (struct addr){{0x20, 1, 0xd, 0xb8}};
		for (unsigned i = 0; i < 200; i++) {
			a.b[is4 ? 14 : 5] = (uint8_t)i;
			uint8_t *v = amap_put(m, &a, 0, NULL);
			assert_non_null(v);
			*v = (uint8_t)i;
		}
		assert_int_equal(amap_count(m), 200);
		amap_each(m, check_key, &a);
		assert_true(amap_remove(m, &a, 0));
		assert_null(amap_get(m, &a, 0));
		assert_int_equal(amap_count(m), 199);
		talloc_free(m);
	}
}

static uint64_t packets_told;

static void add_packets(const struct event *e, void *arg)
{
	(void)arg;
	packets_told += e->u.block.packets;
}

static void uncounted_packets(void **state)
{
	static const uint64_t uncounted[] = {0, 1, 44, 84001, 5000000000};
	struct stats *s = stats_new(NULL, 100);
	(void)state;
	for (size_t i = 0; i < sizeof uncounted / sizeof *uncounted; i++) {
		/* Nobody was counted: they wait for an interval that has somebody. */
		stats_uncounted(s, EVENT_BLOCK, uncounted[i] / 2);
		packets_told = 0;
		stats_close(s, 1, add_packets, NULL);
		assert_true(packets_told == 0);
		for (unsigned k = 0; k < 3; k++) {
			struct addr a = number(k);
			stats_count(s, EVENT_BLOCK, &a, NULL, 1000 * (k + 1), 1);
			stats_count(s, EVENT_PASS, &a, NULL, 7, 1);
		}
		stats_uncounted(s, EVENT_BLOCK, uncounted[i] - uncounted[i] / 2);
		stats_close(s, 2, add_packets, NULL);
		assert_true(packets_told == 6000 + uncounted[i] + 21);
	}
	talloc_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(short_keys),   cmocka_unit_test(uncounted_packets),
	    cmocka_unit_test(table),	    cmocka_unit_test(table_random),
	    cmocka_unit_test(sums),	    cmocka_unit_test(destinations),
	    cmocka_unit_test(many_packets), cmocka_unit_test(sending),
	    cmocka_unit_test(bounds),	    cmocka_unit_test(queue_rows),
	    cmocka_unit_test(restart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
