/*
 * store_sql - the one place where SQLite is called (contract in store_sql.h).
 *
 * Every result of sqlite3_step() is ROW, DONE or an error that sticks, with BUSY and FULL named.
 * SQL functions given to each connection: addr_text(blob), prefix_text(blob, length),
 * addr_mask(blob, length).
 *
 * Trusted with: the database file. Known gaps: a connection has one thread.
 */
#include "accounting/store_sql.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/proc.h"
#include "accounting/store_wal.h"

#define BUSY_MS	       2000
#define PROGRESS_STEPS 4000 /* virtual machine steps between looks at the clock */

struct sql {
	sqlite3 *db;
	struct store_wal *wal; /* of a writer */
	const char *const *text;
	sqlite3_stmt **stmt;
	size_t n;
	int deadline_ms;
	int64_t end_ms; /* monotonic; 0: none */
	int code;	/* the sticky error, SQLITE_OK: none */
	char error[256];
};

struct sql_arg sql_arg_text(const char *s)
{
	if (!s)
		return (struct sql_arg){.type = SQL_NULL};
	return (struct sql_arg){.type = SQL_TEXT, .p = s, .n = strlen(s)};
}

struct sql_arg sql_arg_id(int64_t v)
{
	return (struct sql_arg){.type = v ? SQL_INT : SQL_NULL, .i = v};
}

/* --- errors --- */

static const char *error_words(int code)
{
	switch (code & 0xff) {
	case SQLITE_FULL:
		return "the disk is full";
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return "the database is busy";
	case SQLITE_READONLY:
		return "the database cannot be written";
	case SQLITE_IOERR:
		return "the disk reports an error";
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return "the database is damaged";
	case SQLITE_INTERRUPT:
		return "the question took too long: ask for a shorter time";
	default:
		return NULL;
	}
}

static void set_error(struct sql *db, int code)
{
	const char *words = error_words(code);
	if (db->code != SQLITE_OK)
		return;
	db->code = code;
	if (words)
		snprintf(db->error, sizeof db->error, "%s", words);
	else
		snprintf(db->error, sizeof db->error, "database: %s", sqlite3_errmsg(db->db));
}

const char *sql_error(const struct sql *db)
{
	return db->code == SQLITE_OK ? NULL : db->error;
}

bool sql_error_passes(const struct sql *db)
{
	int c = db->code & 0xff;
	return c == SQLITE_FULL || c == SQLITE_BUSY || c == SQLITE_LOCKED || c == SQLITE_IOERR;
}

void sql_clear(struct sql *db)
{
	db->code = SQLITE_OK;
}

/* --- SQL functions --- */

static bool arg_addr(sqlite3_value *v, struct addr *out)
{
	if (sqlite3_value_type(v) != SQLITE_BLOB || sqlite3_value_bytes(v) != 16)
		return false;
	memcpy(out->b, sqlite3_value_blob(v), 16);
	return true;
}

static void fn_addr_text(sqlite3_context *c, int n, sqlite3_value **v)
{
	struct addr a;
	char buf[ADDR_STRLEN];
	(void)n;
	if (arg_addr(v[0], &a))
		sqlite3_result_text(c, addr_format(&a, buf), -1, SQLITE_TRANSIENT);
}

/* The second argument as a prefix length for a, or -1. */
static int arg_plen(sqlite3_value *v, const struct addr *a)
{
	int len = sqlite3_value_int(v);
	return sqlite3_value_type(v) == SQLITE_INTEGER && len >= 0 &&
		       len <= (addr_is4(a) ? 32 : 128)
		   ? len
		   : -1;
}

static void fn_prefix_text(sqlite3_context *c, int n, sqlite3_value **v)
{
	struct prefix p;
	char buf[PREFIX_STRLEN];
	(void)n;
	if (!arg_addr(v[0], &p.a))
		return;
	int len = arg_plen(v[1], &p.a);
	if (len < 0)
		return;
	p.len = (uint8_t)len;
	sqlite3_result_text(c, prefix_format(&p, buf), -1, SQLITE_TRANSIENT);
}

static void fn_addr_mask(sqlite3_context *c, int n, sqlite3_value **v)
{
	struct addr a, out;
	(void)n;
	if (!arg_addr(v[0], &a))
		return;
	int len = arg_plen(v[1], &a);
	if (len < 0)
		return;
	addr_mask(&a, (uint8_t)len, &out);
	sqlite3_result_blob(c, out.b, 16, SQLITE_TRANSIENT);
}

static int add_functions(sqlite3 *db)
{
	const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
	int rc = sqlite3_create_function_v2(db, "addr_text", 1, flags, NULL, fn_addr_text, NULL,
					    NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_create_function_v2(db, "prefix_text", 2, flags, NULL, fn_prefix_text,
						NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_create_function_v2(db, "addr_mask", 2, flags, NULL, fn_addr_mask, NULL,
						NULL, NULL);
	return rc;
}

/* --- open and close --- */

static int on_progress(void *arg)
{
	struct sql *db = arg;
	return db->end_ms && clock_mono_ms() > db->end_ms;
}

static bool set_up_writer(struct sql *db)
{
	/* PERSIST_WAL: readers without the right to create the -wal and -shm files work while acctd
	 * is away. */
	int persist = 1;
	(void)sqlite3_file_control(db->db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
	return sql_script(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
			      "PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 67108864; "
			      "PRAGMA trusted_schema = OFF; PRAGMA cache_size = -16384;");
}

static bool set_up_reader(struct sql *db)
{
	if (db->deadline_ms)
		sqlite3_progress_handler(db->db, PROGRESS_STEPS, on_progress, db);
	return sql_script(db, "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;");
}

static bool open_db(struct sql *db, const char *path, enum sql_mode mode)
{
	int flags =
	    mode == SQL_WRITER ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
	int rc = sqlite3_open_v2(path, &db->db,
				 flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(db->db, BUSY_MS);
	if (rc == SQLITE_OK)
		rc = add_functions(db->db);
	if (rc != SQLITE_OK) {
		set_error(db, rc);
		return false;
	}
	(void)sqlite3_db_config(db->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	return mode == SQL_WRITER ? set_up_writer(db) : set_up_reader(db);
}

/* Statements that look up every prefix length make a small table for themselves each time. By default
 * SQLite gets 20 pages for it at once, and gives them back to the system: page faults are then half of
 * what such a statement costs. */
static void set_up_library(void)
{
	static bool done;
	if (!done)
		(void)sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
	done = true;
}

struct sql *sql_open(const char *path, enum sql_mode mode, int deadline_ms,
		     const char *const *stmts, size_t n, char **err)
{
	struct sql *db = calloc(1, sizeof *db);
	if (db)
		db->stmt = calloc(n ? n : 1, sizeof(sqlite3_stmt *));
	if (!db || !db->stmt)
		fatal("out of memory");
	set_up_library();
	db->text = stmts;
	db->n = n;
	db->deadline_ms = deadline_ms;
	if (open_db(db, path, mode)) {
		if (mode == SQL_WRITER)
			db->wal = store_wal_start(db->db, path);
		return db;
	}
	if (asprintf(err, "%s: %s", path, db->error) < 0)
		fatal("out of memory");
	sql_close(db);
	return NULL;
}

void sql_close(struct sql *db)
{
	if (!db)
		return;
	for (size_t i = 0; i < db->n; i++)
		(void)sqlite3_finalize(db->stmt[i]);
	store_wal_stop(db->wal);
	(void)sqlite3_close(db->db);
	free(db->stmt);
	free(db);
}

/* --- statements --- */

static sqlite3_stmt *prepared(struct sql *db, int stmt)
{
	bug_on(stmt < 0 || (size_t)stmt >= db->n);
	if (!db->stmt[stmt]) {
		int rc = sqlite3_prepare_v3(db->db, db->text[stmt], -1, SQLITE_PREPARE_PERSISTENT,
					    &db->stmt[stmt], NULL);
		if (rc != SQLITE_OK)
			set_error(db, rc);
	}
	return db->stmt[stmt];
}

bool sql_prepare_all(struct sql *db)
{
	for (size_t i = 0; i < db->n; i++)
		if (!prepared(db, (int)i))
			return false;
	return true;
}

static void start_deadline(struct sql *db)
{
	db->end_ms = db->deadline_ms ? clock_mono_ms() + db->deadline_ms : 0;
}

bool sql_script(struct sql *db, const char *text)
{
	if (db->code != SQLITE_OK)
		return false;
	start_deadline(db);
	int rc = sqlite3_exec(db->db, text, NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		set_error(db, rc);
	return rc == SQLITE_OK;
}

static int bind_one(sqlite3_stmt *s, int i, const struct sql_arg *a)
{
	switch (a->type) {
	case SQL_INT:
		return sqlite3_bind_int64(s, i, a->i);
	case SQL_TEXT:
		return sqlite3_bind_text64(s, i, a->p, a->n, SQLITE_TRANSIENT, SQLITE_UTF8);
	case SQL_BLOB:
		return sqlite3_bind_blob64(s, i, a->n ? a->p : "", a->n, SQLITE_TRANSIENT);
	case SQL_NULL:
	case SQL_END:
		break;
	}
	return sqlite3_bind_null(s, i);
}

static bool step(struct sql *db, sqlite3_stmt *s)
{
	int rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		return true;
	if (rc != SQLITE_DONE)
		set_error(db, rc);
	(void)sqlite3_reset(s);
	return false;
}

bool sql_first_(struct sql *db, int stmt, const struct sql_arg *args)
{
	if (db->code != SQLITE_OK)
		return false;
	sqlite3_stmt *s = prepared(db, stmt);
	if (!s)
		return false;
	(void)sqlite3_reset(s);
	int n = 0;
	for (; args[n].type != SQL_END; n++) {
		int rc = bind_one(s, n + 1, &args[n]);
		if (rc != SQLITE_OK) {
			set_error(db, rc);
			return false;
		}
	}
	bug_on(n != sqlite3_bind_parameter_count(s));
	start_deadline(db);
	return step(db, s);
}

bool sql_next(struct sql *db, int stmt)
{
	return db->code == SQLITE_OK && step(db, db->stmt[stmt]);
}

void sql_end(struct sql *db, int stmt)
{
	if (db->stmt[stmt])
		(void)sqlite3_reset(db->stmt[stmt]);
}

void sql_run_(struct sql *db, int stmt, const struct sql_arg *args)
{
	for (bool row = sql_first_(db, stmt, args); row; row = sql_next(db, stmt))
		;
}

int64_t sql_value_(struct sql *db, int stmt, const struct sql_arg *args)
{
	if (!sql_first_(db, stmt, args))
		return 0;
	int64_t v = sql_int(db, stmt, 0);
	sql_end(db, stmt);
	return v;
}

int64_t sql_int(struct sql *db, int stmt, int col)
{
	return sqlite3_column_int64(db->stmt[stmt], col);
}

const char *sql_text(struct sql *db, int stmt, int col)
{
	const unsigned char *s = sqlite3_column_text(db->stmt[stmt], col);
	return s ? (const char *)s : "";
}

bool sql_is_null(struct sql *db, int stmt, int col)
{
	return sqlite3_column_type(db->stmt[stmt], col) == SQLITE_NULL;
}

void sql_addr(struct sql *db, int stmt, int col, struct addr *out)
{
	const void *p = sqlite3_column_blob(db->stmt[stmt], col);
	if (p && sqlite3_column_bytes(db->stmt[stmt], col) == 16)
		memcpy(out->b, p, 16);
	else
		memset(out, 0, sizeof *out);
}

int64_t sql_changes(struct sql *db)
{
	return sqlite3_changes64(db->db);
}

int64_t sql_rowid(struct sql *db)
{
	return sqlite3_last_insert_rowid(db->db);
}

/* --- JSON --- */

/* Bytes of the valid UTF-8 sequence at s, 0 when there is none (RFC 3629). */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	static const unsigned char lo3[16] = {[0] = 0xa0}, hi3[16] = {[13] = 0x9f};
	unsigned char c = s[0];
	size_t n = c < 0x80		    ? 1
		   : c >= 0xc2 && c <= 0xdf ? 2
		   : (c & 0xf0) == 0xe0	    ? 3
		   : c >= 0xf0 && c <= 0xf4 ? 4
					    : 0;
	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if (n == 3 && (s[1] < lo3[c & 15] || (hi3[c & 15] && s[1] > hi3[c & 15])))
		return 0;
	if (n == 4 && ((c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f)))
		return 0;
	return n;
}

static json_t *mended_text(const char *s, size_t len)
{
	const unsigned char *u = (const unsigned char *)s;
	char *out = malloc(3 * len + 1), *w = out;
	if (!out)
		return NULL;
	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(u + i, len - i);
		memcpy(w, n ? s + i : "\xef\xbf\xbd", n ? n : 3);
		w += n ? n : 3;
		i += n ? n : 1;
	}
	json_t *j = json_stringn_nocheck(out, (size_t)(w - out));
	free(out);
	return j;
}

json_t *sql_json_text(const char *s, size_t len)
{
	json_t *j = json_stringn(s, len);
	return j ? j : mended_text(s, len);
}

static json_t *column_json(sqlite3_stmt *s, int col, char kind)
{
	const char *text;
	json_t *j;
	if (kind == '?')
		return json_boolean(sqlite3_column_int64(s, col) != 0);
	switch (sqlite3_column_type(s, col)) {
	case SQLITE_INTEGER:
		return json_integer(sqlite3_column_int64(s, col));
	case SQLITE_FLOAT:
		return json_real(sqlite3_column_double(s, col));
	case SQLITE_TEXT:
		text = (const char *)sqlite3_column_text(s, col);
		if (!text)
			return NULL;
		if (kind != '=')
			return sql_json_text(text, (size_t)sqlite3_column_bytes(s, col));
		j = json_loads(text, JSON_DECODE_ANY, NULL);
		return j ? j : json_null();
	default:
		return json_null();
	}
}

static json_t *row_json(sqlite3_stmt *s)
{
	json_t *row = json_object();
	for (int i = 0; i < sqlite3_column_count(s); i++) {
		const char *name = sqlite3_column_name(s, i);
		char kind = name && (name[0] == '?' || name[0] == '=') ? name[0] : '\0';
		if (!name || json_object_set_new(row, kind ? name + 1 : name,
						 column_json(s, i, kind)) != 0) {
			json_decref(row);
			return NULL;
		}
	}
	return row;
}

json_t *sql_list_(struct sql *db, int stmt, const struct sql_arg *args)
{
	json_t *list = json_array();
	for (bool row = sql_first_(db, stmt, args); row; row = sql_next(db, stmt))
		if (json_array_append_new(list, row_json(db->stmt[stmt])) != 0)
			set_error(db, SQLITE_NOMEM);
	if (db->code == SQLITE_OK)
		return list;
	json_decref(list);
	return NULL;
}

json_t *sql_object_(struct sql *db, int stmt, const struct sql_arg *args)
{
	json_t *row = NULL;
	if (sql_first_(db, stmt, args)) {
		row = row_json(db->stmt[stmt]);
		sql_end(db, stmt);
		if (!row)
			set_error(db, SQLITE_NOMEM);
	}
	return row;
}
