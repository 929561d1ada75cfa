/*
 * store_radius - RADIUS sessions and their leases (contract in store_radius.h).
 *
 * A session's leases are worked out anew from what is known of it each time something is heard. Of
 * several sessions that name one address and port, the one that began last has it from then on,
 * also when the end of the one before was never told; a lease from elsewhere (the command line, a
 * file) takes part as if it were a session. The narrower prefix counts, as everywhere.
 *
 * Known gaps: a lease from elsewhere that a session cut short stays cut when that session turns out
 * to have begun later.
 */
#include "accounting/store_radius.h"

#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"
#include "accounting/store_int.h"

struct session {
	int64_t id, subscriber;
	const char *nas, *port; /* of the event, or copies */
	struct radius_life life;
	int64_t end_ms;
};

struct claim {
	int64_t id; /* 0: new */
	struct prefix prefix;
	uint16_t lo, hi;
	bool framed;
	struct radius_claim c;
	int64_t from_ms, to_ms; /* as stored; to 0: open */
};

struct claims {
	struct claim *list;
	size_t n, cap;
};

/* An exemption that went, or has to go, before a line may be given. */
struct taking {
	int64_t subscriber, from_ms;
	struct prefix prefix;
};

struct work {
	struct store *s;
	struct store_who who;
	int64_t now_ms;
	bool gentle; /* do not take an exemption away and give the line in one go */
	struct taking *takings;
	size_t n_takings;
	bool port_exclusive;
};

#undef DB
#define DB (w->s->db)

/* --- sessions --- */

static void read_session(struct work *w, int stmt, struct session *out)
{
	out->id = sql_int(DB, stmt, 0);
	out->subscriber = sql_int(DB, stmt, 2);
	out->life = (struct radius_life){.started = sql_int(DB, stmt, 4) != 0,
					 .start_ms = sql_int(DB, stmt, 5),
					 .first_ms = sql_int(DB, stmt, 6),
					 .last_ms = sql_int(DB, stmt, 7),
					 .stop_ms = sql_int(DB, stmt, 8),
					 .silent_ms = sql_int(DB, stmt, 9),
					 .interims = sql_int(DB, stmt, 10),
					 .seen_ms = sql_int(DB, stmt, 11)};
}

static bool find_life(struct work *w, int stmt, const struct store_radius *e, int64_t subscriber,
		      struct session *out)
{
	int64_t near = e->news.t_ms + (e->news.status == RADIUS_START ? RADIUS_SAME_MS : 0);
	if (!sql_first(DB, stmt, QS(e->nas), QS(e->session), QI(subscriber), QI(near)))
		return false;
	read_session(w, stmt, out);
	sql_end(DB, stmt);
	return true;
}

static void add_session(struct work *w, const struct store_radius *e, struct session *x)
{
	const struct radius_life *l = &x->life;
	radius_life_begin(&x->life, &e->news);
	sql_run(DB, ST_RADIUS_ADD, QS(e->nas), QS(e->session), QI(x->subscriber), QS(e->port),
		QS(e->calling), QI(l->started), QI(l->start_ms), QI(l->first_ms), QI(l->last_ms),
		QZ(l->stop_ms), QZ(l->silent_ms), QI(l->interims), QI(l->seen_ms));
	x->id = sql_error(DB) ? 0 : sql_rowid(DB);
}

/* The session an event is of, with the event in it. False: it is of none. */
static bool enter(struct work *w, const struct store_radius *e, struct session *x)
{
	struct session after;
	bool has_before = find_life(w, ST_RADIUS_BEFORE, e, x->subscriber, x);
	bool has_after = find_life(w, ST_RADIUS_AFTER, e, x->subscriber, &after);
	switch (
	    radius_whose(&e->news, has_before ? &x->life : NULL, has_after ? &after.life : NULL)) {
	case RADIUS_OF_NONE:
		return false;
	case RADIUS_OF_NEW:
		add_session(w, e, x);
		return true;
	case RADIUS_OF_AFTER:
		*x = after;
		break;
	case RADIUS_OF_BEFORE:
		break;
	}
	radius_life_add(&x->life, &e->news);
	return true;
}

/* Works out its end and stores what is known of it. */
static void save_session(struct work *w, struct session *x)
{
	const struct radius_life *l = &x->life;
	int64_t taken = 0, restart = sql_value(DB, ST_RADIUS_RESTART_AFTER, QS(x->nas),
					       QI(l->last_ms), QI(l->start_ms));
	if (w->port_exclusive && x->port[0])
		taken = sql_value(DB, ST_RADIUS_TAKEN, QS(x->nas), QS(x->port), QI(x->id),
				  QI(l->last_ms), QI(l->start_ms));
	x->end_ms = radius_life_end(l, restart, taken);
	sql_run(DB, ST_RADIUS_SET, QI(x->id), QI(l->started), QI(l->start_ms), QI(l->first_ms),
		QI(l->last_ms), QZ(l->stop_ms), QZ(l->silent_ms), QI(l->interims), QI(l->seen_ms),
		QZ(x->end_ms));
}

/* --- claims --- */

static struct claim *more_claims(struct claims *list)
{
	if (list->n == list->cap) {
		list->cap = list->cap ? 2 * list->cap : 8;
		struct claim *p = realloc(list->list, list->cap * sizeof *p);
		if (!p)
			fatal("out of memory");
		list->list = p;
	}
	struct claim *c = &list->list[list->n++];
	memset(c, 0, sizeof *c);
	return c;
}

static void load_claims(struct work *w, int64_t session, struct claims *list)
{
	for (bool row = sql_first(DB, ST_CLAIMS, QI(session)); row; row = sql_next(DB, ST_CLAIMS)) {
		struct claim *c = more_claims(list);
		c->id = sql_int(DB, ST_CLAIMS, 0);
		c->prefix.len = (uint8_t)sql_int(DB, ST_CLAIMS, 1);
		sql_addr(DB, ST_CLAIMS, 2, &c->prefix.a);
		c->lo = (uint16_t)sql_int(DB, ST_CLAIMS, 3);
		c->hi = (uint16_t)sql_int(DB, ST_CLAIMS, 4);
		c->from_ms = sql_int(DB, ST_CLAIMS, 5);
		c->to_ms = sql_int(DB, ST_CLAIMS, 6);
		c->framed = sql_int(DB, ST_CLAIMS, 7) != 0;
		c->c = (struct radius_claim){sql_int(DB, ST_CLAIMS, 8), sql_int(DB, ST_CLAIMS, 9),
					     sql_int(DB, ST_CLAIMS, 10)};
	}
}

static void name_line(struct claims *list, const struct radius_line *l, int64_t t_ms)
{
	struct claim *c = NULL;
	for (size_t i = 0; i < list->n && !c; i++)
		if (prefix_eq(&list->list[i].prefix, &l->prefix) &&
		    list->list[i].lo == l->port_lo && list->list[i].hi == l->port_hi)
			c = &list->list[i];
	if (!c) {
		c = more_claims(list);
		c->prefix = l->prefix;
		c->lo = l->port_lo;
		c->hi = l->port_hi;
		c->framed = l->framed;
	}
	radius_claim_add(&c->c, t_ms, l->gone);
}

/* When a session that has one framed address at a time left this one. */
static int64_t given_back(const struct claims *list, const struct claim *c)
{
	int64_t back = radius_claim_back(&c->c, NULL);
	for (size_t i = 0; c->framed && i < list->n; i++)
		if (list->list[i].framed && &list->list[i] != c)
			back = radius_earlier(back, radius_claim_back(&c->c, &list->list[i].c));
	return back;
}

/* The others that a claim meets, at time t. last: the ninth argument. */
#define MEETS(c, t, x, nine)                                                                       \
	QA(&first), QA(&last), QI((c)->prefix.len), QI((c)->lo), QI((c)->hi), QI((x)->subscriber), \
	    QI(t), QI((x)->id), QI(nine)

static int64_t later_claim(struct work *w, const struct session *x, const struct claim *c,
			   int64_t from_ms)
{
	struct addr first, last;
	prefix_range(&c->prefix, &first, &last);
	return sql_value(DB, ST_CLAIM_LATER, MEETS(c, from_ms, x, c->id ? c->id : INT64_MAX));
}

static void recompute(struct work *w, int64_t session);

/* What ended where the claim began ends elsewhere now. */
static void uncut(struct work *w, const struct session *x, const struct claim *c, int64_t old_ms)
{
	struct addr first, last;
	int64_t id = 0;
	prefix_range(&c->prefix, &first, &last);
	while ((id = sql_value(DB, ST_CLAIM_UNCUT, MEETS(c, old_ms, x, id))) != 0)
		recompute(w, id);
}

static void cut(struct work *w, const struct session *x, const struct claim *c, int64_t from_ms)
{
	struct addr first, last;
	prefix_range(&c->prefix, &first, &last);
	sql_run(DB, ST_CLAIM_CUT, MEETS(c, from_ms, x, c->id));
}

static void note_taking(struct work *w, const struct taking *t)
{
	struct taking *p = reallocarray(w->takings, w->n_takings + 1, sizeof *p);
	if (!p)
		fatal("out of memory");
	p[w->n_takings++] = *t;
	w->takings = p;
}

/* The line is the session's from now on: nobody else's exemption may serve it. */
static void take_exemptions(struct work *w, const struct session *x, const struct claim *c,
			    int64_t from_ms)
{
	uint64_t before = store_policy_version(w->s);
	struct taking t = {x->subscriber, from_ms, c->prefix};
	store_exemptions_revoke(w->s, t.subscriber, &t.prefix, from_ms, &w->who, w->now_ms);
	if (store_policy_version(w->s) != before)
		note_taking(w, &t);
}

static bool all_ports(const struct claim *c)
{
	return c->lo == 0 && c->hi == 65535;
}

/* The line is nobody's now, or that of a wider lease. */
static void leave_line(struct work *w, const struct session *x, const struct claim *c,
		       int64_t to_ms)
{
	int64_t heir = store_prefix_holder(w->s, &c->prefix, to_ms);
	if (heir && heir != x->subscriber)
		store_exemptions_revoke(w->s, heir, &c->prefix, to_ms, &w->who, w->now_ms);
	if (all_ports(c))
		(void)store_exemptions_line_ended(w->s, x->subscriber, &c->prefix, &w->who,
						  w->now_ms);
}

static void store_claim(struct work *w, const struct session *x, struct claim *c, int64_t from_ms,
			int64_t to_ms)
{
	struct addr first, last;
	prefix_range(&c->prefix, &first, &last);
	if (c->id) {
		sql_run(DB, ST_CLAIM_SET, QI(c->id), QI(from_ms), QZ(to_ms), QI(c->c.first_ms),
			QI(c->c.last_ms), QZ(c->c.back_ms));
		return;
	}
	sql_run(DB, ST_CLAIM_ADD, QI(c->prefix.len), QA(&first), QA(&last), QI(c->lo), QI(c->hi),
		QI(x->subscriber), QI(from_ms), QZ(to_ms), QI(x->id), QI(c->framed),
		QI(c->c.first_ms), QI(c->c.last_ms), QZ(c->c.back_ms));
	c->id = sql_error(DB) ? 0 : sql_rowid(DB);
}

/* One line of the session, in step with what is known. */
static void settle(struct work *w, const struct session *x, const struct claims *list,
		   struct claim *c)
{
	bool fresh = !c->id;
	int64_t old_from = c->from_ms, from = radius_claim_from(&c->c, &x->life);
	int64_t end = radius_earlier(x->end_ms, given_back(list, c));
	int64_t to = radius_earlier(end && end < from ? from : end, later_claim(w, x, c, from));
	bool opens = !to && (fresh || c->to_ms);
	if (opens) /* first of all: the line must not be seen with somebody else's exemption */
		take_exemptions(w, x, c, from);
	store_claim(w, x, c, from, to);
	if (fresh || from != old_from) {
		cut(w, x, c, from);
		if (!fresh)
			uncut(w, x, c, old_from);
	}
	if (to && !fresh && !c->to_ms)
		leave_line(w, x, c, to);
	if (opens && all_ports(c))
		(void)store_exemptions_line_back(w->s, x->subscriber, &c->prefix, &w->who,
						 w->now_ms);
	c->from_ms = from;
	c->to_ms = to;
}

static void settle_all(struct work *w, const struct session *x, struct claims *list)
{
	for (size_t i = 0; i < list->n; i++)
		settle(w, x, list, &list->list[i]);
	free(list->list);
}

/* A session about which nothing was heard, but something else has changed. */
static void recompute(struct work *w, int64_t session)
{
	char nas[RADIUS_TEXT], port[RADIUS_TEXT];
	struct session x = {.nas = nas, .port = port};
	struct claims list = {.list = NULL};
	if (!sql_first(DB, ST_RADIUS_GET, QI(session)))
		return;
	read_session(w, ST_RADIUS_GET, &x);
	snprintf(nas, sizeof nas, "%s", sql_text(DB, ST_RADIUS_GET, 1));
	snprintf(port, sizeof port, "%s", sql_text(DB, ST_RADIUS_GET, 3));
	sql_end(DB, ST_RADIUS_GET);
	save_session(w, &x);
	load_claims(w, x.id, &list);
	settle_all(w, &x, &list);
}

/* --- events --- */

static int64_t subscriber_of(struct work *w, const char *ref)
{
	int64_t id = store_subscriber(w->s, ref);
	return id || sql_error(DB) ? id : store_subscriber_put(w->s, ref, NULL, NULL, w->now_ms);
}

static void end_port(struct work *w, const struct session *x)
{
	int64_t id;
	while ((id = sql_value(DB, ST_RADIUS_ON_PORT, QS(x->nas), QS(x->port), QI(x->id),
			       QI(x->life.start_ms))) != 0)
		recompute(w, id);
}

static bool apply(struct work *w, const struct store_radius *e)
{
	struct claims list = {.list = NULL};
	struct session x = {
	    .subscriber = subscriber_of(w, e->subscriber), .nas = e->nas, .port = e->port};
	if (!enter(w, e, &x))
		return false;
	save_session(w, &x);
	load_claims(w, x.id, &list);
	for (size_t i = 0; i < e->n_lines; i++)
		name_line(&list, &e->lines[i], e->news.t_ms);
	settle_all(w, &x, &list);
	if (e->port_exclusive && e->port[0])
		end_port(w, &x);
	return true;
}

/* Everything that was done is undone, but for the exemptions that were in the way. */
static void take_only(struct work *w, size_t changes)
{
	sql_run(DB, ST_SAVEPOINT_BACK);
	w->s->n_changes = changes;
	for (size_t i = 0; i < w->n_takings; i++)
		store_exemptions_revoke(w->s, w->takings[i].subscriber, &w->takings[i].prefix,
					w->takings[i].from_ms, &w->who, w->now_ms);
}

enum store_radius_result store_radius_event(struct store *s, const struct store_radius *e)
{
	struct work work = {.s = s,
			    .who = {"radius", e->nas},
			    .now_ms = e->news.now_ms,
			    .gentle = !e->confirmed,
			    .port_exclusive = e->port_exclusive},
		    *w = &work;
	size_t changes = s->n_changes;
	if (w->gentle)
		sql_run(DB, ST_SAVEPOINT);
	bool done = apply(w, e);
	bool wait = w->gentle && w->n_takings;
	if (wait)
		take_only(w, changes);
	if (w->gentle)
		sql_run(DB, ST_SAVEPOINT_GO);
	free(w->takings);
	return wait ? STORE_RADIUS_WAIT : done ? STORE_RADIUS_DONE : STORE_RADIUS_LATE;
}

/* --- what ends many --- */

static struct work work_of(struct store *s, const char *why, int64_t now_ms)
{
	return (struct work){.s = s, .who = {"radius", why}, .now_ms = now_ms};
}

void store_radius_restart(struct store *s, const char *nas, int64_t t_ms)
{
	sql_run(s->db, ST_RADIUS_RESTART, QS(nas), QI(t_ms));
}

bool store_radius_restart_step(struct store *s, int64_t now_ms, int max)
{
	char nas[RADIUS_TEXT];
	struct work work = work_of(s, "restart", now_ms), *w = &work;
	if (!sql_first(DB, ST_RADIUS_RESTART_OPEN))
		return false;
	snprintf(nas, sizeof nas, "%s", sql_text(DB, ST_RADIUS_RESTART_OPEN, 0));
	int64_t t = sql_int(DB, ST_RADIUS_RESTART_OPEN, 1), id = 0;
	sql_end(DB, ST_RADIUS_RESTART_OPEN);
	for (int i = 0; i < max; i++) {
		id = sql_value(DB, ST_RADIUS_RESTARTED, QS(nas), QI(t));
		if (!id)
			break;
		recompute(w, id);
	}
	if (!id)
		sql_run(DB, ST_RADIUS_RESTART_DONE, QS(nas), QI(t));
	free(w->takings);
	return !sql_error(DB);
}

static void fall_silent(struct work *w, int64_t id, int64_t silence_ms)
{
	struct session x = {.id = 0};
	if (!sql_first(DB, ST_RADIUS_GET, QI(id)))
		return;
	read_session(w, ST_RADIUS_GET, &x);
	sql_end(DB, ST_RADIUS_GET);
	const struct radius_life *l = &x.life;
	int64_t silent = l->last_ms + silence_ms;
	sql_run(DB, ST_RADIUS_SET, QI(id), QI(l->started), QI(l->start_ms), QI(l->first_ms),
		QI(l->last_ms), QZ(l->stop_ms), QI(silent < w->now_ms ? silent : w->now_ms),
		QI(l->interims), QI(l->seen_ms), QZ(0));
	recompute(w, id);
}

bool store_radius_silence_step(struct store *s, int64_t seen_ms, int64_t silence_ms, int64_t now_ms,
			       int max)
{
	struct work work = work_of(s, "silence", now_ms), *w = &work;
	int64_t id = 1;
	for (int i = 0; i < max && id; i++) {
		id = sql_value(DB, ST_RADIUS_SILENT, QI(seen_ms));
		if (id)
			fall_silent(w, id, silence_ms);
	}
	free(w->takings);
	return id && !sql_error(DB);
}

int64_t store_radius_open(struct store *s)
{
	return sql_value(s->db, ST_RADIUS_OPEN);
}
