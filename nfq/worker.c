/*
 * worker - see worker.h.
 *
 * A thread holds the policy's read lock for one batch at a time. Refused sources go through a ring
 * with one writer and one reader; when it is full they are counted and left out, and no packet
 * waits for it.
 *
 * Trusted with: the verdicts. Diagnostics: worker_counts(). Known gaps: none.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "nfq/nlq.h"
#include "nfq/pkt.h"
#include "nfq/worker.h"

#define RING 8192 /* a power of two */

struct shared {
	pthread_rwlock_t lock;
	struct policy *policy;
	struct marks marks;
	int wake_fd;
};

struct worker {
	struct shared *shared;
	struct nlq *q;
	pthread_t thread;
	int stop_fd;
	int64_t now_ms; /* of the batch */
	unsigned fresh; /* sources learned in the batch */
	atomic_bool ended;
	atomic_uint_fast64_t by_rule[VERDICT_RULES], packets, verdict_errors, unreadable,
	    learned_lost;
	atomic_uint head, tail; /* written by the thread; by the main thread */
	struct addr ring[RING];
};

/* --- what is shared -------------------------------------------------------------- */

struct shared *shared_new(struct policy *policy, const struct marks *marks, int wake_fd)
{
	struct shared *s = calloc(1, sizeof *s);
	pthread_rwlockattr_t attr;
	if (!s || pthread_rwlockattr_init(&attr) != 0)
		fatal("out of memory");
	/* A change of policy must not wait for a flood to end. */
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	if (pthread_rwlock_init(&s->lock, &attr) != 0)
		fatal("out of memory");
	(void)pthread_rwlockattr_destroy(&attr);
	s->policy = policy;
	s->marks = *marks;
	s->wake_fd = wake_fd;
	return s;
}

void shared_free(struct shared *s)
{
	policy_free(s->policy);
	(void)pthread_rwlock_destroy(&s->lock);
	free(s);
}

const struct policy *shared_policy(const struct shared *s)
{
	return s->policy;
}

struct policy *shared_write_begin(struct shared *s)
{
	bug_on(pthread_rwlock_wrlock(&s->lock) != 0);
	return s->policy;
}

void shared_write_end(struct shared *s)
{
	bug_on(pthread_rwlock_unlock(&s->lock) != 0);
}

void shared_replace(struct shared *s, struct policy *policy)
{
	struct policy *old = shared_write_begin(s);
	s->policy = policy;
	shared_write_end(s);
	policy_free(old);
}

/* --- the thread ------------------------------------------------------------------ */

static void put_learned(struct worker *w, const struct addr *src)
{
	unsigned head = atomic_load_explicit(&w->head, memory_order_relaxed);
	unsigned tail = atomic_load_explicit(&w->tail, memory_order_acquire);
	if (head - tail >= RING) {
		atomic_fetch_add_explicit(&w->learned_lost, 1, memory_order_relaxed);
		return;
	}
	w->ring[head & (RING - 1)] = *src;
	atomic_store_explicit(&w->head, head + 1, memory_order_release);
	w->fresh++;
}

static void judge(const struct nlq_packet *p, void *arg)
{
	struct worker *w = arg;
	struct pkt pkt;
	pkt_parse(p->data, p->len, p->total, &pkt);
	const struct verdict v = verdict_decide(&pkt, w->shared->policy, w->now_ms);
	nlq_verdict(w->q, p->id, verdict_mark(&w->shared->marks, p->mark, v.allow));
	atomic_fetch_add_explicit(&w->by_rule[v.rule], 1, memory_order_relaxed);
	if (v.learn)
		put_learned(w, &pkt.src);
}

static int run_batch(struct worker *w)
{
	w->now_ms = clock_utc_ms();
	w->fresh = 0;
	bug_on(pthread_rwlock_rdlock(&w->shared->lock) != 0);
	int n = nlq_run(w->q, judge, w);
	bug_on(pthread_rwlock_unlock(&w->shared->lock) != 0);
	struct nlq_counts c = nlq_counts(w->q);
	atomic_store_explicit(&w->packets, c.packets, memory_order_relaxed);
	atomic_store_explicit(&w->verdict_errors, c.verdict_errors, memory_order_relaxed);
	atomic_store_explicit(&w->unreadable, c.unreadable, memory_order_relaxed);
	if (w->fresh > 0)
		(void)eventfd_write(w->shared->wake_fd, 1);
	return n;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct pollfd fds[2] = {{nlq_fd(w->q), POLLIN, 0}, {w->stop_fd, POLLIN, 0}};
	for (;;) {
		int n = run_batch(w);
		if (n < 0)
			break;
		if (n > 0)
			continue;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			return NULL;
	}
	log_event(LOG_CRIT, "-", "queue", "broken", LS("reason", strerror(errno)));
	atomic_store(&w->ended, true);
	(void)eventfd_write(w->shared->wake_fd, 1);
	return NULL;
}

static void pin(pthread_t thread, unsigned cpu)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpus > 0 ? cpu % (unsigned)cpus : 0, &set);
	/* A container may forbid it; it is only for speed. */
	(void)pthread_setaffinity_np(thread, sizeof set, &set);
}

struct worker *worker_start(struct shared *s, uint16_t queue, uint32_t max_packets, unsigned cpu,
			    char err[static 256])
{
	struct nlq *q = nlq_open(queue, max_packets, err);
	if (!q)
		return NULL;
	struct worker *w = calloc(1, sizeof *w);
	if (!w)
		fatal("out of memory");
	w->shared = s;
	w->q = q;
	w->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (w->stop_fd < 0)
		fatal_errno("cannot make an eventfd");
	errno = pthread_create(&w->thread, NULL, work, w);
	if (errno != 0)
		fatal_errno("cannot start a thread");
	pin(w->thread, cpu);
	return w;
}

/* --- from the main thread -------------------------------------------------------- */

unsigned worker_learned(struct worker *w, void (*fn)(const struct addr *src, void *arg), void *arg)
{
	unsigned tail = atomic_load_explicit(&w->tail, memory_order_relaxed);
	unsigned head = atomic_load_explicit(&w->head, memory_order_acquire);
	unsigned n = head - tail;
	for (; tail != head; tail++)
		fn(&w->ring[tail & (RING - 1)], arg);
	atomic_store_explicit(&w->tail, tail, memory_order_release);
	return n;
}

struct worker_counts worker_counts(const struct worker *w)
{
	struct worker_counts c = {.packets = atomic_load(&w->packets),
				  .verdict_errors = atomic_load(&w->verdict_errors),
				  .unreadable = atomic_load(&w->unreadable),
				  .learned_lost = atomic_load(&w->learned_lost)};
	for (size_t i = 0; i < VERDICT_RULES; i++)
		c.by_rule[i] = atomic_load(&w->by_rule[i]);
	return c;
}

bool worker_alive(const struct worker *w)
{
	return !atomic_load(&w->ended);
}

void worker_stop(struct worker *w)
{
	(void)eventfd_write(w->stop_fd, 1);
	(void)pthread_join(w->thread, NULL);
	nlq_close(w->q);
	(void)close(w->stop_fd);
	free(w);
}
