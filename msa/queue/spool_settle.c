/*
 * spool_settle - what became of recipients: the one transaction in which they are done with, their
 * events are stored, a notice is made and the message goes or gets its next time.
 *
 * Purpose: an outcome told twice, or late, changes nothing the second time. Trusted with: the
 * spool's writing handle. Diagnostics: enum queue_result. Known gaps: none.
 */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/mail/utf8.h"
#include "msa/queue/schedule.h"
#include "msa/queue/spool_int.h"

#define HEADERS_MAX (64 << 10)
#define FULL_MAX                                                                                   \
	(1 << 20) /* of a message given back in full (RET=FULL); of a larger one the header */

struct settle {
	struct spool *s;
	struct spool_settle *t;
	/* of the message */
	char id[QUEUE_ID_LEN + 1];
	char *account, *mail_from;
	uint32_t attempts;
	int64_t next_ms, received_ms, life_from_ms;
	struct addr src;
	uint16_t src_port;
	int64_t size;
	struct esmtp_mail esmtp;
	char last_reply[RELAY_REPLY_MAX + 1];
	struct dsn_rcpt *told; /* what the sender is to hear */
	size_t n_told;
	bool any_failed, media; /* among them; for what it holds (5.6.x) */
};

/* A recipient while its outcome is written. */
struct rcpt {
	uint32_t idx;
	char *address, *orcpt;
	uint8_t notify;
};

static void copy_text(char *to, size_t cap, const char *from)
{
	snprintf(to, cap, "%s", from);
}

static enum queue_result delivery_event(const struct settle *c, const char *address,
					const struct relay_rcpt *o)
{
	static const int results[] = {0, EVENT_DELIVERED, EVENT_BOUNCED, EVENT_DEFERRED};
	struct event e = {
	    .kind = EVENT_DELIVERY, .t_ms = c->t->now_ms, .src = c->src, .src_port = c->src_port};
	uint8_t buf[EVENT_MAX_BYTES];

	copy_text(e.u.delivery.account, sizeof(e.u.delivery.account), c->account);
	copy_text(e.u.delivery.queue_id, sizeof(e.u.delivery.queue_id), c->id);
	copy_text(e.u.delivery.rcpt, sizeof(e.u.delivery.rcpt), address);
	copy_text(e.u.delivery.status, sizeof(e.u.delivery.status), o->status);
	copy_text(e.u.delivery.reply, sizeof(e.u.delivery.reply), o->reply);
	e.u.delivery.result = results[o->result];
	size_t n = event_encode(&e, buf, sizeof(buf));
	bug_on(n == 0);
	return spool_record(c->s, buf, n);
}

/* *found false: no such message any more. */
static enum queue_result get_message(struct settle *c, bool *found)
{
	sqlite3_stmt *st = c->s->st[Q_GET_MESSAGE];
	enum queue_result r = QUEUE_OK;

	sql_bind(st, "i", c->t->key);
	int rc = sqlite3_step(st);
	*found = rc == SQLITE_ROW;
	if (*found) {
		copy_text(c->id, sizeof(c->id), sql_text(st, 0));
		c->account = talloc_strdup(c, sql_text(st, 1));
		c->mail_from = talloc_strdup(c, sql_text(st, 2));
		c->attempts = (uint32_t)sqlite3_column_int64(st, 3);
		c->next_ms = sqlite3_column_int64(st, 4);
		c->received_ms = sqlite3_column_int64(st, 5);
		c->life_from_ms = sqlite3_column_int64(st, 6);
		if (sqlite3_column_bytes(st, 7) == (int)sizeof(c->src.b))
			memcpy(c->src.b, sqlite3_column_blob(st, 7), sizeof(c->src.b));
		c->src_port = (uint16_t)sqlite3_column_int64(st, 8);
		c->size = sqlite3_column_int64(st, 9);
		c->esmtp.body = (uint8_t)sqlite3_column_int64(st, 10);
		spool_set_flags(&c->esmtp, sqlite3_column_int64(st, 11));
		c->esmtp.ret = (uint8_t)sqlite3_column_int64(st, 12);
		c->esmtp.envid = talloc_strdup(c, sql_text(st, 13));
		if (!c->account || !c->mail_from || !c->esmtp.envid)
			r = QUEUE_ERROR;
	} else if (rc != SQLITE_DONE) {
		r = spool_failed(c->s, rc);
	}
	sqlite3_reset(st);
	return r;
}

static enum queue_result remember(struct settle *c, const struct rcpt *t,
				  const struct relay_rcpt *o, enum dsn_action action, bool remote)
{
	struct dsn_rcpt *f = talloc_realloc(c, c->told, struct dsn_rcpt, c->n_told + 1);

	if (!f)
		return QUEUE_ERROR;
	c->told = f;
	f += c->n_told++;
	*f = (struct dsn_rcpt){.address = t->address,
			       .orcpt = t->orcpt,
			       .status = talloc_strdup(c, o->status),
			       .reply = talloc_strdup(c, o->reply),
			       .remote = remote,
			       .action = action};
	c->any_failed |= action == DSN_FAILED;
	c->media |= action == DSN_FAILED && strncmp(o->status, "5.6.", 4) == 0;
	return f->status && f->reply ? QUEUE_OK : QUEUE_ERROR;
}

static bool late(const struct settle *c)
{
	return c->t->delay_ms > 0 && c->t->now_ms - c->life_from_ms >= c->t->delay_ms;
}

static enum queue_result remember_delay(struct settle *c, const struct rcpt *t,
					const struct relay_rcpt *o)
{
	enum queue_result r;

	sql_bind(c->s->st[Q_DELAY_TOLD], "iii", c->t->key, (int64_t)t->idx,
		 (int64_t)(t->notify | NOTIFY_DELAY_TOLD));
	r = spool_run(c->s, Q_DELAY_TOLD);
	return r == QUEUE_OK ? remember(c, t, o, DSN_DELAYED, true) : r;
}

/* What the sender wants to hear of it (RFC 3461 4.1, 5.2). ours: decided here, not there. */
static enum queue_result tell(struct settle *c, const struct rcpt *t, const struct relay_rcpt *o,
			      bool ours)
{
	uint8_t asked = t->notify & NOTIFY_ASKED ? t->notify : NOTIFY_FAILURE;

	if (c->t->quiet)
		return QUEUE_OK;
	if (o->result == RELAY_BOUNCED && asked & NOTIFY_FAILURE)
		return remember(c, t, o, DSN_FAILED, !ours);
	if (o->result == RELAY_DELIVERED && asked & NOTIFY_SUCCESS && !o->dsn)
		return remember(c, t, o, DSN_RELAYED, true);
	if (o->result == RELAY_DEFERRED && asked & NOTIFY_DELAY &&
	    !(t->notify & NOTIFY_DELAY_TOLD) && late(c))
		return remember_delay(c, t, o);
	return QUEUE_OK;
}

static void count(struct spool_settle *t, int result)
{
	t->delivered += result == RELAY_DELIVERED;
	t->bounced += result == RELAY_BOUNCED;
	t->deferred += result == RELAY_DEFERRED;
}

/* Puts the outcome down; t->address stays NULL when there is nobody it could be for. */
static enum queue_result write_outcome(struct settle *c, const struct relay_rcpt *o, bool deferred,
				       struct rcpt *t)
{
	static const int64_t states[] = {0, R_DELIVERED, R_BOUNCED, R_DEFERRED};
	sqlite3_stmt *st = c->s->st[deferred ? Q_DEFER_RECIPIENT : Q_DONE_RECIPIENT];
	enum queue_result r = QUEUE_OK;

	sql_bind(st, "iiiss", c->t->key, (int64_t)o->idx, states[o->result], o->status, o->reply);
	int rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		t->idx = o->idx;
		t->address = talloc_strdup(c, sql_text(st, 0));
		t->notify = (uint8_t)sqlite3_column_int64(st, 1);
		t->orcpt = talloc_strdup(c, sql_text(st, 2));
		r = t->address && t->orcpt ? QUEUE_OK : QUEUE_ERROR;
		rc = sqlite3_step(st);
	}
	if (rc != SQLITE_DONE)
		r = spool_failed(c->s, rc);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return r;
}

/* One recipient. Told twice, or late, it changes nothing. */
static enum queue_result settle_one(struct settle *c, const struct relay_rcpt *given)
{
	struct relay_rcpt o = *given;
	bool expired = o.result == RELAY_DEFERRED &&
		       schedule_expired(c->life_from_ms, c->t->lifetime_ms, c->t->now_ms);
	bool deferred = o.result == RELAY_DEFERRED;
	struct rcpt t = {.address = NULL};
	enum queue_result r;

	if (deferred && c->t->attempt != c->attempts)
		return QUEUE_OK;
	if (expired) {
		o.result = RELAY_BOUNCED;
		snprintf(o.status, sizeof(o.status), "5.4.7");
		snprintf(o.reply, sizeof(o.reply),
			 "given up after too long; the last answer was: %.380s", given->reply);
	}
	r = write_outcome(c, &o, deferred, &t);
	if (r != QUEUE_OK || !t.address)
		return r;
	count(c->t, o.result);
	if (o.result != RELAY_DELIVERED)
		copy_text(c->last_reply, sizeof(c->last_reply), o.reply);
	r = delivery_event(c, t.address, &o);
	return r == QUEUE_OK ? tell(c, &t, &o, expired || c->t->all) : r;
}

/* The same said of everybody who still waits. */
static enum queue_result settle_all(struct settle *c)
{
	sqlite3_stmt *st = c->s->st[Q_WAITING];
	struct relay_rcpt o = c->t->rcpts[0];
	enum queue_result r = QUEUE_OK;
	int64_t next = 0;

	while (r == QUEUE_OK) {
		sql_bind(st, "ii", c->t->key, next);
		int rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			next = sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
		if (rc == SQLITE_DONE)
			break;
		if (rc != SQLITE_ROW)
			return spool_failed(c->s, rc);
		o.idx = (uint32_t)next++;
		r = settle_one(c, &o);
	}
	return r;
}

static enum queue_result remove_message(struct spool *s, int64_t key)
{
	static const int q[] = {Q_DEL_BODY, Q_DEL_RECIPIENTS, Q_DEL_MESSAGE};
	enum queue_result r = QUEUE_OK;

	for (size_t i = 0; r == QUEUE_OK && i < 3; i++) {
		sql_bind(s->st[q[i]], "i", key);
		r = spool_run(s, q[i]);
	}
	return r;
}

/* What of the message goes back. */
static int give_back(const struct settle *c)
{
	if (c->esmtp.requiretls)
		return DSN_SECRET;
	return c->esmtp.ret == ESMTP_RET_FULL && c->any_failed && !c->media &&
		       c->esmtp.body != ESMTP_BINARY && !c->esmtp.smtputf8 && c->size <= FULL_MAX
		   ? DSN_FULL
		   : DSN_HEADERS;
}

/* The notice as text; NULL with *r. */
static char *notice(struct settle *c, size_t *len, bool *full, enum queue_result *r)
{
	struct spool *s = c->s;
	sqlite3_stmt *st = s->st[Q_HEADERS];
	int give = give_back(c);
	char *text = NULL;

	*r = QUEUE_ERROR;
	sql_bind(st, "ii", c->t->key, (int64_t)(give == DSN_FULL ? FULL_MAX : HEADERS_MAX));
	int rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		const char *message = sqlite3_column_blob(st, 0);
		struct dsn d = {.host = &s->host,
				.id = c->t->dsn_id,
				.to = c->mail_from,
				.failed_id = c->id,
				.envid = c->esmtp.envid,
				.now_ms = c->t->now_ms,
				.received_ms = c->received_ms,
				.until_ms = c->life_from_ms + c->t->lifetime_ms,
				.rcpts = c->told,
				.n = c->n_told,
				.message = message ? message : "",
				.message_len = message ? (size_t)sqlite3_column_bytes(st, 0) : 0,
				.give = give};
		text = dsn_build(c, &d, len);
	} else {
		*r = spool_failed(s, rc);
	}
	sqlite3_reset(st);
	*full = give == DSN_FULL;
	return text;
}

static enum queue_result notify(struct settle *c)
{
	enum queue_result r;
	size_t len = 0;
	bool full;
	char *text = notice(c, &len, &full, &r);

	if (!text)
		return r;
	struct queue_rcpt to = {.address = c->mail_from, .esmtp = {.notify = NOTIFY_NEVER}};
	struct spool_message m = {
	    .key = c->t->dsn_key,
	    .id = c->t->dsn_id,
	    .account = "",
	    .mail_from = "",
	    .mail_from_out = "",
	    .rcpts = &to,
	    .n_rcpts = 1,
	    .data = (const uint8_t *)text,
	    .len = len,
	    .esmtp = {.body = full ? c->esmtp.body : ESMTP_7BIT,
		      .smtputf8 = utf8_any(c->mail_from, strlen(c->mail_from))},
	    .received_ms = c->t->now_ms};
	r = spool_add(c->s, &m);
	c->t->notified = r == QUEUE_OK;
	c->t->dsn_size = len;
	return r;
}

/* Nobody left: gone. Somebody not yet tried: at once. Else the next round, later. */
static enum queue_result next_step(struct settle *c)
{
	struct spool_settle *t = c->t;
	sqlite3_stmt *st = c->s->st[Q_COUNT];
	enum queue_result r = QUEUE_OK;

	sql_bind(st, "i", t->key);
	int rc = sqlite3_step(st);
	int64_t waiting = sqlite3_column_int64(st, 0), deferred = sqlite3_column_int64(st, 1);
	sqlite3_reset(st);
	if (rc != SQLITE_ROW)
		return spool_failed(c->s, rc);
	t->gone = waiting + deferred == 0;
	if (t->gone)
		return remove_message(c->s, t->key);
	t->next_ms = c->next_ms;
	t->attempts = c->attempts;
	if (waiting == 0) {
		t->next_ms = t->retry_at_ms;
		t->attempts++;
		sql_bind(c->s->st[Q_NEW_ROUND], "i", t->key);
		r = spool_run(c->s, Q_NEW_ROUND);
	}
	if (r == QUEUE_OK && (t->delivered || t->bounced || t->deferred)) {
		sql_bind(c->s->st[Q_SET_MESSAGE], "iiis", t->key, t->next_ms, (int64_t)t->attempts,
			 c->last_reply);
		r = spool_run(c->s, Q_SET_MESSAGE);
	}
	return r;
}

static enum queue_result settle(struct settle *c)
{
	bool found;
	enum queue_result r = get_message(c, &found);

	if (r == QUEUE_OK && !found)
		c->t->gone = true;
	if (r != QUEUE_OK || !found)
		return r;
	if (c->t->all)
		r = settle_all(c);
	for (uint32_t i = 0; r == QUEUE_OK && !c->t->all && i < c->t->n; i++)
		r = settle_one(c, &c->t->rcpts[i]);
	if (r == QUEUE_OK && c->n_told && c->mail_from[0])
		r = notify(c);
	else
		c->t->double_bounce = c->any_failed;
	return r == QUEUE_OK ? next_step(c) : r;
}

enum queue_result spool_settle(struct spool *s, struct spool_settle *t)
{
	struct settle *c = talloc_zero(s, struct settle);

	t->gone = t->notified = t->double_bounce = false;
	t->delivered = t->bounced = t->deferred = 0;
	if (!c)
		return QUEUE_ERROR;
	c->s = s;
	c->t = t;
	enum queue_result r = settle(c);
	talloc_free(c);
	return r;
}
