/*
 * queue - accepted mail between 250 and delivery, on the main loop.
 *
 * Purpose: hand messages to the writer, keep the index true, decide what is delivered when, offer
 * the outbox to accounting. Trusted with: <state_dir>/msa through spool and relay role.
 * Diagnostics: log lines under the queue id, metrics sekisho_msa_queue_*. Known gaps: one smart
 * host, so one schedule; what a bounce or delete asked of a message that is being delivered is not
 * remembered across a restart.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/queue_int.h"
#include "msa/queue/queue_leave.h"
#include "msa/queue/signer.h"

#define BURST_MS	   10 /* after an acceptance it goes on */
#define BURST_MESSAGES	   1000
#define TURN_MS		   25 /* between two: what comes meanwhile goes to the others in one piece */
#define HOUSEKEEPING_MS	   5000
#define DISK_LOOK_MS	   1000
#define OUTBOX_OUTSTANDING 256
#define EXPIRE_AT_ONCE	   200
#define EXPIRE_LOOKS	   20000
#define ID_COUNT	   (35 * 36 * 36) /* what begins with z is for msa/handover */

/* --- small things ------------------------------------------------------------------------ */

/* A system call a number would be a third of what making an id costs. */
uint32_t queue_random(void)
{
	static _Thread_local uint32_t some[64];
	static _Thread_local size_t left;
	uint32_t r;

	if (left == 0) {
		if (getrandom(some, sizeof(some), 0) != (ssize_t)sizeof(some))
			bug("getrandom failed");
		left = sizeof(some) / sizeof(some[0]);
	}
	r = some[--left];
	some[left] = 0; /* no number is in memory longer than it must be */
	return r;
}

static void base36(uint64_t v, char *out, int digits)
{
	while (digits--) {
		out[digits] = "0123456789abcdefghijklmnopqrstuvwxyz"[v % 36];
		v /= 36;
	}
}

static int64_t id_time(const char *id)
{
	int64_t v = 0;

	for (int i = 0; i < 9; i++)
		v = v * 36 + (id[i] <= '9' ? id[i] - '0' : id[i] - 'a' + 10);
	return v;
}

/* 9 digits of milliseconds, 3 that count within one, 4 that nobody can guess. A clock set back does
 * not set ids back. */
void queue_new_id(struct queue *q, int64_t now_ms, char out[static QUEUE_ID_LEN + 1])
{
	if (now_ms > q->id_ms) {
		q->id_ms = now_ms;
		q->id_n = 0;
	} else if (++q->id_n == ID_COUNT) {
		q->id_ms++;
		q->id_n = 0;
	}
	base36((uint64_t)q->id_ms, out, 9);
	base36(q->id_n, out + 9, 3);
	base36(queue_random(), out + 12, 4);
	out[QUEUE_ID_LEN] = '\0';
}

const char *queue_instance(const struct queue *q)
{
	return spool_instance(q->spool);
}

static void op_done(struct op *op, void *arg)
{
	struct qop *o = (struct qop *)op;

	o->done(arg, o);
	talloc_free(o);
}

void queue_kick_relay(struct queue *q)
{
	struct index_counts c = index_counts(q->ix);

	if (clock_mono_ms() - q->accepted_mono_ms < BURST_MS &&
	    c.queued - c.held - c.deferred < BURST_MESSAGES)
		queue_kick(q);
	else if (!q->closing)
		event_active(q->kick, EV_TIMEOUT, 0);
}

/* At once, when nothing was done lately: who waits for a reply is served before who delivers it. */
void queue_kick(struct queue *q)
{
	int64_t wait = q->turned_mono_ms + TURN_MS - clock_mono_ms();
	const struct timeval tv = {.tv_usec = wait * 1000};

	if (q->closing)
		return;
	if (wait <= 0 || wait > TURN_MS)
		event_active(q->kick, EV_TIMEOUT, 0);
	else if (!event_pending(q->kick, EV_TIMEOUT, NULL))
		event_add(q->kick, &tv);
}

/* --- may it come in? --------------------------------------------------------------------- */

static void look_at_disk(struct queue *q, int64_t mono_ms)
{
	struct statvfs v;

	if (q->disk_checked_mono_ms && mono_ms - q->disk_checked_mono_ms < DISK_LOOK_MS)
		return;
	q->disk_checked_mono_ms = mono_ms;
	if (statvfs(q->dir, &v) == 0)
		q->disk_free = (uint64_t)v.f_bavail * v.f_frsize;
}

/* After a commit that found the disk full, one message a second finds out whether it still is. */
static bool still_full(struct queue *q, int64_t mono_ms)
{
	if (writer_stats(q->writer).last != QUEUE_FULL)
		return false;
	spool_reader_trim(q->reader);
	if (mono_ms - q->full_probe_mono_ms < 1000)
		return true;
	q->full_probe_mono_ms = mono_ms;
	return false;
}

enum queue_result queue_may_accept(struct queue *q, const char *account, uint64_t size)
{
	const struct account *a = index_account(q->ix, account, false);
	uint64_t used = index_counts(q->ix).bytes + q->outbox_bytes;
	int64_t now = clock_mono_ms();

	if (q->closing)
		return QUEUE_ERROR;
	if (a && a->n_held >= (size_t)q->cfg.max_held_per_account)
		return QUEUE_FULL;
	if (size > (uint64_t)q->cfg.max_bytes ||
	    used + INDEX_OVERHEAD > (uint64_t)q->cfg.max_bytes - size)
		return QUEUE_FULL;
	look_at_disk(q, now);
	if (spool_room(q->spool) != ROOM_ENOUGH ||
	    q->disk_free < size + spool_keep(q->spool) + spool_results_missing(q->spool))
		return QUEUE_FULL;
	return still_full(q, now) ? QUEUE_FULL : QUEUE_OK;
}

/* --- submit ------------------------------------------------------------------------------ */

struct submit_op {
	struct qop q;
	struct spool_message m;
	uint8_t record[EVENT_MAX_BYTES];
	size_t record_len;
	uint8_t *own; /* the message's octets, or NULL: they are under this */
	int64_t place;
	void (*cb)(enum queue_result r, void *arg);
	void *arg;
};

static enum queue_result submit_apply(struct spool *s, struct op *op)
{
	struct submit_op *o = (struct submit_op *)op;
	enum queue_result r = o->m.data ? spool_add(s, &o->m) : QUEUE_ERROR;

	o->place = spool_place(s, o->m.key);
	return r == QUEUE_OK && o->record_len ? spool_record(s, o->record, o->record_len) : r;
}

static void submit_done(struct queue *q, struct qop *qo)
{
	struct submit_op *o = (struct submit_op *)qo;
	struct msg *m = index_find(q->ix, o->m.id);

	bug_on(!m);
	if (qo->op.result == QUEUE_OK) {
		metric_add(q->metric.accepted, 1);
		q->accepted_mono_ms = clock_mono_ms();
		m->place = o->place;
		index_set_state(q->ix, m, MSG_READY);
		queue_kick(q);
	} else {
		spool_reader_trim(q->reader);
		index_remove(q->ix, m);
	}
	free(o->own);
	o->cb(qo->op.result, o->arg);
}

static void submit_copy(struct submit_op *o, const struct queue_msg *m)
{
	struct queue_rcpt *rcpts = talloc_array(o, struct queue_rcpt, m->n_rcpts);

	o->m = (struct spool_message){
	    .id = talloc_strdup(o, m->id),
	    .account = talloc_strdup(o, m->account),
	    .mail_from = talloc_strdup(o, m->mail_from),
	    .mail_from_out = talloc_strdup(o, m->mail_from_out),
	    .rcpts = rcpts,
	    .n_rcpts = m->n_rcpts,
	    .data = m->own ? m->own : talloc_memdup(o, m->data, m->len),
	    .len = m->len,
	    .esmtp = m->esmtp,
	    .received_ms = m->received_ms,
	};
	o->own = m->own;
	o->m.esmtp.envid = m->esmtp.envid ? talloc_strdup(o, m->esmtp.envid) : NULL;
	for (uint32_t i = 0; rcpts && i < m->n_rcpts; i++) {
		rcpts[i] = m->rcpts[i];
		rcpts[i].address = talloc_strdup(o, m->rcpts[i].address);
		if (m->rcpts[i].esmtp.orcpt)
			rcpts[i].esmtp.orcpt = talloc_strdup(o, m->rcpts[i].esmtp.orcpt);
	}
	/* A message too large for memory is refused in apply(); a few bytes that are not there end
	 * the process. */
	if (!o->m.id || !o->m.account || !o->m.mail_from || !o->m.mail_from_out || !rcpts)
		fatal("out of memory");
}

static void submit_event(struct submit_op *o, const struct event *e, bool held)
{
	struct event copy = *e;

	if (copy.kind == EVENT_MESSAGE)
		copy.u.message.held |= held;
	o->m.src = e->src;
	o->m.src_port = e->src_port;
	o->record_len = event_encode(&copy, o->record, sizeof(o->record));
	bug_on(o->record_len == 0);
}

static void set_dest(struct queue *q, struct msg *im, const struct submit_op *o)
{
	const char **v = talloc_array(NULL, const char *, o->m.n_rcpts);

	if (!v)
		fatal("out of memory");
	for (uint32_t i = 0; i < o->m.n_rcpts; i++)
		v[i] = o->m.rcpts[i].address;
	char *text = spool_dests(v, o->m.n_rcpts);
	index_set_dest(q->ix, im, text);
	relay_set_lane(q, im);
	free(text);
	talloc_free(v);
}

void queue_submit(struct queue *q, const struct queue_msg *m, bool hold,
		  void (*cb)(enum queue_result r, void *arg), void *arg)
{
	struct submit_op *o = talloc_zero(NULL, struct submit_op);
	struct msg *im;

	if (!o)
		fatal("out of memory");
	bug_on(!queue_id_valid(m->id) || m->n_rcpts == 0 || queue_has(q, m->id));
	o->q.op.apply = submit_apply;
	o->q.done = submit_done;
	o->cb = cb;
	o->arg = arg;
	submit_copy(o, m);
	o->m.key = o->q.op.key = queue_id_key(m->id);
	o->m.hold = hold ? HOLD_PENALTY : 0;
	im = index_add(q->ix, m->id, m->account, m->len, m->received_ms);
	set_dest(q, im, o);
	im->hold = o->m.hold;
	index_update(q->ix, im);
	if (m->event)
		submit_event(o, m->event, index_is_held(im));
	/* Between two looks at the disk it is ours to count. */
	q->disk_free -= q->disk_free < m->len ? q->disk_free : m->len;
	writer_put(q->writer, &o->q.op);
}

void queue_event(struct queue *q, const struct event *e)
{
	/* The outbox has a bound: what belongs to no message gives way first, then messages
	 * (queue_may_accept). */
	bool full =
	    q->outbox_bytes >= (uint64_t)q->cfg.max_bytes / 2 || spool_room(q->spool) == ROOM_TIGHT;

	if (full != q->outbox_full)
		log_event(full ? LOG_ERR : LOG_NOTICE, "-", "queue",
			  full ? "outbox-full" : "outbox-has-room", LI("bytes", q->outbox_bytes));
	q->outbox_full = full;
	if (full)
		metric_add(q->metric.events_lost, 1);
	else if (!q->closing)
		queue_op_record(q, e);
}

/* --- holds ------------------------------------------------------------------------------- */

void queue_hold_account(struct queue *q, const char *account, const char *why)
{
	struct account *a = index_account(q->ix, account, true);

	if (a->held && strcmp(a->why, why) == 0)
		return;
	log_event(LOG_NOTICE, "-", "queue", "hold", LS("account", account), LI("messages", a->n),
		  LS("why", why));
	index_hold_account(q->ix, a, true, why);
	queue_op_hold_account(q, account, why);
	for (const struct msg *m = a->first; m; m = m->account_next)
		if (m->state == MSG_ACTIVE)
			relay_recall(q, m);
}

static void release(struct queue *q, struct account *a)
{
	int64_t now = clock_utc_ms();
	struct queue_change *c = talloc_array(NULL, struct queue_change, a->n + 1);
	size_t n = 0;

	if (!c)
		fatal("out of memory");
	log_event(LOG_NOTICE, "-", "queue", "release", LS("account", a->name),
		  LI("messages", a->n));
	queue_op_hold_account(q, a->name, NULL);
	for (struct msg *m = a->first; m; m = m->account_next) {
		m->hold &= (uint8_t)~HOLD_PENALTY;
		m->next_ms = m->life_from_ms = now;
		c[n++] = (struct queue_change){.key = m->key, .hold = m->hold};
		index_update(q->ix, m);
	}
	queue_op_update(q, c, n, now, now, NULL);
	talloc_free(c);
	index_hold_account(q->ix, a, false, "");
	queue_kick(q);
}

static bool account_has_penalty(const struct account *a)
{
	bool any = a->held;

	for (const struct msg *m = a->n_held ? a->first : NULL; m && !any; m = m->account_next)
		any = m->hold & HOLD_PENALTY;
	return any;
}

void queue_release_account(struct queue *q, const char *account)
{
	struct account *a = index_account(q->ix, account, false);

	if (a && account_has_penalty(a))
		release(q, a);
}

struct sync {
	const char *const *held;
	size_t n;
	char **stale; /* talloc'd array of names to release */
	size_t n_stale;
};

static void collect_stale(struct account *a, void *arg)
{
	struct sync *s = arg;

	if (!account_has_penalty(a))
		return;
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->held[i], a->name) == 0)
			return;
	s->stale = talloc_realloc(NULL, s->stale, char *, s->n_stale + 1);
	char *name = s->stale ? talloc_strdup(s->stale, a->name) : NULL;
	if (!name)
		fatal("out of memory");
	s->stale[s->n_stale++] = name;
}

void queue_holds_synced(struct queue *q, const char *const *held, size_t n)
{
	struct sync s = {.held = held, .n = n};

	for (size_t i = 0; i < n; i++) {
		const struct account *a = index_account(q->ix, held[i], false);
		if (!a || !a->held)
			queue_hold_account(q, held[i], "held");
	}
	index_each_account(q->ix, collect_stale, &s);
	for (size_t i = 0; i < s.n_stale; i++)
		queue_release_account(q, s.stale[i]);
	talloc_free(s.stale);
}

void queue_suspect_account(struct queue *q, const char *account, bool suspect)
{
	struct account *a = index_account(q->ix, account, suspect);

	if (a)
		index_suspect_account(q->ix, a, suspect);
}

/* --- outbox ------------------------------------------------------------------------------ */

static bool offer_row(uint64_t seq, uint32_t n, const uint8_t *records, size_t len, void *arg)
{
	struct queue *q = arg;

	if (!q->h.outbox(seq, n, records, len, q->arg)) {
		q->outbox_blocked = true;
		return false;
	}
	q->outbox_offered = seq;
	return q->outbox_offered - q->outbox_acked < OUTBOX_OUTSTANDING;
}

static void offer_outbox(struct queue *q)
{
	uint64_t after = q->outbox_offered > q->outbox_acked ? q->outbox_offered : q->outbox_acked;

	if (!q->h.outbox || q->outbox_blocked || after >= writer_stats(q->writer).outbox_last ||
	    after - q->outbox_acked >= OUTBOX_OUTSTANDING)
		return;
	if (!spool_read_outbox(q->spool, q->reader, after, offer_row, q))
		log_event(LOG_ERR, "-", "queue", "outbox-unreadable", LI("after", after));
}

void queue_outbox_kick(struct queue *q)
{
	q->outbox_blocked = false;
	q->outbox_offered = q->outbox_acked;
	queue_kick(q);
}

void queue_outbox_acked(struct queue *q, uint64_t seq)
{
	if (seq <= q->outbox_acked || seq > writer_stats(q->writer).outbox_last)
		return;
	q->outbox_acked = seq;
	queue_op_forget(q, seq);
	queue_kick(q);
}

/* --- the loop ---------------------------------------------------------------------------- */

void queue_apply_wish(struct queue *q, struct msg *m)
{
	enum msg_wish w = (enum msg_wish)m->wish;

	if (w == WISH_NONE || m->state != MSG_READY || q->closing)
		return;
	m->wish = WISH_NONE;
	if (w == WISH_DELETE)
		queue_op_settle_all(q, m, "5.7.0",
				    "deleted by the operator; the sender was not told", true);
	else
		queue_op_settle_all(q, m, "5.7.0", "returned by the operator", false);
}

/* With the smart host away for long, mail that never got an attempt grows too old as well. */
static void expire(struct queue *q, int64_t now)
{
	int left = EXPIRE_AT_ONCE, looks = EXPIRE_LOOKS;

	if (!q->relay.host_down_ms || now - q->relay.host_down_ms < 60000)
		return;
	struct msg *m = index_above(q->ix, q->expire_after), *next;
	for (; m && left && looks && now - m->received_ms >= q->cfg.lifetime_ms; m = next) {
		next = m->next;
		looks--;
		q->expire_after = m->key;
		if (m->state != MSG_READY || index_is_held(m) ||
		    now - m->life_from_ms < q->cfg.lifetime_ms)
			continue;
		queue_op_settle_all(
		    q, m, "5.4.7",
		    "given up after too long: the next mail server could not be reached", false);
		left--;
	}
	if (left && looks) /* through: from the oldest on again */
		q->expire_after = -1;
}

static void housekeeping(struct queue *q, int64_t now)
{
	int64_t mono = clock_mono_ms();

	if (q->housekept_mono_ms && mono - q->housekept_mono_ms < HOUSEKEEPING_MS)
		return;
	q->housekept_mono_ms = mono;
	q->outbox_bytes = spool_outbox_bytes(q->spool);
	spool_reader_trim(q->reader);
	metric_set(q->metric.quarantined,
		   (int64_t)spool_read_damaged(q->reader, NULL, 0, NULL, NULL));
	queue_op_clean(q);
	expire(q, now);
	offer_outbox(q);
}

static void refresh_metrics(struct queue *q)
{
	struct index_counts c = index_counts(q->ix);
	struct writer_stats s = writer_stats(q->writer);

	metric_set(q->metric.queued, (int64_t)c.queued);
	metric_set(q->metric.held, (int64_t)c.held);
	metric_set(q->metric.active, (int64_t)c.active);
	metric_set(q->metric.bytes, (int64_t)c.bytes);
	metric_set(q->metric.oldest,
		   index_first(q->ix) ? index_first(q->ix)->received_ms / 1000 : 0);
	metric_set(q->metric.commits, (int64_t)s.commits);
	metric_set(q->metric.operations, (int64_t)s.ops);
	metric_set(q->metric.failures, (int64_t)s.failures);
	metric_set(q->metric.outbox, (int64_t)(s.outbox_last - q->outbox_acked));
	metric_set(q->metric.host_up, q->relay.host_up);
	metric_set(q->metric.unread, (int64_t)c.unread);
	metric_set(q->metric.room, spool_room(q->spool));
	spool_set_results(q->spool, c.results);
}

static void arm_timer(struct queue *q, int64_t now)
{
	int64_t wait = q->relay.ready ? index_next(q->ix) : INT64_MAX;

	/* What is due already waits for the relay's window, not for time. */
	wait = wait == INT64_MAX || wait <= now || wait - now > HOUSEKEEPING_MS ? HOUSEKEEPING_MS
										: wait - now;
	struct timeval tv = {.tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000};
	event_add(q->timer, &tv);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;
	int64_t now = clock_utc_ms();

	(void)fd;
	(void)what;
	q->turned_mono_ms = clock_mono_ms();
	relay_tell_committed(q);
	housekeeping(q, now);
	relay_dispatch(q, now);
	offer_outbox(q);
	refresh_metrics(q);
	arm_timer(q, now);
}

/* --- open and close ---------------------------------------------------------------------- */

static void load_message(const struct spool_row *r, void *arg)
{
	struct queue *q = arg;
	struct msg *m = index_add(q->ix, r->id, r->account, r->size, r->received_ms);

	m->place = r->place;
	m->routed = r->routed;
	index_set_dest(q->ix, m, r->dests);
	relay_set_lane(q, m);
	m->life_from_ms = r->life_from_ms;
	m->next_ms = r->next_ms;
	m->attempts = r->attempts;
	m->hold = r->hold;
	index_set_state(q->ix, m, MSG_READY);
	if (id_time(r->id) > q->id_ms)
		q->id_ms = id_time(r->id);
}

static void load_hold(const char *account, const char *why, void *arg)
{
	struct queue *q = arg;

	index_hold_account(q->ix, index_account(q->ix, account, true), true, why);
}

static void make_answer_metrics(struct queue *q)
{
	for (int i = 0; i < ANSWER_CLASSES; i++) {
		char *label = talloc_asprintf(q, "class=\"%s\"", answer_class_name(i));
		if (!label)
			fatal("out of memory");
		q->metric.answers[i] =
		    metric_new(METRIC_COUNTER, "sekisho_msa_queue_answers_total", label,
			       "Outcomes of recipients, by what the answer says.");
	}
}

static void make_metrics(struct queue *q)
{
#define M(what, type, name, help)                                                                  \
	q->metric.what = metric_new(type, "sekisho_msa_queue_" name, NULL, help)
	M(queued, METRIC_GAUGE, "messages", "Messages in the spool.");
	M(held, METRIC_GAUGE, "held", "Messages on hold.");
	M(active, METRIC_GAUGE, "active", "Messages with the relay role.");
	M(bytes, METRIC_GAUGE, "bytes", "Bytes of the messages in the spool.");
	M(oldest, METRIC_GAUGE, "oldest_timestamp_seconds",
	  "Arrival of the oldest message; 0 when empty.");
	M(commits, METRIC_COUNTER, "commits_total", "Transactions of the spool.");
	M(operations, METRIC_COUNTER, "operations_total",
	  "Operations in them; more a commit means better sharing of syncs.");
	M(failures, METRIC_COUNTER, "commit_failures_total", "Transactions that failed.");
	M(outbox, METRIC_GAUGE, "outbox_batches", "Event batches accounting has not acknowledged.");
	M(events_lost, METRIC_COUNTER, "events_lost_total",
	  "Events of no message that the full outbox did not take.");
	M(accepted, METRIC_COUNTER, "accepted_total", "Messages stored for a session.");
	M(delivered, METRIC_COUNTER, "delivered_total", "Recipients the smart host took.");
	M(bounced, METRIC_COUNTER, "bounced_total", "Recipients that failed for good.");
	M(deferred, METRIC_COUNTER, "deferred_total",
	  "Attempts on a recipient that failed for now.");
	M(notices, METRIC_COUNTER, "notices_total", "Notices made, summaries included.");
	M(summarized, METRIC_COUNTER, "notices_summarized_total",
	  "Notices above the ceiling of their receiver, listed in a summary.");
	M(withheld, METRIC_COUNTER, "notices_withheld_total",
	  "Notices not made: their message is of an account that is held or suspected, and names "
	  "another sender.");
	M(damaged, METRIC_COUNTER, "damaged_total",
	  "Messages that could not be read from the spool and were put aside.");
	M(read_errors, METRIC_COUNTER, "read_errors_total",
	  "Times that the disk did not give a message; it stays and is tried again.");
	M(unread, METRIC_GAUGE, "unreadable", "Messages that the disk did not give the last time.");
	M(quarantined, METRIC_GAUGE, "quarantined",
	  "Damaged pieces of the spool in its folder damaged/.");
	M(unwritten, METRIC_COUNTER, "deferrals_unwritten_total",
	  "Deferrals that were not written down because the disk is short.");
	M(room, METRIC_GAUGE, "disk_room",
	  "0: enough; 1: short, new mail is refused; 2: tight, notices wait, too.");
	M(double_bounces, METRIC_COUNTER, "double_bounces_total",
	  "Failures of mail from the null sender, told to the postmaster.");
	M(relay_starts, METRIC_COUNTER, "relay_starts_total", "Starts of the relay role.");
	M(host_up, METRIC_GAUGE, "smarthost_up",
	  "1 when the last connection to the smart host worked.");
#undef M
	make_answer_metrics(q);
}

static void copy_config(struct queue *q, const struct queue_config *c)
{
	q->cfg = *c;
	q->cfg.state_dir = talloc_strdup(q, c->state_dir);
	q->cfg.hostname = talloc_strdup(q, c->hostname);
	q->cfg.smarthost = talloc_strdup(q, c->smarthost);
	q->cfg.postmaster = talloc_strdup(q, c->postmaster);
	q->cfg.smarthost_name = talloc_strdup(q, c->smarthost_name ? c->smarthost_name : "");
	q->cfg.smarthost_ca = talloc_strdup(q, c->smarthost_ca ? c->smarthost_ca : "");
	q->cfg.dns_server = talloc_strdup(q, c->dns_server ? c->dns_server : "");
	q->cfg.dns_anchor = talloc_strdup(q, c->dns_anchor ? c->dns_anchor : "");
	q->cfg.self = talloc_strdup(q, c->self ? c->self : "");
	q->cfg.relay_ca = talloc_strdup(q, c->relay_ca ? c->relay_ca : "");
	q->routes = c->routes;
	q->answers = c->answers;
	q->cfg.exe = talloc_strdup(q, c->exe ? c->exe : "/proc/self/exe");
	q->dir = talloc_asprintf(q, "%s/msa", c->state_dir);
	q->spool_path = talloc_asprintf(q, "%s/spool", q->dir);
	if (!q->cfg.state_dir || !q->cfg.hostname || !q->cfg.smarthost || !q->cfg.postmaster ||
	    !q->cfg.dns_server || !q->cfg.dns_anchor || !q->cfg.self || !q->cfg.relay_ca ||
	    !q->cfg.smarthost_name || !q->cfg.smarthost_ca || !q->cfg.exe || !q->dir ||
	    !q->spool_path)
		fatal("out of memory");
}

static bool open_spool(struct queue *q, char **err)
{
	struct dsn_host host = {q->cfg.hostname, q->cfg.postmaster};

	if (mkdir(q->dir, 0700) < 0 && errno != EEXIST) {
		*err = strdup(strerror(errno));
		return false;
	}
	q->spool = spool_open(q->spool_path, &host, err);
	if (q->spool) {
		spool_set_notices(q->spool, (uint32_t)q->cfg.notices_per_hour);
		spool_set_keep(q->spool, (uint64_t)q->cfg.keep_bytes);
	}
	return q->spool && spool_load(q->spool, load_message, load_hold, q, err) &&
	       (q->reader = spool_reader_open(q->spool_path, err)) &&
	       (q->writer = writer_start(q->base, q->spool, op_done, q, err));
}

struct queue *queue_open(struct event_base *base, const struct queue_config *cfg,
			 const struct queue_handlers *h, void *arg, char **err)
{
	struct queue *q = talloc_zero(NULL, struct queue);

	if (!q)
		fatal("out of memory");
	q->base = base;
	q->h = *h;
	q->arg = arg;
	copy_config(q, cfg);
	q->ix = index_new();
	q->expire_after = -1;
	if (!open_spool(q, err)) {
		spool_reader_close(q->reader);
		spool_close(q->spool);
		index_free(q->ix);
		talloc_free(q);
		return NULL;
	}
	make_metrics(q);
	q->kick = event_new(base, -1, 0, on_turn, q);
	q->timer = event_new(base, -1, 0, on_turn, q);
	if (!q->kick || !q->timer)
		fatal("out of memory");
	struct index_counts c = index_counts(q->ix);
	log_event(LOG_INFO, "-", "queue", "opened", LI("messages", c.queued), LI("held", c.held),
		  LI("bytes", c.bytes), LS("instance", queue_instance(q)));
	queue_kick(q);
	return q;
}

void queue_set_dkim(struct queue *q, const struct dkim_table *keys)
{
	signer_set(spool_signer(q->spool), keys);
}

void queue_set_answers(struct queue *q, const struct answer_table *answers)
{
	q->answers = answers;
}

bool queue_start(struct queue *q, char **err)
{
	return !q->cfg.start_relay || relay_start(q, err);
}

void queue_close(struct queue *q)
{
	if (!q)
		return;
	relay_stop(q);
	q->closing = true;
	writer_stop(q->writer);
	event_free(q->kick);
	event_free(q->timer);
	spool_reader_close(q->reader);
	spool_close(q->spool);
	index_free(q->ix);
	log_event(LOG_INFO, "-", "queue", "closed");
	talloc_free(q);
}
