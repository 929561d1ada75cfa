/*
 * ops: the envelope of a request, operators, sessions and roles, incidents, reports, and what is
 * asked of other daemons, by a real socket and store. Leases and exemptions: test_ops_policy.c.
 */
#include "door.h"

#include <grp.h>
#include <sys/wait.h>

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

/* --- operators and sessions --- */

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
	r = call("queue.delete", "{'ids':['" QUEUE_ID "'],'reason':'grey','note':'spam run'}");
	assert_null(json_object_get(json_object_get(r, "args"), "note"));
	assert_int_equal(kit_sql("SELECT count(*) FROM audit WHERE object = '" QUEUE_ID
				 "' AND reason = 'spam run' AND instr(detail, 'grey')"),
			 1);
	FAILS("queue.delete", "{'all':true,'note':7}", "invalid", "note");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_envelope),  T(test_many_at_once), T(test_not_a_request), T(test_operators),
	    T(test_roles),     T(test_session_ends), T(test_login_fails),   T(test_stranger),
	    T(test_incidents), T(test_reports),	     T(test_forwarded),	    T(test_status),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
