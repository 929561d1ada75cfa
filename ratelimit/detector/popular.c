/*
 * popular - a table of counts; the bucket's least popular goes when it is full. Pure.
 *
 * Trusted with nothing. Diagnostics: none. Known gaps: counts only grow; a network that a hundred
 * customers left stays known until its bucket is needed.
 */
#include "ratelimit/detector/popular.h"

#include "lib/big.h"
#include "ratelimit/ahead.h"

bool popular_init(struct popular *p, size_t entries)
{
	p->buckets = entries / POPULAR_WAYS + 1;
	p->e = big_new(p->buckets * POPULAR_WAYS * sizeof(*p->e));
	ahead_want(p->e, p->buckets * POPULAR_WAYS * sizeof(*p->e));
	return p->e != NULL;
}

void popular_free(struct popular *p)
{
	big_free(p->e, p->buckets * POPULAR_WAYS * sizeof(*p->e));
}

static struct popular_entry *bucket(const struct popular *p, uint64_t key)
{
	return p->e + (((key & UINT32_MAX) * p->buckets) >> 32) * POPULAR_WAYS;
}

void popular_soon(const struct popular *p, uint64_t key)
{
	__builtin_prefetch(bucket(p, key));
}

static uint32_t print_of(uint64_t key)
{
	uint32_t v = (uint32_t)(key >> 32);
	return v ? v : 1;
}

unsigned popular_count(const struct popular *p, uint64_t key)
{
	const struct popular_entry *b = bucket(p, key);
	for (int i = 0; i < POPULAR_WAYS; i++)
		if (b[i].print == print_of(key))
			return b[i].n;
	return 0;
}

void popular_add(struct popular *p, uint64_t key, uint16_t day)
{
	struct popular_entry *b = bucket(p, key), *worst = b;
	for (int i = 0; i < POPULAR_WAYS; i++) {
		if (b[i].print == print_of(key)) {
			b[i].n += b[i].n < UINT16_MAX;
			b[i].last = day;
			return;
		}
		if (b[i].print == 0 || b[i].n < worst->n)
			worst = &b[i];
	}
	*worst = (struct popular_entry){.print = print_of(key), .n = 1, .last = day};
}
