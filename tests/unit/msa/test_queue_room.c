/*
 * A spool keeps no more of the disk than twice what is of use in it and a few segments, whatever
 * is done to it; and one that has filled its disk empties itself. Random work with given seeds, and
 * disks of 64 and 512 MB (tmpfs, in a mount namespace of the test's own).
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/log.h"
#include "msa/queue/spool_int.h"

#define KEYS_MAX 60000

static char dir[64], path[80];
static const struct dsn_host host = {"smtp.isp.example", "postmaster@isp.example"};
static struct queued {
	int64_t key;
	uint32_t attempts;
} keys[KEYS_MAX]; /* in no order */
static size_t n_keys;
static int64_t last_key, now_ms = 1000; /* of the test's own clock */
static uint32_t seed;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(name);
}

static struct spool *open_spool(void)
{
	char *err = NULL;
	struct spool *s = spool_open(path, &host, &err);

	if (!s)
		fail_msg("%s", err);
	return s;
}

/* One transaction around fn. */
static enum queue_result commit(struct spool *s,
				enum queue_result (*fn)(struct spool *s, void *arg), void *arg)
{
	enum queue_result r = spool_begin(s);

	if (r == QUEUE_OK)
		r = fn(s, arg);
	if (r == QUEUE_OK)
		r = spool_commit(s);
	if (r != QUEUE_OK)
		spool_rollback(s);
	return r;
}

/* --- work --- */

static enum queue_result add(struct spool *s, void *arg)
{
	static char body[65536];
	static const struct queue_rcpt rcpts[] = {{.address = "someone@a.example"},
						  {.address = "someone@b.example"}};
	char id[QUEUE_ID_LEN + 1];
	size_t len = *(size_t *)arg;
	struct event e = {.kind = EVENT_MESSAGE, .t_ms = now_ms};
	uint8_t record[EVENT_MAX_BYTES];

	memset(body, 'x', sizeof(body));
	snprintf(id, sizeof(id), "%012uabcd", (unsigned)++last_key);
	struct spool_message m = {.key = last_key,
				  .id = id,
				  .account = "user01@isp.example",
				  .mail_from = "user01@isp.example",
				  .mail_from_out = "user01@isp.example",
				  .rcpts = rcpts,
				  .n_rcpts = 1 + random_below(2),
				  .data = (const uint8_t *)body,
				  .len = len,
				  .received_ms = now_ms};
	enum queue_result r = spool_add(s, &m);
	return r == QUEUE_OK ? spool_record(s, record, event_encode(&e, record, sizeof(record)))
			     : r;
}

struct fate {
	struct queued *of;
	uint8_t result;
	bool unwritten, gone;
};

static enum queue_result settle(struct spool *s, void *arg)
{
	struct fate *f = arg;
	struct relay_rcpt o = {.result = f->result, .status = "4.0.0", .reply = "an answer"};
	struct spool_settle t = {.key = f->of->key,
				 .attempt = f->of->attempts,
				 .rcpts = &o,
				 .n = 1,
				 .all = true,
				 .quiet = f->result == RELAY_BOUNCED,
				 .now_ms = now_ms,
				 .retry_at_ms = now_ms + 1000,
				 .lifetime_ms = (int64_t)1 << 50,
				 .dsn_id = "zzzzzzzzzzzzzzzz",
				 .dsn_key = INT64_MAX};
	enum queue_result r = spool_settle(s, &t);
	f->unwritten = t.unwritten;
	f->of->attempts = t.attempts;
	f->gone = t.gone;
	free(t.dests);
	free(t.dsn_dests);
	free(t.said);
	return r;
}

static enum queue_result hold(struct spool *s, void *arg)
{
	struct spool_change c = {
	    .hold = (uint8_t)random_below(2), .next_ms = now_ms, .life_from_ms = -1};

	return spool_update(s, ((struct queued *)arg)->key, &c);
}

static enum queue_result forget(struct spool *s, void *arg)
{
	(void)arg;
	return spool_outbox_forget(s, spool_outbox_last(s));
}

/* With the relay, as long as `pinned` says: one in so many. 0: none is. */
static int64_t pinned;

struct moving {
	int64_t *keys;
	size_t n;
	uint32_t seg;
};

static enum queue_result move(struct spool *s, void *arg)
{
	struct moving *m = arg;
	enum queue_result r = spool_move_rows(s, m->seg);

	for (size_t i = 0; i < m->n && r == QUEUE_OK; i++)
		if (!pinned || m->keys[i] % pinned)
			r = spool_move(s, m->keys[i]);
	return r;
}

static size_t not_pinned(const struct moving *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++)
		n += !pinned || m->keys[i] % pinned;
	return n;
}

/* As the queue does it; false when the disk did not let it. */
static bool tidy(struct spool *s)
{
	struct moving m;
	bool more;
	int vain = 0;

	while (vain < 20 && (m.keys = spool_stragglers(s, 500, 1 << 20, &m.n, &m.seg, &more))) {
		enum queue_result r = commit(s, move, &m);
		if (r == QUEUE_FULL && spool_reserve_use(s, FOR_MOVING))
			r = commit(s, move, &m);
		vain = not_pinned(&m) ? 0 : vain + 1;
		free(m.keys);
		if (r != QUEUE_OK)
			return false;
	}
	return true;
}

static void size_up(const struct spool *s, uint64_t *all, uint64_t *used)
{
	*all = *used = 0;
	for (size_t i = 0; i < s->table.n_segs; i++) {
		*all += s->table.segs[i].end;
		*used += s->table.segs[i].bytes;
	}
}

/* What the table says is of use is what its entries and the outbox take. */
static void check_sums(struct spool *s)
{
	uint64_t all, used, sum = 0, seq = s->acked;
	struct row row;

	size_up(s, &all, &used);
	for (size_t i = 0; i < s->table.cap; i++)
		if (s->table.slots[i].env)
			sum += (uint64_t)s->table.slots[i].env_size + s->table.slots[i].body_size;
	while (rows_get(s, seq, &seq, &row))
		sum += row_size(&row);
	assert_int_equal(used, sum);
}

static void take_key(size_t i)
{
	keys[i] = keys[--n_keys];
}

static void one_step(struct spool *s)
{
	uint32_t what = random_below(100);
	size_t i = n_keys ? random_below((uint32_t)n_keys) : 0, len = 200 + random_below(8000);

	now_ms += 10;
	if (what < 35 || n_keys < 20) {
		if (n_keys < KEYS_MAX && commit(s, add, &len) == QUEUE_OK)
			keys[n_keys++] = (struct queued){.key = last_key};
		return;
	}
	struct fate f = {.of = &keys[i], .result = what < 60 ? RELAY_DELIVERED : RELAY_DEFERRED};
	if (what < 85) {
		assert_int_equal(commit(s, settle, &f), QUEUE_OK);
		if (f.gone)
			take_key(i);
	} else if (what < 95) {
		assert_int_equal(commit(s, hold, &keys[i]), QUEUE_OK);
	} else {
		assert_int_equal(commit(s, forget, NULL), QUEUE_OK);
	}
}

static struct spool *new_spool(void)
{
	struct spool *s;

	snprintf(dir, sizeof(dir), "/tmp/sekisho-room-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/spool", dir);
	s = open_spool();
	s->segment_bytes = 40000;
	n_keys = 0;
	return s;
}

/* All octets. A commit may end behind the end of a segment: those of these tests by a fifth. */
static uint64_t check_bound(const struct spool *s, uint32_t with_seed, int step)
{
	uint64_t all, used;

	size_up(s, &all, &used);
	if (all > 2 * used + (uint64_t)SPOOL_SLACK * s->segment_bytes * 6 / 5)
		fail_msg("seed %u step %d: %lu octets, of use %lu", with_seed, step,
			 (unsigned long)all, (unsigned long)used);
	return all;
}

static void work(uint32_t with_seed)
{
	struct spool *s;
	uint64_t all, worst = 0;

	s = new_spool();
	seed = with_seed;
	for (int i = 0; i < 6000; i++) {
		one_step(s);
		if (i % 50)
			continue;
		assert_true(tidy(s));
		all = check_bound(s, with_seed, i);
		worst = all > worst ? all : worst;
		if (i % 1000 == 0) {
			check_sums(s);
			spool_close(s);
			s = open_spool();
			s->segment_bytes = 40000;
			check_sums(s);
		}
	}
	assert_int_equal(s->table.n, n_keys);
	for (size_t i = 0; i < n_keys; i++)
		assert_true(spool_place(s, keys[i].key) != 0);
	assert_true(worst > 10 * s->segment_bytes);
	spool_close(s);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void never_more_than_twice(void **state)
{
	(void)state;
	for (uint32_t i = 1; i <= 4; i++)
		work(i * 7919);
}

/* Two fifths of each segment stay: none is empty enough to be moved by itself. */
static void segments_that_stay_in_part(void **state)
{
	struct spool *s = new_spool();
	size_t len = 4000;
	uint64_t before;

	(void)state;
	seed = 1;
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(commit(s, add, &len), QUEUE_OK);
		keys[i] = (struct queued){.key = last_key};
	}
	for (int i = 0; i < 1000; i++) {
		struct fate f = {.of = &keys[i], .result = RELAY_DELIVERED};
		if (i % 10 >= 4)
			assert_int_equal(commit(s, settle, &f), QUEUE_OK);
	}
	assert_int_equal(commit(s, forget, NULL), QUEUE_OK);
	size_up(s, &before, &(uint64_t){0});
	assert_true(tidy(s));
	assert_true(check_bound(s, 1, 0) < before);
	spool_close(s);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- a full disk --- */

static uint64_t disk_free(void)
{
	struct statvfs v;

	assert_int_equal(statvfs(dir, &v), 0);
	return (uint64_t)v.f_bavail * v.f_frsize;
}

/* Until new mail is refused, as msad refuses it. */
static void fill(struct spool *s, size_t len)
{
	while (spool_room(s) == ROOM_ENOUGH && n_keys < KEYS_MAX) {
		if (commit(s, add, &len) != QUEUE_OK)
			break;
		keys[n_keys++] = (struct queued){.key = last_key};
	}
}

/* Every destination puts everything off, again and again: half of an hour's worth of retries. */
static int put_off(struct spool *s, int rounds)
{
	int unwritten = 0;

	for (int round = 0; round < rounds; round++)
		for (size_t i = 0; i < n_keys; i++) {
			struct fate f = {.of = &keys[i], .result = RELAY_DEFERRED};
			now_ms += 1;
			assert_int_equal(commit(s, settle, &f), QUEUE_OK);
			unwritten += f.unwritten;
			if (i % 2000 == 0)
				assert_true(tidy(s));
		}
	return unwritten;
}

static bool new_disk(const char *size)
{
	snprintf(dir, sizeof(dir), "/tmp/sekisho-room-XXXXXX");
	if (!mkdtemp(dir) || unshare(CLONE_NEWNS) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, size) != 0)
		return false;
	snprintf(path, sizeof(path), "%s/spool", dir);
	return true;
}

static int on_a_disk(const char *size, size_t len)
{
	uint64_t all, used;

	if (!new_disk(size))
		return 77;
	struct spool *s = open_spool();
	spool_set_keep(s, 64 << 20);
	assert_true(spool_reserve_keep(s));
	seed = 5;
	n_keys = 0;
	fill(s, len);
	if (spool_room(s) == ROOM_ENOUGH || n_keys < 500)
		return 1;
	int unwritten = put_off(s, 12);
	size_up(s, &all, &used);
	print_message(
	    "%s: %zu messages, %lu octets of use in %lu, %d deferrals not written, %lu free\n",
	    size, n_keys, (unsigned long)used, (unsigned long)all, unwritten,
	    (unsigned long)disk_free());
	if (!unwritten || !s->reserved)
		return 2;
	/* A restart loses nothing. */
	spool_close(s);
	s = open_spool();
	spool_set_keep(s, 64 << 20);
	if (s->table.n != n_keys)
		return 3;
	(void)put_off(s, 2);
	/* Healed: everything leaves, while accounting is away and takes no events. */
	for (; n_keys; n_keys--) {
		struct fate f = {.of = &keys[n_keys - 1], .result = RELAY_DELIVERED};
		if (commit(s, settle, &f) != QUEUE_OK || !f.gone)
			return 4;
		if (n_keys % 2000 == 0 && !tidy(s))
			return 5;
	}
	if (s->table.n != 0 || commit(s, forget, NULL) != QUEUE_OK || !tidy(s))
		return 6;
	/* And mail is taken again. */
	if (commit(s, add, &len) != QUEUE_OK || spool_room(s) != ROOM_ENOUGH)
		return 7;
	size_up(s, &all, &used);
	if (all > 2 * used + SPOOL_SLACK * s->segment_bytes)
		return 8;
	spool_close(s);
	return 0;
}

/* --- a disk that somebody else fills ------------------------------------------------------- */

/* Every octet that is free. */
static void take_all(int fd)
{
	static const char some[65536];

	for (size_t n = sizeof(some); n; n /= 2)
		while (write(fd, some, n) == (ssize_t)n)
			;
}

/* What the queue's writer does with a result. */
static bool result(struct spool *s, struct fate *f)
{
	(void)spool_reserve_keep(s);
	enum queue_result r = commit(s, settle, f);
	while (r == QUEUE_FULL && spool_reserve_use(s, FOR_RESULTS))
		r = commit(s, settle, f);
	return r == QUEUE_OK && f->gone;
}

/*
 * Envelopes written once more leave seven eighths of each segment of use, where moving begins;
 * some of every segment is with the relay, so that none can go. Then somebody takes all the rest,
 * and each octet that comes free, while accounting takes no events; and everything is delivered,
 * in no order.
 */
static int with_a_neighbour(const char *size, size_t len)
{
	if (!new_disk(size))
		return 77;
	struct spool *s = open_spool();
	spool_set_keep(s, 64 << 20);
	seed = 5;
	n_keys = 0;
	while (spool_room(s) == ROOM_ENOUGH && n_keys < KEYS_MAX) {
		if (commit(s, add, &len) != QUEUE_OK)
			break;
		keys[n_keys++] = (struct queued){.key = last_key};
		struct fate f = {.of = &keys[n_keys - 1], .result = RELAY_DEFERRED};
		(void)commit(s, settle, &f);
		(void)commit(s, forget, NULL);
		spool_set_results(s, n_keys * 2 * SPOOL_RESULT);
		(void)spool_reserve_keep(s);
	}
	pinned = 3;
	for (int i = 0; i < 20; i++) {
		(void)tidy(s);
		(void)put_off(s, 1);
	}
	print_message("%s: %zu messages, %lu free, for results %lu\n", size, n_keys,
		      (unsigned long)disk_free(), (unsigned long)s->kept);
	if (spool_room(s) != ROOM_SHORT || !s->reserved)
		return 1;
	char name[100];
	snprintf(name, sizeof(name), "%s/neighbour", dir);
	int fd = open(name, O_WRONLY | O_CREAT, 0600);
	for (size_t i; n_keys; n_keys--) {
		take_all(fd);
		i = random_below((uint32_t)n_keys);
		struct fate f = {.of = &keys[i], .result = RELAY_DELIVERED};
		if (!result(s, &f))
			return 2;
		keys[i] = keys[n_keys - 1];
		spool_set_results(s, (n_keys - 1) * 2 * SPOOL_RESULT);
		if (n_keys % 100 == 0)
			(void)tidy(s);
	}
	close(fd);
	if (s->table.n != 0 || unlink(name) != 0)
		return 3;
	/* The neighbour goes: events are taken, the disk is given back. */
	pinned = 0;
	for (int i = 0; i < 2; i++)
		if (commit(s, forget, NULL) != QUEUE_OK || !tidy(s) || !spool_reserve_keep(s))
			return 4;
	if (commit(s, add, &len) != QUEUE_OK || spool_room(s) != ROOM_ENOUGH)
		return 5;
	spool_close(s);
	return 0;
}

/* --- many recipients, whose results come one by one --------------------------------------------
 */

#define MANY 40 /* recipients of a message, each of a domain of its own */

static enum queue_result add_many(struct spool *s, void *arg)
{
	static char address[MANY][80];
	static struct queue_rcpt rcpts[MANY];
	char id[QUEUE_ID_LEN + 1];
	static const uint8_t body[2000];

	(void)arg;
	for (int i = 0; i < MANY; i++) {
		snprintf(address[i], sizeof(address[i]),
			 "somebody.of.a.long.name@a.domain.%02d.of.many.example.net", i & 63);
		rcpts[i].address = address[i];
	}
	snprintf(id, sizeof(id), "%012uabcd", (unsigned)++last_key);
	struct spool_message m = {.key = last_key,
				  .id = id,
				  .account = "user01.of.a.long.name@isp.example",
				  .mail_from = "user01.of.a.long.name@isp.example",
				  .mail_from_out =
				      "prvs=0123abcdef=user01.of.a.long.name@isp.example",
				  .rcpts = rcpts,
				  .n_rcpts = MANY,
				  .data = body,
				  .len = sizeof(body),
				  .received_ms = now_ms};
	return spool_add(s, &m);
}

struct one {
	int64_t key;
	uint32_t idx, attempt;
	enum relay_result result;
	bool gone;
};

static enum queue_result settle_one(struct spool *s, void *arg)
{
	struct one *f = arg;
	struct relay_rcpt o = {.idx = f->idx, .result = (uint8_t)f->result, .status = "2.0.0"};
	memset(o.reply, 'x', RELAY_REPLY_MAX);
	if (f->result == RELAY_DEFERRED)
		o.status[0] = '4';
	struct spool_settle t = {.key = f->key,
				 .attempt = f->attempt,
				 .rcpts = &o,
				 .n = 1,
				 .now_ms = now_ms,
				 .retry_at_ms = now_ms + 1000,
				 .lifetime_ms = (int64_t)1 << 50,
				 .dsn_id = "zzzzzzzzzzzzzzzz",
				 .dsn_key = INT64_MAX};
	enum queue_result r = spool_settle(s, &t);
	f->gone = t.gone;
	free(t.dests);
	free(t.dsn_dests);
	free(t.said);
	return r;
}

static uint64_t left_of(const uint32_t *left, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += spool_result_room(left[i], left[i]);
	return sum;
}

/* Everybody was put off once, with the longest of answers. Then somebody takes all the rest of the
 * disk, and each octet that comes free, and recipients get theirs one by one, of all messages in
 * turn: there is room to write each down. */
static int one_by_one(const char *size, size_t messages)
{
	static uint32_t left[200];
	if (!new_disk(size))
		return 77;
	struct spool *s = open_spool();
	seed = 7;
	for (size_t i = 0; i < messages; i++) {
		if (commit(s, add_many, NULL) != QUEUE_OK)
			return 1;
		for (uint32_t k = 0; k < MANY; k++) {
			struct one f = {.key = last_key, .idx = k, .result = RELAY_DEFERRED};
			if (commit(s, settle_one, &f) != QUEUE_OK)
				return 2;
		}
		left[i] = MANY;
		spool_set_results(s, left_of(left, i + 1));
		(void)commit(s, forget, NULL);
		while (spool_results_missing(s))
			if (!spool_reserve_keep(s) || spool_room(s) != ROOM_ENOUGH)
				return 3;
		if (!tidy(s))
			return 4;
	}
	int64_t first = last_key - (int64_t)messages + 1;
	char name[100];
	snprintf(name, sizeof(name), "%s/neighbour", dir);
	int fd = open(name, O_WRONLY | O_CREAT, 0600);
	uint32_t from = random_below(MANY);
	for (uint32_t k = 0; k < MANY; k++)
		for (size_t i = 0; i < messages; i++) {
			take_all(fd);
			(void)spool_reserve_keep(s);
			struct one f = {.key = first + (int64_t)i,
					.idx = (from + k * 7) % MANY,
					.attempt = 1,
					.result = RELAY_DELIVERED};
			enum queue_result r = commit(s, settle_one, &f);
			while (r == QUEUE_FULL && spool_reserve_use(s, FOR_RESULTS))
				r = commit(s, settle_one, &f);
			if (r != QUEUE_OK || f.gone != (k == MANY - 1)) {
				print_message("recipient %u of message %zu: %s\n", k, i,
					      spool_why(s));
				return 5;
			}
			left[i]--;
			spool_set_results(s, left_of(left, messages));
		}
	close(fd);
	return s->table.n == 0 ? 0 : 6;
}

static void full_disk(const char *size, size_t len, int (*fn)(const char *size, size_t len))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int rc = fn(size, len);
		if (rc == 0)
			(void)umount(dir);
		_exit(rc);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("no mount namespace here: skipped\n");
		skip();
	}
	assert_int_equal(status, 0);
}

/* The large reserve is for moving only while results have room of their own. */
static void moving_leaves_what_results_need(void **state)
{
	(void)state;
	struct spool *s = new_spool();
	assert_int_equal(spool_begin(s), QUEUE_OK);
	spool_rollback(s);
	assert_true(spool_reserve_keep(s));
	spool_set_results(s, 1000 * SPOOL_RESULT);
	assert_true(spool_results_missing(s) > 0);
	assert_false(spool_reserve_use(s, FOR_MOVING));
	assert_true(spool_reserve_use(s, FOR_RESULTS));
	assert_true(spool_reserve_keep(s));
	assert_int_equal(spool_results_missing(s), 0);
	assert_true(spool_reserve_use(s, FOR_MOVING));
	assert_int_equal(spool_results_missing(s), 0);
	assert_false(spool_reserve_use(s, FOR_MOVING));
	spool_close(s);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void a_disk_of_64_mb(void **state)
{
	(void)state;
	full_disk("size=64m", 3000, on_a_disk);
}

static void a_disk_of_512_mb(void **state)
{
	(void)state;
	full_disk("size=512m", 20000, on_a_disk);
}

static void a_disk_that_somebody_else_fills(void **state)
{
	(void)state;
	full_disk("size=64m", 6000, with_a_neighbour);
	full_disk("size=64m", 500, with_a_neighbour);
}

static void many_recipients_one_by_one(void **state)
{
	(void)state;
	full_disk("size=96m", 60, one_by_one);
}

int main(void)
{
	log_open("test", getenv("KIT_LOG") ? LOG_DEBUG : LOG_EMERG);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(never_more_than_twice),
	    cmocka_unit_test(segments_that_stay_in_part),
	    cmocka_unit_test(moving_leaves_what_results_need),
	    cmocka_unit_test(a_disk_of_64_mb),
	    cmocka_unit_test(a_disk_of_512_mb),
	    cmocka_unit_test(a_disk_that_somebody_else_fills),
	    cmocka_unit_test(many_recipients_one_by_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
