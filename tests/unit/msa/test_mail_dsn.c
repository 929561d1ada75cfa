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

static const struct dsn_host host = {"smtp.isp.example", "postmaster@isp.example", "192.0.2.25:25"};

static char *build(const struct dsn_failure *f, size_t n, const char *headers, size_t *len)
{
	struct dsn d = {.host = &host,
			.id = "0mwrwtn7r018w1pd",
			.to = "user01@isp.example",
			.failed_id = "0mwrwtn7r017exo5",
			.now_ms = 1795352890000,
			.received_ms = 1795352880000,
			.failures = f,
			.n = n,
			.headers = headers,
			.headers_len = strlen(headers)};
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
	static const struct dsn_failure f[] = {
	    {"a@example.net", "5.1.1", "550 5.1.1 no such user", 1},
	    {"b@example.net", "5.4.7", "given up after too long", 0}};
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
	    "5.1.1\r\nRemote-MTA: x-address; 192.0.2.25:25\r\nDiagnostic-Code: smtp; 550 5.1.1 no "
	    "such user\r\n",
	    "Final-Recipient: rfc822; b@example.net\r\nAction: failed\r\nStatus: "
	    "5.4.7\r\nDiagnostic-Code: x-sekisho; given up after too long\r\n",
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
	const struct dsn_failure f[] = {{"\"a\r\n.\r\nb\"@example.net", "5.1.1",
					 "550 x\r\nBcc: evil@example.net\r\n\r\n--=_0", 1},
					{longest, "5.0.0", longest, 1}};
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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(says_what_failed),
					   cmocka_unit_test(foreign_text_breaks_nothing)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
