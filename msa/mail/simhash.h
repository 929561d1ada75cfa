/*
 * simhash - a hash of 64 bits that is nearly the same for nearly the same text: texts that differ
 * in a name or a link differ in few bits (Charikar 2002). Nothing can be read back from it.
 *
 * Of the text, words of letters and digits count, without case, by pairs; quoted-printable is read
 * as what it stands for where that is cheap (soft line ends, =XX), markup is read as words.
 * Only the first SIMHASH_BYTES count. Pure.
 */
#ifndef MSA_MAIL_SIMHASH_H
#define MSA_MAIL_SIMHASH_H

#include <stddef.h>
#include <stdint.h>

#define SIMHASH_BYTES (64 << 10)

#define SIMHASH_PLANES 16 /* of SIMHASH_BYTES no more words can come than they count */

struct simhash {
	int32_t sum[64];
	uint64_t plane[SIMHASH_PLANES]; /* how often each bit was set, not yet in sum: bit i of */
	uint32_t in_planes;  /* plane k counts 2^k of bit i; so many hashes are in them */
	uint64_t waiting[8]; /* hashes that are counted when there are eight */
	uint32_t n_waiting;
	uint64_t word, before; /* hashes of this word, as far as it came, and of the one before */
	uint64_t octets;       /* of this word, not in its hash yet */
	uint64_t in_word;      /* so many octets of it came */
	uint32_t words;
	size_t left;	/* bytes that still count */
	uint8_t escape; /* of "=XX": how many are to come */
};

void simhash_init(struct simhash *h);
/* Any pieces of the body; where they are cut changes nothing. */
void simhash_feed(struct simhash *h, const char *text, size_t len);
/* 0: there were fewer than SIMHASH_WORDS words, too few to compare. */
#define SIMHASH_WORDS 4
uint64_t simhash_end(struct simhash *h);

#endif
