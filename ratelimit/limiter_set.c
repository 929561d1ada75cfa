/*
 * limiter_set - what is set rather than counted: configuration, penalties, overrides, classes; and
 * the housekeeping. Pure.
 *
 * Trusted with what acctd and the configuration say. Diagnostics: results. Known gaps: none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"
#include "ratelimit/limiter_int.h"

/* --- configuration ---------------------------------------------------------------------------- */

static void drop_member(struct standing *s, void *arg)
{
	(void)arg;
	s->conf_class[0] = '\0';
}

/* "user@realm" is an account, "@realm" everybody of it. */
static void take_members(struct limiter *l)
{
	standings_each(l->standings, drop_member, NULL);
	for (size_t i = 0; i < l->conf.n_members; i++) {
		const char *name = l->conf.members[i].name;
		bool realm = name[0] == '@';
		struct standing *s = standing_need(
		    l->standings, realm ? TARGET_DOMAIN : TARGET_ACCOUNT, name + realm);
		if (s)
			snprintf(s->conf_class, sizeof s->conf_class, "%s",
				 l->conf.members[i].class);
	}
	l->conf.members = NULL; /* the caller's */
	l->conf.n_members = 0;
}

struct limiter *limiter_new(const struct limiter_conf *conf, uint64_t seed)
{
	struct limiter *l = calloc(1, sizeof *l);
	if (!l)
		fatal("out of memory");
	l->conf = *conf;
	l->subjects = subjects_new((size_t)conf->accounts, (size_t)conf->memory, seed);
	l->standings = standings_new(seed);
	take_members(l);
	return l;
}

void limiter_free(struct limiter *l)
{
	if (!l)
		return;
	subjects_free(l->subjects);
	standings_free(l->standings);
	free(l);
}

void limiter_configure(struct limiter *l, const struct limiter_conf *conf)
{
	struct limiter_conf fresh = *conf;
	uint32_t stale = 0;
	char err[256];
	fresh.accounts = l->conf.accounts;
	fresh.memory = l->conf.memory;
	bug_on(!limits_finish(&fresh.limits, &l->conf.limits, fresh.detect.window_ms, &stale, err));
	subjects_drop_sets(l->subjects, stale);
	l->conf = fresh;
	memset(l->stats.refused_by, 0, sizeof l->stats.refused_by);
	memset(l->stats.would_by, 0, sizeof l->stats.would_by);
	take_members(l);
}

void limiter_set_judge(struct limiter *l, limiter_judge *judge, void *arg)
{
	l->judge = judge;
	l->judge_arg = arg;
}

void limiter_rest_rules(struct limiter *l, bool rest)
{
	l->rules_rest = rest;
}

const struct limiter_conf *limiter_config(const struct limiter *l)
{
	return &l->conf;
}

/* --- penalties -------------------------------------------------------------------------------- */

bool limiter_put_penalty(struct limiter *l, const struct rl_penalty *p)
{
	struct standing *s = standing_need(l->standings, TARGET_ACCOUNT, p->account);
	if (!s)
		return false;
	if (!s->penalty)
		s->penalty = malloc(sizeof *s->penalty);
	else
		l->stats.penalised[s->penalty->stage]--;
	if (!s->penalty)
		fatal("out of memory");
	*s->penalty = *p;
	l->stats.penalised[p->stage]++;
	return true;
}

const struct rl_penalty *limiter_penalty(const struct limiter *l, const char *account)
{
	const struct standing *s = standing_find(l->standings, TARGET_ACCOUNT, account);
	return s ? s->penalty : NULL;
}

static bool same_penalty(const struct rl_penalty *x, const struct rl_penalty *y)
{
	return x->stage == y->stage && x->since_ms == y->since_ms &&
	       strcmp(x->rule, y->rule) == 0 && strcmp(x->why, y->why) == 0 &&
	       strcmp(x->actor, y->actor) == 0;
}

void limiter_forget_seen(struct limiter *l, const char *account, const struct moment *now)
{
	uint32_t h = subjects_find(l->subjects, KEY_ACCOUNT, account, strlen(account));
	struct extra *x = h ? subject_extra(l->subjects, subject_at(l->subjects, h)) : NULL;
	if (!x)
		return;
	subjects_set_drop(l->subjects, &x->seen);
	struct series v = more_series(l->subjects, &x->more[MORE_WATCH]);
	for (uint32_t i = 0; i < v.n; i++) {
		uint32_t t, a, b;
		series_get(&v, i, &t, &a, &b);
		series_sub(&v, (uint32_t)now->mono_ms, t, 1, a, 0);
	}
}

static enum limiter_set lift_penalty(struct limiter *l, const char *account,
				     const struct moment *now)
{
	struct standing *s = standing_find(l->standings, TARGET_ACCOUNT, account);
	if (!s || !s->penalty)
		return LIMITER_SAME;
	bool released = s->penalty->stage >= RL_HOLD;
	l->stats.penalised[s->penalty->stage]--;
	free(s->penalty);
	s->penalty = NULL;
	if (released) {
		limiter_forget_seen(l, account, now);
		s->released_ms = now->mono_ms;
		s->grace_until_ms = now->mono_ms + l->conf.release_grace_ms;
	}
	(void)standing_tidy(l->standings, s, now->mono_ms, now->utc_ms);
	return LIMITER_CHANGED;
}

enum limiter_set limiter_set_penalty(struct limiter *l, const struct rl_penalty *p,
				     const struct moment *now)
{
	if (p->stage == RL_NORMAL)
		return lift_penalty(l, p->account, now);
	const struct rl_penalty *old = limiter_penalty(l, p->account);
	if (old && same_penalty(old, p))
		return LIMITER_SAME;
	return limiter_put_penalty(l, p) ? LIMITER_CHANGED : LIMITER_FULL;
}

struct each_penalty {
	void (*f)(const struct rl_penalty *p, void *arg);
	void *arg;
};

static void one_penalty(struct standing *s, void *arg)
{
	const struct each_penalty *e = arg;
	if (s->penalty)
		e->f(s->penalty, e->arg);
}

void limiter_each_penalty(const struct limiter *l, void (*f)(const struct rl_penalty *p, void *arg),
			  void *arg)
{
	struct each_penalty e = {f, arg};
	standings_each(l->standings, one_penalty, &e);
}

/* --- overrides, classes, resets ----------------------------------------------------------------
 */

bool limiter_override(struct limiter *l, enum target target, const char *name,
		      const struct override *over)
{
	struct standing *s = standing_need(l->standings, target, name);
	return s && standing_put(s, over);
}

bool limiter_drop_override(struct limiter *l, enum target target, const char *name,
			   const char *limit, const struct moment *now)
{
	struct standing *s = standing_find(l->standings, target, name);
	if (!s || !standing_drop(s, limit))
		return false;
	(void)standing_tidy(l->standings, s, now->mono_ms, now->utc_ms);
	return true;
}

bool limiter_give_class(struct limiter *l, enum target target, const char *name, const char *class,
			const struct terms *terms, const struct moment *now)
{
	struct standing *s = class[0] ? standing_need(l->standings, target, name)
				      : standing_find(l->standings, target, name);
	if (!s)
		return class[0] == '\0';
	snprintf(s->class, sizeof s->class, "%s", class);
	s->class_terms = *terms;
	(void)standing_tidy(l->standings, s, now->mono_ms, now->utc_ms);
	return true;
}

void limiter_reset(struct limiter *l, const struct limiter_who *who, const struct moment *now)
{
	struct asking *q = &l->asking;
	asking_init(q, l, who, now);
	if (!who->account)
		q->ref[KEY_REALM] = q->ref[KEY_DOMAIN]; /* a domain by name is both */
	for (int k = 0; k < N_KEYS; k++) {
		bool named = k == KEY_ACCOUNT		? who->account != NULL
			     : k == KEY_ACCOUNT_ADDRESS ? who->account && who->address
			     : k == KEY_ADDRESS		? who->address && !who->account
							: who->domain && !who->account;
		if (named && asking_subject(q, (enum limit_key)k))
			(void)subjects_clear(l->subjects, q->ref[k].handle);
	}
}

/* --- housekeeping ----------------------------------------------------------------------------- */

void limiter_sweep(struct limiter *l, const struct moment *now, size_t n)
{
	subjects_sweep(l->subjects, &l->conf.limits, now->mono_ms, n);
}

void limiter_sweep_standing(struct limiter *l, const struct moment *now)
{
	standings_tidy(l->standings, now->mono_ms, now->utc_ms);
}

const struct limiter_stats *limiter_stats(const struct limiter *l)
{
	return &l->stats;
}

struct subjects *limiter_subjects(struct limiter *l)
{
	return l->subjects;
}

struct standings *limiter_standings(struct limiter *l)
{
	return l->standings;
}
