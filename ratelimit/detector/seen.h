/*
 * seen - has this account met that before? A table of fingerprints with the day first and last
 * seen; no names are kept.
 *
 * Buckets of eight entries of four bytes. When one is full the entry unused for longest goes. What
 * was not met for SEEN_DAYS is forgotten. A stranger passes for known once in 8,000.
 */
#ifndef RATELIMIT_DETECTOR_SEEN_H
#define RATELIMIT_DETECTOR_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEEN_DAYS 120
#define SEEN_WAYS 8

struct seen_entry {
	uint16_t print;	     /* 0: free */
	uint8_t first, last; /* days, modulo 256 */
};

struct seen {
	struct seen_entry *e;
	uint64_t buckets; /* fewer than 2^32 */
};

/* False when there is no memory. */
bool seen_init(struct seen *s, size_t entries);
void seen_free(struct seen *s);
/* It will be asked for, or added, soon. */
void seen_soon(const struct seen *s, uint64_t key);
/* Days since it was first met; -1: never. */
int seen_age(const struct seen *s, uint64_t key, uint16_t day);
/* Met today. Days since it was first met, 0 the first time. */
int seen_add(struct seen *s, uint64_t key, uint16_t day);

#endif
