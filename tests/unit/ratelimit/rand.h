/* A small generator with a fixed start, so that a failure comes again. */
#ifndef TESTS_RATELIMIT_RAND_H
#define TESTS_RATELIMIT_RAND_H

#include <stdint.h>

static uint64_t rand_state = 0x9e3779b97f4a7c15ULL;

static inline uint64_t rnd(uint64_t below)
{
	rand_state ^= rand_state << 13;
	rand_state ^= rand_state >> 7;
	rand_state ^= rand_state << 17;
	return rand_state % below;
}

#endif
