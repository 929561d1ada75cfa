/* Failure notices: structure, and that nothing foreign breaks it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <talloc.h>

#include "msa/mail/dsn.h"

static const struct dsn_host host = {"smtp.isp.example", "postmaster@isp.example"};

static char *build(const struct dsn_rcpt *f, size_t n, const char *headers, size_t *len)
{
	struct dsn d = {.host = &host,
			.id = "0mwrwtn7r018w1pd",
			.to = "user01@isp.example",
			.failed_id = "0mwrwtn7r017exo5",
			.now_ms = 1795352890000,
			.received_ms = 1795352880000,
			.rcpts = f,
			.n = n,
			.message = headers,
			.message_len = strlen(headers)};
	char *s = dsn_build(NULL, &d, len);
	assert_non_null(s);
	assert_int_equal(strlen(s), *len);
	return s;
}

static int count(const char *s, const char *what)
{
	int n = 0;
	while ((s = strstr(s, what))) {
		n++;
		s += strlen(what);
	}
	return n;
}

/* CRLF only, printable ASCII, lines of at most 998. */
static void check_lines(const char *s)
{
	size_t column = 0;
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '\r') {
			assert_int_equal(s[1], '\n');
			s++;
			column = 0;
			continue;
		}
		if (c != '\t' && (c < 0x20 || c > 0x7e))
			fail_msg("octet 0x%02x", c);
		assert_true(++column <= 998);
	}
	assert_int_equal(column, 0);
}

static void says_what_failed(void **state)
{
	static const struct dsn_rcpt f[] = {
	    {"a@example.net", "5.1.1", "550 5.1.1 no such user", 1, DSN_FAILED, NULL,
	     "mx1.example.net", 1795352885000, NULL},
	    {"b@example.net", "5.4.7", "given up after too long", 0, DSN_FAILED, "", "", 0, NULL}};
	static const char *const lines[] = {
	    "From: Mail Delivery System <postmaster@isp.example>\r\n",
	    "To: <user01@isp.example>\r\n",
	    "Message-ID: <0mwrwtn7r018w1pd@smtp.isp.example>\r\n",
	    "Auto-Submitted: auto-replied\r\n",
	    "Content-Type: multipart/report; "
	    "report-type=delivery-status;\r\n\tboundary=\"=_0mwrwtn7r018w1pd\"\r\n",
	    "Date: Sun, 22 Nov 2026 13:08:10 +0000\r\n",
	    "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; smtp.isp.example\r\n",
	    "Final-Recipient: rfc822; a@example.net\r\nAction: failed\r\nStatus: "
	    "5.1.1\r\nRemote-MTA: dns; mx1.example.net\r\nDiagnostic-Code: smtp; 550 5.1.1 no "
	    "such user\r\nLast-Attempt-Date: Sun, 22 Nov 2026 13:08:05 +0000\r\n"
	    "Final-Log-Id: 0mwrwtn7r017exo5\r\n",
	    "Final-Recipient: rfc822; b@example.net\r\nAction: failed\r\nStatus: "
	    "5.4.7\r\nDiagnostic-Code: x-sekisho; given up after too long\r\nFinal-Log-Id: ",
	    "Content-Type: text/rfc822-headers\r\n\r\nSubject: hello\r\nX-Sekisho-Trace: "
	    "0123456789abcdef01234567\r\n",
	    "\r\n--=_0mwrwtn7r018w1pd--\r\n",
	};
	size_t len;
	char *s = build(f, 2,
			"Subject: hello\r\nX-Sekisho-Trace: 0123456789abcdef01234567\r\n\r\nbody "
			"must not appear",
			&len);

	(void)state;
	check_lines(s);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!strstr(s, lines[i]))
			fail_msg("missing: %s\nin\n%s", lines[i], s);
	assert_int_equal(count(s, "--=_0mwrwtn7r018w1pd\r\n"), 3);
	assert_null(strstr(s, "body must not"));
	talloc_free(s);
}

static void foreign_text_breaks_nothing(void **state)
{
	static char longest[3000];
	const struct dsn_rcpt f[] = {{"\"a\r\n.\r\nb\"@example.net", "5.1.1",
				      "550 x\r\nBcc: evil@example.net\r\n\r\n--=_0", 1, DSN_FAILED,
				      NULL, "x\r\nBcc: y", 0, NULL},
				     {longest, "5.0.0", longest, 1, DSN_FAILED, longest, longest, 0,
				      longest}};
	static char headers[8000];
	size_t len;

	(void)state;
	memset(longest, 0xe9, sizeof(longest) - 1);
	memset(headers, 'h', 5000);
	memcpy(headers, "Subject: \xc3\xa9\x01\x00", 12);
	char *s = build(f, 2, headers, &len);
	check_lines(s);
	assert_null(strstr(s, "\r\nBcc:"));
	assert_null(strstr(s, "\r\n.\r\n"));
	talloc_free(s);
	memset(headers, 'h', 5000);
	memcpy(headers, "A: b\r\n", 6);
	memcpy(headers + 4990, "\n\nB: c\r\n", 8);
	s = build(f, 2, headers, &len);
	check_lines(s);
	assert_null(strstr(s, "B: c"));
	talloc_free(s);
}

static const char message[] = "Subject: secret\r\n folded\r\nMessage-ID: <1@x>\r\n\twith a fold\r\n"
			      "From: a@b\r\nX-Sekisho-Trace: 0123\r\n\r\nbody\r\n.\r\nlast";

static char *notice(const struct dsn_rcpt *r, size_t n, const char *to, int give)
{
	struct dsn d = {.host = &host,
			.id = "0mwrwtn7r018w1pd",
			.to = to,
			.failed_id = "0mwrwtn7r017exo5",
			.envid = "QQ+2B1",
			.now_ms = 1795352890000,
			.received_ms = 1795352880000,
			.until_ms = 1795784880000,
			.rcpts = r,
			.n = n,
			.message = message,
			.message_len = strlen(message),
			.give = give};
	size_t len;

	return dsn_build(NULL, &d, &len);
}

static void all(const char *s, const char *const *lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strstr(s, lines[i]))
			fail_msg("missing: %s\nin\n%s", lines[i], s);
}
#define N(a) (sizeof(a) / sizeof *(a))

/* RFC 3464 fields of what was asked for by RFC 3461. */
static void tells_of_delay_and_handing_on(void **state)
{
	static const struct dsn_rcpt r[] = {
	    {"a@x.example", "4.4.1", "no route", 1, DSN_DELAYED, "rfc822;A+2Bb@x.example", NULL, 0, NULL},
	    {"b@x.example", "2.1.5", "250 ok", 1, DSN_RELAYED, NULL, NULL, 0, NULL},
	    {"j\xc3\xb6+x@x.example", "5.6.7", "not there", 0, DSN_FAILED, "utf-8;j\\x{F6}@x", NULL, 0, NULL}};
	static const char *const failed[] = {
	    "Subject: Your message could not be delivered\r\n",
	    "\r\n\r\nOriginal-Envelope-Id: QQ+1\r\nReporting-MTA: dns; smtp.isp.example\r\n",
	    "\r\n\r\nOriginal-Recipient: rfc822;A+b@x.example\r\nFinal-Recipient: rfc822; "
	    "a@x.example\r\nAction: delayed\r\nStatus: 4.4.1\r\n",
	    "Diagnostic-Code: smtp; no route\r\nFinal-Log-Id: 0mwrwtn7r017exo5\r\nWill-Retry-Until: Fri, 27 Nov 2026 13:08:00 "
	    "+0000\r\n",
	    "\r\n\r\nFinal-Recipient: rfc822; b@x.example\r\nAction: relayed\r\nStatus: 2.1.5\r\n",
	    "Original-Recipient: utf-8;j\\x{F6}@x\r\nFinal-Recipient: utf-8; "
	    "j\\x{F6}\\x{2B}x@x.example\r\nAction: failed\r\n",
	    "  <j\\x{F6}\\x{2B}x@x.example>\r\n",
	    "text/rfc822-headers\r\n\r\nSubject: secret\r\n folded\r\nMessage-ID: <1@x>\r\n",
	};
	char *s = notice(r, 3, "user01@isp.example", DSN_HEADERS);

	(void)state;
	check_lines(s);
	all(s, failed, N(failed));
	assert_int_equal(count(s, "Will-Retry-Until"), 1);
	talloc_free(s);
	s = notice(r, 2, "user01@isp.example", DSN_HEADERS);
	assert_non_null(strstr(s, "Subject: Your message is delayed\r\n"));
	talloc_free(s);
	s = notice(r + 1, 1, "user01@isp.example", DSN_HEADERS);
	assert_non_null(strstr(s, "Subject: Your message was handed on\r\n"));
	assert_null(strstr(s, "could not be"));
	talloc_free(s);
}

static void gives_back_what_may_be_given(void **state)
{
	static const struct dsn_rcpt r[] = {{"a@x.example", "5.1.1", "no", 1, DSN_FAILED, NULL, NULL, 0,
					     NULL}};
	char *s = notice(r, 1, "user01@isp.example", DSN_FULL);

	(void)state;
	assert_non_null(
	    strstr(s, "Content-Type: message/rfc822\r\n\r\nSubject: secret\r\n folded"));
	assert_non_null(strstr(s, "\r\n\r\nbody\r\n.\r\nlast\r\n\r\n--=_0mwrwtn7r018w1pd--\r\n"));
	talloc_free(s);
	s = notice(r, 1, "user01@isp.example", DSN_SECRET);
	assert_null(strstr(s, "secret"));
	assert_null(strstr(s, "folded"));
	assert_null(strstr(s, "From: a@b"));
	assert_non_null(strstr(s,
			       "text/rfc822-headers\r\n\r\nMessage-ID: <1@x>\r\n\twith a fold\r\n"
			       "X-Sekisho-Trace: 0123\r\n\r\n--=_"));
	talloc_free(s);
	s = notice(r, 1, "j\xc3\xb6@isp.example", DSN_HEADERS);
	assert_non_null(strstr(s, "\r\nTo: <j\xc3\xb6@isp.example>\r\n"));
	talloc_free(s);
}

/* RFC 6533: to an address that needs SMTPUTF8 the notice is in UTF-8; to another nothing is. */
static void utf8_where_it_can_go(void **state)
{
	static const struct dsn_rcpt r[] = {{"j\xc3\xb6@x.example", "5.1.1", "550 n\xc3\xb6", 1,
					     DSN_FAILED, NULL, "mx.example", 0, NULL},
					    {"b@x.example", "5.1.1", "550 \xff\r\nBcc: x", 1,
					     DSN_FAILED, NULL, "mx.example", 0, NULL}};
	static const char head[] = "Subject: gr\xc3\xbc\xc3\x9f\r\nX-Bad: \xff\r\n\r\nbody";
	static const char *const global[] = {
	    "Content-Type: message/global-delivery-status\r\n",
	    "Content-Type: message/global-headers\r\n\r\nSubject: gr\xc3\xbc\xc3\x9f\r\n"
	    "X-Bad: ?\r\n",
	    "Content-Type: text/plain; charset=utf-8\r\n",
	    "Final-Recipient: utf-8; j\xc3\xb6@x.example\r\n",
	    "Diagnostic-Code: smtp; 550 n\xc3\xb6\r\n",
	    "Final-Recipient: rfc822; b@x.example\r\n",
	    "Diagnostic-Code: smtp; 550 ???Bcc: x\r\n"};
	struct dsn d = {.host = &host,
			.id = "0mwrwtn7r018w1pd",
			.to = "\xc3\xa9@isp.example",
			.failed_id = "0mwrwtn7r017exo5",
			.rcpts = r,
			.n = 2,
			.message = head,
			.message_len = strlen(head)};
	size_t len;
	char *s = dsn_build(NULL, &d, &len);

	(void)state;
	all(s, global, N(global));
	talloc_free(s);
	d.give = DSN_FULL;
	s = dsn_build(NULL, &d, &len);
	assert_non_null(strstr(s, "Content-Type: message/global\r\n"));
	talloc_free(s);
	d.to = "e@isp.example";
	d.give = DSN_HEADERS;
	s = dsn_build(NULL, &d, &len);
	check_lines(s);
	assert_non_null(strstr(s, "Content-Type: message/delivery-status\r\n"));
	assert_non_null(strstr(s, "Final-Recipient: utf-8; j\\x{F6}@x.example\r\n"));
	assert_non_null(strstr(s, "Subject: gr????\r\n"));
	talloc_free(s);
}

static void a_summary_is_of_several_messages(void **state)
{
	static const struct dsn_rcpt r[] = {
	    {"a@x.example", "5.1.1", "no", 1, DSN_FAILED, NULL, "mx.example", 0, "id1"},
	    {"b@x.example", "4.4.1", "no", 1, DSN_DELAYED, NULL, "", 0, "id2"}};
	struct dsn d = {.host = &host,
			.id = "0mwrwtn7r018w1pd",
			.to = "e@isp.example",
			.failed_id = "id2",
			.envid = "E1",
			.summary = true,
			.more = 7,
			.rcpts = r,
			.n = 2,
			.message = message,
			.message_len = strlen(message)};
	size_t len;
	char *s = dsn_build(NULL, &d, &len);

	(void)state;
	check_lines(s);
	assert_non_null(strstr(s, "Subject: What became of several of your messages\r\n"));
	assert_non_null(strstr(s, "no room to list: 7\r\n"));
	assert_non_null(strstr(s, "Final-Log-Id: id1\r\n"));
	assert_non_null(strstr(s, "Final-Log-Id: id2\r\n"));
	assert_null(strstr(s, "Original-Envelope-Id"));
	assert_null(strstr(s, "Arrival-Date"));
	assert_null(strstr(s, "secret"));
	talloc_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(says_what_failed),
					   cmocka_unit_test(foreign_text_breaks_nothing),
					   cmocka_unit_test(tells_of_delay_and_handing_on),
					   cmocka_unit_test(gives_back_what_may_be_given),
					   cmocka_unit_test(utf8_where_it_can_go),
					   cmocka_unit_test(a_summary_is_of_several_messages)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
