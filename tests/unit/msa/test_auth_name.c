/* auth_name and auth_wire: whom a message is about, and the frames of the auth processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "msa/auth/auth_name.h"
#include "msa/auth/auth_wire.h"

#define N(a) (sizeof(a) / sizeof *(a))

static void test_names(void **state)
{
	static const struct {
		const char *mech, *text, *name; /* NULL: none */
	} cases[] = {
	    {"PLAIN", "AHVzZXIwMUBmaXJtLmV4YW1wbGUAeA==", "user01@firm.example"},
	    {"plain", "emlkAHVzZXIwMQB4", "user01"}, /* zid NUL user01 NUL x */
	    {"PLAIN", "dXNlcjAxAHg=", NULL},	     /* one NUL */
	    {"PLAIN", "AAB4", NULL},		     /* no name */
	    {"PLAIN", "AHVzZXIwMUBmaXJtLmV4YW1wbGUAeA=", NULL},
	    {"PLAIN", "", NULL},
	    {"LOGIN", "dXNlcjAxQGZpcm0uZXhhbXBsZQ==", "user01@firm.example"},
	    {"LOGIN", "dQB4", NULL}, /* u NUL x */
	    {"SCRAM-SHA-256", "biwsbj11c2VyMDFAZmlybS5leGFtcGxlLHI9YWJj", "user01@firm.example"},
	    /* p=tls-exporter,a=z,n=u=2Cx=3Dy,r=n */
	    {"SCRAM-SHA-256-PLUS", "cD10bHMtZXhwb3J0ZXIsYT16LG49dT0yQ3g9M0R5LHI9bg==", "u,x=y"},
	    {"SCRAM-SHA-1", "biwsbj11PTIwLHI9bg==", NULL}, /* n,,n=u=20,r=n */
	    {"SCRAM-SHA-1", "biwscj1u", NULL},		   /* n,,r=n */
	    {"SCRAM-SHA-1", "bixu", NULL},
	    {"CRAM-MD5", "dXNlcjAxIDAw", NULL},
	    {"EXTERNAL", "dXNlcjAx", NULL},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		bool ok = auth_name(cases[i].mech, cases[i].text, strlen(cases[i].text), out,
				    sizeof(out));

		if (ok != (cases[i].name != NULL))
			fail_msg("%s %s: '%s'", cases[i].mech, cases[i].text, out);
		assert_string_equal(out, ok ? cases[i].name : "");
	}
	/* It has to fit. */
	assert_false(auth_name("LOGIN", "dXNlcjAx", 8, out, 6));
	assert_true(auth_name("LOGIN", "dXNlcjAx", 8, out, 7));
	assert_string_equal(auth_name_prompt("login"), "VXNlcm5hbWU6");
	assert_string_equal(auth_name_prompt("SCRAM-SHA-512"), "");
	assert_true(auth_name_first("SCRAM-SHA-1-PLUS"));
	assert_false(auth_name_first("DIGEST-MD5"));
	assert_false(auth_name_first("PLAINER"));
}

static void test_start(void **state)
{
	struct auth_context ctx = {.external = "a@b.example", .realm = "b.example", .plus = true};
	struct auth_wire_start s;
	uint8_t buf[AUTH_ASK_MAX];
	struct wire_out w;

	(void)state;
	memset(ctx.tls.exporter, 7, sizeof(ctx.tls.exporter));
	ctx.tls.exporter_len = sizeof(ctx.tls.exporter);
	wire_out_init(&w, buf, sizeof(buf));
	auth_wire_put_start(&w, 5, "PLAIN", "", 0, &ctx);
	assert_true(auth_wire_get_start(buf, w.len, &s));
	assert_int_equal(s.id, 5);
	assert_non_null(s.data); /* an empty initial response is one */
	assert_int_equal(s.len, 0);
	assert_string_equal(s.ctx.realm, "b.example");
	assert_string_equal(s.ctx.external, "a@b.example");
	assert_memory_equal(s.ctx.tls.exporter, ctx.tls.exporter, sizeof(ctx.tls.exporter));
	for (size_t n = 0; n < w.len; n++)
		assert_false(auth_wire_get_start(buf, n, &s));
	assert_false(auth_wire_get_start(buf, w.len + 1, &s));
	wire_out_init(&w, buf, sizeof(buf));
	auth_wire_put_start(&w, 5, "PLAIN", NULL, 0, &ctx);
	assert_true(auth_wire_get_start(buf, w.len, &s));
	assert_null(s.data);
	/* No initial response, and octets of one. */
	buf[8 + 4 + 5] = 2;
	assert_false(auth_wire_get_start(buf, w.len, &s));
}

static void test_answer(void **state)
{
	static const struct auth_answer a = {AUTH_FAILED, "Yw==", "x@y.example", "unknown user"};
	struct auth_wire_answer got;
	uint8_t buf[AUTH_ANSWER_MAX];
	struct wire_out w;

	(void)state;
	wire_out_init(&w, buf, sizeof(buf));
	auth_wire_put_answer(&w, 9, &a);
	assert_true(auth_wire_get_answer(buf, w.len, &got));
	assert_int_equal(got.id, 9);
	assert_int_equal(got.result, AUTH_FAILED);
	assert_string_equal(got.challenge, "Yw==");
	assert_string_equal(got.account, "x@y.example");
	for (size_t n = 0; n < w.len; n++)
		assert_false(auth_wire_get_answer(buf, n, &got));
	for (int r = 0; r < 256; r++) {
		buf[8] = (uint8_t)r;
		assert_int_equal(auth_wire_get_answer(buf, w.len, &got),
				 r >= AUTH_CONTINUE && r <= AUTH_UNAVAILABLE);
	}
}

static void test_config(void **state)
{
	static const struct auth_mech_config c = {"h.example", "r.example", "/db",
						  "",	       "PLAIN",	    true};
	static struct auth_wire_config got;
	uint8_t buf[AUTH_CONFIG_MAX];
	struct wire_out w;

	(void)state;
	wire_out_init(&w, buf, sizeof(buf));
	auth_wire_put_config(&w, &c, "sekisho");
	assert_true(auth_wire_get_config(buf, w.len, &got));
	assert_string_equal(got.text[2], "/db");
	assert_string_equal(got.text[4], "PLAIN");
	assert_string_equal(got.user, "sekisho");
	assert_true(got.keep_case);
	for (size_t n = 0; n < w.len; n++)
		assert_false(auth_wire_get_config(buf, n, &got));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_start),
	    cmocka_unit_test(test_answer),
	    cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
