/*
 * store_incident - cases and their timeline (contract in store.h).
 *
 * One unresolved incident a subject and detector: the schema has a unique index for it.
 */
#include <stdio.h>
#include <string.h>

#include "accounting/store_int.h"

static void copy_text(struct store *s, int stmt, int col, char *buf, size_t n)
{
	snprintf(buf, n, "%s", sql_text(DB, stmt, col));
}

static bool read_incident(struct store *s, int stmt, bool row, struct store_incident *out)
{
	if (!row)
		return false;
	*out = (struct store_incident){.id = sql_int(DB, stmt, 0),
				       .account = sql_int(DB, stmt, 1),
				       .subscriber = sql_int(DB, stmt, 2),
				       .penalty_ms = sql_int(DB, stmt, 7),
				       .released_ms = sql_int(DB, stmt, 8)};
	copy_text(s, stmt, 3, out->state, sizeof out->state);
	copy_text(s, stmt, 4, out->subject_type, sizeof out->subject_type);
	copy_text(s, stmt, 5, out->subject, sizeof out->subject);
	copy_text(s, stmt, 6, out->detector, sizeof out->detector);
	sql_end(DB, stmt);
	return true;
}

bool store_incident(struct store *s, int64_t id, struct store_incident *out)
{
	return read_incident(s, ST_INCIDENT, sql_first(DB, ST_INCIDENT, QI(id)), out);
}

bool store_incident_of(struct store *s, const char *account, const char *detector,
		       struct store_incident *out)
{
	return read_incident(s, ST_INCIDENT_OF,
			     sql_first(DB, ST_INCIDENT_OF, QS(account), QS(detector)), out);
}

bool store_incident_of_subscriber(struct store *s, int64_t subscriber, struct store_incident *out)
{
	return read_incident(s, ST_INCIDENT_OF_SUBSCRIBER,
			     sql_first(DB, ST_INCIDENT_OF_SUBSCRIBER, QI(subscriber)), out);
}

int64_t store_incident_open(struct store *s, const struct store_incident_new *n, int64_t now_ms)
{
	sql_run(DB, ST_INCIDENT_ADD, QS(n->subject_type), QS(n->subject), QZ(n->account),
		QZ(n->subscriber), QS(n->detector), QS(n->why), QS(n->severity), QI(now_ms));
	if (sql_error(DB))
		return 0;
	int64_t id = sql_rowid(DB);
	store_incident_note(s, id, n->actor, "opened", n->why, now_ms);
	return id;
}

void store_incident_note(struct store *s, int64_t id, const char *actor, const char *what,
			 const char *text, int64_t now_ms)
{
	s->noted = true;
	sql_run(DB, ST_INCIDENT_NOTE, QI(id), QI(now_ms), QS(actor), QS(what),
		QS(text ? text : ""));
	sql_run(DB, ST_INCIDENT_TOUCH, QI(id), QI(now_ms));
}

void store_incident_contain(struct store *s, int64_t id, int64_t penalty_ms, int64_t now_ms)
{
	sql_run(DB, ST_INCIDENT_CONTAIN, QI(id), QI(penalty_ms), QI(now_ms));
}

void store_incident_stage(struct store *s, int64_t id, const char *stage)
{
	sql_run(DB, ST_INCIDENT_STAGE, QI(id), QS(stage));
}

void store_incident_why(struct store *s, int64_t id, const char *why)
{
	if (why[0])
		sql_run(DB, ST_INCIDENT_WHY, QI(id), QS(why));
}

void store_incident_state(struct store *s, int64_t id, const char *state, const char *owner,
			  int64_t now_ms)
{
	sql_run(DB, ST_INCIDENT_STATE, QI(id), QS(state), QS(owner), QI(now_ms));
}

int store_incident_release(struct store *s, const char *account, const char *actor,
			   const char *text, int64_t now_ms)
{
	int n = 0;
	int64_t id;
	while ((id = sql_value(DB, ST_INCIDENT_CONTAINED_OF, QS(account))) != 0) {
		sql_run(DB, ST_INCIDENT_RELEASE, QI(id), QI(now_ms));
		store_incident_note(s, id, actor, "released", text, now_ms);
		n++;
	}
	return n;
}

bool store_penalty_released(struct store *s, const char *account, int64_t penalty_ms)
{
	return sql_value(DB, ST_PENALTY_RELEASED, QS(account), QI(penalty_ms)) > 0;
}

bool store_penalty_known(struct store *s, const char *account, int64_t penalty_ms)
{
	return sql_value(DB, ST_PENALTY_KNOWN, QS(account), QI(penalty_ms)) > 0;
}

void store_incidents_contained(struct store *s,
			       void (*f)(const char *account, int64_t penalty_ms,
					 const char *detector, const char *why, void *arg),
			       void *arg)
{
	const int st = ST_INCIDENTS_CONTAINED;
	for (bool row = sql_first(DB, st); row; row = sql_next(DB, st))
		f(sql_text(DB, st, 0), sql_int(DB, st, 1), sql_text(DB, st, 2), sql_text(DB, st, 3),
		  arg);
}
