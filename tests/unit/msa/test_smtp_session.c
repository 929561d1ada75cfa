/* session: whole dialogues against the pure state machine, with a clock and answers of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "msa/smtp/session.h"

#define N(a) (sizeof(a) / sizeof *(a))

/* The world around one session: what it is answered. */
struct world {
	struct smtp_policy policy;
	struct smtp_session *s;
	struct smtp_step step;
	int64_t now;
	enum smtp_auth_result auth;
	const char *auth_text;
	enum queue_result room, submit;
	struct rl_verdict check, charge;
	struct smtp_data_end data;
	struct smtp_note note; /* the last one */
	int notes;
	char reply[8192]; /* to the last line said */
};

static const char *const mechs[] = {"SCRAM-SHA-256", "PLAIN", "LOGIN"};

static void start(struct world *w, bool tls)
{
	memset(w, 0, sizeof(*w));
	w->policy = (struct smtp_policy){.hostname = "mx.test",
					 .local_domain = "isp.example",
					 .mechs = mechs,
					 .n_mechs = N(mechs),
					 .max_message = 10000,
					 .max_rcpts = 3,
					 .max_commands = 1000,
					 .max_errors = 5,
					 .max_auth_failures = 3,
					 .session_ms = 60000,
					 .max_hops = 50,
					 .rules = {.mail_from = MAIL_FROM_OWNED},
					 .limiter_down = LIMITER_DEFER,
					 .max_idle_commands = 1000,
					 .free_errors = 1000};
	w->auth = SMTP_AUTH_OK;
	w->auth_text = "user01@isp.example";
	w->s = smtp_session_new(NULL, &w->policy, tls, 0);
	smtp_session_open(w->s, &w->step);
	assert_memory_equal(w->step.reply, "220 mx.test ESMTP", 17);
}

static void stop(struct world *w)
{
	talloc_free(w->s);
}

static void take(struct world *w)
{
	size_t n = strlen(w->reply);

	assert_true(n + w->step.reply_len < sizeof(w->reply));
	memcpy(w->reply + n, w->step.reply, w->step.reply_len);
	w->reply[n + w->step.reply_len] = '\0';
	w->step.reply_len = 0;
	w->step.reply[0] = '\0';
	if (w->step.note.what == SMTP_NOTE_NONE)
		return;
	w->note = w->step.note;
	w->notes++;
}

/* Answer whatever is wanted until a line, message bytes, TLS or the end is. */
static void settle(struct world *w)
{
	for (;;) {
		take(w);
		assert_int_equal(w->s->want, w->step.want);
		switch (w->step.want) {
		case SMTP_WANT_AUTH:
			smtp_session_auth(w->s, w->auth, w->auth_text, "user01@isp.example",
					  "a detail", &w->step);
			break;
		case SMTP_WANT_ROOM:
			smtp_session_room(w->s, w->room, &w->step);
			break;
		case SMTP_WANT_CHECK:
			smtp_session_verdict(w->s, &w->check, &w->step);
			break;
		case SMTP_WANT_CHARGE:
			smtp_session_verdict(w->s, &w->charge, &w->step);
			break;
		case SMTP_WANT_SUBMIT:
			smtp_session_submitted(w->s, w->submit, &w->step);
			break;
		default:
			return;
		}
	}
}

static void say(struct world *w, const char *line)
{
	w->reply[0] = '\0';
	assert_int_not_equal(w->s->state, SMTP_S_CLOSED);
	smtp_session_line(w->s, line, strlen(line), w->now, &w->step);
	settle(w);
}

/* Say a line; the reply must begin so. */
#define expect(w, line, begin) expect_((w), (line), (begin), __LINE__)
static void expect_(struct world *w, const char *line, const char *begin, int where)
{
	say(w, line);
	if (strncmp(w->reply, begin, strlen(begin)) != 0)
		fail_msg("line %d: %s: %s", where, line, w->reply);
}

static void send_data(struct world *w, const char *begin)
{
	w->reply[0] = '\0';
	assert_int_equal(w->s->want, SMTP_WANT_DATA);
	snprintf(w->s->tx->queue_id, sizeof(w->s->tx->queue_id), "0123456789abcdef");
	smtp_session_data(w->s, &w->data, &w->step);
	settle(w);
	if (strncmp(w->reply, begin, strlen(begin)) != 0)
		fail_msg("data: %s", w->reply);
}

static void logged_in(struct world *w)
{
	start(w, true);
	expect(w, "EHLO me.example", "250-mx.test\r\n");
	expect(w, "AUTH PLAIN AGEAYg==", "235 2.7.0 ");
}

/* --- order and TLS --- */

static void test_before_ehlo(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	expect(&w, "MAIL FROM:<a@b>", "503 5.5.1 ");
	expect(&w, "STARTTLS", "503 5.5.1 ");
	expect(&w, "AUTH PLAIN", "503 5.5.1 ");
	expect(&w, "NOOP", "250 2.0.0 ");
	expect(&w, "RSET", "250 2.0.0 ");
	expect(&w, "HELP", "214 2.0.0 ");
	expect(&w, "QUIT", "221 2.0.0 ");
	assert_int_equal(w.s->want, SMTP_WANT_CLOSE);
	stop(&w);
}

static void test_plain_text(void **state)
{
	static const char *const refused[] = {"MAIL FROM:<user01@isp.example>", "RCPT TO:<a@b>",
					      "DATA", "VRFY x"};
	struct world w;

	(void)state;
	start(&w, false);
	w.policy.max_errors = 100;
	expect(
	    &w, "EHLO me",
	    "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 10000\r\n250-8BITMIME\r\n250-BINARYMIME\r\n"
	    "250-CHUNKING\r\n250-SMTPUTF8\r\n250-DSN\r\n250-LIMITS RCPTMAX=3\r\n250-STARTTLS\r\n"
	    "250 ENHANCEDSTATUSCODES\r\n");
	for (size_t i = 0; i < N(refused); i++)
		expect(&w, refused[i], "530 5.7.0 ");
	expect(&w, "AUTH PLAIN AGEAYg==", "538 5.7.11 ");
	expect(&w, "AUTH", "538 5.7.11 ");
	assert_int_equal(w.notes, 0);
	expect(&w, "STARTTLS now", "501 5.5.4 ");
	expect(&w, "STARTTLS", "220 2.0.0 ");
	assert_int_equal(w.s->want, SMTP_WANT_TLS);
	smtp_session_tls(w.s, &w.step);
	/* what was said before is forgotten */
	expect(&w, "AUTH PLAIN AGEAYg==", "503 5.5.1 ");
	expect(
	    &w, "EHLO me",
	    "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 10000\r\n250-8BITMIME\r\n250-BINARYMIME\r\n"
	    "250-CHUNKING\r\n250-SMTPUTF8\r\n250-DSN\r\n250-LIMITS RCPTMAX=3\r\n250-REQUIRETLS\r\n"
	    "250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES\r\n");
	expect(&w, "STARTTLS", "503 5.5.1 ");
	stop(&w);
}

static void test_helo_has_no_extensions(void **state)
{
	struct world w;

	(void)state;
	logged_in(&w);
	expect(&w, "HELO me", "250 mx.test\r\n");
	expect(&w, "MAIL FROM:<user01@isp.example> SIZE=1", "555 5.5.4 ");
	expect(&w, "MAIL FROM:<user01@isp.example>", "250 2.1.0 ");
	stop(&w);
	start(&w, true);
	expect(&w, "HELO me", "250 mx.test\r\n");
	expect(&w, "AUTH PLAIN AGEAYg==", "503 5.5.1 ");
	expect(&w, "HELO", "501 5.5.4 ");
	expect(&w, "EHLO a b", "501 5.5.4 ");
	stop(&w);
}

/* --- AUTH --- */

static void test_relay_needs_auth(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	expect(&w, "EHLO me", "250-");
	expect(&w, "MAIL FROM:<user01@isp.example>", "530 5.7.0 ");
	expect(&w, "RCPT TO:<a@b>", "530 5.7.0 ");
	expect(&w, "DATA", "530 5.7.0 ");
	expect(&w, "VRFY a", "530 5.7.0 ");
	stop(&w);
}

static void test_auth_ok(void **state)
{
	struct world w;

	(void)state;
	logged_in(&w);
	assert_string_equal(w.s->account, "user01@isp.example");
	assert_int_equal(w.note.what, SMTP_NOTE_LOGIN);
	assert_true(w.note.ok);
	assert_string_equal(w.note.account, "user01@isp.example");
	assert_string_equal(w.note.reason, "");
	expect(&w, "AUTH PLAIN AGEAYg==", "503 5.5.1 ");
	say(&w, "EHLO me");
	assert_null(strstr(w.reply, "AUTH"));
	stop(&w);
}

static void test_auth_exchange(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	expect(&w, "EHLO me", "250-");
	w.auth = SMTP_AUTH_CONTINUE;
	w.auth_text = "VXNlcm5hbWU6";
	expect(&w, "auth login", "334 VXNlcm5hbWU6\r\n");
	assert_null(w.s->auth_data);
	assert_string_equal(w.s->mech, "LOGIN");
	w.auth_text = "";
	expect(&w, "dXNlcjAx", "334 \r\n");
	/* inside the exchange nothing is a command */
	w.auth = SMTP_AUTH_MALFORMED;
	w.auth_text = "501 5.5.2 no";
	expect(&w, "QUIT", "501 5.5.2 no\r\n");
	assert_int_equal(w.s->state, SMTP_S_READY);
	/* cancelled by the client */
	w.auth = SMTP_AUTH_CONTINUE;
	w.auth_text = "";
	expect(&w, "AUTH PLAIN", "334 \r\n");
	expect(&w, "*", "501 5.7.0 ");
	assert_int_equal(w.s->state, SMTP_S_READY);
	assert_int_equal(w.notes, 2);
	stop(&w);
}

static void test_auth_initial_response(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	expect(&w, "EHLO me", "250-");
	w.auth = SMTP_AUTH_CONTINUE;
	w.auth_text = "";
	smtp_session_line(w.s, "AUTH LOGIN =", 12, 0, &w.step);
	assert_int_equal(w.step.want, SMTP_WANT_AUTH);
	assert_non_null(w.s->auth_data);
	assert_int_equal(w.s->auth_len, 0);
	settle(&w);
	expect(&w, "*", "501 ");
	smtp_session_line(w.s, "AUTH PLAIN  AGEAYg== ", 21, 0, &w.step);
	assert_int_equal(w.s->auth_len, 8);
	assert_memory_equal(w.s->auth_data, "AGEAYg==", 8);
	stop(&w);
}

static void test_auth_refused(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	expect(&w, "EHLO me", "250-");
	expect(&w, "AUTH", "501 5.5.4 ");
	expect(&w, "AUTH CRAM-MD5", "504 5.5.4 ");
	expect(&w, "AUTH PLAINX", "504 5.5.4 ");
	assert_int_equal(w.notes, 0);
	w.auth = SMTP_AUTH_FAILED;
	expect(&w, "AUTH PLAIN AGEAYg==", "535 5.7.8 Authentication failed\r\n");
	assert_int_equal(w.note.what, SMTP_NOTE_LOGIN);
	assert_false(w.note.ok);
	assert_string_equal(w.note.reason, "a detail");
	assert_string_equal(w.s->account, "");
	w.auth = SMTP_AUTH_UNAVAILABLE;
	expect(&w, "AUTH PLAIN AGEAYg==", "454 4.7.0 ");
	w.auth = SMTP_AUTH_SUSPENDED;
	w.auth_text = "it sent spam";
	expect(&w, "AUTH PLAIN AGEAYg==", "535 5.7.8 This account is suspended: it sent spam\r\n");
	assert_string_equal(w.s->account, "");
	w.auth = SMTP_AUTH_FAILED;
	expect(&w, "AUTH PLAIN AGEAYg==", "421 4.7.0 ");
	assert_int_equal(w.s->want, SMTP_WANT_CLOSE);
	assert_int_equal(w.notes, 4);
	stop(&w);
}

static void test_auth_name_is_no_mailbox(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	expect(&w, "EHLO me", "250-");
	w.auth_text = "evil\r\nname";
	expect(&w, "AUTH PLAIN AGEAYg==", "535 5.7.8 ");
	assert_string_equal(w.s->account, "");
	stop(&w);
}

static void test_auth_lines(void **state)
{
	struct world w;

	(void)state;
	start(&w, false);
	assert_int_equal(smtp_session_line_max(w.s), SMTP_LINE_MAX);
	smtp_session_line(w.s, "EHLO x", 6, 0, &w.step);
	assert_int_equal(smtp_session_line_max(w.s), SMTP_LINE_MAX);
	stop(&w);
	start(&w, true);
	expect(&w, "EHLO me", "250-");
	assert_int_equal(smtp_session_line_max(w.s), SMTP_AUTH_LINE_MAX);
	w.auth = SMTP_AUTH_CONTINUE;
	expect(&w, "AUTH LOGIN", "334 ");
	assert_int_equal(smtp_session_line_max(w.s), SMTP_AUTH_LINE_MAX);
	smtp_session_bad_line(w.s, SMTP_LINE_LONG, &w.step);
	assert_memory_equal(w.step.reply, "500 5.5.6 ", 10);
	assert_int_equal(w.s->state, SMTP_S_READY);
	stop(&w);
}

/* --- MAIL --- */

static void test_mail_syntax(void **state)
{
	static const struct {
		const char *line, *reply;
	} cases[] = {
	    {"MAIL", "501 5.5.4 "},
	    {"MAIL TO:<user01@isp.example>", "501 5.5.4 "},
	    {"MAIL FROM:user01@isp.example", "501 5.1.7 "},
	    {"MAIL FROM:<user01>", "501 5.1.7 "},
	    {"MAIL FROM:<Postmaster>", "501 5.1.7 "},
	    {"MAIL FROM:<j\xc3\xb6@isp.example>", "553 5.6.7 "},
	    {"MAIL FROM:<user01@isp.example>SIZE=1", "501 5.5.4 "},
	    {"MAIL FROM:<user01@isp.example> SIZE=x", "501 5.5.4 "},
	    {"MAIL FROM:<user01@isp.example> SIZE", "501 5.5.4 "},
	    {"MAIL FROM:<user01@isp.example> SIZE=99999999999999999999", "552 5.3.4 "},
	    {"MAIL FROM:<user01@isp.example> SIZE=18446744073709551616", "552 5.3.4 "},
	    {"MAIL FROM:<user01@isp.example> SIZE=000000000000000000001", "501 5.5.4 "},
	    {"MAIL FROM:<user01@isp.example> SIZE=00000000000000000001", "250 2.1.0 "},
	    {"MAIL FROM:<user01@isp.example> SIZE=10001", "552 5.3.4 "},
	    {"MAIL FROM:<user01@isp.example> BODY=9BIT", "501 5.5.4 "},
	    {"MAIL FROM:<user01@isp.example> BODY", "501 5.5.4 "},
	    {"MAIL FROM:<user01@isp.example> SIZE=", "501 5.5.4 "},
	    {"MAIL FROM:<user01@isp.example>", "250 2.1.0 "},
	    {"mail from: <user01@isp.example>", "250 2.1.0 "},
	    {"MAIL FROM:<User01@ISP.example> SIZE=10000 BODY=8bitmime AUTH=<>", "250 2.1.0 "},
	    {"MAIL FROM:<user01+news@isp.example> BODY=7BIT", "250 2.1.0 "},
	    {"MAIL FROM:<>", "250 2.1.0 "},
	    {"MAIL FROM:<boss@isp.example>", "553 5.7.1 <boss@isp.example> is not an address of "
					     "this account; send as <user01@isp.example>\r\n"},
	    {"MAIL FROM:<user01@other.example>", "553 5.7.1 "},
	    {"MAIL FROM:<prvs=08918d5b80=user01@isp.example>",
	     "250 2.1.0 <user01@isp.example> sender ok\r\n"},
	    {"MAIL FROM:<\"prvs=08918d5b80=user01+a b\"@isp.example>",
	     "250 2.1.0 <\"user01+a b\"@isp.example> sender ok\r\n"},
	    {"MAIL FROM:<prvs=08918d5b80=boss@isp.example>", "553 5.7.1 "},
	    {"MAIL FROM:<prvs=08918d5b80=user01@other.example>", "553 5.7.1 "},
	    {"MAIL FROM:<prvs=8918d5b80=user01@isp.example>", "553 5.7.1 "},
	};
	struct world w;

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		logged_in(&w);
		expect(&w, cases[i].line, cases[i].reply);
		stop(&w);
	}
}

static void test_mail_modes(void **state)
{
	struct world w;

	(void)state;
	logged_in(&w);
	w.policy.rules.mail_from = MAIL_FROM_REWRITE;
	expect(&w, "MAIL FROM:<boss@other.example>", "250 2.1.0 <user01@isp.example> ");
	expect(&w, "RSET", "250");
	expect(&w, "MAIL FROM:<user01+x@isp.example>", "250 2.1.0 <user01+x@isp.example> ");
	expect(&w, "MAIL FROM:<user01@isp.example>", "503 5.5.1 ");
	expect(&w, "RSET", "250");
	w.policy.rules.mail_from = MAIL_FROM_ANY;
	expect(&w, "MAIL FROM:<boss@other.example>", "250 2.1.0 <boss@other.example> ");
	stop(&w);
	logged_in(&w);
	w.room = QUEUE_FULL;
	expect(&w, "MAIL FROM:<user01@isp.example>", "452 4.3.1 ");
	w.room = QUEUE_ERROR;
	expect(&w, "MAIL FROM:<user01@isp.example>", "451 4.3.0 ");
	w.room = QUEUE_OK;
	expect(&w, "MAIL FROM:<user01@isp.example>", "250 ");
	stop(&w);
}

/* --- RCPT --- */

static void test_rcpt(void **state)
{
	static const struct {
		const char *line, *reply;
	} cases[] = {
	    {"RCPT", "501 5.5.4 "},
	    {"RCPT TO:a@b.example", "501 5.1.3 "},
	    {"RCPT TO:<>", "501 5.1.3 "},
	    {"RCPT TO:<a>", "501 5.1.3 "},
	    {"RCPT TO:<\xc3\xb6@b.example>", "553 5.6.7 "},
	    {"RCPT TO:<a@b.example> XDELIVERBY=1", "555 5.5.4 "},
	    {"RCPT TO:<a@b.example>x", "501 5.5.4 "},
	    {"RCPT TO:<a@B.example>", "250 2.1.5 <a@b.example> "},
	    {"RCPT TO:<@relay.example:a@b.example>", "250 2.1.5 <a@b.example> "},
	    {"rcpt to: <Postmaster>", "250 2.1.5 <postmaster@isp.example> "},
	};
	struct world w;

	(void)state;
	logged_in(&w);
	expect(&w, "RCPT TO:<a@b.example>", "503 5.5.1 ");
	stop(&w);
	for (size_t i = 0; i < N(cases); i++) {
		logged_in(&w);
		expect(&w, "MAIL FROM:<user01@isp.example>", "250");
		expect(&w, cases[i].line, cases[i].reply);
		stop(&w);
	}
}

static void test_rcpt_bounds(void **state)
{
	struct world w;

	(void)state;
	logged_in(&w);
	expect(&w, "MAIL FROM:<user01@isp.example>", "250");
	expect(&w, "RCPT TO:<a@b.example>", "250");
	expect(&w, "RCPT TO:<a@b.example>", "250"); /* once only */
	assert_int_equal(w.s->tx->n_rcpts, 1);
	expect(&w, "RCPT TO:<b@b.example>", "250");
	expect(&w, "RCPT TO:<c@b.example>", "250");
	for (int i = 0; i < 20; i++) /* more than max_errors: these are none */
		expect(&w, "RCPT TO:<d@b.example>", "452 4.5.3 ");
	expect(&w, "DATA", "354 ");
	assert_int_equal(w.notes, 1); /* the login */
	send_data(&w, "250 2.0.0 Ok: queued as 0123456789abcdef\r\n");
	assert_int_equal(w.notes, 2); /* all twenty in one */
	assert_int_equal(w.note.what, SMTP_NOTE_REFUSE);
	assert_int_equal(w.note.rcpts, 20);
	assert_string_equal(w.note.status, "4.5.3");
	stop(&w);
	/* a null sender has one recipient */
	logged_in(&w);
	expect(&w, "MAIL FROM:<>", "250");
	expect(&w, "RCPT TO:<a@b.example>", "250");
	expect(&w, "RCPT TO:<b@b.example>", "550 5.7.1 ");
	stop(&w);
}

static void test_rcpt_limits(void **state)
{
	struct world w;

	(void)state;
	logged_in(&w);
	expect(&w, "MAIL FROM:<user01@isp.example>", "250");
	w.check = (struct rl_verdict){
	    .answer = RL_LIMIT, .retry_ms = 1500, .why = "31 messages in 1m, limit 30"};
	expect(&w, "RCPT TO:<a@b.example>",
	       "452 4.7.28 31 messages in 1m, limit 30; try again in 2 s\r\n");
	w.check = (struct rl_verdict){.answer = RL_REFUSE, .retry_ms = 0, .why = "burst"};
	expect(&w, "RCPT TO:<a@b.example>", "550 5.7.1 This account is suspended: burst\r\n");
	w.check = (struct rl_verdict){.answer = RL_DOWN, .retry_ms = 0, .why = ""};
	expect(&w, "RCPT TO:<a@b.example>", "451 4.3.0 ");
	expect(&w, "DATA", "554 5.5.1 ");
	w.policy.limiter_down = LIMITER_ACCEPT;
	expect(&w, "RCPT TO:<a@b.example>", "250");
	w.check = (struct rl_verdict){.answer = RL_HELD, .retry_ms = 0, .why = "burst"};
	expect(&w, "RCPT TO:<b@b.example>",
	       "250 2.1.5 <b@b.example> recipient ok\r\n"); /* learns nothing */
	assert_int_equal(w.s->tx->n_rcpts, 2);
	expect(&w, "RSET", "250");
	assert_int_equal(w.note.rcpts, 3);
	assert_string_equal(w.note.reason, "31 messages in 1m, limit 30");
	stop(&w);
}

/* --- DATA --- */

static void with_rcpt(struct world *w)
{
	logged_in(w);
	expect(w, "MAIL FROM:<user01@isp.example>", "250");
	expect(w, "RCPT TO:<a@b.example>", "250");
}

static void test_data(void **state)
{
	struct world w;

	(void)state;
	logged_in(&w);
	expect(&w, "DATA", "503 5.5.1 ");
	expect(&w, "MAIL FROM:<user01@isp.example>", "250");
	expect(&w, "DATA", "554 5.5.1 ");
	expect(&w, "RCPT TO:<a@b.example>", "250");
	expect(&w, "DATA now", "501 5.5.4 ");
	expect(&w, "DATA", "354 ");
	assert_false(w.s->tx->hold);
	send_data(&w, "250 2.0.0 Ok: queued as 0123456789abcdef\r\n");
	assert_null(w.s->tx);
	assert_int_equal(w.s->messages, 1);
	/* and the next one */
	expect(&w, "MAIL FROM:<user01@isp.example>", "250");
	stop(&w);
}

static void test_data_refused(void **state)
{
	static const struct {
		struct smtp_data_end end;
		const char *reply, *status;
	} cases[] = {
	    {{.fault = DOT_BARE_LF, .size = 10},
	     "550 5.6.0 The message has a bare LF in it",
	     "5.6.0"},
	    {{.fault = DOT_BARE_CR, .size = 10}, "550 5.6.0 ", "5.6.0"},
	    {{.fault = DOT_NUL, .size = 10}, "550 5.6.0 ", "5.6.0"},
	    {{.fault = DOT_CLEAN, .size = 10001}, "552 5.3.4 ", "5.3.4"},
	    {{.fault = DOT_CLEAN, .size = 10, .hops = 51}, "554 5.4.6 ", "5.4.6"},
	    {{.fault = DOT_CLEAN, .size = 10, .no_memory = true}, "452 4.3.1 ", NULL},
	    {{.size = 10, .from_foreign = true}, "550 5.7.1 From: must name ", "5.7.1"},
	    {{.fault = DOT_CLEAN, .size = 10000, .hops = 50}, "250 2.0.0 ", NULL},
	};
	struct world w;

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		with_rcpt(&w);
		expect(&w, "DATA", "354 ");
		w.data = cases[i].end;
		send_data(&w, cases[i].reply);
		assert_int_equal(w.s->state, SMTP_S_READY);
		assert_null(w.s->tx);
		assert_int_equal(w.notes, cases[i].status ? 2 : 1);
		if (cases[i].status)
			assert_string_equal(w.note.status, cases[i].status);
		expect(&w, "NOOP", "250");
		stop(&w);
	}
}

static void test_charge(void **state)
{
	static const struct {
		struct rl_verdict v;
		enum limiter_down down;
		const char *reply;
	} cases[] = {
	    {{.answer = RL_OK, .retry_ms = 0, .why = ""}, LIMITER_DEFER, "250 "},
	    {{.answer = RL_HELD, .retry_ms = 0, .why = "burst"},
	     LIMITER_DEFER,
	     "250 2.0.0 Ok: queued as 0123456789abcdef\r\n"},
	    {{.answer = RL_LIMIT, .retry_ms = 61000, .why = "too many"},
	     LIMITER_DEFER,
	     "451 4.7.28 too many; try again in 61 s\r\n"},
	    {{.answer = RL_REFUSE, .retry_ms = 0, .why = "burst"}, LIMITER_DEFER, "550 5.7.1 "},
	    {{.answer = RL_DOWN, .retry_ms = 0, .why = ""}, LIMITER_DEFER, "451 4.3.0 "},
	    {{.answer = RL_DOWN, .retry_ms = 0, .why = ""}, LIMITER_ACCEPT, "250 "},
	};
	struct world w;

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		with_rcpt(&w);
		w.policy.limiter_down = cases[i].down;
		w.charge = cases[i].v;
		expect(&w, "DATA", "354 ");
		send_data(&w, cases[i].reply);
		stop(&w);
	}
}

static void test_hold_reaches_the_queue(void **state)
{
	struct world w;

	(void)state;
	with_rcpt(&w);
	w.charge = (struct rl_verdict){.answer = RL_HELD, .retry_ms = 0, .why = "burst"};
	expect(&w, "DATA", "354 ");
	smtp_session_data(w.s, &w.data, &w.step);
	assert_int_equal(w.step.want, SMTP_WANT_CHARGE);
	smtp_session_verdict(w.s, &w.charge, &w.step);
	assert_int_equal(w.step.want, SMTP_WANT_SUBMIT);
	assert_true(w.s->tx->hold);
	stop(&w);
}

/* Our own trouble is never a 5xx. */
static void test_queue_trouble(void **state)
{
	struct world w;

	(void)state;
	with_rcpt(&w);
	w.room = QUEUE_FULL;
	expect(&w, "DATA", "452 4.3.1 ");
	stop(&w);
	with_rcpt(&w);
	expect(&w, "DATA", "354 ");
	w.submit = QUEUE_FULL;
	send_data(&w, "452 4.3.1 ");
	stop(&w);
	with_rcpt(&w);
	expect(&w, "DATA", "354 ");
	w.submit = QUEUE_ERROR;
	send_data(&w, "451 4.3.0 ");
	assert_int_equal(w.s->messages, 0);
	stop(&w);
}

/* --- bounds --- */

static void test_too_many_errors(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	expect(&w, "EHLO me", "250-");
	for (int i = 0; i < 5; i++)
		expect(&w, "XYZZY", "500 5.5.2 ");
	expect(&w, "XYZZY", "421 4.7.0 mx.test Too many errors\r\n");
	assert_int_equal(w.s->want, SMTP_WANT_CLOSE);
	stop(&w);
}

static void test_too_many_commands(void **state)
{
	struct world w;

	(void)state;
	start(&w, true);
	for (int i = 0; i < 1000; i++)
		expect(&w, "NOOP", "250");
	expect(&w, "NOOP", "421 4.7.0 ");
	stop(&w);
}

static void test_session_time(void **state)
{
	struct world w;

	(void)state;
	with_rcpt(&w);
	w.now = 60001;
	expect(&w, "DATA", "354 "); /* a message under way is finished */
	send_data(&w, "250 ");
	expect(&w, "NOOP", "421 4.4.2 ");
	stop(&w);
}

static void test_bad_lines(void **state)
{
	struct world w;

	(void)state;
	with_rcpt(&w);
	smtp_session_bad_line(w.s, SMTP_LINE_LONG, &w.step);
	assert_memory_equal(w.step.reply, "500 5.5.2 ", 10);
	assert_int_equal(w.step.want, SMTP_WANT_LINE);
	smtp_session_bad_line(w.s, SMTP_LINE_BAD, &w.step);
	assert_memory_equal(w.step.reply, "500 5.5.2 ", 10);
	assert_int_equal(w.step.want, SMTP_WANT_CLOSE);
	stop(&w);
}

static void test_stopping(void **state)
{
	struct world w;

	(void)state;
	with_rcpt(&w);
	assert_false(smtp_session_idle(w.s));
	w.s->stopping = true;
	expect(&w, "DATA", "354 ");
	assert_false(smtp_session_idle(w.s));
	send_data(&w, "250 ");
	assert_true(smtp_session_idle(w.s));
	expect(&w, "MAIL FROM:<user01@isp.example>", "421 4.3.2 ");
	assert_int_equal(w.s->want, SMTP_WANT_CLOSE);
	stop(&w);
}

static void test_suspended_meanwhile(void **state)
{
	struct world w;

	(void)state;
	logged_in(&w);
	w.s->suspended = "This account is suspended: spam";
	expect(&w, "MAIL FROM:<user01@isp.example>",
	       "421 4.7.0 mx.test This account is suspended: spam\r\n");
	stop(&w);
}

/* What a client sends never breaks out of a reply line. */
static void test_reply_is_one_line(void **state)
{
	struct world w;

	(void)state;
	logged_in(&w);
	w.check =
	    (struct rl_verdict){.answer = RL_REFUSE, .retry_ms = 0, .why = "a\r\n250 b\x01\xff"};
	expect(&w, "MAIL FROM:<user01@isp.example>", "250");
	say(&w, "RCPT TO:<a@b.example>");
	assert_string_equal(w.reply, "550 5.7.1 This account is suspended: a??250 b??\r\n");
	stop(&w);
}

static void test_gone(void **state)
{
	struct world w;

	(void)state;
	logged_in(&w);
	expect(&w, "MAIL FROM:<user01@isp.example>", "250");
	w.check = (struct rl_verdict){.answer = RL_LIMIT, .retry_ms = 1, .why = "over"};
	expect(&w, "RCPT TO:<a@b.example>", "452 4.7.28");
	smtp_session_gone(w.s, &w.step);
	assert_int_equal(w.step.note.what, SMTP_NOTE_REFUSE);
	assert_int_equal(w.step.note.rcpts, 1);
	stop(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_before_ehlo),
	    cmocka_unit_test(test_plain_text),
	    cmocka_unit_test(test_helo_has_no_extensions),
	    cmocka_unit_test(test_relay_needs_auth),
	    cmocka_unit_test(test_auth_ok),
	    cmocka_unit_test(test_auth_exchange),
	    cmocka_unit_test(test_auth_initial_response),
	    cmocka_unit_test(test_auth_refused),
	    cmocka_unit_test(test_auth_name_is_no_mailbox),
	    cmocka_unit_test(test_auth_lines),
	    cmocka_unit_test(test_mail_syntax),
	    cmocka_unit_test(test_mail_modes),
	    cmocka_unit_test(test_rcpt),
	    cmocka_unit_test(test_rcpt_bounds),
	    cmocka_unit_test(test_rcpt_limits),
	    cmocka_unit_test(test_data),
	    cmocka_unit_test(test_data_refused),
	    cmocka_unit_test(test_charge),
	    cmocka_unit_test(test_hold_reaches_the_queue),
	    cmocka_unit_test(test_queue_trouble),
	    cmocka_unit_test(test_too_many_errors),
	    cmocka_unit_test(test_too_many_commands),
	    cmocka_unit_test(test_session_time),
	    cmocka_unit_test(test_bad_lines),
	    cmocka_unit_test(test_stopping),
	    cmocka_unit_test(test_suspended_meanwhile),
	    cmocka_unit_test(test_reply_is_one_line),
	    cmocka_unit_test(test_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
