/*
 * store_policy - exemptions from the port-25 block (contract in store.h).
 *
 * One active exemption a prefix. Every change of what is in force is one policy version and one row
 * of the audit trail, in the same transaction; the feed is told after the commit.
 */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "accounting/store_int.h"

int64_t store_exemption(struct store *s, const struct prefix *p)
{
	return sql_value(DB, ST_EXEMPT_ACTIVE, QI(p->len), QA(&p->a));
}

void store_exemption_text(struct store *s, int64_t id, char *buf, size_t n)
{
	struct prefix p;
	char prefix[PREFIX_STRLEN], when[CLOCK_STRLEN];
	buf[0] = '\0';
	if (!sql_first(DB, ST_EXEMPT_GET, QI(id)))
		return;
	p.len = (uint8_t)sql_int(DB, ST_EXEMPT_GET, 1);
	sql_addr(DB, ST_EXEMPT_GET, 2, &p.a);
	int64_t expires = sql_int(DB, ST_EXEMPT_GET, 5);
	const char *contract = sql_text(DB, ST_EXEMPT_GET, 6);
	snprintf(buf, n, "%s is exempt already (id %lld%s%.80s, %s%s)", prefix_format(&p, prefix),
		 (long long)id, contract[0] ? ", contract " : "", contract,
		 expires ? "until " : "never expires", expires ? clock_format(expires, when) : "");
	sql_end(DB, ST_EXEMPT_GET);
}

int64_t store_exemption_add(struct store *s, const struct store_exemption *e, int64_t now_ms)
{
	struct addr first, last;
	int64_t subscriber =
	    e->subscriber ? e->subscriber : store_prefix_holder(s, &e->prefix, now_ms);
	prefix_range(&e->prefix, &first, &last);
	sql_run(DB, ST_EXEMPT_ADD, QI(e->prefix.len), QA(&first), QA(&last), QI(e->class),
		QZ(subscriber), QS(e->contract), QS(e->contact), QS(e->reason), QS(e->actor),
		QI(now_ms), QI(e->starts_ms), QZ(e->expires_ms));
	if (sql_error(DB))
		return 0;
	int64_t id = sql_rowid(DB);
	store_policy_changed(s, POLICY_SET, id);
	return id;
}

void store_exemption_update(struct store *s, int64_t id, const struct store_exemption *e,
			    int64_t now_ms)
{
	int64_t subscriber =
	    e->subscriber ? e->subscriber : store_prefix_holder(s, &e->prefix, now_ms);
	sql_run(DB, ST_EXEMPT_UPDATE, QI(id), QI(e->class), QZ(subscriber), QS(e->contract),
		QS(e->contact), QS(e->reason), QS(e->actor), QI(e->starts_ms), QZ(e->expires_ms));
	store_policy_changed(s, POLICY_SET, id);
}

void store_exemption_end(struct store *s, int64_t id, const char *state, int64_t now_ms)
{
	sql_run(DB, ST_EXEMPT_END, QI(id), QS(state), QI(now_ms));
	store_policy_changed(s, POLICY_DELETE, id);
}

static void audit_exemption(struct store *s, int64_t id, const struct store_who *w,
			    const char *action, const char *reason, int64_t now_ms)
{
	struct prefix p;
	char prefix[PREFIX_STRLEN], detail[64];
	if (!sql_first(DB, ST_EXEMPT_GET, QI(id)))
		return;
	p.len = (uint8_t)sql_int(DB, ST_EXEMPT_GET, 1);
	sql_addr(DB, ST_EXEMPT_GET, 2, &p.a);
	sql_end(DB, ST_EXEMPT_GET);
	snprintf(detail, sizeof detail, "{\"id\":%lld}", (long long)id);
	store_audit(s, w, now_ms, action, prefix_format(&p, prefix), reason, detail);
}

int64_t store_exemptions_expire(struct store *s, int64_t now_ms)
{
	static const struct store_who expiry = {"expiry", ""};
	int64_t id;
	if (sql_first(DB, ST_EXEMPT_DUE, QI(now_ms))) {
		sql_end(DB, ST_EXEMPT_DUE);
		store_begin(s);
		while ((id = sql_value(DB, ST_EXEMPT_DUE, QI(now_ms))) != 0) {
			store_exemption_end(s, id, "expired", now_ms);
			audit_exemption(s, id, &expiry, "exempt.expire", "its time has come",
					now_ms);
		}
		(void)store_commit(s, NULL, NULL);
	}
	return sql_value(DB, ST_EXEMPT_NEXT);
}

/* The lease ends later: so does the exemption. */
static void shorten(struct store *s, int64_t id, int64_t t_ms, const struct store_who *w,
		    int64_t now_ms)
{
	sql_run(DB, ST_EXEMPT_SHORTEN, QI(id), QI(t_ms));
	if (sql_error(DB) || sql_changes(DB) == 0)
		return;
	store_policy_changed(s, POLICY_SET, id);
	audit_exemption(s, id, w, "exempt.shorten", "the line goes to another subscriber then",
			now_ms);
}

void store_exemptions_revoke(struct store *s, int64_t subscriber, const struct prefix *p,
			     int64_t t_ms, const struct store_who *w, int64_t now_ms)
{
	struct addr first, last;
	int64_t id = 0;
	prefix_range(p, &first, &last);
	while ((id = sql_value(DB, ST_EXEMPT_OF_OTHERS, QA(&first), QA(&last), QI(p->len),
			       QI(subscriber), QI(id))) != 0) {
		if (t_ms > now_ms) {
			shorten(s, id, t_ms, w, now_ms);
			continue;
		}
		store_exemption_end(s, id, "revoked", now_ms);
		audit_exemption(s, id, w, "exempt.revoke", "the line went to another subscriber",
				now_ms);
	}
}
