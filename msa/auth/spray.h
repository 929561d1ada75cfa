/*
 * spray - password spraying from ever-new addresses: each tries few accounts few times, so that no
 * network stands out; all together do. Pure, times are passed in (CLOCK_MONOTONIC).
 *
 * Counted over the last hour, in steps of five minutes: different accounts that failed, networks
 * they failed from (addresses of IPv4, /64 of IPv6), attempts, and attempts for accounts that there
 * are not. What is usual is learned from hours that were not told, with the memory of about a day.
 * It is told when at least `wide` accounts failed, from at least SPRAY_NETWORKS networks, few from
 * each, and SPRAY_FACTOR times as many as usual; twice as many are enough when most of them do not
 * exist, which people's mistakes rarely do.
 *
 * Nothing is done to anybody: no login is refused because of it. Memory is fixed: counts of
 * different things are estimates, to a few percent up to 50,000.
 */
#ifndef MSA_AUTH_SPRAY_H
#define MSA_AUTH_SPRAY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"

#define SPRAY_NETWORKS 10
#define SPRAY_FACTOR   4
#define SPRAY_WINDOW   INT64_C(3600000)

struct spray_state {
	uint32_t accounts, networks, attempts, unknown; /* of the last hour */
	uint32_t usual;					/* accounts an hour */
};

struct spray_wide;

/* talloc'd under ctx. seed makes what collides unpredictable. */
struct spray_wide *spray_wide_new(void *ctx, uint64_t seed);
/*
 * A failed login from a network that the account is not known at; unknown: there is no such
 * account. wide: see above; 0: not looked at. per_network: accounts of one network that are told by
 * themselves (guard.h); 0: as many as there are. True with *out when it is to be told: when it
 * begins, and each time it has doubled.
 */
bool spray_wide_failed(struct spray_wide *s, int64_t wide, int64_t per_network, const char *account,
		       const struct addr *client, bool unknown, int64_t now_ms,
		       struct spray_state *out);

#endif
