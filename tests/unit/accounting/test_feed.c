/* feed: client and server on one loop; a dropped connection, replay without counting twice, policy,
 * requests, bad frames. */
#include "kit.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/wire.h"
#include "accounting/feed.h"
#include "accounting/feed_server.h"

static struct event_base *base;
static struct store *s;
static struct feed_server *fs;
static struct feed *f;

struct seen {
	uint64_t acked, begin, end, change, applied;
	int begins, entries, ends, changes, downs, ups, requests;
	enum policy_op op;
	struct policy_entry entry;
	char applied_program[32];
	struct feed_request *open; /* taken and not answered */
	bool keep;		   /* do not answer */
};
static struct seen seen;

static void on_begin(uint64_t version, uint32_t count, void *arg)
{
	(void)arg, (void)count;
	seen.begins++;
	seen.begin = version;
	seen.entries = 0;
}
static void on_entry(const struct policy_entry *e, void *arg)
{
	(void)arg;
	seen.entries++;
	seen.entry = *e;
}
static void on_end(uint64_t version, void *arg)
{
	(void)arg;
	seen.ends++;
	seen.end = version;
	assert_true(feed_applied(f, version));
}
static void on_change(uint64_t version, enum policy_op op, const struct policy_entry *e, void *arg)
{
	(void)arg;
	assert_true(seen.ends > 0); /* never before the snapshot */
	assert_true(version > seen.change);
	seen.changes++;
	seen.change = version;
	seen.op = op;
	seen.entry = *e;
}
static void on_acked(uint64_t seq, void *arg)
{
	(void)arg;
	assert_true(seq > seen.acked || seq == seen.acked);
	seen.acked = seq;
}
static void on_state(bool connected, void *arg)
{
	(void)arg;
	connected ? seen.ups++ : seen.downs++;
}
static void on_request(struct feed_request *r, const char *op, const json_t *args, void *arg)
{
	(void)arg;
	seen.requests++;
	if (seen.keep)
		seen.open = r;
	else if (strcmp(op, "echo") == 0)
		feed_reply(r, true, json_incref((json_t *)(uintptr_t)args));
	else
		feed_reply(r, false, json_string("no such thing"));
}

static const struct feed_handlers handlers = {.policy_begin = on_begin,
					      .policy_entry = on_entry,
					      .policy_end = on_end,
					      .policy_change = on_change,
					      .acked = on_acked,
					      .request = on_request,
					      .state = on_state};

static void on_applied(const char *program, uint64_t version, void *arg)
{
	(void)arg;
	snprintf(seen.applied_program, sizeof seen.applied_program, "%s", program);
	seen.applied = version;
}

/* Runs the loop until cond; fails after 5 s. */
#define UNTIL(cond)                                                                                \
	do {                                                                                       \
		int64_t end_ms = clock_mono_ms() + 5000;                                           \
		while (!(cond)) {                                                                  \
			if (clock_mono_ms() > end_ms)                                              \
				fail_msg("not in 5 s: %s", #cond);                                 \
			idle();                                                                    \
			event_base_loop(base, EVLOOP_ONCE);                                        \
		}                                                                                  \
	} while (0)

static void on_idle(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what, (void)arg;
}

/* The loop wakes at least so often. */
static void idle(void)
{
	struct timeval tv = {.tv_usec = 5000};
	event_base_once(base, -1, EV_TIMEOUT, on_idle, NULL, &tv);
}

static void serve(void)
{
	char *err = NULL;
	fs = feed_server_new(base, kit_dir, s, on_applied, NULL, &err);
	if (!fs)
		fail_msg("%s", err);
}

static int set_up(void **state)
{
	(void)state;
	kit_folder();
	memset(&seen, 0, sizeof seen);
	base = event_base_new();
	s = kit_store();
	serve();
	f = NULL;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	feed_free(f);
	feed_server_free(fs);
	store_close(s);
	event_base_free(base);
	kit_remove();
	return 0;
}

static void connect_as(const char *program)
{
	f = feed_new(base, kit_dir, program, "life-1", NULL, &handlers, NULL);
	UNTIL(feed_server_connected(fs, program));
}

static bool send_message(uint64_t seq)
{
	uint8_t buf[EVENT_MAX_BYTES];
	struct event e = kit_message(T0, ALICE, "192.0.2.1");
	return feed_send(f, seq, 1, buf, event_encode(&e, buf, sizeof buf));
}

static void test_ack_after_commit(void **state)
{
	(void)state;
	connect_as("msad");
	assert_true(send_message(1));
	assert_true(send_message(2));
	assert_true(send_message(3));
	UNTIL(seen.acked == 3);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"),
			 3); /* another connection sees it: on disk */
}

/* The connection is lost before the acknowledgement: the batch comes again and counts once. */
static void test_replay(void **state)
{
	(void)state;
	connect_as("msad");
	assert_true(send_message(1));
	UNTIL(store_group_open(s)); /* stored, not acknowledged */
	assert_int_equal(seen.acked, 0);
	/* end the connection from the client's side, as a crash of the network would */
	feed_free(f);
	f = feed_new(base, kit_dir, "msad", "life-1", NULL, &handlers, NULL);
	UNTIL(seen.ups == 2);
	assert_true(send_message(1));
	assert_true(send_message(2));
	UNTIL(seen.acked == 2);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), 2);
	assert_int_equal(kit_sql("SELECT n FROM rollup WHERE metric = 'accepted'"), 2);
}

/* acctd restarts: the client comes back by itself. */
static void test_server_restart(void **state)
{
	(void)state;
	connect_as("msad");
	assert_true(send_message(1));
	UNTIL(seen.acked == 1);
	feed_server_free(fs);
	store_close(s);
	UNTIL(seen.downs == 1);
	assert_false(send_message(2));
	s = kit_store();
	serve();
	UNTIL(seen.ups == 2);
	seen.acked = 0;
	assert_true(send_message(1)); /* its acknowledgement might have been lost */
	assert_true(send_message(2));
	UNTIL(seen.acked == 2);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), 2);
}

/* A store that cannot write: no acknowledgement, the connection ends, and later all is there once.
 */
static void test_full_disk(void **state)
{
	char limit[64];
	(void)state;
	connect_as("msad");
	assert_true(send_message(1));
	UNTIL(seen.acked == 1);
	snprintf(limit, sizeof limit, "PRAGMA max_page_count = %lld",
		 (long long)kit_sql("PRAGMA page_count"));
	sql_script(s->db, limit);
	uint64_t seq = 1;
	while (seen.downs == 0 &&
	       seq < 3000) { /* what fits is acknowledged, the first that does not ends it */
		if (!send_message(++seq))
			break;
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	UNTIL(seen.downs == 1);
	uint64_t acked = seen.acked;
	assert_true(acked < seq);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), acked);
	sql_script(s->db, "PRAGMA max_page_count = 1000000");
	UNTIL(seen.ups == 2);
	for (uint64_t again = acked + 1; again <= seq; again++)
		assert_true(send_message(again));
	UNTIL(seen.acked == seq);
	assert_int_equal(kit_sql("SELECT count(*) FROM ev_message"), seq);
}

/* --- policy --- */

static int64_t exempt(const char *prefix)
{
	struct store_exemption e = {.prefix = kit_prefix(prefix),
				    .class = "throttled",
				    .contract = "",
				    .contact = "",
				    .reason = "",
				    .actor = "x",
				    .starts_ms = T0,
				    .expires_ms = T0 + 9};
	store_begin(s);
	int64_t id = store_exemption_add(s, &e, T0);
	kit_commit(s);
	return id;
}

static void test_policy(void **state)
{
	(void)state;
	int64_t id = exempt("192.0.2.0/29");
	connect_as("nfqd");
	UNTIL(seen.ends == 1);
	assert_int_equal(seen.entries, 1);
	assert_int_equal(seen.entry.exemption_id, id);
	assert_string_equal(seen.entry.class, "throttled");
	assert_int_equal(seen.begin, seen.end);
	UNTIL(seen.applied == seen.end);
	assert_string_equal(seen.applied_program, "nfqd");
	int64_t second = exempt("2001:db8::/48");
	UNTIL(seen.changes == 1);
	assert_int_equal(seen.op, POLICY_SET);
	assert_int_equal(seen.entry.exemption_id, second);
	assert_int_equal(seen.change, store_policy_version(s));
	store_begin(s);
	kit_remove_exemption(s, id, T0);
	kit_commit(s);
	UNTIL(seen.changes == 2);
	assert_int_equal(seen.op, POLICY_DELETE);
	assert_int_equal(seen.entry.exemption_id, id);
}

/* Many entries go out in pieces; a change made meanwhile comes after them, with a higher version.
 */
static void test_policy_large(void **state)
{
	(void)state;
	const int n = 5000;
	store_begin(s);
	for (int i = 0; i < n; i++) {
		char text[32];
		snprintf(text, sizeof text, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
		struct store_exemption e = {.prefix = kit_prefix(text),
					    .class = "full",
					    .contract = "",
					    .contact = "",
					    .reason = "",
					    .actor = "x",
					    .starts_ms = T0};
		store_exemption_add(s, &e, T0);
	}
	kit_commit(s);
	connect_as("nfqd");
	exempt("192.0.2.1");
	UNTIL(seen.changes == 1);
	assert_int_equal(seen.begins, 1);
	assert_int_equal(seen.ends, 1);
	assert_int_equal(seen.entries, n);
	assert_true(seen.change > seen.end);
}

static void test_no_policy_for_msad(void **state)
{
	struct feed_handlers h = {.acked = on_acked, .state = on_state};
	(void)state;
	exempt("192.0.2.1");
	f = feed_new(base, kit_dir, "msad", "life-1", NULL, &h, NULL);
	UNTIL(feed_server_connected(fs, "msad"));
	assert_true(send_message(1));
	UNTIL(seen.acked == 1);
	assert_int_equal(seen.begins, 0);
}

/* --- requests --- */

static struct {
	int calls;
	bool answered, ok;
	json_t *result;
} got;

static void on_answer(bool answered, bool ok, const json_t *result, void *arg)
{
	(void)arg;
	got.calls++;
	got.answered = answered;
	got.ok = ok;
	json_decref(got.result);
	got.result = result ? json_deep_copy(result) : NULL;
}

static void ask(const char *op, json_t *args)
{
	memset(&got, 0, sizeof got);
	feed_server_request(fs, "msad", op, args, on_answer, NULL);
	json_decref(args);
}

static void test_requests(void **state)
{
	(void)state;
	ask("echo", NULL); /* nobody there: at once */
	assert_int_equal(got.calls, 1);
	assert_false(got.answered);
	connect_as("msad");
	ask("echo", json_pack("{s:i}", "n", 7));
	UNTIL(got.calls == 1);
	assert_true(got.answered && got.ok);
	assert_int_equal(json_integer_value(json_object_get(got.result, "n")), 7);
	json_decref(got.result);
	ask("other", NULL);
	UNTIL(got.calls == 1);
	assert_true(got.answered);
	assert_false(got.ok);
	assert_string_equal(json_string_value(got.result), "no such thing");
	json_decref(got.result);
	got.result = NULL;
	/* the daemon goes while it is asked: no answer, once; its late one goes nowhere */
	seen.keep = true;
	ask("echo", NULL);
	UNTIL(seen.open != NULL);
	feed_free(f);
	f = NULL;
	feed_reply(seen.open, true, json_object());
	UNTIL(got.calls == 1);
	assert_false(got.answered);
}

/* An answer to a question of the last connection is none to this one's, though the numbers start
 * again. */
static void test_late_reply(void **state)
{
	(void)state;
	connect_as("msad");
	seen.keep = true;
	ask("echo", NULL);
	UNTIL(seen.open != NULL);
	struct feed_request *old = seen.open;
	seen.open = NULL;
	feed_server_free(fs);
	UNTIL(seen.downs == 1);
	serve();
	UNTIL(seen.ups == 2 && feed_server_connected(fs, "msad"));
	ask("echo", NULL);
	UNTIL(seen.open != NULL);
	feed_reply(old, true, json_string("late"));
	feed_reply(seen.open, true, json_string("now"));
	UNTIL(got.calls == 1);
	assert_true(got.answered);
	assert_string_equal(json_string_value(got.result), "now");
	json_decref(got.result);
	got.result = NULL;
}

/* --- frames that break the rules --- */

static int raw_connect(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof a.sun_path, "%s/feed.sock", kit_dir);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static void raw_send(int fd, uint16_t type, const void *data, size_t len)
{
	uint8_t buf[256];
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	wire_u32(&w, (uint32_t)len + 2);
	wire_u16(&w, type);
	memcpy(buf + w.len, data, len);
	assert_int_equal(write(fd, buf, w.len + len), w.len + len);
}

static bool closed(int fd)
{
	char c;
	return recv(fd, &c, 1, MSG_PEEK) == 0;
}

static size_t hello(uint8_t buf[128], uint8_t protocol, const char *program)
{
	struct wire_out w;
	wire_out_init(&w, buf, 128);
	wire_u8(&w, protocol);
	wire_str(&w, program);
	wire_str(&w, "x");
	wire_u8(&w, 0);
	wire_u64(&w, 0);
	return w.len;
}

static void test_bad_frames(void **state)
{
	uint8_t good[128], other[128], events[64] = {0};
	size_t n = hello(good, FEED_PROTOCOL, "msad"), m = hello(other, 1, "msad");
	(void)state;
	events[7] = 1;	/* seq 1 */
	events[11] = 1; /* one record, which is none */
	static const uint8_t junk[] = {1, 2, 3};
	const struct {
		bool greet;
		uint16_t type;
		const uint8_t *data;
		size_t len;
	} bad[] = {
	    {false, FEED_EVENTS, events, 12},
	    {false, FEED_HELLO, junk, 3},
	    {false, FEED_HELLO, other, m},
	    {false, FEED_HELLO, good, n - 1},
	    {true, FEED_HELLO, good, n},
	    {true, FEED_EVENTS, junk, 3},
	    {true, FEED_EVENTS, events, 12},
	    {true, FEED_EVENTS, events, 20},
	    {true, FEED_REPLY, junk, 3},
	    {true, FEED_APPLIED, junk, 3},
	    {true, 99, junk, 3},
	    {true, FEED_ACK, events, 8},
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int fd = raw_connect();
		if (bad[i].greet)
			raw_send(fd, FEED_HELLO, good, n);
		raw_send(fd, bad[i].type, bad[i].data, bad[i].len);
		UNTIL(closed(fd));
		close(fd);
	}
	assert_int_equal(kit_sql("SELECT count(*) FROM feed_source"), 0);
	connect_as("msad"); /* and the server goes on */
	assert_true(send_message(1));
	UNTIL(seen.acked == 1);
}

static void test_second_replaces_first(void **state)
{
	uint8_t good[128];
	size_t n = hello(good, FEED_PROTOCOL, "msad");
	(void)state;
	int first = raw_connect(), second = raw_connect();
	raw_send(first, FEED_HELLO, good, n);
	UNTIL(feed_server_connected(fs, "msad"));
	raw_send(second, FEED_HELLO, good, n);
	UNTIL(closed(first));
	assert_false(closed(second));
	assert_true(feed_server_connected(fs, "msad"));
	close(first);
	close(second);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	signal(SIGPIPE, SIG_IGN); /* as proc does in the daemons */
	const struct CMUnitTest tests[] = {
	    T(test_ack_after_commit),
	    T(test_replay),
	    T(test_server_restart),
	    T(test_full_disk),
	    T(test_policy),
	    T(test_policy_large),
	    T(test_no_policy_for_msad),
	    T(test_requests),
	    T(test_late_reply),
	    T(test_bad_frames),
	    T(test_second_replaces_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
