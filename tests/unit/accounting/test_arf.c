/*
 * arf: reports in the shapes seen in the wild, written by ourselves: line ends, order, case,
 * folding, comments, encodings, missing parts and boundaries; and what is no report.
 */
#include "kit.h"

#include <talloc.h>

#include "accounting/arf.h"

#define HOST "smtp.isp.example"

/* Outer headers, then the three parts, with the boundary "b". */
#define OUTER                                                                                      \
	"From: Feedback <fbl@reporter.example>\nTo: abuse@isp.example\nSubject: FW: hello\n"       \
	"MIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report;\n "       \
	"boundary=\"b\"\n\n"
#define HUMAN	 "--b\nContent-Type: text/plain\n\nThis is a complaint.\n"
#define FEEDBACK "--b\nContent-Type: message/feedback-report\n\n"
#define FIELDS                                                                                     \
	"Feedback-Type: abuse\nUser-Agent: Test/1.0\nVersion: 1\nSource-IP: 192.0.2.1\n"           \
	"Arrival-Date: Wed, 18 Nov 2026 11:06:40 +0000\n"
#define ORIGINAL_HEADERS                                                                           \
	"Received: from mx.elsewhere.example by mx2.elsewhere.example with ESMTP id "              \
	"zzzzzzzzzzzzzzzz;\n"                                                                      \
	"\tWed, 18 Nov 2026 11:06:45 +0000\n"                                                      \
	"Received: from [192.0.2.1] by " HOST " with ESMTPSA\n id " QUEUE_ID                       \
	"; Wed, 18 Nov 2026 11:06:40 +0000\n"                                                      \
	"X-Sekisho-Trace: " TOKEN                                                                  \
	"\nFrom: alice@isp.example\nDate: Wed, 18 Nov 2026 11:06:30 +0000\nSubject: buy\n"
#define ORIGINAL "--b\nContent-Type: message/rfc822\n\n" ORIGINAL_HEADERS "\nspam body\n"
#define END	 "--b--\n"

static void *pool;

static int set_up(void **state)
{
	(void)state;
	pool = talloc_new(NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	talloc_free(pool);
	return 0;
}

static struct arf *parse(const char *text)
{
	const char *err = "";
	struct arf *a = arf_parse(pool, (const uint8_t *)text, strlen(text), HOST, &err);
	if (!a)
		fail_msg("%s", err);
	return a;
}

static void test_plain(void **state)
{
	struct arf *a = parse(OUTER HUMAN FEEDBACK FIELDS "Source-Port: 40000\n" ORIGINAL END);
	(void)state;
	assert_string_equal(a->format, "arf");
	assert_string_equal(a->feedback_type, "abuse");
	assert_string_equal(a->reporter, "fbl@reporter.example");
	assert_string_equal(a->source_ip, "192.0.2.1");
	assert_int_equal(a->source_port, 40000);
	assert_int_equal(a->arrival_ms, T0);
	assert_int_equal(a->original_ms, T0 - 10000);
	assert_string_equal(a->token, TOKEN);
	assert_string_equal(a->queue_id, QUEUE_ID);
	assert_non_null(strstr(a->original_headers, "Subject: buy"));
	assert_null(strstr(a->original_headers, "spam body"));
	assert_string_equal(arf_field(a, "user-agent"), "Test/1.0");
	assert_null(arf_field(a, "Incidents"));
}

/* The same with other line ends. */
static void test_line_ends(void **state)
{
	static const char text[] = OUTER HUMAN FEEDBACK FIELDS ORIGINAL END;
	static const char *const ends[] = {"\n", "\r\n", "\r"};
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char buf[2 * sizeof text], *w = buf;
		for (const char *r = text; *r; r++) {
			if (*r == '\n')
				w = stpcpy(w, ends[i]);
			else
				*w++ = *r;
		}
		*w = '\0';
		struct arf *a = parse(buf);
		assert_string_equal(a->token, TOKEN);
		assert_string_equal(a->queue_id, QUEUE_ID);
		assert_int_equal(a->arrival_ms, T0);
	}
}

static const struct {
	const char *name, *feedback;
	const char *type, *ip;
	int port;
	int64_t arrival;
} shapes[] = {
    {"no version, other order", "Source-IP: 192.0.2.1\nFeedback-Type: abuse\n", "abuse",
     "192.0.2.1", 0, 0},
    {"version 0.1", "Version: 0.1\nFeedback-Type: abuse\n", "abuse", "", 0, 0},
    {"case", "FEEDBACK-TYPE: Fraud\nsource-ip: 192.0.2.1\n", "fraud", "192.0.2.1", 0, 0},
    {"comment", "Feedback-Type: auth-failure\nSource-IP: 192.0.2.1 (mail.isp.example)\n",
     "auth-failure", "192.0.2.1", 0, 0},
    {"brackets", "Feedback-Type: abuse\nSource-IP: [192.0.2.1]\n", "abuse", "192.0.2.1", 0, 0},
    {"IPv6", "Feedback-Type: abuse\nSource-IP: 2001:DB8:0::1\nSource-Port: 9\n", "abuse",
     "2001:db8::1", 9, 0},
    {"IPv6 literal", "Feedback-Type: abuse\nSource-IP: [IPv6:2001:db8::1]\n", "abuse",
     "2001:db8::1", 0, 0},
    {"no address", "Feedback-Type: abuse\nSource-IP: unknown\n", "abuse", "", 0, 0},
    {"folded", "Feedback-Type:\n abuse\nSource-IP:\n\t192.0.2.1\n", "abuse", "192.0.2.1", 0, 0},
    {"JST", "Feedback-Type: abuse\nArrival-Date: Wed, 18 Nov 2026 20:06:40 JST\n", "abuse", "", 0,
     T0},
    {"EST", "Feedback-Type: abuse\nArrival-Date: Wed, 18 Nov 2026 06:06:40 EST\n", "abuse", "", 0,
     T0},
    {"UTC", "Feedback-Type: abuse\nArrival-Date: Wed, 18 Nov 2026 11:06:40 UTC\n", "abuse", "", 0,
     T0},
    {"two-digit year", "Feedback-Type: abuse\nArrival-Date: 18 Nov 26 11:06:40 +0000\n", "abuse",
     "", 0, T0},
    {"Received-Date", "Feedback-Type: abuse\nReceived-Date: Wed, 18 Nov 2026 11:06:40 +0000\n",
     "abuse", "", 0, T0},
    {"bad date", "Feedback-Type: abuse\nArrival-Date: yesterday\n", "abuse", "", 0, 0},
    {"bad port", "Feedback-Type: abuse\nSource-IP: 192.0.2.1\nSource-Port: 70000\n", "abuse",
     "192.0.2.1", 0, 0},
    {"not spam", "Feedback-Type: not-spam\nVersion: 1\n", "not-spam", "", 0, 0},
    {"no type", "User-Agent: x\nVersion: 1\n", "abuse", "", 0, 0},
    {"blank lines between", "Feedback-Type: abuse\n\nSource-IP: 192.0.2.1\n", "abuse", "192.0.2.1",
     0, 0},
    {"rubbish lines", "this is no field\nFeedback-Type: abuse\n: nor this\n", "abuse", "", 0, 0},
};

static void test_shapes(void **state)
{
	char text[4096];
	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		snprintf(text, sizeof text, "%s%s%s%s", OUTER HUMAN FEEDBACK, shapes[i].feedback,
			 ORIGINAL, END);
		struct arf *a = parse(text);
		print_message("# %s\n", shapes[i].name);
		assert_string_equal(a->feedback_type, shapes[i].type);
		assert_string_equal(a->source_ip, shapes[i].ip);
		assert_int_equal(a->source_port, shapes[i].port);
		assert_int_equal(a->arrival_ms, shapes[i].arrival);
		assert_string_equal(a->token, TOKEN);
	}
}

static const struct {
	const char *name, *text;
} wholes[] = {
    {"preamble", OUTER "This is a MIME message.\n\n" HUMAN FEEDBACK FIELDS ORIGINAL END},
    {"no final boundary", OUTER HUMAN FEEDBACK FIELDS ORIGINAL},
    {"headers only",
     OUTER HUMAN FEEDBACK FIELDS "--b\nContent-Type: text/rfc822-headers\n\n" ORIGINAL_HEADERS END},
    {"headers only, a blank line first", OUTER HUMAN FEEDBACK FIELDS
     "--b\nContent-Type: text/rfc822-headers\n\n\n" ORIGINAL_HEADERS END},
    {"no human part", OUTER FEEDBACK FIELDS ORIGINAL END},
    {"attachments with 8bit",
     OUTER HUMAN "--b\nContent-Type: message/feedback-report\nContent-Transfer-Encoding: 8bit\n"
		 "Content-Disposition: inline\n\n" FIELDS ORIGINAL END},
    {"folded before report-type",
     "From: fbl@reporter.example\nContent-Type: multipart/report;\n      "
     "report-type=feedback-report;\n"
     "\tboundary=b\nMIME-Version: 1.0\n\n" HUMAN FEEDBACK FIELDS ORIGINAL END},
    {"multipart/mixed", "From: fbl@reporter.example\nMIME-Version: 1.0\nContent-Type: "
			"multipart/mixed; boundary=b\n\n" HUMAN FEEDBACK FIELDS ORIGINAL END},
    {"the last message is the reported one", OUTER HUMAN
     "--b\nContent-Type: message/rfc822\n\n"
     "From: x@y.example\nX-Sekisho-Trace: ffffffffffffffffffffffff\n\nnot it\n" FEEDBACK FIELDS
	 ORIGINAL END},
    {"base64 feedback", OUTER HUMAN
     "--b\nContent-Type: message/feedback-report\nContent-Transfer-Encoding: base64\n\n"
     "RmVlZGJhY2stVHlwZTogYWJ1c2UKVmVyc2lvbjogMQpTb3VyY2UtSVA6IDE5Mi4wLjIuMQo=\n" ORIGINAL END},
    {"quoted-printable feedback",
     OUTER HUMAN "--b\nContent-Type: message/feedback-report\n"
		 "Content-Transfer-Encoding: quoted-printable\n\nFeedback-Type: "
		 "=\nabuse\nSource-IP: 192=2E0.2.1\n" ORIGINAL END},
    {"forwarded as an attachment",
     "From: desk@isp.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=w\n\n"
     "--w\nContent-Type: text/plain\n\nSee below\n--w\nContent-Type: message/rfc822\n\n" OUTER HUMAN
	 FEEDBACK FIELDS ORIGINAL END "\n--w--\n"},
};

static void test_wholes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
		print_message("# %s\n", wholes[i].name);
		struct arf *a = parse(wholes[i].text);
		assert_string_equal(a->feedback_type, "abuse");
		assert_string_equal(a->source_ip, "192.0.2.1");
		assert_string_equal(a->token, TOKEN);
		assert_string_equal(a->queue_id, QUEUE_ID);
	}
}

/* A whole message in base64: RFC 2046 forbids it, some do it. */
static void test_base64_original(void **state)
{
	/* "X-Sekisho-Trace: 0123456789abcdef01234567\nSubject: x\n\nbody\n" */
	struct arf *a =
	    parse(OUTER FEEDBACK FIELDS
		  "--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
		  "WC1TZWtpc2hvLVRyYWNlOiAwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1NjcKU3ViamVjdDogeAoKYm9keQo="
		  "\n" END);
	(void)state;
	assert_string_equal(a->token, TOKEN);
	assert_null(strstr(a->original_headers, "body"));
	/* The same, its header alone, as some providers send it. */
	a = parse(OUTER FEEDBACK FIELDS
		  "--b\nContent-Type: text/rfc822-headers; charset=\"us-ascii\"\n"
		  "Content-Transfer-Encoding: base64\nContent-Disposition: inline\n\n"
		  "WC1TZWtpc2hvLVRyYWNlOiAwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1NjcKU3ViamVjdDogeAoKYm9keQo="
		  "\n" END);
	assert_string_equal(a->token, TOKEN);
}

/* Whom it was for is blacked out everywhere, also where it was written into other fields: what is
 * ours is not. */
static void test_blacked_out(void **state)
{
	struct arf *a =
	    parse(OUTER HUMAN FEEDBACK
		  "Feedback-Type: abuse\nUser-Agent: Yahoo!-Mail-Feedback/2.0\nVersion: 0.1\n"
		  "Original-Mail-From: <prvs=0123abcdef=alice@isp.example>\n"
		  "Original-Rcpt-To: redacted@yahoo.example\nReported-Domain: isp.example\n"
		  "Authentication-Results: mta1.yahoo.example; dkim=pass (ok)\n"
		  "Received-Date: 18 Nov 2026 11:06:40 UTC\n"
		  "--b\nContent-Type: message/rfc822\nContent-Disposition: inline\n\n"
		  "Return-Path: <prvs=0123abcdef=alice@isp.example>\nTo: [REDACTED]\n"
		  "X-Sekisho-Trace: " TOKEN "\nMessage-ID: <" QUEUE_ID "@" HOST ">\n"
		  "List-Unsubscribe: <https://x.example/?u=[REDACTED]>\nSubject: x\n\nbody\n" END);
	(void)state;
	assert_string_equal(a->feedback_type, "abuse");
	assert_string_equal(a->token, TOKEN);
	assert_string_equal(a->queue_id, QUEUE_ID);
	assert_int_equal(a->arrival_ms, 1795000000000);
	assert_string_equal(a->tagged, "prvs=0123abcdef=alice@isp.example");
}

/* Where an envelope sender of ours is to be found. */
static void test_tagged(void **state)
{
#define TAGGED "prvs=0123abcdef=alice@isp.example"
	static const struct {
		const char *extra, *headers, *tagged;
	} rows[] = {
	    {"", "Subject: x\n", ""},
	    {"Original-Mail-From: <" TAGGED ">\n", "Subject: x\n", TAGGED},
	    {"Original-Mail-From: " TAGGED "\n", "Subject: x\n", TAGGED},
	    {"Original-Mail-From: alice@isp.example\n", "Return-Path: <" TAGGED ">\n", TAGGED},
	    {"", "return-path:\n <" TAGGED ">\n", TAGGED},
	    {"", "X-Envelope-From: " TAGGED "\n", TAGGED},
	    {"", "Received-SPF: pass (x: y) client-ip=192.0.2.1; envelope-from=\"" TAGGED "\";\n",
	     TAGGED},
	    {"", "Authentication-Results: mx; spf=pass smtp.mailfrom=" TAGGED "; dkim=none\n",
	     TAGGED},
	    {"Original-Mail-From: <prvs=9999ffffff=bob@isp.example>\n",
	     "Return-Path: <" TAGGED ">\n", TAGGED},
	    {"", "Return-Path: <PRVS=0123ABCDEF=Alice@isp.example>\n",
	     "PRVS=0123ABCDEF=Alice@isp.example"},
	    {"", "Return-Path: <prvs=0123abcde=alice@isp.example>\n", ""}, /* nine: of others */
	    {"", "Return-Path: <prvs=alice=0123abcdef@isp.example>\n", ""},
	    {"", "Return-Path: <prvs=0123abcdef=alice>\n", ""},
	    {"", "Subject: <" TAGGED ">\n", ""},
	    {"", "Return-Path: prvs=\n", ""},
	};
	char text[4096];
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		snprintf(text, sizeof text, "%s%s--b\nContent-Type: message/rfc822\n\n%s\nbody\n%s",
			 OUTER HUMAN FEEDBACK FIELDS, rows[i].extra, rows[i].headers, END);
		assert_string_equal(parse(text)->tagged, rows[i].tagged);
	}
}

#define XARF_OUTER                                                                                 \
	"From: Reports <x@reporter.example>\nTo: abuse@isp.example\nX-XARF: SECURE\n"              \
	"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"                         \
	"--b\nContent-Type: text/plain\n\nSee the attachment.\n"
#define XARF(json)                                                                                 \
	XARF_OUTER "--b\nContent-Type: application/json; name=xarf.json\n\n" json "\n--b--\n"

static const struct {
	const char *name, *text, *type, *ip;
	uint32_t port;
	int64_t arrival;
	const char *token, *queue_id, *tagged;
} xarfs[] = {
    {"version 3, a login attack",
     XARF("{\"Version\":\"3\",\"ReporterInfo\":{\"ReporterOrg\":\"R\",\"ReporterOrgEmail\":"
	  "\"abuse@r.example\"},\"Disclosure\":true,\"Report\":{\"ReportClass\":\"Activity\","
	  "\"ReportType\":\"LoginAttack\",\"Date\":\"2026-11-18T11:06:40Z\",\"SourceIp\":"
	  "\"192.0.2.1\",\"SourcePort\":40000,\"DestinationIp\":\"198.51.100.9\"}}"),
     "login-attack", "192.0.2.1", 40000, T0, "", "", ""},
    {"version 3, spam with its message",
     XARF("{\"Version\":\"3\",\"Report\":{\"ReportType\":\"Spam\",\"Date\":"
	  "\"2026-11-18T12:06:40+01:00\",\"SourceIp\":\"2001:DB8::1\",\"SmtpMailFromAddress\":"
	  "\"" TAGGED "\",\"Samples\":[{\"ContentType\":\"image/png\",\"Payload\":\"AA==\","
	  "\"Base64Encoded\":true},{\"ContentType\":\"message/rfc822\",\"Base64Encoded\":true,"
	  "\"Payload\":"
	  "\"WC1TZWtpc2hvLVRyYWNlOiAwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1NjcKU3ViamVjdDogeAoKYm9keQo="
	  "\"}]}}"),
     "spam", "2001:db8::1", 0, T0, TOKEN, "", TAGGED},
    {"version 4",
     XARF("{\"xarf_version\":\"4.0.0\",\"report_id\":\"1\",\"timestamp\":"
	  "\"2026-11-18T11:06:40Z\",\"reporter\":{\"org\":\"R\",\"contact\":\"a@r.example\"},"
	  "\"source_identifier\":\"192.0.2.1\",\"source_port\":25,\"category\":\"messaging\","
	  "\"type\":\"spam\",\"smtp_from\":\"" TAGGED "\"}"),
     "spam", "192.0.2.1", 25, T0, "", "", TAGGED},
    {"flat",
     XARF("{\"Report-Type\":\"login_attack\",\"Source\":\"192.0.2.1\",\"Date\":"
	  "\"Wed, 18 Nov 2026 11:06:40 +0000\",\"Message-ID\":\"<" QUEUE_ID "@" HOST ">\"}"),
     "login-attack", "192.0.2.1", 0, T0, "", QUEUE_ID, ""},
    {"a file of that name, in base64",
     XARF_OUTER "--b\nContent-Type: application/octet-stream\nContent-Disposition: attachment; "
		"filename=\"report.JSON\"\nContent-Transfer-Encoding: base64\n\n"
		"eyJSZXBvcnRUeXBlIjoiU3BhbSIsIlNvdXJjZUlwIjoiMTkyLjAuMi4xIn0=\n--b--\n",
     "spam", "192.0.2.1", 0, 0, "", "", ""},
    {"the message beside it, and numbers where text belongs",
     XARF("{\"ReportType\":\"Spam\",\"SourceIp\":\"192.0.2.1\",\"Date\":7,\"SourcePort\":"
	  "\"9\",\"Reporter\":[1]}\n" ORIGINAL),
     "spam", "192.0.2.1", 9, 0, TOKEN, QUEUE_ID, ""},
};

static void test_xarf(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof xarfs / sizeof xarfs[0]; i++) {
		print_message("# %s\n", xarfs[i].name);
		struct arf *a = parse(xarfs[i].text);
		assert_string_equal(a->format, "xarf");
		assert_string_equal(a->feedback_type, xarfs[i].type);
		assert_string_equal(a->reporter, "x@reporter.example");
		assert_string_equal(a->source_ip, xarfs[i].ip);
		assert_int_equal(a->source_port, xarfs[i].port);
		assert_int_equal(a->arrival_ms, xarfs[i].arrival);
		assert_string_equal(a->token, xarfs[i].token);
		assert_string_equal(a->queue_id, xarfs[i].queue_id);
		assert_string_equal(a->tagged, xarfs[i].tagged);
	}
}

static void test_no_xarf(void **state)
{
	static const char *const no[] = {
	    XARF(""),
	    XARF("{}"),
	    XARF("[]"),
	    XARF("7"),
	    XARF("{\"ReportType\":\"Spam\"}"),
	    XARF("{\"SourceIp\":\"192.0.2.1\"}"),
	    XARF("{\"ReportType\":\"Spam\",\"SourceIp\":\"192.0.2.1\""),
	    XARF("{\"ReportType\":\"Spam\",\"SourceIp\":\"192.0.2.1\",\"SourceIp\":\"x\"}"),
	    XARF("{\"ReportType\":\"Spam\",\"SourceIp\":\"192.0.2.1\"} and more"),
	};
	const char *err = NULL;
	(void)state;
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		assert_null(arf_parse(pool, (const uint8_t *)no[i], strlen(no[i]), HOST, &err));
	assert_non_null(strstr(err, "XARF"));
}

static const struct {
	const char *name, *extra, *headers, *token, *queue_id;
} marks[] = {
    {"envelope id is our token", "Original-Envelope-Id: <" TOKEN ">\n", "Subject: x\n", TOKEN, ""},
    {"envelope id is our queue id", "Original-Envelope-Id: " QUEUE_ID "\n", "Subject: x\n", "",
     QUEUE_ID},
    {"envelope id of others", "Original-Envelope-Id: <1234@elsewhere.example>\n", "Subject: x\n",
     "", ""},
    {"the message counts more", "Original-Envelope-Id: ffffffffffffffffffffffff\n",
     "X-Sekisho-Trace: " TOKEN "\n", TOKEN, ""},
    {"a foreign Received", "",
     "Received: from a by mx.elsewhere.example with ESMTP id " QUEUE_ID "; x\n", "", ""},
    {"a host that only begins so", "",
     "Received: from a by smtp.isp.example.evil.example id " QUEUE_ID "\n", "", ""},
    {"other case", "", "RECEIVED: from a BY SMTP.ISP.EXAMPLE with ESMTPSA ID " QUEUE_ID "; x\n", "",
     QUEUE_ID},
    {"an id of other length", "", "Received: from a by " HOST " id abc; x\n", "", ""},
    {"a token of other length", "", "X-Sekisho-Trace: 0123\n", "", ""},
    {"only the feedback id is left", "", "CFBL-Feedback-ID:\n\t" TOKEN "\n", TOKEN, ""},
    {"a feedback id of others", "", "CFBL-Feedback-ID: 111:222:333:4444\n", "", ""},
    {"only a Message-ID of ours is left", "", "Message-ID: <" QUEUE_ID "@" HOST ">\n", "",
     QUEUE_ID},
    {"a Message-ID of others", "", "Message-ID: <" QUEUE_ID "@" HOST ".evil.example>\n", "", ""},
    {"a Message-ID a client made", "", "Message-ID: <x" QUEUE_ID "@" HOST ">\n", "", ""},
    {"Received counts more than Message-ID", "",
     "Message-ID: <aaaaaaaaaaaaaaaa@" HOST ">\nReceived: from a by " HOST
     " with ESMTPSA id " QUEUE_ID "; x\n",
     "", QUEUE_ID},
    {"a token with more behind", "", "X-Sekisho-Trace: " TOKEN "00\n", "", ""},
};

static void test_marks(void **state)
{
	char text[4096];
	(void)state;
	for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
		snprintf(text, sizeof text, "%s%s--b\nContent-Type: message/rfc822\n\n%s\nbody\n%s",
			 OUTER HUMAN FEEDBACK FIELDS, marks[i].extra, marks[i].headers, END);
		print_message("# %s\n", marks[i].name);
		struct arf *a = parse(text);
		assert_string_equal(a->token, marks[i].token);
		assert_string_equal(a->queue_id, marks[i].queue_id);
	}
}

static void test_jmrp(void **state)
{
	struct arf *a =
	    parse("From: <staff@hotmail.example>\nSubject: complaint about message from 192.0.2.1\n"
		  "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
		  "--b\nContent-Type: message/rfc822\n\nX-HmXmrOriginalRecipient: "
		  "bob@hotmail.example\n" ORIGINAL_HEADERS "\nspam\n--b--\n");
	(void)state;
	assert_string_equal(a->format, "jmrp");
	assert_string_equal(a->feedback_type, "abuse");
	assert_string_equal(a->source_ip, "192.0.2.1");
	assert_string_equal(a->token, TOKEN);
}

static void test_no_report(void **state)
{
	static const char *const no[] = {
	    "",
	    "\n",
	    "hello",
	    "From: a@b.example\n\nhello\n",
	    "From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=b; "
	    "report-type=delivery-status\n\n"
	    "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n" ORIGINAL END,
	    "Subject: complaint about message from 192.0.2.1\n\nno message in it\n",
	};
	const char *err = NULL;
	(void)state;
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
		assert_null(arf_parse(pool, (const uint8_t *)no[i], strlen(no[i]), HOST, &err));
		assert_non_null(err);
	}
	uint8_t *big = calloc(1, ARF_RAW_MAX + 1);
	assert_null(arf_parse(pool, big, ARF_RAW_MAX + 1, HOST, &err));
	assert_non_null(strstr(err, "longer"));
	free(big);
}

/* Bounds: fields, values, NULs, deep nesting. */
static void test_bounds(void **state)
{
	size_t cap = 600000, n = 0;
	char *text = malloc(cap);
	const char *err;
	(void)state;
	n += (size_t)snprintf(text + n, cap - n, "%s", OUTER FEEDBACK FIELDS);
	for (int i = 0; i < 1000; i++)
		n += (size_t)snprintf(text + n, cap - n, "Reported-URI: http://%d.example/\n", i);
	n += (size_t)snprintf(text + n, cap - n, "Long: ");
	memset(text + n, 'x', 5000);
	n += 5000;
	n += (size_t)snprintf(text + n, cap - n, "\n%s%s", ORIGINAL, END);
	text[strstr(text, "abuse") - text + 2] = '\0'; /* a NUL inside the type */
	struct arf *a = arf_parse(pool, (const uint8_t *)text, n, HOST, &err);
	if (a) {
		assert_true(a->n_fields <= ARF_FIELDS_MAX);
		assert_null(memchr(a->feedback_type, 0, strlen(a->feedback_type)));
	}
	/* 1000 multiparts in each other */
	n = (size_t)snprintf(
	    text, cap,
	    "From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b0\n\n");
	for (int i = 0; i < 1000; i++)
		n += (size_t)snprintf(text + n, cap - n,
				      "--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n", i,
				      i + 1);
	assert_null(arf_parse(pool, (const uint8_t *)text, n, HOST, &err));
	free(text);
}

/* A report inside so many multiparts: found in a few, not looked for in many. */
static void test_nesting(void **state)
{
	static const struct {
		int depth;
		bool found;
	} rows[] = {{0, true}, {5, true}, {12, false}};
	char text[8192];
	const char *err;
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t n = (size_t)snprintf(
		    text, sizeof text,
		    "From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; "
		    "boundary=b0\n\n");
		for (int d = 0; d < rows[i].depth; d++)
			n += (size_t)snprintf(
			    text + n, sizeof text - n,
			    "--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n", d, d + 1);
		n += (size_t)snprintf(text + n, sizeof text - n,
				      "--b%d\nContent-Type: message/feedback-report\n\n" FIELDS
				      "\n--b%d\nContent-Type: message/rfc822\n\nSubject: x\n\ny\n",
				      rows[i].depth, rows[i].depth);
		for (int d = rows[i].depth; d >= 0; d--)
			n += (size_t)snprintf(text + n, sizeof text - n, "--b%d--\n", d);
		struct arf *a = arf_parse(pool, (const uint8_t *)text, n, HOST, &err);
		if ((a != NULL) != rows[i].found)
			fail_msg("depth %d", rows[i].depth);
	}
}

static void test_codec(void **state)
{
	static uint8_t buf[ARF_WIRE_MAX], again[ARF_WIRE_MAX];
	struct arf *a =
	    parse(OUTER HUMAN FEEDBACK FIELDS
		  "Source-Port: 40000\nReported-URI: a\nReported-URI: b\n" ORIGINAL END);
	size_t n = arf_encode(a, buf, sizeof buf);
	(void)state;
	assert_true(n > 0);
	struct arf *b = arf_decode(pool, buf, n);
	assert_non_null(b);
	assert_string_equal(b->token, a->token);
	assert_string_equal(b->original_headers, a->original_headers);
	assert_int_equal(b->n_fields, a->n_fields);
	assert_int_equal(arf_encode(b, again, sizeof again), n);
	assert_memory_equal(buf, again, n);
	for (size_t cut = 0; cut < n; cut++)
		assert_null(arf_decode(pool, buf, cut));
	assert_int_equal(arf_encode(a, buf, n - 1), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_plain),	     T(test_line_ends), T(test_shapes),	 T(test_wholes),
	    T(test_base64_original), T(test_marks),	T(test_jmrp),	 T(test_no_report),
	    T(test_bounds),	     T(test_codec),	T(test_nesting), T(test_blacked_out),
	    T(test_tagged),	     T(test_xarf),	T(test_no_xarf),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
