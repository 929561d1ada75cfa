/*
 * queue_house - keeping the spool tidy: messages are moved out of segments that are partly empty,
 * and what could not be read is looked at.
 *
 * Purpose: a little at a time, and on as long as there is something to do. Trusted with: nothing of
 * its own. Diagnostics: log lines "damaged", "unreadable". Known gaps: none.
 */
#include <stdlib.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/queue_int.h"
#include "msa/queue/schedule.h"

#define MOVE_AT_ONCE 500
#define MOVE_BYTES   (1u << 20)
#define LINGER_MS    100 /* moves share a sync with whoever comes */
#define VAIN_MAX     16	 /* looks in turn that found nothing to move */

struct find_op {
	struct qop q;
	int64_t *keys; /* malloc'd */
	size_t n;
	uint32_t seg;
	bool more;
};

static enum queue_result find_apply(struct spool *s, struct op *op)
{
	struct find_op *o = (struct find_op *)op;

	free(o->keys);
	o->keys = spool_stragglers(s, MOVE_AT_ONCE, MOVE_BYTES, &o->n, &o->seg, &o->more);
	return QUEUE_OK;
}

struct move_op {
	struct qop q;
	uint32_t seg;
	bool more;
	size_t n;
	struct queue_change c[MOVE_AT_ONCE];
};

static enum queue_result move_apply(struct spool *s, struct op *op)
{
	struct move_op *o = (struct move_op *)op;
	enum queue_result r = spool_move_rows(s, o->seg);

	for (size_t i = 0; r == QUEUE_OK && i < o->n; i++) {
		r = spool_move(s, o->c[i].key);
		o->c[i].place = spool_place(s, o->c[i].key);
	}
	return r;
}

static void look_for_more(struct queue *q);

static void move_done(struct queue *q, struct qop *qo)
{
	struct move_op *o = (struct move_op *)qo;

	if (qo->op.result == QUEUE_OK)
		queue_take_places(q, o->c, o->n);
	for (size_t i = 0; i < o->n; i++) {
		struct msg *m = index_above(q->ix, o->c[i].key - 1);
		if (!m || m->key != o->c[i].key)
			continue;
		if (--m->settling == 0 && m->state == MSG_SETTLING)
			index_set_state(q->ix, m, MSG_READY);
		queue_apply_wish(q, m);
	}
	q->cleaning = false;
	q->moved_in_vain = o->n ? 0 : q->moved_in_vain + 1;
	if (qo->op.result == QUEUE_OK && o->more && q->moved_in_vain < VAIN_MAX && !q->closing)
		look_for_more(q);
	queue_kick(q);
}

/* What is with the relay is being read: it stays. The rest is out of delivery while it moves. */
static void find_done(struct queue *q, struct qop *qo)
{
	struct find_op *f = (struct find_op *)qo;
	struct move_op *o = queue_new_op(sizeof(*o), move_apply, move_done, LINGER_MS);

	o->q.op.must = false;
	o->q.op.tidy = true;
	o->seg = f->seg;
	o->more = f->more;
	for (size_t i = 0; f->keys && i < f->n; i++) {
		struct msg *m = index_above(q->ix, f->keys[i] - 1);
		if (!m || m->key != f->keys[i] || m->state != MSG_READY)
			continue;
		m->settling++;
		index_set_state(q->ix, m, MSG_SETTLING);
		o->c[o->n++].key = m->key;
	}
	free(f->keys);
	if (f->seg && !q->closing) {
		writer_put(q->writer, &o->q.op);
		return;
	}
	q->cleaning = false;
	talloc_free(o);
}

static void look_for_more(struct queue *q)
{
	q->cleaning = true;
	struct find_op *o = queue_new_op(sizeof(*o), find_apply, find_done, 0);
	o->q.op.must = false;
	o->q.op.tidy = true;
	writer_put(q->writer, &o->q.op);
}

void queue_op_clean(struct queue *q)
{
	q->moved_in_vain = 0;
	if (!q->cleaning)
		look_for_more(q);
}

/* --- what could not be read ---------------------------------------------------------------- */

struct check_op {
	struct qop q;
	int64_t key;
	enum spool_found found;
};

static enum queue_result check_apply(struct spool *s, struct op *op)
{
	struct check_op *o = (struct check_op *)op;

	return spool_check(s, o->key, &o->found);
}

/* An error of the disk is no damage: the message stays, and is tried again later and later. */
static void later(struct queue *q, struct msg *m)
{
	index_set_unread(q->ix, m, true);
	int64_t wait =
	    schedule_delay(q->cfg.retry_min_ms, q->cfg.retry_max_ms, m->unread, queue_random());
	metric_add(q->metric.read_errors, 1);
	log_event(LOG_CRIT, m->id, "queue", "unreadable", LI("times", m->unread),
		  LI("wait_ms", wait), LS("action", "the disk does not give it; tried again"));
	m->next_ms = clock_utc_ms() + wait;
}

static void check_done(struct queue *q, struct qop *qo)
{
	struct check_op *o = (struct check_op *)qo;
	struct msg *m = index_above(q->ix, o->key - 1);

	if (!m || m->key != o->key)
		return;
	m->settling--;
	if (qo->op.result == QUEUE_OK && o->found == SPOOL_DAMAGED) {
		log_event(
		    LOG_CRIT, m->id, "queue", "damaged", LS("account", m->account->name),
		    LS("action", "the message was put aside in damaged/; it is not delivered"));
		metric_add(q->metric.damaged, 1);
		index_remove(q->ix, m);
		queue_kick(q);
		return;
	}
	if (o->found == SPOOL_FAILED)
		later(q, m);
	else
		index_set_unread(q->ix, m, false);
	if (!m->settling && m->state == MSG_SETTLING)
		index_set_state(q->ix, m, MSG_READY);
	index_update(q->ix, m);
	queue_apply_wish(q, m);
	queue_kick(q);
}

void queue_op_check(struct queue *q, struct msg *m)
{
	struct check_op *o = queue_new_op(sizeof(*o), check_apply, check_done, 0);

	o->key = o->q.op.key = m->key;
	m->settling++;
	index_set_state(q->ix, m, MSG_SETTLING);
	writer_put(q->writer, &o->q.op);
}
