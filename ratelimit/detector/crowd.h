/*
 * crowd - what several accounts do together: the same text (campaign), the same client (source).
 *
 * A small table of recent ones; each counts the different accounts that looked stolen when they did
 * it, and those that did not.
 */
#ifndef RATELIMIT_DETECTOR_CROWD_H
#define RATELIMIT_DETECTOR_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CROWD_MEMBERS 12

/* On disk, too: new fields go to the end. */
struct crowd {
	uint64_t key; /* a body, or the hash of a client */
	int64_t last_ms;
	uint32_t suspect[CROWD_MEMBERS], honest[CROWD_MEMBERS], failed[CROWD_MEMBERS];
	uint8_t n_suspect, n_honest, n_failed;
	uint8_t n_new;		      /* of the suspects, by a client that was not the owner's */
	uint32_t contacts;	      /* first contacts of the suspects */
	uint32_t unknown, spam, fine; /* what was answered to them */
};

struct crowds {
	struct crowd *c;
	uint64_t *key; /* of each row once more, side by side: what is looked through */
	uint32_t n, cap;
	int64_t keep_ms; /* forgotten when unused for so long */
};

bool crowds_init(struct crowds *t, uint32_t cap, int64_t keep_ms);
void crowds_free(struct crowds *t);
/* After rows were put there by hand. */
void crowds_reindex(struct crowds *t);
/* The nearest within `bits` (0: the same); NULL: none. */
struct crowd *crowds_find(struct crowds *t, uint64_t key, int bits, int64_t now_ms);
/* Found or made, in place of the one unused for longest. */
struct crowd *crowds_get(struct crowds *t, uint64_t key, int bits, int64_t now_ms);
/* Adds who to the set of n; true when it is new there. */
bool crowd_join(uint32_t *set, uint8_t *n, uint32_t who);
/* How many of the set are not `who`. */
unsigned crowd_others(const uint32_t *set, uint8_t n, uint32_t who);

#endif
