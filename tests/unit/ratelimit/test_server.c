/*
 * server and rl - the daemon's server and clients on one loop, over its real socket and files.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "ratelimit/proto.h"
#include "ratelimit/server.h"
#include "tests/unit/ratelimit/common.h"

#define ME "user01@isp.example"

static struct event_base *base;
static char folder[] = "/tmp/sekisho-test-XXXXXX";
static struct ratelimit_conf conf;
static char run_dir[64], state_dir[64];

/* --- a loop that waits for something, and gives up
 * ------------------------------------------------------ */

static bool timed_out;

static void give_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	timed_out = true;
}

static void wait_for(const bool *done)
{
	const struct timeval tv = {.tv_sec = 10};
	struct event *ev = evtimer_new(base, give_up, NULL);
	timed_out = false;
	event_add(ev, &tv);
	while (!*done && !timed_out)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(ev);
	assert_false(timed_out);
}

/* Everything that can happen without waiting. */
static void settle(void)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* --- a client that writes down what it hears
 * --------------------------------------------------------------- */

struct heard {
	struct rl *r;
	bool up, down, synced, answered, admin_done, got_penalty;
	bool penalty_before_answer;
	int answers, penalties;
	struct rl_verdict v;
	struct rl_penalty last;
	bool admin_ok;
	json_t *admin;
};

static void on_penalty(const struct rl_penalty *p, void *arg)
{
	struct heard *h = arg;
	h->last = *p;
	h->penalties++;
	h->got_penalty = true;
	h->penalty_before_answer = !h->answered;
}

static void on_synced(void *arg)
{
	((struct heard *)arg)->synced = true;
}

static void on_state(bool connected, void *arg)
{
	struct heard *h = arg;
	*(connected ? &h->up : &h->down) = true;
}

static void on_answer(const struct rl_verdict *v, void *arg)
{
	struct heard *h = arg;
	h->v = *v;
	h->answers++;
	h->answered = true;
}

static void on_admin(bool ok, const json_t *result, void *arg)
{
	struct heard *h = arg;
	h->admin_ok = ok;
	json_decref(h->admin);
	h->admin = result ? json_deep_copy(result) : NULL;
	h->admin_done = true;
}

static const struct rl_handlers handlers = {
    .penalty = on_penalty, .synced = on_synced, .state = on_state};

static void join(struct heard *h, int deadline_ms)
{
	*h = (struct heard){0};
	h->r = rl_new(base, run_dir, deadline_ms, &handlers, h);
}

static void join_synced(struct heard *h)
{
	join(h, 5000);
	wait_for(&h->synced);
	assert_true(h->up);
	assert_true(rl_connected(h->r));
}

static void leave(struct heard *h)
{
	rl_free(h->r);
	json_decref(h->admin);
	*h = (struct heard){0};
}

static struct rl_pending *start_ask(struct heard *h, const char *account, bool charge,
				    uint32_t rcpt)
{
	uint64_t hash = rcpt;
	struct rl_ask ask = {.account = account,
			     .t_ms = clock_utc_ms(),
			     .charge = charge,
			     .messages = 1,
			     .rcpts = 1,
			     .rcpt_hash = &hash,
			     .n_hash = charge};
	h->answered = false;
	int before = h->answers;
	struct rl_pending *p = rl_ask(h->r, &ask, on_answer, h);
	assert_int_equal(h->answers, before); /* never from inside */
	return p;
}

static enum rl_answer ask(struct heard *h, const char *account, bool charge, uint32_t rcpt)
{
	start_ask(h, account, charge, rcpt);
	wait_for(&h->answered);
	return h->v.answer;
}

static bool admin(struct heard *h, const char *op, const char *account)
{
	json_t *args = account ? json_pack("{s:s}", "account", account) : NULL;
	h->admin_done = false;
	rl_admin(h->r, op, args, on_admin, h);
	json_decref(args);
	assert_false(h->admin_done);
	wait_for(&h->admin_done);
	return h->admin_ok;
}

static struct server *up(void)
{
	char *err = NULL;
	const struct proc_identity id = {.change = false};
	struct server *s = server_new(base, &conf, &id, &err);
	if (!s)
		fail_msg("%s", err);
	return s;
}

static const char *file(const char *name)
{
	static char path[128];
	snprintf(path, sizeof path, "%s/ratelimit/%s", state_dir, name);
	return path;
}

static bool exists(const char *name)
{
	return access(file(name), F_OK) == 0;
}

static int no_files(void **state)
{
	(void)state;
	static const char *const names[] = {"snapshot",		"standing",
					    "detector",		"detector.damaged",
					    "snapshot.damaged", "standing.damaged"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		(void)unlink(file(names[i]));
	conf.limiter = default_conf();
	conf.snapshot_interval_ms = HOUR;
	detector_conf_default(&conf.detector.detector);
	conf.detector.accounts = 1000;
	conf.detector.snapshot_interval_ms = HOUR;
	return 0;
}

/* --- cases
 * ------------------------------------------------------------------------------------------------------
 */

static void asks_are_answered(void **state)
{
	(void)state;
	struct heard h;
	struct stat st;
	char path[128];
	struct server *s = up();
	snprintf(path, sizeof path, "%s/ratelimitd.sock", run_dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	join_synced(&h);
	assert_int_equal(h.penalties, 0);
	for (uint32_t i = 0; i < 30; i++)
		assert_int_equal(ask(&h, ME, true, 1), RL_OK);
	assert_int_equal(ask(&h, ME, false, 1), RL_LIMIT);
	assert_string_equal(h.v.why, "31 messages in 1m, limit 30");
	assert_true(h.v.retry_ms > 50000 && h.v.retry_ms <= 61000);
	assert_int_equal(ask(&h, "other@isp.example", false, 1), RL_OK);
	assert_int_equal(h.answers, 32);
	leave(&h);
	server_free(s);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_hold_is_durable_then_pushed_then_answered(void **state)
{
	(void)state;
	struct heard a, b;
	struct server *s = up();
	join_synced(&a);
	join_synced(&b);
	for (uint32_t i = 0; i < 29; i++)
		assert_int_equal(ask(&a, ME, true, i), RL_OK);
	assert_false(exists("standing"));
	assert_int_equal(ask(&a, ME, true, 29), RL_HELD);
	assert_true(exists("standing"));
	assert_true(a.penalty_before_answer);
	assert_int_equal(a.last.stage, RL_HOLD);
	assert_string_equal(a.last.account, ME);
	assert_string_equal(a.last.rule, "burst");
	assert_string_equal(a.last.actor, "detector");
	assert_string_equal(a.v.why, a.last.why);
	wait_for(&b.got_penalty);
	assert_memory_equal(&a.last, &b.last, sizeof a.last);
	assert_int_equal(a.penalties, 1);
	assert_int_equal(ask(&b, ME, false, 1), RL_HELD);

	/* Killed here: a new daemon holds the account still. Nobody saved the counters. */
	leave(&b);
	server_free(s);
	wait_for(&a.down);
	assert_false(exists("snapshot"));
	a.synced = a.up = false;
	s = up();
	wait_for(&a.synced);
	assert_int_equal(a.penalties, 2);
	assert_string_equal(a.last.account, ME);
	assert_int_equal(ask(&a, ME, true, 1), RL_HELD);
	leave(&a);
	server_free(s);
}

static void operators_hold_and_release(void **state)
{
	(void)state;
	struct heard a, b;
	struct server *s = up();
	join_synced(&a);
	join_synced(&b);
	struct rl_penalty p = penalty_of(ME, RL_SUSPEND, T0);
	assert_true(rl_set(a.r, &p));
	wait_for(&b.got_penalty);
	assert_memory_equal(&b.last, &p, sizeof p);
	assert_int_equal(ask(&b, ME, false, 1), RL_REFUSE);
	wait_for(&a.got_penalty);
	b.got_penalty = a.got_penalty = false;
	assert_true(rl_set(a.r, &p)); /* the same again: only the sender is told */
	wait_for(&a.got_penalty);
	settle();
	assert_false(b.got_penalty);
	p.stage = RL_NORMAL;
	assert_true(rl_set(a.r, &p));
	wait_for(&b.got_penalty);
	assert_int_equal(b.last.stage, RL_NORMAL);
	assert_int_equal(ask(&b, ME, true, 1), RL_OK);
	leave(&a);
	leave(&b);
	server_free(s);
}

static void counters_survive_a_stop(void **state)
{
	(void)state;
	struct heard h;
	struct server *s = up();
	join_synced(&h);
	for (uint32_t i = 0; i < 10; i++)
		ask(&h, ME, true, i);
	leave(&h);
	assert_true(server_save(s));
	server_free(s);
	s = up();
	join_synced(&h);
	assert_true(admin(&h, "limit.show", ME));
	const json_t *row = json_array_get(json_object_get(h.admin, "limits"), 0);
	assert_int_equal(json_integer_value(json_object_get(row, "used")), 10);
	leave(&h);
	server_free(s);
}

static void counters_go_to_disk_by_themselves(void **state)
{
	(void)state;
	struct heard h;
	conf.snapshot_interval_ms = 20;
	struct server *s = up();
	join_synced(&h);
	ask(&h, ME, true, 1);
	for (int i = 0; i < 1000 && !exists("snapshot"); i++)
		event_base_loop(base, EVLOOP_ONCE);
	assert_true(exists("snapshot"));
	leave(&h);
	server_free(s);
}

static void a_damaged_file_is_set_aside(void **state)
{
	(void)state;
	static const char *const names[] = {"snapshot", "standing"};
	struct heard h;
	for (size_t i = 0; i < 2; i++) {
		char aside[32];
		FILE *f = fopen(file(names[i]), "w");
		fputs("SKRL, but not really a snapshot of anything", f);
		fclose(f);
		close(open(file("snapshot.AbCdEf"), O_CREAT | O_WRONLY,
			   0600)); /* of a write that was cut off */
		struct server *s = up();
		snprintf(aside, sizeof aside, "%s.damaged", names[i]);
		assert_true(exists(aside));
		assert_false(exists(names[i]));
		assert_false(exists("snapshot.AbCdEf"));
		join_synced(&h);
		assert_int_equal(ask(&h, ME, true, 1), RL_OK);
		leave(&h);
		server_free(s);
	}
}

static void requests_are_answered(void **state)
{
	(void)state;
	struct heard h;
	struct server *s = up();
	join_synced(&h);
	assert_true(admin(&h, "stats", NULL));
	assert_int_equal(json_integer_value(json_object_get(h.admin, "accounts")), 0);
	assert_false(admin(&h, "limit.show", ""));
	assert_true(json_is_string(h.admin));
	assert_true(admin(&h, "limit.reset", ME));
	leave(&h);
	server_free(s);
}

static void an_override_is_durable(void **state)
{
	(void)state;
	struct heard h;
	struct server *s = up();
	join_synced(&h);
	json_t *args = json_pack("{s:s, s:s, s:s, s:i}", "account", ME, "unit", "messages",
				 "window", "1m", "limit", 1);
	rl_admin(h.r, "limit.set", args, on_admin, &h);
	json_decref(args);
	wait_for(&h.admin_done);
	assert_true(h.admin_ok);
	leave(&h);
	server_free(s);
	s = up();
	join_synced(&h);
	assert_int_equal(ask(&h, ME, true, 1), RL_OK);
	assert_int_equal(ask(&h, ME, true, 1), RL_LIMIT);
	leave(&h);
	server_free(s);
}

static void a_reload_changes_limits(void **state)
{
	(void)state;
	struct heard h;
	struct server *s = up();
	join_synced(&h);
	ask(&h, ME, true, 1);
	conf.limiter = conf_of(1, 300, 1000, 100, 250, 1000);
	server_reload(s, &conf);
	assert_int_equal(ask(&h, ME, true, 1), RL_LIMIT);
	conf.limiter.mode = MODE_OBSERVE;
	server_reload(s, &conf);
	assert_int_equal(ask(&h, ME, true, 1), RL_OK);
	leave(&h);
	server_free(s);
}

static void a_refund_reaches_the_server(void **state)
{
	(void)state;
	struct heard h;
	conf.limiter = conf_of(1, 300, 1000, 100, 250, 1000);
	struct server *s = up();
	join_synced(&h);
	struct rl_ask back = {
	    .account = ME, .t_ms = clock_utc_ms(), .charge = true, .messages = 1, .rcpts = 1};
	assert_int_equal(ask(&h, ME, true, 1), RL_OK);
	assert_int_equal(ask(&h, ME, true, 1), RL_LIMIT);
	rl_refund(h.r, &back);
	assert_int_equal(ask(&h, ME, true, 1), RL_OK);
	leave(&h);
	server_free(s);
}

/* --- a server that is away, silent, or wrong
 * ---------------------------------------------------------------------- */

static void nobody_there(void **state)
{
	(void)state;
	struct heard h;
	join(&h, 5000);
	assert_int_equal(ask(&h, ME, true, 1), RL_DOWN); /* at once, not after 5 s */
	assert_false(admin(&h, "stats", NULL));
	assert_null(h.admin);
	struct rl_penalty p = penalty_of(ME, RL_HOLD, T0);
	assert_false(rl_set(h.r, &p));
	assert_false(rl_connected(h.r));
	assert_false(h.up);
	struct server *s = up(); /* and then it comes */
	wait_for(&h.synced);
	assert_int_equal(ask(&h, ME, true, 1), RL_OK);
	leave(&h);
	server_free(s);
}

static struct ipc_conn *silent_conn;

static void silent_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len,
			 void *arg)
{
	(void)c, (void)type, (void)data, (void)len, (void)arg;
}

static const struct ipc_handlers silent = {.frame = silent_frame};

static bool silent_accept(struct ipc_conn *c, const struct ipc_peer *peer, void *arg)
{
	(void)peer, (void)arg;
	silent_conn = c;
	ipc_accept(c, &silent, NULL);
	return true;
}

static struct ipc_listener *silent_up(void)
{
	char path[128], *err;
	snprintf(path, sizeof path, "%s/ratelimitd.sock", run_dir);
	struct ipc_listener *l = ipc_listen(base, path, 0600, silent_accept, NULL, &err);
	assert_non_null(l);
	return l;
}

static void no_answer_in_time(void **state)
{
	(void)state;
	struct heard h;
	struct ipc_listener *l = silent_up();
	join(&h, 30);
	wait_for(&h.up);
	int64_t before = clock_mono_ms();
	assert_int_equal(ask(&h, ME, true, 1), RL_DOWN);
	assert_true(clock_mono_ms() - before >= 29);
	start_ask(&h, ME, true, 1);
	rl_cancel(start_ask(&h, ME, true, 1));
	start_ask(&h, ME, true, 1);
	h.answers = 0;
	while (h.answers < 2)
		event_base_loop(base, EVLOOP_ONCE);
	settle();
	assert_int_equal(h.answers, 2);
	/* An answer that comes after all is nobody's. */
	uint8_t buf[PROTO_SMALL_MAX];
	struct wire_out w;
	for (uint32_t id = 0; id < 5; id++) {
		wire_out_init(&w, buf, sizeof buf);
		proto_put_answer(&w, id, &(struct rl_verdict){.answer = RL_OK});
		assert_true(ipc_send(silent_conn, PROTO_ANSWER, buf, w.len));
	}
	settle();
	assert_int_equal(h.answers, 2);
	assert_true(rl_connected(h.r));
	leave(&h);
	settle();
	ipc_listener_free(l);
}

static void a_break_fails_what_is_pending_once(void **state)
{
	(void)state;
	struct heard h;
	struct ipc_listener *l = silent_up();
	join(&h, 5000);
	wait_for(&h.up);
	for (int i = 0; i < 3; i++)
		start_ask(&h, ME, true, 1);
	rl_cancel(start_ask(&h, ME, true, 1));
	rl_admin(h.r, "stats", NULL, on_admin, &h);
	settle();
	ipc_free(silent_conn, false);
	wait_for(&h.down);
	wait_for(&h.admin_done);
	settle();
	assert_int_equal(h.answers, 3);
	assert_int_equal(h.v.answer, RL_DOWN);
	h.up = false;
	wait_for(&h.up); /* it comes back by itself */
	settle();
	assert_int_equal(h.answers, 3);
	leave(&h);
	settle();
	ipc_listener_free(l);
}

static void a_server_that_talks_nonsense_is_left(void **state)
{
	(void)state;
	struct heard h;
	struct ipc_listener *l = silent_up();
	join(&h, 5000);
	wait_for(&h.up);
	start_ask(&h, ME, true, 1);
	settle();
	ipc_send(silent_conn, PROTO_PENALTY, "xx", 2);
	wait_for(&h.down);
	wait_for(&h.answered);
	assert_int_equal(h.v.answer, RL_DOWN);
	assert_int_equal(ask(&h, ME, true, 1), RL_DOWN);
	h.up = false;
	wait_for(&h.up);
	leave(&h);
	settle();
	ipc_listener_free(l);
}

static void free_inside(const struct rl_verdict *v, void *arg)
{
	struct heard *h = arg;
	on_answer(v, arg);
	rl_free(h->r);
}

static void a_client_may_go_inside_its_callback(void **state)
{
	(void)state;
	struct heard h;
	uint64_t hash = 1;
	struct rl_ask a = {.account = ME,
			   .t_ms = 0,
			   .charge = true,
			   .messages = 1,
			   .rcpts = 1,
			   .rcpt_hash = &hash,
			   .n_hash = 1};
	struct server *s = up();
	join_synced(&h);
	rl_ask(h.r, &a, free_inside, &h);
	rl_ask(h.r, &a, free_inside, &h); /* dropped without a word */
	wait_for(&h.answered);
	settle();
	assert_int_equal(h.answers, 1);
	server_free(s);
	join(&h, 1000); /* and when it fails */
	rl_ask(h.r, &a, free_inside, &h);
	rl_ask(h.r, &a, free_inside, &h);
	wait_for(&h.answered);
	settle();
	assert_int_equal(h.answers, 1);
}

/* --- a peer that is wrong
 * ------------------------------------------------------------------------------------------- */

static void a_bad_frame_ends_only_its_connection(void **state)
{
	(void)state;
	static const struct {
		uint16_t type;
		const char *data;
		size_t len;
	} bad[] = {
	    {PROTO_ASK, "", 0},
	    {PROTO_ASK, "\0\0\0\1\1\0\0\0\1a", 10},
	    {PROTO_SUBSCRIBE, "x", 1},
	    {PROTO_SET, "\0\0\0\1a\2", 6},
	    {PROTO_ADMIN, "\0\0\0\1\377\377\377\377", 8},
	    {PROTO_ANSWER, "", 0},
	    {0, "", 0},
	    {999, "abc", 3},
	};
	struct heard h;
	struct server *s = up();
	join_synced(&h);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int fd[2];
		const char *err;
		uint8_t byte;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
		server_adopt_fd(s, fd[1]);
		assert_true(ipc_write(fd[0], bad[i].type, bad[i].data, bad[i].len, 1000, &err));
		settle();
		ssize_t n = recv(fd[0], &byte, 1, MSG_DONTWAIT);
		assert_true(n <= 0);
		assert_true(n == 0 || errno == ECONNRESET); /* ended, not just silent */
		close(fd[0]);
		assert_int_equal(ask(&h, ME, false, 1), RL_OK);
	}
	leave(&h);
	server_free(s);
}

static void two_daemons_do_not_share_a_socket(void **state)
{
	(void)state;
	char *err = NULL;
	const struct proc_identity id = {.change = false};
	struct server *s = up();
	assert_null(server_new(base, &conf, &id, &err));
	assert_non_null(err);
	talloc_free(err);
	server_free(s);
}

/* --- */

static void no_log(const char *line, size_t len, void *arg)
{
	(void)line, (void)len, (void)arg;
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(run_dir, sizeof run_dir, "%s/run", folder);
	snprintf(state_dir, sizeof state_dir, "%s/state", folder);
	conf.common.run_dir = run_dir;
	conf.common.state_dir = state_dir;
	log_open("test", LOG_DEBUG);
	if (!getenv("TEST_LOG"))
		log_sink(no_log, NULL);
	base = event_base_new();
	return mkdir(run_dir, 0700) || mkdir(state_dir, 0700) || !base;
}

static int teardown(void **state)
{
	no_files(state);
	(void)rmdir(file(""));
	(void)rmdir(run_dir);
	(void)rmdir(state_dir);
	event_base_free(base);
	return rmdir(folder);
}

#define CASE(f) cmocka_unit_test_setup(f, no_files)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(asks_are_answered),
	    CASE(a_hold_is_durable_then_pushed_then_answered),
	    CASE(operators_hold_and_release),
	    CASE(counters_survive_a_stop),
	    CASE(counters_go_to_disk_by_themselves),
	    CASE(a_damaged_file_is_set_aside),
	    CASE(requests_are_answered),
	    CASE(an_override_is_durable),
	    CASE(a_reload_changes_limits),
	    CASE(a_refund_reaches_the_server),
	    CASE(nobody_there),
	    CASE(no_answer_in_time),
	    CASE(a_break_fails_what_is_pending_once),
	    CASE(a_server_that_talks_nonsense_is_left),
	    CASE(a_client_may_go_inside_its_callback),
	    CASE(a_bad_frame_ends_only_its_connection),
	    CASE(two_daemons_do_not_share_a_socket),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
