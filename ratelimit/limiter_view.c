/*
 * limiter_view - the state of one account, address or domain as people see it. Pure.
 *
 * Trusted with counters. Diagnostics: none. Known gap: counts of an account at one address are
 * shown when the address is given too; nobody keeps a list of them.
 */
#include <string.h>

#include "ratelimit/limiter_int.h"

static void view_sum(struct asking *q, struct limiter_row *r, struct subject *s)
{
	const struct unit_home home = unit_homes[r->limit->unit];
	struct series v = asking_series(q, s, home.series);
	uint32_t now = (uint32_t)q->now->mono_ms, w = (uint32_t)r->limit->window_ms;
	r->used = series_used(&v, home.which, w, now);
	r->empty_in_ms = series_empty_in(&v, home.which, w, now);
}

static void view_set(struct asking *q, struct limiter_row *r, struct subject *s)
{
	const struct uniq *u = asking_set(q, s, r->limit->set);
	if (!u)
		return;
	r->used = uniq_count(u, q->now->mono_ms, r->limit->window_ms, NULL, 0, &q->l->scratch);
	r->estimated = u->cap == 0;
	r->empty_in_ms = uniq_empty_in(u, q->now->mono_ms, r->limit->window_ms);
}

static void view_row(struct asking *q, const struct limit *limit, struct limiter_row *r)
{
	struct subject *s = asking_subject(q, limit->key);
	memset(r, 0, sizeof *r);
	asking_effective(q, limit, r);
	if (s && limit->set >= 0)
		view_set(q, r, s);
	else if (s)
		view_sum(q, r, s);
}

/* What is left, in mails as people send them: a message of 64 KiB for bytes. */
static int64_t mails_left(const struct limiter_row *r)
{
	int64_t left = r->max - (int64_t)r->used;
	return left < 0 ? 0 : r->limit->unit == UNIT_BYTES ? left / 64 : left;
}

/* Nothing left, least left; of equals the one that takes longest to recover. */
static int find_first(const struct limiter_view *v)
{
	int first = -1;
	for (unsigned i = 0; i < v->n; i++) {
		const struct limiter_row *r = &v->row[i], *f = first < 0 ? NULL : &v->row[first];
		if (r->max == 0)
			continue;
		if (f && (mails_left(r) > mails_left(f) ||
			  (mails_left(r) == mails_left(f) && r->empty_in_ms <= f->empty_in_ms)))
			continue;
		first = (int)i;
	}
	return first;
}

/* Of an account: all that may stop its mail. Of an address or domain alone: what is counted for it.
 */
static bool belongs(const struct asking *q, const struct limiter_who *who, const struct limit *r)
{
	if (q->ref[r->key].len == 0)
		return false;
	if (who->account)
		return true;
	return who->address ? r->key == KEY_ADDRESS : r->key == KEY_DOMAIN || r->key == KEY_REALM;
}

static void view_account(struct asking *q, struct limiter_view *out)
{
	const struct limiter *l = q->l;
	const struct standing *st = out->standing;
	struct subject *s = asking_subject(q, KEY_ACCOUNT);
	struct series watch = s ? asking_series(q, s, MORE_WATCH + 1) : (struct series){0};
	out->penalty = st ? st->penalty : NULL;
	out->held = series_used(&watch, 1, DAY_MS, (uint32_t)q->now->mono_ms);
	out->grace_left_ms =
	    st && st->grace_until_ms > q->now->mono_ms ? st->grace_until_ms - q->now->mono_ms : 0;
	out->class = q->declared == CLASS_ALL ? NULL : &l->conf.limits.class[q->declared];
	out->class_open = q->class != CLASS_ALL;
	asking_detect_counts(q, &out->detect);
}

void limiter_view(struct limiter *l, const struct limiter_who *who, const struct moment *now,
		  struct limiter_view *out)
{
	struct asking *q = &l->asking;
	const struct limits *ls = &l->conf.limits;
	memset(out, 0, sizeof *out);
	asking_init(q, l, who, now);
	/* A domain asked for by name is the realm of its accounts, too. */
	if (!who->account && who->domain) {
		q->ref[KEY_REALM] = q->ref[KEY_DOMAIN];
		q->ref[KEY_REALM].handle = 0;
	}
	out->standing = q->st[who->account   ? TARGET_ACCOUNT
			      : who->address ? TARGET_ADDRESS
					     : TARGET_DOMAIN];
	if (who->account)
		view_account(q, out);
	unsigned at = q->class == CLASS_ALL ? LIMITS_MAX_CLASSES : (unsigned)q->class;
	for (unsigned i = 0; i < ls->n_applies[at]; i++) {
		const struct limit *r = &ls->row[ls->applies[at][i]];
		if (belongs(q, who, r))
			view_row(q, r, &out->row[out->n++]);
	}
	out->first = find_first(out);
}
