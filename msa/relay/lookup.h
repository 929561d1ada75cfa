/*
 * lookup - the servers of a destination by the DNS: mx_judge() fed with answers until it is
 * content.
 */
#ifndef MSA_RELAY_LOOKUP_H
#define MSA_RELAY_LOOKUP_H

#include "accounting/dns.h"
#include "msa/route/mx.h"

struct lookup;

/* *list is talloc'd without parent and the callee's. Called once, maybe before lookup_start()
 * returns, unless lookup_cancel() comes first. */
typedef void lookup_cb(struct mx_list *list, void *arg);

/* What ask points to must live until cb. NULL when cb was called already. */
struct lookup *lookup_start(struct dns *dns, const struct mx_ask *ask, lookup_cb *cb, void *arg);
void lookup_cancel(struct lookup *l);

#endif
