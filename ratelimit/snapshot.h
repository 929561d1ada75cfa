/*
 * snapshot - a limiter's memory as bytes for the disk, and back.
 *
 * Two files of one format: `counters` (everything counted, written now and then) and `standing`
 * (penalties, overrides, classes, graces: small, written at every change). Times are ages, so that
 * they mean the same to a later process: what is restored has grown older by the UTC time between,
 * and still counts for no less than its window.
 *
 * Bytes (lib/wire): u32 magic, u16 version, u16 kind, i64 utc_ms, u32 n, n records, u64 hash of all
 * before it.
 */
#ifndef RATELIMIT_SNAPSHOT_H
#define RATELIMIT_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ratelimit/limiter.h"

enum snapshot_kind { SNAPSHOT_COUNTERS = 1, SNAPSHOT_STANDING = 2 };

/* malloc'd, the caller's to free. */
uint8_t *snapshot_encode(struct limiter *l, enum snapshot_kind kind, const struct moment *now,
			 size_t *len);
/* The checksum at the end of a file. */
uint64_t snapshot_sum(const uint8_t *data, size_t len);
/*
 * Into l: counters first, then standing. False, with nothing taken, when it is damaged or of
 * another version; *err (static) says which. Accounts that find no room are left out and counted in
 * *left_out.
 */
bool snapshot_decode(struct limiter *l, enum snapshot_kind kind, const struct moment *now,
		     const uint8_t *data, size_t len, size_t *left_out, const char **err);

#endif
