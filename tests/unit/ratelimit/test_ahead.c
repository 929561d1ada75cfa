/* ahead: memory that was wanted becomes present, what it holds stays, and wishes that make no sense
 * do no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/big.h"
#include "lib/clock.h"
#include "ratelimit/ahead.h"

#define MB	 ((size_t)1 << 20)
#define DEADLINE 30000

/* The kernel has the call (Linux 5.14). */
static bool can_populate(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool can = madvise(p, 4096, MADV_POPULATE_WRITE) == 0;
	(void)munmap(p, 4096);
	return can;
}

/* Pages of 4 KB that are present. */
static size_t present(void *p, size_t bytes)
{
	size_t pages = bytes / 4096, n = 0;
	unsigned char *v = malloc(pages);
	assert_non_null(v);
	assert_int_equal(mincore(p, bytes, v), 0);
	for (size_t i = 0; i < pages; i++)
		n += v[i] & 1;
	free(v);
	return n;
}

static void until_present(void *p, size_t bytes)
{
	int64_t begin = clock_mono_ms();
	while (present(p, bytes) < bytes / 4096) {
		assert_true(clock_mono_ms() - begin < DEADLINE);
		(void)usleep(1000);
	}
}

static void test_wanted_is_touched(void **state)
{
	(void)state;
	if (!can_populate())
		skip();
	char *p = big_new(8 * MB);
	assert_non_null(p);
	memcpy(p + 5 * MB, "kept", sizeof "kept");
	ahead_want(p, 3 * MB); /* before the thread is there */
	assert_int_equal(present(p, 2 * MB), 0);
	assert_true(ahead_start());
	assert_true(ahead_start()); /* once is enough */
	until_present(p, 2 * MB);
	ahead_want(p + 3 * MB + 100, 3 * MB);
	until_present(p + 3 * MB, 3 * MB);
	assert_string_equal(p + 5 * MB, "kept");
	assert_int_equal(p[4 * MB], 0);
	ahead_stop();
	ahead_stop();
	big_free(p, 8 * MB);
}

static void test_gone_memory_is_no_harm(void **state)
{
	(void)state;
	char *p = big_new(4 * MB);
	assert_non_null(p);
	big_free(p, 4 * MB);
	for (int i = 0; i < 3 * AHEAD_WISHES; i++)
		ahead_want(p, 4 * MB);
	ahead_want(NULL, MB);
	assert_true(ahead_start());
	char *q = big_new(2 * MB);
	assert_non_null(q);
	if (can_populate()) {
		/* Wishes are granted in turn: those before it did not end the thread. */
		int64_t begin = clock_mono_ms();
		while (present(q, 2 * MB) < 2 * MB / 4096) {
			ahead_want(q, 2 * MB);
			assert_true(clock_mono_ms() - begin < DEADLINE);
			(void)usleep(1000);
		}
	}
	ahead_stop();
	big_free(q, 2 * MB);
}

/* Each step wants what the last did not, and never more than there is. */
static void test_growth(void **state)
{
	(void)state;
	struct ahead a = {0};
	size_t upto = 0;
	char *p = big_new(32 * MB);
	assert_non_null(p);
	for (size_t used = 0; used <= 32 * MB; used += 65536) {
		ahead_of(&a, p, used, 32 * MB);
		assert_true(a.upto >= upto && a.upto <= 32 * MB);
		assert_true(a.upto == 32 * MB || a.upto >= used + AHEAD_MARGIN);
		assert_true(a.upto <= used + AHEAD_MARGIN + 2 * MB);
		upto = a.upto;
	}
	assert_int_equal(upto, 32 * MB);
	big_free(p, 32 * MB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_wanted_is_touched),
	    cmocka_unit_test(test_gone_memory_is_no_harm),
	    cmocka_unit_test(test_growth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
