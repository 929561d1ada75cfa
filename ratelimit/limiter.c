/*
 * limiter - what ratelimitd knows and decides. Pure: times are passed in, results passed out.
 *
 * Order of a decision: a hold or suspension in force answers alone (suspended: refuse; held: accept
 * on hold up to a ceiling a day); then the declared size of the account's class; then every limit,
 * all or nothing; then the judge (the detector of stolen accounts); then, for what was counted or
 * refused, the fixed rules. So the message that trips either is itself held. In mode observe limits
 * and rules only report; penalties somebody set are answered all the same.
 *
 * What an ask does not bring (sessions, failed logins, rejected recipients) it does not add: such a
 * limit refuses mail while it is exceeded, so that max are let through and what follows the next
 * one is not.
 *
 * Trusted with account names and hashes of recipients. Diagnostics: struct limiter_outcome and
 * limiter_stats(), which the server logs and exports. Known gaps: when room runs out, who has been
 * idle for an hour is forgotten before its day is over; when none is that idle, a new account is
 * answered RL_DOWN.
 */
#include "ratelimit/limiter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/proc.h"
#include "ratelimit/answer.h"
#include "ratelimit/limiter_int.h"

#define REFUSAL_EVERY_MS 1000
#define REFUND_MAX_MS	 600000

/* A limit that an ask would break. */
struct hit {
	int64_t retry_ms; /* 0: none */
	const struct limit *row;
	uint64_t would_be;
	int64_t max;
};

/* --- who -------------------------------------------------------------------------------------- */

static void ref(struct asking *q, enum limit_key key, const char *name, size_t len)
{
	q->ref[key].name = name;
	q->ref[key].len = len > SUBJECT_NAME_MAX ? 0 : len;
}

static void ref_address(struct asking *q, const struct addr *a)
{
	static const struct addr none;
	const struct limiter_conf *c = &q->l->conf;
	struct prefix p;
	if (!a || addr_eq(a, &none))
		return;
	p.len = (uint8_t)(addr_is4(a) ? c->prefix4 : c->prefix6);
	addr_mask(a, p.len, &p.a);
	prefix_format(&p, q->address);
	ref(q, KEY_ADDRESS, q->address, strlen(q->address));
	if (q->ref[KEY_ACCOUNT].len == 0)
		return;
	int n = snprintf(q->both, sizeof q->both, "%s %s", q->ref[KEY_ACCOUNT].name, q->address);
	ref(q, KEY_ACCOUNT_ADDRESS, q->both, n < 0 ? 0 : (size_t)n);
}

static bool addresses_matter(const struct limiter *l)
{
	return l->conf.limits.key_used[KEY_ADDRESS] || l->conf.limits.key_used[KEY_ACCOUNT_ADDRESS];
}

static void find_class(struct asking *q)
{
	const struct limits *ls = &q->l->conf.limits;
	const char *name = standing_class(q->st[TARGET_ACCOUNT], q->now->utc_ms);
	if (!name)
		name = standing_class(q->st[TARGET_DOMAIN], q->now->utc_ms);
	q->class = q->declared = CLASS_ALL;
	if (!name)
		return;
	q->declared = limits_class(ls, name);
	if (q->declared != CLASS_ALL && class_open(&ls->class[q->declared], q -> now -> minute))
		q->class = q->declared;
	q->st[TARGET_CLASS] = standing_find(q->l->standings, TARGET_CLASS, name);
}

const struct account_class *limiter_class(const struct limiter *l, const char *account,
					  const struct moment *now)
{
	const struct limits *ls = &l->conf.limits;
	const char *at = strrchr(account, '@'), *name = NULL;
	const struct standing *s = standing_find(l->standings, TARGET_ACCOUNT, account);
	if (ls->n_classes == 0)
		return NULL;
	name = standing_class(s, now->utc_ms);
	if (!name && at)
		name =
		    standing_class(standing_find(l->standings, TARGET_DOMAIN, at + 1), now->utc_ms);
	int i = name ? limits_class(ls, name) : CLASS_ALL;
	return i != CLASS_ALL && class_open(&ls->class[i], now -> minute) ? &ls->class[i] : NULL;
}

void asking_init(struct asking *q, struct limiter *l, const struct limiter_who *who,
		 const struct moment *now)
{
	const char *account = who->account ? who->account : "", *at = strrchr(account, '@');
	const char *realm = at ? at + 1 : "", *domain = who->domain ? who->domain : "";
	memset(q->ref, 0, sizeof q->ref);
	memset(q->st, 0, sizeof q->st);
	q->l = l;
	q->now = now;
	ref(q, KEY_ACCOUNT, account, strlen(account));
	ref(q, KEY_REALM, realm, strlen(realm));
	ref(q, KEY_DOMAIN, *domain ? domain : realm, strlen(*domain ? domain : realm));
	if (addresses_matter(l))
		ref_address(q, who->address);
	q->st[TARGET_ACCOUNT] = standing_find(l->standings, TARGET_ACCOUNT, account);
	q->st[TARGET_DOMAIN] = standing_find(l->standings, TARGET_DOMAIN, *realm ? realm : domain);
	if (q->ref[KEY_ADDRESS].len)
		q->st[TARGET_ADDRESS] = standing_find(l->standings, TARGET_ADDRESS, q->address);
	find_class(q);
}

struct subject *asking_subject(struct asking *q, enum limit_key key)
{
	struct subject_ref *r = &q->ref[key];
	if (r->len > 0 && r->handle == 0)
		r->handle = subjects_find(q->l->subjects, key, r->name, r->len);
	return r->handle ? subject_at(q->l->subjects, r->handle) : NULL;
}

/* Found or made; NULL: no room, or no such name. */
static struct subject *need_subject(struct asking *q, enum limit_key key)
{
	struct subject_ref *r = &q->ref[key];
	if (r->handle)
		subjects_touch(q->l->subjects, r->handle, q->now->mono_ms);
	else if (r->len > 0)
		r->handle =
		    subjects_get(q->l->subjects, key, r->name, r->len, q->now->mono_ms, IDLE_MS);
	return r->handle ? subject_at(q->l->subjects, r->handle) : NULL;
}

/* --- what holds ------------------------------------------------------------------------------- */

static bool about_addresses(const struct limit *r)
{
	return r->key == KEY_ADDRESS || r->key == KEY_ACCOUNT_ADDRESS;
}

void asking_effective(const struct asking *q, const struct limit *r, struct limiter_row *out)
{
	out->limit = r;
	out->max = r->max;
	out->observe = r->observe;
	out->over = NULL;
	for (int t = 0; t < N_TARGETS && !out->over; t++) {
		if (!q->st[t] || (t == TARGET_ADDRESS && !about_addresses(r)))
			continue;
		out->over = standing_override(q->st[t], r->name, q->now->utc_ms);
		out->over_of = (enum target)t;
	}
	if (out->over && out->over->max >= 0)
		out->max = out->over->max;
	if (out->over && out->over->mode != OVERRIDE_SAME)
		out->observe = out->over->mode == OVERRIDE_OBSERVE;
	out->observe |= q->l->conf.mode == MODE_OBSERVE;
}

static uint32_t amount(const struct rl_ask *ask, enum unit u)
{
	uint64_t kib = ask->bytes / 1024 + (ask->bytes % 1024 != 0);
	switch (u) {
	case UNIT_MESSAGES:
		return ask->messages;
	case UNIT_RECIPIENTS:
		return ask->rcpts;
	case UNIT_BYTES:
		return kib > UINT32_MAX ? UINT32_MAX : (uint32_t)kib;
	default:
		return 0;
	}
}

/* The hashes of what is to be different. */
static const uint64_t *hashes(const struct rl_ask *ask, enum unit u, uint32_t *n)
{
	*n = ask->n_hash;
	if (u == UNIT_DISTINCT_RCPTS)
		return ask->rcpt_hash;
	if (u == UNIT_DISTINCT_DOMAINS) {
		*n = ask->domain_hash ? ask->n_hash : 0;
		return ask->domain_hash;
	}
	*n = ask->sender_hash != 0;
	return &ask->sender_hash;
}

struct series asking_series(const struct asking *q, struct subject *s, int which)
{
	const struct extra *x = which > 0 ? subject_extra(q->l->subjects, s) : NULL;
	if (which == 0)
		return subject_series(s);
	return x ? more_series(q->l->subjects, &x->more[which - 1]) : (struct series){0};
}

const struct uniq *asking_set(const struct asking *q, const struct subject *s, int place)
{
	const struct extra *x = s ? subject_extra(q->l->subjects, s) : NULL;
	return x ? subjects_set(q->l->subjects, x->set[place]) : NULL;
}

static int64_t retry_distinct(struct asking *q, const struct limiter_row *r,
			      const struct subject *s, uint64_t *would_be)
{
	uint32_t n;
	int64_t now = q->now->mono_ms, w = r->limit->window_ms;
	const uint64_t *h = hashes(q->ask, r->limit->unit, &n);
	const struct uniq *u = asking_set(q, s, r->limit->set);
	if (n == 0)
		return 0;
	*would_be = uniq_count(u, now, w, h, n, &q->l->scratch);
	if (*would_be <= (uint64_t)r->max)
		return 0;
	return uniq_retry(u, now, w, (uint64_t)r->max, h, n, &q->l->scratch);
}

static int64_t retry_sum(struct asking *q, const struct limiter_row *r, struct subject *s,
			 uint64_t *would_be)
{
	const struct unit_home home = unit_homes[r->limit->unit];
	struct series v = s ? asking_series(q, s, home.series) : (struct series){0};
	uint32_t now = (uint32_t)q->now->mono_ms, w = (uint32_t)r->limit->window_ms,
		 n = amount(q->ask, r->limit->unit);
	int64_t retry = series_retry(&v, home.which, w, now, (uint64_t)r->max, n);
	if (retry > 0)
		*would_be = series_used(&v, home.which, w, now) + n;
	return retry;
}

/* --- speaking once a window ------------------------------------------------------------------- */

/* Free, or of a limit that has gone or whose window is over. */
static bool is_over(const struct said *said, const struct limits *l, uint32_t now)
{
	return said->row == 0 || said->row > l->n ||
	       now - said->at >= (uint64_t)l->row[said->row - 1].window_ms;
}

/* True when nothing was said of that limit in its window, which it now is. Of a subject beyond
 * N_SAID limits at a time, one is spoken of when the window of another is over. */
static bool speak(struct asking *q, const struct limit *row)
{
	const struct limits *l = &q->l->conf.limits;
	struct subject *s = need_subject(q, row->key);
	struct extra *x = s ? subjects_need_extra(q->l->subjects, s) : NULL;
	uint32_t id = (uint32_t)(row - l->row) + 1, now = (uint32_t)q->now->mono_ms;
	struct said *place = NULL;
	if (!x)
		return false;
	for (int i = 0; i < N_SAID; i++) {
		if (is_over(&x->said[i], l, now))
			place = place ? place : &x->said[i];
		else if (x->said[i].row == id)
			return false;
	}
	if (!place)
		return false;
	*place = (struct said){.row = id, .at = now};
	return true;
}

static void observed(struct asking *q, const struct limit *row, uint64_t would_be,
		     struct limiter_outcome *o)
{
	q->l->stats.would_by[row - q->l->conf.limits.row]++;
	if (o->n_would == sizeof o->would / sizeof o->would[0] || !speak(q, row))
		return;
	o->would_be[o->n_would] = would_be;
	o->would[o->n_would++] = row;
}

/* --- limits ----------------------------------------------------------------------------------- */

/* The enforced limit that would take longest to let it pass. */
static struct hit find_hit(struct asking *q, struct limiter_outcome *o)
{
	const struct limits *ls = &q->l->conf.limits;
	unsigned at = q->class == CLASS_ALL ? LIMITS_MAX_CLASSES : (unsigned)q->class;
	struct hit hit = {0};
	bool any_observed = false;
	for (unsigned i = 0; i < ls->n_applies[at]; i++) {
		struct limiter_row r;
		uint64_t would_be = 0;
		asking_effective(q, &ls->row[ls->applies[at][i]], &r);
		if (r.max == 0 || q->ref[r.limit->key].len == 0)
			continue;
		struct subject *s = asking_subject(q, r.limit->key);
		int64_t retry = r.limit->set >= 0 ? retry_distinct(q, &r, s, &would_be)
						  : retry_sum(q, &r, s, &would_be);
		if (retry == 0)
			continue;
		if (r.observe) {
			observed(q, r.limit, would_be, o);
			any_observed = true;
		} else if (retry > hit.retry_ms) {
			hit = (struct hit){retry, r.limit, would_be, r.max};
		}
	}
	q->l->stats.would_limit += any_observed;
	return hit;
}

/* Every subject that is to be counted, before anything is. */
static bool need_all(struct asking *q)
{
	const struct limits *ls = &q->l->conf.limits;
	for (int k = 0; k < N_KEYS; k++)
		if (ls->key_used[k] && q->ref[k].len > 0 && !need_subject(q, (enum limit_key)k))
			return false;
	return q->ref[KEY_ACCOUNT].len > 0;
}

static void count(struct asking *q, enum limit_key key, int series, uint32_t a, uint32_t b)
{
	struct limiter *l = q->l;
	const struct series_windows *ws = &l->conf.limits.windows[key][series];
	struct subject_ref *r = &q->ref[key];
	if (ws->n == 0 || r->len == 0 || (a == 0 && b == 0) || !need_subject(q, key))
		return;
	if (series == 0) {
		r->handle = subjects_add(l->subjects, r->handle, ws, q->now->mono_ms, a, b);
		return;
	}
	struct extra *x = subjects_need_extra(l->subjects, subject_at(l->subjects, r->handle));
	if (x)
		subjects_more_add(l->subjects, &x->more[series - 1], ws, q->now->mono_ms, a, b);
}

static void count_distinct(struct asking *q)
{
	struct limiter *l = q->l;
	const struct limits *ls = &l->conf.limits;
	for (unsigned i = 0; i < ls->n; i++) {
		const struct limit *row = &ls->row[i];
		uint32_t n;
		if (row->set < 0 || q->ref[row->key].handle == 0)
			continue;
		const uint64_t *h = hashes(q->ask, row->unit, &n);
		if (n > UNIQ_MAX_HASHES)
			n = UNIQ_MAX_HASHES;
		struct extra *x = subjects_need_extra(
		    l->subjects, subject_at(l->subjects, q->ref[row->key].handle));
		if (x && n > 0)
			subjects_set_add(l->subjects, &x->set[row->set], q->now->mono_ms,
					 row->window_ms, q->now->mono_ms, h, n);
	}
}

static void charge(struct asking *q)
{
	for (int k = 0; k < N_KEYS; k++) {
		count(q, (enum limit_key)k, 0, q->ask->messages, q->ask->rcpts);
		count(q, (enum limit_key)k, 1, amount(q->ask, UNIT_BYTES), 0);
	}
	count_distinct(q);
}

/* --- the detector ----------------------------------------------------------------------------- */

static struct extra *watch_extra(struct asking *q)
{
	struct subject *s = need_subject(q, KEY_ACCOUNT);
	return s ? subjects_need_extra(q->l->subjects, s) : NULL;
}

static void watch_count(struct asking *q, uint32_t refused, uint32_t held)
{
	struct extra *x = watch_extra(q);
	if (x)
		subjects_more_add(q->l->subjects, &x->more[MORE_WATCH], &q->l->conf.limits.watch,
				  q->now->mono_ms, refused, held);
}

static uint64_t watch_used(struct asking *q, int which, int64_t w_ms)
{
	struct subject *s = asking_subject(q, KEY_ACCOUNT);
	struct series v = s ? asking_series(q, s, MORE_WATCH + 1) : (struct series){0};
	return series_used(&v, which, (uint32_t)w_ms, (uint32_t)q->now->mono_ms);
}

void asking_detect_counts(struct asking *q, struct detect_counts *n)
{
	int64_t window = q->l->conf.detect.window_ms, now = q->now->mono_ms;
	struct subject *s = asking_subject(q, KEY_ACCOUNT);
	const struct extra *x = s ? subject_extra(q->l->subjects, s) : NULL;
	struct series v = s ? subject_series(s) : (struct series){0};
	n->rate = series_used(&v, 0, MINUTE_MS, (uint32_t)now);
	n->distinct = x ? uniq_count(subjects_set(q->l->subjects, x->seen), now, window, NULL, 0,
				     &q->l->scratch)
			: 0;
	n->refused = watch_used(q, 0, window);
}

static void see_recipients(struct asking *q)
{
	uint32_t n = q->ask->n_hash < UNIQ_MAX_HASHES ? q->ask->n_hash : UNIQ_MAX_HASHES;
	struct extra *x = q->l->conf.detect.recipients > 0 && n > 0 ? watch_extra(q) : NULL;
	if (x)
		subjects_set_add(q->l->subjects, &x->seen, q->now->mono_ms,
				 q->l->conf.detect.window_ms, q->now->mono_ms, q->ask->rcpt_hash,
				 n);
}

/* False: too many penalties already. */
static bool open_hold(struct asking *q, const struct limiter_outcome *o)
{
	struct rl_penalty p = {.stage = RL_HOLD, .since_ms = q->now->utc_ms, .actor = "detector"};
	snprintf(p.account, sizeof p.account, "%s", q->ask->account);
	snprintf(p.rule, sizeof p.rule, "%s", o->rule);
	snprintf(p.why, sizeof p.why, "%s", o->why);
	if (!limiter_put_penalty(q->l, &p))
		return false;
	q->l->stats.detections++;
	q->st[TARGET_ACCOUNT] = standing_find(q->l->standings, TARGET_ACCOUNT, p.account);
	return true;
}

static void would_hold(struct asking *q, struct limiter_outcome *o)
{
	struct extra *x = watch_extra(q);
	uint32_t now = (uint32_t)q->now->mono_ms | 1; /* 0 is never */
	if (!x || (x->quiet_hold && now - x->quiet_hold < q->l->conf.detect.window_ms))
		return;
	x->quiet_hold = now;
	o->would_hold = true;
	q->l->stats.would_hold++;
}

/* True when the account is on hold from now. */
static bool run_detector(struct asking *q, struct limiter_outcome *o)
{
	const struct standing *st = q->st[TARGET_ACCOUNT];
	struct detect_counts n;
	if (q->l->rules_rest || (st && q->now->mono_ms < st->grace_until_ms))
		return false;
	asking_detect_counts(q, &n);
	o->rule = detect(&q->l->conf.detect, &n, o->why, sizeof o->why);
	if (!o->rule)
		return false;
	if (q->l->conf.mode == MODE_ENFORCE) {
		o->opened = open_hold(q, o);
		return o->opened;
	}
	would_hold(q, o);
	return false;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void answer_held(struct asking *q, struct rl_verdict *v)
{
	const struct limiter_conf *c = &q->l->conf;
	struct subject *s = asking_subject(q, KEY_ACCOUNT);
	struct series held = s ? asking_series(q, s, MORE_WATCH + 1) : (struct series){0};
	int64_t retry = c->held_per_day ? series_retry(&held, 1, DAY_MS, (uint32_t)q->now->mono_ms,
						       (uint64_t)c->held_per_day, q->ask->messages)
					: 0;
	if (retry > 0) {
		v->answer = RL_LIMIT;
		v->retry_ms = retry;
		snprintf(v->why, sizeof v->why,
			 "%" PRIu64 " messages on hold in 1d, limit %" PRId64,
			 watch_used(q, 1, DAY_MS) + q->ask->messages, c->held_per_day);
		return;
	}
	if (q->ask->charge)
		watch_count(q, 0, q->ask->messages);
	v->answer = RL_HELD;
	snprintf(v->why, sizeof v->why, "%s", q->st[TARGET_ACCOUNT]->penalty->why);
}

static void answer_penalised(struct asking *q, const struct rl_penalty *p, struct rl_verdict *v)
{
	if (p->stage == RL_HOLD) {
		answer_held(q, v);
		return;
	}
	v->answer = RL_REFUSE;
	snprintf(v->why, sizeof v->why, "%s", p->why);
}

void limiter_say(const struct limit *row, uint64_t would_be, int64_t max, char *buf, size_t cap)
{
	const char *unit = row->unit == UNIT_BYTES ? "KiB" : unit_names[row->unit];
	const char *key = row->key == KEY_ACCOUNT ? "" : key_names[row->key];
	snprintf(buf, cap, "%" PRIu64 " %s in %s, limit %" PRId64 "%s%s", would_be, unit,
		 row->window, max, *key ? " for one " : "", key);
}

/*
 * One message to hundreds of recipients over a limit is refused recipient by recipient, in no time:
 * that is one refusal. Who goes on asking for a minute is counted.
 */
static void count_refusal(struct asking *q)
{
	struct extra *x = watch_extra(q);
	uint32_t now = (uint32_t)q->now->mono_ms | 1; /* 0 is never */
	if (!x || (x->refused_at && now - x->refused_at < REFUSAL_EVERY_MS))
		return;
	x->refused_at = now;
	watch_count(q, 1, 0);
}

/* A limit refuses; that many refusals can be what trips the detector. */
static void answer_limited(struct asking *q, const struct hit *hit, struct rl_verdict *v,
			   struct limiter_outcome *o)
{
	q->l->stats.refused_by[hit->row - q->l->conf.limits.row]++;
	count_refusal(q);
	if (q->ask->charge)
		see_recipients(q);
	if (run_detector(q, o)) {
		answer_held(q, v);
		return;
	}
	v->answer = RL_LIMIT;
	v->retry_ms = hit->retry_ms;
	limiter_say(hit->row, hit->would_be, hit->max, v->why, sizeof v->why);
	o->limit = hit->row->name;
	o->limited = speak(q, hit->row);
}

/* More recipients than the class has declared. */
static bool too_many(const struct asking *q, struct rl_verdict *v)
{
	const struct account_class *c =
	    q->class == CLASS_ALL ? NULL : &q->l->conf.limits.class[q->class];
	if (!c || c->max_recipients == 0 || q->ask->rcpts <= c->max_recipients ||
	    q->l->conf.mode == MODE_OBSERVE)
		return false;
	v->answer = RL_LIMIT;
	v->too_many = true;
	snprintf(v->why, sizeof v->why,
		 "%" PRIu32 " recipients in one message, class %s declares %" PRId64, q->ask->rcpts,
		 c->name, c->max_recipients);
	return true;
}

static const struct rl_penalty *penalty_of(const struct asking *q)
{
	const struct standing *st = q->st[TARGET_ACCOUNT];
	return st ? st->penalty : NULL;
}

static bool throttled(const struct asking *q)
{
	const struct rl_penalty *p = penalty_of(q);
	return p && p->stage == RL_THROTTLE;
}

static int64_t throttle_delay(const struct asking *q)
{
	int64_t own = q->class == CLASS_ALL
			  ? -1
			  : q->l->conf.limits.class[q->class].detector.throttle_delay_ms;
	return own >= 0 ? own : q->l->conf.throttle_delay_ms;
}

static int64_t throttle_recipients(const struct asking *q)
{
	int64_t own = q->class == CLASS_ALL
			  ? -1
			  : q->l->conf.limits.class[q->class].detector.throttle_recipients;
	return own >= 0 ? own : q->l->conf.throttle_recipients;
}

/* A throttled account writes to a few in a minute. Who would not pass now is told when. */
static bool over_throttle(struct asking *q, struct rl_verdict *v)
{
	int64_t max = throttle_recipients(q);
	struct subject *s = asking_subject(q, KEY_ACCOUNT);
	struct series sent = s ? subject_series(s) : (struct series){0};
	uint32_t now = (uint32_t)q->now->mono_ms;
	if (!throttled(q) || max == 0)
		return false;
	int64_t retry = series_retry(&sent, 1, MINUTE_MS, now, (uint64_t)max, q->ask->rcpts);
	if (retry == 0)
		return false;
	v->answer = RL_LIMIT;
	v->retry_ms = retry;
	snprintf(v->why, sizeof v->why,
		 "%" PRIu64 " recipients in 1m, limit %" PRId64 " while this account is looked at",
		 series_used(&sent, 1, MINUTE_MS, now) + q->ask->rcpts, max);
	return true;
}

/* What stands for the account may have changed. */
static void ask_judge(struct asking *q)
{
	struct limiter *l = q->l;
	if (!l->judge || !q->ask->charge)
		return;
	l->judge(q->ask, q->now, l->judge_arg);
	q->st[TARGET_ACCOUNT] = standing_find(l->standings, TARGET_ACCOUNT, q->ask->account);
}

static bool stopped(const struct asking *q)
{
	const struct rl_penalty *p = penalty_of(q);
	return p && p->stage >= RL_HOLD;
}

static void answer_normal(struct asking *q, struct rl_verdict *v, struct limiter_outcome *o)
{
	if (too_many(q, v))
		return;
	struct hit hit = find_hit(q, o);
	if (hit.retry_ms > 0) {
		answer_limited(q, &hit, v, o);
		return;
	}
	if (over_throttle(q, v))
		return;
	v->answer = RL_OK;
	if (!q->ask->charge)
		return;
	if (!need_all(q)) {
		v->answer = RL_DOWN;
		o->full = true;
		snprintf(v->why, sizeof v->why, "no room for another account");
		return;
	}
	ask_judge(q);
	if (stopped(q)) {
		answer_penalised(q, penalty_of(q), v);
		return;
	}
	if (throttled(q))
		v->delay_ms = throttle_delay(q);
	charge(q);
	see_recipients(q);
	if (run_detector(q, o))
		answer_held(q, v);
}

void limiter_ask(struct limiter *l, const struct rl_ask *ask, const struct moment *now,
		 struct rl_verdict *v, struct limiter_outcome *o)
{
	struct asking *q = &l->asking;
	const struct limiter_who who = {ask->account, ask->sender_domain, &ask->client};
	size_t len = strlen(ask->account);
	v->answer = RL_DOWN;
	v->too_many = false;
	v->retry_ms = v->delay_ms = 0;
	v->why[0] = '\0';
	o->opened = o->would_hold = o->limited = o->full = false;
	o->n_would = 0;
	o->limit = o->rule = NULL;
	*(ask->charge ? &l->stats.charges : &l->stats.checks) += 1;
	if (len == 0 || len > RL_ACCOUNT_MAX) {
		snprintf(v->why, sizeof v->why, "not a possible account");
	} else {
		q->ask = ask;
		asking_init(q, l, &who, now);
		if (stopped(q))
			ask_judge(q);
		if (stopped(q))
			answer_penalised(q, penalty_of(q), v);
		else
			answer_normal(q, v, o);
	}
	l->stats.answers[v->answer]++;
}

/* --- taking back, observing ------------------------------------------------------------------- */

static void take_back(struct asking *q, enum limit_key key, int series, uint32_t then, uint32_t a,
		      uint32_t b)
{
	const struct series_windows *ws = &q->l->conf.limits.windows[key][series];
	struct subject *s = asking_subject(q, key);
	if (!s || ws->n == 0)
		return;
	struct series v = asking_series(q, s, series);
	series_sub(&v, (uint32_t)q->now->mono_ms, then, series_slot_ms(ws->w_ms[0]), a, b);
}

void limiter_refund(struct limiter *l, const struct rl_ask *ask, const struct moment *now)
{
	struct asking *q = &l->asking;
	const struct limiter_who who = {ask->account, ask->sender_domain, &ask->client};
	int64_t age = now->utc_ms > ask->t_ms ? now->utc_ms - ask->t_ms : 0;
	uint32_t then = (uint32_t)(now->mono_ms - age);
	if (age > REFUND_MAX_MS)
		return;
	q->ask = ask;
	asking_init(q, l, &who, now);
	if (stopped(q)) {
		struct subject *s = asking_subject(q, KEY_ACCOUNT);
		struct series held = s ? asking_series(q, s, MORE_WATCH + 1) : (struct series){0};
		series_sub(&held, (uint32_t)now->mono_ms, then,
			   series_slot_ms(l->conf.limits.watch.w_ms[0]), 0, ask->messages);
		return;
	}
	for (int k = 0; k < N_KEYS; k++) {
		take_back(q, (enum limit_key)k, 0, then, ask->messages, ask->rcpts);
		take_back(q, (enum limit_key)k, 1, then, amount(ask, UNIT_BYTES), 0);
	}
}

/* The next host says for good that a recipient does not exist: as if we had refused it ourselves.
 */
static bool rejected_elsewhere(const struct rl_observation *o)
{
	return o->what == RL_SEEN_RESULT && o->text && o->text[0] == '5' &&
	       answer_kind(rl_class(o)) == ANSWER_KIND_UNKNOWN;
}

void limiter_observe(struct limiter *l, const struct rl_observation *o, const struct moment *now)
{
	static const struct {
		int series;
		bool a, b;
	} kept[RL_N_SEEN] = {
	    [RL_SEEN_LOGIN] = {2, false, true},
	    [RL_SEEN_LOGIN_FAILED] = {2, true, false},
	    [RL_SEEN_REJECTED] = {1, false, true},
	};
	struct asking *q = &l->asking;
	const struct limiter_who who = {o->account, NULL, &o->client};
	uint32_t n = o->n ? o->n : 1;
	enum rl_seen as = rejected_elsewhere(o) ? RL_SEEN_REJECTED : o->what;
	l->stats.observations[o->what]++;
	if (kept[as].series == 0)
		return;
	q->ask = NULL;
	asking_init(q, l, &who, now);
	for (int k = 0; k < N_KEYS; k++)
		count(q, (enum limit_key)k, kept[as].series, kept[as].a ? n : 0,
		      kept[as].b ? n : 0);
}
