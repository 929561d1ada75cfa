/*
 * alive - see alive.h.
 *
 * Trusted with: CAP_NET_ADMIN. Diagnostics: log line "kernel alive-failed". Known gaps: a main
 * thread that hangs for ever is not noticed here: the workers go on judging by the policy it left,
 * until the service manager, which hears of it no more, ends the process.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "nfq/alive.h"
#include "nfq/nftset.h"

#define ALIVE_MS 3000 /* the rules wait so long */
#define BEAT_MS	 1000
#define LATE_MS	 10000

struct alive {
	struct nftset *sets;
	bool (*well)(void *arg);
	void *arg;
	pthread_t thread;
	pthread_mutex_t lock; /* held while it looks and tells */
	pthread_cond_t wake;
	bool there, stop;
	atomic_int_fast64_t looked_ms; /* monotonic */
	atomic_uint_least32_t commits; /* as alive_commits() */
};

static void say(struct alive *a, enum nftset_verb verb)
{
	static const enum nftset_id sets[] = {NFTSET_ALIVE4, NFTSET_ALIVE6};
	struct nftset_op ops[2] = {{0}};
	for (size_t i = 0; i < 2; i++)
		ops[i] = (struct nftset_op){.verb = verb, .set = sets[i], .timeout_ms = ALIVE_MS};
	a->commits++;
	const struct nftset_result r = nftset_apply(a->sets, ops, 2);
	a->commits = 2 * nftset_commits(a->sets);
	/* The tables may have gone this moment. */
	if (r.failed > 0 && r.error != ENOENT && verb != NFTSET_DELETE)
		log_event(LOG_ERR, "-", "kernel", "alive-failed", LS("reason", strerror(r.error)),
			  LS("hint", "the rules take nfqd for gone"));
}

static void beat(struct alive *a)
{
	bool well = a->well(a->arg);
	atomic_store(&a->looked_ms, clock_mono_ms());
	if (well && a->there)
		say(a, NFTSET_REPLACE);
}

static void *work(void *arg)
{
	struct alive *a = arg;
	(void)pthread_mutex_lock(&a->lock);
	while (!a->stop) {
		beat(a);
		int64_t ms = clock_mono_ms() + BEAT_MS;
		const struct timespec until = {ms / 1000, ms % 1000 * 1000000};
		(void)pthread_cond_timedwait(&a->wake, &a->lock, &until);
	}
	(void)pthread_mutex_unlock(&a->lock);
	return NULL;
}

struct alive *alive_start(bool (*well)(void *arg), void *arg, char err[static 256])
{
	struct alive *a = calloc(1, sizeof *a);
	pthread_condattr_t attr;
	if (!a || pthread_mutex_init(&a->lock, NULL) != 0 || pthread_condattr_init(&attr) != 0 ||
	    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 ||
	    pthread_cond_init(&a->wake, &attr) != 0)
		fatal("out of memory");
	(void)pthread_condattr_destroy(&attr);
	a->sets = nftset_open(err);
	if (!a->sets) {
		free(a);
		return NULL;
	}
	nftset_assume(a->sets, NFTSET_ALIVE4);
	nftset_assume(a->sets, NFTSET_ALIVE6);
	a->well = well;
	a->arg = arg;
	atomic_store(&a->looked_ms, clock_mono_ms());
	errno = pthread_create(&a->thread, NULL, work, a);
	if (errno != 0)
		fatal_errno("cannot start a thread");
	(void)pthread_setname_np(a->thread, "alive");
	return a;
}

void alive_tables(struct alive *a, bool there)
{
	(void)pthread_mutex_lock(&a->lock);
	a->there = there;
	if (there)
		beat(a);
	(void)pthread_mutex_unlock(&a->lock);
}

void alive_pause(struct alive *a)
{
	(void)pthread_mutex_lock(&a->lock);
	beat(a);
}

void alive_resume(struct alive *a)
{
	(void)pthread_mutex_unlock(&a->lock);
}

bool alive_works(const struct alive *a)
{
	return clock_mono_ms() - atomic_load(&a->looked_ms) < LATE_MS;
}

uint32_t alive_commits(const struct alive *a)
{
	return a->commits;
}

void alive_stop(struct alive *a)
{
	(void)pthread_mutex_lock(&a->lock);
	a->stop = true;
	(void)pthread_cond_signal(&a->wake);
	(void)pthread_mutex_unlock(&a->lock);
	(void)pthread_join(a->thread, NULL);
	if (a->there)
		say(a, NFTSET_DELETE);
	nftset_close(a->sets);
	(void)pthread_cond_destroy(&a->wake);
	(void)pthread_mutex_destroy(&a->lock);
	free(a);
}
