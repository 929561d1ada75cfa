/*
 * spray - see spray.h.
 *
 * Trusted with: nothing secret; accounts and networks leave a bit each. Diagnostics: none, who asks
 * tells. Known gaps: a restart forgets what is usual, and until it is known again `wide` alone
 * decides; who stays below `wide` accounts an hour is not seen.
 */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "ratelimit/hash.h"

#include "msa/auth/spray.h"

#define STEPS	12
#define STEP_MS (SPRAY_WINDOW / STEPS)
#define BITS	(1u << 16)
#define WORDS	(BITS / 64)
#define MEMORY	(24 * STEPS) /* steps */

/* A place for each hash: how many are taken says how many different ones there were. */
struct places {
	uint64_t bits[WORDS];
};

struct step {
	struct places accounts, networks;
	uint32_t attempts, unknown;
};

struct spray_wide {
	uint64_t seed;
	struct step steps[STEPS], all; /* all: the steps together */
	uint32_t accounts, networks;   /* places taken in all */
	int64_t now;		       /* number of the newest step */
	double usual;
	uint32_t told; /* accounts when it was, 0: not */
};

struct spray_wide *spray_wide_new(void *ctx, uint64_t seed)
{
	struct spray_wide *s = talloc_zero(ctx, struct spray_wide);

	s->seed = seed;
	return s;
}

/* True when the place was free. */
static bool take(struct places *p, uint64_t h)
{
	uint64_t *word = &p->bits[h % BITS / 64], bit = UINT64_C(1) << h % 64;
	bool fresh = !(*word & bit);

	*word |= bit;
	return fresh;
}

static uint32_t add(struct places *to, const struct places *from)
{
	uint32_t n = 0;

	for (size_t i = 0; i < WORDS; i++) {
		to->bits[i] |= from->bits[i];
		n += (uint32_t)__builtin_popcountll(to->bits[i]);
	}
	return n;
}

/* Linear counting: of BITS places so many are taken. */
static uint32_t different(uint32_t taken)
{
	double left = taken < BITS ? BITS - taken : 1;

	return (uint32_t)lround(BITS * log(BITS / left));
}

static void together(struct spray_wide *s)
{
	memset(&s->all, 0, sizeof(s->all));
	for (size_t i = 0; i < STEPS; i++) {
		s->accounts = add(&s->all.accounts, &s->steps[i].accounts);
		s->networks = add(&s->all.networks, &s->steps[i].networks);
		s->all.attempts += s->steps[i].attempts;
		s->all.unknown += s->steps[i].unknown;
	}
}

/* Steps that have gone by; what is usual is learned from what was not told. */
static void go_on(struct spray_wide *s, int64_t step)
{
	if (step - s->now > MEMORY)
		s->now = step - MEMORY;
	while (s->now < step) {
		if (!s->told)
			s->usual += (different(s->accounts) - s->usual) / MEMORY;
		s->now++;
		memset(&s->steps[s->now % STEPS], 0, sizeof(struct step));
		together(s);
	}
}

static void see(struct spray_wide *s, uint64_t account, uint64_t network, bool unknown)
{
	struct step *step = &s->steps[s->now % STEPS];

	take(&step->accounts, account);
	take(&step->networks, network);
	s->accounts += take(&s->all.accounts, account);
	s->networks += take(&s->all.networks, network);
	step->attempts++;
	step->unknown += unknown;
	s->all.attempts++;
	s->all.unknown += unknown;
}

static bool stands_out(const struct spray_state *now, int64_t wide, int64_t per_network)
{
	uint32_t factor = now->unknown > now->attempts / 2 ? SPRAY_FACTOR / 2 : SPRAY_FACTOR;

	return now->accounts >= wide && now->networks >= SPRAY_NETWORKS &&
	       (per_network <= 0 || now->accounts / per_network <= now->networks) &&
	       now->accounts >= factor * now->usual;
}

bool spray_wide_failed(struct spray_wide *s, int64_t wide, int64_t per_network, const char *account,
		       const struct addr *client, bool unknown, int64_t now_ms,
		       struct spray_state *out)
{
	size_t n = addr_is4(client) ? sizeof(client->b) : 8;

	if (wide <= 0 || account[0] == '\0')
		return false;
	go_on(s, now_ms / STEP_MS);
	see(s, hash_bytes(s->seed, account, strlen(account)), hash_bytes(~s->seed, client->b, n),
	    unknown);
	*out = (struct spray_state){.accounts = different(s->accounts),
				    .networks = different(s->networks),
				    .attempts = s->all.attempts,
				    .unknown = s->all.unknown,
				    .usual = (uint32_t)lround(s->usual)};
	if (!stands_out(out, wide, per_network)) {
		if (out->accounts < wide)
			s->told = 0;
		return false;
	}
	if (out->accounts < 2 * s->told)
		return false;
	s->told = out->accounts;
	return true;
}
