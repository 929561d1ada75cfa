/*
 * backoff - waits after failures (contract in backoff.h). Pure. A table of ENTRIES rows, searched
 * from one end to the other: it is asked once a login.
 */
#include "accounting/backoff.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#define ENTRIES	  1024
#define FIRST_MS  1000
#define LAST_MS	  300000
#define FORGET_MS 900000

struct entry {
	char key[96]; /* "": unused */
	int fails;
	int64_t last_ms, until_ms;
};

struct backoff {
	struct entry e[ENTRIES];
};

struct backoff *backoff_new(void)
{
	struct backoff *b = calloc(1, sizeof *b);
	if (!b)
		fatal("out of memory");
	return b;
}

/* A longer key counts by its beginning. */
static bool same(const struct entry *e, const char *key)
{
	return e->key[0] && strncmp(e->key, key, sizeof e->key - 1) == 0;
}

static const struct entry *find(const struct backoff *b, const char *key)
{
	for (size_t i = 0; i < ENTRIES; i++)
		if (same(&b->e[i], key))
			return &b->e[i];
	return NULL;
}

static struct entry *oldest(struct backoff *b)
{
	struct entry *old = &b->e[0];
	for (size_t i = 0; i < ENTRIES; i++) {
		if (!b->e[i].key[0])
			return &b->e[i];
		if (b->e[i].last_ms < old->last_ms)
			old = &b->e[i];
	}
	return old;
}

int64_t backoff_wait(const struct backoff *b, const char *key, int64_t now_ms)
{
	const struct entry *e = find(b, key);
	return e && e->until_ms > now_ms ? e->until_ms - now_ms : 0;
}

void backoff_fail(struct backoff *b, const char *key, int free_fails, int64_t now_ms)
{
	struct entry *e = (struct entry *)(uintptr_t)find(b, key);
	if (!e || now_ms - e->last_ms > FORGET_MS) {
		e = e ? e : oldest(b);
		*e = (struct entry){.fails = 0};
		snprintf(e->key, sizeof e->key, "%s", key);
	}
	e->last_ms = now_ms;
	e->fails++;
	int over = e->fails - free_fails;
	if (over <= 0)
		return;
	int64_t wait = over > 9 ? LAST_MS : (int64_t)FIRST_MS << (over - 1);
	e->until_ms = now_ms + (wait < LAST_MS ? wait : LAST_MS);
}

void backoff_forget(struct backoff *b, const char *key)
{
	struct entry *e = (struct entry *)(uintptr_t)find(b, key);
	if (e)
		*e = (struct entry){.fails = 0};
}

void backoff_free(struct backoff *b)
{
	free(b);
}
