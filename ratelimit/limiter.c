/*
 * limiter - what ratelimitd knows and decides. Pure: times are passed in, results passed out.
 *
 * Order of a decision: a penalty in force answers alone (suspended: refuse; held: accept on hold up
 * to a ceiling a day); then the limits, all or nothing; then, for what was counted or refused, the
 * detector. So the message that trips the detector is itself held. In mode observe limits and
 * detector only report; penalties somebody set are answered all the same.
 *
 * Trusted with account names and hashes of recipients. Diagnostics: struct limiter_outcome and
 * limiter_stats(), which the server logs and exports. Known gaps: when `accounts` are all in use,
 * an account idle for an hour is forgotten before its day is over; when none is that idle, a new
 * account is answered RL_DOWN.
 */
#include "ratelimit/limiter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#define MINUTE_MS	 60000
#define HOUR_MS		 (60 * MINUTE_MS)
#define IDLE_MS		 HOUR_MS	/* may be evicted when there is no room */
#define AGED_MS		 (25 * HOUR_MS) /* every counter is empty by then */
#define REFUSED_SLOT_MS	 10000
#define REFUSAL_EVERY_MS 1000

const char *const unit_names[N_UNITS] = {"messages", "recipients"};
const char *const window_names[N_WINDOWS] = {"1m", "1h", "1d"};
const char *const window_words[N_WINDOWS] = {"minute", "hour", "day"};

static const struct bucket_shape shapes[N_WINDOWS] = {
    [WINDOW_MINUTE] = {.slot_ms = 1000, .slots = 60},
    [WINDOW_HOUR] = {.slot_ms = 60000, .slots = 60},
    [WINDOW_DAY] = {.slot_ms = 900000, .slots = 96},
};

struct limiter {
	struct limiter_conf conf;
	struct table table;
	struct limiter_stats stats;
};

/* A limit that an ask would break. */
struct hit {
	int64_t retry_ms; /* 0: none */
	enum unit unit;
	enum window window;
	uint64_t would_be;
	int64_t limit;
};

struct limiter *limiter_new(const struct limiter_conf *conf, uint64_t seed)
{
	struct limiter *l = calloc(1, sizeof *l);
	if (!l)
		fatal("out of memory");
	l->conf = *conf;
	table_init(&l->table, (size_t)conf->accounts, seed);
	return l;
}

static void account_free(struct account *a)
{
	for (int u = 0; u < N_UNITS; u++)
		for (int w = 0; w < N_WINDOWS; w++)
			bucket_clear(&a->used[u][w]);
	bucket_clear(&a->held);
	bucket_clear(&a->refused);
	distinct_clear(&a->seen);
	free(a->penalty);
	free(a->over);
	free(a);
}

static void free_list(struct table_node *n)
{
	while (n) {
		struct table_node *next = n->newer;
		account_free((struct account *)n);
		n = next;
	}
}

void limiter_free(struct limiter *l)
{
	if (!l)
		return;
	free_list(l->table.free_list.oldest);
	free_list(l->table.pinned_list.oldest);
	table_done(&l->table);
	free(l);
}

void limiter_configure(struct limiter *l, const struct limiter_conf *conf)
{
	int64_t accounts = l->conf.accounts;
	l->conf = *conf;
	l->conf.accounts = accounts;
}

const struct limiter_conf *limiter_config(const struct limiter *l)
{
	return &l->conf;
}

const struct bucket_shape *limiter_shape(enum window w)
{
	return &shapes[w];
}

struct bucket_shape limiter_refused_shape(const struct limiter *l)
{
	int64_t slots = (l->conf.detect.window_ms + REFUSED_SLOT_MS - 1) / REFUSED_SLOT_MS;
	return (struct bucket_shape){.slot_ms = REFUSED_SLOT_MS, .slots = (uint32_t)slots};
}

uint16_t limiter_distinct_max(const struct limiter *l)
{
	int64_t max = l->conf.detect.recipients * 2;
	return (uint16_t)(max < 64 ? 64 : max > UINT16_MAX ? UINT16_MAX : max);
}

/* --- accounts ------------------------------------------------------------------------------- */

static struct account *find(const struct limiter *l, const char *name)
{
	return (struct account *)table_find(&l->table, name);
}

static void forget(struct limiter *l, struct account *a)
{
	table_remove(&l->table, &a->node);
	account_free(a);
}

static bool make_room(struct limiter *l, const struct moment *now, bool force)
{
	if (l->table.n < l->table.max)
		return true;
	struct table_node *n = table_oldest(&l->table);
	if (!n || (!force && now->mono_ms - n->used_ms < IDLE_MS))
		return false;
	l->stats.evicted++;
	forget(l, (struct account *)n);
	return true;
}

struct account *limiter_account(struct limiter *l, const char *name, const struct moment *now,
				bool force)
{
	size_t len = strlen(name);
	struct account *a = find(l, name);
	if (a || len == 0 || len > RL_ACCOUNT_MAX || !make_room(l, now, force))
		return a;
	a = calloc(1, sizeof *a + len + 1);
	if (!a)
		fatal("out of memory");
	memcpy(a->name, name, len + 1);
	a->node.name = a->name;
	bug_on(!table_insert(&l->table, &a->node, now->mono_ms));
	return a;
}

static bool override_holds(const struct override *o, int64_t utc_ms)
{
	return o->set && (o->expires_ms == 0 || o->expires_ms > utc_ms);
}

static const struct override *override_of(const struct account *a, int u, int w,
					  const struct moment *now)
{
	const struct override *o = a->over ? &a->over[u * N_WINDOWS + w] : NULL;
	return o && override_holds(o, now->utc_ms) ? o : NULL;
}

static int64_t limit_of(const struct limiter *l, const struct account *a, int u, int w,
			const struct moment *now)
{
	const struct override *o = override_of(a, u, w, now);
	return o ? o->limit : l->conf.limit[u][w];
}

void limiter_repin(struct limiter *l, struct account *a, const struct moment *now)
{
	bool any = false;
	for (int i = 0; a->over && i < N_UNITS * N_WINDOWS; i++) {
		a->over[i].set = override_holds(&a->over[i], now->utc_ms);
		any |= a->over[i].set;
	}
	if (!any) {
		free(a->over);
		a->over = NULL;
	}
	table_pin(&l->table, &a->node, any || a->penalty);
}

/* --- the detector ----------------------------------------------------------------------------- */

static void count_detect(struct limiter *l, struct account *a, const struct moment *now,
			 struct detect_counts *n)
{
	struct bucket_shape rs = limiter_refused_shape(l);
	n->rate = bucket_used(&a->used[UNIT_MESSAGES][WINDOW_MINUTE], &shapes[WINDOW_MINUTE],
			      now->mono_ms);
	n->distinct = distinct_count(&a->seen, now->mono_ms, l->conf.detect.window_ms);
	n->refused = bucket_used(&a->refused, &rs, now->mono_ms);
}

static void see_recipients(struct limiter *l, struct account *a, const struct rl_ask *ask,
			   const struct moment *now)
{
	uint32_t n = ask->n_hash < LIMITER_MAX_RCPTS ? ask->n_hash : LIMITER_MAX_RCPTS;
	if (l->conf.detect.recipients > 0)
		distinct_add(&a->seen, now->mono_ms, l->conf.detect.window_ms,
			     limiter_distinct_max(l), ask->rcpt_hash, n);
}

static void put_penalty(struct limiter *l, struct account *a, const struct rl_penalty *p)
{
	if (!a->penalty)
		a->penalty = malloc(sizeof *a->penalty);
	else
		l->stats.penalised[a->penalty->stage]--;
	if (!a->penalty)
		fatal("out of memory");
	*a->penalty = *p;
	l->stats.penalised[p->stage]++;
}

static void open_hold(struct limiter *l, struct account *a, const struct moment *now,
		      const struct limiter_outcome *o)
{
	struct rl_penalty p = {.stage = RL_HOLD, .since_ms = now->utc_ms, .actor = "detector"};
	snprintf(p.account, sizeof p.account, "%s", a->name);
	snprintf(p.rule, sizeof p.rule, "%s", o->rule);
	snprintf(p.why, sizeof p.why, "%s", o->why);
	put_penalty(l, a, &p);
	limiter_repin(l, a, now);
	l->stats.detections++;
}

/* True when the account is on hold from now. */
static bool run_detector(struct limiter *l, struct account *a, const struct moment *now,
			 struct limiter_outcome *o)
{
	struct detect_counts n;
	if (now->mono_ms < a->grace_until_ms)
		return false;
	count_detect(l, a, now, &n);
	const char *rule = detect(&l->conf.detect, &n, o->why, sizeof o->why);
	if (!rule)
		return false;
	o->rule = rule;
	if (l->conf.mode == MODE_ENFORCE) {
		o->opened = true;
		open_hold(l, a, now, o);
		return true;
	}
	if (now->mono_ms >= a->quiet_hold_ms) {
		a->quiet_hold_ms = now->mono_ms + l->conf.detect.window_ms;
		o->would_hold = true;
		l->stats.would_hold++;
	}
	return false;
}

/* --- asking ----------------------------------------------------------------------------------- */

static uint32_t amount(const struct rl_ask *ask, int u)
{
	return u == UNIT_MESSAGES ? ask->messages : ask->rcpts;
}

/* The limit that would take longest to let it pass. */
static struct hit find_hit(const struct limiter *l, struct account *a, const struct rl_ask *ask,
			   const struct moment *now)
{
	struct hit hit = {0};
	for (int i = 0; i < N_UNITS * N_WINDOWS; i++) {
		int u = i / N_WINDOWS, w = i % N_WINDOWS;
		int64_t limit = limit_of(l, a, u, w, now);
		if (limit == 0 || amount(ask, u) == 0)
			continue;
		struct bucket *b = &a->used[u][w];
		int64_t retry =
		    bucket_retry(b, &shapes[w], now->mono_ms, (uint64_t)limit, amount(ask, u));
		if (retry > hit.retry_ms)
			hit = (struct hit){.retry_ms = retry,
					   .unit = u,
					   .window = w,
					   .would_be = b->total + amount(ask, u),
					   .limit = limit};
	}
	return hit;
}

static void charge(struct account *a, const struct rl_ask *ask, const struct moment *now)
{
	for (int u = 0; u < N_UNITS; u++)
		for (int w = 0; w < N_WINDOWS; w++)
			bucket_add(&a->used[u][w], &shapes[w], now->mono_ms, amount(ask, u));
}

static void answer_held(struct limiter *l, struct account *a, const struct rl_ask *ask,
			const struct moment *now, struct rl_verdict *v)
{
	const struct bucket_shape *day = &shapes[WINDOW_DAY];
	int64_t ceiling = l->conf.held_per_day;
	int64_t retry =
	    ceiling ? bucket_retry(&a->held, day, now->mono_ms, (uint64_t)ceiling, ask->messages)
		    : 0;
	if (retry > 0) {
		v->answer = RL_LIMIT;
		v->retry_ms = retry;
		snprintf(v->why, sizeof v->why,
			 "%" PRIu64 " messages on hold in 1d, limit %" PRId64,
			 a->held.total + ask->messages, ceiling);
		return;
	}
	if (ask->charge)
		bucket_add(&a->held, day, now->mono_ms, ask->messages);
	v->answer = RL_HELD;
	snprintf(v->why, sizeof v->why, "%s", a->penalty->why);
}

static void answer_penalised(struct limiter *l, struct account *a, const struct rl_ask *ask,
			     const struct moment *now, struct rl_verdict *v)
{
	if (a->penalty->stage == RL_HOLD) {
		answer_held(l, a, ask, now, v);
		return;
	}
	v->answer = RL_REFUSE;
	snprintf(v->why, sizeof v->why, "%s", a->penalty->why);
}

static void say_hit(struct account *a, const struct hit *hit, const struct moment *now,
		    struct rl_verdict *v, struct limiter_outcome *o)
{
	snprintf(v->why, sizeof v->why, "%" PRIu64 " %s in %s, limit %" PRId64, hit->would_be,
		 unit_names[hit->unit], window_names[hit->window], hit->limit);
	if (now->mono_ms < a->quiet_limit_ms)
		return;
	a->quiet_limit_ms = now->mono_ms + MINUTE_MS;
	o->limited = true;
}

/*
 * One message to hundreds of recipients over a limit is refused recipient by recipient, in no time:
 * that is one refusal. Who goes on asking for a minute is counted.
 */
static void count_refusal(struct limiter *l, struct account *a, const struct moment *now)
{
	struct bucket_shape rs = limiter_refused_shape(l);
	if (a->refused_ms != 0 && now->mono_ms - a->refused_ms < REFUSAL_EVERY_MS)
		return;
	a->refused_ms = now->mono_ms;
	bucket_add(&a->refused, &rs, now->mono_ms, 1);
}

/* A limit refuses; that many refusals can be what trips the detector. */
static void answer_limited(struct limiter *l, struct account *a, const struct rl_ask *ask,
			   const struct hit *hit, const struct moment *now, struct rl_verdict *v,
			   struct limiter_outcome *o)
{
	count_refusal(l, a, now);
	see_recipients(l, a, ask, now);
	if (run_detector(l, a, now, o)) {
		answer_held(l, a, ask, now, v);
		return;
	}
	v->answer = RL_LIMIT;
	v->retry_ms = hit->retry_ms;
	say_hit(a, hit, now, v, o);
}

static void answer_normal(struct limiter *l, struct account *a, const struct rl_ask *ask,
			  const struct moment *now, struct rl_verdict *v, struct limiter_outcome *o)
{
	struct hit hit = find_hit(l, a, ask, now);
	if (hit.retry_ms > 0 && l->conf.mode == MODE_ENFORCE) {
		answer_limited(l, a, ask, &hit, now, v, o);
		return;
	}
	if (hit.retry_ms > 0) {
		l->stats.would_limit++;
		say_hit(a, &hit, now, v, o);
	}
	v->answer = RL_OK;
	if (!ask->charge)
		return;
	charge(a, ask, now);
	see_recipients(l, a, ask, now);
	if (run_detector(l, a, now, o))
		answer_held(l, a, ask, now, v);
}

void limiter_ask(struct limiter *l, const struct rl_ask *ask, const struct moment *now,
		 struct rl_verdict *v, struct limiter_outcome *o)
{
	*v = (struct rl_verdict){.answer = RL_DOWN};
	*o = (struct limiter_outcome){0};
	*(ask->charge ? &l->stats.charges : &l->stats.checks) += 1;
	struct account *a = limiter_account(l, ask->account, now, false);
	if (!a) {
		o->full = true;
		snprintf(v->why, sizeof v->why, "no room for another account");
	} else {
		table_touch(&l->table, &a->node, now->mono_ms);
		if (a->penalty)
			answer_penalised(l, a, ask, now, v);
		else
			answer_normal(l, a, ask, now, v, o);
	}
	l->stats.answers[v->answer]++;
}

void limiter_refund(struct limiter *l, const struct rl_ask *ask, const struct moment *now)
{
	struct account *a = find(l, ask->account);
	if (!a)
		return;
	int64_t age = now->utc_ms - ask->t_ms;
	int64_t then = now->mono_ms - (age > 0 ? age : 0);
	if (a->penalty) {
		bucket_sub(&a->held, &shapes[WINDOW_DAY], now->mono_ms, then, ask->messages);
		return;
	}
	for (int u = 0; u < N_UNITS; u++)
		for (int w = 0; w < N_WINDOWS; w++)
			bucket_sub(&a->used[u][w], &shapes[w], now->mono_ms, then, amount(ask, u));
}

/* --- penalties and overrides -------------------------------------------------------------------
 */

const struct rl_penalty *limiter_penalty(const struct limiter *l, const char *account)
{
	const struct account *a = find(l, account);
	return a ? a->penalty : NULL;
}

static bool same_penalty(const struct rl_penalty *x, const struct rl_penalty *y)
{
	return x->stage == y->stage && x->since_ms == y->since_ms &&
	       strcmp(x->rule, y->rule) == 0 && strcmp(x->why, y->why) == 0 &&
	       strcmp(x->actor, y->actor) == 0;
}

static enum limiter_set lift_penalty(struct limiter *l, struct account *a, const struct moment *now)
{
	if (!a || !a->penalty)
		return LIMITER_SAME;
	l->stats.penalised[a->penalty->stage]--;
	free(a->penalty);
	a->penalty = NULL;
	distinct_clear(&a->seen);
	bucket_clear(&a->refused);
	a->released_ms = now->mono_ms;
	a->grace_until_ms = now->mono_ms + l->conf.release_grace_ms;
	limiter_repin(l, a, now);
	return LIMITER_CHANGED;
}

enum limiter_set limiter_set_penalty(struct limiter *l, const struct rl_penalty *p,
				     const struct moment *now)
{
	if (p->stage == RL_NORMAL)
		return lift_penalty(l, find(l, p->account), now);
	struct account *a = limiter_account(l, p->account, now, true);
	if (!a)
		return LIMITER_FULL;
	if (a->penalty && same_penalty(a->penalty, p))
		return LIMITER_SAME;
	put_penalty(l, a, p);
	limiter_repin(l, a, now);
	return LIMITER_CHANGED;
}

void limiter_each_penalty(const struct limiter *l, void (*f)(const struct rl_penalty *p, void *arg),
			  void *arg)
{
	const struct table_node *next;
	for (const struct table_node *n = l->table.pinned_list.oldest; n; n = next) {
		next = n->newer;
		const struct account *a = (const struct account *)n;
		if (a->penalty)
			f(a->penalty, arg);
	}
}

static void make_overrides(struct account *a)
{
	struct override *all = calloc((size_t)N_UNITS * N_WINDOWS, sizeof *all);
	if (!all)
		fatal("out of memory");
	a->over = all;
}

static void drop_override(struct limiter *l, struct account *a, enum unit u, enum window w,
			  const struct moment *now)
{
	if (!a || !a->over)
		return;
	a->over[u * N_WINDOWS + w].set = false;
	limiter_repin(l, a, now);
}

bool limiter_override(struct limiter *l, const char *account, enum unit u, enum window w,
		      const struct override *over, const struct moment *now)
{
	if (!over) {
		drop_override(l, find(l, account), u, w, now);
		return true;
	}
	struct account *a = limiter_account(l, account, now, true);
	if (!a)
		return false;
	if (!a->over)
		make_overrides(a);
	a->over[u * N_WINDOWS + w] = *over;
	limiter_repin(l, a, now);
	return true;
}

void limiter_reset(struct limiter *l, const char *account)
{
	struct account *a = find(l, account);
	if (!a)
		return;
	for (int u = 0; u < N_UNITS; u++)
		for (int w = 0; w < N_WINDOWS; w++)
			bucket_clear(&a->used[u][w]);
	bucket_clear(&a->held);
	bucket_clear(&a->refused);
	distinct_clear(&a->seen);
	a->quiet_limit_ms = a->quiet_hold_ms = 0;
}

/* --- looking ------------------------------------------------------------------------------------
 */

static void view_row(struct limiter *l, struct account *a, int u, int w, const struct moment *now,
		     struct limiter_view *out)
{
	const struct override *o = override_of(a, u, w, now);
	out->row[u][w].limit = limit_of(l, a, u, w, now);
	out->row[u][w].used = bucket_used(&a->used[u][w], &shapes[w], now->mono_ms);
	out->row[u][w].empty_in_ms = bucket_empty_in(&a->used[u][w], &shapes[w], now->mono_ms);
	out->row[u][w].overridden = o != NULL;
	if (o)
		out->row[u][w].over = *o;
}

/* Nothing left, least left; of equals the one that takes longest to recover. */
static int find_first(const struct limiter_view *v)
{
	int first = -1;
	int64_t first_left = 0, first_empty = 0;
	for (int i = 0; i < N_UNITS * N_WINDOWS; i++) {
		int u = i / N_WINDOWS, w = i % N_WINDOWS;
		int64_t limit = v->row[u][w].limit, left = limit - (int64_t)v->row[u][w].used,
			empty = v->row[u][w].empty_in_ms;
		if (limit == 0)
			continue;
		if (left < 0)
			left = 0;
		if (first >= 0 &&
		    (left > first_left || (left == first_left && empty <= first_empty)))
			continue;
		first = i;
		first_left = left;
		first_empty = empty;
	}
	return first;
}

void limiter_view(struct limiter *l, const char *account, const struct moment *now,
		  struct limiter_view *out)
{
	struct account none = {0}, *a = find(l, account);
	if (!a)
		a = &none;
	*out = (struct limiter_view){.penalty = a->penalty};
	for (int u = 0; u < N_UNITS; u++)
		for (int w = 0; w < N_WINDOWS; w++)
			view_row(l, a, u, w, now, out);
	out->first = find_first(out);
	out->held = bucket_used(&a->held, &shapes[WINDOW_DAY], now->mono_ms);
	out->grace_left_ms =
	    a->grace_until_ms > now->mono_ms ? a->grace_until_ms - now->mono_ms : 0;
	count_detect(l, a, now, &out->detect);
}

const struct limiter_stats *limiter_stats(const struct limiter *l)
{
	return &l->stats;
}

size_t limiter_accounts(const struct limiter *l)
{
	return l->table.n;
}

/* --- housekeeping
 * --------------------------------------------------------------------------------- */

void limiter_sweep(struct limiter *l, const struct moment *now, size_t max)
{
	struct table_node *next;
	for (struct table_node *n = l->table.pinned_list.oldest; n; n = next) {
		next = n->newer;
		limiter_repin(l, (struct account *)n, now); /* overrides expire */
	}
	while (max-- > 0) {
		struct table_node *n = table_oldest(&l->table);
		if (!n || now->mono_ms - n->used_ms < AGED_MS)
			return;
		forget(l, (struct account *)n);
	}
}

void limiter_each(struct limiter *l, void (*f)(struct account *a, void *arg), void *arg)
{
	struct table_node *lists[] = {l->table.free_list.oldest, l->table.pinned_list.oldest},
			  *next;
	for (size_t i = 0; i < 2; i++)
		for (struct table_node *n = lists[i]; n; n = next) {
			next = n->newer;
			f((struct account *)n, arg);
		}
}
