/*
 * query_plan: how the database finds what the pages and sekishoctl ask for, by EXPLAIN QUERY PLAN
 * of every statement of the readers, as SQLite plans it for many rows. A statement that goes
 * through a whole table of those that grow must be named here, with the reason why it may.
 */
#include "kit.h"

#include "accounting/query_stmts.h"
#include "accounting/store_sql.h"

static const char *const names[] = {
#define X(name, sql) #name,
    QUERY_STATEMENTS(X)
#undef X
};
static const char *const plans[] = {
#define X(name, sql) "EXPLAIN QUERY PLAN " sql,
    QUERY_STATEMENTS(X)
#undef X
};
enum { N = sizeof(names) / sizeof(*names) };

/* The tables that grow with subscribers, with mail and with time, by the names the statements give
 * them. */
static const char *const big[] = {"subscriber", "account",     "lease",	   "exemption", "incident",
				  "report",	"ev_message",  "ev_block", "ev_login",	"audit",
				  "alert",	"ev_delivery", "rollup",   "s",		"a",
				  "l",		"e",	       "i",	   "r",		"m",
				  "d",		"o",	       "b",	   "alert_send"};

static const struct {
	const char *stmt, *table, *why;
} may[] = {
    {"Q_EXEMPTIONS", "e", "newest first, to the limit; filtered by what people type"},
    {"Q_INCIDENTS", "i", "newest first, to the limit; filtered by what people type"},
    {"Q_REPORTS", "r", "newest first, to the limit; filtered by what people type"},
    {"Q_ALERTS", "o", "newest first, to the limit; filtered by what people type"},
    {"Q_LEASES", "l", "newest first, to the limit"},
    {"Q_AUDIT", "audit", "newest first, to the limit; a part of a word"},
    {"Q_SUBSCRIBERS", "s", "newest first, to the limit"},
    {"Q_SUBSCRIBERS_NAMED", "s", "a part of a name: no index can know"},
    {"Q_OVERVIEW", "exemption", "a count of all, once on the overview"},
    {"Q_OVERVIEW", "alert_send", "what waits, by its partial index"},
    {"Q_NAV", "alert_send", "what waits, by its partial index"},
    {"Q_TOP_LINES", "l", "the few leases of an address, found by index before"},
    {"Q_TOP_LINES", "m", "the few leases of an address, found by index before"},
    {"Q_WHO", "l", "the few leases of an address, found by index before"},
    {"Q_WHO", "m", "the few leases of an address, found by index before"},
    {"Q_TOP_LINES", "ev_block", "all sources of the window are summed"},
};

static bool is_big(const char *table)
{
	for (size_t i = 0; i < sizeof(big) / sizeof(*big); i++)
		if (strcmp(big[i], table) == 0)
			return true;
	return false;
}

static bool may_scan(const char *stmt, const char *table)
{
	for (size_t i = 0; i < sizeof(may) / sizeof(*may); i++)
		if (strcmp(may[i].stmt, stmt) == 0 && strcmp(may[i].table, table) == 0)
			return true;
	return false;
}

/* "SCAN m USING INDEX ..." and "SCAN m": the table; NULL when the line is no scan. */
static const char *scanned(const char *detail, char out[static 64])
{
	if (strncmp(detail, "SCAN ", 5) != 0)
		return NULL;
	snprintf(out, 64, "%.*s", (int)strcspn(detail + 5, " "), detail + 5);
	return out;
}

/* Newest first must come out of the index, not out of a sort of everything. */
static bool sorts(const char *stmt, const char *detail)
{
	static const char *const lists[] = {"Q_EXEMPTIONS", "Q_INCIDENTS", "Q_REPORTS",
					    "Q_ALERTS",	    "Q_LEASES",	   "Q_AUDIT",
					    "Q_MESSAGES",   "Q_DELIVERIES"};
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		if (strcmp(lists[i], stmt) == 0)
			return strcmp(detail, "USE TEMP B-TREE FOR ORDER BY") == 0;
	return false;
}

/* As many NULLs as the statement has parameters. */
static const struct sql_arg *no_args(const char *text, struct sql_arg out[static 32])
{
	long n = 0;
	for (const char *p = strchr(text, '?'); p; p = strchr(p + 1, '?')) {
		long k = strtol(p + 1, NULL, 10);
		n = k > n ? k : n;
	}
	assert_true(n < 32);
	for (long i = 0; i < n; i++)
		out[i] = (struct sql_arg){.type = SQL_NULL};
	out[n] = (struct sql_arg){.type = SQL_END};
	return out;
}

static void test_no_statement_reads_a_whole_table(void **state)
{
	struct sql_arg args[32];
	char path[128], table[64], *err = NULL;
	int bad = 0;
	(void)state;
	snprintf(path, sizeof path, "%s/accounting/control.db", kit_dir);
	struct sql *db = sql_open(path, SQL_READER, 2000, plans, N, &err);
	assert_non_null(db);
	for (int i = 0; i < N; i++) {
		size_t n;
		json_t *row, *rows = sql_list_(db, i, no_args(plans[i], args));
		if (!rows)
			fail_msg("%s: %s", names[i], sql_error(db));
		assert_true(json_array_size(rows) > 0);
		json_array_foreach (rows, n, row) {
			const char *detail = json_string_value(json_object_get(row, "detail"));
			const char *scan = scanned(detail, table);
			print_message("# %-22s %s\n", names[i], detail);
			if ((!scan || !is_big(scan) || may_scan(names[i], scan)) &&
			    !sorts(names[i], detail))
				continue;
			print_message("# not ok: %s: %s\n", names[i], detail);
			bad++;
		}
		json_decref(rows);
	}
	sql_close(db);
	assert_int_equal(bad, 0);
}

int main(void)
{
	kit_folder();
	store_close(kit_store());
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_no_statement_reads_a_whole_table),
	};
	int bad = cmocka_run_group_tests(tests, NULL, NULL);
	kit_remove();
	return bad;
}
