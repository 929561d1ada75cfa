/*
 * frames - what msad and its relay role say to each other over fd 3 (frames of lib/ipc, fields of
 * lib/wire). Pure.
 *
 * The relay role may be of an older msad than the one that reads its journal, never of another
 * build than the one it talks to.
 */
#ifndef MSA_RELAY_FRAMES_H
#define MSA_RELAY_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/wire.h"

#include "msa/queue/queue.h"

#define RELAY_RCPTS_MAX                                                                            \
	100 /* of one transaction; RFC 5321 4.5.3.1.8 says every server takes as many */
#define RELAY_REPLY_MAX	 440
#define RELAY_STATUS_MAX 12

enum relay_frame {
	/* msad to relay */
	RELAY_CONFIG = 1,    /* struct relay_config; the first frame */
	RELAY_WORK = 2,	     /* struct relay_work */
	RELAY_RECALL = 3,    /* str id: do not begin, break off if the final dot has not left */
	RELAY_COMMITTED = 4, /* u64 seq: outcomes up to it are in the spool */
	RELAY_RETRY = 5,     /* try the smart host now, whatever the pause */
	RELAY_STOP = 6,	     /* finish what waits for the reply to its final dot, then exit */
	/* relay to msad */
	RELAY_OUTCOME = 16, /* struct relay_outcome */
	RELAY_READY =
	    17, /* u32 window: the journal was told; so many messages may be here at once */
	RELAY_BACK =
	    18, /* str id, u8 enum relay_back: not begun, or broken off: nothing was delivered */
	RELAY_HOST = 19, /* u8 up, str why */
};

enum relay_back { BACK_RECALLED = 0, BACK_UNREADABLE = 1 };

/* The numbers of enum in struct event's delivery. */
enum relay_result { RELAY_DELIVERED = 1, RELAY_BOUNCED = 2, RELAY_DEFERRED = 3 };

struct relay_config {
	char state_dir[256], hostname[256], smarthost[64];
	char smarthost_name[256], smarthost_ca[256];
	uint32_t connections;
	int64_t timeout_ms;
};

struct relay_work {
	char id[QUEUE_ID_LEN + 1];
	int64_t key; /* row of the spool */
	uint32_t attempt;
};

struct relay_rcpt {
	uint32_t idx;			 /* number of the recipient within its message */
	uint8_t result;			 /* enum relay_result */
	char status[RELAY_STATUS_MAX];	 /* enhanced code, never "" */
	char reply[RELAY_REPLY_MAX + 1]; /* printable ASCII */
	bool dsn; /* delivered to a server that was told what notices are wanted (RFC 3461) */
};

struct relay_outcome {
	char id[QUEUE_ID_LEN + 1];
	uint32_t attempt; /* as in the work */
	uint64_t seq;	  /* of its last journal record */
	uint32_t n;
	struct relay_rcpt rcpts[RELAY_RCPTS_MAX];
};

#define RELAY_OUTCOME_BYTES (64 + RELAY_RCPTS_MAX * (RELAY_REPLY_MAX + RELAY_STATUS_MAX + 17))

bool queue_id_valid(const char *id); /* QUEUE_ID_LEN of [0-9a-z] */

void relay_config_put(struct wire_out *w, const struct relay_config *c);
bool relay_config_get(struct wire_in *r, struct relay_config *c);
void relay_work_put(struct wire_out *w, const struct relay_work *k);
bool relay_work_get(struct wire_in *r, struct relay_work *k);
void relay_outcome_put(struct wire_out *w, const struct relay_outcome *o);
bool relay_outcome_get(struct wire_in *r, struct relay_outcome *o);

#endif
