/*
 * spool_settle - what became of recipients: the one transaction in which they are done with, their
 * events are stored, a notice is made and the message goes or gets its next time.
 *
 * Purpose: an outcome told twice, or late, changes nothing the second time. Trusted with: the
 * spool's writing handle. Diagnostics: enum queue_result. Known gaps: none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/mail/utf8.h"
#include "msa/queue/ceiling.h"
#include "msa/queue/schedule.h"
#include "msa/queue/signer.h"
#include "msa/queue/spool_int.h"
#include "msa/relay/via.h"

#define HEADERS_MAX (64 << 10)
#define REPLY_TIGHT 65 /* of an answer in an event when there is no room, with its NUL */
#define FULL_MAX                                                                                   \
	(1 << 20) /* of a message given back in full (RET=FULL); of a larger one the header */

struct settle {
	struct spool *s;
	struct spool_settle *t;
	struct record rec;
	struct envelope e; /* of the message, as it becomes */
	bool changed;
	struct dsn_rcpt *told; /* what the sender is to hear */
	size_t n_told;
	bool any_failed, media; /* among them; for what it holds (5.6.x) */
	bool any_deferred;	/* in this round */
	bool silent;		/* the event is for the caller alone */
	struct via via;
};

static void copy_text(char *to, size_t cap, const char *from)
{
	snprintf(to, cap, "%s", from);
}

static void keep_said(struct spool_settle *t, const uint8_t *record, size_t n)
{
	t->said = spool_grow(t->said, t->said_len + n, &t->said_cap, 1);
	memcpy(t->said + t->said_len, record, n);
	t->said_len += n;
}

static enum queue_result delivery_event(const struct settle *c, const char *address,
					const struct relay_rcpt *o)
{
	static const int results[] = {0, EVENT_DELIVERED, EVENT_BOUNCED, EVENT_DEFERRED};
	struct event e = {.kind = EVENT_DELIVERY,
			  .t_ms = c->t->now_ms,
			  .src = c->e.src,
			  .src_port = c->e.src_port};
	uint8_t buf[EVENT_MAX_BYTES];

	copy_text(e.u.delivery.account, sizeof(e.u.delivery.account), c->e.account);
	copy_text(e.u.delivery.queue_id, sizeof(e.u.delivery.queue_id), c->e.id);
	copy_text(e.u.delivery.rcpt, sizeof(e.u.delivery.rcpt), address);
	copy_text(e.u.delivery.status, sizeof(e.u.delivery.status), o->status);
	copy_text(e.u.delivery.reply,
		  spool_room(c->s) == ROOM_TIGHT ? REPLY_TIGHT : sizeof(e.u.delivery.reply),
		  o->reply);
	e.u.delivery.result = results[o->result];
	e.u.delivery.answer = o->answer;
	copy_text(e.u.delivery.server, sizeof(e.u.delivery.server), c->via.server);
	copy_text(e.u.delivery.tls, sizeof(e.u.delivery.tls), c->via.tls);
	copy_text(e.u.delivery.cipher, sizeof(e.u.delivery.cipher), c->via.cipher);
	copy_text(e.u.delivery.proof, sizeof(e.u.delivery.proof), c->via.proof);
	size_t n = event_encode(&e, buf, sizeof(buf));
	bug_on(n == 0);
	keep_said(c->t, buf, n);
	return c->silent ? QUEUE_OK : spool_record(c->s, buf, n);
}

static enum queue_result remember(struct settle *c, const struct env_rcpt *t,
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
			       .mta = remote ? c->via.mta : "",
			       .last_ms = c->t->now_ms,
			       .action = action};
	c->any_failed |= action == DSN_FAILED;
	c->media |= action == DSN_FAILED && strncmp(o->status, "5.6.", 4) == 0;
	return f->status && f->reply ? QUEUE_OK : QUEUE_ERROR;
}

static bool late(const struct settle *c)
{
	return c->t->delay_ms > 0 && c->t->now_ms - c->e.life_from_ms >= c->t->delay_ms;
}

/* Without a word from the client failures and delays are told (RFC 3461 4.1, 6.2.7). */
static uint8_t asked(const struct env_rcpt *t)
{
	return t->notify & NOTIFY_ASKED ? t->notify : NOTIFY_FAILURE | NOTIFY_DELAY;
}

/* What the sender wants to hear of it (RFC 3461 4.1, 5.2). ours: decided here, not there. A notice
 * that fails, or other mail of nobody, is the postmaster's whatever it asks for. */
static enum queue_result tell(struct settle *c, struct env_rcpt *t, const struct relay_rcpt *o,
			      bool ours)
{
	bool nobody = !c->e.mail_from[0];

	c->any_deferred |= o->result == RELAY_DEFERRED;
	if (c->t->quiet)
		return QUEUE_OK;
	if (o->result == RELAY_BOUNCED && (nobody || asked(t) & NOTIFY_FAILURE))
		return remember(c, t, o, DSN_FAILED, !ours);
	if (o->result == RELAY_DELIVERED && !nobody && asked(t) & NOTIFY_SUCCESS && !o->dsn)
		return remember(c, t, o, o->final ? DSN_DELIVERED : DSN_RELAYED, true);
	return QUEUE_OK;
}

/* One notice of the delay a message, of all who still wait for it. */
static enum queue_result tell_delay(struct settle *c)
{
	enum queue_result r = QUEUE_OK;
	struct relay_rcpt o = {.result = RELAY_DEFERRED};

	if (spool_room(c->s) != ROOM_ENOUGH || !c->any_deferred || c->t->quiet ||
	    !c->e.mail_from[0] || !late(c))
		return QUEUE_OK;
	for (uint32_t i = 0; i < c->e.n; i++)
		if (c->e.rcpts[i].notify & NOTIFY_DELAY_TOLD)
			return QUEUE_OK;
	for (uint32_t i = 0; r == QUEUE_OK && i < c->e.n; i++) {
		struct env_rcpt *t = &c->e.rcpts[i];
		if (t->state >= R_DELIVERED || !(asked(t) & NOTIFY_DELAY))
			continue;
		copy_text(o.status, sizeof(o.status), t->status[0] ? t->status : "4.4.0");
		copy_text(o.reply, sizeof(o.reply), t->reply[0] ? t->reply : "not tried yet");
		t->notify |= NOTIFY_DELAY_TOLD;
		r = remember(c, t, &o, DSN_DELAYED, t->reply[0] != '\0');
	}
	return r;
}

static void count(struct spool_settle *t, int result)
{
	t->delivered += result == RELAY_DELIVERED;
	t->bounced += result == RELAY_BOUNCED;
	t->deferred += result == RELAY_DEFERRED;
}

/* Puts the outcome down; NULL when there is nobody it could be for. *q: no memory. */
static struct env_rcpt *write_outcome(struct settle *c, const struct relay_rcpt *o, bool deferred,
				      enum queue_result *q)
{
	static const uint8_t states[] = {0, R_DELIVERED, R_BOUNCED, R_DEFERRED};
	struct env_rcpt *t = o->idx < c->e.n ? &c->e.rcpts[o->idx] : NULL;

	if (!t || t->state >= R_DELIVERED || (deferred && t->state != R_WAITING))
		return NULL;
	t->state = states[o->result];
	t->status = talloc_strdup(c, o->status);
	t->reply = talloc_strdup(c, o->reply);
	*q = t->status && t->reply ? QUEUE_OK : QUEUE_ERROR;
	c->changed = true;
	return t;
}

static bool expired_now(const struct settle *c)
{
	return schedule_expired(c->e.life_from_ms, c->t->lifetime_ms, c->t->now_ms) &&
	       spool_room(c->s) != ROOM_TIGHT;
}

/* A notice is larger than many a message: with no room for it the failure is one for now, and the
 * next attempt will have the same answer. */
static void put_off(const struct settle *c, struct relay_rcpt *o)
{
	if (spool_room(c->s) != ROOM_TIGHT || c->t->quiet || o->result != RELAY_BOUNCED)
		return;
	o->result = RELAY_DEFERRED;
	o->status[0] = '4';
}

/* One recipient. Told twice, or late, it changes nothing. */
static enum queue_result settle_one(struct settle *c, const struct relay_rcpt *given)
{
	struct relay_rcpt o = *given;
	put_off(c, &o);
	bool expired = o.result == RELAY_DEFERRED && expired_now(c);
	bool deferred = o.result == RELAY_DEFERRED;
	enum queue_result r = QUEUE_OK;

	if (deferred && c->t->attempt != c->e.attempts)
		return QUEUE_OK;
	if (expired) {
		o.result = RELAY_BOUNCED;
		snprintf(o.status, sizeof(o.status), "5.4.7");
		snprintf(o.reply, sizeof(o.reply),
			 "given up after too long; the last answer was: %.380s", given->reply);
	}
	struct env_rcpt *t = write_outcome(c, &o, deferred, &r);
	if (r != QUEUE_OK || !t)
		return r;
	count(c->t, o.result);
	if (o.result != RELAY_DELIVERED)
		c->e.last_reply = t->reply;
	r = delivery_event(c, t->address, &o);
	return r == QUEUE_OK ? tell(c, t, &o, expired || c->t->all) : r;
}

/* The same said of everybody who still waits. */
static enum queue_result settle_all(struct settle *c)
{
	struct relay_rcpt o = c->t->rcpts[0];
	enum queue_result r = QUEUE_OK;

	for (o.idx = 0; r == QUEUE_OK && o.idx < c->e.n; o.idx++)
		if (c->e.rcpts[o.idx].state < R_DELIVERED)
			r = settle_one(c, &o);
	return r;
}

/* --- notices --------------------------------------------------------------------------- */

/* Mail that nobody sent is the postmaster's. */
static const char *receiver(const struct settle *c)
{
	return c->e.mail_from[0] ? c->e.mail_from : c->s->host.postmaster;
}

/* What of the message goes back. */
static int give_back(const struct settle *c)
{
	bool utf8_way = utf8_any(c->e.mail_from, strlen(c->e.mail_from));

	if (c->e.esmtp.requiretls)
		return DSN_SECRET;
	return c->e.mail_from[0] && c->e.esmtp.ret == ESMTP_RET_FULL && c->any_failed &&
		       !c->media && c->e.esmtp.body != ESMTP_BINARY &&
		       (!c->e.esmtp.smtputf8 || utf8_way) && c->e.size <= FULL_MAX
		   ? DSN_FULL
		   : DSN_HEADERS;
}

/* The notice as text; NULL with *r. A body that cannot be read is no reason to tell nobody. */
static char *notice(struct settle *c, size_t *len, bool *full, enum queue_result *r)
{
	int give = give_back(c);
	size_t n = 0;
	const uint8_t *message = spool_get_body(
	    c->s, c, c->e.body, give == DSN_FULL ? FULL_MAX : HEADERS_MAX, &n, give == DSN_FULL, r);
	struct dsn d = {.host = &c->s->host,
			.id = c->t->dsn_id,
			.to = receiver(c),
			.failed_id = c->e.id,
			.envid = c->e.esmtp.envid,
			.now_ms = c->t->now_ms,
			.received_ms = c->e.received_ms,
			.until_ms = c->e.life_from_ms + c->t->lifetime_ms,
			.double_bounce = !c->e.mail_from[0],
			.rcpts = c->told,
			.n = c->n_told,
			.message = message ? (const char *)message : "",
			.message_len = message ? n : 0,
			.give = message ? (unsigned)give : DSN_HEADERS};
	char *text = dsn_build(c, &d, len);

	*r = text ? QUEUE_OK : QUEUE_ERROR;
	*full = message && give == DSN_FULL;
	return text;
}

/* With what our DKIM key says of it before it, when there is one. */
static const char *with_signature(struct settle *c, const char *text, size_t *len)
{
	const char *fields = signer_fields(c->s->signer, c, c->t->dsn_id, text, *len, c->t->now_ms);
	size_t n = strlen(fields);
	char *all = n ? talloc_size(c, n + *len + 1) : NULL;

	if (!all)
		return text;
	memcpy(all, fields, n + 1);
	memcpy(all + n, text, *len);
	*len += n;
	return all;
}

/* Into the queue, as mail of nobody's that asks for no notice. */
static enum queue_result enqueue(struct settle *c, const char *text, size_t len, uint8_t body)
{
	const char *address = receiver(c);
	struct queue_rcpt to = {.address = address, .esmtp = {.notify = NOTIFY_NEVER}};
	bool utf8 = utf8_any(address, strlen(address));
	const char *data = with_signature(c, text, &len);
	struct spool_message m = {.key = c->t->dsn_key,
				  .id = c->t->dsn_id,
				  .account = "",
				  .mail_from = "",
				  .mail_from_out = "",
				  .rcpts = &to,
				  .n_rcpts = 1,
				  .data = (const uint8_t *)data,
				  .len = len,
				  .esmtp = {.body = utf8 ? ESMTP_8BIT : body, .smtputf8 = utf8},
				  .received_ms = c->t->now_ms};
	enum queue_result r = spool_add(c->s, &m);

	c->t->notified = r == QUEUE_OK;
	c->t->dsn_size = len;
	c->t->dsn_dests = c->t->notified ? spool_dests(&address, 1) : NULL;
	c->t->dsn_place = spool_place(c->s, c->t->dsn_key);
	return r;
}

/* The summary as it was before is in the spool until this transaction replaces it. */
static enum queue_result take_away(struct settle *c, int64_t key)
{
	struct record rec;
	struct envelope e;
	bool found = false;
	enum queue_result r = key ? spool_get_sound(c->s, c, key, &rec, &e, &found) : QUEUE_OK;

	if (r == QUEUE_OK && found) {
		spool_gone(c->s, &e);
		c->t->replaced_key = key;
	}
	return r;
}

static char *summary_text(struct settle *c, const struct ceiling_summary *s, size_t *len)
{
	struct dsn d = {.host = &c->s->host,
			.id = c->t->dsn_id,
			.to = receiver(c),
			.failed_id = c->e.id,
			.now_ms = c->t->now_ms,
			.received_ms = c->e.received_ms,
			.summary = true,
			.more = s->more,
			.rcpts = s->rcpts,
			.n = s->n,
			.message = ""};

	return dsn_build(c, &d, len);
}

/* More than the ceiling: it is listed in the summary of this hour. */
static enum queue_result summarize(struct settle *c)
{
	struct spool_settle *t = c->t;
	struct ceiling_summary *s = ceiling_summary(c->s->ceiling, receiver(c), t->now_ms);
	struct spool_change later = {.life_from_ms = -1};
	size_t len = 0;

	for (size_t i = 0; s && !t->listed && i < c->n_told; i++)
		if (!ceiling_list(s, &c->told[i], c->e.id))
			return QUEUE_ERROR;
	t->listed = true; /* when this transaction is undone and tried again, too */
	char *text = s ? summary_text(c, s, &len) : NULL;
	enum queue_result r = text ? take_away(c, s->key) : QUEUE_ERROR;
	if (r == QUEUE_OK)
		r = enqueue(c, text, len, ESMTP_7BIT);
	if (r != QUEUE_OK)
		return r;
	s->key = t->dsn_key;
	t->dsn_next_ms = later.next_ms = s->due_ms;
	r = spool_update(c->s, t->dsn_key, &later);
	t->dsn_place = spool_place(c->s, t->dsn_key);
	return r;
}

static enum queue_result notify(struct settle *c)
{
	struct spool_settle *t = c->t;
	enum queue_result r;
	size_t len = 0;
	bool full;

	if (!t->listed && !t->counted && !ceiling_take(c->s->ceiling, receiver(c), t->now_ms))
		return summarize(c);
	if (t->listed)
		return summarize(c);
	t->counted = true;
	char *text = notice(c, &len, &full, &r);
	return text ? enqueue(c, text, len, full ? c->e.esmtp.body : ESMTP_7BIT) : r;
}

/* The postmaster's own mail that does not arrive is nobody's. */
static bool to_postmaster(const struct settle *c)
{
	for (size_t i = 0; i < c->n_told; i++)
		if (strcasecmp(c->told[i].address, c->s->host.postmaster) == 0)
			return true;
	return false;
}

/* A stolen account's senders are forged: whoever they name is not to hear of it. */
static bool forged(const struct settle *c)
{
	return c->t->distrust && strcasecmp(c->e.mail_from, c->e.account) != 0;
}

static enum queue_result tell_somebody(struct settle *c)
{
	if (c->n_told == 0)
		return QUEUE_OK;
	if (!c->e.mail_from[0]) {
		c->t->double_bounce = true;
		return to_postmaster(c) ? QUEUE_OK : notify(c);
	}
	if (!forged(c))
		return notify(c);
	c->t->withheld = true;
	return QUEUE_OK;
}

/* An answer of before, cut; "" when there is no memory for it. */
static const char *cut(struct settle *c, const char *reply)
{
	if (strlen(reply) < REPLY_TIGHT)
		return reply;
	const char *s = talloc_strndup(c, reply, REPLY_TIGHT - 1);
	return s ? s : "";
}

/* An envelope that is written again and again into the reserve says no more than it must: what
 * spool_result_room() reckons with. */
static void shorten(struct settle *c)
{
	c->e.last_reply = cut(c, c->e.last_reply);
	for (uint32_t i = 0; i < c->e.n; i++) {
		struct env_rcpt *t = &c->e.rcpts[i];
		if (t->state >= R_DELIVERED)
			t->address = t->orcpt = t->status = t->reply = "";
		else
			t->reply = cut(c, t->reply);
	}
}

/* Nobody left: gone. Somebody not yet tried: at once. Else the next round, later. */
static enum queue_result next_step(struct settle *c)
{
	struct spool_settle *t = c->t;
	uint32_t waiting = envelope_count(&c->e, R_WAITING),
		 deferred = envelope_count(&c->e, R_DEFERRED);
	enum queue_result r = QUEUE_OK;

	t->gone = waiting + deferred == 0;
	if (t->gone) {
		spool_gone(c->s, &c->e);
		return QUEUE_OK;
	}
	if (waiting == 0) {
		c->e.next_ms = t->retry_at_ms;
		c->e.attempts += 1 + t->skipped;
		for (uint32_t i = 0; i < c->e.n; i++)
			if (c->e.rcpts[i].state == R_DEFERRED)
				c->e.rcpts[i].state = R_WAITING;
	}
	t->next_ms = c->e.next_ms;
	t->attempts = c->e.attempts;
	t->dests = spool_envelope_dests(&c->e);
	if (spool_room(c->s) == ROOM_TIGHT)
		shorten(c);
	if (c->changed)
		r = spool_put_envelope(c->s, &c->e, NULL);
	t->place = spool_place(c->s, t->key);
	return r;
}

/* --- a short disk -------------------------------------------------------------------------- */

/* Everybody who waits is put off, and nothing else is said: all that changes is a time. */
static bool only_put_off(const struct settle *c)
{
	const struct spool_settle *t = c->t;

	if (spool_room(c->s) == ROOM_ENOUGH || envelope_count(&c->e, R_DEFERRED) ||
	    expired_now(c) || (!t->all && envelope_count(&c->e, R_WAITING) != t->n))
		return false;
	for (uint32_t i = 0; i < t->n; i++) {
		struct relay_rcpt o = t->rcpts[i];
		put_off(c, &o);
		if (o.result != RELAY_DEFERRED ||
		    (!t->all && (t->attempt != c->e.attempts || o.idx >= c->e.n ||
				 c->e.rcpts[o.idx].state != R_WAITING)))
			return false;
	}
	return true;
}

/* The first time, who wants to hear of it hears. */
static enum queue_result leave_unwritten(struct settle *c)
{
	struct spool_settle *t = c->t;
	enum queue_result r = QUEUE_OK;

	c->silent = true;
	for (uint32_t i = 0; r == QUEUE_OK && !t->all && !t->skipped && i < t->n; i++)
		r = delivery_event(c, c->e.rcpts[t->rcpts[i].idx].address, &t->rcpts[i]);
	t->unwritten = true;
	t->next_ms = t->retry_at_ms;
	t->attempts = c->e.attempts;
	t->deferred = t->n;
	t->place = spool_place(c->s, t->key);
	return r;
}

#define READ_TRIES 10 /* of half a second: what is done after it waits so long */

static bool all_delivered(const struct spool_settle *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->rcpts[i].result != RELAY_DELIVERED)
			return false;
	return t->n > 0 && !t->all && t->n == t->waiting;
}

/* The disk does not give the envelope. What is to be written down is kept for a while. Then a
 * message that everybody has is done, without its events; else it is left as it is and tried
 * again, and whoever had it may get it twice. */
static enum queue_result not_given(struct settle *c)
{
	struct spool_settle *t = c->t;

	if (c->s->unread != SPOOL_FAILED || ++t->tries < READ_TRIES)
		return QUEUE_ERROR;
	t->unread = true;
	t->next_ms = t->retry_at_ms;
	t->gone = all_delivered(t);
	if (t->gone) {
		t->delivered = t->n;
		spool_gone(c->s, &(struct envelope){.key = t->key, .origin = 1});
	}
	return QUEUE_OK;
}

static enum queue_result settle(struct settle *c)
{
	bool found = false;
	enum queue_result r = spool_get_sound(c->s, c, c->t->key, &c->rec, &c->e, &found);

	if (r == QUEUE_OK && !found)
		c->t->gone = true;
	if (r == QUEUE_ERROR)
		return not_given(c);
	if (r != QUEUE_OK || !found)
		return r;
	if (only_put_off(c))
		return leave_unwritten(c);
	if (c->t->all)
		r = settle_all(c);
	for (uint32_t i = 0; r == QUEUE_OK && !c->t->all && i < c->t->n; i++)
		r = settle_one(c, &c->t->rcpts[i]);
	if (r == QUEUE_OK)
		r = tell_delay(c);
	if (r == QUEUE_OK)
		r = tell_somebody(c);
	return r == QUEUE_OK ? next_step(c) : r;
}

enum queue_result spool_settle(struct spool *s, struct spool_settle *t)
{
	struct settle *c = talloc_zero(s, struct settle);

	t->gone = t->notified = t->double_bounce = t->withheld = false;
	t->unwritten = t->unread = false;
	t->replaced_key = t->dsn_next_ms = 0;
	t->delivered = t->bounced = t->deferred = 0;
	free(t->dests); /* of a try that was rolled back */
	free(t->dsn_dests);
	free(t->said);
	t->dests = t->dsn_dests = NULL;
	t->said = NULL;
	t->said_len = t->said_cap = 0;
	if (!c)
		return QUEUE_ERROR;
	c->s = s;
	c->t = t;
	via_parse(t->via ? t->via : "", &c->via);
	enum queue_result r = settle(c);
	talloc_free(c);
	return r;
}
