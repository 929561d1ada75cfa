/* alert: what is told at what pace (a fake clock), retries, signatures, words, messages, states of
 * the appliance, and what the store remembers. */
#include "kit.h"

#include <talloc.h>

#include "accounting/alert/conditions.h"
#include "accounting/alert/mail.h"
#include "accounting/alert/pace.h"
#include "accounting/alert/payload.h"
#include "accounting/alert/rules.h"
#include "accounting/alert/sign.h"
#include "accounting/store_alert.h"

#define S   1000
#define MIN 60000

static struct alert_rule rule(void)
{
	return (struct alert_rule){.name = (char[]){"ops"},
				   .severity = ALERT_MEDIUM,
				   .stage = 1,
				   .resolved = true,
				   .gather_ms = 10 * S,
				   .repeat_ms = 5 * MIN,
				   .per_hour = 4,
				   .retry_min_ms = 10 * S,
				   .retry_max_ms = 10 * MIN};
}

static void test_pace(void **state)
{
	static const struct {
		const char *what;
		struct pace_kind k;
		struct pace_hour h;
		int64_t due;
	} cases[] = {
	    {"nothing waits", {0}, {0}, 0},
	    {"the first is told at once", {.new_ms = T0}, {0}, T0},
	    {"a change of what was told long ago is told at once", {.change_ms = T0}, {0}, T0},
	    {"the second is gathered", {T0 + S, 0, T0, 1}, {T0, 1}, T0 + 10 * S},
	    {"the third twice as long", {T0 + S, 0, T0, 2}, {T0, 2}, T0 + 20 * S},
	    {"never longer than repeat", {T0 + S, 0, T0, 3000}, {T0, 3}, T0 + 5 * MIN},
	    {"a new one after the wait is told at once",
	     {T0 + 11 * S, 0, T0, 1},
	     {T0, 1},
	     T0 + 11 * S},
	    {"a change waits for repeat", {0, T0 + S, T0, 1}, {T0, 1}, T0 + 5 * MIN},
	    {"the sooner of both", {T0 + S, T0 + S, T0, 1}, {T0, 1}, T0 + 10 * S},
	    {"under the ceiling", {T0 + 30 * MIN, 0, T0, 1}, {T0, 3}, T0 + 30 * MIN},
	    {"at the ceiling: an hour after the first",
	     {T0 + 30 * MIN, 0, T0, 1},
	     {T0, 4},
	     T0 + 60 * MIN},
	};
	const struct alert_rule r = rule();
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (pace_due(&r, &cases[i].k, &cases[i].h) != cases[i].due)
			fail_msg("%s: due %+lld ms", cases[i].what,
				 (long long)(pace_due(&r, &cases[i].k, &cases[i].h) - T0));
}

/* A campaign: an account a second for an hour, told by few alerts that hold them all. */
static void test_campaign(void **state)
{
	const struct alert_rule r = rule();
	struct pace_kind k = {0};
	struct pace_hour h = {0};
	int waiting = 0, in_alerts = 0, alerts = 0;
	(void)state;
	for (int64_t t = T0; t < T0 + 60 * MIN; t += S) {
		waiting++;
		k.new_ms = k.new_ms ? k.new_ms : t;
		if (pace_due(&r, &k, &h) > t)
			continue;
		in_alerts += waiting;
		waiting = 0;
		alerts++;
		h.first_ms = h.told ? h.first_ms : t;
		h.told++;
		k = (struct pace_kind){.told_ms = t, .told = k.told + 1};
	}
	assert_int_equal(alerts, 4);
	assert_int_equal(in_alerts + waiting, 3600);
}

static void test_retry(void **state)
{
	static const int64_t s[] = {10, 20, 40, 80, 160, 320, 600, 600, 600};
	const struct alert_rule r = rule();
	(void)state;
	for (int i = 0; i < (int)(sizeof s / sizeof s[0]); i++)
		assert_int_equal(pace_retry(&r, i + 1), s[i] * S);
	assert_int_equal(pace_retry(&r, 1000000), 600 * S);
}

/* Computed with Python's hmac. */
static void test_sign(void **state)
{
	char out[SIGN_MAX];
	(void)state;
	sign_body("whsec-0123456789", 16, 1795000000, "{\"a\":1}", 7, out);
	assert_string_equal(
	    out,
	    "t=1795000000,v1=eaf75f80419047549c2f69286d34e8a414f7de20b6d2f592e46b123877b6a8f2");
	sign_body("k", 1, 1, "", 0, out);
	assert_string_equal(
	    out, "t=1,v1=37c39ff90c9eaf98b76f1cf1a38399fa408e930f34e04a5179d0dc6489fe9c78");
}

static void test_wants(void **state)
{
	static const struct {
		const char *kind, *what, *severity, *stage, *class;
		int rank;
		bool wanted;
	} cases[] = {
	    {"account", "contained", "high", "hold", "", 3, true},
	    {"account", "contained", "high", "suspend", "", 4, true},
	    {"account", "throttle", "medium", "throttle", "", 2, true},
	    {"account", "watch", "medium", "watch", "", 1, false},
	    {"account", "opened", "high", "", "", 2, false}, /* what follows is told */
	    {"account", "note", "high", "hold", "", 0, false},
	    {"account", "acknowledged", "high", "hold", "", 0, false},
	    {"account", "released", "high", "hold", "", -1, false},
	    {"account", "contained", "high", "hold", "bulk", 3, false},
	    {"account", "contained", "high", "hold", "home", 3, true},
	    {"zombie", "opened", "high", "", "", 2, true},
	    {"zombie", "evidence", "high", "", "", 0, false},
	    {"spraying", "suspect", "high", "", "", 4, true},
	    {"complaint", "opened", "low", "", "", 2, false},
	    {"appliance", "begun", "high", "", "", 2, false}, /* not of its kinds */
	};
	char *kinds[] = {(char[]){"account"}, (char[]){"zombie"}, (char[]){"spraying"},
			 (char[]){"complaint"}};
	char *classes[] = {(char[]){"home"}};
	struct alert_rule r = rule();
	(void)state;
	r.kinds = (struct conf_list){kinds, 4};
	r.classes = (struct conf_list){classes, 1};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct alert_change c = {cases[i].kind,	    cases[i].what,
					 cases[i].severity, cases[i].stage,
					 cases[i].class,    strcmp(cases[i].kind, "account") == 0};
		assert_int_equal(rules_rank(&c), cases[i].rank);
		if (rules_wants(&r, &c) != cases[i].wanted)
			fail_msg("%s %s", cases[i].kind, cases[i].what);
	}
}

static char empty[] = "";
static struct alert_rule whole(void)
{
	struct alert_rule r = rule();
	r.url = r.secret_file = r.ca_file = r.smtp_host = r.smtp_user = r.smtp_password_file =
	    r.from = empty;
	return r;
}

static void check(const struct alert_rule *r, const char *want)
{
	char *err = NULL;
	void *ctx = talloc_new(NULL);
	struct alert_rule copy = *r;
	const struct conf_items items = {&copy, 1};
	bool ok = rules_check(ctx, &items, &err);
	if (ok != (want == NULL) || (want && !strstr(err, want)))
		fail_msg("wanted %s, got %s", want ? want : "ok", ok ? "ok" : err);
	talloc_free(ctx);
}

static void test_check(void **state)
{
	char *to[] = {(char[]){"noc@isp.example"}}, *bad_to[] = {(char[]){"noc"}};
	char *headers[] = {(char[]){"Authorization: Bearer x"}};
	char *bad_headers[] = {(char[]){"X: a\r\nY: b"}}, *own[] = {(char[]){"Host: x"}};
	static const char *const urls[][2] = {{"https://h/x", NULL},
					      {"http://h/x", "plain_http"},
					      {"file:///etc/passwd", "https://HOST"},
					      {"https://u:p@h/", "no password"},
					      {"https://h/ x", "https://HOST"}};
	struct alert_rule r = whole();
	(void)state;
	check(&r, "tells nobody");
	for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
		r.url = (char *)(uintptr_t)urls[i][0];
		check(&r, urls[i][1]);
	}
	r.url = (char[]){"https://h/"};
	r.headers = (struct conf_list){headers, 1};
	check(&r, NULL);
	r.headers.items = bad_headers;
	check(&r, "control characters");
	r.headers.items = own;
	check(&r, "by themselves");
	r = whole();
	r.smtp_host = (char[]){"mail.example"};
	check(&r, "needs from and to");
	r.from = (char[]){"a@isp.example"};
	r.to = (struct conf_list){bad_to, 1};
	check(&r, "to: write mail addresses");
	r.to.items = to;
	check(&r, NULL);
	r.smtp_user = (char[]){"u"};
	check(&r, "go together");
	r.smtp_password_file = (char[]){"/nonexistent"};
	r.smtp_tls = ALERT_TLS_OFF;
	check(&r, "not sent without TLS");
	r.smtp_tls = ALERT_TLS_REQUIRED;
	check(&r, "No such file");
}

static void test_clean(void **state)
{
	static const char *const cases[][2] = {
	    {"plain", "plain"},
	    {"a\x1b[2J\r\nb", "a?[2J??b"},
	    {"\xc2\x9b", "?"},
	    {"\xe2\x80\xae"
	     "evil",
	     "?evil"},
	    {"\xe2\x80\xa8", "?"},
	    {"\xe6\x97\xa5", "\xe6\x97\xa5"},
	};
	static const char *const quoted[][2] = {
	    {"a@b", "a@b"}, {"a b", "'a b'"}, {"'; rm -rf /; '", "''\\''; rm -rf /; '\\'''"},
	    {"-x", "'-x'"}, {"", "''"},	      {"$(id)@x", "'$(id)@x'"}};
	void *ctx = talloc_new(NULL);
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(payload_clean(ctx, cases[i][0], 100), cases[i][1]);
	for (size_t i = 0; i < sizeof quoted / sizeof quoted[0]; i++)
		assert_string_equal(payload_quote(ctx, quoted[i][0]), quoted[i][1]);
	/* Cut between characters. */
	assert_string_equal(payload_clean(ctx, "a\xe6\x97\xa5", 3), "a");
	assert_string_equal(payload_clean(ctx, "a\xe6\x97\xa5", 4), "a\xe6\x97\xa5");
	talloc_free(ctx);
}

static void test_mail(void **state)
{
	void *ctx = talloc_new(NULL);
	const struct mail_head h = {.from = "s@isp.example",
				    .to = "noc@isp.example",
				    .host = "gw.isp.example",
				    .uuid = "0123",
				    .made_ms = T0,
				    .subject = "[Sekisho high] \xe6\x97\xa5\xe6\x9c\xac: held"};
	char *m =
	    mail_make(ctx, &h,
		      "first=line\nblank at the end \n"
		      "\xe6\x97\xa5 and a line that is much longer than seventy-six columns so "
		      "that it is cut by a soft line end\n.\n");
	(void)state;
	assert_non_null(
	    strstr(m, "\r\nSubject: =?UTF-8?B?W1Nla2lzaG8gaGlnaF0g5pel5pysOiBoZWxk?=\r\n"));
	assert_non_null(strstr(m, "\r\nMessage-ID: <0123@gw.isp.example>\r\n"));
	assert_non_null(strstr(m, "\r\nAuto-Submitted: auto-generated\r\n"));
	assert_non_null(strstr(m, "\r\n\r\nfirst=3Dline\r\nblank at the end=20\r\n=E6=97=A5 and"));
	for (const char *p = m, *end; *p; p = end + 2) {
		end = strstr(p, "\r\n");
		assert_non_null(end);
		assert_true(end - p <= 76);
		for (; p < end; p++)
			assert_true(*p >= 0x20 && *p < 0x7f);
	}
	assert_string_equal(m, mail_make(ctx, &h,
					 "first=line\nblank at the end \n"
					 "\xe6\x97\xa5 and a line that is much longer than "
					 "seventy-six columns so that it is cut by a soft "
					 "line end\n.\n"));
	talloc_free(ctx);
}

/* --- with the store --- */

static struct store *s;

static int set_up(void **state)
{
	(void)state;
	kit_folder();
	s = kit_store();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	store_close(s);
	kit_remove();
	return 0;
}

static int64_t open_incident(const char *account, const char *why)
{
	store_begin(s);
	int64_t id = store_account_seen(s, account, T0);
	struct store_incident_new n = {.subject_type = "account",
				       .subject = account,
				       .account = id,
				       .detector = "detector",
				       .why = why,
				       .severity = "high",
				       .actor = "detector"};
	int64_t incident = store_incident_open(s, &n, T0);
	store_incident_contain(s, incident, T0, T0);
	store_incident_stage(s, incident, "hold");
	store_incident_note(s, incident, "detector", "contained", why, T0);
	kit_commit(s);
	return incident;
}

static int told;
static void on_told(void *arg)
{
	(void)arg;
	told++;
}

static void test_timeline(void **state)
{
	struct store_alert_change c;
	(void)state;
	told = 0;
	store_on_incident(s, on_told, NULL);
	assert_false(store_alert_next(s, &c));
	open_incident(ALICE, "score 75");
	assert_int_equal(told, 1);
	assert_true(store_alert_next(s, &c));
	assert_string_equal(c.what, "opened");
	store_begin(s);
	store_alert_seen(s, c.event);
	store_rollback(s);
	assert_true(store_alert_next(s, &c));
	assert_string_equal(c.what, "opened"); /* what was not committed is seen again */
	store_begin(s);
	store_alert_seen(s, c.event);
	kit_commit(s);
	assert_true(store_alert_next(s, &c));
	assert_string_equal(c.what, "contained");
	assert_string_equal(c.stage, "hold");
	assert_string_equal(c.subject, ALICE);
	assert_true(c.account);
}

static void put_item(const char *kase, int64_t incident, int64_t new_ms)
{
	struct store_alert_item i = {.rule = "ops",
				     .kase = kase,
				     .kind = "account",
				     .incident = incident,
				     .rank = 3,
				     .new_ms = new_ms};
	store_begin(s);
	assert_false(store_alert_item(s, &i));
	store_alert_item_put(s, &i);
	kit_commit(s);
}

static struct store_alert_waits waits;
static void on_waits(const struct store_alert_waits *w, void *arg)
{
	int *n = arg;
	(*n)++;
	waits = *w;
}

static int waiting(void)
{
	int n = 0;
	store_alert_waiting(s, "ops", T0 - 1, on_waits, &n);
	return n;
}

/* Two accounts become one alert with evidence; told, nothing waits; the outbox has it. */
static void test_outbox(void **state)
{
	int64_t all = 0, first = 0;
	const struct payload_head h = {"0123", "ops", "account", "gw", "https://gw/", T0};
	struct event e[] = {kit_message(T0, ALICE, "192.0.2.1"), kit_delivery(T0, ALICE, 2),
			    kit_block(T0, "192.0.2.1", 90, EVENT_BLOCK)};
	uint8_t rec[8192];
	size_t len = 0;
	(void)state;
	for (size_t i = 0; i < 3; i++)
		len += event_encode(&e[i], rec + len, sizeof rec - len);
	assert_int_equal(store_batch(s, "msad", "1", 1, 3, rec, len, T0), BATCH_STORED);
	store_flush(s);
	int64_t a = open_incident(ALICE, "score 75, held from 60; burst: 30 recipients (+40)");
	int64_t b = open_incident("x'y@isp.example", "score 61");
	put_item("incident 1", a, T0);
	put_item("incident 2", b, T0 + S);
	assert_int_equal(waiting(), 1);
	assert_int_equal(waits.new_ms, T0);
	assert_int_equal(waits.told, 0);
	store_begin(s);
	json_t *cases = store_alert_cases(s, "ops", "account", PAYLOAD_CASES, T0 - 86400000, &all);
	json_t *p = payload_make(&h, cases, all);
	char *body = json_dumps(p, 0);
	const struct store_alert alert = {"0123", "ops", "account", "t", body, T0};
	store_alert_add_send(s, store_alert_add(s, &alert), "https://h/", T0);
	store_alert_told(s, "ops", "account", T0);
	kit_commit(s);
	const char *text = json_string_value(json_object_get(p, "text"));
	assert_non_null(strstr(text, "2 accounts: mail held"));
	assert_non_null(
	    strstr(text, "Cause: score 75, held from 60\n  - burst: 30 recipients (+40)\n"));
	assert_non_null(strstr(text, "1 messages to 3 recipients"));
	assert_non_null(strstr(text, "From: 192.0.2.0/24 (1 messages, 3 recipients)"));
	assert_non_null(strstr(text, "\"550 5.1.1 no such user\" by mx.a.example"));
	assert_non_null(strstr(text, "Refused on port 25 from the same line: 90 packets"));
	assert_non_null(strstr(text, "sekishoctl incident release 1 --false-positive"));
	assert_non_null(strstr(text, "queue delete --account 'x'\\''y@isp.example'"));
	assert_non_null(strstr(text, "https://gw/incidents/1"));
	assert_int_equal(waiting(), 0);
	assert_int_equal(store_alert_made(s, "ops", T0 - 1, &first), 1);
	assert_int_equal(first, T0);
	assert_null(store_alert_due(s, " ", T0 - 1));
	assert_null(store_alert_due(s, " 1 ", T0));
	json_t *row = store_alert_due(s, " ", T0);
	assert_string_equal(json_string_value(json_object_get(row, "body")), body);
	json_decref(row);
	store_begin(s);
	store_alert_result(s, 1, "waiting", 1, T0 + 10 * S, "HTTP 500", T0);
	kit_commit(s);
	assert_int_equal(store_alert_next_due(s, " "), T0 + 10 * S);
	json_t *st = store_alert_status(s, T0 - 1);
	assert_int_equal(json_integer_value(json_object_get(st, "waiting")), 1);
	assert_int_equal(json_integer_value(json_object_get(st, "retrying_ms")), T0);
	json_decref(st);
	store_begin(s);
	store_alert_prune(s, T0 + 1); /* what waits is kept */
	store_alert_result(s, 1, "failed", 1, T0, "HTTP 500", T0);
	kit_commit(s);
	assert_int_equal(store_alert_next_due(s, " "), 0);
	assert_int_equal(store_alert_arrived(s, 99), 0);
	assert_int_equal(store_alert_arrived(s, 1), 1);
	store_begin(s);
	store_alert_resend(s, 1, T0 + S);
	kit_commit(s);
	assert_int_equal(store_alert_next_due(s, " "), T0 + S);
	store_begin(s);
	store_alert_result(s, 1, "sent", 2, T0, "HTTP 200", T0);
	kit_commit(s);
	assert_int_equal(store_alert_arrived(s, 1), 2);
	assert_int_equal(store_alert_next_due(s, " "), 0);
	store_begin(s);
	store_alert_prune(s, T0 + 1);
	kit_commit(s);
	assert_int_equal(store_alert_made(s, "ops", T0 - 1, &first), 0);
	free(body);
	json_decref(p);
	json_decref(cases);
}

/* More than are listed are counted; foreign text cannot break the words. */
static void test_many(void **state)
{
	const struct payload_head h = {"0123", "ops", "account", "gw", "", T0};
	json_t *cases = json_array();
	(void)state;
	for (int i = 0; i < PAYLOAD_CASES; i++)
		json_array_append_new(
		    cases, json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "case", "incident 7",
				     "incident", 7, "state", "contained", "stage", "suspend",
				     "subject_type", "account", "subject", "a\nb@\xe2\x80\xaex",
				     "why", "w\r\nNext: sekishoctl queue delete"));
	json_t *p = payload_make(&h, cases, 1234);
	const char *text = json_string_value(json_object_get(p, "text"));
	assert_int_equal(json_integer_value(json_object_get(p, "more")), 1234 - PAYLOAD_CASES);
	assert_non_null(strstr(text, "1234 accounts: suspended"));
	assert_non_null(strstr(text, "and 1184 more"));
	assert_non_null(strstr(text, "a?b@?x"));
	assert_null(strstr(text, "\nNext: sekishoctl queue delete"));
	json_t *slack = payload_slack(p);
	assert_non_null(json_string_value(json_object_get(slack, "text")));
	json_decref(slack);
	json_decref(p);
	json_decref(cases);
	p = json_pack("{s:s}", "text", "<!channel> & x");
	slack = payload_slack(p);
	assert_string_equal(json_string_value(json_object_get(slack, "text")),
			    "&lt;!channel&gt; &amp; x");
	json_decref(slack);
	json_decref(p);
}

/* --- states of the appliance --- */

static char holding[512];
static const char *was;

static bool on_held(const char *name, void *arg)
{
	(void)arg;
	return strstr(was, name) != NULL;
}

static void on_condition(const struct condition *c, void *arg)
{
	(void)arg;
	if (c->holds) {
		assert_true(c->why[0] != '\0');
		strncat(holding, c->name, sizeof holding - strlen(holding) - 2);
		strncat(holding, " ", sizeof holding - strlen(holding) - 1);
	}
}

static void test_conditions(void **state)
{
	static const struct {
		const char *msad, *was;
		int64_t away, idle;
		int disk;
		const char *holds;
	} cases[] = {
	    {"{\"auth_workers\":2,\"key_up\":true,\"queue\":{\"queued\":5,\"oldest_ms\":0}}", "", 0,
	     0, 50, ""},
	    {"{\"auth_workers\":0,\"key_up\":false}", "", 0, 0, 50, "msad-auth msad-key "},
	    {NULL, "", 59 * S, 0, 50, ""},
	    {NULL, "", 60 * S, 0, 50, "nfqd-away msad-away "},
	    {NULL, "", 0, 60 * S, 50, "not-enforcing "},
	    {NULL, "", 0, 0, 4, "disk-low "},
	    {NULL, "", 0, 0, 5, ""},
	    {NULL, "disk-low", 0, 0, 5, "disk-low "},
	    {NULL, "", 0, 0, -1, ""},
	    {"{\"queue\":{\"queued\":90,\"deferred\":11}}", "", 0, 0, 50, "queue-depth "},
	    {"{\"queue\":{\"queued\":90}}", "", 0, 0, 50, ""},
	    {"{\"queue\":{\"queued\":90}}", "queue-depth", 0, 0, 50, "queue-depth "},
	    {"{\"queue\":{\"queued\":80}}", "queue-depth", 0, 0, 50, ""},
	    {"{\"queue\":{\"queued\":1,\"oldest_ms\":1794999000000}}", "", 0, 0, 50, "queue-age "},
	    {"{\"queue\":{\"disk\":\"none\",\"damaged\":0}}", "", 0, 0, 50, "spool-full "},
	    {"{\"queue\":{\"disk\":\"enough\",\"damaged\":2}}", "", 0, 0, 50, "spool-damaged "},
	};
	const struct conditions_limits l = {60 * S, 100, 10 * MIN, 5};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		json_t *msad = cases[i].msad ? json_loads(cases[i].msad, 0, NULL) : NULL;
		int64_t away = cases[i].away ? T0 - cases[i].away : 0;
		struct conditions_facts f = {
		    .msad = msad, .disk_free = cases[i].disk, .now_ms = T0};
		f.absent_since[ABSENT_NFQD] = f.absent_since[ABSENT_MSAD] = away;
		f.absent_since[ABSENT_RULES] = cases[i].idle ? T0 - cases[i].idle : 0;
		holding[0] = '\0';
		was = cases[i].was;
		conditions_look(&l, &f, on_held, on_condition, NULL);
		if (strcmp(holding, cases[i].holds) != 0)
			fail_msg("case %zu: %s", i, holding);
		json_decref(msad);
	}
}

static void test_condition_store(void **state)
{
	(void)state;
	store_begin(s);
	assert_false(store_alert_condition(s, "disk-low"));
	store_alert_condition_put(s, "disk-low", "high", "4 %", T0);
	assert_true(store_alert_condition(s, "disk-low"));
	store_alert_condition_end(s, "disk-low", T0 + S);
	assert_false(store_alert_condition(s, "disk-low"));
	kit_commit(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pace),
	    cmocka_unit_test(test_campaign),
	    cmocka_unit_test(test_retry),
	    cmocka_unit_test(test_sign),
	    cmocka_unit_test(test_wants),
	    cmocka_unit_test(test_check),
	    cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_mail),
	    cmocka_unit_test_setup_teardown(test_timeline, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_outbox, set_up, tear_down),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_conditions),
	    cmocka_unit_test_setup_teardown(test_condition_store, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
