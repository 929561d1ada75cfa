/*
 * ops: every operation of acctd's own on a real socket and store: done, refused, invalid; sessions
 * and roles; what is asked of other daemons. nfqd and msad are feed clients on the same loop.
 */
#include "kit.h"

#include <grp.h>
#include <sys/wait.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "accounting/acctd.h"
#include "accounting/control.h"
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

/* --- the envelope --- */

static void test_envelope(void **state)
{
	static const char *const bad[] = {"",
					  "[]",
					  "nonsense",
					  "{}",
					  "{\"op\":1}",
					  "{\"op\":\"status\",\"args\":[]}",
					  "{\"op\":\"status\",\"more\":1}",
					  "{\"op\":\"status\",\"op\":\"status\"}",
					  "{\"op\":\"nothing\"}",
					  "\xff\xfe"};
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		json_decref(reply);
		reply = NULL;
		assert_true(ipc_send(client, CONTROL_REQUEST, bad[i], strlen(bad[i])));
		UNTIL(reply != NULL);
		assert_string_equal(json_string_value(json_object_get(reply, "code")), "invalid");
	}
	FAILS("subscriber.add", "{'ref':'C-1','more':1}", "invalid", "has no argument \"more\"");
	FAILS("subscriber.add", "{}", "invalid", "needs \"ref\"");
	FAILS("subscriber.add", "{'ref':null}", "invalid", "needs \"ref\"");
	FAILS("subscriber.add", "{'ref':7}", "invalid", "\"ref\" must be text");
	FAILS("subscriber.add", "{'ref':'a\\u0007b'}", "invalid", "control characters");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','expires_ms':-1}", "invalid",
	      "UTC milliseconds");
	assert_int_equal(kit_sql("SELECT count(*) FROM audit"), 0);
}

static void test_many_at_once(void **state)
{
	static const char text[] = "{\"op\":\"operator.list\"}";
	(void)state;
	replies = 0;
	for (int i = 0; i < 10; i++)
		assert_true(ipc_send(client, CONTROL_REQUEST, text, sizeof text - 1));
	UNTIL(replies == 10);
	assert_true(json_is_true(json_object_get(reply, "ok")));
}

static void test_not_a_request(void **state)
{
	(void)state;
	assert_true(ipc_send(client, CONTROL_RESPONSE, "{}", 2));
	UNTIL(!client_up);
	UNTIL(client_up); /* the server goes on */
	OK("operator.list", "{}");
}

/* --- who --- */

static void test_subscribers(void **state)
{
	(void)state;
	int64_t id = number(
	    call("subscriber.add", "{'ref':'C-1','name':'Taro','contact':'t@x.example'}"), "id");
	assert_int_equal(number(call("subscriber.add", "{'ref':'C-1','name':'Jiro'}"), "id"), id);
	assert_int_equal(
	    kit_sql(
		"SELECT count(*) FROM subscriber WHERE name = 'Jiro' AND contact = 't@x.example'"),
	    1);
	FAILS("subscriber.add", "{'ref':''}", "invalid", "1 to 128");
	OK("account.add", "{'login':'Alice@ISP.example','subscriber':'C-1'}");
	assert_int_equal(kit_sql("SELECT count(*) FROM account WHERE login = 'Alice@isp.example'"),
			 1);
	FAILS("account.add", "{'login':'alice','subscriber':'C-1'}", "invalid", "user@realm");
	FAILS("account.add", "{'login':'a@b.example','subscriber':'C-9'}", "notfound",
	      "no subscriber C-9");
	assert_int_equal(kit_sql("SELECT count(*) FROM account"), 1); /* rolled back */
	assert_int_equal(audits("subscriber.add"), 2);
	assert_int_equal(audits("account.add"), 1);
}

static void test_leases(void **state)
{
	(void)state;
	OK("subscriber.add", "{'ref':'C-1'}");
	OK("subscriber.add", "{'ref':'C-2'}");
	assert_int_equal(
	    number(call("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','from_ms':1000}"),
		   "ended"),
	    0);
	assert_int_equal(
	    number(call("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-2','from_ms':2000}"),
		   "ended"),
	    1);
	FAILS("lease.add", "{'prefix':'192.0.2.1/24','subscriber':'C-1'}", "invalid",
	      "192.0.2.0/24");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','from_ms':5,'to_ms':5}",
	      "invalid", "after from_ms");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':5}", "invalid",
	      "together");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':9,'port_hi':8}",
	      "invalid", "together");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':0,'port_hi':65536}",
	      "invalid", "together");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':-5,'port_hi':-5}",
	      "invalid", "together");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-9'}", "notfound", "C-9");
	OK("exempt.add", "{'prefix':'192.0.2.1'}"); /* C-2's, by the lease */
	const json_t *r =
	    call("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','from_ms':3000}");
	assert_int_equal(number(r, "revoked"), 1);
	assert_true(json_is_false(json_object_get(r, "in_force"))); /* no nfqd here to say so */
	assert_int_equal(number(call("lease.end", "{'prefix':'192.0.2.1'}"), "ended"), 1);
	FAILS("lease.end", "{'prefix':'192.0.2.1'}", "notfound", "nobody has an open lease");
	/* A line that ends keeps its exemption for when it comes back, unless it is somebody
	 * else's by that. */
	OK("lease.add", "{'prefix':'192.0.2.0/24','subscriber':'C-2'}");
	OK("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1'}");
	OK("exempt.add", "{'prefix':'192.0.2.1'}");
	assert_int_equal(number(call("lease.end", "{'prefix':'192.0.2.1'}"), "revoked"), 1);
	OK("exempt.add", "{'prefix':'192.0.2.0/29'}");
	r = call("lease.end", "{'prefix':'192.0.2.0/24'}");
	assert_int_equal(number(r, "revoked"), 0);
	assert_int_equal(number(r, "suspended"), 1); /* it waits for the line to come back */
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'suspended'"), 1);
	r = call("lease.add", "{'prefix':'192.0.2.0/24','subscriber':'C-2'}");
	assert_int_equal(number(r, "revoked"), 0);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'active'"), 1);
}

static void test_lease_import(void **state)
{
	(void)state;
	OK("subscriber.add", "{'ref':'C-1'}");
	FAILS("lease.import", "{'rows':[]}", "invalid", "1 to 1000");
	FAILS("lease.import",
	      "{'rows':[{'prefix':'192.0.2.1','subscriber':'C-1'},"
	      "{'prefix':'192.0.2.2/24','subscriber':'C-1'}]}",
	      "invalid", "row 2: 192.0.2.2/24");
	FAILS("lease.import",
	      "{'rows':[{'prefix':'192.0.2.1','subscriber':'C-1'},"
	      "{'prefix':'192.0.2.2','subscriber':'C-9'}]}",
	      "notfound", "row 2: there is no subscriber C-9");
	assert_int_equal(kit_sql("SELECT count(*) FROM lease"), 0);
	const json_t *r = call("lease.import",
			       "{'rows':[{'prefix':'192.0.2.1','subscriber':'C-1'}],'more':true}");
	char id[64], args[512];
	snprintf(id, sizeof id, "%s", json_string_value(json_object_get(r, "import")));
	assert_int_equal(kit_sql("SELECT count(*) FROM lease"), 0);
	snprintf(args, sizeof args,
		 "{'import':'%s','create':true,'rows':[{'prefix':'192.0.2.2','subscriber':'C-2'},"
		 "{'prefix':'192.0.2.3','port_lo':1024,'port_hi':2047,'subscriber':'C-2'}]}",
		 id);
	r = call("lease.import", args);
	assert_int_equal(number(r, "added"), 3);
	assert_int_equal(number(r, "subscribers"), 1);
	FAILS("lease.import", args, "notfound", "no such import");
}

/* What a source says is all there is of it; others' leases stay. */
static void test_lease_resync(void **state)
{
	(void)state;
	OK("subscriber.add", "{'ref':'C-1'}");
	OK("subscriber.add", "{'ref':'C-2'}");
	OK("lease.add", "{'prefix':'192.0.2.9','subscriber':'C-2'}"); /* somebody typed it */
	FAILS("lease.import",
	      "{'resync':'ipam','rows':[{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':1024,"
	      "'port_hi':2047},{'prefix':'192.0.2.1','subscriber':'C-2','port_lo':2047,"
	      "'port_hi':3000}]}",
	      "invalid", "row 2: 192.0.2.1 and its ports are in row 1");
	const json_t *r =
	    call("lease.import", "{'resync':'ipam','rows':[{'prefix':'192.0.2.1','subscriber':"
				 "'C-1'},{'prefix':'192.0.2.2','subscriber':'C-2'}]}");
	assert_int_equal(number(r, "added"), 2);
	OK("exempt.add", "{'prefix':'192.0.2.1'}");
#define NEXT(dry)                                                                                  \
	"{'resync':'ipam','dry_run':" dry ",'rows':[{'prefix':'192.0.2.1','subscriber':'C-2'},"    \
	"{'prefix':'192.0.2.3','subscriber':'C-2'}]}"
	for (int i = 0; i < 2; i++) { /* what it would do, and what it does */
		r = call("lease.import", i ? NEXT("false") : NEXT("true"));
		assert_int_equal(number(r, "added"), 2);
		assert_int_equal(number(r, "ended"), 2);
		assert_int_equal(number(r, "revoked"), 1);
		assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'active'"),
				 1 - i);
	}
	assert_int_equal(kit_sql("SELECT count(*) FROM lease WHERE to_ms IS NULL"), 3);
	r = call("lease.import", NEXT("false"));
	assert_int_equal(number(r, "same"), 2);
	assert_int_equal(number(r, "ended"), 0);
}

/* --- exemptions --- */

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

static void test_exemptions(void **state)
{
	(void)state;
	start_nfqd(true);
	const json_t *r =
	    call("exempt.add", "{'prefix':'192.0.2.1','contract':'K-7','reason':'mail server'}");
	assert_non_null(r);
	assert_true(flag(r, "in_force"));
	assert_string_equal(json_string_value(json_object_get(r, "prefix")), "192.0.2.1");
	int64_t version = number(r, "version");
	FAILS("exempt.add", "{'prefix':'192.0.2.1'}", "exists",
	      "id 1, contract K-7, never expires");
	assert_int_equal(kit_sql("SELECT value FROM setting WHERE key = 'policy_version'"),
			 version); /* a refusal is no version */
	FAILS("exempt.add", "{'prefix':'192.0.2.1/24'}", "invalid", "192.0.2.0/24");
	FAILS("exempt.add", "{'prefix':'0.0.0.0/0'}", "invalid", "too wide");
	FAILS("exempt.add", "{'prefix':'2001:db8::/31'}", "invalid", "");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','class':'some'}", "invalid",
	      "full, throttled, listed");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','expires_ms':1}", "invalid", "in the past");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','subscriber':'C-9'}", "notfound", "C-9");
	r = call("exempt.remove", "{'prefix':'192.0.2.1','reason':'contract ended'}");
	assert_true(flag(r, "in_force"));
	assert_int_equal(number(r, "version"), version + 1);
	FAILS("exempt.remove", "{'prefix':'192.0.2.1'}", "notfound", "is not exempt");
	assert_int_equal(kit_sql("SELECT count(*) FROM audit WHERE action = 'exempt.remove' AND "
				 "reason = 'contract ended' "
				 "AND object = '192.0.2.1' AND actor LIKE 'unix:%'"),
			 1);
}

static void test_exemption_without_nfqd(void **state)
{
	(void)state;
	int64_t t = clock_mono_ms();
	assert_false(flag(call("exempt.add", "{'prefix':'192.0.2.1'}"), "in_force"));
	assert_true(clock_mono_ms() - t < 900); /* nobody to wait for */
	start_nfqd(false);			/* there, but it does not say so */
	t = clock_mono_ms();
	assert_false(flag(call("exempt.add", "{'prefix':'192.0.2.2'}"), "in_force"));
	assert_true(clock_mono_ms() - t >= 900);
}

static void test_exemption_times(void **state)
{
	char args[128];
	(void)state;
	start_nfqd(true);
	int64_t now = clock_utc_ms();
	snprintf(args, sizeof args, "{'prefix':'192.0.2.1','starts_ms':%lld}",
		 (long long)now + 3600000);
	assert_false(flag(call("exempt.add", args), "in_force")); /* its time is to come */
	snprintf(args, sizeof args, "{'prefix':'192.0.2.2','starts_ms':%lld,'expires_ms':%lld}",
		 (long long)now + 3600000, (long long)now + 3500000);
	FAILS("exempt.add", args, "invalid", "after it starts");
	snprintf(args, sizeof args, "{'prefix':'192.0.2.3','expires_ms':%lld}",
		 (long long)clock_utc_ms() + 300);
	OK("exempt.add", args);
	UNTIL(kit_sql("SELECT count(*) FROM exemption WHERE state = 'expired'") ==
	      1); /* by its timer */
	assert_int_equal(audits("exempt.expire"), 1);
	OK("exempt.add", "{'prefix':'192.0.2.3'}"); /* free again */
}

static void test_import(void **state)
{
	(void)state;
	OK("exempt.add", "{'prefix':'192.0.2.1','contract':'old'}");
	FAILS(
	    "exempt.import",
	    "{'rows':[{'prefix':'192.0.2.8/29'},{'prefix':'192.0.2.1'},{'prefix':'192.0.2.9/29'}]}",
	    "invalid", "row 3: prefix: 192.0.2.9/29");
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'},{'prefix':'192.0.2.1','x':1}]}",
	      "invalid", "row 2: a row has no");
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'},7]}", "invalid", "row 2");
	FAILS("exempt.import", "{'rows':[]}", "invalid", "1 to 1000");
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption"), 1); /* all or nothing */
	const json_t *r =
	    call("exempt.import",
		 "{'rows':[{'prefix':'192.0.2.8/29'},{'prefix':'192.0.2.1','contract':'new'}]}");
	assert_int_equal(number(r, "added"), 1);
	assert_int_equal(number(r, "updated"), 1);
	assert_int_equal(
	    kit_sql("SELECT count(*) FROM exemption WHERE contract = 'new' AND state = 'active'"),
	    1);
}

/* Rows in several requests are one import: checked as they come, applied at the end, or not at all.
 */
static void test_import_in_pieces(void **state)
{
	char args[256], id[64];
	(void)state;
	OK("exempt.add", "{'prefix':'192.0.2.1','contract':'old'}");
	const json_t *r = call("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'}],'more':true}");
	assert_int_equal(number(r, "rows"), 1);
	snprintf(id, sizeof id, "%s", json_string_value(json_object_get(r, "import")));
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption"), 1);
	/* Nobody else's, and no other. */
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.9'}],'import':'0123'}", "notfound",
	      "begin again");
	snprintf(args, sizeof args,
		 "{'import':'%s','rows':[{'prefix':'192.0.2.1','contract':'new'}],'dry_run':true,"
		 "'replace_missing':true}",
		 id);
	r = call("exempt.import", args);
	assert_int_equal(number(r, "added"), 1);
	assert_int_equal(number(r, "updated"), 1);
	assert_int_equal(number(r, "removed"), 0);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption"), 1); /* it was a dry run */
	FAILS("exempt.import", args, "notfound", "begin again");	/* and is over */
	/* Twice the same prefix, in two requests. */
	r = call("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'}],'more':true}");
	snprintf(args, sizeof args, "{'import':'%s','rows':[{'prefix':'192.0.2.8/29'}]}",
		 json_string_value(json_object_get(r, "import")));
	FAILS("exempt.import", args, "invalid", "row 2: prefix: 192.0.2.8/29 is in row 1 already");
	r = call("exempt.import",
		 "{'rows':[{'prefix':'192.0.2.2','state':'suspended'}],'replace_missing':true}");
	assert_int_equal(number(r, "removed"), 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'removed'"), 1);
	r = call("exempt.import", "{'rows':[{'prefix':'192.0.2.2'}]}");
	assert_int_equal(number(r, "unchanged"), 1); /* suspended it stays */
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.2','state':'requested'}]}", "invalid",
	      "row 1: state: 192.0.2.2 cannot become requested");
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.2'}],'dry_run':'yes'}", "invalid",
	      "\"dry_run\" must be true or false");
	/* One that is not gone on with does not stay for ever. */
	(void)call("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'}],'more':true}");
	imports_end(&a);
}

static void test_life(void **state)
{
	(void)state;
	OK("exempt.request", "{'prefix':'192.0.2.1','helo':'mail.c.example','static':'yes'}");
	FAILS("exempt.request", "{'prefix':'192.0.2.1'}", "exists",
	      "192.0.2.1 is requested already");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','static':'maybe'}", "invalid", "static: maybe");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','helo':'a b'}", "invalid", "helo: a b");
	FAILS("exempt.suspend", "{'prefix':'192.0.2.1'}", "invalid", "verify and activate it");
	FAILS("exempt.verify", "{'prefix':'192.0.2.1'}", "unavailable", "nothing is looked up");
	a.conf.evidence_required = true;
	FAILS("exempt.activate", "{'prefix':'192.0.2.1'}", "invalid", "verify it first");
	FAILS("exempt.add", "{'prefix':'192.0.2.3'}", "invalid", "exempt request");
	a.conf.evidence_required = false;
	OK("exempt.activate", "{'prefix':'192.0.2.1','reason':'known'}");
	OK("exempt.suspend", "{'prefix':'192.0.2.1','reason':'complaints'}");
	FAILS("exempt.suspend", "{'prefix':'192.0.2.1'}", "exists", "suspended already");
	FAILS("exempt.activate", "{'prefix':'192.0.2.1'}", "invalid", "resume or remove it");
	FAILS("exempt.suspend", "{'prefix':'192.0.2.1','until_ms':1}", "invalid",
	      "that time is over");
	OK("exempt.resume", "{'prefix':'192.0.2.1'}");
	OK("exempt.remove", "{'prefix':'192.0.2.1'}");
	FAILS("exempt.resume", "{'prefix':'192.0.2.1'}", "notfound", "is not exempt");
	assert_int_equal(audits("exempt.activate"), 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption_event"), 6);
}

/* What is in force for a line serves who has it: the leases must not say somebody else. */
static void test_whose(void **state)
{
	(void)state;
	OK("subscriber.add", "{'ref':'A'}");
	OK("subscriber.add", "{'ref':'B'}");
	OK("lease.add", "{'prefix':'192.0.2.0/25','subscriber':'A'}");
	OK("lease.add", "{'prefix':'192.0.2.9','subscriber':'B'}");
	OK("lease.add", "{'prefix':'100.64.0.1','subscriber':'A','port_lo':1024,'port_hi':2047}");
	OK("lease.add", "{'prefix':'100.64.0.1','subscriber':'B','port_lo':2048,'port_hi':3071}");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','subscriber':'B'}", "invalid", "is not B's");
	FAILS("exempt.add", "{'prefix':'192.0.2.9','subscriber':'A'}", "invalid", "is not A's");
	FAILS("exempt.add", "{'prefix':'192.0.2.8/29','subscriber':'A'}", "invalid", "not alone");
	FAILS("exempt.add", "{'prefix':'100.64.0.1','subscriber':'A'}", "invalid", "not alone");
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.1','subscriber':'B'}]}", "invalid",
	      "is not B's");
	OK("exempt.add", "{'prefix':'192.0.2.1','subscriber':'A'}");
	OK("exempt.add", "{'prefix':'192.0.2.9','subscriber':'B'}");
	OK("exempt.add", "{'prefix':'198.51.100.1','subscriber':'B'}"); /* nobody's */
	OK("exempt.add", "{'prefix':'192.0.2.2','subscriber':'B','starts_ms':99999999999999}");
}

static void test_classes(void **state)
{
	static struct acctd_class classes[] = {{(char *)(uintptr_t) "gold", false},
					       {(char *)(uintptr_t) "partners", true}};
	(void)state;
	a.conf.classes = (struct conf_items){classes, 2};
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'half'}", "invalid",
	      "there are full, throttled, listed, gold, partners");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'partners'}", "invalid",
	      "needs the destinations");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'partners','to':'2001:db8::9'}",
	      "invalid", "none of these is IPv4");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'gold','to':'192.0.2.9'}", "invalid",
	      "any destination");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'listed','to':'x'}", "invalid", "to: x");
	OK("exempt.add", "{'prefix':'192.0.2.1','class':'gold'}");
	OK("exempt.add",
	   "{'prefix':'192.0.2.2','class':'partners','to':'192.0.2.9, 2001:db8::/32'}");
	a.conf.classes.n = 0;
}

/* --- operators and sessions --- */

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

static void test_operators(void **state)
{
	(void)state;
	FAILS("operator.add", "{'user':'x y','password':'correct horse','role':'desk'}", "invalid",
	      "user name");
	FAILS("operator.add", "{'user':'x','password':'short','role':'desk'}", "invalid",
	      "at least 8");
	FAILS("operator.add", "{'user':'x','password':'correct horse','role':'god'}", "invalid",
	      "viewer, desk or admin");
	make_operators();
	assert_int_equal(json_array_size(call("operator.list", "{}")), 2);
	assert_null(json_object_get(json_array_get(call("operator.list", "{}"), 0), "hash"));
	assert_int_equal(kit_sql("SELECT count(*) FROM operator WHERE hash LIKE '$y$%'"), 2);
	assert_int_equal(
	    kit_sql(
		"SELECT count(*) FROM audit WHERE detail LIKE '%horse%' OR reason LIKE '%horse%'"),
	    0);
	OK("operator.remove", "{'user':'desk1'}");
	FAILS("operator.remove", "{'user':'desk1'}", "notfound", "desk1");
	assert_code(call_as(desk, "session.check", "{}"), "denied",
		    "no such session"); /* went with the operator */
	OK("operator.add", "{'user':'look1','password':'another horse','role':'viewer'}");
	assert_code(call_as(viewer, "session.check", "{}"), "denied",
		    "no such session"); /* a new password ends sessions */
}

static void test_roles(void **state)
{
	(void)state;
	make_operators();
	assert_string_equal(
	    json_string_value(json_object_get(call_as(desk, "session.check", "{}"), "role")),
	    "desk");
	assert_code(call_as(viewer, "incident.note", "{'id':1,'text':'x'}"), "denied", "role");
	assert_code(call_as(desk, "exempt.add", "{'prefix':'192.0.2.1'}"), "denied", "role");
	assert_code(
	    call_as(desk, "operator.add", "{'user':'x','password':'correct horse','role':'admin'}"),
	    "denied", "role");
	assert_code(call_as(desk, "incident.note", "{'id':1,'text':'x'}"), "notfound",
		    "no incident 1");
	assert_code(call_as("0123456789abcdef0123456789abcdef", "status", "{}"), "denied",
		    "no such session");
	assert_code(call_as("", "status", "{}"), "denied",
		    "empty"); /* root with a session is not root */
	assert_non_null(call_as(desk, "session.logout", "{}"));
	assert_code(call_as(desk, "session.check", "{}"), "denied", "no such session");
}

static void test_session_ends(void **state)
{
	(void)state;
	make_operators();
	store_begin(a.store);
	sql_script(a.store->db,
		   "UPDATE session SET seen_ms = seen_ms - 1800001 WHERE user = 'desk1'");
	sql_script(a.store->db,
		   "UPDATE session SET created_ms = created_ms - 43200001 WHERE user = 'look1'");
	kit_commit(a.store);
	assert_code(call_as(desk, "session.check", "{}"), "denied", "has ended");
	assert_code(call_as(viewer, "session.check", "{}"), "denied", "has ended");
	log_in("desk1", desk);
	store_begin(a.store);
	sql_script(a.store->db, "UPDATE session SET seen_ms = seen_ms - 120000");
	kit_commit(a.store);
	assert_non_null(call_as(desk, "session.check", "{}")); /* use is remembered */
	assert_true(kit_sql("SELECT max(seen_ms - created_ms) FROM session") >= 0);
}

static void test_login_fails(void **state)
{
	(void)state;
	make_operators();
	FAILS("session.login", "{'user':'desk1','password':'wrong','address':'nowhere'}", "invalid",
	      "address");
	for (int i = 0; i < 6; i++)
		FAILS("session.login",
		      "{'user':'nobody','password':'wrong','address':'203.0.113.1'}", "denied",
		      "wrong user or password");
	/* that address must wait, also with the right password; others need not */
	FAILS("session.login",
	      "{'user':'desk1','password':'correct horse','address':'203.0.113.1'}", "denied",
	      "try again in");
	log_in("desk1", desk);
	/* a network of IPv6 is one stranger, whichever of its addresses asks */
	for (int i = 0; i < 6; i++) {
		char args[128];
		snprintf(args, sizeof args,
			 "{'user':'nobody%d','password':'wrong','address':'2001:db8:5:6::%d'}", i,
			 i);
		FAILS("session.login", args, "denied", "wrong user or password");
	}
	FAILS("session.login",
	      "{'user':'desk1','password':'correct horse','address':'2001:db8:5:6:7::9'}", "denied",
	      "try again in");
	assert_non_null(call("session.login", "{'user':'desk1','password':'correct horse',"
					      "'address':'2001:db8:5:7::9'}"));
	assert_int_equal(kit_sql("SELECT count(*) FROM session WHERE address = '2001:db8:5:7::9'"),
			 1);
	assert_int_equal(audits("session.login"), 4);
}

/* Who is in the socket's group but neither root nor an admin may log in and nothing else; who is
 * not in the group cannot even ask. */
static void test_stranger(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	make_operators();
	assert_int_equal(chmod(kit_dir, 0755), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct control_error e = {.code = ""};
		if (fork() == 0) {
			bool out =
			    setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0;
			bool asked = control_call(kit_dir, "status", NULL, NULL, &e) != NULL;
			_exit(out && !asked && strcmp(e.code, "unavailable") == 0 ? 0 : 1);
		}
		int outsider = 1;
		if (wait(&outsider) < 0 || outsider != 0)
			_exit(14);
		if (setuid(65534) != 0)
			_exit(10);
		if (control_call(kit_dir, "status", NULL, NULL, &e) ||
		    strcmp(e.code, "denied") != 0)
			_exit(11);
		if (control_call(kit_dir, "no.such", NULL, NULL, &e) ||
		    strcmp(e.code, "denied") != 0)
			_exit(12);
		json_t *args = json_pack("{s:s, s:s, s:s}", "user", "desk1", "password",
					 "correct horse", "address", "::1");
		json_t *r = control_call(kit_dir, "session.login", args, NULL, &e);
		const char *session = json_string_value(json_object_get(r, "session"));
		json_t *check =
		    session ? control_call(kit_dir, "session.check", NULL, session, &e) : NULL;
		_exit(check && control_exit_code(&(struct control_error){.code = "denied"}) == 77
			  ? 0
			  : 13);
	}
	int status = 0;
	UNTIL(waitpid(pid, &status, WNOHANG) == pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- incidents --- */

static void test_incidents(void **state)
{
	struct rl_penalty p = {.account = ALICE,
			       .stage = RL_HOLD,
			       .since_ms = T0,
			       .rule = "burst",
			       .why = "w",
			       .actor = "detector"};
	(void)state;
	incidents_penalty(a.incidents, &p, T0);
	FAILS("incident.resolve", "{'id':1}", "invalid", "release it first");
	OK("incident.ack", "{'id':1,'reason':'mine'}");
	assert_int_equal(
	    kit_sql(
		"SELECT count(*) FROM incident WHERE state = 'contained' AND owner LIKE 'unix:%'"),
	    1);
	FAILS("incident.ack", "{'id':9}", "notfound", "no incident 9");
	FAILS("incident.ack", "{'id':0}", "invalid", "above 0");
	OK("incident.note", "{'id':1,'text':'called\\nthem'}");
	FAILS("incident.note", "{'id':1}", "invalid", "needs \"text\"");
	FAILS("incident.release", "{'id':1,'account':'" ALICE "'}", "invalid", "either");
	FAILS("incident.hold", "{}", "invalid", "either");
	FAILS("incident.release", "{'id':1}", "unavailable",
	      "ratelimitd is away"); /* and nothing was changed */
	assert_int_equal(kit_sql("SELECT count(*) FROM incident WHERE state = 'contained'"), 1);
	p.stage = RL_NORMAL;
	incidents_penalty(a.incidents, &p, T0 + 1);
	OK("incident.resolve", "{'id':1,'reason':'cleaned'}");
	FAILS("incident.resolve", "{'id':1}", "exists", "already");
	FAILS("incident.ack", "{'id':1}", "invalid", "resolved");
	assert_int_equal(kit_sql("SELECT count(*) FROM incident_event"), 6);
	assert_int_equal(audits("incident.resolve"), 1);
}

/* --- reports --- */

static const char report[] =
    "From: fbl@reporter.example\nMIME-Version: 1.0\n"
    "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"
    "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\n\n"
    "--b\nContent-Type: message/rfc822\n\nX-Sekisho-Trace: " TOKEN "\nSubject: x\n\nbody\n--b--\n";

static void base64(const char *in, char *out)
{
	static const char abc[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = strlen(in);
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)(uint8_t)in[i] << 16 |
			     (i + 1 < n ? (uint32_t)(uint8_t)in[i + 1] << 8 : 0) |
			     (i + 2 < n ? (uint32_t)(uint8_t)in[i + 2] : 0);
		*out++ = abc[v >> 18];
		*out++ = abc[v >> 12 & 63];
		*out++ = i + 1 < n ? abc[v >> 6 & 63] : '=';
		*out++ = i + 2 < n ? abc[v & 63] : '=';
	}
	*out = '\0';
}

static const json_t *import(const char *text)
{
	char b64[8192], args[9000];
	base64(text, b64);
	snprintf(args, sizeof args, "{'raw':'%s'}", b64);
	return call("report.import", args);
}

static void test_reports(void **state)
{
	(void)state;
	kit_put(a.store, kit_message(T0, ALICE, "192.0.2.1"));
	const json_t *r = import(report);
	assert_non_null(r);
	assert_string_equal(json_string_value(json_object_get(r, "match")), "token");
	assert_string_equal(json_string_value(json_object_get(r, "account")), ALICE);
	assert_false(flag(r, "duplicate"));
	int64_t id = number(r, "id"), incident = number(r, "incident");
	r = import(report);
	assert_true(flag(r, "duplicate"));
	assert_int_equal(number(r, "id"), id);
	assert_int_equal(kit_sql("SELECT count(*) FROM report"), 1);
	char sha[SHA256_HEX], path[256];
	struct stat st;
	token_sha256(report, strlen(report), sha);
	snprintf(path, sizeof path, "%s/accounting/reports/%s", kit_dir, sha);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, strlen(report));
	assert_code(import("From: a@b.example\n\nno report\n"), "invalid", "not an abuse report");
	FAILS("report.import", "{'raw':'***'}", "invalid", "base64");
	FAILS("report.import", "{'raw':''}", "invalid", "empty");
	OK("incident.note", "{'id':1,'text':'x'}");
	FAILS("report.attach", "{'id':99,'incident':1}", "notfound", "no report 99");
	FAILS("report.attach", "{'id':1,'incident':99}", "notfound", "no incident 99");
	OK("report.attach", "{'id':1,'incident':1}");
	assert_int_equal(kit_sql("SELECT incident_id FROM report"), incident);
	assert_int_equal(audits("report.import"), 1);
}

/* --- other daemons --- */

static void test_forwarded(void **state)
{
	(void)state;
	FAILS("queue.list", "{}", "unavailable", "sekisho-msad does not answer");
	FAILS("nfq.explain", "{'source':'192.0.2.1'}", "unavailable",
	      "sekisho-nfqd does not answer");
	FAILS("limit.show", "{'account':'" ALICE "'}", "unavailable", "ratelimitd");
	start_msad();
	start_nfqd(true);
	const json_t *r = call("queue.release", "{'account':'" ALICE "'}");
	assert_string_equal(json_string_value(json_object_get(r, "op")), "queue.release");
	assert_int_equal(
	    kit_sql("SELECT count(*) FROM audit WHERE action = 'queue.release' AND object = '" ALICE
		    "'"),
	    1);
	OK("queue.delete", "{'all':true,'dry_run':true}");
	OK("queue.list", "{}");
	FAILS("queue.hold", "{'fail':'there is no message 7'}", "notfound", "no message 7");
	FAILS("queue.hold", "{'fail':'ids must be an array'}", "invalid", "ids must");
	assert_int_equal(kit_sql("SELECT count(*) FROM audit"),
			 1); /* what reads, counts or fails changes nothing */
	OK("nfq.explain", "{'source':'192.0.2.1'}");
	OK("batv.verify", "{'addresses':[]}");
	make_operators();
	assert_non_null(call_as(viewer, "queue.list", "{}"));
	assert_code(call_as(viewer, "queue.delete", "{'all':true}"), "denied", "role");
	assert_code(call_as(desk, "batv.rotate", "{}"), "denied", "role");
}

static void test_status(void **state)
{
	(void)state;
	start_nfqd(true);
	const json_t *r = call("status", "{}");
	assert_true(json_is_null(json_object_get(r, "msad")));
	assert_true(json_is_null(json_object_get(r, "ratelimitd")));
	assert_string_equal(json_string_value(json_object_get(json_object_get(r, "nfqd"), "op")),
			    "nfq.status");
	const json_t *own = json_object_get(r, "acctd");
	assert_int_equal(number(own, "schema"), store_schema(a.store));
	assert_int_equal(json_array_size(json_object_get(own, "feeds")), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_envelope),
	    T(test_many_at_once),
	    T(test_not_a_request),
	    T(test_subscribers),
	    T(test_leases),
	    T(test_lease_import),
	    T(test_lease_resync),
	    T(test_exemptions),
	    T(test_exemption_without_nfqd),
	    T(test_exemption_times),
	    T(test_import),
	    T(test_import_in_pieces),
	    T(test_life),
	    T(test_whose),
	    T(test_classes),
	    T(test_operators),
	    T(test_roles),
	    T(test_session_ends),
	    T(test_login_fails),
	    T(test_stranger),
	    T(test_incidents),
	    T(test_reports),
	    T(test_forwarded),
	    T(test_status),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
