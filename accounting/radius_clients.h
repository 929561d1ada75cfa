/*
 * radius_clients - who may send RADIUS accounting, and the secret shared with each.
 */
#ifndef ACCOUNTING_RADIUS_CLIENTS_H
#define ACCOUNTING_RADIUS_CLIENTS_H

#include "lib/addr.h"
#include "lib/conf.h"

struct radius_client {
	struct prefix prefix;
	char *secret; /* NUL-terminated */
	size_t len;
};

struct radius_clients;

/*
 * Rows "ADDRESS[/LENGTH] SECRETFILE". A secret is its file's first line; the file must not be
 * everybody's to read. NULL with *err (malloc'd), which says what to do.
 */
struct radius_clients *radius_clients_load(const struct conf_list *rows, char **err);
/* The narrowest row that holds the address, NULL: none. */
const struct radius_client *radius_client_of(const struct radius_clients *c, const struct addr *a);
void radius_clients_free(struct radius_clients *c); /* wipes the secrets */

#endif
