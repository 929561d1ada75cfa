/*
 * store_policy - exemptions from the port-25 block (contract in store.h).
 *
 * One exemption a prefix that has not ended. Every change of what is in force is one policy
 * version, told to the feed after the commit; every change of state is a row of the exemption's
 * history.
 */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "accounting/store_int.h"

static const struct store_who schedule = {"schedule", ""};

/* --- reading --- */

static void read_dst(const char *text, struct policy_entry *e)
{
	char one[PREFIX_STRLEN], err[128];
	while (*text && e->n_dst < POLICY_DST_MAX) {
		size_t n = strcspn(text, " ");
		if (n < sizeof one) {
			memcpy(one, text, n);
			one[n] = '\0';
			e->n_dst += prefix_parse(one, &e->dst[e->n_dst], err);
		}
		text += n + (text[n] == ' ');
	}
}

#define COPY(to, col) snprintf((to), sizeof(to), "%s", sql_text(DB, stmt, (col)))

void store_exempt_read(struct store *s, int stmt, struct store_exempt *out)
{
	struct policy_entry *e = &out->entry;
	*e = (struct policy_entry){.exemption_id = sql_int(DB, stmt, 0)};
	e->prefix.len = (uint8_t)sql_int(DB, stmt, 1);
	sql_addr(DB, stmt, 2, &e->prefix.a);
	COPY(e->class, 3);
	e->starts_ms = sql_int(DB, stmt, 4);
	e->expires_ms = sql_int(DB, stmt, 5);
	read_dst(sql_text(DB, stmt, 6), e);
	out->state = exempt_state_parse(sql_text(DB, stmt, 7));
	out->subscriber = sql_int(DB, stmt, 8);
	COPY(out->suspended_by, 9);
	out->until_ms = sql_int(DB, stmt, 10);
	COPY(out->evidence, 11);
	out->evidence_ms = sql_int(DB, stmt, 12);
	out->held_ms = sql_int(DB, stmt, 13);
	out->bad_ms = sql_int(DB, stmt, 14);
	COPY(out->helo, 15);
	COPY(out->domain, 16);
	COPY(out->contract, 17);
}

static bool read_one(struct store *s, int stmt, bool row, struct store_exempt *out)
{
	if (!row)
		return false;
	store_exempt_read(s, stmt, out);
	sql_end(DB, stmt);
	return true;
}

bool store_exempt_of(struct store *s, const struct prefix *p, struct store_exempt *out)
{
	return read_one(s, ST_EXEMPT_LIVE, sql_first(DB, ST_EXEMPT_LIVE, QI(p->len), QA(&p->a)),
			out);
}

bool store_exempt(struct store *s, int64_t id, struct store_exempt *out)
{
	return read_one(s, ST_EXEMPT_GET, sql_first(DB, ST_EXEMPT_GET, QI(id)), out);
}

int64_t store_exemption(struct store *s, const struct prefix *p)
{
	return sql_value(DB, ST_EXEMPT_LIVE, QI(p->len), QA(&p->a));
}

void store_exemption_text(struct store *s, int64_t id, char *buf, size_t n)
{
	struct store_exempt x;
	char prefix[PREFIX_STRLEN], when[CLOCK_STRLEN];
	buf[0] = '\0';
	if (!store_exempt(s, id, &x))
		return;
	int64_t expires = x.entry.expires_ms;
	snprintf(buf, n, "%s is %s already (id %lld%s%.80s, %s%s)",
		 prefix_format(&x.entry.prefix, prefix),
		 x.state == EXEMPT_ACTIVE ? "exempt" : exempt_state_name(x.state), (long long)id,
		 x.contract[0] ? ", contract " : "", x.contract,
		 expires ? "until " : "never expires", expires ? clock_format(expires, when) : "");
}

void store_exemptions_each(struct store *s, void (*fn)(int64_t id, void *arg), void *arg)
{
	for (bool row = sql_first(DB, ST_EXEMPT_ABSENT); row; row = sql_next(DB, ST_EXEMPT_ABSENT))
		fn(sql_int(DB, ST_EXEMPT_ABSENT, 0), arg);
}

/* --- history --- */

void store_exemption_note(struct store *s, int64_t id, const struct store_who *w, const char *old,
			  const char *now, const char *reason, int64_t now_ms)
{
	sql_run(DB, ST_EXEMPT_EVENT, QI(id), QI(now_ms), QS(w->actor), QS(old), QS(now),
		QS(reason ? reason : ""));
}

/* Each state from `from` on the way to `to`. False when there is no way. */
static bool note_path(struct store *s, int64_t id, enum exempt_state from, enum exempt_state to,
		      const struct store_who *w, const char *reason, int64_t now_ms)
{
	enum exempt_state path[EXEMPT_PATH_MAX];
	size_t n = exempt_path(from, to, path);
	for (size_t i = 0; i < n; from = path[i++])
		store_exemption_note(s, id, w, exempt_state_name(from), exempt_state_name(path[i]),
				     reason, now_ms);
	return n > 0;
}

static void audit_exemption(struct store *s, const struct store_exempt *x,
			    const struct store_who *w, const char *action, const char *reason,
			    int64_t now_ms)
{
	char prefix[PREFIX_STRLEN], detail[64];
	snprintf(detail, sizeof detail, "{\"id\":%lld}", (long long)x->entry.exemption_id);
	store_audit(s, w, now_ms, action, prefix_format(&x->entry.prefix, prefix), reason, detail);
}

/* --- writing --- */

static const char *text(const char *s)
{
	return s ? s : "";
}

#define DST_TEXT (POLICY_DST_MAX * PREFIX_STRLEN)
static const char *dst_text(const struct store_exemption *e, char buf[static DST_TEXT])
{
	char one[PREFIX_STRLEN];
	size_t used = 0;
	buf[0] = '\0';
	for (unsigned i = 0; i < e->n_dst; i++)
		used += (size_t)snprintf(buf + used, DST_TEXT - used, "%s%s", i ? " " : "",
					 prefix_format(&e->dst[i], one));
	return buf;
}

static const char *class_of(const struct store_exemption *e)
{
	return e->class && e->class[0] ? e->class : "full";
}

static void entry_of(const struct store_exemption *e, int64_t id, struct policy_entry *out)
{
	*out = (struct policy_entry){.prefix = e->prefix,
				     .starts_ms = e->starts_ms,
				     .expires_ms = e->expires_ms,
				     .exemption_id = id,
				     .n_dst = e->n_dst};
	snprintf(out->class, sizeof out->class, "%s", class_of(e));
	for (unsigned i = 0; i < e->n_dst; i++)
		out->dst[i] = e->dst[i];
}

static int64_t owner(struct store *s, const struct store_exemption *e, int64_t now_ms)
{
	return e->subscriber ? e->subscriber : store_prefix_holder(s, &e->prefix, now_ms);
}

int64_t store_exemption_add(struct store *s, const struct store_exemption *e, int64_t now_ms)
{
	struct addr first, last;
	struct policy_entry entry;
	char dst[DST_TEXT];
	enum exempt_state state = e->state ? e->state : EXEMPT_ACTIVE;
	struct store_who w = {text(e->actor), ""};
	bool suspended = state == EXEMPT_SUSPENDED;
	prefix_range(&e->prefix, &first, &last);
	sql_run(DB, ST_EXEMPT_ADD, QI(e->prefix.len), QA(&first), QA(&last), QS(class_of(e)),
		QS(dst_text(e, dst)), QS(exempt_state_name(state)), QZ(owner(s, e, now_ms)),
		QS(text(e->contract)), QS(text(e->service)), QS(text(e->fixed)),
		QS(text(e->access_port)), QS(text(e->contact)), QS(text(e->abuse_contact)),
		QS(text(e->usage)), QS(text(e->software)), QS(text(e->volume)), QS(text(e->helo)),
		QS(text(e->domain)), QS(text(e->approver)), QS(text(e->ticket)),
		QS(text(e->reason)), QS(w.actor), QZ(e->aup_ms), QI(now_ms), QI(e->starts_ms),
		QZ(e->expires_ms), QZ(e->review_ms), QS(suspended ? "operator" : ""),
		QZ(suspended ? e->until_ms : 0), QZ(e->evidence_due_ms));
	if (sql_error(DB))
		return 0;
	int64_t id = sql_rowid(DB);
	(void)note_path(s, id, EXEMPT_NONE, state, &w, e->reason, now_ms);
	entry_of(e, id, &entry);
	if (state == EXEMPT_ACTIVE)
		store_policy_changed(s, POLICY_SET, &entry);
	return id;
}

static bool same_policy(const struct policy_entry *x, const struct policy_entry *y)
{
	if (x->starts_ms != y->starts_ms || x->expires_ms != y->expires_ms ||
	    x->n_dst != y->n_dst || strcmp(x->class, y->class) != 0)
		return false;
	for (unsigned i = 0; i < x->n_dst; i++)
		if (!prefix_eq(&x->dst[i], &y->dst[i]))
			return false;
	return true;
}

bool store_exemption_update(struct store *s, const struct store_exempt *old,
			    const struct store_exemption *e, int64_t now_ms)
{
	struct policy_entry entry;
	char dst[DST_TEXT];
	int64_t id = old->entry.exemption_id, subscriber = e->subscriber     ? e->subscriber
							   : old->subscriber ? old->subscriber
									     : owner(s, e, now_ms);
	sql_run(DB, ST_EXEMPT_UPDATE, QI(id), QS(class_of(e)), QS(dst_text(e, dst)), QZ(subscriber),
		QS(text(e->contract)), QS(text(e->service)), QS(text(e->fixed)),
		QS(text(e->access_port)), QS(text(e->contact)), QS(text(e->abuse_contact)),
		QS(text(e->usage)), QS(text(e->software)), QS(text(e->volume)), QS(text(e->helo)),
		QS(text(e->domain)), QS(text(e->approver)), QS(text(e->ticket)),
		QS(text(e->reason)), QZ(e->aup_ms), QI(e->starts_ms), QZ(e->expires_ms),
		QZ(e->review_ms), QZ(e->evidence_due_ms), QS(text(e->actor)));
	if (sql_error(DB) || sql_changes(DB) == 0)
		return false;
	struct store_who w = {text(e->actor), ""};
	const char *state = exempt_state_name(old->state);
	store_exemption_note(s, id, &w, state, state, "what is recorded was changed", now_ms);
	entry_of(e, id, &entry);
	if (old->state == EXEMPT_ACTIVE && !same_policy(&entry, &old->entry))
		store_policy_changed(s, POLICY_SET, &entry);
	return true;
}

/* --- states --- */

static bool move(struct store *s, const struct store_exempt *x, const struct store_exempt_move *m,
		 const struct store_who *w, int64_t now_ms)
{
	int64_t id = x->entry.exemption_id;
	bool suspend = m->to == EXEMPT_SUSPENDED;
	if (!note_path(s, id, x->state, m->to, w, m->reason, now_ms))
		return false;
	sql_run(DB, ST_EXEMPT_STATE, QI(id), QS(exempt_state_name(m->to)),
		QZ(exempt_lives(m->to) ? 0 : now_ms), QS(suspend && m->by ? m->by : ""),
		QZ(suspend ? m->until_ms : 0));
	if (m->to == EXEMPT_ACTIVE)
		store_policy_changed(s, POLICY_SET, &x->entry);
	else if (x->state == EXEMPT_ACTIVE)
		store_policy_changed(s, POLICY_DELETE, &x->entry);
	if (m->action)
		audit_exemption(s, x, w, m->action, m->reason, now_ms);
	return true;
}

bool store_exemption_move(struct store *s, int64_t id, const struct store_exempt_move *m,
			  const struct store_who *w, int64_t now_ms)
{
	struct store_exempt x;
	return store_exempt(s, id, &x) && move(s, &x, m, w, now_ms);
}

/* Every one that stmt finds due. */
static void move_due(struct store *s, int stmt, const struct store_exempt_move *m, int64_t now_ms)
{
	int64_t id;
	while ((id = sql_value(DB, stmt, QI(now_ms))) != 0)
		if (!store_exemption_move(s, id, m, &schedule, now_ms))
			return; /* only after an error, which sticks */
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a && (!b || a < b) ? a : b;
}

int64_t store_exemptions_expire(struct store *s, int64_t now_ms)
{
	static const struct store_who expiry = {"expiry", ""};
	static const struct store_exempt_move ends = {
	    .to = EXEMPT_EXPIRED, .action = "exempt.expire", .reason = "its time has come"};
	static const struct store_exempt_move back = {
	    .to = EXEMPT_ACTIVE, .action = "exempt.resume", .reason = "it was suspended until now"};
	bool due = sql_value(DB, ST_EXEMPT_DUE, QI(now_ms)) != 0 ||
		   sql_value(DB, ST_EXEMPT_BACK, QI(now_ms)) != 0;
	int64_t id;
	if (due) {
		store_begin(s);
		while ((id = sql_value(DB, ST_EXEMPT_DUE, QI(now_ms))) != 0)
			if (!store_exemption_move(s, id, &ends, &expiry, now_ms))
				break;
		move_due(s, ST_EXEMPT_BACK, &back, now_ms);
		(void)store_commit(s, NULL, NULL);
	}
	return earlier(sql_value(DB, ST_EXEMPT_NEXT), sql_value(DB, ST_EXEMPT_NEXT_BACK));
}

/* --- lines --- */

/* The lease ends later: so does the exemption. */
static void shorten(struct store *s, int64_t id, int64_t t_ms, const struct store_who *w,
		    int64_t now_ms)
{
	struct store_exempt x;
	sql_run(DB, ST_EXEMPT_SHORTEN, QI(id), QI(t_ms));
	if (sql_error(DB) || sql_changes(DB) == 0 || !store_exempt(s, id, &x))
		return;
	if (x.state == EXEMPT_ACTIVE)
		store_policy_changed(s, POLICY_SET, &x.entry);
	audit_exemption(s, &x, w, "exempt.shorten", "the line goes to another subscriber then",
			now_ms);
}

void store_exemptions_revoke(struct store *s, int64_t subscriber, const struct prefix *p,
			     int64_t t_ms, const struct store_who *w, int64_t now_ms)
{
	static const struct store_exempt_move revoked = {.to = EXEMPT_REVOKED,
							 .action = "exempt.revoke",
							 .reason =
							     "the line went to another subscriber"};
	struct addr first, last;
	int64_t id = 0;
	prefix_range(p, &first, &last);
	while ((id = sql_value(DB, ST_EXEMPT_OF_OTHERS, QA(&first), QA(&last), QI(p->len),
			       QI(subscriber), QI(id))) != 0) {
		if (t_ms > now_ms)
			shorten(s, id, t_ms, w, now_ms);
		else
			(void)store_exemption_move(s, id, &revoked, w, now_ms);
	}
}

static int64_t next_of_line(struct store *s, int64_t subscriber, const struct prefix *p,
			    enum exempt_state state, int64_t after)
{
	struct addr first, last;
	prefix_range(p, &first, &last);
	return sql_value(DB, ST_EXEMPT_OF_LINE, QA(&first), QA(&last), QI(p->len),
			 QS(exempt_state_name(state)), QI(after), QZ(subscriber));
}

int store_exemptions_line_ended(struct store *s, int64_t subscriber, const struct prefix *p,
				const struct store_who *w, int64_t now_ms)
{
	static const struct store_exempt_move ended = {.to = EXEMPT_SUSPENDED,
						       .action = "exempt.suspend",
						       .reason = "line ended",
						       .by = "line"};
	struct store_exempt x;
	int64_t id = 0;
	int n = 0;
	while ((id = next_of_line(s, subscriber, p, EXEMPT_ACTIVE, id)) != 0)
		if (store_exempt(s, id, &x) &&
		    store_prefix_holder(s, &x.entry.prefix, now_ms) != x.subscriber)
			n += move(s, &x, &ended, w, now_ms);
	return n;
}

int store_exemptions_line_back(struct store *s, int64_t subscriber, const struct prefix *p,
			       const struct store_who *w, int64_t now_ms)
{
	static const struct store_exempt_move back = {
	    .to = EXEMPT_ACTIVE, .action = "exempt.resume", .reason = "the line is back"};
	int64_t id = 0;
	int n = 0;
	while ((id = next_of_line(s, subscriber, p, EXEMPT_SUSPENDED, id)) != 0)
		n += store_exemption_move(s, id, &back, w, now_ms);
	return n;
}

/* --- evidence --- */

int64_t store_evidence_due(struct store *s, int64_t t_ms)
{
	return sql_value(DB, ST_EVIDENCE_DUE, QI(t_ms));
}

int64_t store_evidence_next(struct store *s)
{
	return sql_value(DB, ST_EVIDENCE_NEXT);
}

void store_evidence_plan(struct store *s, int64_t id, int64_t due_ms)
{
	sql_run(DB, ST_EVIDENCE_PLAN, QI(id), QZ(due_ms));
}

void store_evidence_put(struct store *s, int64_t id, const struct store_evidence *e, int64_t now_ms)
{
	sql_run(DB, ST_EVIDENCE_PUT, QI(id), QS(e->word), QS(e->detail), QI(now_ms), QZ(e->due_ms),
		QZ(e->held_ms), QZ(e->bad_ms));
}
