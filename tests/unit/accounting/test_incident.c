/* incident: penalties and cases in step, over losses of the connection; and reports to whom they
 * are about. */
#include "kit.h"

#include <talloc.h>

#include "accounting/incident.h"
#include "accounting/report.h"

#define CAROL "carol@isp.example"

static struct store *s;
static struct incidents *in;
static struct rl_penalty set[16];
static int n_set;
static bool away;

static bool on_set(const struct rl_penalty *p, void *arg)
{
	(void)arg;
	if (away)
		return false;
	set[n_set++ % 16] = *p;
	return true;
}

static int set_up(void **state)
{
	(void)state;
	kit_folder();
	s = kit_store();
	n_set = 0;
	away = false;
	in = incidents_new(s, on_set, NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	incidents_free(in);
	store_close(s);
	kit_remove();
	return 0;
}

static struct rl_penalty burst(const char *account, int64_t since)
{
	struct rl_penalty p = {.stage = RL_HOLD,
			       .since_ms = since,
			       .rule = "burst",
			       .actor = "detector",
			       .why = "612 recipients in 10m, limit 30"};
	snprintf(p.account, sizeof p.account, "%s", account);
	return p;
}

static struct store_incident of(const char *account)
{
	struct store_incident inc = {.id = 0};
	(void)store_incident_of(s, account, NULL, &inc);
	return inc;
}

static const char *release(const char *account, int64_t now, struct incident_change *c)
{
	const char *code;
	store_begin(s);
	const char *bad = incidents_release(in, 0, account, "cleaned", "taro", now, c, &code);
	if (bad)
		store_rollback(s);
	else
		kit_commit(s);
	return bad;
}

static const char *hold(const char *account, int64_t now, struct incident_change *c,
			const char **code)
{
	store_begin(s);
	const char *bad =
	    incidents_hold(in, 0, account, "operator", "phone call", "taro", now, c, code);
	if (bad)
		store_rollback(s);
	else
		kit_commit(s);
	return bad;
}

static void test_penalty_opens(void **state)
{
	struct rl_penalty p = burst(ALICE, T0);
	(void)state;
	int64_t sub = kit_subscriber(s, "C-1");
	store_begin(s);
	store_account_put(s, ALICE, sub, T0);
	kit_commit(s);
	incidents_penalty(in, &p, T0);
	struct store_incident inc = of(ALICE);
	assert_string_equal(inc.state, "contained");
	assert_string_equal(inc.detector, "burst");
	assert_int_equal(inc.subscriber, sub);
	assert_int_equal(inc.penalty_ms, T0);
	assert_int_equal(kit_sql("SELECT count(*) FROM incident WHERE why LIKE '612 recipients%'"),
			 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM incident_event"), 2); /* opened, contained */
	incidents_penalty(in, &p, T0 + 1); /* said again: nothing new */
	assert_int_equal(kit_sql("SELECT count(*) FROM incident_event"), 2);
	assert_int_equal(n_set, 0);
}

static void test_account_unknown_before(void **state)
{
	struct rl_penalty p = burst(CAROL, T0);
	(void)state;
	incidents_penalty(in, &p, T0);
	assert_true(store_account(s, CAROL) > 0);
	assert_int_equal(of(CAROL).subscriber, 0);
}

static void test_release_and_again(void **state)
{
	struct rl_penalty p = burst(ALICE, T0), back = p;
	struct incident_change c;
	(void)state;
	incidents_penalty(in, &p, T0);
	int64_t id = of(ALICE).id;
	assert_null(release(ALICE, T0 + 10, &c));
	assert_int_equal(c.id, id);
	assert_int_equal(c.penalty.stage, RL_NORMAL);
	assert_int_equal(c.penalty.since_ms, T0);
	assert_true(incidents_apply(in, &c));
	assert_int_equal(n_set, 1);
	assert_string_equal(of(ALICE).state, "released");
	back.stage = RL_NORMAL; /* ratelimitd's echo */
	incidents_penalty(in, &back, T0 + 11);
	assert_string_equal(of(ALICE).state, "released");
	assert_non_null(release(ALICE, T0 + 12, &c)); /* not held any more */

	p.since_ms = T0 + 1000; /* a new burst: the same case, contained again */
	incidents_penalty(in, &p, T0 + 1000);
	assert_int_equal(of(ALICE).id, id);
	assert_string_equal(of(ALICE).state, "contained");

	incidents_penalty(in, &back,
			  T0 + 1001); /* a late echo of the old release changes nothing */
	assert_string_equal(of(ALICE).state, "contained");
	assert_null(release(ALICE, T0 + 2000, &c));
	store_begin(s);
	store_incident_state(s, id, "resolved", NULL, T0 + 2001);
	kit_commit(s);
	p.since_ms = T0 + 3000; /* after it was resolved: a new case */
	incidents_penalty(in, &p, T0 + 3000);
	assert_true(of(ALICE).id > id);
}

/* Released while ratelimitd was away: what it still has is lifted. */
static void test_lift_after_absence(void **state)
{
	struct rl_penalty p = burst(ALICE, T0);
	struct incident_change c;
	(void)state;
	incidents_penalty(in, &p, T0);
	away = true;
	assert_null(release(ALICE, T0 + 10, &c));
	assert_false(incidents_apply(in, &c));
	away = false;
	incidents_connected(in);
	incidents_penalty(in, &p, T0 + 20);
	incidents_synced(in, T0 + 20);
	assert_int_equal(n_set, 1);
	assert_int_equal(set[0].stage, RL_NORMAL);
	assert_string_equal(set[0].account, ALICE);
	assert_string_equal(of(ALICE).state, "released");
}

/* Contained here, lost there: set again. Known there: left alone. */
static void test_restore_after_absence(void **state)
{
	struct rl_penalty p = burst(ALICE, T0), q = burst(CAROL, T0 + 1);
	(void)state;
	incidents_penalty(in, &p, T0);
	incidents_penalty(in, &q, T0 + 1);
	incidents_connected(in);
	incidents_penalty(in, &q, T0 + 20);
	incidents_synced(in, T0 + 20);
	assert_int_equal(n_set, 1);
	assert_int_equal(set[0].stage, RL_HOLD);
	assert_string_equal(set[0].account, ALICE);
	assert_int_equal(set[0].since_ms, T0);
	assert_string_equal(set[0].rule, "burst");
	incidents_penalty(in, &set[0], T0 + 21); /* its echo opens nothing */
	assert_int_equal(kit_sql("SELECT count(*) FROM incident"), 2);
}

/* In force there, unknown here (acctd was away): opened. */
static void test_opened_after_absence(void **state)
{
	struct rl_penalty p = burst(ALICE, T0);
	(void)state;
	incidents_connected(in);
	incidents_penalty(in, &p, T0 + 99999);
	incidents_synced(in, T0 + 99999);
	assert_string_equal(of(ALICE).state, "contained");
	assert_int_equal(n_set, 0);
}

static void test_hold_by_people(void **state)
{
	struct incident_change c;
	const char *code;
	(void)state;
	assert_non_null(hold("nobody@isp.example", T0, &c, &code));
	assert_string_equal(code, "notfound");
	kit_put(s, kit_message(T0, ALICE, "192.0.2.1"));
	assert_null(hold(ALICE, T0 + 5, &c, &code));
	assert_int_equal(c.penalty.stage, RL_HOLD);
	assert_int_equal(c.penalty.since_ms, T0 + 5);
	assert_string_equal(c.penalty.rule, "operator");
	assert_non_null(strstr(c.penalty.why, "phone call"));
	assert_string_equal(of(ALICE).state, "contained");
	incidents_penalty(in, &c.penalty, T0 + 6); /* the echo is known */
	assert_int_equal(kit_sql("SELECT count(*) FROM incident"), 1);
	assert_non_null(hold(ALICE, T0 + 7, &c, &code));
	assert_string_equal(code, "exists");
	assert_null(release(ALICE, T0 + 8, &c));
	assert_string_equal(of(ALICE).state, "released");
}

/* A detector's penalty crosses an operator's hold on the way: one release ends both. */
static void test_crossing(void **state)
{
	struct incident_change c;
	struct rl_penalty p = burst(ALICE, T0 + 4);
	const char *code;
	(void)state;
	kit_put(s, kit_message(T0, ALICE, "192.0.2.1"));
	assert_null(hold(ALICE, T0 + 5, &c, &code));
	incidents_penalty(in, &p, T0 + 6);
	incidents_penalty(in, &c.penalty, T0 + 7);
	assert_int_equal(kit_sql("SELECT count(*) FROM incident WHERE state = 'contained'"), 2);
	assert_null(release(ALICE, T0 + 8, &c));
	assert_int_equal(kit_sql("SELECT count(*) FROM incident WHERE state = 'released'"), 2);
}

/* --- reports --- */

static struct arf blank_arf(void)
{
	return (struct arf){.format = (char *)"arf",
			    .feedback_type = (char *)"abuse",
			    .reporter = (char *)"fbl@r.example",
			    .source_ip = (char *)"",
			    .token = (char *)"",
			    .queue_id = (char *)"",
			    .tagged = (char *)"",
			    .original_headers = (char *)"Subject: x\n"};
}

static void set_source(struct arf *a, const char *ip, uint32_t port)
{
	a->source_ip = (char *)(uintptr_t)ip;
	a->source = kit_addr(ip);
	a->source_port = port;
}

static int serial;

static int64_t file(const struct arf *a, struct report_match *m, int64_t *incident)
{
	char sha[16];
	snprintf(sha, sizeof sha, "%d", ++serial);
	store_begin(s);
	int64_t id = report_file(s, in, a, NULL, sha, T0 + 60000, m, incident);
	kit_commit(s);
	assert_true(id > 0);
	return id;
}

static void test_match_order(void **state)
{
	struct arf a = blank_arf();
	struct report_match m;
	int64_t sub = kit_subscriber(s, "C-1"), other = kit_subscriber(s, "C-2");
	(void)state;
	kit_put(s, kit_message(T0, ALICE, "192.0.2.1"));
	store_begin(s);
	store_account_put(s, ALICE, sub, T0);
	kit_commit(s);
	kit_lease(s, "198.51.100.7", other, T0 - 1000, 0);
	a.token = (char *)TOKEN;
	set_source(&a, "198.51.100.7", 0); /* our own relay, or a lie: the token counts more */
	report_match(s, &a, NULL, T0, &m);
	assert_string_equal(m.how, "token");
	assert_string_equal(m.login, ALICE);
	assert_int_equal(m.subscriber, sub);
	assert_string_equal(m.queue_id, QUEUE_ID);

	a.token = (char *)"ffffffffffffffffffffffff"; /* not ours */
	a.queue_id = (char *)QUEUE_ID;
	report_match(s, &a, NULL, T0, &m);
	assert_string_equal(m.how, "queue_id");
	assert_string_equal(m.login, ALICE);

	a.queue_id = (char *)"";
	report_match(s, &a, NULL, T0, &m);
	assert_string_equal(m.how, "lease");
	assert_int_equal(m.subscriber, other);
	assert_int_equal(m.account, 0);

	a.arrival_ms = T0 - 2000; /* before that lease */
	report_match(s, &a, NULL, T0, &m);
	assert_string_equal(m.how, "none");
	assert_non_null(strstr(m.error, "nobody had a lease of 198.51.100.7"));
}

/* T0 is in day 20775. A tag of day 782 was made on day 775. */
static void test_match_tag(void **state)
{
	struct arf a = blank_arf();
	struct report_match m;
	struct report_tag tag = {.sender = ALICE};
	struct event mail = kit_message(T0, ALICE, "192.0.2.1");
	int64_t day = T0 / 86400000 * 86400000;
	(void)state;
	report_tag_day(782, T0, &tag);
	assert_int_equal(tag.from_ms, day);
	report_tag_day(781, T0, &tag);
	assert_int_equal(tag.from_ms, day - 86400000);
	report_tag_day(783, T0, &tag); /* tomorrow was a thousand days ago */
	assert_int_equal(tag.from_ms, day - INT64_C(999) * 86400000);
	report_tag_day(6, (T0 / 86400000 + 224) * 86400000, &tag); /* 999 has become 0 */
	assert_int_equal(tag.from_ms, (T0 / 86400000 + 224) * 86400000);
	report_tag_day(782, T0, &tag);

	snprintf(mail.u.message.mail_from, sizeof mail.u.message.mail_from, "%s", ALICE);
	kit_put(s, mail);
	report_match(s, &a, &tag, T0, &m);
	assert_string_equal(m.how, "tag");
	assert_string_equal(m.login, ALICE);
	assert_string_equal(m.queue_id, QUEUE_ID); /* the only one */

	tag.sender = "";
	report_match(s, &a, &tag, T0, &m);
	assert_string_equal(m.how, "none");
	assert_non_null(strstr(m.error, "nor a valid tag"));

	tag.sender = ALICE;
	tag.from_ms -= 86400000;
	tag.to_ms -= 86400000;
	report_match(s, &a, &tag, T0, &m);
	assert_string_equal(m.how, "none");
	assert_non_null(strstr(m.error, "nobody is known"));
	tag.from_ms += 86400000;
	tag.to_ms += 86400000;

	/* An alias, of one account; then of another, too. */
	snprintf(mail.u.message.queue_id, sizeof mail.u.message.queue_id, "%s", "second0000000000");
	snprintf(mail.u.message.mail_from, sizeof mail.u.message.mail_from, "%s",
		 "Sales@isp.example");
	kit_put(s, mail);
	kit_put(s, mail);
	tag.sender = "sales@isp.example";
	report_match(s, &a, &tag, T0, &m);
	assert_string_equal(m.how, "tag");
	assert_string_equal(m.login, ALICE);
	assert_string_equal(m.queue_id, ""); /* of two nobody can say which */
	snprintf(mail.u.message.account, sizeof mail.u.message.account, "%s", CAROL);
	kit_put(s, mail);
	report_match(s, &a, &tag, T0, &m);
	assert_string_equal(m.how, "none");
	assert_non_null(strstr(m.error, "several accounts"));
}

static void test_match_lease_account_port(void **state)
{
	struct arf a = blank_arf();
	struct report_match m;
	int64_t one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2");
	int ended;
	struct store_lease l = {.prefix = kit_prefix("192.0.2.1"),
				.port_lo = 1000,
				.port_hi = 1999,
				.subscriber = one,
				.from_ms = T0 - 1000};
	(void)state;
	store_begin(s);
	store_lease_add(s, &l, &kit_who, T0, &ended);
	l.port_lo = 2000;
	l.port_hi = 2999;
	l.subscriber = two;
	store_lease_add(s, &l, &kit_who, T0, &ended);
	kit_commit(s);
	struct event mail = kit_message(T0 - 600, CAROL, "192.0.2.1");
	mail.src_port = 2500; /* the neighbour's */
	kit_put(s, mail);
	mail = kit_message(T0 - 600, ALICE, "192.0.2.1");
	mail.src_port = 1600;
	kit_put(s, mail);
	set_source(&a, "192.0.2.1", 0);
	a.arrival_ms = T0;
	report_match(s, &a, NULL, T0, &m);
	assert_string_equal(m.how, "none");
	assert_non_null(strstr(m.error, "names no port"));
	set_source(&a, "192.0.2.1", 1500);
	report_match(s, &a, NULL, T0, &m);
	assert_string_equal(m.how, "lease");
	assert_int_equal(m.subscriber, one);
	assert_string_equal(m.login, ALICE); /* alone there within the hour */
	mail = kit_message(T0 - 500, CAROL, "192.0.2.1");
	mail.src_port = 1999;
	kit_put(s, mail);
	report_match(s, &a, NULL, T0, &m);
	assert_int_equal(m.account, 0); /* two: nobody can say which */
	assert_int_equal(m.subscriber, one);
}

static void test_filing(void **state)
{
	struct arf a = blank_arf();
	struct report_match m;
	int64_t incident;
	(void)state;
	kit_put(s, kit_message(T0, ALICE, "192.0.2.1"));
	a.feedback_type = (char *)"not-spam";
	a.token = (char *)TOKEN;
	file(&a, &m, &incident);
	assert_string_equal(m.how, "token");
	assert_int_equal(incident, 0); /* no complaint: no case */
	a.feedback_type = (char *)"abuse";
	file(&a, &m, &incident);
	struct store_incident inc = of(ALICE);
	assert_int_equal(inc.id, incident);
	assert_string_equal(inc.detector, "complaint");
	assert_string_equal(inc.state, "open");
	int64_t second;
	file(&a, &m, &second);
	assert_int_equal(second, incident); /* the same case */
	assert_true(m.again);
	assert_int_equal(store_report_count(s, incident), 1); /* of one message */
	struct event other = kit_message(T0 + 1, ALICE, "192.0.2.1");
	snprintf(other.u.message.queue_id, sizeof other.u.message.queue_id, "zzzzzzzzzzzzzzzz");
	snprintf(other.u.message.token, sizeof other.u.message.token, "fedcba9876543210fedcba98");
	kit_put(s, other);
	a.token = (char *)"fedcba9876543210fedcba98";
	file(&a, &m, &second);
	assert_false(m.again);
	assert_int_equal(store_report_count(s, incident), 2);
	assert_int_equal(n_set, 0);

	struct arf none = blank_arf();
	file(&none, &m, &incident);
	assert_string_equal(m.how, "none");
	assert_int_equal(incident, 0);
	assert_non_null(strstr(m.error, "neither our trace token"));
}

/* A complaint joins the burst's case; a subscriber's one joins the subscriber's. */
static void test_filing_joins(void **state)
{
	struct arf a = blank_arf();
	struct report_match m;
	struct rl_penalty p = burst(ALICE, T0);
	int64_t incident, again, sub = kit_subscriber(s, "C-1");
	(void)state;
	kit_put(s, kit_message(T0, ALICE, "192.0.2.1"));
	store_begin(s);
	store_account_put(s, ALICE, sub, T0);
	kit_commit(s);
	incidents_penalty(in, &p, T0);
	a.token = (char *)TOKEN;
	file(&a, &m, &incident);
	assert_int_equal(incident, of(ALICE).id);
	assert_string_equal(of(ALICE).detector, "burst");
	struct arf line = blank_arf();
	kit_lease(s, "203.0.113.5", sub, T0 - 1000, 0);
	set_source(&line, "203.0.113.5", 0);
	file(&line, &m, &again);
	assert_int_equal(again, incident); /* the same subscriber */
}

/* The address went from one subscriber to another: two lines, two cases. */
static void test_line_changes_hands(void **state)
{
	struct arf a = blank_arf();
	struct report_match m;
	int64_t first, second, one = kit_subscriber(s, "C-1"), two = kit_subscriber(s, "C-2");
	(void)state;
	kit_lease(s, "203.0.113.5", one, T0 - 2000, T0 - 1000);
	kit_lease(s, "203.0.113.5", two, T0 - 1000, 0);
	set_source(&a, "203.0.113.5", 0);
	a.arrival_ms = T0 - 1500;
	file(&a, &m, &first);
	assert_int_equal(m.subscriber, one);
	a.arrival_ms = T0 - 500;
	file(&a, &m, &second);
	assert_int_equal(m.subscriber, two);
	assert_true(first > 0 && second > first);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* A zombie line: one case, brought up to date; another one only by new packets after the end. */
static void test_suspect(void **state)
{
	(void)state;
	int64_t sub = kit_subscriber(s, "K-7");
	kit_lease(s, "192.0.2.7", sub, T0 - 1000000, 0);
	kit_put(s, kit_suspect(T0, "192.0.2.7", 40));
	assert_int_equal(kit_sql("SELECT count(*) FROM incident WHERE detector = 'zombie' AND "
				 "subject_type = 'line' AND subject = '192.0.2.7' AND state = "
				 "'open' AND severity = 'high' AND why LIKE '%120 refused%at least "
				 "40 servers in 20 networks%198.51.100.25%'"),
			 1);
	assert_int_equal(kit_sql("SELECT subscriber_id FROM incident"), sub);
	for (int i = 1; i <= 20; i++)
		kit_put(s, kit_suspect(T0 + i * 300000, "192.0.2.7", 41));
	assert_int_equal(kit_sql("SELECT count(*) FROM incident"), 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM incident WHERE why LIKE '%123 refused%'"),
			 1);
	assert_int_equal(kit_sql("SELECT updated_ms FROM incident"), T0 + 20 * 300000);
	/* 100 minutes: the opening and one line of evidence after an hour. */
	assert_int_equal(kit_sql("SELECT count(*) FROM incident_event"), 2);
	int64_t end = T0 + 21 * 300000;
	store_begin(s);
	store_incident_state(s, kit_sql("SELECT id FROM incident"), "resolved", NULL, end);
	kit_commit(s);
	kit_put(s, kit_suspect(end + 59999, "192.0.2.7", 40)); /* began before the end */
	assert_int_equal(kit_sql("SELECT count(*) FROM incident"), 1);
	kit_put(s, kit_suspect(end + 60001, "192.0.2.7", 40));
	assert_int_equal(kit_sql("SELECT count(*) FROM incident"), 2);
	assert_int_equal(kit_sql("SELECT count(*) FROM incident WHERE state = 'open'"), 1);
}

/* Nobody's line is a case all the same; a /64 is shown as one; a new holder is another subject. */
static void test_suspect_unknown(void **state)
{
	(void)state;
	kit_put(s, kit_suspect(T0, "2001:db8:0:7::", 40));
	assert_int_equal(kit_sql("SELECT count(*) FROM incident WHERE subject = "
				 "'2001:db8:0:7::/64' AND subscriber_id IS NULL"),
			 1);
	int64_t sub = kit_subscriber(s, "K-8");
	kit_lease(s, "2001:db8::/56", sub, T0 + 1000, 0);
	kit_put(s, kit_suspect(T0 + 100000, "2001:db8:0:7::", 40));
	assert_int_equal(kit_sql("SELECT count(*) FROM incident"), 2);
	assert_int_equal(kit_sql("SELECT count(*) FROM incident WHERE subscriber_id NOTNULL"), 1);
}

static void sprayed(const char *src, int64_t t_ms, int first, int n)
{
	char login[64];
	for (int i = first; i < first + n; i++) {
		snprintf(login, sizeof login, "victim%02d@isp.example", i);
		kit_put(s, kit_login(t_ms, login, src, false));
	}
}

#define SPRAY "SELECT count(*) FROM incident WHERE detector = 'spraying' AND "

/* A spraying network: one case with what was tried; who gets in from there is named in it, once. */
static void test_spray(void **state)
{
	(void)state;
	kit_put(s, kit_login(T0 - 7200000, "old@isp.example", "203.0.113.9", false));
	kit_put(s, kit_login(T0 - 60000, "other@isp.example", "203.0.113.10", false));
	kit_put(s, kit_login(T0 - 60000, "before@isp.example", "203.0.113.9", true));
	sprayed("203.0.113.9", T0 - 1000, 0, 12);
	sprayed("203.0.113.9", T0 - 900, 3, 1);
	kit_put(s, kit_login(T0 - 500, ALICE, "203.0.113.9", true)); /* no case yet */
	kit_put(s, kit_spray(T0, "203.0.113.9", 10));
	assert_int_equal(kit_sql(SPRAY
				 "subject_type = 'line' AND subject = '203.0.113.9' AND state = "
				 "'open' AND severity = 'medium'"),
			 1);
	assert_int_equal(kit_sql(SPRAY
				 "why LIKE 'password spraying: 12 accounts failed in 13 attempts "
				 "from %: victim03@isp.example, victim00@isp.example, %; logged "
				 "in from there: %before@isp.example%'"),
			 1);
	assert_int_equal(kit_sql(SPRAY "why LIKE '%" ALICE "%'"), 1);
	assert_int_equal(kit_sql(SPRAY "why LIKE '%old@%' OR why LIKE '%other@%'"), 0);
	/* afterwards */
	kit_put(s, kit_login(T0 + 1000, "bob@isp.example", "203.0.113.10", true));
	assert_int_equal(kit_sql("SELECT count(*) FROM incident_event WHERE what = 'suspect'"), 0);
	for (int i = 0; i < 3; i++)
		kit_put(s, kit_login(T0 + 1000 + i, "bob@isp.example", "203.0.113.9", true));
	assert_int_equal(
	    kit_sql("SELECT count(*) FROM incident_event WHERE what = 'suspect' AND text "
		    "LIKE 'bob@isp.example logged in%'"),
	    1);
	assert_int_equal(kit_sql(SPRAY "severity = 'high'"), 1);
	/* more of it: the same case; resolved, a new one only by new attempts */
	sprayed("203.0.113.9", T0 + 2000, 20, 15);
	kit_put(s, kit_spray(T0 + 3000, "203.0.113.9", 20));
	assert_int_equal(kit_sql(SPRAY "why LIKE '%27 accounts failed in 28%more%'"), 1);
	store_begin(s);
	store_incident_state(s, kit_sql("SELECT id FROM incident"), "resolved", NULL, T0 + 4000);
	kit_commit(s);
	kit_put(s, kit_spray(T0 + 3500, "203.0.113.9", 20));
	assert_int_equal(kit_sql(SPRAY "1"), 1);
	kit_put(s, kit_login(T0 + 4500, "carol@isp.example", "203.0.113.9", true));
	assert_int_equal(kit_sql("SELECT count(*) FROM incident_event WHERE what = 'suspect'"), 1);
	kit_put(s, kit_spray(T0 + 5000, "203.0.113.9", 20));
	assert_int_equal(kit_sql(SPRAY "1"), 2);
}

/* An IPv6 network is its /64, whichever address of it logs in; a customer's own line has his name.
 */
static void test_spray_network(void **state)
{
	(void)state;
	int64_t sub = kit_subscriber(s, "K-9");
	kit_lease(s, "2001:db8::/56", sub, T0 - 1000000, 0);
	sprayed("2001:db8:0:7::5", T0 - 1000, 0, 6);
	sprayed("2001:db8:0:7::6", T0 - 1000, 6, 6);
	sprayed("2001:db8:0:8::6", T0 - 1000, 12, 6);
	kit_put(s, kit_spray(T0, "2001:db8:0:7::6", 10));
	assert_int_equal(
	    kit_sql(SPRAY "subject = '2001:db8:0:7::/64' AND why LIKE '%12 accounts%'"), 1);
	assert_int_equal(kit_sql("SELECT subscriber_id FROM incident"), sub);
	kit_put(s, kit_login(T0 + 1, "bob@isp.example", "2001:db8:0:7::99", true));
	kit_put(s, kit_login(T0 + 1, "eve@isp.example", "2001:db8:0:8::99", true));
	assert_int_equal(kit_sql("SELECT count(*) FROM incident_event WHERE what = 'suspect'"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_suspect, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_suspect_unknown, set_up, tear_down),
	    T(test_spray),
	    T(test_spray_network),
	    T(test_penalty_opens),
	    T(test_account_unknown_before),
	    T(test_release_and_again),
	    T(test_lift_after_absence),
	    T(test_restore_after_absence),
	    T(test_opened_after_absence),
	    T(test_hold_by_people),
	    T(test_crossing),
	    T(test_match_order),
	    T(test_match_tag),
	    T(test_match_lease_account_port),
	    T(test_filing),
	    T(test_filing_joins),
	    T(test_line_changes_hands),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
