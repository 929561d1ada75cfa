/*
 * hash - FNV-1a (64 bit) and the finishing step of MurmurHash3, which spreads the low bits for
 * tables of 2^n slots; and a chain of 64 by 64 bit products folded to 64, eight bytes a step.
 *
 * Trusted with nothing; no allocation, no state. Diagnostics: none. Known gap: not keyed against an
 * opponent who picks texts to collide; who does that with recipients only hides recipients that he
 * must then really write to.
 */
#include "ratelimit/hash.h"

#include <string.h>

#include "ratelimit/rl.h"

#define BASIS 0xcbf29ce484222325ULL

static uint64_t step(uint64_t h, uint8_t c)
{
	return (h ^ c) * 0x100000001b3ULL;
}

static uint64_t spread(uint64_t h)
{
	h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
	h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 33);
}

uint64_t hash_bytes(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = BASIS ^ seed;
	for (size_t i = 0; i < len; i++)
		h = step(h, p[i]);
	return spread(h);
}

__extension__ typedef unsigned __int128 u128;

static uint64_t fold(uint64_t a, uint64_t b)
{
	u128 p = (u128)a * b;
	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

#define ODD_1 0x9e3779b97f4a7c15ULL
#define ODD_2 0xe7037ed1a0b428dbULL

static uint64_t word(const uint8_t *p, size_t n)
{
	uint64_t v = 0;
	memcpy(&v, p, n);
	return v;
}

uint64_t hash_fast(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = fold(seed ^ ODD_1, len ^ ODD_2);
	for (; len >= 16; p += 16, len -= 16)
		h = fold(word(p, 8) ^ ODD_1, word(p + 8, 8) ^ h) ^ h;
	if (len >= 8) {
		h = fold(word(p, 8) ^ ODD_1, h ^ ODD_2) ^ h;
		p += 8;
		len -= 8;
	}
	if (len > 0)
		h = fold(word(p, len) ^ ODD_2, h ^ ODD_1) ^ h;
	return fold(h ^ ODD_2, ODD_1);
}

uint64_t hash_three(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t h = fold(a ^ ODD_1, (c * ODD_1) ^ ODD_2);
	h = fold(b ^ ODD_2, h ^ ODD_1) ^ h;
	return fold(h ^ ODD_2, ODD_1);
}

static uint8_t lower(char c)
{
	return (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

uint64_t rl_hash(const char *text)
{
	uint64_t h = BASIS;
	for (; *text; text++)
		h = step(h, lower(*text));
	return spread(h);
}

struct rl_name rl_name_of(const char *address)
{
	struct rl_name n = {{0, 0}};
	const char *at = strrchr(address, '@');
	size_t len = at ? (size_t)(at - address) : strlen(address);
	for (size_t i = 0; i < len && i < 2 * sizeof n.half[0]; i++) {
		uint64_t byte = lower(address[i]);
		n.half[i / 8] |= byte << (56 - 8 * (i % 8));
	}
	return n;
}

enum answer_class rl_class(const struct rl_observation *o)
{
	return o->class ? o->class : answer_classify(NULL, "", o->text);
}
