/*
 * daemon - what the parts of sekisho-nfqd's main thread share: nfqd.c (start, stop, feed), kernel.c
 * (the table and its sets), queues.c (the workers, over restarts too), lines.c (what refused lines
 * do), answers.c (requests and metrics).
 */
#ifndef NFQ_DAEMON_H
#define NFQ_DAEMON_H

#include <event2/event.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "accounting/feed.h"
#include "lib/proc.h"
#include "lib/queues.h"

#include "nfq/alive.h"
#include "nfq/firstlog.h"
#include "nfq/ksync.h"
#include "nfq/nfq_conf.h"
#include "nfq/nftset.h"
#include "nfq/outbox.h"
#include "nfq/policy_store.h"
#include "nfq/stats.h"
#include "nfq/suspect.h"
#include "nfq/tally.h"
#include "nfq/worker.h"

#define MAX_WORKERS  (2 * QUEUES_MAX) /* two ranges */
#define MAX_COUNTERS 16
#define HARVESTS     6	   /* sets that count */
#define LEARN_RATE   20000 /* refused sources a second that are put into the deny sets */

enum nfqd_state {
	NFQD_WAITING, /* tables ip and ip6 sekisho are not loaded: nothing is enforced, and nothing
			 is queued */
	NFQD_NO_STEP, /* the table is there, but nobody hands packets to the queue */
	NFQD_RUNNING,
};

struct nfqd_counter {
	char name[24];
	uint64_t packets;
};

struct nfqd {
	struct proc_args args;
	void *conf_ctx;
	struct nfq_conf conf;
	struct marks marks;
	struct event_base *base;

	struct shared *shared;
	struct worker *workers[MAX_WORKERS];
	uint16_t queues[MAX_WORKERS]; /* the number of each worker's */
	unsigned n_workers;
	struct tally *tally; /* what they dropped themselves */
	struct alive *alive;
	atomic_bool stalled; /* a worker does not answer what waits */
	atomic_uint_fast64_t stalls;
	uint64_t upgrades_refused;
	int wake_fd;
	int proc_queues; /* PROCQ_PATH, opened with root's rights; -1: not
			    there */

	/* kernel.c */
	struct nftset *sets;
	struct ksync *ksync;
	enum nfqd_state state;
	int steps;
	char note[NFTSET_NOTE];	 /* what the loader says of itself */
	uint64_t table, applied; /* handle of the table; policy version in force in it */
	uint32_t gen, commits;
	uint64_t told; /* version that acctd was told of */
	int64_t compared_ms, checked_steps_ms, clock_offset_ms, lines_ms;
	int64_t harvested_ms[HARVESTS]; /* UTC, each set */
	int64_t harvest_ms;		/* monotonic: not before, but for the end of an interval */
	size_t harvested;		/* sources, before the end of this interval */
	uint64_t unnoted[2]; /* refused and passed that the kernel had not noted by source then */
	bool unnoted_known, ran; /* ran: there was a table before */
	unsigned harvest_turn;	 /* the set that comes first */
	int64_t learn_s;	 /* the second of what was learned, and how much */
	unsigned learned;
	bool sampled;	   /* the last interval's counts are estimates */
	bool others;	   /* somebody else changed the ruleset since the last comparison */
	bool look_failed;  /* it could not be read what sets there are */
	bool policy_known; /* from disk or feed; until then the kernel's sets are left alone */
	bool full;	   /* a set could not take an element */
	bool failed;	   /* the kernel refused a change: what it holds is not known */
	bool owed;	   /* the policy was replaced while nothing could be done about it */
	size_t changed;	   /* elements, by the comparison that is under way */
	struct event *step_event;
	bool alarmed; /* a set is above 80 % */
	struct nfqd_counter counters[MAX_COUNTERS];
	unsigned n_counters;
	struct stats *stats;

	/* lines.c */
	struct suspect *suspect;
	struct firstlog *firstlog;
	uint64_t suspects_told;

	/* exempt.c */
	struct policy_store *store;
	struct policy *staging; /* a snapshot that comes in */
	struct changes *changes;
	struct event *apply_event, *edge_event;
	char unknown[POLICY_CLASS]; /* a class that the configuration does not know; "": none */

	/* nfqd.c */
	struct feed *feed;
	struct outbox *outbox;
	struct event *interval_event;
	int64_t heard_ms,
	    saved_ms; /* monotonic: last word of acctd; last time the outbox was written */
	bool connected;
};

const char *nfqd_state_name(enum nfqd_state s);
/* Does every worker answer what waits for it? The kernel must know us as alive only while it does.
 */
bool nfqd_healthy(const struct nfqd *d);
/* The state's name, "stalled" when a worker is. */
const char *nfqd_shown_state(const struct nfqd *d);
/* Everything that a new process needs is on disk; called while the workers still answer. */
void nfqd_save(struct nfqd *d);
/* What nfqd_save() wrote is of the past: this process goes on. */
void nfqd_resume(struct nfqd *d);

/* --- kernel.c -------------------------------------------------------------------- */

/* Once a second: is the table there, is it ours still, did the clock jump? */
void kernel_tick(struct nfqd *d);
/* Exemptions that began or ended since the last call go into, or out of, the kernel. Returns how
 * long until the next does, in milliseconds; -1: none will. */
int64_t kernel_edges(struct nfqd *d);
enum kernel_how {
	KERNEL_DIRTY,  /* what is dirty */
	KERNEL_ALL,    /* the policy is another one */
	KERNEL_REFILL, /* nobody knows what the kernel holds */
};
/* Bring the kernel's sets up to the policy: a slice of it at once, the rest from the event loop. */
void kernel_apply(struct nfqd *d, enum kernel_how how);
/* The event of the rest; and all of it now, before the loop runs. */
void kernel_start(struct nfqd *d);
/* Tell acctd of the version that is in force and on disk, when it was not. */
void kernel_tell(struct nfqd *d);
/* What the workers refused: into the deny sets. */
void kernel_learn(struct nfqd *d);
/* The kernel's counts of the interval, into stats, of at most so many sources; what is left stays
 * in the kernel until the next time. */
void kernel_harvest(struct nfqd *d, size_t max);
/* Sources that the kernel has counted since; 0 when it does not tell. */
size_t kernel_counting(struct nfqd *d);
uint64_t kernel_counter(const struct nfqd *d, const char *name);

/* --- queues.c -------------------------------------------------------------------- */

/* A worker for each queue; sockets handed over are taken back, others bound. fatal() when one
 * cannot be had. */
void queues_start(struct nfqd *d);
/* The file of the queues' depths, from whoever could open it. */
void queues_open_proc(struct nfqd *d);
bool queues_fail_open(const struct nfqd *d, unsigned i); /* of those whose packets worker i has */
/* Once a second, by the thread of alive: do the workers keep up? arg is the struct nfqd. */
bool queues_look(void *arg);
/* The service manager may go on pinging. */
bool queues_fine(void *arg);
/* After a reload, with the ranges of before: other queues are had by becoming this program anew. */
void queues_reload(struct nfqd *d, const struct nfq_ranges *was);
/* SIGUSR2: become the program that is in our file now, without losing a queued packet. */
void queues_watch_upgrade(struct nfqd *d);

/* --- lines.c --------------------------------------------------------------------- */

void lines_start(struct nfqd *d);
void lines_reload(struct nfqd *d);
/* The first refused packet of a source: a line in the log. */
void lines_refused(struct nfqd *d, const struct worker_refused *r);
/* So many packets of the line (as the deny sets know it) to dst were refused. */
void lines_count(struct nfqd *d, const struct addr *key, const struct addr *dst, uint64_t packets);
/* The interval is over: what there is to tell goes into the outbox. */
void lines_close(struct nfqd *d);

/* --- exempt.c -------------------------------------------------------------------- */

/* The policy of the disk, to begin with. */
struct policy *exempt_load(struct nfqd *d);
/* Timers, and the thread that writes; after the privileges were dropped. */
void exempt_start(struct nfqd *d);
/* The configuration is another one. */
void exempt_reload(struct nfqd *d);
/* What begins or ends, now and then at its time. */
void exempt_watch_edges(struct nfqd *d);
/* Everything of the policy is on disk when this returns. */
void exempt_sync(struct nfqd *d);
void exempt_stop(struct nfqd *d);
/* Handlers of the feed; arg is the struct nfqd. */
void exempt_begin(uint64_t version, uint32_t count, void *arg);
void exempt_entry(const struct policy_entry *e, void *arg);
void exempt_end(uint64_t version, void *arg);
void exempt_change(uint64_t version, enum policy_op op, const struct policy_entry *e, void *arg);

/* --- answers.c ------------------------------------------------------------------- */

void answers_request(struct feed_request *r, const char *op, const json_t *args, void *arg);
/* Registers the metrics and serves them. fatal() when the address cannot be used. */
void answers_metrics(struct nfqd *d);

#endif
