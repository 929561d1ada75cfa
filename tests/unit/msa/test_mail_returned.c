/* returned: notifications as servers write them, answers of people's programs, and what is cut or
 * lies. Each is read whole and octet by octet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/mail/returned.h"

#define N(a)  (sizeof(a) / sizeof *(a))
#define TOKEN "0123456789abcdef01234567"

struct mail {
	const char *field[3][2];
	const char *body;
};

#define REPORT "multipart/report; report-type=delivery-status;\r\n\tboundary=\"B1/mx\""
#define TEXT_PART                                                                                  \
	"This is a MIME-encapsulated message.\r\n\r\n--B1/mx\r\nContent-Type: "                    \
	"text/plain\r\n\r\nI'm sorry.\r\n\r\n"
#define STATUS_PART                                                                                \
	"--B1/mx\r\nContent-Description: Delivery report\r\nContent-Type: "                        \
	"message/delivery-status\r\n\r\n"
#define MESSAGE_PART                                                                               \
	"--B1/mx\r\nContent-Type: message/rfc822\r\n\r\nX-Sekisho-Trace: " TOKEN                   \
	"\r\nSubject: hello\r\n\r\ntext\r\n--B1/mx--\r\n"

static const struct mail postfix = {
    {{"Content-Type", REPORT}, {"Auto-Submitted", "auto-replied"}},
    TEXT_PART STATUS_PART
    "Reporting-MTA: dns; mx.far.example\r\nX-Postfix-Queue-ID: 4XYZ\r\nArrival-Date: Mon, 23 Nov "
    "2026 03:00:00 +0000 (UTC)\r\n\r\n"
    "Final-Recipient: rfc822; nobody@far.example\r\nOriginal-Recipient: "
    "rfc822;Nobody@far.example\r\nAction: failed\r\n"
    "Status: 5.1.1\r\nRemote-MTA: dns; in.far.example\r\nDiagnostic-Code: smtp; 550 5.1.1 "
    "<nobody@far.example>: Recipient\r\n"
    "    address rejected: User unknown in local recipient table\r\n\r\n" MESSAGE_PART};

static const struct mail sendmail = {
    {{"Content-Type", "multipart/report; report-type=delivery-status; boundary=B1/mx"},
     {"Auto-Submitted", "auto-generated (warning-timeout)"}},
    "--B1/mx\n\ntext\n--B1/mx\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; "
    "s.example\n\n"
    "Final-Recipient: RFC822; a@x.example\nAction: delayed\nStatus: 4.4.2\nDiagnostic-Code: "
    "X-Unix; 75\n\n"
    "Final-Recipient: RFC822; b@x.example\nAction: expanded (to multi-recipient alias)\nStatus: "
    "2.0.0\n\n--B1/mx--\n"};

/* Exchange: statuses in base64, no diagnostic of a server. */
static const struct mail encoded = {
    {{"Content-Type", REPORT}},
    TEXT_PART "--B1/mx\r\nContent-Type: "
	      "message/global-delivery-status\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	      "UmVwb3J0aW5nLU1UQTogZG5zO2V4LmV4YW1wbGUKCk9yaWdpbmFsLVJlY2lwaWVudDogdXRmLTg7\r\n"
	      "asO8cmdlbkB4LmV4YW1wbGUKRmluYWwtUmVjaXBpZW50OiB1dGYtODtqw7xyZ2VuQHguZXhhbXBs\r\n"
	      "ZQpBY3Rpb246IGZhaWxlZApTdGF0dXM6IDUuMS4xMApEaWFnbm9zdGljLUNvZGU6IHNtdHA7NTUw\r\n"
	      "IDUuMS4xMCBSRVNPTFZFUi5BRFIuUmVjaXBpZW50Tm90Rm91bmQK\r\n\r\n" MESSAGE_PART};

static const struct mail quoted = {
    {{"Content-Type", REPORT}},
    TEXT_PART "--B1/mx\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type: "
	      "message/delivery-status; charset=utf-8\r\n\r\n"
	      "Reporting-MTA: dns=3B q.example\r\n\r\nFinal-Recipient: rfc822; "
	      "c@x.exam=\r\nple\r\nAction=3A failed\r\nStatus: 5.7.1 (spam)\r\n"
	      "Diagnostic-Code: smtp; 554 5.7.1 =\r\nThis is spam\r\n" MESSAGE_PART};

static const struct mail qmail = {
    {{"Subject", "failure notice"}},
    "Hi. This is the qmail-send program at q.example.\nI'm afraid I wasn't able to deliver your "
    "message to the following addresses.\n"
    "This is a permanent error; I've given up. Sorry it didn't work out.\n\n<gone@q.example>:\n"
    "Sorry, no mailbox here by that name. (#5.1.1)\n\n<two@q.example>:\n192.0.2.7 does not like "
    "recipient.\n"
    "Remote host said: 554 5.7.1 Message rejected as spam\nGiving up on 192.0.2.7.\n\n--- Below "
    "this line is a copy of the message.\n\n"
    "X-Sekisho-Trace: " TOKEN "\nSubject: hello\n\n<not@this.example>:\n"};

static const struct mail exim = {
    {{"X-Failed-Recipients", "u@e.example, v@e.example"}, {"Auto-Submitted", "auto-replied"}},
    "This message was created automatically by mail delivery software.\n\nA message that you sent "
    "could not be delivered\n\n"
    "  u@e.example\n    SMTP error from remote mail server after RCPT TO:<u@e.example>:\n    host "
    "mx.e.example [192.0.2.9]: 550 5.1.1 User unknown\n\n"
    "  v@e.example\n    Unrouteable address\n\n------ This is a copy of the message, including all "
    "the headers. ------\n"};

static const struct mail vacation = {
    {{"Auto-Submitted", "auto-replied (vacation)"}, {"Content-Type", "text/plain"}},
    "I am away until 550 5.1.1 Monday.\r\n"};

static const struct mail old_vacation = {{{"Precedence", "auto_reply"}}, "Away.\r\n"};

static const struct mail reader = {
    {{"Content-Type", "multipart/report; boundary=B1/mx; report-type=disposition-notification"}},
    "--B1/mx\r\n\r\nread\r\n--B1/mx\r\nContent-Type: message/disposition-notification\r\n\r\n"
    "Final-Recipient: rfc822; a@x.example\r\nDisposition: manual-action/MDN-sent-manually; "
    "displayed\r\n--B1/mx--\r\n"};

static const struct mail plain = {{{"Subject", "Undeliverable"}},
				  "550 5.1.1 <a@x.example> unknown\r\n"};

/* The words say failed, the number does not. */
static const struct mail liar = {
    {{"Content-Type", REPORT}},
    STATUS_PART
    "Reporting-MTA: dns; l.example\r\n\r\nFinal-Recipient: rfc822; a@l.example\r\nAction: "
    "failed\r\nStatus: 4.4.7\r\n\r\n"
    "Final-Recipient: rfc822; no-address\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
    "Final-Recipient: rfc822; b@l.example\r\nStatus: 5.1.1\r\n\r\n"
    "Final-Recipient: rfc822; c@l.example\r\nAction: failed\r\nStatus: 5.1.1234\r\n\r\n"
    "Action: failed\r\nOriginal-Recipient: rfc822; d@l.example\r\nStatus: 5.0.0\r\n--B1/mx--\r\n"};

/* Of somebody else's boundary, which begins as this one does. */
static const struct mail nested = {
    {{"Content-Type", REPORT}},
    "--B1/mx\r\nContent-Type: multipart/alternative; "
    "boundary=\"B1/mx2\"\r\n\r\n--B1/mx2\r\nContent-Type: message/delivery-status\r\n\r\n"
    "Reporting-MTA: dns; wrong\r\n\r\nFinal-Recipient: rfc822; wrong@x.example\r\nAction: "
    "failed\r\nStatus: 5.1.1\r\n\r\n--B1/mx2--\r\n" STATUS_PART
    "Reporting-MTA: dns; right\r\n\r\nFinal-Recipient: rfc822; right@x.example\r\nAction: "
    "failed\r\nStatus: 5.2.2\r\n"};

struct want {
	enum returned_action action;
	const char *rcpt, *status, *text;
};

static const struct {
	const char *name;
	const struct mail *mail;
	enum returned_form form;
	const char *mta, *token;
	struct want rcpt[4];
} cases[] = {
    {"postfix",
     &postfix,
     RETURNED_DSN,
     "mx.far.example",
     TOKEN,
     {{RETURNED_FAILED, "nobody@far.example", "5.1.1",
       "550 5.1.1 <nobody@far.example>: Recipient address rejected: User unknown in local "
       "recipient table"}}},
    {"sendmail",
     &sendmail,
     RETURNED_DSN,
     "s.example",
     "",
     {{RETURNED_DELAYED, "a@x.example", "4.4.2", "75"},
      {RETURNED_ARRIVED, "b@x.example", "2.0.0", ""}}},
    {"encoded",
     &encoded,
     RETURNED_DSN,
     "ex.example",
     TOKEN,
     {{RETURNED_FAILED, "j\xc3\xbcrgen@x.example", "5.1.10",
       "550 5.1.10 RESOLVER.ADR.RecipientNotFound"}}},
    {"quoted",
     &quoted,
     RETURNED_DSN,
     "q.example",
     TOKEN,
     {{RETURNED_FAILED, "c@x.example", "5.7.1", "554 5.7.1 This is spam"}}},
    {"qmail",
     &qmail,
     RETURNED_QMAIL,
     "",
     TOKEN,
     {{RETURNED_FAILED, "gone@q.example", "5.1.1", "Sorry, no mailbox here by that name. (#5.1.1)"},
      {RETURNED_FAILED, "two@q.example", "5.7.1",
       "554 5.7.1 Message rejected as spam Giving up on 192.0.2.7."}}},
    {"exim",
     &exim,
     RETURNED_EXIM,
     "",
     "",
     {{RETURNED_FAILED, "u@e.example", "5.1.1", "550 5.1.1 User unknown"},
      {RETURNED_FAILED, "v@e.example", "", "Unrouteable address"}}},
    {"vacation", &vacation, RETURNED_AUTO, "", "", {{0}}},
    {"old vacation", &old_vacation, RETURNED_AUTO, "", "", {{0}}},
    {"reader", &reader, RETURNED_READER, "", "", {{0}}},
    {"plain", &plain, RETURNED_NONE, "", "", {{0}}},
    {"liar",
     &liar,
     RETURNED_DSN,
     "l.example",
     "",
     {{RETURNED_DELAYED, "a@l.example", "4.4.7", ""},
      {RETURNED_FAILED, "c@l.example", "", ""},
      {RETURNED_FAILED, "d@l.example", "5.0.0", ""}}},
    {"nested",
     &nested,
     RETURNED_DSN,
     "right",
     "",
     {{RETURNED_FAILED, "right@x.example", "5.2.2", ""}}},
};

static void read_mail(const struct mail *m, size_t len, size_t step, struct returned *out)
{
	struct returned_reader *r = returned_new(NULL);

	for (size_t i = 0; i < N(m->field) && m->field[i][0]; i++)
		returned_field(r, m->field[i][0], m->field[i][1]);
	for (size_t at = 0; at < len; at += step)
		returned_body(r, m->body + at, len - at < step ? len - at : step);
	returned_end(r, out);
}

static void compare(size_t i, const struct returned *r)
{
	const char *name = cases[i].name;
	uint32_t n = 0;

	if (r->form != cases[i].form || strcmp(r->mta, cases[i].mta) != 0 ||
	    strcmp(r->token, cases[i].token) != 0)
		fail_msg("%s: %s, \"%s\", \"%s\"", name, returned_form_name(r->form), r->mta,
			 r->token);
	for (; n < N(cases[i].rcpt) && cases[i].rcpt[n].rcpt; n++) {
		const struct want *w = &cases[i].rcpt[n];
		const struct returned_rcpt *got = &r->rcpt[n];

		if (n >= r->n || got->action != w->action || strcmp(got->rcpt, w->rcpt) != 0 ||
		    strcmp(got->status, w->status) != 0 || strcmp(got->text, w->text) != 0)
			fail_msg("%s %u of %u: %d \"%s\" \"%s\" \"%s\"", name, n, r->n,
				 (int)got->action, got->rcpt, got->status, got->text);
	}
	if (r->n != n)
		fail_msg("%s: %u recipients", name, r->n);
}

static void test_forms(void **state)
{
	struct returned *r = malloc(sizeof(*r));

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		size_t len = strlen(cases[i].mail->body);

		read_mail(cases[i].mail, len, len, r);
		compare(i, r);
		read_mail(cases[i].mail, len, 1, r);
		compare(i, r);
	}
	free(r);
}

/* Cut anywhere: never more than the whole has, nor another recipient. */
static void test_cut(void **state)
{
	struct returned *r = malloc(sizeof(*r));

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		for (size_t len = 0; len < strlen(cases[i].mail->body); len++) {
			read_mail(cases[i].mail, len, len ? len : 1, r);
			assert_true(r->n <= 3);
			for (uint32_t k = 0; k < r->n; k++)
				assert_non_null(strchr(r->rcpt[k].rcpt, '@'));
		}
	free(r);
}

/* The original address; the first Content-Type counts; more than there is room for. */
static void test_details(void **state)
{
	struct returned *r = malloc(sizeof(*r));
	struct returned_reader *reader_;
	char block[128];

	(void)state;
	read_mail(&postfix, strlen(postfix.body), 7, r);
	assert_string_equal(r->rcpt[0].original, "Nobody@far.example");
	reader_ = returned_new(NULL);
	returned_field(reader_, "content-type", "text/plain");
	returned_field(reader_, "Content-Type", REPORT);
	returned_body(reader_, postfix.body, strlen(postfix.body));
	returned_end(reader_, r);
	assert_int_equal(r->form, RETURNED_NONE);
	reader_ = returned_new(NULL);
	returned_field(reader_, "Content-Type", REPORT);
	returned_body(reader_, STATUS_PART "Reporting-MTA: dns; x\r\n\r\n",
		      strlen(STATUS_PART "Reporting-MTA: dns; x\r\n\r\n"));
	for (int i = 0; i < 2000; i++) {
		int n =
		    snprintf(block, sizeof(block),
			     "Final-Recipient: rfc822; u%d@x.example\r\nAction: failed\r\n\r\n", i);
		returned_body(reader_, block, (size_t)n);
	}
	returned_end(reader_, r);
	assert_int_equal(r->n, RETURNED_RCPTS);
	assert_string_equal(r->rcpt[49].rcpt, "u49@x.example");
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_cut),
					   cmocka_unit_test(test_details)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
