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

static void end_word(struct simhash *h)
{
	if (h->word == 0)
		return;
	uint64_t pair = mixed(h->word + 3 * h->before);
	for (int i = 0; i < 64; i++)
		h->sum[i] += (int32_t)(pair >> i & 1) * 2 - 1;
	h->before = h->word;
	h->word = 0;
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
	if (len > h->left)
		len = h->left;
	h->left -= len;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i], b;
		if (escaped(h, c))
			continue;
		b = word_byte(c);
		if (b)
			h->word = ((h->word ? h->word : FNV_BASE) ^ b) * FNV_PRIME;
		else
			end_word(h);
	}
}

uint64_t simhash_end(struct simhash *h)
{
	uint64_t out = 0;
	end_word(h);
	if (h->words < SIMHASH_WORDS)
		return 0;
	for (int i = 0; i < 64; i++)
		out |= (uint64_t)(h->sum[i] > 0) << i;
	return out ? out : 1;
}
