/*
 * index - the spool's messages in memory.
 *
 * Purpose: answer "what is due?", "what does this account have here?" and "which one is it?"
 * without the disk. Trusted with: ids, accounts, domains, times. Diagnostics: none. Known gaps:
 * none.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#include "msa/queue/index.h"
#include "msa/queue/lanes.h"
#include "msa/queue/spool.h"

#define BLOCK 256

/* A piece of the order by key: to find one takes two binary searches, to put one in moves at most
 * this many pointers. */
struct block {
	size_t n;
	struct msg *m[BLOCK];
};

/* To search among a million messages touches these, four to a line of the cache, not messages. */
struct block_at {
	int64_t first; /* key of b->m[0] */
	struct block *b;
};

struct index {
	struct block_at *blocks; /* all messages, by key */
	size_t n_blocks, blocks_cap;
	struct account **accounts;
	size_t accounts_cap, n_accounts;
	struct dest **dests;
	size_t dests_cap, n_dests;
	struct lanes *lanes;
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

	ix->dests_cap = 256;
	ix->dests = zalloc(ix->dests_cap, sizeof(void *));
	ix->accounts_cap = 256;
	ix->accounts = zalloc(ix->accounts_cap, sizeof(void *));
	ix->lanes = lanes_new();
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
	for (size_t i = 0; i < ix->n_blocks; i++)
		free(ix->blocks[i].b);
	for (size_t i = 0; i < ix->dests_cap; i++)
		for (struct dest *d = ix->dests[i], *next; d; d = next) {
			next = d->hash_next;
			free(d->text);
			free(d);
		}
	free(ix->blocks);
	free(ix->dests);
	free(ix->accounts);
	lanes_free(ix->lanes);
	free(ix);
}

/* --- hashes ---------------------------------------------------------------------------- */

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

	if (a->n || a->held || a->suspect)
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

/* --- destinations ------------------------------------------------------------------------ */

static void dests_grow(struct index *ix)
{
	size_t cap = ix->dests_cap * 2;
	struct dest **t = zalloc(cap, sizeof(void *));

	for (size_t i = 0; i < ix->dests_cap; i++)
		for (struct dest *d = ix->dests[i], *next; d; d = next) {
			next = d->hash_next;
			size_t h = hash(d->text) & (cap - 1);
			d->hash_next = t[h];
			t[h] = d;
		}
	free(ix->dests);
	ix->dests = t;
	ix->dests_cap = cap;
}

static void dest_count(struct dest *d)
{
	size_t n = 0;

	for (const char *p = strchr(d->text, ' '); p; p = strchr(p, ' ')) {
		char *end;
		uint32_t here = (uint32_t)strtoul(p, &end, 10);
		d->rcpts += here;
		d->outcomes += (here + RELAY_RCPTS_MAX - 1) / RELAY_RCPTS_MAX;
		n++;
		p = *end ? end + 1 : end;
	}
	d->one = n == 1;
}

static struct dest *dest_get(struct index *ix, const char *text)
{
	size_t h = hash(text);
	struct dest *d;

	for (d = ix->dests[h & (ix->dests_cap - 1)]; d; d = d->hash_next)
		if (strcmp(d->text, text) == 0)
			break;
	if (!d) {
		if (++ix->n_dests > ix->dests_cap)
			dests_grow(ix);
		h &= ix->dests_cap - 1;
		d = zalloc(1, sizeof(*d));
		d->text = copy(text);
		dest_count(d);
		d->hash_next = ix->dests[h];
		ix->dests[h] = d;
	}
	d->refs++;
	return d;
}

static void dest_put(struct index *ix, struct dest *d)
{
	if (!d || --d->refs)
		return;
	struct dest **p = &ix->dests[hash(d->text) & (ix->dests_cap - 1)];
	while (*p != d)
		p = &(*p)->hash_next;
	*p = d->hash_next;
	ix->n_dests--;
	free(d->text);
	free(d);
}

static uint64_t room_of(const struct dest *d)
{
	return spool_result_room(d->rcpts, d->outcomes);
}

void index_set_dest(struct index *ix, struct msg *m, const char *text)
{
	struct dest *old = m->dest;

	m->dest = dest_get(ix, text ? text : "");
	ix->counts.rcpts += (uint64_t)m->dest->rcpts - old->rcpts;
	ix->counts.results += room_of(m->dest) - room_of(old);
	dest_put(ix, old);
}

const char *index_domain(const struct msg *m, char *buf, size_t cap)
{
	size_t n = m->dest && m->dest->one ? strcspn(m->dest->text, " ") : 0;

	if (n + 1 > cap)
		n = 0;
	if (n)
		memcpy(buf, m->dest->text, n);
	buf[n] = '\0';
	return buf;
}

/* --- the order by key ---------------------------------------------------------------------- */

static int digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

int64_t queue_id_key(const char id[QUEUE_ID_LEN])
{
	uint64_t ms = 0, n = 0;

	for (int i = 0; i < 9; i++)
		ms = ms * 36 + (uint64_t)digit(id[i]);
	for (int i = 9; i < 12; i++)
		n = n * 36 + (uint64_t)digit(id[i]);
	return (int64_t)(ms << 16 | n);
}

/* The last block that begins at or below key; 0 when none does. */
static size_t block_of(const struct index *ix, int64_t key)
{
	size_t lo = 0, hi = ix->n_blocks;

	if (hi && ix->blocks[hi - 1].first <= key)
		return hi - 1; /* nearly all that comes, and what has just come */
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;
		if (ix->blocks[mid].first <= key)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* Within a block: the first at or above key. */
static size_t at_or_above(const struct block *b, int64_t key)
{
	size_t lo = 0, hi = b->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (b->m[mid]->key < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void more_blocks(struct index *ix)
{
	size_t cap = ix->blocks_cap ? ix->blocks_cap * 2 : 64;
	struct block_at *t = zalloc(cap, sizeof(*t));

	if (ix->n_blocks)
		memcpy(t, ix->blocks, ix->n_blocks * sizeof(*t));
	free(ix->blocks);
	ix->blocks = t;
	ix->blocks_cap = cap;
}

static void block_insert(struct index *ix, size_t at)
{
	if (ix->n_blocks == ix->blocks_cap)
		more_blocks(ix);
	struct block_at *to = ix->blocks + at, fresh = {.b = zalloc(1, sizeof(*fresh.b))};
	memmove(to + 1, to, (ix->n_blocks++ - at) * sizeof(*to));
	memcpy(to, &fresh, sizeof(fresh));
}

/* A full one is halved; the last is left full, since nearly all come at the end. */
static size_t make_room(struct index *ix, size_t i, int64_t key)
{
	block_insert(ix, i + 1);
	struct block *b = ix->blocks[i].b, *c = ix->blocks[i + 1].b;
	size_t keep = i + 2 == ix->n_blocks && b->m[BLOCK - 1]->key < key ? BLOCK : BLOCK / 2;

	c->n = BLOCK - keep;
	memcpy(c->m, b->m + keep, c->n * sizeof(void *));
	b->n = keep;
	if (c->n)
		ix->blocks[i + 1].first = c->m[0]->key;
	return c->n == 0 || c->m[0]->key <= key ? i + 1 : i;
}

/* Puts m in order; returns the one before it. */
static struct msg *order_insert(struct index *ix, struct msg *m)
{
	size_t i = block_of(ix, m->key);

	if (!ix->n_blocks)
		block_insert(ix, 0);
	if (ix->blocks[i].b->n == BLOCK)
		i = make_room(ix, i, m->key);
	struct block *b = ix->blocks[i].b;
	size_t k = at_or_above(b, m->key);
	memmove(&b->m[k + 1], &b->m[k], (b->n - k) * sizeof(void *));
	b->m[k] = m;
	b->n++;
	ix->blocks[i].first = b->m[0]->key;
	if (k)
		return b->m[k - 1];
	return i ? ix->blocks[i - 1].b->m[ix->blocks[i - 1].b->n - 1] : NULL;
}

static void block_delete(struct index *ix, size_t i)
{
	free(ix->blocks[i].b);
	memmove(&ix->blocks[i], &ix->blocks[i + 1], (ix->n_blocks - i - 1) * sizeof(*ix->blocks));
	ix->n_blocks--;
}

static void order_delete(struct index *ix, const struct msg *m)
{
	size_t i = block_of(ix, m->key);
	struct block *b = ix->blocks[i].b;
	size_t k = at_or_above(b, m->key);

	bug_on(k == b->n || b->m[k] != m);
	b->n--;
	memmove(&b->m[k], &b->m[k + 1], (b->n - k) * sizeof(void *));
	if (b->n == 0) {
		block_delete(ix, i);
		return;
	}
	ix->blocks[i].first = b->m[0]->key;
	if (b->n < BLOCK / 4 && i + 1 < ix->n_blocks && ix->blocks[i + 1].b->n < BLOCK / 2) {
		const struct block *c = ix->blocks[i + 1].b;
		memcpy(b->m + b->n, c->m, c->n * sizeof(void *));
		b->n += c->n;
		block_delete(ix, i + 1);
	}
}

struct msg *index_above(const struct index *ix, int64_t key)
{
	if (!ix->n_blocks)
		return NULL;
	size_t i = block_of(ix, key);
	const struct block *b = ix->blocks[i].b;
	size_t k = key == INT64_MAX ? b->n : at_or_above(b, key + 1);

	if (k < b->n)
		return b->m[k];
	return i + 1 < ix->n_blocks ? ix->blocks[i + 1].b->m[0] : NULL;
}

struct msg *index_find(const struct index *ix, const char *id)
{
	int64_t key = queue_id_key(id);

	if (!ix->n_blocks)
		return NULL;
	const struct block *b = ix->blocks[block_of(ix, key)].b;
	size_t k = at_or_above(b, key);
	return k < b->n && strcmp(b->m[k]->id, id) == 0 ? b->m[k] : NULL;
}

bool index_has_key(const struct index *ix, int64_t key)
{
	const struct msg *m = index_above(ix, key - 1);

	return m && m->key == key;
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
		lanes_active(ix->lanes, m, active ? 1 : -1);
	}
	bool want = m->state == MSG_READY && !held, deferred = want && m->attempts;
	if (deferred != m->counted_deferred) {
		m->counted_deferred = deferred;
		ix->counts.deferred += deferred ? 1 : (size_t)-1;
	}
	if (want)
		lanes_put(ix->lanes, m);
	else if (m->heap_pos)
		lanes_take(ix->lanes, m);
}

void index_set_state(struct index *ix, struct msg *m, enum msg_state s)
{
	m->state = (uint8_t)s;
	index_update(ix, m);
}

struct msg *index_add(struct index *ix, const char *id, const char *account, uint64_t size,
		      int64_t received_ms)
{
	struct msg *m = zalloc(1, sizeof(*m));
	struct account *a = index_account(ix, account, true);

	bug_on(strlen(id) != QUEUE_ID_LEN);
	memcpy(m->id, id, sizeof(m->id));
	m->key = queue_id_key(id);
	m->account = a;
	m->size = size;
	m->received_ms = m->life_from_ms = m->next_ms = received_ms;
	m->dest = dest_get(ix, "");
	struct msg *after = order_insert(ix, m);
	m->prev = after;
	m->next = after ? after->next : ix->first;
	*(after ? &after->next : &ix->first) = m;
	*(m->next ? &m->next->prev : &ix->last) = m;
	m->account_prev = a->last;
	*(a->last ? &a->last->account_next : &a->first) = m;
	a->last = m;
	a->n++;
	ix->counts.bytes += size + INDEX_OVERHEAD;
	ix->counts.queued++;
	index_update(ix, m);
	return m;
}

void index_remove(struct index *ix, struct msg *m)
{
	struct account *a = m->account;

	if (m->counted_active)
		lanes_active(ix->lanes, m, -1);
	lanes_forget(ix->lanes, m);
	ix->counts.held -= m->counted_held;
	a->n_held -= m->counted_held;
	ix->counts.active -= m->counted_active;
	ix->counts.deferred -= m->counted_deferred;
	ix->counts.queued--;
	ix->counts.unread -= m->unread > 0;
	ix->counts.rcpts -= m->dest->rcpts;
	ix->counts.results -= room_of(m->dest);
	ix->counts.bytes -= m->size + INDEX_OVERHEAD;
	order_delete(ix, m);
	dest_put(ix, m->dest);
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

void index_suspect_account(struct index *ix, struct account *a, bool suspect)
{
	a->suspect = suspect;
	account_drop(ix, a);
}

struct msg *index_due(const struct index *ix, int64_t now_ms)
{
	return lanes_due(ix->lanes, now_ms);
}

int64_t index_next(const struct index *ix)
{
	return lanes_next(ix->lanes);
}

struct lanes *index_lanes(const struct index *ix)
{
	return ix->lanes;
}

struct msg *index_first(const struct index *ix)
{
	return ix->first;
}

struct index_counts index_counts(const struct index *ix)
{
	return ix->counts;
}

void index_set_unread(struct index *ix, struct msg *m, bool unread)
{
	ix->counts.unread += (size_t)unread - (size_t)(m->unread > 0);
	m->unread = !unread ? 0 : m->unread < UINT8_MAX ? (uint8_t)(m->unread + 1) : m->unread;
}
