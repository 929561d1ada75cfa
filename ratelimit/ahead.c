/*
 * ahead - a ring of wishes, and the thread that grants them with MADV_POPULATE_WRITE.
 *
 * That call makes pages present and changes nothing in them, so a wish may be late, of memory that
 * has gone, or of memory that is used for something else by now.
 *
 * The thread takes no lock: it has the policy SCHED_IDLE, and who waited for it would wait long.
 * A copy of the process has no such thread; there wishes are only kept.
 *
 * Trusted with memory only. Diagnostics: none; without the thread, or where the kernel has no such
 * call (before Linux 5.14), it is merely slower. Known gap: a step holds the map of memory, so a
 * fork() that meets one waits for it: longer than 5 ms where the daemon shares its scheduler's
 * group (autogroup, cgroup) with others that leave no time.
 */
#include "ratelimit/ahead.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#define STEP ((size_t)2 << 20)
#define PAGE ((uintptr_t)4096)

static struct wish {
	uintptr_t at;
	size_t bytes;
} ring[AHEAD_WISHES];

static _Atomic size_t asked, granted; /* of all wishes; the difference waits in the ring */
static _Atomic bool ending;
static pthread_mutex_t askers = PTHREAD_MUTEX_INITIALIZER;
static sem_t wake;
static pthread_t thread;
static bool running;

/* One step at a time: each holds the map of memory, which fork() and munmap() wait for. */
static void grant(struct wish w)
{
	uintptr_t at = w.at / PAGE * PAGE, end = w.at + w.bytes;
	while (at < end && !atomic_load(&ending)) {
		uintptr_t next = (at + STEP) / STEP * STEP;
		if (next > end)
			next = (end + PAGE - 1) / PAGE * PAGE;
		if (madvise((void *)at, next - at, MADV_POPULATE_WRITE) != 0 && errno != EAGAIN)
			return;
		at = next;
	}
}

static void *run(void *arg)
{
	const struct sched_param none = {0};
	(void)sched_setscheduler(0, SCHED_IDLE, &none);
	while (!atomic_load(&ending)) {
		size_t n = atomic_load(&granted);
		if (n == atomic_load(&asked)) {
			(void)sem_wait(&wake);
			continue;
		}
		struct wish w = ring[n % AHEAD_WISHES];
		atomic_store(&granted, n + 1);
		grant(w);
	}
	return arg;
}

bool ahead_start(void)
{
	sigset_t all, old;
	if (running || sem_init(&wake, 0, 0) != 0)
		return running;
	/* Signals are for the loop. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	atomic_store(&ending, false);
	running = pthread_create(&thread, NULL, run, NULL) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return running;
}

void ahead_stop(void)
{
	if (!running)
		return;
	atomic_store(&ending, true);
	(void)sem_post(&wake);
	(void)pthread_join(thread, NULL);
	(void)sem_destroy(&wake);
	running = false;
}

void ahead_want(void *p, size_t bytes)
{
	(void)pthread_mutex_lock(&askers);
	size_t n = atomic_load(&asked);
	if (p && n - atomic_load(&granted) < AHEAD_WISHES) {
		ring[n % AHEAD_WISHES] = (struct wish){(uintptr_t)p, bytes};
		atomic_store(&asked, n + 1);
		if (running)
			(void)sem_post(&wake);
	}
	(void)pthread_mutex_unlock(&askers);
}

void ahead_grow(struct ahead *a, void *base, size_t used, size_t bytes)
{
	size_t from = a->upto > used ? a->upto : used;
	size_t upto = (used + AHEAD_MARGIN + STEP) / STEP * STEP;
	a->upto = upto < bytes ? upto : bytes;
	if (a->upto > from)
		ahead_want((char *)base + from, a->upto - from);
}
