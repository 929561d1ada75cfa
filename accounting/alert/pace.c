/*
 * pace - see pace.h.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: none.
 */
#include "accounting/alert/pace.h"

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* base doubled n times, at most max. */
static int64_t doubled(int64_t base, int n, int64_t max)
{
	while (n-- > 0 && base < max)
		base *= 2;
	return base < max ? base : max;
}

static int64_t due_new(const struct alert_rule *r, const struct pace_kind *k)
{
	if (!k->told)
		return k->new_ms;
	return later(k->new_ms, k->told_ms + doubled(r->gather_ms, k->told - 1, r->repeat_ms));
}

static int64_t due_change(const struct alert_rule *r, const struct pace_kind *k)
{
	return k->told ? later(k->change_ms, k->told_ms + r->repeat_ms) : k->change_ms;
}

int64_t pace_due(const struct alert_rule *r, const struct pace_kind *k, const struct pace_hour *h)
{
	int64_t due = k->new_ms ? due_new(r, k) : 0;
	if (k->change_ms && (!due || due_change(r, k) < due))
		due = due_change(r, k);
	if (due && h->told >= r->per_hour)
		due = later(due, h->first_ms + PACE_HOUR_MS);
	return due;
}

int64_t pace_retry(const struct alert_rule *r, int attempts)
{
	return doubled(r->retry_min_ms, attempts - 1, r->retry_max_ms);
}
