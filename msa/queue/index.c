/*
 * index - the spool's messages in memory.
 *
 * Purpose: answer "what is due?", "what does this account have here?" and "which one is it?"
 * without the disk. Trusted with: ids, accounts, times. Diagnostics: none. Known gaps: about 200
 * bytes a message; a million of them is the practical bound.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#include "msa/queue/index.h"

struct index {
	struct msg **ids;
	size_t ids_cap; /* power of two */
	struct account **accounts;
	size_t accounts_cap, n_accounts;
	struct msg **heap; /* 1-based */
	size_t heap_n, heap_cap;
	struct msg *first, *last;
	struct index_counts counts;
};

static void *zalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		fatal("out of memory: the queue index needs %zu bytes more", n * size);
	return p;
}

static size_t hash(const char *s)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a; ids and accounts are ours, not an attacker's
					       choice of bucket */

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 1099511628211u;
	return (size_t)(h ^ (h >> 32));
}

struct index *index_new(void)
{
	struct index *ix = zalloc(1, sizeof(*ix));

	ix->ids_cap = 1024;
	ix->ids = zalloc(ix->ids_cap, sizeof(void *));
	ix->accounts_cap = 256;
	ix->accounts = zalloc(ix->accounts_cap, sizeof(void *));
	ix->heap_cap = 1024;
	ix->heap = zalloc(ix->heap_cap, sizeof(void *));
	return ix;
}

static void account_free(struct account *a)
{
	free(a->name);
	free(a->why);
	free(a);
}

void index_free(struct index *ix)
{
	if (!ix)
		return;
	for (struct msg *m = ix->first, *next; m; m = next) {
		next = m->next;
		free(m);
	}
	for (size_t i = 0; i < ix->accounts_cap; i++)
		for (struct account *a = ix->accounts[i], *next; a; a = next) {
			next = a->hash_next;
			account_free(a);
		}
	free(ix->ids);
	free(ix->accounts);
	free(ix->heap);
	free(ix);
}

/* --- heap ------------------------------------------------------------------------------ */

static bool before(const struct msg *a, const struct msg *b)
{
	return a->next_ms != b->next_ms ? a->next_ms < b->next_ms : a->key < b->key;
}

static void heap_put(struct index *ix, size_t pos, struct msg *m)
{
	ix->heap[pos] = m;
	m->heap_pos = pos;
}

static void heap_fix(struct index *ix, size_t pos)
{
	struct msg *m = ix->heap[pos];

	while (pos > 1 && before(m, ix->heap[pos / 2])) {
		heap_put(ix, pos, ix->heap[pos / 2]);
		pos /= 2;
	}
	for (size_t c; (c = pos * 2) <= ix->heap_n; pos = c) {
		if (c < ix->heap_n && before(ix->heap[c + 1], ix->heap[c]))
			c++;
		if (!before(ix->heap[c], m))
			break;
		heap_put(ix, pos, ix->heap[c]);
	}
	heap_put(ix, pos, m);
}

static void heap_insert(struct index *ix, struct msg *m)
{
	if (ix->heap_n + 1 >= ix->heap_cap) {
		struct msg **bigger = zalloc(ix->heap_cap * 2, sizeof(void *));
		memcpy(bigger, ix->heap, ix->heap_cap * sizeof(void *));
		free(ix->heap);
		ix->heap = bigger;
		ix->heap_cap *= 2;
	}
	heap_put(ix, ++ix->heap_n, m);
	heap_fix(ix, m->heap_pos);
}

static void heap_delete(struct index *ix, struct msg *m)
{
	size_t pos = m->heap_pos;
	struct msg *last = ix->heap[ix->heap_n--];

	m->heap_pos = 0;
	if (last == m)
		return;
	heap_put(ix, pos, last);
	heap_fix(ix, pos);
}

/* --- hashes ---------------------------------------------------------------------------- */

static void ids_grow(struct index *ix)
{
	size_t cap = ix->ids_cap * 2;
	struct msg **t = zalloc(cap, sizeof(void *));

	for (struct msg *m = ix->first; m; m = m->next) {
		size_t h = hash(m->id) & (cap - 1);
		m->hash_next = t[h];
		t[h] = m;
	}
	free(ix->ids);
	ix->ids = t;
	ix->ids_cap = cap;
}

struct msg *index_find(const struct index *ix, const char *id)
{
	for (struct msg *m = ix->ids[hash(id) & (ix->ids_cap - 1)]; m; m = m->hash_next)
		if (strcmp(m->id, id) == 0)
			return m;
	return NULL;
}

static void accounts_grow(struct index *ix)
{
	size_t cap = ix->accounts_cap * 2;
	struct account **t = zalloc(cap, sizeof(void *));

	for (size_t i = 0; i < ix->accounts_cap; i++)
		for (struct account *a = ix->accounts[i], *next; a; a = next) {
			next = a->hash_next;
			size_t h = hash(a->name) & (cap - 1);
			a->hash_next = t[h];
			t[h] = a;
		}
	free(ix->accounts);
	ix->accounts = t;
	ix->accounts_cap = cap;
}

static char *copy(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(zalloc(1, n), s, n);
}

struct account *index_account(struct index *ix, const char *name, bool create)
{
	size_t h = hash(name);
	struct account *a;

	for (a = ix->accounts[h & (ix->accounts_cap - 1)]; a; a = a->hash_next)
		if (strcmp(a->name, name) == 0)
			return a;
	if (!create)
		return NULL;
	if (++ix->n_accounts > ix->accounts_cap)
		accounts_grow(ix);
	h &= ix->accounts_cap - 1;
	a = zalloc(1, sizeof(*a));
	a->name = copy(name);
	a->why = copy("");
	a->hash_next = ix->accounts[h];
	ix->accounts[h] = a;
	return a;
}

/* Forget an account that says nothing any more. */
static void account_drop(struct index *ix, struct account *a)
{
	struct account **p = &ix->accounts[hash(a->name) & (ix->accounts_cap - 1)];

	if (a->n || a->held)
		return;
	while (*p != a)
		p = &(*p)->hash_next;
	*p = a->hash_next;
	ix->n_accounts--;
	account_free(a);
}

void index_each_account(struct index *ix, void (*fn)(struct account *a, void *arg), void *arg)
{
	for (size_t i = 0; i < ix->accounts_cap; i++)
		for (struct account *a = ix->accounts[i]; a; a = a->hash_next)
			fn(a, arg);
}

/* --- messages -------------------------------------------------------------------------- */

bool index_is_held(const struct msg *m)
{
	return m->hold || m->account->held;
}

void index_update(struct index *ix, struct msg *m)
{
	bool held = index_is_held(m), active = m->state == MSG_ACTIVE;

	if (held != m->counted_held) {
		m->counted_held = held;
		ix->counts.held += held ? 1 : (size_t)-1;
		m->account->n_held += held ? 1 : (size_t)-1;
	}
	if (active != m->counted_active) {
		m->counted_active = active;
		ix->counts.active += active ? 1 : (size_t)-1;
	}
	bool want = m->state == MSG_READY && !held;
	if (want && m->heap_pos)
		heap_fix(ix, m->heap_pos);
	else if (want)
		heap_insert(ix, m);
	else if (m->heap_pos)
		heap_delete(ix, m);
}

void index_set_state(struct index *ix, struct msg *m, enum msg_state s)
{
	m->state = (uint8_t)s;
	index_update(ix, m);
}

struct msg *index_add(struct index *ix, const char *id, int64_t key, const char *account,
		      uint64_t size, int64_t received_ms)
{
	struct msg *m = zalloc(1, sizeof(*m));
	struct account *a = index_account(ix, account, true);

	struct msg *after = ix->last, *after_mine = a->last;

	bug_on(strlen(id) != QUEUE_ID_LEN);
	/* Nearly always the newest; a notification got its key a few operations earlier. */
	while (after && after->key > key)
		after = after->prev;
	while (after_mine && after_mine->key > key)
		after_mine = after_mine->account_prev;
	memcpy(m->id, id, sizeof(m->id));
	m->key = key;
	m->account = a;
	m->size = size;
	m->received_ms = m->life_from_ms = m->next_ms = received_ms;
	m->prev = after;
	m->next = after ? after->next : ix->first;
	*(after ? &after->next : &ix->first) = m;
	*(m->next ? &m->next->prev : &ix->last) = m;
	m->account_prev = after_mine;
	m->account_next = after_mine ? after_mine->account_next : a->first;
	*(after_mine ? &after_mine->account_next : &a->first) = m;
	*(m->account_next ? &m->account_next->account_prev : &a->last) = m;
	a->n++;
	ix->counts.bytes += size + INDEX_OVERHEAD;
	size_t h = hash(m->id) & (ix->ids_cap - 1);
	m->hash_next = ix->ids[h];
	ix->ids[h] = m;
	if (++ix->counts.queued > ix->ids_cap)
		ids_grow(ix);
	index_update(ix, m);
	return m;
}

void index_remove(struct index *ix, struct msg *m)
{
	struct account *a = m->account;
	struct msg **p = &ix->ids[hash(m->id) & (ix->ids_cap - 1)];

	if (m->heap_pos)
		heap_delete(ix, m);
	ix->counts.held -= m->counted_held;
	a->n_held -= m->counted_held;
	ix->counts.active -= m->counted_active;
	ix->counts.queued--;
	ix->counts.bytes -= m->size + INDEX_OVERHEAD;
	while (*p != m)
		p = &(*p)->hash_next;
	*p = m->hash_next;
	*(m->prev ? &m->prev->next : &ix->first) = m->next;
	*(m->next ? &m->next->prev : &ix->last) = m->prev;
	*(m->account_prev ? &m->account_prev->account_next : &a->first) = m->account_next;
	*(m->account_next ? &m->account_next->account_prev : &a->last) = m->account_prev;
	a->n--;
	free(m);
	account_drop(ix, a);
}

void index_hold_account(struct index *ix, struct account *a, bool held, const char *why)
{
	a->held = held;
	free(a->why);
	a->why = copy(held ? why : "");
	for (struct msg *m = a->first; m; m = m->account_next)
		index_update(ix, m);
	account_drop(ix, a);
}

struct msg *index_due(const struct index *ix, int64_t now_ms)
{
	return ix->heap_n && ix->heap[1]->next_ms <= now_ms ? ix->heap[1] : NULL;
}

int64_t index_next(const struct index *ix)
{
	return ix->heap_n ? ix->heap[1]->next_ms : INT64_MAX;
}

struct msg *index_first(const struct index *ix)
{
	return ix->first;
}

struct index_counts index_counts(const struct index *ix)
{
	return ix->counts;
}
