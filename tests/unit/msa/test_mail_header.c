/* header, mailbox, received: what is added, what is removed, and that every other byte stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/mail/header.h"
#include "msa/mail/mailbox.h"
#include "msa/mail/received.h"

#define N(a)   (sizeof(a) / sizeof *(a))
#define TOP    "Received: x\r\nX-Sekisho-Trace: 0123\r\n"
#define SENDER "Sender: <user01@isp.example>\r\n"
#define ID     "Message-ID: <q@smtp.isp.example>\r\n"
#define DATE   "Date: Sun, 22 Nov 2026 13:08:10 +0000\r\n"
#define OWN    "From: user01@isp.example\r\nMessage-ID: <1@c>\r\nDate: today\r\n"

struct sink {
	char *buf;
	size_t len, cap;
};

static void out(const void *data, size_t len, void *arg)
{
	struct sink *s = arg;

	if (s->len + len + 1 > s->cap) {
		s->cap = (s->len + len + 1) * 2;
		s->buf = realloc(s->buf, s->cap);
		assert_non_null(s->buf);
	}
	memcpy(s->buf + s->len, data, len);
	s->len += len;
	s->buf[s->len] = '\0';
}

static struct path account;

static void edit_all(const char *in, size_t len, size_t step, enum sender_mode mode, struct sink *s,
		     char id[260], unsigned *hops)
{
	const struct header_opts o = {&account,
				      mode,
				      "Received: x\r\n",
				      "0123",
				      "q@smtp.isp.example",
				      "Sun, 22 Nov 2026 13:08:10 +0000"};
	struct header_editor *h;

	s->len = 0;
	h = header_new(NULL, &o, out, s);
	for (size_t at = 0; at < len; at += step)
		header_feed(h, (const uint8_t *)in + at, step < len - at ? step : len - at);
	header_end(h);
	snprintf(id, 260, "%s", header_message_id(h));
	*hops = header_hops(h);
	talloc_free(h);
}

static const struct {
	const char *in, *out;
	enum sender_mode mode;
} cases[] = {
    {OWN "\r\nbody\r\n", TOP OWN "\r\nbody\r\n", SENDER_WHEN_DIFFERENT},
    {OWN "\r\nSender: x\r\nBcc: y\r\n", TOP OWN "\r\nSender: x\r\nBcc: y\r\n",
     SENDER_WHEN_DIFFERENT},
    /* From: of somebody else, of several, missing, twice, in disguise */
    {"From: boss@isp.example\r\nMessage-ID: <1@c>\r\nDate: today\r\n\r\n",
     TOP "From: boss@isp.example\r\nMessage-ID: <1@c>\r\nDate: today\r\n" SENDER "\r\n",
     SENDER_WHEN_DIFFERENT},
    {"from: user01@isp.example, b@c.example\r\nmessage-id: <1@c>\r\nDATE: today\r\n\r\n",
     TOP "from: user01@isp.example, b@c.example\r\nmessage-id: <1@c>\r\nDATE: today\r\n" SENDER
	 "\r\n",
     SENDER_WHEN_DIFFERENT},
    {"Subject: x\r\n\r\n", TOP "Subject: x\r\n" SENDER ID DATE "\r\n", SENDER_WHEN_DIFFERENT},
    {"From: user01@isp.example\r\nFrom: a@b.example\r\nMessage-ID: <1@c>\r\nDate: t\r\n\r\n",
     TOP "From: user01@isp.example\r\nFrom: a@b.example\r\nMessage-ID: <1@c>\r\nDate: t\r\n" SENDER
	 "\r\n",
     SENDER_WHEN_DIFFERENT},
    {"From: \"user01@isp.example\" <a@b.example>\r\nMessage-ID: <1@c>\r\nDate: t\r\n\r\n",
     TOP "From: \"user01@isp.example\" <a@b.example>\r\nMessage-ID: <1@c>\r\nDate: t\r\n" SENDER
	 "\r\n",
     SENDER_WHEN_DIFFERENT},
    {"From:\r\n =?utf-8?q?J=C3=B6rg?=\r\n <User01+x@ISP.example> (me)\r\nMessage-ID: "
     "<1@c>\r\nDate: t\r\n\r\n",
     TOP "From:\r\n =?utf-8?q?J=C3=B6rg?=\r\n <User01+x@ISP.example> (me)\r\nMessage-ID: "
	 "<1@c>\r\nDate: t\r\n\r\n",
     SENDER_WHEN_DIFFERENT},
    /* a client's own Sender:, Return-Path, Bcc and trace are removed, with folds and odd spelling
     */
    {OWN "Sender: forged@x\r\n more\r\n\tand more\r\nTo: a@b\r\n\r\n", TOP OWN "To: a@b\r\n\r\n",
     SENDER_WHEN_DIFFERENT},
    {OWN "SENDER \t: forged@x\r\nbcc: a@b\r\n ,c@d\r\nReturn-Path: <x>\r\nX-sekisho-TRACE: "
	 "9\r\nResent-Bcc: z\r\nX: 1\r\n\r\n",
     TOP OWN "X: 1\r\n\r\n", SENDER_WHEN_DIFFERENT},
    {"Bcc: a@b\r\n" OWN "\r\n", TOP OWN "\r\n", SENDER_WHEN_DIFFERENT},
    {OWN "Bccs: a\r\nX-Bcc: b\r\nSenders: c\r\n\r\n",
     TOP OWN "Bccs: a\r\nX-Bcc: b\r\nSenders: c\r\n\r\n", SENDER_WHEN_DIFFERENT},
    /* modes */
    {OWN "\r\n", TOP OWN SENDER "\r\n", SENDER_ALWAYS},
    {OWN "Sender: x@y\r\n\r\n", TOP OWN SENDER "\r\n", SENDER_ALWAYS},
    {"From: a@b\r\nSender: x@y\r\nMessage-ID: <1>\r\nDate: t\r\n\r\n",
     TOP "From: a@b\r\nSender: x@y\r\nMessage-ID: <1>\r\nDate: t\r\n\r\n", SENDER_OFF},
    /* the first line of a mailbox file; not another one, and not the field */
    {"From a@b Mon Jan  1 00:00:00 2024\r\n" OWN "Bcc: x\r\n\r\nbody\r\n",
     TOP "X-Mailbox-Line: From a@b Mon Jan  1 00:00:00 2024\r\n" OWN "\r\nbody\r\n",
     SENDER_WHEN_DIFFERENT},
    {">From a@b yesterday\r\n" OWN "\r\n", TOP "X-Mailbox-Line: >From a@b yesterday\r\n" OWN "\r\n",
     SENDER_WHEN_DIFFERENT},
    {OWN "From a@b Mon\r\nBcc: x\r\n", TOP OWN "\r\nFrom a@b Mon\r\nBcc: x\r\n",
     SENDER_WHEN_DIFFERENT},
    {"From a\r\nFrom b\r\n", TOP "X-Mailbox-Line: From a\r\n" SENDER ID DATE "\r\nFrom b\r\n",
     SENDER_WHEN_DIFFERENT},
    {"From : user01@isp.example\r\nMessage-ID: <1@c>\r\nDate: t\r\n\r\n",
     TOP "From : user01@isp.example\r\nMessage-ID: <1@c>\r\nDate: t\r\n\r\n",
     SENDER_WHEN_DIFFERENT},
    /* no header at all, no body, a line that is no field, a fold with nothing before it */
    {"\r\nbody\r\n", TOP SENDER ID DATE "\r\nbody\r\n", SENDER_WHEN_DIFFERENT},
    {"", TOP SENDER ID DATE, SENDER_WHEN_DIFFERENT},
    {OWN, TOP OWN, SENDER_WHEN_DIFFERENT},
    {OWN "no field here\r\nTo: x\r\n", TOP OWN "\r\nno field here\r\nTo: x\r\n",
     SENDER_WHEN_DIFFERENT},
    {" fold\r\n" OWN, TOP SENDER ID DATE "\r\n fold\r\n" OWN, SENDER_WHEN_DIFFERENT},
    {OWN ": nothing\r\n\r\n", TOP OWN "\r\n: nothing\r\n\r\n", SENDER_WHEN_DIFFERENT},
    {OWN "Subj", TOP OWN "\r\nSubj", SENDER_WHEN_DIFFERENT},
    {OWN "X: \xff\x80\xfe\r\n \r\n \t\r\nY: 2\r\n\r\n\xff",
     TOP OWN "X: \xff\x80\xfe\r\n \r\n \t\r\nY: 2\r\n\r\n\xff", SENDER_WHEN_DIFFERENT},
};

static void test_header_cases(void **state)
{
	struct sink s = {NULL, 0, 0};
	char id[260];
	unsigned hops;

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		for (size_t step = 1; step <= strlen(cases[i].in) + 1; step++) {
			edit_all(cases[i].in, strlen(cases[i].in), step, cases[i].mode, &s, id,
				 &hops);
			if (strcmp(s.buf, cases[i].out) != 0)
				fail_msg("case %zu step %zu:\n%s---\n%s", i, step, s.buf,
					 cases[i].out);
		}
	free(s.buf);
}

static void test_header_facts(void **state)
{
	static const struct {
		const char *in, *id;
		unsigned hops;
	} facts[] = {
	    {"Message-ID: <a@b>\r\n\r\n", "<a@b>", 0},
	    {"Message-ID:\r\n <a@b>\r\n\tmore\r\n\r\n", "<a@b>", 0},
	    {"Message-Id:<a@b> (x)\r\n\r\n", "<a@b>", 0},
	    {"Message-ID: \r\n\r\n", "", 0},
	    {"X: 1\r\n\r\n", "<q@smtp.isp.example>", 0},
	    {"Received: a\r\n b\r\nReceived : c\r\nX: 1\r\n\r\nReceived: d\r\n",
	     "<q@smtp.isp.example>", 2},
	};
	struct sink s = {NULL, 0, 0};
	char id[260];
	unsigned hops;

	(void)state;
	for (size_t i = 0; i < N(facts); i++) {
		edit_all(facts[i].in, strlen(facts[i].in), 3, SENDER_OFF, &s, id, &hops);
		assert_string_equal(id, facts[i].id);
		assert_int_equal(hops, facts[i].hops);
	}
	free(s.buf);
}

/* Random headers of kept and dropped fields: the output is the input without the dropped ones,
 * between what is added. */
static void test_header_property(void **state)
{
	static const char *const kept[] = {"X-A: 1\r\n", "Subject: \xc3\xb6 \xff\r\n folded\r\n",
					   "To: a@b,\r\n\tc@d\r\n", "Received: q\r\n",
					   "List-Id : x\r\n \r\n"};
	static const char *const gone[] = {"Sender: f@g\r\n", "BCC: x\r\n y\r\n",
					   "Return-path:<>\r\n", "X-Sekisho-Trace: 77\r\n\tz\r\n"};
	struct sink s = {NULL, 0, 0};
	unsigned rnd = 12345, hops;
	char id[260];

	(void)state;
	for (int round = 0; round < 500; round++) {
		char in[4096] = OWN, want[4096] = TOP OWN, body[64];
		size_t len;

		for (int i = 0; i < 20; i++) {
			rnd = rnd * 1103515245 + 12345;
			const char *f = rnd >> 16 & 1 ? kept[(rnd >> 20) % N(kept)]
						      : gone[(rnd >> 20) % N(gone)];

			strncat(in, f, sizeof(in) - strlen(in) - 1);
			if (rnd >> 16 & 1)
				strncat(want, f, sizeof(want) - strlen(want) - 1);
		}
		snprintf(body, sizeof(body), "\r\nSender: body %u\r\n", rnd);
		strncat(in, body, sizeof(in) - strlen(in) - 1);
		strncat(want, body, sizeof(want) - strlen(want) - 1);
		len = strlen(in);
		edit_all(in, len, 1 + rnd % 97, SENDER_WHEN_DIFFERENT, &s, id, &hops);
		assert_string_equal(s.buf, want);
	}
	free(s.buf);
}

static void test_header_huge(void **state)
{
	const size_t n = 2 << 20;
	char *in = malloc(n + 512), id[260];
	struct sink s = {NULL, 0, 0};
	unsigned hops;
	size_t len;

	(void)state;
	assert_non_null(in);
	/* a From: of two megabytes is not read as the account's own; all of it passes */
	len = (size_t)snprintf(in, 512, "Message-ID: <1>\r\nDate: t\r\nFrom: ");
	memset(in + len, 'a', n);
	len += n;
	len += (size_t)snprintf(in + len, 100, " <user01@isp.example>\r\n\r\n");
	edit_all(in, len, 4096, SENDER_WHEN_DIFFERENT, &s, id, &hops);
	assert_int_equal(s.len, len + strlen(TOP SENDER));
	/* a "name" that never meets its colon ends the section */
	memset(in, 'a', n);
	edit_all(in, n, 4096, SENDER_WHEN_DIFFERENT, &s, id, &hops);
	assert_int_equal(s.len, n + strlen(TOP SENDER ID DATE "\r\n"));
	free(in);
	free(s.buf);
}

static void test_mailbox(void **state)
{
	static const struct {
		const char *in;
		int n;
		const char *text;
	} boxes[] = {
	    {" a@b.example", 1, "a@b.example"},
	    {"<a@b.example>", 1, "a@b.example"},
	    {"Joe Q. Public <john.q@b.example>", 1, "john.q@b.example"},
	    {"\"Giant; \\\"Big\\\" Box\" <a@b.example>", 1, "a@b.example"},
	    {"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", 1,
	     "pete@silly.test"},
	    {"a@b.example (comment (nested) x)", 1, "a@b.example"},
	    {" \r\n a@b.example\r\n", 1, "a@b.example"},
	    {"\"a b\"@c.example", 1, "\"a b\"@c.example"},
	    {"a . b @ c.example", 1, "a.b@c.example"},
	    {"a@b.example,", 1, "a@b.example"},
	    {",, a@b.example", 1, "a@b.example"},
	    {"a@b.example, c@d.example", 2, NULL},
	    {"a@b.example, c@d.example, e@f.example", 2, NULL},
	    {"", 0, NULL},
	    {" \r\n ", 0, NULL},
	    {"(only a comment)", 0, NULL},
	    {"nobody", -1, NULL},
	    {"A Group:a@b.example,c@d.example;", -1, NULL},
	    {"Undisclosed:;", -1, NULL},
	    {"<@route:a@b.example>", -1, NULL},
	    {"<a@b.example> x@y.example", -1, NULL},
	    {"<a@b.example><c@d.example>", -1, NULL},
	    {"a@b.example <", -1, NULL},
	    {"<<a@b.example>>", -1, NULL},
	    {"a@b.example>", -1, NULL},
	    {"\"unclosed <a@b.example>", -1, NULL},
	    {"(unclosed a@b.example", -1, NULL},
	    {"<>", -1, NULL},
	    {"a@b.example c@d.example", -1, NULL},
	    {"x a@b.example", -1, NULL},
	    {"j\xc3\xb6@b.example", -1, NULL},
	    {"\xff <a@b.example>", 1, "a@b.example"},
	};
	struct path p;

	(void)state;
	for (size_t i = 0; i < N(boxes); i++) {
		int n = mailbox_list(boxes[i].in, strlen(boxes[i].in), &p);

		if (n != boxes[i].n)
			fail_msg("%s: %d", boxes[i].in, n);
		if (n == 1)
			assert_string_equal(p.text, boxes[i].text);
	}
}

static void test_received(void **state)
{
	char buf[RECEIVED_MAX];
	struct received r = {.helo = "me.example",
			     .host = "smtp.isp.example",
			     .with = "ESMTPSA",
			     .tls_version = "TLSv1.3",
			     .tls_cipher = "TLS_AES_256_GCM_SHA384",
			     .queue_id = "0123456789abcdef",
			     .rcpt = "a@b.example",
			     .t_ms = INT64_C(1795352890000)};
	const char *err;
	size_t len;

	(void)state;
	assert_true(addr_parse("192.0.2.1", &r.client, &err));
	len = received_format(&r, buf);
	assert_int_equal(len, strlen(buf));
	assert_string_equal(buf,
			    "Received: from me.example ([192.0.2.1])\r\n"
			    "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
			    "\tby smtp.isp.example (Sekisho) with ESMTPSA id 0123456789abcdef\r\n"
			    "\tfor <a@b.example>;\r\n"
			    "\tSun, 22 Nov 2026 13:08:10 +0000\r\n");
}

static void test_received_variants(void **state)
{
	char buf[RECEIVED_MAX], helo[300];
	struct received r = {
	    .helo = "evil)\r\nX: y (", .host = "h", .with = "ESMTPSA", .queue_id = "q", .t_ms = 0};
	const char *err;

	(void)state;
	assert_true(addr_parse("2001:db8::1", &r.client, &err));
	received_format(&r, buf);
	assert_string_equal(buf, "Received: from evil???X:?y?? ([IPv6:2001:db8::1])\r\n\tby h "
				 "(Sekisho) with ESMTPSA id q;\r\n"
				 "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
	memset(helo, 'a', sizeof(helo) - 1);
	helo[sizeof(helo) - 1] = '\0';
	r.helo = helo;
	received_format(&r, buf);
	assert_true(strcspn(buf, "\r") < 998);
}

static int setup(void **state)
{
	const char *err;

	(void)state;
	return path_parse_mailbox("user01@isp.example", 18, &account, &err) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_header_cases),      cmocka_unit_test(test_header_facts),
	    cmocka_unit_test(test_header_property),   cmocka_unit_test(test_header_huge),
	    cmocka_unit_test(test_mailbox),	      cmocka_unit_test(test_received),
	    cmocka_unit_test(test_received_variants),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
