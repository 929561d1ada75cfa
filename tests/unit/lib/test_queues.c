/* queues: as many as are configured, one a processor for 0, within bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/queues.h"

static void counts(void **state)
{
	long processors = sysconf(_SC_NPROCESSORS_CONF);
	struct {
		int64_t configured;
		unsigned want;
	} cases[] = {
	    {1, 1},
	    {2, 2},
	    {QUEUES_MAX, QUEUES_MAX},
	    {QUEUES_MAX + 1, QUEUES_MAX},
	    {INT64_MAX, QUEUES_MAX},
	    {-1, 1},
	    {0, processors > QUEUES_MAX ? QUEUES_MAX : (unsigned)processors},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(queues_count(cases[i].configured), cases[i].want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(counts)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
