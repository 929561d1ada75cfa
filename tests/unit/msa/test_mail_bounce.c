/* bounce: requests of a mail server, what is judged, what is answered, and clients that guess. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/mail/bounce.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define NOW  ((INT64_C(20000) + 884) * 86400000) /* a tag of today expires on 891 */
#define HOUR INT64_C(3600000)
#define GOOD "prvs=08918d5b80=userx@test.ex"
#define BAD  "prvs=0891abcdef=userx@test.ex"

static struct batv_keys keys;
static struct identities *ids;
static struct path realm;
static struct bounce_probes probes;

static int setup(void **state)
{
	static const char file[] = "domain shop.ex batv=yes\n";
	char *err;
	int line;

	(void)state;
	memset(&keys, 0, sizeof(keys));
	memset(&probes, 0, sizeof(probes));
	keys.k[0].len = 6;
	memcpy(keys.k[0].key, "secret", 6);
	ids = identities_parse(NULL, file, strlen(file), &line, &err);
	return ids && path_make("x", 1, "test.ex", &realm) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	talloc_free(ids);
	return 0;
}

static char action[BOUNCE_ACTION_MAX];

static struct bounce_verdict ask(enum bounce_mode mode, const char *sender, const char *recipient,
				 uint64_t client, int64_t now)
{
	char shop[] = "SHOP.ex", *strict[] = {shop};
	const struct bounce_about about = {&keys, ids, &realm, mode, strict, 1};
	struct bounce_request r = {.policy = true};
	struct bounce_verdict v;

	snprintf(r.sender, sizeof(r.sender), "%s", sender);
	snprintf(r.recipient, sizeof(r.recipient), "%s", recipient);
	bounce_judge(&about, &probes, &r, client, now, &v);
	bounce_action(&v, action);
	return v;
}

static void test_actions(void **state)
{
	static const struct {
		const char *sender, *recipient;
		enum bounce_result result;
		const char *tag, *reject; /* actions in these modes */
	} cases[] = {
	    {"a@far.ex", BAD, BOUNCE_NOT_OURS, "DUNNO", "DUNNO"},
	    {"", GOOD, BOUNCE_VALID, "PREPEND X-Sekisho-BATV: valid",
	     "PREPEND X-Sekisho-BATV: valid"},
	    {"", "PRVS=08918D5B80=USERX@TEST.EX", BOUNCE_VALID, "PREPEND X-Sekisho-BATV: valid",
	     "PREPEND X-Sekisho-BATV: valid"},
	    {"", BAD, BOUNCE_INVALID, "PREPEND X-Sekisho-BATV: forged", "550 5.7.1 "},
	    {"", "prvs=78918d5b80=userx@test.ex", BOUNCE_INVALID,
	     "PREPEND X-Sekisho-BATV: unknown key", "550 5.7.1 "},
	    {"", "userx@test.ex", BOUNCE_UNTAGGED, "PREPEND X-Sekisho-BATV: not tagged",
	     "PREPEND X-Sekisho-BATV: not tagged"},
	    {"", "userx@shop.ex", BOUNCE_UNTAGGED, "PREPEND X-Sekisho-BATV: not tagged",
	     "550 5.7.1 This is no bounce of mail sent from here: the address has no tag"},
	    {"", "Postmaster@shop.ex", BOUNCE_UNTAGGED, "PREPEND X-Sekisho-BATV: not tagged",
	     "PREPEND X-Sekisho-BATV: not tagged"},
	    {"", "prvs=08918d5b80=userx@far.ex", BOUNCE_NOT_OURS, "DUNNO", "DUNNO"},
	    {"", "userx@far.ex", BOUNCE_NOT_OURS, "DUNNO", "DUNNO"},
	    {"", "", BOUNCE_NOT_OURS, "DUNNO", "DUNNO"},
	    {"", "postmaster", BOUNCE_NOT_OURS, "DUNNO", "DUNNO"},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct bounce_verdict v =
		    ask(BOUNCE_TAG, cases[i].sender, cases[i].recipient, 1, NOW);

		assert_int_equal(v.result, cases[i].result);
		assert_string_equal(action, cases[i].tag);
		v = ask(BOUNCE_REJECT, cases[i].sender, cases[i].recipient, 1, NOW);
		assert_memory_equal(action, cases[i].reject, strlen(cases[i].reject));
		v = ask(BOUNCE_LOG, cases[i].sender, cases[i].recipient, 1, NOW);
		assert_int_equal(v.result, cases[i].result);
		assert_string_equal(action, "DUNNO");
	}
}

static void test_guesses(void **state)
{
	struct bounce_verdict v;

	(void)state;
	for (int i = 0; i < BOUNCE_PROBES; i++) {
		v = ask(BOUNCE_REJECT, "", BAD, 7, NOW + i);
		assert_int_equal(v.result, BOUNCE_INVALID);
	}
	/* the next one is put off, and so is what it looks for; others are not, nor untagged mail
	 */
	v = ask(BOUNCE_REJECT, "", GOOD, 7, NOW + 100);
	assert_int_equal(v.result, BOUNCE_PUT_OFF);
	assert_memory_equal(action, "450 4.7.1 ", 10);
	assert_int_equal(ask(BOUNCE_TAG, "", BAD, 7, NOW + 101).result, BOUNCE_PUT_OFF);
	assert_int_equal(ask(BOUNCE_TAG, "", "userx@test.ex", 7, NOW).result, BOUNCE_UNTAGGED);
	assert_int_equal(ask(BOUNCE_TAG, "", GOOD, 8, NOW + 100).result, BOUNCE_VALID);
	/* an hour later it begins again */
	assert_int_equal(ask(BOUNCE_TAG, "", GOOD, 7, NOW + HOUR).result, BOUNCE_VALID);
	assert_int_equal(ask(BOUNCE_TAG, "", BAD, 7, NOW + HOUR).result, BOUNCE_INVALID);
	assert_int_equal(ask(BOUNCE_TAG, "", GOOD, 7, NOW + HOUR).result, BOUNCE_VALID);
}

/* A client is an address, of IPv6 a network: whoever has a /64 guesses no oftener for that. */
static void test_client(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} cases[] = {
	    {"192.0.2.1", "192.0.2.1", true},
	    {"192.0.2.1", "::ffff:192.0.2.1", true},
	    {"192.0.2.1", "192.0.2.2", false},
	    {"2001:db8::1", "2001:db8::ffff:1", true},
	    {"2001:db8::1", "2001:db8:0:1::1", false},
	    {"unknown", "unknown", true},
	    {"unknown", "", false},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		assert_true(bounce_client(cases[i].a) != 0);
		assert_int_equal(bounce_client(cases[i].a) == bounce_client(cases[i].b),
				 cases[i].same);
	}
}

/* Old mail that bounces late is no guess. */
static void test_expired_is_no_guess(void **state)
{
	(void)state;
	for (int i = 0; i < 2 * BOUNCE_PROBES; i++)
		assert_int_equal(ask(BOUNCE_TAG, "", GOOD, 9, NOW + 8 * 24 * HOUR).reason,
				 BATV_EXPIRED);
	assert_int_equal(ask(BOUNCE_TAG, "", GOOD, 9, NOW + 8 * 24 * HOUR).result, BOUNCE_INVALID);
}

/* More clients than there is room for: the quietest gives way, the busy one stays counted. */
static void test_many_clients(void **state)
{
	(void)state;
	for (uint64_t c = 100; c < 100 + 2 * BOUNCE_CLIENTS; c++) {
		if (c % 100 == 0)
			ask(BOUNCE_TAG, "", BAD, 5, NOW + (int64_t)c);
		ask(BOUNCE_TAG, "", BAD, c, NOW + (int64_t)c);
	}
	assert_int_equal(ask(BOUNCE_TAG, "", GOOD, 5, NOW + 3000).result, BOUNCE_PUT_OFF);
}

static void test_parse(void **state)
{
	struct bounce_request r;
	char text[1024];

	(void)state;
	snprintf(text, sizeof(text),
		 "request=smtpd_access_policy\nprotocol_state=RCPT\nsender=\nrecipient=%s\n"
		 "client_address=192.0.2.1\nclient_name=x=y\nsender_more=z",
		 GOOD);
	assert_true(bounce_parse(text, strlen(text), &r));
	assert_true(r.policy);
	assert_string_equal(r.sender, "");
	assert_string_equal(r.recipient, GOOD);
	assert_string_equal(r.client, "192.0.2.1");
	assert_true(bounce_parse("request=junk\nsender=a", 21, &r));
	assert_false(r.policy);
	assert_string_equal(r.sender, "a");
	assert_true(bounce_parse("", 0, &r));
	assert_false(bounce_parse("nothing", 7, &r));
	assert_false(bounce_parse("sender=a\n\n", 10, &r)); /* the empty line is not part of it */
	memset(text, 'a', sizeof(text));
	memcpy(text, "recipient=", 10);
	assert_false(bounce_parse(text, 10 + BOUNCE_VALUE_MAX, &r));
	assert_true(bounce_parse(text, 10 + BOUNCE_VALUE_MAX - 1, &r));
	memcpy(text, "other====", 9);
	assert_true(bounce_parse(text, sizeof(text), &r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_actions, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_guesses, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_expired_is_no_guess, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_many_clients, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_client, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_parse, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
