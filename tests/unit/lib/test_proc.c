/* proc: arguments, ways to end, what a process can still do after the drop, files, signals,
 * sd_notify. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "lib/proc.h"

#define N(a) (sizeof(a) / sizeof *(a))

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static char dir[] = "/tmp/sekisho-test-proc.XXXXXX";

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

/* Runs f in a child with its output thrown away; the wait status. */
static int in_child(void (*f)(void *), void *arg)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
		f(arg);
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* A check inside a child: the line number is the exit status' stand-in for a message. */
#define CHECK(c)                                                                                   \
	do {                                                                                       \
		if (!(c))                                                                          \
			_exit(__LINE__ % 200 + 1);                                                 \
	} while (0)

static void assert_child(void (*f)(void *), void *arg)
{
	int status = in_child(f, arg);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("status %#x; the CHECK in a line that is %d more than a multiple of 200",
			 status, WEXITSTATUS(status) - 1);
}

/* --- arguments ----------------------------------------------------------------------- */

struct args_case {
	const char *argv[5];
	int exit; /* -1: returns */
	struct proc_args want;
};

static void run_args(void *arg)
{
	const struct args_case *c = arg;
	char *argv[6] = {NULL};
	struct proc_args got;
	int argc = 0;
	for (; c->argv[argc]; argc++)
		argv[argc] = strdup(c->argv[argc]);
	proc_args(argc, argv, "sekisho-test", "tests", &got);
	CHECK(c->exit == -1);
	CHECK(strcmp(got.conf_file, c->want.conf_file) == 0);
	CHECK(got.check_only == c->want.check_only);
	CHECK(got.log_priority == c->want.log_priority);
	_exit(99);
}

static void test_args(void **state)
{
	static const char dflt[] = "/etc/sekisho/sekisho.conf";
	static struct args_case cases[] = {
	    {{"t"}, -1, {dflt, false, LOG_INFO}},
	    {{"t", "-n"}, -1, {dflt, true, LOG_INFO}},
	    {{"t", "-c", "/x", "-v"}, -1, {"/x", false, LOG_DEBUG}},
	    {{"t", "-nqc/y"}, -1, {"/y", true, LOG_WARNING}},
	    {{"t", "-h"}, 0, {NULL, false, 0}},
	    {{"t", "--help"}, 0, {NULL, false, 0}},
	    {{"t", "--version"}, 0, {NULL, false, 0}},
	    {{"t", "-x"}, 64, {NULL, false, 0}},
	    {{"t", "-c"}, 64, {NULL, false, 0}},
	    {{"t", "extra"}, 64, {NULL, false, 0}},
	    {{"t", "--nope"}, 64, {NULL, false, 0}},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		int status = in_child(run_args, &cases[i]);
		int want = cases[i].exit == -1 ? 99 : cases[i].exit;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != want)
			fail_msg("case %zu: status %#x", i, status);
	}
}

/* --- ends
 * ------------------------------------------------------------------------------------------ */

static void do_fatal(void *arg)
{
	(void)arg;
	fatal("x %d", 1);
}

static void do_fatal_errno(void *arg)
{
	(void)arg;
	errno = EACCES;
	fatal_errno("x");
}

static void do_fatal_config(void *arg)
{
	(void)arg;
	fatal_config("x");
}

static void do_bug(void *arg)
{
	(void)arg;
	bug_on(1 + 1 == 2);
}

static void test_ends(void **state)
{
	(void)state;
	assert_int_equal(WEXITSTATUS(in_child(do_fatal, NULL)), 71);
	assert_int_equal(WEXITSTATUS(in_child(do_fatal_errno, NULL)), 71);
	assert_int_equal(WEXITSTATUS(in_child(do_fatal_config, NULL)), 78);
	int status = in_child(do_bug, NULL);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* --- privileges
 * -------------------------------------------------------------------------------------- */

static void test_identity(void **state)
{
	struct proc_identity id;
	const char *err = NULL;
	(void)state;
	assert_true(proc_identity("", &id, &err));
	assert_false(id.change);
	assert_int_equal(id.uid, geteuid());
	assert_true(proc_identity(NULL, &id, &err));
	assert_false(id.change);
	assert_false(proc_identity("no-such-user-here", &id, &err));
	assert_non_null(strstr(err, "no such user"));
	const struct passwd *self = getpwuid(geteuid());
	assert_true(self && proc_identity(self->pw_name, &id, &err));
	assert_false(id.change);
	need_root();
	assert_true(proc_identity("nobody", &id, &err));
	assert_true(id.change);
	assert_int_equal(id.uid, getpwnam("nobody")->pw_uid);
}

/* A line of /proc/self/status as a hexadecimal number. */
static uint64_t status_field(const char *name)
{
	char line[256];
	uint64_t v = UINT64_MAX;
	FILE *f = fopen("/proc/self/status", "r");
	CHECK(f);
	while (fgets(line, sizeof line, f))
		if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
			v = strtoull(line + strlen(name) + 1, NULL, 16);
	fclose(f);
	return v;
}

static void check_dropped(uint64_t caps)
{
	struct rlimit core;
	CHECK(status_field("CapPrm") == caps);
	CHECK(status_field("CapEff") == caps);
	CHECK(status_field("CapInh") == 0);
	CHECK(status_field("CapBnd") == 0);
	CHECK(status_field("CapAmb") == 0);
	CHECK(status_field("NoNewPrivs") == 1);
	CHECK(SANITIZED || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	CHECK(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
	CHECK(umask(0) == 027);
}

static const int keep[] = {CAP_NET_ADMIN};

static void drop_and_change(void *arg)
{
	struct proc_identity id;
	const char *err;
	uid_t r, e, s;
	(void)arg;
	CHECK(proc_identity("nobody", &id, &err));
	proc_drop(&id, keep, 1);
	check_dropped(UINT64_C(1) << CAP_NET_ADMIN);
	CHECK(getresuid(&r, &e, &s) == 0 && r == id.uid && e == id.uid && s == id.uid);
	CHECK(getgroups(0, NULL) == 0);
	CHECK(setuid(0) != 0);
}

static void drop_and_stay(void *arg)
{
	struct proc_identity id;
	const char *err;
	(void)arg;
	CHECK(proc_identity("", &id, &err));
	proc_drop(&id, NULL, 0);
	check_dropped(0);
	CHECK(geteuid() == 0);
	CHECK(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0) & SECBIT_NOROOT_LOCKED);
	CHECK(chown(dir, 1, 1) != 0); /* uid 0 without CAP_CHOWN */
	/* A program that it starts is no root either. */
	execl("/bin/sh", "sh", "-c", "grep -q '^CapEff:\t0000000000000000$' /proc/self/status",
	      (char *)NULL);
	CHECK(false);
}

/* Started with fewer capabilities than asked for: refused, not silently without. */
static void drop_wants_too_much(void *arg)
{
	struct proc_identity id;
	const char *err;
	(void)arg;
	CHECK(proc_identity("", &id, &err));
	proc_drop(&id, NULL, 0);
	proc_drop(&id, keep, 1);
}

/* Twice is harmless: the second has no CAP_SETPCAP. */
static void drop_twice(void *arg)
{
	struct proc_identity id;
	const char *err;
	(void)arg;
	CHECK(proc_identity("", &id, &err));
	proc_drop(&id, keep, 1);
	proc_drop(&id, NULL, 0);
	CHECK(status_field("CapPrm") == 0);
}

/* Started by the service manager as that user already: nothing to change, and nobody else to
 * become. */
static void drop_as_ordinary_user(void *arg)
{
	struct proc_identity id;
	const char *err = NULL;
	uid_t nobody = getpwnam("nobody")->pw_uid;
	(void)arg;
	CHECK(setresuid(nobody, nobody, nobody) == 0);
	CHECK(!proc_identity("root", &id, &err) && strstr(err, "only root"));
	CHECK(proc_identity("nobody", &id, &err) && !id.change && id.uid == nobody);
	proc_drop(&id, NULL, 0);
	CHECK(status_field("CapPrm") == 0 && status_field("NoNewPrivs") == 1);
}

/* The next program has the capability still, and no other; also as somebody else. */
static void drop_for_upgrade(void *arg)
{
	struct proc_identity id;
	const char *err;
	CHECK(proc_identity(arg, &id, &err));
	proc_drop_for_upgrade(&id, keep, 1);
	CHECK(status_field("CapPrm") == UINT64_C(1) << CAP_NET_ADMIN);
	CHECK(status_field("CapBnd") == 0);
	execl("/bin/sh", "sh", "-c",
	      "grep -q '^CapEff:\t0000000000001000$' /proc/self/status && "
	      "grep -q '^CapPrm:\t0000000000001000$' /proc/self/status",
	      (char *)NULL);
	CHECK(false);
}

static void test_drop(void **state)
{
	(void)state;
	need_root();
	assert_child(drop_as_ordinary_user, NULL);
	assert_child(drop_and_change, NULL);
	assert_child(drop_and_stay, NULL);
	assert_child(drop_twice, NULL);
	char self[] = "", nobody[] = "nobody";
	assert_child(drop_for_upgrade, self);
	assert_child(drop_for_upgrade, nobody);
	assert_int_equal(WEXITSTATUS(in_child(drop_wants_too_much, NULL)), 71);
}

/* --- the system call filter
 * ----------------------------------------------------------------------------- */

static void no_exec(void *arg)
{
	(void)arg;
	proc_seccomp(false);
	execl("/bin/true", "true", (char *)NULL);
}

static void with_exec(void *arg)
{
	(void)arg;
	proc_seccomp(true);
	execl("/bin/true", "true", (char *)NULL);
	_exit(1);
}

static void try_ptrace(void *arg)
{
	(void)arg;
	proc_seccomp(true);
	(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int go[2];

static void *late_unshare(void *arg)
{
	char c;
	(void)arg;
	if (read(go[0], &c, 1) == 1)
		(void)unshare(CLONE_FS);
	return NULL;
}

/* The filter holds for a thread that was there before it. */
static void older_thread(void *arg)
{
	pthread_t t;
	(void)arg;
	CHECK(pipe(go) == 0);
	CHECK(pthread_create(&t, NULL, late_unshare, NULL) == 0);
	proc_seccomp(false);
	CHECK(write(go[1], "x", 1) == 1);
	(void)pthread_join(t, NULL);
}

static void ordinary_work(void *arg)
{
	char path[sizeof dir + 16];
	size_t len;
	(void)arg;
	proc_seccomp(false);
	(void)snprintf(path, sizeof path, "%s/work", dir);
	CHECK(proc_write_file(path, "x", 1, 0600));
	char *text = proc_read_file(path, 10, &len);
	CHECK(text && len == 1);
	CHECK(fork() >= 0);
}

/* One of each kind of what is forbidden; the arguments would make each fail, were it let in. */
static const long calls[] = {
    SYS_execveat,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_pidfd_getfd,
    SYS_kcmp,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_fsopen,
    SYS_open_tree,
    SYS_unshare,
    SYS_setns,
    SYS_quotactl,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_reboot,
    SYS_syslog,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_swapon,
    SYS_acct,
    SYS_open_by_handle_at,
    SYS_process_madvise,
    SYS_move_mount,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_kexec_file_load,
    SYS_clock_adjtime,
    SYS_setdomainname,
    SYS_swapoff,
    SYS_vhangup,
};

static void one_call(void *arg)
{
	proc_seccomp(false);
	(void)syscall(*(const long *)arg, -1L, -1L, -1L, -1L, -1L, -1L);
}

static void computes(void *arg)
{
	int fds[2];
	(void)arg;
	CHECK(pipe(fds) == 0);
	proc_seccomp_compute();
	char *p = malloc(1 << 20);
	CHECK(p && write(fds[1], "x", 1) == 1 && read(fds[0], p, 1) == 1);
	free(p);
	_exit(0);
}
static void opens(void *arg)
{
	(void)arg;
	proc_seccomp_compute();
	(void)open("/dev/null", O_RDONLY);
}
static void connects(void *arg)
{
	(void)arg;
	proc_seccomp_compute();
	(void)socket(AF_UNIX, SOCK_STREAM, 0);
}
static void kills(void *arg)
{
	(void)arg;
	proc_seccomp_compute();
	(void)kill(getpid(), 0);
}

/* Who only computes has its pipe and its memory. */
static void test_compute(void **state)
{
	static void (*const killed[])(void *) = {opens, connects, kills, no_exec};
	(void)state;
	if (SANITIZED)
		return;
	assert_child(computes, NULL);
	for (size_t i = 0; i < N(killed); i++) {
		int status = in_child(killed[i], NULL);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("case %zu: status %#x", i, status);
	}
}

static void test_forbidden_calls(void **state)
{
	(void)state;
	if (SANITIZED)
		return;
	for (size_t i = 0; i < N(calls); i++) {
		int status = in_child(one_call, (void *)(uintptr_t)&calls[i]);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("call %ld: status %#x", calls[i], status);
	}
}

static void test_seccomp(void **state)
{
	static void (*const killed[])(void *) = {no_exec, try_ptrace, older_thread};
	(void)state;
	if (SANITIZED) { /* no filter there: see proc.c */
		assert_child(no_exec, NULL);
		return;
	}
	for (size_t i = 0; i < N(killed); i++) {
		int status = in_child(killed[i], NULL);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("case %zu: status %#x", i, status);
	}
	assert_child(with_exec, NULL);
	assert_child(ordinary_work, NULL);
}

/* --- files
 * ------------------------------------------------------------------------------------------------
 */

static const char *at(const char *name)
{
	static char path[4][256];
	static unsigned turn;
	char *p = path[turn++ % 4];
	(void)snprintf(p, 256, "%s/%s", dir, name);
	return p;
}

static void test_folder(void **state)
{
	struct stat st;
	(void)state;
	umask(077);
	assert_true(proc_folder(at("a/b/c"), 0750, NULL));
	umask(022);
	assert_int_equal(stat(at("a/b/c"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750); /* whatever the umask */
	assert_true(proc_folder(at("a/b/c"), 0700, NULL));
	assert_int_equal(stat(at("a/b/c"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750); /* an old one is left as it is */
	assert_int_equal(symlink("/etc", at("link")), 0);
	assert_false(proc_folder(at("link"), 0700, NULL));
	assert_true(proc_write_file(at("file"), "", 0, 0600));
	assert_false(proc_folder(at("file"), 0700, NULL));
	assert_false(proc_folder("", 0700, NULL));
	need_root();
	struct proc_identity id = {.uid = 1234, .gid = 2345, .change = true};
	assert_true(proc_folder(at("a/b/c"), 0700, &id));
	assert_int_equal(stat(at("a/b/c"), &st), 0);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 2345);
	assert_int_equal(stat(at("a/b"), &st), 0);
	assert_int_equal(st.st_uid, 0);
}

static void test_files(void **state)
{
	struct stat st;
	size_t len = 0;
	static char big[20000];
	(void)state;
	memset(big, 'x', sizeof big);
	assert_true(proc_write_file(at("f"), "one", 3, 0640));
	assert_true(proc_write_file(at("f"), big, sizeof big, 0600)); /* replaces */
	assert_int_equal(stat(at("f"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	char *text = proc_read_file(at("f"), sizeof big, &len);
	assert_non_null(text);
	assert_int_equal(len, sizeof big);
	assert_memory_equal(text, big, sizeof big);
	assert_int_equal(text[len], '\0');
	free(text);
	assert_null(proc_read_file(at("f"), sizeof big - 1, &len));
	assert_int_equal(errno, EFBIG);
	assert_null(proc_read_file(at("absent"), 10, &len));
	assert_int_equal(errno, ENOENT);
	assert_null(proc_read_file(dir, 10, &len));
	assert_int_equal(errno, EISDIR);
	assert_true(proc_write_file(at("empty"), NULL, 0, 0600));
	text = proc_read_file(at("empty"), 0, &len);
	assert_non_null(text);
	assert_int_equal(len, 0);
	free(text);
	assert_false(proc_write_file(at("no/such/folder"), "x", 1, 0600));
	assert_int_equal(errno, ENOENT);
	/* A folder in the way: nothing temporary stays behind. */
	assert_int_equal(mkdir(at("d"), 0700), 0);
	assert_false(proc_write_file(at("d"), "x", 1, 0600));
	char cmd[128];
	(void)snprintf(cmd, sizeof cmd, "test -z \"$(ls -d %s/d.* 2>/dev/null)\"", dir);
	assert_int_equal(system(cmd), 0);
}

/* --- signals and the service manager
 * -------------------------------------------------------------------------- */

static int stops, reloads;

static void on_stop(void *arg)
{
	stops++;
	event_base_loopbreak(arg);
}

static void on_reload(void *arg)
{
	reloads++;
	event_base_loopbreak(arg);
}

static void test_signals(void **state)
{
	struct event_base *base = event_base_new();
	static const struct {
		int nr, stops, reloads;
	} cases[] = {{SIGHUP, 0, 1}, {SIGTERM, 1, 1}, {SIGINT, 2, 1}};
	(void)state;
	proc_signals(base, on_stop, on_reload, base);
	for (size_t i = 0; i < N(cases); i++) {
		assert_int_equal(kill(getpid(), cases[i].nr), 0);
		event_base_dispatch(base);
		assert_int_equal(stops, cases[i].stops);
		assert_int_equal(reloads, cases[i].reloads);
	}
	assert_int_equal(kill(getpid(), SIGPIPE), 0); /* ignored, or we would not be here */
	proc_signals(base, on_stop, NULL, base);
	assert_int_equal(kill(getpid(), SIGHUP), 0);
	event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(reloads, 1);
	event_base_free(base);
}

static void assert_notified(int fd, const char *begin)
{
	char buf[256];
	ssize_t n = recv(fd, buf, sizeof buf - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	buf[n] = '\0';
	if (strncmp(buf, begin, strlen(begin)) != 0)
		fail_msg("notified \"%s\"", buf);
}

static void test_notify(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char pid[16];
	(void)state;
	proc_ready("nobody listens"); /* without NOTIFY_SOCKET: nothing happens */
	(void)snprintf(sun.sun_path, sizeof sun.sun_path, "%s/notify", dir);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
	setenv("NOTIFY_SOCKET", sun.sun_path, 1);
	proc_ready("serving 2 listeners");
	assert_notified(fd, "READY=1\nSTATUS=serving 2 listeners");
	proc_ready(NULL);
	assert_notified(fd, "READY=1");
	proc_reloading();
	assert_notified(fd, "RELOADING=1\nMONOTONIC_USEC=");
	proc_stopping();
	assert_notified(fd, "STOPPING=1");
	/* The watchdog: once at the start, then from the loop. */
	struct event_base *base = event_base_new();
	(void)snprintf(pid, sizeof pid, "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	setenv("WATCHDOG_USEC", "20000", 1);
	proc_watchdog(base);
	assert_notified(fd, "WATCHDOG=1");
	event_base_loop(base, EVLOOP_ONCE);
	assert_notified(fd, "WATCHDOG=1");
	unsetenv("NOTIFY_SOCKET");
	close(fd);
	event_base_free(base);
}

static int setup(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[128];
	(void)state;
	(void)snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	return system(cmd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_args),     cmocka_unit_test(test_ends),
	    cmocka_unit_test(test_identity), cmocka_unit_test(test_drop),
	    cmocka_unit_test(test_seccomp),  cmocka_unit_test(test_forbidden_calls),
	    cmocka_unit_test(test_compute),  cmocka_unit_test(test_folder),
	    cmocka_unit_test(test_files),    cmocka_unit_test(test_signals),
	    cmocka_unit_test(test_notify),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
