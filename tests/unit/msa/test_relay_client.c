/* The client's state machine: whole conversations as tables of "what they say -> what we say". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "msa/relay/smtp_client.h"

struct step {
	const char *they; /* one reply; "<begin>" our caller begins; "<sent>" the body is out;
			     "<tls>" the handshake is done; "<lost>" */
	const char *we;	  /* what we write */
	enum client_action action;
};

struct want {
	uint8_t result;
	const char *status;
};

static struct smtp_rcpt rcpts[3];
static struct smtp_tx tx;
static struct evbuffer *out;

static void fresh(uint32_t n, uint64_t size, bool eight)
{
	static const char *const addresses[] = {"a@x.example", "b@x.example", "c@x.example"};
	memset(rcpts, 0, sizeof(rcpts));
	for (uint32_t i = 0; i < 3; i++)
		rcpts[i].address = addresses[i];
	tx = (struct smtp_tx){.mail_from = "prvs=1=me@isp.example",
			      .size = size,
			      .esmtp = {.body = eight},
			      .rcpts = rcpts,
			      .n = n};
}

static void said(const char *want)
{
	size_t n = evbuffer_get_length(out);
	char got[2048];
	assert_true(n < sizeof(got));
	evbuffer_remove(out, got, n);
	got[n] = '\0';
	assert_string_equal(got, want);
}

static struct reply reply(const char *line)
{
	struct reply_parser p;
	size_t used;
	reply_init(&p);
	assert_int_equal(reply_feed(&p, (const uint8_t *)line, strlen(line), &used), REPLY_DONE);
	return p.reply;
}

static void play(struct smtp_client *c, const struct step *s)
{
	for (; s->they; s++) {
		enum client_action a = CLIENT_WAIT;
		if (strcmp(s->they, "<begin>") == 0) {
			a = client_begin(c, &tx, out);
		} else if (strcmp(s->they, "<sent>") == 0) {
			client_body_sent(c);
		} else if (strcmp(s->they, "<tls>") == 0) {
			client_tls_done(c, false, out);
		} else if (strcmp(s->they, "<lost>") == 0) {
			a = client_lost(c, "gone") ? CLIENT_DONE : CLIENT_CLOSE;
		} else {
			struct reply r = reply(s->they);
			a = client_reply(c, &r, out);
		}
		if (a != s->action)
			fail_msg("after %s: action %d, not %d", s->they, (int)a, (int)s->action);
		said(s->we);
	}
}

#define HELLO                                                                                      \
	{                                                                                          \
		"220 hi\r\n", "EHLO me.example\r\n", CLIENT_WAIT                                   \
	}
#define PIPE                                                                                       \
	{                                                                                          \
		"250-x\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000\r\n", "", CLIENT_READY   \
	}
#define BARE                                                                                       \
	{                                                                                          \
		"250 x\r\n", "", CLIENT_READY                                                      \
	}
#define MAIL "MAIL FROM:<prvs=1=me@isp.example>"
#define ALL  MAIL " SIZE=500\r\nRCPT TO:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n"
#define END                                                                                        \
	{                                                                                          \
		NULL, NULL, CLIENT_WAIT                                                            \
	}

static const struct conversation {
	const char *name;
	bool tls, eight;
	uint32_t n;
	uint64_t size;
	struct step steps[16];
	struct want want[3];
	enum client_state state;
} conversations[] = {
    {"pipelined",
     false,
     false,
     2,
     500,
     {HELLO,
      PIPE,
      {"<begin>", ALL, CLIENT_WAIT},
      {"250 ok\r\n", "", CLIENT_WAIT},
      {"250 2.1.5 ok\r\n", "", CLIENT_WAIT},
      {"250 ok\r\n", "", CLIENT_WAIT},
      {"354 go\r\n", "", CLIENT_DO_BODY},
      {"<sent>", "", CLIENT_WAIT},
      {"250 2.0.0 queued\r\n", "", CLIENT_DONE},
      END},
     {{RELAY_DELIVERED, "2.0.0"}, {RELAY_DELIVERED, "2.0.0"}},
     CLIENT_IDLE},
    {"step by step",
     false,
     false,
     2,
     500,
     {HELLO,
      BARE,
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "RCPT TO:<a@x.example>\r\n", CLIENT_WAIT},
      {"550 5.1.1 no\r\n", "RCPT TO:<b@x.example>\r\n", CLIENT_WAIT},
      {"251 will forward\r\n", "DATA\r\n", CLIENT_WAIT},
      {"354 go\r\n", "", CLIENT_DO_BODY},
      {"<sent>", "", CLIENT_WAIT},
      {"250 ok\r\n", "", CLIENT_DONE},
      END},
     {{RELAY_BOUNCED, "5.1.1"}, {RELAY_DELIVERED, "2.0.0"}},
     CLIENT_IDLE},
    {"HELO",
     false,
     false,
     1,
     500,
     {HELLO,
      {"502 what\r\n", "HELO me.example\r\n", CLIENT_WAIT},
      BARE,
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      END},
     {{0, NULL}},
     CLIENT_ENVELOPE},
    {"HELO refused too",
     false,
     false,
     1,
     500,
     {HELLO,
      {"502 what\r\n", "HELO me.example\r\n", CLIENT_WAIT},
      {"554 no\r\n", "", CLIENT_FAILED},
      END},
     {{0, NULL}},
     CLIENT_CLOSED},
    {"greeting 554",
     false,
     false,
     1,
     500,
     {{"554 no service\r\n", "", CLIENT_FAILED}, END},
     {{0, NULL}},
     CLIENT_CLOSED},
    {"EHLO 421",
     false,
     false,
     1,
     500,
     {HELLO, {"421 busy\r\n", "", CLIENT_FAILED}, END},
     {{0, NULL}},
     CLIENT_CLOSED},
    {"MAIL refused, pipelined",
     false,
     false,
     2,
     500,
     {HELLO,
      PIPE,
      {"<begin>", ALL, CLIENT_WAIT},
      {"550 5.7.1 not you\r\n", "", CLIENT_WAIT},
      {"503 5.5.1 x\r\n", "", CLIENT_WAIT},
      {"503 5.5.1 x\r\n", "", CLIENT_WAIT},
      {"503 5.5.1 x\r\n", "RSET\r\n", CLIENT_DONE},
      {"250 ok\r\n", "", CLIENT_READY},
      END},
     {{RELAY_BOUNCED, "5.7.1"}, {RELAY_BOUNCED, "5.7.1"}},
     CLIENT_IDLE},
    {"MAIL deferred, step by step",
     false,
     false,
     1,
     500,
     {HELLO,
      BARE,
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      {"451 later\r\n", "RSET\r\n", CLIENT_DONE},
      {"250 ok\r\n", "", CLIENT_READY},
      END},
     {{RELAY_DEFERRED, "4.0.0"}},
     CLIENT_IDLE},
    {"nobody accepted, DATA taken all the same",
     false,
     false,
     2,
     500,
     {HELLO,
      PIPE,
      {"<begin>", ALL, CLIENT_WAIT},
      {"250 ok\r\n", "", CLIENT_WAIT},
      {"550 5.1.1 x\r\n", "", CLIENT_WAIT},
      {"451 4.7.1 x\r\n", "", CLIENT_WAIT},
      {"354 go\r\n", ".\r\n", CLIENT_DONE},
      {"554 no recipients\r\n", "", CLIENT_READY},
      END},
     {{RELAY_BOUNCED, "5.1.1"}, {RELAY_DEFERRED, "4.7.1"}},
     CLIENT_IDLE},
    {"nobody accepted, step by step",
     false,
     false,
     1,
     500,
     {HELLO,
      BARE,
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "RCPT TO:<a@x.example>\r\n", CLIENT_WAIT},
      {"550 no\r\n", "RSET\r\n", CLIENT_DONE},
      END},
     {{RELAY_BOUNCED, "5.0.0"}},
     CLIENT_RSET},
    {"DATA refused",
     false,
     false,
     2,
     500,
     {HELLO,
      PIPE,
      {"<begin>", ALL, CLIENT_WAIT},
      {"250 ok\r\n", "", CLIENT_WAIT},
      {"250 ok\r\n", "", CLIENT_WAIT},
      {"550 5.1.1 x\r\n", "", CLIENT_WAIT},
      {"451 4.3.0 disk\r\n", "RSET\r\n", CLIENT_DONE},
      {"250 ok\r\n", "", CLIENT_READY},
      END},
     {{RELAY_DEFERRED, "4.3.0"}, {RELAY_BOUNCED, "5.1.1"}},
     CLIENT_IDLE},
    {"DATA answered 250 delivers nothing",
     false,
     false,
     1,
     500,
     {HELLO,
      BARE,
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "RCPT TO:<a@x.example>\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "DATA\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "RSET\r\n", CLIENT_DONE},
      END},
     {{RELAY_DEFERRED, "4.5.0"}},
     CLIENT_RSET},
    {"a 250 before the end of the body delivers nothing",
     false,
     false,
     1,
     500,
     {HELLO,
      BARE,
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "RCPT TO:<a@x.example>\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "DATA\r\n", CLIENT_WAIT},
      {"354 go\r\n", "", CLIENT_DO_BODY},
      {"250 ok\r\n", "", CLIENT_DONE},
      END},
     {{RELAY_DEFERRED, "4.5.0"}},
     CLIENT_CLOSED},
    {"421 in the envelope",
     false,
     false,
     2,
     500,
     {HELLO,
      PIPE,
      {"<begin>", ALL, CLIENT_WAIT},
      {"250 ok\r\n", "", CLIENT_WAIT},
      {"550 5.1.1 x\r\n", "", CLIENT_WAIT},
      {"421 4.3.2 bye\r\n", "", CLIENT_DONE},
      END},
     {{RELAY_BOUNCED, "5.1.1"}, {RELAY_DEFERRED, "4.3.2"}},
     CLIENT_CLOSED},
    {"final 554",
     false,
     false,
     1,
     500,
     {HELLO,
      BARE,
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "RCPT TO:<a@x.example>\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "DATA\r\n", CLIENT_WAIT},
      {"354 go\r\n", "", CLIENT_DO_BODY},
      {"<sent>", "", CLIENT_WAIT},
      {"554 5.7.1 spam\r\n", "", CLIENT_DONE},
      END},
     {{RELAY_BOUNCED, "5.7.1"}},
     CLIENT_IDLE},
    {"final 354 is nonsense",
     false,
     false,
     1,
     500,
     {HELLO,
      BARE,
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "RCPT TO:<a@x.example>\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "DATA\r\n", CLIENT_WAIT},
      {"354 go\r\n", "", CLIENT_DO_BODY},
      {"<sent>", "", CLIENT_WAIT},
      {"354 3.0.0 more\r\n", "", CLIENT_DONE},
      END},
     {{RELAY_DEFERRED, "4.0.0"}},
     CLIENT_IDLE},
    {"too large",
     false,
     false,
     1,
     1001,
     {HELLO, PIPE, {"<begin>", "", CLIENT_DONE}, END},
     {{RELAY_BOUNCED, "5.3.4"}},
     CLIENT_IDLE},
    {"8 bit, taken",
     false,
     true,
     1,
     500,
     {HELLO,
      PIPE,
      {"<begin>", MAIL " SIZE=500 BODY=8BITMIME\r\nRCPT TO:<a@x.example>\r\nDATA\r\n", CLIENT_WAIT},
      END},
     {{0, NULL}},
     CLIENT_ENVELOPE},
    {"STARTTLS",
     true,
     false,
     1,
     500,
     {HELLO,
      {"250-x\r\n250-8BITMIME\r\n250 STARTTLS\r\n", "STARTTLS\r\n", CLIENT_WAIT},
      {"220 go\r\n", "", CLIENT_DO_TLS},
      {"<tls>", "EHLO me.example\r\n", CLIENT_WAIT},
      {"250-x\r\n250 STARTTLS\r\n", "", CLIENT_READY},
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      END},
     {{0, NULL}},
     CLIENT_ENVELOPE},
    {"STARTTLS refused",
     true,
     false,
     1,
     500,
     {HELLO,
      {"250-x\r\n250 STARTTLS\r\n", "STARTTLS\r\n", CLIENT_WAIT},
      {"454 no\r\n", "", CLIENT_READY},
      END},
     {{0, NULL}},
     CLIENT_IDLE},
    {"lost in the first transaction",
     false,
     false,
     1,
     500,
     {HELLO,
      PIPE,
      {"<begin>", MAIL " SIZE=500\r\nRCPT TO:<a@x.example>\r\nDATA\r\n", CLIENT_WAIT},
      {"<lost>", "", CLIENT_DONE},
      END},
     {{RELAY_DEFERRED, "4.4.2"}},
     CLIENT_CLOSED},
    {"lost after the dot",
     false,
     false,
     1,
     500,
     {HELLO,
      BARE,
      {"<begin>", MAIL "\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "RCPT TO:<a@x.example>\r\n", CLIENT_WAIT},
      {"250 ok\r\n", "DATA\r\n", CLIENT_WAIT},
      {"354 go\r\n", "", CLIENT_DO_BODY},
      {"<sent>", "", CLIENT_WAIT},
      {"<lost>", "", CLIENT_DONE},
      END},
     {{RELAY_DEFERRED, "4.4.2"}},
     CLIENT_CLOSED},
    {"lost while idle",
     false,
     false,
     1,
     500,
     {HELLO, PIPE, {"<lost>", "", CLIENT_CLOSE}, END},
     {{0, NULL}},
     CLIENT_CLOSED},
    {"unasked reply while idle",
     false,
     false,
     1,
     500,
     {HELLO, PIPE, {"421 timeout\r\n", "", CLIENT_CLOSE}, END},
     {{0, NULL}},
     CLIENT_CLOSED},
};

static void talk(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(conversations) / sizeof(conversations[0]); i++) {
		const struct conversation *v = &conversations[i];
		struct smtp_client c;
		print_message("%s\n", v->name);
		out = evbuffer_new();
		client_init(&c, "me.example", v->tls);
		fresh(v->n, v->size, v->eight);
		play(&c, v->steps);
		assert_int_equal(c.state, v->state);
		for (uint32_t k = 0; k < v->n; k++) {
			assert_int_equal(rcpts[k].out.result, v->want[k].result);
			if (v->want[k].status)
				assert_string_equal(rcpts[k].out.status, v->want[k].status);
		}
		evbuffer_free(out);
	}
}

/* A connection kept open may have been closed by the other side between two messages: not this
 * message's fault. */
static void stale_connection(void **state)
{
	struct smtp_client c;
	static const struct step one[] = {HELLO,
					  BARE,
					  {"<begin>", MAIL "\r\n", CLIENT_WAIT},
					  {"451 x\r\n", "RSET\r\n", CLIENT_DONE},
					  {"250 ok\r\n", "", CLIENT_READY},
					  END};

	(void)state;
	out = evbuffer_new();
	client_init(&c, "me.example", false);
	fresh(1, 1, false);
	play(&c, one);
	fresh(1, 1, false);
	assert_int_equal(client_begin(&c, &tx, out), CLIENT_WAIT);
	assert_false(client_lost(&c, "closed"));
	assert_int_equal(rcpts[0].out.result, 0);
	evbuffer_free(out);
}

/* What a host that takes no mail has said is still there when its connection is given up. */
static void refused_host(void **state)
{
	static const struct step one[] = {{"554 no service\r\n", "", CLIENT_FAILED}, END};
	struct smtp_client c;

	(void)state;
	out = evbuffer_new();
	client_init(&c, "me.example", false);
	play(&c, one);
	assert_false(client_lost(&c, c.why));
	assert_string_equal(c.why, "554 no service");
	evbuffer_free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(talk),
					   cmocka_unit_test(stale_connection),
					   cmocka_unit_test(refused_host)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
