/* path: what is an address, what is not and why, and whose it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "msa/mail/path.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define A10  "aaaaaaaaaa"
#define A64  A10 A10 A10 A10 A10 A10 "aaaa"

static void test_path_parse(void **state)
{
	static const struct {
		const char *in, *text; /* text NULL: refused */
		size_t used;
		const char *err;
	} cases[] = {
	    {"<a@b.example>", "a@b.example", 13, NULL},
	    {"<A.b@B.Example> SIZE=1", "A.b@b.example", 15, NULL},
	    {"<>", "", 2, NULL},
	    {"<> BODY=7BIT", "", 2, NULL},
	    {"<Postmaster>", "Postmaster", 12, NULL},
	    {"<@one.example,@two.example:a@b.example>", "a@b.example", 39, NULL},
	    {"<\"a b\"@x.example>", "\"a b\"@x.example", 17, NULL},
	    {"<\"ab\"@x.example>", "ab@x.example", 16, NULL},
	    {"<\"a\\\"b\\\\c\"@x.example>", "\"a\\\"b\\\\c\"@x.example", 21, NULL},
	    {"<\"a>b\"@x.example>", "\"a>b\"@x.example", 17, NULL},
	    {"<\"a@b\"@x.example>", "\"a@b\"@x.example", 17, NULL},
	    {"<a@[192.0.2.1]>", "a@[192.0.2.1]", 15, NULL},
	    {"<a@[IPv6:2001:db8::1]>", "a@[ipv6:2001:db8::1]", 22, NULL},
	    {"<" A64 "@x.example>", A64 "@x.example", 76, NULL},
	    {"<user+tag@x.example>", "user+tag@x.example", 20, NULL},
	    {"<a@x_y.example>", "a@x_y.example", 15, NULL},
	    {"a@b.example", NULL, 0, "<>"},
	    {"", NULL, 0, "<>"},
	    {"<", NULL, 0, "<>"},
	    {"<a@b.example", NULL, 0, "closing"},
	    {"<a b@c.example>", NULL, 0, "domain is missing"},
	    {"<a>", NULL, 0, "domain is missing"},
	    {"<@x.example>", NULL, 0, "route"},
	    {"<a@>", NULL, 0, "domain is not valid"},
	    {"<a@b..example>", NULL, 0, "domain is not valid"},
	    {"<a@.example>", NULL, 0, "domain is not valid"},
	    {"<a@b.example.>", NULL, 0, "domain is not valid"},
	    {"<a@-b.example>", NULL, 0, "domain is not valid"},
	    {"<a@b-.example>", NULL, 0, "domain is not valid"},
	    {"<a@[1.2.3]>", NULL, 0, "domain is not valid"},
	    {"<a@[2001:db8::1]>", NULL, 0, "domain is not valid"},
	    {"<a@b@c.example>", NULL, 0, "domain is not valid"},
	    {"<.a@b.example>", NULL, 0, "dot-string"},
	    {"<a..b@c.example>", NULL, 0, "dot-string"},
	    {"<a.@c.example>", NULL, 0, "dot-string"},
	    {"<\"\"@c.example>", NULL, 0, "empty"},
	    {"<\"a@c.example>", NULL, 0, "no end"},
	    {"<\"a\\", NULL, 0, "no end"},
	    {"<" A64 "a@x.example>", NULL, 0, "64"},
	    {"<\"" A64 "\"@x.example>", NULL, 0, "64"},
	    {"<j\xc3\xb6rg@x.example>", NULL, 0, "SMTPUTF8"},
	    {"<\xc3\xb6@x.example>", NULL, 0, "SMTPUTF8"},
	    {"<a@b\xc3\xb6.example>", NULL, 0, "SMTPUTF8"},
	    {"<\"a\tb\"@x.example>", NULL, 0, "control"},
	    {"<a(comment)@x.example>", NULL, 0, "domain is missing"},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct path p;
		size_t used;
		const char *err = "";
		bool ok = path_parse(cases[i].in, strlen(cases[i].in), &p, &used, &err);

		if (ok != (cases[i].text != NULL))
			fail_msg("%s: %s", cases[i].in, ok ? p.text : err);
		if (!ok) {
			if (!strstr(err, cases[i].err))
				fail_msg("%s: said \"%s\"", cases[i].in, err);
			continue;
		}
		assert_string_equal(p.text, cases[i].text);
		assert_int_equal(used, cases[i].used);
		assert_int_equal(p.null, cases[i].text[0] == '\0');
	}
}

/* RFC 6531: only where it is allowed, strict, and a domain by its A-labels. */
static void test_path_utf8(void **state)
{
	static const struct {
		const char *in, *text; /* NULL: refused */
		bool utf8;
	} cases[] = {
	    {"<j\xc3\xb6rg@x.example>", "j\xc3\xb6rg@x.example", true},
	    {"<\xe5\xbe\xae@x.example>", "\xe5\xbe\xae@x.example", true},
	    {"<\xf0\x9f\x98\x80@x.example>", "\xf0\x9f\x98\x80@x.example", true},
	    {"<\"j\xc3\xb6 rg\"@x.example>", "\"j\xc3\xb6 rg\"@x.example", true},
	    {"<a@b\xc3\xbc"
	     "cher.example>",
	     "a@xn--bcher-kva.example", false},
	    {"<a@B\xc3\x9c"
	     "CHER.example>",
	     "a@xn--bcher-kva.example", false},
	    {"<a@fa\xc3\x9f.example>", "a@xn--fa-hia.example", false},
	    {"<\xc3\xb6@b\xc3\xbc"
	     "cher.example>",
	     "\xc3\xb6@xn--bcher-kva.example", true},
	    {"<a@x.example>", "a@x.example", false},
	    {"<j\xf6rg@x.example>", NULL, false},	   /* Latin-1 */
	    {"<\xc0\xaf@x.example>", NULL, false},	   /* overlong */
	    {"<\xe0\x80\xaf@x.example>", NULL, false},	   /* overlong */
	    {"<\xed\xa0\x80@x.example>", NULL, false},	   /* a surrogate */
	    {"<\xf4\x90\x80\x80@x.example>", NULL, false}, /* above U+10FFFF */
	    {"<\xc3@x.example>", NULL, false},		   /* cut off */
	    {"<\xc2\x85@x.example>", NULL, false},	   /* C1 control */
	    {"<\xe2\x80\xa8@x.example>", NULL, false},	   /* line separator */
	    {"<a@b\xfc.example>", NULL, false},
	    {"<a@\xe2\x80\x8b.example>", NULL, false},
	    {"<a@[\xc3\xbc]>", NULL, false},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct path p;
		size_t used, len = strlen(cases[i].in);
		const char *err = "";
		bool ok = path_parse_utf8(cases[i].in, len, &p, &used, &err);

		if (ok != (cases[i].text != NULL))
			fail_msg("%s: %s", cases[i].in, ok ? p.text : err);
		if (ok) {
			assert_string_equal(p.text, cases[i].text);
			assert_int_equal(p.utf8, cases[i].utf8);
			assert_int_equal(used, len);
			if (!path_parse_mailbox_utf8(cases[i].text, strlen(cases[i].text), &p,
						     &err))
				fail_msg("%s: %s", cases[i].text, err);
			assert_string_equal(p.text, cases[i].text);
		}
		if (strcmp(cases[i].in, "<a@x.example>") != 0)
			assert_false(path_parse(cases[i].in, len, &p, &used, &err));
	}
}

/* A canonical address parses to itself. */
static void test_path_canonical(void **state)
{
	static const char *const texts[] = {"a@b", "\"a b\"@c.example", "\"\\\\\"@c.example",
					    "a.b@[127.0.0.1]"};

	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		struct path p;
		const char *err;

		assert_true(path_parse_mailbox(texts[i], strlen(texts[i]), &p, &err));
		assert_string_equal(p.text, texts[i]);
	}
}

static void test_path_parse_mailbox(void **state)
{
	static const char *const refused[] = {
	    "", "a", "postmaster", "<a@b.example>", "a@b.example ", "a@b.example>", " a@b.example",
	    "@"};
	struct path p;
	const char *err;

	(void)state;
	for (size_t i = 0; i < N(refused); i++)
		if (path_parse_mailbox(refused[i], strlen(refused[i]), &p, &err))
			fail_msg("taken: %s", refused[i]);
	assert_false(path_parse_mailbox("a\0b@c", 5, &p, &err));
}

static void test_path_owned(void **state)
{
	static const struct {
		const char *account, *address;
		bool owned;
	} cases[] = {
	    {"user01@isp.example", "user01@isp.example", true},
	    {"user01@isp.example", "User01@ISP.example", true},
	    {"user01@isp.example", "user01+list@isp.example", true},
	    {"user01@isp.example", "user01+@isp.example", true},
	    {"user01@isp.example", "user011@isp.example", false},
	    {"user01@isp.example", "user0@isp.example", false},
	    {"user01@isp.example", "user01@other.example", false},
	    {"user01@isp.example", "user01@sub.isp.example", false},
	    {"user01@isp.example", "user01-x@isp.example", false},
	};
	struct path null = {.null = true}, a, p;
	const char *err;

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		assert_true(
		    path_parse_mailbox(cases[i].account, strlen(cases[i].account), &a, &err));
		assert_true(
		    path_parse_mailbox(cases[i].address, strlen(cases[i].address), &p, &err));
		if (path_owned(&a, &p) != cases[i].owned)
			fail_msg("%s", cases[i].address);
		assert_false(path_owned(&a, &null));
	}
}

static void test_path_domain(void **state)
{
	(void)state;
	assert_true(path_domain_ok("localhost", 9));
	assert_false(path_domain_ok("", 0));
	assert_false(path_domain_ok("a b", 3));
	assert_false(path_domain_ok("[127.0.0.1", 10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_path_parse),	       cmocka_unit_test(test_path_canonical),
	    cmocka_unit_test(test_path_parse_mailbox), cmocka_unit_test(test_path_owned),
	    cmocka_unit_test(test_path_domain),	       cmocka_unit_test(test_path_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
