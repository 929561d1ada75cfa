/*
 * meter - the limits of exempt lines, for connections that nfqd lets through itself: of exemptions
 * that are no elements of the kernel's sets, and where there is no room for them.
 *
 * Fixed memory, no lock, any number of threads. Exemptions that share a place share its limits: so
 * nobody has more than is configured. Where the kernel has begun to meter a line as well, it has
 * both once. Connections open at once are not counted here.
 */
#ifndef NFQ_METER_H
#define NFQ_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"

#include "nfq/policy.h"

struct meter;

struct meter *meter_new(void);
void meter_free(struct meter *m);
/* May a connection of this exemption to dst begin at mono_ms? One that may is counted. */
bool meter_take(struct meter *m, int64_t exemption, const struct addr *dst,
		const struct policy_limits *l, int64_t mono_ms);

#endif
