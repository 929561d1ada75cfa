/*
 * queue_int - what the files of the queue share; nobody outside msa/queue/ includes it.
 */
#ifndef MSA_QUEUE_INT_H
#define MSA_QUEUE_INT_H

#include "lib/ipc.h"
#include "lib/metrics.h"
#include "ratelimit/answer.h"

#include "msa/queue/index.h"
#include "msa/queue/queue.h"
#include "msa/queue/spool.h"
#include "msa/queue/writer.h"
#include "msa/relay/frames.h"

/* An operation with what the main thread does when it is through. talloc'd; freed after done. */
struct qop {
	struct op op;
	void (*done)(struct queue *q, struct qop *o);
};

#define RELAY_TLS_KINDS 7

/* The relay role as its parent sees it (queue_relay.c). */
struct relay_child {
	struct ipc_conn *conn; /* NULL: none */
	pid_t pid;	       /* 0: none */
	bool ready;	       /* it told its journal; it takes work */
	uint32_t window;
	uint64_t commit_seq; /* to be told with the next RELAY_COMMITTED; 0: nothing new */
	bool host_up;
	int64_t host_down_ms; /* UTC, since when; 0: up or never tried */
	char host_why[RELAY_REPLY_MAX + 1];
	int64_t started_mono_ms;
	int respawn_ms;
	struct event *respawn;
	pid_t old[8]; /* to be reaped */
	struct metric *tls[RELAY_TLS_KINDS];
};

struct queue {
	struct event_base *base;
	struct queue_config cfg; /* strings are q's own */
	struct queue_handlers h;
	void *arg;
	char *dir, *spool_path;
	struct spool *spool;
	struct spool_reader *reader;
	struct writer *writer;
	struct index *ix;
	struct relay_child relay;
	const struct route_table *routes;
	const struct answer_table *answers; /* NULL: only what is built in */
	struct event *kick;  /* activated after changes: dispatch, commits told, outbox */
	struct event *timer; /* next due message, housekeeping */
	int64_t housekept_mono_ms, turned_mono_ms, accepted_mono_ms;
	bool closing;

	bool cleaning;
	unsigned moved_in_vain; /* looks in turn that moved nothing */
	int64_t expire_after;	/* key */
	int64_t id_ms;		/* of the last id */
	uint32_t id_n;

	uint64_t outbox_offered, outbox_acked;
	bool outbox_blocked, outbox_forgetting, outbox_full;
	uint64_t outbox_bytes; /* at the last look */

	int64_t disk_checked_mono_ms, full_probe_mono_ms;
	uint64_t disk_free; /* bytes */

	struct {
		struct metric *queued, *held, *active, *bytes, *oldest, *commits, *operations,
		    *failures, *outbox, *accepted, *delivered, *bounced, *deferred, *notices,
		    *damaged, *read_errors, *unread, *unwritten, *room, *quarantined, *summarized,
		    *withheld, *answers[ANSWER_CLASSES], *double_bounces, *relay_starts,
		    *events_lost, *host_up;
	} metric;
};

/* queue.c */
void queue_kick(struct queue *q);
/*
 * The relay role has room in a lane: at once. But a burst is accepted first: while one comes in and
 * few messages wait, at the next turn.
 */
void queue_kick_relay(struct queue *q);
uint32_t queue_random(void);
/* Put the index's and the writer's view right after an outcome was committed; see queue_ops.c. */
void queue_apply_wish(struct queue *q, struct msg *m);

/* queue_ops.c: each hands one operation to the writer. */
void queue_op_settle(struct queue *q, struct msg *m,
		     const struct relay_outcome *o); /* m NULL: unknown, only the order counts */
/* The same fate for everybody still waiting; quiet: the sender is not told. */
void queue_op_settle_all(struct queue *q, struct msg *m, const char *status, const char *reply,
			 bool quiet);
void queue_op_hold_account(struct queue *q, const char *account,
			   const char *why); /* why NULL: release */
struct queue_change {
	int64_t key;
	uint8_t hold;
	int64_t place; /* out */
};
/* next_ms -1: only the hold bits; life_from_ms -1: it stays; route NULL: it stays. */
void queue_op_update(struct queue *q, const struct queue_change *changes, size_t n, int64_t next_ms,
		     int64_t life_from_ms, const char *route);
/* Where messages are now, after a change of those. */
void queue_take_places(struct queue *q, const struct queue_change *c, size_t n);
/* Zeroed; must happen; an operation's struct begins with a struct qop. */
void *queue_new_op(size_t size, enum queue_result (*apply)(struct spool *s, struct op *op),
		   void (*done)(struct queue *q, struct qop *o), int linger_ms);
void queue_op_forget(struct queue *q, uint64_t seq);
void queue_op_record(struct queue *q, const struct event *e);

/* queue_house.c */
/* Moves what keeps segments of which too little is of use, some at a time, until there are none. */
void queue_op_clean(struct queue *q);
/* A message that could not be read. Damaged: it is put aside. Not given by the disk: it waits. Not
 * while it is with the relay. */
void queue_op_check(struct queue *q, struct msg *m);

/* queue_relay.c */
bool relay_start(struct queue *q, char **err);
void relay_dispatch(struct queue *q, int64_t now_ms);
/* By who still waits for it; after index_set_dest(), and when it was deferred. */
void relay_set_lane(struct queue *q, struct msg *m);
/* Ask for a message back, if it is there. */
void relay_recall(struct queue *q, const struct msg *m);
void relay_retry(struct queue *q);
/* n recipients were delivered that way: struct relay_outcome's via. */
void relay_count_tls(struct queue *q, const char *via, uint32_t n);
void relay_tell_committed(struct queue *q);
void relay_stop(struct queue *q);

#endif
