/*
 * pool - memory of a fixed size for records of many sizes, found by 32-bit handles.
 *
 * The address space is reserved once, and touched by use: never more than `bytes` in all. A handle
 * is the record's place in units of 16 bytes; 0 is none. A record never moves by itself, but its
 * address is only good until the pool is freed. Sizes are rounded up to a class (multiples of 16 up
 * to 256, then four steps a doubling, at most POOL_MAX); what is freed serves its own class again.
 *
 * No call allocates from the heap but pool_new().
 */
#ifndef RATELIMIT_POOL_H
#define RATELIMIT_POOL_H

#include <stddef.h>
#include <stdint.h>

#define POOL_MAX 65536u /* bytes of the largest record */

struct pool;

/* Ends the process when the address space cannot be reserved. */
struct pool *pool_new(size_t bytes);
void pool_free_all(struct pool *p);
/* Zeroed; 0 when nothing of that size is left. */
uint32_t pool_get(struct pool *p, size_t size);
/* size: any that rounds to the same class as what it was got with. 0 is allowed. */
void pool_put(struct pool *p, uint32_t handle, size_t size);
/* The record; NULL for 0. */
void *pool_at(const struct pool *p, uint32_t handle);
/* What a record of that size really takes. */
size_t pool_round(size_t size);
/* Taken from the region so far, whether in use or free again; and in use. */
size_t pool_touched(const struct pool *p);
size_t pool_used(const struct pool *p);

#endif
