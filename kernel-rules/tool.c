/*
 * tool - see tool.h.
 *
 * Input and output go through memory files, so that neither side ever waits for the other.
 *
 * Trusted with: running programs as root; the names are fixed in loader.c and old.c, and no shell
 * is involved. Diagnostics: fatal() when the machine cannot run programs at all. Known gaps: none.
 */
#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/proc.h"

#include "kernel-rules/tool.h"

#define MAX_OUTPUT (16 << 20)

static const char *const folders[] = {"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"};
static const char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};

static const char *find(const char *name, char *path, size_t size)
{
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		(void)snprintf(path, size, "%s/%s", folders[i], name);
		if (access(path, X_OK) == 0)
			return path;
	}
	return NULL;
}

bool tool_exists(const char *name)
{
	char path[256];
	return find(name, path, sizeof path) != NULL;
}

static int memory_file(const char *name, const char *content)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0)
		fatal_errno("cannot make a memory file");
	size_t len = content ? strlen(content) : 0;
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, content + done, len - done);
		if (n <= 0)
			fatal_errno("cannot write to a memory file");
		done += (size_t)n;
	}
	if (lseek(fd, 0, SEEK_SET) < 0)
		fatal_errno("cannot rewind a memory file");
	return fd;
}

static char *content(void *ctx, int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		fatal_errno("cannot read a memory file");
	size_t len = st.st_size > MAX_OUTPUT ? MAX_OUTPUT : (size_t)st.st_size;
	char *text = talloc_zero_size(ctx, len + 1);
	bug_on(!text);
	ssize_t n = pread(fd, text, len, 0);
	text[n < 0 ? 0 : n] = '\0';
	(void)close(fd);
	return text;
}

static int wait_for(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fatal_errno("cannot wait for a program");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t spawn(const char *path, const char *const argv[], const int fds[3])
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	if (posix_spawn_file_actions_init(&actions) != 0)
		fatal("out of memory");
	for (int i = 0; i < 3; i++)
		if (posix_spawn_file_actions_adddup2(&actions, fds[i], i) != 0)
			fatal("out of memory");
	errno = posix_spawn(&pid, path, &actions, NULL, (char *const *)(uintptr_t)argv,
			    (char *const *)(uintptr_t)environment);
	if (errno != 0)
		fatal_errno("cannot run %s", path);
	(void)posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static void trim(char *text)
{
	size_t len = strlen(text);
	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
}

struct tool_result tool_run(void *ctx, const char *const argv[], const char *input)
{
	char path[256];
	if (!find(argv[0], path, sizeof path))
		return (struct tool_result){127, talloc_strdup(ctx, ""),
					    talloc_asprintf(ctx, "%s is not installed", argv[0])};
	const int fds[3] = {memory_file("in", input), memory_file("out", NULL),
			    memory_file("err", NULL)};
	int status = wait_for(spawn(path, argv, fds));
	(void)close(fds[0]);
	struct tool_result r = {status, content(ctx, fds[1]), content(ctx, fds[2])};
	trim(r.error);
	return r;
}

bool tool_fail(void *ctx, char **err, const char *what, const struct tool_result *r)
{
	if (r->status == 127)
		*err = talloc_asprintf(
		    ctx, "%s: %s (Debian: apt-get install nftables iptables iproute2)", what,
		    r->error);
	else if (strstr(r->error, "Operation not permitted"))
		*err = talloc_asprintf(ctx, "%s: not permitted; run it as root", what);
	else
		*err = talloc_asprintf(ctx, "%s: %s", what, r->error);
	return false;
}
