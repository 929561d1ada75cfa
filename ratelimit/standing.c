/*
 * standing - decisions of people and of the detector, by name.
 *
 * Trusted with names, reasons and actors. Diagnostics: none. Known gap: at most STANDING_MAX names,
 * about a kilobyte each when it is a penalty.
 */
#include "ratelimit/standing.h"

#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"
#include "ratelimit/hash.h"

#define PLACES	 16384
#define MAX_OVER LIMITS_MAX

const char *const target_names[N_TARGETS] = {"account", "address", "domain", "class"};

struct standings {
	struct standing *place[PLACES];
	uint64_t seed;
	size_t n, of[N_TARGETS];
};

struct standings *standings_new(uint64_t seed)
{
	struct standings *t = calloc(1, sizeof *t);
	if (!t)
		fatal("out of memory");
	t->seed = seed;
	return t;
}

static void free_one(struct standing *s)
{
	free(s->penalty);
	free(s->over);
	free(s);
}

void standings_free(struct standings *t)
{
	for (size_t i = 0; t && i < PLACES; i++)
		for (struct standing *s = t->place[i], *next; s; s = next) {
			next = s->next;
			free_one(s);
		}
	free(t);
}

static uint64_t hash_of(const struct standings *t, enum target target, const char *name)
{
	return hash_fast(t->seed + (unsigned)target, name, strlen(name));
}

struct standing *standing_find(const struct standings *t, enum target target, const char *name)
{
	if (t->of[target] == 0)
		return NULL;
	uint64_t hash = hash_of(t, target, name);
	struct standing *s = t->place[hash % PLACES];
	while (s && (s->hash != hash || s->target != target || strcmp(s->name, name) != 0))
		s = s->next;
	return s;
}

struct standing *standing_need(struct standings *t, enum target target, const char *name)
{
	struct standing *s = standing_find(t, target, name);
	size_t len = strlen(name);
	if (s || t->n >= STANDING_MAX || len == 0)
		return s;
	s = calloc(1, sizeof *s + len + 1);
	if (!s)
		fatal("out of memory");
	s->hash = hash_of(t, target, name);
	s->target = target;
	memcpy(s->name, name, len + 1);
	s->next = t->place[s->hash % PLACES];
	t->place[s->hash % PLACES] = s;
	t->n++;
	t->of[target]++;
	return s;
}

static void forget(struct standings *t, struct standing *s)
{
	struct standing **at = &t->place[s->hash % PLACES];
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	t->n--;
	t->of[s->target]--;
	free_one(s);
}

static bool holds(const struct terms *t, int64_t utc_ms)
{
	return t->expires_ms == 0 || t->expires_ms > utc_ms;
}

bool standing_tidy(struct standings *t, struct standing *s, int64_t mono_ms, int64_t utc_ms)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < s->n_over; i++)
		if (holds(&s->over[i].terms, utc_ms))
			s->over[kept++] = s->over[i];
	s->n_over = kept;
	if (!holds(&s->class_terms, utc_ms))
		s->class[0] = '\0';
	if (s->grace_until_ms <= mono_ms)
		s->grace_until_ms = s->released_ms = 0;
	if (s->penalty || s->n_over || s->class[0] || s->conf_class[0] || s->grace_until_ms)
		return false;
	forget(t, s);
	return true;
}

void standings_tidy(struct standings *t, int64_t mono_ms, int64_t utc_ms)
{
	for (size_t i = 0; i < PLACES && t->n > 0; i++)
		for (struct standing *s = t->place[i], *next; s; s = next) {
			next = s->next;
			(void)standing_tidy(t, s, mono_ms, utc_ms);
		}
}

static struct override *over_of(const struct standing *s, const char *limit)
{
	for (unsigned i = 0; i < s->n_over; i++)
		if (strcmp(s->over[i].limit, limit) == 0)
			return &s->over[i];
	return NULL;
}

const struct override *standing_override(const struct standing *s, const char *limit,
					 int64_t utc_ms)
{
	const struct override *o = s ? over_of(s, limit) : NULL;
	return o && holds(&o->terms, utc_ms) ? o : NULL;
}

bool standing_put(struct standing *s, const struct override *o)
{
	struct override *mine = over_of(s, o->limit);
	if (!mine && s->n_over == MAX_OVER)
		return false;
	if (!mine) {
		struct override *p = realloc(s->over, (s->n_over + 1) * sizeof *p);
		if (!p)
			fatal("out of memory");
		s->over = p;
		mine = &s->over[s->n_over++];
	}
	*mine = *o;
	return true;
}

bool standing_drop(struct standing *s, const char *limit)
{
	struct override *mine = over_of(s, limit);
	if (mine)
		*mine = s->over[--s->n_over];
	return mine != NULL;
}

const char *standing_class(const struct standing *s, int64_t utc_ms)
{
	if (!s)
		return NULL;
	if (s->class[0] && holds(&s->class_terms, utc_ms))
		return s->class;
	return s->conf_class[0] ? s->conf_class : NULL;
}

void standings_each(const struct standings *t, void (*f)(struct standing *s, void *arg), void *arg)
{
	for (size_t i = 0; i < PLACES && t->n > 0; i++)
		for (struct standing *s = t->place[i], *next; s; s = next) {
			next = s->next;
			f(s, arg);
		}
}

bool standings_any(const struct standings *t, enum target target)
{
	return t->of[target] > 0;
}
