/*
 * store_door - operators, their sessions, and what time erases (contract in store.h).
 *
 * Trusted with: password hashes and hashes of session tokens; never the secrets themselves.
 */
#include <stdio.h>
#include <string.h>

#include "accounting/store_int.h"

static const char *const role_names[] = {
    [ROLE_NONE] = "none", [ROLE_VIEWER] = "viewer", [ROLE_DESK] = "desk", [ROLE_ADMIN] = "admin"};

const char *store_role_name(enum store_role r)
{
	return role_names[r];
}

enum store_role store_role_parse(const char *name)
{
	for (int r = ROLE_VIEWER; r <= ROLE_ADMIN; r++)
		if (strcmp(role_names[r], name) == 0)
			return (enum store_role)r;
	return ROLE_NONE;
}

bool store_operator(struct store *s, const char *user, char *hash, size_t n, enum store_role *role)
{
	if (!sql_first(DB, ST_OPERATOR, QS(user)))
		return false;
	snprintf(hash, n, "%s", sql_text(DB, ST_OPERATOR, 0));
	*role = store_role_parse(sql_text(DB, ST_OPERATOR, 1));
	sql_end(DB, ST_OPERATOR);
	return true;
}

void store_operator_put(struct store *s, const char *user, const char *hash, enum store_role role,
			int64_t now_ms)
{
	sql_run(DB, ST_OPERATOR_PUT, QS(user), QS(hash), QS(store_role_name(role)), QI(now_ms));
	sql_run(DB, ST_SESSIONS_OF, QS(user)); /* a new password ends what the old one opened */
}

bool store_operator_remove(struct store *s, const char *user)
{
	sql_run(DB, ST_OPERATOR_REMOVE, QS(user));
	return !sql_error(DB) && sql_changes(DB) > 0;
}

json_t *store_operator_list(struct store *s)
{
	return sql_list(DB, ST_OPERATOR_LIST);
}

int64_t store_admins(struct store *s)
{
	return sql_value(DB, ST_ADMINS);
}

void store_session_add(struct store *s, const char *hash, const char *user, const char *address,
		       int64_t now_ms)
{
	sql_run(DB, ST_SESSION_ADD, QS(hash), QS(user), QS(address), QI(now_ms));
	sql_run(DB, ST_OPERATOR_LOGIN, QS(user), QI(now_ms));
}

bool store_session(struct store *s, const char *hash, struct store_session *out)
{
	if (!sql_first(DB, ST_SESSION, QS(hash)))
		return false;
	snprintf(out->user, sizeof out->user, "%s", sql_text(DB, ST_SESSION, 0));
	snprintf(out->address, sizeof out->address, "%s", sql_text(DB, ST_SESSION, 1));
	out->role = store_role_parse(sql_text(DB, ST_SESSION, 2));
	out->created_ms = sql_int(DB, ST_SESSION, 3);
	out->seen_ms = sql_int(DB, ST_SESSION, 4);
	sql_end(DB, ST_SESSION);
	return true;
}

void store_session_seen(struct store *s, const char *hash, int64_t now_ms)
{
	sql_run(DB, ST_SESSION_SEEN, QS(hash), QI(now_ms));
}

void store_session_remove(struct store *s, const char *hash)
{
	sql_run(DB, ST_SESSION_REMOVE, QS(hash));
}

/* --- retention --- */

static bool prune_reports(struct store *s, int64_t before_ms,
			  void (*f)(const char *sha256, void *arg), void *arg)
{
	struct {
		int64_t id;
		char sha256[65];
	} list[200];
	int n = 0;
	for (bool row = sql_first(DB, ST_PRUNE_REPORTS, QI(before_ms)); row && n < 200;
	     row = sql_next(DB, ST_PRUNE_REPORTS)) {
		list[n].id = sql_int(DB, ST_PRUNE_REPORTS, 0);
		snprintf(list[n++].sha256, 65, "%s", sql_text(DB, ST_PRUNE_REPORTS, 1));
	}
	sql_end(DB, ST_PRUNE_REPORTS);
	for (int i = 0; i < n && !sql_error(DB); i++) {
		f(list[i].sha256, arg); /* the file first: a row without a file says so, a file
					   without a row hides */
		sql_run(DB, ST_PRUNE_REPORT, QI(list[i].id));
	}
	return n > 0;
}

bool store_prune(struct store *s, int64_t before_ms, int64_t sessions_before_ms,
		 void (*f)(const char *sha256, void *arg), void *arg)
{
	static const int deletes[] = {ST_PRUNE_BLOCK,  ST_PRUNE_MESSAGE, ST_PRUNE_DELIVERY,
				      ST_PRUNE_LOGIN,  ST_PRUNE_REFUSE,	 ST_PRUNE_ACCOUNT_ROLLUP,
				      ST_PRUNE_ROLLUP, ST_PRUNE_LEASE,	 ST_PRUNE_RADIUS,
				      ST_PRUNE_RESTART};
	bool more = false;
	store_begin(s);
	for (size_t i = 0; i < sizeof deletes / sizeof deletes[0]; i++) {
		sql_run(DB, deletes[i], QI(before_ms));
		more |= !sql_error(DB) && sql_changes(DB) > 0;
	}
	sql_run(DB, ST_PRUNE_SESSION, QI(sessions_before_ms));
	more |= prune_reports(s, before_ms, f, arg);
	return store_commit(s, NULL, NULL) && more;
}
