/*
 * store_alert - see store_alert.h.
 *
 * Trusted with: nothing beyond the store. Diagnostics: the store's. Known gaps: the evidence of an
 * account with very many messages looks at its last thousand.
 */
#include "accounting/store_alert.h"

#include <stdio.h>
#include <string.h>

#include "accounting/store_int.h"

static void copy_text(struct store *s, int stmt, int col, char *buf, size_t n)
{
	snprintf(buf, n, "%s", sql_text(DB, stmt, col));
}

/* Outside of a transaction an error is nobody's: it is cleared, and the next turn meets it again.
 */
static void read_only(struct store *s)
{
	store_flush(s);
	sql_clear(DB);
}

bool store_alert_next(struct store *s, struct store_alert_change *out)
{
	if (!sql_first(DB, ST_ALERT_NEXT))
		return false;
	*out = (struct store_alert_change){.event = sql_int(DB, ST_ALERT_NEXT, 0),
					   .incident = sql_int(DB, ST_ALERT_NEXT, 1),
					   .account = sql_int(DB, ST_ALERT_NEXT, 2) != 0};
	copy_text(s, ST_ALERT_NEXT, 3, out->what, sizeof out->what);
	copy_text(s, ST_ALERT_NEXT, 4, out->detector, sizeof out->detector);
	copy_text(s, ST_ALERT_NEXT, 5, out->severity, sizeof out->severity);
	copy_text(s, ST_ALERT_NEXT, 6, out->stage, sizeof out->stage);
	copy_text(s, ST_ALERT_NEXT, 7, out->subject, sizeof out->subject);
	sql_end(DB, ST_ALERT_NEXT);
	return true;
}

void store_alert_seen(struct store *s, int64_t event)
{
	sql_run(DB, ST_ALERT_SEEN, QI(event));
}

bool store_alert_item(struct store *s, struct store_alert_item *i)
{
	if (!sql_first(DB, ST_ALERT_ITEM, QS(i->rule), QS(i->kase)))
		return false;
	i->rank = (int)sql_int(DB, ST_ALERT_ITEM, 0);
	i->over = sql_int(DB, ST_ALERT_ITEM, 1) != 0;
	i->told = sql_int(DB, ST_ALERT_ITEM, 2) != 0;
	i->new_ms = sql_int(DB, ST_ALERT_ITEM, 3);
	i->change_ms = sql_int(DB, ST_ALERT_ITEM, 4);
	sql_end(DB, ST_ALERT_ITEM);
	return true;
}

void store_alert_item_put(struct store *s, const struct store_alert_item *i)
{
	sql_run(DB, ST_ALERT_ITEM_PUT, QS(i->rule), QS(i->kase), QS(i->kind), QZ(i->incident),
		QI(i->rank), QI(i->over), QZ(i->new_ms), QZ(i->change_ms));
}

void store_alert_waiting(struct store *s, const char *rule, int64_t since_ms,
			 void (*f)(const struct store_alert_waits *w, void *arg), void *arg)
{
	const int st = ST_ALERT_WAITING;
	read_only(s);
	for (bool row = sql_first(DB, st, QS(rule), QI(since_ms)); row; row = sql_next(DB, st)) {
		struct store_alert_waits w = {.kind = sql_text(DB, st, 0),
					      .new_ms = sql_int(DB, st, 1),
					      .change_ms = sql_int(DB, st, 2),
					      .told_ms = sql_int(DB, st, 3),
					      .told = (int)sql_int(DB, st, 4)};
		f(&w, arg);
	}
}

int store_alert_made(struct store *s, const char *rule, int64_t since_ms, int64_t *first_ms)
{
	int n = 0;
	read_only(s);
	*first_ms = 0;
	if (sql_first(DB, ST_ALERT_MADE, QS(rule), QI(since_ms))) {
		n = (int)sql_int(DB, ST_ALERT_MADE, 0);
		*first_ms = sql_int(DB, ST_ALERT_MADE, 1);
		sql_end(DB, ST_ALERT_MADE);
	}
	return n;
}

/* --- facts --- */

/* NULL when the database failed, which the commit says. */
static void put(json_t *o, const char *key, json_t *v)
{
	if (v)
		(void)json_object_set_new(o, key, v);
}

static void put_account_facts(struct store *s, json_t *o, int64_t account, int64_t since_ms)
{
	put(o, "totals", sql_object(DB, ST_ALERT_TOTALS, QI(account), QI(since_ms)));
	put(o, "networks", sql_list(DB, ST_ALERT_NETWORKS, QI(account), QI(since_ms)));
	put(o, "replies", sql_list(DB, ST_ALERT_REPLIES, QI(account), QI(since_ms)));
	put(o, "blocked", sql_object(DB, ST_ALERT_BLOCKED, QI(account), QI(since_ms)));
}

static void put_line_facts(struct store *s, json_t *o, int64_t since_ms)
{
	struct prefix p;
	struct addr first, last;
	char why[128];
	const char *subject = json_string_value(json_object_get(o, "subject"));
	if (!subject || !prefix_parse(subject, &p, why))
		return;
	prefix_range(&p, &first, &last);
	put(o, "blocked",
	    sql_object(DB, ST_ALERT_BLOCKED_LINE, QA(&first), QA(&last), QI(since_ms)));
}

static void put_facts(struct store *s, json_t *o, int64_t since_ms, bool wanted)
{
	int64_t incident = json_integer_value(json_object_get(o, "incident"));
	int64_t account = json_integer_value(json_object_get(o, "account_id"));
	int64_t told = json_integer_value(json_object_get(o, "told_event"));
	(void)json_object_del(o, "account_id");
	(void)json_object_del(o, "told_event");
	if (!incident || !wanted)
		return;
	put(o, "changes", sql_list(DB, ST_ALERT_CHANGES, QI(incident), QI(told)));
	put(o, "reports", json_integer(store_report_count(s, incident)));
	if (account)
		put_account_facts(s, o, account, since_ms);
	else
		put_line_facts(s, o, since_ms);
}

json_t *store_alert_cases(struct store *s, const char *rule, const char *kind, int limit,
			  int64_t evidence_ms, int64_t *all)
{
	size_t i;
	json_t *o, *list = sql_list(DB, ST_ALERT_CASES, QS(rule), QS(kind), QI(limit));
	*all = sql_value(DB, ST_ALERT_N_CASES, QS(rule), QS(kind));
	json_array_foreach (list, i, o)
		put_facts(s, o, evidence_ms, i < STORE_ALERT_FACTS);
	return list;
}

void store_alert_told(struct store *s, const char *rule, const char *kind, int64_t now_ms)
{
	sql_run(DB, ST_ALERT_TOLD, QS(rule), QS(kind), QI(now_ms));
}

/* --- the outbox --- */

int64_t store_alert_add(struct store *s, const struct store_alert *a)
{
	sql_run(DB, ST_ALERT_ADD, QS(a->uuid), QS(a->rule), QS(a->kind), QI(a->made_ms),
		QS(a->title), QS(a->body));
	return sql_error(DB) ? 0 : sql_rowid(DB);
}

void store_alert_add_send(struct store *s, int64_t alert, const char *dest, int64_t now_ms)
{
	sql_run(DB, ST_ALERT_SEND, QI(alert), QS(dest), QI(now_ms));
}

json_t *store_alert_due(struct store *s, const char *busy, int64_t now_ms)
{
	read_only(s);
	return sql_object(DB, ST_ALERT_DUE, QI(now_ms), QS(busy));
}

int64_t store_alert_next_due(struct store *s, const char *busy)
{
	read_only(s);
	return sql_value(DB, ST_ALERT_NEXT_DUE, QS(busy));
}

void store_alert_result(struct store *s, int64_t send, const char *state, int attempts,
			int64_t next_ms, const char *answer, int64_t now_ms)
{
	sql_run(DB, ST_ALERT_RESULT, QI(send), QS(state), QI(attempts), QI(next_ms), QS(answer),
		QI(now_ms));
}

int store_alert_arrived(struct store *s, int64_t send)
{
	return (int)sql_value(DB, ST_ALERT_STATE, QI(send));
}

void store_alert_resend(struct store *s, int64_t send, int64_t now_ms)
{
	sql_run(DB, ST_ALERT_RESEND, QI(send), QI(now_ms));
}

/* --- states of the appliance --- */

bool store_alert_condition(struct store *s, const char *name)
{
	return sql_value(DB, ST_ALERT_CONDITION, QS(name)) != 0;
}

void store_alert_condition_put(struct store *s, const char *name, const char *severity,
			       const char *why, int64_t begun_ms)
{
	sql_run(DB, ST_ALERT_CONDITION_PUT, QS(name), QS(severity), QI(begun_ms), QS(why));
}

void store_alert_condition_end(struct store *s, const char *name, int64_t now_ms)
{
	sql_run(DB, ST_ALERT_CONDITION_END, QS(name), QI(now_ms));
}

/* --- for people --- */

json_t *store_alert_status(struct store *s, int64_t day_ms)
{
	read_only(s);
	return sql_object(DB, ST_ALERT_STATUS, QI(day_ms));
}

void store_alert_prune(struct store *s, int64_t before_ms)
{
	sql_run(DB, ST_ALERT_PRUNE, QI(before_ms));
	sql_run(DB, ST_ALERT_PRUNE_ITEMS, QI(before_ms));
}
