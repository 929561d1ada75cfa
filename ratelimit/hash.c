/*
 * hash - FNV-1a (64 bit) and the finishing step of MurmurHash3, which spreads the low bits for
 * tables of 2^n slots.
 *
 * Trusted with nothing; no allocation, no state. Diagnostics: none. Known gap: not keyed against an
 * opponent who picks texts to collide; who does that with recipients only hides recipients that he
 * must then really write to.
 */
#include "ratelimit/hash.h"

#include <string.h>

#include "ratelimit/rl.h"

uint64_t hash_bytes(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = 0xcbf29ce484222325ULL ^ seed;
	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
	h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 33);
}

uint64_t rl_hash(const char *text)
{
	return hash_bytes(0, text, strlen(text));
}

struct rl_name rl_name_of(const char *address)
{
	struct rl_name n = {{0, 0}};
	const char *at = strrchr(address, '@');
	size_t len = at ? (size_t)(at - address) : strlen(address);
	for (size_t i = 0; i < len && i < 2 * sizeof n.half[0]; i++) {
		unsigned char c = (unsigned char)address[i];
		uint64_t byte = c >= 'A' && c <= 'Z' ? c + 32u : c;
		n.half[i / 8] |= byte << (56 - 8 * (i % 8));
	}
	return n;
}
