/*
 * role - see role.h.
 *
 * Trusted with: running our own program. Diagnostics: the caller's.
 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/role.h"

static int spawn(const char *exe, const char *name, int fd, pid_t *pid)
{
	char comm[32], role[32];
	char *const argv[] = {comm, (char[]){"-x"}, role, NULL};
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t none;
	int r;

	snprintf(comm, sizeof(comm), "sekisho-%s", name);
	snprintf(role, sizeof(role), "%s", name);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&at);
	posix_spawnattr_setsigmask(&at, &none);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_adddup2(&fa, fd, 3);
	r = posix_spawn(pid, exe, &fa, &at, argv, environ);
	posix_spawnattr_destroy(&at);
	posix_spawn_file_actions_destroy(&fa);
	return r;
}

int role_start(const char *exe, const char *name, int *fd, pid_t *pid)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return errno;
	r = spawn(exe, name, pair[1], pid);
	close(pair[1]);
	if (r == 0)
		*fd = pair[0];
	else
		close(pair[0]);
	return r;
}

void role_kill(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
