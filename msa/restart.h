/*
 * restart - an upgrade that refuses nobody (SIGUSR2).
 *
 * The process forks: the child keeps the connections and ends them in their own time (handover.h),
 * the parent closes the spool and runs the program's file again, with the listening sockets. Who
 * connects meanwhile waits in their backlog. The process id stays that of the new program.
 */
#ifndef MSA_RESTART_H
#define MSA_RESTART_H

#include <stdbool.h>

#include "lib/proc.h"
#include "msa/server.h"

struct restart_hooks {
	/* Would the new one start, as far as this process can tell? False: *why (talloc'd under
	 * ctx). */
	bool (*possible)(void *ctx, void *arg, char **why);
	/* Close what the new one opens again: ports for others, the feed. */
	void (*let_go)(void *arg);
};

/* Catch SIGUSR2. When all is checked the loop is broken, and restart_wanted() is true. */
void restart_watch(struct server *srv, const struct proc_args *args,
		   const struct restart_hooks *hooks, void *arg);
bool restart_wanted(void);
/*
 * Outside of the loop. Returns in the process that leaves alone, with srv->leaving set: run the
 * loop, it is broken when the last session is gone. The other one runs the new program, and ends
 * when it cannot.
 */
void restart_now(struct server *srv);

#endif
