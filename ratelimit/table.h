/*
 * table - find an account by name; at most `max` of them, the longest unused first in line to go.
 *
 * Open addressing with linear probing over pointers, at most half full. The slots are reserved once
 * and touched by use, so memory follows the number of accounts. Nodes belong to the caller, who
 * embeds one in his own struct.
 *
 * A pinned node (a penalty, an override) is never offered for eviction.
 */
#ifndef RATELIMIT_TABLE_H
#define RATELIMIT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_node {
	const char *name; /* the caller's, unchanged while in the table */
	uint64_t hash;	  /* the table's */
	struct table_node *older, *newer;
	int64_t used_ms;
	bool pinned;
};

struct table_list {
	struct table_node *oldest, *newest;
};

struct table {
	struct table_node **slot;
	size_t mask, n, max;
	uint64_t seed;
	struct table_list free_list, pinned_list; /* by last use; by when pinned */
};

/* seed makes the slots unpredictable. Ends the process when memory is out. */
void table_init(struct table *t, size_t max, uint64_t seed);
/* NULL when there is none. */
struct table_node *table_find(const struct table *t, const char *name);
/* False when it is full: see table_oldest(). The name must not be in it yet. used_ms must not be
 * before that of others, but when restoring. */
bool table_insert(struct table *t, struct table_node *n, int64_t now_ms);
void table_remove(struct table *t, struct table_node *n);
/* It was used now: last in line. */
void table_touch(struct table *t, struct table_node *n, int64_t now_ms);
void table_pin(struct table *t, struct table_node *n, bool pinned);
/* First in line to go; NULL when all are pinned. Walk on by ->newer. */
struct table_node *table_oldest(const struct table *t);
/* Frees the slots; nodes are the caller's. */
void table_done(struct table *t);

#endif
