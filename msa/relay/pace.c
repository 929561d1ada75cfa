/*
 * pace - see pace.h.
 *
 * Purpose: the numbers of one destination, without its sockets. Trusted with: nothing. Diagnostics:
 * none. Known gaps: none.
 */
#include "msa/relay/pace.h"

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

void pace_set_rules(struct pace *p, const struct pace_rules *rules)
{
	p->rules = *rules;
	p->limit = least(p->limit, rules->most);
	p->threshold = least(p->threshold, rules->most);
}

void pace_init(struct pace *p, const struct pace_rules *rules)
{
	*p = (struct pace){
	    .rules = *rules, .limit = least(PACE_FIRST, rules->most), .threshold = rules->most};
}

void pace_good(struct pace *p)
{
	p->pause_ms = 0;
	p->closed_until = 0;
	if (p->limit >= p->rules.most)
		return;
	p->good++;
	if (p->limit < p->threshold || p->good >= p->limit * 4) {
		p->limit++;
		p->good = 0;
	}
}

void pace_less(struct pace *p)
{
	p->limit = p->limit > 1 ? p->limit / 2 : 1;
	p->threshold = p->limit;
	p->good = 0;
}

void pace_close(struct pace *p, int64_t now, uint32_t random)
{
	int64_t pause = p->pause_ms ? p->pause_ms * 2 : p->rules.pause_min;

	if (p->pause_ms && now < p->closed_until)
		return; /* another of the same time */
	if (pause > p->rules.pause_max)
		pause = p->rules.pause_max;
	p->pause_ms = pause;
	/* 0.75 to 1.25 of it */
	p->closed_until = now + pause / 4 * 3 + pause / 2 * (int64_t)(random % 1025) / 1024;
	p->limit = least(PACE_FIRST, p->rules.most);
	p->threshold = p->rules.most;
	p->good = 0;
}

void pace_reopen(struct pace *p)
{
	p->pause_ms = 0;
	p->closed_until = 0;
}

int64_t pace_wait(const struct pace *p, int64_t now)
{
	return p->pause_ms && now < p->closed_until ? p->closed_until - now : 0;
}

bool pace_probing(const struct pace *p)
{
	return p->pause_ms != 0;
}

uint32_t pace_connections(const struct pace *p)
{
	return pace_probing(p) ? 1 : p->limit;
}

int64_t pace_rate_wait(const struct pace *p, int64_t now)
{
	return p->rules.rate && p->next_at > now ? p->next_at - now : 0;
}

/* Spread evenly; what was not used within a second is lost. */
void pace_take(struct pace *p, int64_t now)
{
	if (!p->rules.rate)
		return;
	if (p->next_at < now - 1000)
		p->next_at = now - 1000;
	p->next_at += 60000 / p->rules.rate > 0 ? 60000 / p->rules.rate : 1;
}
