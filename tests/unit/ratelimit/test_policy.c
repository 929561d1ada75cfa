/*
 * policy and policy_charge - requests whole and byte by byte, answers, and counting once.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ratelimit/policy_charge.h"
#include "tests/unit/ratelimit/common.h"

#define HEAD "request=smtpd_access_policy\n"

/* POLICY_MORE: it ended in the middle. */
static enum policy_result feed(struct policy_parser *p, const char *text, size_t len, size_t step)
{
	policy_init(p);
	for (size_t at = 0; at < len;) {
		const char *err;
		size_t n = len - at < step ? len - at : step, used;
		enum policy_result r = policy_feed(p, text + at, n, &used, &err);
		assert_true(used <= n);
		if (r != POLICY_MORE)
			return r;
		assert_int_equal(used, n);
		at += n;
	}
	return POLICY_MORE;
}

static void requests_are_read(void **state)
{
	(void)state;
	static char longest[POLICY_LINE + 32], too_long[POLICY_LINE + 32], many[8192];
	static const char plain[] =
	    HEAD "protocol_state=RCPT\nprotocol_name=ESMTP\nhelo_name=pc\nqueue_id=\nsender=a@Isp."
		 "example\n"
		 "recipient=b@x.example\nrecipient_count=0\nclient_address=192.0.2.9\nsize=12345\n"
		 "instance=1a.2b.3\nsasl_username=A@isp.Example\nccert_subject=Ren\xc3\xa9\n\n";
	int n = snprintf(longest, sizeof longest, HEAD "x=");
	memset(longest + n, 'y', POLICY_LINE - 3);
	memcpy(longest + n + POLICY_LINE - 3, "\n\n", 3);
	n = snprintf(too_long, sizeof too_long, HEAD "x=");
	memset(too_long + n, 'y', POLICY_LINE - 2);
	memcpy(too_long + n + POLICY_LINE - 2, "\n\n", 3);
	n = snprintf(many, sizeof many, "%s", HEAD);
	for (int i = 0; i < POLICY_ATTRS; i++)
		n += snprintf(many + n, sizeof many - (size_t)n, "x=1\n");
	snprintf(many + n, sizeof many - (size_t)n, "\n");
	const struct {
		const char *text;
		enum policy_result result;
	} cases[] = {
	    {plain, POLICY_REQUEST},
	    {HEAD "\n", POLICY_REQUEST},
	    {HEAD, POLICY_MORE},
	    {"\n", POLICY_BAD},
	    {"request=junk\n\n", POLICY_BAD},
	    {HEAD "sender=a\nsender=b\n\n", POLICY_BAD},
	    {HEAD "novalue\n\n", POLICY_BAD},
	    {HEAD "=x\n\n", POLICY_BAD},
	    {HEAD "Sender=x\n\n", POLICY_BAD},
	    {HEAD "sender=a\r\n\n", POLICY_BAD},
	    {HEAD "sender=a\tb\n\n", POLICY_BAD},
	    {HEAD "size=-1\n\n", POLICY_BAD},
	    {HEAD "size=99999999999999999999\n\n", POLICY_BAD},
	    {HEAD "recipient_count=1x\n\n", POLICY_BAD},
	    {HEAD "client_address=unknown\n\n", POLICY_REQUEST},
	    {HEAD "sender=a=b=c@x\n\n", POLICY_REQUEST},
	    {longest, POLICY_REQUEST},
	    {too_long, POLICY_BAD},
	    {many, POLICY_BAD},
	};
	static struct policy_parser p;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		for (size_t step = 1; step < 10000; step *= 7)
			if (feed(&p, cases[i].text, strlen(cases[i].text), step) != cases[i].result)
				fail_msg("case %zu, %zu bytes at a time", i, step);
	assert_int_equal(feed(&p, HEAD "sender=a\0b\n\n", sizeof HEAD + 11, 100), POLICY_BAD);
	for (size_t step = 1; step < 1000; step *= 3) {
		assert_int_equal(feed(&p, plain, sizeof plain - 1, step), POLICY_REQUEST);
		assert_int_equal(p.r.stage, POLICY_RCPT);
		assert_string_equal(p.r.account, "A@isp.Example");
		assert_string_equal(p.r.sender, "a@Isp.example");
		assert_string_equal(p.r.recipient, "b@x.example");
		assert_string_equal(p.r.instance, "1a.2b.3");
		assert_int_equal(p.r.size, 12345);
		char text[ADDR_STRLEN];
		assert_string_equal(addr_format(&p.r.address, text), "192.0.2.9");
	}
}

static void two_in_one_piece(void **state)
{
	(void)state;
	static const char two[] = HEAD "protocol_state=DATA\n\n" HEAD "protocol_state=RCPT\n\n";
	static struct policy_parser p;
	const char *err;
	size_t used;
	policy_init(&p);
	assert_int_equal(policy_feed(&p, two, sizeof two - 1, &used, &err), POLICY_REQUEST);
	assert_int_equal(used, (sizeof two - 1) / 2);
	assert_int_equal(p.r.stage, POLICY_DATA);
	policy_init(&p);
	assert_int_equal(policy_feed(&p, two + used, sizeof two - 1 - used, &used, &err),
			 POLICY_REQUEST);
	assert_int_equal(p.r.stage, POLICY_RCPT);
}

static void answers_are_one_line(void **state)
{
	(void)state;
	static const struct {
		struct rl_verdict v;
		bool defer;
		const char *text;
	} cases[] = {
	    {{.answer = RL_OK}, false, "action=DUNNO\n\n"},
	    {{.answer = RL_LIMIT, .retry_ms = 1500, .why = "31 messages in 1m, limit 30"},
	     false,
	     "action=452 4.7.28 31 messages in 1m, limit 30; try again in 2 s\n\n"},
	    {{.answer = RL_LIMIT, .retry_ms = 1500, .why = "x"},
	     true,
	     "action=DEFER_IF_PERMIT 4.7.28 x; try again in 2 s\n\n"},
	    {{.answer = RL_LIMIT, .too_many = true, .why = "x"}, true, "action=452 4.5.3 x\n\n"},
	    {{.answer = RL_HELD, .why = "a\nb"}, false, "action=HOLD a?b\n\n"},
	    {{.answer = RL_REFUSE, .why = "x"},
	     false,
	     "action=REJECT 5.7.1 This account is suspended: x\n\n"},
	    {{.answer = RL_DOWN},
	     false,
	     "action=DEFER_IF_PERMIT 4.3.0 Limits cannot be checked just now\n\n"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char buf[1024];
		size_t n = policy_answer(&cases[i].v, cases[i].defer, buf, sizeof buf);
		assert_int_equal(n, strlen(buf));
		assert_string_equal(buf, cases[i].text);
	}
}

/* --- once ------------------------------------------------------------------------------------- */

struct total {
	uint64_t messages, rcpts, bytes;
	uint64_t names; /* recipients that were told */
	uint64_t last;	/* of those; they are numbered, and come in order */
};

/* The ask of one question, which passes. name: of the recipient; 0: none. */
static bool asks(struct policy_charges *t, enum policy_stage stage, const char *instance,
		 uint32_t count, uint64_t size, uint64_t name, int64_t ms, struct rl_ask *ask)
{
	static const struct addr server;
	struct policy_request r = {.stage = stage,
				   .account = "a@b",
				   .recipient = "r@x",
				   .recipients = count,
				   .size = size};
	struct policy_rcpt rcpt = {name, ~name};
	snprintf(r.instance, sizeof r.instance, "%s", instance);
	struct policy_client *c = policy_note(t, &server, &r, ms);
	*ask = (struct rl_ask){0};
	if (!policy_amounts(t, c, &r, name ? &rcpt : NULL, ms, ask))
		return false;
	policy_passed(t, c, &r, name ? &rcpt : NULL, ms, ask);
	return true;
}

static void say(struct policy_charges *t, enum policy_stage stage, const char *instance,
		uint32_t count, uint64_t size, uint64_t name, int64_t ms, struct total *sum)
{
	struct rl_ask ask;
	if (!asks(t, stage, instance, count, size, name, ms, &ask) || !ask.charge)
		return;
	for (uint32_t i = 0; i < ask.n_hash; i++) {
		assert_int_equal(ask.rcpt_hash[i], ++sum->last);
		assert_int_equal(ask.domain_hash[i], ~sum->last);
		sum->names++;
	}
	sum->messages += ask.messages;
	sum->rcpts += ask.rcpts;
	sum->bytes += ask.bytes;
}

/* Messages of 1 to 5 recipients, hooked in at every combination of places: each is counted once. */
static void counted_once_wherever_it_is_hooked_in(void **state)
{
	(void)state;
	for (unsigned hooks = 1; hooks < 8; hooks++) {
		struct policy_charges *t = policy_charges_new();
		struct total sum = {0};
		uint64_t rcpts = 0, name = 0;
		for (uint32_t m = 0; m < 100; m++) {
			char instance[16];
			uint32_t n = 1 + m % 5;
			snprintf(instance, sizeof instance, "i%u", m);
			rcpts += n;
			for (uint32_t i = 0; (hooks & 1) && i < n; i++)
				say(t, POLICY_RCPT, instance, 0, 0, ++name, 1 + m * SEC, &sum);
			uint64_t only = n > 1 ? 0 : hooks & 1 ? name : ++name;
			if (hooks & 2)
				say(t, POLICY_DATA, instance, n, 0, only, 1 + m * SEC, &sum);
			if (hooks & 4)
				say(t, POLICY_END, instance, n, 1000, only, 1 + m * SEC, &sum);
		}
		assert_int_equal(sum.messages, 100);
		assert_int_equal(sum.rcpts, rcpts);
		assert_int_equal(sum.bytes, hooks & 4 ? 100000 : 0);
		assert_int_equal(sum.names, hooks & 1 ? rcpts : 20);
		policy_charges_free(t);
	}
}

/* The hook at the end was taken away: an hour later RCPT counts again. */
static void a_hook_that_is_gone_is_forgotten(void **state)
{
	(void)state;
	struct policy_charges *t = policy_charges_new();
	struct total sum = {0};
	say(t, POLICY_END, "a", 1, 10, 1, SEC, &sum);
	assert_int_equal(sum.messages, 1);
	say(t, POLICY_RCPT, "b", 0, 0, 2, 2 * SEC, &sum);
	assert_int_equal(sum.messages, 1);
	say(t, POLICY_RCPT, "c", 0, 0, 2, 2 * SEC + HOUR, &sum);
	assert_int_equal(sum.messages, 2);
	assert_int_equal(sum.rcpts, 2);
	policy_charges_free(t);
}

/* Checks see all of the message so far; what was refused is not of it; other messages in between do
 * not matter. */
static void checks_know_the_recipients_before(void **state)
{
	(void)state;
	struct policy_charges *t = policy_charges_new();
	struct rl_ask ask;
	static const struct addr server;
	assert_true(asks(t, POLICY_END, "learnt", 1, 1, 1, SEC, &ask));
	for (uint64_t i = 1; i <= 5; i++) {
		assert_true(asks(t, POLICY_RCPT, "a", 0, 0, i, SEC, &ask));
		assert_false(ask.charge);
		assert_int_equal(ask.rcpts, i);
		assert_int_equal(ask.n_hash, i);
		for (uint64_t k = 0; k < i; k++)
			assert_int_equal(ask.rcpt_hash[k], k + 1);
		assert_true(asks(t, POLICY_RCPT, "b", 0, 0, 100 + i, SEC, &ask));
		struct policy_request r = {.stage = POLICY_RCPT, .account = "a@b", .instance = "a"};
		struct policy_rcpt refused = {999, 999};
		assert_true(
		    policy_amounts(t, policy_note(t, &server, &r, SEC), &r, &refused, SEC, &ask));
		assert_int_equal(ask.n_hash, i + 1);
	}
	assert_true(asks(t, POLICY_END, "a", 0, 10, 0, SEC, &ask)); /* the number is not told */
	assert_true(ask.charge);
	assert_int_equal(ask.rcpts, 5);
	assert_int_equal(ask.n_hash, 5);
	assert_int_equal(ask.rcpt_hash[0], 1);
	assert_int_equal(ask.rcpt_hash[4], 5);
	assert_true(asks(t, POLICY_END, "b", 3, 10, 0, SEC, &ask)); /* two were refused by others */
	assert_int_equal(ask.rcpts, 3);
	policy_charges_free(t);
}

/* More recipients than there is room for: the newest are known, and nobody else's are taken for
 * them. */
static void room_for_recipients_is_bounded(void **state)
{
	(void)state;
	struct policy_charges *t = policy_charges_new();
	struct rl_ask ask;
	assert_true(asks(t, POLICY_END, "learnt", 1, 1, 1, SEC, &ask));
	for (uint64_t i = 1; i <= 10; i++)
		assert_true(asks(t, POLICY_RCPT, "small", 0, 0, i, SEC, &ask));
	for (uint64_t i = 0; i < POLICY_KEPT - 5; i++)
		assert_true(asks(t, POLICY_RCPT, "large", 0, 0, 1000 + i, SEC, &ask));
	assert_int_equal(ask.n_hash, 4096);
	assert_int_equal(ask.rcpt_hash[4095], 1000 + POLICY_KEPT - 6);
	assert_true(asks(t, POLICY_END, "small", 10, 10, 0, SEC, &ask));
	assert_int_equal(ask.rcpts, 10);
	assert_int_equal(ask.n_hash, 5);
	assert_int_equal(ask.rcpt_hash[0], 6);
	policy_charges_free(t);
}

static void who_cannot_bite_is_told(void **state)
{
	(void)state;
	static const struct {
		const char *account;
		enum policy_stage stage;
		bool bites;
	} cases[] = {{"", POLICY_RCPT, false},
		     {"a@b", POLICY_OTHER, false},
		     {"a@b", POLICY_RCPT, true},
		     {"a@b", POLICY_DATA, true},
		     {"a@b", POLICY_END, true}};
	static const struct addr server;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct policy_charges *t = policy_charges_new();
		struct policy_client *c = NULL;
		struct rl_ask ask;
		bool bites;
		for (int k = 0; k < 20; k++) {
			struct policy_request r = {.stage = cases[i].stage};
			snprintf(r.account, sizeof r.account, "%s", cases[i].account);
			c = policy_note(t, &server, &r, 1 + k);
			assert_int_equal(policy_amounts(t, c, &r, NULL, 1 + k, &ask),
					 cases[i].bites);
		}
		assert_string_not_equal(policy_verdict(c, &bites), "");
		assert_int_equal(bites, cases[i].bites);
		policy_charges_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(requests_are_read),
	    cmocka_unit_test(two_in_one_piece),
	    cmocka_unit_test(answers_are_one_line),
	    cmocka_unit_test(counted_once_wherever_it_is_hooked_in),
	    cmocka_unit_test(a_hook_that_is_gone_is_forgotten),
	    cmocka_unit_test(checks_know_the_recipients_before),
	    cmocka_unit_test(room_for_recipients_is_bounded),
	    cmocka_unit_test(who_cannot_bite_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
