/*
 * door - what the tests of acctd's operations share: a real control socket, store and loop; nfqd
 * and msad as feed clients on the same loop; requests as JSON text with ' for ".
 */
#ifndef TESTS_ACCOUNTING_DOOR_H
#define TESTS_ACCOUNTING_DOOR_H

#include "kit.h"

#include "lib/clock.h"
#include "lib/ipc.h"
#include "accounting/acctd.h"
#include "accounting/control.h"
#include "accounting/import.h"
#include "accounting/token.h"

static struct acctd a;
static struct ipc_conn *client;
static bool client_up;
static json_t *reply;
static int replies;
static struct feed *nfqd, *msad;
static bool nfqd_applies;

static void on_reply(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	(void)c, (void)arg;
	assert_int_equal(type, CONTROL_RESPONSE);
	json_decref(reply);
	reply = json_loadb((const char *)data, len, 0, NULL);
	assert_non_null(reply);
	replies++;
}

static void on_up(struct ipc_conn *c, void *arg)
{
	(void)c, (void)arg;
	client_up = true;
}

static void on_down(struct ipc_conn *c, const char *reason, void *arg)
{
	(void)c, (void)reason, (void)arg;
	client_up = false;
}

static void on_idle(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what, (void)arg;
}

static void turn(void)
{
	struct timeval tv = {.tv_usec = 5000};
	event_base_once(a.base, -1, EV_TIMEOUT, on_idle, NULL, &tv);
	event_base_loop(a.base, EVLOOP_ONCE);
}

#define UNTIL(cond)                                                                                \
	do {                                                                                       \
		int64_t end_ms = clock_mono_ms() + 8000;                                           \
		while (!(cond)) {                                                                  \
			if (clock_mono_ms() > end_ms)                                              \
				fail_msg("not in 8 s: %s", #cond);                                 \
			turn();                                                                    \
		}                                                                                  \
	} while (0)

static bool rl_is_away(const struct rl_penalty *p, void *arg)
{
	(void)p, (void)arg;
	return false;
}

static void on_applied(const char *program, uint64_t version, void *arg)
{
	policy_applied(arg, program, version);
}

static void on_expiry(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what;
	policy_plan_expiry(arg);
}

static int set_up(void **state)
{
	static const struct ipc_handlers h = {
	    .frame = on_reply, .connected = on_up, .closed = on_down};
	char *err = NULL, path[128];
	(void)state;
	kit_folder();
	memset(&a, 0, sizeof a);
	a.base = event_base_new();
	a.conf.common.state_dir = a.conf.common.run_dir = kit_dir;
	a.conf.hostname = (char *)(uintptr_t) "smtp.isp.example";
	a.rules = (struct control_rules){
	    .admins = &a.conf.admins, .session_idle_ms = 1800000, .session_lifetime_ms = 43200000};
	a.store = kit_store();
	a.backoff = backoff_new();
	a.incidents = incidents_new(a.store, rl_is_away, NULL);
	a.rl = rl_new(a.base, kit_dir, 200, &(struct rl_handlers){.penalty = NULL}, NULL);
	a.expiry = evtimer_new(a.base, on_expiry, &a);
	a.feed = feed_server_new(a.base, kit_dir, a.store, on_applied, &a, &err);
	a.control = control_server_new(a.base, kit_dir, a.store, &a.rules, &a, &err);
	if (!a.feed || !a.control)
		fail_msg("%s", err);
	snprintf(path, sizeof path, "%s/control.sock", kit_dir);
	client_up = false;
	client = ipc_client(a.base, path, &h, NULL);
	UNTIL(client_up);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	feed_free(nfqd);
	feed_free(msad);
	nfqd = msad = NULL;
	ipc_free(client, false);
	policy_waits_end(&a);
	imports_end(&a);
	feed_server_free(a.feed);
	rl_free(a.rl);
	control_server_free(a.control);
	incidents_free(a.incidents);
	store_close(a.store);
	backoff_free(a.backoff);
	event_free(a.expiry);
	event_base_free(a.base);
	json_decref(reply);
	reply = NULL;
	kit_remove();
	return 0;
}

/* The result of a request (borrowed), or NULL when it failed. args is JSON text with ' for ". */
static const json_t *call_as(const char *session, const char *op, const char *args)
{
	char *text = strdup(args);
	for (char *p = text; *p; p++)
		if (*p == '\'')
			*p = '"';
	json_t *j = json_loads(text, 0, NULL);
	if (!j)
		fail_msg("not JSON: %s", text);
	free(text);
	json_t *msg = json_pack("{s:s, s:o}", "op", op, "args", j);
	if (session)
		json_object_set_new(msg, "session", json_string(session));
	char *out = json_dumps(msg, 0);
	json_decref(msg);
	json_decref(reply);
	reply = NULL;
	assert_true(ipc_send(client, CONTROL_REQUEST, out, strlen(out)));
	free(out);
	UNTIL(reply != NULL);
	return json_is_true(json_object_get(reply, "ok")) ? json_object_get(reply, "result") : NULL;
}

static const json_t *call(const char *op, const char *args)
{
	return call_as(NULL, op, args);
}

static void assert_code(const json_t *result, const char *code, const char *words)
{
	const char *got = json_string_value(json_object_get(reply, "code"));
	const char *text = json_string_value(json_object_get(reply, "error"));
	if (result || !got || strcmp(got, code) != 0 || !text || !strstr(text, words))
		fail_msg("wanted %s (%s), got %s: %s", code, words, got ? got : "success",
			 text ? text : "");
}

#define OK(op, args)		     assert_non_null(call(op, args))
#define FAILS(op, args, code, words) assert_code(call(op, args), code, words)

static int64_t number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	if (!json_is_integer(v))
		fail_msg("no number %s", key);
	return json_integer_value(v);
}

static bool flag(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	if (!json_is_boolean(v))
		fail_msg("no boolean %s", key);
	return json_is_true(v);
}

static int64_t audits(const char *action)
{
	char sql[128];
	snprintf(sql, sizeof sql, "SELECT count(*) FROM audit WHERE action = '%s'", action);
	return kit_sql(sql);
}

/* --- other daemons --- */

static void nfqd_end(uint64_t version, void *arg)
{
	(void)arg;
	if (nfqd_applies)
		assert_true(feed_applied(nfqd, version));
}

static void nfqd_change(uint64_t version, enum policy_op op, const struct policy_entry *e,
			void *arg)
{
	(void)op, (void)e;
	nfqd_end(version, arg);
}

static void daemon_request(struct feed_request *r, const char *op, const json_t *args, void *arg)
{
	(void)arg;
	if (json_object_get(args, "fail"))
		feed_reply(r, false, json_incref(json_object_get(args, "fail")));
	else
		feed_reply(r, true, json_pack("{s:s, s:i}", "op", op, "changed", 1));
}

static void start_nfqd(bool applies)
{
	static const struct feed_handlers h = {
	    .policy_end = nfqd_end, .policy_change = nfqd_change, .request = daemon_request};
	nfqd_applies = applies;
	nfqd = feed_new(a.base, kit_dir, "nfqd", "1", NULL, &h, NULL);
	UNTIL(feed_server_connected(a.feed, "nfqd"));
}

static void start_msad(void)
{
	static const struct feed_handlers h = {.request = daemon_request};
	msad = feed_new(a.base, kit_dir, "msad", "1", NULL, &h, NULL);
	UNTIL(feed_server_connected(a.feed, "msad"));
}

/* --- operators --- */

static char desk[64], viewer[64];

static void log_in(const char *user, char out[64])
{
	char args[128];
	snprintf(args, sizeof args,
		 "{'user':'%s','password':'correct horse','address':'198.51.100.9'}", user);
	const json_t *r = call("session.login", args);
	assert_non_null(r);
	snprintf(out, 64, "%s", json_string_value(json_object_get(r, "session")));
	assert_int_equal(strlen(out), 32);
	assert_int_equal(strlen(json_string_value(json_object_get(r, "csrf"))), 32);
	assert_int_equal(kit_sql("SELECT count(*) FROM session"),
			 kit_sql("SELECT count(*) FROM session WHERE length(hash) = 64"));
}

static void make_operators(void)
{
	OK("operator.add", "{'user':'desk1','password':'correct horse','role':'desk'}");
	OK("operator.add", "{'user':'look1','password':'correct horse','role':'viewer'}");
	log_in("desk1", desk);
	log_in("look1", viewer);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
