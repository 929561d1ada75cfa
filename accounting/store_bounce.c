/*
 * store_bounce - notifications of non-delivery that came back (contract in store.h).
 *
 * A valid tag says only that somebody got mail of this sender, and may be used by anybody who did.
 * So a notification counts when it is about a recipient that a message of the sender was really
 * given out for, and once; one about an address nobody wrote to, because mail was forwarded, when
 * it brought the message's token along, and at most as often as the message had recipients. What
 * counts is a delivery like those that msad tells, of a later day.
 *
 * Diagnostics: rollups "returned" and "returned_unknown". Known gaps: without the token a message
 * is only looked for among the account's last 2000 deliveries, and only when the sender is the
 * login itself.
 */
#include <string.h>

#include "accounting/store_int.h"

#define SENT_MS (INT64_C(14) * 86400 * 1000)

struct sent {
	int64_t account, rcpts;
	char login[EVENT_ACCOUNT_MAX + 1], queue_id[EVENT_ID_MAX + 1];
	char rcpt[EVENT_ACCOUNT_MAX + 1];
};

static void keep(char *to, size_t cap, const char *from)
{
	snprintf(to, cap, "%s", from);
}

static bool take(struct store *s, int stmt, bool row, struct sent *out)
{
	if (!row)
		return false;
	out->account = sql_int(DB, stmt, 0);
	keep(out->login, sizeof out->login, sql_text(DB, stmt, 1));
	keep(out->queue_id, sizeof out->queue_id, sql_text(DB, stmt, 2));
	out->rcpts = sql_int(DB, stmt, 3);
	sql_end(DB, stmt);
	return true;
}

/* A recipient of the message, by either address; false: it has none of the kind. */
static bool known_rcpt(struct store *s, const struct event *e, struct sent *m)
{
	if (!sql_first(DB, ST_BOUNCE_RCPT, QS(m->queue_id), QS(e->u.bounce.rcpt),
		       QS(e->u.bounce.original)))
		return false;
	keep(m->rcpt, sizeof m->rcpt, sql_text(DB, ST_BOUNCE_RCPT, 0));
	sql_end(DB, ST_BOUNCE_RCPT);
	return true;
}

static bool find_message(struct store *s, const struct event *e, struct sent *m)
{
	const char *token = e->u.bounce.token;
	if (token[0] &&
	    take(s, ST_BOUNCE_TOKEN,
		 sql_first(DB, ST_BOUNCE_TOKEN, QS(token), QS(e->u.bounce.sender)), m)) {
		if (known_rcpt(s, e, m))
			return true;
		keep(m->rcpt, sizeof m->rcpt, e->u.bounce.rcpt);
		return sql_value(DB, ST_BOUNCE_COUNT, QS(m->queue_id)) < m->rcpts;
	}
	return take(s, ST_BOUNCE_SENT,
		    sql_first(DB, ST_BOUNCE_SENT, QS(e->u.bounce.sender), QS(e->u.bounce.rcpt),
			      QS(e->u.bounce.original), QI(e->t_ms - SENT_MS)),
		    m) &&
	       known_rcpt(s, e, m);
}

/* Said before, by a notification or by the next host itself? */
static bool is_news(struct store *s, const struct event *e, const struct sent *m)
{
	return sql_value(DB, ST_BOUNCE_KNOWN, QS(m->queue_id), QS(m->rcpt),
			 QI(e->u.bounce.result)) == 0;
}

bool store_bounce(struct store *s, const struct event *e)
{
	struct sent m = {.account = 0};
	if (!find_message(s, e, &m)) {
		store_count(s, "returned_unknown", e->t_ms, 1);
		return false;
	}
	if (!is_news(s, e, &m))
		return false;
	sql_run(DB, ST_EV_BOUNCE, QI(e->t_ms), QI(m.account), QS(m.queue_id), QS(m.rcpt),
		QS(e->u.bounce.status), QS(e->u.bounce.reply), QI(e->u.bounce.result),
		QI(e->u.bounce.answer), QS(e->u.bounce.mta));
	store_count(s, "returned", e->t_ms, 1);
	if (e->u.bounce.result == EVENT_BOUNCED) {
		store_count_bounced(s, m.account, e->t_ms);
		if (s->on_bounce)
			s->on_bounce(m.login, e, s->bounce_arg);
	}
	return !sql_error(DB);
}

void store_on_bounce(struct store *s,
		     void (*fn)(const char *login, const struct event *e, void *arg), void *arg)
{
	s->on_bounce = fn;
	s->bounce_arg = arg;
}
