/*
 * proc - see proc.h.
 *
 * The only file that talks to systemd, libcap-ng and libseccomp.
 *
 * Trusted with: root, until proc_drop() returns. Call proc_drop() before any thread is started:
 * capabilities belong to a thread. Diagnostics: fatal() lines `- process fatal reason=...`, exit
 * status 71 or 78 (sysexits(3)); bug() aborts. Known gaps: the system call filter is a list of what
 * is forbidden, not of what is allowed; sanitizer builds go without it and stay dumpable, since
 * their run-time libraries need ptrace(2) of their own process.
 */
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "lib/upgrade.h"

#define STAND_BACK 10 /* nice(2): a ninth of the weight */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define DEFAULT_CONF "/etc/sekisho/sekisho.conf"

/* --- ends ---------------------------------------------------------------------------- */

static void last_words(const char *event, int err, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static void last_words(const char *event, int err, const char *fmt, va_list ap)
{
	char why[512], all[640];
	(void)vsnprintf(why, sizeof why, fmt, ap); /* NOLINT: clang 14 misses va_start() */
	(void)snprintf(all, sizeof all, "%s%s%s", why, err ? ": " : "", err ? strerror(err) : "");
	log_event(LOG_CRIT, "-", "process", event, LS("reason", all));
}

void fatal(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	last_words("fatal", 0, fmt, ap);
	va_end(ap);
	exit(EX_OSERR);
}

void fatal_errno(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	last_words("fatal", errno, fmt, ap);
	va_end(ap);
	exit(EX_OSERR);
}

void fatal_config(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	last_words("fatal", 0, fmt, ap);
	va_end(ap);
	exit(EX_CONFIG);
}

void bug(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	last_words("bug", 0, fmt, ap);
	va_end(ap);
	abort();
}

/* --- arguments ----------------------------------------------------------------------- */

static struct {
	char *const *args;
	char file[4096];
} own;

char *const *proc_own_args(void)
{
	return own.args;
}

const char *proc_own_file(void)
{
	return own.file;
}

static void usage(FILE *f, const char *program)
{
	(void)fprintf(f, "usage: %s [-nqv] [-c FILE]\n", program);
}

static _Noreturn void help(const char *program, const char *summary)
{
	usage(stdout, program);
	(void)printf("%s\n\n"
		     "  -c FILE    configuration (default %s)\n"
		     "  -n         check the configuration and exit\n"
		     "  -q         log warnings and errors only\n"
		     "  -v         log debugging lines too\n"
		     "  -h, --help\n"
		     "  --version\n",
		     summary, DEFAULT_CONF);
	exit(EX_OK);
}

static _Noreturn void bad_usage(const char *program)
{
	usage(stderr, program);
	exit(EX_USAGE);
}

void proc_args(int argc, char **argv, const char *program, const char *summary,
	       struct proc_args *out)
{
	static const struct option longs[] = {
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	int c;
	ssize_t len = readlink("/proc/self/exe", own.file, sizeof own.file - 1);
	own.file[len > 0 ? len : 0] = '\0';
	own.args = argv;
	*out = (struct proc_args){.conf_file = DEFAULT_CONF, .log_priority = LOG_INFO};
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:nvqh", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			out->conf_file = optarg;
			break;
		case 'n':
			out->check_only = true;
			break;
		case 'v':
			out->log_priority = LOG_DEBUG;
			break;
		case 'q':
			out->log_priority = LOG_WARNING;
			break;
		case 'h':
			help(program, summary);
		case 'V':
			(void)printf("%s %s\n", program, SEKISHO_VERSION);
			exit(EX_OK);
		default:
			bad_usage(program);
		}
	}
	if (optind != argc)
		bad_usage(program);
	log_open(program, out->log_priority);
}

/* --- privileges
 * ------------------------------------------------------------------------------------ */

bool proc_identity(const char *user, struct proc_identity *out, const char **err)
{
	*out = (struct proc_identity){.uid = geteuid(), .gid = getegid(), .change = false};
	if (!user || !*user)
		return true;
	errno = 0;
	const struct passwd *pw = getpwnam(user);
	if (!pw) {
		*err = errno ? strerror(errno)
			     : "there is no such user: create it, or set common.user";
		return false;
	}
	if (pw->pw_uid == out->uid)
		return true;
	if (out->uid != 0) {
		*err =
		    "only root can become another user: start as root, or set common.user to \"\"";
		return false;
	}
	*out = (struct proc_identity){.uid = pw->pw_uid, .gid = pw->pw_gid, .change = true};
	return true;
}

static void select_caps(const int *keep, size_t n, capng_type_t inheritable)
{
	if (capng_get_caps_process() != 0)
		fatal("cannot read this process's capabilities");
	for (size_t i = 0; i < n; i++)
		if (!capng_have_capability(CAPNG_PERMITTED, (unsigned)keep[i]))
			fatal("capability %s is needed: start as root, or grant it",
			      capng_capability_to_name((unsigned)keep[i]));
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < n; i++)
		if (capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | inheritable,
				 (unsigned)keep[i]) != 0)
			fatal("capability %d is unknown here", keep[i]);
}

/* Before the bounding set goes: what is not in it cannot become inheritable any more. */
static void make_inheritable(const int *keep, size_t n)
{
	if (capng_get_caps_process() != 0)
		fatal("cannot read this process's capabilities");
	for (size_t i = 0; i < n; i++)
		(void)capng_update(CAPNG_ADD, CAPNG_INHERITABLE, (unsigned)keep[i]);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		fatal_errno("cannot make capabilities inheritable");
}

/* Ambient ones survive an execve(2) of a plain file, also with no_new_privs and for uid 0 under
 * SECBIT_NOROOT. */
static void make_ambient(const int *keep, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, (unsigned long)keep[i], 0, 0) != 0)
			fatal_errno("cannot keep capability %d over an upgrade", keep[i]);
}

/* Uid 0 gets nothing back by execve(2) or setuid(2): the bits are locked. */
static void lock_root(void)
{
	unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
			     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED;
	if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) != 0)
		fatal_errno("cannot lock the secure bits");
}

static void become(const struct proc_identity *id)
{
	int rc =
	    capng_change_id((int)id->uid, (int)id->gid, CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING);
	if (rc != 0)
		fatal_errno("cannot become uid %u, gid %u (step %d)", (unsigned)id->uid,
			    (unsigned)id->gid, -rc);
	if (geteuid() != id->uid || getegid() != id->gid || (id->uid != 0 && setuid(0) == 0))
		fatal("the change to uid %u did not hold", (unsigned)id->uid);
}

/* The uid stays. Without CAP_SETPCAP (not started as root) the bounding set stays too: no_new_privs
 * makes it moot. */
static void stay(bool setpcap)
{
	if (setpcap)
		lock_root();
	if (capng_apply(setpcap ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) != 0)
		fatal_errno("cannot drop capabilities");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
		fatal_errno("cannot clear the ambient capabilities");
}

static void drop(const struct proc_identity *id, const int *keep_caps, size_t n, bool upgrade)
{
	struct rlimit none = {0, 0};
	if (capng_get_caps_process() != 0)
		fatal("cannot read this process's capabilities");
	bool setpcap = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 0;
	if (upgrade)
		make_inheritable(keep_caps, n);
	select_caps(keep_caps, n, upgrade ? CAPNG_INHERITABLE : 0);
	if (id->change)
		become(id);
	else
		stay(setpcap);
	if (upgrade)
		make_ambient(keep_caps, n);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		fatal_errno("cannot set no_new_privs");
	if (setrlimit(RLIMIT_CORE, &none) != 0)
		fatal_errno("cannot turn core files off");
	if (!SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		fatal_errno("cannot make the process non-dumpable");
	(void)umask(027);
}

void proc_stand_back(void)
{
	if (setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + STAND_BACK) != 0)
		log_event(LOG_NOTICE, "-", "process", "no-priority", LS("reason", strerror(errno)));
}

void proc_give_way(void)
{
	const struct sched_param none = {0};

	if (sched_setscheduler(0, SCHED_BATCH, &none) != 0)
		log_event(LOG_NOTICE, "-", "process", "no-priority", LS("reason", strerror(errno)));
}

void proc_drop(const struct proc_identity *id, const int *keep_caps, size_t n)
{
	drop(id, keep_caps, n, false);
}

void proc_drop_for_upgrade(const struct proc_identity *id, const int *keep_caps, size_t n)
{
	drop(id, keep_caps, n, true);
}

/* Names, so that a call this libseccomp or this machine does not have is passed over. */
static const char *const forbidden[] = {
    /* other processes */
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    /* file systems and namespaces */
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "open_by_handle_at",
    "quotactl",
    "quotactl_fd",
    "swapon",
    "swapoff",
    "acct",
    /* the kernel */
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "kexec_load",
    "kexec_file_load",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "lookup_dcookie",
    "reboot",
    "syslog",
    "nfsservctl",
    "iopl",
    "ioperm",
    "modify_ldt",
    "vm86",
    "vm86old",
    "uselib",
    "_sysctl",
    /* the machine's clock and name */
    "settimeofday",
    "clock_settime",
    "clock_settime64",
    "stime",
    "adjtimex",
    "clock_adjtime",
    "sethostname",
    "setdomainname",
    "vhangup",
    /* keys and io_uring: large, and none of our libraries use them */
    "add_key",
    "request_key",
    "keyctl",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
};
static const char *const exec_calls[] = {"execve", "execveat"};

static void forbid(scmp_filter_ctx f, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int nr = seccomp_syscall_resolve_name(names[i]);
		if (nr == __NR_SCMP_ERROR || nr < 0)
			continue;
		int rc = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, nr, 0);
		if (rc != 0)
			fatal("cannot forbid the system call %s: %s", names[i], strerror(-rc));
	}
}

static char filter[40];

const char *proc_filter(void)
{
	return filter;
}

/* FNV-1a over what is forbidden: a filter of the same name forbids the same. */
static void name_filter(bool allow_exec)
{
	uint64_t h = 14695981039346656037u;
	for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
		for (const char *p = forbidden[i]; p == forbidden[i] || p[-1]; p++)
			h = (h ^ (uint8_t)*p) * 1099511628211u;
	(void)snprintf(filter, sizeof filter, "%016llx-%d", (unsigned long long)h, allow_exec);
}

/* A program that ran itself again has its filters still; each one more would be paid by every
 * system call. */
static bool in_force_already(void)
{
	const char *told = getenv(PROC_FILTER_ENV);
	return told && strcmp(told, filter) == 0 &&
	       prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2; /* SECCOMP_MODE_FILTER */
}

void proc_seccomp(bool allow_exec)
{
	if (SANITIZED)
		return;
	name_filter(allow_exec);
	if (in_force_already())
		return;
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	if (!f)
		fatal("cannot make a system call filter: out of memory");
	if (seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1) != 0 ||
	    seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) != 0)
		fatal("cannot set up the system call filter: this kernel is too old");
	forbid(f, forbidden, sizeof forbidden / sizeof *forbidden);
	if (!allow_exec)
		forbid(f, exec_calls, sizeof exec_calls / sizeof *exec_calls);
	int rc = seccomp_load(f);
	if (rc != 0)
		fatal("cannot load the system call filter: %s", strerror(-rc));
	seccomp_release(f);
}

static const char *const computing[] = {
    "read",	    "write",	      "readv",	      "writev",
    "recvfrom",	    "recvmsg",	      "sendto",	      "sendmsg",
    "poll",	    "ppoll",	      "brk",	      "mmap",
    "munmap",	    "mremap",	      "madvise",      "mprotect",
    "munlock",	    "futex",	      "getrandom",    "clock_gettime",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "restart_syscall",
    "getpid",	    "gettid",	      "tgkill",	      "close",
    "exit",	    "exit_group",
};

void proc_seccomp_compute(void)
{
	if (SANITIZED)
		return;
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!f)
		fatal("cannot make a system call filter: out of memory");
	if (seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1) != 0)
		fatal("cannot set up the system call filter: this kernel is too old");
	for (size_t i = 0; i < sizeof computing / sizeof *computing; i++) {
		int nr = seccomp_syscall_resolve_name(computing[i]);
		if (nr == __NR_SCMP_ERROR || nr < 0)
			continue;
		int rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, nr, 0);
		if (rc != 0)
			fatal("cannot allow the system call %s: %s", computing[i], strerror(-rc));
	}
	int rc = seccomp_load(f);
	if (rc != 0)
		fatal("cannot load the system call filter: %s", strerror(-rc));
	seccomp_release(f);
}

/* --- the service manager
 * ------------------------------------------------------------------------------ */

void proc_ready(const char *status)
{
	(void)sd_notifyf(0, "READY=1%s%s", status ? "\nSTATUS=" : "", status ? status : "");
}

void proc_reloading(void)
{
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_us());
}

void proc_stopping(void)
{
	(void)sd_notify(0, "STOPPING=1");
}

static struct {
	struct event *ev; /* lives as long as the process */
	bool (*fine)(void *arg);
	void *arg;
} watchdog;

static void ping(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	if (!watchdog.fine || watchdog.fine(watchdog.arg))
		(void)sd_notify(0, "WATCHDOG=1");
}

void proc_watchdog_while(struct event_base *base, bool (*fine)(void *arg), void *arg)
{
	uint64_t us = 0;
	if (sd_watchdog_enabled(0, &us) <= 0 || us < 2)
		return;
	struct timeval half = {.tv_sec = (time_t)(us / 2000000),
			       .tv_usec = (suseconds_t)(us / 2 % 1000000)};
	if (watchdog.ev)
		event_free(watchdog.ev);
	watchdog.fine = fine;
	watchdog.arg = arg;
	watchdog.ev = event_new(base, -1, EV_PERSIST, ping, NULL);
	if (!watchdog.ev || event_add(watchdog.ev, &half) != 0)
		fatal("cannot set the watchdog timer: out of memory");
	ping(-1, 0, NULL);
}

void proc_busy(void)
{
	(void)sd_notify(0, "WATCHDOG=1");
}

void proc_watchdog(struct event_base *base)
{
	proc_watchdog_while(base, NULL, NULL);
}

/* --- signals
 * ---------------------------------------------------------------------------------------------- */

static struct {
	void (*stop)(void *arg);
	void (*reload)(void *arg);
	void *arg;
	struct event *ev[3];
} sig;

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	sig.stop(sig.arg);
}

static void on_reload(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	if (sig.reload)
		sig.reload(sig.arg);
}

void proc_signals(struct event_base *base, void (*stop)(void *arg), void (*reload)(void *arg),
		  void *arg)
{
	static const int nrs[3] = {SIGTERM, SIGINT, SIGHUP};
	sig.stop = stop;
	sig.reload = reload;
	sig.arg = arg;
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < 3; i++) {
		if (sig.ev[i])
			event_free(sig.ev[i]);
		sig.ev[i] =
		    evsignal_new(base, nrs[i], nrs[i] == SIGHUP ? on_reload : on_stop, NULL);
		if (!sig.ev[i] || evsignal_add(sig.ev[i], NULL) != 0)
			fatal("cannot catch signal %d: out of memory", nrs[i]);
	}
	proc_block_signals(false);
}

void proc_block_signals(bool block)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGUSR2);
	(void)sigprocmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* --- files
 * ------------------------------------------------------------------------------------------------
 */

/* Creates what is missing above path; those folders are for everybody to pass through. */
static bool make_parents(const char *path)
{
	char *copy = strdup(path);
	if (!copy)
		return false;
	bool ok = true;
	for (char *p = copy + 1; ok && *p; p++) {
		if (*p != '/' || !p[1])
			continue;
		*p = '\0';
		ok = mkdir(copy, 0755) == 0 || errno == EEXIST;
		*p = '/';
	}
	int saved = errno;
	free(copy);
	errno = saved;
	return ok;
}

/* Closes fd and keeps the errno of what went wrong before. */
static bool done(int fd, bool ok)
{
	int saved = errno;
	(void)close(fd);
	errno = saved;
	return ok;
}

bool proc_folder(const char *path, mode_t mode, const struct proc_identity *id)
{
	struct stat st;
	if (!*path) {
		errno = ENOENT;
		return false;
	}
	if (!make_parents(path))
		return false;
	bool fresh = mkdir(path, mode) == 0;
	if (!fresh && errno != EEXIST)
		return false;
	/* By descriptor and without following a link: whoever owns the folder above must not choose
	 * what root hands over. */
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (fresh && fchmod(fd, mode) != 0)
		return done(fd, false);
	if (!id || !id->change)
		return done(fd, true);
	if (fstat(fd, &st) != 0)
		return done(fd, false);
	if (st.st_uid == id->uid && st.st_gid == id->gid)
		return done(fd, true);
	return done(fd, fchown(fd, id->uid, id->gid) == 0);
}

static bool write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t w = write(fd, p, len);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return false;
		p += w;
		len -= (size_t)w;
	}
	return true;
}

static bool sync_folder_of(const char *path)
{
	char *copy = strdup(path);
	if (!copy)
		return false;
	char *slash = strrchr(copy, '/');
	if (slash)
		slash[slash == copy] = '\0';
	int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	return fd >= 0 && done(fd, fsync(fd) == 0);
}

bool proc_write_file(const char *path, const void *data, size_t len, mode_t mode)
{
	char *tmp = NULL;
	if (asprintf(&tmp, "%s.XXXXXX", path) < 0) {
		errno = ENOMEM;
		return false;
	}
	int fd = mkostemp(tmp, O_CLOEXEC);
	bool ok = fd >= 0;
	if (ok)
		ok = done(fd, fchmod(fd, mode) == 0 && write_all(fd, data, len) && fsync(fd) == 0);
	if (ok)
		ok = rename(tmp, path) == 0;
	int saved = errno;
	if (!ok && fd >= 0)
		(void)unlink(tmp);
	free(tmp);
	errno = saved;
	return ok && sync_folder_of(path);
}

/* Reads fd to its end into *buf, which grows; at most max bytes. */
static bool read_all(int fd, size_t max, char **buf, size_t *len)
{
	size_t cap = 0;
	*len = 0;
	for (;;) {
		if (*len + 1 >= cap) {
			cap = cap ? cap * 2 : 4096;
			char *bigger = realloc(*buf, cap);
			if (!bigger)
				return false;
			*buf = bigger;
		}
		ssize_t r = read(fd, *buf + *len, cap - *len - 1);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return false;
		if (r == 0)
			return true;
		*len += (size_t)r;
		if (*len > max) {
			errno = EFBIG;
			return false;
		}
	}
}

char *proc_read_file(const char *path, size_t max, size_t *len)
{
	char *buf = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (!done(fd, read_all(fd, max, &buf, len))) {
		int saved = errno;
		free(buf);
		errno = saved;
		return NULL;
	}
	if (buf)
		buf[*len] = '\0';
	return buf;
}
