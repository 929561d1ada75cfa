/* identity, token, authres: who may write as whom, by which rules, and what names the account. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/mail/authres.h"
#include "msa/mail/identity.h"
#include "msa/mail/token.h"

#define N(a) (sizeof(a) / sizeof *(a))

static const char file[] = "# addresses\n"
			   "own info@isp.example user01@isp.example\tuser02@isp.example\r\n"
			   "  own   @Shop.example   User03@isp.example\n"
			   "delegate boss@isp.example user02@isp.example\n"
			   "delegate info@isp.example user03@isp.example\n"
			   "own \"a b\"@isp.example user01@isp.example\n"
			   "own j\xc3\xb6rg@isp.example user01@isp.example\n"
			   "\n"
			   "domain isp.example mail_from=owned sender=always hide_client=yes\n"
			   "domain shop.example batv=yes\n"
			   "account user02@isp.example sender=off batv=no auth_results=no\n"
			   "account user04@other.example from_header=owned\n"
			   "recipient lists.example batv=no\n"
			   "recipient .far.example batv=no\n"
			   "recipient near.far.example batv=yes";

static struct identities *ids;

static struct path path(const char *text)
{
	struct path p;
	const char *err;

	if (!path_parse_mailbox_utf8(text, strlen(text), &p, &err))
		fail_msg("%s: %s", text, err);
	return p;
}

static int setup(void **state)
{
	char *err = NULL;
	int line;

	(void)state;
	ids = identities_parse(NULL, file, sizeof(file) - 1, &line, &err);
	if (!ids)
		print_error("line %d: %s\n", line, err);
	return ids ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	talloc_free(ids);
	return 0;
}

static void test_rights(void **state)
{
	static const struct {
		const char *account, *address;
		enum identity_right right;
	} cases[] = {
	    {"user01@isp.example", "user01@isp.example", IDENTITY_OWN},
	    {"user01@isp.example", "User01+list@ISP.example", IDENTITY_OWN},
	    {"user01@isp.example", "info@isp.example", IDENTITY_OWN},
	    {"user01@isp.example", "INFO+x@isp.example", IDENTITY_OWN},
	    {"user02@isp.example", "info@isp.example", IDENTITY_OWN},
	    {"USER02@isp.example", "info@isp.example", IDENTITY_OWN},
	    {"user03@isp.example", "info@isp.example", IDENTITY_DELEGATE},
	    {"user03@isp.example", "anybody@shop.example", IDENTITY_OWN},
	    {"user03@isp.example", "any+body@shop.example", IDENTITY_OWN},
	    {"user03@isp.example", "anybody@sub.shop.example", IDENTITY_NONE},
	    {"user01@isp.example", "anybody@shop.example", IDENTITY_NONE},
	    {"user02@isp.example", "boss@isp.example", IDENTITY_DELEGATE},
	    {"user02@isp.example", "boss+x@isp.example", IDENTITY_DELEGATE},
	    {"user01@isp.example", "boss@isp.example", IDENTITY_NONE},
	    {"user01@isp.example", "\"a b\"@isp.example", IDENTITY_OWN},
	    {"user01@isp.example", "\"a b+c\"@isp.example", IDENTITY_OWN},
	    {"user01@isp.example", "j\xc3\xb6rg+x@isp.example", IDENTITY_OWN},
	    {"user02@isp.example", "j\xc3\xb6rg@isp.example", IDENTITY_NONE},
	    {"user01@isp.example", "\"+info\"@isp.example", IDENTITY_NONE},
	    {"user01@isp.example", "user011@isp.example", IDENTITY_NONE},
	    {"user01@isp.example", "user01@other.example", IDENTITY_NONE},
	    {"user04@isp.example", "info@isp.example", IDENTITY_NONE},
	};
	struct path null = {.null = true}, account = path("user01@isp.example"), p;

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct path a = path(cases[i].account);

		p = path(cases[i].address);
		if (identity_right(ids, &a, &p) != cases[i].right)
			fail_msg("%s as %s", cases[i].account, cases[i].address);
	}
	assert_int_equal(identity_right(ids, &account, &null), IDENTITY_NONE);
	p = path("info@isp.example");
	assert_int_equal(identity_right(NULL, &account, &p), IDENTITY_NONE);
	assert_int_equal(identity_right(NULL, &account, &account), IDENTITY_OWN);
}

static void test_rules(void **state)
{
	const struct identity_rules dflt = {
	    MAIL_FROM_REWRITE, FROM_HEADER_ANY, SENDER_WHEN_DIFFERENT, true, false, true};
	struct identity_rules r;
	struct path a = path("user01@isp.example"), b = path("User02@isp.example"),
		    c = path("user04@other.example");

	(void)state;
	identity_rules(ids, &a, &dflt, &r);
	assert_int_equal(r.mail_from, MAIL_FROM_OWNED);
	assert_int_equal(r.from_header, FROM_HEADER_ANY);
	assert_int_equal(r.sender, SENDER_ALWAYS);
	assert_true(r.batv && r.hide_client && r.auth_results);
	identity_rules(ids, &b, &dflt, &r);
	assert_int_equal(r.mail_from, MAIL_FROM_OWNED);
	assert_int_equal(r.sender, SENDER_OFF);
	assert_true(!r.batv && r.hide_client && !r.auth_results);
	identity_rules(ids, &c, &dflt, &r);
	assert_int_equal(r.mail_from, MAIL_FROM_REWRITE);
	assert_int_equal(r.from_header, FROM_HEADER_OWNED);
	identity_rules(NULL, &a, &dflt, &r);
	assert_memory_equal(&r, &dflt, sizeof(r));
}

static void test_batv_domains(void **state)
{
	struct path a = path("user01@isp.example");

	(void)state;
	assert_true(identity_batv_domain(NULL, &a, "isp.example"));
	assert_false(identity_batv_domain(NULL, &a, "shop.example"));
	assert_true(identity_batv_domain(ids, &a, "isp.example"));
	assert_true(identity_batv_domain(ids, &a, "shop.example"));
	assert_false(identity_batv_domain(ids, &a, "other.example"));
	assert_true(identity_batv_recipient(NULL, "lists.example"));
	assert_false(identity_batv_recipient(ids, "lists.example"));
	assert_true(identity_batv_recipient(ids, "sub.lists.example"));
	assert_true(identity_batv_recipient(ids, "far.example"));
	assert_false(identity_batv_recipient(ids, "a.far.example"));
	assert_false(identity_batv_recipient(ids, "a.b.far.example"));
	assert_true(identity_batv_recipient(ids, "near.far.example"));
	assert_true(identity_batv_recipient(ids, "sofar.example"));
}

static void test_wrong_files(void **state)
{
	static const struct {
		const char *text;
		int line;
		const char *err;
	} cases[] = {
	    {"owns a@b c@d\n", 1, "begins with"},
	    {"\n\nown\n", 3, "missing"},
	    {"own a@b\n", 1, "accounts are missing"},
	    {"own a@b x\n", 1, "x is not an address"},
	    {"own a c@d\n", 1, "a is not an address"},
	    {"own @ c@d\n", 1, "not a domain"},
	    {"own a@b c@d\nown A@b C@d\n", 2, "twice"},
	    {"delegate a@b c@d\nown a@b c@d\n", 2, "twice"},
	    {"domain\n", 1, "missing"},
	    {"domain -x batv=no\n", 1, "not a domain"},
	    {"domain x.example\n", 1, "KEY=VALUE"},
	    {"domain x.example batv\n", 1, "KEY=VALUE"},
	    {"domain x.example colour=red\n", 1, "not known"},
	    {"domain x.example batv=maybe\n", 1, "no value"},
	    {"domain x.example batv=no batv=no\n", 1, "twice"},
	    {"domain x.example batv=no\ndomain X.example sender=off\n", 2, "twice"},
	    {"account x batv=no\n", 1, "not an address"},
	    {"recipient x.example sender=off\n", 1, "only batv"},
	    {"recipient . batv=no\n", 1, "not a domain"},
	    {"recipient\n", 1, "missing"},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		char *err = NULL;
		int line = 0;

		if (identities_parse(NULL, cases[i].text, strlen(cases[i].text), &line, &err))
			fail_msg("case %zu is taken", i);
		if (!err || !strstr(err, cases[i].err) || line != cases[i].line)
			fail_msg("case %zu: line %d: %s", i, line, err ? err : "-");
		talloc_free(err);
	}
}

/* A vector of openssl's: printf 'q1\0user01@isp.example' | openssl dgst -sha256 -mac HMAC -macopt
 * hexkey:000102...1f */
static void test_token(void **state)
{
	struct token_key k;
	char a[TOKEN_LEN + 1], b[TOKEN_LEN + 1];

	(void)state;
	for (int i = 0; i < TOKEN_KEY; i++)
		k.key[i] = (uint8_t)i;
	token_make(&k, "q1", "user01@isp.example", a);
	assert_string_equal(a, "b038512f3c7d977f822050d6");
	assert_int_equal(strspn(a, "0123456789abcdef"), TOKEN_LEN);
	token_make(&k, "q1u", "ser01@isp.example", b);
	assert_string_not_equal(a, b);
	token_make(&k, "q2", "user01@isp.example", b);
	assert_string_not_equal(a, b);
	k.key[31] ^= 1;
	token_make(&k, "q1", "user01@isp.example", b);
	assert_string_not_equal(a, b);
}

static void test_authres(void **state)
{
	char buf[AUTHRES_MAX], host[256], account[PATH_TEXT_MAX + 1];
	size_t n;

	(void)state;
	authres_format("smtp.isp.example", "SCRAM-SHA-256", "user01@isp.example", buf);
	assert_string_equal(buf, "Authentication-Results: smtp.isp.example;\r\n"
				 "\tauth=pass (SCRAM-SHA-256)\r\n"
				 "\tsmtp.auth=user01@isp.example\r\n");
	memset(host, 'h', sizeof(host) - 1);
	memset(account, 'a', sizeof(account) - 1);
	host[sizeof(host) - 1] = account[sizeof(account) - 1] = '\0';
	n = authres_format(host, "PLAIN", account, buf);
	assert_int_equal(n, strlen(buf));
	assert_int_equal(strcmp(buf + strlen(buf) - 2, "\r\n"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rights),	 cmocka_unit_test(test_rules),
	    cmocka_unit_test(test_batv_domains), cmocka_unit_test(test_wrong_files),
	    cmocka_unit_test(test_token),	 cmocka_unit_test(test_authres),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
