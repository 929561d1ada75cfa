/*
 * worker - see worker.h.
 *
 * A thread waits in recvmmsg(2), not in poll(2): two system calls a batch, and no lock while it
 * waits. It holds the policy's read lock for one batch at a time. Refused packets go through a ring
 * with one writer and one reader; when it is full they are counted and left out, and no packet
 * waits for it. Counters have one writer, so they are stores, not locked additions.
 *
 * Trusted with: the verdicts. Diagnostics: worker_counts(). Known gaps: none.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "nfq/pkt.h"
#include "nfq/ksync.h"
#include "nfq/meter.h"
#include "nfq/worker.h"

#define GATE_BURST_S 10		/* as the gate of the rules */
#define RING	     8192	/* a power of two */
#define SIGHTS	     (1u << 18) /* a power of two */
#define SIGHT_S	     60
#define KEEP_S	     10	 /* so long a line keeps its place */
#define EVICT	     8	 /* but for one in so many that come */
#define FIRSTS	     500 /* a second that are told although they came once */

struct shared {
	pthread_rwlock_t lock;
	struct policy *policy;
	struct verdict_lines *lines;
	uint64_t replaced;
	struct marks marks;
	int wake_fd;
	atomic_int_fast64_t gate; /* refusals a second that walk the rules once more */
	struct meter *meter;
	atomic_bool settling;
	atomic_uint agains; /* lines a second that are told because they came again */
	/* Lines refused lately: hash and second of each, the last one of its place. */
	uint64_t seed;
	atomic_uint_fast32_t tick;
	atomic_uint_fast64_t sights[SIGHTS];
};

struct worker {
	struct shared *shared;
	struct nlq *q;
	pthread_t thread;
	int64_t now_ms;		    /* of the batch */
	int64_t gate_ms, gate_left; /* monotonic; thousandths of packets */
	uint64_t dropped;
	struct tally_slot *tally;
	unsigned fresh; /* packets put into the ring in the batch */
	uint64_t rules[VERDICT_RULES];
	int64_t budget_s; /* the second of the budgets */
	unsigned firsts, agains;
	atomic_bool ended, stop;
	atomic_uint_fast64_t by_rule[VERDICT_RULES], packets, verdict_errors, unreadable,
	    learned_lost, batches;
	/* whose who looks */
	uint64_t seen_batches;
	int64_t moved_ms; /* monotonic: when it was last seen to move, or nothing to wait */
	atomic_uint_least32_t waiting, drops;
	atomic_bool stalled;
	atomic_uint head, tail; /* written by the thread; by the main thread */
	struct worker_refused ring[RING];
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
	s->lines = talloc_zero(NULL, struct verdict_lines);
	if (!s->lines)
		fatal("out of memory");
	s->lines->delegated = 64;
	/* Who sends packets must not know which lines share a place. */
	if (getrandom(&s->seed, sizeof s->seed, 0) != (ssize_t)sizeof s->seed)
		fatal_errno("no random bytes");
	s->marks = *marks;
	s->wake_fd = wake_fd;
	s->gate = INT32_MAX;
	s->meter = meter_new();
	s->settling = true;
	return s;
}

void shared_free(struct shared *s)
{
	policy_free(s->policy);
	talloc_free(s->lines);
	meter_free(s->meter);
	(void)pthread_rwlock_destroy(&s->lock);
	free(s);
}

void shared_set_rates(struct shared *s, int64_t gate, unsigned learn)
{
	atomic_store_explicit(&s->gate, gate, memory_order_relaxed);
	atomic_store_explicit(&s->agains, learn, memory_order_relaxed);
}

void shared_settle(struct shared *s, bool settling)
{
	atomic_store_explicit(&s->settling, settling, memory_order_relaxed);
}

const struct policy *shared_policy(const struct shared *s)
{
	return s->policy;
}

struct policy *shared_policy_edges(struct shared *s)
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
	s->replaced++;
	shared_write_end(s);
	policy_free(old);
}

void shared_set_lines(struct shared *s, struct verdict_lines *lines)
{
	(void)shared_write_begin(s);
	struct verdict_lines *old = s->lines;
	s->lines = lines;
	shared_write_end(s);
	talloc_free(old);
}

const struct verdict_lines *shared_lines(const struct shared *s)
{
	return s->lines;
}

const struct policy *shared_read_begin(struct shared *s, uint64_t *replaced)
{
	bug_on(pthread_rwlock_rdlock(&s->lock) != 0);
	*replaced = s->replaced;
	return s->policy;
}

void shared_read_end(struct shared *s)
{
	bug_on(pthread_rwlock_unlock(&s->lock) != 0);
}

/* --- the thread ------------------------------------------------------------------ */

/*
 * Was this line seen within a minute? It is now. A place that another line took lately is left to
 * it most of the time: in a flood from more lines than there are places all would push each other
 * out, and none be seen twice.
 */
static bool seen(struct shared *s, const struct addr *line, int64_t now_s)
{
	uint64_t x, y;
	memcpy(&x, line->b, 8);
	memcpy(&y, line->b + 8, 8);
	/* What differs comes last in an address, in the high bits: fold it down, twice. */
	x ^= y * 0x9e3779b97f4a7c15u ^ s->seed;
	x = (x ^ x >> 32) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 32) * 0x94d049bb133111ebu;
	x ^= x >> 32;
	atomic_uint_fast64_t *place = &s->sights[x & (SIGHTS - 1)];
	uint64_t held = atomic_load_explicit(place, memory_order_relaxed);
	uint32_t tag = (uint32_t)(x >> 32), now = (uint32_t)now_s, age = now - (uint32_t)held;
	if (held >> 32 == tag && age < SIGHT_S) {
		atomic_store_explicit(place, 0, memory_order_relaxed);
		return true;
	}
	if (held == 0 || age >= KEEP_S ||
	    atomic_fetch_add_explicit(&s->tick, 1, memory_order_relaxed) % EVICT == 0)
		atomic_store_explicit(place, (uint64_t)tag << 32 | now, memory_order_relaxed);
	return false;
}

/* A flood must not be the main thread's work, nor a walk through memory for what nobody will hear.
 */
static bool any_budget(struct worker *w, int64_t now_s)
{
	if (w->budget_s != now_s) {
		w->budget_s = now_s;
		w->firsts = w->agains = 0;
	}
	return w->firsts < FIRSTS ||
	       w->agains < atomic_load_explicit(&w->shared->agains, memory_order_relaxed);
}

static bool affordable(struct worker *w, bool again)
{
	if (!again)
		return w->firsts++ < FIRSTS;
	return w->agains++ < atomic_load_explicit(&w->shared->agains, memory_order_relaxed);
}

static void put_refused(struct worker *w, const struct pkt *p, uint32_t indev)
{
	struct worker_refused r = {
	    .src = p->src, .dst = p->dst, .sport = p->sport, .t_ms = w->now_ms};
	if (!any_budget(w, w->now_ms / 1000))
		return;
	r.len = verdict_line(w->shared->lines, &p->src, indev, &r.line);
	r.again = seen(w->shared, &r.line, w->now_ms / 1000);
	if (!affordable(w, r.again))
		return;
	unsigned head = atomic_load_explicit(&w->head, memory_order_relaxed);
	unsigned tail = atomic_load_explicit(&w->tail, memory_order_acquire);
	if (head - tail >= RING) {
		atomic_fetch_add_explicit(&w->learned_lost, 1, memory_order_relaxed);
		return;
	}
	w->ring[head & (RING - 1)] = r;
	atomic_store_explicit(&w->head, head + 1, memory_order_release);
	w->fresh++;
}

/* What the gate of the rules lets pass at most, so that they see all that they would look at. */
static void open_gate(struct worker *w)
{
	int64_t rate = atomic_load_explicit(&w->shared->gate, memory_order_relaxed);
	int64_t mono = clock_mono_ms(), age = mono - w->gate_ms;
	w->gate_ms = mono;
	w->gate_left += (age < GATE_BURST_S * 1000 ? age : GATE_BURST_S * 1000) * rate;
	if (w->gate_left > rate * GATE_BURST_S * 1000)
		w->gate_left = rate * GATE_BURST_S * 1000;
}

/* Without an answer: it comes again in a second. */
static void drop(struct worker *w, struct nlq *q, const struct nlq_packet *p)
{
	w->dropped++;
	nlq_drop(q, p->id);
}

static void refuse(struct worker *w, struct nlq *q, const struct nlq_packet *p)
{
	if (w->gate_left >= 1000) {
		w->gate_left -= 1000;
		nlq_verdict(q, p->id, verdict_mark(&w->shared->marks, p->mark, false));
	} else {
		drop(w, q, p);
	}
}

static struct verdict limit(struct worker *w, const struct pkt *p, const struct verdict *v)
{
	const struct policy_item *i = v->limited;
	if (!i || (p->flags & (PKT_SYN | PKT_ACK)) != PKT_SYN)
		return *v;
	const struct prefix covers = policy_prefix(i);
	if (atomic_load_explicit(&w->shared->settling, memory_order_relaxed) &&
	    ksync_elements(&covers) > 0)
		return (struct verdict){VERDICT_NOT_YET, false, false, NULL};
	if (meter_take(w->shared->meter, i->id, &p->dst, policy_limits(w->shared->policy, i),
		       w->gate_ms))
		return *v;
	return (struct verdict){VERDICT_OVER, false, false, NULL};
}

static void judge(struct nlq *q, const struct nlq_packet *p, void *arg)
{
	struct worker *w = arg;
	struct pkt pkt;
	pkt_parse(p->data, p->len, p->total, &pkt);
	struct verdict v = verdict_decide(&pkt, w->shared->policy, w->now_ms);
	if (v.limited)
		v = limit(w, &pkt, &v);
	if (v.allow)
		nlq_verdict(q, p->id, verdict_mark(&w->shared->marks, p->mark, true));
	else if (v.rule == VERDICT_NOT_YET)
		drop(w, q, p);
	else
		refuse(w, q, p);
	w->rules[v.rule]++;
	if (v.learn)
		put_refused(w, &pkt, p->indev);
}

static void publish(struct worker *w)
{
	const struct nlq_counts c = nlq_counts(w->q);
	for (size_t i = 0; i < VERDICT_RULES; i++)
		atomic_store_explicit(&w->by_rule[i], w->rules[i], memory_order_relaxed);
	atomic_store_explicit(&w->packets, c.packets, memory_order_relaxed);
	tally_store(w->tally, w->dropped);
	atomic_store_explicit(&w->verdict_errors, c.verdict_errors, memory_order_relaxed);
	atomic_store_explicit(&w->unreadable, c.unreadable, memory_order_relaxed);
	atomic_fetch_add_explicit(&w->batches, 1, memory_order_relaxed);
	if (w->fresh > 0)
		(void)eventfd_write(w->shared->wake_fd, 1);
	w->fresh = 0;
}

static bool run_batch(struct worker *w)
{
	w->now_ms = clock_utc_ms();
	open_gate(w);
	bug_on(pthread_rwlock_rdlock(&w->shared->lock) != 0);
	int n = nlq_answer(w->q, judge, w);
	bug_on(pthread_rwlock_unlock(&w->shared->lock) != 0);
	publish(w);
	return n >= 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	const struct sched_param none = {0};
	/* Not to push aside whoever queues the packets as each one comes: fewer, larger batches. It
	 * is only for speed. */
	(void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
	while (nlq_receive(w->q)) {
		if (!run_batch(w))
			break;
		if (atomic_load_explicit(&w->stop, memory_order_relaxed))
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

static void name_thread(pthread_t thread, unsigned queue)
{
	char name[16];
	(void)snprintf(name, sizeof name, "queue-%u", queue);
	(void)pthread_setname_np(thread, name);
}

/* What waits in a queue taken over is judged here and now, before there is a thread. */
static bool open_queue(struct worker *w, const struct worker_place *p, char err[static 256])
{
	w->now_ms = clock_utc_ms();
	w->tally = p->tally;
	w->dropped = tally_load(w->tally);
	open_gate(w);
	w->q = p->fd < 0 ? nlq_open(p->queue, &p->options, err)
			 : nlq_adopt(p->fd, p->queue, &p->options, judge, w, err);
	return w->q != NULL;
}

struct worker *worker_start(struct shared *s, const struct worker_place *place,
			    char err[static 256])
{
	struct worker *w = calloc(1, sizeof *w);
	if (!w)
		fatal("out of memory");
	w->shared = s;
	if (!open_queue(w, place, err)) {
		free(w);
		return NULL;
	}
	publish(w);
	w->moved_ms = clock_mono_ms();
	errno = pthread_create(&w->thread, NULL, work, w);
	if (errno != 0)
		fatal_errno("cannot start a thread");
	pin(w->thread, place->cpu);
	name_thread(w->thread, place->queue);
	return w;
}

int worker_fd(const struct worker *w)
{
	return nlq_fd(w->q);
}

/* --- from the main thread -------------------------------------------------------- */

unsigned worker_learned(struct worker *w, void (*fn)(const struct worker_refused *r, void *arg),
			void *arg)
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

void worker_look(struct worker *w, int64_t mono_ms, int64_t stall_ms)
{
	uint64_t batches = atomic_load_explicit(&w->batches, memory_order_relaxed);
	uint32_t waiting = w->waiting, drops = w->drops;
	bool known = nlq_waiting(w->q, &waiting, &drops);
	w->waiting = waiting;
	w->drops = drops;
	if (!known || waiting == 0 || batches != w->seen_batches)
		w->moved_ms = mono_ms;
	w->seen_batches = batches;
	w->stalled = mono_ms - w->moved_ms >= stall_ms;
}

bool worker_healthy(const struct worker *w)
{
	return worker_alive(w) && !w->stalled;
}

uint32_t worker_waiting(const struct worker *w)
{
	return w->waiting;
}

uint32_t worker_drops(const struct worker *w)
{
	return w->drops;
}

/* What it has received it answers first. */
static void end_thread(struct worker *w)
{
	atomic_store(&w->stop, true);
	nlq_wake(w->q);
	(void)pthread_join(w->thread, NULL);
}

int worker_release(struct worker *w)
{
	end_thread(w);
	int fd = nlq_release(w->q);
	free(w);
	return fd;
}

void worker_stop(struct worker *w)
{
	end_thread(w);
	nlq_close(w->q);
	free(w);
}
