/* esmtp, utf8: parameters of MAIL and RCPT, their spelling back, and what is not one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "msa/mail/esmtp.h"
#include "msa/mail/utf8.h"

#define N(a) (sizeof(a) / sizeof *(a))

static void test_notify(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: refused */
	} cases[] = {
	    {"NEVER", "NEVER"},
	    {"never", "NEVER"},
	    {"SUCCESS", "SUCCESS"},
	    {"failure,Success", "SUCCESS,FAILURE"},
	    {"DELAY,FAILURE,SUCCESS", "SUCCESS,FAILURE,DELAY"},
	    {"NEVER,SUCCESS", NULL},
	    {"DELAY,NEVER", NULL},
	    {"", NULL},
	    {",", NULL},
	    {"SUCCESS,", NULL},
	    {",SUCCESS", NULL},
	    {"SUCCESS,SUCCESS", NULL},
	    {"ALWAYS", NULL},
	    {"SUCCESS FAILURE", NULL},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		char buf[ESMTP_NOTIFY_MAX];
		uint8_t bits;
		bool ok = esmtp_notify(cases[i].in, strlen(cases[i].in), &bits);

		if (ok != (cases[i].out != NULL))
			fail_msg("%s", cases[i].in);
		if (ok)
			assert_string_equal(esmtp_notify_text(bits, buf), cases[i].out);
	}
}

static void test_xtext(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
	    {"QQ314159", "QQ314159"},
	    {"a+2Bb+3Dc", "a+b=c"},
	    {"+20x", " x"},
	    {"~!", "~!"},
	    {"", NULL},
	    {"a+2bb", NULL},
	    {"a+", NULL},
	    {"a+2", NULL},
	    {"a+0A", NULL},
	    {"a+0D+0A", NULL},
	    {"a=b", NULL},
	    {"a b", NULL},
	    {"a+FF", NULL},
	    {"a+00", NULL},
	    {"a+7F", NULL},
	    {"\xc3\xb6", NULL},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		char out[16];
		bool ok = esmtp_xtext(cases[i].in, strlen(cases[i].in), out, sizeof(out));

		if (ok != (cases[i].out != NULL))
			fail_msg("%s", cases[i].in);
		if (ok)
			assert_string_equal(out, cases[i].out);
	}
	char small[4];
	assert_true(esmtp_xtext("abc", 3, small, sizeof(small)));
	assert_false(esmtp_xtext("abcd", 4, small, sizeof(small)));
}

static void test_orcpt(void **state)
{
	static const struct {
		const char *in, *kept, *shown;
		bool utf8;
	} cases[] = {
	    {"rfc822;a@b.example", "rfc822;a@b.example", "rfc822;a@b.example", false},
	    {"RFC822;a+2Bc@b.example", "RFC822;a+2Bc@b.example", "RFC822;a+c@b.example", false},
	    {"x-own;any+20text", "x-own;any+20text", "x-own;any text", false},
	    {"utf-8;j\\x{F6}rg@b", "utf-8;j\\x{F6}rg@b", "utf-8;j\\x{F6}rg@b", false},
	    {"UTF-8;j\xc3\xb6rg@b", "UTF-8;j\\x{F6}rg@b", "UTF-8;j\\x{F6}rg@b", true},
	    {"utf-8;\xf0\x9f\x98\x80@b", "utf-8;\\x{1F600}@b", "utf-8;\\x{1F600}@b", true},
	    {"utf-8;a\\x{2B}b@c", "utf-8;a\\x{2B}b@c", "utf-8;a\\x{2B}b@c", false},
	    {"utf-8;j\xc3\xb6rg@b", NULL, NULL, false},
	    {"utf-8;j\xf6rg@b", NULL, NULL, true},
	    {"utf-8;a\\b@c", NULL, NULL, true},
	    {"utf-8;a\\x{D800}@c", NULL, NULL, true},
	    {"utf-8;a\\x{0F6}@c", NULL, NULL, true},
	    {"utf-8;a\\x{110000}@c", NULL, NULL, true},
	    {"utf-8;a\\x{0A}@c", NULL, NULL, true},
	    {"utf-8;a\\x{f6}@c", NULL, NULL, true},
	    {"utf-8;a\\x{F6", NULL, NULL, true},
	    {"utf-8;a+b@c", NULL, NULL, true},
	    {"rfc822;j\xc3\xb6rg@b", NULL, NULL, true},
	    {"rfc822;", NULL, NULL, false},
	    {";a@b", NULL, NULL, false},
	    {"rfc822", NULL, NULL, false},
	    {"rfc 822;a@b", NULL, NULL, false},
	    {"rfc822;a@b+0D+0ATo: x", NULL, NULL, false},
	    {"", NULL, NULL, false},
	};
	char out[ESMTP_ORCPT_MAX + 1], shown[ESMTP_ORCPT_MAX + 1], long_one[600];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		bool ok = esmtp_orcpt(cases[i].in, strlen(cases[i].in), cases[i].utf8, out);

		if (ok != (cases[i].kept != NULL))
			fail_msg("%s", cases[i].in);
		if (!ok)
			continue;
		assert_string_equal(out, cases[i].kept);
		assert_true(esmtp_orcpt_text(out, shown));
		assert_string_equal(shown, cases[i].shown);
	}
	memset(long_one, 'a', sizeof(long_one));
	memcpy(long_one, "rfc822;", 7);
	assert_true(esmtp_orcpt(long_one, 500, false, out));
	assert_false(esmtp_orcpt(long_one, 501, false, out));
	/* What grows beyond the limit by escaping is refused, not cut. */
	memcpy(long_one, "utf-8;", 6);
	for (size_t i = 6; i < 500; i += 2)
		memcpy(long_one + i, "\xc3\xb6", 2);
	assert_false(esmtp_orcpt(long_one, 500, true, out));
	assert_true(esmtp_orcpt(long_one, 6 + 2 * 80, true, out));
	assert_int_equal(strlen(out), 6 + 6 * 80);
}

static void test_address_text(void **state)
{
	char out[40];

	(void)state;
	assert_true(esmtp_address_text("a+b@c.example", out, sizeof(out)));
	assert_string_equal(out, "a+b@c.example");
	assert_true(esmtp_address_text("j\xc3\xb6+x@c", out, sizeof(out)));
	assert_string_equal(out, "j\\x{F6}\\x{2B}x@c");
	assert_false(esmtp_address_text("j\xf6@c", out, sizeof(out)));
	assert_false(esmtp_address_text("\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6",
					out, sizeof(out)));
}

static void test_utf8(void **state)
{
	static const struct {
		const char *s;
		bool ok;
	} cases[] = {
	    {"", true},
	    {"abc", true},
	    {"\xc2\x80", true},
	    {"\xdf\xbf", true},
	    {"\xe0\xa0\x80", true},
	    {"\xed\x9f\xbf", true},
	    {"\xee\x80\x80", true},
	    {"\xf0\x90\x80\x80", true},
	    {"\xf4\x8f\xbf\xbf", true},
	    {"\xc1\xbf", false},
	    {"\xe0\x9f\xbf", false},
	    {"\xed\xa0\x80", false},
	    {"\xf0\x8f\xbf\xbf", false},
	    {"\xf4\x90\x80\x80", false},
	    {"\x80", false},
	    {"a\xbf", false},
	    {"\xc3", false},
	    {"\xe2\x82", false},
	    {"\xf8\x88\x80\x80\x80", false},
	    {"\xff", false},
	    {"\xc3(", false},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		if (utf8_valid(cases[i].s, strlen(cases[i].s)) != cases[i].ok)
			fail_msg("case %zu", i);
	assert_false(utf8_any("abc\x7f", 4));
	assert_true(utf8_any("ab\x80", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_notify), cmocka_unit_test(test_xtext),
	    cmocka_unit_test(test_orcpt),  cmocka_unit_test(test_address_text),
	    cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
