/*
 * role - start one of this program's roles.
 */
#ifndef LIB_ROLE_H
#define LIB_ROLE_H

#include <sys/types.h>

/*
 * Run exe as `-x name`, with a socket of its own as descriptor 3: *fd is our end (close-on-exec,
 * blocking). 0, or an errno.
 */
int role_start(const char *exe, const char *name, int *fd, pid_t *pid);
/* End it now and take its status; for a role that has nothing to lose. */
void role_kill(pid_t pid);

#endif
