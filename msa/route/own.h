/*
 * own - the ends of connections that are us: who sends mail there sends it back to itself.
 */
#ifndef MSA_ROUTE_OWN_H
#define MSA_ROUTE_OWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

struct own;

struct own *own_new(void *ctx); /* talloc'd; empty */
/* port 0: any. The unspecified address stands for each of the machine's interfaces, as they are
 * now. */
void own_add(struct own *o, const struct addr *a, uint16_t port);
/* "ADDRESS" or "ADDRESS:PORT"; false when it is neither. */
bool own_add_text(struct own *o, const char *text);
/* NULL: nothing is. */
bool own_is(const struct own *o, const struct addr *a, uint16_t port);

#endif
