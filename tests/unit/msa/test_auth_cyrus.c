/* auth_cyrus: real mechanisms against a real sasldb, made with saslpasswd2 for the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"

#include "msa/auth/auth.h"

static const struct auth_context plain = {.external = "", .realm = ""};

#define N(a) (sizeof(a) / sizeof *(a))

static char dir[] = "/tmp/auth.XXXXXX", db[64];

static void no_log(const char *line, size_t len, void *arg)
{
	(void)line;
	(void)len;
	(void)arg;
}

static int setup(void **state)
{
	static struct auth_mech_config cfg = {"smtp.isp.example",	   "isp.example", db, "",
					      "SCRAM-SHA-256 PLAIN LOGIN", false};
	char command[256];
	const char *err;

	(void)state;
	log_sink(no_log, NULL);
	if (!mkdtemp(dir))
		return -1;
	snprintf(db, sizeof(db), "%s/sasldb2", dir);
	snprintf(
	    command, sizeof(command),
	    "printf secret01 | PATH=$PATH:/usr/sbin saslpasswd2 -p -c -f %s -u isp.example user01",
	    db);
	if (system(command) != 0) /* NOLINT(cert-env33-c): a fixed command of a test */
		return -1;
	return auth_cyrus_init(&cfg, &err) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	unlink(db);
	return rmdir(dir);
}

/* Base64 of up to 300 bytes, into a static buffer. */
static const char *b64(const char *in, size_t len)
{
	static const char abc[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static char out[512];
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)(uint8_t)in[i] << 16;

		v |= i + 1 < len ? (uint32_t)(uint8_t)in[i + 1] << 8 : 0;
		v |= i + 2 < len ? (uint8_t)in[i + 2] : 0;
		out[n++] = abc[v >> 18 & 63];
		out[n++] = abc[v >> 12 & 63];
		out[n++] = i + 1 < len ? abc[v >> 6 & 63] : '=';
		out[n++] = i + 2 < len ? abc[v & 63] : '=';
	}
	out[n] = '\0';
	return out;
}
#define B64(s) b64((s), sizeof(s) - 1)

static void test_plain(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		enum auth_result r;
	} cases[] = {
#define P(s, r) {s, sizeof(s) - 1, r}
	    P("\0user01\0secret01", AUTH_OK),
	    P("\0user01@isp.example\0secret01", AUTH_OK),
	    P("\0user01@ISP.Example\0secret01", AUTH_OK),
	    P("user01\0user01\0secret01", AUTH_OK),
	    P("user01@isp.example\0user01\0secret01", AUTH_OK),
	    P("\0user01\0wrong", AUTH_FAILED),
	    P("\0user01\0secret0", AUTH_FAILED),
	    P("\0USER01\0secret01", AUTH_OK), /* one account, whatever its spelling */
	    P("\0User01@ISP.example\0secret01", AUTH_OK),
	    P("\0user01\0Secret01", AUTH_FAILED),
	    P("\0user01\0secret011", AUTH_FAILED),
	    P("\0nobody\0secret01", AUTH_FAILED),
	    P("\0user01@other.example\0secret01", AUTH_FAILED),
	    P("user02\0user01\0secret01", AUTH_FAILED), /* to act as somebody else */
	    P("\0user01\r\n\0secret01", AUTH_FAILED),	/* names that are no names */
	    P("\0user 01\0secret01", AUTH_FAILED),
	    P("\0user01@isp.example@x\0secret01", AUTH_FAILED),
	    P("\0\xff\0secret01", AUTH_FAILED),
	    P("nonsense", AUTH_MALFORMED),
	    P("\0user01", AUTH_MALFORMED),
	    P("\0user01\0secret01\0more", AUTH_MALFORMED),
#undef P
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct sasl_exchange *x = auth_cyrus_new(&plain);
		struct auth_answer a;
		const char *in = b64(cases[i].in, cases[i].len);

		auth_cyrus_step(x, "PLAIN", in, strlen(in), &a);
		if (a.result != cases[i].r)
			fail_msg("case %zu: result %d, %s", i, (int)a.result, a.detail);
		if (a.result == AUTH_OK)
			assert_string_equal(a.account, "user01@isp.example");
		else
			assert_true(a.detail[0] != '\0');
		assert_null(strstr(a.detail, "secret"));
		auth_cyrus_free(x);
	}
}

static void test_prompts(void **state)
{
	struct sasl_exchange *x = auth_cyrus_new(&plain);
	struct auth_answer a;
	const char *in;

	(void)state;
	auth_cyrus_step(x, "LOGIN", NULL, 0, &a);
	assert_int_equal(a.result, AUTH_CONTINUE);
	assert_string_equal(a.challenge, "VXNlcm5hbWU6"); /* Username: */
	in = B64("user01");
	auth_cyrus_step(x, NULL, in, strlen(in), &a);
	assert_int_equal(a.result, AUTH_CONTINUE);
	assert_string_equal(a.challenge, "UGFzc3dvcmQ6"); /* Password: */
	in = B64("secret01");
	auth_cyrus_step(x, NULL, in, strlen(in), &a);
	assert_int_equal(a.result, AUTH_OK);
	assert_string_equal(a.account, "user01@isp.example");
	auth_cyrus_free(x);
	/* PLAIN without an initial response: an empty challenge first */
	x = auth_cyrus_new(&plain);
	auth_cyrus_step(x, "PLAIN", NULL, 0, &a);
	assert_int_equal(a.result, AUTH_CONTINUE);
	assert_string_equal(a.challenge, "");
	in = B64("\0user01\0secret01");
	auth_cyrus_step(x, NULL, in, strlen(in), &a);
	assert_int_equal(a.result, AUTH_OK);
	auth_cyrus_free(x);
}

static void test_not_base64(void **state)
{
	static const char *const texts[] = {"***", "AGEA*g==", "A", "AGEAYg=", "AGE AYg=="};

	(void)state;
	for (size_t i = 0; i < N(texts); i++) {
		struct sasl_exchange *x = auth_cyrus_new(&plain);
		struct auth_answer a;

		auth_cyrus_step(x, "PLAIN", texts[i], strlen(texts[i]), &a);
		if (a.result != AUTH_MALFORMED)
			fail_msg("%s: %d", texts[i], (int)a.result);
		auth_cyrus_free(x);
	}
}

/* The first challenge to name, in a static buffer; what it must look like is the same for
 * everybody. */
static const char *scram_challenge(const char *name, struct sasl_exchange **out)
{
	static char challenge[1024];
	struct auth_answer a;
	char first[128];
	const char *in;

	*out = auth_cyrus_new(&plain);
	snprintf(first, sizeof(first), "n,,n=%s,r=abcdefghijklmnopqrstuvwx", name);
	in = b64(first, strlen(first));
	auth_cyrus_step(*out, "SCRAM-SHA-256", in, strlen(in), &a);
	assert_int_equal(a.result, AUTH_CONTINUE);
	snprintf(challenge, sizeof(challenge), "%s", a.challenge);
	return challenge;
}

static void test_scram_tells_nobody(void **state)
{
	static const char *const names[] = {"user01", "nobody", "nobody@isp.example"};
	const char *proof =
	    B64("c=biws,r=abcdefghijklmnopqrstuvwx,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	size_t len = 0;
	char keep[512];

	(void)state;
	snprintf(keep, sizeof(keep), "%s", proof);
	for (size_t i = 0; i < N(names); i++) {
		struct sasl_exchange *x;
		const char *c = scram_challenge(names[i], &x);
		struct auth_answer a;

		/* r=abcdefghijklmnopqrstuvwx... */
		assert_memory_equal(c, "cj1hYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3", 34);
		assert_true(len == 0 || strlen(c) == len);
		len = strlen(c);
		auth_cyrus_step(x, NULL, keep, strlen(keep), &a);
		assert_int_equal(a.result, AUTH_FAILED);
		auth_cyrus_free(x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plain),
	    cmocka_unit_test(test_prompts),
	    cmocka_unit_test(test_not_base64),
	    cmocka_unit_test(test_scram_tells_nobody),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
