/*
 * store_reflex - who has used which line, and what followed from that (contract in store.h).
 */
#include <stdio.h>

#include "accounting/store_int.h"

int store_account_sources(struct store *s, const char *login, int64_t since_ms, struct addr *out,
			  int max)
{
	int n = 0;
	for (bool row = sql_first(DB, ST_ACCOUNT_SOURCES, QS(login), QI(since_ms), QI(max)); row;
	     row = sql_next(DB, ST_ACCOUNT_SOURCES))
		sql_addr(DB, ST_ACCOUNT_SOURCES, 0, &out[n++]);
	return n;
}

int store_line_accounts(struct store *s, const struct prefix *p, int64_t since_ms,
			struct store_login *out, int max)
{
	struct addr first, last;
	int n = 0;
	prefix_range(p, &first, &last);
	for (bool row =
		 sql_first(DB, ST_LINE_ACCOUNTS, QA(&first), QA(&last), QI(since_ms), QI(max));
	     row; row = sql_next(DB, ST_LINE_ACCOUNTS))
		snprintf(out[n++].login, sizeof out->login, "%s",
			 sql_text(DB, ST_LINE_ACCOUNTS, 0));
	return n;
}

int64_t store_exemption_covering(struct store *s, const struct addr *a, int64_t now_ms)
{
	return sql_value(DB, ST_EXEMPT_COVERING, QA(a), QI(now_ms));
}

void store_reflex_put(struct store *s, int64_t incident, int64_t exemption, const char *did,
		      int64_t now_ms)
{
	sql_run(DB, ST_REFLEX_PUT, QI(incident), QI(exemption), QS(did), QI(now_ms));
}

bool store_reflex_known(struct store *s, int64_t incident, int64_t exemption)
{
	return sql_value(DB, ST_REFLEX_KNOWN, QI(incident), QI(exemption)) != 0;
}

bool store_reflex_next(struct store *s, int64_t incident, int64_t exemption, int64_t after,
		       struct store_reflex *out)
{
	if (!sql_first(DB, ST_REFLEX_NEXT, QZ(incident), QZ(exemption), QI(after)))
		return false;
	*out = (struct store_reflex){.id = sql_int(DB, ST_REFLEX_NEXT, 0),
				     .incident = sql_int(DB, ST_REFLEX_NEXT, 1),
				     .exemption = sql_int(DB, ST_REFLEX_NEXT, 2)};
	snprintf(out->did, sizeof out->did, "%s", sql_text(DB, ST_REFLEX_NEXT, 3));
	sql_end(DB, ST_REFLEX_NEXT);
	return true;
}

void store_reflex_undone(struct store *s, int64_t id, int64_t now_ms)
{
	sql_run(DB, ST_REFLEX_UNDONE, QI(id), QI(now_ms));
}
