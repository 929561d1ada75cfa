/*
 * table - names to nodes, with the order of last use. Pure: time is passed in.
 *
 * Trusted with names. Removal shifts the following entries back (Knuth 6.4, algorithm R), so there
 * are no tombstones and a table that has lived long is as fast as a new one. Diagnostics: none.
 * Known gaps: none.
 */
#include "ratelimit/table.h"

#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"
#include "ratelimit/hash.h"

static void list_append(struct table_list *l, struct table_node *n)
{
	n->older = l->newest;
	n->newer = NULL;
	if (l->newest)
		l->newest->newer = n;
	else
		l->oldest = n;
	l->newest = n;
}

static void list_remove(struct table_list *l, struct table_node *n)
{
	if (n->older)
		n->older->newer = n->newer;
	else
		l->oldest = n->newer;
	if (n->newer)
		n->newer->older = n->older;
	else
		l->newest = n->older;
	n->older = n->newer = NULL;
}

static struct table_list *list_of(struct table *t, const struct table_node *n)
{
	return n->pinned ? &t->pinned_list : &t->free_list;
}

void table_init(struct table *t, size_t max, uint64_t seed)
{
	size_t size = 16;
	while (size < max * 2)
		size *= 2;
	*t = (struct table){.mask = size - 1, .max = max, .seed = seed};
	t->slot =
	    calloc(size, sizeof(struct table_node *)); /* NOLINT(bugprone-sizeof-expression) */
	if (!t->slot)
		fatal("no memory for a table of %zu accounts: lower ratelimit.accounts", max);
}

static uint64_t hash_name(const struct table *t, const char *name)
{
	return hash_bytes(t->seed, name, strlen(name));
}

struct table_node *table_find(const struct table *t, const char *name)
{
	uint64_t h = hash_name(t, name);
	for (size_t i = h & t->mask; t->slot[i]; i = (i + 1) & t->mask)
		if (t->slot[i]->hash == h && strcmp(t->slot[i]->name, name) == 0)
			return t->slot[i];
	return NULL;
}

bool table_insert(struct table *t, struct table_node *n, int64_t now_ms)
{
	if (t->n >= t->max)
		return false;
	n->hash = hash_name(t, n->name);
	n->used_ms = now_ms;
	n->pinned = false;
	size_t i = n->hash & t->mask;
	while (t->slot[i])
		i = (i + 1) & t->mask;
	t->slot[i] = n;
	t->n++;
	list_append(&t->free_list, n);
	return true;
}

static size_t slot_of(const struct table *t, const struct table_node *n)
{
	size_t i = n->hash & t->mask;
	while (t->slot[i] != n) {
		bug_on(!t->slot[i]);
		i = (i + 1) & t->mask;
	}
	return i;
}

/* Move back what could not sit nearer to its home because of the slot now empty. */
static void close_gap(struct table *t, size_t hole)
{
	for (size_t i = (hole + 1) & t->mask; t->slot[i]; i = (i + 1) & t->mask) {
		size_t home = t->slot[i]->hash & t->mask;
		if (((i - home) & t->mask) < ((i - hole) & t->mask))
			continue; /* its home lies after the hole */
		t->slot[hole] = t->slot[i];
		t->slot[i] = NULL;
		hole = i;
	}
}

void table_remove(struct table *t, struct table_node *n)
{
	size_t i = slot_of(t, n);
	t->slot[i] = NULL;
	close_gap(t, i);
	t->n--;
	list_remove(list_of(t, n), n);
}

void table_touch(struct table *t, struct table_node *n, int64_t now_ms)
{
	if (now_ms > n->used_ms)
		n->used_ms = now_ms;
	if (n->pinned || t->free_list.newest == n)
		return;
	list_remove(&t->free_list, n);
	list_append(&t->free_list, n);
}

void table_pin(struct table *t, struct table_node *n, bool pinned)
{
	if (n->pinned == pinned)
		return;
	list_remove(list_of(t, n), n);
	n->pinned = pinned;
	list_append(list_of(t, n), n);
}

struct table_node *table_oldest(const struct table *t)
{
	return t->free_list.oldest;
}

void table_done(struct table *t)
{
	free(t->slot);
	*t = (struct table){0};
}
