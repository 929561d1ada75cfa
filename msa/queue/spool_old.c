/*
 * spool_old - the spool of earlier versions, one SQLite file, taken over at the first start.
 *
 * Purpose: every message, hold and event of <dir>.db goes into the log, some at a time, each group
 * synced; the file is removed when all is there. A start that is broken off goes on where it was:
 * what is there already is passed over. Trusted with: <dir>.db. Diagnostics: text, log line
 * "taken-over". Known gaps: none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/index.h"
#include "msa/queue/spool_int.h"
#include "msa/queue/spool_sql.h"

#define VERSION 2
#define GROUP	200

static const char to_2[] = "BEGIN IMMEDIATE;"
			   "ALTER TABLE message RENAME COLUMN body_8bit TO body;"
			   "ALTER TABLE message ADD COLUMN flags INTEGER NOT NULL DEFAULT 0;"
			   "ALTER TABLE message ADD COLUMN ret INTEGER NOT NULL DEFAULT 0;"
			   "ALTER TABLE message ADD COLUMN envid TEXT NOT NULL DEFAULT '';"
			   "ALTER TABLE recipient ADD COLUMN notify INTEGER NOT NULL DEFAULT 0;"
			   "ALTER TABLE recipient ADD COLUMN orcpt TEXT NOT NULL DEFAULT '';"
			   "PRAGMA user_version=2; COMMIT;";

enum { Q_MESSAGES, Q_RECIPIENTS, Q_BODY, Q_OUTBOX, Q_HOLDS, Q_INSTANCE, Q_LAST, Q_N };
static const char *const sql[Q_N] = {
    [Q_MESSAGES] =
	"SELECT key,id,account,mail_from,mail_from_out,received_ms,life_from_ms,next_ms,attempts,"
	"hold,last_reply,src,src_port,body,flags,ret,envid FROM message ORDER BY key",
    [Q_RECIPIENTS] = "SELECT address,state,status,reply,notify,orcpt FROM recipient WHERE "
		     "message=? ORDER BY idx",
    [Q_BODY] = "SELECT data FROM body WHERE message=?",
    [Q_OUTBOX] = "SELECT seq,n,records FROM outbox ORDER BY seq",
    [Q_HOLDS] = "SELECT account,why FROM account_hold",
    [Q_INSTANCE] = "SELECT value FROM meta WHERE key='instance'",
    [Q_LAST] = "SELECT ifnull(max(seq),0) FROM sqlite_sequence WHERE name='outbox'",
};

struct old {
	struct spool *s;
	sqlite3 *db;
	sqlite3_stmt *st[Q_N];
	size_t in_group, messages;
	enum queue_result r;
};

static int64_t one_int(sqlite3 *db, const char *q)
{
	sqlite3_stmt *st = NULL;
	int64_t v = -1;

	if (sqlite3_prepare_v2(db, q, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

/* Begins a group, or ends one that is full. */
static bool group(struct old *o, bool end)
{
	if (o->r == QUEUE_OK && o->in_group && (end || o->in_group >= GROUP)) {
		o->r = spool_commit(o->s);
		o->in_group = 0;
	}
	if (o->r == QUEUE_OK && !end && o->in_group++ == 0)
		o->r = spool_begin(o->s);
	return o->r == QUEUE_OK;
}

static void take_rcpts(struct old *o, struct envelope *e, int64_t key, void *ctx)
{
	sqlite3_stmt *st = o->st[Q_RECIPIENTS];

	sql_bind(st, "i", key);
	while (sqlite3_step(st) == SQLITE_ROW) {
		e->rcpts = talloc_realloc(ctx, e->rcpts, struct env_rcpt, e->n + 1);
		if (!e->rcpts)
			fatal("out of memory");
		struct env_rcpt *t = &e->rcpts[e->n++];
		*t = (struct env_rcpt){.address = talloc_strdup(ctx, sql_text(st, 0)),
				       .state = (uint8_t)(sqlite3_column_int64(st, 1) & 3),
				       .status = talloc_strdup(ctx, sql_text(st, 2)),
				       .reply = talloc_strdup(ctx, sql_text(st, 3)),
				       .notify = (uint8_t)sqlite3_column_int64(st, 4),
				       .orcpt = talloc_strdup(ctx, sql_text(st, 5))};
	}
	sqlite3_reset(st);
}

static void take_facts(sqlite3_stmt *st, struct envelope *e)
{
	snprintf(e->id, sizeof(e->id), "%s", sql_text(st, 1));
	e->key = queue_id_key(e->id);
	e->account = sql_text(st, 2);
	e->mail_from = sql_text(st, 3);
	e->mail_from_out = sql_text(st, 4);
	e->received_ms = sqlite3_column_int64(st, 5);
	e->life_from_ms = sqlite3_column_int64(st, 6);
	e->next_ms = sqlite3_column_int64(st, 7);
	e->attempts = (uint32_t)sqlite3_column_int64(st, 8);
	e->hold = (uint8_t)sqlite3_column_int64(st, 9);
	e->last_reply = sql_text(st, 10);
	if (sqlite3_column_bytes(st, 11) == (int)sizeof(e->src.b))
		memcpy(e->src.b, sqlite3_column_blob(st, 11), sizeof(e->src.b));
	e->src_port = (uint16_t)sqlite3_column_int64(st, 12);
	e->esmtp.body = (uint8_t)sqlite3_column_int64(st, 13);
	spool_set_flags(&e->esmtp, sqlite3_column_int64(st, 14));
	e->esmtp.ret = (uint8_t)sqlite3_column_int64(st, 15);
	e->esmtp.envid = sql_text(st, 16);
}

static bool take_message(struct old *o, sqlite3_stmt *st)
{
	void *ctx = talloc_new(o->s);
	sqlite3_stmt *body = o->st[Q_BODY];
	int64_t key = sqlite3_column_int64(st, 0);
	struct envelope e = {.key = 0};

	take_facts(st, &e);
	if (!queue_id_valid(e.id) || table_find(&o->s->table, e.key)) {
		talloc_free(ctx);
		return true;
	}
	take_rcpts(o, &e, key, ctx);
	sql_bind(body, "i", key);
	if (e.n && sqlite3_step(body) == SQLITE_ROW && group(o, false)) {
		e.size = (uint32_t)sqlite3_column_bytes(body, 0);
		e.origin = o->s->cur.no;
		const void *data = sqlite3_column_blob(body, 0);
		o->r = spool_put_envelope(o->s, &e, data ? data : (const void *)"");
		o->messages++;
	}
	sqlite3_reset(body);
	talloc_free(ctx);
	return o->r == QUEUE_OK;
}

/* A row keeps its number: accounting must be able to tell that it comes again. */
static bool take_row(struct old *o, sqlite3_stmt *st)
{
	struct spool *s = o->s;
	uint64_t seq = (uint64_t)sqlite3_column_int64(st, 0);
	uint32_t n = (uint32_t)sqlite3_column_int64(st, 1);
	size_t len = (size_t)sqlite3_column_bytes(st, 2);

	if (seq <= s->outbox_last || !len || len > SPOOL_OUTBOX_ROW)
		return true;
	o->in_group = o->in_group ? GROUP : 0; /* one row a commit */
	if (!group(o, false))
		return false;
	s->new_outbox = s->outbox_last = seq - 1;
	s->records = spool_grow(s->records, 12 + len, &s->records_cap, 1);
	memcpy(s->records + 12, sqlite3_column_blob(st, 2), len);
	s->records_len = 12 + len;
	s->records_n = n;
	return group(o, true);
}

static bool take_hold(struct old *o, sqlite3_stmt *st)
{
	if (!group(o, false))
		return false;
	o->r = spool_hold_account(o->s, sql_text(st, 0), sql_text(st, 1));
	return o->r == QUEUE_OK;
}

static bool each(struct old *o, int q, bool (*fn)(struct old *o, sqlite3_stmt *st))
{
	sqlite3_stmt *st = o->st[q];
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		if (!fn(o, st))
			break;
	sqlite3_reset(st);
	return rc == SQLITE_DONE;
}

static bool take_all(struct old *o, char **err)
{
	struct spool *s = o->s;

	if (sqlite3_step(o->st[Q_INSTANCE]) == SQLITE_ROW)
		snprintf(s->instance, sizeof(s->instance), "%s", sql_text(o->st[Q_INSTANCE], 0));
	sqlite3_reset(o->st[Q_INSTANCE]);
	bool ok = each(o, Q_HOLDS, take_hold) && each(o, Q_MESSAGES, take_message) &&
		  each(o, Q_OUTBOX, take_row);
	if (ok && sqlite3_step(o->st[Q_LAST]) == SQLITE_ROW) {
		uint64_t last = (uint64_t)sqlite3_column_int64(o->st[Q_LAST], 0);
		if (last > s->outbox_last && s->rows.n == 0)
			s->outbox_last = s->acked = last;
	}
	sqlite3_reset(o->st[Q_LAST]);
	/* Even an empty one leaves its name and number. */
	if (ok && group(o, true) && spool_begin(s) == QUEUE_OK)
		o->r = spool_outbox_forget(s, s->acked);
	if (ok && o->r == QUEUE_OK)
		o->r = spool_commit(s);
	if (ok && o->r == QUEUE_OK)
		return true;
	if (o->r != QUEUE_OK)
		spool_rollback(s);
	*err = ok || o->r != QUEUE_OK ? strdup(s->why) : sql_error(o->db, "reading the old spool");
	return false;
}

static bool open_old(struct old *o, const char *path, char **err)
{
	o->db = sql_open(path, true, err);
	if (!o->db)
		return false;
	int64_t v = one_int(o->db, "PRAGMA user_version");
	if (v < 0 || v > VERSION) {
		if (asprintf(err,
			     "%s was made by a newer version of sekisho-msad: install that version "
			     "again",
			     path) < 0)
			*err = NULL;
		return false;
	}
	if (v == 1 && sqlite3_exec(o->db, to_2, NULL, NULL, NULL) != SQLITE_OK) {
		*err = sql_error(o->db, path);
		return false;
	}
	return v == 0 || sql_prepare(o->db, sql, Q_N, o->st, err);
}

static void remove_old(const char *path)
{
	static const char *const ends[] = {".reserve", "-wal", "-shm", ""};
	char name[1024];

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		(void)unlink(name);
	}
}

bool spool_take_over(struct spool *s, char **err)
{
	struct old o = {.s = s};
	char *path = talloc_asprintf(s, "%s.db", s->path);

	if (!path)
		fatal("out of memory");
	if (access(path, F_OK) != 0)
		return true;
	bool ok = open_old(&o, path, err) && (!o.st[0] || take_all(&o, err));
	sql_finalize(o.st, Q_N);
	sqlite3_close(o.db);
	if (ok) {
		log_event(LOG_NOTICE, "-", "queue", "taken-over", LS("from", path),
			  LI("messages", o.messages));
		remove_old(path);
	}
	talloc_free(path);
	return ok;
}
