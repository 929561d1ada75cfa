/*
 * lanes - see lanes.h.
 *
 * Purpose: two heaps deep: the messages of a lane by time, and the lanes that wait for time; those
 * whose time has come stand in a ring. Every step costs the logarithm of what is in one lane.
 * Trusted with: nothing. Diagnostics: none. Known gaps: none.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#include "msa/queue/index.h"
#include "msa/queue/lanes.h"

#define NO_LIMIT UINT32_MAX

enum place { NOWHERE, IN_TIME, IN_RING };

struct lane {
	char *name;
	struct lane *hash_next;
	uint32_t refs; /* messages */
	uint32_t active, limit;
	int64_t not_before_ms;
	struct msg **heap; /* 1-based */
	size_t n, cap;
	enum place place;
	size_t at;		  /* in the heap of lanes */
	int64_t time;		  /* why there */
	struct lane *prev, *next; /* in the ring */
};

struct lanes {
	struct lane **hash;
	size_t hash_cap, n; /* a power of two */
	struct lane **time; /* 1-based */
	size_t n_time, time_cap;
	struct lane *ring; /* its turn is next */
};

static void *zalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		fatal("out of memory: the queue's schedule needs %zu bytes more", n * size);
	return p;
}

static void *grown(void *old, size_t *cap, size_t size)
{
	size_t more = *cap ? *cap * 2 : 4;
	void *p = reallocarray(old, more, size);

	if (!p)
		fatal("out of memory: the queue's schedule needs %zu bytes more", more * size);
	*cap = more;
	return p;
}

static size_t hash(const char *s)
{
	uint64_t h = 14695981039346656037u;

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 1099511628211u;
	return (size_t)(h ^ (h >> 32));
}

/* --- the messages of a lane ------------------------------------------------------------------ */

static bool before(const struct msg *a, const struct msg *b)
{
	return a->next_ms != b->next_ms ? a->next_ms < b->next_ms : a->key < b->key;
}

static void set(struct lane *t, size_t pos, struct msg *m)
{
	t->heap[pos] = m;
	m->heap_pos = pos;
}

static void sift(struct lane *t, size_t pos)
{
	struct msg *m = t->heap[pos];

	for (; pos > 1 && before(m, t->heap[pos / 2]); pos /= 2)
		set(t, pos, t->heap[pos / 2]);
	for (size_t c; (c = pos * 2) <= t->n; pos = c) {
		if (c < t->n && before(t->heap[c + 1], t->heap[c]))
			c++;
		if (!before(t->heap[c], m))
			break;
		set(t, pos, t->heap[c]);
	}
	set(t, pos, m);
}

static void insert(struct lane *t, struct msg *m)
{
	if (t->n + 1 >= t->cap)
		t->heap = grown(t->heap, &t->cap, sizeof(void *));
	set(t, ++t->n, m);
	sift(t, t->n);
}

static void delete (struct lane *t, struct msg *m)
{
	size_t pos = m->heap_pos;
	struct msg *last = t->heap[t->n--];

	m->heap_pos = 0;
	if (last != m) {
		set(t, pos, last);
		sift(t, pos);
	}
	if (t->n == 0) {
		free(t->heap);
		t->heap = NULL;
		t->cap = 0;
	}
}

/* --- lanes by time, and the ring ------------------------------------------------------------- */

static void set_time(struct lanes *l, size_t at, struct lane *t)
{
	l->time[at] = t;
	t->at = at;
}

static void sift_time(struct lanes *l, size_t at)
{
	struct lane *t = l->time[at];

	for (; at > 1 && t->time < l->time[at / 2]->time; at /= 2)
		set_time(l, at, l->time[at / 2]);
	for (size_t c; (c = at * 2) <= l->n_time; at = c) {
		if (c < l->n_time && l->time[c + 1]->time < l->time[c]->time)
			c++;
		if (l->time[c]->time >= t->time)
			break;
		set_time(l, at, l->time[c]);
	}
	set_time(l, at, t);
}

static void enter_time(struct lanes *l, struct lane *t)
{
	if (l->n_time + 1 >= l->time_cap)
		l->time = grown(l->time, &l->time_cap, sizeof(void *));
	t->place = IN_TIME;
	set_time(l, ++l->n_time, t);
	sift_time(l, l->n_time);
}

static void leave_time(struct lanes *l, struct lane *t)
{
	size_t at = t->at;
	struct lane *last = l->time[l->n_time--];

	t->place = NOWHERE;
	if (last == t)
		return;
	set_time(l, at, last);
	sift_time(l, at);
}

static void enter_ring(struct lanes *l, struct lane *t)
{
	t->place = IN_RING;
	if (!l->ring) {
		l->ring = t->prev = t->next = t;
		return;
	}
	t->next = l->ring;
	t->prev = l->ring->prev;
	t->prev->next = t->next->prev = t;
}

static void leave_ring(struct lanes *l, struct lane *t)
{
	t->place = NOWHERE;
	if (l->ring == t)
		l->ring = t->next == t ? NULL : t->next;
	t->prev->next = t->next;
	t->next->prev = t->prev;
}

static void leave(struct lanes *l, struct lane *t)
{
	if (t->place == IN_TIME)
		leave_time(l, t);
	else if (t->place == IN_RING)
		leave_ring(l, t);
}

/* When t could send one; INT64_MAX: it waits for something else than time. */
static int64_t time_of(const struct lane *t)
{
	if (t->n == 0 || t->active >= t->limit)
		return INT64_MAX;
	return t->heap[1]->next_ms > t->not_before_ms ? t->heap[1]->next_ms : t->not_before_ms;
}

/* After any change of t. What is in the ring stays while its time is not later than it was. */
static void place(struct lanes *l, struct lane *t)
{
	int64_t time = time_of(t);

	if (time == INT64_MAX) {
		leave(l, t);
	} else if (t->place == IN_RING && time <= t->time) {
		return;
	} else {
		leave(l, t);
		t->time = time;
		enter_time(l, t);
	}
}

/* --- lanes by name --------------------------------------------------------------------------- */

static void grow_hash(struct lanes *l)
{
	size_t cap = l->hash_cap * 2;
	struct lane **table = zalloc(cap, sizeof(void *));

	for (size_t i = 0; i < l->hash_cap; i++)
		for (struct lane *t = l->hash[i], *next; t; t = next) {
			next = t->hash_next;
			size_t h = hash(t->name) & (cap - 1);
			t->hash_next = table[h];
			table[h] = t;
		}
	free(l->hash);
	l->hash = table;
	l->hash_cap = cap;
}

static struct lane *find(const struct lanes *l, const char *name)
{
	struct lane *t = l->hash[hash(name) & (l->hash_cap - 1)];

	while (t && strcmp(t->name, name) != 0)
		t = t->hash_next;
	return t;
}

static struct lane *get(struct lanes *l, const char *name)
{
	struct lane *t = find(l, name);

	if (t)
		return t;
	if (++l->n > l->hash_cap)
		grow_hash(l);
	struct lane **slot = &l->hash[hash(name) & (l->hash_cap - 1)];
	t = zalloc(1, sizeof(*t));
	t->name = strdup(name);
	if (!t->name)
		fatal("out of memory");
	t->limit = name[0] ? LANE_FIRST : NO_LIMIT;
	t->hash_next = *slot;
	*slot = t;
	return t;
}

static void free_lane(struct lane *t)
{
	free(t->heap);
	free(t->name);
	free(t);
}

static void drop(struct lanes *l, struct lane *t)
{
	struct lane **p = &l->hash[hash(t->name) & (l->hash_cap - 1)];

	if (t->refs)
		return;
	leave(l, t);
	while (*p != t)
		p = &(*p)->hash_next;
	*p = t->hash_next;
	l->n--;
	free_lane(t);
}

struct lanes *lanes_new(void)
{
	struct lanes *l = zalloc(1, sizeof(*l));

	l->hash_cap = 256;
	l->hash = zalloc(l->hash_cap, sizeof(void *));
	return l;
}

void lanes_free(struct lanes *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->hash_cap; i++)
		for (struct lane *t = l->hash[i], *next; t; t = next) {
			next = t->hash_next;
			free_lane(t);
		}
	free(l->hash);
	free(l->time);
	free(l);
}

/* --- the calls ------------------------------------------------------------------------------- */

/* Of one that was in no lane yet. */
static void join(struct lanes *l, struct msg *m)
{
	if (m->lane)
		return;
	m->lane = get(l, "");
	m->lane->refs++;
}

void lanes_set(struct lanes *l, struct msg *m, const char *name)
{
	struct lane *old = m->lane;
	bool waits = m->heap_pos != 0;

	if (old && strcmp(old->name, name) == 0)
		return;
	bug_on(m->counted_active);
	if (waits)
		lanes_take(l, m);
	m->lane = get(l, name);
	m->lane->refs++;
	if (waits)
		lanes_put(l, m);
	if (old) {
		old->refs--;
		drop(l, old);
	}
}

void lanes_forget(struct lanes *l, struct msg *m)
{
	struct lane *t = m->lane;

	if (!t)
		return;
	if (m->heap_pos)
		lanes_take(l, m);
	m->lane = NULL;
	t->refs--;
	drop(l, t);
}

const char *lanes_name(const struct msg *m)
{
	return m->lane ? m->lane->name : "";
}

void lanes_put(struct lanes *l, struct msg *m)
{
	join(l, m);
	if (m->heap_pos)
		sift(m->lane, m->heap_pos);
	else
		insert(m->lane, m);
	place(l, m->lane);
}

void lanes_take(struct lanes *l, struct msg *m)
{
	struct lane *t = m->lane;

	bug_on(!t || !m->heap_pos);
	bool turn = l->ring == t && t->heap[1] == m;
	delete (t, m);
	place(l, t);
	if (turn && l->ring == t)
		l->ring = t->next;
}

void lanes_active(struct lanes *l, struct msg *m, int by)
{
	join(l, m);
	m->lane->active += (uint32_t)by;
	place(l, m->lane);
}

void lanes_limit(struct lanes *l, const char *name, uint32_t limit, int64_t not_before_ms)
{
	struct lane *t = find(l, name);

	if (!t || !name[0])
		return;
	if (limit)
		t->limit = limit;
	t->not_before_ms = not_before_ms;
	place(l, t);
}

void lanes_open_all(struct lanes *l)
{
	for (size_t i = 0; i < l->hash_cap; i++)
		for (struct lane *t = l->hash[i]; t; t = t->hash_next)
			if (t->not_before_ms) {
				t->not_before_ms = 0;
				place(l, t);
			}
}

struct msg *lanes_due(struct lanes *l, int64_t now_ms)
{
	while (l->n_time && l->time[1]->time <= now_ms) {
		struct lane *t = l->time[1];
		leave_time(l, t);
		enter_ring(l, t);
		t->time = now_ms;
	}
	while (l->ring) {
		struct lane *t = l->ring;
		/* A clock set back, or a message put off since. */
		if (time_of(t) <= now_ms)
			return t->heap[1];
		leave_ring(l, t);
		place(l, t);
	}
	return NULL;
}

int64_t lanes_next(const struct lanes *l)
{
	return l->ring ? time_of(l->ring) : l->n_time ? l->time[1]->time : INT64_MAX;
}

size_t lanes_count(const struct lanes *l)
{
	return l->n;
}
