/*
 * spool - the writing side of the queue on disk.
 *
 * Purpose: messages, recipients, holds and the event outbox change together, in transactions that
 * are synced before anybody is told. Trusted with: <state_dir>/msa/spool.db. Diagnostics: enum
 * queue_result and spool_why(). Known gaps: none of the body is compressed; freed pages are reused
 * but the file does not shrink.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/proc.h"

#include "msa/queue/spool_int.h"

#define CHECKPOINT_PAGES 2000	    /* of 8 KB in the WAL */
#define RESERVE_MAX	 (24 << 20) /* more than the WAL between two checkpoints */
#define RESERVE_MIN	 (256 << 10)
#define SPARE_PAGES	 2048 /* 16 MB: kept for the next messages */
#define SHRINK_PAGES	 512  /* at a time */

/* Each step once; a change of the schema is a new step at the end. */
static const char step_1[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE message("
    " key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, mail_from TEXT NOT "
    "NULL, mail_from_out TEXT NOT NULL,"
    " size INTEGER NOT NULL, body_8bit INTEGER NOT NULL, received_ms INTEGER NOT NULL, "
    "life_from_ms INTEGER NOT NULL,"
    " next_ms INTEGER NOT NULL, attempts INTEGER NOT NULL, hold INTEGER NOT NULL, last_reply TEXT "
    "NOT NULL,"
    " src BLOB NOT NULL, src_port INTEGER NOT NULL) STRICT;"
    "CREATE TABLE recipient("
    " message INTEGER NOT NULL, idx INTEGER NOT NULL, address TEXT NOT NULL, state INTEGER NOT "
    "NULL, status TEXT NOT NULL,"
    " reply TEXT NOT NULL, PRIMARY KEY(message, idx)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE body(message INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;"
    "CREATE TABLE outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER NOT NULL, records BLOB "
    "NOT NULL) STRICT;"
    "CREATE TABLE account_hold(account TEXT PRIMARY KEY, why TEXT NOT NULL) STRICT, WITHOUT ROWID;";
/* What MAIL and RCPT said; flags: FLAG_*. */
static const char step_2[] = "ALTER TABLE message RENAME COLUMN body_8bit TO body;"
			     "ALTER TABLE message ADD COLUMN flags INTEGER NOT NULL DEFAULT 0;"
			     "ALTER TABLE message ADD COLUMN ret INTEGER NOT NULL DEFAULT 0;"
			     "ALTER TABLE message ADD COLUMN envid TEXT NOT NULL DEFAULT '';"
			     "ALTER TABLE recipient ADD COLUMN notify INTEGER NOT NULL DEFAULT 0;"
			     "ALTER TABLE recipient ADD COLUMN orcpt TEXT NOT NULL DEFAULT '';";
static const char *const migrations[] = {step_1, step_2};
#define VERSION ((int)(sizeof(migrations) / sizeof(migrations[0])))

static const char *const sql[Q_N] = {
    [Q_BEGIN] = "BEGIN IMMEDIATE",
    [Q_COMMIT] = "COMMIT",
    [Q_ROLLBACK] = "ROLLBACK",
    [Q_ADD_MESSAGE] = ("INSERT INTO "
		       "message(key,id,account,mail_from,mail_from_out,size,body,received_ms,"
		       "life_from_ms,next_ms,"
		       "hold,src,src_port,attempts,last_reply,flags,ret,envid) "
		       "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?8,?8,?9,?10,?11,0,'',?12,?13,?14)"),
    [Q_ADD_RECIPIENT] = "INSERT INTO recipient(message,idx,address,state,status,reply,notify,"
			"orcpt) VALUES(?,?,?,0,'','',?,?)",
    [Q_ADD_BODY] = "INSERT INTO body(message,data) VALUES(?,?)",
    [Q_ADD_OUTBOX] = "INSERT INTO outbox(n,records) VALUES(?,?)",
    [Q_GET_MESSAGE] =
	"SELECT id,account,mail_from,attempts,next_ms,received_ms,life_from_ms,src,src_port,"
	"size,body,flags,ret,envid FROM message WHERE key=?",
    [Q_DONE_RECIPIENT] = "UPDATE recipient SET state=?3,status=?4,reply=?5 WHERE message=?1 AND "
			 "idx=?2 AND state<2 RETURNING address,notify,orcpt",
    [Q_DEFER_RECIPIENT] = "UPDATE recipient SET state=?3,status=?4,reply=?5 WHERE message=?1 AND "
			  "idx=?2 AND state=0 RETURNING address,notify,orcpt",
    [Q_WAITING] =
	"SELECT idx FROM recipient WHERE message=? AND state<2 AND idx>=? ORDER BY idx LIMIT 1",
    [Q_COUNT] = "SELECT count(*) FILTER (WHERE state=0), count(*) FILTER (WHERE state=1) FROM "
		"recipient WHERE message=?",
    [Q_NEW_ROUND] = "UPDATE recipient SET state=0 WHERE message=? AND state=1",
    [Q_DELAY_TOLD] = "UPDATE recipient SET notify=?3 WHERE message=?1 AND idx=?2",
    [Q_SET_MESSAGE] = "UPDATE message SET next_ms=?2,attempts=?3,last_reply=CASE WHEN ?4='' THEN "
		      "last_reply ELSE ?4 END WHERE key=?1",
    [Q_HEADERS] = "SELECT substr(data,1,?2) FROM body WHERE message=?1",
    [Q_DEL_MESSAGE] = "DELETE FROM message WHERE key=?",
    [Q_DEL_RECIPIENTS] = "DELETE FROM recipient WHERE message=?",
    [Q_DEL_BODY] = "DELETE FROM body WHERE message=?",
    [Q_HOLD] = "INSERT INTO account_hold(account,why) VALUES(?,?) ON CONFLICT(account) DO UPDATE "
	       "SET why=excluded.why",
    [Q_RELEASE] = "DELETE FROM account_hold WHERE account=?",
    [Q_UPDATE_HOLD] = "UPDATE message SET hold=?2 WHERE key=?1",
    [Q_UPDATE_TIMES] = "UPDATE message SET hold=?2,next_ms=?3,life_from_ms=CASE WHEN ?4<0 THEN "
		       "life_from_ms ELSE ?4 END WHERE key=?1",
    [Q_FORGET] = "DELETE FROM outbox WHERE seq<=?",
    [Q_LOAD] = "SELECT key,id,account,size,received_ms,life_from_ms,next_ms,attempts,hold FROM "
	       "message ORDER BY key",
    [Q_LOAD_HOLDS] = "SELECT account,why FROM account_hold ORDER BY account",
};

/* --- results --------------------------------------------------------------------------- */

enum queue_result spool_failed(struct spool *s, int rc)
{
	snprintf(s->why, sizeof(s->why), "%s", sqlite3_errmsg(s->db));
	/* A quota and a file size limit come as a write that failed. */
	return rc == SQLITE_FULL || rc == SQLITE_IOERR_WRITE ? QUEUE_FULL : QUEUE_ERROR;
}

enum queue_result spool_run(struct spool *s, int q)
{
	int rc = sql_run(s->st[q]);

	return rc == SQLITE_DONE ? QUEUE_OK : spool_failed(s, rc);
}

const char *spool_why(const struct spool *s)
{
	return s->why;
}

const char *spool_instance(const struct spool *s)
{
	return s->instance;
}

uint64_t spool_outbox_last(const struct spool *s)
{
	return s->outbox_last;
}

/* --- opening --------------------------------------------------------------------------- */

static int64_t one_int(sqlite3 *db, const char *q)
{
	sqlite3_stmt *st = NULL;
	int64_t v = -1;

	if (sqlite3_prepare_v2(db, q, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

static bool migrate(sqlite3 *db, const char *path, char **err)
{
	int64_t v = one_int(db, "PRAGMA user_version");

	if (v < 0 || v > VERSION) {
		if (asprintf(err,
			     "%s was made by a newer version of sekisho-msad: install that version "
			     "again",
			     path) < 0)
			*err = NULL;
		return false;
	}
	for (; v < VERSION; v++) {
		char *script =
		    sqlite3_mprintf("BEGIN IMMEDIATE; %s PRAGMA user_version=%d; COMMIT;",
				    migrations[v], (int)v + 1);
		int rc = script ? sqlite3_exec(db, script, NULL, NULL, NULL) : SQLITE_NOMEM;
		sqlite3_free(script);
		if (rc != SQLITE_OK) {
			*err = sql_error(db, path);
			return false;
		}
	}
	return true;
}

/* The life of the outbox numbering: made once with the file. */
static bool instance(struct spool *s, const char *path, char **err)
{
	uint8_t b[8];
	char hex[17], *q;
	sqlite3_stmt *st = NULL;

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		bug("getrandom failed");
	for (size_t i = 0; i < sizeof(b); i++)
		snprintf(hex + 2 * i, 3, "%02x", b[i]);
	q = sqlite3_mprintf(
	    "INSERT INTO meta(key,value) VALUES('instance','%s') ON CONFLICT DO NOTHING", hex);
	bool ok = q && sqlite3_exec(s->db, q, NULL, NULL, NULL) == SQLITE_OK &&
		  sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key='instance'", -1, &st,
				     NULL) == SQLITE_OK &&
		  sqlite3_step(st) == SQLITE_ROW;
	if (ok)
		snprintf(s->instance, sizeof(s->instance), "%s", sql_text(st, 0));
	else
		*err = sql_error(s->db, path);
	sqlite3_finalize(st);
	sqlite3_free(q);
	return ok;
}

static int count_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
	(void)db;
	(void)name;
	((struct spool *)arg)->wal_pages = pages;
	return SQLITE_OK;
}

static bool attach(struct spool *s, const char *path, char **err)
{
	s->db = sql_open(path, true, err);
	return s->db && migrate(s->db, path, err) && instance(s, path, err);
}

struct spool *spool_open(const char *path, const struct dsn_host *host, char **err)
{
	struct spool *s = talloc_zero(NULL, struct spool);

	if (!s)
		fatal("out of memory");
	s->host.hostname = s->own.hostname = talloc_strdup(s, host->hostname);
	s->host.postmaster = s->own.postmaster = talloc_strdup(s, host->postmaster);
	s->host.smarthost = s->own.smarthost = talloc_strdup(s, host->smarthost);
	s->reserve = talloc_asprintf(s, "%s.reserve", path);
	if (!s->reserve)
		fatal("out of memory");
	/* SQLite's own files need some room: on a full disk, that of the reserve. */
	bool ok = attach(s, path, err);
	if (!ok && unlink(s->reserve) == 0) {
		sqlite3_close(s->db);
		free(*err);
		ok = attach(s, path, err);
	}
	if (!ok || !sql_prepare(s->db, sql, Q_N, s->st, err)) {
		spool_close(s);
		return NULL;
	}
	sqlite3_wal_hook(s->db, count_wal, s);
	int64_t last = one_int(s->db, "SELECT ifnull(max(seq),0) FROM outbox");
	s->outbox_last = last > 0 ? (uint64_t)last : 0;
	(void)spool_reserve_keep(s);
	return s;
}

void spool_close(struct spool *s)
{
	if (!s)
		return;
	sql_finalize(s->st, Q_N);
	if (s->db && sqlite3_close(s->db) != SQLITE_OK)
		bug("the spool is closed with a statement left: %s", sqlite3_errmsg(s->db));
	talloc_free(s);
}

static void load_row(sqlite3_stmt *st, struct spool_row *r)
{
	*r = (struct spool_row){
	    .key = sqlite3_column_int64(st, 0),
	    .account = sql_text(st, 2),
	    .size = (uint64_t)sqlite3_column_int64(st, 3),
	    .received_ms = sqlite3_column_int64(st, 4),
	    .life_from_ms = sqlite3_column_int64(st, 5),
	    .next_ms = sqlite3_column_int64(st, 6),
	    .attempts = (uint32_t)sqlite3_column_int64(st, 7),
	    .hold = (uint8_t)sqlite3_column_int64(st, 8),
	};
	snprintf(r->id, sizeof(r->id), "%s", sql_text(st, 1));
}

bool spool_load(struct spool *s, void (*message)(const struct spool_row *r, void *arg),
		void (*hold)(const char *account, const char *why, void *arg), void *arg,
		char **err)
{
	struct spool_row r;
	int rc;

	while ((rc = sqlite3_step(s->st[Q_LOAD])) == SQLITE_ROW) {
		load_row(s->st[Q_LOAD], &r);
		if (!queue_id_valid(r.id))
			bug("the spool holds a message without a proper id");
		message(&r, arg);
	}
	if (rc == SQLITE_DONE)
		while ((rc = sqlite3_step(s->st[Q_LOAD_HOLDS])) == SQLITE_ROW)
			hold(sql_text(s->st[Q_LOAD_HOLDS], 0), sql_text(s->st[Q_LOAD_HOLDS], 1),
			     arg);
	if (rc != SQLITE_DONE)
		*err = sql_error(s->db, "reading the spool");
	sqlite3_reset(s->st[Q_LOAD]);
	sqlite3_reset(s->st[Q_LOAD_HOLDS]);
	return rc == SQLITE_DONE;
}

/* --- transactions ---------------------------------------------------------------------- */

enum queue_result spool_begin(struct spool *s)
{
	s->records_len = 0;
	s->records_n = 0;
	s->outbox_row = s->outbox_last;
	return spool_run(s, Q_BEGIN);
}

static enum queue_result flush_records(struct spool *s)
{
	if (!s->records_n)
		return QUEUE_OK;
	sql_bind(s->st[Q_ADD_OUTBOX], "ib", (int64_t)s->records_n, s->records, s->records_len);
	enum queue_result r = spool_run(s, Q_ADD_OUTBOX);
	s->outbox_row = (uint64_t)sqlite3_last_insert_rowid(s->db);
	s->records_len = 0;
	s->records_n = 0;
	return r;
}

enum queue_result spool_commit(struct spool *s)
{
	enum queue_result r = flush_records(s);

	if (r == QUEUE_OK)
		r = spool_run(s, Q_COMMIT);
	if (r == QUEUE_OK)
		s->outbox_last = s->outbox_row;
	return r;
}

void spool_rollback(struct spool *s)
{
	/* Some errors have rolled back already (sqlite3_get_autocommit). */
	if (!sqlite3_get_autocommit(s->db))
		(void)sql_run(s->st[Q_ROLLBACK]);
}

void spool_checkpoint(struct spool *s, bool anyway)
{
	if (s->wal_pages < CHECKPOINT_PAGES && !anyway)
		return;
	/* A failure leaves everything in the WAL, where it is safe; the next commit tries again. */
	if (sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) ==
	    SQLITE_OK)
		s->wal_pages = 0;
}

/* The WAL keeps its size otherwise. Not while somebody reads: nobody shall wait for this. */
static void truncate_wal(struct spool *s)
{
	(void)sqlite3_busy_timeout(s->db, 0);
	(void)sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	(void)sqlite3_busy_timeout(s->db, SQL_BUSY_MS);
}

bool spool_shrink(struct spool *s, bool tight)
{
	char *q;
	int64_t spare = one_int(s->db, "PRAGMA freelist_count") - (tight ? 0 : SPARE_PAGES);

	if (spare <= 0) {
		if (tight)
			truncate_wal(s);
		return false;
	}
	q = sqlite3_mprintf("PRAGMA incremental_vacuum(%d)",
			    spare < SHRINK_PAGES ? (int)spare : SHRINK_PAGES);
	bool ok = q && sqlite3_exec(s->db, q, NULL, NULL, NULL) == SQLITE_OK;
	sqlite3_free(q);
	spool_checkpoint(s, true); /* this is what makes the file shorter */
	return ok;
}

/* A small disk gets a small reserve. */
bool spool_reserve_keep(struct spool *s)
{
	int fd;
	off_t size = RESERVE_MAX;

	if (s->reserve_size)
		return true;
	fd = open(s->reserve, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return false;
	while (size >= RESERVE_MIN && posix_fallocate(fd, 0, size) != 0)
		size /= 2;
	if (size >= RESERVE_MIN)
		s->reserve_size = size;
	else
		(void)unlink(s->reserve);
	close(fd);
	return s->reserve_size > 0;
}

bool spool_reserve_use(struct spool *s)
{
	if (!s->reserve_size || unlink(s->reserve) != 0)
		return false;
	s->reserve_size = 0;
	return true;
}

enum queue_result spool_record(struct spool *s, const uint8_t *record, size_t len)
{
	bug_on(len == 0 || len > EVENT_MAX_BYTES);
	if (s->records_len + len > SPOOL_OUTBOX_ROW) {
		enum queue_result r = flush_records(s);
		if (r != QUEUE_OK)
			return r;
	}
	if (s->records_len + len > s->records_cap) {
		size_t cap = s->records_cap ? s->records_cap * 2 : 16384;
		uint8_t *bigger = talloc_realloc(s, s->records, uint8_t, cap);
		if (!bigger) {
			snprintf(s->why, sizeof(s->why), "out of memory");
			return QUEUE_ERROR;
		}
		s->records = bigger;
		s->records_cap = cap;
	}
	memcpy(s->records + s->records_len, record, len);
	s->records_len += len;
	s->records_n++;
	return QUEUE_OK;
}

enum queue_result spool_add(struct spool *s, const struct spool_message *m)
{
	enum queue_result r;

	sql_bind(s->st[Q_ADD_MESSAGE], "issssiiiibiiis", m->key, m->id, m->account, m->mail_from,
		 m->mail_from_out, (int64_t)m->len, (int64_t)m->esmtp.body, m->received_ms,
		 (int64_t)m->hold, m->src.b, sizeof(m->src.b), (int64_t)m->src_port,
		 spool_flags(&m->esmtp), (int64_t)m->esmtp.ret, m->esmtp.envid);
	r = spool_run(s, Q_ADD_MESSAGE);
	if (r == QUEUE_OK) {
		sql_bind(s->st[Q_ADD_BODY], "ib", m->key, m->data, m->len);
		r = spool_run(s, Q_ADD_BODY);
	}
	for (uint32_t i = 0; r == QUEUE_OK && i < m->n_rcpts; i++) {
		const struct queue_rcpt *t = &m->rcpts[i];
		sql_bind(s->st[Q_ADD_RECIPIENT], "iisis", m->key, (int64_t)i, t->address,
			 (int64_t)t->esmtp.notify, t->esmtp.orcpt);
		r = spool_run(s, Q_ADD_RECIPIENT);
	}
	return r;
}

/* --- holds, times, outbox ---------------------------------------------------------------- */

enum queue_result spool_hold_account(struct spool *s, const char *account, const char *why)
{
	sql_bind(s->st[Q_HOLD], "ss", account, why);
	return spool_run(s, Q_HOLD);
}

enum queue_result spool_release_account(struct spool *s, const char *account)
{
	sql_bind(s->st[Q_RELEASE], "s", account);
	return spool_run(s, Q_RELEASE);
}

enum queue_result spool_update(struct spool *s, int64_t key, uint8_t hold, int64_t next_ms,
			       int64_t life_from_ms)
{
	int q = next_ms < 0 ? Q_UPDATE_HOLD : Q_UPDATE_TIMES;

	sql_bind(s->st[q], next_ms < 0 ? "ii" : "iiii", key, (int64_t)hold, next_ms, life_from_ms);
	return spool_run(s, q);
}

enum queue_result spool_outbox_forget(struct spool *s, uint64_t seq)
{
	sql_bind(s->st[Q_FORGET], "i", (int64_t)seq);
	return spool_run(s, Q_FORGET);
}
