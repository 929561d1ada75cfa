/* What 8-bit and binary messages become for a server of 7 bit: case tables, each whole and octet by
 * octet. fuzz_sevenbit.c shows that what is decoded is what was there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include <cmocka.h>

#include "msa/relay/relay_int.h"
#include "msa/relay/sevenbit.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define L    "\r\n"
#define UE   "\xc3\xbc"

#define X3(a)  a a a
#define X19(a) X3(X3(a a)) a
#define EURO   "\xe2\x82\xac"
#define MANY   X3(X19(EURO)) UE

static const struct seven_case {
	const char *name, *in, *out; /* out NULL: status and why */
	const char *status, *why;
	bool binary;
} cases[] = {
    {"7 bit stays as it is", "A: b" L L "x=\t" L, "A: b" L L "x=\t" L, NULL, NULL, false},
    {"text of no type is UTF-8", "A: b" L L "gr" UE "n" L,
     "A: b" L "MIME-Version: 1.0" L "Content-Type: text/plain; charset=utf-8" L
     "Content-Transfer-Encoding: quoted-printable" L L "gr=C3=BCn" L,
     NULL, NULL, false},
    {"or of unknown characters", "A: b" L L "gr\xfcn gr\xfcn" L,
     "A: b" L "MIME-Version: 1.0" L "Content-Type: text/plain; charset=unknown-8bit" L
     "Content-Transfer-Encoding: quoted-printable" L L "gr=FCn gr=FCn" L,
     NULL, NULL, false},
    {"the label is changed, with its folded lines",
     "MIME-Version: 1.0" L "Content-transfer-encoding:" L " 8bit (c)" L "Content-Type: text/html" L
     "B: c" L L UE "1234567890123456789012345 =" L,
     "MIME-Version: 1.0" L "Content-Type: text/html" L "B: c" L
     "Content-Transfer-Encoding: quoted-printable" L L "=C3=BC1234567890123456789012345 =3D" L,
     NULL, NULL, false},
    {"blanks at the end of a line, a dash at its beginning",
     "MIME-Version: 1.0" L "Content-Type: text/plain" L L UE "1234567890123456789012345 " L "-- " L
     "x\t",
     "MIME-Version: 1.0" L "Content-Type: text/plain" L
     "Content-Transfer-Encoding: quoted-printable" L L "=C3=BC1234567890123456789012345=20" L
     "=2D-=20" L "x=09=" L,
     NULL, NULL, false},
    {"a long line",
     "MIME-Version: 1.0" L "Content-Type: text/plain" L L UE
     "1234567890123456789012345678901234567890123456789012345678901234567890123456789" L,
     "MIME-Version: 1.0" L "Content-Type: text/plain" L
     "Content-Transfer-Encoding: quoted-printable" L L
     "=C3=BC123456789012345678901234567890123456789012345678901234567890123456789=" L
     "0123456789" L,
     NULL, NULL, false},
    {"text that is mostly not ASCII", "MIME-Version: 1.0" L "Content-Type: text/plain" L L MANY L,
     "MIME-Version: 1.0" L "Content-Type: text/plain" L
     "Content-Transfer-Encoding: base64" L L X3(X19("4oKs") L) "w7wNCg==" L,
     NULL, NULL, false},
    {"part by part",
     "MIME-Version: 1.0" L "Content-Type: multipart/mixed;" L "\tboundary=\"b c\"" L
     "Content-Transfer-Encoding: 8bit" L L "pre" UE L "--b c" L L "seven" L "--b c \t" L
     "Content-Type: image/png" L "Content-Transfer-Encoding: binary" L L "\xff"
     "ab" L L "--b c--" L "post\x80",
     "MIME-Version: 1.0" L "Content-Type: multipart/mixed;" L "\tboundary=\"b c\"" L
     "Content-Transfer-Encoding: 7bit" L L "pre??" L "--b c" L L "seven" L "--b c \t" L
     "Content-Type: image/png" L "Content-Transfer-Encoding: base64" L L "/2FiDQo=" L "--b c--" L
     "post?",
     NULL, NULL, false},
    {"a message in a message",
     "MIME-Version: 1.0" L "Content-Type: message/rfc822" L "Content-Transfer-Encoding: 8bit" L L
     "Subject: in" L L UE "1234567890123456789" L,
     "MIME-Version: 1.0" L "Content-Type: message/rfc822" L "Content-Transfer-Encoding: 7bit" L L
     "Subject: in" L "MIME-Version: 1.0" L "Content-Type: text/plain; charset=utf-8" L
     "Content-Transfer-Encoding: quoted-printable" L L "=C3=BC1234567890123456789" L,
     NULL, NULL, false},
    {"messages in a digest",
     "Content-Type: multipart/digest; boundary=d" L L "--d" L L "A: b" L L "\xff" L "--d--" L,
     "Content-Type: multipart/digest; boundary=d" L L "--d" L L "A: b" L "MIME-Version: 1.0" L
     "Content-Type: text/plain; charset=unknown-8bit" L
     "Content-Transfer-Encoding: quoted-printable" L L "=FF" L "--d--" L,
     NULL, NULL, false},
    {"what is signed and 7 bit keeps even its label",
     "Content-Type: multipart/mixed; boundary=o" L L "--o" L
     "Content-Type: multipart/signed; boundary=s" L L "--s" L "Content-Transfer-Encoding: 8bit" L L
     "x" L "--s" L L "sig" L "--s--" L "--o" L L UE L "--o--" L,
     "Content-Type: multipart/mixed; boundary=o" L L "--o" L
     "Content-Type: multipart/signed; boundary=s" L L "--s" L "Content-Transfer-Encoding: 8bit" L L
     "x" L "--s" L L "sig" L "--s--" L "--o" L "Content-Transfer-Encoding: quoted-printable" L L
     "=C3=BC" L "--o--" L,
     NULL, NULL, false},
    {"what is signed and is not",
     "Content-Type: multipart/signed; boundary=s" L L "--s" L L UE L "--s" L L "sig" L "--s--" L,
     NULL, "5.6.2", "signed", false},
    {"signed, deeper",
     "Content-Type: multipart/signed; boundary=s" L L "--s" L
     "Content-Type: multipart/mixed; boundary=i" L L "--i" L L UE L "--i--" L "--s--" L,
     NULL, "5.6.2", "signed", false},
    {"a header", "Subject: " UE L L "x" L, NULL, "5.6.9", "header", false},
    {"message/partial", "Content-Type: message/partial" L L UE L, NULL, "5.6.3", "encoded", false},
    {"message/global may be encoded", "MIME-Version: 1.0" L "Content-Type: message/global" L L UE L,
     "MIME-Version: 1.0" L "Content-Type: message/global" L "Content-Transfer-Encoding: base64" L L
     "w7wNCg==" L,
     NULL, NULL, false},
    {"a label that is not true", "Content-Transfer-Encoding: base64" L L UE L, NULL, "5.6.3",
     "encoded", false},
    {"two types", "Content-Type: text/plain" L "Content-Type: multipart/mixed; boundary=b" L L UE,
     NULL, "5.6.3", "encoded", false},
    {"no boundary", "Content-Type: multipart/mixed" L L UE, NULL, "5.6.3", "encoded", false},
    {"is it a boundary?", "Content-Type: multipart/mixed; boundary=b" L L "--b" L L UE L "--bc" L,
     NULL, "5.6.3", "boundary", false},
    {"the outer boundary ends what is in it",
     "Content-Type: multipart/mixed; boundary=o" L L "--o" L
     "Content-Type: multipart/mixed; boundary=i" L L "--i" L L UE L "--o" L L "y" L "--o--" L,
     "Content-Type: multipart/mixed; boundary=o" L L "--o" L
     "Content-Type: multipart/mixed; boundary=i" L L "--i" L
     "Content-Transfer-Encoding: quoted-printable" L L "=C3=BC" L "--o" L L "y" L "--o--" L,
     NULL, NULL, false},
    {"the end is missing", "Content-Type: multipart/mixed; boundary=o" L L "--o" L L UE L,
     "Content-Type: multipart/mixed; boundary=o" L L "--o" L
     "Content-Transfer-Encoding: quoted-printable" L L "=C3=BC" L,
     NULL, NULL, false},
    {"binary: line ends of other kinds are data",
     "MIME-Version: 1.0" L "Content-Type: text/plain" L L "a\nb\rc",
     "MIME-Version: 1.0" L "Content-Type: text/plain" L "Content-Transfer-Encoding: base64" L L
     "YQpiDWM=" L,
     NULL, NULL, true},
    {"else they are line ends", "A: b" L L "a\nb\rc", "A: b" L L "a" L "b" L "c", NULL, NULL,
     false},
    {"binary: no boundary within a line",
     "Content-Type: multipart/mixed; boundary=b" L L "pre\n--b\n" L "--b" L L "x\n--b\n" L
     "--b--" L,
     "Content-Type: multipart/mixed; boundary=b" L L "pre?--b?" L "--b" L
     "Content-Transfer-Encoding: base64" L L "eAotLWIK" L "--b--" L,
     NULL, NULL, true},
};

struct text {
	char buf[8192];
	size_t n;
};

static void out(const void *data, size_t n, void *arg)
{
	struct text *t = arg;

	assert_true(t->n + n < sizeof(t->buf));
	memcpy(t->buf + t->n, data, n);
	t->n += n;
	t->buf[t->n] = '\0';
}

static void feed(struct sevenbit *s, const char *in, size_t step)
{
	for (size_t at = 0, n = strlen(in); at < n; at += step)
		sevenbit_feed(s, (const uint8_t *)in + at, step < n - at ? step : n - at);
}

static void converted(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		for (size_t step = 1; step < 10000; step = step * 3 + 1) {
			const struct seven_case *k = &cases[i];
			struct sevenbit *s = sevenbit_scan(NULL, k->binary);
			static struct text t;
			feed(s, k->in, step);
			(void)sevenbit_end(s);
			struct sevenbit_plan *p = sevenbit_plan(s, NULL);
			talloc_free(s);
			if (strcmp(p->status, k->status ? k->status : "") != 0 ||
			    (k->why && !strstr(p->why, k->why)))
				fail_msg("%s: %s %s", k->name, p->status, p->why);
			t.n = 0;
			s = k->status ? NULL : sevenbit_convert(NULL, k->binary, p, out, &t);
			if (s) {
				feed(s, k->in, step);
				assert_true(sevenbit_end(s));
				if (strcmp(t.buf, k->out) != 0)
					fail_msg("%s:\n%s", k->name, t.buf);
				assert_in_range(p->size + 128, t.n, t.n + 400);
			}
			talloc_free(s);
			talloc_free(p);
		}
}

/* Too deep, too many, too long: it is not converted, and memory stays bounded. */
static void bounds(void **state)
{
	static const struct {
		const char *head, *again, *why;
		size_t times;
	} floods[] = {
	    {"", "Content-Type: message/rfc822" L L, "deep", 101},
	    {"Content-Type: multipart/mixed; boundary=b" L L, "--b" L L, "many", 10001},
	    {"A: ", "0123456789", "long", 30000},
	};

	(void)state;
	for (size_t i = 0; i < N(floods); i++) {
		struct sevenbit *s = sevenbit_scan(NULL, false);
		feed(s, floods[i].head, 100);
		for (size_t k = 0; k < floods[i].times; k++)
			feed(s, floods[i].again, 100);
		assert_true(talloc_total_size(s) < 2u << 20);
		(void)sevenbit_end(s);
		struct sevenbit_plan *p = sevenbit_plan(s, NULL);
		assert_string_equal(p->status, "5.6.3");
		assert_non_null(strstr(p->why, floods[i].why));
		talloc_free(p);
		talloc_free(s);
	}
}

/* A message that changed between the two times is not sent. */
static void another_message(void **state)
{
	struct sevenbit *s = sevenbit_scan(NULL, false);
	struct sevenbit_plan *p;
	static struct text t;

	(void)state;
	feed(s, "A: b" L L UE, 100);
	(void)sevenbit_end(s);
	p = sevenbit_plan(s, NULL);
	talloc_free(s);
	t.n = 0;
	s = sevenbit_convert(NULL, false, p, out, &t);
	feed(s, "Content-Type: message/rfc822" L L "A: b" L L UE, 100);
	assert_false(sevenbit_end(s));
	talloc_free(s);
	talloc_free(p);
}

static void tls_required(void **state)
{
	static const struct {
		const char *header;
		bool no;
	} headers[] = {
	    {"A: b" L "TLS-Required: No" L L, true},
	    {"tls-required:no" L "A: b" L L, true},
	    {"TLS-Required :" L "  NO\t" L L, true},
	    {"TLS-Required: No" L, true},
	    {"TLS-Required: No" L "TLS-Required: No" L L, false},
	    {"TLS-Required: No" L "TLS-Required: Yes" L L, false},
	    {"TLS-Required: None" L L, false},
	    {"TLS-Required:" L L, false},
	    {"X-TLS-Required: No" L L, false},
	    {"A: b" L L "TLS-Required: No" L, false},
	    {"A: b" L " TLS-Required: No" L L, false},
	    {"", false},
	};

	(void)state;
	for (size_t i = 0; i < N(headers); i++)
		if (header_tls_optional(headers[i].header, strlen(headers[i].header)) !=
		    headers[i].no)
			fail_msg("%s", headers[i].header);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(converted),
	    cmocka_unit_test(bounds),
	    cmocka_unit_test(another_message),
	    cmocka_unit_test(tls_required),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
