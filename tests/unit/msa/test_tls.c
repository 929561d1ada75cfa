/* tls_certs, tls_tickets: which name is covered, and how long a ticket's key lives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "msa/tls_certs.h"
#include "msa/tls_tickets.h"

#define N(a) (sizeof(a) / sizeof *(a))

static void test_names(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool yes;
	} cases[] = {
	    {"mail.example", "mail.example", true},
	    {"mail.example", "a.mail.example", false},
	    {"mail.example", "mail.example.", false},
	    {"mail.example", "", false},
	    {"*.example", "mail.example", true},
	    {"*.example", "a.mail.example", false},
	    {"*.example", "example", false},
	    {"*.example", ".example", false},
	    {"*.example", "*.example", true},
	    {"*", "mail", false},
	    {"*.", "mail.", true},
	    {"m*.example", "mail.example", false},
	    {"", "", true},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		if (tls_name_matches(cases[i].pattern, cases[i].name) != cases[i].yes)
			fail_msg("%s, %s", cases[i].pattern, cases[i].name);
}

static void test_find(void **state)
{
	static const char *one[] = {"a.example", "shared.example"}, *two[] = {"*.example"},
			  *three[] = {"a.example"}, *four[] = {"b.example", "a.example"};
	static struct tls_cert c[] = {
	    {.kind = TLS_ECDSA, .names = one, .n_names = 2},
	    {.kind = TLS_ECDSA, .names = two, .n_names = 1},
	    {.kind = TLS_RSA, .names = three, .n_names = 1},
	    {.kind = TLS_ECDSA, .names = four, .n_names = 2},
	    {.kind = TLS_EDDSA},
	};
	static struct tls_cert *all[] = {&c[0], &c[1], &c[2], &c[3], &c[4]};
	static const struct tls_certs s = {all, N(all), NULL}, none = {NULL, 0, NULL},
				      bare = {&all[4], 1, NULL};
	static const struct {
		const char *name;
		enum tls_kind kind;
		int want; /* -1: none */
	} cases[] = {
	    {"a.example", TLS_ECDSA, 0},
	    {"A.Example", TLS_ECDSA, 0},
	    {"a.example", TLS_RSA, 2},
	    {"b.example", TLS_ECDSA, 3}, /* not the wildcard */
	    {"b.example", TLS_RSA, -1},
	    {"c.example", TLS_ECDSA, 1},
	    {"c.d.example", TLS_ECDSA, -1},
	    {NULL, TLS_ECDSA, 0},
	    {NULL, TLS_RSA, 2},
	    {NULL, TLS_EDDSA, -1},
	    {"shared.example", TLS_ECDSA, 0},
	    {"", TLS_ECDSA, -1},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		const struct tls_cert *got = tls_certs_find(&s, cases[i].name, cases[i].kind);

		if (got != (cases[i].want < 0 ? NULL : &c[cases[i].want]))
			fail_msg("case %zu", i);
	}
	assert_null(tls_certs_find(&none, NULL, TLS_RSA));
	assert_ptr_equal(tls_certs_find(&bare, NULL, TLS_EDDSA), &c[4]);
	assert_null(tls_certs_find(&bare, NULL, TLS_RSA));
}

static void test_tickets(void **state)
{
	struct tls_tickets t = {.period_ms = 1000};
	uint8_t first[TLS_TICKET_NAME], second[TLS_TICKET_NAME], zero[TLS_TICKET_NAME] = {0};
	bool newest = false;

	(void)state;
	assert_null(tls_tickets_find(&t, zero, 5, &newest)); /* a slot without a key has no name */
	memcpy(first, tls_tickets_newest(&t, 10)->name, sizeof(first));
	assert_memory_equal(first, tls_tickets_newest(&t, 1004)->name, sizeof(first));
	assert_non_null(tls_tickets_find(&t, first, 1004, &newest));
	assert_true(newest);
	/* A period later there is another, and the first is good for reading. */
	memcpy(second, tls_tickets_newest(&t, 1005)->name, sizeof(second));
	assert_memory_not_equal(first, second, sizeof(first));
	assert_non_null(tls_tickets_find(&t, first, 1500, &newest));
	assert_false(newest);
	assert_non_null(tls_tickets_find(&t, second, 1500, &newest));
	assert_true(newest);
	/* One more, and it is gone. */
	assert_null(tls_tickets_find(&t, first, 2005, &newest));
	assert_non_null(tls_tickets_find(&t, second, 2005, &newest));
	/* After a long sleep nothing old is good, though nobody rotated meanwhile. */
	assert_null(tls_tickets_find(&t, second, 10000, &newest));
	tls_tickets_wipe(&t);
	assert_null(tls_tickets_find(&t, second, 10000, &newest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_tickets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
