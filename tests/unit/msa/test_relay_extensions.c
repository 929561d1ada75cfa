/* What MAIL and RCPT said to us goes on to a host that knows it, and comes back with a code from
 * one that does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "msa/relay/smtp_client.h"

#define N(a) (sizeof(a) / sizeof *(a))

static struct smtp_rcpt rcpts[3];
static struct smtp_tx tx;
static struct smtp_client c;
static struct evbuffer *out;
static char said[2048];

static enum client_action hear(const char *line)
{
	struct reply_parser p;
	size_t used;

	reply_init(&p);
	assert_int_equal(reply_feed(&p, (const uint8_t *)line, strlen(line), &used), REPLY_DONE);
	enum client_action a = client_reply(&c, &p.reply, out);
	size_t n = evbuffer_get_length(out);
	assert_true(n < sizeof(said));
	evbuffer_remove(out, said, n);
	said[n] = '\0';
	return a;
}

static enum client_action begin(void)
{
	enum client_action a = client_begin(&c, &tx, out);
	size_t n = evbuffer_get_length(out);

	assert_true(n < sizeof(said));
	evbuffer_remove(out, said, n);
	said[n] = '\0';
	return a;
}

/* A connection to a host that offers these, with or without (verified) TLS. */
static void connect_to(const char *offers, bool tls, bool verified)
{
	char ehlo[512], with_tls[600];

	out = evbuffer_new();
	client_init(&c, "me.example", true);
	snprintf(ehlo, sizeof(ehlo), "250-x\r\n%s250 SIZE 1000\r\n", offers);
	snprintf(with_tls, sizeof(with_tls), "250-x\r\n250 STARTTLS\r\n");
	assert_int_equal(hear("220 hi\r\n"), CLIENT_WAIT);
	if (tls) {
		assert_int_equal(hear(with_tls), CLIENT_WAIT);
		assert_int_equal(hear("220 go\r\n"), CLIENT_DO_TLS);
		client_tls_done(&c, verified, out);
	}
	assert_int_equal(hear(ehlo), CLIENT_READY);
}

static void fresh(uint32_t n)
{
	static const char *const addresses[] = {"a@x.example", "b@x.example", "c@x.example"};

	memset(rcpts, 0, sizeof(rcpts));
	for (uint32_t i = 0; i < 3; i++)
		rcpts[i].address = addresses[i];
	tx = (struct smtp_tx){.mail_from = "me@isp.example", .size = 500, .rcpts = rcpts, .n = n};
}

#define ALL                                                                                        \
	"250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-CHUNKING\r\n"            \
	"250-BINARYMIME\r\n250-REQUIRETLS\r\n"

static void passed_on(void **state)
{
	(void)state;
	connect_to(ALL, true, true);
	fresh(2);
	tx.esmtp = (struct esmtp_mail){.body = ESMTP_8BIT,
				       .ret = ESMTP_RET_HDRS,
				       .smtputf8 = true,
				       .requiretls = true,
				       .envid = "QQ+2B1"};
	rcpts[0].esmtp =
	    (struct esmtp_rcpt){NOTIFY_SUCCESS | NOTIFY_DELAY | NOTIFY_DELAY_TOLD, "rfc822;a@x"};
	rcpts[1].esmtp = (struct esmtp_rcpt){NOTIFY_NEVER, NULL};
	assert_int_equal(begin(), CLIENT_WAIT);
	assert_string_equal(said, "MAIL FROM:<me@isp.example> SIZE=500 BODY=8BITMIME SMTPUTF8 "
				  "REQUIRETLS RET=HDRS ENVID=QQ+2B1\r\n"
				  "RCPT TO:<a@x.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@x\r\n"
				  "RCPT TO:<b@x.example> NOTIFY=NEVER\r\n");
	hear("250 ok\r\n");
	hear("250 ok\r\n");
	/* CHUNKING is offered: by BDAT, once it is known that somebody takes it. */
	assert_int_equal(hear("550 no\r\n"), CLIENT_DO_BODY);
	assert_string_equal(said, "BDAT 500 LAST\r\n");
	assert_true(client_sends_chunk(&c));
	client_body_sent(&c);
	assert_int_equal(hear("250 2.0.0 taken\r\n"), CLIENT_DONE);
	assert_true(rcpts[0].out.dsn);
	assert_false(rcpts[1].out.dsn);
	evbuffer_free(out);
}

/* Without DSN there the notices are ours to make, and nothing is said of it. */
static void host_without_dsn(void **state)
{
	(void)state;
	connect_to("250-PIPELINING\r\n", false, false);
	fresh(1);
	tx.esmtp = (struct esmtp_mail){.ret = ESMTP_RET_FULL, .envid = "x"};
	rcpts[0].esmtp = (struct esmtp_rcpt){NOTIFY_SUCCESS, "rfc822;a@x"};
	assert_int_equal(begin(), CLIENT_WAIT);
	assert_string_equal(
	    said, "MAIL FROM:<me@isp.example> SIZE=500\r\nRCPT TO:<a@x.example>\r\nDATA\r\n");
	hear("250 ok\r\n");
	hear("250 ok\r\n");
	hear("354 go\r\n");
	client_body_sent(&c);
	hear("250 ok\r\n");
	assert_int_equal(rcpts[0].out.result, RELAY_DELIVERED);
	assert_false(rcpts[0].out.dsn);
	evbuffer_free(out);
}

static void what_a_host_cannot_have(void **state)
{
	static const struct {
		const char *offers, *from, *status;
		struct esmtp_mail esmtp;
		bool tls, verified, use_tls;
	} cases[] = {
	    {"250-8BITMIME\r\n", NULL, "5.6.9", {.smtputf8 = true}, false, false, true},
	    {"250-8BITMIME\r\n", "j\xc3\xb6@isp.example", "5.6.7", {0}, false, false, true},
	    {"250-REQUIRETLS\r\n", NULL, "5.7.10", {.requiretls = true}, false, false, true},
	    {"250-REQUIRETLS\r\n", NULL, "4.7.10", {.requiretls = true}, false, false, false},
	    {"250-REQUIRETLS\r\n", NULL, "5.7.10", {.requiretls = true}, true, false, true},
	    {"", NULL, "5.7.30", {.requiretls = true}, true, true, true},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		connect_to(cases[i].offers, cases[i].tls, cases[i].verified);
		c.use_tls = cases[i].use_tls;
		fresh(2);
		tx.esmtp = cases[i].esmtp;
		if (cases[i].from)
			tx.mail_from = cases[i].from;
		assert_int_equal(begin(), CLIENT_DONE);
		assert_string_equal(said, "");
		assert_int_equal(c.state, CLIENT_IDLE);
		for (int k = 0; k < 2; k++) {
			assert_string_equal(rcpts[k].out.status, cases[i].status);
			assert_int_equal(rcpts[k].out.result, cases[i].status[0] == '5'
								  ? RELAY_BOUNCED
								  : RELAY_DEFERRED);
		}
		evbuffer_free(out);
	}
}

/* A host of 7 bit: the message is looked at first, and leaves by the plan; by DATA, with the size
 * that it will have. */
static void converted(void **state)
{
	static const struct {
		const char *offers;
		uint8_t body;
	} cases[] = {
	    {"", ESMTP_8BIT},
	    {"250-CHUNKING\r\n", ESMTP_8BIT},
	    {"250-8BITMIME\r\n", ESMTP_BINARY},
	    {"250-8BITMIME\r\n250-CHUNKING\r\n", ESMTP_BINARY},
	    {"250-8BITMIME\r\n250-BINARYMIME\r\n", ESMTP_BINARY},
	};
	const struct sevenbit_plan plans[] = {
	    {.size = 700}, {.size = 1700}, {.status = "5.6.2", .why = "it is signed"}};

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		for (size_t k = 0; k < N(plans); k++) {
			connect_to(cases[i].offers, false, false);
			fresh(1);
			tx.esmtp.body = cases[i].body;
			assert_int_equal(begin(), CLIENT_DO_PLAN);
			assert_string_equal(said, "");
			assert_int_equal(c.state, CLIENT_IDLE);
			tx.plan = &plans[k];
			assert_int_equal(begin(), k == 0 ? CLIENT_WAIT : CLIENT_DONE);
			assert_string_equal(said,
					    k ? "" : "MAIL FROM:<me@isp.example> SIZE=700\r\n");
			if (k) {
				assert_int_equal(rcpts[0].out.result, RELAY_BOUNCED);
				assert_string_equal(rcpts[0].out.status,
						    k == 1 ? "5.3.4" : "5.6.2");
				evbuffer_free(out);
				continue;
			}
			hear("250 ok\r\n");
			hear("250 ok\r\n");
			assert_string_equal(said, "DATA\r\n");
			assert_int_equal(hear("354 go\r\n"), CLIENT_DO_BODY);
			assert_true(c.converts);
			assert_false(client_sends_chunk(&c));
			client_body_sent(&c);
			assert_int_equal(hear("250 ok\r\n"), CLIENT_DONE);
			assert_int_equal(rcpts[0].out.result, RELAY_DELIVERED);
			/* The next one needs no conversion. */
			fresh(1);
			assert_int_equal(begin(), CLIENT_WAIT);
			assert_false(c.converts);
			evbuffer_free(out);
		}
	/* SMTPUTF8 without 8BITMIME makes no sense (RFC 6531 3.1): 8 bit is taken then. */
	connect_to("250-SMTPUTF8\r\n", false, false);
	fresh(1);
	tx.esmtp = (struct esmtp_mail){.body = ESMTP_8BIT, .smtputf8 = true};
	assert_int_equal(begin(), CLIENT_WAIT);
	evbuffer_free(out);
}

/* Only the addresses that need SMTPUTF8 come back; the replies still belong to whom they are for.
 */
static void one_address_it_cannot_have(void **state)
{
	(void)state;
	for (int pipelining = 0; pipelining < 2; pipelining++)
		for (uint32_t odd = 0; odd < 3; odd++) {
			connect_to(pipelining ? "250-PIPELINING\r\n" : "", false, false);
			fresh(3);
			rcpts[odd].address = "j\xc3\xb6@x.example";
			assert_int_equal(begin(), CLIENT_WAIT);
			assert_null(strstr(said, "SMTPUTF8"));
			hear("250 ok\r\n");
			hear("550 5.1.1 no\r\n");
			hear("250 ok\r\n");
			assert_int_equal(hear("354 go\r\n"), CLIENT_DO_BODY);
			client_body_sent(&c);
			assert_int_equal(hear("250 ok\r\n"), CLIENT_DONE);
			assert_string_equal(rcpts[odd].out.status, "5.6.7");
			assert_string_equal(rcpts[odd == 0].out.status, "5.1.1");
			assert_int_equal(rcpts[odd == 2 ? 1 : 2].out.result, RELAY_DELIVERED);
			evbuffer_free(out);
		}
	/* MAIL refused: the pipelined replies to RCPT and DATA are still counted. */
	connect_to("250-PIPELINING\r\n", false, false);
	fresh(3);
	rcpts[1].address = "j\xc3\xb6@x.example";
	begin();
	hear("451 4.3.0 later\r\n");
	hear("503 x\r\n");
	hear("503 x\r\n");
	assert_int_equal(hear("503 x\r\n"), CLIENT_DONE);
	assert_string_equal(rcpts[0].out.status, "4.3.0");
	assert_string_equal(rcpts[1].out.status, "5.6.7");
	evbuffer_free(out);
}

static void host_with_smtputf8(void **state)
{
	(void)state;
	connect_to("250-SMTPUTF8\r\n", false, false);
	fresh(2);
	rcpts[1].address = "j\xc3\xb6@x.example";
	begin();
	assert_string_equal(said, "MAIL FROM:<me@isp.example> SIZE=500 SMTPUTF8\r\n");
	hear("250 ok\r\n");
	hear("250 ok\r\n");
	assert_string_equal(said, "RCPT TO:<j\xc3\xb6@x.example>\r\n");
	evbuffer_free(out);
}

static void binary(void **state)
{
	(void)state;
	for (int pipelining = 0; pipelining < 2; pipelining++) {
		connect_to(pipelining ? ALL : "250-CHUNKING\r\n250-BINARYMIME\r\n", false, false);
		fresh(2);
		tx.esmtp.body = ESMTP_BINARY;
		begin();
		assert_null(strstr(said, "DATA"));
		assert_non_null(strstr(said, " BODY=BINARYMIME\r\n"));
		hear("250 ok\r\n");
		hear("550 no\r\n");
		assert_int_equal(hear("250 ok\r\n"), CLIENT_DO_BODY);
		assert_string_equal(said, "BDAT 500 LAST\r\n");
		assert_true(client_sends_chunk(&c));
		client_body_sent(&c);
		assert_int_equal(hear("250 ok\r\n"), CLIENT_DONE);
		assert_int_equal(rcpts[0].out.result, RELAY_BOUNCED);
		assert_int_equal(rcpts[1].out.result, RELAY_DELIVERED);
		/* nobody is left: no chunk is announced */
		fresh(1);
		tx.esmtp.body = ESMTP_BINARY;
		begin();
		hear("250 ok\r\n");
		assert_int_equal(hear("550 no\r\n"), CLIENT_DONE);
		assert_string_equal(said, "RSET\r\n");
		evbuffer_free(out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(passed_on),
	    cmocka_unit_test(host_without_dsn),
	    cmocka_unit_test(what_a_host_cannot_have),
	    cmocka_unit_test(converted),
	    cmocka_unit_test(one_address_it_cannot_have),
	    cmocka_unit_test(host_with_smtputf8),
	    cmocka_unit_test(binary),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
