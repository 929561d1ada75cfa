/* token and backoff: known answers, strictness, time. */
#include "kit.h"

#include "lib/clock.h"
#include "accounting/backoff.h"
#include "accounting/token.h"

static void test_digests(void **state)
{
	char a[SHA256_HEX], b[TOKEN_HEX], c[TOKEN_HEX];
	(void)state;
	token_sha256("abc", 3, a); /* FIPS 180-2, B.1 */
	assert_string_equal(a, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	token_new(b);
	token_new(c);
	assert_int_equal(strspn(b, "0123456789abcdef"), 32);
	assert_string_not_equal(b, c);
	token_csrf("session one", b);
	token_csrf("session two", c);
	assert_int_equal(strlen(b), 32);
	assert_string_not_equal(b, c);
	token_csrf("session one", c);
	assert_string_equal(b, c);
}

static void test_base64(void **state)
{
	static const struct {
		const char *text, *bytes; /* NULL: not base64 */
	} cases[] = {{"", ""},	      {"Zg==", "f"},	    {"Zm8=", "fo"},
		     {"Zm9v", "foo"}, {"Zm9vYg==", "foob"}, /* RFC 4648 10 */
		     {"Zg", NULL},    {"Zg=", NULL},	    {"Zg===", NULL},
		     {"Z===", NULL},  {"Zm9v\n", NULL},	    {" Zm9v", NULL},
		     {"Zm-v", NULL},  {"Zg==Zm9v", NULL},   {"====", NULL}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		size_t n = 99;
		uint8_t *p = token_unbase64(cases[i].text, strlen(cases[i].text), &n);
		if (!cases[i].bytes) {
			assert_null(p);
			continue;
		}
		assert_non_null(p);
		assert_int_equal(n, strlen(cases[i].bytes));
		assert_memory_equal(p, cases[i].bytes, n);
		free(p);
	}
	assert_null(token_unbase64("Zm9v\0Zm9", 8, &(size_t){0}));
}

static void test_passwords(void **state)
{
	char one[PASSWORD_HASH_MAX], two[PASSWORD_HASH_MAX];
	(void)state;
	assert_true(token_password_hash("correct horse", one, sizeof one));
	assert_true(token_password_hash("correct horse", two, sizeof two));
	assert_memory_equal(one, "$y$", 3);
	assert_string_not_equal(one, two);
	assert_true(token_password_check("correct horse", one));
	assert_false(token_password_check("correct horsE", one));
	assert_false(token_password_check("", one));
	assert_false(token_password_check("correct horse", "garbage"));
	/* nobody: never, and it takes its time like the others */
	int64_t t = clock_mono_us();
	assert_false(token_password_check("correct horse", NULL));
	assert_true(clock_mono_us() - t > 2000);
}

static void test_backoff(void **state)
{
	struct backoff *b = backoff_new();
	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(backoff_wait(b, "user:x", 1000), 0);
		backoff_fail(b, "user:x", 3, 1000);
	}
	assert_int_equal(backoff_wait(b, "user:x", 1000), 0); /* the free ones */
	backoff_fail(b, "user:x", 3, 1000);
	assert_int_equal(backoff_wait(b, "user:x", 1000), 1000);
	assert_int_equal(backoff_wait(b, "user:x", 1999), 1);
	assert_int_equal(backoff_wait(b, "user:x", 2000), 0);
	backoff_fail(b, "user:x", 3, 2000);
	assert_int_equal(backoff_wait(b, "user:x", 2000), 2000); /* doubled */
	for (int i = 0; i < 40; i++)
		backoff_fail(b, "user:x", 3, 2000);
	assert_int_equal(backoff_wait(b, "user:x", 2000), 300000); /* bounded */
	assert_int_equal(backoff_wait(b, "user:y", 2000), 0);
	backoff_fail(b, "user:x", 3, 2000 + 900001); /* forgotten: counts from one */
	assert_int_equal(backoff_wait(b, "user:x", 2000 + 900001), 0);
	backoff_fail(b, "user:z", 0, 5);
	backoff_forget(b, "user:z");
	assert_int_equal(backoff_wait(b, "user:z", 5), 0);
	/* many others push out the oldest, and nothing else happens */
	char key[32];
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof key, "address:%d", i);
		backoff_fail(b, key, 0, 10000000 + i);
	}
	assert_int_equal(backoff_wait(b, "address:2999", 10000000 + 2999), 1000);
	assert_int_equal(backoff_wait(b, "address:0", 10000000), 0);
	backoff_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_digests),
	    cmocka_unit_test(test_base64),
	    cmocka_unit_test(test_passwords),
	    cmocka_unit_test(test_backoff),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
