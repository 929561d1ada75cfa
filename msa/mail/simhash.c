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

#include "msa/mail/eight.h"

#define PRIME 0x9e3779b97f4a7c15ULL

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

/* --- counting --- */

/* A bit counts up where it is set, down where it is not. */
static void empty_planes(struct simhash *h)
{
	for (int i = 0; i < 64; i++) {
		int32_t set = 0;
		for (int k = 0; h->in_planes >> k; k++)
			set += (int32_t)(h->plane[k] >> i & 1) << k;
		h->sum[i] += 2 * set - (int32_t)h->in_planes;
	}
	memset(h->plane, 0, sizeof(h->plane));
	h->in_planes = 0;
}

/* 64 counters at once: a carry goes from plane to plane, and seldom far. */
static void carry_on(struct simhash *h, int k, uint64_t bits)
{
	for (; bits; k++) {
		uint64_t carry = h->plane[k] & bits;
		h->plane[k] ^= bits;
		bits = carry;
	}
}

/* 64 full adders: the sum of plane and two more stays in plane, what they carry is returned. */
static uint64_t add(uint64_t *plane, uint64_t a, uint64_t b)
{
	uint64_t u = *plane ^ a, carry = (*plane & a) | (u & b);
	*plane = u ^ b;
	return carry;
}

/* Eight hashes at once, without a branch but the last: Harley and Seal's counter. */
static void count_eight(struct simhash *h)
{
	const uint64_t *w = h->waiting;
	uint64_t *p = h->plane, a, b, fours;
	if (h->in_planes + 8 >= 1u << SIMHASH_PLANES)
		empty_planes(h);
	a = add(&p[0], w[0], w[1]);
	b = add(&p[0], w[2], w[3]);
	fours = add(&p[1], a, b);
	a = add(&p[0], w[4], w[5]);
	b = add(&p[0], w[6], w[7]);
	carry_on(h, 3, add(&p[2], fours, add(&p[1], a, b)));
	h->in_planes += 8;
	h->n_waiting = 0;
}

static void count_rest(struct simhash *h)
{
	if (h->in_planes + h->n_waiting >= 1u << SIMHASH_PLANES)
		empty_planes(h);
	for (uint32_t i = 0; i < h->n_waiting; i++)
		carry_on(h, 0, h->waiting[i]);
	h->in_planes += h->n_waiting;
	h->n_waiting = 0;
	empty_planes(h);
}

/* --- words --- */

/* Eight octets of a word, or its last ones with zeros above them. */
static uint64_t word_add(uint64_t word, uint64_t octets)
{
	uint64_t h = (word ^ octets) * PRIME;
	return h ^ (h >> 29);
}

static void end_word(struct simhash *h, uint64_t word)
{
	h->waiting[h->n_waiting++] = mixed(word + 3 * h->before);
	h->before = word;
	h->words++;
	if (h->n_waiting == 8)
		count_eight(h);
}

/* 0: no part of a word. Case is the bit 0x20, whatever else loses it. */
static unsigned char word_byte(unsigned char c)
{
	unsigned char low = c | 0x20;
	return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c >= 0x80 ? low : 0;
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

static void feed_octet(struct simhash *h, unsigned char c)
{
	unsigned char b;
	if ((c == '=' || h->escape) && escaped(h, c))
		return;
	b = word_byte(c);
	if (b) {
		h->octets |= (uint64_t)b << 8 * (h->in_word++ % 8);
		if (h->in_word % 8)
			return;
		h->word = word_add(h->word, h->octets);
		h->octets = 0;
	} else if (h->in_word) {
		if (h->in_word % 8)
			h->word = word_add(h->word, h->octets);
		end_word(h, h->word);
		h->word = h->octets = h->in_word = 0;
	}
}

/* --- eight octets at a time --- */

/* The top bit of each octet that is part of a word: word_byte(). */
static uint64_t word_bits(uint64_t v)
{
	uint64_t low = v | EIGHT(0x20);
	uint64_t letter = eight_at_least(low, 'a') & ~eight_at_least(low, 'z' + 1);
	uint64_t digit = eight_at_least(v, '0') & ~eight_at_least(v, '9' + 1);
	return (letter | digit | v) & EIGHT_TOP;
}

/* A bit an octet: 64 octets' word bits, the first in bit 0; false when an escape may be there. */
static bool look_at_64(const char *p, uint64_t *words)
{
	uint64_t any = 0;
	*words = 0;
	for (int i = 0; i < 8; i++) {
		uint64_t v = eight_at(p + 8 * i), top = word_bits(v) >> 7;
		any |= eight_equal(v, '=');
		*words |= top * 0x0102040810204080ULL >> 56 << 8 * i;
	}
	return any == 0;
}

static uint64_t word_hash(const char *p, unsigned len)
{
	uint64_t word = 0;
	for (; len >= 8; p += 8, len -= 8)
		word = word_add(word, eight_at(p) | EIGHT(0x20));
	if (len > 0)
		word = word_add(word, (eight_at(p) | EIGHT(0x20)) & (~0ULL >> (64 - 8 * len)));
	return word;
}

/*
 * From outside a word on: the words that end within the first 64 octets at p; eight more may be
 * read. *done: how many octets that were, up to the word that does not end. False when one of them
 * may belong to an escape.
 */
static bool feed_64(struct simhash *h, const char *p, size_t *done)
{
	uint64_t words, starts, ends;
	if (!look_at_64(p, &words))
		return false;
	starts = words & ~(words << 1);
	ends = ~words & (words << 1);
	for (; ends; starts &= starts - 1, ends &= ends - 1) {
		unsigned at = (unsigned)__builtin_ctzll(starts);
		end_word(h, word_hash(p + at, (unsigned)__builtin_ctzll(ends) - at));
	}
	*done = starts ? (size_t)__builtin_ctzll(starts) : 64;
	return true;
}

/* Inside a word, eight octets of which have gone into its hash: are the next eight of it, too? */
static bool feed_8(struct simhash *h, const char *p)
{
	uint64_t v = eight_at(p);
	if (word_bits(v) != EIGHT_TOP)
		return false;
	h->word = word_add(h->word, v | EIGHT(0x20));
	h->in_word += 8;
	return true;
}

void simhash_feed(struct simhash *h, const char *text, size_t len)
{
	size_t n, singly = 0; /* up to there octet by octet */

	if (len > h->left)
		len = h->left;
	h->left -= len;
	for (size_t i = 0; i < len; i += n) {
		bool whole = i >= singly && !h->escape;
		n = 0;
		if (whole && !h->in_word && len - i >= 64 + 8) {
			if (!feed_64(h, text + i, &n))
				singly = i + 64;
		} else if (whole && h->in_word && h->in_word % 8 == 0 && len - i >= 8) {
			n = feed_8(h, text + i) ? 8 : 0;
		}
		if (n > 0)
			continue;
		feed_octet(h, (unsigned char)text[i]);
		n = 1;
	}
}

uint64_t simhash_end(struct simhash *h)
{
	uint64_t out = 0;
	feed_octet(h, ' ');
	count_rest(h);
	if (h->words < SIMHASH_WORDS)
		return 0;
	for (int i = 0; i < 64; i++)
		out |= (uint64_t)(h->sum[i] > 0) << i;
	return out ? out : 1;
}
