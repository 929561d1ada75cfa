/*
 * check - every installed program's own check of the configuration (-n).
 *
 * Trusted with: starting those programs, by path and without a shell. They are looked for next to
 * sekishoctl, in ../sbin of its folder, and in PATH. Diagnostics: what each program said. Known
 * gaps: a program that hangs is killed by SIGALRM after half a minute.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <talloc.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

#define DEADLINE_S 30
#define MAX_OUTPUT 65536

static const char *const programs[] = {"sekisho-rules",	     "sekisho-ratelimitd", "sekisho-acctd",
				       "sekisho-nfqd",	     "sekisho-noticed",	   "sekisho-msad",
				       "sekisho-batv-milter"};

static const struct col cols[] = {
    {"PROGRAM", "program", COL_TEXT},
    {"RESULT", "result", COL_TEXT},
    {"SAYS", "says", COL_TEXT},
    COL_END,
};

/* --- finding --- */

static const char *in_folder(struct cli *c, const char *folder, size_t len, const char *name)
{
	char *path = talloc_asprintf(c->pool, "%.*s/%s", (int)len, folder, name);
	return access(path, X_OK) == 0 ? path : NULL;
}

static const char *in_path(struct cli *c, const char *name)
{
	const char *found = NULL;
	for (const char *p = getenv("PATH"); p && *p && !found; p += strspn(p, ":")) {
		size_t len = strcspn(p, ":");
		if (p[0] == '/')
			found = in_folder(c, p, len, name);
		p += len;
	}
	return found;
}

static const char *find(struct cli *c, const char *name)
{
	const char *found = NULL;
	if (c->io->self) {
		char *copy = talloc_strdup(c->pool, c->io->self);
		const char *dir = dirname(copy);
		found = in_folder(c, dir, strlen(dir), name);
		if (!found) {
			const char *sbin = talloc_asprintf(c->pool, "%s/../sbin", dir);
			found = in_folder(c, sbin, strlen(sbin), name);
		}
	}
	return found ? found : in_path(c, name);
}

/* --- running --- */

static _Noreturn void child(const char *path, const char *conf, int out)
{
	char *const argv[] = {(char *)path, (char *)"-n", (char *)"-c", (char *)conf, NULL};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	/* Plain lines, without the journal's priorities. */
	unsetenv("JOURNAL_STREAM");
	unsetenv("NOTIFY_SOCKET");
	alarm(DEADLINE_S);
	execv(path, argv);
	_exit(127);
}

static char *read_all(struct cli *c, int fd)
{
	char *buf = talloc_size(c->pool, MAX_OUTPUT + 1);
	size_t len = 0;
	for (;;) {
		char drop[512];
		ssize_t n = len < MAX_OUTPUT ? read(fd, buf + len, MAX_OUTPUT - len)
					     : read(fd, drop, sizeof(drop));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += len < MAX_OUTPUT ? (size_t)n : 0;
	}
	buf[len] = '\0';
	return buf;
}

/* The program's exit status, 128 + signal, or 127; *says is what it printed, without the last line
 * end. */
static int run_program(struct cli *c, const char *path, char **says)
{
	int fds[2], st = 0;
	*says = talloc_strdup(c->pool, "");
	if (pipe2(fds, O_CLOEXEC) != 0)
		return 127;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		child(path, c->conf_file, fds[1]);
	close(fds[1]);
	if (pid > 0)
		*says = read_all(c, fds[0]);
	close(fds[0]);
	if (pid < 0)
		return 127;
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	size_t n = strlen(*says);
	while (n > 0 && (*says)[n - 1] == '\n')
		(*says)[--n] = '\0';
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

static json_t *text(const char *s)
{
	json_t *v = json_string(s);
	return v ? v : json_string("(not UTF-8 text)");
}

static int hex(char ch)
{
	const char *at = ch ? strchr("0123456789abcdef", ch) : NULL;
	return at ? (int)(at - "0123456789abcdef") : -1;
}

/* The \xHH of a daemon's log line undone: what is printed is escaped again, and once is enough. */
static json_t *unescaped(struct cli *c, const char *s)
{
	char *out = talloc_strdup(c->pool, s), *w = out;
	for (const char *p = s; *p; w++) {
		int hi = p[0] == '\\' && p[1] == 'x' ? hex(p[2]) : -1;
		int lo = hi >= 0 ? hex(p[3]) : -1;
		bool coded = lo >= 0 && hi + lo > 0;
		*w = coded ? (char)(hi * 16 + lo) : *p;
		p += coded ? 4 : 1;
	}
	*w = '\0';
	json_t *v = json_string(out);
	return v ? v : text(s);
}

static json_t *check_one(struct cli *c, const char *name, bool *failed, bool *any)
{
	const char *path = find(c, name);
	char *says = NULL;
	if (!path)
		return json_pack("{s:s, s:s}", "program", name, "result", "missing");
	int st = run_program(c, path, &says);
	*any = true;
	*failed |= st != 0;
	return json_pack("{s:s, s:s, s:o, s:i, s:o}", "program", name, "result",
			 st ? "failed" : "ok", "path", text(path), "exit", st, "says",
			 unescaped(c, says));
}

static int run_check(struct cli *c)
{
	bool failed = false, any = false;
	json_t *rows = json_array();
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		json_array_append_new(rows, check_one(c, programs[i], &failed, &any));
	out_list(c, cols, rows);
	json_decref(rows);
	if (!any)
		return cli_fail(
		    c, EX_OSFILE,
		    "no Sekisho program was found next to sekishoctl, in ../sbin or in PATH");
	return failed ? EX_CONFIG : EX_OK;
}

static const struct cli_verb verbs[] = {
    {NULL, "", "Let every installed program check the configuration, and print what each says.",
     "Nothing is started or changed. Exit status 78 when one of them finds a mistake.", NULL,
     run_check},
};
const struct cli_noun noun_check = {"check", "is the configuration right", CLI_VERBS(verbs)};
