/*
 * writer - group commit.
 *
 * Purpose: one fsync for as many sessions as wait. Trusted with: the spool's writing handle.
 * Diagnostics: writer_stats(). Known gaps: none.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/queue/writer.h"

#define BATCH_MAX 2000
#define RETRY_MS  500

struct list {
	struct op *first, *last;
	size_t n;
};

struct writer {
	struct spool *spool;
	void (*done)(struct op *op, void *arg);
	void *arg;
	pthread_t thread;
	bool reserved; /* the thread's: the spool's reserve is kept */
	int wake_fd;   /* eventfd: completions for the main loop */
	struct event *wake;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t work, settled;
	struct list todo, finished;
	struct list kept;      /* must happen, failed; the thread's own between batches */
	int64_t deadline_ms;   /* when what lingers must go; INT64_MAX: nothing waits */
	uint64_t put, through; /* operations handed over, and those that are finished */
	bool stop;
	struct writer_stats stats;
};

static void push(struct list *l, struct op *op)
{
	op->next = NULL;
	*(l->last ? &l->last->next : &l->first) = op;
	l->last = op;
	l->n++;
}

static struct op *pop(struct list *l)
{
	struct op *op = l->first;

	if (!op)
		return NULL;
	l->first = op->next;
	if (!l->first)
		l->last = NULL;
	l->n--;
	op->next = NULL;
	return op;
}

/* --- the thread ------------------------------------------------------------------------ */

static void look_ahead(const struct spool *s, const struct op *op)
{
	if (op && op->key)
		spool_ahead(s, op->key);
}

static enum queue_result transaction(struct spool *s, struct op *first, struct op *end)
{
	look_ahead(s, first);
	enum queue_result r = spool_begin(s);

	for (struct op *op = first; op != end && r == QUEUE_OK; op = op->next) {
		look_ahead(s, op->next);
		r = op->apply(s, op);
	}
	if (r == QUEUE_OK)
		r = spool_commit(s);
	if (r != QUEUE_OK)
		spool_rollback(s);
	return r;
}

static bool is_new(const struct op *op)
{
	return !op->must && !op->tidy;
}

/* Without a reserve nothing new comes in. */
static void refuse_new(struct list *batch, struct list *ok)
{
	struct list rest = {.n = 0};
	struct op *op;

	while ((op = pop(batch))) {
		if (is_new(op))
			op->result = QUEUE_FULL;
		push(is_new(op) ? ok : &rest, op);
	}
	*batch = rest;
}

/* What must happen, or makes room, may use the reserve; then nothing new comes in until the disk
 * has it again. */
static enum queue_result alone(struct writer *w, struct op *op)
{
	if (is_new(op) && !w->reserved)
		return QUEUE_FULL;
	enum queue_result r = transaction(w->spool, op, NULL);
	if (r == QUEUE_FULL && !is_new(op) &&
	    spool_reserve_use(w->spool, op->must ? FOR_RESULTS : FOR_MOVING)) {
		w->reserved = false;
		log_event(LOG_CRIT, "-", "queue", "disk-full",
			  LS("action", "deliveries go on with the reserve, new mail is refused"));
		r = transaction(w->spool, op, NULL);
	}
	return r;
}

/* Find the ones that fail. Once something that must happen failed, everything of its kind after it
 * waits behind it: order matters among them. */
static void one_by_one(struct writer *w, struct list *batch, struct list *ok, struct list *kept)
{
	struct op *op;

	while ((op = pop(batch))) {
		if (op->must && kept->n) {
			push(kept, op);
			continue;
		}
		op->result = alone(w, op);
		push(op->result != QUEUE_OK && op->must ? kept : ok, op);
	}
}

static void run_batch(struct writer *w, struct list *batch, struct list *ok, struct list *kept)
{
	struct op *op;

	w->reserved = spool_reserve_keep(w->spool);
	bool full = !w->reserved;
	if (full)
		refuse_new(batch, ok);
	enum queue_result r = batch->n ? transaction(w->spool, batch->first, NULL) : QUEUE_FULL;
	if (full && r != QUEUE_OK) {
		one_by_one(w, batch, ok, kept);
	} else if (r != QUEUE_OK) {
		char why[sizeof(w->stats.why)];
		snprintf(why, sizeof(why), "%s", spool_why(w->spool));
		log_event(LOG_ERR, "-", "queue", "commit-failed", LS("why", why),
			  LI("operations", batch->n));
		pthread_mutex_lock(&w->lock);
		w->stats.failures++;
		memcpy(w->stats.why, why, sizeof(why));
		pthread_mutex_unlock(&w->lock);
		one_by_one(w, batch, ok, kept);
	}
	while ((op = pop(batch))) {
		op->result = QUEUE_OK;
		push(ok, op);
	}
	pthread_mutex_lock(&w->lock);
	w->stats.last = full ? QUEUE_FULL : r;
	w->stats.commits++;
	w->stats.ops += ok->n;
	w->stats.outbox_last = spool_outbox_last(w->spool);
	w->stats.stuck = kept->n > 0;
	pthread_mutex_unlock(&w->lock);
}

static void wait_until(struct writer *w, int64_t mono_ms)
{
	struct timespec t = {.tv_sec = (time_t)(mono_ms / 1000),
			     .tv_nsec = (long)(mono_ms % 1000) * 1000000};

	pthread_cond_timedwait(&w->work, &w->lock, &t);
}

/* With the lock. True: there is something to do now. */
static bool wait_for_work(struct writer *w)
{
	int64_t retry = w->kept.n ? clock_mono_ms() + RETRY_MS : INT64_MAX;

	while (!w->stop) {
		int64_t at = w->deadline_ms < retry ? w->deadline_ms : retry;
		if (at == INT64_MAX)
			pthread_cond_wait(&w->work, &w->lock);
		else if (at > clock_mono_ms())
			wait_until(w, at);
		else
			break;
	}
	return w->todo.n || w->kept.n;
}

static void take(struct writer *w, struct list *batch)
{
	struct op *op;

	*batch = w->kept;
	w->kept = (struct list){.n = 0};
	/* However many are kept: who waits behind them must have an answer. */
	for (size_t n = 0; n < BATCH_MAX && (op = pop(&w->todo)); n++)
		push(batch, op);
	if (!w->todo.n)
		w->deadline_ms = INT64_MAX;
}

static void give_back(struct writer *w, struct list *ok, const struct list *kept)
{
	struct op *op;
	bool wake = ok->n > 0;
	const uint64_t one = 1;

	w->through += ok->n;
	while ((op = pop(ok)))
		push(&w->finished, op);
	w->kept = *kept;
	pthread_cond_broadcast(&w->settled);
	if (wake && write(w->wake_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		bug("cannot wake the main loop");
}

static void *thread_main(void *arg)
{
	struct writer *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		bool more = wait_for_work(w);
		if (!more && w->stop)
			break;
		if (!more)
			continue;
		struct list batch, ok = {.n = 0}, kept = {.n = 0};
		bool last = w->stop && w->todo.n == 0;
		take(w, &batch);
		pthread_mutex_unlock(&w->lock);
		run_batch(w, &batch, &ok, &kept);
		pthread_mutex_lock(&w->lock);
		if (last)
			for (struct op *op; (op = pop(&kept));)
				push(&ok, op);
		give_back(w, &ok, &kept);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* --- the main thread -------------------------------------------------------------------- */

static void deliver(struct writer *w)
{
	pthread_mutex_lock(&w->lock);
	struct list l = w->finished;
	w->finished = (struct list){.n = 0};
	pthread_mutex_unlock(&w->lock);
	for (struct op *op; (op = pop(&l));)
		w->done(op, w->arg);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		bug("cannot read the eventfd of the queue");
	deliver(arg);
}

struct writer *writer_start(struct event_base *base, struct spool *s,
			    void (*done)(struct op *op, void *arg), void *arg, char **err)
{
	struct writer *w = calloc(1, sizeof(*w));
	pthread_condattr_t mono;

	if (!w)
		fatal("out of memory");
	*w = (struct writer){.spool = s,
			     .done = done,
			     .arg = arg,
			     .deadline_ms = INT64_MAX,
			     .reserved = spool_reserve_keep(s)};
	w->stats.outbox_last = spool_outbox_last(s);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, &mono);
	pthread_cond_init(&w->settled, &mono);
	pthread_condattr_destroy(&mono);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->wake =
	    w->wake_fd < 0 ? NULL : event_new(base, w->wake_fd, EV_READ | EV_PERSIST, on_wake, w);
	if (!w->wake || event_add(w->wake, NULL) < 0 ||
	    pthread_create(&w->thread, NULL, thread_main, w) != 0)
		fatal_errno("cannot start the queue's writer thread");
	*err = NULL;
	return w;
}

void writer_put(struct writer *w, struct op *op)
{
	int64_t at = op->linger_ms ? clock_mono_ms() + op->linger_ms : 0;

	pthread_mutex_lock(&w->lock);
	push(&w->todo, op);
	w->put++;
	bool sooner = at < w->deadline_ms;
	if (sooner)
		w->deadline_ms = at;
	pthread_mutex_unlock(&w->lock);
	if (sooner)
		pthread_cond_signal(&w->work);
}

bool writer_sync(struct writer *w, int timeout_ms)
{
	int64_t until = clock_mono_ms() + timeout_ms;
	struct timespec t = {.tv_sec = (time_t)(until / 1000),
			     .tv_nsec = (long)(until % 1000) * 1000000};
	bool ok;

	pthread_mutex_lock(&w->lock);
	uint64_t goal = w->put;
	if (w->todo.n)
		w->deadline_ms = 0;
	pthread_cond_signal(&w->work);
	while (!(ok = w->through >= goal) && !w->kept.n)
		if (pthread_cond_timedwait(&w->settled, &w->lock, &t) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&w->lock);
	return ok;
}

struct writer_stats writer_stats(struct writer *w)
{
	pthread_mutex_lock(&w->lock);
	struct writer_stats s = w->stats;
	pthread_mutex_unlock(&w->lock);
	return s;
}

void writer_stop(struct writer *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_mutex_unlock(&w->lock);
	pthread_cond_signal(&w->work);
	pthread_join(w->thread, NULL);
	deliver(w);
	event_free(w->wake);
	close(w->wake_fd);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->settled);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
