/* batv: published vectors, the wrap of the day counter, and every bug known of other
 * implementations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "msa/batvkeys.h"
#include "msa/mail/batv.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define DAY  (INT64_C(86400) * 1000)

static struct batv_keys keys;

static void set_key(int n, const char *secret)
{
	keys.k[n].len = strlen(secret);
	memcpy(keys.k[n].key, secret, strlen(secret));
	keys.newest = n;
}

static int setup(void **state)
{
	(void)state;
	memset(&keys, 0, sizeof(keys));
	set_key(1, "secret");
	set_key(0, "secret");
	return 0;
}

static struct path address(const char *text)
{
	struct path p;
	const char *err;

	if (!path_parse_mailbox(text, strlen(text), &p, &err))
		fail_msg("%s: %s", text, err);
	return p;
}

/* A day number whose tag of today expires on ddd. */
static int64_t signing_day(int ddd)
{
	return ((int64_t)20000 + ddd - 7) * DAY;
}

static const char *sign(const char *text, int key, int64_t now)
{
	static struct path out;
	struct path p = address(text);

	assert_int_equal(batv_sign(&keys, &p, key, now, &out), BATV_SIGNED);
	return out.text;
}

static enum batv_reason verify(const char *text, int64_t now)
{
	struct path p = address(text);
	struct batv_result r;

	batv_verify(&keys, &p, now, &r);
	return r.reason;
}

static void test_vectors(void **state)
{
	(void)state;
	assert_string_equal(sign("userx@test.ex", 0, signing_day(891)),
			    "prvs=08918d5b80=userx@test.ex");
	assert_string_equal(sign("userx@test.ex", 1, signing_day(891)),
			    "prvs=1891ef2d7e=userx@test.ex");
	assert_string_equal(sign("userx@test.ex", -1, signing_day(891)),
			    "prvs=08918d5b80=userx@test.ex");
	assert_int_equal(verify("prvs=08918d5b80=userx@test.ex", signing_day(891)), BATV_VALID);
	assert_int_equal(verify("prvs=1891ef2d7e=userx@test.ex", signing_day(891)), BATV_VALID);
}

/* indimail's published example is plain MD5; HMAC-SHA1 of that input begins 4f4d4b. */
static void test_indimail_example(void **state)
{
	(void)state;
	set_key(0, "1632203830");
	assert_string_equal(sign("test@example.com", 0, signing_day(891)),
			    "prvs=08914f4d4b=test@example.com");
	assert_int_equal(verify("prvs=0891a9abd5=test@example.com", signing_day(891)), BATV_FORGED);
}

static void test_reasons(void **state)
{
	const int64_t now = signing_day(891);

	(void)state;
	assert_int_equal(verify("userx@test.ex", now), BATV_NOT_TAGGED);
	assert_int_equal(verify("prvs=08918d5b81=userx@test.ex", now), BATV_FORGED);
	assert_int_equal(verify("prvs=08918d5b80=usery@test.ex", now), BATV_FORGED);
	assert_int_equal(verify("prvs=08918d5b80=userx@test.exa", now), BATV_FORGED);
	assert_int_equal(verify("prvs=08928d5b80=userx@test.ex", now), BATV_FORGED);
	assert_int_equal(verify("prvs=18918d5b80=userx@test.ex", now), BATV_FORGED);
	assert_int_equal(verify("prvs=78918d5b80=userx@test.ex", now), BATV_UNKNOWN_KEY);
	assert_int_equal(verify("prvs=08918d5b80=userx@test.ex", now + 8 * DAY), BATV_EXPIRED);
	/* a tag from the future has more days left than any of ours */
	assert_int_equal(verify("prvs=08918d5b80=userx@test.ex", now - DAY), BATV_EXPIRED);
}

/* Valid on the day of signing and the seven after it, and on no other of the following 3000 days
 * but every thousandth's eight. */
static void test_window(void **state)
{
	(void)state;
	for (int start = 0; start < 1000; start += 37) {
		int64_t t0 = (int64_t)(20000 + start) * DAY;
		char tag[PATH_TEXT_MAX + 1];

		snprintf(tag, sizeof(tag), "%s", sign("userx@test.ex", -1, t0));
		for (int d = 0; d < 3000; d++) {
			bool want = d % 1000 <= 7,
			     got = verify(tag, t0 + d * DAY + d % 86400) == BATV_VALID;

			if (got != want)
				fail_msg("signed on day %d, judged %d days later: %d", start, d,
					 got);
		}
	}
}

/* Exim's false accept: made on day 800, judged on day 1000 (000) to 1807. */
static void test_wrap_false_accept(void **state)
{
	char tag[PATH_TEXT_MAX + 1];

	(void)state;
	snprintf(tag, sizeof(tag), "%s", sign("userx@test.ex", -1, 20800 * DAY));
	assert_memory_equal(tag, "prvs=0807", 9);
	for (int day = 21000; day < 21800; day++)
		assert_int_equal(verify(tag, day * DAY), BATV_EXPIRED);
}

/* indimail's false reject: 999 → 000, next on 2027-07-01; tags show 000 from 2027-06-24. */
static void test_wrap_false_reject(void **state)
{
	const int64_t june24 = INT64_C(1813795200000), july1 = INT64_C(1814400000000);
	const char *tag = sign("userx@test.ex", -1, june24);

	(void)state;
	assert_int_equal(batv_day(july1), 0);
	assert_int_equal(batv_day(july1 - 1), 999);
	assert_memory_equal(tag, "prvs=0000", 9);
	for (int d = 0; d < 8; d++)
		assert_int_equal(verify(tag, june24 + d * DAY), BATV_VALID);
	assert_int_equal(verify(tag, june24 + 8 * DAY), BATV_EXPIRED);
}

static void test_case(void **state)
{
	const int64_t now = signing_day(891);
	struct path p = address("PRVS=08918D5B80=USERX@TEST.EX");
	struct batv_result r;
	const char *tag;

	(void)state;
	/* the whole address folded to upper case by a bouncing MTA; hex compared as bytes */
	batv_verify(&keys, &p, now, &r);
	assert_int_equal(r.reason, BATV_VALID);
	assert_string_equal(r.original.text, "USERX@test.ex");
	/* case as given is shown; a bounce in lower case verifies */
	tag = sign("UserX@Test.EX", 0, now);
	assert_string_equal(tag, "prvs=08918d5b80=UserX@test.ex");
	assert_int_equal(verify("prvs=08918d5b80=userx@test.ex", now), BATV_VALID);
}

/* A tag made over the case as given (openssl, and what Exim makes) verifies here. */
static void test_case_as_given(void **state)
{
	const int64_t now = signing_day(891);

	(void)state;
	assert_int_equal(verify("prvs=0891f75a14=UserX@test.ex", now), BATV_VALID);
	assert_int_equal(verify("prvs=0891f75a14=userx@test.ex", now), BATV_FORGED);
	assert_int_equal(verify("prvs=0891f75a14=UserX@test.ex", now + 8 * DAY), BATV_EXPIRED);
}

/* Of UTF-8 the octets are signed, and only ASCII letters folded. */
static void test_utf8(void **state)
{
	static const char text[] = "J\xc3\xb6rg@test.ex";
	struct path p, out;
	struct batv_result r;
	const char *err;

	(void)state;
	assert_true(path_parse_mailbox_utf8(text, strlen(text), &p, &err));
	assert_int_equal(batv_sign(&keys, &p, 0, signing_day(891), &out), BATV_SIGNED);
	assert_string_equal(out.text, "prvs=0891d6fac9=J\xc3\xb6rg@test.ex");
	assert_true(out.utf8);
	batv_verify(&keys, &out, signing_day(891), &r);
	assert_int_equal(r.reason, BATV_VALID);
	assert_string_equal(r.original.text, text);
}

static void test_strip_any(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: no tag to take off */
	} cases[] = {
	    {"prvs=08918d5b80=userx@test.ex", "userx@test.ex"},
	    {"PRVS=08918D5B80=a=b@test.ex", "a=b@test.ex"},
	    {"prvs=userx=08918d5b80@test.ex", "userx@test.ex"},
	    {"prvs=061b0cdbb=roger.pau@citrix.example", "roger.pau@citrix.example"},
	    {"btv1==0378a2e3dcb==user@x.example", "user@x.example"},
	    {"msprvs1=16789abc=bounces-1@x.example", "bounces-1@x.example"},
	    {"user+prvs=08918d5b80@x.example", "user@x.example"},
	    {"user+a+prvs=08918d5b80@x.example", "user+a@x.example"},
	    {"SRS0=ab1=cd=citrix.example=prvs=061b0cdbb=roger@y.example", "roger@citrix.example"},
	    {"SRS1=ab=hop.example==ab1=cd=x.example=u@y.example", "u@x.example"},
	    {"\"prvs=08918d5b80=a b\"@test.ex", "\"a b\"@test.ex"},
	    {"user@x.example", NULL},
	    {"prvs=@test.ex", NULL},
	    {"prvs=08918d5b80=@test.ex", NULL},
	    {"prvs=user=x@test.ex", NULL},
	    /* Too short for a tag, and too long. */
	    {"prvs=061b0cd=u@test.ex", NULL},
	    {"prvs=061b0cdbb1234=u@test.ex", NULL},
	    {"btv1==x@test.ex", NULL},
	    {"msprvs1=x@test.ex", NULL},
	    {"+prvs=08918d5b80@x.example", NULL},
	    {"SRS0=a@y.example", NULL},
	    {"SRS0=a=b=-=u@y.example", NULL},
	    {"SRS0lover@y.example", NULL},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct path p = address(cases[i].in), out;

		if (batv_strip_any(&p, &out) != (cases[i].out != NULL))
			fail_msg("%s", cases[i].in);
		assert_string_equal(out.text, cases[i].out ? cases[i].out : p.text);
	}
}

/* Nobody's tag gets another one before it. */
static void test_foreign_tags(void **state)
{
	static const char *const tagged[] = {
	    "prvs=userx=08918d5b80@test.ex", "btv1==0378a2e3dcb==user@test.ex",
	    "msprvs1=16789abc=b@test.ex",    "user+prvs=08918d5b80@test.ex",
	    "SRS0=a=b=x.example=u@test.ex",  "prvs=061b0cdbb=u@test.ex"};

	(void)state;
	for (size_t i = 0; i < N(tagged); i++) {
		struct path p = address(tagged[i]), out;

		assert_int_equal(batv_sign(&keys, &p, -1, 0, &out), BATV_ALREADY);
	}
}

static void test_not_hex(void **state)
{
	static const char *const tags[] = {
	    "prvs=0891zzzzzz=userx@test.ex",  "prvs=0891zz5b80=userx@test.ex",
	    "prvs=x8918d5b80=userx@test.ex",  "prvs=089x8d5b80=userx@test.ex",
	    "prvs=08918d5b8=userx@test.ex",   "prvs=08918d5b80@test.ex",
	    "prvs=08918d5b800=userx@test.ex", "prvs=@test.ex",
	    "prvs=userx=08918d5b80@test.ex",  "btv1==0891=userx@test.ex",
	    "prvs=-8918d5b80=userx@test.ex"};

	(void)state;
	for (size_t i = 0; i < N(tags); i++)
		if (verify(tags[i], signing_day(891)) != BATV_NOT_TAGGED)
			fail_msg("%s", tags[i]);
}

static void test_quoted(void **state)
{
	const int64_t now = signing_day(891);
	struct batv_result r;
	struct path p;
	char tag[PATH_TEXT_MAX + 1];

	(void)state;
	/* the tag goes inside the quotes; an @ in them is no separator */
	snprintf(tag, sizeof(tag), "%s", sign("\"a b\"@test.ex", 0, now));
	assert_memory_equal(tag, "\"prvs=0891", 10);
	assert_string_equal(tag + 16, "=a b\"@test.ex");
	p = address(tag);
	batv_verify(&keys, &p, now, &r);
	assert_int_equal(r.reason, BATV_VALID);
	assert_string_equal(r.original.text, "\"a b\"@test.ex");
	snprintf(tag, sizeof(tag), "%s", sign("\"a@b\"@test.ex", 0, now));
	assert_int_equal(verify(tag, now), BATV_VALID);
	/* quoted without need is the same mailbox */
	assert_string_equal(sign("\"userx\"@test.ex", 0, now), "prvs=08918d5b80=userx@test.ex");
}

static void test_left_alone(void **state)
{
	struct path null = {.null = true}, p, out;
	struct batv_keys none = {.newest = -1};
	char text[100];

	(void)state;
	assert_int_equal(batv_sign(&keys, &null, -1, 0, &out), BATV_NULL);
	assert_true(out.null && out.text[0] == '\0');
	p = address("prvs=08918d5b80=userx@test.ex");
	assert_int_equal(batv_sign(&keys, &p, -1, 0, &out), BATV_ALREADY);
	assert_string_equal(out.text, p.text);
	p = address("a@b.ex");
	assert_int_equal(batv_sign(&none, &p, -1, 0, &out), BATV_NO_KEY);
	assert_int_equal(batv_sign(&keys, &p, 7, 0, &out), BATV_NO_KEY);
	assert_int_equal(batv_sign(&keys, &p, 10, 0, &out), BATV_NO_KEY);
	for (int n = 47; n <= 50; n++) {
		memset(text, 'a', (size_t)n);
		snprintf(text + n, sizeof(text) - (size_t)n, "@b.ex");
		p = address(text);
		assert_int_equal(batv_sign(&keys, &p, -1, 0, &out),
				 n <= 48 ? BATV_SIGNED : BATV_TOO_LONG);
		if (n > 48)
			assert_string_equal(out.text, text);
	}
}

static void test_forms(void **state)
{
	static const struct {
		const char *address, *form;
	} forms[] = {
	    {"prvs=08918d5b80=userx@test.ex", "prvs"},
	    {"prvs=userx=08918d5b80@test.ex", "prvs-suffix"},
	    {"btv1==0378a2e3dcb==user@x.example", "btv1"},
	    {"msprvs1=16789abc=bounces@x.example", "msprvs1"},
	    {"user+prvs=08918d5b80@x.example", "plus-prvs"},
	    {"SRS0=ab=cd=x.example=user@y.example", "srs"},
	    {"user@x.example", "none"},
	    {"prvs=0496644b8b=u@x.example", "prvs"},
	    {"prvs=061b0cdbb=u@x.example", "prvs"},
	};

	(void)state;
	for (size_t i = 0; i < N(forms); i++) {
		struct path p = address(forms[i].address);

		assert_string_equal(batv_form(&p), forms[i].form);
	}
}

/* --- the keys file --- */

static void test_keys_parse(void **state)
{
	static const struct {
		const char *text, *err; /* err NULL: taken */
		int line, newest;
	} files[] = {
	    {"0 0123456789abcdef\n", NULL, 0, 0},
	    {"# a comment\n\n3 0123456789abcdef\n1 hex:000102030405060708090a0b0c0d0e0f\n", NULL, 0,
	     1},
	    {"0 0123456789abcdef", NULL, 0, 0},
	    {"0 0123456789abcdef\r\n", NULL, 0, 0},
	    {"", "no key", 1, 0},
	    {"# only\n", "no key", 2, 0},
	    {"0 short\n", "16 to 64", 1, 0},
	    {"0 hex:0011\n", "16 to 64", 1, 0},
	    {"0 hex:000102030405060708090a0b0c0d0e0g\n", "16 to 64", 1, 0},
	    {"0 0123456789 abcdef\n", "16 to 64", 1, 0},
	    {"0 01234567890123456789012345678901234567890123456789012345678901234\n", "16 to 64", 1,
	     0},
	    {"10 0123456789abcdef\n", "one digit", 1, 0},
	    {"x 0123456789abcdef\n", "one digit", 1, 0},
	    {"0\n", "one digit", 1, 0},
	    {"0 0123456789abcdef\n0 0123456789abcdef\n", "twice", 2, 0},
	};

	(void)state;
	for (size_t i = 0; i < N(files); i++) {
		struct batv_keys k;
		const char *err = "";
		int line = 0;
		bool ok = batv_keys_parse(files[i].text, strlen(files[i].text), &k, &line, &err);

		if (ok != (files[i].err == NULL))
			fail_msg("file %zu: %s", i, err);
		if (ok)
			assert_int_equal(k.newest, files[i].newest);
		else if (!strstr(err, files[i].err) || (files[i].line > 1 && line != files[i].line))
			fail_msg("file %zu: line %d: %s", i, line, err);
	}
}

static void test_keys_file(void **state)
{
	char dir[] = "/tmp/batv.XXXXXX", path[64], *err = NULL, tag[PATH_TEXT_MAX + 1];
	struct path p = address("a@b.ex"), out;
	struct batv_keys a, b;
	struct batv_result r;
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/keys", dir);
	assert_true(batv_keys_load(NULL, path, &a, &err)); /* made */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(batv_keys_load(NULL, path, &b, &err)); /* read */
	assert_int_equal(a.newest, b.newest);
	assert_memory_equal(&a.k[a.newest], &b.k[b.newest], sizeof(a.k[0]));
	assert_int_equal(batv_sign(&a, &p, -1, 0, &out), BATV_SIGNED);
	snprintf(tag, sizeof(tag), "%s", out.text);
	/* eleven rotations: each tag outlives nine of them, then its number is used again */
	for (int i = 1; i <= 11; i++) {
		assert_true(batv_keys_rotate(NULL, path, &a, &err));
		assert_int_equal(a.newest, i % 10);
		assert_true(batv_keys_load(NULL, path, &b, &err));
		assert_int_equal(b.newest, a.newest);
		p = address(tag);
		batv_verify(&b, &p, 0, &r);
		assert_int_equal(r.reason, i < 10 ? BATV_VALID : BATV_FORGED);
	}
	unlink(path);
	rmdir(dir);
	assert_false(batv_keys_load(NULL, "/proc/nothing/here", &a, &err));
	assert_non_null(strstr(err, "/proc/nothing/here"));
	talloc_free(err);
}

/* --- questions over the feed --- */

static void test_requests(void **state)
{
	static const struct {
		const char *op, *args, *want; /* a subset of the answer, or a string it contains */
		bool ok;
	} q[] = {
	    {"batv.sign", "{'address':'userx@test.ex','at_ms':1804982400000}",
	     "{'tagged':'prvs=0898", true},
	    {"batv.sign", "{'address':'J\xc3\xb6rg@test.ex','at_ms':1804982400000}",
	     "{'tagged':'prvs=0898", true},
	    {"batv.explain",
	     "{'address':'<prvs=0891d6fac9=J\xc3\xb6rg@test.ex>','at_ms':1804982400000}",
	     "'valid': true", true},
	    {"batv.sign", "{'address':'<>'}", "null sender", false},
	    {"batv.sign", "{'address':'x'}", "domain is missing", false},
	    {"batv.sign", "{}", "missing", false},
	    {"batv.sign", "{'address':'a@b.ex','key':9}", "no such key", false},
	    {"batv.sign", "{'address':'a@b.ex','at_ms':-5}", "1970", false},
	    {"batv.verify", "{'addresses':['userx@test.ex','nonsense',7]}", "not tagged", true},
	    {"batv.verify", "{'address':'userx@test.ex'}", "addresses is missing", false},
	    {"batv.explain", "{'address':'prvs=userx=08918d5b80@test.ex'}", "'form': 'prvs-suffix'",
	     true},
	    {"batv.explain", "{'address':'prvs=08918d5b80=userx@test.ex','at_ms':0}",
	     "'expiry_day': 891", true},
	    {"batv.nonsense", "{}", "does not know", false},
	};

	(void)state;
	for (size_t i = 0; i < N(q); i++) {
		char args[256], *text;
		bool ok;

		snprintf(args, sizeof(args), "%s", q[i].args);
		for (char *c = args; *c; c++)
			*c = *c == '\'' ? '"' : *c;
		json_t *a = json_loads(args, 0, NULL);
		json_t *r = batv_request("/nonexistent/keys", &keys, q[i].op, a, 0, &ok);

		text = json_dumps(r, JSON_ENCODE_ANY);
		for (char *c = text; *c; c++)
			*c = *c == '"' ? '\'' : *c;
		if (ok != q[i].ok || !strstr(text, q[i].want[0] == '{' ? "prvs=0" : q[i].want))
			fail_msg("%s %s: %s", q[i].op, args, text);
		free(text);
		json_decref(r);
		json_decref(a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_vectors, setup),
	    cmocka_unit_test_setup(test_indimail_example, setup),
	    cmocka_unit_test_setup(test_reasons, setup),
	    cmocka_unit_test_setup(test_window, setup),
	    cmocka_unit_test_setup(test_wrap_false_accept, setup),
	    cmocka_unit_test_setup(test_wrap_false_reject, setup),
	    cmocka_unit_test_setup(test_case, setup),
	    cmocka_unit_test_setup(test_not_hex, setup),
	    cmocka_unit_test_setup(test_case_as_given, setup),
	    cmocka_unit_test_setup(test_utf8, setup),
	    cmocka_unit_test_setup(test_strip_any, setup),
	    cmocka_unit_test_setup(test_foreign_tags, setup),
	    cmocka_unit_test_setup(test_quoted, setup),
	    cmocka_unit_test_setup(test_left_alone, setup),
	    cmocka_unit_test_setup(test_forms, setup),
	    cmocka_unit_test_setup(test_keys_parse, setup),
	    cmocka_unit_test_setup(test_keys_file, setup),
	    cmocka_unit_test_setup(test_requests, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
