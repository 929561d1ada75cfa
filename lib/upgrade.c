/*
 * upgrade - see upgrade.h.
 *
 * upgrade_exec() says in the environment which descriptor has which name, and for which process id
 * this is meant: a child that finds the words takes nothing.
 *
 * Trusted with: starting the file that this program was started from, nothing else. Diagnostics:
 * the caller's. Known gaps: a new program that passes its check and dies at its start takes the
 * descriptors with it, but for the service manager's copies.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "lib/proc.h"
#include "lib/upgrade.h"

#define FDS_ENV	      "SEKISHO_FDS" /* PID,NAME=FD,NAME=FD,... */
#define MAX_FDS	      256
#define NAME_BYTES    32
#define CHECK_SECONDS 30

static struct {
	bool read;
	size_t n;
	struct {
		char name[NAME_BYTES];
		int fd; /* -1: taken */
		bool stored;
	} fds[MAX_FDS];
} got;

/* --- what we were given ---------------------------------------------------------- */

static void add(const char *name, int fd, bool stored)
{
	if (got.n == MAX_FDS || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return;
	(void)snprintf(got.fds[got.n].name, NAME_BYTES, "%s", name);
	got.fds[got.n].fd = fd;
	got.fds[got.n++].stored = stored;
}

static void read_manager(void)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);
	for (int i = 0; i < n; i++) {
		add(names[i], SD_LISTEN_FDS_START + i, true);
		free(names[i]);
	}
	free(names);
}

static bool read_number(const char *text, long max, long *out)
{
	char *end;
	errno = 0;
	*out = strtol(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *out >= 0 && *out <= max;
}

static void read_exec(void)
{
	char *text = getenv(FDS_ENV), *copy = text ? strdup(text) : NULL, *rest = copy;
	const char *pid = copy ? strsep(&rest, ",") : NULL;
	long n;
	if (pid && read_number(pid, INT32_MAX, &n) && n == (long)getpid())
		for (char *item; (item = strsep(&rest, ",")) != NULL;) {
			char *eq = strchr(item, '=');
			if (!eq || !read_number(eq + 1, INT32_MAX, &n))
				continue;
			*eq = '\0';
			add(item, (int)n, false);
		}
	free(copy);
	(void)unsetenv(FDS_ENV);
}

static void read_all(void)
{
	if (got.read)
		return;
	got.read = true;
	read_exec();
	read_manager();
}

int upgrade_take(const char *name, bool *stored)
{
	read_all();
	for (size_t i = 0; i < got.n; i++) {
		int fd = got.fds[i].fd;
		if (fd < 0 || strcmp(got.fds[i].name, name) != 0)
			continue;
		got.fds[i].fd = -1;
		if (stored)
			*stored = got.fds[i].stored;
		return fd;
	}
	return -1;
}

unsigned upgrade_drop_rest(void)
{
	unsigned n = 0;
	read_all();
	for (size_t i = 0; i < got.n; i++) {
		if (got.fds[i].fd < 0)
			continue;
		(void)close(got.fds[i].fd);
		got.fds[i].fd = -1;
		if (got.fds[i].stored)
			upgrade_forget(got.fds[i].name);
		n++;
	}
	return n;
}

/* --- what the service manager keeps ---------------------------------------------- */

void upgrade_store(const char *name, int fd)
{
	char text[96];
	(void)snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	(void)sd_pid_notify_with_fds(0, 0, text, &fd, 1);
}

void upgrade_forget(const char *name)
{
	(void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

/* --- would the new one start? ---------------------------------------------------- */

static struct {
	struct event *child, *timeout;
	pid_t pid;
	void (*done)(const char *why_not, void *arg);
	void *arg;
} check;

static void end_check(const char *why_not)
{
	event_free(check.child);
	event_free(check.timeout);
	check.child = check.timeout = NULL;
	check.pid = 0;
	check.done(why_not, check.arg);
}

static void on_child(evutil_socket_t nr, short what, void *arg)
{
	char why[96];
	int status;
	(void)nr, (void)what, (void)arg;
	if (check.pid == 0 || waitpid(check.pid, &status, WNOHANG) != check.pid)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		end_check(NULL);
		return;
	}
	(void)snprintf(why, sizeof why, "the new program's check (-n) ended with %s %d",
		       WIFEXITED(status) ? "exit status" : "signal",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	end_check(why);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	int status;
	(void)fd, (void)what, (void)arg;
	(void)kill(check.pid, SIGKILL);
	(void)waitpid(check.pid, &status, 0);
	end_check("the new program's check (-n) did not end");
}

/* The child starts with ordinary signals. */
static int spawn(char *const *argv)
{
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t files; /* "configuration OK" is for people */
	sigset_t none, all;
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	if (posix_spawnattr_init(&attr) != 0)
		fatal("out of memory");
	if (posix_spawn_file_actions_init(&files) != 0 ||
	    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) != 0)
		fatal("out of memory");
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	int err = posix_spawn(&check.pid, proc_own_file(), &files, &attr, argv, environ);
	(void)posix_spawn_file_actions_destroy(&files);
	(void)posix_spawnattr_destroy(&attr);
	return err;
}

bool upgrade_check(struct event_base *base, const struct proc_args *args,
		   void (*done)(const char *why_not, void *arg), void *arg)
{
	static const struct timeval limit = {CHECK_SECONDS, 0};
	/* posix_spawn(3) does not write to them; its type is older than const. */
	const char *const argv[] = {proc_own_args()[0], "-n", "-q", "-c", args->conf_file, NULL};
	if (check.pid != 0)
		return false;
	check.done = done;
	check.arg = arg;
	check.child = evsignal_new(base, SIGCHLD, on_child, NULL);
	check.timeout = evtimer_new(base, on_timeout, NULL);
	if (!check.child || evsignal_add(check.child, NULL) != 0 || !check.timeout ||
	    evtimer_add(check.timeout, &limit) != 0)
		fatal("out of memory");
	int err = spawn((char *const *)(uintptr_t)argv);
	if (err != 0) {
		check.pid = 0;
		end_check(strerror(err));
	}
	return true;
}

/* --- the change ------------------------------------------------------------------ */

static void keep_open(const struct upgrade_fd *fds, size_t n, bool keep)
{
	for (size_t i = 0; i < n; i++)
		(void)fcntl(fds[i].fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

void upgrade_exec(const struct upgrade_fd *fds, size_t n)
{
	static char text[MAX_FDS * (NAME_BYTES + 12) + 16];
	int len = snprintf(text, sizeof text, "%ld", (long)getpid());
	bug_on(n > MAX_FDS);
	for (size_t i = 0; i < n; i++)
		len += snprintf(text + len, sizeof text - (size_t)len, ",%.31s=%d", fds[i].name,
				fds[i].fd);
	if (setenv(FDS_ENV, text, 1) != 0 || setenv(PROC_FILTER_ENV, proc_filter(), 1) != 0)
		fatal("out of memory");
	keep_open(fds, n, true);
	proc_block_signals(true);
	(void)execv(proc_own_file(), proc_own_args());
	int saved = errno;
	proc_block_signals(false);
	keep_open(fds, n, false);
	(void)unsetenv(FDS_ENV);
	(void)unsetenv(PROC_FILTER_ENV);
	errno = saved;
}
