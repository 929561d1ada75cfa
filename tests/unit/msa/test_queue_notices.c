/* Notices as their senders asked for them (RFC 3461), through the spool's transactions. */
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
#include <sqlite3.h>

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

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sekisho-notices-XXXXXX");
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
	spool_reader_close(r);
	spool_close(s);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static int64_t at(int64_t key)
{
	return spool_place(s, key);
}

struct given {
	const char *from;
	struct esmtp_mail mail;
	struct esmtp_rcpt rcpt;
	const char *data;
};

static void add(const struct given *g)
{
	const struct queue_rcpt rcpt = {.address = "a@x.example", .esmtp = g->rcpt};
	const char *data = g->data ? g->data : "Subject: s\r\n\r\nbody";
	struct spool_message m = {.key = 1,
				  .id = "000000000001abcd",
				  .account = "user01@isp.example",
				  .mail_from = g->from ? g->from : "me@isp.example",
				  .mail_from_out = "prvs=1=me@isp.example",
				  .rcpts = &rcpt,
				  .n_rcpts = 1,
				  .data = (const uint8_t *)data,
				  .len = strlen(data),
				  .esmtp = g->mail,
				  .received_ms = 1000};
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_add(s, &m), QUEUE_OK);
	assert_int_equal(spool_commit(s), QUEUE_OK);
}

/* What a settle gave to the index. */
static void drop(struct spool_settle *t)
{
	free(t->dests);
	free(t->dsn_dests);
	free(t->said);
	t->said = NULL;
	t->dests = t->dsn_dests = NULL;
}

static struct spool_settle settle(uint8_t result, const char *status, bool dsn, uint32_t attempt,
				  int64_t now)
{
	struct relay_rcpt o = {.idx = 0, .result = result, .dsn = dsn, .reply = "the reply"};
	struct spool_settle t = {.key = 1,
				 .attempt = attempt,
				 .rcpts = &o,
				 .n = 1,
				 .now_ms = now,
				 .retry_at_ms = now + 500,
				 .lifetime_ms = 100000,
				 .delay_ms = 10000,
				 .dsn_id = "dsn0000000000000",
				 .dsn_key = 2};

	snprintf(o.status, sizeof(o.status), "%s", status);
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_settle(s, &t), QUEUE_OK);
	drop(&t);
	assert_int_equal(spool_commit(s), QUEUE_OK);
	return t;
}

static char *text_of(int64_t key)
{
	static uint8_t buf[100000];
	size_t got;

	assert_true(spool_read_body(r, at(key), 0, buf, sizeof(buf) - 1, &got));
	buf[got] = '\0';
	return (char *)buf;
}

static void who_is_told_of_what(void **state)
{
	static const struct {
		uint8_t notify, result;
		bool dsn, told;
		int64_t now;
	} cases[] = {
	    {0, RELAY_BOUNCED, false, true, 2000},
	    {0, RELAY_DELIVERED, false, false, 2000},
	    {0, RELAY_DEFERRED, false, false, 10999},
	    {0, RELAY_DEFERRED, false, true, 11000}, /* RFC 3461 6.2.7 */
	    {NOTIFY_FAILURE, RELAY_DEFERRED, false, false, 50000},
	    {NOTIFY_NEVER, RELAY_DEFERRED, false, false, 50000},
	    {NOTIFY_NEVER, RELAY_BOUNCED, false, false, 2000},
	    {NOTIFY_FAILURE, RELAY_BOUNCED, false, true, 2000},
	    {NOTIFY_SUCCESS, RELAY_BOUNCED, false, false, 2000},
	    {NOTIFY_SUCCESS, RELAY_DELIVERED, false, true, 2000},
	    {NOTIFY_SUCCESS, RELAY_DELIVERED, true, false, 2000},
	    {NOTIFY_FAILURE, RELAY_DELIVERED, false, false, 2000},
	    {NOTIFY_DELAY, RELAY_DEFERRED, false, false, 10999},
	    {NOTIFY_DELAY, RELAY_DEFERRED, false, true, 11000},
	    {NOTIFY_DELAY, RELAY_BOUNCED, false, false, 2000},
	    {NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, RELAY_BOUNCED, false, true, 2000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		add(&(struct given){.rcpt = {cases[i].notify, "rfc822;A@x"},
				    .mail = {.envid = "E1"}});
		struct spool_settle t =
		    settle(cases[i].result, "5.1.1", cases[i].dsn, 0, cases[i].now);
		if (t.notified != cases[i].told)
			fail_msg("case %zu", i);
		assert_false(t.double_bounce);
		if (t.notified) {
			assert_non_null(
			    strstr(text_of(2), "\r\nOriginal-Recipient: rfc822;A@x\r\n"));
			assert_non_null(strstr(text_of(2), "\r\nOriginal-Envelope-Id: E1\r\n"));
		}
		teardown(state);
		setup(state);
	}
	/* The null sender is told nothing, and of a success there is nobody to be missed. */
	add(&(struct given){.from = "", .rcpt = {NOTIFY_SUCCESS, ""}});
	struct spool_settle t = settle(RELAY_DELIVERED, "2.0.0", false, 0, 2000);
	assert_false(t.notified);
	assert_false(t.double_bounce);
}

static void a_delay_is_told_once(void **state)
{
	struct spool_envelope *e = NULL;

	(void)state;
	add(&(struct given){.rcpt = {NOTIFY_DELAY, ""}});
	assert_false(settle(RELAY_DEFERRED, "4.4.1", false, 0, 5000).notified);
	assert_true(settle(RELAY_DEFERRED, "4.4.1", false, 1, 20000).notified);
	assert_non_null(strstr(text_of(2), "\r\nAction: delayed\r\nStatus: 4.4.1\r\n"));
	assert_false(settle(RELAY_DEFERRED, "4.4.1", false, 2, 30000).notified);
	/* that mark is not for the next server */
	assert_int_equal(spool_read_envelope(r, NULL, at(1), 10, &e), SPOOL_FOUND);
	assert_int_equal(e->rcpts[0].esmtp.notify, NOTIFY_DELAY);
	talloc_free(e);
}

static struct spool_settle settle_of(int64_t key, const char *dsn, int64_t dsn_key, int64_t now,
				     bool distrust)
{
	struct relay_rcpt o = {.idx = 0, .result = RELAY_BOUNCED, .status = "5.1.1", .reply = "no"};
	struct spool_settle t = {.key = key,
				 .rcpts = &o,
				 .n = 1,
				 .now_ms = now,
				 .retry_at_ms = now + 500,
				 .lifetime_ms = 100000,
				 .via = "mx.x.example[192.0.2.9]:25 TLSv1.3 C dane",
				 .distrust = distrust,
				 .dsn_key = dsn_key};

	snprintf(t.dsn_id, sizeof(t.dsn_id), "%s", dsn);
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_settle(s, &t), QUEUE_OK);
	drop(&t);
	assert_int_equal(spool_commit(s), QUEUE_OK);
	return t;
}

static void add_as(int64_t key, const char *from, const char *rcpt)
{
	char id[QUEUE_ID_LEN + 1];
	const struct queue_rcpt to = {.address = rcpt, .esmtp = {NOTIFY_NEVER, ""}},
				any = {.address = rcpt};
	struct spool_message m = {.key = key,
				  .id = id,
				  .account = "me@isp.example",
				  .mail_from = from,
				  .mail_from_out = from,
				  .rcpts = from[0] ? &any : &to,
				  .n_rcpts = 1,
				  .data = (const uint8_t *)"Subject: s\r\n\r\nbody",
				  .len = 18,
				  .received_ms = 1000};

	snprintf(id, sizeof(id), "%016lld", (long long)key);
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_add(s, &m), QUEUE_OK);
	assert_int_equal(spool_commit(s), QUEUE_OK);
}

/* Above the ceiling: one summary, in the spool all the time, with all of them. */
static void a_flood_becomes_a_summary(void **state)
{
	char id[QUEUE_ID_LEN + 1];
	int64_t last = 0;

	(void)state;
	spool_set_notices(s, 2);
	for (int64_t i = 0; i < 5; i++) {
		add_as(100 + i, "me@isp.example", "a@x.example");
		snprintf(id, sizeof(id), "dsn%013u", (unsigned)i % 100000);
		struct spool_settle t = settle_of(100 + i, id, 200 + i, 5000 + i, false);
		assert_true(t.notified);
		assert_int_equal(t.dsn_next_ms, i < 2 ? 0 : 5000 + 3600000);
		assert_int_equal(t.replaced_key, last);
		last = i < 2 ? 0 : 200 + i;
	}
	assert_int_equal(at(202), 0);
	assert_int_equal(at(203), 0);
	char *text = text_of(204);
	assert_non_null(strstr(text, "\r\nRemote-MTA: dns; mx.x.example\r\n"));
	for (int64_t i = 102; i < 105; i++) {
		snprintf(id, sizeof(id), "%016u", (unsigned)i % 100000);
		assert_non_null(strstr(text, id));
	}
	assert_null(strstr(text, "0000000000000101"));
	/* somebody else has a ceiling of his own; the next hour is another */
	add_as(300, "you@isp.example", "a@x.example");
	assert_int_equal(settle_of(300, "dsn0000000000300", 400, 6000, false).dsn_next_ms, 0);
	add_as(301, "me@isp.example", "a@x.example");
	assert_int_equal(settle_of(301, "dsn0000000000301", 401, 3700000, false).dsn_next_ms, 0);
	assert_true(at(204) != 0);
}

static void a_forged_sender_hears_nothing(void **state)
{
	(void)state;
	add_as(100, "someone@else.example", "a@x.example");
	struct spool_settle t = settle_of(100, "dsn0000000000000", 200, 5000, true);
	assert_false(t.notified);
	assert_true(t.withheld);
	add_as(101, "ME@isp.example", "a@x.example");
	t = settle_of(101, "dsn0000000000001", 201, 5000, true);
	assert_true(t.notified);
	assert_false(t.withheld);
	add_as(102, "someone@else.example", "a@x.example");
	assert_true(settle_of(102, "dsn0000000000002", 202, 5000, false).notified);
}

/* A notice that fails is the postmaster's, whatever it asked for; his own is nobody's. */
static void a_double_bounce_is_the_postmasters(void **state)
{
	(void)state;
	add_as(100, "", "a@x.example");
	struct spool_settle t = settle_of(100, "dsn0000000000000", 200, 5000, false);
	assert_true(t.double_bounce);
	assert_true(t.notified);
	assert_non_null(strstr(text_of(200), "\r\nTo: <postmaster@isp.example>\r\n"));
	assert_non_null(strstr(text_of(200), "could not be delivered, nor could its sender"));
	add_as(101, "", "postmaster@isp.example");
	t = settle_of(101, "dsn0000000000001", 201, 5000, false);
	assert_true(t.double_bounce);
	assert_false(t.notified);
}

/* One for all who wait, of several destinations. */
static void a_delay_is_told_of_everybody_at_once(void **state)
{
	const struct queue_rcpt rcpts[] = {{.address = "a@x.example"}, {.address = "b@y.example"}};
	struct spool_message m = {.key = 1,
				  .id = "000000000001abcd",
				  .account = "me@isp.example",
				  .mail_from = "me@isp.example",
				  .mail_from_out = "me@isp.example",
				  .rcpts = rcpts,
				  .n_rcpts = 2,
				  .data = (const uint8_t *)"Subject: s\r\n\r\nbody",
				  .len = 18,
				  .received_ms = 1000};
	(void)state;
	assert_int_equal(spool_begin(s), QUEUE_OK);
	assert_int_equal(spool_add(s, &m), QUEUE_OK);
	assert_int_equal(spool_commit(s), QUEUE_OK);
	assert_true(settle(RELAY_DEFERRED, "4.4.1", false, 0, 20000).notified);
	assert_non_null(strstr(text_of(2), "\r\nFinal-Recipient: rfc822; a@x.example\r\n"));
	assert_non_null(strstr(text_of(2), "\r\nFinal-Recipient: rfc822; b@y.example\r\n"));
}

static void what_comes_back(void **state)
{
	static const struct {
		struct esmtp_mail mail;
		const char *status, *data;
		const char *has, *lacks;
		uint8_t body;
	} cases[] = {
	    {{0}, "5.1.1", NULL, "text/rfc822-headers", "body", ESMTP_7BIT},
	    {{.ret = ESMTP_RET_HDRS}, "5.1.1", NULL, "text/rfc822-headers", "body", ESMTP_7BIT},
	    {{.ret = ESMTP_RET_FULL},
	     "5.1.1",
	     NULL,
	     "\r\n\r\nSubject: s\r\n\r\nbody\r\n",
	     "text/rfc822-headers",
	     ESMTP_7BIT},
	    {{.ret = ESMTP_RET_FULL, .body = ESMTP_8BIT},
	     "5.1.1",
	     "S: x\r\n\r\n\xc3\xb6\r\n",
	     "Encoding: 8bit\r\n\r\nS: x\r\n\r\n\xc3\xb6\r\n",
	     "?",
	     ESMTP_8BIT},
	    {{.ret = ESMTP_RET_FULL, .body = ESMTP_8BIT},
	     "5.6.3",
	     NULL,
	     "text/rfc822-headers",
	     "body",
	     ESMTP_7BIT},
	    {{.ret = ESMTP_RET_FULL, .body = ESMTP_BINARY},
	     "5.1.1",
	     NULL,
	     "text/rfc822-headers",
	     "body",
	     ESMTP_7BIT},
	    {{.requiretls = true, .ret = ESMTP_RET_FULL},
	     "5.7.30",
	     "Subject: s\r\nMessage-ID: <7>\r\n\r\nbody",
	     "\r\n\r\nMessage-ID: <7>\r\n",
	     "Subject: s",
	     ESMTP_7BIT},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct spool_envelope *e = NULL;

		add(&(struct given){.mail = cases[i].mail, .data = cases[i].data});
		assert_true(settle(RELAY_BOUNCED, cases[i].status, false, 0, 2000).notified);
		if (!strstr(text_of(2), cases[i].has) || strstr(text_of(2), cases[i].lacks))
			fail_msg("case %zu: %s", i, text_of(2));
		assert_int_equal(spool_read_envelope(r, NULL, at(2), 10, &e), SPOOL_FOUND);
		assert_int_equal(e->esmtp.body, cases[i].body);
		assert_int_equal(e->rcpts[0].esmtp.notify, NOTIFY_NEVER);
		assert_string_equal(e->mail_from_out, "");
		talloc_free(e);
		teardown(state);
		setup(state);
	}
	add(&(struct given){.from = "j\xc3\xb6@isp.example"});
	assert_true(settle(RELAY_BOUNCED, "5.1.1", false, 0, 2000).notified);
	assert_non_null(strstr(text_of(2), "\r\nTo: <j\xc3\xb6@isp.example>\r\n"));
	struct spool_envelope *e = NULL;
	assert_int_equal(spool_read_envelope(r, NULL, at(2), 10, &e), SPOOL_FOUND);
	assert_true(e->esmtp.smtputf8);
	talloc_free(e);
}

static void envelope_is_kept(void **state)
{
	struct spool_envelope *e = NULL;

	(void)state;
	add(&(struct given){.mail = {ESMTP_BINARY, ESMTP_RET_HDRS, true, true, "id"},
			    .rcpt = {NOTIFY_SUCCESS | NOTIFY_FAILURE, "utf-8;\\x{F6}@x"}});
	assert_int_equal(spool_read_envelope(r, NULL, at(1), 10, &e), SPOOL_FOUND);
	assert_int_equal(e->esmtp.body, ESMTP_BINARY);
	assert_int_equal(e->esmtp.ret, ESMTP_RET_HDRS);
	assert_true(e->esmtp.smtputf8);
	assert_true(e->esmtp.requiretls);
	assert_string_equal(e->esmtp.envid, "id");
	assert_int_equal(e->rcpts[0].esmtp.notify, NOTIFY_SUCCESS | NOTIFY_FAILURE);
	assert_string_equal(e->rcpts[0].esmtp.orcpt, "utf-8;\\x{F6}@x");
	talloc_free(e);
}

static bool one_row(uint64_t seq, uint32_t n, const uint8_t *records, size_t len, void *arg)
{
	(void)arg;
	assert_int_equal(seq, 7);
	assert_int_equal(n, 3);
	assert_int_equal(len, 3);
	assert_memory_equal(records, "\1\2\3", 3);
	return true;
}

/* A spool of version 1: its mail is delivered, its 8-bit mail as such. */
static void an_older_spool(void **state)
{
	static const char old[] =
	    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
	    "CREATE TABLE message(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT "
	    "NOT "
	    "NULL, mail_from TEXT NOT NULL, mail_from_out TEXT NOT NULL, size INTEGER NOT NULL, "
	    "body_8bit INTEGER NOT NULL, received_ms INTEGER NOT NULL, life_from_ms INTEGER NOT "
	    "NULL,"
	    "next_ms INTEGER NOT NULL, attempts INTEGER NOT NULL, hold INTEGER NOT NULL, "
	    "last_reply "
	    "TEXT NOT NULL, src BLOB NOT NULL, src_port INTEGER NOT NULL) STRICT;"
	    "CREATE TABLE recipient(message INTEGER NOT NULL, idx INTEGER NOT NULL, address TEXT "
	    "NOT "
	    "NULL, state INTEGER NOT NULL, status TEXT NOT NULL, reply TEXT NOT NULL, PRIMARY "
	    "KEY(message, idx)) STRICT, WITHOUT ROWID;"
	    "CREATE TABLE body(message INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;"
	    "CREATE TABLE outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER NOT NULL, "
	    "records "
	    "BLOB NOT NULL) STRICT;"
	    "CREATE TABLE account_hold(account TEXT PRIMARY KEY, why TEXT NOT NULL) STRICT, "
	    "WITHOUT "
	    "ROWID;"
	    "INSERT INTO message VALUES(1,'000000000001abcd','me@x','me@x','me@x',4,1,1,1,1,0,0,'',"
	    "x'',0); INSERT INTO recipient VALUES(1,0,'a@x',0,'','');"
	    "INSERT INTO body VALUES(1,x'0d0a7878'); INSERT INTO meta "
	    "VALUES('instance','0011223344556677'); INSERT INTO outbox VALUES(7,3,x'010203'); "
	    "INSERT INTO account_hold VALUES('me@x','why'); PRAGMA user_version=1;";
	struct spool_envelope *e = NULL;
	sqlite3 *db;

	char name[100];

	(void)state;
	snprintf(name, sizeof(name), "%s.db", path);
	spool_reader_close(r);
	spool_close(s);
	assert_int_equal(sqlite3_open(name, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, old, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	open_it();
	assert_int_not_equal(access(name, F_OK), 0);
	assert_string_equal(spool_instance(s), "0011223344556677");
	assert_int_equal(spool_outbox_last(s), 7);
	assert_true(spool_read_outbox(s, r, 0, one_row, NULL));
	assert_int_equal(spool_read_envelope(r, NULL, at(1), 10, &e), SPOOL_FOUND);
	assert_int_equal(e->esmtp.body, ESMTP_8BIT);
	assert_false(e->esmtp.requiretls);
	assert_string_equal(e->esmtp.envid, "");
	assert_int_equal(e->rcpts[0].esmtp.notify, 0);
	talloc_free(e);
	assert_true(settle(RELAY_BOUNCED, "5.1.1", false, 0, 2000).notified);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(who_is_told_of_what),
	    T(a_delay_is_told_once),
	    T(what_comes_back),
	    T(envelope_is_kept),
	    T(an_older_spool),
	    T(a_flood_becomes_a_summary),
	    T(a_forged_sender_hears_nothing),
	    T(a_double_bounce_is_the_postmasters),
	    T(a_delay_is_told_of_everybody_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
