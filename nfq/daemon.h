/*
 * daemon - what the parts of sekisho-nfqd's main thread share: nfqd.c (start, stop, feed), kernel.c
 * (the table and its sets), answers.c (requests and metrics).
 */
#ifndef NFQ_DAEMON_H
#define NFQ_DAEMON_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "accounting/feed.h"
#include "lib/proc.h"

#include "nfq/ksync.h"
#include "nfq/nfq_conf.h"
#include "nfq/nftset.h"
#include "nfq/outbox.h"
#include "nfq/stats.h"
#include "nfq/worker.h"

#define MAX_WORKERS  64
#define MAX_COUNTERS 16

enum nfqd_state {
	NFQD_WAITING, /* table inet sekisho is not loaded: nothing is enforced, and nothing is
			 queued */
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
	struct verdict_marks marks;
	struct event_base *base;

	struct shared *shared;
	struct worker *workers[MAX_WORKERS];
	unsigned n_workers;
	int wake_fd;
	int proc_queues; /* PROCQ_PATH, opened with root's rights; -1: not
			    there */

	/* kernel.c */
	struct nftset *sets;
	struct ksync *ksync;
	enum nfqd_state state;
	int steps;
	uint64_t table, applied; /* handle of the table; policy version in force in it */
	uint32_t gen, commits;
	char note[NFTSET_NOTE];	 /* what the loader says of itself */
	int64_t compared_ms, checked_steps_ms, clock_offset_ms, edges_ms, harvested_ms;
	bool others;	   /* somebody else changed the ruleset since the last comparison */
	bool policy_known; /* from disk or feed; until then the kernel's sets are left alone */
	bool full;	   /* a set could not take an element */
	bool alarmed;	   /* a set is above 80 % */
	struct nfqd_counter counters[MAX_COUNTERS];
	unsigned n_counters;
	struct stats *stats;

	/* nfqd.c */
	struct feed *feed;
	struct policy *staging;
	struct outbox *outbox;
	struct event *apply_event, *save_event, *interval_event;
	int64_t heard_ms,
	    saved_ms; /* monotonic: last word of acctd; last time the outbox was written */
	bool connected;
};

const char *nfqd_state_name(enum nfqd_state s);

/* --- kernel.c -------------------------------------------------------------------- */

/* Once a second: is the table there, is it ours still, do exemptions begin or end, did the clock
 * jump? */
void kernel_tick(struct nfqd *d);
/* Put what is dirty, or all when everything, into the kernel, and say so to acctd. */
void kernel_apply(struct nfqd *d, bool everything);
/* What the workers refused: into the deny sets. */
void kernel_learn(struct nfqd *d);
/* The kernel's counts of the interval, into stats. */
void kernel_harvest(struct nfqd *d);
uint64_t kernel_counter(const struct nfqd *d, const char *name);

/* --- answers.c ------------------------------------------------------------------- */

void answers_request(struct feed_request *r, const char *op, const json_t *args, void *arg);
/* Registers the metrics and serves them. fatal() when the address cannot be used. */
void answers_metrics(struct nfqd *d);

#endif
