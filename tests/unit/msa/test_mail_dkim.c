/* dkim: the table, which key is due, and signatures, put before an independent verifier (dkimpy)
 * where there is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "msa/mail/dkim.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define NOW  INT64_C(1795352890000) /* 2026-11-22 */

static const char table[] = "# keys\n"
			    "isp.example  r1 /k/r1 until=2026-12-01T00:00:00Z\n"
			    "ISP.example  e1 /k/e1\n"
			    "isp.example  r2 /k/r2 from=2026-11-30T00:00:00Z\n"
			    "\n"
			    "shop.example s  /k/s\n";

static EVP_PKEY *pkeys[4];

/* The PEM text of a new key; free() it. */
static char *pem_of(EVP_PKEY *key, size_t *len)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p, *out;
	long n;

	assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
	n = BIO_get_mem_data(bio, &p);
	out = malloc((size_t)n + 1);
	assert_non_null(out);
	memcpy(out, p, (size_t)n);
	out[n] = '\0';
	*len = (size_t)n;
	BIO_free(bio);
	return out;
}

static struct dkim_table *parse(const char *text)
{
	struct dkim_table *t;
	char *err = NULL;
	int line;

	t = dkim_table_parse(NULL, text, strlen(text), &line, &err);
	if (!t)
		fail_msg("line %d: %s", line, err);
	return t;
}

static struct dkim_table *with_keys(void)
{
	struct dkim_table *t = parse(table);
	const char *err;

	for (size_t i = 0; i < dkim_table_size(t); i++) {
		size_t len;
		char *pem = pem_of(pkeys[i], &len);

		if (!dkim_table_key(t, i, pem, len, &err))
			fail_msg("key %zu: %s", i, err);
		free(pem);
	}
	return t;
}

static void test_table(void **state)
{
	struct dkim_table *t = parse(table);

	(void)state;
	assert_int_equal(dkim_table_size(t), 4);
	assert_string_equal(dkim_table_file(t, 1), "/k/e1");
	assert_null(dkim_table_domain(t, "isp.example", NOW)); /* no keys yet */
	talloc_free(t);
}

static void test_wrong_tables(void **state)
{
	static const struct {
		const char *text;
		int line;
		const char *err;
	} cases[] = {
	    {"isp.example\n", 1, "DOMAIN SELECTOR KEYFILE"},
	    {"# x\nisp.example s1\n", 2, "DOMAIN SELECTOR KEYFILE"},
	    {"isp..example s1 /k\n", 1, "not a domain"},
	    {"[192.0.2.1] s1 /k\n", 1, "not a domain"},
	    {"isp.example s_!1 /k\n", 1, "not a selector"},
	    {"isp.example s1 k\n", 1, "must begin with /"},
	    {"isp.example s1 /k until=soon\n", 1, "until=soon: a time"},
	    {"isp.example s1 /k from=+3d\n", 1, "from=+3d: a time"},
	    {"isp.example s1 /k sometime\n", 1, "may follow"},
	    {"isp.example s1 /k from=2026-12-02 until=2026-12-01\n", 1, "not after"},
	    {"isp.example s1 /k\nISP.example S1 /l\n", 2, "twice"},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		char *err = NULL;
		int line = 0;

		if (dkim_table_parse(NULL, cases[i].text, strlen(cases[i].text), &line, &err))
			fail_msg("case %zu is taken", i);
		if (!err || !strstr(err, cases[i].err) || line != cases[i].line)
			fail_msg("case %zu: line %d: %s", i, line, err ? err : "-");
		talloc_free(err);
	}
}

static void test_wrong_keys(void **state)
{
	struct dkim_table *t = parse("isp.example s1 /k\n");
	EVP_PKEY *ec = EVP_EC_gen("P-256"), *small = EVP_RSA_gen(768);
	EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	const char *err;
	char *pem;
	size_t len;

	(void)state;
	assert_false(dkim_table_key(t, 0, "x", 1, &err));
	assert_non_null(strstr(err, "PEM"));
	pem = pem_of(ec, &len);
	assert_false(dkim_table_key(t, 0, pem, len, &err));
	assert_non_null(strstr(err, "RSA key is expected"));
	free(pem);
	pem = pem_of(small, &len);
	assert_false(dkim_table_key(t, 0, pem, len, &err));
	assert_non_null(strstr(err, "1024"));
	free(pem);
	pem = pem_of(ed, &len);
	assert_false(dkim_table_key(t, 0, pem, len, &err));
	assert_non_null(strstr(err, "Ed25519 keys are not taken"));
	free(pem);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(ed);
	EVP_PKEY_free(small);
	talloc_free(t);
}

static void test_domain(void **state)
{
	struct dkim_table *t = with_keys();

	(void)state;
	assert_string_equal(dkim_table_domain(t, "isp.example", NOW), "isp.example");
	assert_string_equal(dkim_table_domain(t, "a.b.isp.example", NOW), "isp.example");
	assert_string_equal(dkim_table_domain(t, "shop.example", NOW), "shop.example");
	assert_null(dkim_table_domain(t, "notisp.example", NOW));
	assert_null(dkim_table_domain(t, "example", NOW));
	assert_null(dkim_table_domain(t, "", NOW));
	talloc_free(t);
}

static size_t count(const char *s, const char *what)
{
	size_t n = 0;

	for (; (s = strstr(s, what)) != NULL; s += strlen(what))
		n++;
	return n;
}

static char *sign(const struct dkim_table *t, const char *message, int64_t now)
{
	char *err = NULL, *out;

	out = dkim_table_sign(NULL, t, "isp.example", "q1", (const uint8_t *)message,
			      strlen(message), now, &err);
	if (!out)
		fail_msg("%s", err);
	return out;
}

#define MESSAGE                                                                                    \
	"From: a@isp.example\r\nSubject: x\r\n\tfolded \xc3\xb6\r\nX-Y: 1\r\nTo: "                 \
	"b@far.example\r\n"                                                                        \
	"\r\nbody  \r\n\r\nmore\r\n\r\n"

/* Which keys sign when: before, in, and after the overlap. */
static void test_rotation(void **state)
{
	static const struct {
		int64_t now;
		bool r1, r2;
	} times[] = {
	    {NOW, true, false},
	    {INT64_C(1796040000000), true, true}, /* 2026-11-30T12 */
	    {INT64_C(1796083199999), true, true},
	    {INT64_C(1796083200000), false, true}, /* 2026-12-01T00:00:00Z */
	};
	struct dkim_table *t = with_keys();

	(void)state;
	for (size_t i = 0; i < N(times); i++) {
		char *s = sign(t, MESSAGE, times[i].now);

		assert_int_equal(count(s, "DKIM-Signature: v=1;"), 1u + times[i].r1 + times[i].r2);
		assert_int_equal(count(s, "s=r1;"), times[i].r1);
		assert_int_equal(count(s, "s=r2;"), times[i].r2);
		assert_int_equal(count(s, "s=e1;"), 1);
		assert_int_equal(count(s, "d=isp.example;"), count(s, "c=relaxed/relaxed"));
		assert_int_equal(strcmp(s + strlen(s) - 2, "\r\n"), 0);
		talloc_free(s);
	}
	talloc_free(t);
}

/* Nothing a client may send keeps a message from being signed. */
static void test_odd_fields(void **state)
{
	static const char *const odd[] = {
	    "X \t:1\r\nFrom\t: a@isp.example\r\n\r\n",
	    "From: a@isp.example\r\nX:\x01\x7f\xff\x80\x0b\r\n\r\nb\r\n",
	    "From: a@isp.example\r\n!#$%&'*+-.^_`{|}~: x\r\n\r\n",
	    "Sender: <a@isp.example>\r\n\r\n", /* no From: of the client's */
	    "From: a@isp.example",
	};
	struct dkim_table *t = with_keys();
	char *err, *s;

	(void)state;
	for (size_t i = 0; i < N(odd); i++) {
		err = NULL;
		s = dkim_table_sign(NULL, t, "isp.example", "q1", (const uint8_t *)odd[i],
				    strlen(odd[i]), NOW, &err);
		if ((s == NULL) != (i == 3))
			fail_msg("case %zu: %s", i, err ? err : "signed");
		talloc_free(s);
		talloc_free(err);
	}
	talloc_free(t);
}

/* Lines end with CRLF, are folded, and each field begins with its name. */
static void test_form(void **state)
{
	struct dkim_table *t = with_keys();
	char *s = sign(t, MESSAGE, NOW), *line = s, *nl;

	(void)state;
	for (; *line; line = nl + 1) {
		nl = strchr(line, '\n');
		assert_non_null(nl);
		assert_true(nl > line && nl[-1] == '\r' && nl - line < 200);
		assert_true(line[0] == '\t' || line[0] == ' ' ||
			    strncmp(line, "DKIM-Signature: ", 16) == 0);
	}
	/* oversigned: once more than they are there */
	assert_true(count(s, ":From:") + count(s, "=From:") >= 2);
	talloc_free(s);
	talloc_free(t);
}

/* --- the verifier --- */

static const char verifier[] =
    "import sys, dkim\n"
    "rec = dict(l.rstrip('\\n').split(' ', 1) for l in open(sys.argv[2]))\n"
    "d = dkim.DKIM(open(sys.argv[1], 'rb').read())\n"
    "n = int(sys.argv[3])\n"
    "ok = all(d.verify(idx=i, dnsfunc=lambda name, timeout=5: rec.get(name.decode().rstrip('.'), "
    "'').encode()) for i in range(n))\n"
    "sys.exit(0 if ok else 1)\n";

static char folder[] = "/tmp/sekisho-dkim-XXXXXX";

static void write_file(const char *name, const void *data, size_t len)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static char *base64(const uint8_t *p, size_t n)
{
	char *out = malloc((n + 2) / 3 * 4 + 1);

	assert_non_null(out);
	EVP_EncodeBlock((unsigned char *)out, p, (int)n);
	return out;
}

static int record(char *out, size_t cap, const char *name, EVP_PKEY *key)
{
	uint8_t *der = NULL;
	int n = i2d_PUBKEY(key, &der);
	char *b64 = base64(der, (size_t)n);
	int len = snprintf(out, cap, "%s._domainkey.isp.example v=DKIM1; k=rsa; p=%s\n", name, b64);

	OPENSSL_free(der);
	free(b64);
	return len;
}

/* Does python's dkim accept the first n signatures? */
static bool verifies(const char *fields, const char *message, int n)
{
	char cmd[256], records[4096];
	char *all = talloc_asprintf(NULL, "%s%s", fields, message);
	int len = record(records, sizeof(records), "r1", pkeys[0]), st;

	len += record(records + len, sizeof(records) - (size_t)len, "e1", pkeys[1]);
	write_file("message", all, strlen(all));
	write_file("records", records, (size_t)len);
	write_file("verify.py", verifier, sizeof(verifier) - 1);
	talloc_free(all);
	snprintf(cmd, sizeof(cmd),
		 "/usr/bin/python3 %s/verify.py %s/message %s/records %d 2>/dev/null", folder,
		 folder, folder, n);
	st = system(cmd);
	return WIFEXITED(st) && WEXITSTATUS(st) == 0;
}

static void test_verified(void **state)
{
	static const char *const messages[] = {
	    MESSAGE,
	    "From: a@isp.example\r\n\r\n",
	    "From: a@isp.example\r\n\r\n\r\n\r\n",
	    "From: a@isp.example\r\nFrom: b@isp.example\r\n\r\nno line end",
	    "From: a@isp.example\r\nX: \r\n \r\n\t\r\nSubject:\r\n x\r\n\r\n.\r\n \r\n",
	    "X-Mailbox-Line: From a@b\r\nFrom: a@isp.example\r\nContent-Type: "
	    "text/plain\r\n\r\n\x80\xff\r\n",
	};
	struct dkim_table *t = with_keys();

	(void)state;
	if (system("/usr/bin/python3 -c 'import dkim' 2>/dev/null") != 0)
		skip(); /* python3-dkim is not installed */
	for (size_t i = 0; i < N(messages); i++) {
		char *s = sign(t, messages[i], NOW), *forged;

		if (!verifies(s, messages[i], 2))
			fail_msg("message %zu:\n%s%s", i, s, messages[i]);
		/* what was oversigned cannot be added, and a byte cannot change */
		forged = talloc_asprintf(s, "Subject: other\r\n%s", messages[i]);
		assert_false(verifies(s, forged, 1));
		forged = talloc_asprintf(s, "%sx\r\n", messages[i]);
		assert_false(verifies(s, forged, 1));
		talloc_free(s);
	}
	talloc_free(t);
}

static int setup(void **state)
{
	(void)state;
	pkeys[0] = EVP_RSA_gen(2048);
	pkeys[1] = EVP_RSA_gen(1024);
	pkeys[2] = EVP_RSA_gen(1024);
	pkeys[3] = EVP_RSA_gen(1024);
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	static const char *const files[] = {"message", "records", "verify.py"};
	char path[64];

	(void)state;
	for (size_t i = 0; i < N(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		unlink(path);
	}
	for (size_t i = 0; i < N(pkeys); i++)
		EVP_PKEY_free(pkeys[i]);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),      cmocka_unit_test(test_wrong_tables),
	    cmocka_unit_test(test_wrong_keys), cmocka_unit_test(test_domain),
	    cmocka_unit_test(test_rotation),   cmocka_unit_test(test_form),
	    cmocka_unit_test(test_verified),   cmocka_unit_test(test_odd_fields),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
