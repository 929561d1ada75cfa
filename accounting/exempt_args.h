/*
 * exempt_args - what a request says of an exemption, checked.
 */
#ifndef ACCOUNTING_EXEMPT_ARGS_H
#define ACCOUNTING_EXEMPT_ARGS_H

#include "accounting/acctd.h"

/* The arguments of exempt.add, exempt.request and of a row of exempt.import; ends with a row
 * without a name. Those of a row have "state" and "suspended_until_ms" besides. */
extern const struct op_arg exempt_add_args[], exempt_row_args[];

struct exempt_error {
	const char *code; /* "invalid" "notfound" */
	char text[320];	  /* "class: there is no class half: …" */
};

/*
 * args, already of the right types, as an exemption. Texts are args'; destinations are talloc'd
 * under ctx; starts_ms is 0 when it is not said; the subscriber is looked up in the store. False
 * with *e.
 */
bool exempt_from_args(struct acctd *a, void *ctx, const json_t *args, int64_t now_ms,
		      struct store_exemption *out, struct exempt_error *e);

#endif
