/* query: each question on a small known database: shapes, counts, windows, and a reader beside the
 * writer. */
#include "kit.h"

#include "accounting/query.h"
#include "accounting/store_alert.h"

static struct store *s;
static struct query *q;
static int64_t sub;

static int set_up(void **state)
{
	const char *err = NULL;
	(void)state;
	kit_folder();
	s = kit_store();
	sub = kit_subscriber(s, "C-1");
	store_begin(s);
	store_account_put(s, ALICE, sub, T0);
	kit_commit(s);
	kit_lease(s, "192.0.2.1", sub, T0 - 1000, 0);
	kit_put(s, kit_message(T0, ALICE, "192.0.2.1"));
	kit_put(s, kit_block(T0, "192.0.2.1", 10, EVENT_BLOCK));
	kit_put(s, kit_block(T0, "2001:db8::", 30, EVENT_BLOCK));
	kit_put(s, kit_block(T0 - 86400000, "192.0.2.1", 100, EVENT_BLOCK)); /* yesterday */
	kit_put(s, kit_login(T0, ALICE, "192.0.2.1", true));
	kit_put(s, kit_login(T0, "x@y", "192.0.2.1", false));
	kit_put(s, kit_refuse(T0, ALICE));
	kit_put(s, kit_delivery(T0, ALICE, EVENT_DELIVERED));
	kit_put(s, kit_delivery(T0, ALICE, EVENT_BOUNCED));
	kit_put(s, kit_delivery(T0, ALICE, EVENT_DEFERRED));
	q = query_open(kit_dir, &err);
	if (!q)
		fail_msg("%s", err);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	query_close(q);
	store_close(s);
	kit_remove();
	return 0;
}

static json_t *good(json_t *j, const char *err)
{
	if (!j)
		fail_msg("%s", err ? err : "no reason");
	return j;
}

#define ASK(call) good((call), err)

/* o has exactly these keys, blank-separated. */
static void assert_keys(const json_t *o, const char *keys)
{
	char *list = strdup(keys), *save = NULL;
	size_t n = 0;
	assert_true(json_is_object(o));
	for (char *k = strtok_r(list, " ", &save); k; k = strtok_r(NULL, " ", &save), n++)
		if (!json_object_get(o, k))
			fail_msg("no key %s", k);
	if (json_object_size(o) != n) {
		char *text = json_dumps(o, 0);
		fail_msg("other keys than %s: %s", keys, text);
	}
	free(list);
}

static int64_t n_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const char *t_of(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));
	return t ? t : "(null)";
}

static void test_overview(void **state)
{
	static const struct {
		const char *key;
		int64_t n;
	} want[] = {{"blocked_packets", 40},
		    {"blocked_sources", 2},
		    {"accepted", 1},
		    {"held", 0},
		    {"refused", 1},
		    {"delivered", 1},
		    {"bounced", 1},
		    {"deferred", 1},
		    {"logins_ok", 1},
		    {"logins_failed", 1},
		    {"incidents_open", 0},
		    {"incidents_contained", 0},
		    {"incidents_released", 0},
		    {"alerts_retrying", 0},
		    {"reports_unmatched", 0},
		    {"exemptions_active", 0},
		    {"exemptions_expiring_30d", 0}};
	const char *err = NULL;
	json_t *o = ASK(query_overview(q, T0 - 3600000, T0 + 1, &err));
	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
		if (n_of(o, want[i].key) != want[i].n)
			fail_msg("%s is %lld", want[i].key, (long long)n_of(o, want[i].key));
	assert_int_equal(json_object_size(o), sizeof want / sizeof want[0]);
	json_decref(o);
	o = ASK(query_overview(q, T0 - 2 * 86400000LL, T0 + 1, &err));
	assert_int_equal(n_of(o, "blocked_packets"), 140);
	assert_int_equal(n_of(o, "blocked_sources"), 2);
	json_decref(o);
}

static void test_top(void **state)
{
	const char *err = NULL;
	json_t *o = ASK(query_top(q, T0 - 3600000, T0 + 1, 10, &err));
	const json_t *lines = json_object_get(o, "lines"),
		     *accounts = json_object_get(o, "accounts");
	(void)state;
	assert_int_equal(json_array_size(lines), 2);
	const json_t *worst = json_array_get(lines, 0), *second = json_array_get(lines, 1);
	assert_keys(worst, "source subscriber subscriber_name packets dsts first_ms last_ms");
	assert_string_equal(t_of(worst, "source"), "2001:db8::/64");
	assert_true(json_is_null(json_object_get(worst, "subscriber")));
	assert_string_equal(t_of(second, "source"), "192.0.2.1");
	assert_string_equal(t_of(second, "subscriber"), "C-1"); /* by the lease */
	assert_int_equal(n_of(second, "packets"), 10);
	assert_int_equal(json_array_size(accounts), 1);
	const json_t *a = json_array_get(accounts, 0);
	assert_keys(a, "account subscriber messages rcpts refused bounced held stage last_ms");
	assert_string_equal(t_of(a, "account"), ALICE);
	assert_string_equal(t_of(a, "stage"), "normal");
	assert_int_equal(n_of(a, "rcpts"), 3);
	json_decref(o);
	o = ASK(query_top(q, T0 - 2 * 86400000LL, T0 + 1, 1, &err));
	assert_string_equal(t_of(json_array_get(json_object_get(o, "lines"), 0), "source"),
			    "192.0.2.1");
	assert_int_equal(json_array_size(json_object_get(o, "lines")), 1);
	json_decref(o);
}

static void test_chart(void **state)
{
	const char *err = NULL;
	json_t *c = ASK(query_chart(q, T0 + 1, &err));
	int64_t blocked = 0, accepted = 0;
	(void)state;
	assert_int_equal(json_array_size(c), 96);
	for (size_t i = 0; i < 96; i++) {
		const json_t *r = json_array_get(c, i);
		assert_keys(r, "t_ms blocked accepted held refused");
		if (i)
			assert_int_equal(n_of(r, "t_ms") - n_of(json_array_get(c, i - 1), "t_ms"),
					 900000);
		blocked += n_of(r, "blocked");
		accepted += n_of(r, "accepted");
	}
	const json_t *last = json_array_get(c, 95);
	assert_true(n_of(last, "t_ms") <= T0 && n_of(last, "t_ms") + 900000 > T0);
	assert_int_equal(n_of(last, "blocked"), 40);
	assert_int_equal(blocked, 40); /* yesterday's is outside */
	assert_int_equal(accepted, 1);
	json_decref(c);
}

static void test_exemptions(void **state)
{
	const char *err = NULL;
	struct store_exemption e = {.prefix = kit_prefix("192.0.2.1"),
				    .class = "throttled",
				    .contract = "K",
				    .contact = "c",
				    .reason = "r",
				    .actor = "a",
				    .starts_ms = T0};
	(void)state;
	store_begin(s);
	int64_t first = store_exemption_add(s, &e, T0);
	e.prefix = kit_prefix("2001:db8::/48");
	e.expires_ms = T0 + 1000;
	store_exemption_add(s, &e, T0);
	kit_remove_exemption(s, first, T0);
	kit_commit(s);
	json_t *l =
	    ASK(query_exemptions(q, &(struct query_exempt){.all = false}, 10, T0 + 1000, &err));
	assert_int_equal(json_array_size(l), 1);
	const json_t *x = json_array_get(l, 0);
	assert_keys(x,
		    "id prefix class to state subscriber subscriber_name contract service static "
		    "access_port contact abuse_contact use software volume helo domain aup_ms "
		    "approver ticket reason actor created_ms starts_ms expires_ms review_ms "
		    "ended_ms suspended_by suspended_until_ms evidence evidence_ms "
		    "evidence_bad_ms evidence_held_ms last_seen_ms packets");
	assert_string_equal(t_of(x, "prefix"), "2001:db8::/48");
	assert_string_equal(t_of(x, "class"), "throttled");
	assert_int_equal(n_of(x, "expires_ms"), T0 + 1000);
	json_decref(l);
	l = ASK(query_exemptions(q, &(struct query_exempt){.all = false}, 10, T0 - 1,
				 &err)); /* it starts at T0 */
	assert_string_equal(t_of(json_array_get(l, 0), "state"), "pending");
	json_decref(l);
	l = ASK(query_exemptions(q, &(struct query_exempt){.all = true}, 10, T0 + 1000, &err));
	assert_int_equal(json_array_size(l), 2);
	assert_string_equal(t_of(json_array_get(l, 1), "state"), "removed");
	assert_true(json_is_null(json_object_get(json_array_get(l, 1), "expires_ms")));
	assert_string_equal(t_of(json_array_get(l, 1), "subscriber"), "C-1"); /* by the lease */
	json_decref(l);
}

static int64_t open_incident(void)
{
	struct store_incident_new n = {.subject_type = "account",
				       .subject = ALICE,
				       .account = store_account(s, ALICE),
				       .subscriber = sub,
				       .detector = "burst",
				       .why = "612 recipients",
				       .severity = "high",
				       .actor = "detector"};
	struct event held = kit_message(T0 + 100, ALICE, "192.0.2.1");
	held.u.message.held = true;
	store_begin(s);
	int64_t id = store_incident_open(s, &n, T0);
	store_incident_contain(s, id, T0, T0 + 1);
	kit_commit(s);
	kit_put(s, held);
	return id;
}

static int64_t add_report(const char *sha, const char *match, int64_t incident,
			  const char *reporter)
{
	struct store_report r = {.received_ms = T0,
				 .format = "arf",
				 .feedback_type = "abuse",
				 .reporter = reporter,
				 .source_ip = "192.0.2.1",
				 .source_port = 40000,
				 .arrival_ms = T0,
				 .match = match,
				 .account = incident ? store_account(s, ALICE) : 0,
				 .subscriber = incident ? sub : 0,
				 .incident = incident,
				 .token = TOKEN,
				 .queue_id = QUEUE_ID,
				 .sha256 = sha,
				 .error = "",
				 .fields = "{\"Source-IP\":[\"192.0.2.1\"]}",
				 .original_headers = "Subject: x\n"};
	store_begin(s);
	int64_t id = store_report_add(s, &r);
	kit_commit(s);
	return id;
}

#define INCIDENT_KEYS                                                                              \
	"id state subject subject_type subscriber subscriber_name detector why severity stage "    \
	"opened_ms updated_ms contained_ms "                                                       \
	"released_ms resolved_ms owner reports held_since"
#define REPORT_KEYS                                                                                \
	"id received_ms format feedback_type reporter source_ip source_port arrival_ms match "     \
	"account subscriber incident token "                                                       \
	"queue_id sha256 error"

static void test_message(void **state)
{
	const char *err = NULL;
	json_t *o = query_message(q, QUEUE_ID, 2, &err);
	(void)state;
	assert_keys(o, "t_ms queue_id account session token src src_port mail_from rcpts "
		       "rcpt_domains size held message_id deliveries");
	assert_string_equal(json_string_value(json_object_get(o, "account")), ALICE);
	json_t *l = json_object_get(o, "deliveries");
	assert_int_equal(json_array_size(l), 2);
	json_t *d = json_array_get(l, 0);
	assert_keys(d, "t_ms rcpt result answer status reply server tls cipher proof returned");
	assert_string_equal(json_string_value(json_object_get(d, "result")), "deferred");
	assert_string_equal(json_string_value(json_object_get(d, "answer")), "unknown-user");
	assert_string_equal(json_string_value(json_object_get(d, "server")),
			    "mx.a.example[192.0.2.25]:25");
	assert_string_equal(json_string_value(json_object_get(d, "proof")), "dane");
	json_decref(o);
	assert_null(query_message(q, "0000000000000000", 2, &err));
	assert_string_equal(err, "not found");
}

static void test_incidents(void **state)
{
	const char *err = NULL;
	int64_t id = open_incident();
	(void)state;
	add_report("s1", "token", id, "fbl@r.example");
	static const struct {
		const char *filter;
		size_t n;
	} want[] = {{NULL, 1}, {"all", 1}, {"contained", 1}, {"open", 0}, {"resolved", 0}};
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		json_t *l = ASK(
		    query_incidents(q, &(struct query_list){.state = want[i].filter}, 10, &err));
		assert_int_equal(json_array_size(l), want[i].n);
		json_decref(l);
	}
	json_t *l = ASK(query_incidents(q, &(struct query_list){.state = NULL}, 10, &err));
	assert_keys(json_array_get(l, 0), INCIDENT_KEYS);
	assert_int_equal(n_of(json_array_get(l, 0), "reports"), 1);
	assert_int_equal(n_of(json_array_get(l, 0), "held_since"), 1);
	json_decref(l);
	json_t *o = ASK(query_incident(q, id, &err));
	assert_keys(o, INCIDENT_KEYS " timeline messages lines answers");
	json_t *a = json_array_get(json_object_get(o, "answers"), 0);
	assert_keys(a, "answer n returned first_ms last_ms");
	assert_string_equal(json_string_value(json_object_get(a, "answer")), "unknown-user");
	assert_int_equal(n_of(a, "n"), 3);
	assert_keys(json_array_get(json_object_get(o, "timeline"), 0), "t_ms actor what text");
	assert_keys(json_array_get(json_object_get(o, "reports"), 0), REPORT_KEYS);
	assert_int_equal(json_array_size(json_object_get(o, "messages")), 2);
	assert_keys(json_array_get(json_object_get(o, "lines"), 0),
		    "id prefix port_lo port_hi subscriber from_ms to_ms source");
	json_decref(o);
	assert_null(query_incident(q, 99, &err));
	assert_string_equal(err, "not found");
	o = ASK(query_top(q, T0 - 3600000, T0 + 1000, 10, &err));
	assert_string_equal(t_of(json_array_get(json_object_get(o, "accounts"), 0), "stage"),
			    "hold");
	json_decref(o);
	o = ASK(query_overview(q, T0 - 3600000, T0 + 1000, &err));
	assert_int_equal(n_of(o, "incidents_contained"), 1);
	json_decref(o);
}

static void test_reports(void **state)
{
	const char *err = NULL;
	int64_t id = open_incident();
	(void)state;
	int64_t matched = add_report("s1", "token", id, "fbl@r.example");
	add_report("s2", "none", 0, "bad \xff\xfe bytes"); /* not UTF-8: shown all the same */
	static const struct {
		const char *filter;
		size_t n;
	} want[] = {{NULL, 2}, {"matched", 1}, {"unmatched", 1}};
	for (size_t i = 0; i < 3; i++) {
		json_t *l =
		    ASK(query_reports(q, &(struct query_list){.state = want[i].filter}, 10, &err));
		assert_int_equal(json_array_size(l), want[i].n);
		assert_keys(json_array_get(l, 0), REPORT_KEYS);
		json_decref(l);
	}
	/* Put under an incident by hand: not unmatched any more. */
	int64_t by_hand = add_report("s3", "none", id, "fbl@r.example");
	json_t *l = ASK(query_reports(q, &(struct query_list){.state = "matched"}, 10, &err));
	assert_int_equal(json_array_size(l), 2);
	assert_int_equal(n_of(json_array_get(l, 0), "id"), by_hand);
	json_decref(l);
	json_t *over = ASK(query_overview(q, T0 - 3600000, T0 + 1000, &err));
	assert_int_equal(n_of(over, "reports_unmatched"), 1);
	json_decref(over);
	l = ASK(query_reports(q, &(struct query_list){.state = "unmatched"}, 10, &err));
	assert_int_equal(json_array_size(l), 1);
	assert_string_equal(t_of(json_array_get(l, 0), "reporter"),
			    "bad \xef\xbf\xbd\xef\xbf\xbd bytes");
	json_decref(l);
	json_t *o = ASK(query_report(q, matched, &err));
	assert_keys(o, REPORT_KEYS " fields original_headers");
	assert_string_equal(json_string_value(json_array_get(
				json_object_get(json_object_get(o, "fields"), "Source-IP"), 0)),
			    "192.0.2.1");
	assert_string_equal(t_of(o, "account"), ALICE);
	assert_string_equal(t_of(o, "subscriber"), "C-1");
	assert_int_equal(n_of(o, "incident"), id);
	json_decref(o);
	assert_null(query_report(q, 99, &err));
}

static void test_who(void **state)
{
	const char *err = NULL;
	struct addr a = kit_addr("192.0.2.1"), b = kit_addr("192.0.2.2");
	json_t *l = ASK(query_who(q, &a, -1, T0, &err));
	(void)state;
	assert_int_equal(json_array_size(l), 1);
	const json_t *w = json_array_get(l, 0);
	assert_keys(
	    w, "subscriber subscriber_name prefix port_lo port_hi from_ms to_ms source accounts "
	       "exemptions blocked incident_ids");
	assert_int_equal(n_of(w, "blocked"), 10);
	assert_string_equal(t_of(w, "prefix"), "192.0.2.1");
	assert_string_equal(json_string_value(json_array_get(json_object_get(w, "accounts"), 0)),
			    ALICE);
	json_decref(l);
	l = ASK(query_who(q, &a, -1, T0 - 1001, &err));
	assert_int_equal(json_array_size(l), 0);
	json_decref(l);
	l = ASK(query_who(q, &b, 25, T0, &err));
	assert_int_equal(json_array_size(l), 0);
	json_decref(l);
	/* IPv6: an address inside a delegated prefix; what was refused is summed by prefix. */
	kit_lease(s, "2001:db8:7::/56", store_subscriber(s, "C-1"), T0 - 1000, 0);
	kit_put(s, kit_block(T0, "2001:db8:7::", 4, EVENT_BLOCK));
	a = kit_addr("2001:db8:7:ab::1");
	l = ASK(query_who(q, &a, -1, T0 + 1, &err));
	assert_int_equal(n_of(json_array_get(l, 0), "blocked"), 4);
	json_decref(l);
}

static void test_lists(void **state)
{
	const char *err = NULL;
	(void)state;
	store_begin(s);
	store_audit(s, &kit_who, T0, "test", "o", "r", "d");
	kit_commit(s);
	json_t *l = ASK(query_leases(q, false, 10, &err));
	assert_int_equal(json_array_size(l), 1);
	assert_true(json_is_null(json_object_get(json_array_get(l, 0), "to_ms")));
	json_decref(l);
	l = ASK(query_subscribers(q, 10, &err));
	assert_keys(json_array_get(l, 0), "id ref name contact accounts");
	json_decref(l);
	l = ASK(query_audit(q, &(struct query_list){.state = NULL}, 10, &err));
	assert_keys(json_array_get(l, 0), "seq t_ms actor peer action object reason detail");
	json_decref(l);
	l = ASK(query_messages(q, ALICE, 10, &err));
	assert_keys(json_array_get(l, 0),
		    "t_ms queue_id token src mail_from rcpts rcpt_domains size held message_id");
	assert_true(json_is_false(json_object_get(json_array_get(l, 0), "held")));
	assert_string_equal(t_of(json_array_get(l, 0), "src"), "192.0.2.1");
	json_decref(l);
	l = ASK(query_logins(q, ALICE, 0, 10, &err));
	assert_keys(json_array_get(l, 0), "network ok failed addresses first_ms last_ms mech tls");
	json_decref(l);
	l = ASK(query_messages(q, "nobody@x", 10, &err));
	assert_int_equal(json_array_size(l), 0);
	json_decref(l);
}

/* Pages begin after a row: what is added meanwhile neither repeats nor hides one. */
static void test_pages(void **state)
{
	const char *err = NULL;
	int64_t ids[5];
	(void)state;
	for (int i = 0; i < 4; i++)
		ids[i] = add_report((const char *[]){"p0", "p1", "p2", "p3"}[i], "none", 0, "fbl");
	struct query_list l = {.state = NULL};
	json_t *page = ASK(query_reports(q, &l, 2, &err));
	assert_int_equal(n_of(json_array_get(page, 0), "id"), ids[3]);
	l.before_id = n_of(json_array_get(page, 1), "id");
	json_decref(page);
	(void)add_report("p4", "none", 0, "fbl");
	page = ASK(query_reports(q, &l, 2, &err));
	assert_int_equal(json_array_size(page), 2);
	assert_int_equal(n_of(json_array_get(page, 0), "id"), ids[1]);
	assert_int_equal(n_of(json_array_get(page, 1), "id"), ids[0]);
	json_decref(page);
}

/* What rows have to do with: each list by its own words. */
static void test_about(void **state)
{
	typedef json_t *list_fn(struct query * q, const struct query_list *l, int limit,
				const char **err);
	static const struct {
		list_fn *get;
		const char *about;
		size_t n;
	} want[] = {{query_incidents, ALICE, 1},  {query_incidents, "C-1", 1},
		    {query_incidents, "C-2", 0},  {query_reports, "FBL@r.", 1},
		    {query_reports, "nobody", 0}, {query_audit, "test", 1},
		    {query_audit, "other", 0},	  {query_alerts, "ops", 1},
		    {query_alerts, "zombie", 0}};
	const char *err = NULL;
	(void)add_report("s1", "token", open_incident(), "fbl@r.example");
	store_begin(s);
	store_audit(s, &kit_who, T0, "test", "o", "r", "d");
	int64_t alert = store_alert_add(s, &(struct store_alert){.uuid = "u",
								 .rule = "ops",
								 .kind = "account",
								 .title = "t",
								 .body = "{\"severity\":\"high\"}",
								 .made_ms = T0});
	store_alert_add_send(s, alert, "https://r.example/x", T0);
	kit_commit(s);
	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct query_list l = {.about = want[i].about};
		json_t *rows = ASK(want[i].get(q, &l, 10, &err));
		if (json_array_size(rows) != want[i].n)
			fail_msg("%s: %zu", want[i].about, json_array_size(rows));
		json_decref(rows);
	}
	json_t *o = ASK(query_alert(q, alert, &err));
	assert_keys(o, "id uuid rule kind made_ms title body sends");
	assert_string_equal(t_of(json_object_get(o, "body"), "severity"), "high");
	assert_keys(json_array_get(json_object_get(o, "sends"), 0),
		    "id to state attempts next_ms done_ms answer");
	json_decref(o);
	assert_null(query_alert(q, alert + 1, &err));
}

/* From what somebody knows of a message or of a subscriber. */
static void test_find(void **state)
{
	const char *err = NULL;
	(void)state;
	json_t *rows = ASK(query_messages(q, ALICE, 1, &err));
	const json_t *m = json_array_get(rows, 0);
	static const char *const keys[] = {"queue_id", "token", "message_id"};
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		json_t *found = ASK(query_find(q, t_of(m, keys[i]), 10, &err));
		if (json_array_size(found) == 0)
			fail_msg("not found by its %s", keys[i]);
		assert_string_equal(t_of(json_array_get(found, 0), "account"), ALICE);
		json_decref(found);
	}
	json_decref(rows);
	rows = ASK(query_find(q, "", 10, &err));
	assert_int_equal(json_array_size(rows), 0);
	json_decref(rows);
	rows = ASK(query_subscribers_named(q, "C-1", 10, &err));
	assert_string_equal(t_of(json_array_get(rows, 0), "ref"), "C-1");
	json_decref(rows);
	json_t *o = ASK(query_account(q, ALICE, &err));
	assert_string_equal(t_of(o, "subscriber"), "C-1");
	json_decref(o);
	o = ASK(query_account(q, "Alice@ISP.example", &err)); /* however it is typed */
	assert_string_equal(t_of(o, "login"), ALICE);
	json_decref(o);
	assert_null(query_account(q, "nobody@x", &err));
	o = ASK(query_subscriber(q, "C-1", &err));
	assert_keys(o, "id ref name contact accounts lines");
	assert_int_equal(json_array_size(json_object_get(o, "lines")), 1);
	json_decref(o);
	struct prefix p;
	char why[128];
	assert_true(prefix_parse("192.0.2.0/24", &p, why));
	rows = ASK(query_leases_within(q, &p, T0, 10, &err));
	assert_int_equal(json_array_size(rows), 1);
	json_decref(rows);
}

/* Logins of one account by network: good ones first, and nothing from before. */
static void test_logins(void **state)
{
	static const struct {
		const char *network;
		int ok, failed, addresses;
	} want[] = {{"2001:db8:7::/48", 1, 0, 1},
		    {"203.0.113.0/24", 2, 1, 2},
		    {"198.51.100.0/24", 0, 2, 1}};
	const char *err = NULL;
	(void)state;
	kit_put(s, kit_login(T0, "eve@isp.example", "203.0.113.1", true));
	kit_put(s, kit_login(T0, "eve@isp.example", "203.0.113.9", true));
	kit_put(s, kit_login(T0 + 1, "eve@isp.example", "203.0.113.9", false));
	kit_put(s, kit_login(T0 + 2, "eve@isp.example", "2001:db8:7:1::9", true));
	kit_put(s, kit_login(T0 + 3, "eve@isp.example", "198.51.100.1", false));
	kit_put(s, kit_login(T0 + 4, "eve@isp.example", "198.51.100.1", false));
	kit_put(s, kit_login(T0 - 86400000, "eve@isp.example", "192.0.2.1", true));
	kit_put(s, kit_login(T0, "mallory@isp.example", "192.0.2.1", true));
	json_t *l = ASK(query_logins(q, "eve@isp.example", T0 - 3600000, 10, &err));
	assert_int_equal(json_array_size(l), 3);
	for (size_t i = 0; i < 3; i++) {
		json_t *o = json_array_get(l, i);
		assert_string_equal(t_of(o, "network"), want[i].network);
		assert_int_equal(json_integer_value(json_object_get(o, "ok")), want[i].ok);
		assert_int_equal(json_integer_value(json_object_get(o, "failed")), want[i].failed);
		assert_int_equal(json_integer_value(json_object_get(o, "addresses")),
				 want[i].addresses);
	}
	json_decref(l);
}

/* While a transaction is open, readers see what was before it, and do not wait. */
static void test_beside_the_writer(void **state)
{
	const char *err = NULL;
	(void)state;
	store_begin(s);
	store_subscriber_put(s, "C-2", "", "", T0);
	json_t *l = ASK(query_subscribers(q, 10, &err));
	assert_int_equal(json_array_size(l), 1);
	json_decref(l);
	kit_commit(s);
	l = ASK(query_subscribers(q, 10, &err));
	assert_int_equal(json_array_size(l), 2);
	json_decref(l);
}

/* acctd is away: the database is read all the same, also by who may not write there. */
static void test_without_the_writer(void **state)
{
	const char *err = NULL;
	char path[128];
	(void)state;
	query_close(q);
	store_close(s);
	s = NULL;
	snprintf(path, sizeof path, "%s/accounting/control.db-wal", kit_dir);
	assert_int_equal(access(path, F_OK), 0); /* kept, so that readers need not make it */
	snprintf(path, sizeof path, "%s/accounting", kit_dir);
	assert_int_equal(chmod(path, 0500), 0);
	q = query_open(kit_dir, &err);
	assert_non_null(q);
	json_t *l = ASK(query_subscribers(q, 10, &err));
	assert_int_equal(json_array_size(l), 1);
	json_decref(l);
	assert_int_equal(chmod(path, 0700), 0);
}

static void test_no_database(void **state)
{
	const char *err = NULL;
	(void)state;
	assert_null(query_open("/nonexistent", &err));
	assert_non_null(strstr(err, "/nonexistent/accounting/control.db"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_overview),
	    T(test_top),
	    T(test_chart),
	    T(test_exemptions),
	    T(test_message),
	    T(test_incidents),
	    T(test_reports),
	    T(test_who),
	    T(test_lists),
	    T(test_pages),
	    T(test_about),
	    T(test_find),
	    T(test_logins),
	    T(test_beside_the_writer),
	    T(test_without_the_writer),
	    cmocka_unit_test(test_no_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
