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
#define RELAY_VIA_MAX	 400

enum relay_frame {
	/* msad to relay */
	RELAY_CONFIG = 1,    /* struct relay_config; the first frame */
	RELAY_WORK = 2,	     /* struct relay_work */
	RELAY_RECALL = 3,    /* str id: do not begin, break off if the final dot has not left */
	RELAY_COMMITTED = 4, /* u64 seq: outcomes up to it are in the spool */
	RELAY_RETRY = 5,     /* try every destination now, whatever the pause */
	RELAY_STOP = 6,	     /* finish what waits for the reply to its final dot, then exit */
	RELAY_POST = 8,	     /* struct relay_post: a report of TLS to be sent over HTTPS */
	RELAY_ROUTES = 7,    /* u8 last, a piece of route_table_put(); in force with the last one */
	/* relay to msad */
	RELAY_OUTCOME = 16, /* struct relay_outcome */
	RELAY_READY =
	    17, /* u32 window: the journal was told; so many messages may be here at once */
	RELAY_BACK =
	    18, /* struct relay_returned: not begun, or broken off: nothing was delivered */
	RELAY_HOST = 19, /* u8 up, str why: of the default route, when it names its hosts */
	RELAY_LANE = 20, /* struct relay_lane */
	RELAY_BUSY =
	    21, /* str id: with a role of before that waits for the reply to its final dot */
};

/* BACK_LATER: its destination has enough, or is closed. */
enum relay_back { BACK_RECALLED = 0, BACK_UNREADABLE = 1, BACK_LATER = 2 };

#define RELAY_LANE_MAX 256 /* ROUTE_NAME_MAX */

/* The numbers of enum in struct event's delivery. */
enum relay_result { RELAY_DELIVERED = 1, RELAY_BOUNCED = 2, RELAY_DEFERRED = 3 };

struct relay_config {
	char state_dir[256], hostname[256];
	char dns_server[64], dns_anchor[256]; /* as dns_new() takes them */
	char self[2048]; /* names, addresses and ADDRESS:PORTs that are us, blank-separated */
	char ca[256]; /* authorities of MTA-STS and of routes without their own; "": the system's */
	bool sts;     /* heed MTA-STS */
	bool tlsrpt;  /* find out who wants reports of TLS */
	uint32_t connections; /* in all */
	int64_t timeout_ms, pause_min_ms, pause_max_ms;
};

enum relay_work_flag {
	WORK_SUSPECT = 1, /* its account is under suspicion: by the suspect route */
	WORK_SETTLE = 2,  /* must get an outcome: nothing is given back as BACK_LATER */
};

struct relay_work {
	char id[QUEUE_ID_LEN + 1];
	int64_t key; /* row of the spool */
	uint32_t attempt;
	uint8_t flags; /* enum relay_work_flag */
};

struct relay_returned {
	char id[QUEUE_ID_LEN + 1];
	uint8_t why;		   /* enum relay_back */
	char lane[RELAY_LANE_MAX]; /* BACK_LATER: of which destination */
	int64_t wait_ms;	   /* and for how long */
};

/* The report of a day to a domain (RFC 8460), by whom. */
struct relay_post {
	char day[11], domain[256], url[400];
	char organization[256], contact[320];
};

/* A destination: so many messages for it may be here at once; closed for so long (0: open). */
struct relay_lane {
	char name[RELAY_LANE_MAX];
	uint32_t limit;
	int64_t closed_ms;
};

struct relay_rcpt {
	uint32_t idx;			 /* number of the recipient within its message */
	uint8_t result;			 /* enum relay_result */
	char status[RELAY_STATUS_MAX];	 /* enhanced code, never "" */
	char reply[RELAY_REPLY_MAX + 1]; /* printable ASCII */
	bool dsn;	/* delivered to a server that was told what notices are wanted (RFC 3461) */
	bool final;	/* delivered into the mailbox, by LMTP: nobody after it tells of anything */
	uint8_t answer; /* enum answer_class; the parent's: the relay role does not say it */
};

struct relay_outcome {
	char id[QUEUE_ID_LEN + 1];
	uint32_t attempt;	 /* as in the work */
	uint64_t seq;		 /* of its last journal record */
	bool more;		 /* other recipients of the same work follow */
	char via[RELAY_VIA_MAX]; /* "mx1.example.net[192.0.2.1]:25 TLSv1.3 ... dane"; "" not known
				  */
	uint32_t n;
	struct relay_rcpt rcpts[RELAY_RCPTS_MAX];
};

#define RELAY_OUTCOME_BYTES                                                                        \
	(80 + RELAY_VIA_MAX + RELAY_RCPTS_MAX * (RELAY_REPLY_MAX + RELAY_STATUS_MAX + 17))

bool queue_id_valid(const char *id); /* QUEUE_ID_LEN of [0-9a-z] */

void relay_config_put(struct wire_out *w, const struct relay_config *c);
bool relay_config_get(struct wire_in *r, struct relay_config *c);
void relay_work_put(struct wire_out *w, const struct relay_work *k);
bool relay_work_get(struct wire_in *r, struct relay_work *k);
void relay_returned_put(struct wire_out *w, const struct relay_returned *b);
bool relay_returned_get(struct wire_in *r, struct relay_returned *b);
void relay_post_put(struct wire_out *w, const struct relay_post *p);
bool relay_post_get(struct wire_in *r, struct relay_post *p);
void relay_lane_put(struct wire_out *w, const struct relay_lane *l);
bool relay_lane_get(struct wire_in *r, struct relay_lane *l);
void relay_outcome_put(struct wire_out *w, const struct relay_outcome *o);
bool relay_outcome_get(struct wire_in *r, struct relay_outcome *o);

#endif
