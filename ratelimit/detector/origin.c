/*
 * origin - where a message comes from, as its account sees it: from 0, the owner's own line and
 * program, to 1, nothing that anybody ever met. Pure.
 *
 * A client becomes the owner's when it was used in the time of learning, when the owner's
 * correspondents were written to from it (detector.c), or when it was used on days so far apart
 * that somebody would have complained. The ISP's own pools are learnt: networks that many accounts
 * are at home in.
 *
 * Trusted with nothing. Diagnostics: the word in struct origin. Known gaps: two customers of one
 * pool look alike.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "ratelimit/hash.h"

#include "ratelimit/detector/inside.h"

#define RIPE_DAYS 3 /* twice: from first use to ripe, from ripe to trusted */
#define NAME_MAX_ 128
#define MANY_MOVES                                                                                 \
	5 /* networks of its own: whose line or phone changes its address all the time             \
	   */

enum { KIND_MET = 16, KIND_RIPE = 32, KIND_OWN = 48, KIND_EHLO = ADDR_PARTS, KIND_CLASS, KIND_TLS };

/* How new a client is, by the narrowest net of it that is the owner's, and by its EHLO name. */
static const struct {
	double same_name, other_name;
	const char *word;
} novelty[] = {
    [ADDR_SELF] = {0, .3, "its own address"},
    [ADDR_NEAR] = {.05, .35, "its own network"},
    [ADDR_WIDE] = {.1, .4, "its own provider's network"},
    [ADDR_POOL] = {.2, .5, "a network that many accounts are at home in"},
    [ADDR_PARTS] = {.3, 1, "a network nobody is at home in"},
};

uint64_t mix(uint64_t a, uint64_t b, uint64_t kind)
{
	return hash_three(a, b, kind);
}

uint64_t hash_text(uint64_t seed, const char *text)
{
	char low[NAME_MAX_];
	size_t n = 0;
	uint64_t h = seed;
	for (; *text; text++) {
		low[n++] = (char)tolower((unsigned char)*text);
		if (n == sizeof(low)) {
			h = hash_fast(h, low, n);
			n = 0;
		}
	}
	return hash_fast(h, low, n);
}

/* "DESKTOP-4711" and "desktop-12" are of one class. */
static uint64_t class_of(uint64_t seed, const char *name)
{
	char low[NAME_MAX_];
	size_t n = 0;
	for (; *name && n < sizeof(low); name++) {
		char c = isdigit((unsigned char)*name) ? '#' : (char)tolower((unsigned char)*name);
		if (c != '#' || n == 0 || low[n - 1] != '#')
			low[n++] = c;
	}
	return hash_fast(seed, low, n);
}

static uint64_t part_of(const struct detector *d, const struct addr *a, int i)
{
	static const uint8_t len4[] = {32, 24, 16, 12}, len6[] = {64, 56, 40, 32};
	struct addr net;
	addr_mask(a, (addr_is4(a) ? len4 : len6)[i], &net);
	return hash_fast(d->seed + (uint64_t)i, net.b, sizeof(net.b));
}

uint64_t origin_self(const struct detector *d, const struct addr *client)
{
	return part_of(d, client, ADDR_SELF);
}

/* --- lines that knock at port 25 --- */

#define WIDE_LINE 48 /* bits of IPv6, of a business */

static uint64_t wide_line(const struct detector *d, const struct addr *client)
{
	struct addr net;
	addr_mask(client, WIDE_LINE, &net);
	return hash_fast(d->seed + ADDR_PARTS, net.b, sizeof(net.b));
}

uint64_t origin_line_key(const struct detector *d, const struct addr *client, unsigned plen)
{
	if (addr_is4(client) || plen == 0 || plen > 56)
		return part_of(d, client, ADDR_SELF);
	return plen > WIDE_LINE ? part_of(d, client, ADDR_NEAR) : wide_line(d, client);
}

struct crowd *origin_line(struct detector *d, const struct origin *o)
{
	struct crowd *c = crowds_find(&d->lines, o->part[ADDR_SELF], 0, d->now_ms);
	if (!c && o->wide_line)
		c = crowds_find(&d->lines, o->part[ADDR_NEAR], 0, d->now_ms);
	if (!c && o->wide_line)
		c = crowds_find(&d->lines, o->wide_line, 0, d->now_ms);
	return c;
}

static void parts_of(const struct detector *d, const struct addr *a, struct origin *o)
{
	for (int i = 0; i < ADDR_PARTS; i++)
		o->part[i] = part_of(d, a, i);
	o->wide_line = addr_is4(a) ? 0 : wide_line(d, a);
}

static bool owns(const struct detector *d, const struct account *acc, uint64_t v, unsigned kind,
		 uint16_t day)
{
	return seen_age(&d->seen, mix(acc->key, v, KIND_OWN + kind), day) >= 0;
}

/* Are so many of all accounts at home there that it says nothing? */
static bool is_popular(const struct detector *d, uint64_t v, unsigned kind, unsigned least,
		       unsigned permille)
{
	unsigned n = popular_count(&d->popular, mix(0, v, kind));
	return n >= least && (uint64_t)n * 1000 >= (uint64_t)d->accounts.n * permille;
}

static bool in_pool(const struct detector *d, const struct origin *o)
{
	return is_popular(d, o->part[ADDR_NEAR], ADDR_NEAR, 3, 0) ||
	       is_popular(d, o->part[ADDR_WIDE], ADDR_WIDE, 3, 10) ||
	       is_popular(d, o->part[ADDR_POOL], ADDR_POOL, 5, 30);
}

static int narrowest(const struct detector *d, const struct account *acc, const struct origin *o,
		     uint16_t day)
{
	for (int i = 0; i < ADDR_POOL; i++)
		if (owns(d, acc, o->part[i], (unsigned)i, day))
			return i;
	return in_pool(d, o) ? ADDR_POOL : ADDR_PARTS;
}

/* 1: the owner's program says that; 0: it never did; between: it says little. */
static double name_known(const struct detector *d, const struct account *acc,
			 const struct origin *o, bool young, uint16_t day)
{
	if (!o->ehlo)
		return .5;
	if (owns(d, acc, o->ehlo, KIND_EHLO, day))
		return is_popular(d, o->ehlo, KIND_EHLO, 5, 30) ? .5 : 1;
	if (owns(d, acc, o->ehlo_class, KIND_CLASS, day))
		return is_popular(d, o->ehlo_class, KIND_CLASS, 5, 30) ? .15 : .5;
	return young ? .7 : 0;
}

/* Of an address that many accounts are at home at, a carrier's, each has its share alone. */
uint32_t origin_syns(const struct detector *d, const struct origin *o, const struct crowd *line)
{
	unsigned homes = popular_count(&d->popular, mix(0, o->part[ADDR_SELF], ADDR_SELF));
	return line->contacts / (homes > 1 ? homes : 1);
}

static bool knocked(const struct detector *d, const struct origin *o)
{
	const struct crowd *c = origin_line((struct detector *)d, o);
	return c && origin_syns(d, o, c) >= SYN_FEW;
}

/* How long is what is not the owner's in it known? */
static int met(const struct detector *d, const struct account *acc, const struct origin *o,
	       uint16_t day)
{
	int net = -1, name = -1;
	if (!owns(d, acc, o->part[ADDR_NEAR], ADDR_NEAR, day))
		net = seen_age(&d->seen, mix(acc->key, o->part[ADDR_NEAR], KIND_MET + ADDR_NEAR),
			       day);
	if (o->ehlo && !owns(d, acc, o->ehlo, KIND_EHLO, day))
		name = seen_age(&d->seen, mix(acc->key, o->ehlo, KIND_MET + KIND_EHLO), day);
	int most = net > name ? net : name;
	return most > 0 ? most : 0;
}

/* What is looked up next is at some twenty places of large tables: all are fetched at once. */
static void fetch(const struct detector *d, const struct account *acc, const struct origin *o)
{
	for (unsigned i = 0; i < ADDR_POOL; i++)
		seen_soon(&d->seen, mix(acc->key, o->part[i], KIND_OWN + i));
	for (unsigned i = ADDR_NEAR; i < ADDR_PARTS; i++)
		popular_soon(&d->popular, mix(0, o->part[i], i));
	seen_soon(&d->seen, mix(acc->key, o->part[ADDR_NEAR], KIND_MET + ADDR_NEAR));
	if (!o->ehlo)
		return;
	seen_soon(&d->seen, mix(acc->key, o->ehlo, KIND_OWN + KIND_EHLO));
	seen_soon(&d->seen, mix(acc->key, o->ehlo_class, KIND_OWN + KIND_CLASS));
	seen_soon(&d->seen, mix(acc->key, o->ehlo, KIND_MET + KIND_EHLO));
	popular_soon(&d->popular, mix(0, o->ehlo, KIND_EHLO));
}

void origin_of(const struct detector *d, const struct account *acc, const struct addr *client,
	       const char *ehlo, bool young, uint16_t day, struct origin *o)
{
	*o = (struct origin){.novelty = .3, .word = "an unknown place", .has_addr = client != NULL};
	if (ehlo && *ehlo) {
		o->ehlo = hash_text(d->seed, ehlo);
		o->ehlo_class = class_of(d->seed, ehlo);
	}
	if (!client)
		return;
	parts_of(d, client, o);
	fetch(d, acc, o);
	int i = narrowest(d, acc, o, day);
	double same = name_known(d, acc, o, young, day);
	o->novelty = novelty[i].other_name + (novelty[i].same_name - novelty[i].other_name) * same;
	if (i >= ADDR_POOL && acc->moves >= MANY_MOVES)
		o->novelty *= 1 - .4 * same;
	o->word = novelty[i].word;
	o->line_syn = knocked(d, o);
	o->met_days = met(d, acc, o, day);
}

/* Of an account that came without one until now, none is new. */
void origin_tls(const struct detector *d, const struct account *acc, uint64_t tls, uint16_t day,
		struct origin *o)
{
	o->tls = tls ? mix(tls, d->seed, KIND_TLS) : 0;
	if (!o->tls)
		return;
	o->tls_new = acc->programs > 0 && !owns(d, acc, o->tls, KIND_TLS, day);
	o->tls_usual = is_popular(d, o->tls, KIND_TLS, 5, 30);
}

/* True when it is so from now on. */
static bool own(struct detector *d, const struct account *acc, uint64_t v, unsigned kind,
		uint16_t day)
{
	bool fresh = !owns(d, acc, v, kind, day);
	if (fresh)
		popular_add(&d->popular, mix(0, v, kind), day);
	seen_add(&d->seen, mix(acc->key, v, KIND_OWN + kind), day);
	return fresh;
}

/* Met, ripe, owned: each step needs a use some days after the one before. */
static bool ripen(struct detector *d, const struct account *acc, uint64_t v, unsigned kind,
		  uint16_t day)
{
	return seen_add(&d->seen, mix(acc->key, v, KIND_MET + kind), day) >= RIPE_DAYS &&
	       seen_add(&d->seen, mix(acc->key, v, KIND_RIPE + kind), day) >= RIPE_DAYS &&
	       own(d, acc, v, kind, day);
}

static bool learn_part(struct detector *d, const struct account *acc, uint64_t v, unsigned kind,
		       bool trusted, bool friendly, uint16_t day)
{
	if (trusted || owns(d, acc, v, kind, day))
		return own(d, acc, v, kind, day);
	if (!friendly) {
		if (seen_age(&d->seen, mix(acc->key, v, KIND_MET + kind), day) < 0)
			seen_add(&d->seen, mix(acc->key, v, KIND_MET + kind), day);
		return false;
	}
	return ripen(d, acc, v, kind, day);
}

void origin_learn(struct detector *d, struct account *acc, const struct origin *o, bool trusted,
		  bool friendly, uint16_t day)
{
	for (unsigned i = 0; o->has_addr && i < ADDR_PARTS; i++) {
		bool moved = (i != ADDR_POOL || trusted) &&
			     learn_part(d, acc, o->part[i], i, trusted, friendly, day);
		acc->moves += moved && i == ADDR_NEAR && acc->moves < UINT8_MAX;
	}
	if (o->tls && learn_part(d, acc, o->tls, KIND_TLS, trusted, friendly, day))
		acc->programs += acc->programs < UINT8_MAX;
	if (!o->ehlo)
		return;
	learn_part(d, acc, o->ehlo, KIND_EHLO, trusted, friendly, day);
	learn_part(d, acc, o->ehlo_class, KIND_CLASS, trusted, friendly, day);
}
