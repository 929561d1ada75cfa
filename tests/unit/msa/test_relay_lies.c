/* A host that offers an extension and then refuses its words: the message goes without, nobody's
 * mail comes back for it, and the host is known for it afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "msa/relay/smtp_client.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define ALL                                                                                        \
	"PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-CHUNKING\r\n250 SIZE "       \
	"1000\r\n"
#define UTF8  "gr\xc3\xbc\xc3\x9f@x.example"
#define TURNS 8

/* A host: what it offers, and its replies to lines that hold a word (the first that fits; without
 * PIPELINING among its lies it takes everything). */
struct host {
	const char *offers;
	struct {
		const char *word, *reply;
	} refuses[3];
	bool lockstep; /* a second command that came with the first is out of order */
};

static struct smtp_rcpt rcpts[2];
static struct smtp_tx tx;
static const struct sevenbit_plan plan = {.size = 600};
static char transcript[4096];

static struct reply parsed(const char *line)
{
	struct reply_parser p;
	size_t used;

	reply_init(&p);
	assert_int_equal(reply_feed(&p, (const uint8_t *)line, strlen(line), &used), REPLY_DONE);
	return p.reply;
}

static enum client_action hear(struct smtp_client *c, const char *line, struct evbuffer *out)
{
	struct reply r = parsed(line);

	return client_reply(c, &r, out);
}

static const char *usual(const char *line)
{
	return strncmp(line, "DATA", 4) == 0   ? "354 go\r\n"
	       : strncmp(line, "RSET", 4) == 0 ? "250 reset\r\n"
					       : "250 2.0.0 ok\r\n";
}

static const char *answer(const struct host *h, const char *line, bool first)
{
	for (size_t i = 0; i < N(h->refuses) && h->refuses[i].word; i++)
		if (strstr(line, h->refuses[i].word))
			return h->refuses[i].reply;
	if (h->lockstep && !first)
		return "503 5.5.1 one at a time\r\n";
	return usual(line);
}

/* Everything the client has written is answered, line by line. */
static void note(const char *text)
{
	size_t n = strlen(transcript);

	assert_true(n + strlen(text) < sizeof(transcript));
	snprintf(transcript + n, sizeof(transcript) - n, "%s", text);
}

static enum client_action serve(const struct host *h, struct smtp_client *c, struct evbuffer *out)
{
	enum client_action a = CLIENT_WAIT;

	while (a == CLIENT_WAIT && evbuffer_get_length(out)) {
		bool first = true;
		struct evbuffer *in = evbuffer_new();
		char *line;
		evbuffer_add_buffer(in, out);
		while (a == CLIENT_WAIT && (line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF))) {
			note(line);
			note("|");
			if (strncmp(line, "BDAT", 4) != 0)
				a = hear(c, answer(h, line, first), out);
			first = false;
			free(line);
		}
		evbuffer_free(in);
		if (a == CLIENT_DO_BODY) {
			bool chunk = client_sends_chunk(c);
			client_body_sent(c);
			a = hear(c, chunk ? answer(h, "BDAT", true) : "250 2.0.0 taken\r\n", out);
		}
	}
	return a;
}

/* The transaction until it has its results; connections it took. */
static unsigned deliver(const struct host *h, unsigned *lies)
{
	char ehlo[400];

	transcript[0] = '\0';
	snprintf(ehlo, sizeof(ehlo), "250-x\r\n250-%s", h->offers);
	for (unsigned n = 1; n < TURNS; n++) {
		struct evbuffer *out = evbuffer_new();
		struct smtp_client c;
		client_init(&c, "me.example", false);
		c.lies = *lies;
		assert_int_equal(hear(&c, "220 hi\r\n", out), CLIENT_WAIT);
		evbuffer_drain(out, evbuffer_get_length(out));
		assert_int_equal(hear(&c, ehlo, out), CLIENT_READY);
		enum client_action a = client_begin(&c, &tx, out);
		if (a == CLIENT_DO_PLAN) {
			tx.plan = &plan;
			a = client_begin(&c, &tx, out);
		}
		if (a == CLIENT_WAIT)
			a = serve(h, &c, out);
		evbuffer_free(out);
		if (a == CLIENT_DONE) {
			*lies = c.lies;
			return n;
		}
		assert_int_equal(a, CLIENT_AGAIN);
		assert_null(c.tx);
		note("!");
	}
	fail_msg("it goes round and round: %s", transcript);
	return 0;
}

enum about { DSN = 1, NOTIFY = 2, EIGHT = 4, BINARY = 8, UTF8_RCPT = 16, UTF8_HEADER = 32 };

static void fresh(unsigned about)
{
	memset(rcpts, 0, sizeof(rcpts));
	rcpts[0].address = about & UTF8_RCPT ? UTF8 : "a@x.example";
	rcpts[1].address = "b@x.example";
	for (size_t i = 0; i < 2 && about & NOTIFY; i++)
		rcpts[i].esmtp.notify = NOTIFY_FAILURE;
	tx = (struct smtp_tx){.mail_from = "me@isp.example",
			      .size = 500,
			      .rcpts = rcpts,
			      .n = 2,
			      .esmtp = {.ret = about & DSN ? ESMTP_RET_HDRS : 0,
					.smtputf8 = (about & UTF8_HEADER) != 0,
					.body = about & BINARY	? ESMTP_BINARY
						: about & EIGHT ? ESMTP_8BIT
								: ESMTP_7BIT}};
}

#define BIN "BINARYMIME\r\n250-"
static const struct lie_case {
	const char *name;
	struct host host;
	unsigned about;
	uint8_t results[2]; /* of the two recipients */
	const char *status; /* of the first */
	unsigned connections, lies;
} cases[] = {
#define BOTH                                                                                       \
	{                                                                                          \
		RELAY_DELIVERED, RELAY_DELIVERED                                                   \
	}
#define NONE                                                                                       \
	{                                                                                          \
		RELAY_BOUNCED, RELAY_BOUNCED                                                       \
	}
    {"it holds what it says", {ALL, {{0}}, false}, DSN | NOTIFY, BOTH, "2.0.0", 1, 0},
    {"BDAT is unknown",
     {ALL, {{"BDAT", "500 what?\r\n"}}, false},
     0,
     BOTH,
     "2.0.0",
     2,
     LIE_CHUNKING},
    {"BDAT is not done",
     {ALL, {{"BDAT", "502 5.5.1 no\r\n"}}, false},
     0,
     BOTH,
     "2.0.0",
     2,
     LIE_CHUNKING},
    {"BDAT is out of order",
     {ALL, {{"BDAT", "503 no\r\n"}}, false},
     0,
     BOTH,
     "2.0.0",
     2,
     LIE_CHUNKING},
    {"BDAT's argument is wrong",
     {ALL, {{"BDAT", "501 5.5.4 LAST?\r\n"}}, false},
     0,
     BOTH,
     "2.0.0",
     2,
     LIE_CHUNKING},
    {"LAST is not known",
     {ALL, {{"BDAT", "555 no\r\n"}}, false},
     0,
     BOTH,
     "2.0.0",
     2,
     LIE_CHUNKING},
    {"BDAT is a protocol error",
     {ALL, {{"BDAT", "554 5.5.0 no\r\n"}}, false},
     0,
     BOTH,
     "2.0.0",
     2,
     LIE_CHUNKING},
    {"what was in the chunk is refused",
     {ALL, {{"BDAT", "554 5.7.1 spam\r\n"}}, false},
     0,
     NONE,
     "5.7.1",
     1,
     0},
    {"the chunk has no room now",
     {ALL, {{"BDAT", "452 4.3.1 full\r\n"}}, false},
     0,
     {RELAY_DEFERRED, RELAY_DEFERRED},
     "4.3.1",
     1,
     0},
    {"binary data is converted",
     {BIN ALL, {{"BDAT", "502 no\r\n"}}, false},
     BINARY,
     BOTH,
     "2.0.0",
     2,
     LIE_CHUNKING},
    {"BINARYMIME",
     {BIN ALL, {{"BODY=B", "504 no\r\n"}}, false},
     BINARY,
     BOTH,
     "2.0.0",
     3,
     LIE_SIZE | LIE_BINARYMIME},
    {"SIZE", {ALL, {{"SIZE", "555 no such parameter\r\n"}}, false}, 0, BOTH, "2.0.0", 2, LIE_SIZE},
    {"SIZE, but RET was said too",
     {ALL, {{"SIZE", "504 5.5.4 no\r\n"}}, false},
     DSN,
     BOTH,
     "2.0.0",
     2,
     LIE_SIZE | LIE_DSN},
    {"RET", {ALL, {{"RET", "501 5.5.4 no\r\n"}}, false}, DSN, BOTH, "2.0.0", 2, LIE_SIZE | LIE_DSN},
    {"NOTIFY", {ALL, {{"NOTIFY", "555 5.5.4 no\r\n"}}, false}, NOTIFY, BOTH, "2.0.0", 2, LIE_DSN},
    {"NOTIFY, in the plainest words",
     {ALL, {{"NOTIFY", "501 syntax\r\n"}}, false},
     NOTIFY,
     BOTH,
     "2.0.0",
     2,
     LIE_DSN},
    {"the sender is refused, whatever is said with it",
     {ALL, {{"MAIL", "501 5.1.7 bad sender\r\n"}}, false},
     DSN,
     NONE,
     "5.1.7",
     1,
     0},
    {"the sender is too large",
     {ALL, {{"MAIL", "552 5.3.4 too big\r\n"}}, false},
     0,
     NONE,
     "5.3.4",
     1,
     0},
    {"the sender's syntax, in no better words",
     {ALL, {{"MAIL", "501 no\r\n"}}, false},
     0,
     NONE,
     "5.0.0",
     2,
     0},
    {"the address is wrong",
     {ALL, {{"<a@x", "501 5.1.3 no address\r\n"}}, false},
     NOTIFY,
     {RELAY_BOUNCED, RELAY_DELIVERED},
     "5.1.3",
     1,
     0},
    {"the address is wrong, in no better words",
     {ALL, {{"<a@x", "501 no\r\n"}}, false},
     0,
     {RELAY_BOUNCED, RELAY_DELIVERED},
     "5.0.0",
     1,
     0},
    {"PIPELINING", {ALL, {{0}}, true}, 0, BOTH, "2.0.0", 2, LIE_PIPELINING},
    {"PIPELINING and CHUNKING",
     {ALL, {{"BDAT", "502 no\r\n"}}, true},
     0,
     BOTH,
     "2.0.0",
     3,
     LIE_PIPELINING | LIE_CHUNKING},
    {"everything",
     {ALL, {{"BDAT", "502 no\r\n"}, {"SIZE", "555 no\r\n"}, {"NOTIFY", "555 no\r\n"}}, true},
     DSN | NOTIFY,
     BOTH,
     "2.0.0",
     4,
     LIE_PIPELINING | LIE_CHUNKING | LIE_SIZE | LIE_DSN},
    {"8BITMIME: converted",
     {ALL, {{"BODY=", "555 5.5.4 no\r\n"}}, false},
     EIGHT,
     BOTH,
     "2.0.0",
     3,
     LIE_SIZE | LIE_8BITMIME},
    {"8BITMIME, and the header needs SMTPUTF8",
     {ALL, {{"BODY=", "555 5.5.4 no\r\n"}}, false},
     EIGHT | UTF8_HEADER,
     NONE,
     "5.5.4",
     2,
     0},
    {"SMTPUTF8: who does not need it gets it",
     {ALL, {{"SMTPUTF8", "555 5.5.4 no\r\n"}}, false},
     UTF8_RCPT,
     {RELAY_BOUNCED, RELAY_DELIVERED},
     "5.6.7",
     3,
     LIE_SIZE | LIE_SMTPUTF8},
    {"SMTPUTF8: the header needs it",
     {ALL, {{"SMTPUTF8", "555 5.5.4 no\r\n"}}, false},
     UTF8_HEADER,
     NONE,
     "5.5.4",
     2,
     0},
};

static void offers_that_do_not_hold(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		const struct lie_case *t = &cases[i];
		unsigned lies = 0;
		fresh(t->about);
		unsigned n = deliver(&t->host, &lies);
		if (n != t->connections || lies != t->lies ||
		    rcpts[0].out.result != t->results[0] || rcpts[1].out.result != t->results[1] ||
		    strcmp(rcpts[0].out.status, t->status) != 0)
			fail_msg("%s: %u connections, lies %u, results %d %s, %d: %s", t->name, n,
				 lies, rcpts[0].out.result, rcpts[0].out.status,
				 rcpts[1].out.result, transcript);
	}
}

/* The next message begins without what was found out. */
static void once_is_enough(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		const struct lie_case *t = &cases[i];
		unsigned lies = 0, before;
		fresh(t->about);
		(void)deliver(&t->host, &lies);
		before = lies;
		fresh(t->about);
		if (before && deliver(&t->host, &lies) != 1)
			fail_msg("%s: again %s", t->name, transcript);
		assert_int_equal(lies, before);
	}
}

/* What was handed on without DSN is ours to report: nothing says that the host does it. */
static void without_dsn_nothing_is_promised(void **state)
{
	struct host h = {ALL, {{"NOTIFY", "555 no\r\n"}}, false};
	unsigned lies = 0;

	(void)state;
	fresh(NOTIFY);
	(void)deliver(&h, &lies);
	assert_false(rcpts[0].out.dsn);
	fresh(NOTIFY);
	lies = 0;
	h.refuses[0].word = NULL;
	(void)deliver(&h, &lies);
	assert_true(rcpts[0].out.dsn);
}

static void words(void **state)
{
	char buf[CLIENT_LIES_TEXT];

	(void)state;
	assert_string_equal(client_lies_text(0, buf), "");
	assert_string_equal(client_lies_text(LIE_DSN, buf), "DSN");
	assert_string_equal(client_lies_text(31, buf), "PIPELINING, SIZE, DSN, SMTPUTF8, CHUNKING");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(offers_that_do_not_hold),
	    cmocka_unit_test(once_is_enough),
	    cmocka_unit_test(without_dsn_nothing_is_promised),
	    cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
