/*
 * standing - what somebody decided: penalties, overrides of limits, classes given to accounts, the
 * grace after a release. Few, kept by name outside of the counters' memory, never forgotten for
 * want of room. Pure.
 */
#ifndef RATELIMIT_STANDING_H
#define RATELIMIT_STANDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ratelimit/limits.h"
#include "ratelimit/rl.h"

/* Whom a decision is about. Order of their force, strongest first. */
enum target { TARGET_ACCOUNT, TARGET_ADDRESS, TARGET_DOMAIN, TARGET_CLASS, N_TARGETS };
extern const char *const target_names[N_TARGETS]; /* "account" ... */

#define STANDING_MAX 65536 /* names */
#define TERMS_REASON 160
#define TERMS_ACTOR  64

/* Why, by whom, until when. */
struct terms {
	int64_t expires_ms; /* UTC, 0: never */
	int64_t set_ms;	    /* UTC */
	char reason[TERMS_REASON], actor[TERMS_ACTOR];
};

enum override_mode { OVERRIDE_SAME, OVERRIDE_ENFORCE, OVERRIDE_OBSERVE };

/* In place of what the limit of that name says. */
struct override {
	char limit[LIMIT_NAME_MAX];
	int64_t max; /* 0: none; -1: as configured */
	int mode;    /* enum override_mode */
	struct terms terms;
};

struct standing {
	struct standing *next; /* of the same place in the table */
	uint64_t hash;
	struct rl_penalty *penalty;	     /* NULL: none */
	int64_t grace_until_ms, released_ms; /* limiter time; 0: none */
	char class[LIMIT_NAME_MAX];	     /* given by an operator; "": none */
	struct terms class_terms;
	char conf_class[LIMIT_NAME_MAX]; /* given by the configuration */
	struct override *over;		 /* n_over of them */
	unsigned n_over;
	enum target target;
	char name[];
};

struct standings;

struct standings *standings_new(uint64_t seed);
void standings_free(struct standings *t);
/* NULL: nothing stands for that name. */
struct standing *standing_find(const struct standings *t, enum target target, const char *name);
/* Found or made; NULL: STANDING_MAX are there. Call standing_tidy() when done. */
struct standing *standing_need(struct standings *t, enum target target, const char *name);
/* Drops what has expired; forgets it when nothing is left: true then. */
bool standing_tidy(struct standings *t, struct standing *s, int64_t mono_ms, int64_t utc_ms);
void standings_tidy(struct standings *t, int64_t mono_ms, int64_t utc_ms);
/* NULL: none that holds now. */
const struct override *standing_override(const struct standing *s, const char *limit,
					 int64_t utc_ms);
/* False: too many for one name. */
bool standing_put(struct standing *s, const struct override *o);
/* False: there was none. */
bool standing_drop(struct standing *s, const char *limit);
/* The class in force, the operator's before the configuration's; NULL: none. */
const char *standing_class(const struct standing *s, int64_t utc_ms);
/* f must not add or remove. */
void standings_each(const struct standings *t, void (*f)(struct standing *s, void *arg), void *arg);
/* Are there any about that? A cheap question. */
bool standings_any(const struct standings *t, enum target target);

#endif
