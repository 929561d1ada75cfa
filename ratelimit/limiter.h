/*
 * limiter - every decision of ratelimitd: accounts, their counters, limits, overrides, penalties.
 * Pure: no socket, file or clock.
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

#include "ratelimit/bucket.h"
#include "ratelimit/detect.h"
#include "ratelimit/distinct.h"
#include "ratelimit/rl.h"
#include "ratelimit/table.h"

enum unit { UNIT_MESSAGES, UNIT_RECIPIENTS, N_UNITS };
enum window { WINDOW_MINUTE, WINDOW_HOUR, WINDOW_DAY, N_WINDOWS };
enum limiter_mode { MODE_ENFORCE, MODE_OBSERVE };

extern const char *const unit_names[N_UNITS];	  /* "messages", "recipients" */
extern const char *const window_names[N_WINDOWS]; /* "1m", "1h", "1d" */
extern const char *const window_words[N_WINDOWS]; /* "minute", "hour", "day" */

#define LIMITER_MAX_RCPTS 4096 /* hashes looked at of one message */
#define LIMITER_REASON	  160

struct limiter_conf {
	int64_t limit[N_UNITS][N_WINDOWS]; /* 0: none */
	struct detect_conf detect;
	int64_t release_grace_ms;
	int64_t held_per_day; /* 0: no ceiling */
	int64_t accounts;     /* at most; fixed for the life of the limiter */
	int mode;	      /* enum limiter_mode */
};

struct moment {
	int64_t mono_ms, utc_ms;
};

/* A limit of one account that replaces the configured one. */
struct override {
	bool set;
	int64_t limit;	    /* 0: none */
	int64_t expires_ms; /* UTC, 0: never */
	char reason[LIMITER_REASON];
};

struct account {
	struct table_node node; /* first: a node is its account */
	struct bucket used[N_UNITS][N_WINDOWS];
	struct bucket held;	/* messages taken while on hold, a day */
	struct bucket refused;	/* answers RL_LIMIT, for the detector; at most one a second */
	int64_t refused_ms;	/* mono: when one was last counted */
	struct distinct seen;	/* recipients, for the detector */
	int64_t grace_until_ms; /* mono; 0: none */
	int64_t released_ms;	/* mono: when the grace began */
	int64_t quiet_limit_ms, quiet_hold_ms; /* mono: say nothing of that kind before */
	struct rl_penalty *penalty;	       /* NULL: none */
	struct override *over;		       /* NULL, or N_UNITS * N_WINDOWS */
	char name[];
};

/* What of an answer the rim must act on. */
struct limiter_outcome {
	bool opened;	 /* a.penalty was just opened by the detector: make it durable and tell
			    everybody */
	bool would_hold; /* observe: the detector would have held; rule and why say so. Once a
			    window. */
	bool limited;	 /* a limit refused, or would have in mode observe; why says which. Once a
			    minute. */
	bool full;	 /* no room for another account: RL_DOWN */
	const char *rule;
	char why[RL_WHY_MAX];
};

struct limiter_stats {
	uint64_t checks, charges, answers[RL_DOWN + 1];
	uint64_t would_limit, would_hold, detections, evicted;
	uint64_t penalised[RL_SUSPEND + 1]; /* by stage, now */
};

struct limiter;

/* Ends the process when memory is out. conf is copied. */
struct limiter *limiter_new(const struct limiter_conf *conf, uint64_t seed);
void limiter_free(struct limiter *l);
/* New limits for everybody; counters stay. conf->accounts is ignored. */
void limiter_configure(struct limiter *l, const struct limiter_conf *conf);
const struct limiter_conf *limiter_config(const struct limiter *l);

/* Answers, and charges when asked to and the answer is RL_OK or RL_HELD. */
void limiter_ask(struct limiter *l, const struct rl_ask *ask, const struct moment *now,
		 struct rl_verdict *v, struct limiter_outcome *o);
/* Gives back what ask charged at ask->t_ms. */
void limiter_refund(struct limiter *l, const struct rl_ask *ask, const struct moment *now);

/* NULL when the account is not known. */
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

/* over NULL removes. False when the table has no room. */
bool limiter_override(struct limiter *l, const char *account, enum unit u, enum window w,
		      const struct override *over, const struct moment *now);
/* Counters to zero; penalties and overrides stay. */
void limiter_reset(struct limiter *l, const char *account);

/* The state of one account as people see it. */
struct limiter_view {
	const struct rl_penalty *penalty; /* NULL: none */
	struct {
		int64_t limit; /* 0: none */
		uint64_t used;
		int64_t empty_in_ms;
		bool overridden;
		struct override over; /* when overridden */
	} row[N_UNITS][N_WINDOWS];
	int first; /* unit * N_WINDOWS + window of the limit with the least left, -1: no limit */
	uint64_t held;
	int64_t grace_left_ms;
	struct detect_counts detect;
};
void limiter_view(struct limiter *l, const char *account, const struct moment *now,
		  struct limiter_view *out);

/* Forget accounts all of whose counters have aged out; at most max of them a call. */
void limiter_sweep(struct limiter *l, const struct moment *now, size_t max);
const struct limiter_stats *limiter_stats(const struct limiter *l);
size_t limiter_accounts(const struct limiter *l);

/* For the snapshot: every account, longest unused first, then the pinned ones. */
void limiter_each(struct limiter *l, void (*f)(struct account *a, void *arg), void *arg);
/* The account, made when new, evicting another when full (even a fresh one if force). NULL: no
 * room, or not a possible name. */
struct account *limiter_account(struct limiter *l, const char *name, const struct moment *now,
				bool force);
/* After changing a.penalty, a.over or a.grace_until_ms by hand. */
void limiter_repin(struct limiter *l, struct account *a, const struct moment *now);
const struct bucket_shape *limiter_shape(enum window w);
struct bucket_shape limiter_refused_shape(const struct limiter *l);
/* The most recipients the detector's set holds under the present configuration. */
uint16_t limiter_distinct_max(const struct limiter *l);

#endif
