/*
 * state - everything the detector knows as a stream of bytes, and back.
 *
 * Our own file for our own machine: a header that names version, byte order and the size of each
 * record, the records as they are, a checksum at the end. Chains and lists are made anew, and every
 * index and count is held against its bounds, so that a damaged file is at worst refused.
 *
 * A file of an older program is read. The header has the size each record had: fields are only ever
 * appended, a shorter record is read and the rest of it is zero, which every field must take for
 * "nothing known yet". The version changes only when something moves or means something else; then
 * the one before is translated here. Version 3 had room for sixteen signals and no more.
 *
 * Trusted with a file of our own. Diagnostics: *err. Known gaps: a file of a newer program is
 * refused, and habits are then learnt again.
 */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit/hash.h"

#include "ratelimit/detector/inside.h"

#define MAGIC	0x736b7364u /* "sksd" */
#define VERSION 4
#define MAX_CAP (1u << 24)

/* Version 3: sixteen signals, and what came after them up to the end of `novelty`. */
#define V3_SIGNALS 16
#define V3_AFTER                                                                                   \
	(offsetof(struct active, points) + V3_SIGNALS * (sizeof(double) + sizeof(uint32_t)))
#define V3_REST	  (offsetof(struct active, tls) - offsetof(struct active, rcpts_today))
#define V3_ACTIVE (V3_AFTER + V3_REST)
#define V3_CROWD  168

struct header {
	uint32_t magic, version;
	uint32_t account_size, active_size, crowd_size, cap;
	uint32_t n, n_act, texts, sources;
	uint64_t seed;
	int64_t now_ms, begin_ms;
	uint32_t lines, zero;
};

/* A stream with the checksum of what went through it. */
struct sum {
	FILE *f;
	uint64_t hash;
	bool bad;
};

/* --- out --- */

static void put(struct sum *s, const void *data, size_t size, size_t n)
{
	if (s->bad || n == 0)
		return;
	s->bad = fwrite(data, size, n, s->f) != n;
	s->hash = hash_fast(s->hash, data, size * n);
}

static bool empty(const uint8_t *p, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (p[i])
			return false;
	return true;
}

/* Of a table only what is used: the number of each record, the record; then the table's size. */
static void put_used(struct sum *s, const void *table, size_t size, uint64_t n)
{
	const uint8_t *p = table;
	for (uint64_t i = 0; i < n; i++)
		if (!empty(p + i * size, size)) {
			put(s, &i, sizeof(i), 1);
			put(s, p + i * size, size, 1);
		}
	put(s, &n, sizeof(n), 1);
}

static struct header header_of(const struct detector *d)
{
	struct header h = {.magic = MAGIC,
			   .version = VERSION,
			   .account_size = sizeof(struct account),
			   .active_size = sizeof(struct active),
			   .crowd_size = sizeof(struct crowd),
			   .cap = d->accounts.cap,
			   .n = d->accounts.n,
			   .texts = d->texts.n,
			   .sources = d->sources.n,
			   .lines = d->lines.n,
			   .seed = d->seed,
			   .now_ms = d->now_ms,
			   .begin_ms = d->begin_ms};
	for (uint32_t i = d->accounts.oldest; i != NONE; i = d->accounts.act[i].newer)
		h.n_act++;
	return h;
}

bool detector_save(const struct detector *d, FILE *f)
{
	struct sum s = {.f = f};
	const struct accounts *t = &d->accounts;
	struct header h = header_of(d);
	put(&s, &h, sizeof(h), 1);
	put(&s, t->a, sizeof(*t->a), t->n);
	for (uint32_t i = t->oldest; i != NONE; i = t->act[i].newer)
		put(&s, &t->act[i], sizeof(*t->act), 1);
	put_used(&s, d->seen.e, sizeof(*d->seen.e) * SEEN_WAYS, d->seen.buckets);
	put_used(&s, d->popular.e, sizeof(*d->popular.e) * POPULAR_WAYS, d->popular.buckets);
	put(&s, d->texts.c, sizeof(struct crowd), d->texts.n);
	put(&s, d->sources.c, sizeof(struct crowd), d->sources.n);
	put(&s, d->lines.c, sizeof(struct crowd), d->lines.n);
	return !s.bad && fwrite(&s.hash, sizeof(s.hash), 1, f) == 1 && fflush(f) == 0;
}

/* --- in --- */

static void get(struct sum *s, void *data, size_t size, size_t n)
{
	if (s->bad || n == 0)
		return;
	s->bad = fread(data, size, n, s->f) != n;
	if (!s->bad)
		s->hash = hash_fast(s->hash, data, size * n);
}

static void get_used(struct sum *s, void *table, size_t size, uint64_t n)
{
	uint64_t at = 0, next = 0;
	for (;;) {
		get(s, &at, sizeof(at), 1);
		s->bad |= at > n || at < next;
		if (s->bad || at == n)
			return;
		get(s, (uint8_t *)table + at * size, size, 1);
		next = at + 1;
	}
}

/* Not shorter than in the first version that is read, nor longer than we know them. */
static bool sizes_ok(const struct header *h)
{
	bool v3 = h->version == 3;
	return h->account_size == sizeof(struct account) && h->crowd_size >= V3_CROWD &&
	       h->crowd_size <= sizeof(struct crowd) && h->active_size >= V3_ACTIVE &&
	       h->active_size <= (v3 ? V3_ACTIVE : sizeof(struct active));
}

static bool header_ok(const struct header *h, const char **err)
{
	*err = "it is no state of a detector, or of a newer version";
	if (h->magic != MAGIC || (h->version != 3 && h->version != VERSION) || !sizes_ok(h))
		return false;
	*err = "it is damaged";
	return h->cap > 0 && h->cap <= MAX_CAP && h->n <= h->cap;
}

static void chain_all(struct accounts *t)
{
	for (uint32_t i = 0; i < t->n; i++) {
		t->a[i].active = NONE;
		t->a[i].stage = t->a[i].stage < STAGE_COUNT ? t->a[i].stage : STAGE_NORMAL;
		accounts_chain(t, i);
	}
}

static void from_v3(struct active *to, const uint8_t old[V3_ACTIVE])
{
	const size_t points = offsetof(struct active, points);
	memcpy(to, old, points);
	memcpy(to->points, old + points, V3_SIGNALS * sizeof(double));
	memcpy(to->count, old + points + V3_SIGNALS * sizeof(double),
	       V3_SIGNALS * sizeof(uint32_t));
	memcpy(&to->rcpts_today, old + V3_AFTER, V3_REST);
}

static void get_active(struct sum *s, struct detector *d, const struct header *h)
{
	uint8_t old[V3_ACTIVE];
	struct active in = {.owner = NONE};
	if (h->version == 3) {
		get(s, old, sizeof(old), 1);
		if (!s->bad)
			from_v3(&in, old);
	} else {
		get(s, &in, h->active_size, 1);
	}
	/* A state without an owner only held its place in the list. */
	if (s->bad || in.owner >= d->accounts.n || d->accounts.a[in.owner].active != NONE)
		return;
	struct active *to = accounts_active(&d->accounts, &d->accounts.a[in.owner], in.points_ms);
	in.older = to->older;
	in.newer = to->newer;
	for (int i = 0; i < SIGNAL_COUNT; i++)
		if (!isfinite(in.points[i]) || in.points[i] < 0)
			in.points[i] = 0;
	in.last_local[sizeof(in.last_local) - 1] = '\0';
	*to = in;
}

/* size: of one, in the file. */
static void get_crowds(struct sum *s, struct crowds *t, uint32_t n, size_t size)
{
	s->bad |= n > t->cap;
	uint8_t *in = s->bad ? NULL : calloc((size_t)n + 1, size);
	s->bad |= !in;
	if (s->bad)
		return;
	get(s, in, size, n);
	for (uint32_t i = 0; i < n; i++) {
		struct crowd *c = &t->c[i];
		memcpy(c, in + i * size, size);
		s->bad |= c->n_suspect > CROWD_MEMBERS || c->n_honest > CROWD_MEMBERS ||
			  c->n_failed > CROWD_MEMBERS;
	}
	free(in);
	t->n = n;
	crowds_reindex(t);
}

static bool get_all(struct detector *d, const struct header *h, struct sum *s)
{
	uint64_t said;
	d->now_ms = h->now_ms;
	d->begin_ms = h->begin_ms;
	get(s, d->accounts.a, sizeof(struct account), h->n);
	d->accounts.n = h->n;
	if (!s->bad)
		chain_all(&d->accounts);
	for (uint32_t i = 0; i < h->n_act && !s->bad; i++)
		get_active(s, d, h);
	get_used(s, d->seen.e, sizeof(*d->seen.e) * SEEN_WAYS, d->seen.buckets);
	get_used(s, d->popular.e, sizeof(*d->popular.e) * POPULAR_WAYS, d->popular.buckets);
	get_crowds(s, &d->texts, h->texts, h->crowd_size);
	get_crowds(s, &d->sources, h->sources, h->crowd_size);
	get_crowds(s, &d->lines, h->lines, h->crowd_size);
	return !s->bad && fread(&said, sizeof(said), 1, s->f) == 1 && said == s->hash;
}

struct detector *detector_load(const struct detector_conf *conf, FILE *f, const char **err)
{
	struct sum s = {.f = f};
	struct header h = {.magic = 0};
	get(&s, &h, sizeof(h), 1);
	if (!header_ok(&h, err))
		return NULL;
	struct detector *d = detector_new(conf, h.seed, h.cap);
	if (!d) {
		*err = "no memory";
		return NULL;
	}
	if (get_all(d, &h, &s))
		return d;
	*err = "it is cut or damaged";
	detector_free(d);
	return NULL;
}
