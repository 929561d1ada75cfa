/* The client's other ways: LMTP, logins, TLS that is a must. "they -> we" as in test_relay_client.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "msa/relay/smtp_client.h"

static struct smtp_client c;
static struct evbuffer *out;
static struct smtp_rcpt rcpts[3];
static struct smtp_tx tx;

static enum client_action hear(const char *line, const char *we)
{
	struct reply_parser p;
	size_t used;
	char got[2048];
	reply_init(&p);
	assert_int_equal(reply_feed(&p, (const uint8_t *)line, strlen(line), &used), REPLY_DONE);
	enum client_action a = client_reply(&c, &p.reply, out);
	int n = evbuffer_remove(out, got, sizeof(got) - 1);
	got[n > 0 ? n : 0] = '\0';
	assert_string_equal(got, we);
	return a;
}

static int setup(void **state)
{
	(void)state;
	out = evbuffer_new();
	client_init(&c, "me.example", true);
	memset(rcpts, 0, sizeof(rcpts));
	for (int i = 0; i < 3; i++)
		rcpts[i].address = "a@x.example";
	tx = (struct smtp_tx){.mail_from = "me@isp.example", .size = 10, .rcpts = rcpts, .n = 3};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	evbuffer_free(out);
	return 0;
}

static void up(const char *offers)
{
	char line[300];
	assert_int_equal(hear("220 hi\r\n", "EHLO me.example\r\n"), CLIENT_WAIT);
	assert_int_equal(hear("250-x\r\n250 STARTTLS\r\n", "STARTTLS\r\n"), CLIENT_WAIT);
	assert_int_equal(hear("220 go\r\n", ""), CLIENT_DO_TLS);
	client_tls_done(&c, true, out);
	evbuffer_drain(out, evbuffer_get_length(out));
	snprintf(line, sizeof(line), "250-x\r\n250 %s\r\n", offers);
	c.user = "user";
	c.password = "secret";
	struct reply_parser p;
	size_t used;
	reply_init(&p);
	assert_int_equal(reply_feed(&p, (const uint8_t *)line, strlen(line), &used), REPLY_DONE);
	enum client_action a = client_reply(&c, &p.reply, out);
	assert_true(a == CLIENT_WAIT || a == CLIENT_FAILED);
}

static void said(const char *want)
{
	char got[2048];
	int n = evbuffer_remove(out, got, sizeof(got) - 1);
	got[n > 0 ? n : 0] = '\0';
	assert_string_equal(got, want);
}

static void plain(void **state)
{
	(void)state;
	up("AUTH LOGIN PLAIN");
	said("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
	assert_int_equal(hear("235 2.7.0 welcome\r\n", ""), CLIENT_READY);
	assert_int_equal(c.state, CLIENT_IDLE);
}

static void login(void **state)
{
	(void)state;
	up("AUTH LOGIN XPLAIN");
	said("AUTH LOGIN\r\n");
	assert_int_equal(hear("334 VXNlcm5hbWU6\r\n", "dXNlcg==\r\n"), CLIENT_WAIT);
	assert_int_equal(hear("334 UGFzc3dvcmQ6\r\n", "c2VjcmV0\r\n"), CLIENT_WAIT);
	assert_int_equal(hear("334 more?\r\n", ""), CLIENT_FAILED);
}

static void refused(void **state)
{
	(void)state;
	up("AUTH PLAIN");
	said("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
	assert_int_equal(hear("535 5.7.8 no\r\n", ""), CLIENT_FAILED);
	assert_string_equal(c.why, "the login as user was refused: 535 5.7.8 no");
	assert_true(c.locked_out);
}

static void no_mechanism(void **state)
{
	(void)state;
	up("AUTH CRAM-MD5");
	said("");
	assert_int_equal(c.state, CLIENT_CLOSED);
	assert_non_null(strstr(c.why, "neither"));
}

static void never_in_clear_text(void **state)
{
	(void)state;
	c.user = "user";
	c.password = "secret";
	hear("220 hi\r\n", "EHLO me.example\r\n");
	assert_int_equal(hear("250-x\r\n250 AUTH PLAIN LOGIN\r\n", ""), CLIENT_FAILED);
}

static void tls_is_a_must(void **state)
{
	(void)state;
	c.must_tls = true;
	c.policy = "dane";
	hear("220 hi\r\n", "EHLO me.example\r\n");
	assert_int_equal(hear("250-x\r\n250 PIPELINING\r\n", ""), CLIENT_FAILED);
	assert_string_equal(c.why, "dane: the next mail server does not offer TLS");
	teardown(NULL);
	setup(NULL);
	c.must_tls = true;
	hear("220 hi\r\n", "EHLO me.example\r\n");
	assert_int_equal(hear("502 what?\r\n", ""), CLIENT_FAILED);
	teardown(NULL);
	setup(NULL);
	c.must_tls = true;
	hear("220 hi\r\n", "EHLO me.example\r\n");
	hear("250-x\r\n250 STARTTLS\r\n", "STARTTLS\r\n");
	assert_int_equal(hear("454 not now\r\n", ""), CLIENT_FAILED);
}

static void lmtp_up(void)
{
	c.lmtp = true;
	hear("220 hi\r\n", "LHLO me.example\r\n");
	assert_int_equal(hear("250-x\r\n250 PIPELINING\r\n", ""), CLIENT_READY);
	assert_int_equal(client_begin(&c, &tx, out), CLIENT_WAIT);
	evbuffer_drain(out, evbuffer_get_length(out));
}

/* A reply for each that was taken, in their order. */
static void lmtp_replies(void **state)
{
	(void)state;
	lmtp_up();
	hear("250 ok\r\n", "");
	hear("250 ok\r\n", "");
	hear("550 5.1.1 no\r\n", "");
	hear("250 ok\r\n", "");
	assert_int_equal(hear("354 go\r\n", ""), CLIENT_DO_BODY);
	client_body_sent(&c);
	assert_int_equal(hear("250 2.0.0 stored\r\n", ""), CLIENT_WAIT);
	assert_int_equal(hear("452 4.2.2 full\r\n", ""), CLIENT_DONE);
	assert_int_equal(rcpts[0].out.result, RELAY_DELIVERED);
	assert_int_equal(rcpts[1].out.result, RELAY_BOUNCED);
	assert_int_equal(rcpts[2].out.result, RELAY_DEFERRED);
	assert_string_equal(rcpts[2].out.status, "4.2.2");
	assert_int_equal(c.state, CLIENT_IDLE);
}

static void lmtp_nobody(void **state)
{
	(void)state;
	lmtp_up();
	hear("250 ok\r\n", "");
	for (int i = 0; i < 3; i++)
		hear("550 5.1.1 no\r\n", "");
	assert_int_equal(hear("354 go\r\n", ""), CLIENT_DONE);
	assert_int_equal(c.state, CLIENT_CLOSED);
}

/* Lost between two of them: those that were answered have their results, the others come again. */
static void lmtp_lost(void **state)
{
	(void)state;
	lmtp_up();
	for (int i = 0; i < 4; i++)
		hear("250 ok\r\n", "");
	hear("354 go\r\n", "");
	client_body_sent(&c);
	hear("250 stored\r\n", "");
	assert_true(client_lost(&c, "gone"));
	assert_int_equal(rcpts[0].out.result, RELAY_DELIVERED);
	assert_int_equal(rcpts[1].out.result, RELAY_DEFERRED);
	assert_int_equal(rcpts[2].out.result, RELAY_DEFERRED);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(plain),
	    T(login),
	    T(refused),
	    T(no_mechanism),
	    T(never_in_clear_text),
	    T(tls_is_a_must),
	    T(lmtp_replies),
	    T(lmtp_nobody),
	    T(lmtp_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
