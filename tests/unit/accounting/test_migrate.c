/*
 * A database of each earlier version is brought up to date with all that is in it; one that cannot
 * be stays as it was.
 */
#include "kit.h"

extern const char store_schema_0001[], store_schema_0002[], store_schema_0003[],
    store_schema_0004[], store_schema_0005[], store_schema_0006[], store_schema_0007[],
    store_schema_0008[], store_schema_0009[], store_schema_0010[];
static const char *const schemas[] = {store_schema_0001, store_schema_0002, store_schema_0003,
				      store_schema_0004, store_schema_0005, store_schema_0006,
				      store_schema_0007, store_schema_0008, store_schema_0009,
				      store_schema_0010};
#define SCHEMAS ((int)(sizeof schemas / sizeof *schemas))

#define ADDRESS "x'00000000000000000000ffffc0000207'"

/* What the first version could hold. */
static const char rows[] =
    "UPDATE setting SET value = 41;"
    "INSERT INTO subscriber VALUES (1, 'C-1', 'One', 'one@c.example', 1000);"
    "INSERT INTO account VALUES (5, '" ALICE "', 1, 1000);"
    "INSERT INTO lease(id, plen, first, last, subscriber_id, from_ms) VALUES"
    " (7, 32, " ADDRESS ", " ADDRESS ", 1, 1000);"
    "INSERT INTO exemption(id, plen, first, last, class, state, subscriber_id, contract, actor,"
    " created_ms, starts_ms, ended_ms, packets) VALUES"
    " (1, 32, " ADDRESS ", " ADDRESS ", 1, 'removed', 1, 'K-1', 'unix:root', 10, 10, 20, 3),"
    " (2, 32, " ADDRESS ", " ADDRESS ", 2, 'active', 1, 'K-2', 'unix:root', 30, 30, NULL, 4);"
    "INSERT INTO feed_source VALUES ('msad', 'spool-1', 77, 1000);"
    "INSERT INTO ev_block VALUES (0, 1, " ADDRESS ", 12, 2, 1, 2, " ADDRESS ");"
    "INSERT INTO ev_message VALUES (3, 1000, 5, " ADDRESS ", 4000, 's', '" QUEUE_ID "', '" TOKEN
    "', '" ALICE "', '<1@c>', 'a.example', 1, 100, 0);"
    "INSERT INTO ev_delivery VALUES (4, 2000, 5, '" QUEUE_ID
    "', 'b@a.example', '5.1.1', '550 no', 2);"
    "INSERT INTO ev_login VALUES (0, '" ALICE "', " ADDRESS ", 1, 2, 5, 'PLAIN', 's', '');"
    "INSERT INTO incident(id, state, subject_type, subject, account_id, detector, why, severity,"
    " opened_ms, updated_ms) VALUES (9, 'open', 'account', '" ALICE
    "', 5, 'burst', 'much', 'high', 1, 1);"
    "INSERT INTO incident_event VALUES (1, 9, 1, 'ratelimitd', 'opened', 'much');"
    "INSERT INTO report VALUES (1, 1, 'arf', 'abuse', 'r', NULL, NULL, NULL, 'token', 5, 1, 9, "
    "'" TOKEN "', '', 'aa', '', '{}', '');"
    "INSERT INTO operator VALUES ('boss', '$y$', 'admin', 1, 1, NULL);"
    "INSERT INTO session VALUES ('hh', 'boss', '198.51.100.9', 1, 1);"
    "INSERT INTO audit(t_ms, actor, peer, action, object, reason, detail) VALUES"
    " (1, 'a', 'p', 'exempt.add', 'o', 'r', '');";

static struct sql *open_raw(void)
{
	static const char *const none[] = {"SELECT 1"};
	char path[128], *err = NULL;
	snprintf(path, sizeof path, "%s/accounting/control.db", kit_dir);
	struct sql *db = sql_open(path, SQL_WRITER, 0, none, 1, &err);
	if (!db)
		fail_msg("%s", err);
	return db;
}

static void script(struct sql *db, const char *text)
{
	if (!sql_script(db, text))
		fail_msg("%s", sql_error(db));
}

static void run(const char *text)
{
	struct sql *db = open_raw();
	script(db, text);
	sql_close(db);
}

/* The database as version n left it. */
static void make(int n)
{
	char mark[64];
	kit_folder();
	struct sql *db = open_raw();
	script(db, "BEGIN");
	for (int i = 0; i < n; i++) {
		script(db, schemas[i]);
		if (i == 0)
			script(db, rows);
	}
	snprintf(mark, sizeof mark, "PRAGMA user_version = %d", n);
	script(db, mark);
	script(db, "COMMIT");
	sql_close(db);
}

/* Each row in one sentence of SQL: what it is now. */
static void all_is_there(void)
{
	static const struct {
		const char *sql;
		int64_t want;
	} asks[] = {
	    {"SELECT value FROM setting WHERE key = 'policy_version'", 41},
	    {"SELECT id FROM subscriber WHERE ref = 'C-1' AND name = 'One'", 1},
	    {"SELECT subscriber_id FROM account WHERE login = '" ALICE "'", 1},
	    {"SELECT subscriber_id FROM lease WHERE id = 7 AND port_hi = 65535 AND framed = 0", 1},
	    {"SELECT packets FROM exemption WHERE id = 1 AND state = 'removed' AND class = 'full' "
	     "AND ended_ms = 20",
	     3},
	    {"SELECT packets FROM exemption WHERE id = 2 AND state = 'active' AND class = "
	     "'throttled' AND ended_ms IS NULL AND contract = 'K-2'",
	     4},
	    {"SELECT count(*) FROM exemption_event", 3}, /* two began, one ended */
	    {"SELECT last_seq FROM feed_source WHERE program = 'msad'", 77},
	    {"SELECT packets FROM ev_block WHERE plen = 0", 12},
	    {"SELECT account_id FROM ev_message WHERE message_id = '<1@c>'", 5},
	    {"SELECT result FROM ev_delivery WHERE answer = 0 AND server = ''", 2},
	    {"SELECT n FROM ev_login", 2},
	    {"SELECT account_id FROM incident WHERE id = 9 AND state = 'open'", 5},
	    {"SELECT incident_id FROM incident_event", 9},
	    {"SELECT incident_id FROM report", 9},
	    {"SELECT count(*) FROM operator, session USING (user)", 1},
	    {"SELECT count(*) FROM audit", 1},
	    {"SELECT count(*) FROM pragma_foreign_key_check", 0},
	    {"SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'", 0},
	};
	for (size_t i = 0; i < sizeof asks / sizeof *asks; i++)
		if (kit_sql(asks[i].sql) != asks[i].want)
			fail_msg("%s: %lld", asks[i].sql, (long long)kit_sql(asks[i].sql));
}

static void test_from_each_version(void **state)
{
	(void)state;
	for (int n = 1; n <= SCHEMAS; n++) {
		make(n);
		struct store *s = kit_store();
		struct store_exempt x;
		struct prefix p = kit_prefix("192.0.2.7");
		assert_true(store_schema(s) >= SCHEMAS);
		assert_int_equal(kit_sql("PRAGMA user_version"), store_schema(s));
		all_is_there();
		/* And it works. */
		assert_true(store_exempt_of(s, &p, &x));
		assert_int_equal(x.entry.exemption_id, 2);
		kit_put(s, kit_message(T0, ALICE, "192.0.2.7"));
		assert_int_equal(kit_sql("SELECT count(*) FROM ev_message WHERE account_id = 5"),
				 2);
		store_close(s);
		kit_remove();
	}
}

/* Somebody's own table is in the way of the third version: nothing of it is done. */
static void test_cannot(void **state)
{
	char *err = NULL;
	(void)state;
	make(2);
	run("CREATE TABLE radius_restart (mine INTEGER)");
	assert_null(store_open(kit_dir, &err));
	assert_non_null(strstr(err, "schema 3: "));
	assert_non_null(strstr(err, "radius_restart already exists"));
	free(err);
	assert_int_equal(kit_sql("PRAGMA user_version"), 2);
	assert_int_equal(
	    kit_sql("SELECT count(*) FROM pragma_table_info('lease') WHERE name = 'session_id'"),
	    0);
	run("DROP TABLE radius_restart");
	struct store *s = kit_store();
	all_is_there();
	store_close(s);
	kit_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_from_each_version),
	    cmocka_unit_test(test_cannot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
