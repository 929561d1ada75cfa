/*
 * spool_read - the reading side of the queue on disk.
 *
 * Purpose: envelopes and bodies for the relay role; details for operators and records for
 * accounting on the main thread. Trusted with: reading <state_dir>/msa/spool.db. Diagnostics: bool,
 * and SQLite's words at open. Known gaps: lists walk the whole recipient table; a deadline of 2 s
 * bounds them.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/clock.h"

#include "msa/queue/spool.h"
#include "msa/queue/spool_sql.h"

#define DEADLINE_MS	      2000
#define HEADERS_MAX	      (64 << 10)
#define OPCODES_BETWEEN_LOOKS 20000

enum {
	Q_ENVELOPE,
	Q_RCPTS,
	Q_OUTBOX,
	Q_DETAIL,
	Q_DOMAINS,
	Q_RECIPIENTS,
	Q_HEADERS,
	Q_DOMAIN,
	Q_GRID,
	Q_N
};

/* The domain is what follows the last @. */
#define DOMAIN "substr(address,length(rtrim(address,replace(address,'@','')))+1)"

static const char sql_detail[] =
    "SELECT mail_from,last_reply,"
    "(SELECT count(*) FROM recipient WHERE message=key AND state<2) FROM message WHERE key=?";
static const char sql_domains[] =
    "SELECT DISTINCT " DOMAIN " FROM recipient WHERE message=? AND state<2 ORDER BY 1 LIMIT 64";
static const char sql_domain[] =
    "SELECT DISTINCT message FROM recipient WHERE state<2 AND " DOMAIN "=? ORDER BY message";
static const char sql_grid[] = "SELECT " DOMAIN ",received_ms,count(*),message.key FROM recipient "
			       "JOIN message ON message.key=recipient.message "
			       "WHERE recipient.state<2 GROUP BY recipient.message,1";

static const char *const sql[Q_N] = {
    [Q_ENVELOPE] = "SELECT id,mail_from_out,size,body,flags,ret,envid FROM message "
		   "WHERE key=?",
    [Q_RCPTS] = "SELECT idx,address,notify,orcpt FROM recipient WHERE message=? AND state=0 "
		"ORDER BY idx LIMIT ?",
    [Q_OUTBOX] = "SELECT seq,n,records FROM outbox WHERE seq>? ORDER BY seq",
    [Q_DETAIL] = sql_detail,
    [Q_DOMAINS] = sql_domains,
    [Q_RECIPIENTS] =
	"SELECT address,state,status,reply FROM recipient WHERE message=? ORDER BY idx",
    [Q_HEADERS] = "SELECT substr(data,1,?2) FROM body WHERE message=?1",
    [Q_DOMAIN] = sql_domain,
    [Q_GRID] = sql_grid,
};

struct spool_reader {
	sqlite3 *db;
	sqlite3_stmt *st[Q_N];
	int64_t started_ms;
	char mail_from[1024], domains[513], last_reply[RELAY_REPLY_MAX + 1];
};

static int too_long(void *arg)
{
	const struct spool_reader *r = arg;

	return clock_mono_ms() - r->started_ms > DEADLINE_MS;
}

struct spool_reader *spool_reader_open(const char *path, char **err)
{
	struct spool_reader *r = talloc_zero(NULL, struct spool_reader);

	if (!r) {
		*err = sql_error(NULL, path);
		return NULL;
	}
	r->db = sql_open(path, false, err);
	if (!r->db || !sql_prepare(r->db, sql, Q_N, r->st, err)) {
		spool_reader_close(r);
		return NULL;
	}
	sqlite3_progress_handler(r->db, OPCODES_BETWEEN_LOOKS, too_long, r);
	return r;
}

void spool_reader_close(struct spool_reader *r)
{
	if (!r)
		return;
	sql_finalize(r->st, Q_N);
	sqlite3_close(r->db);
	talloc_free(r);
}

/* Every statement starts here and ends in end(), so that no read transaction stays open. */
static sqlite3_stmt *start(struct spool_reader *r, int q)
{
	r->started_ms = clock_mono_ms();
	return r->st[q];
}

static bool end(sqlite3_stmt *st, int rc)
{
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc == SQLITE_DONE;
}

static void copy(char *to, size_t cap, const char *from)
{
	size_t n = strnlen(from, cap - 1);

	memcpy(to, from, n);
	to[n] = '\0';
}

static enum spool_found read_rcpts(struct spool_reader *r, int64_t key, uint32_t max,
				   struct spool_envelope *e)
{
	sqlite3_stmt *st = start(r, Q_RCPTS);
	int rc;

	e->rcpts = talloc_array(e, struct spool_rcpt, max);
	sql_bind(st, "ii", key, (int64_t)max);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && e->rcpts && e->n < max) {
		struct spool_rcpt *t = &e->rcpts[e->n];
		t->idx = (uint32_t)sqlite3_column_int64(st, 0);
		t->address = talloc_strdup(e, sql_text(st, 1));
		t->esmtp.notify = sqlite3_column_int64(st, 2) & NOTIFY_ASKED;
		t->esmtp.orcpt = talloc_strdup(e, sql_text(st, 3));
		if (!t->address || !t->esmtp.orcpt)
			break;
		e->n++;
	}
	return end(st, rc) ? SPOOL_FOUND : SPOOL_FAILED;
}

enum spool_found spool_read_envelope(struct spool_reader *r, void *ctx, int64_t key, uint32_t max,
				     struct spool_envelope **out)
{
	struct spool_envelope *e = talloc_zero(ctx, struct spool_envelope);
	sqlite3_stmt *st = start(r, Q_ENVELOPE);
	enum spool_found f = SPOOL_FAILED;

	sql_bind(st, "i", key);
	int rc = sqlite3_step(st);
	if (rc == SQLITE_ROW && e) {
		copy(e->id, sizeof(e->id), sql_text(st, 0));
		e->mail_from_out = talloc_strdup(e, sql_text(st, 1));
		e->size = (uint64_t)sqlite3_column_int64(st, 2);
		e->esmtp.body = (uint8_t)sqlite3_column_int64(st, 3);
		spool_set_flags(&e->esmtp, sqlite3_column_int64(st, 4));
		e->esmtp.ret = (uint8_t)sqlite3_column_int64(st, 5);
		e->esmtp.envid = talloc_strdup(e, sql_text(st, 6));
		f = e->mail_from_out && e->esmtp.envid ? SPOOL_FOUND : SPOOL_FAILED;
	} else if (rc == SQLITE_DONE) {
		f = SPOOL_GONE;
	}
	(void)end(st, rc);
	if (f == SPOOL_FOUND)
		f = read_rcpts(r, key, max, e);
	if (f != SPOOL_FOUND)
		talloc_free(e);
	else
		*out = e;
	return f;
}

bool spool_read_body(struct spool_reader *r, int64_t key, uint64_t off, uint8_t *buf, size_t cap,
		     size_t *got)
{
	sqlite3_blob *b = NULL;
	bool ok = false;

	*got = 0;
	r->started_ms = clock_mono_ms();
	if (sqlite3_blob_open(r->db, "main", "body", "data", key, 0, &b) == SQLITE_OK) {
		uint64_t size = (uint64_t)sqlite3_blob_bytes(b);
		size_t n = off >= size ? 0 : size - off < cap ? (size_t)(size - off) : cap;
		ok = n == 0 || sqlite3_blob_read(b, buf, (int)n, (int)off) == SQLITE_OK;
		*got = ok ? n : 0;
	}
	sqlite3_blob_close(b);
	return ok;
}

bool spool_read_outbox(struct spool_reader *r, uint64_t after,
		       bool (*fn)(uint64_t seq, uint32_t n, const uint8_t *records, size_t len,
				  void *arg),
		       void *arg)
{
	sqlite3_stmt *st = start(r, Q_OUTBOX);
	int rc;

	sql_bind(st, "i", (int64_t)after);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		if (!fn((uint64_t)sqlite3_column_int64(st, 0),
			(uint32_t)sqlite3_column_int64(st, 1), sqlite3_column_blob(st, 2),
			(size_t)sqlite3_column_bytes(st, 2), arg)) {
			rc = SQLITE_DONE;
			break;
		}
	return end(st, rc);
}

static bool read_domains(struct spool_reader *r, int64_t key)
{
	sqlite3_stmt *st = start(r, Q_DOMAINS);
	size_t len = 0;
	int rc;

	r->domains[0] = '\0';
	sql_bind(st, "i", key);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		const char *d = sql_text(st, 0);
		size_t n = strlen(d);
		if (len + n + 2 > sizeof(r->domains))
			continue;
		if (len)
			r->domains[len++] = ' ';
		memcpy(r->domains + len, d, n + 1);
		len += n;
	}
	return end(st, rc);
}

enum spool_found spool_read_detail(struct spool_reader *r, int64_t key, struct spool_detail *d)
{
	sqlite3_stmt *st = start(r, Q_DETAIL);

	sql_bind(st, "i", key);
	int rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		copy(r->mail_from, sizeof(r->mail_from), sql_text(st, 0));
		copy(r->last_reply, sizeof(r->last_reply), sql_text(st, 1));
		*d = (struct spool_detail){.mail_from = r->mail_from,
					   .rcpts = (uint32_t)sqlite3_column_int64(st, 2),
					   .rcpt_domains = r->domains,
					   .last_reply = r->last_reply};
	}
	(void)end(st, rc);
	if (rc != SQLITE_ROW)
		return rc == SQLITE_DONE ? SPOOL_GONE : SPOOL_FAILED;
	return read_domains(r, key) ? SPOOL_FOUND : SPOOL_FAILED;
}

bool spool_read_recipients(struct spool_reader *r, int64_t key,
			   void (*fn)(const struct spool_recipient *t, void *arg), void *arg)
{
	static const char *const states[] = {"waiting", "deferred", "delivered", "bounced"};
	sqlite3_stmt *st = start(r, Q_RECIPIENTS);
	int rc;

	sql_bind(st, "i", key);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct spool_recipient t = {.address = sql_text(st, 0),
					    .status = sql_text(st, 2),
					    .reply = sql_text(st, 3)};
		int64_t state = sqlite3_column_int64(st, 1);
		/* One that waits for a further round was deferred in an earlier one. */
		t.state = states[state == 0 && t.status[0] ? 1 : state & 3];
		fn(&t, arg);
	}
	return end(st, rc);
}

/* The length up to and with the line end before the empty line. */
static size_t header_section(const char *s, size_t n)
{
	const char *e = n >= 2 && memcmp(s, "\r\n", 2) == 0 ? s : memmem(s, n, "\r\n\r\n", 4);

	return !e ? n : e == s ? 0 : (size_t)(e - s) + 2;
}

char *spool_read_headers(struct spool_reader *r, void *ctx, int64_t key)
{
	sqlite3_stmt *st = start(r, Q_HEADERS);
	char *text = NULL;

	sql_bind(st, "ii", key, (int64_t)HEADERS_MAX);
	int rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		const char *s = sqlite3_column_blob(st, 0);
		text =
		    talloc_strndup(ctx, s ? s : "",
				   s ? header_section(s, (size_t)sqlite3_column_bytes(st, 0)) : 0);
	}
	(void)end(st, rc);
	return text;
}

bool spool_read_domain(struct spool_reader *r, const char *domain,
		       void (*fn)(int64_t key, void *arg), void *arg)
{
	sqlite3_stmt *st = start(r, Q_DOMAIN);
	int rc;

	sql_bind(st, "s", domain);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		fn(sqlite3_column_int64(st, 0), arg);
	return end(st, rc);
}

bool spool_read_grid(struct spool_reader *r,
		     void (*fn)(int64_t key, const char *domain, int64_t received_ms,
				uint32_t rcpts, void *arg),
		     void *arg)
{
	sqlite3_stmt *st = start(r, Q_GRID);
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		fn(sqlite3_column_int64(st, 3), sql_text(st, 0), sqlite3_column_int64(st, 1),
		   (uint32_t)sqlite3_column_int64(st, 2), arg);
	return end(st, rc);
}
