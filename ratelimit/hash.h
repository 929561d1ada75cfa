/*
 * hash - 64-bit hashes of text: table slots, recipients, checksums of our own files.
 *
 * hash_bytes() is FNV-1a with a mixing step at the end. rl_hash() of rl.h is hash_bytes() with seed
 * 0 of the text in lower case and must not change: its values are sent and kept in snapshots.
 * hash_fast() is for what stays in one process, and in the detector's own file: it takes eight
 * bytes at a time, in the order of bytes of this machine. Neither is for secrets: a collision costs
 * a count, never an access.
 */
#ifndef RATELIMIT_HASH_H
#define RATELIMIT_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(uint64_t seed, const void *data, size_t len);
uint64_t hash_fast(uint64_t seed, const void *data, size_t len);
/* hash_fast() of three numbers, without the way through memory; another value than of their bytes.
 */
uint64_t hash_three(uint64_t a, uint64_t b, uint64_t c);

#endif
