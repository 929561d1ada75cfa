/*
 * arf_child - a short-lived child takes a foreign message apart (contract in arf_child.h).
 *
 * The child keeps one descriptor, the pipe; a seccomp filter leaves it memory, time and write(2),
 * everything else fails with EPERM; limits bound its memory and time. What comes back is one byte
 * (report or not), and the encoded report or the reason, length-checked and decoded strictly: a
 * child taken over can lie about this report, and nothing else.
 *
 * The filter is a few lines of classic BPF, because lib/proc's list is for daemons; it is checked
 * against this machine's architecture. Diagnostics: "arf" log lines. Known gaps: only x86-64 and
 * arm64 have a filter; others rely on the limits.
 */
#include "accounting/arf_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/log.h"
#include "lib/proc.h"

#define TIMEOUT_MS 5000
#define CPU_S	   4
#define MEMORY	   (512ul << 20)

struct child {
	pid_t pid;
	int fd;
	struct event *ev;
	uint8_t *buf;
	size_t len;
	void (*done)(struct arf *a, const char *err, void *arg);
	void *arg;
};

/* --- the child --- */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef ARCH
#define ALLOW(nr)                                                                                  \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1),                                           \
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void only_compute(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    ALLOW(SYS_write),
	    ALLOW(SYS_exit_group),
	    ALLOW(SYS_exit),
	    ALLOW(SYS_brk),
	    ALLOW(SYS_mmap),
	    ALLOW(SYS_munmap),
	    ALLOW(SYS_mremap),
	    ALLOW(SYS_madvise),
	    ALLOW(SYS_mprotect),
	    ALLOW(SYS_futex),
	    ALLOW(SYS_getrandom),
	    ALLOW(SYS_clock_gettime),
	    ALLOW(SYS_rt_sigprocmask),
	    ALLOW(SYS_rt_sigreturn),
	    ALLOW(SYS_getpid),
	    ALLOW(SYS_gettid),
	    ALLOW(SYS_tgkill),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog prog = {.len = sizeof code / sizeof code[0], .filter = code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != 0)
		_exit(3);
}
#else
static void only_compute(void)
{
}
#endif

static void limit(int what, rlim_t v)
{
	struct rlimit r = {.rlim_cur = v, .rlim_max = v};
	if (setrlimit(what, &r) != 0)
		_exit(3);
}

static void confine(int out)
{
	if (dup2(out, 0) != 0 || close_range(1, ~0u, 0) != 0)
		_exit(3);
	limit(RLIMIT_CPU, CPU_S);
	limit(RLIMIT_CORE, 0);
/* The sanitizers' shadow needs all addresses. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	limit(RLIMIT_AS, MEMORY);
#endif
	only_compute();
}

static void write_all(const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t k = write(0, p, n);
		if (k <= 0)
			_exit(3);
		p += k;
		n -= (size_t)k;
	}
}

_Noreturn static void child_main(int out, const uint8_t *raw, size_t len, const char *hostname)
{
	const char *err = "";
	uint8_t *buf = malloc(ARF_WIRE_MAX);
	confine(out);
	struct arf *a = arf_parse(NULL, raw, len, hostname, &err);
	size_t n = a && buf ? arf_encode(a, buf + 1, ARF_WIRE_MAX - 1) : 0;
	if (!buf || (a && n == 0))
		_exit(3);
	buf[0] = a ? 1 : 0;
	if (!a) {
		n = strlen(err);
		memcpy(buf + 1, err, n);
	}
	write_all(buf, n + 1);
	_exit(0);
}

/* --- the parent --- */

static void end_child(struct child *c, const char *why)
{
	struct arf *a = NULL;
	const char *err = why;
	int status = 0;
	(void)kill(c->pid, SIGKILL); /* it has said all, or too much */
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!why && c->len > 0 && c->buf[0] == 1)
		a = arf_decode(NULL, c->buf + 1, c->len - 1);
	if (!why && c->len > 1 && c->buf[0] == 0)
		err = "it is not an abuse report: no message/feedback-report part (RFC 5965) and no XARF";
	if (!a && !err) {
		err = "it could not be read: the parser gave up on it";
		log_event(LOG_ERR, "-", "arf", "child-failed", LI("status", status),
			  LI("bytes", c->len));
	}
	c->done(a, err, c->arg);
	event_free(c->ev);
	(void)close(c->fd);
	free(c->buf);
	free(c);
}

static void on_pipe(evutil_socket_t fd, short what, void *arg)
{
	struct child *c = arg;
	if (what & EV_TIMEOUT) {
		log_event(LOG_ERR, "-", "arf", "child-late");
		end_child(c, "it could not be read in time");
		return;
	}
	ssize_t n = read(fd, c->buf + c->len, ARF_WIRE_MAX + 1 - c->len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->len += (size_t)n;
	if (n > 0 && c->len > ARF_WIRE_MAX)
		end_child(c, "it could not be read: the parser said too much");
	else if (n <= 0)
		end_child(c, NULL);
}

static void watch(struct event_base *base, struct child *c)
{
	struct timeval tv = {.tv_sec = TIMEOUT_MS / 1000};
	c->buf = malloc(ARF_WIRE_MAX + 1);
	c->ev = event_new(base, c->fd, EV_READ | EV_PERSIST, on_pipe, c);
	if (!c->buf || !c->ev)
		fatal("out of memory");
	(void)event_add(c->ev, &tv);
}

void arf_child_run(struct event_base *base, const uint8_t *raw, size_t len, const char *hostname,
		   void (*done)(struct arf *a, const char *err, void *arg), void *arg)
{
	int fds[2];
	struct child *c = calloc(1, sizeof *c);
	if (!c)
		fatal("out of memory");
	if (pipe2(fds, O_CLOEXEC) != 0) {
		free(c);
		done(NULL, "acctd is out of descriptors: try again", arg);
		return;
	}
	c->pid = fork();
	if (c->pid == 0)
		child_main(fds[1], raw, len, hostname);
	(void)close(fds[1]);
	if (c->pid < 0) {
		(void)close(fds[0]);
		free(c);
		done(NULL, "no process could be started: try again", arg);
		return;
	}
	(void)evutil_make_socket_nonblocking(fds[0]);
	c->fd = fds[0];
	c->done = done;
	c->arg = arg;
	watch(base, c);
}
