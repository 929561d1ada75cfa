/*
 * uniq - distinct counts over a sliding window.
 *
 * Members sit in an open table, found by their hash; what is too old is passed over, and dropped
 * when the table is copied. Hashes come from rl_hash(), whose bits are well mixed.
 *
 * Trusted with hashes, never texts. Diagnostics: none. Known gap: who chooses texts whose hashes
 * collide counts as fewer, by writing to recipients of that hash only.
 */
#include "ratelimit/uniq.h"

#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

size_t uniq_bytes(uint32_t cap)
{
	const struct uniq *u = NULL;
	return sizeof *u + (cap ? cap * sizeof u->u.m[0] : sizeof u->u.e[0]);
}

/* Never all zeros: that is an empty place. */
static uint64_t key_of(uint64_t hash)
{
	return hash ? hash : 0x9e3779b97f4a7c15ULL;
}

static uint64_t member_key(const struct uniq_member *m)
{
	return (uint64_t)m->hi << 32 | m->lo;
}

/* Its age; what seems to be of the last days of 2^32 ms is of now. */
static uint32_t age_of(int64_t now_ms, uint32_t t)
{
	uint32_t age = (uint32_t)now_ms - t;
	return age > UINT32_MAX - (1u << 29) ? 0 : age;
}

static bool live(const struct uniq_member *m, int64_t now_ms, int64_t w_ms)
{
	return member_key(m) != 0 && age_of(now_ms, m->t) < w_ms;
}

/* Where key is, or would go. */
static struct uniq_member *place(const struct uniq *u, uint64_t key)
{
	uint32_t i = (uint32_t)(key >> 20) & (u->cap - 1);
	struct uniq_member *m = (struct uniq_member *)(uintptr_t)u->u.m;
	while (member_key(&m[i]) != 0 && member_key(&m[i]) != key)
		i = (i + 1) & (u->cap - 1);
	return &m[i];
}

static uint32_t count_members(const struct uniq *u, int64_t now_ms, int64_t w_ms)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < u->cap; i++)
		n += live(&u->u.m[i], now_ms, w_ms);
	return n;
}

/* --- the hashes of one ask -------------------------------------------------------------------- */

static void scratch_begin(struct uniq_scratch *s)
{
	if (++s->now == 0) {
		memset(s->mark, 0, sizeof s->mark);
		s->now = 1;
	}
}

/* True the first time. */
static bool scratch_first(struct uniq_scratch *s, uint64_t key)
{
	const uint32_t mask = 2 * UNIQ_MAX_HASHES - 1;
	uint32_t i = (uint32_t)(key >> 24) & mask;
	for (; s->mark[i] == s->now; i = (i + 1) & mask)
		if (s->key[i] == key)
			return false;
	s->key[i] = key;
	s->mark[i] = s->now;
	return true;
}

static uint32_t count_new(const struct uniq *u, int64_t now_ms, int64_t w_ms, const uint64_t *hash,
			  uint32_t n, struct uniq_scratch *s)
{
	uint32_t fresh = 0;
	scratch_begin(s);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t key = key_of(hash[i]);
		if (u && u->cap && live(place(u, key), now_ms, w_ms))
			continue;
		fresh += scratch_first(s, key);
	}
	return fresh;
}

/* --- estimating ------------------------------------------------------------------------------- */

static int64_t slot_ms(int64_t w_ms)
{
	return w_ms < 8 ? 1 : w_ms / 8;
}

static uint32_t slot_number(int64_t now_ms, int64_t w_ms)
{
	return (uint32_t)(now_ms / slot_ms(w_ms)) + 1;
}

static bool slot_counts(uint32_t slot, int64_t now_ms, int64_t w_ms)
{
	return slot != 0 && slot_number(now_ms, w_ms) - slot < UNIQ_SLOTS;
}

static void see(uint8_t *r, uint64_t hash)
{
	uint64_t rest = hash << 10 | 1u << 9; /* ends the run of zeros */
	uint8_t rank = (uint8_t)(__builtin_clzll(rest) + 1);
	uint32_t i = (uint32_t)(hash >> 54);
	if (rank > r[i])
		r[i] = rank;
}

static double log_of(double x)
{
	/* ln(x) for 1 <= x <= 1024, by halving and a series: no libm needed for one logarithm. */
	double sum = 0, y, y2, term;
	int k = 0;
	while (x > 1.5) {
		x /= 2;
		k++;
	}
	y = (x - 1) / (x + 1);
	y2 = y * y;
	term = y;
	for (int i = 1; i < 24; i += 2) {
		sum += term / i;
		term *= y2;
	}
	return 2 * sum + k * 0.69314718055994530942;
}

static uint32_t estimate(const uint8_t *r)
{
	const double m = UNIQ_REGISTERS, alpha = 0.7213 / (1 + 1.079 / m);
	double sum = 0;
	uint32_t zeros = 0;
	for (uint32_t i = 0; i < UNIQ_REGISTERS; i++) {
		sum += 1.0 / (double)(UINT64_C(1) << r[i]);
		zeros += r[i] == 0;
	}
	double e = alpha * m * m / sum;
	if (e <= 2.5 * m && zeros > 0)
		e = m * log_of(m / zeros);
	return e > (double)UINT32_MAX ? UINT32_MAX : (uint32_t)(e + 0.5);
}

static void merge(const struct uniq *u, int64_t now_ms, int64_t w_ms, uint8_t *to)
{
	memset(to, 0, UNIQ_REGISTERS);
	for (uint32_t k = 0; k < UNIQ_SLOTS; k++) {
		const uint8_t *r = u->u.e->r[k];
		if (!slot_counts(u->u.e->slot[k], now_ms, w_ms))
			continue;
		for (uint32_t i = 0; i < UNIQ_REGISTERS; i++)
			to[i] = to[i] > r[i] ? to[i] : r[i];
	}
}

/* The registers of the slot of t, emptied when it is a new one. */
static uint8_t *registers_of(struct uniq *u, int64_t t, int64_t w_ms)
{
	uint32_t number = slot_number(t, w_ms), k = number % UNIQ_SLOTS;
	if (u->u.e->slot[k] != number) {
		u->u.e->slot[k] = number;
		memset(u->u.e->r[k], 0, UNIQ_REGISTERS);
	}
	return u->u.e->r[k];
}

/* --- both ------------------------------------------------------------------------------------- */

uint32_t uniq_count(const struct uniq *u, int64_t now_ms, int64_t w_ms, const uint64_t *hash,
		    uint32_t n, struct uniq_scratch *s)
{
	if (n > UNIQ_MAX_HASHES)
		n = UNIQ_MAX_HASHES;
	if (!u || u->cap)
		return (u ? count_members(u, now_ms, w_ms) : 0) +
		       count_new(u, now_ms, w_ms, hash, n, s);
	merge(u, now_ms, w_ms, s->merged);
	for (uint32_t i = 0; i < n; i++)
		see(s->merged, key_of(hash[i]));
	return estimate(s->merged);
}

bool uniq_add(struct uniq *u, int64_t t_ms, int64_t w_ms, uint64_t hash)
{
	uint64_t key = key_of(hash);
	if (u->cap == 0) {
		see(registers_of(u, t_ms, w_ms), key);
		return true;
	}
	struct uniq_member *m = place(u, key);
	if (member_key(m) == 0) {
		if ((u->n + 1) * 2 > u->cap)
			return false;
		u->n++;
		m->lo = (uint32_t)key;
		m->hi = (uint32_t)(key >> 32);
	}
	m->t = (uint32_t)t_ms;
	return true;
}

uint32_t uniq_next_cap(const struct uniq *u, int64_t now_ms, int64_t w_ms)
{
	uint32_t cap = UNIQ_MIN_CAP;
	if (u->cap == 0)
		return 0;
	uint32_t n = count_members(u, now_ms, w_ms) + 1;
	if (n > UNIQ_EXACT)
		return 0;
	while (cap < n * 2)
		cap *= 2;
	return cap;
}

void uniq_copy(const struct uniq *from, struct uniq *to, int64_t now_ms, int64_t w_ms)
{
	if (from->cap == 0) {
		bug_on(to->cap != 0);
		memcpy(&to->u, &from->u, sizeof from->u.e[0]);
		to->n = from->n;
		return;
	}
	for (uint32_t i = 0; i < from->cap; i++) {
		const struct uniq_member *m = &from->u.m[i];
		if (live(m, now_ms, w_ms))
			bug_on(!uniq_add(to, now_ms - age_of(now_ms, m->t), w_ms, member_key(m)));
	}
}

bool uniq_is_empty(const struct uniq *u, int64_t now_ms, int64_t w_ms)
{
	if (u->cap)
		return count_members(u, now_ms, w_ms) == 0;
	for (uint32_t k = 0; k < UNIQ_SLOTS; k++)
		if (slot_counts(u->u.e->slot[k], now_ms, w_ms))
			return false;
	return true;
}

/* --- when it passes --------------------------------------------------------------------------- */

static int64_t oldest_slot_in(const struct uniq *u, int64_t now_ms, int64_t w_ms)
{
	int64_t first = w_ms + slot_ms(w_ms);
	for (uint32_t k = 0; k < UNIQ_SLOTS; k++) {
		uint32_t slot = u->u.e->slot[k];
		if (!slot_counts(slot, now_ms, w_ms))
			continue;
		int64_t back = slot_number(now_ms, w_ms) - slot;
		int64_t in = (UNIQ_SLOTS - back) * slot_ms(w_ms) - now_ms % slot_ms(w_ms);
		if (in < first)
			first = in;
	}
	return first;
}

static int older_first(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? 1 : x > y ? -1 : 0;
}

static bool asked(const struct uniq_member *m, const uint64_t *hash, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (key_of(hash[i]) == member_key(m))
			return true;
	return false;
}

/* Of members that are not asked for, the ages, oldest first. */
static uint32_t other_ages(const struct uniq *u, int64_t now_ms, int64_t w_ms, const uint64_t *hash,
			   uint32_t n, uint32_t *age)
{
	uint32_t others = 0;
	for (uint32_t i = 0; i < u->cap; i++)
		if (live(&u->u.m[i], now_ms, w_ms) && !asked(&u->u.m[i], hash, n))
			age[others++] = age_of(now_ms, u->u.m[i].t);
	qsort(age, others, sizeof *age, older_first);
	return others;
}

int64_t uniq_retry(const struct uniq *u, int64_t now_ms, int64_t w_ms, uint64_t max,
		   const uint64_t *hash, uint32_t n, struct uniq_scratch *s)
{
	uint32_t age[UNIQ_MAX_CAP];
	uint32_t would_be = uniq_count(u, now_ms, w_ms, hash, n, s);
	if (would_be <= max)
		return 0;
	if (n > UNIQ_MAX_HASHES)
		n = UNIQ_MAX_HASHES;
	if (!u)
		return w_ms;
	if (u->cap == 0)
		return oldest_slot_in(u, now_ms, w_ms);
	uint32_t others = other_ages(u, now_ms, w_ms, hash, n, age);
	uint64_t excess = would_be - max;
	return excess > others ? w_ms : w_ms - age[excess - 1];
}

int64_t uniq_empty_in(const struct uniq *u, int64_t now_ms, int64_t w_ms)
{
	int64_t last = 0;
	for (uint32_t i = 0; i < u->cap; i++)
		if (live(&u->u.m[i], now_ms, w_ms) && w_ms - age_of(now_ms, u->u.m[i].t) > last)
			last = w_ms - age_of(now_ms, u->u.m[i].t);
	for (uint32_t k = 0; u->cap == 0 && k < UNIQ_SLOTS; k++) {
		int64_t back = slot_number(now_ms, w_ms) - u->u.e->slot[k];
		if (slot_counts(u->u.e->slot[k], now_ms, w_ms) &&
		    (UNIQ_SLOTS - back) * slot_ms(w_ms) - now_ms % slot_ms(w_ms) > last)
			last = (UNIQ_SLOTS - back) * slot_ms(w_ms) - now_ms % slot_ms(w_ms);
	}
	return last;
}
