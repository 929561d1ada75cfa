/*
 * eight - eight octets of text looked at in one number: the first is its lowest. Pure.
 *
 * What tells octets apart is a top bit: of the tests that say "perhaps above it", only the lowest
 * bit that is set counts.
 */
#ifndef MSA_MAIL_EIGHT_H
#define MSA_MAIL_EIGHT_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EIGHT(c)  (0x0101010101010101ULL * (c))
#define EIGHT_LOW EIGHT(0x7f)
#define EIGHT_TOP EIGHT(0x80)

/* The eight octets at p. */
static inline uint64_t eight_at(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* The top bit of each octet below 0x80 that is at least c; those of others are not to be used. */
static inline uint64_t eight_at_least(uint64_t v, unsigned c)
{
	return (v & EIGHT_LOW) + EIGHT(0x80 - c);
}

/* The top bit of each octet that is below c (at most 0x80), and perhaps of one above it. */
static inline uint64_t eight_below(uint64_t v, unsigned c)
{
	return (v - EIGHT(c)) & ~v & EIGHT_TOP;
}

/* The top bit of each octet that is c, and perhaps of one above it. */
static inline uint64_t eight_equal(uint64_t v, unsigned c)
{
	return eight_below(v ^ EIGHT(c), 1);
}

/* How many octets come before the lowest whose top bit is set in bits, which is not 0. */
static inline size_t eight_before(uint64_t bits)
{
	return (size_t)__builtin_ctzll(bits) / 8;
}

#endif
