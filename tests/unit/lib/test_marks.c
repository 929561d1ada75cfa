/* marks: what a mask may be, the values that follow from it, and whose bits are touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/marks.h"

static void masks(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		uint32_t notice, allow, reject;
	} cases[] = {
	    {"0x00ff0000", true, 0x10000, 0x20000, 0x30000},
	    {"0xff", true, 1, 2, 3},
	    {"0x3", true, 1, 2, 3},
	    {"0xc0000000", true, 0x40000000, 0x80000000, 0xc0000000},
	    {"0xFF000000", true, 0x01000000, 0x02000000, 0x03000000},
	    {"0x0", false, 0, 0, 0},
	    {"0x1", false, 0, 0, 0},
	    {"0x5", false, 0, 0, 0},   /* not neighbours */
	    {"0x1ff", false, 0, 0, 0}, /* nine bits */
	    {"0x1ff0000000", false, 0, 0, 0},
	    {"0xffg", false, 0, 0, 0},
	    {"255", false, 0, 0, 0},
	    {"0x", false, 0, 0, 0},
	    {"0x-3", false, 0, 0, 0},
	    {"", false, 0, 0, 0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct marks m;
		const char *err;
		if (marks_parse(cases[i].text, &m, &err) != cases[i].ok)
			fail_msg("mask %s", cases[i].text);
		if (!cases[i].ok) {
			assert_non_null(strstr(err, "0x00ff0000"));
			continue;
		}
		assert_int_equal(m.notice, cases[i].notice);
		assert_int_equal(m.allow, cases[i].allow);
		assert_int_equal(m.reject, cases[i].reject);
	}
}

static void bits(void **state)
{
	struct marks m;
	const char *err;
	(void)state;
	assert_true(marks_parse("0x00ff0000", &m, &err));
	assert_int_equal(marks_set(&m, 0xab01cdef, m.allow), 0xab02cdef);
	assert_int_equal(marks_set(&m, 0xabffcdef, m.reject), 0xab03cdef);
	assert_int_equal(marks_set(&m, 0xabffcdef, 0), 0xab00cdef);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(masks),
	    cmocka_unit_test(bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
