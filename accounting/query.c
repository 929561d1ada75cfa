/*
 * query - the questions of the dashboard and sekishoctl (contract in query.h).
 *
 * One read-only handle, one list of statements, prepared when first asked. Counts come from the
 * rollups, which know minutes: a window begins at the start of its first minute.
 *
 * Trusted with: reading. Known gaps: the lists of lines and sources in a window read its 5-minute
 * rows; at ten million lines a day's list may reach the deadline.
 */
#include "accounting/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"
#include "ratelimit/answer.h"
#include "accounting/query_stmts.h"
#include "accounting/store_sql.h"

#define DEADLINE_MS 2000
#define MINUTE_MS   60000
#define CHART_MS    (15 * MINUTE_MS)
#define CHART_ROWS  96

enum query_stmt {
#define X(name, sql) name,
	QUERY_STATEMENTS(X)
#undef X
	    Q_COUNT
};

static const char *const statements[] = {
#define X(name, sql) [name] = (sql),
    QUERY_STATEMENTS(X)
#undef X
};

struct query {
	struct sql *db;
};

struct query *query_open(const char *state_dir, const char **err)
{
	static char why[512];
	char *path = NULL, *bad = NULL;
	struct query *q = calloc(1, sizeof *q);
	if (!q || asprintf(&path, "%s/accounting/control.db", state_dir) < 0)
		fatal("out of memory");
	q->db = sql_open(path, SQL_READER, DEADLINE_MS, statements, Q_COUNT, &bad);
	free(path);
	if (q->db)
		return q;
	snprintf(why, sizeof why, "%s", bad);
	*err = why;
	free(bad);
	free(q);
	return NULL;
}

void query_close(struct query *q)
{
	if (!q)
		return;
	sql_close(q->db);
	free(q);
}

static struct sql *begin(struct query *q)
{
	sql_clear(q->db);
	return q->db;
}

/* j, or NULL with the database's words in *err. */
static json_t *end(struct query *q, json_t *j, const char **err)
{
	const char *bad = sql_error(q->db);
	if (!bad && j)
		return j;
	json_decref(j);
	*err = bad ? bad : "not found";
	return NULL;
}

static int64_t start_of(int64_t t_ms, int64_t width)
{
	int64_t r = t_ms % width;
	return t_ms - (r < 0 ? r + width : r);
}

json_t *query_overview(struct query *q, int64_t since_ms, int64_t now_ms, const char **err)
{
	struct sql *db = begin(q);
	return end(q,
		   sql_object(db, Q_OVERVIEW, QI(start_of(since_ms, MINUTE_MS)),
			      QI(start_of(since_ms, 5 * MINUTE_MS)), QI(now_ms)),
		   err);
}

json_t *query_nav(struct query *q, const char **err)
{
	return end(q, sql_object(begin(q), Q_NAV), err);
}

json_t *query_top(struct query *q, int64_t since_ms, int64_t now_ms, int limit, const char **err)
{
	struct sql *db = begin(q);
	int64_t row = start_of(since_ms, 5 * MINUTE_MS);
	json_t *lines = sql_list(db, Q_TOP_LINES, QI(since_ms), QI(row), QI(now_ms), QI(limit));
	json_t *accounts =
	    sql_list(db, Q_TOP_ACCOUNTS, QI(since_ms), QI(row), QI(now_ms), QI(limit));
	if (lines && accounts)
		return json_pack("{s:o, s:o}", "lines", lines, "accounts", accounts);
	json_decref(lines);
	json_decref(accounts);
	return end(q, NULL, err);
}

static json_t *empty_chart(int64_t start_ms)
{
	json_t *chart = json_array();
	for (int i = 0; i < CHART_ROWS; i++)
		json_array_append_new(
		    chart, json_pack("{s:I, s:i, s:i, s:i, s:i}", "t_ms",
				     (json_int_t)start_ms + (json_int_t)i * CHART_MS, "blocked", 0,
				     "accepted", 0, "held", 0, "refused", 0));
	return chart;
}

json_t *query_chart(struct query *q, int64_t now_ms, const char **err)
{
	struct sql *db = begin(q);
	int64_t start = start_of(now_ms, CHART_MS) - (CHART_ROWS - 1) * (int64_t)CHART_MS;
	json_t *chart = empty_chart(start);
	for (bool row =
		 sql_first(db, Q_CHART, QI(start), QI(start + CHART_ROWS * (int64_t)CHART_MS));
	     row; row = sql_next(db, Q_CHART)) {
		json_t *r = json_array_get(chart, (size_t)sql_int(db, Q_CHART, 1));
		json_object_set_new(r, sql_text(db, Q_CHART, 0),
				    json_integer(sql_int(db, Q_CHART, 2)));
	}
	return end(q, chart, err);
}

json_t *query_exemptions(struct query *q, const struct query_exempt *f, int limit, int64_t now_ms,
			 const char **err)
{
	static const struct sql_arg null = {.type = SQL_NULL};
	struct addr first, last;
	struct sql_arg lo = null, hi = null;
	if (f->within) {
		prefix_range(f->within, &first, &last);
		lo = (struct sql_arg)QA(&first);
		hi = (struct sql_arg)QA(&last);
	}
	return end(q,
		   sql_list(begin(q), Q_EXEMPTIONS, QI(f->all), QI(limit), QI(now_ms), QS(f->state),
			    QS(f->class), QS(f->subscriber), QI(f->expires_ms), lo, hi,
			    QS(f->evidence), QI(f->before_id)),
		   err);
}

json_t *query_exemption(struct query *q, int64_t id, int64_t now_ms, const char **err)
{
	struct sql *db = begin(q);
	json_t *o = sql_object(db, Q_EXEMPTION, QI(id), QS(NULL), QI(now_ms)),
	       *history = o ? sql_list(db, Q_EXEMPTION_HISTORY, QI(id)) : NULL;
	if (history)
		json_object_set_new(o, "history", history);
	return end(q, o, err);
}

json_t *query_exemption_of(struct query *q, const struct prefix *p, int64_t now_ms,
			   const char **err)
{
	return query_exemption(q, sql_value(begin(q), Q_EXEMPTION_OF, QI(p->len), QA(&p->a)),
			       now_ms, err);
}

static json_t *some(struct query *q, int stmt, const struct query_list *l, int limit,
		    const char **err)
{
	return end(
	    q, sql_list(begin(q), stmt, QS(l->state), QS(l->about), QI(l->before_id), QI(limit)),
	    err);
}

json_t *query_incidents(struct query *q, const struct query_list *l, int limit, const char **err)
{
	return some(q, Q_INCIDENTS, l, limit, err);
}

/* Numbers of enum answer_class become its words; 0, from before they were kept, "". */
static void name_answers(json_t *list)
{
	size_t i;
	json_t *row;
	json_array_foreach (list, i, row) {
		json_int_t n = json_integer_value(json_object_get(row, "answer"));
		json_object_set_new(
		    row, "answer",
		    json_string(n > 0 && n < ANSWER_CLASSES ? answer_class_name(n) : ""));
	}
}

json_t *query_message(struct query *q, const char *queue_id, int limit, const char **err)
{
	struct sql *db = begin(q);
	json_t *o = sql_object(db, Q_MESSAGE, QS(queue_id)),
	       *list = sql_list(db, Q_DELIVERIES, QS(queue_id), QI(limit));
	if (!o && list && json_array_size(list) > 0) /* a notice of ours is nobody's submission */
		o = json_pack("{s:s}", "queue_id", queue_id);
	name_answers(list);
	if (o && list)
		json_object_set(o, "deliveries", list);
	json_decref(list);
	return end(q, o, err);
}

json_t *query_incident(struct query *q, int64_t id, const char **err)
{
	static const struct {
		const char *key;
		int stmt;
	} parts[] = {{"timeline", Q_TIMELINE},
		     {"reports", Q_INCIDENT_REPORTS},
		     {"messages", Q_INCIDENT_MESSAGES},
		     {"lines", Q_INCIDENT_LINES},
		     {"answers", Q_INCIDENT_ANSWERS}};
	struct sql *db = begin(q);
	json_t *o = sql_object(db, Q_INCIDENT, QI(id));
	for (size_t i = 0; o && i < sizeof parts / sizeof parts[0]; i++) {
		json_t *list = sql_list(db, parts[i].stmt, QI(id));
		if (list)
			json_object_set_new(o, parts[i].key, list);
	}
	name_answers(json_object_get(o, "answers"));
	return end(q, o, err);
}

json_t *query_reports(struct query *q, const struct query_list *l, int limit, const char **err)
{
	return some(q, Q_REPORTS, l, limit, err);
}

json_t *query_report(struct query *q, int64_t id, const char **err)
{
	return end(q, sql_object(begin(q), Q_REPORT, QI(id)), err);
}

json_t *query_who(struct query *q, const struct addr *a, int port, int64_t t_ms, const char **err)
{
	return end(q, sql_list(begin(q), Q_WHO, QA(a), QI(port), QI(t_ms)), err);
}

json_t *query_leases(struct query *q, bool all, int limit, const char **err)
{
	return end(q, sql_list(begin(q), Q_LEASES, QI(all), QI(limit)), err);
}

json_t *query_subscribers(struct query *q, int limit, const char **err)
{
	return end(q, sql_list(begin(q), Q_SUBSCRIBERS, QI(limit)), err);
}

json_t *query_subscribers_named(struct query *q, const char *text, int limit, const char **err)
{
	return end(q, sql_list(begin(q), Q_SUBSCRIBERS_NAMED, QS(text), QI(limit)), err);
}

json_t *query_account(struct query *q, const char *login, const char **err)
{
	return end(q, sql_object(begin(q), Q_ACCOUNT, QS(login)), err);
}

json_t *query_subscriber(struct query *q, const char *ref, const char **err)
{
	struct sql *db = begin(q);
	json_t *o = sql_object(db, Q_SUBSCRIBER, QS(ref)),
	       *lines = o ? sql_list(db, Q_SUBSCRIBER_LINES, QS(ref)) : NULL;
	if (lines)
		json_object_set_new(o, "lines", lines);
	return end(q, o, err);
}

json_t *query_leases_within(struct query *q, const struct prefix *p, int64_t t_ms, int limit,
			    const char **err)
{
	struct addr first, last;
	prefix_range(p, &first, &last);
	return end(q,
		   sql_list(begin(q), Q_LEASES_WITHIN, QA(&first), QA(&last), QI(t_ms), QI(limit)),
		   err);
}

json_t *query_audit(struct query *q, const struct query_list *l, int limit, const char **err)
{
	return some(q, Q_AUDIT, l, limit, err);
}

json_t *query_messages(struct query *q, const char *account, int limit, const char **err)
{
	return end(q, sql_list(begin(q), Q_MESSAGES, QS(account), QI(limit)), err);
}

json_t *query_find(struct query *q, const char *text, int limit, const char **err)
{
	return end(q, sql_list(begin(q), Q_FIND, QS(text), QI(limit)), err);
}

json_t *query_logins(struct query *q, const char *account, int64_t since_ms, int limit,
		     const char **err)
{
	return end(q, sql_list(begin(q), Q_LOGINS, QS(account), QI(since_ms), QI(limit)), err);
}

json_t *query_alerts(struct query *q, const struct query_list *l, int limit, const char **err)
{
	return some(q, Q_ALERTS, l, limit, err);
}

json_t *query_alert(struct query *q, int64_t id, const char **err)
{
	struct sql *db = begin(q);
	json_t *o = sql_object(db, Q_ALERT, QI(id)),
	       *sends = o ? sql_list(db, Q_ALERT_SENDS, QI(id)) : NULL;
	if (sends)
		json_object_set_new(o, "sends", sends);
	return end(q, o, err);
}
