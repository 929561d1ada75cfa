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
#include "msa/mail/identity.h"
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

static const struct header_opts plain = {.account = &account,
					 .received = "Received: x\r\n",
					 .authserv_id = "smtp.isp.example",
					 .trace = "0123",
					 .message_id = "q@smtp.isp.example",
					 .date = "Sun, 22 Nov 2026 13:08:10 +0000"};

/* The editor after the last byte; free it. */
static struct header_editor *edit(const struct header_opts *o, const char *in, size_t len,
				  size_t step, struct sink *s)
{
	struct header_editor *h;

	s->len = 0;
	h = header_new(NULL, o, out, s);
	for (size_t at = 0; at < len; at += step)
		header_feed(h, (const uint8_t *)in + at, step < len - at ? step : len - at);
	header_end(h);
	return h;
}

static void edit_all(const char *in, size_t len, size_t step, enum sender_mode mode, struct sink *s,
		     char id[260], unsigned *hops)
{
	struct header_opts o = plain;
	struct header_editor *h;

	o.sender = mode;
	h = edit(&o, in, len, step, s);
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

/* --- what was not to be changed is identical --- */

static uint32_t rnd_state = 20261122;

static unsigned rnd(unsigned n)
{
	rnd_state = rnd_state * 1103515245 + 12345;
	return (rnd_state >> 8) % n;
}

static void add(struct sink *s, const char *data, size_t len)
{
	out(data, len, s);
}

static void add_text(struct sink *s, const char *text)
{
	add(s, text, strlen(text));
}

/* A field body of anything a client may send: octets of every value but CR, LF and NUL, lines of
 * any length, folds, folds of blanks alone. Ends with CRLF. */
static void add_hostile_body(struct sink *s)
{
	static const char *const folds[] = {"\r\n ", "\r\n\t", "\r\n \r\n \t", " ", "\t", ""};
	unsigned pieces = rnd(6), len;

	for (unsigned i = 0; i < pieces; i++) {
		len = rnd(40) == 0 ? rnd(30000) : rnd(40);
		for (unsigned j = 0; j < len; j++) {
			char c = (char)(1 + rnd(255));

			if (c != '\r' && c != '\n')
				add(s, &c, 1);
		}
		add_text(s, folds[rnd(N(folds))]);
	}
	add_text(s, "\r\n");
}

/* A field name that means nothing to us: its first character is none of theirs. */
static void add_name(struct sink *s)
{
	static const char *const near[] = {"X-Sender", "Zender", "Zcc", "Xrom", "ZFBL-Address"};
	unsigned len = rnd(30) == 0 ? rnd(4000) : rnd(20);

	if (rnd(3) == 0) {
		add_text(s, near[rnd(N(near))]);
	} else {
		add_text(s, "Q");
		for (unsigned i = 0; i < len; i++) {
			char c = (char)('!' + rnd('~' - '!' + 1));

			if (c != ':')
				add(s, &c, 1);
		}
	}
	if (rnd(5) == 0)
		add_text(s, " \t");
	add_text(s, ":");
}

static const char *const kept[] = {
    "Subject: \xc3\xb6 \xff\r\n folded\r\n",
    "To: a@b,\r\n\tc@d\r\n",
    "Received: q\r\n",
    "DKIM-Signature: v=1\r\n",
    "Authentication-Results: other.example; auth=pass\r\n",
    "Authentication-Results: smtp.isp.example.org; none\r\n",
    "Authentication-Results: mx.smtp.isp.example; none\r\n",
    "Authentication-results:\r\n (smtp.isp.example) other 1;\r\n x=y\r\n",
    "Authentication-Results: \"smtp.isp.exam\\\"ple\"; x\r\n",
    "Authentication-Results:\r\n",
    "Authentication-Results: (never closed smtp.isp.example; x\r\n",
};
static const char *const gone[] = {
    "Sender: f@g\r\n",
    "BCC: x\r\n y\r\n",
    "Return-path:<>\r\n",
    "X-Sekisho-Trace: 77\r\n\tz\r\n",
    "Resent-bcc \t:\r\n \r\n",
    "Authentication-Results: smtp.isp.example; auth=pass smtp.auth=boss@isp.example\r\n",
    "authentication-results:SMTP.isp.EXAMPLE;none\r\n",
    "Authentication-Results:\r\n\t(a (nested \\) one) )\r\n smtp.isp.example\r\n 1; none\r\n",
    "Authentication-Results : smtp.isp.example(x); none\r\n",
    "Authentication-Results: \"smtp.isp.example\"; none\r\n",
    "Authentication-Results: \"smtp\\.isp.example\"; none\r\n",
    "Authentication-Results: smtp.isp.example.; none\r\n",
    "Authentication-Results: smtp.isp.example\r\n",
};

/* Random headers of fields of every kind: the output is the input without those that go, between
 * what is added. */
static void test_header_property(void **state)
{
	struct sink in = {NULL, 0, 0}, want = {NULL, 0, 0}, got = {NULL, 0, 0};
	size_t at;

	(void)state;
	for (int round = 0; round < 400; round++) {
		in.len = want.len = 0;
		add_text(&want, TOP);
		add_text(&in, OWN);
		add_text(&want, OWN);
		for (int i = 0; i < 12; i++) {
			if (rnd(3) == 0) {
				add_text(&in, gone[rnd(N(gone))]);
				continue;
			}
			at = in.len;
			if (rnd(2)) {
				add_text(&in, kept[rnd(N(kept))]);
			} else {
				add_name(&in);
				add_hostile_body(&in);
			}
			add(&want, in.buf + at, in.len - at);
		}
		at = in.len;
		add_text(&in, "\r\nSender: body\r\n");
		add_hostile_body(&in);
		add(&want, in.buf + at, in.len - at);
		talloc_free(edit(&plain, in.buf, in.len, 1 + rnd(97), &got));
		if (got.len != want.len || memcmp(got.buf, want.buf, want.len) != 0)
			fail_msg("round %d: %zu octets instead of %zu", round, got.len, want.len);
	}
	free(in.buf);
	free(want.buf);
	free(got.buf);
}

/* Each of them at every split, in every order of two. */
static void test_header_authres_splits(void **state)
{
	struct sink got = {NULL, 0, 0};
	char in[1024], want[1024];

	(void)state;
	for (size_t k = 0; k < N(kept); k++)
		for (size_t g = 0; g < N(gone); g++) {
			snprintf(in, sizeof(in), OWN "%s%s%s\r\n", gone[g], kept[k], gone[g]);
			snprintf(want, sizeof(want), TOP OWN "%s\r\n", kept[k]);
			for (size_t step = 1; step < 40; step += 3) {
				talloc_free(edit(&plain, in, strlen(in), step, &got));
				assert_string_equal(got.buf, want);
			}
		}
	/* the section may end inside one */
	talloc_free(edit(&plain, OWN "Authentication-Results: smtp.isp.example", strlen(OWN) + 40,
			 1, &got));
	assert_string_equal(got.buf, TOP OWN);
	talloc_free(edit(&plain, OWN "Authentication-Results: other", strlen(OWN) + 29, 1, &got));
	assert_string_equal(got.buf, TOP OWN "Authentication-Results: other");
	free(got.buf);
}

/* One that hides its name behind more than we hold: gone; just below that: it passes, or not. */
static void test_header_authres_huge(void **state)
{
	static const char own_id[] = ") smtp.isp.example; x\r\n\r\n",
			  other[] = ") other; x\r\n\r\n";
	const size_t n = 70000;
	struct sink in = {NULL, 0, 0}, got = {NULL, 0, 0};

	(void)state;
	for (int i = 0; i < 4; i++) {
		const char *end = i & 1 ? other : own_id;
		size_t len = i & 2 ? n : 60000;
		char *comment = malloc(len);

		assert_non_null(comment);
		memset(comment, 'a', len);
		in.len = 0;
		add_text(&in, OWN "Authentication-Results: (");
		add(&in, comment, len);
		add_text(&in, end);
		talloc_free(edit(&plain, in.buf, in.len, 1000, &got));
		assert_int_equal(got.len, i == 1 ? in.len + strlen(TOP) : strlen(TOP OWN "\r\n"));
		free(comment);
	}
	free(in.buf);
	free(got.buf);
}

/* The fields on top, and that a client's own of their kind go. */
static void test_header_top(void **state)
{
	static const char in[] =
	    OWN "CFBL-Address: me@x; report=arf\r\ncfbl-feedback-id: 1\r\n 2\r\n\r\n";
	struct header_opts o = plain;
	struct sink got = {NULL, 0, 0};

	(void)state;
	talloc_free(edit(&o, in, strlen(in), 5, &got));
	assert_int_equal(got.len,
			 strlen(in) + strlen(TOP)); /* without an address of ours: left alone */
	o.cfbl_address = "fbl@isp.example";
	o.auth_results = "Authentication-Results: smtp.isp.example; y\r\n";
	talloc_free(edit(&o, in, strlen(in), 5, &got));
	assert_string_equal(got.buf, "Received: x\r\n"
				     "Authentication-Results: smtp.isp.example; y\r\n"
				     "X-Sekisho-Trace: 0123\r\n"
				     "CFBL-Address: fbl@isp.example; report=arf\r\n"
				     "CFBL-Feedback-ID: 0123\r\n" OWN "\r\n");
	free(got.buf);
}

/* Whom From: names, with further addresses from a file. */
static void test_header_from(void **state)
{
	static const char file[] = "own info@isp.example user01@isp.example\n"
				   "delegate boss@isp.example user01@isp.example\n";
	static const struct {
		const char *in;
		enum header_from from;
		const char *first;
		bool sender;
	} froms[] = {
	    {"From: user01@isp.example\r\n", HEADER_FROM_OWN, "user01@isp.example", false},
	    {"From: x <INFO+a@isp.example>\r\n", HEADER_FROM_OWN, "INFO+a@isp.example", false},
	    {"From: boss@isp.example\r\n", HEADER_FROM_MAY, "boss@isp.example", true},
	    {"From: user01@isp.example,\r\n info@isp.example\r\n", HEADER_FROM_MAY,
	     "user01@isp.example", true},
	    {"From: user01@isp.example, user02@isp.example\r\n", HEADER_FROM_FOREIGN,
	     "user01@isp.example", true},
	    {"From: user02@isp.example\r\n", HEADER_FROM_FOREIGN, "user02@isp.example", true},
	    {"From: user01@isp.example, <<\r\n", HEADER_FROM_BAD, NULL, true},
	    {"From: A:user01@isp.example;\r\n", HEADER_FROM_BAD, NULL, true},
	    {"From: user01@isp.example\r\nFrom: user01@isp.example\r\n", HEADER_FROM_BAD, NULL,
	     true},
	    {"From: \r\n", HEADER_FROM_NONE, NULL, true},
	    {"X: y\r\n", HEADER_FROM_NONE, NULL, true},
	};
	struct header_opts o = plain;
	struct sink got = {NULL, 0, 0};
	struct identities *ids;
	struct header_editor *h;
	char *err;
	int line;

	(void)state;
	ids = identities_parse(NULL, file, strlen(file), &line, &err);
	assert_non_null(ids);
	o.ids = ids;
	for (size_t i = 0; i < N(froms); i++) {
		h = edit(&o, froms[i].in, strlen(froms[i].in), 1, &got);
		if (header_from(h) != froms[i].from)
			fail_msg("%s: %d", froms[i].in, header_from(h));
		assert_int_equal(header_sender_added(h), froms[i].sender);
		if (froms[i].first)
			assert_string_equal(header_from_path(h)->text, froms[i].first);
		else
			assert_null(header_from_path(h));
		talloc_free(h);
	}
	talloc_free(ids);
	free(got.buf);
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

static void last(const struct path *p, void *arg)
{
	*(struct path *)arg = *p;
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
	    {"a@b.example, c@d.example, e@f.example", 3, NULL},
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
	    {"j\xc3\xb6@b.example", 1, "j\xc3\xb6@b.example"},
	    {"a@j\xc3\xb6.example", 1, "a@xn--j-1ga.example"},
	    {"j\xf6@b.example", -1, NULL},
	    {"\xff <a@b.example>", 1, "a@b.example"},
	};
	struct path p;

	(void)state;
	for (size_t i = 0; i < N(boxes); i++) {
		int n = mailbox_each(boxes[i].in, strlen(boxes[i].in), last, &p);

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

static void test_received_hidden(void **state)
{
	char buf[RECEIVED_MAX];
	struct received r = {.helo = "me.example",
			     .hide_client = true,
			     .host = "h",
			     .with = received_with(true, true, true, true),
			     .tls_version = "TLSv1.3",
			     .tls_cipher = "X",
			     .queue_id = "q"};
	const char *err;

	(void)state;
	assert_true(addr_parse("192.0.2.1", &r.client, &err));
	received_format(&r, buf);
	assert_string_equal(buf, "Received: (using TLSv1.3 with cipher X)\r\n"
				 "\tby h (Sekisho) with UTF8SMTPSA id q;\r\n"
				 "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
	r.tls_version = NULL;
	received_format(&r, buf);
	assert_string_equal(buf, "Received: by h (Sekisho) with UTF8SMTPSA id q;\r\n"
				 "\tThu, 01 Jan 1970 00:00:00 +0000\r\n");
	assert_string_equal(received_with(true, true, true, false), "ESMTPSA");
	assert_string_equal(received_with(true, false, true, false), "ESMTPA");
	assert_string_equal(received_with(true, true, false, false), "ESMTPS");
	assert_string_equal(received_with(false, true, true, false), "SMTP");
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
	    cmocka_unit_test(test_header_cases),
	    cmocka_unit_test(test_header_facts),
	    cmocka_unit_test(test_header_property),
	    cmocka_unit_test(test_header_huge),
	    cmocka_unit_test(test_mailbox),
	    cmocka_unit_test(test_received),
	    cmocka_unit_test(test_received_variants),
	    cmocka_unit_test(test_received_hidden),
	    cmocka_unit_test(test_header_authres_splits),
	    cmocka_unit_test(test_header_authres_huge),
	    cmocka_unit_test(test_header_top),
	    cmocka_unit_test(test_header_from),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
