/* handover_wire: what is put is what is got; what is cut, or too long, is nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <talloc.h>

#include "msa/handover_wire.h"

#define N(a) (sizeof(a) / sizeof *(a))

static void test_datagrams(void **state)
{
	static const uint8_t record[] = {1, 2, 3};
	static const struct handover_datagram cases[] = {
	    {.kind = HANDOVER_HELLO},
	    {.kind = HANDOVER_SUBMIT, .number = 77},
	    {.kind = HANDOVER_SUBMIT, .number = UINT32_MAX, .hold = true},
	    {.kind = HANDOVER_EVENT, .record = record, .record_len = sizeof(record)},
	    {.kind = HANDOVER_REPLY, .number = 1, .result = QUEUE_OK},
	    {.kind = HANDOVER_REPLY, .number = 2, .result = QUEUE_FULL},
	    {.kind = HANDOVER_REPLY, .number = 3, .result = QUEUE_ERROR},
	};
	struct handover_datagram d;
	uint8_t buf[HANDOVER_DATAGRAM_MAX];

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		size_t n = handover_put(&cases[i], buf, sizeof(buf));

		assert_true(n > 0 && handover_get(buf, n, &d));
		assert_int_equal(d.kind, cases[i].kind);
		assert_int_equal(d.number, cases[i].number);
		assert_int_equal(d.hold, cases[i].hold);
		if (d.kind == HANDOVER_REPLY)
			assert_int_equal(d.result, cases[i].result);
		assert_int_equal(d.record_len, cases[i].record_len);
		for (size_t cut = 0; cut < n; cut++)
			assert_false(handover_get(buf, cut, &d));
		assert_false(handover_get(buf, n + 1, &d));
		assert_int_equal(handover_put(&cases[i], buf, n - 1), 0);
	}
	buf[0] = 0;
	assert_false(handover_get(buf, 1, &d));
	memcpy(buf, "\4\0\0\0\1\7", 6); /* a result there is not */
	assert_false(handover_get(buf, 6, &d));
}

static struct event event_of(const char *id)
{
	struct event e = {.kind = EVENT_MESSAGE, .t_ms = 1700000000000};

	snprintf(e.u.message.queue_id, sizeof(e.u.message.queue_id), "%s", id);
	return e;
}

static const struct queue_rcpt rcpts[] = {
    {"a@far.example", {0, NULL}},
    {"b@far.example", {NOTIFY_SUCCESS | NOTIFY_DELAY, "rfc822;b+40c"}},
};

static struct queue_msg message_of(const struct event *e)
{
	return (struct queue_msg){.id = "0mws9em6mz000tv9",
				  .account = "user01@isp.example",
				  .mail_from = "user01@isp.example",
				  .mail_from_out = "prvs=1234abcdef=user01@isp.example",
				  .rcpts = rcpts,
				  .n_rcpts = N(rcpts),
				  .data = (const uint8_t *)"Subject: x\r\n\r\ny\r\n",
				  .len = 17,
				  .esmtp = {ESMTP_8BIT, ESMTP_RET_HDRS, true, true, "env"},
				  .received_ms = 1700000000123,
				  .event = e};
}

static void same(const struct queue_msg *x, const struct queue_msg *y)
{
	assert_string_equal(x->id, y->id);
	assert_string_equal(x->account, y->account);
	assert_string_equal(x->mail_from, y->mail_from);
	assert_string_equal(x->mail_from_out, y->mail_from_out);
	assert_int_equal(x->n_rcpts, y->n_rcpts);
	for (uint32_t i = 0; i < x->n_rcpts; i++) {
		assert_string_equal(x->rcpts[i].address, y->rcpts[i].address);
		assert_int_equal(x->rcpts[i].esmtp.notify, y->rcpts[i].esmtp.notify);
		assert_string_equal(x->rcpts[i].esmtp.orcpt,
				    y->rcpts[i].esmtp.orcpt ? y->rcpts[i].esmtp.orcpt : "");
	}
	assert_int_equal(x->esmtp.body, y->esmtp.body);
	assert_int_equal(x->esmtp.ret, y->esmtp.ret);
	assert_int_equal(x->esmtp.smtputf8, y->esmtp.smtputf8);
	assert_int_equal(x->esmtp.requiretls, y->esmtp.requiretls);
	assert_string_equal(x->esmtp.envid, y->esmtp.envid);
	assert_int_equal(x->received_ms, y->received_ms);
	assert_int_equal(x->len, y->len);
	assert_memory_equal(x->data, y->data, x->len);
}

static void test_message(void **state)
{
	void *ctx = talloc_new(NULL);
	struct event e = event_of("0mws9em6mz000tv9"), back;
	struct queue_msg m = message_of(&e), got;
	size_t n = 0;
	uint8_t *envelope = handover_put_message(ctx, &m, &n), *whole;

	(void)state;
	assert_non_null(envelope);
	whole = talloc_size(ctx, n + m.len);
	memcpy(whole, envelope, n);
	memcpy(whole + n, m.data, m.len);
	assert_true(handover_get_message(ctx, whole, n + m.len, &got, &back));
	same(&got, &m);
	assert_ptr_equal(got.event, &back);
	assert_int_equal(back.t_ms, e.t_ms);
	assert_string_equal(back.u.message.queue_id, e.u.message.queue_id);
	for (size_t cut = 0; cut < n; cut++)
		assert_false(handover_get_message(ctx, whole, cut, &got, &back));
	/* An id nobody makes. */
	memcpy(whole + HANDOVER_HEAD + 5, "0MWS", 4);
	assert_false(handover_get_message(ctx, whole, n + m.len, &got, &back));
	/* No event; many recipients of the longest kind. */
	m.event = NULL;
	envelope = handover_put_message(ctx, &m, &n);
	assert_true(handover_get_message(ctx, envelope, n, &got, &back));
	assert_null(got.event);
	talloc_free(ctx);
}

static void test_many(void **state)
{
	void *ctx = talloc_new(NULL);
	struct queue_rcpt *r = talloc_zero_array(ctx, struct queue_rcpt, 1000);
	struct event e = event_of("0mws9em6mz000tv9"), back;
	struct queue_msg m = message_of(&e), got;
	char address[321], orcpt[501];
	size_t n = 0;
	uint8_t *envelope;

	(void)state;
	memset(address, 'a', 320);
	address[320] = '\0';
	memset(orcpt, 'o', 500);
	orcpt[500] = '\0';
	for (int i = 0; i < 1000; i++)
		r[i] = (struct queue_rcpt){address, {NOTIFY_NEVER, orcpt}};
	m.rcpts = r;
	m.n_rcpts = 1000;
	envelope = handover_put_message(ctx, &m, &n);
	assert_non_null(envelope);
	assert_true(handover_get_message(ctx, envelope, n, &got, &back));
	assert_int_equal(got.n_rcpts, 1000);
	talloc_free(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_datagrams),
	    cmocka_unit_test(test_message),
	    cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
