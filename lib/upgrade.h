/*
 * upgrade - descriptors that outlive the process: handed to the service manager, and to the next
 * program when a daemon runs its own file again.
 *
 * Both come back by name. A service manager that speaks sd_notify(3)'s FDSTORE gives them back
 * after a restart or a crash (sd_listen_fds_with_names(3)); upgrade_exec() gives them to whatever
 * is in the program's file by then.
 */
#ifndef LIB_UPGRADE_H
#define LIB_UPGRADE_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/proc.h"

#define PROC_FILTER_ENV "SEKISHO_FILTER"

struct upgrade_fd {
	const char *name; /* [a-z0-9-]{1,31} */
	int fd;
};

/* The descriptor handed over under this name, close-on-exec, once; -1: none. *stored (may be NULL):
 * it came from the service manager, which keeps it. */
int upgrade_take(const char *name, bool *stored);
/* Those that nobody took: closed, and the service manager forgets them. How many. */
unsigned upgrade_drop_rest(void);

/* The service manager keeps a copy under this name, or lets its copy go. No-ops without one. */
void upgrade_store(const char *name, int fd);
void upgrade_forget(const char *name);

/*
 * Run the program's own file with -n, that is: would it start with this configuration? done() gets
 * NULL, or why not (static or until it returns). One at a time; false: one is under way.
 */
bool upgrade_check(struct event_base *base, const struct proc_args *args,
		   void (*done)(const char *why_not, void *arg), void *arg);

/* Run the program's own file in this process, with the same arguments and these descriptors. Only a
 * failure returns, with errno; all is then as before. No other thread may be left. */
void upgrade_exec(const struct upgrade_fd *fds, size_t n);

#endif
