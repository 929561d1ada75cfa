/*
 * bounces - the policy service for inbound mail servers: listens where msa.bounce_listen says, and
 * answers what msa/mail/bounce decides.
 */
#ifndef MSA_BOUNCES_H
#define MSA_BOUNCES_H

#include <stdbool.h>

#include "msa/server.h"

struct bounces;

/* Binds; nothing when the list is empty. False: *err (talloc'd under srv->cfg). */
bool bounces_listen(struct server *srv, char **err);
void bounces_free(struct server *srv);

#endif
