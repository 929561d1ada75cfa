/*
 * guard - see guard.h.
 *
 * Trusted with: nothing secret; accounts and networks are kept as hashes. Known gaps: a restart
 * forgets counts and known networks alike.
 */
#include <string.h>
#include <talloc.h>

#include "ratelimit/hash.h"

#include "msa/auth/guard.h"

#define WAYS	      8
#define SETS	      (1 << 12) /* times WAYS: 32768 slots a table */
#define SPRAY_SETS    (1 << 8)
#define HOUR	      (INT64_C(3600) * 1000)
#define KNOWN_FOR     (INT64_C(30) * 24 * HOUR)
#define FIRST_WAIT_MS 1000

struct slot {
	uint64_t key; /* 0: empty */
	int64_t last_ms, until_ms;
	uint32_t count;
};

/* The accounts that failed from one network lately. */
struct spray {
	uint64_t key;
	int64_t last_ms;
	uint64_t account[GUARD_SPRAY_MAX];
	int64_t seen_ms[GUARD_SPRAY_MAX];
	uint32_t n, told; /* told: n when it was, 0: not */
};

struct guard {
	uint64_t seed;
	struct slot failed[SETS][WAYS], known[SETS][WAYS];
	struct spray spray[SPRAY_SETS][WAYS];
};

struct guard *guard_new(void *ctx, uint64_t seed)
{
	struct guard *g = talloc_zero(ctx, struct guard);

	g->seed = seed;
	return g;
}

/* --- slots --- */

/* Of an account at a network; account "": of the network. Never 0. */
static uint64_t key_of(const struct guard *g, const char *account, const struct addr *client)
{
	size_t n = addr_is4(client) ? sizeof(client->b) : 8;
	uint64_t h = hash_bytes(g->seed, client->b, n);

	if (account[0])
		h = hash_bytes(h, account, strlen(account));
	return h ? h : 1;
}

static const struct slot *look(const struct slot t[SETS][WAYS], uint64_t key)
{
	const struct slot *set = t[key % SETS];

	for (int i = 0; i < WAYS; i++)
		if (set[i].key == key)
			return &set[i];
	return NULL;
}

static struct slot *take(struct slot t[SETS][WAYS], uint64_t key)
{
	struct slot *set = t[key % SETS], *oldest = set;

	for (int i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].last_ms < oldest->last_ms || set[i].key == 0)
			oldest = &set[i];
		if (oldest->key == 0)
			break;
	}
	*oldest = (struct slot){.key = key};
	return oldest;
}

static bool is_known(const struct guard *g, const char *account, const struct addr *client,
		     int64_t now_ms)
{
	const struct slot *s = look(g->known, key_of(g, account, client));

	return s && now_ms - s->last_ms < KNOWN_FOR;
}

static int64_t left(const struct guard *g, const char *account, const struct addr *client,
		    int64_t now_ms)
{
	const struct slot *s = look(g->failed, key_of(g, account, client));

	return s && s->until_ms > now_ms ? s->until_ms - now_ms : 0;
}

/* --- waiting --- */

int64_t guard_wait(const struct guard *g, const char *account, const struct addr *client,
		   int64_t now_ms)
{
	int64_t here = left(g, "", client, now_ms), own;

	if (!account || account[0] == '\0')
		return account || !is_known(g, "", client, now_ms) ? here : 0;
	own = left(g, account, client, now_ms);
	if (is_known(g, account, client, now_ms))
		return own < GUARD_KNOWN_MS ? own : GUARD_KNOWN_MS;
	return own > here ? own : here;
}

static int64_t wait_after(const struct guard_config *cfg, uint32_t count)
{
	int64_t over = (int64_t)count - cfg->free, ms = FIRST_WAIT_MS;

	if (over <= 0)
		return 0;
	while (--over > 0 && ms < cfg->max_wait_ms)
		ms *= 2;
	return ms < cfg->max_wait_ms ? ms : cfg->max_wait_ms;
}

static void count_failure(struct guard *g, const struct guard_config *cfg, uint64_t key,
			  int64_t now_ms)
{
	struct slot *s = take(g->failed, key);
	int64_t hours = (now_ms - s->last_ms) / HOUR;

	s->count = hours < 32 ? s->count >> hours : 0;
	if (s->count < UINT32_MAX)
		s->count++;
	s->last_ms = now_ms;
	s->until_ms = now_ms + wait_after(cfg, s->count);
}

/* --- spraying --- */

static struct spray *spray_of(struct guard *g, uint64_t key)
{
	struct spray *set = g->spray[key % SPRAY_SETS], *oldest = set;

	for (int i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].last_ms < oldest->last_ms)
			oldest = &set[i];
	}
	memset(oldest, 0, sizeof(*oldest));
	oldest->key = key;
	return oldest;
}

static void forget_old(struct spray *s, int64_t now_ms)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		if (now_ms - s->seen_ms[i] >= GUARD_SPRAY_MS)
			continue;
		s->account[n] = s->account[i];
		s->seen_ms[n++] = s->seen_ms[i];
	}
	s->n = n;
}

static void see_account(struct spray *s, uint64_t account, int64_t now_ms)
{
	uint32_t i = 0;

	while (i < s->n && s->account[i] != account)
		i++;
	if (i == GUARD_SPRAY_MAX)
		return;
	if (i == s->n)
		s->n++;
	s->account[i] = account;
	s->seen_ms[i] = now_ms;
}

static uint32_t sprayed(struct guard *g, const struct guard_config *cfg, const char *account,
			const struct addr *client, int64_t now_ms)
{
	struct spray *s;

	if (cfg->spray <= 0 || account[0] == '\0')
		return 0;
	s = spray_of(g, key_of(g, "", client));
	forget_old(s, now_ms);
	see_account(s, hash_bytes(g->seed, account, strlen(account)), now_ms);
	s->last_ms = now_ms;
	if ((int64_t)s->n < cfg->spray)
		s->told = 0;
	if ((int64_t)s->n < cfg->spray || s->n < 2 * s->told)
		return 0;
	s->told = s->n;
	return s->n;
}

/* --- what happened --- */

uint32_t guard_failed(struct guard *g, const struct guard_config *cfg, const char *account,
		      const struct addr *client, int64_t now_ms)
{
	if (account[0])
		count_failure(g, cfg, key_of(g, account, client), now_ms);
	/* The owner's mistakes are not held against his neighbours. */
	if (account[0] == '\0' || !is_known(g, account, client, now_ms))
		count_failure(g, cfg, key_of(g, "", client), now_ms);
	return sprayed(g, cfg, account, client, now_ms);
}

bool guard_knows(const struct guard *g, const char *account, const struct addr *client,
		 int64_t now_ms)
{
	return is_known(g, account, client, now_ms);
}

void guard_ok(struct guard *g, const char *account, const struct addr *client, int64_t now_ms)
{
	uint64_t key = key_of(g, account, client);
	const struct slot *s = look(g->failed, key);

	take(g->known, key)->last_ms = now_ms;
	take(g->known, key_of(g, "", client))->last_ms = now_ms;
	if (s)
		memset(take(g->failed, key), 0, sizeof(*s));
}
