/*
 * amap - see amap.h. Open addressing with linear probing, at most two thirds full; removal moves
 * later entries back, so that there are no tombstones. The hash is keyed at random: who sends
 * packets cannot aim at one slot.
 */
#include <stdalign.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/amap.h"

#define MIN_SLOTS 64

struct slot {
	struct addr key;
	uint8_t tag, used;
	alignas(8) uint8_t value[];
};

struct amap {
	uint8_t *slots;
	size_t stride, n_slots, count, max, value_size;
	uint64_t seed[2];
};

static struct slot *at(const struct amap *m, size_t i)
{
	return (struct slot *)(void *)(m->slots + (i & (m->n_slots - 1)) * m->stride);
}

static size_t hash(const struct amap *m, const struct addr *key, uint8_t tag)
{
	uint64_t x, y;
	memcpy(&x, key->b, 8);
	memcpy(&y, key->b + 8, 8);
	x = (x ^ m->seed[0]) * 0x9e3779b97f4a7c15u;
	y = (y ^ m->seed[1] ^ tag) * 0xbf58476d1ce4e5b9u;
	x ^= y ^ x >> 31 ^ y >> 29;
	x *= 0x94d049bb133111ebu;
	return (size_t)(x ^ x >> 32);
}

static void make_slots(struct amap *m, size_t n)
{
	m->n_slots = n;
	m->slots = talloc_zero_size(m, n * m->stride);
	bug_on(!m->slots);
}

struct amap *amap_new(void *ctx, size_t value_size, size_t max)
{
	struct amap *m = talloc_zero(ctx, struct amap);
	bug_on(!m);
	m->value_size = value_size;
	m->stride = (sizeof(struct slot) + value_size + 7) & ~(size_t)7;
	m->max = max;
	if (getrandom(m->seed, sizeof m->seed, 0) != (ssize_t)sizeof m->seed)
		fatal_errno("no random bytes");
	make_slots(m, MIN_SLOTS);
	return m;
}

size_t amap_count(const struct amap *m)
{
	return m->count;
}

/* The slot that holds the key, or the free one where it would go. */
static struct slot *seek(const struct amap *m, const struct addr *key, uint8_t tag, size_t *index)
{
	for (size_t i = hash(m, key, tag);; i++) {
		struct slot *s = at(m, i);
		*index = i & (m->n_slots - 1);
		if (!s->used || (s->tag == tag && addr_eq(&s->key, key)))
			return s;
	}
}

void *amap_get(const struct amap *m, const struct addr *key, uint8_t tag)
{
	size_t i;
	struct slot *s = seek(m, key, tag, &i);
	return s->used ? s->value : NULL;
}

static void grow(struct amap *m)
{
	uint8_t *old = m->slots;
	size_t n = m->n_slots, index;
	make_slots(m, n * 2);
	for (size_t i = 0; i < n; i++) {
		const struct slot *s = (const void *)(old + i * m->stride);
		if (s->used)
			memcpy(seek(m, &s->key, s->tag, &index), s, m->stride);
	}
	talloc_free(old);
}

void *amap_put(struct amap *m, const struct addr *key, uint8_t tag, bool *is_new)
{
	size_t i;
	struct slot *s = seek(m, key, tag, &i);
	if (is_new)
		*is_new = !s->used;
	if (s->used)
		return s->value;
	if (m->count >= m->max)
		return NULL;
	if ((m->count + 1) * 3 > m->n_slots * 2) {
		grow(m);
		s = seek(m, key, tag, &i);
	}
	memset(s, 0, m->stride);
	s->key = *key;
	s->tag = tag;
	s->used = 1;
	m->count++;
	return s->value;
}

/* Close the gap at hole: whatever probed over it moves back. */
static void remove_at(struct amap *m, size_t hole)
{
	size_t mask = m->n_slots - 1;
	for (size_t i = (hole + 1) & mask;; i = (i + 1) & mask) {
		struct slot *s = at(m, i);
		if (!s->used)
			break;
		size_t home = hash(m, &s->key, s->tag) & mask;
		if (((i - home) & mask) < ((i - hole) & mask))
			continue; /* it does not reach back as far as the hole */
		memcpy(at(m, hole), s, m->stride);
		hole = i;
	}
	at(m, hole)->used = 0;
	m->count--;
}

bool amap_remove(struct amap *m, const struct addr *key, uint8_t tag)
{
	size_t i;
	if (!seek(m, key, tag, &i)->used)
		return false;
	remove_at(m, i);
	return true;
}

void amap_clear(struct amap *m)
{
	talloc_free(m->slots);
	m->count = 0;
	make_slots(m, MIN_SLOTS);
}

void amap_each(struct amap *m,
	       bool (*fn)(const struct addr *key, uint8_t tag, void *value, void *arg), void *arg)
{
	/* Begin behind a free slot: an entry moved back by a removal is then always met once. */
	size_t start = 0;
	while (at(m, start)->used)
		start++;
	for (size_t n = 1; n <= m->n_slots;) {
		size_t i = (start + n) & (m->n_slots - 1);
		struct slot *s = at(m, i);
		if (s->used && fn(&s->key, s->tag, s->value, arg))
			remove_at(m, i);
		else
			n++;
	}
}
