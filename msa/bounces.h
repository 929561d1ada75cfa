/*
 * bounces - the policy service for inbound mail servers: listens where msa.bounce_listen says, and
 * answers what msa/mail/bounce decides.
 */
#ifndef MSA_BOUNCES_H
#define MSA_BOUNCES_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/upgrade.h"

#include "msa/server.h"

#define BOUNCES_LISTENERS_MAX 16

struct bounces;

/* Binds; nothing when the list is empty. False: *err (talloc'd under srv->cfg). */
bool bounces_listen(struct server *srv, char **err);
void bounces_free(struct server *srv);
/* For a handover: copies of the listeners' descriptors, at most max and BOUNCES_LISTENERS_MAX, how
 * many. Names are static. */
size_t bounces_release(const struct server *srv, struct upgrade_fd *fds, size_t max);

#endif
