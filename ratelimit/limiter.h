/*
 * limiter - every decision of ratelimitd: who has counted what, limits, penalties. Pure: no socket,
 * file or clock.
 *
 * Two times are handed in: mono_ms never goes back and drives the windows; utc_ms is data (since
 * when, until when). The daemon starts mono_ms at the UTC time of its start, so that slots line up
 * across a restart.
 */
#ifndef RATELIMIT_LIMITER_H
#define RATELIMIT_LIMITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ratelimit/detect.h"
#include "ratelimit/limits.h"
#include "ratelimit/rl.h"
#include "ratelimit/standing.h"
#include "ratelimit/subjects.h"

enum limiter_mode { MODE_ENFORCE, MODE_OBSERVE };

/* The configuration says: this account, or "@" and this realm, is of that class. */
struct class_member {
	const char *name, *class;
};

struct limiter_conf {
	struct limits limits;
	const struct class_member *members;
	size_t n_members;
	struct detect_conf detect;
	int64_t release_grace_ms;
	int64_t held_per_day;	  /* 0: no ceiling */
	int64_t accounts;	  /* subjects at most; fixed for the life of the limiter */
	int64_t memory;		  /* bytes for them; the same */
	int64_t prefix4, prefix6; /* how many bits of an address are one key */
	/* Of an account that is throttled. */
	int64_t throttle_delay_ms;   /* the reply to each of its messages is kept back so long */
	int64_t throttle_recipients; /* it may write to so many in a minute; 0: no limit */
	int mode;		     /* enum limiter_mode */
};

struct moment {
	int64_t mono_ms, utc_ms;
	int minute; /* of the week where we are, Monday 00:00 is 0: for the hours of classes */
};

/* What of an answer the rim must act on. */
struct limiter_outcome {
	bool opened;	 /* a penalty was just opened by the detector: make it durable and tell
			    everybody */
	bool would_hold; /* observe: the detector would have held; rule and why say so. Once a
			    window. */
	bool limited;	 /* a limit refused; v.why says which. Once a window of the limit. */
	bool full;	 /* no room for another account: RL_DOWN */
	const struct limit *would[4]; /* in mode observe they would have refused. Once a window. */
	uint64_t would_be[4];
	unsigned n_would;
	const char *limit; /* name of the limit that refused, NULL: none */
	const char *rule;
	char why[RL_WHY_MAX];
};

struct limiter_stats {
	uint64_t checks, charges, answers[RL_DOWN + 1];
	uint64_t would_limit, would_hold, detections;
	uint64_t observations[RL_N_SEEN];
	uint64_t refused_by[LIMITS_MAX], would_by[LIMITS_MAX]; /* by row, since the last reload */
	uint64_t penalised[RL_N_STAGES];		       /* by stage, now */
};

struct limiter;

/* Ends the process when memory is out. conf->limits must be finished; all is copied. */
struct limiter *limiter_new(const struct limiter_conf *conf, uint64_t seed);
void limiter_free(struct limiter *l);
/* New limits for everybody; counters stay, accounts and memory too. */
void limiter_configure(struct limiter *l, const struct limiter_conf *conf);
const struct limiter_conf *limiter_config(const struct limiter *l);

/*
 * Judges each charge that no limit refuses, before it is counted and answered: it may set a penalty
 * of that account, which is then in force for that very message. Also those of accounts on hold.
 */
typedef void limiter_judge(const struct rl_ask *ask, const struct moment *now, void *arg);
void limiter_set_judge(struct limiter *l, limiter_judge *judge, void *arg);
/* The fixed rules (detect.h) look on: somebody who knows the accounts has taken over. */
void limiter_rest_rules(struct limiter *l, bool rest);

/* Answers, and charges when asked to and the answer is RL_OK or RL_HELD. */
void limiter_ask(struct limiter *l, const struct rl_ask *ask, const struct moment *now,
		 struct rl_verdict *v, struct limiter_outcome *o);
/* Gives back what ask charged at ask->t_ms. What it made distinct counts stays. */
void limiter_refund(struct limiter *l, const struct rl_ask *ask, const struct moment *now);
/* Counts sessions, failed logins, and recipients that we or the next host refused for good. */
void limiter_observe(struct limiter *l, const struct rl_observation *o, const struct moment *now);

/* The class in force for the account now; NULL: none. */
const struct account_class *limiter_class(const struct limiter *l, const char *account,
					  const struct moment *now);
/* NULL when there is none. */
const struct rl_penalty *limiter_penalty(const struct limiter *l, const char *account);
enum limiter_set { LIMITER_SAME, LIMITER_CHANGED, LIMITER_FULL };
/*
 * Sets, replaces or (stage RL_NORMAL) lifts the penalty of p->account. Lifting one empties the
 * detector's window of the account and starts its grace.
 */
enum limiter_set limiter_set_penalty(struct limiter *l, const struct rl_penalty *p,
				     const struct moment *now);
void limiter_each_penalty(const struct limiter *l, void (*f)(const struct rl_penalty *p, void *arg),
			  void *arg);

/* Whose counts: what is not known is NULL. */
struct limiter_who {
	const char *account, *domain;
	const struct addr *address;
};

/* over->limit names the limit. False when there is no room. */
bool limiter_override(struct limiter *l, enum target target, const char *name,
		      const struct override *over);
/* False: there was none. */
bool limiter_drop_override(struct limiter *l, enum target target, const char *name,
			   const char *limit, const struct moment *now);
/* class "": none. False when there is no room. */
bool limiter_give_class(struct limiter *l, enum target target, const char *name, const char *class,
			const struct terms *terms, const struct moment *now);
/* Counters to zero, of every kind that names them; penalties and overrides stay. */
void limiter_reset(struct limiter *l, const struct limiter_who *who, const struct moment *now);

struct limiter_row {
	const struct limit *limit;
	int64_t max; /* that holds; 0: none */
	bool observe;
	uint64_t used;
	bool estimated; /* used is an estimate */
	int64_t empty_in_ms;
	const struct override *over; /* NULL: none; valid until something is set */
	enum target over_of;
};

/* What people see of one account, address or domain. */
struct limiter_view {
	const struct rl_penalty *penalty; /* NULL: none */
	const struct account_class *class;
	bool class_open;		 /* it is one of its hours */
	const struct standing *standing; /* of the account or domain; NULL: none */
	struct limiter_row row[LIMITS_MAX];
	unsigned n;
	int first; /* index of the row that bites first, -1: no limit */
	uint64_t held;
	int64_t grace_left_ms;
	struct detect_counts detect;
};
void limiter_view(struct limiter *l, const struct limiter_who *who, const struct moment *now,
		  struct limiter_view *out);

/* "31 messages in 1m, limit 30". */
void limiter_say(const struct limit *row, uint64_t would_be, int64_t max, char *buf, size_t cap);
/* A little housekeeping: n places of the table. */
void limiter_sweep(struct limiter *l, const struct moment *now, size_t n);
/* Decisions that have expired; now and then. */
void limiter_sweep_standing(struct limiter *l, const struct moment *now);
const struct limiter_stats *limiter_stats(const struct limiter *l);

/* For the snapshot. */
struct subjects *limiter_subjects(struct limiter *l);
struct standings *limiter_standings(struct limiter *l);
/* The detector begins anew with that account. */
void limiter_forget_seen(struct limiter *l, const char *account, const struct moment *now);

#endif
