/*
 * route - the kernel's word about where an address is.
 */
#ifndef NFQ_ROUTE_H
#define NFQ_ROUTE_H

#include "lib/addr.h"

/* The interface that the route to an address leads out by, which is the one that its packets come
 * in by where paths are symmetric; 0: there is no route. */
unsigned route_interface(const struct addr *a);

#endif
