/*
 * account - records, the list of the active, and habits. Pure.
 *
 * Trusted with nothing. Diagnostics: none. Known gaps: the week is UTC's: a habit is a habit in any
 * time zone, but two blocks change when the clocks do.
 */
#include "ratelimit/detector/account.h"

#include <math.h>
#include <string.h>

#include "lib/big.h"

#define MIN_ACTIVE 4096
#define SWEEP	   32

/* --- levels --- */

uint8_t level_of(uint32_t n)
{
	double l = 4 * log2(1.0 + n);
	return l > 255 ? 255 : (uint8_t)lround(l);
}

double level_count(uint8_t level)
{
	return exp2(level / 4.0) - 1;
}

static uint8_t nibble(const struct account *a, unsigned block)
{
	return block % 2 ? a->week[block / 2] >> 4 : a->week[block / 2] & 15;
}

static void set_nibble(struct account *a, unsigned block, uint8_t v)
{
	uint8_t *b = &a->week[block / 2];
	*b = (uint8_t)(block % 2 ? (*b & 15) | v << 4 : (*b & 0xf0) | v);
}

/* What this block of the week usually has, or its neighbours: nobody is that punctual. */
uint8_t week_level(const struct account *a, int64_t block)
{
	unsigned b = (unsigned)(block % WEEK_BLOCKS);
	uint8_t best = nibble(a, b);
	uint8_t before = nibble(a, (b + WEEK_BLOCKS - 1) % WEEK_BLOCKS),
		after = nibble(a, (b + 1) % WEEK_BLOCKS);
	best = before > best ? before : best;
	best = after > best ? after : best;
	return (uint8_t)(best * 2);
}

/* --- tables --- */

bool accounts_init(struct accounts *t, size_t cap)
{
	*t = (struct accounts){.cap = (uint32_t)cap, .oldest = NONE, .newest = NONE};
	t->cap_act = t->cap / 32 > MIN_ACTIVE ? t->cap / 32 : MIN_ACTIVE;
	t->a = big_new(t->cap * sizeof(*t->a));
	t->head = big_new(t->cap * sizeof(*t->head));
	t->act = big_new(t->cap_act * sizeof(*t->act));
	if (t->head)
		memset(t->head, 0xff, t->cap * sizeof(*t->head));
	return t->a && t->head && t->act;
}

void accounts_free(struct accounts *t)
{
	big_free(t->a, t->cap * sizeof(*t->a));
	big_free(t->head, t->cap * sizeof(*t->head));
	big_free(t->act, t->cap_act * sizeof(*t->act));
}

static uint32_t *chain(const struct accounts *t, uint64_t key)
{
	return &t->head[((key >> 32) * t->cap) >> 32];
}

struct account *accounts_find(const struct accounts *t, uint64_t key)
{
	for (uint32_t i = *chain(t, key); i != NONE; i = t->a[i].next)
		if (t->a[i].key == key)
			return &t->a[i];
	return NULL;
}

static void unchain(struct accounts *t, uint32_t i)
{
	uint32_t *p = chain(t, t->a[i].key);
	while (*p != i)
		p = &t->a[*p].next;
	*p = t->a[i].next;
}

static void unlist(struct accounts *t, struct active *s)
{
	if (s->older != NONE)
		t->act[s->older].newer = s->newer;
	else
		t->oldest = s->newer;
	if (s->newer != NONE)
		t->act[s->newer].older = s->older;
	else
		t->newest = s->older;
}

static void list_newest(struct accounts *t, uint32_t i)
{
	struct active *s = &t->act[i];
	s->older = t->newest;
	s->newer = NONE;
	if (t->newest != NONE)
		t->act[t->newest].newer = i;
	else
		t->oldest = i;
	t->newest = i;
}

/* Of the next few records the one unused for longest; what is held is not forgotten easily. */
static uint32_t evict(struct accounts *t, uint16_t day)
{
	uint32_t best = t->sweep;
	int best_idle = -1;
	for (int k = 0; k < SWEEP; k++) {
		const struct account *a = &t->a[t->sweep];
		int idle = a->stage >= STAGE_HOLD ? 0 : (uint16_t)(day - a->last_day) + 1;
		if (idle > best_idle) {
			best = t->sweep;
			best_idle = idle;
		}
		t->sweep = (t->sweep + 1) % t->cap;
	}
	unchain(t, best);
	return best;
}

static uint32_t take_active(struct accounts *t)
{
	if (t->n_act < t->cap_act) {
		ahead_of(&t->act_ahead, t->act, t->n_act * sizeof(*t->act),
			 t->cap_act * sizeof(*t->act));
		return t->n_act++;
	}
	uint32_t i = t->oldest;
	unlist(t, &t->act[i]);
	if (t->act[i].owner != NONE)
		t->a[t->act[i].owner].active = NONE;
	return i;
}

void accounts_chain(struct accounts *t, uint32_t i)
{
	uint32_t *head = chain(t, t->a[i].key);
	t->a[i].next = *head;
	*head = i;
}

static uint32_t next_record(struct accounts *t)
{
	ahead_of(&t->a_ahead, t->a, t->n * sizeof(*t->a), t->cap * sizeof(*t->a));
	return t->n++;
}

struct account *accounts_get(struct accounts *t, uint64_t key, uint16_t day, bool *fresh)
{
	struct account *a = accounts_find(t, key);
	*fresh = !a;
	if (a)
		return a;
	uint32_t i = t->n < t->cap ? next_record(t) : evict(t, day);
	a = &t->a[i];
	/* The state of the forgotten one stays in the list, without an owner, until its turn. */
	if (a->key && a->active != NONE)
		t->act[a->active].owner = NONE;
	*a = (struct account){.key = key, .active = NONE, .first_day = day, .last_day = day};
	accounts_chain(t, i);
	return a;
}

struct active *accounts_peek(const struct accounts *t, const struct account *a)
{
	return a->active == NONE ? NULL : &t->act[a->active];
}

struct active *accounts_active(struct accounts *t, struct account *a, int64_t now_ms)
{
	uint32_t i = a->active;
	if (i != NONE) {
		unlist(t, &t->act[i]);
	} else {
		i = take_active(t);
		t->act[i] = (struct active){.owner = (uint32_t)(a - t->a),
					    .points_ms = now_ms,
					    .day = (uint32_t)(now_ms / DAY_MS),
					    .hour = now_ms / HOUR_MS,
					    .block = now_ms / BLOCK_MS};
		a->active = i;
	}
	list_newest(t, i);
	return &t->act[i];
}

/* --- the end of a day --- */

/* Towards the highest of late. By halves, for the first issue of a list is to strangers only. */
static void learn_peak(uint8_t *peak, uint32_t today, unsigned part)
{
	uint8_t l = level_of(today);
	if (l > *peak)
		*peak = (uint8_t)(*peak + (l - *peak + part - 1u) / part);
}

/* A block a week later is worth a half-octave less, unless it comes again. */
static void end_block(struct account *a, struct active *s, bool learn)
{
	unsigned b = (unsigned)(s->block % WEEK_BLOCKS);
	uint8_t old = nibble(a, b);
	unsigned l = (level_of(s->block_rcpts) + 1u) / 2;
	if (l > 15)
		l = 15;
	if (l + 1 < old)
		l = old - 1u;
	if (learn || l < old)
		set_nibble(a, b, (uint8_t)l);
	s->block_rcpts = 0;
}

static void end_day(struct account *a, struct active *s, uint32_t day, bool learn)
{
	if (learn) {
		learn_peak(&a->contacts_day, s->contacts_today, 2);
		learn_peak(&a->rcpts_day, s->rcpts_today, 1);
		learn_peak(&a->senders_day, s->senders_today, 1);
	}
	/* Every fourth week a level down. */
	if (day / 28 != s->day / 28) {
		a->contacts_day -= a->contacts_day > 0;
		a->rcpts_day -= a->rcpts_day > 0;
		a->senders_day -= a->senders_day > 0;
	}
	bool next = day == s->day + 1;
	s->contacts_before = next ? s->contacts_today : 0;
	s->bounces_before = next ? s->bounces_today : 0;
	s->rcpts_today = s->contacts_today = s->senders_today = s->bounces_today = 0;
	memset(s->sender, 0, sizeof(s->sender));
	memset(s->tls, 0, sizeof(s->tls));
	s->day = day;
}

static void end_hour(struct active *s, int64_t hour)
{
	bool next = hour == s->hour + 1;
	s->rcpts_hour[1] = next ? s->rcpts_hour[0] : 0;
	s->contacts_hour[1] = next ? s->contacts_hour[0] : 0;
	s->rcpts_hour[0] = s->contacts_hour[0] = 0;
	s->hour = hour;
}

static void fade(struct active *s, int64_t now_ms, const struct detector_conf *conf)
{
	double dt = (double)(now_ms - s->points_ms);
	if (dt <= 0)
		return;
	for (int i = 0; i < SIGNAL_COUNT; i++) {
		if (s->points[i] <= 0)
			continue;
		s->points[i] *= exp2(-dt / (double)conf->weight[i].half_life_ms);
		if (s->points[i] < .5) {
			s->points[i] = 0;
			s->count[i] = 0;
		}
	}
	s->points_ms = now_ms;
}

void account_roll(struct account *a, struct active *s, int64_t now_ms, bool learn,
		  const struct detector_conf *conf)
{
	if (now_ms / HOUR_MS != s->hour)
		end_hour(s, now_ms / HOUR_MS);
	if (now_ms / BLOCK_MS != s->block) {
		end_block(a, s, learn);
		s->block = now_ms / BLOCK_MS;
	}
	if (now_ms / DAY_MS != s->day)
		end_day(a, s, (uint32_t)(now_ms / DAY_MS), learn);
	fade(s, now_ms, conf);
}
