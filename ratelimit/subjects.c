/*
 * subjects - a table of 32-bit handles into a pool, and the order of last use.
 *
 * Open addressing with linear probing, at most half full; removal shifts the following entries back
 * (Knuth 6.4, algorithm R), so there are no tombstones. The order of use is kept to the minute, so
 * that who asks often costs no list work.
 *
 * Trusted with names and counts. Diagnostics: none; a count that finds no memory makes the oldest
 * entries of its series one, which is on the strict side. Known gaps: those of pool.
 */
#include "ratelimit/subjects.h"

#include <stdlib.h>
#include <string.h>

#include "lib/big.h"
#include "lib/proc.h"
#include "ratelimit/ahead.h"
#include "ratelimit/hash.h"

#define HOUR_MS	  3600000
#define TOUCH_S	  60
#define IDLE_S	  600 /* then a record is made small */
#define MORE_MIN  4u
#define MAX_NAME  SUBJECT_NAME_MAX
#define FREE_ROOM 1u /* entries a new record has at least */

struct subjects {
	struct pool *pool;
	uint32_t *slot;
	size_t mask, n, max, evicted, hand;
	uint64_t seed;
	uint32_t oldest, newest;
	int64_t now_ms; /* of the last call that was told */
	bool sweeping;	/* then nobody is forgotten to make room */
};

/* --- records ---------------------------------------------------------------------------------- */

struct subject *subject_at(const struct subjects *t, uint32_t handle)
{
	return pool_at(t->pool, handle);
}

static size_t entries_at(size_t name_len)
{
	return (sizeof(struct subject) + name_len + 1 + 3) & ~(size_t)3;
}

static size_t record_bytes(const struct subject *s)
{
	return entries_at(s->name_len) + s->cap * series_entry_bytes(s->wide);
}

/* As many entries as the record's class has room for, when n are needed. */
static size_t room_for(size_t name_len, bool wide, size_t n)
{
	size_t head = entries_at(name_len), each = series_entry_bytes(wide);
	size_t most = (POOL_MAX - head) / each, bytes = head + n * each;
	if (n >= most)
		return most;
	return (pool_round(bytes) - head) / each;
}

struct series subject_series(struct subject *s)
{
	return (struct series){
	    .e = (char *)s + entries_at(s->name_len), .n = s->n, .cap = s->cap, .wide = s->wide};
}

void subject_series_done(struct subject *s, const struct series *v)
{
	s->n = (uint16_t)v->n;
}

/* --- the order of use ------------------------------------------------------------------------- */

static void list_append(struct subjects *t, uint32_t h)
{
	struct subject *s = subject_at(t, h);
	s->older = t->newest;
	s->newer = 0;
	if (t->newest)
		subject_at(t, t->newest)->newer = h;
	else
		t->oldest = h;
	t->newest = h;
}

static void list_relink(struct subjects *t, const struct subject *s, uint32_t as_newer,
			uint32_t as_older)
{
	if (s->older)
		subject_at(t, s->older)->newer = as_newer;
	else
		t->oldest = as_newer;
	if (s->newer)
		subject_at(t, s->newer)->older = as_older;
	else
		t->newest = as_older;
}

static void list_remove(struct subjects *t, const struct subject *s)
{
	list_relink(t, s, s->newer, s->older);
}

void subject_set_used(struct subject *s, int64_t used_ms)
{
	s->used_s = (uint32_t)(used_ms / 1000);
}

int64_t subject_idle_ms(const struct subject *s, int64_t now_ms)
{
	uint32_t idle = (uint32_t)(now_ms / 1000) - s->used_s;
	return idle > INT32_MAX ? 0 : (int64_t)idle * 1000;
}

void subjects_touch(struct subjects *t, uint32_t h, int64_t now_ms)
{
	struct subject *s = subject_at(t, h);
	if (subject_idle_ms(s, now_ms) < TOUCH_S * 1000)
		return;
	subject_set_used(s, now_ms);
	if (t->newest == h)
		return;
	list_remove(t, s);
	list_append(t, h);
}

/* --- the table -------------------------------------------------------------------------------- */

struct subjects *subjects_new(size_t max, size_t bytes, uint64_t seed)
{
	struct subjects *t = calloc(1, sizeof *t);
	size_t size = 16;
	while (size < max * 2)
		size *= 2;
	if (!t || !(t->slot = big_new(size * sizeof *t->slot)))
		fatal("no memory for a table of %zu accounts: lower ratelimit.accounts", max);
	ahead_want(t->slot, size * sizeof *t->slot);
	t->mask = size - 1;
	t->max = max;
	t->seed = seed;
	t->pool = pool_new(bytes);
	return t;
}

void subjects_free(struct subjects *t)
{
	if (!t)
		return;
	pool_free_all(t->pool);
	big_free(t->slot, (t->mask + 1) * sizeof *t->slot);
	free(t);
}

static uint32_t hash_of(const struct subjects *t, enum limit_key kind, const char *name, size_t len)
{
	return (uint32_t)hash_fast(t->seed + (unsigned)kind, name, len);
}

uint32_t subjects_find(const struct subjects *t, enum limit_key kind, const char *name, size_t len)
{
	uint32_t hash = hash_of(t, kind, name, len);
	for (size_t i = hash & t->mask; t->slot[i]; i = (i + 1) & t->mask) {
		const struct subject *s = subject_at(t, t->slot[i]);
		if (s->hash == hash && s->kind == kind && s->name_len == len &&
		    memcmp(s->name, name, len) == 0)
			return t->slot[i];
	}
	return 0;
}

static size_t place_of(const struct subjects *t, uint32_t h)
{
	size_t i = subject_at(t, h)->hash & t->mask;
	while (t->slot[i] != h) {
		bug_on(t->slot[i] == 0);
		i = (i + 1) & t->mask;
	}
	return i;
}

/* Move back what could not sit nearer to its home because of the place now empty. */
static void close_gap(struct subjects *t, size_t hole)
{
	for (size_t i = (hole + 1) & t->mask; t->slot[i]; i = (i + 1) & t->mask) {
		size_t home = subject_at(t, t->slot[i])->hash & t->mask;
		if (((i - home) & t->mask) < ((i - hole) & t->mask))
			continue; /* its home lies after the hole */
		t->slot[hole] = t->slot[i];
		t->slot[i] = 0;
		hole = i;
	}
}

static void drop_more(struct subjects *t, struct more *m)
{
	pool_put(t->pool, m->entries, m->cap ? m->cap * series_entry_bytes(m->wide) : 1);
	*m = (struct more){0};
}

void subjects_set_drop(struct subjects *t, uint32_t *handle)
{
	const struct uniq *u = subjects_set(t, *handle);
	if (u)
		pool_put(t->pool, *handle, uniq_bytes(u->cap));
	*handle = 0;
}

static void drop_extra(struct subjects *t, struct subject *s)
{
	struct extra *x = subject_extra(t, s);
	if (!x)
		return;
	for (int i = 0; i < N_MORE; i++)
		drop_more(t, &x->more[i]);
	for (int i = 0; i < LIMITS_MAX_SETS; i++)
		subjects_set_drop(t, &x->set[i]);
	subjects_set_drop(t, &x->seen);
	pool_put(t->pool, s->extra, sizeof *x);
	s->extra = 0;
}

void subjects_forget(struct subjects *t, uint32_t h)
{
	struct subject *s = subject_at(t, h);
	size_t i = place_of(t, h);
	t->slot[i] = 0;
	close_gap(t, i);
	t->n--;
	list_remove(t, s);
	drop_extra(t, s);
	pool_put(t->pool, h, record_bytes(s));
}

/* Forgets the longest unused, if it has been idle that long. */
static bool evict(struct subjects *t, int64_t now_ms, int64_t idle_ms)
{
	if (!t->oldest || subject_idle_ms(subject_at(t, t->oldest), now_ms) < idle_ms)
		return false;
	t->evicted++;
	subjects_forget(t, t->oldest);
	return true;
}

/* Memory, at the cost of who has been idle for an hour if need be. */
static uint32_t get_memory(struct subjects *t, size_t bytes)
{
	uint32_t h = pool_get(t->pool, bytes);
	for (int tries = 0; h == 0 && !t->sweeping && tries < 64; tries++) {
		if (!evict(t, t->now_ms, HOUR_MS))
			return 0;
		h = pool_get(t->pool, bytes);
	}
	return h;
}

/* A new one with room for n entries. */
static uint32_t insert(struct subjects *t, enum limit_key kind, const char *name, size_t len,
		       int64_t now_ms, int64_t idle_ms, size_t n, bool wide)
{
	size_t cap = room_for(len, wide, n ? n : FREE_ROOM);
	if (t->n >= t->max && !evict(t, now_ms, idle_ms))
		return 0;
	uint32_t h = get_memory(t, entries_at(len) + cap * series_entry_bytes(wide));
	if (h == 0)
		return 0;
	struct subject *s = subject_at(t, h);
	s->hash = hash_of(t, kind, name, len);
	s->kind = (uint8_t)kind;
	s->name_len = (uint16_t)len;
	s->cap = (uint16_t)cap;
	s->wide = wide;
	memcpy(s->name, name, len);
	subject_set_used(s, now_ms);
	size_t i = s->hash & t->mask;
	while (t->slot[i])
		i = (i + 1) & t->mask;
	t->slot[i] = h;
	t->n++;
	list_append(t, h);
	return h;
}

uint32_t subjects_get(struct subjects *t, enum limit_key kind, const char *name, size_t len,
		      int64_t now_ms, int64_t idle_ms)
{
	uint32_t h = len > 0 && len <= MAX_NAME ? subjects_find(t, kind, name, len) : 0;
	t->now_ms = now_ms;
	if (h)
		subjects_touch(t, h, now_ms);
	else if (len > 0 && len <= MAX_NAME)
		h = insert(t, kind, name, len, now_ms, idle_ms, FREE_ROOM, false);
	return h;
}

uint32_t subjects_restore(struct subjects *t, enum limit_key kind, const char *name, size_t len,
			  int64_t now_ms, size_t n, bool wide)
{
	uint32_t h = subjects_find(t, kind, name, len);
	t->now_ms = now_ms;
	return h ? h : insert(t, kind, name, len, now_ms, INT64_MAX, n, wide);
}

/* --- sizes ------------------------------------------------------------------------------------ */

/* The same subject with room for n entries; 0: no memory, nothing has changed. */
static uint32_t resize(struct subjects *t, uint32_t h, size_t n, bool wide)
{
	const struct subject *old = subject_at(t, h);
	size_t head = entries_at(old->name_len), cap = room_for(old->name_len, wide, n);
	uint32_t fresh = get_memory(t, head + cap * series_entry_bytes(wide));
	if (fresh == 0)
		return 0;
	size_t place = place_of(t, h);
	struct subject *s = subject_at(t, fresh);
	memcpy(s, old, head);
	struct series from = subject_series((struct subject *)(uintptr_t)old);
	s->wide = wide;
	s->cap = (uint16_t)cap;
	struct series to = subject_series(s);
	if (wide && !from.wide)
		series_widen(&from, to.e);
	else
		memcpy(to.e, from.e, from.n * series_entry_bytes(from.wide));
	t->slot[place] = fresh;
	list_relink(t, s, fresh, fresh);
	pool_put(t->pool, h, record_bytes(old));
	return fresh;
}

/* The two oldest entries become one, with the time of the younger: nothing is forgotten early. */
static void squeeze(struct series *v)
{
	uint32_t t0, a0, b0, t1, a1, b1;
	size_t each = series_entry_bytes(v->wide);
	if (v->n < 2)
		return;
	series_get(v, 0, &t0, &a0, &b0);
	series_get(v, 1, &t1, &a1, &b1);
	struct series_windows one = {.n = 1, .w_ms = {SERIES_MAX_WINDOW}};
	struct series first = {.e = (char *)v->e + each, .n = 0, .cap = 1, .wide = v->wide};
	uint32_t most = v->wide ? UINT32_MAX : UINT16_MAX;
	uint64_t a = (uint64_t)a0 + a1, b = (uint64_t)b0 + b1;
	(void)series_add(&first, &one, t1, a > most ? most : (uint32_t)a,
			 b > most ? most : (uint32_t)b);
	v->n--;
	memmove(v->e, (char *)v->e + each, v->n * each);
}

/* How many entries next: half as many again, and at least two more. */
static size_t more_room(size_t n)
{
	return n + 2 + n / 2;
}

uint32_t subjects_add(struct subjects *t, uint32_t h, const struct series_windows *ws,
		      int64_t now_ms, uint32_t a, uint32_t b)
{
	for (;;) {
		struct subject *s = subject_at(t, h);
		struct series v = subject_series(s);
		enum series_room r = series_add(&v, ws, (uint32_t)now_ms, a, b);
		subject_series_done(s, &v);
		if (r == SERIES_OK)
			return h;
		bool wide = s->wide || r == SERIES_TOO_BIG;
		uint32_t grown = resize(t, h, wide == s->wide ? more_room(s->n) : s->n + 1u, wide);
		h = grown ? grown : h;
		s = subject_at(t, h);
		if (grown && s->cap > s->n)
			continue;
		if (s->n < 2 || r == SERIES_TOO_BIG)
			return h; /* not a byte left anywhere */
		v = subject_series(s);
		squeeze(&v);
		subject_series_done(s, &v);
	}
}

/* --- what few need ---------------------------------------------------------------------------- */

struct extra *subject_extra(const struct subjects *t, const struct subject *s)
{
	return pool_at(t->pool, s->extra);
}

struct extra *subjects_need_extra(struct subjects *t, struct subject *s)
{
	if (!s->extra)
		s->extra = get_memory(t, sizeof(struct extra));
	return subject_extra(t, s);
}

struct series more_series(const struct subjects *t, const struct more *m)
{
	return (struct series){
	    .e = pool_at(t->pool, m->entries), .n = m->n, .cap = m->cap, .wide = m->wide};
}

/* Room for n entries, narrow ones turned into wide ones if asked for. False: no memory. */
static bool more_resize(struct subjects *t, struct more *m, size_t n, bool wide)
{
	size_t each = series_entry_bytes(wide), bytes = n * each;
	bytes = bytes > POOL_MAX ? POOL_MAX : pool_round(bytes);
	struct series from = more_series(t, m);
	uint32_t fresh = get_memory(t, bytes);
	if (fresh == 0)
		return false;
	if (wide && !from.wide && from.n)
		series_widen(&from, pool_at(t->pool, fresh));
	else if (from.n)
		memcpy(pool_at(t->pool, fresh), from.e, from.n * each);
	uint16_t kept = m->n;
	drop_more(t, m);
	*m = (struct more){
	    .entries = fresh, .n = kept, .cap = (uint16_t)(bytes / each), .wide = wide};
	return true;
}

void subjects_more_add(struct subjects *t, struct more *m, const struct series_windows *ws,
		       int64_t now_ms, uint32_t a, uint32_t b)
{
	for (;;) {
		struct series v = more_series(t, m);
		enum series_room r = series_add(&v, ws, (uint32_t)now_ms, a, b);
		m->n = (uint16_t)v.n;
		if (r == SERIES_OK)
			return;
		size_t n = m->n < MORE_MIN ? MORE_MIN : more_room(m->n);
		uint16_t had = m->cap;
		if (more_resize(t, m, n, m->wide || r == SERIES_TOO_BIG) &&
		    (m->cap > had || r == SERIES_TOO_BIG))
			continue;
		v = more_series(t, m);
		if (v.n < 2)
			return;
		squeeze(&v);
		m->n = (uint16_t)v.n;
		if (r == SERIES_TOO_BIG)
			return;
	}
}

const struct uniq *subjects_set(const struct subjects *t, uint32_t handle)
{
	return pool_at(t->pool, handle);
}

struct uniq *subjects_set_new(struct subjects *t, uint32_t *handle, uint32_t cap)
{
	uint32_t h = get_memory(t, uniq_bytes(cap));
	struct uniq *u = pool_at(t->pool, h);
	if (!u)
		return NULL;
	u->cap = cap;
	subjects_set_drop(t, handle);
	*handle = h;
	return u;
}

/* A larger one with the same members; false: no memory. */
static bool set_grow(struct subjects *t, uint32_t *handle, int64_t now_ms, int64_t w_ms)
{
	const struct uniq *old = subjects_set(t, *handle);
	uint32_t fresh = 0, cap = old ? uniq_next_cap(old, now_ms, w_ms) : UNIQ_MIN_CAP;
	struct uniq *u = subjects_set_new(t, &fresh, cap);
	if (!u)
		return false;
	if (old)
		uniq_copy(old, u, now_ms, w_ms);
	subjects_set_drop(t, handle);
	*handle = fresh;
	return true;
}

void subjects_set_add(struct subjects *t, uint32_t *handle, int64_t now_ms, int64_t w_ms,
		      int64_t t_ms, const uint64_t *hash, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct uniq *u = pool_at(t->pool, *handle);
		while (!u || !uniq_add(u, t_ms, w_ms, hash[i])) {
			if (!set_grow(t, handle, now_ms, w_ms))
				return;
			u = pool_at(t->pool, *handle);
		}
	}
}

uint32_t subjects_clear(struct subjects *t, uint32_t h)
{
	struct subject *s = subject_at(t, h);
	drop_extra(t, s);
	s->n = 0;
	uint32_t small = s->wide ? 0 : resize(t, h, FREE_ROOM, false);
	return small ? small : h;
}

/* --- housekeeping ----------------------------------------------------------------------------- */

static bool tidy_more(struct subjects *t, struct more *m, const struct series_windows *ws,
		      int64_t now_ms)
{
	struct series v = more_series(t, m);
	if (m->cap == 0)
		return true;
	series_compact(&v, ws, (uint32_t)now_ms);
	m->n = (uint16_t)v.n;
	if (m->n == 0)
		drop_more(t, m);
	return m->n == 0;
}

static bool tidy_set(struct subjects *t, uint32_t *handle, int64_t now_ms, int64_t w_ms)
{
	const struct uniq *u = subjects_set(t, *handle);
	if (u && uniq_is_empty(u, now_ms, w_ms))
		subjects_set_drop(t, handle);
	return *handle == 0;
}

static bool tidy_sets(struct subjects *t, const struct limits *l, struct extra *x, int64_t now_ms)
{
	bool empty = tidy_set(t, &x->seen, now_ms, l->watch.w_ms[0]);
	for (unsigned i = 0; i < l->n; i++)
		if (l->row[i].set >= 0)
			empty &= tidy_set(t, &x->set[l->row[i].set], now_ms, l->row[i].window_ms);
	return empty;
}

static bool spoke_lately(const struct extra *x, const struct limits *l, int64_t now_ms)
{
	for (int i = 0; i < N_SAID; i++) {
		unsigned row = x->said[i].row;
		if (row > 0 && row <= l->n &&
		    (uint32_t)now_ms - x->said[i].at < (uint64_t)l->row[row - 1].window_ms)
			return true;
	}
	return false;
}

static void tidy_extra(struct subjects *t, const struct limits *l, struct subject *s,
		       int64_t now_ms)
{
	struct extra *x = subject_extra(t, s);
	if (!x)
		return;
	bool empty = tidy_sets(t, l, x, now_ms);
	empty &= tidy_more(t, &x->more[MORE_TRAFFIC], &l->windows[s->kind][1], now_ms);
	empty &= tidy_more(t, &x->more[MORE_LOGIN], &l->windows[s->kind][2], now_ms);
	empty &= tidy_more(t, &x->more[MORE_WATCH], &l->watch, now_ms);
	if (empty && !spoke_lately(x, l, now_ms))
		drop_extra(t, s);
}

static void tidy(struct subjects *t, const struct limits *l, uint32_t h, int64_t now_ms)
{
	struct subject *s = subject_at(t, h);
	struct series v = subject_series(s);
	series_compact(&v, &l->windows[s->kind][0], (uint32_t)now_ms);
	subject_series_done(s, &v);
	tidy_extra(t, l, s, now_ms);
	if (s->n == 0 && s->extra == 0) {
		subjects_forget(t, h);
		return;
	}
	size_t least = room_for(s->name_len, s->wide, s->n ? s->n : FREE_ROOM);
	if (subject_idle_ms(s, now_ms) >= IDLE_S * 1000 && s->cap > least)
		(void)resize(t, h, s->n ? s->n : FREE_ROOM, s->wide);
}

void subjects_sweep(struct subjects *t, const struct limits *l, int64_t now_ms, size_t n)
{
	t->sweeping = true;
	while (n-- > 0) {
		size_t i = t->hand;
		t->hand = (t->hand + 1) & t->mask;
		if (t->slot[i])
			tidy(t, l, t->slot[i], now_ms);
	}
	t->sweeping = false;
}

void subjects_each(struct subjects *t, void (*f)(struct subject *s, void *arg), void *arg)
{
	for (uint32_t h = t->oldest; h; h = subject_at(t, h)->newer)
		f(subject_at(t, h), arg);
}

void subjects_drop_sets(struct subjects *t, uint32_t places)
{
	for (uint32_t h = places ? t->oldest : 0; h; h = subject_at(t, h)->newer) {
		struct extra *x = subject_extra(t, subject_at(t, h));
		for (int i = 0; x && i < LIMITS_MAX_SETS; i++)
			if (places >> i & 1)
				subjects_set_drop(t, &x->set[i]);
	}
}

size_t subjects_count(const struct subjects *t)
{
	return t->n;
}

size_t subjects_evicted(const struct subjects *t)
{
	return t->evicted;
}

size_t subjects_memory(const struct subjects *t, size_t *used)
{
	*used = pool_used(t->pool) + (t->mask + 1) * sizeof *t->slot;
	return pool_touched(t->pool) + (t->mask + 1) * sizeof *t->slot;
}
