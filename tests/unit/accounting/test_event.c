/* event and policy codecs: every kind there and back, and strictness. */
#include "kit.h"

#include "lib/wire.h"

static struct event sample(int kind)
{
	switch (kind) {
	case EVENT_BLOCK:
	case EVENT_PASS:
		return kit_block(T0, "2001:db8::25", 7, (enum event_kind)kind);
	case EVENT_LOGIN:
		return kit_login(T0, ALICE, "192.0.2.1", true);
	case EVENT_MESSAGE:
		return kit_message(T0, ALICE, "192.0.2.1");
	case EVENT_DELIVERY:
		return kit_delivery(T0, ALICE, EVENT_DEFERRED);
	case EVENT_SUSPECT:
		return kit_suspect(T0, "2001:db8:0:7::", 37);
	case EVENT_SPRAY:
		return kit_spray(T0, "2001:db8:0:7::", 12);
	case EVENT_BOUNCE:
		return kit_bounce(T0, ALICE, "bob@a.example");
	default:
		return kit_refuse(T0, ALICE);
	}
}

static void test_round_trip(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES], again[EVENT_MAX_BYTES];
	(void)state;
	for (int k = EVENT_BLOCK; k <= EVENT_BOUNCE; k++) {
		struct event e = sample(k), out;
		size_t n = event_encode(&e, buf, sizeof buf);
		assert_true(n > 4);
		assert_int_equal(event_decode(buf, n, &out), n);
		assert_int_equal(out.kind, k);
		assert_int_equal(out.t_ms, T0);
		assert_true(addr_eq(&out.src, &e.src));
		assert_int_equal(event_encode(&out, again, sizeof again), n);
		assert_memory_equal(buf, again, n);
		assert_string_not_equal(event_kind_name((enum event_kind)k), "unknown");
	}
}

static void test_fields_survive(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event e = kit_message(T0, ALICE, "192.0.2.1"), out;
	(void)state;
	e.u.message.held = true;
	memset(e.u.message.message_id, 'x', EVENT_TEXT_MAX); /* as long as it may be */
	size_t n = event_encode(&e, buf, sizeof buf);
	assert_int_equal(event_decode(buf, n, &out), n);
	assert_string_equal(out.u.message.account, ALICE);
	assert_string_equal(out.u.message.token, TOKEN);
	assert_string_equal(out.u.message.message_id, e.u.message.message_id);
	assert_int_equal(out.u.message.rcpts, 3);
	assert_int_equal(out.u.message.size, 1234);
	assert_true(out.u.message.held);
	assert_int_equal(out.src_port, 40000);
}

/* What a delivery says of its server came later: a record is with all of it, or none. */
static void test_delivery(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event e = sample(EVENT_DELIVERY), out;
	size_t n = event_encode(&e, buf, sizeof buf);
	(void)state;
	assert_int_equal(event_decode(buf, n, &out), n);
	assert_int_equal(out.u.delivery.answer, 2);
	assert_string_equal(out.u.delivery.server, "mx.a.example[192.0.2.25]:25");
	assert_string_equal(out.u.delivery.tls, "TLSv1.3");
	assert_string_equal(out.u.delivery.cipher, "TLS_AES_256_GCM_SHA384");
	assert_string_equal(out.u.delivery.proof, "dane");
	e.u.delivery.answer = 0;
	size_t old = event_encode(&e, buf, sizeof buf);
	assert_true(old < n);
	assert_int_equal(event_decode(buf, old, &out), old);
	assert_int_equal(out.u.delivery.answer, 0);
	assert_string_equal(out.u.delivery.server, "");
	for (size_t more = 1; old + more < n; more++) { /* cut between the two */
		e.u.delivery.answer = 2;
		event_encode(&e, buf, sizeof buf);
		buf[2] = (uint8_t)((old + more - 4) >> 8);
		buf[3] = (uint8_t)(old + more - 4);
		assert_int_equal(event_decode(buf, old + more, &out), 0);
	}
}

static void test_too_small(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event e = sample(EVENT_MESSAGE);
	size_t n = event_encode(&e, buf, sizeof buf);
	(void)state;
	for (size_t cap = 0; cap < n; cap++)
		assert_int_equal(event_encode(&e, buf, cap), 0);
}

/* Every prefix of a record is no record; a following byte belongs to the next. */
static void test_cut(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event out;
	(void)state;
	for (int k = EVENT_BLOCK; k <= EVENT_SPRAY; k++) {
		struct event e = sample(k);
		size_t n = event_encode(&e, buf, sizeof buf - 1);
		for (size_t len = 0; len < n; len++)
			assert_int_equal(event_decode(buf, len, &out), 0);
		buf[n] = 0xff;
		assert_int_equal(event_decode(buf, n + 1, &out), n);
	}
}

/* A record without the length is one of before, and of one address. */
static void test_line(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event e = sample(EVENT_BLOCK), out;
	(void)state;
	e.src = kit_addr("192.0.2.0");
	e.u.block.plen = 0;
	size_t n = event_encode(&e, buf, sizeof buf);
	e.u.block.plen = 24;
	assert_int_equal(event_encode(&e, buf, sizeof buf), n + 1);
	assert_int_equal(event_decode(buf, n + 1, &out), n + 1);
	assert_int_equal(out.u.block.plen, 24);
	buf[n] = 33;
	assert_int_equal(event_decode(buf, n + 1, &out), 0);
	buf[n] = 0;
	assert_int_equal(event_decode(buf, n + 1, &out), 0);
}

static void test_strict(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event e = sample(EVENT_DELIVERY), out;
	e.u.delivery.answer = 0; /* as a msad of before says it: the result is last */
	size_t n = event_encode(&e, buf, sizeof buf);
	(void)state;
	buf[n - 1] = 4; /* result */
	assert_int_equal(event_decode(buf, n, &out), 0);
	buf[n - 1] = 0;
	assert_int_equal(event_decode(buf, n, &out), 0);
	buf[n - 1] = 1;
	assert_int_equal(event_decode(buf, n, &out), n);
	buf[4] = EVENT_BOUNCE + 1; /* kind */
	assert_int_equal(event_decode(buf, n, &out), 0);
	buf[4] = 0;
	assert_int_equal(event_decode(buf, n, &out), 0);

	e = sample(EVENT_LOGIN);
	n = event_encode(&e, buf, sizeof buf);
	buf[n - 1] = 2; /* ok is 0 or 1 */
	assert_int_equal(event_decode(buf, n, &out), 0);
	buf[n - 1] = 1;
	buf[3]++; /* one byte more than its fields */
	buf[n] = 0;
	assert_int_equal(event_decode(buf, n + 1, &out), 0);

	e = sample(EVENT_LOGIN);
	n = event_encode(&e, buf, sizeof buf);
	char *at = memmem(buf, n, "alice", 5);
	assert_non_null(at);
	*at = '\0'; /* a NUL in a text */
	assert_int_equal(event_decode(buf, n, &out), 0);
}

/* A login may go on with the name of the client's TLS, which is not empty then; a notification says
 * bounced or deferred. */
static void test_newer_fields(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event e = sample(EVENT_LOGIN), out;
	size_t without = event_encode(&e, buf, sizeof buf), n;
	(void)state;
	snprintf(e.u.login.tls, sizeof e.u.login.tls, "13-31-07-00-e8f1e7e78f70-bb81f8c4c020");
	n = event_encode(&e, buf, sizeof buf);
	assert_true(n > without);
	assert_int_equal(event_decode(buf, n, &out), n);
	assert_string_equal(out.u.login.tls, e.u.login.tls);

	e = sample(EVENT_BOUNCE);
	n = event_encode(&e, buf, sizeof buf);
	for (unsigned result = 0; result < 5; result++) {
		buf[n - 2] = (uint8_t)result;
		bool good = result == EVENT_BOUNCED || result == EVENT_DEFERRED;
		assert_int_equal(event_decode(buf, n, &out), good ? n : 0);
	}
}

/* The length of the line is one of its family. */
static void test_spray_length(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event e = kit_spray(T0, "192.0.2.7", 12), out;
	size_t n = event_encode(&e, buf, sizeof buf);
	(void)state;
	assert_int_equal(event_decode(buf, n, &out), n);
	assert_int_equal(out.u.spray.accounts, 12);
	assert_int_equal(out.u.spray.first_ms, T0 - 3600000);
	buf[n - 1] = 33;
	assert_int_equal(event_decode(buf, n, &out), 0);
}

static void test_suspect_length(void **state)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event e = kit_suspect(T0, "192.0.2.7", 40), out;
	size_t n = event_encode(&e, buf, sizeof buf);
	(void)state;
	assert_int_equal(event_decode(buf, n, &out), n);
	assert_int_equal(out.u.suspect.plen, 32);
	assert_int_equal(out.u.suspect.nets, 20);
	buf[n - 1] = 33;
	assert_int_equal(event_decode(buf, n, &out), 0);
	e = kit_suspect(T0, "2001:db8::", 40);
	n = event_encode(&e, buf, sizeof buf);
	buf[n - 1] = 128;
	assert_int_equal(event_decode(buf, n, &out), n);
	buf[n - 1] = 129;
	assert_int_equal(event_decode(buf, n, &out), 0);
}

static bool policy_round(const struct policy_entry *e, struct policy_entry *out, size_t *len,
			 uint8_t buf[POLICY_ENTRY_MAX])
{
	struct wire_out w;
	struct wire_in r;
	wire_out_init(&w, buf, POLICY_ENTRY_MAX);
	policy_entry_put(&w, e);
	*len = w.len;
	wire_in_init(&r, buf, w.len);
	return !w.bad && policy_entry_get(&r, out) && wire_done(&r);
}

static void test_policy(void **state)
{
	static const char *const prefixes[] = {"192.0.2.1", "192.0.2.0/24", "2001:db8::/48",
					       "2001:db8::1", "0.0.0.0/0"};
	uint8_t buf[POLICY_ENTRY_MAX];
	size_t len;
	struct policy_entry out;
	(void)state;
	for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
		struct policy_entry e = {.prefix = kit_prefix(prefixes[i]),
					 .class = "small-business",
					 .starts_ms = T0,
					 .expires_ms = T0 + 1,
					 .exemption_id = 42};
		assert_true(policy_round(&e, &out, &len, buf));
		assert_true(prefix_eq(&out.prefix, &e.prefix));
		assert_string_equal(out.class, "small-business");
		assert_int_equal(out.starts_ms, T0);
		assert_int_equal(out.expires_ms, T0 + 1);
		assert_int_equal(out.exemption_id, 42);
		assert_int_equal(out.n_dst, 0);
	}
}

static void test_policy_destinations(void **state)
{
	uint8_t buf[POLICY_ENTRY_MAX];
	size_t len;
	struct policy_entry out,
	    e = {.prefix = kit_prefix("192.0.2.1"), .class = "0123456789abcde"};
	(void)state;
	for (; e.n_dst < POLICY_DST_MAX; e.n_dst++)
		e.dst[e.n_dst] = kit_prefix(e.n_dst % 2 ? "198.51.100.0/24" : "2001:db8::25");
	assert_true(policy_round(&e, &out, &len, buf));
	assert_int_equal(len, POLICY_ENTRY_MAX);
	assert_string_equal(out.class, e.class);
	assert_int_equal(out.n_dst, POLICY_DST_MAX);
	for (unsigned i = 0; i < out.n_dst; i++)
		assert_true(prefix_eq(&out.dst[i], &e.dst[i]));
	e.dst[3].len = 20; /* a host bit */
	assert_false(policy_round(&e, &out, &len, buf));
	e.dst[3].len = 33;
	assert_false(policy_round(&e, &out, &len, buf));
}

static void test_policy_class(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		bool valid;
	} cases[] = {{"full", true},
		     {"a", true},
		     {"0-9", true},
		     {"0123456789abcde", true},
		     {"0123456789abcdef", false},
		     {"", false},
		     {"Full", false},
		     {"a b", false},
		     {"a_b", false},
		     {"a\n", false}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(policy_class_valid(cases[i].name), cases[i].valid);
}

static void test_policy_strict(void **state)
{
	uint8_t buf[POLICY_ENTRY_MAX];
	size_t len;
	struct policy_entry out, e = {.prefix = kit_prefix("192.0.2.0/24"), .class = "full"};
	struct wire_in r;
	(void)state;
	static const struct {
		size_t at;
		uint8_t value;
	} bad[] = {
	    {0, 33},   {0, 20}, {16, 1}, {20, 0}, {20, 16},
	    {21, 'F'}, {22, 0}, {49, 1}, {49, 17}}; /* lengths, a host bit, classes, destinations */
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_true(policy_round(&e, &out, &len, buf));
		buf[bad[i].at] = bad[i].value;
		wire_in_init(&r, buf, len);
		/* a length of 20 leaves the 2 of 192.0.2.0 as a host bit */
		assert_false(policy_entry_get(&r, &out));
	}
	for (size_t cut = 0; cut < len; cut++) {
		wire_in_init(&r, buf, cut);
		assert_false(policy_entry_get(&r, &out));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_fields_survive),
	    cmocka_unit_test(test_delivery),
	    cmocka_unit_test(test_too_small),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_line),
	    cmocka_unit_test(test_strict),
	    cmocka_unit_test(test_suspect_length),
	    cmocka_unit_test(test_newer_fields), cmocka_unit_test(test_spray_length),
	    cmocka_unit_test(test_policy),
	    cmocka_unit_test(test_policy_strict),
	    cmocka_unit_test(test_policy_destinations),
	    cmocka_unit_test(test_policy_class),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
