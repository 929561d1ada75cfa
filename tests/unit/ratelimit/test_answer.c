/* Remote answers: the built-in table, and what a file adds to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ratelimit/answer.h"

static void test_builtin(void **state)
{
	static const struct {
		const char *status, *text;
		enum answer_class class;
	} cases[] = {
	    {"", "250 2.1.5 ok", ANSWER_OK},
	    {"", "251 will forward", ANSWER_OK},
	    {"2.0.0", "discarded, as the transport map says", ANSWER_OK},
	    {"", "550 5.1.1 <x@y>: Recipient address rejected", ANSWER_UNKNOWN},
	    {"", "550-5.1.1 The email account that you tried to reach does not exist",
	     ANSWER_UNKNOWN},
	    {"", "550 5.1.10 RESOLVER.ADR.RecipientNotFound", ANSWER_UNKNOWN},
	    {"", "550 No such user here", ANSWER_UNKNOWN},
	    {"5.0.0", "550 Unknown user", ANSWER_UNKNOWN},
	    {"", "553 5.1.2 no relay", ANSWER_UNKNOWN},
	    {"5.1.10", "the domain takes no mail (null MX): example.com", ANSWER_UNKNOWN},
	    {"", "550 5.7.1 user unknown", ANSWER_UNKNOWN},
	    {"5.1.1", "", ANSWER_UNKNOWN},
	    {"", "554 5.7.1 message rejected as spam", ANSWER_SPAM},
	    {"", "554 Blocked - see a Blocklist", ANSWER_SPAM},
	    {"", "421 4.7.28 unusual rate of unsolicited mail", ANSWER_SPAM},
	    {"4.7.28", "", ANSWER_SPAM},
	    {"", "550 5.7.1 relaying denied", ANSWER_BLOCKED},
	    {"5.7.1", "", ANSWER_BLOCKED},
	    {"", "554 your host is blocked", ANSWER_BLOCKED},
	    {"", "452 4.2.2 mailbox full", ANSWER_FULL},
	    {"", "552 5.2.2 over quota", ANSWER_FULL},
	    {"", "552 storage", ANSWER_FULL},
	    {"", "552 5.3.4 message too big", ANSWER_POLICY},
	    {"", "550 5.7.26 blocked, not authenticated", ANSWER_POLICY},
	    {"", "421 4.7.0 too many connections", ANSWER_RATE},
	    {"", "450 slow down: rate limit", ANSWER_RATE},
	    {"", "451 4.7.1 greylisted, try again later", ANSWER_TEMPORARY},
	    {"", "450 4.1.1 user unknown", ANSWER_TEMPORARY},
	    {"", "450 4.1.8 sender domain not found", ANSWER_POLICY},
	    {"", "421 4.3.2 try later", ANSWER_TEMPORARY},
	    {"", "530 5.7.0 Must issue a STARTTLS command first", ANSWER_TLS},
	    {"4.7.5", "dane: the certificate does not hold", ANSWER_TLS},
	    {"5.7.10", "needs TLS", ANSWER_TLS},
	    {"4.4.1", "Connection refused", ANSWER_NETWORK},
	    {"4.4.3", "cannot be looked up", ANSWER_NETWORK},
	    {"5.1.19", "", ANSWER_OTHER},
	    {"", "550", ANSWER_OTHER},
	    {"", "550 go away", ANSWER_OTHER},
	    {"", "", ANSWER_NONE},
	    {NULL, NULL, ANSWER_NONE},
	    {"", "ok", ANSWER_NONE},
	    {"5.1", "550x", ANSWER_OTHER},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum answer_class c = answer_classify(NULL, cases[i].status, cases[i].text);
		if (c != cases[i].class)
			fail_msg("%s \"%s\": %s", cases[i].status, cases[i].text,
				 answer_class_name(c));
	}
}

/* What the detector weighs. */
static void test_kind(void **state)
{
	static const struct {
		const char *text;
		enum answer_kind kind;
	} cases[] = {
	    {"250 ok", ANSWER_KIND_OK},
	    {"550 5.1.1 no", ANSWER_KIND_UNKNOWN},
	    {"550 5.7.1 relaying denied", ANSWER_KIND_SPAM},
	    {"554 spam", ANSWER_KIND_SPAM},
	    {"452 4.2.2 full", ANSWER_KIND_OTHER},
	    {"550 5.7.26 unauthenticated", ANSWER_KIND_OTHER},
	    {"450 4.1.1 user unknown", ANSWER_KIND_OTHER},
	    {"", ANSWER_KIND_NONE},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(answer_kind(answer_classify(NULL, "", cases[i].text)),
				 cases[i].kind);
}

static void test_names(void **state)
{
	enum answer_class c;
	(void)state;
	for (int i = ANSWER_OK; i < ANSWER_CLASSES; i++) {
		assert_true(answer_class_find(answer_class_name((enum answer_class)i), &c));
		assert_int_equal(c, i);
	}
	assert_false(answer_class_find("none", &c));
	assert_false(answer_class_find("", &c));
	assert_string_equal(answer_class_name((enum answer_class)99), "none");
}

static void test_lines(void **state)
{
	static const struct {
		const char *line, *err; /* err: a word of it; NULL taken */
	} cases[] = {
	    {"", NULL},
	    {"# a remark", NULL},
	    {"full\t5xx\tcheio", NULL},
	    {"full\t*\t*\r", NULL},
	    {"spam\t5.7.*\t/S[0-9]+/", NULL},
	    {"spam\tx.7.1\t*", NULL},
	    {"spam\t550", "three fields"},
	    {"spam 550 x", "three fields"},
	    {"bad\t550\tx", "no such class"},
	    {"none\t550\tx", "no such class"},
	    {"spam\t999\tx", "code"},
	    {"spam\t5\tx", "code"},
	    {"spam\t5.1\tx", "code"},
	    {"spam\t5.1.\tx", "code"},
	    {"spam\t5.1*\tx", "code"},
	    {"spam\t\tx", "code"},
	    {"spam\t550\t", "empty"},
	    {"spam\t550\t/(/", "cannot be used"},
	    {"spam\t550\t/(a)\\1/", "refers back"},
	    {"spam\t550\t/a+++++++++++++++++/", "too much memory"},
	    {"spam\t550\t/((a{200}){200}){2}/", "too much memory"},
	    {"spam\t550\t/(((a{,99}){0,99}){0}b{99,}){9}/", "too much memory"},
	    {"spam\t550\t/a{99999999999999999999}/", "too much memory"},
	    {"spam\t550\t/a+b+c+d+e+f+g+h+i+j+k+l+m+n+o+p+/", NULL},
	    {"spam\t550\t/[+]+[]+{]+[^]+{9}]\\+\\+\\{9\\++++++++++++/", NULL},
	    {"spam\t550\t/(a{20}){20}/", NULL},
	    {"spam\t550\t/[+/", "cannot be used"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct answer_table *t = answer_table_new();
		const char *err = "";
		bool ok = answer_line(t, cases[i].line, strlen(cases[i].line), &err);
		if (ok != !cases[i].err || (!ok && !strstr(err, cases[i].err)))
			fail_msg("%s: %s", cases[i].line, ok ? "taken" : err);
		answer_table_free(t);
	}
}

static struct answer_table *load(const char *text, char **err)
{
	char path[] = "/tmp/test-answer-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	struct answer_table *t = answer_load(path, err);
	unlink(path);
	return t;
}

static void test_file(void **state)
{
	char *err = NULL;
	struct answer_table *t = load("# ours\n"
				      "full\t5xx\tcaixa cheia\n"
				      "spam\t554\t/code [0-9]{3}$/\n"
				      "blocked\t5.7.9\t*\n"
				      "rate-limited\t450\tcalma",
				      &err);
	(void)state;
	assert_non_null(t);
	assert_int_equal(answer_table_size(t), 4);
	assert_int_equal(answer_classify(t, "", "550 Caixa Cheia"), ANSWER_FULL);
	assert_int_equal(answer_classify(t, "", "550 5.1.1 caixa cheia"), ANSWER_FULL);
	assert_int_equal(answer_classify(t, "", "450 caixa cheia"), ANSWER_TEMPORARY);
	assert_int_equal(answer_classify(t, "", "554 Code 123"), ANSWER_SPAM);
	assert_int_equal(answer_classify(t, "", "554 code 1234"), ANSWER_OTHER);
	assert_int_equal(answer_classify(t, "", "550 5.7.9 x"), ANSWER_BLOCKED);
	assert_int_equal(answer_classify(t, "", "450 calma!"), ANSWER_RATE);
	assert_int_equal(answer_classify(t, "", "250 caixa cheia"), ANSWER_OK);
	answer_table_free(t);

	assert_null(load("full\t5xx\ta\n\nnonsense\n", &err));
	assert_non_null(strstr(err, ":3: three fields"));
	free(err);
	assert_null(answer_load("/nonexistent/answers", &err));
	assert_non_null(strstr(err, "/nonexistent/answers: No such file"));
	free(err);
}

/* What decides is at the end of an answer that is too long. */
static void test_abridged(void **state)
{
	static const struct {
		const char *begins, *ends;
		enum answer_class class;
		const char *kept;
	} cases[] = {
	    {"554 ", " it looks like SPAM to us", ANSWER_SPAM, " ... spam"},
	    {"550 ", " the user does not exist", ANSWER_UNKNOWN, " ... does not exist"},
	    {"550 5.7.1 ", " user unknown", ANSWER_UNKNOWN, " ... user unknown"},
	    {"450 ", " greylisted for a while", ANSWER_TEMPORARY, NULL},
	    {"550 5.1.1 ", " good bye", ANSWER_UNKNOWN, NULL},
	    {"250 2.0.0 ", " no spam at all", ANSWER_OK, NULL},
	};
	char text[ANSWER_TEXT_MAX], out[256], again[100];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int words = 20; words < 100; words += 79) {
			size_t n = (size_t)snprintf(text, sizeof(text), "%s", cases[i].begins);
			for (int k = 0; k < words; k++)
				n += (size_t)snprintf(text + n, sizeof(text) - n,
						      "Dear postmaster, ");
			snprintf(text + n, sizeof(text) - n, "%s", cases[i].ends);
			answer_abridge(out, sizeof(out), text);
			answer_abridge(again, sizeof(again), out);
			assert_int_equal(answer_classify(NULL, "", text), cases[i].class);
			assert_int_equal(answer_classify(NULL, "", out), cases[i].class);
			assert_int_equal(answer_classify(NULL, "", again), cases[i].class);
			assert_memory_equal(out, text, 200);
			assert_int_equal(strlen(out), sizeof(out) - 1);
			if (cases[i].kept)
				assert_non_null(strstr(again, cases[i].kept));
		}
	answer_abridge(out, sizeof(out), "550 short");
	assert_string_equal(out, "550 short");
	answer_abridge(out, 1, "550 short");
	assert_string_equal(out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_builtin), cmocka_unit_test(test_kind),
	    cmocka_unit_test(test_names),   cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_file),    cmocka_unit_test(test_abridged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
