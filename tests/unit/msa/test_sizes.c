/* sizes: the list of accounts and domains with a message size of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <talloc.h>

#include "msa/sizes.h"

static void test_sizes(void **state)
{
	static const struct {
		const char *item, *who; /* who NULL: refused */
		int64_t bytes;
	} cases[] = {
	    {"user01@isp.example 50M", "user01@isp.example", 50 << 20},
	    {"User01@ISP.example 2048", "User01@isp.example", 2048},
	    {"@ISP.example  10k", "@isp.example", 10 << 10},
	    {"@isp.example 100M", "@isp.example", 100 << 20},
	    {"@isp.example 101M", NULL, 0},
	    {"@isp.example 1023", NULL, 0},
	    {"@isp.example 99999999999999999999G", NULL, 0},
	    {"@isp.example 5X", NULL, 0},
	    {"@isp.example 5MB", NULL, 0},
	    {"@isp.example -5", NULL, 0},
	    {"@isp.example", NULL, 0},
	    {"@ 5M", NULL, 0},
	    {"user01 5M", NULL, 0},
	    {" 5M", NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		void *pool = talloc_new(NULL);
		char *item = talloc_strdup(pool, cases[i].item), *err = NULL;
		const struct conf_list list = {.items = &item, .n = 1};
		struct smtp_size *rows = NULL;
		bool ok = sizes_parse(pool, pool, &list, 100 << 20, &rows, &err);

		if (ok != (cases[i].who != NULL))
			fail_msg("%s: %s", item, ok ? rows[0].who : err);
		if (ok) {
			assert_string_equal(rows[0].who, cases[i].who);
			assert_int_equal(rows[0].bytes, cases[i].bytes);
		} else {
			assert_non_null(strstr(err, item));
		}
		talloc_free(pool);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
