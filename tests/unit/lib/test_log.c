/* log: the form of a line, escaping of foreign text, and one write(2) a line under threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/log.h"

#define N(a) (sizeof(a) / sizeof *(a))

static char last[8192];
static int count;

static void keep(const char *line, size_t len, void *arg)
{
	(void)arg;
	memcpy(last, line, len);
	last[len] = '\0';
	count++;
}

static int setup(void **state)
{
	(void)state;
	log_sink(keep, NULL);
	log_level(LOG_INFO);
	count = 0;
	return 0;
}

static void test_line(void **state)
{
	struct addr a;
	const char *err;
	(void)state;
	assert_true(addr_parse("2001:db8::1", &a, &err));
	log_event(LOG_INFO, "00c0ffee", "smtp", "connected", LA("address", &a), LI("port", 587),
		  LS("helo", "mail.example"), LS("tls", NULL), LI("min", INT64_MIN),
		  LB("bytes", "a\0b", 3));
	assert_string_equal(last,
			    "00c0ffee smtp connected address=2001:db8::1 port=587 "
			    "helo=mail.example tls=- min=-9223372036854775808 bytes=\"a\\x00b\"");
	log_event(LOG_INFO, "-", "process", "ready");
	assert_string_equal(last, "- process ready");
	log_event(LOG_INFO, NULL, "process", "ready");
	assert_string_equal(last, "- process ready");
	log_event(LOG_INFO, "a b\n", "x", "y");
	assert_string_equal(last, "\"a b\\x0a\" x y");
}

static void test_values(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
	    {"", "\"\""},
	    {"plain-1.2:/@<>", "plain-1.2:/@<>"},
	    {"-", "\"-\""}, /* not the absent one */
	    {"two words", "\"two words\""},
	    {"a=b", "\"a=b\""},
	    {"\"", "\"\\x22\""},
	    {"\\", "\"\\x5c\""},
	    {"a\r\n- process stopped", "\"a\\x0d\\x0a- process stopped\""},
	    {"\x1b[2J", "\"\\x1b[2J\""},
	    {"\x7f", "\"\\x7f\""},
	    {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""}, /* UTF-8 passes */
	    {"\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xe2\x82\xac\xf0\x9f\x98\x80\""},
	    {"\xff", "\"\\xff\""},
	    {"\xc3", "\"\\xc3\""}, /* cut short */
	    {"\xc3(", "\"\\xc3(\""},
	    {"\xc0\xaf", "\"\\xc0\\xaf\""},		      /* overlong */
	    {"\xe0\x80\xaf", "\"\\xe0\\x80\\xaf\""},	      /* overlong */
	    {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},	      /* a surrogate */
	    {"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\""}, /* above U+10FFFF */
	    {"\xf5\x80\x80\x80", "\"\\xf5\\x80\\x80\\x80\""},
	    {"\xc2\x9b", "\"\\xc2\\x9b\""},	     /* C1 CSI */
	    {"\xe2\x80\xae", "\"\\xe2\\x80\\xae\""}, /* right-to-left override */
	    {"\xe2\x80\xa8", "\"\\xe2\\x80\\xa8\""}, /* line separator */
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		log_event(LOG_INFO, "-", "t", "v", LS("k", cases[i].in));
		if (strncmp(last, "- t v k=", 8) != 0 || strcmp(last + 8, cases[i].out) != 0)
			fail_msg("case %zu: %s, not %s", i, last, cases[i].out);
	}
}

static void test_value_is_cut(void **state)
{
	char big[2000];
	(void)state;
	memset(big, 'x', sizeof big);
	log_event(LOG_INFO, "-", "t", "v", LB("k", big, sizeof big), LI("after", 1));
	assert_int_equal(strlen(last), strlen("- t v k= after=1") + 512);
	assert_string_equal(last + 8 + 512, " after=1");
	memset(big, '\n', sizeof big);
	log_event(LOG_INFO, "-", "t", "v", LB("k", big, sizeof big));
	assert_true(strlen(last) <= 8 + 512 + 2);
	assert_string_equal(last + strlen(last) - 5, "\\x0a\"");
}

/* A line that would be too long loses whole pairs and says so. */
static void test_line_is_cut(void **state)
{
	char big[512];
	struct log_kv kv[32];
	(void)state;
	memset(big, 'x', sizeof big);
	for (size_t i = 0; i < N(kv) - 1; i++)
		kv[i] = (struct log_kv)LB("k", big, sizeof big);
	kv[N(kv) - 1] = (struct log_kv){.key = NULL};
	log_emit(LOG_INFO, "-", "t", "v", kv);
	assert_true(strlen(last) < PIPE_BUF);
	assert_string_equal(last + strlen(last) - 6, " cut=1");
	assert_int_equal((strlen(last) - strlen("- t v") - 6) % (512 + 3), 0);
}

static void test_levels(void **state)
{
	(void)state;
	log_level(LOG_WARNING);
	log_event(LOG_INFO, "-", "t", "info");
	assert_int_equal(count, 0);
	log_event(LOG_WARNING, "-", "t", "warning");
	assert_int_equal(count, 1);
	log_level(LOG_DEBUG);
	log_event(LOG_DEBUG, "-", "t", "debug");
	assert_int_equal(count, 2);
}

static void test_keeps_errno(void **state)
{
	(void)state;
	errno = EXDEV;
	log_event(LOG_INFO, "-", "t", "v", LI("k", 1));
	assert_int_equal(errno, EXDEV);
}

static void test_escape(void **state)
{
	static const struct {
		const char *in;
		size_t n; /* size of the buffer */
		const char *out;
	} cases[] = {
	    {"abc", 4, "abc"},	  {"abc", 3, "ab"},
	    {"abc", 1, ""},	  {"a\n", 5, "a"},
	    {"a\n", 6, "a\\x0a"}, {"\xc3\xbc", 2, ""},
	    {"a b", 8, "a b"},	  {"\xc3\xbc", 3, "\xc3\xbc"},
	};
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		char *buf = malloc(cases[i].n); /* exact, for the sanitizer */
		assert_string_equal(log_escape(cases[i].in, strlen(cases[i].in), buf, cases[i].n),
				    cases[i].out);
		free(buf);
	}
}

/* --- the real stderr: a datagram socket shows each write(2) by itself
 * ----------------------------- */

struct redirect {
	int saved, rd;
};

static struct redirect redirect_stderr(void)
{
	int sv[2];
	struct redirect r;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	r.saved = dup(STDERR_FILENO);
	r.rd = sv[0];
	assert_true(dup2(sv[1], STDERR_FILENO) >= 0);
	close(sv[1]);
	log_sink(NULL, NULL);
	return r;
}

static void restore_stderr(struct redirect r)
{
	assert_true(dup2(r.saved, STDERR_FILENO) >= 0);
	close(r.saved);
	close(r.rd);
}

static void test_prefix(void **state)
{
	char journal[64], buf[256] = "", clipped[256];
	struct stat st;
	(void)state;
	unsetenv("JOURNAL_STREAM");
	struct redirect r = redirect_stderr();
	log_open("sekisho-test", LOG_INFO);
	log_event(LOG_NOTICE, "-", "t", "v");
	ssize_t n = recv(r.rd, buf, sizeof buf - 1, MSG_DONTWAIT);
	/* In the journal: the priority, no time. */
	int rc = fstat(STDERR_FILENO, &st);
	(void)snprintf(journal, sizeof journal, "%llu:%llu", (unsigned long long)st.st_dev,
		       (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", journal, 1);
	log_open("sekisho-test", LOG_INFO);
	log_event(LOG_NOTICE, "-", "t", "v");
	ssize_t m = recv(r.rd, clipped, sizeof clipped - 1, MSG_DONTWAIT);
	/* Another stream than the journal's: the variable was inherited. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_open("sekisho-test", LOG_INFO);
	log_event(LOG_NOTICE, "-", "t", "v");
	char third[256];
	ssize_t k = recv(r.rd, third, sizeof third - 1, MSG_DONTWAIT);
	restore_stderr(r);
	unsetenv("JOURNAL_STREAM");
	log_open("sekisho-test", LOG_INFO);
	assert_int_equal(rc, 0);
	assert_true(n > 20 && m > 0 && k > 0);
	buf[n] = clipped[m] = third[k] = '\0';
	assert_non_null(strstr(buf, "Z sekisho-test: - t v\n"));
	assert_int_equal(buf[4], '-');
	assert_string_equal(clipped, "<5>- t v\n");
	assert_non_null(strstr(third, "Z sekisho-test: - t v\n"));
}

#define THREADS 4
#define LINES	200

static void *shout(void *arg)
{
	char text[300];
	const int *id = arg;
	memset(text, 'a' + *id, sizeof text);
	for (int i = 0; i < LINES; i++)
		log_event(LOG_INFO, "-", "t", "v", LI("i", i), LB("k", text, sizeof text));
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t[THREADS];
	int ids[THREADS], seen = 0, bad = 0;
	char buf[1024];
	(void)state;
	struct redirect r = redirect_stderr();
	for (int i = 0; i < THREADS; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&t[i], NULL, shout, &ids[i]), 0);
	}
	while (seen < THREADS * LINES) {
		ssize_t n = recv(r.rd, buf, sizeof buf, 0);
		const char *k = n > 0 ? memmem(buf, (size_t)n, " k=", 3) : NULL;
		bool ok = k && buf[n - 1] == '\n' && buf + n - (k + 3) == 301;
		for (const char *c = k ? k + 3 : NULL; ok && c < buf + n - 1; c++)
			ok = *c == k[3];
		bad += !ok;
		seen++;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	restore_stderr(r);
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_line, setup),
	    cmocka_unit_test_setup(test_values, setup),
	    cmocka_unit_test_setup(test_value_is_cut, setup),
	    cmocka_unit_test_setup(test_line_is_cut, setup),
	    cmocka_unit_test_setup(test_levels, setup),
	    cmocka_unit_test_setup(test_keeps_errno, setup),
	    cmocka_unit_test_setup(test_escape, setup),
	    cmocka_unit_test_setup(test_prefix, setup),
	    cmocka_unit_test_setup(test_threads, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
