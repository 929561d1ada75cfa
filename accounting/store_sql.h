/*
 * store_sql - SQLite as the store and the queries use it: a fixed list of statements, typed
 * arguments, one sticky error.
 *
 * A statement is a number in the caller's own table. Errors stick: after the first one every call
 * does nothing and says "no row", until the transaction is ended, so that a function of ten
 * statements is tested once, at its commit.
 */
#ifndef ACCOUNTING_STORE_SQL_H
#define ACCOUNTING_STORE_SQL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

struct sql;

struct sql_arg {
	enum { SQL_END = 0, SQL_NULL, SQL_INT, SQL_TEXT, SQL_BLOB } type;
	int64_t i;
	const void *p;
	size_t n;
};

#define QI(v)                                                                                      \
	{                                                                                          \
		.type = SQL_INT, .i = (int64_t)(v)                                                 \
	}
#define QS(v) sql_arg_text(v) /* NULL: SQL NULL */
#define QB(ptr, len)                                                                               \
	{                                                                                          \
		.type = SQL_BLOB, .p = (ptr), .n = (len)                                           \
	}
#define QA(a)                                                                                      \
	{                                                                                          \
		.type = SQL_BLOB, .p = (a)->b, .n = 16                                             \
	}
#define QZ(v)	      sql_arg_id(v) /* 0: SQL NULL */
#define SQL_ARGS(...) ((const struct sql_arg[]){__VA_ARGS__ __VA_OPT__(, ){.type = SQL_END}})

struct sql_arg sql_arg_text(const char *s);
struct sql_arg sql_arg_id(int64_t v);

enum sql_mode { SQL_WRITER, SQL_READER };

/*
 * Open path. Writer: creates it (0640), WAL, synchronous FULL, foreign keys. Reader: read-only,
 * query_only; each statement is interrupted after deadline_ms (0: none). stmts is the caller's
 * static table. NULL with *err (malloc'd).
 */
struct sql *sql_open(const char *path, enum sql_mode mode, int deadline_ms,
		     const char *const *stmts, size_t n, char **err);
void sql_close(struct sql *db);
/* Prepares every statement of the table: false when one does not fit the schema. */
bool sql_prepare_all(struct sql *db);

/* The sticky error: NULL when there is none. Static or database text, valid until the next call. */
const char *sql_error(const struct sql *db);
/* True when the sticky error is a full disk or a busy database: try again later. */
bool sql_error_passes(const struct sql *db);
void sql_clear(struct sql *db);

/* Run several statements of text, without arguments (migrations, BEGIN). */
bool sql_script(struct sql *db, const char *text);

/* Bind and step: true when there is a row. sql_next() goes on; sql_end() lets the statement go
 * before its last row. */
#define sql_first(db, stmt, ...) sql_first_((db), (stmt), SQL_ARGS(__VA_ARGS__))
bool sql_first_(struct sql *db, int stmt, const struct sql_arg *args);
bool sql_next(struct sql *db, int stmt);
void sql_end(struct sql *db, int stmt);
/* To the end, rows ignored. */
#define sql_run(db, stmt, ...) sql_run_((db), (stmt), SQL_ARGS(__VA_ARGS__))
void sql_run_(struct sql *db, int stmt, const struct sql_arg *args);
/* The first column of the first row, 0 when there is none. */
#define sql_value(db, stmt, ...) sql_value_((db), (stmt), SQL_ARGS(__VA_ARGS__))
int64_t sql_value_(struct sql *db, int stmt, const struct sql_arg *args);

/* Of the current row; columns count from 0. Text is never NULL and valid until the statement goes
 * on. */
int64_t sql_int(struct sql *db, int stmt, int col);
const char *sql_text(struct sql *db, int stmt, int col);
bool sql_is_null(struct sql *db, int stmt, int col);
void sql_addr(struct sql *db, int stmt, int col, struct addr *out); /* zeros when it is none */

int64_t sql_changes(struct sql *db); /* rows changed by the last statement */
int64_t sql_rowid(struct sql *db);   /* of the last insert */

/*
 * Rows as JSON, keys from the column names. A name that starts with '?' is a boolean, with '=' JSON
 * text to be parsed; text that is not UTF-8 is mended with U+FFFD. NULL on error.
 */
#define sql_list(db, stmt, ...) sql_list_((db), (stmt), SQL_ARGS(__VA_ARGS__))
json_t *sql_list_(struct sql *db, int stmt, const struct sql_arg *args);
/* The first row as an object; NULL on error and when there is none (then without sql_error()). */
#define sql_object(db, stmt, ...) sql_object_((db), (stmt), SQL_ARGS(__VA_ARGS__))
json_t *sql_object_(struct sql *db, int stmt, const struct sql_arg *args);

/* Foreign text as a JSON string, mended. */
json_t *sql_json_text(const char *s, size_t len);

/* The prefix lengths of leases: an address costs one look-up for each. */
#define LEASE_LENGTHS                                                                              \
	"WITH RECURSIVE len(n) AS (SELECT min(plen) FROM lease UNION ALL "                         \
	"SELECT (SELECT min(plen) FROM lease WHERE plen > n) FROM len WHERE n IS NOT NULL) "

/* holding: the leases in force at t that say whose address and port (below 0: any) it is. Where one
 * is inside another, the narrower one says it. */
#define HOLDING_LEASES(addr, port, t)                                                              \
	LEASE_LENGTHS ", hit AS (SELECT l.* FROM len JOIN lease l ON l.plen = len.n AND l.first "  \
		      "= addr_mask(" addr ", len.n) WHERE l.from_ms <= " t                         \
		      " AND (l.to_ms IS NULL OR l.to_ms > " t ") AND (" port                       \
		      " < 0 OR (l.port_lo <= " port " AND l.port_hi >= " port ")))"                \
		      ", holding AS (SELECT * FROM hit l WHERE NOT EXISTS (SELECT 1 FROM hit m "   \
		      "WHERE m.plen > l.plen AND (" port                                           \
		      " >= 0 OR (m.port_lo <= l.port_lo AND m.port_hi >= l.port_hi)))) "

#endif
