/* Nearly the same text, nearly the same hash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "msa/mail/simhash.h"

#define OFFER                                                                                      \
	"we have watched your account for weeks and must ask you to confirm the details of your "  \
	"delivery before friday evening, else the parcel goes back to the sender and a fee of "    \
	"twelve euro is charged. please follow the link below and enter the number of your card. " \
	"the service team thanks you for your trust and wishes you a pleasant day. "

static uint64_t hash_cut(const char *text, size_t piece)
{
	struct simhash h;
	size_t len = strlen(text);
	simhash_init(&h);
	for (size_t i = 0; i < len; i += piece)
		simhash_feed(&h, text + i, piece < len - i ? piece : len - i);
	return simhash_end(&h);
}

static uint64_t hash(const char *text)
{
	return hash_cut(text, strlen(text) + 1);
}

static int distance(const char *a, const char *b)
{
	return __builtin_popcountll(hash(a) ^ hash(b));
}

static void small_edits_change_little(void **state)
{
	(void)state;
	static const char *const same[] = {
	    "Dear Anna, " OFFER "http://a.example/1",
	    "Dear Bernd Meier, " OFFER "http://a.example/1",
	    "Dear Anna, " OFFER "http://evil.example/9x81",
	    "DEAR ANNA,\r\n" OFFER "\r\nhttp://a.example/1\r\n-- \r\n",
	};
	for (size_t i = 1; i < sizeof(same) / sizeof(same[0]); i++)
		assert_in_range(distance(same[0], same[i]), 0, 12);
}

static void other_texts_are_far(void **state)
{
	(void)state;
	static const char other[] =
	    "hello everybody, the minutes of our meeting on tuesday are attached; the next one is "
	    "in the town hall at seven, and somebody should bring the projector. best wishes from "
	    "the board, and thank you for the cake that was left over in the kitchen last time.";
	assert_in_range(distance(OFFER, other), 17, 64);
}

static bool in_word(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c >= 0x80;
}

static void count(int *sum, uint64_t h)
{
	h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
	h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ULL;
	h ^= h >> 33;
	for (int i = 0; i < 64; i++)
		sum[i] += h >> i & 1 ? 1 : -1;
}

/* The definition, octet by octet and bit by bit: of text without escapes. */
static uint64_t plainly(const char *text)
{
	int sum[64] = {0};
	uint64_t before = 0, out = 0;
	const unsigned char *p = (const unsigned char *)text;
	while (*p) {
		uint64_t word = 0;
		const unsigned char *start = p;
		while (in_word(*p)) {
			uint64_t eight = 0;
			for (int k = 0; k < 8 && in_word(*p); k++)
				eight |= (uint64_t)(*p++ | 0x20) << 8 * k;
			word = (word ^ eight) * 0x9e3779b97f4a7c15ULL;
			word ^= word >> 29;
		}
		if (p == start) {
			p++;
			continue;
		}
		count(sum, word + 3 * before);
		before = word;
	}
	for (int i = 0; i < 64; i++)
		out |= (uint64_t)(sum[i] > 0) << i;
	return out;
}

/* Words of every length at every place, and every octet between them and in them. */
static void eight_octets_are_eight_times_one(void **state)
{
	(void)state;
	static char text[3000];
	unsigned seed = 7;
	for (int round = 0; round < 2000; round++) {
		size_t len = 0, until = 1 + (size_t)(seed >> 8) % (sizeof(text) - 200);
		while (len < until) {
			seed = seed * 1103515245 + 12345;
			size_t word = (seed >> 20) % (round % 5 == 0 ? 150 : 17);
			for (size_t k = 0; k < word; k++) {
				seed = seed * 1103515245 + 12345;
				unsigned r = seed >> 16;
				text[len++] = round % 3 ? "aBz09\xc3Z"[r % 7] : (char)(1 + r % 255);
				if (text[len - 1] == '=')
					text[len - 1] = '~';
			}
			text[len++] = "@[`{/: \n"[(seed >> 9) % 8];
		}
		text[len] = '\0';
		if (hash(text) == 0)
			continue;
		assert_true(hash(text) == plainly(text));
		assert_true(hash_cut(text, 1 + seed % 90) == plainly(text));
	}
}

/* More words than its counters of few bits can hold, and as many, and one fewer. */
static void long_texts_are_counted(void **state)
{
	(void)state;
	static char text[8 * 1100];
	unsigned seed = 1;
	for (int words = 250; words < 1100; words += words < 260 ? 1 : 83) {
		char *p = text;
		for (int i = 0; i < words; i++) {
			seed = seed * 1103515245 + 12345;
			for (unsigned k = 0, v = seed >> 8; k < 6; k++, v >>= 3)
				*p++ = (char)('a' + (v & 15));
			*p++ = ' ';
		}
		p[-1] = '\0';
		assert_true(hash(text) == plainly(text));
	}
}

static void where_it_is_cut_changes_nothing(void **state)
{
	(void)state;
	uint64_t whole = hash("Caf=C3=A9 " OFFER);
	for (size_t piece = 1; piece < 90; piece++)
		assert_true(hash_cut("Caf=C3=A9 " OFFER, piece) == whole);
	whole = hash(OFFER "a soft=\r\nline end, " OFFER "a sign = alone, =" OFFER);
	for (size_t piece = 1; piece < 90; piece++)
		assert_true(hash_cut(OFFER "a soft=\r\nline end, " OFFER "a sign = alone, =" OFFER,
				     piece) == whole);
}

static void soft_line_ends_are_no_text(void **state)
{
	(void)state;
	assert_true(hash("one two three four five six") ==
		    hash("one two th=\r\nree four five =\r\nsix"));
}

static void too_little_is_nothing(void **state)
{
	(void)state;
	assert_true(hash("") == 0);
	assert_true(hash("see you tomorrow") == 0);
	assert_true(hash("see you tomorrow then") != 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(small_edits_change_little),
	    cmocka_unit_test(other_texts_are_far),
	    cmocka_unit_test(long_texts_are_counted),
	    cmocka_unit_test(eight_octets_are_eight_times_one),
	    cmocka_unit_test(where_it_is_cut_changes_nothing),
	    cmocka_unit_test(soft_line_ends_are_no_text),
	    cmocka_unit_test(too_little_is_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
