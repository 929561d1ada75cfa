/* store: migrations, batches once and only once, rollups, leases, exemptions, retention, and errors
 * that are named. */
#include "kit.h"

#include "lib/clock.h"

static struct store *s;

static int set_up(void **state)
{
	(void)state;
	kit_folder();
	s = kit_store();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	store_close(s);
	kit_remove();
	return 0;
}

/* --- opening --- */

static void test_migrations(void **state)
{
	(void)state;
	assert_int_equal(kit_sql("PRAGMA user_version"), store_schema(s));
	assert_int_equal(kit_sql("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name "
				 "NOT LIKE 'sqlite_%' "
				 "AND sql NOT LIKE '%STRICT%'"),
			 0);
	int64_t sub = kit_subscriber(s, "C-1");
	store_close(s); /* open again: nothing is migrated twice */
	s = kit_store();
	assert_int_equal(store_subscriber(s, "C-1"), sub);
	struct stat st;
	char path[128];
	snprintf(path, sizeof path, "%s/accounting/control.db", kit_dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(
	    st.st_mode & 07,
	    0); /* umask of the daemon is 027; here: others have nothing more than it gives */
}

static void test_newer_is_refused(void **state)
{
	char *err = NULL;
	(void)state;
	sql_script(s->db, "PRAGMA user_version = 99");
	store_close(s);
	s = store_open(kit_dir, &err);
	assert_null(s);
	assert_non_null(strstr(err, "newer program"));
	free(err);
}

static void test_not_a_database(void **state)
{
	char path[128], *err = NULL;
	(void)state;
	store_close(s);
	kit_remove();
	kit_folder();
	snprintf(path, sizeof path, "%s/accounting/control.db", kit_dir);
	FILE *f = fopen(path, "w");
	for (int i = 0; i < 1000; i++)
		fputs("this is no database ", f);
	fclose(f);
	s = store_open(kit_dir, &err);
	assert_null(s);
	assert_non_null(strstr(err, "damaged"));
	free(err);
}

static void test_audit_is_not_edited(void **state)
{
	const char *err = NULL;
	(void)state;
	store_begin(s);
	store_audit(s, &kit_who, T0, "test", "object", "reason", "");
	assert_true(kit_commit(s));
	store_begin(s);
	sql_script(s->db, "DELETE FROM audit");
	assert_false(store_commit(s, &err, NULL));
	assert_non_null(strstr(err, "not cut"));
	store_begin(s);
	sql_script(s->db, "UPDATE audit SET actor = 'nobody'");
	assert_false(store_commit(s, &err, NULL));
	assert_int_equal(kit_sql("SELECT count(*) FROM audit WHERE actor = 'unix:root'"), 1);
}

/* --- batches --- */

static int flushed_ok, flushed_bad;

static void on_flushed(bool ok, void *arg)
{
	(void)arg;
	flushed_ok += ok;
	flushed_bad += !ok;
}

static void watch_flushes(void)
{
	static const struct store_hooks h = {.flushed = on_flushed};
	flushed_ok = flushed_bad = 0;
	store_hooks(s, &h, NULL);
}

static void test_batch_once(void **state)
{
	struct event e[2] = {kit_message(T0, ALICE, "192.0.2.1"),
			     kit_delivery(T0, ALICE, EVENT_DELIVERED)};
	(void)state;
	watch_flushes();
	assert_int_equal(kit_batch(s, 1, e, 2), BATCH_STORED);
	assert_int_equal(kit_batch(s, 1, e, 2), BATCH_SEEN);
	assert_int_equal(kit_batch(s, 2, e, 1), BATCH_STORED);
	assert_int_equal(flushed_ok, 0);
	store_flush(s);
	assert_int_equal(flushed_ok, 1); /* three batches, one commit */
	assert_int_equal(kit_batch(s, 1, e, 2),
			 BATCH_SEEN); /* also after the commit, also an old one */
	store_flush(s);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), 2);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_delivery"), 1);
	assert_int_equal(kit_sql("SELECT n FROM rollup WHERE metric = 'accepted'"), 2);
	assert_int_equal(kit_sql("SELECT last_seq FROM feed_source"), 2);
	/* another life of the numbering begins again */
	uint8_t buf[EVENT_MAX_BYTES];
	size_t n = event_encode(&e[0], buf, sizeof buf);
	assert_int_equal(store_batch(s, "msad", "spool-2", 1, 1, buf, n, T0), BATCH_STORED);
	store_flush(s);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), 3);
}

static void test_begin_flushes(void **state)
{
	struct event e = kit_message(T0, ALICE, "192.0.2.1");
	(void)state;
	watch_flushes();
	assert_int_equal(kit_batch(s, 1, &e, 1), BATCH_STORED);
	store_begin(s);
	assert_int_equal(flushed_ok, 1);
	store_rollback(s);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), 1);
}

/* A full disk: the group is rolled back whole, the number too; later it is stored. */
static void test_full(void **state)
{
	struct event e = kit_message(T0, ALICE, "192.0.2.1");
	char limit[64];
	(void)state;
	watch_flushes();
	snprintf(limit, sizeof limit, "PRAGMA max_page_count = %lld",
		 (long long)kit_sql("PRAGMA page_count"));
	memset(e.u.message.rcpt_domains, 'x', EVENT_TEXT_MAX);
	sql_script(s->db, limit);
	enum store_batch r = BATCH_STORED;
	uint64_t seq = 0;
	while (r == BATCH_STORED && seq < 500) {
		r = kit_batch(s, ++seq, &e, 1);
		assert_int_equal(flushed_ok, 0);
	}
	assert_int_equal(r, BATCH_FAILED);
	assert_int_equal(flushed_bad, 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), 0);
	assert_int_equal(kit_sql("SELECT count(*) FROM feed_source"), 0);
	sql_script(s->db, "PRAGMA max_page_count = 1000000");
	assert_int_equal(kit_batch(s, 1, &e, 1), BATCH_STORED);
	store_flush(s);
	assert_int_equal(flushed_ok, 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), 1);
}

/* Somebody else writes: BUSY has a name and passes. */
static void test_busy(void **state)
{
	char path[128], *oerr = NULL;
	const char *err = NULL;
	bool passes = false;
	(void)state;
	snprintf(path, sizeof path, "%s/accounting/control.db", kit_dir);
	struct sql *other = sql_open(path, SQL_WRITER, 0, NULL, 0, &oerr);
	assert_non_null(other);
	assert_true(sql_script(other, "BEGIN IMMEDIATE"));
	store_begin(s);
	store_audit(s, &kit_who, T0, "test", "", "", "");
	assert_false(store_commit(s, &err, &passes));
	assert_string_equal(err, "the database is busy");
	assert_true(passes);
	assert_true(sql_script(other, "ROLLBACK"));
	sql_close(other);
	store_begin(s);
	store_audit(s, &kit_who, T0, "test", "", "", "");
	assert_true(kit_commit(s));
}

static void test_rows(void **state)
{
	(void)state;
	kit_put(s, kit_block(T0, "192.0.2.7", 10, EVENT_BLOCK));
	kit_put(
	    s, kit_block(T0 + 5000, "192.0.2.7", 5, EVENT_BLOCK)); /* the same 5 minutes: one row */
	kit_put(s, kit_block(T0 + 600000, "192.0.2.7", 1, EVENT_BLOCK));
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_block"), 2);
	assert_int_equal(kit_sql("SELECT packets FROM ev_block ORDER BY t_ms LIMIT 1"), 15);
	assert_int_equal(kit_sql("SELECT first_ms FROM ev_block ORDER BY t_ms LIMIT 1"),
			 T0 - 10000);
	assert_int_equal(kit_sql("SELECT sum(n) FROM rollup WHERE metric = 'blocked'"), 16);

	for (int i = 0; i < 3; i++)
		kit_put(s, kit_login(T0 + i, "nobody@isp.example", "203.0.113.9", false));
	kit_put(s, kit_login(T0, ALICE, "203.0.113.9", true));
	assert_int_equal(kit_sql("SELECT n FROM ev_login WHERE ok = 0"), 3);
	assert_int_equal(kit_sql("SELECT count(*) FROM account"),
			 1); /* a failed login makes none */
	assert_int_equal(kit_sql("SELECT count(*) FROM account WHERE login = '" ALICE
				 "' AND subscriber_id IS NULL"),
			 1);

	kit_put(s, kit_refuse(T0, ALICE));
	kit_put(s, kit_refuse(T0 + 1, ALICE));
	kit_put(s, kit_delivery(T0, ALICE, EVENT_BOUNCED));
	kit_put(s, kit_delivery(T0, "", EVENT_DELIVERED)); /* our own notification */
	struct event held = kit_message(T0, ALICE, "192.0.2.1");
	held.u.message.held = true;
	kit_put(s, held);
	assert_int_equal(kit_sql("SELECT n FROM ev_refuse"), 2);
	assert_int_equal(
	    kit_sql(
		"SELECT messages * 1000 + held * 100 + refused * 10 + bounced FROM account_rollup"),
	    1121);
	assert_int_equal(kit_sql("SELECT n FROM rollup WHERE metric = 'held'"), 1);
	assert_int_equal(kit_sql("SELECT n FROM rollup WHERE metric = 'bounced'"), 1);
	assert_int_equal(kit_sql("SELECT sum(n) FROM rollup WHERE metric = 'login_failed'"), 3);
}

/* --- leases --- */

static int holders(const char *addr, int port, int64_t t, int64_t *first)
{
	struct addr a = kit_addr(addr);
	int64_t ids[4] = {0};
	int n = store_lease_holders(s, &a, port, t, ids, 4);
	*first = ids[0];
	return n;
}

static void test_lease_half_open(void **state)
{
	int64_t one = kit_subscriber(s, "C-1"), who;
	(void)state;
	kit_lease(s, "192.0.2.1", one, T0, T0 + 1000);
	assert_int_equal(holders("192.0.2.1", -1, T0 - 1, &who), 0);
	assert_int_equal(holders("192.0.2.1", -1, T0, &who), 1);
	assert_int_equal(who, one);
	assert_int_equal(holders("192.0.2.1", -1, T0 + 999, &who), 1);
	assert_int_equal(holders("192.0.2.1", -1, T0 + 1000, &who), 0);
	assert_int_equal(holders("192.0.2.2", -1, T0, &who), 0);
}

static void test_lease_moves_on(void **state)
{
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2"), who;
	(void)state;
	int64_t id = kit_lease(s, "192.0.2.1", one, T0, 0);
	assert_int_equal(kit_lease(s, "192.0.2.1", one, T0 + 5, 0),
			 id);				 /* a renewal is the same lease */
	kit_lease(s, "192.0.2.0/24", two, T0 + 1000, 0); /* around it */
	assert_int_equal(holders("192.0.2.1", -1, T0 + 999, &who), 1);
	assert_int_equal(who, one);
	assert_int_equal(holders("192.0.2.1", -1, T0 + 1000, &who), 1);
	assert_int_equal(who, two);
	kit_lease(s, "192.0.2.128/25", one, T0 + 2000, 0); /* inside it */
	assert_int_equal(holders("192.0.2.200", -1, T0 + 1999, &who), 1);
	assert_int_equal(who, two);
	assert_int_equal(holders("192.0.2.200", -1, T0 + 2000, &who), 1);
	assert_int_equal(who, one);
	assert_int_equal(holders("192.0.2.1", -1, T0 + 2000, &who), 1);
	assert_int_equal(who, two);			 /* the rest is C-2's still */
	kit_lease(s, "192.0.2.0/24", two, T0 + 3000, 0); /* a renewal takes nothing back */
	assert_int_equal(holders("192.0.2.200", -1, T0 + 3000, &who), 1);
	assert_int_equal(who, one);
	int suspended = 0;
	struct prefix p = kit_prefix("192.0.2.128/25");
	store_begin(s);
	assert_int_equal(store_lease_end(s, &p, -1, T0 + 4000, &kit_who, T0 + 4000, &suspended), 1);
	kit_commit(s);
	assert_int_equal(holders("192.0.2.200", -1, T0 + 4000, &who), 1);
	assert_int_equal(who, two);
	/* IPv6 prefixes of the same length as IPv4 ones do not meet them */
	kit_lease(s, "2001:db8::/32", one, T0, 0);
	assert_int_equal(holders("2001:db8:1::1", -1, T0, &who), 1);
	assert_int_equal(holders("192.0.2.200", -1, T0 + 2000, &who), 1);
}

static void test_lease_told_late(void **state)
{
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2"), who;
	(void)state;
	kit_lease(s, "192.0.2.1", two, T0 + 1000, 0);
	kit_lease(s, "192.0.2.1", one, T0, 0); /* began before: ends where the known one begins */
	assert_int_equal(holders("192.0.2.1", -1, T0 + 999, &who), 1);
	assert_int_equal(who, one);
	assert_int_equal(holders("192.0.2.1", -1, T0 + 1000, &who), 1);
	assert_int_equal(who, two);
}

static void test_lease_ports(void **state)
{
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2"), who;
	int ended = -1;
	struct store_lease l = {.prefix = kit_prefix("192.0.2.1"),
				.port_lo = 1024,
				.port_hi = 2047,
				.subscriber = one,
				.from_ms = T0};
	(void)state;
	store_begin(s);
	store_lease_add(s, &l, &kit_who, T0, &ended);
	l.port_lo = 2048;
	l.port_hi = 3071;
	l.subscriber = two;
	store_lease_add(s, &l, &kit_who, T0, &ended);
	kit_commit(s);
	assert_int_equal(ended, 0); /* they share the address, not the ports */
	assert_int_equal(holders("192.0.2.1", 1500, T0, &who), 1);
	assert_int_equal(who, one);
	assert_int_equal(holders("192.0.2.1", 2048, T0, &who), 1);
	assert_int_equal(who, two);
	assert_int_equal(holders("192.0.2.1", -1, T0, &who), 2); /* ambiguous without a port */
	assert_int_equal(holders("192.0.2.1", 80, T0, &who), 0);
	/* The pool around it: what is not said of a port is the pool's. */
	int64_t pool = kit_subscriber(s, "POOL");
	kit_lease(s, "192.0.2.0/24", pool, T0 - 1000, 0);
	assert_int_equal(holders("192.0.2.1", 80, T0, &who), 1);
	assert_int_equal(who, pool);
	assert_int_equal(holders("192.0.2.1", 1500, T0, &who), 1);
	assert_int_equal(who, one);
	assert_int_equal(holders("192.0.2.1", -1, T0, &who), 3);
	store_begin(s);
	int suspended = 0;
	struct prefix p = kit_prefix("192.0.2.1");
	assert_int_equal(store_lease_end(s, &p, 2048, T0 + 10, &kit_who, T0 + 10, &suspended), 1);
	assert_int_equal(store_lease_end(s, &p, -1, T0 + 10, &kit_who, T0 + 10, &suspended), 1);
	assert_int_equal(store_lease_end(s, &p, -1, T0 + 10, &kit_who, T0 + 10, &suspended), 0);
	kit_commit(s);
	assert_int_equal(holders("192.0.2.1", 1500, T0 + 10, &who), 1);
	assert_int_equal(who, pool);
}

/* --- exemptions --- */

static struct policy_entry last_entry;
static enum policy_op last_op;
static uint64_t last_version;
static int told;

static void on_policy(uint64_t version, enum policy_op op, const struct policy_entry *e, void *arg)
{
	(void)arg;
	assert_true(version > last_version);
	last_version = version;
	last_op = op;
	last_entry = *e;
	told++;
}

static void watch_policy(void)
{
	static const struct store_hooks h = {.policy = on_policy};
	told = 0;
	last_version = 0;
	store_hooks(s, &h, NULL);
}

static int64_t exempt(const char *prefix, int64_t subscriber, int64_t expires, int64_t now)
{
	struct store_exemption e = {.prefix = kit_prefix(prefix),
				    .class = "full",
				    .subscriber = subscriber,
				    .contract = "K-7",
				    .contact = "",
				    .reason = "",
				    .actor = "unix:root",
				    .starts_ms = now,
				    .expires_ms = expires};
	store_begin(s);
	int64_t id = store_exemption_add(s, &e, now);
	assert_int_equal(told, 0); /* not before the commit */
	kit_commit(s);
	assert_int_equal(told, 1);
	told = 0;
	return id;
}

static struct policy_entry told_entry;

static void count_entry(const struct policy_entry *e, void *arg)
{
	told_entry = *e;
	++*(size_t *)arg;
}

static void test_exemption(void **state)
{
	char text[256];
	size_t n = 0;
	uint64_t version = 0;
	(void)state;
	watch_policy();
	int64_t id = exempt("192.0.2.8/29", 0, 0, T0);
	assert_int_equal(last_op, POLICY_SET);
	assert_int_equal(last_entry.exemption_id, id);
	assert_int_equal(last_entry.expires_ms, 0);
	struct prefix p = kit_prefix("192.0.2.8/29"), q = kit_prefix("192.0.2.8");
	assert_int_equal(store_exemption(s, &p), id);
	assert_int_equal(store_exemption(s, &q), 0);
	store_exemption_text(s, id, text, sizeof text);
	assert_string_equal(text,
			    "192.0.2.8/29 is exempt already (id 1, contract K-7, never expires)");
	kit_put(s, kit_block(T0 + 9, "192.0.2.9", 4, EVENT_PASS));
	kit_put(s, kit_block(T0 + 9, "192.0.3.9", 4, EVENT_PASS)); /* somebody else's */
	assert_int_equal(kit_sql("SELECT packets FROM exemption"), 4);
	assert_int_equal(kit_sql("SELECT last_seen_ms FROM exemption"), T0 + 9);
	assert_true(store_policy_snapshot(s, count_entry, &n, &version));
	assert_int_equal(n, 1);
	assert_int_equal(version, last_version);
	assert_true(prefix_eq(&told_entry.prefix, &p));
	assert_string_equal(told_entry.class, "full");
	n = 0;
	store_begin(s);
	kit_remove_exemption(s, id, T0 + 10);
	kit_commit(s);
	assert_int_equal(last_op, POLICY_DELETE);
	assert_true(store_policy_snapshot(s, count_entry, &n, &version));
	assert_int_equal(n, 0);
}

static void test_rollback_tells_nobody(void **state)
{
	struct store_exemption e = {.prefix = kit_prefix("192.0.2.1"),
				    .class = "full",
				    .contract = "",
				    .contact = "",
				    .reason = "",
				    .actor = "x",
				    .starts_ms = T0};
	(void)state;
	watch_policy();
	uint64_t before = store_policy_version(s);
	store_begin(s);
	store_exemption_add(s, &e, T0);
	store_rollback(s);
	assert_int_equal(told, 0);
	assert_int_equal(store_policy_version(s), before);
}

static void test_expiry(void **state)
{
	(void)state;
	watch_policy();
	exempt("192.0.2.1", 0, T0 + 1000, T0);
	exempt("192.0.2.2", 0, T0 + 5000, T0);
	assert_int_equal(store_exemptions_expire(s, T0 + 999), T0 + 1000);
	assert_int_equal(told, 0);
	assert_int_equal(store_exemptions_expire(s, T0 + 1000), T0 + 5000);
	assert_int_equal(told, 1);
	assert_int_equal(last_op, POLICY_DELETE);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'expired'"), 1);
	assert_int_equal(
	    kit_sql(
		"SELECT count(*) FROM audit WHERE action = 'exempt.expire' AND actor = 'expiry'"),
	    1);
	assert_int_equal(store_exemptions_expire(s, T0 + 5000), 0);
}

/* The customer's line goes to somebody else: the exemption does not go with it. */
static void test_revoked_with_the_lease(void **state)
{
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2");
	(void)state;
	watch_policy();
	kit_lease(s, "192.0.2.0/29", one, T0, 0);
	exempt("192.0.2.1", 0, 0, T0); /* the lease says whose */
	assert_int_equal(kit_sql("SELECT subscriber_id FROM exemption"), one);
	kit_lease(s, "192.0.2.0/29", two, T0 + 1000, 0);
	assert_int_equal(told, 1);
	assert_int_equal(last_op, POLICY_DELETE);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'revoked'"), 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM audit WHERE action = 'exempt.revoke' AND "
				 "object = '192.0.2.1'"),
			 1);
}

/* A part of the line goes to somebody else: an exemption around that part goes as a whole,
 * whoever's lease it came from; one of the new owner's, nobody's and the neighbour's stay. */
static void test_revoked_around_the_lease(void **state)
{
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2");
	(void)state;
	watch_policy();
	kit_lease(s, "192.0.2.0/24", one, T0, 0);
	exempt("192.0.2.0/29", 0, 0, T0);
	exempt("192.0.2.1", two, 0, T0);
	exempt("192.0.2.64/29", 0, 0, T0);
	exempt("198.51.100.0/24", 0, 0, T0); /* nobody's */
	struct store_lease past = {.prefix = kit_prefix("192.0.2.1"),
				   .port_hi = 65535,
				   .subscriber = two,
				   .from_ms = T0 - 2000,
				   .to_ms = T0};
	int ended = 0;
	told = 0;
	store_begin(s);
	store_lease_add(s, &past, &kit_who, T0, &ended); /* takes nothing away now */
	kit_commit(s);
	assert_int_equal(told, 0);
	kit_lease(s, "192.0.2.1", two, T0 + 1000, 0);
	kit_lease(s, "198.51.100.7", two, T0 + 1000, 0);
	assert_int_equal(told, 1);
	assert_int_equal(last_op, POLICY_DELETE);
	assert_int_equal(last_entry.prefix.len, 29);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'active'"), 3);
	told = 0;
	exempt("192.0.2.0/30", one, 0, T0 + 1000); /* an operator may say so all the same ... */
	kit_lease(s, "192.0.2.1", two, T0 + 2000, 0);
	assert_int_equal(told, 0); /* ... and a renewal does not take it back */
}

/* A packet is the exemption's that let it through, though it is told when that has gone. */
static void test_packets_are_the_right_exemption_s(void **state)
{
	(void)state;
	watch_policy();
	exempt("192.0.2.1", 0, 0, T0);
	struct prefix p = kit_prefix("192.0.2.1");
	int64_t first = store_exemption(s, &p);
	store_begin(s);
	kit_remove_exemption(s, first, T0 + 500);
	kit_commit(s);
	told = 0;
	exempt("192.0.2.1", 0, 0, T0 + 600);
	struct event e = kit_block(T0 + 1000, "192.0.2.1", 7, EVENT_PASS);
	e.u.block.first_ms = T0 + 100;
	kit_put(s, e);
	assert_int_equal(kit_sql("SELECT packets FROM exemption WHERE state = 'removed'"), 7);
	e.t_ms = T0 + 2000;
	e.u.block.first_ms = T0 + 1001;
	kit_put(s, e);
	assert_int_equal(kit_sql("SELECT packets FROM exemption WHERE state = 'removed'"), 7);
	assert_int_equal(kit_sql("SELECT packets FROM exemption WHERE state = 'active'"), 7);
}

static void test_shortened_by_a_coming_lease(void **state)
{
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2");
	int ended = 0;
	struct store_lease l = {.prefix = kit_prefix("192.0.2.1"),
				.port_hi = 65535,
				.subscriber = two,
				.from_ms = T0 + 1000};
	(void)state;
	watch_policy();
	kit_lease(s, "192.0.2.1", one, T0, 0);
	exempt("192.0.2.1", one, 0, T0);
	store_begin(s);
	store_lease_add(s, &l, &kit_who, T0, &ended);
	kit_commit(s);
	assert_int_equal(ended, 1);
	assert_int_equal(last_op, POLICY_SET);
	assert_int_equal(last_entry.expires_ms, T0 + 1000);
}

/* --- retention --- */

static char pruned[65];

static void on_pruned(const char *sha256, void *arg)
{
	(void)arg;
	snprintf(pruned, sizeof pruned, "%s", sha256);
}

static void test_prune(void **state)
{
	int64_t one = kit_subscriber(s, "C-1");
	struct store_report r = {.received_ms = T0,
				 .format = "arf",
				 .feedback_type = "abuse",
				 .reporter = "",
				 .match = "none",
				 .token = "",
				 .queue_id = "",
				 .sha256 = "old",
				 .error = "",
				 .fields = "{}",
				 .original_headers = ""};
	(void)state;
	kit_put(s, kit_message(T0, ALICE, "192.0.2.1"));
	kit_put(s, kit_message(T0 + 86400000, ALICE, "192.0.2.1"));
	kit_put(s, kit_block(T0, "192.0.2.7", 1, EVENT_BLOCK));
	kit_put(s, kit_login(T0, ALICE, "192.0.2.7", true));
	kit_put(s, kit_refuse(T0, ALICE));
	kit_put(s, kit_delivery(T0, ALICE, EVENT_BOUNCED));
	kit_lease(s, "192.0.2.1", one, T0, T0 + 1);
	kit_lease(s, "192.0.2.2", one, T0, 0);
	store_begin(s);
	store_report_add(s, &r);
	kit_commit(s);
	while (store_prune(s, T0 + 3600000, 0, on_pruned, NULL))
		;
	assert_string_equal(pruned, "old");
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), 1);
	assert_int_equal(
	    kit_sql("SELECT (SELECT count(*) FROM ev_block) + (SELECT count(*) FROM ev_login) + "
		    "(SELECT count(*) FROM ev_refuse) + (SELECT count(*) FROM ev_delivery) + "
		    "(SELECT count(*) FROM report)"),
	    0);
	assert_int_equal(kit_sql("SELECT count(*) FROM rollup"), 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM account_rollup"), 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM lease"), 1);
}

/* --- names --- */

static int64_t whose(const char *login)
{
	int64_t id = store_account(s, login);
	return id ? store_account_subscriber(s, id) : -1;
}

/* Accounts of other days by spelling: the only one is renamed; a second gives its customer to who
 * has none; two customers stay. */
static void test_accounts_fold(void **state)
{
	(void)state;
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2");
	store_begin(s);
	store_account_put(s, "Only@A.example", one, T0);
	store_account_put(s, "Twice@a.example", one, T0);
	store_account_put(s, "twice@a.example", 0, T0);
	store_account_put(s, "BOTH@a.example", one, T0);
	store_account_put(s, "both@a.example", two, T0);
	store_account_put(s, "small@a.example", two, T0);
	kit_commit(s);
	store_accounts_fold(s, LOGIN_KEEP); /* the realm alone */
	assert_int_equal(whose("Only@a.example"), one);
	assert_int_equal(whose("Twice@a.example"), one);
	for (int again = 0; again < 2; again++) {
		store_accounts_fold(s, LOGIN_LOWER);
		assert_int_equal(whose("only@a.example"), one);
		assert_int_equal(whose("Only@a.example"), -1);
		assert_int_equal(whose("twice@a.example"), one);
		assert_int_equal(whose("both@a.example"), two);
		assert_int_equal(whose("BOTH@a.example"), one);
		assert_int_equal(whose("small@a.example"), two);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	umask(027);
	const struct CMUnitTest tests[] = {
	    T(test_migrations),
	    T(test_newer_is_refused),
	    T(test_not_a_database),
	    T(test_audit_is_not_edited),
	    T(test_batch_once),
	    T(test_begin_flushes),
	    T(test_full),
	    T(test_busy),
	    T(test_rows),
	    T(test_accounts_fold),
	    T(test_lease_half_open),
	    T(test_lease_moves_on),
	    T(test_lease_told_late),
	    T(test_lease_ports),
	    T(test_exemption),
	    T(test_rollback_tells_nobody),
	    T(test_expiry),
	    T(test_revoked_with_the_lease),
	    T(test_revoked_around_the_lease),
	    T(test_packets_are_the_right_exemption_s),
	    T(test_shortened_by_a_coming_lease),
	    T(test_prune),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
