/*
 * limiter_int - what limiter.c, limiter_view.c and limiter_set.c share. For them alone.
 */
#ifndef RATELIMIT_LIMITER_INT_H
#define RATELIMIT_LIMITER_INT_H

#include "ratelimit/limiter.h"

#define MINUTE_MS 60000
#define HOUR_MS	  (60 * MINUTE_MS)
#define DAY_MS	  (24 * HOUR_MS)
#define IDLE_MS	  HOUR_MS /* may be forgotten when there is no room */

struct subject_ref {
	const char *name;
	size_t len; /* 0: this key is not known */
	uint32_t handle;
};

/* One ask while it is answered: its keys, and what stands for them. */
struct asking {
	struct limiter *l;
	const struct rl_ask *ask;
	const struct moment *now;
	struct subject_ref ref[N_KEYS];
	const struct standing *st[N_TARGETS];
	int class, declared; /* in force now; given. CLASS_ALL: none */
	char address[PREFIX_STRLEN], both[SUBJECT_NAME_MAX + 1];
};

struct limiter {
	struct limiter_conf conf;
	struct subjects *subjects;
	struct standings *standings;
	struct limiter_stats stats;
	struct asking asking;
	limiter_judge *judge; /* NULL: none */
	void *judge_arg;
	bool rules_rest;
	struct uniq_scratch scratch;
};

void asking_init(struct asking *q, struct limiter *l, const struct limiter_who *who,
		 const struct moment *now);
/* NULL: nothing was ever counted for it. */
struct subject *asking_subject(struct asking *q, enum limit_key key);
/* Fills limit, max, observe, over. */
void asking_effective(const struct asking *q, const struct limit *r, struct limiter_row *out);
/* which: 0 main, else 1 + MORE_*. */
struct series asking_series(const struct asking *q, struct subject *s, int which);
const struct uniq *asking_set(const struct asking *q, const struct subject *s, int place);
void asking_detect_counts(struct asking *q, struct detect_counts *n);
/* False: too many already. */
bool limiter_put_penalty(struct limiter *l, const struct rl_penalty *p);

#endif
