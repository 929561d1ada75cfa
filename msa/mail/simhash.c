/*
 * simhash - see simhash.h.
 *
 * Trusted with text of anybody, of which it keeps sums. Diagnostics: none. Known gaps: base64 is
 * not decoded: an edit shifts what comes after it within its line only by luck; pictures are
 * nothing to it.
 */
#include "msa/mail/simhash.h"

#include <stdbool.h>
#include <string.h>

#define FNV_BASE  0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

void simhash_init(struct simhash *h)
{
	memset(h, 0, sizeof(*h));
	h->left = SIMHASH_BYTES;
}

static uint64_t mixed(uint64_t h)
{
	h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
	h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 33);
}

/* A bit counts up where it is set, down where it is not. */
static void empty_planes(struct simhash *h)
{
	for (int i = 0; i < 64; i++) {
		int32_t set = 0;
		for (int k = 0; k < SIMHASH_PLANES; k++)
			set += (int32_t)(h->plane[k] >> i & 1) << k;
		h->sum[i] += 2 * set - (int32_t)h->in_planes;
	}
	memset(h->plane, 0, sizeof(h->plane));
	h->in_planes = 0;
}

/* 64 counters at once: a carry goes from plane to plane, and seldom far. */
static void count_bits(struct simhash *h, uint64_t bits)
{
	for (int k = 0; bits; k++) {
		uint64_t carry = h->plane[k] & bits;
		h->plane[k] ^= bits;
		bits = carry;
	}
	if (++h->in_planes == (1u << SIMHASH_PLANES) - 1)
		empty_planes(h);
}

static void end_word(struct simhash *h, uint64_t word)
{
	count_bits(h, mixed(word + 3 * h->before));
	h->before = word;
	h->words++;
}

/* 0: no part of a word. */
static unsigned char word_byte(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return (unsigned char)(c + 32);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80 ? c : 0;
}

/* True when c belongs to an escape of quoted-printable: it is passed over, and breaks no word. */
static bool escaped(struct simhash *h, unsigned char c)
{
	bool soft = c == '\r' || c == '\n';
	bool hex = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
	if (c == '=') {
		h->escape = 2;
		return true;
	}
	if (h->escape == 0)
		return false;
	h->escape--;
	if (soft || hex)
		return true;
	h->escape = 0;
	return false;
}

void simhash_feed(struct simhash *h, const char *text, size_t len)
{
	uint64_t word = h->word; /* out of memory's way, for each octet changes it */

	if (len > h->left)
		len = h->left;
	h->left -= len;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i], b;
		if ((c == '=' || h->escape) && escaped(h, c))
			continue;
		b = word_byte(c);
		if (b) {
			word = ((word ? word : FNV_BASE) ^ b) * FNV_PRIME;
		} else if (word) {
			end_word(h, word);
			word = 0;
		}
	}
	h->word = word;
}

uint64_t simhash_end(struct simhash *h)
{
	uint64_t out = 0;
	if (h->word)
		end_word(h, h->word);
	h->word = 0;
	empty_planes(h);
	if (h->words < SIMHASH_WORDS)
		return 0;
	for (int i = 0; i < 64; i++)
		out |= (uint64_t)(h->sum[i] > 0) << i;
	return out ? out : 1;
}
