/*
 * heirs - what a new msad has from the one before: processes that still end their sessions
 * (handover.h), whose messages it takes, and children that it did not start and must wait for.
 */
#ifndef MSA_HEIRS_H
#define MSA_HEIRS_H

#include <stddef.h>
#include <sys/types.h>

#include "lib/upgrade.h"
#include "msa/server.h"

#define HEIRS_LEAVING_MAX 16  /* processes that leave at once */
#define HEIRS_STRAYS_MAX  128 /* children of programs before */
#define HEIRS_FDS_MAX	  (HEIRS_LEAVING_MAX + HEIRS_STRAYS_MAX)
#define HEIRS_NAME	  16

struct heirs;

/* Take what lib/upgrade has for us, once the queue is open. */
struct heirs *heirs_take(struct server *srv);
void heirs_free(struct heirs *h);
/* Processes that leave and are still there. */
size_t heirs_leaving(const struct heirs *h);
/* A number below HEIRS_LEAVING_MAX that none of them has: the one of the next to leave. */
unsigned heirs_free_number(const struct heirs *h);

/*
 * For the next handover: nothing is taken any more, and what there is, is told in fds, with their
 * names in names. fd is one more process that leaves, with heirs_free_number(); pids are more
 * children to wait for. Returns how many of the HEIRS_FDS_MAX are used.
 */
size_t heirs_pass_on(struct heirs *h, int fd, const pid_t *pids, size_t n_pids,
		     struct upgrade_fd *fds, char (*names)[HEIRS_NAME]);
/* In the process that leaves: these are not its own. */
void heirs_drop(struct heirs *h);

#endif
