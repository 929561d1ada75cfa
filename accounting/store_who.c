/*
 * store_who - subscribers, their accounts and the leases that tie addresses to them (contract in
 * store.h).
 *
 * A lease is half-open, [from, to). An address is looked up by every prefix length in use, so that
 * the cost does not grow with the number of leases; the narrowest lease that holds it counts.
 */
#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "lib/login.h"
#include "accounting/store_int.h"

int64_t store_subscriber(struct store *s, const char *ref)
{
	return sql_value(DB, ST_SUBSCRIBER, QS(ref));
}

int64_t store_subscriber_put(struct store *s, const char *ref, const char *name,
			     const char *contact, int64_t now_ms)
{
	sql_run(DB, ST_SUBSCRIBER_PUT, QS(ref), QS(name), QS(contact), QI(now_ms));
	return store_subscriber(s, ref);
}

int64_t store_account(struct store *s, const char *login)
{
	return sql_value(DB, ST_ACCOUNT, QS(login));
}

static int64_t add_account(struct store *s, const char *login, int64_t subscriber, int64_t now_ms)
{
	sql_run(DB, ST_ACCOUNT_ADD, QS(login), QZ(subscriber), QI(now_ms));
	return sql_error(DB) ? 0 : sql_rowid(DB);
}

int64_t store_account_seen(struct store *s, const char *login, int64_t now_ms)
{
	int64_t id = store_account(s, login);
	return id || sql_error(DB) ? id : add_account(s, login, 0, now_ms);
}

int64_t store_account_put(struct store *s, const char *login, int64_t subscriber, int64_t now_ms)
{
	int64_t id = store_account(s, login);
	if (!id)
		return add_account(s, login, subscriber, now_ms);
	sql_run(DB, ST_ACCOUNT_MOVE, QI(id), QZ(subscriber));
	sql_run(DB, ST_ACCOUNT_MOVE_INCIDENTS, QI(id), QZ(subscriber));
	return id;
}

/* One that is stored with capitals gets its one name; where that is taken, its customer, if the
 * other has none. */
static void fold_account(struct store *s, int64_t id, const char *login, int64_t subscriber,
			 enum login_case rule)
{
	char name[EVENT_ACCOUNT_MAX + 1];
	snprintf(name, sizeof name, "%s", login);
	login_fold(name, rule);
	int64_t other = store_account(s, name);
	if (strcmp(name, login) == 0)
		return;
	if (!other) {
		sql_run(DB, ST_ACCOUNT_NAME, QI(id), QS(name));
		return;
	}
	int64_t theirs = store_account_subscriber(s, other);
	if (subscriber && !theirs)
		(void)store_account_put(s, name, subscriber, 0);
	else if (subscriber && theirs != subscriber)
		log_event(LOG_WARNING, "-", "accounting", "two-spellings", LS("account", login),
			  LS("same_as", name),
			  LS("hint",
			     "they belong to two subscribers, and logins lead to the second: "
			     "say whose it is by sekishoctl account add"));
}

void store_accounts_fold(struct store *s, enum login_case rule)
{
	char login[EVENT_ACCOUNT_MAX + 1];
	int64_t id = 0;
	store_begin(s);
	while (sql_first(DB, ST_ACCOUNT_SPELLED, QI(id))) {
		id = sql_int(DB, ST_ACCOUNT_SPELLED, 0);
		snprintf(login, sizeof login, "%s", sql_text(DB, ST_ACCOUNT_SPELLED, 1));
		int64_t subscriber = sql_int(DB, ST_ACCOUNT_SPELLED, 2);
		sql_end(DB, ST_ACCOUNT_SPELLED);
		fold_account(s, id, login, subscriber, rule);
	}
	(void)store_commit(s, NULL, NULL);
}

int64_t store_account_subscriber(struct store *s, int64_t account)
{
	return sql_value(DB, ST_ACCOUNT_SUBSCRIBER, QI(account));
}

/* --- leases --- */

static int64_t insert_lease(struct store *s, const struct store_lease *l)
{
	struct addr first, last;
	prefix_range(&l->prefix, &first, &last);
	sql_run(DB, ST_LEASE_ADD, QI(l->prefix.len), QA(&first), QA(&last), QI(l->port_lo),
		QI(l->port_hi), QI(l->subscriber), QI(l->from_ms), QZ(l->to_ms),
		QS(l->source ? l->source : ""));
	return sql_error(DB) ? 0 : sql_rowid(DB);
}

int64_t store_lease_same(struct store *s, const struct store_lease *l)
{
	return sql_value(DB, ST_LEASE_SAME, QI(l->prefix.len), QA(&l->prefix.a), QI(l->port_lo),
			 QI(l->port_hi), QI(l->subscriber), QI(l->from_ms));
}

/* The same line to the same subscriber once more: a renewal. */
static int64_t renew(struct store *s, const struct store_lease *l)
{
	int64_t id = store_lease_same(s, l);
	if (id && l->to_ms)
		sql_run(DB, ST_LEASE_TO, QI(id), QI(l->to_ms));
	return id;
}

/* Leases of others inside l end where it starts; how many. One around it goes on for the rest. */
static int end_others(struct store *s, const struct store_lease *l)
{
	struct addr first, last;
	int n = 0;
	prefix_range(&l->prefix, &first, &last);
	int64_t id;
	while ((id = sql_value(DB, ST_LEASE_COVERING, QA(&first), QA(&last), QI(l->prefix.len),
			       QI(l->port_lo), QI(l->port_hi), QI(l->subscriber),
			       QI(l->from_ms))) != 0) {
		sql_run(DB, ST_LEASE_TO, QI(id), QI(l->from_ms));
		n++;
	}
	return n;
}

/* A lease told late ends where somebody else's of the same prefix or around it, known already,
 * begins. */
static int64_t end_of(struct store *s, const struct store_lease *l)
{
	struct addr first, last;
	prefix_range(&l->prefix, &first, &last);
	int64_t later =
	    sql_value(DB, ST_LEASE_LATER, QA(&first), QA(&last), QI(l->prefix.len), QI(l->port_lo),
		      QI(l->port_hi), QI(l->subscriber), QI(l->from_ms));
	return later && (!l->to_ms || l->to_ms > later) ? later : l->to_ms;
}

int64_t store_lease_add(struct store *s, const struct store_lease *l, const struct store_who *w,
			int64_t now_ms, int *ended)
{
	struct store_lease lease = *l;
	*ended = 0;
	int64_t id = renew(s, l);
	if (id)
		return id;
	*ended = end_others(s, l);
	lease.to_ms = end_of(s, l);
	if (!lease.to_ms || lease.to_ms > now_ms) /* one of the past takes nothing away now */
		store_exemptions_revoke(s, l->subscriber, &l->prefix, l->from_ms, w, now_ms);
	return insert_lease(s, &lease);
}

int store_lease_back(struct store *s, const struct store_lease *l, const struct store_who *w,
		     int64_t now_ms)
{
	bool whole = l->port_lo == 0 && l->port_hi == 65535;
	if (!whole || store_prefix_holder(s, &l->prefix, now_ms) != l->subscriber)
		return 0;
	return store_exemptions_line_back(s, l->subscriber, &l->prefix, w, now_ms);
}

/* By time t_ms the line has gone to whoever has a lease around it, or to nobody. */
static int leave_line(struct store *s, const struct prefix *p, int64_t t_ms,
		      const struct store_who *w, int64_t now_ms)
{
	int64_t heir = store_prefix_holder(s, p, t_ms);
	if (heir)
		store_exemptions_revoke(s, heir, p, t_ms, w, now_ms);
	return t_ms <= now_ms ? store_exemptions_line_ended(s, 0, p, w, now_ms) : 0;
}

int store_lease_end(struct store *s, const struct prefix *p, int port_lo, int64_t t_ms,
		    const struct store_who *w, int64_t now_ms, int *suspended)
{
	*suspended = 0;
	sql_run(DB, ST_LEASE_END, QI(p->len), QA(&p->a), QI(t_ms), QI(port_lo));
	int n = sql_error(DB) ? 0 : (int)sql_changes(DB);
	if (n)
		*suspended = leave_line(s, p, t_ms, w, now_ms);
	return n;
}

int store_lease_end_one(struct store *s, int64_t id, const struct store_who *w, int64_t now_ms)
{
	struct prefix p;
	if (!sql_first(DB, ST_LEASE_GET, QI(id)))
		return 0;
	p.len = (uint8_t)sql_int(DB, ST_LEASE_GET, 0);
	sql_addr(DB, ST_LEASE_GET, 1, &p.a);
	sql_end(DB, ST_LEASE_GET);
	sql_run(DB, ST_LEASE_TO_NOW, QI(id), QI(now_ms));
	return leave_line(s, &p, now_ms, w, now_ms);
}

void store_leases_of_source(struct store *s, const char *source, void (*fn)(int64_t id, void *arg),
			    void *arg)
{
	for (bool row = sql_first(DB, ST_LEASES_OF_SOURCE, QS(source)); row;
	     row = sql_next(DB, ST_LEASES_OF_SOURCE))
		fn(sql_int(DB, ST_LEASES_OF_SOURCE, 0), arg);
}

int64_t store_prefix_holder(struct store *s, const struct prefix *p, int64_t t_ms)
{
	return sql_value(DB, ST_LEASE_COVER, QA(&p->a), QI(p->len), QI(t_ms));
}

int64_t store_prefix_other(struct store *s, const struct prefix *p, int64_t subscriber,
			   int64_t t_ms)
{
	struct addr first, last;
	int64_t holder = store_prefix_holder(s, p, t_ms);
	if (holder && holder != subscriber)
		return holder;
	prefix_range(p, &first, &last);
	return sql_value(DB, ST_LEASE_OTHER, QA(&first), QA(&last), QI(p->len), QI(subscriber),
			 QI(t_ms));
}

int store_lease_holders(struct store *s, const struct addr *a, int port, int64_t t_ms, int64_t *ids,
			int max)
{
	int n = 0;
	bool row = sql_first(DB, ST_LEASE_HOLDERS, QA(a), QI(port), QI(t_ms));
	for (; row && n < max; row = sql_next(DB, ST_LEASE_HOLDERS))
		ids[n++] = sql_int(DB, ST_LEASE_HOLDERS, 0);
	sql_end(DB, ST_LEASE_HOLDERS);
	return n;
}
