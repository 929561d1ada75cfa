/*
 * worker - one thread a queue: packets in, verdicts out, and the sources refused for the main
 * thread.
 */
#ifndef NFQ_WORKER_H
#define NFQ_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"

#include "nfq/nlq.h"
#include "nfq/policy.h"
#include "nfq/tally.h"
#include "nfq/verdict.h"

/* What all workers and the main thread share. Made before the first worker, freed after the last.
 */
struct shared;

/* Takes policy. wake_fd: an eventfd that is written when there is something learned. */
struct shared *shared_new(struct policy *policy, const struct marks *marks, int wake_fd);
void shared_free(struct shared *s);
/*
 * A thread tells of at most `learn` lines a second that were refused again. So many refusals a
 * second and thread (gate) walk the rules once more, which answer and note them; what
 * is above is dropped here, as the rules would (kernel-rules.count_rate), and counted
 * (nfq/tally.h). Until it is set: all do.
 */
void shared_set_rates(struct shared *s, int64_t gate, unsigned learn);
/*
 * The policy, for the main thread: to read it, no lock is needed, since only the main thread
 * changes it. Between write_begin and write_end the workers wait.
 */
const struct policy *shared_policy(const struct shared *s);
struct policy *shared_write_begin(struct shared *s);
/* The same without waiting, for what no other thread looks at: the edges. */
struct policy *shared_policy_edges(struct shared *s);
void shared_write_end(struct shared *s);
/*
 * The kernel is about to get limited exemptions that it does not have: until it has them, their new
 * connections are dropped, to be tried again. It is so to begin with.
 */
void shared_settle(struct shared *s, bool settling);
/* Another way to know lines by. Takes lines (talloc'd, arrays under it); the old one is freed. */
void shared_set_lines(struct shared *s, struct verdict_lines *lines);
/* For the main thread, as shared_policy(). */
const struct verdict_lines *shared_lines(const struct shared *s);
/* For another thread that reads the policy: it may not do so for long. *replaced counts how often
 * the whole policy was replaced. */
const struct policy *shared_read_begin(struct shared *s, uint64_t *replaced);
void shared_read_end(struct shared *s);
/* Put another policy in its place; the old one is freed. */
void shared_replace(struct shared *s, struct policy *policy);

struct worker_counts {
	uint64_t by_rule[VERDICT_RULES];
	uint64_t packets, verdict_errors, unreadable;
	uint64_t
	    learned_lost; /* sources that the main thread was too late for: learned the next time */
};

struct worker;

struct worker_place {
	uint16_t queue;
	unsigned cpu;
	int fd; /* the queue's socket, handed over by another process; -1: bind it */
	struct nlq_options options;
	struct tally_slot *tally; /* its own, as long as it lives */
};

/*
 * Binds or takes over the queue and starts its thread. NULL with err; a socket handed over is then
 * still open.
 */
struct worker *worker_start(struct shared *s, const struct worker_place *place,
			    char err[static 256]);
int worker_fd(const struct worker *w); /* its socket, to be kept by others too */

/* A packet that was refused. */
struct worker_refused {
	struct addr src, dst;
	struct addr line; /* verdict_line() */
	uint8_t len;
	bool again; /* seen twice within a minute: worth to be learned */
	uint16_t sport;
	int64_t t_ms; /* UTC */
};
/* Those refused so far, oldest first; from the main thread. Not all: only lines that are seen for
 * the first time, some of them, and those seen again. Returns how many. */
unsigned worker_learned(struct worker *w, void (*fn)(const struct worker_refused *r, void *arg),
			void *arg);
struct worker_counts worker_counts(const struct worker *w);
/* False when its thread ended by itself: the socket broke. */
bool worker_alive(const struct worker *w);

/*
 * Does it keep up? From one thread, at least once a second: packets that wait while nothing is
 * answered for stall_ms are a stall. worker_healthy() is what the last look found.
 */
void worker_look(struct worker *w, int64_t mono_ms, int64_t stall_ms);
bool worker_healthy(const struct worker *w);
uint32_t worker_waiting(const struct worker *w); /* bytes, at the last look */
uint32_t worker_drops(const struct worker *w);	 /* packets the socket had no room for, ever */

/* End the thread, free; its socket, with all that waits in it, stays open: the caller's. */
int worker_release(struct worker *w);
void worker_stop(struct worker *w); /* ends the thread, closes the queue, frees */

#endif
