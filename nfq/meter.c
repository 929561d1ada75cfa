/*
 * meter - see meter.h.
 *
 * A limit is the time at which the bucket will be full again (GCRA, ITU-T I.371): one word, changed
 * by compare and swap. A destination that is known is one word, too: a tag, and its minute.
 *
 * Trusted with: nothing more than verdicts are. Diagnostics: the rule over-limit. Known gaps: what
 * was counted is forgotten when the process ends.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#include "nfq/meter.h"

#define PLACES	 (1u << 14) /* powers of two */
#define PAIRS	 (1u << 16)
#define MINUTE_S 60
#define HOUR_S	 3600

struct meter {
	atomic_int_fast64_t rates[PLACES], destinations[PLACES]; /* microseconds */
	atomic_uint_fast64_t pairs[PAIRS];
};

struct meter *meter_new(void)
{
	struct meter *m = calloc(1, sizeof *m);
	if (!m)
		fatal("out of memory");
	return m;
}

void meter_free(struct meter *m)
{
	free(m);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 32) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 32) * 0x94d049bb133111ebu;
	return x ^ x >> 32;
}

/* n in period_s, burst of them at once. */
static bool take(atomic_int_fast64_t *place, uint32_t n, uint32_t burst, int64_t period_s,
		 int64_t now_us)
{
	int64_t each = period_s * 1000000 / n;
	int_fast64_t full = atomic_load_explicit(place, memory_order_relaxed), next;
	do {
		next = (full > now_us ? full : now_us) + each;
		if (next - now_us > each * burst)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(place, &full, next, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

static bool destination(struct meter *m, uint64_t who, const struct addr *dst, uint32_t most,
			int64_t mono_ms)
{
	uint64_t x, y;
	memcpy(&x, dst->b, 8);
	memcpy(&y, dst->b + 8, 8);
	uint64_t h = mix(mix(who ^ x) ^ y);
	atomic_uint_fast64_t *pair = &m->pairs[h & (PAIRS - 1)];
	uint64_t held = atomic_load_explicit(pair, memory_order_relaxed);
	/* The first minute is 1: no place is 0 that is taken. */
	uint32_t tag = (uint32_t)(h >> 32), now = (uint32_t)(mono_ms / 60000) + 1;
	if (held != 0 && held >> 32 == tag && now - (uint32_t)held < 60)
		return true;
	if (!take(&m->destinations[who & (PLACES - 1)], most, most, HOUR_S, mono_ms * 1000))
		return false;
	atomic_store_explicit(pair, (uint64_t)tag << 32 | now, memory_order_relaxed);
	return true;
}

bool meter_take(struct meter *m, int64_t exemption, const struct addr *dst,
		const struct policy_limits *l, int64_t mono_ms)
{
	uint64_t who = mix((uint64_t)exemption);
	if (l->rate > 0 &&
	    !take(&m->rates[who & (PLACES - 1)], l->rate, l->burst, MINUTE_S, mono_ms * 1000))
		return false;
	return l->destinations == 0 || destination(m, who, dst, l->destinations, mono_ms);
}
