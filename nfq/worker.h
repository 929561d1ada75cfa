/*
 * worker - one thread a queue: packets in, verdicts out, and the sources refused for the main
 * thread.
 */
#ifndef NFQ_WORKER_H
#define NFQ_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"

#include "nfq/policy.h"
#include "nfq/verdict.h"

/* What all workers and the main thread share. Made before the first worker, freed after the last.
 */
struct shared;

/* Takes policy. wake_fd: an eventfd that is written when there is something learned. */
struct shared *shared_new(struct policy *policy, const struct marks *marks, int wake_fd);
void shared_free(struct shared *s);
/*
 * The policy, for the main thread: to read it, no lock is needed, since only the main thread
 * changes it. Between write_begin and write_end the workers wait.
 */
const struct policy *shared_policy(const struct shared *s);
struct policy *shared_write_begin(struct shared *s);
void shared_write_end(struct shared *s);
/* Put another policy in its place; the old one is freed. */
void shared_replace(struct shared *s, struct policy *policy);

struct worker_counts {
	uint64_t by_rule[VERDICT_RULES];
	uint64_t packets, verdict_errors, unreadable;
	uint64_t
	    learned_lost; /* sources that the main thread was too late for: learned the next time */
};

struct worker;

/* Binds the queue and starts its thread, on cpu. NULL with err. */
struct worker *worker_start(struct shared *s, uint16_t queue, uint32_t max_packets, unsigned cpu,
			    char err[static 256]);
/* The sources refused so far, oldest first; from the main thread. Returns how many. */
unsigned worker_learned(struct worker *w, void (*fn)(const struct addr *src, void *arg), void *arg);
struct worker_counts worker_counts(const struct worker *w);
/* False when its thread ended by itself: the socket broke. */
bool worker_alive(const struct worker *w);
void worker_stop(struct worker *w); /* ends the thread, closes the queue, frees */

#endif
