/*
 * seen - a table of fingerprints. Pure.
 *
 * Trusted with nothing. Diagnostics: none. Known gaps: days are kept modulo 256, so an entry must
 * be forgotten (SEEN_DAYS) well before that; a bucket is swept when it is written to.
 */
#include "ratelimit/detector/seen.h"

#include "lib/big.h"
#include "ratelimit/ahead.h"

bool seen_init(struct seen *s, size_t entries)
{
	s->buckets = entries / SEEN_WAYS + 1;
	s->e = big_new(s->buckets * SEEN_WAYS * sizeof(*s->e));
	ahead_want(s->e, s->buckets * SEEN_WAYS * sizeof(*s->e));
	return s->e != NULL;
}

void seen_free(struct seen *s)
{
	big_free(s->e, s->buckets * SEEN_WAYS * sizeof(*s->e));
	s->e = NULL;
}

static struct seen_entry *bucket(const struct seen *s, uint64_t key)
{
	return s->e + (((key & UINT32_MAX) * s->buckets) >> 32) * SEEN_WAYS;
}

void seen_soon(const struct seen *s, uint64_t key)
{
	__builtin_prefetch(bucket(s, key), 1);
}

static uint16_t print_of(uint64_t key)
{
	uint16_t p = (uint16_t)(key >> 48);
	return p ? p : 1;
}

static unsigned idle(const struct seen_entry *e, uint16_t day)
{
	return (uint8_t)((uint8_t)day - e->last);
}

static struct seen_entry *find(const struct seen *s, uint64_t key, uint16_t day)
{
	struct seen_entry *b = bucket(s, key);
	for (int i = 0; i < SEEN_WAYS; i++)
		if (b[i].print == print_of(key) && idle(&b[i], day) <= SEEN_DAYS)
			return &b[i];
	return NULL;
}

static int age(const struct seen_entry *e, uint16_t day)
{
	return (uint8_t)((uint8_t)day - e->first);
}

int seen_age(const struct seen *s, uint64_t key, uint16_t day)
{
	const struct seen_entry *e = find(s, key, day);
	return e ? age(e, day) : -1;
}

static struct seen_entry *make_room(const struct seen *s, uint64_t key, uint16_t day)
{
	struct seen_entry *b = bucket(s, key), *worst = b;
	for (int i = 0; i < SEEN_WAYS; i++) {
		if (b[i].print && idle(&b[i], day) > SEEN_DAYS)
			b[i].print = 0;
		if (!b[i].print)
			return &b[i];
		if (idle(&b[i], day) > idle(worst, day))
			worst = &b[i];
	}
	return worst;
}

int seen_add(struct seen *s, uint64_t key, uint16_t day)
{
	struct seen_entry *e = find(s, key, day);
	if (!e) {
		e = make_room(s, key, day);
		*e = (struct seen_entry){.print = print_of(key), .first = (uint8_t)day};
	}
	/* What is met for months stays old, although a day has only eight bits. */
	if (age(e, day) > SEEN_DAYS)
		e->first = (uint8_t)(day - SEEN_DAYS);
	e->last = (uint8_t)day;
	return age(e, day);
}
