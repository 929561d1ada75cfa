/*
 * spool_sql - running statements.
 *
 * Purpose: every step is checked against DONE or ROW, every statement is reset, whatever happens.
 * Trusted with: the spool file. Diagnostics: SQLite's own words. Known gaps: none.
 */
#include <stdarg.h>
#include <stdio.h>

#include "msa/queue/spool_sql.h"

char *sql_error(sqlite3 *db, const char *what)
{
	char *s;

	return asprintf(&s, "%s: %s", what, db ? sqlite3_errmsg(db) : "out of memory") < 0 ? NULL
											   : s;
}

/*
 * A reader needs the right to write too, in SQLite's sense: in WAL mode it writes its read mark
 * into the shared index; query_only keeps it from anything more.
 */
static const char *const write_pragmas =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; "
    "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000; PRAGMA foreign_keys=OFF;";
static const char *const read_pragmas =
    "PRAGMA query_only=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-4000;";

sqlite3 *sql_open(const char *path, bool write, char **err)
{
	int flags = SQLITE_OPEN_NOMUTEX |
		    (write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK ||
	    sqlite3_busy_timeout(db, SQL_BUSY_MS) != SQLITE_OK ||
	    sqlite3_extended_result_codes(db, 1) != SQLITE_OK ||
	    (write && sqlite3_exec(db, "PRAGMA page_size=8192; PRAGMA auto_vacuum=INCREMENTAL;",
				   NULL, NULL, NULL) != SQLITE_OK) ||
	    sqlite3_exec(db, write ? write_pragmas : read_pragmas, NULL, NULL, NULL) != SQLITE_OK) {
		*err = sql_error(db, path);
		sqlite3_close(db);
		return NULL;
	}
	return db;
}

bool sql_prepare(sqlite3 *db, const char *const *sql, size_t n, sqlite3_stmt **st, char **err)
{
	for (size_t i = 0; i < n; i++) {
		if (sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &st[i], NULL) !=
		    SQLITE_OK) {
			*err = sql_error(db, sql[i]);
			return false;
		}
	}
	return true;
}

void sql_finalize(sqlite3_stmt **st, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sqlite3_finalize(st[i]);
		st[i] = NULL;
	}
}

void sql_bind(sqlite3_stmt *st, const char *types, ...)
{
	va_list ap;
	int rc = SQLITE_OK;

	va_start(ap, types);
	for (int i = 1; types[i - 1]; i++) {
		int r;
		if (types[i - 1] == 'i') {
			r = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
		} else if (types[i - 1] == 's') {
			const char *s = va_arg(ap, const char *);
			r = sqlite3_bind_text(st, i, s ? s : "", -1, SQLITE_STATIC);
		} else {
			const void *p = va_arg(ap, const void *);
			size_t n = va_arg(ap, size_t);
			r = sqlite3_bind_blob64(st, i, n ? p : "", n, SQLITE_STATIC);
		}
		rc = r != SQLITE_OK ? r : rc;
	}
	va_end(ap);
	/* NOT NULL columns turn a binding that failed into an error of the step. */
	if (rc != SQLITE_OK)
		sqlite3_clear_bindings(st);
}

int sql_run(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	/* The texts bound belong to the caller; nothing may point to them afterwards. */
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc;
}

enum { FLAG_SMTPUTF8 = 1, FLAG_REQUIRETLS = 2 };

int64_t spool_flags(const struct esmtp_mail *m)
{
	return (m->smtputf8 ? FLAG_SMTPUTF8 : 0) | (m->requiretls ? FLAG_REQUIRETLS : 0);
}

void spool_set_flags(struct esmtp_mail *m, int64_t flags)
{
	m->smtputf8 = flags & FLAG_SMTPUTF8;
	m->requiretls = flags & FLAG_REQUIRETLS;
}

const char *sql_text(sqlite3_stmt *st, int column)
{
	const char *s = (const char *)sqlite3_column_text(st, column);

	return s ? s : "";
}
