/*
 * spool_sql - what spool.c and spool_read.c share: a list of statements, and one way to run them.
 * Includes sqlite3.h, so only spool*.c may.
 */
#ifndef MSA_QUEUE_SPOOL_SQL_H
#define MSA_QUEUE_SPOOL_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "msa/mail/esmtp.h"

/* How long a statement waits for another process. */
#define SQL_BUSY_MS 5000

/* Open with our pragmas; NULL with *err (malloc'd). */
sqlite3 *sql_open(const char *path, bool write, char **err);
/* Prepare all of sql[n] into st; false with *err (malloc'd). */
bool sql_prepare(sqlite3 *db, const char *const *sql, size_t n, sqlite3_stmt **st, char **err);
void sql_finalize(sqlite3_stmt **st, size_t n);
/* malloc'd "what: database's words". */
char *sql_error(sqlite3 *db, const char *what);

/* Bind in order: 'i' int64_t, 's' text (NULL is ""), 'b' const void * and size_t. A binding that
 * fails shows as SQLITE_MISUSE in the step. */
void sql_bind(sqlite3_stmt *st, const char *types, ...);
/* Step a statement that returns no rows, and reset it. SQLITE_DONE or the error. */
int sql_run(sqlite3_stmt *st);
/* message.flags and back. */
int64_t spool_flags(const struct esmtp_mail *m);
void spool_set_flags(struct esmtp_mail *m, int64_t flags);
const char *sql_text(sqlite3_stmt *st, int column); /* never NULL */

#endif
