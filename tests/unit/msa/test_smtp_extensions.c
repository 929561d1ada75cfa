/* Extensions of SMTP, whole sessions on bytes, for several ways to cut them: what is said, what
 * goes into the queue, and that nothing of a message is ever a command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/msa/stream.h"

#define N(a)  (sizeof(a) / sizeof *(a))
#define LOGIN "EHLO me\r\nAUTH PLAIN AGEAYg==\r\n"
#define MAIL  "MAIL FROM:<user01@isp.example>"
#define RCPT  "RCPT TO:<r@far.example>\r\n"

static const size_t steps[] = {SIZE_MAX, 1, 2, 3, 7};

/* Everything said after the login, one blank-separated "CODE STATUS" a reply. */
static void codes(const struct stream *t, char *out, size_t cap)
{
	const char *s = strstr(t->replies, "235 ");

	out[0] = '\0';
	s = s ? strchr(s, '\n') + 1 : "";
	for (; *s; s = strchr(s, '\n') + 1) {
		char line[32];

		if (s[3] == '-')
			continue;
		snprintf(line, sizeof(line), "%s%.3s%.6s", out[0] ? "," : "", s,
			 s[3] == ' ' ? s + 3 : "");
		strncat(out, line, cap - strlen(out) - 1);
	}
}

struct dialogue {
	const char *name, *said; /* after the login */
	size_t len;
	const char *codes;
	size_t messages;
	const char *body; /* of the last message, after its header; NULL: not looked at */
	size_t body_len;
	uint8_t type;
	bool smtputf8;
};
#define S(s) (s), sizeof(s) - 1
#define NO   NULL, 0, 0, false
#define H    "From: user01@isp.example\r\n\r\n"

static const struct dialogue dialogues[] = {
    {"BDAT in one piece", S(MAIL "\r\n" RCPT "BDAT 34 LAST\r\n" H "body\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,250 2.0.0,250 2.0.0", 1, S("body\r\n"), ESMTP_7BIT, false},
    {"in several, cut anywhere",
     S(MAIL "\r\n" RCPT "BDAT 1\r\nFBDAT 27\r\n"
	    "rom: user01@isp.example\r\n\r\nBDAT 5\r\nbody\r"
	    "BDAT 1 LAST\r\n\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,250 2.0.0,250 2.0.0,250 2.0.0,250 2.0.0,250 2.0.0", 1, S("body\r\n"),
     ESMTP_7BIT, false},
    {"LAST of 0", S(MAIL "\r\n" RCPT "BDAT 34\r\n" H "body\r\nBDAT 0 LAST\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,250 2.0.0,250 2.0.0,250 2.0.0", 1, S("body\r\n"), ESMTP_7BIT, false},
    {"nothing at all", S(MAIL "\r\n" RCPT "BDAT 0 LAST\r\n"), "250 2.1.0,250 2.1.5,250 2.0.0", 1,
     NULL, 0, ESMTP_7BIT, false},
    {"a last line without its end gets one", S(MAIL "\r\n" RCPT "bdat 32 last\r\n" H "body"),
     "250 2.1.0,250 2.1.5,250 2.0.0", 1, S("body\r\n"), ESMTP_7BIT, false},
    {"a dot alone is text in a chunk",
     S(MAIL "\r\n" RCPT "BDAT 39 LAST\r\n" H "a\r\n.\r\n..b\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,250 2.0.0,250 2.0.0", 1, S("a\r\n.\r\n..b\r\n"), ESMTP_7BIT, false},
    {"a chunk after a refused one is drained and answered",
     S(MAIL "\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"),
     "250 2.1.0,503 5.5.1,503 5.5.1,250 2.0.0", 0, NO},
    {"without MAIL", S("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), "503 5.5.1,250 2.0.0", 0, NO},
    {"too large at once", S(MAIL "\r\n" RCPT "BDAT 10001\r\n"), "250 2.1.0,250 2.1.5", 0, NO},
    {"far too large to drain", S(MAIL "\r\n" RCPT "BDAT 999999999999 LAST\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,552 5.3.4", 0, NO},
    {"no number: nobody knows what follows", S(MAIL "\r\n" RCPT "BDAT x LAST\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,501 5.5.4", 0, NO},
    {"no number at all", S("BDAT\r\nNOOP\r\n"), "501 5.5.4", 0, NO},
    {"negative", S("BDAT -1\r\nNOOP\r\n"), "501 5.5.4", 0, NO},
    {"a number with more", S("BDAT 5x LAST\r\nNOOP\r\n"), "501 5.5.4", 0, NO},
    {"LAST and more", S("BDAT 5 LAST X\r\nNOOP\r\n"), "501 5.5.4", 0, NO},
    {"more digits than there are octets", S("BDAT 0000000000000000001\r\nNOOP\r\n"), "501 5.5.4", 0,
     NO},
    {"bare LF in a chunk", S(MAIL "\r\n" RCPT "BDAT 33 LAST\r\n" H "body\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,550 5.6.0,250 2.0.0", 0, NO},
    {"bare CR in a chunk", S(MAIL "\r\n" RCPT "BDAT 35 LAST\r\n" H "b\rody\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,550 5.6.0,250 2.0.0", 0, NO},
    {"CR at the very end", S(MAIL "\r\n" RCPT "BDAT 33 LAST\r\n" H "body\rNOOP\r\n"),
     "250 2.1.0,250 2.1.5,550 5.6.0,250 2.0.0", 0, NO},
    {"NUL in a chunk", S(MAIL "\r\n" RCPT "BDAT 35 LAST\r\n" H "b\0ody\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,550 5.6.0,250 2.0.0", 0, NO},
    {"a fault in the first of two chunks",
     S(MAIL "\r\n" RCPT "BDAT 2\r\na\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,550 5.6.0,503 5.5.1,250 2.0.0", 0, NO},
    {"DATA after BDAT", S(MAIL "\r\n" RCPT "BDAT 1\r\nADATA\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,250 2.0.0,503 5.5.1,250 2.0.0", 0, NO},
    {"MAIL and RCPT between chunks", S(MAIL "\r\n" RCPT "BDAT 1\r\nA" MAIL "\r\n" RCPT),
     "250 2.1.0,250 2.1.5,250 2.0.0,503 5.5.1,503 5.5.1", 0, NO},
    {"RSET between chunks", S(MAIL "\r\n" RCPT "BDAT 1\r\nARSET\r\n" MAIL "\r\n"),
     "250 2.1.0,250 2.1.5,250 2.0.0,250 2.0.0,250 2.1.0", 0, NO},
    {"binary needs BDAT", S(MAIL " BODY=BINARYMIME\r\n" RCPT "DATA\r\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,503 5.5.1,250 2.0.0", 0, NO},
    {"binary is binary",
     S(MAIL " BODY=BINARYMIME\r\n" RCPT "BDAT 36 LAST\r\n" H "\0\r\n\n.\r\r\xffNOOP\r\n"),
     "250 2.1.0,250 2.1.5,250 2.0.0,250 2.0.0", 1, S("\0\r\n\n.\r\r\xff"), ESMTP_BINARY, false},
    {"binary that is text after all",
     S(MAIL " BODY=BINARYMIME\r\n" RCPT "BDAT 34 LAST\r\n" H "body\r\n"),
     "250 2.1.0,250 2.1.5,250 2.0.0", 1, S("body\r\n"), ESMTP_7BIT, false},
    {"binary, 8-bit text",
     S(MAIL " BODY=BINARYMIME\r\n" RCPT "BDAT 34 LAST\r\n" H "b\xc3\xb6y\r\n"),
     "250 2.1.0,250 2.1.5,250 2.0.0", 1, S("b\xc3\xb6y\r\n"), ESMTP_8BIT, false},
    {"a binary header is no header",
     S(MAIL " BODY=BINARYMIME\r\n" RCPT "BDAT 10 LAST\r\nA: b\nC: d\nNOOP\r\n"),
     "250 2.1.0,250 2.1.5,550 5.6.0,250 2.0.0", 0, NO},
    {"8 bit, said", S(MAIL " BODY=8BITMIME\r\n" RCPT "DATA\r\n" H "b\xc3\xb6y\r\n.\r\n"),
     "250 2.1.0,250 2.1.5,354 End w,250 2.0.0", 1, S("b\xc3\xb6y\r\n"), ESMTP_8BIT, false},
    {"8 bit, not said", S(MAIL "\r\n" RCPT "DATA\r\n" H "b\xf6y\r\n.\r\n"),
     "250 2.1.0,250 2.1.5,354 End w,250 2.0.0", 1, S("b\xf6y\r\n"), ESMTP_8BIT, false},
    {"8 bit said, 7 bit sent", S(MAIL " BODY=8BITMIME\r\n" RCPT "DATA\r\n" H "boy\r\n.\r\n"),
     "250 2.1.0,250 2.1.5,354 End w,250 2.0.0", 1, S("boy\r\n"), ESMTP_7BIT, false},
    {"8 bit in the header",
     S(MAIL " BODY=8BITMIME\r\n" RCPT "DATA\r\nSubject: \xc3\xb6\r\n\r\nx\r\n.\r\n"),
     "250 2.1.0,250 2.1.5,354 End w,550 5.6.9", 0, NO},
    {"UTF-8 in the header",
     S(MAIL " SMTPUTF8\r\n" RCPT "DATA\r\nSubject: \xc3\xb6\r\n\r\nx\r\n.\r\n"),
     "250 2.1.0,250 2.1.5,354 End w,250 2.0.0", 1, S("x\r\n"), ESMTP_8BIT, true},
    {"Latin-1 in the header",
     S(MAIL " SMTPUTF8\r\n" RCPT "DATA\r\nSubject: \xf6\r\n\r\nx\r\n.\r\n"),
     "250 2.1.0,250 2.1.5,354 End w,550 5.6.0", 0, NO},
    {"Latin-1 in the body of a UTF-8 message",
     S(MAIL " SMTPUTF8\r\n" RCPT "DATA\r\nSubject: \xc3\xb6\r\n\r\n\xf6\r\n.\r\n"),
     "250 2.1.0,250 2.1.5,354 End w,250 2.0.0", 1, S("\xf6\r\n"), ESMTP_8BIT, true},
    {"SMTPUTF8 said, not needed", S(MAIL " SMTPUTF8\r\n" RCPT "DATA\r\n" H "x\r\n.\r\n"),
     "250 2.1.0,250 2.1.5,354 End w,250 2.0.0", 1, S("x\r\n"), ESMTP_7BIT, false},
    {"UTF-8 recipient", S(MAIL " SMTPUTF8\r\nRCPT TO:<j\xc3\xb6@far.example>\r\n"),
     "250 2.1.0,250 2.1.5", 0, NO},
    {"UTF-8 recipient, not said", S(MAIL "\r\nRCPT TO:<j\xc3\xb6@far.example>\r\n"),
     "250 2.1.0,553 5.6.7", 0, NO},
    {"U-label, not said",
     S(MAIL "\r\nRCPT TO:<j@b\xc3\xbc"
	    "cher.example>\r\n"),
     "250 2.1.0,553 5.6.7", 0, NO},
    {"Latin-1 recipient", S(MAIL " SMTPUTF8\r\nRCPT TO:<j\xf6@far.example>\r\n"),
     "250 2.1.0,553 5.6.7", 0, NO},
    {"UTF-8 sender of one's own", S("MAIL FROM:<user01+\xc3\xb6@isp.example> SMTPUTF8\r\n"),
     "250 2.1.0", 0, NO},
    {"UTF-8 sender, not said", S("MAIL FROM:<user01+\xc3\xb6@isp.example>\r\n"), "553 5.6.7", 0,
     NO},
    {"Latin-1 sender", S("MAIL FROM:<user01+\xf6@isp.example> SMTPUTF8\r\n"), "553 5.6.7", 0, NO},
};

static void check(const struct dialogue *d, const struct stream *t, size_t step)
{
	char got[1024];
	const struct stream_message *m;
	const uint8_t *body;

	codes(t, got, sizeof(got));
	if (strcmp(got, d->codes) != 0 || t->n != d->messages)
		fail_msg("%s, step %zu: %s, %zu messages\n%s", d->name, step, got, t->n,
			 t->replies);
	if (t->n == 0 || !d->body)
		return;
	m = &t->messages[t->n - 1];
	body = memmem(m->data, m->len, "\r\n\r\n", 4);
	assert_non_null(body);
	body += 4;
	if (m->len - (size_t)(body - m->data) != d->body_len ||
	    memcmp(body, d->body, d->body_len) != 0)
		fail_msg("%s, step %zu: %s", d->name, step, (const char *)body);
	assert_int_equal(m->esmtp.body, d->type);
	assert_int_equal(m->esmtp.smtputf8, d->smtputf8);
}

static void test_dialogues(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(dialogues); i++)
		for (size_t k = 0; k < N(steps); k++) {
			struct stream t;

			stream_open(&t);
			stream_feed(&t, LOGIN, strlen(LOGIN), SIZE_MAX);
			stream_feed(&t, dialogues[i].said, dialogues[i].len, steps[k]);
			check(&dialogues[i], &t, steps[k]);
			stream_close(&t);
			assert_int_equal(t.in_flight, 0);
		}
}

/* Before login and before EHLO the octets of a chunk must not become commands either. */
static void test_chunk_before_login(void **state)
{
	static const char *const said[] = {"BDAT 6\r\nQUIT\r\n",
					   "EHLO me\r\nBDAT 6 LAST\r\nQUIT\r\n"};

	(void)state;
	for (size_t i = 0; i < N(said); i++) {
		struct stream t;

		stream_open(&t);
		stream_feed(&t, said[i], strlen(said[i]), 1);
		assert_true(t.closed);
		assert_null(strstr(t.replies, "221 "));
		assert_non_null(strstr(t.replies, i ? "530 5.7.0 " : "503 5.5.1 "));
		stream_close(&t);
	}
}

/* The same message by DATA, and by chunks of every size, is the same in the queue. */
static void test_bdat_is_data(void **state)
{
	static const char text[] =
	    "Bcc: x\r\nSubject: a\r\n folded\r\n\r\n.\r\n..dots\r\n\r\n\xc3\xb6\r\n.x";
	const size_t len = strlen(text);
	struct stream t, u;

	(void)state;
	stream_open(&t);
	stream_feed(&t, LOGIN MAIL "\r\n" RCPT "DATA\r\n",
		    strlen(LOGIN MAIL "\r\n" RCPT "DATA\r\n"), SIZE_MAX);
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '.' && text[i - 1] == '\n')
			stream_feed(&t, ".", 1, 1);
		stream_feed(&t, text + i, 1, 1);
	}
	stream_feed(&t, "\r\n.\r\n", 5, 1);
	assert_int_equal(t.n, 1);
	for (size_t size = 1; size <= len; size++) {
		stream_open(&u);
		stream_feed(&u, LOGIN MAIL "\r\n" RCPT, strlen(LOGIN MAIL "\r\n" RCPT), SIZE_MAX);
		for (size_t at = 0; at < len; at += size) {
			char command[32];
			size_t n = len - at < size ? len - at : size;

			snprintf(command, sizeof(command), "BDAT %zu%s\r\n", n,
				 at + n == len ? " LAST" : "");
			stream_feed(&u, command, strlen(command), SIZE_MAX);
			stream_feed(&u, text + at, n, SIZE_MAX);
		}
		assert_int_equal(u.n, 1);
		assert_int_equal(u.messages[0].len, t.messages[0].len);
		assert_memory_equal(u.messages[0].data, t.messages[0].data, t.messages[0].len);
		assert_int_equal(u.messages[0].esmtp.body, t.messages[0].esmtp.body);
		stream_close(&u);
	}
	stream_close(&t);
}

/* Each parameter: taken, refused, twice. */
static void test_parameters(void **state)
{
	static const struct {
		const char *line, *reply;
	} cases[] = {
	    {MAIL " RET=FULL", "250 "},
	    {MAIL " ret=hdrs ENVID=QQ+2B1", "250 "},
	    {MAIL " RET=BODY", "501 5.5.4 RET is"},
	    {MAIL " RET", "501 5.5.4 RET is"},
	    {MAIL " RET=FULL RET=FULL", "501 5.5.4 RET may come once"},
	    {MAIL " ENVID=a+2", "501 5.5.4 ENVID"},
	    {MAIL " ENVID=a+0D+0ABcc:", "501 5.5.4 ENVID"},
	    {MAIL " ENVID", "501 5.5.4 ENVID"},
	    {MAIL " SMTPUTF8", "250 "},
	    {MAIL " SMTPUTF8=yes", "501 5.5.4 SMTPUTF8"},
	    {MAIL " REQUIRETLS", "250 "},
	    {MAIL " REQUIRETLS=1", "501 5.5.4 REQUIRETLS"},
	    {MAIL " SIZE=1 SIZE=1", "501 5.5.4 SIZE may come once"},
	    {MAIL " BODY=BINARYMIME", "250 "},
	    {MAIL " BODY=8BITMIME BODY=7BIT", "501 5.5.4 BODY may come once"},
	    {MAIL " NOTIFY=NEVER", "555 5.5.4 "},
	    {MAIL " AUTH=<> SIZE=5 BODY=8BITMIME RET=HDRS ENVID=x SMTPUTF8 REQUIRETLS", "250 "},
	    {"RCPT TO:<a@b.example> NOTIFY=NEVER", "250 "},
	    {"RCPT TO:<a@b.example> NOTIFY=success,failure ORCPT=rfc822;a+2Bb@c", "250 "},
	    {"RCPT TO:<a@b.example> NOTIFY=NEVER,DELAY", "501 5.5.4 NOTIFY"},
	    {"RCPT TO:<a@b.example> NOTIFY=", "501 5.5.4 "},
	    {"RCPT TO:<a@b.example> NOTIFY", "501 5.5.4 NOTIFY"},
	    {"RCPT TO:<a@b.example> ORCPT=a@b", "501 5.5.4 ORCPT"},
	    {"RCPT TO:<a@b.example> ORCPT=utf-8;\xc3\xb6@b", "501 5.5.4 ORCPT"},
	    {"RCPT TO:<a@b.example> ORCPT=rfc822;a ORCPT=rfc822;a",
	     "501 5.5.4 ORCPT may come once"},
	    {"RCPT TO:<a@b.example> RET=FULL", "555 5.5.4 "},
	    {"RCPT TO:<a@b.example> SMTPUTF8", "555 5.5.4 "},
	    {"EXPN staff", "502 5.5.1 "},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct stream t;
		const char *line = cases[i].line;

		stream_open(&t);
		stream_feed(&t, LOGIN, strlen(LOGIN), SIZE_MAX);
		if (strncmp(line, "RCPT", 4) == 0)
			stream_feed(&t, MAIL "\r\n", strlen(MAIL "\r\n"), SIZE_MAX);
		size_t at = t.replies_len;
		stream_feed(&t, line, strlen(line), SIZE_MAX);
		stream_feed(&t, "\r\n", 2, SIZE_MAX);
		if (strncmp(t.replies + at, cases[i].reply, strlen(cases[i].reply)) != 0)
			fail_msg("%s: %s", line, t.replies + at);
		stream_close(&t);
	}
}

/* All of it is handed to the queue. */
static void test_parameters_are_kept(void **state)
{
	static const char said[] =
	    LOGIN MAIL " RET=HDRS ENVID=Q+2B1 REQUIRETLS SMTPUTF8\r\n"
		       "RCPT TO:<j\xc3\xb6@far.example> NOTIFY=SUCCESS,DELAY "
		       "ORCPT=utf-8;J\xc3\xb6@far.example\r\n"
		       "DATA\r\n\r\nx\r\n.\r\n";
	struct stream t;

	(void)state;
	stream_open(&t);
	stream_feed(&t, said, strlen(said), 5);
	assert_int_equal(t.n, 1);
	assert_int_equal(t.messages[0].esmtp.ret, ESMTP_RET_HDRS);
	assert_true(t.messages[0].esmtp.requiretls);
	assert_string_equal(t.messages[0].envid, "Q+2B1");
	assert_string_equal(t.messages[0].rcpt, "j\xc3\xb6@far.example");
	assert_int_equal(t.messages[0].rcpt_esmtp.notify, NOTIFY_SUCCESS | NOTIFY_DELAY);
	/* with SMTPUTF8 replies may hold it */
	assert_non_null(strstr(t.replies, "250 2.1.5 <j\xc3\xb6@far.example> recipient ok"));
	stream_close(&t);
}

static void test_bounds(void **state)
{
	struct stream t;
	struct smtp_size sizes[] = {{"@isp.example", 20000}, {"user01@isp.example", 5000}};

	(void)state;
	stream_open(&t);
	assert_non_null(strstr(t.replies, "220 "));
	t.policy.sizes = sizes;
	t.policy.n_sizes = 1;
	stream_feed(&t, LOGIN "EHLO me\r\n", strlen(LOGIN "EHLO me\r\n"), SIZE_MAX);
	assert_non_null(strstr(t.replies, "250-SIZE 10000\r\n"));
	assert_non_null(strstr(t.replies, "250-SIZE 20000\r\n"));
	stream_feed(&t, MAIL " SIZE=20001\r\n", strlen(MAIL " SIZE=20001\r\n"), SIZE_MAX);
	assert_non_null(strstr(t.replies, "552 5.3.4 At most 20000 "));
	stream_close(&t);
	stream_open(&t); /* the account goes before its domain */
	t.policy.sizes = sizes;
	t.policy.n_sizes = 2;
	stream_feed(&t, LOGIN "EHLO me\r\n", strlen(LOGIN "EHLO me\r\n"), SIZE_MAX);
	assert_non_null(strstr(t.replies, "250-SIZE 5000\r\n"));
	stream_close(&t);

	stream_open(&t); /* commands that bring nothing on */
	t.policy.max_idle_commands = 3;
	stream_feed(&t, "NOOP\r\nRSET\r\nHELP\r\nNOOP\r\nNOOP\r\n", 36, SIZE_MAX);
	assert_true(t.closed);
	assert_non_null(strstr(t.replies, "421 4.7.0 mx.test Too many commands without mail"));
	stream_close(&t);

	stream_open(&t); /* no room for what a chunk begins: drained, then said */
	stream_feed(&t, LOGIN MAIL "\r\n" RCPT, strlen(LOGIN MAIL "\r\n" RCPT), SIZE_MAX);
	t.room = QUEUE_FULL;
	stream_feed(&t, "BDAT 6\r\nQUIT\r\n", 14, 1);
	assert_false(t.closed);
	assert_non_null(strstr(t.replies, "452 4.3.1 "));
	stream_close(&t);
}

/* Late replies: the session says when, whoever runs it waits. */
static void test_late_replies(void **state)
{
	struct stream t;

	(void)state;
	stream_open(&t);
	t.policy.free_errors = 1;
	t.policy.error_delay_ms = 1500;
	smtp_session_line(t.s, "WHAT", 4, 0, &t.step);
	assert_int_equal(t.step.delay_ms, 0);
	smtp_session_line(t.s, "WHAT", 4, 0, &t.step);
	assert_int_equal(t.step.delay_ms, 1500);
	smtp_session_line(t.s, "NOOP", 4, 0, &t.step);
	assert_int_equal(t.step.delay_ms, 0);
	smtp_session_line(t.s, "EHLO x", 6, 0, &t.step);
	smtp_session_line(t.s, "AUTH PLAIN AGEAYg==", 19, 0, &t.step);
	smtp_session_auth(t.s, SMTP_AUTH_FAILED, "", "", "", &t.step);
	assert_int_equal(t.step.delay_ms, 1500);
	stream_close(&t);
	stream_open(&t);
	smtp_session_early(t.s, &t.step);
	assert_memory_equal(t.step.reply, "554 5.5.1 mx.test ", 18);
	assert_int_equal(t.step.want, SMTP_WANT_CLOSE);
	stream_close(&t);
}

/* The policy for 8-bit text that was not announced. */
static void test_strict_8bit(void **state)
{
	static const char said[] =
	    LOGIN MAIL "\r\n" RCPT "DATA\r\n\r\n\xc3\xb6\r\n.\r\n" MAIL " BODY=8BITMIME\r\n" RCPT
		       "DATA\r\n\r\n\xc3\xb6\r\n.\r\n";
	static const char header[] =
	    LOGIN MAIL "\r\n" RCPT "DATA\r\nSubject: \xf6\r\n\r\nx\r\n.\r\n";
	struct stream t;

	(void)state;
	stream_open(&t);
	t.policy.strict_8bit = true;
	stream_feed(&t, said, strlen(said), SIZE_MAX);
	assert_non_null(strstr(t.replies, "550 5.6.3 "));
	assert_int_equal(t.n, 1);
	stream_close(&t);
	stream_open(&t);
	t.policy.strict_header = false;
	stream_feed(&t, header, strlen(header), SIZE_MAX);
	assert_int_equal(t.n, 1);
	assert_int_equal(t.messages[0].esmtp.body, ESMTP_8BIT);
	assert_false(t.messages[0].esmtp.smtputf8);
	stream_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_dialogues),		cmocka_unit_test(test_chunk_before_login),
	    cmocka_unit_test(test_bdat_is_data),	cmocka_unit_test(test_parameters),
	    cmocka_unit_test(test_parameters_are_kept), cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_late_replies),	cmocka_unit_test(test_strict_8bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
