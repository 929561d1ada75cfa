/* upgrade: descriptors by name, from the service manager and from ourselves. The change itself and
 * the check of the new program are in tests/netns/nfqd.bats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/proc.h"
#include "lib/upgrade.h"

static void no_log(const char *line, size_t len, void *arg)
{
	(void)line, (void)len, (void)arg;
}

/* Runs fn in a child; its exit status. */
static int in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		log_sink(no_log, NULL);
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void say(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(const char *name, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	(void)setenv(name, text, 1);
}

#define CHECK(c)                                                                                   \
	do {                                                                                       \
		if (!(c))                                                                          \
			return __LINE__ % 250 + 1;                                                 \
	} while (0)

/* Each once, close-on-exec; the rest is closed. */
static int take_from_exec(void)
{
	int a = open("/dev/null", O_RDONLY), b = open("/dev/zero", O_RDONLY);
	int c = open("/dev/full", O_RDONLY);
	bool stored = true;
	say("SEKISHO_FDS", "%ld,one=%d,two=%d,three=%d,junk,bad=x,worse=-1,=9", (long)getpid(), a,
	    b, c);
	CHECK(upgrade_take("nothing", NULL) == -1);
	CHECK(upgrade_take("two", &stored) == b && !stored);
	CHECK(fcntl(b, F_GETFD) == FD_CLOEXEC);
	CHECK(upgrade_take("two", NULL) == -1);
	CHECK(upgrade_take("one", NULL) == a);
	CHECK(upgrade_drop_rest() >= 1);
	CHECK(fcntl(c, F_GETFD) == -1 && errno == EBADF);
	CHECK(fcntl(a, F_GETFD) != -1);
	CHECK(getenv("SEKISHO_FDS") == NULL);
	return 0;
}

/* Meant for another process: nothing of it is ours. */
static int take_foreign(void)
{
	int a = open("/dev/null", O_RDONLY);
	say("SEKISHO_FDS", "%ld,one=%d", (long)getppid(), a);
	CHECK(upgrade_take("one", NULL) == -1);
	CHECK(upgrade_drop_rest() == 0);
	CHECK(fcntl(a, F_GETFD) != -1);
	return 0;
}

static int take_from_manager(void)
{
	bool stored = false;
	int a = open("/dev/null", O_RDONLY), b = open("/dev/zero", O_RDONLY);
	CHECK(dup2(a, 3) == 3 && dup2(b, 4) == 4);
	say("LISTEN_PID", "%ld", (long)getpid());
	say("LISTEN_FDS", "2");
	say("LISTEN_FDNAMES", "first:second");
	CHECK(upgrade_take("second", &stored) == 4 && stored);
	CHECK(upgrade_take("first", &stored) == 3 && stored);
	CHECK(upgrade_drop_rest() == 0);
	CHECK(getenv("LISTEN_FDS") == NULL);
	return 0;
}

static void test_take(void **state)
{
	(void)state;
	assert_int_equal(in_child(take_from_exec), 0);
	assert_int_equal(in_child(take_foreign), 0);
	assert_int_equal(in_child(take_from_manager), 0);
}

/* What the service manager hears, and that the descriptor comes with it. */
static void test_store(void **state)
{
	char dir[] = "/tmp/sekisho-upgrade-XXXXXX", path[64], text[256] = "", space[64];
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct iovec iov = {text, sizeof text - 1};
	struct msghdr m = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/notify", dir);
	memcpy(un.sun_path, path, strlen(path) + 1);
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s, (struct sockaddr *)&un, sizeof un), 0);
	(void)setenv("NOTIFY_SOCKET", path, 1);
	upgrade_store("nfq-25", s);
	assert_true(recvmsg(s, &m, MSG_CMSG_CLOEXEC) > 0);
	assert_string_equal(text, "FDSTORE=1\nFDNAME=nfq-25\nFDPOLL=0");
	const struct cmsghdr *with = CMSG_FIRSTHDR(&m);
	assert_true(with && with->cmsg_type == SCM_RIGHTS);
	memset(text, 0, sizeof text);
	upgrade_forget("nfq-25");
	assert_true(recv(s, text, sizeof text - 1, 0) > 0);
	assert_string_equal(text, "FDSTOREREMOVE=1\nFDNAME=nfq-25");
	(void)unsetenv("NOTIFY_SOCKET");
	upgrade_store("nfq-25", s); /* nobody to tell */
	(void)close(s);
	(void)unlink(path);
	(void)rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_take),
	    cmocka_unit_test(test_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
