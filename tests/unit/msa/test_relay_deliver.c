/* End to end: queue, relay role (this program with -x relay), and a smart host that does what its
 * addresses say. */
#include <sys/mman.h>

#include "lib/log.h"
#include "msa/queue/queue_int.h"
#include "tests/unit/msa/kit.h"

static struct kit k;

static int setup(void **state)
{
	(void)state;
	kit_init(&k);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kit_remove(&k);
	return 0;
}

static int events(int result)
{
	int n = 0;
	for (uint32_t i = 0; i < k.n_events && i < 512; i++)
		n += k.events[i].kind == EVENT_DELIVERY &&
		     (int)k.events[i].u.delivery.result == result;
	return n;
}

static void delivers_once(void **state)
{
	char ids[50][QUEUE_ID_LEN + 1];
	(void)state;
	kit_open_relay(&k);
	for (int i = 0; i < 50; i++)
		kit_put(&k, &(struct kit_msg){.rcpts = {"a@example.net", "b@example.net"}}, ids[i]);
	assert_true(kit_until(&k, kit_idle, NULL, 5000));
	assert_int_equal(k.last, QUEUE_OK);
	assert_true(kit_queued(&k, 0, 10000));
	for (int i = 0; i < 50; i++)
		assert_int_equal(sink_count(&k.sink, ids[i]), 1);
}

/* What becomes of one message to one or two recipients. */
static const struct fate {
	const char *name, *from, *rcpts[3];
	int taken, delivered, bounced,
	    min_deferred;   /* lines of the smart host; events, those of the notice included */
	const char *notice; /* in the reply of the failed recipient */
	bool body_8bit;
	struct sink_options o;
	int64_t lifetime_ms, timeout_ms;
} fates[] = {
    {"two accepted",
     NULL,
     {"a@x.example", "b@x.example"},
     1,
     2,
     0,
     0,
     NULL,
     false,
     {.size_small = false},
     0,
     0},
    {"one refused",
     NULL,
     {"no-a@x.example", "b@x.example"},
     2,
     2,
     1,
     0,
     "5.1.1",
     false,
     {.size_small = false},
     0,
     0},
    {"one refused, step by step",
     NULL,
     {"no-a@x.example", "b@x.example"},
     2,
     2,
     1,
     0,
     "5.1.1",
     false,
     {.no_pipelining = true},
     0,
     0},
    {"all refused",
     NULL,
     {"no-a@x.example", "no-b@x.example"},
     1,
     1,
     2,
     0,
     "5.1.1",
     false,
     {.size_small = false},
     0,
     0},
    {"sender refused",
     "badfrom@isp.example",
     {"a@x.example"},
     1,
     1,
     1,
     0,
     "5.1.0",
     false,
     {.size_small = false},
     0,
     0},
    {"refused at the end",
     "dotno@isp.example",
     {"a@x.example"},
     1,
     1,
     1,
     0,
     "5.7.1",
     false,
     {.size_small = false},
     0,
     0},
    {"deferred until too old",
     NULL,
     {"later-a@x.example", "b@x.example"},
     2,
     2,
     1,
     1,
     "5.4.7",
     false,
     {.size_small = false},
     700,
     0},
    {"deferred at the end",
     "dotlater@isp.example",
     {"a@x.example"},
     1,
     1,
     1,
     1,
     "5.4.7",
     false,
     {.size_small = false},
     500,
     0},
    {"dropped at the end",
     "drop@isp.example",
     {"a@x.example"},
     1,
     1,
     1,
     1,
     "5.4.7",
     false,
     {.size_small = false},
     500,
     0},
    {"dropped at DATA",
     "dropdata@isp.example",
     {"a@x.example"},
     1,
     1,
     1,
     1,
     "5.4.7",
     false,
     {.size_small = false},
     500,
     0},
    {"never answered",
     "stall@isp.example",
     {"a@x.example"},
     1,
     1,
     1,
     1,
     "5.4.7",
     false,
     {.size_small = false},
     900,
     200},
    {"answered octet by octet",
     "dribble@isp.example",
     {"a@x.example"},
     1,
     1,
     1,
     1,
     "5.4.7",
     false,
     {.size_small = false},
     900,
     200},
    {"answered before the end",
     "early@isp.example",
     {"a@x.example"},
     1,
     1,
     1,
     1,
     "5.4.7",
     false,
     {.size_small = false},
     500,
     0},
    {"null sender refused",
     "",
     {"no-a@x.example"},
     1, /* the postmaster's */
     1,
     1,
     0,
     NULL,
     false,
     {.size_small = false},
     0,
     0},
    {"HELO only", NULL, {"a@x.example"}, 1, 1, 0, 0, NULL, false, {.no_ehlo = true}, 0, 0},
    {"8 bit", NULL, {"a@x.example"}, 1, 1, 0, 0, NULL, true, {.size_small = false}, 0, 0},
    {"8 bit not taken", NULL, {"a@x.example"}, 1, 1, 0, 0, NULL, true, {.no_8bit = true}, 0, 0},
};

/* Accounting hears of it a little after the queue is empty. */
static bool all_told(struct kit *kk, const void *arg)
{
	const struct fate *f = arg;

	return kit_idle(kk, NULL) && events(EVENT_DELIVERED) >= f->delivered &&
	       events(EVENT_BOUNCED) >= f->bounced && events(EVENT_DEFERRED) >= f->min_deferred;
}

static void play(const struct fate *f)
{
	char id[QUEUE_ID_LEN + 1];

	kit_init(&k);
	k.sink.o = f->o;
	k.cfg.retry_min_ms = 100;
	k.cfg.retry_max_ms = 100;
	if (f->lifetime_ms)
		k.cfg.lifetime_ms = f->lifetime_ms;
	if (f->timeout_ms)
		k.cfg.timeout_ms = f->timeout_ms;
	kit_open_relay(&k);
	struct kit_msg m = {
	    .from = f->from, .esmtp = {.body = f->body_8bit}, .rcpts = {f->rcpts[0], f->rcpts[1]}};
	assert_int_equal(kit_send(&k, &m, id), QUEUE_OK);
	if (!kit_queued(&k, 0, 10000))
		fail_msg("%s: still queued", f->name);
	(void)kit_until(&k, all_told, f, 20000);
	int taken = sink_count(&k.sink, "");
	if (taken != f->taken || events(EVENT_DELIVERED) != f->delivered ||
	    events(EVENT_BOUNCED) != f->bounced || events(EVENT_DEFERRED) < f->min_deferred)
		fail_msg("%s: taken %d, delivered %d, bounced %d, deferred %d", f->name, taken,
			 events(EVENT_DELIVERED), events(EVENT_BOUNCED), events(EVENT_DEFERRED));
	if (!f->notice)
		return;
	bool told = false;
	for (uint32_t i = 0; i < k.n_events; i++)
		told |= k.events[i].kind == EVENT_DELIVERY &&
			k.events[i].u.delivery.result == EVENT_BOUNCED &&
			strcmp(k.events[i].u.delivery.status, f->notice) == 0 &&
			strcmp(k.events[i].u.delivery.queue_id, id) == 0 &&
			k.events[i].src_port == 4711;
	assert_true(told);
	assert_int_equal(sink_count(&k.sink, f->from ? f->from : "user01@isp.example"), 1);
}

static void each_fate(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(fates) / sizeof(fates[0]); i++) {
		print_message("%s\n", fates[i].name);
		play(&fates[i]);
		kit_remove(&k);
	}
	kit_init(&k);
}

static void large_message_over_a_small_limit(void **state)
{
	(void)state;
	k.sink.o.size_small = true;
	kit_open_relay(&k);
	assert_int_equal(kit_send(&k, &(struct kit_msg){.pad = 100000}, NULL), QUEUE_OK);
	assert_true(kit_queued(&k, 1, 5000));
	/* The notice is larger than what this host takes too: nobody is told of that, and the queue
	 * is empty. */
	assert_true(kit_queued(&k, 0, 5000));
	assert_int_equal(sink_count(&k.sink, ""), 0);
}

/* A body takes longer than the timeout; the reply comes late after it, but in time. */
static void slow_body(void **state)
{
	(void)state;
	k.sink.o.slow_bytes = 100000;
	k.cfg.timeout_ms = 800;
	kit_open_relay(&k);
	assert_int_equal(
	    kit_send(&k, &(struct kit_msg){.from = "slowbody@isp.example", .pad = 6000000}, NULL),
	    QUEUE_OK);
	assert_true(kit_queued(&k, 0, 20000));
	assert_int_equal(sink_count(&k.sink, ""), 1);
	assert_int_equal(events(EVENT_DEFERRED), 0);
}

static bool host_down_known(struct kit *kit, const void *arg)
{
	(void)arg;
	return kit->q->relay.host_down_ms != 0;
}

static void host_comes_up_later(void **state)
{
	(void)state;
	k.sink.port = sink_free_port();
	snprintf(k.smarthost, sizeof(k.smarthost), "127.0.0.1:%d", k.sink.port);
	k.cfg.start_relay = true;
	kit_open(&k);
	for (int i = 0; i < 20; i++)
		assert_int_equal(kit_send(&k, &(struct kit_msg){.hold = false}, NULL), QUEUE_OK);
	assert_true(kit_until(&k, host_down_known, NULL, 5000));
	assert_true(events(EVENT_DEFERRED) <= 4);
	sink_start(&k.sink, k.dir);
	json_decref(kit_ask(&k, "queue.retry", "{'all':true}", NULL));
	assert_true(kit_queued(&k, 0, 5000));
	assert_int_equal(sink_count(&k.sink, ""), 20);
	assert_true(k.q->relay.host_up);
}

static bool active_is(struct kit *kit, const void *n)
{
	return kit_number(kit, "queue.stats", "{}", "active") == *(const int *)n;
}

/* One connection, and a server that does not answer: everything else waits behind it, and is
 * recalled by the hold. */
static void hold_recalls_what_has_not_begun(void **state)
{
	char first[QUEUE_ID_LEN + 1], other[QUEUE_ID_LEN + 1];
	const int two = 2, one = 1, none = 0;

	(void)state;
	k.cfg.connections = 1;
	kit_open_relay(&k);
	kit_send(&k, &(struct kit_msg){.from = "stall@isp.example"}, first);
	kit_send(&k, &(struct kit_msg){.account = "zombie@isp.example"}, other);
	assert_true(kit_until(&k, active_is, &two, 5000));
	queue_hold_account(k.q, "zombie@isp.example", "31 messages in 1m, limit 30");
	assert_true(kit_until(&k, active_is, &one, 5000));
	json_t *r = kit_ask(&k, "queue.list", "{'state':'held'}", NULL);
	assert_int_equal(json_integer_value(json_object_get(r, "total")), 1);
	const json_t *row = json_array_get(json_object_get(r, "messages"), 0);
	assert_string_equal(json_string_value(json_object_get(row, "why")),
			    "31 messages in 1m, limit 30");
	assert_string_equal(json_string_value(json_object_get(row, "id")), other);
	json_decref(r);
	/* The first one is past MAIL FROM, but its final dot has not left: it comes back too. */
	queue_hold_account(k.q, "user01@isp.example", "operator");
	assert_true(kit_until(&k, active_is, &none, 5000));
	assert_int_equal(kit_number(&k, "queue.stats", "{}", "held"), 2);
	queue_release_account(k.q, "zombie@isp.example");
	assert_true(kit_queued(&k, 1, 5000));
	assert_int_equal(sink_count(&k.sink, other), 1);
	assert_int_equal(sink_count(&k.sink, first), 0);
}

static void held_mail_stays_while_other_mail_goes(void **state)
{
	char id[20][QUEUE_ID_LEN + 1];

	(void)state;
	kit_open_relay(&k);
	queue_hold_account(k.q, "zombie@isp.example", "burst");
	for (int i = 0; i < 20; i++)
		kit_put(
		    &k,
		    &(struct kit_msg){.account = i % 2 ? "zombie@isp.example" : "good@isp.example"},
		    id[i]);
	assert_true(kit_queued(&k, 10, 5000));
	kit_close(&k);
	/* Across a restart as well. */
	kit_open_relay(&k);
	kit_send(&k, &(struct kit_msg){.account = "good@isp.example"}, NULL);
	assert_true(kit_queued(&k, 10, 5000));
	for (int i = 0; i < 20; i++)
		assert_int_equal(sink_count(&k.sink, id[i]), i % 2 ? 0 : 1);
	queue_release_account(k.q, "zombie@isp.example");
	assert_true(kit_queued(&k, 0, 5000));
	for (int i = 0; i < 20; i++)
		assert_int_equal(sink_count(&k.sink, id[i]), 1);
}

static bool relay_is_back(struct kit *kit, const void *old)
{
	return kit->q->relay.ready && kit->q->relay.pid != *(const pid_t *)old;
}

static void relay_that_dies_is_started_again(void **state)
{
	const int some = 2;

	(void)state;
	k.cfg.connections = 2;
	kit_open_relay(&k);
	for (int i = 0; i < 3; i++)
		kit_send(&k, &(struct kit_msg){.from = "stall@isp.example"}, NULL);
	assert_true(kit_until(&k, active_is, &some, 5000));
	pid_t old = k.q->relay.pid;
	kill(old, SIGKILL);
	assert_true(kit_until(&k, relay_is_back, &old, 5000));
	json_decref(kit_ask(&k, "queue.delete", "{'all':true}", NULL));
	assert_true(kit_queued(&k, 0, 5000));
	kit_send(&k, &(struct kit_msg){.hold = false}, NULL);
	assert_true(kit_queued(&k, 0, 5000));
	assert_int_equal(sink_count(&k.sink, ""), 1);
}

static void operators_verbs_on_active_mail(void **state)
{
	char id[QUEUE_ID_LEN + 1], args[64];
	const int one = 1;

	(void)state;
	kit_open_relay(&k);
	kit_send(&k, &(struct kit_msg){.from = "stall@isp.example"}, id);
	assert_true(kit_until(&k, active_is, &one, 5000));
	snprintf(args, sizeof(args), "{'ids':['%s']}", id);
	json_decref(kit_ask(&k, "queue.bounce", args, NULL));
	assert_true(kit_queued(&k, 0, 5000));
	/* The notice. */
	assert_int_equal(sink_count(&k.sink, "stall@isp.example"), 1);
	assert_int_equal(events(EVENT_BOUNCED), 1);
}

static void stop_waits_for_the_final_reply(void **state)
{
	char id[QUEUE_ID_LEN + 1];
	const int one = 1;

	(void)state;
	kit_open_relay(&k);
	kit_send(&k, &(struct kit_msg){.from = "slowdot@isp.example"}, id);
	assert_true(kit_until(&k, active_is, &one, 5000));
	while (sink_count(&k.sink, id) == 0)
		event_base_loop(k.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	kit_close(&k);
	k.cfg.start_relay = false;
	kit_open(&k);
	assert_true(kit_queued(&k, 0, 100));
	assert_int_equal(sink_count(&k.sink, id), 1);
}

/* --- kill -9 of msad ------------------------------------------------------------------------ */

struct shared {
	volatile int acked;
	char ids[2000][QUEUE_ID_LEN + 1];
	volatile char ok[2000];
};

struct put {
	struct shared *s;
	int i;
};

static void acked(enum queue_result r, void *arg)
{
	struct put *p = arg;
	if (r == QUEUE_OK) {
		p->s->ok[p->i] = 1;
		p->s->acked++;
	}
}

/* A msad that takes mail as fast as it can until it is killed. */
static void victim(struct shared *s, int from)
{
	static struct put puts[2000];
	char out[] = "user01@isp.example";
	kit_open_relay(&k);
	for (int i = from; i < from + 330; i++) {
		char data[200];
		bool slow = i % 25 == 0;
		struct queue_rcpt rcpt = {.address = "a@example.net"};
		struct queue_msg m = {.account = out,
				      .mail_from = slow ? "slowdot@isp.example" : out,
				      .mail_from_out = slow ? "slowdot@isp.example" : out,
				      .rcpts = &rcpt,
				      .n_rcpts = 1,
				      .received_ms = clock_utc_ms()};
		queue_new_id(k.q, clock_utc_ms(), m.id);
		memcpy(s->ids[i], m.id, sizeof(m.id));
		m.len = (size_t)snprintf(data, sizeof(data), "X-Test-Id: %s\r\n\r\nhi\r\n", m.id);
		m.data = (const uint8_t *)data;
		puts[i] = (struct put){s, i};
		queue_submit(k.q, &m, false, acked, &puts[i]);
		event_base_loop(k.base, EVLOOP_NONBLOCK);
	}
	event_base_dispatch(k.base);
	_exit(0);
}

static void killed_at_any_moment_nothing_is_lost_or_doubled(void **state)
{
	struct shared *s =
	    mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rounds = 6, total = 0;

	(void)state;
	assert_true(s != MAP_FAILED);
	k.cfg.connections = 8;
	sink_start(&k.sink, k.dir);
	for (int round = 0; round < rounds; round++) {
		int target = s->acked + 30 + round * 40;
		pid_t pid = fork();
		if (pid == 0)
			victim(s, round * 330);
		for (int64_t end = clock_mono_ms() + 20000;
		     s->acked < target && clock_mono_ms() < end;)
			usleep(200);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	kit_open_relay(&k);
	assert_true(kit_queued(&k, 0, 30000));
	for (int i = 0; i < 2000; i++) {
		int n = s->ids[i][0] ? sink_count(&k.sink, s->ids[i]) : 0;
		total += n;
		if (s->ok[i] && n != 1)
			fail_msg("message %d (%s) was acknowledged and arrived %d times", i,
				 s->ids[i], n);
		if (n > 1)
			fail_msg("message %d (%s) arrived %d times", i, s->ids[i], n);
	}
	print_message("%d acknowledged, %d arrived\n", s->acked, total);
	assert_true(total >= s->acked && s->acked > 30 * rounds);
	munmap(s, sizeof(*s));
}

/* --- a real server ---------------------------------------------------------------------------- */

static bool file_has(const char *dir, const char *what, size_t len)
{
	char cmd[200];
	(void)len;
	snprintf(cmd, sizeof(cmd), "grep -qrF -- '%s' %s", what, dir);
	return system(cmd) == 0;
}

static void postfix_smtp_sink(void **state)
{
	char where[32], dump[100], id[QUEUE_ID_LEN + 1];
	int port = sink_free_port();

	(void)state;
	if (access("/usr/sbin/smtp-sink", X_OK) != 0) {
		print_message("no /usr/sbin/smtp-sink here: skipped\n");
		skip();
	}
	snprintf(where, sizeof(where), "127.0.0.1:%d", port);
	snprintf(dump, sizeof(dump), "%s/dump", k.dir);
	mkdir(dump, 0777);
	snprintf(dump, sizeof(dump), "%s/dump/%%M.", k.dir);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/usr/sbin/smtp-sink", "smtp-sink", "-u", "root", "-d", dump, where, "64",
		      (char *)NULL);
		_exit(127);
	}
	snprintf(k.smarthost, sizeof(k.smarthost), "%s", where);
	k.cfg.start_relay = true;
	kit_open(&k);
	for (int i = 0; i < 30; i++)
		kit_send(
		    &k,
		    &(struct kit_msg){.pad = i == 0 ? 3000000 : 10,
				      .esmtp = {.body = ESMTP_8BIT},
				      .body = ".one dot\r\n..two\r\n.\r\ngr\xc3\xbc\xc3\x9f e"},
		    id);
	/* It may not listen yet at the first try. */
	for (int i = 0; i < 50 && !kit_queued(&k, 0, 200); i++)
		json_decref(kit_ask(&k, "queue.retry", "{'all':true}", NULL));
	assert_true(kit_queued(&k, 0, 1000));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	snprintf(dump, sizeof(dump), "%s/dump", k.dir);
	assert_true(file_has(dump, id, 0));
	assert_true(file_has(dump, "gr\xc3\xbc\xc3\x9f e", 0));
	assert_true(file_has(dump, "..two", 0));
	assert_false(file_has(dump, "...two", 0));
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "-x") == 0)
		return relay_main();
	log_open("test", getenv("KIT_LOG") ? LOG_DEBUG : LOG_ALERT);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(delivers_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(each_fate, NULL, teardown),
	    cmocka_unit_test_setup_teardown(large_message_over_a_small_limit, setup, teardown),
	    cmocka_unit_test_setup_teardown(slow_body, setup, teardown),
	    cmocka_unit_test_setup_teardown(host_comes_up_later, setup, teardown),
	    cmocka_unit_test_setup_teardown(hold_recalls_what_has_not_begun, setup, teardown),
	    cmocka_unit_test_setup_teardown(held_mail_stays_while_other_mail_goes, setup, teardown),
	    cmocka_unit_test_setup_teardown(relay_that_dies_is_started_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(operators_verbs_on_active_mail, setup, teardown),
	    cmocka_unit_test_setup_teardown(stop_waits_for_the_final_reply, setup, teardown),
	    cmocka_unit_test_setup_teardown(killed_at_any_moment_nothing_is_lost_or_doubled, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(postfix_smtp_sink, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
