/*
 * pool - one region, pages of 64 KB, each page for records of one class.
 *
 * Trusted with memory only. Diagnostics: pool_get() gives 0, and who asked makes room. Known gap: a
 * page once given to a class stays with it.
 */
#include "ratelimit/pool.h"

#include <stdlib.h>
#include <string.h>

#include "lib/big.h"
#include "lib/proc.h"
#include "ratelimit/ahead.h"

#define UNIT	  16u
#define PAGE	  65536u
#define N_CLASSES 48 /* 16 of 16 bytes each, then 4 a doubling up to 64 KB: 16 + 4 * 8 */

struct class
{
	uint32_t free_first; /* handles, each free record holds the next */
	uint32_t next, left; /* of the page being cut: its next record, and how many are left */
};

struct pool {
	uint8_t *base;
	size_t bytes, touched, used;
	struct ahead ahead;
	struct class class[N_CLASSES];
};

/* The class of a size, and what its records take. */
static unsigned class_of(size_t size, size_t *rounded)
{
	bug_on(size == 0 || size > POOL_MAX);
	if (size <= 256) {
		unsigned c = (unsigned)((size + UNIT - 1) / UNIT);
		*rounded = (size_t)c * UNIT;
		return c - 1;
	}
	unsigned log = 63 - (unsigned)__builtin_clzll(size - 1); /* 2^log < size <= 2^(log+1) */
	size_t step = (size_t)1 << (log - 2);
	unsigned quarter = (unsigned)((size - 1 - ((size_t)1 << log)) / step);
	*rounded = ((size_t)1 << log) + step * (quarter + 1);
	return 16 + (log - 8) * 4 + quarter;
}

size_t pool_round(size_t size)
{
	size_t rounded;
	(void)class_of(size, &rounded);
	return rounded;
}

struct pool *pool_new(size_t bytes)
{
	struct pool *p = calloc(1, sizeof *p);
	if (!p)
		fatal("out of memory");
	p->bytes = bytes / PAGE * PAGE;
	p->base = big_new(p->bytes);
	if (!p->base)
		fatal_errno("no address space for %zu bytes of counters: lower ratelimit.memory",
			    p->bytes);
	ahead_of(&p->ahead, p->base, 0, p->bytes);
	return p;
}

void pool_free_all(struct pool *p)
{
	if (!p)
		return;
	big_free(p->base, p->bytes);
	free(p);
}

void *pool_at(const struct pool *p, uint32_t handle)
{
	return handle ? p->base + (size_t)(handle - 1) * UNIT : NULL;
}

static uint32_t handle_at(size_t offset)
{
	return (uint32_t)(offset / UNIT) + 1;
}

/* One more page for the class; false when the region is used up. */
static bool new_page(struct pool *p, struct class *c, size_t rounded)
{
	if (p->bytes - p->touched < PAGE)
		return false;
	c->next = handle_at(p->touched);
	c->left = (uint32_t)(PAGE / rounded);
	p->touched += PAGE;
	ahead_of(&p->ahead, p->base, p->touched, p->bytes);
	return true;
}

static uint32_t take(struct pool *p, struct class *c, size_t rounded)
{
	uint32_t h = c->free_first;
	if (h) {
		memcpy(&c->free_first, pool_at(p, h), sizeof c->free_first);
		return h;
	}
	if (c->left == 0 && !new_page(p, c, rounded))
		return 0;
	h = c->next;
	c->next += (uint32_t)(rounded / UNIT);
	c->left--;
	return h;
}

uint32_t pool_get(struct pool *p, size_t size)
{
	size_t rounded;
	struct class *c = &p->class[class_of(size, &rounded)];
	uint32_t h = take(p, c, rounded);
	if (h == 0)
		return 0;
	memset(pool_at(p, h), 0, rounded);
	p->used += rounded;
	return h;
}

void pool_put(struct pool *p, uint32_t handle, size_t size)
{
	size_t rounded;
	struct class *c = &p->class[class_of(size, &rounded)];
	if (handle == 0)
		return;
	memcpy(pool_at(p, handle), &c->free_first, sizeof c->free_first);
	c->free_first = handle;
	p->used -= rounded;
}

size_t pool_touched(const struct pool *p)
{
	return p->touched;
}

size_t pool_used(const struct pool *p)
{
	return p->used;
}
