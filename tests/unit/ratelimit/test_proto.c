/*
 * proto and admin - each frame there and back, whole or not at all; the JSON requests.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "ratelimit/admin.h"
#include "ratelimit/proto.h"
#include "tests/unit/ratelimit/common.h"

static uint8_t buf[PROTO_ADMIN_MAX];
static struct wire_out w;

static struct wire_out *fresh_out(void)
{
	wire_out_init(&w, buf, sizeof buf);
	return &w;
}

static bool get_ask(const uint8_t *data, size_t len)
{
	static struct proto_ask a;
	return proto_get_ask(data, len, &a);
}

static bool get_answer(const uint8_t *data, size_t len)
{
	uint32_t id;
	struct rl_verdict v;
	return proto_get_answer(data, len, &id, &v);
}

static bool get_penalty(const uint8_t *data, size_t len)
{
	struct rl_penalty p;
	return proto_get_penalty(data, len, &p);
}

static bool get_admin(const uint8_t *data, size_t len)
{
	uint32_t id;
	const char *json;
	size_t n;
	return proto_get_admin(data, len, &id, &json, &n);
}

static bool get_reply(const uint8_t *data, size_t len)
{
	uint32_t id;
	bool ok;
	const char *json;
	size_t n;
	return proto_get_reply(data, len, &id, &ok, &json, &n);
}

/* Exactly what is in w, no byte less and none more; from memory that ends where it ends. */
static void exactly(bool (*get)(const uint8_t *data, size_t len))
{
	assert_false(w.bad);
	for (size_t len = 0; len <= w.len + 1; len++) {
		uint8_t *p = test_malloc(len + 1);
		memcpy(p, buf, len);
		assert_int_equal(get(p, len), len == w.len);
		test_free(p);
	}
}

static void an_ask(void **state)
{
	(void)state;
	static struct proto_ask a;
	const uint64_t hash[] = {1, UINT64_MAX, 42};
	struct rl_ask ask = {.account = "user@isp.example",
			     .t_ms = T0,
			     .charge = true,
			     .messages = 1,
			     .rcpts = 3,
			     .bytes = 1 << 20,
			     .sender_hash = 5,
			     .sender_domain = "isp.example",
			     .ehlo_hash = 6,
			     .tls_hash = 7,
			     .body = 8,
			     .rcpt_hash = hash,
			     .domain_hash = hash,
			     .n_hash = 3};
	memset(ask.client.b, 7, sizeof ask.client.b);
	proto_put_ask(fresh_out(), 77, PROTO_CHARGE, &ask);
	assert_true(proto_get_ask(buf, w.len, &a));
	assert_int_equal(a.id, 77);
	assert_int_equal(a.flags, PROTO_CHARGE);
	assert_string_equal(a.ask.account, ask.account);
	assert_memory_equal(&a.ask.client, &ask.client, sizeof ask.client);
	assert_int_equal(a.ask.t_ms, T0);
	assert_true(a.ask.charge);
	assert_int_equal(a.ask.messages, 1);
	assert_int_equal(a.ask.rcpts, 3);
	assert_int_equal(a.ask.n_hash, 3);
	assert_memory_equal(a.ask.rcpt_hash, hash, sizeof hash);
	assert_memory_equal(a.ask.domain_hash, hash, sizeof hash);
	assert_int_equal(a.ask.bytes, 1 << 20);
	assert_int_equal(a.ask.sender_hash, 5);
	assert_string_equal(a.ask.sender_domain, "isp.example");
	assert_int_equal(a.ask.ehlo_hash, 6);
	assert_int_equal(a.ask.tls_hash, 7);
	assert_int_equal(a.ask.body, 8);
	exactly(get_ask);
	buf[4] = 3; /* charge and refund at once */
	assert_false(get_ask(buf, w.len));
	ask.t_ms = INT64_MIN;
	proto_put_ask(fresh_out(), 77, PROTO_REFUND, &ask);
	assert_false(get_ask(buf, w.len));
	ask.t_ms = T0;
	ask.account = "";
	proto_put_ask(fresh_out(), 77, 0, &ask);
	assert_false(get_ask(buf, w.len));
}

static void the_largest_ask(void **state)
{
	(void)state;
	static struct proto_ask a;
	static uint64_t hash[PROTO_MAX_HASHES + 1];
	static uint8_t big[PROTO_ASK_MAX];
	char account[RL_ACCOUNT_MAX + 1];
	memset(account, 'a', RL_ACCOUNT_MAX);
	account[RL_ACCOUNT_MAX] = '\0';
	struct rl_ask ask = {.account = account,
			     .rcpts = PROTO_MAX_HASHES + 1,
			     .rcpt_hash = hash,
			     .n_hash = PROTO_MAX_HASHES + 1};
	wire_out_init(&w, big, sizeof big);
	proto_put_ask(&w, 1, 0, &ask);
	assert_false(w.bad);
	assert_true(proto_get_ask(big, w.len, &a));
	assert_int_equal(a.ask.n_hash, PROTO_MAX_HASHES);
	assert_int_equal(a.ask.rcpts, PROTO_MAX_HASHES + 1);
}

static bool get_observe(const uint8_t *data, size_t len)
{
	struct proto_observe o;
	return proto_get_observe(data, len, &o);
}

static void an_observation(void **state)
{
	(void)state;
	struct proto_observe back;
	struct rl_observation o = {.what = RL_SEEN_REJECTED,
				   .account = "user@isp.example",
				   .t_ms = T0,
				   .text = "550 5.1.1",
				   .ehlo_hash = 1,
				   .tls_hash = 2,
				   .rcpt_hash = 3,
				   .message = 6,
				   .n = 4,
				   .m = 5,
				   .plen = 56,
				   .class = ANSWER_SPAM};
	memset(o.client.b, 9, sizeof o.client.b);
	proto_put_observe(fresh_out(), &o);
	assert_true(proto_get_observe(buf, w.len, &back));
	assert_int_equal(back.o.what, RL_SEEN_REJECTED);
	assert_string_equal(back.o.account, o.account);
	assert_memory_equal(&back.o.client, &o.client, sizeof o.client);
	assert_string_equal(back.o.text, "550 5.1.1");
	assert_int_equal(back.o.t_ms, T0);
	assert_int_equal(back.o.ehlo_hash, 1);
	assert_int_equal(back.o.tls_hash, 2);
	assert_int_equal(back.o.rcpt_hash, 3);
	assert_int_equal(back.o.n, 4);
	assert_int_equal(back.o.m, 5);
	assert_int_equal(back.o.message, 6);
	assert_int_equal(back.o.plen, 56);
	assert_int_equal(back.o.class, ANSWER_SPAM);
	exactly(get_observe);
	buf[w.len - 1] = ANSWER_CLASSES;
	assert_false(get_observe(buf, w.len));
	buf[w.len - 1] = ANSWER_SPAM;
	buf[0] = RL_N_SEEN;
	assert_false(get_observe(buf, w.len));
	char longer[RL_TEXT_MAX + 100];
	memset(longer, 'x', sizeof longer);
	longer[sizeof longer - 1] = '\0';
	o.text = longer;
	proto_put_observe(fresh_out(), &o);
	assert_true(proto_get_observe(buf, w.len, &back));
	assert_int_equal(strlen(back.text), RL_TEXT_MAX);
}

static void an_answer(void **state)
{
	(void)state;
	uint32_t id;
	struct rl_verdict v = {.answer = RL_LIMIT,
			       .retry_ms = 1234,
			       .why = "31 messages in 1m, limit 30"},
			  back;
	proto_put_answer(fresh_out(), 9, &v);
	assert_true(proto_get_answer(buf, w.len, &id, &back));
	assert_int_equal(id, 9);
	assert_int_equal(back.answer, RL_LIMIT);
	assert_int_equal(back.retry_ms, 1234);
	assert_false(back.too_many);
	assert_string_equal(back.why, v.why);
	exactly(get_answer);
	buf[4] = 5;
	assert_false(get_answer(buf, w.len));
	v.retry_ms = -1;
	proto_put_answer(fresh_out(), 9, &v);
	assert_false(get_answer(buf, w.len));
}

static void a_penalty(void **state)
{
	(void)state;
	struct rl_penalty p = penalty_of("user@isp.example", RL_SUSPEND, T0), back;
	proto_put_penalty(fresh_out(), &p);
	assert_true(proto_get_penalty(buf, w.len, &back));
	assert_memory_equal(&p, &back, sizeof p);
	exactly(get_penalty);
	for (int stage = 0; stage < 256; stage++) {
		buf[4 + strlen(p.account)] = (uint8_t)stage;
		assert_int_equal(get_penalty(buf, w.len), stage == 0 || (stage >= 2 && stage <= 5));
	}
	for (int stage = 0; stage < RL_N_STAGES; stage++) {
		p.stage = (enum rl_stage)stage;
		proto_put_penalty(fresh_out(), &p);
		assert_true(proto_get_penalty(buf, w.len, &back));
		assert_int_equal(back.stage, stage);
	}
	p.account[0] = '\0';
	proto_put_penalty(fresh_out(), &p);
	assert_false(get_penalty(buf, w.len));
	memset(&p, 'x', sizeof p); /* every text as long as it may be */
	p.account[RL_ACCOUNT_MAX] = p.rule[sizeof p.rule - 1] = p.why[RL_WHY_MAX - 1] =
	    p.actor[sizeof p.actor - 1] = '\0';
	p.stage = RL_HOLD;
	wire_out_init(&w, buf, PROTO_SMALL_MAX);
	proto_put_penalty(&w, &p);
	assert_false(w.bad);
	assert_true(get_penalty(buf, w.len));
}

static void requests_and_replies(void **state)
{
	(void)state;
	uint32_t id;
	bool ok;
	const char *json;
	size_t n;
	proto_put_admin(fresh_out(), 3, "{}", 2);
	assert_true(proto_get_admin(buf, w.len, &id, &json, &n));
	assert_int_equal(id, 3);
	assert_int_equal(n, 2);
	assert_memory_equal(json, "{}", 2);
	exactly(get_admin);
	proto_put_reply(fresh_out(), 4, true, "[1]", 3);
	assert_true(proto_get_reply(buf, w.len, &id, &ok, &json, &n));
	assert_int_equal(id, 4);
	assert_true(ok);
	assert_int_equal(n, 3);
	exactly(get_reply);
	buf[4] = 2;
	assert_false(get_reply(buf, w.len));
}

/* --- admin
 * ------------------------------------------------------------------------------------------ */

static struct admin_result run(struct limiter *l, int64_t ms, const char *text)
{
	struct admin_result r;
	struct moment now = at(ms);
	admin_run(l, text, strlen(text), &now, &r);
	assert_non_null(r.value);
	return r;
}

static void bad_requests_say_what_to_change(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} cases[] = {
	    {"", "not JSON"},
	    {"[", "not JSON"},
	    {"{\"op\":1,\"op\":2}", "not JSON"},
	    {"[]", "op is limit.show"},
	    {"{}", "op is limit.show"},
	    {"{\"op\":\"drop\"}", "op is limit.show"},
	    {"{\"op\":\"stats\",\"args\":{\"x\":1}}", "stats takes no argument x"},
	    {"{\"op\":\"limit.show\"}", "account is a login"},
	    {"{\"op\":\"limit.show\",\"args\":[]}", "account is a login"},
	    {"{\"op\":\"limit.show\",\"args\":{\"account\":\"\"}}", "account is a login"},
	    {"{\"op\":\"limit.show\",\"args\":{\"account\":7}}", "account is a login"},
	    {"{\"op\":\"limit.show\",\"args\":{\"account\":\"a@b\",\"account unit\":1}}",
	     "takes no argument"},
	    {"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\"}}", "unit is"},
	    {"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\",\"unit\":\"pages\"}}", "unit is"},
	    {"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\",\"unit\":\"messages\",\"window\":"
	     "\"2m\"}}",
	     "window is"},
	    {"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\",\"unit\":\"messages\",\"window\":"
	     "\"1m\"}}",
	     "limit is"},
	    {"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\",\"unit\":\"messages\",\"window\":"
	     "\"1m\",\"limit\":-1}}",
	     "limit is"},
	    {"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\",\"unit\":\"messages\",\"window\":"
	     "\"1m\",\"limit\":1.5}}",
	     "limit is"},
	    {"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\",\"unit\":\"messages\",\"window\":"
	     "\"1m\",\"limit\":1,\"expires_ms\":5}}",
	     "expires_ms is"},
	    {"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\",\"unit\":\"messages\",\"window\":"
	     "\"1m\",\"limit\":1,\"reason\":5}}",
	     "reason is"},
	};
	struct limiter_conf c = default_conf();
	struct limiter *l = limiter_new(&c, 1);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct admin_result r = run(l, 0, cases[i].text);
		assert_false(r.ok);
		assert_true(json_is_string(r.value));
		if (!strstr(json_string_value(r.value), cases[i].words))
			fail_msg("%s: %s", cases[i].text, json_string_value(r.value));
		assert_false(r.standing_changed);
		json_decref(r.value);
	}
	assert_int_equal(accounts_of(l), 0);
	limiter_free(l);
}

static json_int_t row_int(const json_t *show, size_t row, const char *key)
{
	return json_integer_value(
	    json_object_get(json_array_get(json_object_get(show, "limits"), row), key));
}

static void show_set_reset(void **state)
{
	(void)state;
	struct limiter_conf c = default_conf();
	struct limiter *l = limiter_new(&c, 1);
	for (uint32_t i = 0; i < 10; i++)
		(void)ask_n(l, "a@b", 1000 + i, true, i, 2);
	struct admin_result r =
	    run(l, 2000, "{\"op\":\"limit.show\",\"args\":{\"account\":\"a@b\"}}");
	assert_true(r.ok);
	assert_string_equal(json_string_value(json_object_get(r.value, "stage")), "normal");
	assert_string_equal(json_string_value(json_object_get(r.value, "mode")), "enforce");
	assert_string_equal(json_string_value(json_object_get(r.value, "first")),
			    "messages per minute");
	assert_int_equal(json_array_size(json_object_get(r.value, "limits")), 6);
	assert_int_equal(row_int(r.value, 0, "used"), 10);
	assert_int_equal(row_int(r.value, 0, "left"), 20);
	assert_true(row_int(r.value, 0, "resets_ms") > T0 + 61000);
	assert_true(row_int(r.value, 0, "resets_ms") <= T0 + 62000);
	assert_int_equal(row_int(r.value, 3, "used"), 20);
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(r.value, "detector"), "distinct")),
	    11);
	json_decref(r.value);
	r = run(l, 2000,
		"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\",\"unit\":\"recipients\","
		"\"window\":\"1d\",\"limit\":21,\"reason\":\"club\"}}");
	assert_true(r.ok);
	assert_true(r.standing_changed);
	assert_int_equal(row_int(r.value, 5, "limit"), 21);
	assert_int_equal(row_int(r.value, 5, "left"), 1);
	assert_string_equal(json_string_value(json_object_get(r.value, "first")),
			    "recipients per day");
	const json_t *row = json_array_get(json_object_get(r.value, "limits"), 5);
	assert_true(json_is_true(json_object_get(row, "override")));
	assert_string_equal(json_string_value(json_object_get(row, "reason")), "club");
	json_decref(r.value);
	r = run(l, 2000,
		"{\"op\":\"limit.set\",\"args\":{\"account\":\"a@b\",\"unit\":\"recipients\","
		"\"window\":\"1d\",\"limit\":null}}");
	assert_int_equal(row_int(r.value, 5, "limit"), 1000);
	json_decref(r.value);
	r = run(l, 2000, "{\"op\":\"limit.reset\",\"args\":{\"account\":\"a@b\"}}");
	assert_int_equal(row_int(r.value, 0, "used"), 0);
	assert_int_equal(row_int(r.value, 0, "resets_ms"), 0);
	json_decref(r.value);
	r = run(l, 2000, "{\"op\":\"stats\"}");
	assert_true(r.ok);
	assert_int_equal(json_integer_value(json_object_get(r.value, "asks")), 10);
	json_decref(r.value);
	limiter_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_ask),
	    cmocka_unit_test(the_largest_ask),
	    cmocka_unit_test(an_observation),
	    cmocka_unit_test(an_answer),
	    cmocka_unit_test(a_penalty),
	    cmocka_unit_test(requests_and_replies),
	    cmocka_unit_test(bad_requests_say_what_to_change),
	    cmocka_unit_test(show_set_reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
