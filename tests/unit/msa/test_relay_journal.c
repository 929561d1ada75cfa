/* The journal: round trip, floor, wrap, torn and damaged records; and the frames of the relay's
 * socket. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "msa/relay/frames.h"
#include "msa/relay/journal.h"

static char path[64];

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/sekisho-journal-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static struct journal *open_it(void)
{
	const char *err = NULL;
	struct journal *j = journal_open(path, &err);
	if (!j)
		fail_msg("journal_open: %s", err);
	return j;
}

static struct relay_outcome outcome(int id, uint32_t n)
{
	struct relay_outcome o = {.attempt = 3, .n = n};
	snprintf(o.id, sizeof(o.id), "%016d", id);
	for (uint32_t i = 0; i < n; i++) {
		o.rcpts[i] = (struct relay_rcpt){
		    .idx = i, .result = (uint8_t)(1 + i % 3), .status = "2.0.0"};
		memset(o.rcpts[i].reply, 'r', RELAY_REPLY_MAX);
	}
	return o;
}

struct seen {
	int n, first, last;
	uint32_t rcpts;
	uint64_t seq;
};

static void see(const struct relay_outcome *o, void *arg)
{
	struct seen *s = arg;
	int id = atoi(o->id);
	if (!s->n++)
		s->first = id;
	s->last = id;
	s->rcpts += o->n;
	assert_true(o->seq > s->seq);
	s->seq = o->seq;
	for (uint32_t i = 0; i < o->n; i++) {
		assert_int_equal(o->rcpts[i].result, 1 + o->rcpts[i].idx % 3);
		assert_int_equal(strlen(o->rcpts[i].reply), RELAY_REPLY_MAX);
	}
}

static struct seen replay(struct journal *j)
{
	struct seen s = {.n = 0};
	journal_replay(j, see, &s);
	return s;
}

static void told_again_until_committed(void **state)
{
	struct journal *j = open_it();
	struct relay_outcome a = outcome(1, 2), b = outcome(2, 1);

	(void)state;
	assert_int_equal(journal_last(j), 0);
	assert_int_equal(replay(j).n, 0);
	assert_true(journal_append(j, &a));
	assert_true(journal_append(j, &b));
	assert_int_equal(a.seq, 2);
	assert_int_equal(b.seq, 3);
	journal_close(j);
	j = open_it();
	assert_int_equal(journal_damaged(j), 0);
	struct seen s = replay(j);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.rcpts, 3);
	journal_committed(j, a.seq);
	s = replay(j);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.first, 2);
	journal_close(j);
	j = open_it();
	assert_int_equal(replay(j).n, 1);
	/* What never was cannot be committed. */
	journal_committed(j, 99);
	assert_int_equal(replay(j).n, 1);
	journal_committed(j, b.seq);
	journal_close(j);
	j = open_it();
	assert_int_equal(replay(j).n, 0);
	assert_int_equal(journal_last(j), 3);
	struct relay_outcome c = outcome(3, 1);
	assert_true(journal_append(j, &c));
	assert_int_equal(c.seq, 4);
	journal_close(j);
}

static void goes_round(void **state)
{
	struct journal *j = open_it();

	(void)state;
	for (uint32_t i = 1; i <= JOURNAL_SLOTS + 5000; i++) {
		struct relay_outcome o = outcome((int)i, 1);
		assert_true(journal_room(j) > 0);
		assert_true(journal_append(j, &o));
		if (i >= 100)
			journal_committed(j, i - 99);
	}
	assert_int_equal(journal_room(j), JOURNAL_SLOTS - 99);
	journal_close(j);
	j = open_it();
	assert_int_equal(journal_damaged(j), 0);
	struct seen s = replay(j);
	assert_int_equal(s.n, 99);
	assert_int_equal(s.first, JOURNAL_SLOTS + 5000 - 98);
	assert_int_equal(s.last, JOURNAL_SLOTS + 5000);
	journal_close(j);
}

static void full_means_no_room(void **state)
{
	struct journal *j = open_it();

	(void)state;
	for (uint32_t i = 0; i < JOURNAL_SLOTS; i++) {
		struct relay_outcome o = outcome((int)i, 1);
		assert_true(journal_append(j, &o));
	}
	assert_int_equal(journal_room(j), 0);
	journal_close(j);
	j = open_it();
	assert_int_equal(journal_room(j), 0);
	assert_int_equal(replay(j).n, JOURNAL_SLOTS);
	journal_close(j);
}

static void poke(off_t at, const void *data, size_t n)
{
	int fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, data, n, at), n);
	close(fd);
}

static void damage(void **state)
{
	static const struct {
		off_t at; /* within the slot */
		size_t n;
	} cases[] = {{0, 1}, {4, 4}, {8, 8}, {17, 1}, {100, 1}, {511, 1}, {256, 256}};
	char junk[512];

	(void)state;
	memset(junk, 0xa5, sizeof(junk));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unlink(path);
		struct journal *j = open_it();
		for (int k = 1; k <= 3; k++) {
			struct relay_outcome o = outcome(k, 1);
			assert_true(journal_append(j, &o));
		}
		journal_close(j);
		/* The second record: number 2 is in slot 1 + 2. */
		poke(3 * 512 + cases[i].at, junk, cases[i].n);
		j = open_it();
		assert_int_equal(journal_damaged(j), 1);
		struct seen s = replay(j);
		assert_int_equal(s.n, 2);
		assert_int_equal(s.first, 1);
		assert_int_equal(s.last, 3);
		journal_close(j);
	}
}

/* The last record cut short: what was before it is told; its number is used again. */
static void torn_tail(void **state)
{
	struct journal *j = open_it();
	char zero[512] = {0};

	(void)state;
	for (int k = 1; k <= 3; k++) {
		struct relay_outcome o = outcome(k, 1);
		assert_true(journal_append(j, &o));
	}
	journal_close(j);
	poke(4 * 512 + 200, zero, 312);
	j = open_it();
	assert_int_equal(journal_damaged(j), 1);
	assert_int_equal(replay(j).n, 2);
	assert_int_equal(journal_last(j), 2);
	struct relay_outcome o = outcome(4, 1);
	assert_true(journal_append(j, &o));
	assert_int_equal(replay(j).last, 4);
	journal_close(j);
}

static void damaged_floor_repeats(void **state)
{
	struct journal *j = open_it();

	(void)state;
	for (int k = 1; k <= 3; k++) {
		struct relay_outcome o = outcome(k, 1);
		assert_true(journal_append(j, &o));
	}
	journal_committed(j, 3);
	/* It never goes back, nor where no record is. */
	journal_committed(j, 1);
	journal_committed(j, 9);
	assert_int_equal(replay(j).n, 0);
	journal_close(j);
	j = open_it();
	assert_int_equal(replay(j).n, 0);
	assert_int_equal(journal_last(j), 3);
	journal_close(j);
	poke(20, "x", 1);
	j = open_it();
	assert_int_equal(journal_damaged(j), 1);
	assert_int_equal(replay(j).n, 3);
	journal_close(j);
}

static void whole_file_of_noise(void **state)
{
	int fd = open(path, O_WRONLY);
	char junk[512];

	(void)state;
	for (uint32_t i = 0; i <= JOURNAL_SLOTS; i++) {
		for (size_t k = 0; k < sizeof(junk); k++)
			junk[k] = (char)((i * 2654435761u + k * 40503u) >> 7);
		assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
	}
	close(fd);
	struct journal *j = open_it();
	assert_int_equal(replay(j).n, 0);
	assert_int_equal(journal_room(j), JOURNAL_SLOTS);
	journal_close(j);
}

static void record_round_trip(void **state)
{
	uint8_t slot[JOURNAL_SLOT_BYTES];
	struct journal_record r = {.seq = UINT64_MAX,
				   .id = "zzzzzzzzzzzzzzzz",
				   .attempt = 7,
				   .rcpt = {9, RELAY_DEFERRED, "4.7.708", "x"}},
			      back;

	(void)state;
	journal_encode(&r, slot);
	assert_true(journal_decode(slot, &back));
	assert_memory_equal(r.id, back.id, sizeof(r.id));
	assert_int_equal(back.attempt, 7);
	assert_int_equal(back.rcpt.idx, 9);
	assert_string_equal(back.rcpt.status, "4.7.708");
	for (size_t i = 0; i < sizeof(slot); i++) {
		slot[i] ^= 1;
		assert_false(journal_decode(slot, &back));
		slot[i] ^= 1;
	}
}

/* --- frames ------------------------------------------------------------------------------ */

static void outcome_frame(void **state)
{
	static uint8_t buf[RELAY_OUTCOME_BYTES];
	static struct relay_outcome o, back;
	struct wire_out w;
	struct wire_in r;

	(void)state;
	o = outcome(5, RELAY_RCPTS_MAX);
	o.seq = 123;
	wire_out_init(&w, buf, sizeof(buf));
	relay_outcome_put(&w, &o);
	assert_false(w.bad);
	wire_in_init(&r, buf, w.len);
	assert_true(relay_outcome_get(&r, &back));
	assert_memory_equal(&o, &back, sizeof(o));
	/* Cut anywhere it is refused. */
	for (size_t n = 0; n < w.len; n += 1 + n / 50) {
		wire_in_init(&r, buf, n);
		assert_false(relay_outcome_get(&r, &back));
	}
	wire_in_init(&r, buf, w.len + 1);
	assert_false(relay_outcome_get(&r, &back));
}

static void work_and_config_frames(void **state)
{
	uint8_t buf[2000];
	struct wire_out w;
	struct wire_in r;
	struct relay_work k = {"0000000000000abc", 77, 2, WORK_SETTLE}, kb;
	struct relay_config c = {.state_dir = "/var/lib/sekisho",
				 .hostname = "smtp.isp.example",
				 .dns_server = "[::1]:53",
				 .self = "a.example 192.0.2.1",
				 .sts = true,
				 .connections = 8,
				 .timeout_ms = 300000,
				 .pause_min_ms = 1000,
				 .pause_max_ms = 30000},
			    cb;

	(void)state;
	wire_out_init(&w, buf, sizeof(buf));
	relay_work_put(&w, &k);
	wire_in_init(&r, buf, w.len);
	assert_true(relay_work_get(&r, &kb));
	assert_string_equal(kb.id, k.id);
	assert_int_equal(kb.key, 77);
	assert_int_equal(kb.attempt, 2);
	memcpy(k.id, "0000000000000ABC", 16);
	wire_out_init(&w, buf, sizeof(buf));
	relay_work_put(&w, &k);
	wire_in_init(&r, buf, w.len);
	assert_false(relay_work_get(&r, &kb));
	wire_out_init(&w, buf, sizeof(buf));
	relay_config_put(&w, &c);
	wire_in_init(&r, buf, w.len);
	assert_true(relay_config_get(&r, &cb));
	assert_string_equal(cb.dns_server, "[::1]:53");
	assert_int_equal(cb.connections, 8);
	c.connections = 0;
	wire_out_init(&w, buf, sizeof(buf));
	relay_config_put(&w, &c);
	wire_in_init(&r, buf, w.len);
	assert_false(relay_config_get(&r, &cb));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(told_again_until_committed, setup, teardown),
	    cmocka_unit_test_setup_teardown(goes_round, setup, teardown),
	    cmocka_unit_test_setup_teardown(full_means_no_room, setup, teardown),
	    cmocka_unit_test_setup_teardown(damage, setup, teardown),
	    cmocka_unit_test_setup_teardown(torn_tail, setup, teardown),
	    cmocka_unit_test_setup_teardown(damaged_floor_repeats, setup, teardown),
	    cmocka_unit_test_setup_teardown(whole_file_of_noise, setup, teardown),
	    cmocka_unit_test(record_round_trip),
	    cmocka_unit_test(outcome_frame),
	    cmocka_unit_test(work_and_config_frames),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
