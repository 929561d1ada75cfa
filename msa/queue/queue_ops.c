/*
 * queue_ops - what the main thread asks of the writer's thread, and what it does when that is on
 * disk.
 *
 * Purpose: each change is one struct: its apply() runs in the transaction, its done() afterwards on
 * the main loop. Trusted with: nothing of its own. Diagnostics: log lines of final outcomes. Known
 * gaps: none.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "ratelimit/answer.h"

#include "msa/queue/queue_int.h"
#include "msa/queue/schedule.h"

#define LINGER_RESULT_MS 20 /* outcomes and records share a sync with whoever comes */
#define LINGER_RECORD_MS 100
#define LINGER_FORGET_MS 1000

void *queue_new_op(size_t size, enum queue_result (*apply)(struct spool *s, struct op *op),
		   void (*done)(struct queue *q, struct qop *o), int linger_ms)
{
	struct qop *o = talloc_zero_size(NULL, size);

	if (!o)
		fatal("out of memory");
	o->op.apply = apply;
	o->op.must = true;
	o->op.linger_ms = linger_ms;
	o->done = done;
	return o;
}

/* --- settle ---------------------------------------------------------------------------- */

struct settle_op {
	struct qop q;
	struct spool_settle t;
	struct relay_rcpt *rcpts;
	char id[QUEUE_ID_LEN + 1];
	char account[EVENT_ACCOUNT_MAX + 1];
	uint64_t seq; /* of the relay's journal; 0: not from there */
	bool known;
	char via[RELAY_VIA_MAX];
};

static enum queue_result settle_apply(struct spool *s, struct op *op)
{
	return spool_settle(s, &((struct settle_op *)op)->t);
}

/* The spool's own allocations; talloc calls it. */
static int settle_free(struct settle_op *o)
{
	free(o->t.dests);
	free(o->t.dsn_dests);
	free(o->t.said);
	return 0;
}

static void count_outcomes(struct queue *q, const struct settle_op *o)
{
	metric_add(q->metric.delivered, o->t.delivered);
	relay_count_tls(q, o->via, o->t.delivered);
	metric_add(q->metric.bounced, o->t.bounced);
	metric_add(q->metric.deferred, o->t.deferred);
	metric_add(q->metric.notices, o->t.notified);
	metric_add(q->metric.double_bounces, o->t.double_bounce);
	metric_add(q->metric.summarized, o->t.notified && o->t.dsn_next_ms);
	metric_add(q->metric.withheld, o->t.withheld);
	for (uint32_t i = 0; i < o->t.n; i++) {
		static const char *const names[] = {"", "delivered", "bounced", "deferred"};
		log_event(LOG_INFO, o->id, "queue", names[o->rcpts[i].result],
			  LI("recipient", o->rcpts[i].idx), LS("status", o->rcpts[i].status),
			  LS("class", answer_class_name(o->rcpts[i].answer)),
			  LS("reply", o->rcpts[i].reply), LS("via", o->via));
		metric_add(q->metric.answers[o->rcpts[i].answer], 1);
	}
	if (o->t.double_bounce)
		log_event(LOG_WARNING, o->id, "queue", "double-bounce",
			  LI("recipients", o->t.bounced), LS("reply", o->rcpts[0].reply),
			  LS("action", o->t.notified ? "the postmaster is told"
						     : "nobody is told: it was to the postmaster"));
	if (o->t.withheld)
		log_event(LOG_NOTICE, o->id, "queue", "notice-withheld",
			  LS("why", "its account is held or suspected, and its sender another"));
}

static void add_notice(struct queue *q, const struct settle_op *o)
{
	struct msg *m = index_add(q->ix, o->t.dsn_id, "", o->t.dsn_size, o->t.now_ms);

	m->place = o->t.dsn_place;
	index_set_dest(q->ix, m, o->t.dsn_dests);
	relay_set_lane(q, m);
	if (o->t.dsn_next_ms)
		m->next_ms = o->t.dsn_next_ms;
	index_set_state(q->ix, m, MSG_READY);
	log_event(LOG_INFO, o->t.dsn_id, "queue", o->t.dsn_next_ms ? "notices-summary" : "notice",
		  LS("about", o->id), LI("size", o->t.dsn_size));
	struct msg *before = o->t.replaced_key ? index_above(q->ix, o->t.replaced_key - 1) : NULL;
	if (before && before->key == o->t.replaced_key)
		index_remove(q->ix, before);
}

/* A server that puts us off again has said it before. */
static void tell_said(struct queue *q, const struct settle_op *o)
{
	const uint8_t *p = o->t.said;
	size_t left = o->t.said_len;
	struct event e;

	while (q->h.delivery && left > 0) {
		size_t n = event_decode(p, left, &e);
		bug_on(n == 0);
		p += n;
		left -= n;
		if (e.u.delivery.result != EVENT_DEFERRED ||
		    (o->t.attempt == 0 && o->t.skipped == 0))
			q->h.delivery(&e, q->arg);
	}
}

static void tell_unread(struct queue *q, const char *id, const char *action)
{
	metric_add(q->metric.read_errors, 1);
	log_event(LOG_CRIT, id, "queue", "unreadable", LS("action", action));
}

/* What the spool has now; or nothing but the time, when it says nothing of it. */
static void take_settled(struct queue *q, struct msg *m, const struct spool_settle *t)
{
	m->next_ms = t->next_ms;
	if (t->unread) {
		index_set_unread(q->ix, m, true);
		return;
	}
	m->place = t->place;
	m->attempts = t->attempts;
	if (t->unwritten) {
		metric_add(q->metric.unwritten, 1);
		m->unwritten += m->unwritten < UINT16_MAX;
		m->attempts += m->unwritten;
		return;
	}
	m->unwritten = 0;
	index_set_unread(q->ix, m, false);
	index_set_dest(q->ix, m, t->dests);
}

static void settle_done(struct queue *q, struct qop *qo)
{
	struct settle_op *o = (struct settle_op *)qo;
	struct msg *m = index_find(q->ix, o->id);

	if (m && o->known)
		m->settling--;
	if (qo->op.result != QUEUE_OK)
		return;
	if (o->known)
		count_outcomes(q, o);
	tell_said(q, o);
	if (o->t.notified)
		add_notice(q, o);
	if (o->seq > q->relay.commit_seq)
		q->relay.commit_seq = o->seq;
	if (o->t.unread)
		tell_unread(q, o->id,
			    o->t.gone ? "delivered to all; without its record"
				      : "its results are lost; it is tried again");
	if (m && o->t.gone) {
		index_remove(q->ix, m);
	} else if (m && o->known) {
		take_settled(q, m, &o->t);
		relay_set_lane(q, m);
		if (!m->settling && m->state == MSG_SETTLING)
			index_set_state(q->ix, m, MSG_READY);
		queue_apply_wish(q, m);
	}
	queue_kick(q);
}

/* more: the relay role still has recipients of it. */
static struct settle_op *new_settle(struct queue *q, struct msg *m, const struct relay_rcpt *rcpts,
				    uint32_t n, bool more)
{
	struct settle_op *o = queue_new_op(sizeof(*o), settle_apply, settle_done, LINGER_RESULT_MS);
	int64_t now = clock_utc_ms();

	talloc_set_type(o, struct settle_op);
	talloc_set_destructor(o, settle_free);

	o->rcpts = talloc_memdup(o, rcpts, sizeof(*rcpts) * (n ? n : 1));
	if (!o->rcpts)
		fatal("out of memory");
	o->t = (struct spool_settle){.rcpts = o->rcpts,
				     .n = n,
				     .now_ms = now,
				     .lifetime_ms = q->cfg.lifetime_ms,
				     .delay_ms = q->cfg.delay_notice_ms};
	queue_new_id(q, now, o->t.dsn_id);
	o->t.dsn_key = queue_id_key(o->t.dsn_id);
	if (m) {
		memcpy(o->id, m->id, sizeof(o->id));
		o->known = true;
		o->t.distrust = m->account->held || m->account->suspect;
		o->t.key = o->q.op.key = m->key;
		o->t.attempt = m->attempts - m->unwritten;
		o->t.skipped = m->unwritten;
		o->t.waiting = m->dest->rcpts;
		o->t.retry_at_ms = now + schedule_delay(q->cfg.retry_min_ms, q->cfg.retry_max_ms,
							m->attempts + 1, queue_random());
		m->settling++;
		if (!more) {
			m->elsewhere = false;
			index_set_state(q->ix, m, MSG_SETTLING);
		}
	}
	return o;
}

void queue_op_settle(struct queue *q, struct msg *m, const struct relay_outcome *r)
{
	struct settle_op *o = new_settle(q, m, r->rcpts, r->n, r->more);

	memcpy(o->id, r->id, sizeof(o->id));
	o->t.attempt = r->attempt;
	o->seq = r->seq;
	memcpy(o->via, r->via, sizeof(o->via));
	o->t.via = o->via;
	for (uint32_t i = 0; i < o->t.n; i++)
		o->rcpts[i].answer =
		    (uint8_t)answer_classify(q->answers, o->rcpts[i].status, o->rcpts[i].reply);
	writer_put(q->writer, &o->q.op);
}

void queue_op_settle_all(struct queue *q, struct msg *m, const char *status, const char *reply,
			 bool quiet)
{
	struct relay_rcpt all = {.result = RELAY_BOUNCED, .answer = ANSWER_OTHER};

	strncat(all.status, status, sizeof(all.status) - 1);
	strncat(all.reply, reply, sizeof(all.reply) - 1);
	struct settle_op *o = new_settle(q, m, &all, 1, false);
	o->t.all = true;
	o->t.quiet = quiet;
	writer_put(q->writer, &o->q.op);
}

/* --- holds and times ------------------------------------------------------------------- */

struct hold_op {
	struct qop q;
	const char *account, *why;
};

static enum queue_result hold_apply(struct spool *s, struct op *op)
{
	struct hold_op *o = (struct hold_op *)op;

	return o->why ? spool_hold_account(s, o->account, o->why)
		      : spool_release_account(s, o->account);
}

static void nothing_done(struct queue *q, struct qop *o)
{
	(void)q;
	(void)o;
}

void queue_op_hold_account(struct queue *q, const char *account, const char *why)
{
	struct hold_op *o = queue_new_op(sizeof(*o), hold_apply, nothing_done, 0);

	o->account = talloc_strdup(o, account);
	o->why = why ? talloc_strdup(o, why) : NULL;
	if (!o->account || (why && !o->why))
		fatal("out of memory");
	writer_put(q->writer, &o->q.op);
}

struct update_op {
	struct qop q;
	struct queue_change *changes;
	size_t n;
	int64_t next_ms, life_from_ms;
	const char *route;
};

static enum queue_result update_apply(struct spool *s, struct op *op)
{
	struct update_op *o = (struct update_op *)op;
	enum queue_result r = QUEUE_OK;

	for (size_t i = 0; r == QUEUE_OK && i < o->n; i++) {
		struct spool_change c = {.hold = o->changes[i].hold,
					 .next_ms = o->next_ms,
					 .life_from_ms = o->life_from_ms,
					 .route = o->route};
		r = spool_update(s, o->changes[i].key, &c);
		o->changes[i].place = spool_place(s, o->changes[i].key);
	}
	return r;
}

/* A later change of the same message may be on its way: its place is newer, and comes later. */
void queue_take_places(struct queue *q, const struct queue_change *c, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct msg *m = index_above(q->ix, c[i].key - 1);
		if (m && m->key == c[i].key && c[i].place)
			m->place = c[i].place;
	}
}

static void update_done(struct queue *q, struct qop *qo)
{
	struct update_op *o = (struct update_op *)qo;

	if (qo->op.result == QUEUE_OK)
		queue_take_places(q, o->changes, o->n);
}

#define CHANGES_AT_ONCE 1000

void queue_op_update(struct queue *q, const struct queue_change *changes, size_t n, int64_t next_ms,
		     int64_t life_from_ms, const char *route)
{
	for (size_t i = 0; i < n; i += CHANGES_AT_ONCE) {
		struct update_op *o = queue_new_op(sizeof(*o), update_apply, update_done, 0);
		o->n = n - i < CHANGES_AT_ONCE ? n - i : CHANGES_AT_ONCE;
		o->next_ms = next_ms;
		o->life_from_ms = life_from_ms;
		o->route = route ? talloc_strdup(o, route) : NULL;
		o->changes = talloc_memdup(o, changes + i, o->n * sizeof(*changes));
		if (!o->changes || (route && !o->route))
			fatal("out of memory");
		writer_put(q->writer, &o->q.op);
	}
}

/* --- outbox ------------------------------------------------------------------------------ */

struct forget_op {
	struct qop q;
	uint64_t seq;
};

static enum queue_result forget_apply(struct spool *s, struct op *op)
{
	return spool_outbox_forget(s, ((struct forget_op *)op)->seq);
}

static void forget_done(struct queue *q, struct qop *o)
{
	q->outbox_forgetting = false;
	if (q->outbox_acked > ((struct forget_op *)o)->seq && !q->closing)
		queue_op_forget(q, q->outbox_acked);
}

/* One at a time; what is acknowledged meanwhile goes with the next. */
void queue_op_forget(struct queue *q, uint64_t seq)
{
	if (q->outbox_forgetting)
		return;
	q->outbox_forgetting = true;
	struct forget_op *o = queue_new_op(sizeof(*o), forget_apply, forget_done, LINGER_FORGET_MS);
	o->seq = seq;
	writer_put(q->writer, &o->q.op);
}

struct record_op {
	struct qop q;
	uint8_t bytes[EVENT_MAX_BYTES];
	size_t len;
};

static enum queue_result record_apply(struct spool *s, struct op *op)
{
	struct record_op *o = (struct record_op *)op;

	return spool_record(s, o->bytes, o->len);
}

static void record_done(struct queue *q, struct qop *o)
{
	(void)o;
	queue_kick(q);
}

void queue_op_record(struct queue *q, const struct event *e)
{
	struct record_op *o = queue_new_op(sizeof(*o), record_apply, record_done, LINGER_RECORD_MS);

	o->len = event_encode(e, o->bytes, sizeof(o->bytes));
	bug_on(o->len == 0);
	writer_put(q->writer, &o->q.op);
}
