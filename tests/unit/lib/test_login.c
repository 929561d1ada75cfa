/* login: what is made small under each rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/login.h"

static void names_by_rule(void **state)
{
	static const struct {
		const char *typed, *lower, *keep;
	} cases[] = {
	    {"user@isp.example", "user@isp.example", "user@isp.example"},
	    {"User@ISP.Example", "user@isp.example", "User@isp.example"},
	    {"AZ[`{@AZ", "az[`{@az", "AZ[`{@az"},
	    {"A@B@C", "a@b@c", "A@B@c"}, /* the last @ is the one */
	    {"BARE", "bare", "BARE"},
	    {"@REALM", "@realm", "@realm"}, /* a member of a class */
	    {"\xc3\x84X@Y", "\xc3\x84x@y", "\xc3\x84X@y"},
	    {"", "", ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char a[64], b[64];
		snprintf(a, sizeof a, "%s", cases[i].typed);
		snprintf(b, sizeof b, "%s", cases[i].typed);
		login_fold(a, LOGIN_LOWER);
		login_fold(b, LOGIN_KEEP);
		assert_string_equal(a, cases[i].lower);
		assert_string_equal(b, cases[i].keep);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(names_by_rule)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
