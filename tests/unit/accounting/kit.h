/* kit - what the tests of accounting/ share: a state folder, events, short names. */
#ifndef TESTS_ACCOUNTING_KIT_H
#define TESTS_ACCOUNTING_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "accounting/event.h"
#include "accounting/store.h"
#include "accounting/store_int.h"

#define T0	 1795000000000 /* 2026-11-18T11:06:40Z: a whole minute is 20 s later */
#define ALICE	 "alice@isp.example"
#define TOKEN	 "0123456789abcdef01234567"
#define QUEUE_ID "1a2b3c4d5e6f7g8h"

#pragma GCC diagnostic ignored "-Wunused-function"

static char kit_dir[64];

static void kit_no_log(const char *line, size_t len, void *arg)
{
	(void)line, (void)len, (void)arg;
}

/* A fresh state folder with accounting/reports in it. */
static void kit_folder(void)
{
	char path[128];
	log_sink(kit_no_log, NULL);
	snprintf(kit_dir, sizeof kit_dir, "/tmp/sekisho-acct-XXXXXX");
	assert_non_null(mkdtemp(kit_dir));
	snprintf(path, sizeof path, "%s/accounting", kit_dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/accounting/reports", kit_dir);
	assert_int_equal(mkdir(path, 0700), 0);
}

static int kit_remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	return remove(path);
}

static void kit_remove(void)
{
	nftw(kit_dir, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct store *kit_store(void)
{
	char *err = NULL;
	struct store *s = store_open(kit_dir, &err);
	if (!s)
		fail_msg("%s", err);
	return s;
}

static struct addr kit_addr(const char *text)
{
	struct addr a;
	const char *err = NULL;
	if (!addr_parse(text, &a, &err))
		fail_msg("%s: %s", text, err);
	return a;
}

static struct prefix kit_prefix(const char *text)
{
	struct prefix p;
	char err[128];
	if (!prefix_parse(text, &p, err))
		fail_msg("%s: %s", text, err);
	return p;
}

static struct event kit_message(int64_t t_ms, const char *account, const char *src)
{
	struct event e = {
	    .kind = EVENT_MESSAGE, .t_ms = t_ms, .src = kit_addr(src), .src_port = 40000};
	snprintf(e.u.message.account, sizeof e.u.message.account, "%s", account);
	snprintf(e.u.message.session, sizeof e.u.message.session, "00112233aabbccdd");
	snprintf(e.u.message.queue_id, sizeof e.u.message.queue_id, QUEUE_ID);
	snprintf(e.u.message.token, sizeof e.u.message.token, TOKEN);
	snprintf(e.u.message.mail_from, sizeof e.u.message.mail_from, "%s", account);
	snprintf(e.u.message.message_id, sizeof e.u.message.message_id, "<1@client.example>");
	snprintf(e.u.message.rcpt_domains, sizeof e.u.message.rcpt_domains, "a.example b.example");
	e.u.message.rcpts = 3;
	e.u.message.size = 1234;
	return e;
}

static struct event kit_block(int64_t t_ms, const char *src, uint32_t packets, enum event_kind kind)
{
	struct event e = {.kind = kind, .t_ms = t_ms, .src = kit_addr(src)};
	e.u.block.first_ms = t_ms - 10000;
	e.u.block.last_dst = kit_addr("198.51.100.25");
	e.u.block.packets = packets;
	e.u.block.dsts = 2;
	e.u.block.plen = addr_is4(&e.src) ? 0 : 64;
	return e;
}

static struct event kit_login(int64_t t_ms, const char *account, const char *src, bool ok)
{
	struct event e = {
	    .kind = EVENT_LOGIN, .t_ms = t_ms, .src = kit_addr(src), .src_port = 40000};
	snprintf(e.u.login.account, sizeof e.u.login.account, "%s", account);
	snprintf(e.u.login.mech, sizeof e.u.login.mech, "PLAIN");
	snprintf(e.u.login.session, sizeof e.u.login.session, "00112233aabbccdd");
	snprintf(e.u.login.reason, sizeof e.u.login.reason, "%s", ok ? "" : "wrong password");
	e.u.login.ok = ok;
	return e;
}

static struct event kit_delivery(int64_t t_ms, const char *account, int result)
{
	struct event e = {.kind = EVENT_DELIVERY, .t_ms = t_ms};
	snprintf(e.u.delivery.account, sizeof e.u.delivery.account, "%s", account);
	snprintf(e.u.delivery.queue_id, sizeof e.u.delivery.queue_id, QUEUE_ID);
	snprintf(e.u.delivery.rcpt, sizeof e.u.delivery.rcpt, "bob@a.example");
	snprintf(e.u.delivery.status, sizeof e.u.delivery.status, "5.1.1");
	snprintf(e.u.delivery.reply, sizeof e.u.delivery.reply, "550 5.1.1 no such user");
	e.u.delivery.result = result;
	e.u.delivery.answer = 2; /* unknown-user */
	snprintf(e.u.delivery.server, sizeof e.u.delivery.server, "mx.a.example[192.0.2.25]:25");
	snprintf(e.u.delivery.tls, sizeof e.u.delivery.tls, "TLSv1.3");
	snprintf(e.u.delivery.cipher, sizeof e.u.delivery.cipher, "TLS_AES_256_GCM_SHA384");
	snprintf(e.u.delivery.proof, sizeof e.u.delivery.proof, "dane");
	return e;
}

__attribute__((unused)) static struct event kit_bounce(int64_t t_ms, const char *sender,
						       const char *rcpt)
{
	struct event e = {.kind = EVENT_BOUNCE, .t_ms = t_ms, .src = kit_addr("192.0.2.26")};
	snprintf(e.u.bounce.sender, sizeof e.u.bounce.sender, "%s", sender);
	snprintf(e.u.bounce.token, sizeof e.u.bounce.token, "%s", TOKEN);
	snprintf(e.u.bounce.rcpt, sizeof e.u.bounce.rcpt, "%s", rcpt);
	snprintf(e.u.bounce.status, sizeof e.u.bounce.status, "5.1.1");
	snprintf(e.u.bounce.reply, sizeof e.u.bounce.reply, "550 5.1.1 no such user");
	snprintf(e.u.bounce.mta, sizeof e.u.bounce.mta, "mx.a.example");
	e.u.bounce.result = EVENT_BOUNCED;
	e.u.bounce.answer = 2; /* unknown-user */
	return e;
}

static struct event kit_refuse(int64_t t_ms, const char *account)
{
	struct event e = {.kind = EVENT_REFUSE, .t_ms = t_ms, .src = kit_addr("192.0.2.1")};
	snprintf(e.u.refuse.account, sizeof e.u.refuse.account, "%s", account);
	snprintf(e.u.refuse.status, sizeof e.u.refuse.status, "4.7.1");
	snprintf(e.u.refuse.reason, sizeof e.u.refuse.reason, "31 messages in 1m, limit 30");
	e.u.refuse.rcpts = 1;
	return e;
}

/* src: the key of an IPv4 host or an IPv6 /64. */
static struct event kit_suspect(int64_t t_ms, const char *src, uint32_t dsts)
{
	struct event e = {.kind = EVENT_SUSPECT, .t_ms = t_ms, .src = kit_addr(src)};
	e.u.suspect.first_ms = t_ms - 60000;
	e.u.suspect.last_dst = kit_addr("198.51.100.25");
	e.u.suspect.packets = dsts * 3;
	e.u.suspect.dsts = dsts;
	e.u.suspect.nets = dsts / 2;
	e.u.suspect.plen = addr_is4(&e.src) ? 32 : 64;
	return e;
}

/* src: an IPv4 host or an IPv6 /64. */
static struct event kit_spray(int64_t t_ms, const char *src, uint32_t accounts)
{
	struct event e = {.kind = EVENT_SPRAY, .t_ms = t_ms, .src = kit_addr(src)};
	e.u.spray.first_ms = t_ms - 3600000;
	e.u.spray.accounts = accounts;
	e.u.spray.plen = addr_is4(&e.src) ? 32 : 64;
	return e;
}

/* One batch of one or more events, flushed. */
static enum store_batch kit_batch(struct store *s, uint64_t seq, const struct event *e, uint32_t n)
{
	static uint8_t buf[64 * EVENT_MAX_BYTES];
	size_t len = 0;
	for (uint32_t i = 0; i < n; i++) {
		size_t used = event_encode(&e[i], buf + len, sizeof buf - len);
		assert_true(used > 0);
		len += used;
	}
	return store_batch(s, "msad", "spool-1", seq, n, buf, len, T0);
}

static void kit_put(struct store *s, struct event e)
{
	static uint64_t seq = 1000;
	assert_int_equal(kit_batch(s, ++seq, &e, 1), BATCH_STORED);
	store_flush(s);
}

/* One number from the store by SQL, on a connection of its own. */
static int64_t kit_sql(const char *sql)
{
	char path[128], *err = NULL;
	const char *const list[] = {sql};
	snprintf(path, sizeof path, "%s/accounting/control.db", kit_dir);
	struct sql *db = sql_open(path, SQL_READER, 0, list, 1, &err);
	if (!db)
		fail_msg("%s", err);
	int64_t v = sql_value(db, 0);
	if (sql_error(db))
		fail_msg("%s: %s", sql, sql_error(db));
	sql_close(db);
	return v;
}

static const struct store_who kit_who = {"unix:root", "uid=0"};

static bool kit_commit(struct store *s)
{
	const char *err = NULL;
	bool ok = store_commit(s, &err, NULL);
	if (!ok)
		fail_msg("%s", err);
	return ok;
}

static int64_t kit_subscriber(struct store *s, const char *ref)
{
	store_begin(s);
	int64_t id = store_subscriber_put(s, ref, ref, "", T0);
	kit_commit(s);
	return id;
}

static int64_t kit_lease(struct store *s, const char *prefix, int64_t subscriber, int64_t from,
			 int64_t to)
{
	int ended = 0;
	struct store_lease l = {.prefix = kit_prefix(prefix),
				.port_hi = 65535,
				.subscriber = subscriber,
				.from_ms = from,
				.to_ms = to,
				.source = "test"};
	store_begin(s);
	int64_t id = store_lease_add(s, &l, &kit_who, from, &ended);
	kit_commit(s);
	return id;
}

static void kit_remove_exemption(struct store *s, int64_t id, int64_t now)
{
	const struct store_exempt_move gone = {.to = EXEMPT_REMOVED, .reason = "test"};
	assert_true(store_exemption_move(s, id, &gone, &kit_who, now));
}

#endif
