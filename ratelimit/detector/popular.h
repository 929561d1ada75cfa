/*
 * popular - how many different accounts use a network, or an EHLO name: what many honest accounts
 * use is no sign of anything.
 */
#ifndef RATELIMIT_DETECTOR_POPULAR_H
#define RATELIMIT_DETECTOR_POPULAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POPULAR_WAYS 8

struct popular_entry {
	uint32_t print; /* 0: free */
	uint16_t n, last;
};

struct popular {
	struct popular_entry *e;
	uint64_t buckets;
};

bool popular_init(struct popular *p, size_t entries);
void popular_free(struct popular *p);
/* One more account uses it. */
void popular_add(struct popular *p, uint64_t key, uint16_t day);
/* It will be asked for soon. */
void popular_soon(const struct popular *p, uint64_t key);
unsigned popular_count(const struct popular *p, uint64_t key);

#endif
