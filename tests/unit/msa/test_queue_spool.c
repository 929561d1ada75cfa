/* The spool's transactions, straight: what a settled outcome leaves, and what it refuses to take
 * twice. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/log.h"

#include "msa/queue/index.h"
#include "msa/queue/spool.h"

static char dir[64], path[80];
static struct spool *s;
static struct spool_reader *r;
static const struct dsn_host host = {"smtp.isp.example", "postmaster@isp.example"};

static void open_it(void)
{
	char *err = NULL;
	s = spool_open(path, &host, &err);
	if (!s)
		fail_msg("%s", err);
	r = spool_reader_open(path, &err);
	if (!r)
		fail_msg("%s", err);
}

static void close_it(void)
{
	spool_reader_close(r);
	spool_close(s);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sekisho-spool-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/spool", dir);
	open_it();
	return 0;
}

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(name);
}

static int teardown(void **state)
{
	(void)state;
	close_it();
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static void id_of(int64_t key, char id[QUEUE_ID_LEN + 1])
{
	snprintf(id, QUEUE_ID_LEN + 1, "%012dabcd", (int)key);
}

static void add(int64_t key, const char *from, uint32_t n)
{
	static const struct queue_rcpt rcpts[] = {
	    {.address = "a@x.example"}, {.address = "b@y.example"}, {.address = "c@y.example"}};
	char id[QUEUE_ID_LEN + 1];
	id_of(key, id);
	struct spool_message m = {.key = key,
				  .id = id,
				  .account = "user01@isp.example",
				  .mail_from = from,
				  .mail_from_out = "prvs=1=x@isp.example",
				  .rcpts = rcpts,
				  .n_rcpts = n,
				  .data = (const uint8_t *)"Subject: s\r\n\r\nbody",
				  .len = 18,
				  .received_ms = 1000,
				  .src_port = 99};
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_add(s, &m), QUEUE_OK);
	assert_int_equal(spool_commit(s), QUEUE_OK);
}

static struct relay_rcpt rc(uint32_t idx, uint8_t result)
{
	struct relay_rcpt o = {.idx = idx, .result = result};
	snprintf(o.status, sizeof(o.status), "%d.1.%u",
		 result == RELAY_DELIVERED ? 2
		 : result == RELAY_BOUNCED ? 5
					   : 4,
		 idx);
	snprintf(o.reply, sizeof(o.reply), "reply %u", idx);
	return o;
}

/* What a settle gave to the index. */
static void drop(struct spool_settle *t)
{
	free(t->dests);
	free(t->dsn_dests);
	t->dests = t->dsn_dests = NULL;
	free(t->said);
	t->said = NULL;
}

static struct spool_settle settle(int64_t key, uint32_t attempt, const struct relay_rcpt *rcpts,
				  uint32_t n, int64_t now)
{
	struct spool_settle t = {.key = key,
				 .attempt = attempt,
				 .rcpts = rcpts,
				 .n = n,
				 .now_ms = now,
				 .retry_at_ms = now + 500,
				 .lifetime_ms = 10000,
				 .dsn_id = "dsn0000000000000",
				 .dsn_key = 1000 + now};
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_settle(s, &t), QUEUE_OK);
	drop(&t);
	assert_int_equal(spool_commit(s), QUEUE_OK);
	return t;
}

static int rows;
static struct spool_row last_row; /* of the highest key */
static char last_dests[200];

static void count_row(const struct spool_row *row, void *arg)
{
	(void)arg;
	if (rows++ == 0 || row->key >= last_row.key) {
		last_row = *row;
		snprintf(last_dests, sizeof(last_dests), "%s", row->dests);
	}
}

static void count_hold(const char *account, const char *why, void *arg)
{
	(void)account;
	(void)why;
	(*(int *)arg)++;
}

static int messages(void)
{
	char *err = NULL;
	int holds = 0;
	rows = 0;
	assert_true(spool_load(s, count_row, count_hold, &holds, &err));
	return rows;
}

static uint32_t n_events, n_batches;
static struct event last_event;

static bool count_events(uint64_t seq, uint32_t n, const uint8_t *records, size_t len, void *arg)
{
	size_t at = 0;
	(void)seq;
	(void)arg;
	n_batches++;
	for (uint32_t i = 0; i < n; i++, n_events++) {
		size_t k = event_decode(records + at, len - at, &last_event);
		assert_true(k > 0);
		at += k;
	}
	assert_int_equal(at, len);
	return true;
}

static uint32_t events(void)
{
	n_events = n_batches = 0;
	assert_true(spool_read_outbox(s, r, 0, count_events, NULL));
	return n_events;
}

static uint32_t to_try(int64_t key)
{
	struct spool_envelope *e = NULL;
	uint32_t n = 0;
	if (spool_read_envelope(r, NULL, spool_place(s, key), 100, &e) == SPOOL_FOUND) {
		n = e->n;
		talloc_free(e);
	}
	return n;
}

static void delivered_is_gone(void **state)
{
	struct relay_rcpt o[] = {rc(0, RELAY_DELIVERED)};
	size_t got;
	uint8_t buf[10];

	(void)state;
	add(1, "me@isp.example", 1);
	assert_int_equal(to_try(1), 1);
	assert_true(spool_read_body(r, spool_place(s, 1), 4, buf, sizeof(buf), &got));
	assert_int_equal(got, 10);
	assert_memory_equal(buf, "ect: s\r\n\r\n", 10);
	assert_true(spool_read_body(r, spool_place(s, 1), 14, buf, sizeof(buf), &got));
	assert_int_equal(got, 4);
	struct spool_settle t = settle(1, 0, o, 1, 2000);
	assert_true(t.gone);
	assert_int_equal(t.delivered, 1);
	assert_int_equal(messages(), 0);
	assert_int_equal(events(), 1);
	assert_int_equal(last_event.u.delivery.result, EVENT_DELIVERED);
	assert_string_equal(last_event.u.delivery.rcpt, "a@x.example");
	assert_int_equal(last_event.src_port, 99);
	assert_false(spool_read_body(r, spool_place(s, 1), 0, buf, sizeof(buf), &got));
	/* Told again after a crash: nothing happens. */
	t = settle(1, 0, o, 1, 2100);
	assert_true(t.gone);
	assert_int_equal(t.delivered, 0);
	assert_int_equal(events(), 1);
}

static void rounds(void **state)
{
	struct relay_rcpt first[] = {rc(0, RELAY_DEFERRED), rc(1, RELAY_DELIVERED)},
			  third[] = {rc(2, RELAY_DEFERRED)};

	(void)state;
	add(1, "me@isp.example", 3);
	/* Only two of three were in the transaction: the third is tried at once, in the same round.
	 */
	struct spool_settle t = settle(1, 0, first, 2, 2000);
	assert_false(t.gone);
	assert_int_equal(t.attempts, 0);
	assert_int_equal(t.next_ms, 1000);
	assert_int_equal(to_try(1), 1);
	t = settle(1, 0, third, 1, 2100);
	assert_int_equal(t.attempts, 1);
	assert_int_equal(t.next_ms, 2600);
	assert_int_equal(to_try(1), 2);
	assert_int_equal(events(), 3);
	assert_int_equal(messages(), 1);
	assert_int_equal(last_row.attempts, 1);
	assert_int_equal(last_row.next_ms, 2600);
	/* A deferral of the round before, told again: stale. A delivery is true whenever it is
	 * told. */
	t = settle(1, 0, third, 1, 2200);
	assert_int_equal(t.deferred, 0);
	assert_int_equal(t.attempts, 1);
	assert_int_equal(t.next_ms, 2600);
	struct relay_rcpt late[] = {rc(0, RELAY_DELIVERED)};
	t = settle(1, 0, late, 1, 2300);
	assert_int_equal(t.delivered, 1);
	assert_int_equal(to_try(1), 1);
}

static void bounce_makes_one_notice(void **state)
{
	struct relay_rcpt o[] = {rc(0, RELAY_BOUNCED), rc(1, RELAY_BOUNCED), rc(2, RELAY_DEFERRED)};

	(void)state;
	add(1, "me@isp.example", 3);
	struct spool_settle t = settle(1, 0, o, 3, 2000);
	assert_true(t.notified && !t.gone && !t.double_bounce);
	assert_int_equal(t.bounced, 2);
	assert_int_equal(messages(), 2);
	assert_string_equal(last_row.id, "dsn0000000000000");
	char *h = spool_read_headers(r, NULL, spool_place(s, 3000));
	assert_non_null(strstr(h, "To: <me@isp.example>"));
	talloc_free(h);
	uint8_t buf[4000];
	size_t got;
	assert_true(spool_read_body(r, spool_place(s, 3000), 0, buf, sizeof(buf) - 1, &got));
	buf[got] = '\0';
	assert_int_equal(got, t.dsn_size);
	assert_non_null(
	    strstr((char *)buf,
		   "Final-Recipient: rfc822; a@x.example\r\nAction: failed\r\nStatus: 5.1.0"));
	assert_non_null(strstr((char *)buf, "Final-Recipient: rfc822; b@y.example"));
	assert_null(strstr((char *)buf, "rfc822; c@y.example"));
	assert_non_null(strstr((char *)buf, "Subject: s\r\n"));
	struct spool_envelope *e = NULL;
	assert_int_equal(spool_read_envelope(r, NULL, spool_place(s, 3000), 5, &e), SPOOL_FOUND);
	assert_string_equal(e->mail_from_out, "");
	assert_string_equal(e->rcpts[0].address, "me@isp.example");
	talloc_free(e);
}

static void null_sender_is_told_nothing(void **state)
{
	struct relay_rcpt o[] = {rc(0, RELAY_BOUNCED)};

	(void)state;
	add(1, "", 1);
	struct spool_settle t = settle(1, 0, o, 1, 2000);
	assert_true(t.double_bounce && t.gone && t.notified); /* the postmaster */
	assert_int_equal(messages(), 1);
}

static void too_old_is_a_failure(void **state)
{
	struct relay_rcpt o[] = {rc(0, RELAY_DEFERRED)};

	(void)state;
	add(1, "me@isp.example", 1);
	struct spool_settle t = settle(1, 0, o, 1, 10999);
	assert_int_equal(t.deferred, 1);
	t = settle(1, 1, o, 1, 11000);
	assert_true(t.gone && t.notified);
	events();
	assert_string_equal(last_event.u.delivery.status, "5.4.7");
	assert_non_null(strstr(last_event.u.delivery.reply, "reply 0"));
}

static void all_at_once(void **state)
{
	struct relay_rcpt done[] = {rc(1, RELAY_DELIVERED)}, all = rc(0, RELAY_BOUNCED);

	(void)state;
	for (int quiet = 0; quiet < 2; quiet++) {
		int64_t key = 1 + quiet;
		add(key, "me@isp.example", 3);
		settle(key, 0, done, 1, 2000);
		struct spool_settle t = {.key = key,
					 .rcpts = &all,
					 .n = 1,
					 .all = true,
					 .quiet = quiet,
					 .now_ms = 3000,
					 .lifetime_ms = 10000,
					 .dsn_id = "dsn0000000000000",
					 .dsn_key = 50};
		assert_int_equal(spool_begin(s), QUEUE_OK);
		assert_int_equal(spool_settle(s, &t), QUEUE_OK);
		drop(&t);
		assert_int_equal(spool_commit(s), QUEUE_OK);
		assert_true(t.gone);
		assert_int_equal(t.bounced, 2);
		assert_int_equal(t.notified, !quiet);
	}
	assert_int_equal(events(), 6);
	assert_int_equal(messages(), 1);
}

static void rollback_leaves_nothing(void **state)
{
	struct relay_rcpt o[] = {rc(0, RELAY_DELIVERED)};
	struct spool_settle t = {.key = 1,
				 .rcpts = o,
				 .n = 1,
				 .now_ms = 2000,
				 .lifetime_ms = 10000,
				 .dsn_id = "dsn0000000000000",
				 .dsn_key = 50};

	(void)state;
	add(1, "me@isp.example", 1);
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_settle(s, &t), QUEUE_OK);
	drop(&t);
	spool_rollback(s);
	assert_int_equal(messages(), 1);
	assert_int_equal(events(), 0);
	/* The same id twice is refused, and says so. */
	struct queue_rcpt to = {.address = "x@y"};
	struct spool_message m = {.key = 1,
				  .id = "000000000001abcd",
				  .account = "",
				  .mail_from = "",
				  .mail_from_out = "",
				  .rcpts = &to,
				  .n_rcpts = 1,
				  .data = (const uint8_t *)"",
				  .len = 0};
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_add(s, &m), QUEUE_ERROR);
	assert_non_null(strstr(spool_why(s), "already"));
	spool_rollback(s);
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_commit(s), QUEUE_OK);
}

static void outbox_rows_are_bounded(void **state)
{
	struct event e = {.kind = EVENT_REFUSE, .t_ms = 1};
	uint8_t buf[EVENT_MAX_BYTES];

	(void)state;
	memset(e.u.refuse.reason, 'r', EVENT_TEXT_MAX);
	size_t n = event_encode(&e, buf, sizeof(buf));
	assert_int_equal(spool_begin(s), QUEUE_OK);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(spool_record(s, buf, n), QUEUE_OK);
	assert_int_equal(spool_commit(s), QUEUE_OK);
	assert_int_equal(events(), 1000);
	assert_int_equal(n_batches, (1000 * n + SPOOL_OUTBOX_ROW - 1) / SPOOL_OUTBOX_ROW);
	assert_int_equal(spool_outbox_last(s), n_batches);
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_outbox_forget(s, 1), QUEUE_OK);
	assert_int_equal(spool_commit(s), QUEUE_OK);
	assert_true(events() < 1000);
}

static void holds_and_instance_survive(void **state)
{
	char *err = NULL, instance[SPOOL_INSTANCE_MAX];
	int holds = 0;

	(void)state;
	add(1, "me@isp.example", 1);
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_hold_account(s, "z@isp.example", "why"), QUEUE_OK);
	assert_int_equal(spool_hold_account(s, "z@isp.example", "other"), QUEUE_OK);
	assert_int_equal(spool_update(s, 1, &(struct spool_change){HOLD_OPERATOR, 7, 8, "slow"}),
			 QUEUE_OK);
	assert_int_equal(spool_commit(s), QUEUE_OK);
	snprintf(instance, sizeof(instance), "%s", spool_instance(s));
	close_it();
	open_it();
	assert_string_equal(spool_instance(s), instance);
	rows = 0;
	assert_true(spool_load(s, count_row, count_hold, &holds, &err));
	assert_int_equal(holds, 1);
	assert_int_equal(last_row.hold, HOLD_OPERATOR);
	assert_int_equal(last_row.next_ms, 7);
	assert_int_equal(last_row.life_from_ms, 8);
	assert_true(last_row.routed);
	assert_string_equal(last_dests, "x.example 1");
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_update(s, 1, &(struct spool_change){0, -1, -1, NULL}), QUEUE_OK);
	assert_int_equal(spool_update(s, 1, &(struct spool_change){0, 9, -1, NULL}), QUEUE_OK);
	assert_int_equal(spool_release_account(s, "z@isp.example"), QUEUE_OK);
	assert_int_equal(spool_commit(s), QUEUE_OK);
	holds = 0;
	assert_true(spool_load(s, count_row, count_hold, &holds, &err));
	assert_int_equal(holds, 0);
	assert_int_equal(last_row.next_ms, 9);
	assert_int_equal(last_row.life_from_ms, 8);
}

/* --- what is written ahead --- */

static char said[4096];

static void hear(const char *line, size_t len, void *arg)
{
	size_t n = strlen(said);

	(void)arg;
	snprintf(said + n, sizeof(said) - n, "%.*s\n", (int)len, line);
}

#define FILE_MAX (1 << 20)
static unsigned char bytes[FILE_MAX];

static size_t read_segment(const char *name)
{
	FILE *f = fopen(name, "r");
	size_t n;

	assert_non_null(f);
	n = fread(bytes, 1, FILE_MAX, f);
	fclose(f);
	return n;
}

static void write_segment(const char *name, size_t n)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

/* Two commits of a message each are whole, of a third [from, to) is zeros: as a machine leaves it
 * that lost power, for blocks that were written before reach the disk in any order. */
static void after_power_cut(size_t back_from, size_t back_to)
{
	char seg[100], idx[100];

	for (int i = 1; i <= 3; i++)
		add(i, "me@isp.example", 1);
	snprintf(seg, sizeof(seg), "%s/00000001.seg", path);
	snprintf(idx, sizeof(idx), "%s/00000001.idx", path);
	size_t n = read_segment(seg), end = n;
	while (bytes[end - 1] == 0)
		end--;
	assert_true(n - end > 200000);
	close_it();
	memset(bytes + end - back_from, 0, back_from - back_to);
	write_segment(seg, n);
	assert_int_equal(unlink(idx), 0);
	said[0] = '\0';
	log_sink(hear, NULL);
	open_it();
	log_sink(NULL, NULL);
}

static void zeros_ahead_are_no_damage(void **state)
{
	(void)state;
	after_power_cut(0, 0);
	assert_int_equal(messages(), 3);
	assert_string_equal(said, "");
	add(4, "me@isp.example", 1);
	assert_int_equal(messages(), 4);
}

/* Its last record is missing. */
static void a_commit_without_its_end(void **state)
{
	(void)state;
	after_power_cut(40, 0);
	assert_int_equal(messages(), 2);
	assert_non_null(strstr(said, " cut "));
	add(3, "me@isp.example", 1);
	assert_int_equal(messages(), 3);
}

/* Its last record is there, and what is before it is not. */
static void a_commit_with_a_hole(void **state)
{
	(void)state;
	after_power_cut(100, 60);
	assert_int_equal(messages(), 2);
	assert_non_null(strstr(said, "damaged"));
	add(3, "me@isp.example", 1);
	assert_int_equal(messages(), 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(delivered_is_gone),	   T(rounds),
	    T(bounce_makes_one_notice),	   T(null_sender_is_told_nothing),
	    T(too_old_is_a_failure),	   T(all_at_once),
	    T(rollback_leaves_nothing),	   T(outbox_rows_are_bounded),
	    T(holds_and_instance_survive), T(zeros_ahead_are_no_damage),
	    T(a_commit_without_its_end),   T(a_commit_with_a_hole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
