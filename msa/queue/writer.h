/*
 * writer - the one thread that writes the spool: takes everything that waits, does it in one
 * transaction, says so.
 *
 * The main thread hands over operations with writer_put(); the thread applies them in order and
 * syncs once for all (group commit); done() is then called on the main loop for each, in order,
 * with op->result. An operation belongs to the thread from writer_put() until done().
 *
 * When a transaction fails, its operations are tried one by one: those somebody waits for (must
 * false) end with their failure; those that must happen (results, holds) are kept, in order, and
 * tried again every RETRY until the disk takes them.
 */
#ifndef MSA_QUEUE_WRITER_H
#define MSA_QUEUE_WRITER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/queue/queue.h"
#include "msa/queue/spool.h"

struct op {
	/* On the writer's thread, in a transaction. Must change nothing but the spool and op. */
	enum queue_result (*apply)(struct spool *s, struct op *op);
	bool must;     /* keep it until it succeeds */
	bool tidy;     /* it makes room: may use the reserve, too */
	int64_t key;   /* of the message it is about; 0: none, or many */
	int linger_ms; /* may wait so long for others to share the sync; 0: at once */
	enum queue_result result;
	struct op *next;
};

struct writer_stats {
	uint64_t commits, ops, failures;
	uint64_t outbox_last;	/* newest outbox row on disk */
	bool stuck;		/* operations that must happen could not, the last time */
	enum queue_result last; /* of the newest transaction */
	char why[256];		/* of the newest failure */
};

struct writer;

/* s is used by the thread alone until writer_stop(). NULL with *err (malloc'd). */
struct writer *writer_start(struct event_base *base, struct spool *s,
			    void (*done)(struct op *op, void *arg), void *arg, char **err);
void writer_put(struct writer *w, struct op *op);
/* Waits until everything put so far is on disk (callbacks come later, from the loop). False: not
 * within the time, or it failed for now. */
bool writer_sync(struct writer *w, int timeout_ms);
struct writer_stats writer_stats(struct writer *w);
/* Does what waits, ends the thread, calls done() for everything. What must happen and could not
 * ends with its failure. */
void writer_stop(struct writer *w);

#endif
