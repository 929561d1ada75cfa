/*
 * radius_session - see radius_session.h.
 *
 * Trusted with: deciding who holds an address. Diagnostics: none. Known gaps: a session that leaves
 * a Framed-IP-Address and comes back to it is taken to have had it all the time; a block of ports
 * given back and taken again too.
 */
#include "accounting/radius_session.h"

/* How far a NAS's clock may be from what Acct-Delay-Time says, and how long a packet without one
 * may have been under way. */
#define SKEW_MS	   300000
#define BACKLOG_MS (7 * 86400000LL)

int64_t radius_event_ms(const struct radius_request *r, int64_t now_ms, bool *skewed)
{
	int64_t delay = r->delay_s > 0 ? r->delay_s * 1000 : 0;
	int64_t arrived = now_ms - (delay < now_ms ? delay : 0);
	int64_t t = r->event_s * 1000;
	*skewed = false;
	if (r->event_s < 0)
		return arrived;
	*skewed = t > arrived + SKEW_MS || t < arrived - (r->delay_s >= 0 ? SKEW_MS : BACKLOG_MS);
	if (*skewed)
		return arrived;
	return t < now_ms ? t : now_ms; /* nothing has happened yet that is still to come */
}

int64_t radius_earlier(int64_t a_ms, int64_t b_ms)
{
	if (!a_ms || !b_ms)
		return a_ms ? a_ms : b_ms;
	return a_ms < b_ms ? a_ms : b_ms;
}

void radius_life_begin(struct radius_life *l, const struct radius_news *n)
{
	*l = (struct radius_life){
	    .start_ms = n->began_ms, .first_ms = n->t_ms, .last_ms = n->t_ms, .seen_ms = n->now_ms};
	radius_life_add(l, n);
}

/* The time of a Start says when it began; else the least that any packet says. */
static void note_start(struct radius_life *l, const struct radius_news *n)
{
	bool start = n->status == RADIUS_START;
	if (start && !l->started)
		l->start_ms = n->t_ms;
	else if (start == l->started && n->began_ms < l->start_ms)
		l->start_ms = n->began_ms;
	l->started |= start;
}

void radius_life_add(struct radius_life *l, const struct radius_news *n)
{
	note_start(l, n);
	if (n->t_ms < l->first_ms)
		l->first_ms = n->t_ms;
	if (n->t_ms > l->last_ms)
		l->last_ms = n->t_ms;
	if (n->now_ms > l->seen_ms)
		l->seen_ms = n->now_ms;
	if (n->status == RADIUS_STOP)
		l->stop_ms = radius_earlier(l->stop_ms, n->t_ms);
	if (n->status == RADIUS_INTERIM) {
		l->interims++;
		l->silent_ms = 0;
	}
}

int64_t radius_life_end(const struct radius_life *l, int64_t restart_ms, int64_t taken_ms)
{
	int64_t end = radius_earlier(l->stop_ms, l->silent_ms);
	end = radius_earlier(radius_earlier(end, restart_ms), taken_ms);
	return end && end < l->start_ms ? l->start_ms : end;
}

static enum radius_whose whose_start(const struct radius_news *n, const struct radius_life *before,
				     const struct radius_life *after)
{
	if (before && (!before->started || n->t_ms - before->start_ms <= RADIUS_SAME_MS) &&
	    (!before->stop_ms || n->t_ms <= before->stop_ms))
		return RADIUS_OF_BEFORE;
	if (after && !after->started) /* the Start of what we have heard of already */
		return RADIUS_OF_AFTER;
	return RADIUS_OF_NEW;
}

enum radius_whose radius_whose(const struct radius_news *n, const struct radius_life *before,
			       const struct radius_life *after)
{
	if (n->status == RADIUS_START)
		return whose_start(n, before, after);
	if (before && (!before->stop_ms || n->t_ms <= before->stop_ms))
		return RADIUS_OF_BEFORE;
	if (after && !after->started)
		return RADIUS_OF_AFTER;
	/* What comes after the Stop is late, unless it says that it began after it, too: then the
	 * id is in use again, and its Start was lost. */
	if (before && !(n->began_ms < n->t_ms && n->began_ms > before->stop_ms + RADIUS_SAME_MS))
		return RADIUS_OF_NONE;
	return RADIUS_OF_NEW;
}

void radius_claim_add(struct radius_claim *c, int64_t t_ms, bool back)
{
	if (back) {
		if (t_ms > c->back_ms)
			c->back_ms = t_ms;
		if (!c->first_ms)
			c->first_ms = t_ms;
		return;
	}
	if (!c->last_ms || t_ms < c->first_ms)
		c->first_ms = t_ms;
	if (t_ms > c->last_ms)
		c->last_ms = t_ms;
}

int64_t radius_claim_from(const struct radius_claim *c, const struct radius_life *l)
{
	return c->first_ms <= l->first_ms ? l->start_ms : c->first_ms;
}

int64_t radius_claim_back(const struct radius_claim *c, const struct radius_claim *other)
{
	int64_t back = c->back_ms >= c->last_ms ? c->back_ms : 0;
	if (!other || other->last_ms <= c->last_ms)
		return back;
	return radius_earlier(back,
			      other->first_ms > c->last_ms ? other->first_ms : other->last_ms);
}
