/*
 * account - what is remembered of each account: a small record of everyone, and a larger one of
 * those that are active now. Private to the detector.
 */
#ifndef RATELIMIT_DETECTOR_ACCOUNT_H
#define RATELIMIT_DETECTOR_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ratelimit/ahead.h"
#include "ratelimit/detector/detector.h"

#define HOUR_MS	    (3600 * INT64_C(1000))
#define DAY_MS	    (24 * HOUR_MS)
#define WEEK_BLOCKS 56 /* of three hours */
#define BLOCK_MS    (3 * HOUR_MS)
#define CLIENTS	    8
#define NONE	    UINT32_MAX

/* One known account, 64 bytes, as on disk. Counts are levels: 4 * log2(1 + n). */
struct account {
	uint64_t key;
	uint32_t next;		      /* in its chain */
	uint32_t active;	      /* NONE: not active */
	uint16_t first_day, last_day; /* of mail */
	uint16_t mild_until;	      /* a day: a false positive was released */
	uint8_t stage, offences, pardons;
	uint8_t contacts_day, rcpts_day, senders_day; /* highest of a day, fading */
	uint8_t week[WEEK_BLOCKS / 2];		      /* recipients in each block: 2 * log2(1+n) */
	uint8_t moves;				      /* networks that became its own */
	uint8_t programs;			      /* TLS clients that became its own */
	uint8_t spare[4];
};
_Static_assert(sizeof(struct account) == 64, "a million of them");

struct client {
	uint32_t net;
	uint16_t known, contacts; /* recipients reached from it */
	int64_t last_ms;
};

/* Signals there is room for: one more moves nothing in a state on disk. */
#define SIGNAL_ROOM 24
_Static_assert(SIGNAL_COUNT <= SIGNAL_ROOM, "a new version of the state");

/* An account that is active now. On disk, too: new fields go to the end. */
struct active {
	uint32_t owner, older, newer; /* list of use */
	uint32_t day;
	int64_t points_ms; /* when points were last decayed */
	double points[SIGNAL_ROOM];
	uint32_t count[SIGNAL_ROOM]; /* units of evidence behind the points, for the words */
	uint32_t rcpts_today, contacts_today, senders_today, bounces_today;
	uint32_t contacts_before, bounces_before; /* yesterday */
	int64_t hour;				  /* this and the last one: */
	uint32_t rcpts_hour[2], contacts_hour[2];
	int64_t block; /* of BLOCK_MS */
	uint32_t block_rcpts;
	struct client client[CLIENTS]; /* not the owner's so far */
	uint32_t sender[CLIENTS];      /* new ones today */
	uint32_t fails;		       /* wrong passwords from strangers */
	int64_t fails_ms, probe_ms;
	uint32_t silent_days; /* before this activity */
	char last_local[24];  /* of the last first contact */
	uint32_t last_domain, run;
	uint64_t body;
	uint32_t body_rcpts;
	uint32_t silent_day; /* when silent_days was noticed */
	double novelty;	     /* of the last client */
	uint32_t tls[4];     /* of TLS clients that are new today */
};

struct accounts {
	struct account *a;
	uint32_t *head;
	uint32_t n, cap, sweep;
	struct active *act;
	uint32_t n_act, cap_act, oldest, newest;
	struct ahead a_ahead, act_ahead;
};

bool accounts_init(struct accounts *t, size_t cap);
void accounts_free(struct accounts *t);
struct account *accounts_find(const struct accounts *t, uint64_t key);
/* Found or made; *fresh says which. When full, one long unused is forgotten. */
struct account *accounts_get(struct accounts *t, uint64_t key, uint16_t day, bool *fresh);
/* Puts record i into its chain. */
void accounts_chain(struct accounts *t, uint32_t i);
/* Its active state, made when there is none (the one unused for longest goes). Never NULL. */
struct active *accounts_active(struct accounts *t, struct account *a, int64_t now_ms);
struct active *accounts_peek(const struct accounts *t, const struct account *a);

/* 4 * log2(1 + n) and back, rounded. */
uint8_t level_of(uint32_t n);
double level_count(uint8_t level);
uint8_t week_level(const struct account *a, int64_t block);

/* Bring an active account to now: the end of hours, blocks and days, and the fading of points. */
void account_roll(struct account *a, struct active *s, int64_t now_ms, bool learn,
		  const struct detector_conf *conf);

#endif
