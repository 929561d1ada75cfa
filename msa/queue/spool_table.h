/*
 * spool_table - where every message of the spool is now, and what keeps each segment alive. Memory
 * only; one thread.
 */
#ifndef MSA_QUEUE_SPOOL_TABLE_H
#define MSA_QUEUE_SPOOL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 32 bytes a message, 43 to 86 with what the table keeps free. */
struct entry {
	int64_t key;
	int64_t env, body; /* places: of the newest envelope, of the body; 0: no such message */
	uint32_t env_size, body_size; /* octets that they keep: of the envelope's record
					 without its body, of the body */
};

/* Messages done in a segment that first came in another: remembered as long as something older may
 * still tell of them. */
struct tomb {
	int64_t key;
	uint32_t origin;
};

struct segment {
	uint32_t no;
	uint64_t end;	/* of what is committed */
	uint64_t bytes; /* of end, what is still of use */
	uint64_t moved; /* to the end of the log, while what it was moved for is still here */
	uint32_t live;	/* places of entries, and outbox rows */
	bool carried;	/* the commit under way says its tombs again */
	bool unread;	/* the disk did not give all of it at the start: it stays */
	struct tomb *tombs;
	size_t n_tombs, tombs_cap;
};

struct table {
	struct entry *slots;
	size_t cap, n; /* a power of two */
	struct segment *segs;
	size_t n_segs, segs_cap; /* in order of number */
};

/* Out of memory ends the process. */
void table_init(struct table *t);
void table_free(struct table *t);
/* It is about to be looked for: its slot may come out of memory meanwhile. */
void table_ahead(const struct table *t, int64_t key);
/* NULL: not there. Until the next table_set(). */
const struct entry *table_find(const struct table *t, int64_t key);
/* Replaces, adds, or with env 0 removes; segments are counted. Returns what was there (env 0:
 * nothing). */
struct entry table_set(struct table *t, struct entry e);

struct segment *table_segment(const struct table *t, uint32_t no); /* NULL: none */
/* The number is above all others. */
struct segment *table_add_segment(struct table *t, uint32_t no);
void table_drop_segment(struct table *t, uint32_t no);
/* Is there a segment from first to last but not last itself? */
bool table_any_between(const struct table *t, uint32_t first, uint32_t last);
void table_tomb(struct segment *g, int64_t key, uint32_t origin);
/* One thing of that size more (by 1), or less (-1), lives in the segment of a place. */
void table_live(struct table *t, int64_t place, int by, uint64_t size);

#endif
