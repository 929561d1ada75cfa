/*
 * hash - one 64-bit hash of text: table slots, recipients, checksums of our own files.
 *
 * FNV-1a with a mixing step at the end. Not for secrets: a collision costs a count, never an
 * access. rl_hash() of rl.h is hash_bytes() with seed 0 and must not change: its values are kept in
 * snapshots.
 */
#ifndef RATELIMIT_HASH_H
#define RATELIMIT_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(uint64_t seed, const void *data, size_t len);

#endif
