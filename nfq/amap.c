/*
 * amap - see amap.h. Open addressing with linear probing, at most two thirds full; removal moves
 * later entries back, so that there are no tombstones. The hash is keyed at random: who sends
 * packets cannot aim at one slot.
 */
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "lib/proc.h"

#include "nfq/amap.h"

#define MIN_SLOTS 64

/* A slot: tag, used, the bytes of the key that matter, and from value_at on the value. */
struct amap {
	uint8_t *slots;
	size_t stride, value_at, n_slots, count, max;
	uint8_t key_at, key_bytes; /* of an address: those that are kept */
	uint32_t shape;		   /* counts what may take an entry out of a walk's sight */
	uint64_t seed[2];
};

static uint8_t *at(const struct amap *m, size_t i)
{
	return m->slots + (i & (m->n_slots - 1)) * m->stride;
}

static bool used(const uint8_t *slot)
{
	return slot[1] != 0;
}

static size_t hash(const struct amap *m, const uint8_t *key, uint8_t tag)
{
	uint64_t half[2] = {0, 0};
	memcpy(half, key, m->key_bytes);
	uint64_t x = (half[0] ^ m->seed[0]) * 0x9e3779b97f4a7c15u;
	uint64_t y = (half[1] ^ m->seed[1] ^ tag) * 0xbf58476d1ce4e5b9u;
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

static struct amap *make(void *ctx, size_t key_at, size_t key_bytes, size_t value_size, size_t max)
{
	struct amap *m = talloc_zero(ctx, struct amap);
	bug_on(!m);
	m->key_at = (uint8_t)key_at;
	m->key_bytes = (uint8_t)key_bytes;
	m->value_at = (2 + key_bytes + 7) & ~(size_t)7;
	m->stride = m->value_at + ((value_size + 7) & ~(size_t)7);
	m->max = max;
	if (getrandom(m->seed, sizeof m->seed, 0) != (ssize_t)sizeof m->seed)
		fatal_errno("no random bytes");
	make_slots(m, MIN_SLOTS);
	return m;
}

struct amap *amap_new(void *ctx, size_t value_size, size_t max)
{
	return make(ctx, 0, sizeof(struct addr), value_size, max);
}

struct amap *amap_new_short(void *ctx, bool is4, size_t key_bytes, size_t value_size, size_t max)
{
	return make(ctx, is4 ? sizeof(struct addr) - key_bytes : 0, key_bytes, value_size, max);
}

static void read_key(const struct amap *m, const uint8_t *slot, struct addr *out)
{
	static const uint8_t zero[4] = {0};
	if (m->key_at > 0)
		addr_from_v4(out, zero);
	else
		*out = (struct addr){{0}};
	memcpy(out->b + m->key_at, slot + 2, m->key_bytes);
}

size_t amap_count(const struct amap *m)
{
	return m->count;
}

/* The slot that holds the key, or the free one where it would go. */
static uint8_t *seek(const struct amap *m, const uint8_t *key, uint8_t tag, size_t *index)
{
	for (size_t i = hash(m, key, tag);; i++) {
		uint8_t *s = at(m, i);
		*index = i & (m->n_slots - 1);
		if (!used(s) || (s[0] == tag && memcmp(s + 2, key, m->key_bytes) == 0))
			return s;
	}
}

void *amap_get(const struct amap *m, const struct addr *key, uint8_t tag)
{
	size_t i;
	uint8_t *s = seek(m, key->b + m->key_at, tag, &i);
	return used(s) ? s + m->value_at : NULL;
}

static void grow(struct amap *m)
{
	uint8_t *old = m->slots;
	size_t n = m->n_slots, index;
	make_slots(m, n * 2);
	m->shape++;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *s = old + i * m->stride;
		if (used(s))
			memcpy(seek(m, s + 2, s[0], &index), s, m->stride);
	}
	talloc_free(old);
}

void *amap_put(struct amap *m, const struct addr *key, uint8_t tag, bool *is_new)
{
	const uint8_t *k = key->b + m->key_at;
	size_t i;
	uint8_t *s = seek(m, k, tag, &i);
	if (is_new)
		*is_new = !used(s);
	if (used(s))
		return s + m->value_at;
	if (m->count >= m->max)
		return NULL;
	if ((m->count + 1) * 3 > m->n_slots * 2) {
		grow(m);
		s = seek(m, k, tag, &i);
	}
	memset(s, 0, m->stride);
	s[0] = tag;
	s[1] = 1;
	memcpy(s + 2, k, m->key_bytes);
	m->count++;
	return s + m->value_at;
}

/* Close the gap at hole: whatever probed over it moves back. */
static void remove_at(struct amap *m, size_t hole)
{
	size_t mask = m->n_slots - 1;
	for (size_t i = (hole + 1) & mask;; i = (i + 1) & mask) {
		const uint8_t *s = at(m, i);
		if (!used(s))
			break;
		size_t home = hash(m, s + 2, s[0]) & mask;
		if (((i - home) & mask) < ((i - hole) & mask))
			continue; /* it does not reach back as far as the hole */
		memcpy(at(m, hole), s, m->stride);
		m->shape += i < hole; /* from the first slots to the last */
		hole = i;
	}
	at(m, hole)[1] = 0;
	m->count--;
}

bool amap_remove(struct amap *m, const struct addr *key, uint8_t tag)
{
	size_t i;
	if (!used(seek(m, key->b + m->key_at, tag, &i)))
		return false;
	remove_at(m, i);
	return true;
}

void amap_clear(struct amap *m)
{
	talloc_free(m->slots);
	m->count = 0;
	m->shape++;
	make_slots(m, MIN_SLOTS);
}

void amap_each(struct amap *m,
	       bool (*fn)(const struct addr *key, uint8_t tag, void *value, void *arg), void *arg)
{
	struct addr key;
	/* Begin behind a free slot: an entry moved back by a removal is then always met once. */
	size_t start = 0;
	while (used(at(m, start)))
		start++;
	for (size_t n = 1; n <= m->n_slots;) {
		size_t i = (start + n) & (m->n_slots - 1);
		uint8_t *s = at(m, i);
		if (used(s))
			read_key(m, s, &key);
		if (used(s) && fn(&key, s[0], s + m->value_at, arg))
			remove_at(m, i);
		else
			n++;
	}
}

/* From the last slot to the first: entries that removals move back stay ahead, or come again. */
bool amap_some(struct amap *m, struct amap_walk *w, size_t max,
	       bool (*fn)(const struct addr *key, uint8_t tag, void *value, void *arg), void *arg)
{
	struct addr key;
	for (size_t n = 0; n < max; n++) {
		if (!w->begun || w->shape != m->shape)
			*w = (struct amap_walk){m->n_slots, m->shape, true};
		if (w->left == 0)
			return false;
		uint8_t *s = at(m, w->left - 1);
		if (used(s))
			read_key(m, s, &key);
		if (used(s) && fn(&key, s[0], s + m->value_at, arg))
			remove_at(m, w->left - 1);
		else
			w->left--;
	}
	return true;
}
