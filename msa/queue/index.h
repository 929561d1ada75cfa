/*
 * index - every message of the spool in memory: found by id, by account, in order of arrival and by
 * when it is due.
 *
 * Small facts only; envelope and body stay on disk. Single-threaded, no I/O, no clock. Out of
 * memory ends the process (fatal): the spool has everything.
 */
#ifndef MSA_QUEUE_INDEX_H
#define MSA_QUEUE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "msa/queue/queue.h"

/* Why one message is held; an account's hold is a fact of the account. */
enum { HOLD_PENALTY = 1, HOLD_OPERATOR = 2 };

enum msg_state {
	MSG_COMMITTING, /* not yet known to be on disk */
	MSG_READY,	/* waits for its time, or is held */
	MSG_ACTIVE,	/* with the relay role */
	MSG_SETTLING,	/* its outcome is being committed */
};

/* What an operator asked for while the message was with the relay. */
enum msg_wish { WISH_NONE, WISH_BOUNCE, WISH_DELETE };

struct account;

/* A set of destinations that messages share: most have one recipient, and many the same domain. */
struct dest {
	char *text;	   /* spool_dests(): DOMAIN COUNT DOMAIN COUNT */
	uint32_t rcpts;	   /* the sum of the counts */
	uint32_t outcomes; /* in which their results come at most, when no server is slow */
	uint32_t refs;
	bool one; /* a single domain */
	struct dest *hash_next;
};

/* 136 octets: a message must not take more than 256 in all. */
struct msg {
	char id[QUEUE_ID_LEN + 1];
	uint8_t hold;	    /* HOLD_ bits */
	uint8_t state;	    /* enum msg_state; change with index_set_state() */
	uint8_t wish;	    /* enum msg_wish */
	uint8_t unread;	    /* how often in turn the disk did not give it */
	uint16_t unwritten; /* of attempts: those the spool does not know of, its disk was short */
	int64_t key;	    /* queue_id_key(): rising with arrival */
	int64_t place;	    /* in the spool, for readers; 0: not there yet */
	struct account *account;
	struct dest *dest; /* who still waits; change with index_set_dest() */
	int64_t received_ms, life_from_ms, next_ms;
	uint32_t size;
	uint32_t attempts;
	uint32_t heap_pos; /* in its lane; 0: does not wait for its time */
	uint16_t settling; /* outcomes under way to the disk */
	bool counted_held : 1, counted_active : 1, counted_deferred : 1;
	bool elsewhere : 1;			 /* MSG_ACTIVE, with a relay role of before */
	bool routed : 1;			 /* an operator gave it a route */
	struct lane *lane;			 /* lanes.h; NULL as "" */
	struct msg *prev, *next;		 /* by key */
	struct msg *account_prev, *account_next; /* of one account, in no order */
};

struct account {
	char *name;
	bool held, suspect;
	char *why; /* of held; never NULL */
	size_t n, n_held;
	struct msg *first, *last;
	struct account *hash_next;
};

struct index_counts {
	size_t queued, held, active;
	size_t deferred;  /* tried before, and waiting for the next time */
	size_t unread;	  /* that the disk did not give the last time */
	uint64_t rcpts;	  /* who still waits */
	uint64_t results; /* octets: spool_result_room() of them */
	uint64_t bytes;	  /* queued messages, with what the spool adds to each */
};

struct index;

#define INDEX_OVERHEAD 1024 /* bytes reckoned for the rows of a message besides its body */

/* The first 12 digits of an id as a number: unique, and rises as ids do. */
int64_t queue_id_key(const char id[QUEUE_ID_LEN]);

struct index *index_new(void);
void index_free(struct index *ix);

/* NULL when there is none. */
struct msg *index_find(const struct index *ix, const char *id);
/* Is there a message with that queue_id_key()? */
bool index_has_key(const struct index *ix, int64_t key);
/* The caller has made sure that no message has the key of id. State MSG_COMMITTING, no hold, no
 * destinations. */
struct msg *index_add(struct index *ix, const char *id, const char *account, uint64_t size,
		      int64_t received_ms);
/* The first message with a key above this one, NULL when there is none. */
struct msg *index_above(const struct index *ix, int64_t key);
/* text as spool_dests() makes it; copied. */
void index_set_dest(struct index *ix, struct msg *m, const char *text);
/* The one domain that all who still wait share, or "". buf: room for it. */
const char *index_domain(const struct msg *m, char *buf, size_t cap);
void index_remove(struct index *ix, struct msg *m);

/* NULL when it has neither mail nor a hold, unless create. */
struct account *index_account(struct index *ix, const char *name, bool create);
/* why is copied. Its messages leave or enter the schedule at once. An account without mail and hold
 * is forgotten: a must not be used afterwards when !held. */
void index_hold_account(struct index *ix, struct account *a, bool held, const char *why);
/* Mail of suspects goes another way; an account without mail that is nothing else is forgotten. */
void index_suspect_account(struct index *ix, struct account *a, bool suspect);
/* Calls fn for each account that is held or has mail. fn must not remove accounts. */
void index_each_account(struct index *ix, void (*fn)(struct account *a, void *arg), void *arg);

/* After any change of hold, next_ms or state: counters and schedule follow. */
void index_update(struct index *ix, struct msg *m);
void index_set_state(struct index *ix, struct msg *m, enum msg_state s);
/* The disk gave it (false), or did not once more. */
void index_set_unread(struct index *ix, struct msg *m, bool unread);
bool index_is_held(const struct msg *m);

/* The message whose turn it is at now, NULL when none may be delivered. Within a destination: by
 * next_ms, then arrival. */
struct msg *index_due(const struct index *ix, int64_t now_ms);
/* When the next one is due; INT64_MAX when nothing waits. */
int64_t index_next(const struct index *ix);
/* The schedule itself; see lanes.h. */
struct lanes *index_lanes(const struct index *ix);
struct msg *index_first(const struct index *ix); /* oldest; follow ->next */
struct index_counts index_counts(const struct index *ix);

#endif
