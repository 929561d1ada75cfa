/*
 * ops_lease - what the operations on leases share. Included by ops_who.c, ops_lease.c and acctd.c.
 */
#ifndef ACCOUNTING_OPS_LEASE_H
#define ACCOUNTING_OPS_LEASE_H

#include "accounting/ops.h"

extern const struct op_arg lease_args[]; /* of lease.add, and of a row of lease.import */
extern const struct op_arg lease_import_args[];

/* All but the subscriber. NULL, or what is wrong, which may be in err. */
const char *lease_from_args(const json_t *args, int64_t now_ms, struct store_lease *l,
			    char err[static 192]);
/*
 * Commits. What was revoked is in force before the caller hears of it: "revoked" is what the policy
 * has changed since version before, less others that have. Takes result.
 */
void lease_answer(struct op_call *c, uint64_t before, int others, json_t *result);

void lease_import(struct op_call *c); /* ops_lease.c */

#endif
