/*
 * guard - how long a client has to wait after failed logins; pure, times are passed in
 * (CLOCK_MONOTONIC).
 *
 * Failures are counted by account and network, and by network; networks are addresses of IPv4 and
 * /64 of IPv6. Beyond `free` of them each further one doubles the wait, from a second on; a count
 * halves with every hour without a failure. A network from which the account has logged in within
 * 30 days is known: there only the account's own failures count, and the wait is GUARD_KNOWN_MS at
 * most. So nobody far away can lock an owner out, and whoever guesses from elsewhere is stopped.
 *
 * Everything is in memory of a fixed size; when a set of slots is full the longest unused goes.
 */
#ifndef MSA_AUTH_GUARD_H
#define MSA_AUTH_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"

#define GUARD_KNOWN_MS	30000
#define GUARD_SPRAY_MAX 64
#define GUARD_SPRAY_MS	3600000

struct guard_config {
	int64_t free;	     /* failures without a wait */
	int64_t max_wait_ms; /* 0: nobody ever waits */
	int64_t spray;	     /* accounts failed from one network within an hour; 0: not looked at */
	int64_t spray_wide; /* accounts failed from anywhere within an hour: spray.h; 0: as above */
};

struct guard;

/* talloc'd under ctx. seed makes the slots unpredictable. */
struct guard *guard_new(void *ctx, uint64_t seed);
/*
 * How many ms that account has to wait there; 0: none. account NULL: not said yet; 0 also when some
 * account knows that network.
 */
int64_t guard_wait(const struct guard *g, const char *account, const struct addr *client,
		   int64_t now_ms);
/*
 * A failed login; account "" when it named nobody. The number of accounts that failed there within
 * GUARD_SPRAY_MS when that has just reached cfg->spray or doubled since (GUARD_SPRAY_MAX are
 * counted), else 0.
 */
uint32_t guard_failed(struct guard *g, const struct guard_config *cfg, const char *account,
		      const struct addr *client, int64_t now_ms);
/* Has the account logged in from that network within 30 days? */
bool guard_knows(const struct guard *g, const char *account, const struct addr *client,
		 int64_t now_ms);
/* A good login: the network is known to the account, whose failures there are forgotten. */
void guard_ok(struct guard *g, const char *account, const struct addr *client, int64_t now_ms);

#endif
